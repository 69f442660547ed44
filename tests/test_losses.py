"""The mathematics of the update, each function by hand, by an independent NumPy derivation, and by identities."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from grpo_lightning import losses
from grpo_lightning.losses import Totals

HAND = torch.log(torch.tensor([1.5, 0.5, 1.5, 0.5], dtype=torch.float64))
"""Log-ratios of two sequences of two tokens, with the advantages (1, 1) and (-2, -2)."""
ADVANTAGES = torch.tensor([1.0, 1.0, -2.0, -2.0], dtype=torch.float64)
LENGTHS = torch.tensor([2, 2])
ROOT = math.sqrt(1.5 * 0.5)
"""Geometric mean of the ratios of either sequence, 0.866."""


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def clip(log_ratio: Tensor, advantages: Tensor, low: float = 0.2, high: float = 0.2, dual: float = math.inf) -> Tensor:
    return losses.clipped_surrogate(log_ratio, advantages, epsilon_low=low, epsilon_high=high, dual_clip=dual)


# ------------------------------------------------------------------------------------------------------------- ratios


def test_ratios_by_hand() -> None:
    """Log-probs -1, -2 | -3 against -1.5, -1.5 | -1: log-ratios 0.5, -0.5 | -2 with the means 0 | -2."""
    policy = torch.tensor([-1.0, -2.0, -3.0], requires_grad=True)
    sampler, lengths = torch.tensor([-1.5, -1.5, -1.0]), torch.tensor([2, 1])
    found = {level: losses.log_ratios(policy, sampler, lengths, level=level) for level in ("token", "sequence")}
    assert found["token"].tolist() == [0.5, -0.5, -2.0]
    assert found["sequence"].tolist() == [0.0, 0.0, -2.0]
    third = losses.log_ratios(policy, sampler, lengths, level="sequence_token")
    assert third.tolist() == [0.0, 0.0, -2.0], "the value is the sequence's"
    assert torch.autograd.grad(third[0], policy)[0].tolist() == [1.0, 0.0, 0.0], "the gradient is the token's own"
    assert torch.autograd.grad(found["sequence"][0], policy)[0].tolist() == [0.5, 0.5, 0.0]


def test_a_sequence_without_tokens_has_no_sum_and_harms_none() -> None:
    sums = losses.sequence_sums(torch.tensor([1.0, 2.0]), torch.tensor([0, 2, 0]))
    assert sums.tolist() == [0.0, 3.0, 0.0]
    assert losses.sequence_means(torch.tensor([1.0, 2.0]), torch.tensor([0, 2, 0])).tolist() == [0.0, 1.5, 0.0]
    assert losses.spread(sums, torch.tensor([0, 2, 0])).tolist() == [3.0, 3.0]


def test_huge_ratios_are_held_without_gradient() -> None:
    policy = torch.tensor([0.0, -500.0], requires_grad=True)
    sampler = torch.tensor([-500.0, 0.0])
    held = losses.log_ratios(policy, sampler, torch.tensor([2]), level="token")
    assert held.tolist() == [20.0, -20.0]
    held.exp().sum().backward()
    assert policy.grad.tolist() == [0.0, 0.0]


# ------------------------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("ratio", "advantage", "low", "high", "dual", "loss"),
    [
        (1.0, 1.0, 0.2, 0.2, math.inf, -1.0),
        (1.8, 1.0, 0.2, 0.2, math.inf, -1.2),  # ratio 1.8 clips to 1.2
        (0.4, -1.0, 0.2, 0.2, math.inf, 0.8),  # ratio 0.4 clips to 0.8
        (1.8, -1.0, 0.2, 0.2, math.inf, 1.8),  # a bad token made likelier is never clipped
        (0.4, 1.0, 0.2, 0.2, math.inf, -0.4),  # nor a good one made rarer
        (1.8, 1.0, 0.2, 0.28, math.inf, -1.28),  # DAPO's clip-higher moves the upper edge only
        (0.4, -1.0, 0.2, 0.28, math.inf, 0.8),
        (1.1, 0.5, 0.2, 0.2, math.inf, -0.55),
        (9.0, -2.0, 0.2, 0.2, math.inf, 18.0),
        (9.0, -2.0, 0.2, 0.2, 3.0, 6.0),  # the dual clip: at most c |A| = 3 x 2
        (9.0, 2.0, 0.2, 0.2, 3.0, -2.4),  # and nothing else
        (2.9, -2.0, 0.2, 0.2, 3.0, 5.8),
    ],
)
def test_clipped_surrogate_by_hand(
    ratio: float, advantage: float, low: float, high: float, dual: float, loss: float
) -> None:
    found = clip(torch.tensor([math.log(ratio)]), torch.tensor([advantage]), low, high, dual)
    assert float(found) == pytest.approx(loss, rel=1e-6)


def test_worked_example() -> None:
    """log rho = 0.2, 0.1, 0.1, 0.2: rho = 1.2214, 1.1052, 1.1052, 1.2214, of which 1.2214 clips to 1.2.

    The objective is 0.6 x (1.2 + 1.1052 + 1.1052 + 1.2) / 4 = 0.6916.
    """
    policy, sampler = torch.tensor([-2.1, -1.8, -0.5, -1.2]), torch.tensor([-2.3, -1.9, -0.6, -1.4])
    log_ratio = losses.log_ratios(policy, sampler, torch.tensor([4]), level="token")
    assert log_ratio.exp().tolist() == pytest.approx([1.2214, 1.1052, 1.1052, 1.2214], abs=5e-5)
    assert -float(clip(log_ratio, torch.full((4,), 0.6)).mean()) == pytest.approx(0.6916, abs=5e-5)


@given(st.floats(0.01, 20), st.floats(-3, 3), st.floats(1.3, 10))
def test_dual_clip_is_both_of_its_papers(ratio: float, advantage: float, c: float) -> None:
    """Dual-clip PPO: max(min(rA, clip(r)A), cA) for A < 0. INTELLECT-2: min(min(r, delta)A, clip(r)A)."""
    clipped = min(max(ratio, 0.8), 1.2)
    ppo = min(ratio * advantage, clipped * advantage)
    dual = max(ppo, c * advantage) if advantage < 0 else ppo
    two_sided = min(min(ratio, c) * advantage, clipped * advantage)
    double = torch.float64
    found = clip(torch.tensor([math.log(ratio)], dtype=double), torch.tensor([advantage], dtype=double), dual=c)
    assert -float(found) == pytest.approx(dual, rel=1e-9, abs=1e-12)
    assert dual == pytest.approx(two_sided, rel=1e-12)


def test_cispo_by_hand() -> None:
    """Weights min(1.5, 1.4), 0.5, 1.4, 0.5 times A log pi with log pi = -1: losses w A. The cap is 1.4, not 0.4."""
    found = losses.cispo(torch.full_like(HAND, -1.0), HAND, ADVANTAGES, epsilon_high=0.4)
    assert found.tolist() == pytest.approx([1.4, 0.5, -2.8, -1.0])


def test_sapo_by_hand() -> None:
    """-(4 / tau) sigmoid(tau (rho - 1)) A with tau 1 for A > 0 and 2 for A < 0; rho - 1 = +-0.5."""
    found = losses.sapo(HAND, ADVANTAGES, tau_positive=1.0, tau_negative=2.0)
    expected = [-4 * sigmoid(0.5), -4 * sigmoid(-0.5), 4 * sigmoid(1.0), 4 * sigmoid(-1.0)]
    assert found.tolist() == pytest.approx(expected)


def test_gmpo_by_hand() -> None:
    """A > 0: log-ratios capped above at log 1.2, mean (log 1.2 + log 0.5) / 2, so sqrt(0.6). A < 0: raised to at least
    -log 1.25 = log 0.8, so sqrt(1.5 x 0.8) = sqrt(1.2), times 2."""
    found = losses.gmpo(HAND, ADVANTAGES, LENGTHS, epsilon_low=math.log(1.25), epsilon_high=math.log(1.2))
    assert found.tolist() == pytest.approx([-math.sqrt(0.6)] * 2 + [2 * math.sqrt(1.2)] * 2)


def test_gmpo_inside_its_limits_is_the_sequence_ratio() -> None:
    found = losses.gmpo(HAND, ADVANTAGES, LENGTHS, epsilon_low=9.0, epsilon_high=9.0)
    assert found.tolist() == pytest.approx([-ROOT, -ROOT, 2 * ROOT, 2 * ROOT])


def test_dppo_by_hand() -> None:
    """Probabilities from 0.5: to 0.75 (+0.25) and 0.25 (-0.25). With the limit 0.2 the first leaves where A > 0, the
    second where A < 0; the others keep -A rho."""
    sampler = torch.log(torch.full((4,), 0.5, dtype=torch.float64))
    found = losses.dppo(sampler + HAND, sampler, ADVANTAGES, tv_limit=0.2)
    assert found.tolist() == pytest.approx([0.0, -0.5, 3.0, 0.0])
    everything = losses.dppo(sampler + HAND, sampler, ADVANTAGES, tv_limit=0.3)
    assert everything.tolist() == pytest.approx([-1.5, -0.5, 3.0, 1.0])


def test_vespo_by_hand() -> None:
    """w = 1.5 x 0.5 = 0.75 for both. A > 0 with (k, lambda) = (2, 3): e^3 0.75^2 e^(-2.25) = 0.5625 e^0.75.
    A < 0 with (3, 2): e^2 0.75^3 e^(-1.5) = 0.421875 e^0.5. Times A log pi, log pi = -1."""
    sampler = torch.full_like(HAND, -1.0) - HAND
    found = losses.vespo(
        sampler + HAND, sampler, ADVANTAGES, LENGTHS, shape_positive=(2.0, 3.0), shape_negative=(3.0, 2.0)
    )
    positive, negative = 0.5625 * math.exp(0.75), 0.421875 * math.exp(0.5)
    assert found.tolist() == pytest.approx([positive, positive, -2 * negative, -2 * negative])


def test_reinforce_by_hand() -> None:
    assert losses.reinforce(torch.tensor([-0.5, -2.0]), torch.tensor([2.0, -1.0])).tolist() == [1.0, -2.0]


def test_off_policy_mask_by_hand() -> None:
    """Mean drifts log pi_sampler - log pi_policy: 0.3 | 0.1 | 0.3, with A < 0 | A < 0 | A > 0, and the limit 0.2."""
    policy = torch.tensor([-1.5, -1.1, -1.1, -1.3])
    sampler = torch.full((4,), -1.0)
    advantages = torch.tensor([-1.0, -1.0, -1.0, 1.0])
    found = losses.gone_off_policy(policy, sampler, advantages, torch.tensor([2, 1, 1]), limit=0.2)
    assert found.tolist() == [True, True, False, False]


# ----------------------------------------------------------------------------------------------------------------- KL


@pytest.mark.parametrize(
    ("estimator", "above", "below"),
    [
        ("k1", 1.0, -1.0),
        ("k2", 0.5, 0.5),
        ("k3", math.exp(-1), math.e - 2),
        ("k3_ratio", math.exp(-1), math.e - 2),
        ("k3_straight", math.exp(-1), math.e - 2),
    ],
)
def test_kl_by_hand(estimator: str, above: float, below: float) -> None:
    """k1 = 1 gives k3 = e^-1 - 1 + 1; k1 = -1 gives e - 1 - 1."""
    found = losses.kl(torch.tensor([-1.0, -2.0]), torch.tensor([-2.0, -1.0]), estimator=estimator)
    assert found.tolist() == pytest.approx([above, below], rel=1e-6)


@pytest.mark.parametrize(
    ("estimator", "gradient"),
    [("k1", 1.0), ("k2", 0.7), ("k3", 1 - math.exp(-0.7)), ("k3_straight", 0.7)],
)
def test_gradient_of_kl_by_hand(estimator: str, gradient: float) -> None:
    """At k1 = 0.7: of k1, k1^2 / 2 and e^-k1 - 1 + k1."""
    policy = torch.tensor([-1.0], requires_grad=True)
    losses.kl(policy, torch.tensor([-1.7]), estimator=estimator).sum().backward()
    assert float(policy.grad) == pytest.approx(gradient, rel=1e-6)


def test_expectation_and_gradient_of_kl_over_a_whole_vocabulary() -> None:
    """Over all tokens a with weight pi(a): k1 and k3 are KL(pi || ref); the gradient of k2, and of k3 x ratio, is its
    gradient; that of k1 is zero; that of k3 is the forward KL's, pi - ref."""
    logits = torch.tensor([0.3, -1.2, 2.0, 0.1], dtype=torch.float64, requires_grad=True)
    reference = torch.log_softmax(torch.tensor([1.0, 0.2, -0.4, 0.7], dtype=torch.float64), 0)
    policy = torch.log_softmax(logits, 0)
    probs = policy.exp().detach()
    true = (policy.exp() * (policy - reference)).sum()
    (true_gradient,) = torch.autograd.grad(true, logits, retain_graph=True)

    def expected(values: Tensor) -> tuple[float, Tensor]:
        total = (probs * values).sum()
        return float(total.detach()), torch.autograd.grad(total, logits, retain_graph=True)[0]

    k1, gradient = expected(losses.kl(policy, reference, estimator="k1"))
    assert k1 == pytest.approx(float(true.detach()), rel=1e-12)
    assert torch.allclose(gradient, torch.zeros(4, dtype=torch.float64), atol=1e-15)
    k3, gradient = expected(losses.kl(policy, reference, estimator="k3"))
    assert k3 == pytest.approx(float(true.detach()), rel=1e-12)
    assert torch.allclose(gradient, probs - reference.exp(), rtol=1e-12)
    for estimator in ("k2", "k3_straight"):
        assert torch.allclose(expected(losses.kl(policy, reference, estimator=estimator))[1], true_gradient)
    ratio = torch.exp(policy - policy.detach())
    weighted = expected(ratio * losses.kl(policy, reference, estimator="k3_ratio"))
    assert weighted[0] == pytest.approx(float(true.detach()), rel=1e-12)
    assert torch.allclose(weighted[1], true_gradient)


