"""Every loss x reduction through the model: splits, packing, identities, finite differences, hostile numbers."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grpo_lightning.batching import GHOST, MicroBatch, Sample, micro_batches
from grpo_lightning.logprobs import TokenLogprobs, completion_logprobs
from grpo_lightning.losses import Totals
from grpo_lightning.objective import (
    Coefficients,
    EntropyConfig,
    KLConfig,
    ObjectiveConfig,
    adapted,
    held,
    objective_loss,
    start_coefficients,
    with_gradient,
)
from tests.tiny import prompt, sample, tiny_policy

VARIANTS: dict[str, dict[str, object]] = {
    "clip": {"loss": "clip", "epsilon_low": 0.2, "epsilon_high": 0.28, "dual_clip": 3.0},
    "gspo": {"loss": "clip", "ratio": "sequence", "epsilon_low": 0.1},
    "gspo_token": {"loss": "clip", "ratio": "sequence_token", "epsilon_low": 0.1},
    "cispo": {"loss": "cispo", "epsilon_high": 0.3},
    "cispo_sequence": {"loss": "cispo", "ratio": "sequence"},
    "sapo": {"loss": "sapo"},
    "sapo_sequence": {"loss": "sapo", "ratio": "sequence"},
    "gmpo": {"loss": "gmpo"},
    "dppo": {"loss": "dppo"},
    "vespo": {"loss": "vespo"},
    "reinforce": {"loss": "reinforce"},
}
REDUCTIONS = ["token", "sequence", "constant", "sequence_sum", "prompt", "local"]
MAX_TOKENS = 12
EXTRAS = {
    "kl": KLConfig(beta=0.1, estimator="k3_ratio"),
    "entropy": EntropyConfig(bonus=0.01),
    "off_policy_limit": 0.05,
}


def ragged_samples(dtype: torch.dtype = torch.float64) -> list[Sample]:
    """Sixteen sequences of four prompts, of unlike lengths, slightly off-policy, with both signs of advantage."""
    generator = torch.Generator().manual_seed(3)
    text, samples = "12+34=abcdefgh", []
    policy = tiny_policy("qwen3", dtype=dtype)
    for i in range(16):
        completion = torch.randint(2, 20, (1 + (7 * i) % 11,), generator=generator).tolist()
        samples.append(sample(prompt(text[: 3 + i // 4]).token_ids, completion, advantage=(-1.0) ** i * (1 + i / 8)))
    tokens = [sum(len(s.counted) for s in samples[4 * g : 4 * g + 4]) for g in range(4)]
    (batch,) = micro_batches(samples, max_tokens=10_000, layout="padded")
    with torch.no_grad():
        exact = completion_logprobs(policy, batch, temperature=0.9).logprobs.split(batch.lengths.tolist())
    for place, i in enumerate(batch.order):
        noise = torch.randn(2, len(samples[i].counted), generator=generator, dtype=dtype)
        samples[i] = replace(
            samples[i],
            group=i // 4,
            group_tokens=tokens[i // 4],
            sampler_logprobs=exact[place] + 0.3 * noise[0],
            reference_logprobs=exact[place] + 0.5 * noise[1],
            advantages=samples[i].advantages.to(dtype),
            weights=torch.where(noise[0] > 1, 0.0, 1.1).to(dtype),
        )
    return samples


def whole_step(samples: list[Sample], micro_batches: int = 1) -> Totals:
    tokens, groups = float(sum(len(s.counted) for s in samples)), float(len({s.group for s in samples}))
    return Totals(tokens=tokens, sequences=float(len(samples)), prompts=groups, micro_batches=float(micro_batches))


def gradient(
    config: ObjectiveConfig,
    samples: Sequence[Sample],
    max_tokens: int,
    layout: str,
    family: str = "qwen3",
    totals: Totals | None = None,
) -> tuple[torch.Tensor, int]:
    """Of the policy's parameters, one entry per weight; and in how many micro-batches."""
    policy = tiny_policy(family, dtype=torch.float64)
    batches = list(micro_batches(samples, max_tokens=max_tokens, layout=layout))
    for batch in batches:
        current = completion_logprobs(policy, batch, temperature=0.9, entropy_gradient=config.entropy.bonus > 0)
        totals = totals or whole_step(samples, len(batches))
        share = objective_loss(
            config, current, batch, coefficients=start_coefficients(config), totals=totals, max_tokens=MAX_TOKENS
        )
        share.backward()
    return torch.cat([p.grad.flatten() for p in policy.parameters()]), len(batches)


