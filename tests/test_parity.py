"""TRL 1.16.0's own GRPO code beside ours on the same numbers: loss and gradient, advantages, mismatch corrections.

TRL's methods run unchanged on a stand-in that answers what they read of a trainer: TRL's defaults, and scripted
log-probs, completions and rewards. All is in float64, and agreement is to 1e-12 of the gradient's norm. Where TRL
differs, by a fault or by choice, a test says how, with TRL's number and ours: it fails on the day that TRL changes.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import combinations, product
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from grpo_lightning import objective
from grpo_lightning.advantages import AdvantageConfig, group_advantages
from grpo_lightning.batching import micro_batches, totals_of
from grpo_lightning.combine import CombineConfig
from grpo_lightning.filters import FilterConfig, outcome
from grpo_lightning.logprobs import TokenLogprobs
from grpo_lightning.mismatch import MismatchConfig, accepts
from grpo_lightning.objective import EntropyConfig, KLConfig, ObjectiveConfig
from grpo_lightning.preparation import Recipe, reweighted
from grpo_lightning.ranks import Ranks
from grpo_lightning.ways import weighted_sum
from tests.tiny import sample

pytest.importorskip("trl")
pytestmark = pytest.mark.parity

Rows = Sequence[int]
LENGTHS = (6, 3, 1, 4, 2, 5)
"""21 tokens: the 0.75 quantile of 21 values is one of them, the 0.67 quantile lies between two."""
HALVES = ([0, 1, 2], [3, 4, 5])
MAX_TOKENS = 12
WINDOW = ["current_gradient_accumulation_steps", "steps_per_generation"]


@dataclass(frozen=True, kw_only=True)
class Data:
    """B sequences, padded on the right to (B, T) with noise that nobody may look at."""

    lengths: tuple[int, ...]
    policy: Tensor
    proximal: Tensor  # the policy as it was when the rollout began
    engine: Tensor
    reference: Tensor
    entropy: Tensor
    advantages: Tensor

    @property
    def mask(self) -> Tensor:
        return torch.arange(self.policy.shape[1]) < torch.tensor(self.lengths)[:, None]


def data(lengths: tuple[int, ...] = LENGTHS) -> Data:
    """Log-ratios of deviation 0.6, so that clips, caps and limits have tokens on both sides; entropies in 1/64."""
    generator = torch.Generator().manual_seed(11)
    shape = len(lengths), max(lengths)
    noise = 0.6 * torch.randn(3, *shape, generator=generator, dtype=torch.float64)
    proximal = -torch.rand(shape, generator=generator, dtype=torch.float64) - 1
    return Data(
        lengths=lengths,
        policy=proximal + noise[0],
        proximal=proximal,
        engine=(proximal + noise[1]).float().double(),  # TRL puts the engine's into float32
        reference=proximal + noise[2],
        entropy=(torch.rand(shape, generator=generator) * 64).ceil().double() / 64,
        advantages=torch.tensor([-1.0, 1.5, 0.7, -0.4, 0.0, -2.0], dtype=torch.float64)[: len(lengths)],
    )


def on_policy(lengths: tuple[int, ...]) -> Data:
    """Ratios of one and advantages of one: the loss of a token is -1."""
    found = data(lengths)
    return replace(found, policy=found.proximal, advantages=torch.ones(len(lengths), dtype=torch.float64))


class Found(NamedTuple):
    """A loss, and its gradients with respect to log-probs and entropies, (B, T)."""

    loss: float
    policy: Tensor
    entropy: Tensor


def found_of(loss: Tensor, policy: Tensor, entropy: Tensor) -> Found:
    gradients = torch.autograd.grad(loss, (policy, entropy), materialize_grads=True, allow_unused=True)
    return Found(float(loss.detach()), *gradients)


def far(one: Found, other: Found) -> float:
    """How far apart two losses are, and two gradients relative to their norm."""
    gradient, rest = (torch.cat([found.policy, found.entropy]) for found in (one, other))
    return max(float((gradient - rest).norm() / gradient.norm()), abs(one.loss - other.loss))


# -------------------------------------------------------------------------------------------------- TRL's code and ours


def stand_in(
    given: Data, rewards: np.ndarray | None = None, weights: Sequence[float] = (1.0,), **settings: object
) -> SimpleNamespace:
    """What GRPOTrainer's methods read: TRL's defaults, `settings`, samples and their rewards (P, G, K)."""
    from accelerate import Accelerator
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer

    rewards = np.zeros((1, len(given.lengths), 1)) if rewards is None else rewards
    trainer = SimpleNamespace(**{field.name: field.default for field in fields(GRPOConfig)})
    policy, reference = (SimpleNamespace(training=True, is_gradient_checkpointing=False) for _ in range(2))
    told = {id(policy): given.proximal, id(reference): given.reference}
    ids = [[2] * length for length in given.lengths]
    engine = [row[:length].tolist() for row, length in zip(given.engine, given.lengths, strict=True)]
    put = vars(trainer).update
    put(dict.fromkeys(["tools", "environments", "environment_factories", "pad_to_multiple_of"]))
    put(dict.fromkeys(["gradient_accumulation_steps", *WINDOW], 1))
    put(num_iterations=2)  # with one, TRL takes the policy for the sampler
    put(args=trainer, model=policy, ref_model=reference, accelerator=Accelerator(cpu=True), aux_loss_enabled=False)
    put(max_completion_length=MAX_TOKENS, num_generations=rewards.shape[1], _tokenizer=SimpleNamespace(pad_token_id=0))
    put(reward_funcs=[None] * len(weights), reward_func_names=["r"] * len(weights))
    put(reward_weights=torch.tensor(weights, dtype=torch.float64), _pending_metrics={}, _pending_extra_logs={})
    put(_entropy_window_stats=None, _last_world_entropy=math.inf, _metrics=defaultdict(lambda: defaultdict(list)))
    put(_logs={"prompt": [], "completion": [], "rewards": defaultdict(list), "advantages": []})
    put(_generate=lambda _: (ids, ids, None, ids, engine if trainer.use_vllm else None, {}, None, None))
    put(_get_per_token_logps_and_entropies=lambda model, *_, **__: (told[id(model)], None, None))
    put(_calculate_rewards=lambda *_: torch.tensor(rewards).flatten(0, 1))
    put(get_off_policy_mask=GRPOTrainer.get_off_policy_mask, get_gamma_weights=GRPOTrainer.get_gamma_weights)
    put(get_high_entropy_mask=partial(GRPOTrainer.get_high_entropy_mask, trainer))
    put(scored=lambda: GRPOTrainer._generate_and_score_completions(trainer, [{"prompt": "?"}] * len(ids)))
    put(share=lambda inputs: GRPOTrainer._compute_loss(trainer, None, inputs))
    put(settings)
    put(epsilon_low=trainer.epsilon, epsilon_high=trainer.epsilon_high or trainer.epsilon)
    put(_entropy_bonus_enabled=trainer.entropy_coef != 0 or trainer.use_adaptive_entropy)
    return trainer


def trl_loss(given: Data, trainer: SimpleNamespace, parts: Sequence[Rows]) -> Found:
    """The shares of the micro-batches, added up as the gradient accumulation does."""
    whole, loss = trainer.scored() | {"advantages": given.advantages}, torch.zeros((), dtype=torch.float64)
    told = trainer._get_per_token_logps_and_entropies
    policy, entropy = given.policy.clone().requires_grad_(), given.entropy.clone().requires_grad_()
    for part in parts:
        trainer._get_per_token_logps_and_entropies = lambda *_, _part=part, **__: (policy[_part], entropy[_part], None)
        batch = {name: value[part] if value.dim() else value for name, value in whole.items()}
        loss = loss + trainer.share(batch)
    trainer._get_per_token_logps_and_entropies = told
    return found_of(loss, policy, entropy)


def trl(given: Data, parts: Sequence[Rows] = (), **settings: object) -> Found:
    """One accumulation window, which is all that was generated unless `settings` say otherwise."""
    parts = parts or [list(range(len(given.lengths)))]
    return trl_loss(given, stand_in(given, **dict.fromkeys(WINDOW, len(parts)) | settings), parts)


def ours(given: Data, config: ObjectiveConfig, parts: Sequence[Rows] = (), **mismatch: object) -> Found:
    """One optimizer step over the micro-batches `parts`, prepared and cut by the package."""
    parts = parts or [list(range(len(given.lengths)))]
    cuts = [(i, slice(length)) for i, length in enumerate(given.lengths)]
    samples = [
        sample(
            [2],
            [2] * given.lengths[i],
            sampler_logprobs=(given.engine if mismatch else given.proximal)[i][cut],
            advantage=float(given.advantages[i]),
            reference_logprobs=given.reference[i][cut] if config.kl.beta > 0 else None,
        )
        for i, cut in cuts
    ]
    against = MismatchConfig(**mismatch)
    settings = {"advantage": AdvantageConfig(), "filters": FilterConfig(), "combine": CombineConfig()}
    recipe = Recipe(objective=config, mismatch=against, **settings)
    if recipe.looks_again:
        told = [TokenLogprobs(logprobs=given.proximal[i][cut], entropy=given.entropy[i][cut]) for i, cut in cuts]
        samples, _ = reweighted(samples, told, recipe, Ranks.one())
    totals = totals_of([samples[i] for part in parts for i in part], len(parts), Ranks.one())
    policy, entropy = given.policy.clone().requires_grad_(), given.entropy.clone().requires_grad_()
    loss, start = torch.zeros((), dtype=torch.float64), objective.start_coefficients(config)
    for part in parts:
        (batch,) = micro_batches([samples[i] for i in part], max_tokens=10_000, layout="padded")
        order = [cuts[part[place]] for place in batch.order]
        flat = [torch.cat([values[i][cut] for i, cut in order]) for values in (policy, entropy)]
        now = TokenLogprobs(logprobs=flat[0], entropy=flat[1])
        loss += objective.objective_loss(config, now, batch, coefficients=start, totals=totals, max_tokens=MAX_TOKENS)
    return found_of(loss, policy, entropy)


# ---------------------------------------------------------------------------------------------------- loss and gradient


def vllm(mode: str, low: float | None, high: float) -> dict[str, object]:
    """TRL's settings for samples from vLLM."""
    limits = {"vllm_importance_sampling_clip_min": low, "vllm_importance_sampling_clip_max": high}
    return {"use_vllm": True, "vllm_importance_sampling_mode": mode, **limits}