@given(
    st.lists(st.tuples(st.floats(-60, 0), st.floats(-60, 0)), min_size=1, max_size=20),
    st.sampled_from(["k2", "k3", "k3_ratio", "k3_straight"]),
)
def test_kl_is_never_negative_and_zero_where_both_agree(pairs: list[tuple[float, float]], estimator: str) -> None:
    policy, reference = torch.tensor(pairs).T
    found = losses.kl(policy, reference, estimator=estimator)
    assert bool((found >= 0).all())
    assert bool(torch.isfinite(found).all())
    assert bool((losses.kl(policy, policy, estimator=estimator) == 0).all())


# --------------------------------------------------------------------------------------------------------- reductions


REDUCTIONS = ["token", "sequence", "constant", "sequence_sum", "prompt", "local"]


@pytest.mark.parametrize(
    ("reduction", "weights"),
    [
        ("token", [1 / 9, 1 / 9, 1 / 9]),  # sequences of 2, 4 and 3 tokens: 9
        ("sequence", [1 / (3 * 2), 1 / (3 * 4), 1 / (3 * 3)]),
        ("constant", [1 / (3 * 8)] * 3),  # L_max = 8
        ("sequence_sum", [1 / 3] * 3),
        ("prompt", [1 / (2 * 6), 1 / (2 * 6), 1 / (2 * 3)]),  # two prompts: the first two sequences, and the third
        ("local", [1 / (1 * 9)] * 3),
    ],
)
def test_reductions_by_hand(reduction: str, weights: list[float]) -> None:
    totals = Totals(tokens=9.0, sequences=3.0, prompts=2.0, micro_batches=1.0)
    found = losses.sequence_weights(reduction, torch.tensor([2, 4, 3]), torch.tensor([6, 6, 3]), totals, 8)
    assert found.tolist() == pytest.approx(weights)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_reduction_of_ones_against_numpy(reduction: str) -> None:
    """Of the constant 1: every mean is 1, Dr. GRPO's is mean length / L_max, LUSPO's is the mean length."""
    lengths, groups = np.array([3, 1, 7, 2]), np.array([4, 4, 9, 9])
    totals = Totals(tokens=13.0, sequences=4.0, prompts=2.0, micro_batches=1.0)
    weights = losses.sequence_weights(reduction, torch.tensor(lengths), torch.tensor(groups), totals, 10)
    expected = {"constant": lengths.mean() / 10, "sequence_sum": lengths.mean()}.get(reduction, 1.0)
    assert float((weights * torch.tensor(lengths)).sum()) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_nothing_to_count_divides_by_nothing(reduction: str) -> None:
    totals = Totals(tokens=0.0, sequences=0.0, prompts=0.0, micro_batches=0.0)
    weights = losses.sequence_weights(reduction, torch.tensor([0]), torch.tensor([0]), totals, 8)
    assert bool(torch.isfinite(weights).all())