@pytest.mark.parametrize(("name", "reduction"), list(product(VARIANTS, [r for r in REDUCTIONS if r != "local"])))
def test_micro_batches_and_packing_change_no_gradient(name: str, reduction: str) -> None:
    """One micro-batch of 16 sequences against about 1, 2, 4 and 16 of them, in each layout, to 1e-12 of the norm; with
    shared prompts to 1e-6, since the norms of this model are in float32, and what rounds there is summed before."""
    config, samples = ObjectiveConfig(**VARIANTS[name], reduction=reduction, **EXTRAS), ragged_samples()
    whole, count = gradient(config, samples, 10_000, "padded")
    assert count == 1
    assert float(whole.norm()) > 1e-6
    cuts = ((150, "padded", 2), (45, "packed", 4), (1, "padded", 16))
    for max_tokens, layout, least in (*cuts, (10_000, "shared", 1), (60, "shared", 2), (1, "shared", 16)):
        parts, count = gradient(config, samples, max_tokens, layout)
        assert count >= least
        near = 1e-6 if layout == "shared" else 1e-12
        assert float((parts - whole).norm() / whole.norm()) < near, (max_tokens, layout)


def test_a_shared_prompt_changes_no_gradient() -> None:
    """In a model that computes all in float64: prompts of 3 to 6 tokens before four completions of 1 to 11 each."""
    samples = ragged_samples()
    whole, _ = gradient(ObjectiveConfig(**EXTRAS), samples, 10_000, "padded", family="gpt2")
    for max_tokens, least in ((10_000, 1), (60, 2), (30, 4), (1, 16)):
        shared, count = gradient(ObjectiveConfig(**EXTRAS), samples, max_tokens, "shared", family="gpt2")
        assert count >= least
        assert float((shared - whole).norm() / whole.norm()) < 1e-12, max_tokens


@pytest.mark.parametrize("name", VARIANTS)
def test_groups_without_advantage_need_not_be_seen(name: str) -> None:
    """Two groups of four: left out of both passes and counted all the same, they change no gradient."""
    samples = [replace(s, advantages=s.advantages * (s.group % 2), weights=None) for s in ragged_samples()]
    config = ObjectiveConfig(**VARIANTS[name])
    seen = with_gradient(samples, config, start_coefficients(config))
    assert [s.group for s in seen] == [1] * 4 + [3] * 4
    whole, _ = gradient(config, samples, 10_000, "padded")
    part, _ = gradient(config, seen, 10_000, "padded", totals=whole_step(samples))
    assert float((part - whole).norm() / whole.norm()) < 1e-12


@pytest.mark.parametrize(
    "changes",
    [
        {"kl": KLConfig(beta=0.1)},
        {"entropy": EntropyConfig(bonus=0.01)},
        {"entropy": EntropyConfig(target=0.5)},
        {"reduction": "local"},
    ],
)
def test_where_more_than_advantages_counts_all_are_seen(changes: dict[str, object]) -> None:
    samples = [replace(s, advantages=torch.zeros_like(s.advantages)) for s in ragged_samples()]
    config = ObjectiveConfig(**changes)
    assert with_gradient(samples, config, start_coefficients(config)) == samples
    assert with_gradient(samples, ObjectiveConfig(), start_coefficients(ObjectiveConfig())) == []


def test_the_local_reduction_depends_on_the_split_and_only_it_does() -> None:
    """Token means of micro-batches of unlike size, averaged: what BNPO does, and why it is for comparisons only."""
    config, samples = ObjectiveConfig(reduction="local"), ragged_samples()
    whole, parts = (gradient(config, samples, size, "padded")[0] for size in (10_000, 70))
    assert float((parts - whole).norm() / whole.norm()) > 0.01
    token, _ = gradient(ObjectiveConfig(reduction="token"), samples, 10_000, "padded")
    assert float((token - whole).norm() / whole.norm()) < 1e-12, "in one piece it is the token mean"


def flat_batch(samples: list[Sample]) -> MicroBatch:
    (batch,) = micro_batches(samples, max_tokens=10_000, layout="padded")
    return batch


def value(config: ObjectiveConfig, logprobs: torch.Tensor, batch: MicroBatch, totals: Totals) -> torch.Tensor:
    told = TokenLogprobs(logprobs=logprobs, entropy=torch.zeros_like(logprobs))
    coefficients = start_coefficients(config)
    return objective_loss(config, told, batch, coefficients=coefficients, totals=totals, max_tokens=MAX_TOKENS)