EDGES, OUR_EDGES = {"epsilon": 0.2, "epsilon_high": 0.28}, {"epsilon_low": 0.2, "epsilon_high": 0.28}
LOSSES = {
    "grpo": (EDGES, {"reduction": "sequence", **OUR_EDGES}),
    "bnpo": (EDGES, {"reduction": "local", **OUR_EDGES}),
    "dr_grpo": (EDGES, {"reduction": "constant", **OUR_EDGES}),
    "dapo": (EDGES, {"reduction": "token", **OUR_EDGES}),
    "dapo delta": ({**EDGES, "delta": 1.4}, {"dual_clip": 1.4, **OUR_EDGES}),
    "luspo": (EDGES, {"reduction": "sequence_sum", **OUR_EDGES}),
    "cispo": ({"epsilon_high": 1.3}, {"loss": "cispo", "epsilon_high": 0.3}),
    "sapo": ({"sapo_temperature_neg": 2.0}, {"loss": "sapo", "reduction": "sequence", "tau_negative": 2.0}),
    "vespo": ({}, {"loss": "vespo"}),
}
"""Name, which begins with TRL's loss type -> TRL's settings, and ours. 2.0 because both hold sapo's tau in float32."""
EXTRAS = {
    "nothing": ({}, {}, {}),
    "k3": ({"beta": 0.1, "use_bias_correction_kl": False}, {"kl": KLConfig(beta=0.1)}, {}),
    "k3_ratio": ({"beta": 0.1}, {"kl": KLConfig(beta=0.1, estimator="k3_ratio")}, {}),
    "off-policy": ({"off_policy_mask_threshold": 0.05}, {"off_policy_limit": 0.05}, {}),
    "bonus": ({"entropy_coef": 0.02}, {"entropy": EntropyConfig(bonus=0.02)}, {}),
    "top 0.25": ({"top_entropy_quantile": 0.25}, {"entropy": EntropyConfig(top_share=0.25)}, {}),
    "top 0.33": ({"top_entropy_quantile": 0.33}, {"entropy": EntropyConfig(top_share=0.33)}, {}),
    "truncate": (vllm("token_truncate", None, 1.2), {}, {"correction": "truncate", "high": 1.2}),
    "mask": (vllm("token_mask", 0.8, 1.2), {}, {"correction": "mask", "low": 0.8, "high": 1.2}),
}
"""Name -> TRL's settings, ours, and those of our MismatchConfig."""
EXTRAS["all"] = tuple(EXTRAS["k3"][n] | EXTRAS["off-policy"][n] | EXTRAS["mask"][n] for n in range(3))
DIFFER = {("vespo", "sequence"), ("vespo", "truncate"), ("vespo", "mask"), ("vespo", "all"), ("sequence", "k3_ratio")}
"""TRL's vespo has no level, and takes the weights into its phi; for the KL see a `choice` below."""
CASES = [c for c in product(LOSSES, ("token", "sequence"), EXTRAS) if not DIFFER & {c[:2], c[1:], c[::2]}]


