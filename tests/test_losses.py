"""The update's mathematics by hand, by an independent NumPy derivation, and by identities."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grpo_lightning.batching import Sample, micro_batches
from grpo_lightning.logprobs import completion_logprobs
from grpo_lightning.losses import Totals, clipped_surrogate, kl_k3, ratio_stats, sequence_weights
from grpo_lightning.objective import ObjectiveConfig, objective_loss
from tests.tiny import prompt, tiny_policy

SYMMETRIC = {"epsilon_low": 0.2, "epsilon_high": 0.2}


def surrogate(ratio: float, advantage: float, low: float = 0.2, high: float = 0.2) -> float:
    value = clipped_surrogate(
        torch.tensor([math.log(ratio)]),
        torch.zeros(1),
        torch.tensor([advantage]),
        epsilon_low=low,
        epsilon_high=high,
    )
    return float(value)


@pytest.mark.parametrize(
    ("ratio", "advantage", "low", "high", "loss"),
    [
        (1.0, 1.0, 0.2, 0.2, -1.0),
        (1.8, 1.0, 0.2, 0.2, -1.2),  # ratio 1.8 clips to 1.2
        (0.4, -1.0, 0.2, 0.2, 0.8),  # ratio 0.4 clips to 0.8
        (1.8, -1.0, 0.2, 0.2, 1.8),  # a bad token made likelier is never clipped
        (0.4, 1.0, 0.2, 0.2, -0.4),  # nor a good one made rarer
        (1.8, 1.0, 0.2, 0.28, -1.28),  # DAPO's clip-higher moves the upper edge only
        (0.4, -1.0, 0.2, 0.28, 0.8),
        (1.1, 0.5, 0.2, 0.2, -0.55),
    ],
)
def test_clipped_surrogate_by_hand(ratio: float, advantage: float, low: float, high: float, loss: float) -> None:
    assert surrogate(ratio, advantage, low, high) == pytest.approx(loss, rel=1e-6)


def test_worked_example() -> None:
    """log rho = 0.2, 0.1, 0.1, 0.2: rho = 1.2214, 1.1052, 1.1052, 1.2214, of which 1.2214 clips to 1.2.

    The objective is 0.6 x (1.2 + 1.1052 + 1.1052 + 1.2) / 4 = 0.6916.
    """
    policy, sampler = torch.tensor([-2.1, -1.8, -0.5, -1.2]), torch.tensor([-2.3, -1.9, -0.6, -1.4])
    ratio = torch.exp(policy - sampler)
    assert ratio.tolist() == pytest.approx([1.2214, 1.1052, 1.1052, 1.2214], abs=5e-5)
    values = clipped_surrogate(policy, sampler, torch.full((4,), 0.6), **SYMMETRIC)
    weights = sequence_weights("token", torch.tensor([4]), Totals(tokens=4.0, sequences=1.0), 8)
    assert -float((values * weights[0]).sum()) == pytest.approx(0.6916, abs=5e-5)


def test_on_policy_gradient_is_reinforce() -> None:
    """At rho = 1, d(-rho A)/d log pi = -A."""
    logprobs = torch.tensor([-0.5, -2.0, -1.0], requires_grad=True)
    advantages = torch.tensor([1.5, -0.5, 0.0])
    clipped_surrogate(logprobs, logprobs.detach(), advantages, **SYMMETRIC).sum().backward()
    assert torch.equal(logprobs.grad, -advantages)


def test_clipped_tokens_have_no_gradient() -> None:
    logprobs = torch.tensor([0.5, -0.5, 0.5, -0.5], requires_grad=True)
    clipped_surrogate(logprobs, torch.zeros(4), torch.tensor([1.0, -1.0, -1.0, 1.0]), **SYMMETRIC).sum().backward()
    assert logprobs.grad[:2].tolist() == [0.0, 0.0]
    assert logprobs.grad[2:].tolist() == pytest.approx([math.exp(0.5), -math.exp(-0.5)])


def test_surrogate_gradient_by_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    policy = torch.randn(16, generator=generator, dtype=torch.float64, requires_grad=True)
    sampler = torch.randn(16, generator=generator, dtype=torch.float64)
    advantages = torch.randn(16, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: clipped_surrogate(x, sampler, advantages, **SYMMETRIC), policy)
    assert torch.autograd.gradcheck(lambda x: kl_k3(x, sampler), policy)


@pytest.mark.parametrize(
    ("policy", "reference", "value"), [(0.0, 0.0, 0.0), (-1.0, -2.0, math.exp(-1)), (-2.0, -1.0, math.e - 2)]
)
def test_k3_by_hand(policy: float, reference: float, value: float) -> None:
    """k1 = 1 gives e^-1 - 1 + 1; k1 = -1 gives e - 1 - 1."""
    assert float(kl_k3(torch.tensor([policy]), torch.tensor([reference]))) == pytest.approx(value, rel=1e-6)


def test_k3_expectation_is_the_kl() -> None:
    """sum_a pi(a) k3(a) = sum_a pi(a) log(pi(a) / ref(a)), because sum_a pi(a) (ref/pi - 1) = 0."""
    policy = torch.log_softmax(torch.tensor([0.3, -1.2, 2.0, 0.1], dtype=torch.float64), 0)
    reference = torch.log_softmax(torch.tensor([1.0, 0.2, -0.4, 0.7], dtype=torch.float64), 0)
    expected = (policy.exp() * (policy - reference)).sum()
    assert float((policy.exp() * kl_k3(policy, reference)).sum()) == pytest.approx(float(expected), rel=1e-12)


@given(st.lists(st.tuples(st.floats(-20, 0), st.floats(-20, 0)), min_size=1, max_size=20))
def test_k3_is_never_negative(pairs: list[tuple[float, float]]) -> None:
    policy, reference = torch.tensor(pairs).T
    assert bool((kl_k3(policy, reference) >= 0).all())


@pytest.mark.parametrize(
    ("reduction", "weights"),
    [
        ("token", [1 / 6, 1 / 6]),  # two sequences of 2 and 4 tokens: 6 tokens
        ("sequence", [1 / (2 * 2), 1 / (2 * 4)]),
        ("constant", [1 / (2 * 8), 1 / (2 * 8)]),  # L_max = 8
    ],
)
def test_reductions_by_hand(reduction: str, weights: list[float]) -> None:
    found = sequence_weights(reduction, torch.tensor([2, 4]), Totals(tokens=6.0, sequences=2.0), 8)
    assert found.tolist() == pytest.approx(weights)


@pytest.mark.parametrize("reduction", ["token", "sequence", "constant"])
def test_reduction_of_ones_against_numpy(reduction: str) -> None:
    """Of the constant 1: the token mean and the sequence mean are 1, Dr. GRPO's is mean length / L_max."""
    lengths = np.array([3, 1, 7])
    weights = sequence_weights(reduction, torch.tensor(lengths), Totals(tokens=11.0, sequences=3.0), 10)
    expected = lengths.mean() / 10 if reduction == "constant" else 1.0
    assert float((weights * torch.tensor(lengths)).sum()) == pytest.approx(expected, rel=1e-6)