@pytest.mark.parametrize(("name", "reduction"), list(product(VARIANTS, REDUCTIONS)))
def test_on_policy_gradient_is_reinforce(name: str, reduction: str) -> None:
    """At rho = 1 the gradient with respect to log pi_t is -A_t times the token's weight in the reduction.

    The sequence losses spread it evenly over their sequence, which is the same, as A is equal there.
    """
    samples = [replace(s, weights=None, reference_logprobs=None) for s in ragged_samples()]
    batch = flat_batch(samples)
    totals = whole_step(samples)
    config = ObjectiveConfig(**VARIANTS[name], reduction=reduction)
    logprobs = batch.sampler_logprobs.clone().requires_grad_()
    value(config, logprobs, batch, totals).backward()
    lengths, counts = batch.lengths.double(), {"tokens": 16, "max": MAX_TOKENS}
    weight = {
        "token": torch.full_like(lengths, 1 / totals.tokens),
        "sequence": 1 / (counts["tokens"] * lengths),
        "constant": torch.full_like(lengths, 1 / (16 * counts["max"])),
        "sequence_sum": torch.full_like(lengths, 1 / 16),
        "prompt": 1 / (4 * batch.group_tokens.double()),
        "local": torch.full_like(lengths, 1 / totals.tokens),
    }[reduction]
    expected = -batch.advantages * weight.repeat_interleave(batch.lengths)
    assert torch.allclose(logprobs.grad, expected, rtol=1e-9)


@pytest.mark.parametrize(("name", "reduction"), list(product(VARIANTS, REDUCTIONS)))
def test_gradient_by_finite_differences(name: str, reduction: str) -> None:
    """Central differences in float64. Weights under a stop-gradient are constants of the derivative: those losses are
    compared with the derivative of -w A log pi at fixed w, which is what they claim."""
    samples = ragged_samples()[:5]
    batch, totals = flat_batch(samples), whole_step(samples)
    kl = KLConfig(beta=0.1, estimator="k3")
    config = ObjectiveConfig(**VARIANTS[name], reduction=reduction, kl=kl)
    start = batch.sampler_logprobs + 0.05 * torch.linspace(-1, 1, len(batch.sampler_logprobs), dtype=torch.float64)
    if name in ("cispo", "cispo_sequence", "vespo", "gspo_token"):
        logprobs = start.clone().requires_grad_()
        value(config, logprobs, batch, totals).backward()
        frozen = logprobs.grad
        kl_only = ObjectiveConfig(loss="reinforce", reduction=reduction, kl=kl)
        silent = replace(batch, advantages=torch.zeros_like(batch.advantages))
        again = start.clone().requires_grad_()
        value(kl_only, again, silent, totals).backward()
        ratio = stopped_weight(name, start, batch)
        weights = value_weights(reduction, batch, totals)
        expected = -ratio * batch.advantages * batch.weights * weights + again.grad
        assert torch.allclose(frozen, expected, rtol=1e-9, atol=1e-15)
    else:
        assert torch.autograd.gradcheck(
            lambda x: value(config, x, batch, totals), start.clone().requires_grad_(), atol=1e-7
        )


def stopped_weight(name: str, logprobs: torch.Tensor, batch: MicroBatch) -> torch.Tensor:
    """The factor before A grad log pi, in NumPy: capped ratio, capped sequence ratio, phi(w), or the clipped mean."""
    ratios = (logprobs - batch.sampler_logprobs).numpy()
    lengths = batch.lengths.tolist()
    parts = np.split(ratios, np.cumsum(lengths)[:-1])
    means = np.concatenate([np.full(len(part), part.mean()) for part in parts])
    sums = np.concatenate([np.full(len(part), part.sum()) for part in parts])
    positive = (batch.advantages >= 0).numpy()
    k, lam = np.where(positive, 2.0, 3.0), np.where(positive, 3.0, 2.0)
    found = {
        "cispo": np.minimum(np.exp(ratios), 1.3),
        "cispo_sequence": np.minimum(np.exp(means), 5.0),
        "vespo": np.exp(lam) * np.exp(sums) ** k * np.exp(-lam * np.exp(sums)),
        "gspo_token": np.where(np.abs(np.exp(means) - 1) < 0.1, np.exp(means), 0.0),
    }[name]
    return torch.from_numpy(found)