def both(loss: str, level: str, extra: str = "nothing", parts: Sequence[Rows] = ()) -> tuple[Found, Found]:
    """TRL's, and ours."""
    (theirs, mine), (more, added, mismatch) = LOSSES[loss], EXTRAS[extra]
    settings = {"loss_type": loss.split()[0], "importance_sampling_level": level, **theirs, **more}
    config = ObjectiveConfig(**mine, **added, ratio=None if loss == "vespo" else level)
    return trl(data(), parts, **settings), ours(data(), config, parts, **mismatch)


@pytest.mark.parametrize(("loss", "level", "extra"), CASES)
def test_loss_and_gradient(loss: str, level: str, extra: str) -> None:
    """In one micro-batch, and in two of 10 and 11 tokens; for entropies in two see the faults below."""
    theirs, mine = both(loss, level, extra)
    assert far(theirs, mine) < 1e-12
    assert theirs.policy.norm() > 0.01
    assert (theirs.policy[~data().mask] == 0).all()
    if extra != "bonus" and not extra.startswith("top"):
        assert far(*both(loss, level, extra, HALVES)) < 1e-12


def test_every_loss_and_setting_matters_on_these_numbers() -> None:
    """Only `bnpo` and `dapo` agree: in one micro-batch they are the same mean."""
    found = {name: both(name, "token")[0] for name in LOSSES} | {"gspo": both("grpo", "sequence")[0]}
    assert [pair for pair in combinations(found, 2) if far(*(found[p] for p in pair)) < 1e-3] == [("bnpo", "dapo")]
    found = {name: both("grpo", "token", name)[0] for name in EXTRAS}
    assert not [pair for pair in combinations(found, 2) if far(*(found[p] for p in pair)) < 1e-3]