def test_ratio_stats_by_hand() -> None:
    """rho = 1.5, 1.5, 0.5, 0.5, 1 with A = +, -, +, -, +: one clipped high, one clipped low."""
    policy = torch.log(torch.tensor([1.5, 1.5, 0.5, 0.5, 1.0]))
    stats = ratio_stats(policy, torch.zeros(5), torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0]), **SYMMETRIC)
    assert (int(stats.clipped_low), int(stats.clipped_high)) == (1, 1)
    assert float(stats.ratio_max) == pytest.approx(1.5)
    k3 = 2 * (0.5 - math.log(1.5)) + 2 * (-0.5 - math.log(0.5))  # rho - 1 - log rho
    assert float(stats.kl_to_sampler) == pytest.approx(k3, rel=1e-5)


def ragged_samples(dtype: torch.dtype) -> list[Sample]:
    """Sixteen sequences of unlike lengths, slightly off-policy, with both signs of advantage."""
    generator = torch.Generator().manual_seed(3)
    text = "12+34=abcdefgh"
    samples = []
    for i in range(16):
        ids = prompt(text[: 3 + i % 5]).token_ids
        completion = tuple(torch.randint(2, 20, (1 + (7 * i) % 11,), generator=generator).tolist())
        noise = torch.randn(len(completion), generator=generator, dtype=dtype)
        samples.append(
            Sample(
                prompt_ids=ids,
                completion_ids=completion,
                sampler_logprobs=-2.5 + 0.3 * noise,
                advantage=(-1.0) ** i * (1 + i / 8),
                reference_logprobs=-2.5 + 0.5 * noise.flip(0),
            )
        )
    return samples


def gradient(reduction: str, max_tokens: int, layout: str) -> tuple[torch.Tensor, int]:
    policy = tiny_policy("qwen3", dtype=torch.float64)
    samples = ragged_samples(torch.float64)
    totals = Totals(tokens=float(sum(len(s.completion_ids) for s in samples)), sequences=16.0)
    batches = list(micro_batches(samples, max_tokens=max_tokens, layout=layout))
    for batch in batches:
        current = completion_logprobs(policy, batch, temperature=0.9)
        config = ObjectiveConfig(reduction=reduction, beta=0.1)
        objective_loss(config, current, batch, totals=totals, max_tokens=12).backward()
    return torch.cat([p.grad.flatten() for p in policy.parameters()]), len(batches)


@pytest.mark.parametrize("reduction", ["token", "sequence", "constant"])
def test_micro_batches_and_packing_change_no_gradient(reduction: str) -> None:
    whole, count = gradient(reduction, 10_000, "padded")
    assert count == 1
    for max_tokens, layout in ((120, "padded"), (40, "padded"), (10_000, "packed"), (60, "packed"), (1, "packed")):
        parts, count = gradient(reduction, max_tokens, layout)
        assert count > 1 or max_tokens == 10_000
        difference = (parts - whole).norm() / whole.norm()
        assert float(difference) < 1e-12, (max_tokens, layout)


@pytest.mark.parametrize(
    "settings",
    [{"epsilon_low": -0.1}, {"epsilon_low": 1.0}, {"epsilon_high": -1.0}, {"beta": -0.1}, {"beta": math.nan}],
)
def test_contradictions_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=rf"objective\.{next(iter(settings))}: .* is refused"):
        ObjectiveConfig(**settings)