def value_weights(reduction: str, batch: MicroBatch, totals: Totals) -> torch.Tensor:
    """What each token counts: the derivative of the reduced sum, by REINFORCE with A = -1."""
    ones = replace(batch, advantages=-torch.ones_like(batch.advantages), weights=None, reference_logprobs=None)
    logprobs = torch.zeros_like(batch.advantages).requires_grad_()
    value(ObjectiveConfig(loss="reinforce", reduction=reduction), logprobs, ones, totals).backward()
    assert logprobs.grad is not None
    return logprobs.grad


@pytest.mark.parametrize(
    ("variant", "high", "low"),
    [
        ({"epsilon_low": 0.2, "epsilon_high": 0.28}, [True, False, False, False], [False, False, False, True]),
        ({"loss": "cispo", "epsilon_high": 0.28}, [True, False, True, False], [False] * 4),
        ({"loss": "gmpo", "epsilon_low": 0.4}, [True, False, False, False], [False, False, False, True]),
        ({"loss": "dppo", "tv_limit": 0.2}, [True, False, False, False], [False, False, False, True]),
    ],
)
def test_tokens_at_the_edges_by_hand(variant: dict[str, object], high: list[bool], low: list[bool]) -> None:
    """Probabilities 0.75 and 0.25 from 0.5, ratios 1.5 and 0.5, with A > 0, A > 0, A < 0, A < 0."""
    config = ObjectiveConfig(**variant)
    half = torch.log(torch.full((4,), 0.5))
    batch = replace(
        flat_batch([sample((2,), (3, 4, 5, 6), sampler_logprobs=half)]), advantages=torch.tensor([1.0, 1, -1, -1])
    )
    edges = held(config, half + torch.log(torch.tensor([1.5, 0.5, 1.5, 0.5])), batch)
    assert edges is not None
    assert (edges[0].tolist(), edges[1].tolist()) == (high, low)


def test_a_loss_without_edges_says_so() -> None:
    batch = flat_batch([sample((2,), (3,))])
    for loss in ("sapo", "vespo", "reinforce"):
        assert held(ObjectiveConfig(loss=loss), torch.zeros(1), batch) is None


@pytest.mark.parametrize("name", VARIANTS)
@settings(max_examples=60)
@given(data=st.data())
def test_no_hostile_number_reaches_the_weights(name: str, data: st.DataObject) -> None:
    """Whatever log-probs, advantages, shapes and weights: loss and gradient are finite."""
    lengths = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=5))
    n = sum(lengths)

    def numbers(low: float, high: float) -> torch.Tensor:
        drawn = data.draw(st.lists(st.floats(low, high, width=32), min_size=n, max_size=n))
        return torch.tensor(drawn, dtype=torch.float32)

    samples = [replace(GHOST, completion_ids=(0,) * max(1, length)) for length in lengths]
    batch = replace(
        flat_batch(samples),
        lengths=torch.tensor(lengths),
        group_tokens=torch.tensor(lengths),
        predictors=torch.zeros(n, dtype=torch.long),
        targets=torch.zeros(n, dtype=torch.long),
        advantages=numbers(-1e4, 1e4),
        sampler_logprobs=numbers(-1e4, 0.0),
        reference_logprobs=numbers(-1e4, 0.0),
        weights=numbers(0.0, 5.0),
    )
    reduction = data.draw(st.sampled_from(REDUCTIONS))
    estimator = data.draw(st.sampled_from(["k2", "k3", "k3_ratio", "k3_straight"]))
    config = ObjectiveConfig(**VARIANTS[name], reduction=reduction, kl=KLConfig(beta=0.1, estimator=estimator))
    totals = Totals(tokens=float(n), sequences=float(len(lengths)), prompts=1.0, micro_batches=1.0)
    logprobs = numbers(-1e4, 0.0).requires_grad_()
    loss = value(config, logprobs, batch, totals)
    loss.backward()
    assert bool(torch.isfinite(loss))
    assert bool(torch.isfinite(logprobs.grad).all())


# ------------------------------------------------------------------------------------------------------- coefficients