def test_the_constants_of_the_papers_are_the_defaults_of_both() -> None:
    """To 1e-7, the rounding of 1.05 to float32."""
    for loss, reduction in (("sapo", "sequence"), ("vespo", "token")):
        assert far(trl(data(), loss_type=loss), ours(data(), ObjectiveConfig(loss=loss, reduction=reduction))) < 1e-7


def test_fault_cispo_caps_at_epsilon_high() -> None:
    """TRL caps the ratio at epsilon_high, by default 0.2, not at 1 + epsilon_high: on-policy the gradient -1/4 of each
    of four tokens is scaled by 0.2.
    """
    given = on_policy((2, 2))
    assert trl(given, loss_type="cispo").policy.flatten().tolist() == pytest.approx([-0.2 / 4] * 4)
    mine = ours(given, ObjectiveConfig(loss="cispo", epsilon_high=0.2))
    assert mine.policy.flatten().tolist() == pytest.approx([-1 / 4] * 4)


def test_fault_windows_of_one_generation_share_a_denominator() -> None:
    """Four optimizer steps of 47, 48, 11 and 29 tokens are each divided by 135 / 4 = 33.75 instead of by their own
    tokens: on-policy with A = 1 their losses are -47 / 33.75 and so on instead of -1.
    """
    given, steps = on_policy((47, 48, 11, 29)), [[[i]] for i in range(4)]
    theirs = [trl(given, step, loss_type="dapo", steps_per_generation=4).loss for step in steps]
    assert theirs == pytest.approx([-47 / 33.75, -48 / 33.75, -11 / 33.75, -29 / 33.75])
    assert [ours(given, ObjectiveConfig(), step).loss for step in steps] == pytest.approx([-1.0] * 4)


def test_fault_bnpo_and_the_entropy_bonus_depend_on_the_split() -> None:
    """Of sequences of 3 and 1 a token weighs 1/4; in two micro-batches, whose means are averaged, 1/6 or 1/2. TRL's
    bonus does so for every loss. Our `local` is bnpo and says so; nothing else here depends on the split.
    """
    given, split, bonus = on_policy((3, 1)), [[0], [1]], EntropyConfig(bonus=1.0)
    theirs = [trl(given, parts, loss_type="bnpo", entropy_coef=1.0) for parts in ((), split)]
    mine = [ours(given, ObjectiveConfig(reduction=r, entropy=bonus), split) for r in ("local", "token")]
    whole, apart = [-1 / 4] * 4, [-1 / 6] * 3 + [-1 / 2]
    assert np.allclose([f.policy[given.mask] for f in theirs + mine], [whole, apart, apart, whole])
    assert np.allclose([f.entropy[given.mask] for f in theirs + mine], [whole, apart, whole, whole])


def test_fault_the_top_entropy_threshold_is_the_micro_batchs() -> None:
    """Entropies 1, 2 | 3, 4: the upper half of all is 3, 4, but of each micro-batch by itself 2 and 4.
    By choice, TRL's bonus is the mean entropy of these, 1/2 for each in one micro-batch, and ours that of all tokens.
    """
    given = replace(on_policy((2, 2)), entropy=torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64))
    settings = {"loss_type": "dapo", "top_entropy_quantile": 0.5, "entropy_coef": 1.0}
    config = ObjectiveConfig(entropy=EntropyConfig(top_share=0.5, bonus=1.0))
    assert (trl(given, [[0], [1]], **settings).policy != 0).tolist() == [[False, True], [False, True]]
    assert (ours(given, config, [[0], [1]]).policy != 0).tolist() == [[False, False], [True, True]]
    assert trl(given, **settings).entropy.tolist() == [[0, 0], [-0.5, -0.5]]
    assert ours(given, config).entropy.tolist() == [[-0.25, -0.25], [-0.25, -0.25]]


def test_choice_the_kl_at_sequence_level_is_weighted_by_the_sequences_ratio() -> None:
    """Ratios 2 and 1/2 have the mean 1.25 and the geometric mean 1; k3 is k = ln 2 - 1/2 at both tokens. TRL's KL is
    1 k, ours 1.25 k: the gradient is the reverse KL's only with the token's own ratio, as TRL's documentation says.
    """
    given = data((2,))
    policy = given.proximal + math.log(2) * torch.tensor([[1.0, -1.0]])
    given = replace(given, policy=policy, reference=policy - math.log(2), advantages=given.advantages * 0)
    mine = ObjectiveConfig(kl=KLConfig(beta=1.0, estimator="k3_ratio"), ratio="sequence")
    theirs = trl(given, loss_type="dapo", beta=1.0, importance_sampling_level="sequence").loss
    assert [theirs, ours(given, mine).loss] == pytest.approx([math.log(2) - 0.5, 1.25 * (math.log(2) - 0.5)], abs=1e-6)


@pytest.mark.parametrize("start", [0.0, 0.004])
def test_adaptive_entropy_bonus(start: float) -> None:
    """Up by 0.005, to 0.01, while not above 0.25; a step back and silent after 0.4; up again after 0.1. By choice,
    TRL's is silent at the first step, before anything is measured, where ours acts.
    """
    limits = {"entropy_coef_delta": 0.005, "entropy_coef_min": 0.0, "entropy_coef_max": 0.01, "entropy_target": 0.25}
    trainer = stand_in(data(), loss_type="dapo", entropy_coef=start, use_adaptive_entropy=True, **limits)
    config = ObjectiveConfig(entropy=EntropyConfig(bonus=start, target=0.25, step=0.005, largest=0.01))
    coefficients, theirs, mine = objective.start_coefficients(config), [], []
    for entropy in (0.2, 0.25, 0.2, 0.4, 0.1, 0.1):
        given = replace(data(), entropy=torch.full_like(data().entropy, entropy))
        theirs.append(-float(trl_loss(given, trainer, [range(6)]).entropy.sum()))
        mine.append(coefficients.bonus)
        coefficients = objective.adapted(coefficients, config, kl=None, entropy=entropy)
    assert theirs == pytest.approx([0.0, start + 0.005, 0.01, 0.01, 0.0, 0.01])
    assert mine == pytest.approx([start, *theirs[1:]])


# ----------------------------------------------------------------------------------------------- rewards and advantages

REWARDS = np.random.default_rng(0).choice([0.0, 0.3, 1.0], size=(4, 3, 2))


def trl_advantages(rewards: np.ndarray, weights: Sequence[float] = (1.0,), **settings: object) -> np.ndarray:
    output = stand_in(data((1,) * rewards[:, :, 0].size), rewards, weights, **settings).scored()
    return output["advantages"].view(rewards.shape[:2]).numpy()