def test_adaptive_beta_by_hand() -> None:
    """Target 0.1. KL 0.105: x (1 + 0.1 x 0.05). KL 1: the error is clipped to 0.2. KL 0: to -0.2."""
    config = ObjectiveConfig(kl=KLConfig(beta=0.04, target=0.1))
    start = start_coefficients(config)
    for kl, factor in ((0.105, 1.005), (1.0, 1.02), (0.0, 0.98)):
        assert adapted(start, config, kl=kl, entropy=1.0).beta == pytest.approx(0.04 * factor)
    assert adapted(start, config, kl=None, entropy=None) == start


def test_adaptive_entropy_bonus_by_hand() -> None:
    """Target 0.5, step 0.001, from 0.001 up to 0.002: rises below the target, falls above it to no less than 0."""
    config = ObjectiveConfig(entropy=EntropyConfig(bonus=0.001, target=0.5, step=0.001, largest=0.002))
    seen, coefficients = [], start_coefficients(config)
    for entropy in (0.4, 0.4, 0.6, 0.6, 0.6, 0.5):
        coefficients = adapted(coefficients, config, kl=None, entropy=entropy)
        seen.append((round(coefficients.entropy, 6), round(coefficients.bonus, 6)))
    assert seen == [(0.002, 0.002), (0.002, 0.002), (0.001, 0), (0, 0), (0, 0), (0.001, 0.001)]


def test_a_controlled_kl_settles_at_its_target() -> None:
    """A policy whose KL is 0.002 / beta: from beta = 0.2 and KL 0.01 to the fixed point beta = 0.04, KL 0.05."""
    config = ObjectiveConfig(kl=KLConfig(beta=0.2, target=0.05))
    coefficients = start_coefficients(config)
    for _ in range(400):
        coefficients = adapted(coefficients, config, kl=0.002 / coefficients.beta, entropy=None)
    assert coefficients.beta == pytest.approx(0.04, rel=1e-3)


def test_fixed_coefficients_stay() -> None:
    config = ObjectiveConfig(kl=KLConfig(beta=0.04), entropy=EntropyConfig(bonus=0.01))
    assert adapted(start_coefficients(config), config, kl=9.0, entropy=0.0) == Coefficients(beta=0.04, entropy=0.01)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ObjectiveConfig(epsilon_low=-0.1), r"objective\.epsilon_low: -0\.1 is refused; .* at least 0"),
        (lambda: ObjectiveConfig(epsilon_low=1.0), r"objective\.epsilon_low: 1\.0 is refused"),
        (lambda: ObjectiveConfig(epsilon_high=-1.0), r"objective\.epsilon_high: -1\.0 is refused"),
        (lambda: ObjectiveConfig(dual_clip=1.1), r"objective\.dual_clip: 1\.1 is refused; .* above 1 \+ epsilon_high"),
        (lambda: ObjectiveConfig(loss="sapo", epsilon_low=0.2), r"objective\.epsilon_low: loss 'sapo' has no such"),
        (lambda: ObjectiveConfig(loss="gmpo", ratio="sequence"), r"objective\.ratio: loss 'gmpo' has no such setting"),
        (lambda: ObjectiveConfig(loss="sapo", tau_positive=0.0), r"objective\.tau_positive: 0\.0 is refused"),
        (lambda: ObjectiveConfig(off_policy_limit=0.0), r"objective\.off_policy_limit: 0\.0 is refused"),
        (lambda: KLConfig(beta=-0.1), r"objective\.kl\.beta: -0\.1 is refused"),
        (lambda: KLConfig(beta=math.nan), r"objective\.kl\.beta: nan is refused"),
        (lambda: KLConfig(target=0.1), r"objective\.kl\.beta: 0 has no reference"),
        (lambda: KLConfig(beta=0.1, sync_mix=0.5), r"objective\.kl\.sync_mix: has no effect"),
        (lambda: KLConfig(beta=0.1, estimator="k1"), r"objective\.kl\.estimator: k1 in the loss has no gradient"),
        (lambda: KLConfig(beta=0.1, estimator="k3_ratio", place="reward"), r"objective\.kl\.estimator: 'k3_ratio'"),
        (lambda: KLConfig(place="reward"), r"objective\.kl\.estimator, objective\.kl\.place: have no effect"),
        (lambda: EntropyConfig(step=0.1), r"objective\.entropy\.step, .* have no effect without a target"),
        (lambda: EntropyConfig(top_share=0.0), r"objective\.entropy\.top_share: 0\.0 is refused"),
        (lambda: EntropyConfig(bonus=0.1, target=1.0), r"objective\.entropy\.largest: 0\.01 is refused"),
    ],
)
def test_contradictions_are_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