def our_advantages(rewards: np.ndarray, weights: Sequence[float] = (1.0,), **settings: str) -> np.ndarray:
    combined = weighted_sum(rewards, np.array(weights))
    return group_advantages(combined, np.ones(combined.shape, dtype=int), AdvantageConfig(**settings))


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_sum_then_normalize(scale: str) -> None:
    """The second time one completion has no reward. To 1e-7: TRL has Bessel's factor, 12 / 11, in float32."""
    hole = REWARDS.copy()
    hole[1, 2] = math.nan
    for rewards in (REWARDS, hole):
        mine = our_advantages(rewards, (1.0, 0.2), scale=scale)
        assert np.abs(trl_advantages(rewards, (1.0, 0.2), scale_rewards=scale) - mine).max() < 1e-7
        assert np.abs(mine).max() > 0.1
    assert mine[1, 2] == 0


def test_normalize_then_sum() -> None:
    """GDPO: each reward's group advantages, their weighted sum, and of that the batch advantages."""
    parts = np.stack([our_advantages(REWARDS[:, :, [k]]) for k in range(2)], axis=2)
    mine = our_advantages(parts, (1.0, 0.2), centre="batch", scale="batch")
    theirs = trl_advantages(REWARDS, (1.0, 0.2), multi_objective_aggregation="normalize_then_sum")
    assert np.abs(mine - theirs).max() < 1e-7
    assert np.abs(mine - our_advantages(REWARDS, (1.0, 0.2))).max() > 0.1, "not sum_then_normalize"


def test_fault_a_reward_that_abstains_counts_as_zero() -> None:
    """Rewards (1, 1) and (1, does not apply): TRL sums 2 and 1, so the second completion loses by not being judged,
    1 - 1.5 = -0.5. Here the group's mean 1 stands in, and neither gains.
    """
    rewards = np.array([[[1.0, 1.0], [1.0, math.nan]]])
    assert trl_advantages(rewards, (1.0, 1.0), scale_rewards="none").tolist() == [[0.5, -0.5]]
    assert our_advantages(rewards, (1.0, 1.0), scale="none").tolist() == [[0.0, 0.0]]


def test_fault_an_infinite_reward_silences_the_batch_or_ruins_it() -> None:
    """inf - inf is NaN, which TRL takes for `unscored`: with batch scaling all are 0, without any the other completion
    of the group gets the lowest float. Ours refuses.
    """
    rewards = np.array([[[math.inf], [0.0]], [[1.0], [0.0]]])
    assert trl_advantages(rewards, scale_rewards="batch").tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert trl_advantages(rewards, scale_rewards="none")[0, 1] == np.finfo(np.float64).min
    with pytest.raises(ValueError, match="inf reached the advantages"):
        our_advantages(rewards)


def test_fault_no_group_is_silent_under_batch_scaling() -> None:
    """Of the groups (1, 1), (1, 0), half have nothing to learn. TRL says so under group scaling; under batch scaling it
    says none, by the deviation of the batch. Two rewards of one name go into one metric.
    """
    rewards = np.array([[[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 0.0]]])
    for scale, share in (("group", 0.5), ("batch", 0.0)):
        trainer = stand_in(data((1,) * 4), rewards, (1.0, 1.0), scale_rewards=scale)
        trainer.scored()
        assert trainer._metrics["train"]["frac_reward_zero_std"] == [share]
        assert trainer._metrics["train"]["rewards/r/mean"] == [0.75, 0.0]
    assert (~outcome(rewards[:, :, 0]).mixed).tolist() == [True, False]


def test_choice_the_sequence_mask_is_the_geometric_means() -> None:
    """Every token 1.1 times as likely as the engine said, limits 0.5 and 3: TRL's product over 16 tokens, 1.1^16 = 4.6,
    drops the sequence, and that over 2 stays in as a weight of 1.21. Ours accepts both, their mean is 1.1.
    """
    given = replace(data((16, 2)), engine=data((16, 2)).proximal - math.log(1.1))
    scored = stand_in(given, **vllm("sequence_mask", 0.5, 3.0)).scored()
    assert scored["importance_sampling_ratio"].flatten().tolist() == pytest.approx([0.0, 1.21], abs=1e-6)
    config = MismatchConfig(correction="sequence", low=0.5, high=3.0)
    assert all(accepts(config, given.proximal[i, :n], given.engine[i, :n]) for i, n in enumerate(given.lengths))
