"""The objective of the update: which surrogate, which KL, which reduction, composed from `losses`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from grpo_lightning import losses
from grpo_lightning.batching import MicroBatch, Sample
from grpo_lightning.logprobs import TokenLogprobs
from grpo_lightning.losses import Estimator, Level, Reduction, Totals

Loss = Literal["clip", "cispo", "sapo", "gmpo", "dppo", "vespo", "reinforce"]

TAKES: dict[Loss, frozenset[str]] = {
    "clip": frozenset({"ratio", "epsilon_low", "epsilon_high", "dual_clip"}),
    "cispo": frozenset({"ratio", "epsilon_high"}),
    "sapo": frozenset({"ratio", "tau_positive", "tau_negative"}),
    "gmpo": frozenset({"epsilon_low", "epsilon_high"}),
    "dppo": frozenset({"tv_limit"}),
    "vespo": frozenset({"shape_positive", "shape_negative"}),
    "reinforce": frozenset(),
}
"""The settings of each loss. All but `reinforce` need the sampler's log-probs."""

TV_LIMIT = 0.2
"""Default of `tv_limit`."""

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class KLConfig:
    """Distance to the reference."""

    beta: float = 0.0
    """Weight. 0 loads no reference. DeepSeekMath: 0.04."""
    estimator: Estimator = "k3"
    """`k1`, `k2`, `k3`, `k3_ratio` (k3 x ratio), `k3_straight` (the value of k3, the gradient of k2)."""
    place: Literal["loss", "reward"] = "loss"
    """`loss` adds beta KL_t to each token's loss; `reward` adds beta (mean KL - KL_t) to each token's advantage."""
    target: float | None = None
    """KL that beta is adapted to hold: beta x (1 + 0.1 clip(KL / target - 1, -0.2, 0.2)) after each rollout."""
    sync_every: int | None = None
    """Rollouts after which the reference moves towards the policy; null: it never moves. (TR-DPO)"""
    sync_mix: float = 1.0
    """How far it moves: reference = mix x policy + (1 - mix) x reference."""

    def __post_init__(self) -> None:
        checks = {
            "beta": (0 <= self.beta < math.inf, "0 (no KL) or positive"),
            "target": (self.target is None or 0 < self.target < math.inf, "positive, or null for a fixed beta"),
            "sync_every": (self.sync_every is None or self.sync_every >= 1, "at least 1, or null for never"),
            "sync_mix": (0 < self.sync_mix <= 1, "above 0 and at most 1"),
        }
        for name, (holds, right) in checks.items():
            if not holds:
                raise ValueError(f"objective.kl.{name}: {getattr(self, name)} is refused; it must be {right}")
        if self.beta == 0 and (self.target is not None or self.sync_every is not None):
            raise ValueError("objective.kl.beta: 0 has no reference to adapt or move; give a positive beta")
        if self.beta == 0 and (self.estimator, self.place) != ("k3", "loss"):
            raise ValueError("objective.kl.estimator, objective.kl.place: have no effect with objective.kl.beta 0")
        if self.sync_mix != 1 and self.sync_every is None:
            raise ValueError("objective.kl.sync_mix: has no effect without objective.kl.sync_every")
        if self.place == "loss" and self.estimator == "k1":
            raise ValueError("objective.kl.estimator: k1 in the loss has no gradient but noise; use k2 or k3")
        if self.place == "reward" and self.estimator in ("k3_ratio", "k3_straight"):
            raise ValueError(f"objective.kl.estimator: {self.estimator!r} is about gradients; in the reward use k1")


@dataclass(frozen=True, kw_only=True)
class EntropyConfig:
    """Exploration."""

    bonus: float = 0.0
    """Weight of the mean entropy of all tokens, which is subtracted from the loss."""
    target: float | None = None
    """Entropy that the bonus is adapted to hold: below it the bonus rises by `step` after each rollout, above it the
    bonus falls and does not act."""
    step: float = 0.0001
    """Of the adaptive bonus."""
    largest: float = 0.01
    """Of the adaptive bonus."""
    top_share: float = 1.0
    """Train only on this share of the rollout's tokens, those of highest entropy (https://arxiv.org/abs/2506.01939:
    0.2). The denominators still count every token."""

    def __post_init__(self) -> None:
        checks = {
            "bonus": (0 <= self.bonus < math.inf, "0 or positive"),
            "target": (self.target is None or 0 < self.target < math.inf, "positive, or null for a fixed bonus"),
            "step": (0 < self.step < math.inf, "positive"),
            "largest": (self.bonus <= self.largest < math.inf or self.target is None, "at least the bonus"),
            "top_share": (0 < self.top_share <= 1, "above 0 and at most 1"),
        }
        for name, (holds, right) in checks.items():
            if not holds:
                raise ValueError(f"objective.entropy.{name}: {getattr(self, name)} is refused; it must be {right}")
        if self.target is None and (self.step, self.largest) != (1e-4, 0.01):
            raise ValueError("objective.entropy.step, objective.entropy.largest: have no effect without a target")


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """What is minimised: a surrogate of each token, reduced, + beta KL - bonus entropy.

    Settings of a loss that are null take its default; one that the loss does not have is refused.
    """

    loss: Loss = "clip"
    """`clip` (PPO, GRPO, DAPO, GSPO), `cispo`, `sapo`, `gmpo`, `dppo`, `vespo`, `reinforce`."""
    ratio: Level | None = None
    """Of clip, cispo, sapo. `token`; `sequence`: the geometric mean over the sequence (GSPO); `sequence_token`: its
    value with the gradient of each token (GSPO-token)."""
    epsilon_low: float | None = None
    """The ratio is clipped below at 1 - epsilon_low (clip: 0.2), or its logarithm at -epsilon_low (gmpo: 0.4)."""
    epsilon_high: float | None = None
    """The same above; null: as epsilon_low. DAPO: 0.28. cispo: the weight is capped at 1 + epsilon_high (4)."""
    dual_clip: float | None = None
    """Of clip: bounds the loss of a token with A < 0 at -dual_clip A; also called two-sided delta. Null: no bound."""
    tau_positive: float | None = None
    """Of sapo, where A > 0 (1.0)."""
    tau_negative: float | None = None
    """Of sapo, where A <= 0 (1.05)."""
    tv_limit: float | None = None
    """Of dppo: a token whose probability has moved further leaves the loss (0.2)."""
    shape_positive: tuple[float, float] | None = None
    """Of vespo: k and lambda where A >= 0 ([2, 3])."""
    shape_negative: tuple[float, float] | None = None
    """Of vespo: k and lambda where A < 0 ([3, 2])."""
    reduction: Reduction = "token"
    """`token`: mean over all tokens (DAPO). `sequence`: mean over sequences of their token means (GRPO). `constant`:
    sum over tokens / (sequences x sampling.max_tokens) (Dr. GRPO). `sequence_sum`: mean over sequences of their sums
    (LUSPO). `prompt`: mean over prompts of their groups' token means (ScaleRL). `local`: mean over micro-batches of
    their token means (BNPO); for comparisons only, because it depends on update.micro_batch_tokens."""
    off_policy_limit: float | None = None
    """Sequences with A < 0 leave the loss once mean_t(log pi_sampler - log pi_policy) is above this (DeepSeek-V3.2)."""
    kl: KLConfig = KLConfig()
    """Distance to the reference."""
    entropy: EntropyConfig = EntropyConfig()
    """Exploration."""

    def __post_init__(self) -> None:
        for name in sorted(frozenset().union(*TAKES.values()) - TAKES[self.loss]):
            if getattr(self, name) is not None:
                users = ", ".join(loss for loss, names in TAKES.items() if name in names)
                raise ValueError(
                    f"objective.{name}: loss {self.loss!r} has no such setting ({users} has); set it to null"
                )
        below = 1.0 if self.loss == "clip" else math.inf
        checks = {
            "epsilon_low": (0 <= self.low < below, f"at least 0 and below {below:g}"),
            "epsilon_high": (0 <= self.high < math.inf, "0 or positive"),
            "dual_clip": (self.dual_clip is None or self.dual_clip > 1 + self.high, "above 1 + epsilon_high, e.g. 3"),
            "tau_positive": (_positive(self.tau_positive), "positive"),
            "tau_negative": (_positive(self.tau_negative), "positive"),
            "tv_limit": (_positive(self.tv_limit), "positive"),
            "shape_positive": (all(map(_positive, self.shape_positive or ())), "two positive numbers"),
            "shape_negative": (all(map(_positive, self.shape_negative or ())), "two positive numbers"),
            "off_policy_limit": (_positive(self.off_policy_limit), "positive, or null for none"),
        }
        for name, (holds, right) in checks.items():
            if not holds:
                raise ValueError(f"objective.{name}: {getattr(self, name)} is refused; it must be {right}")

    @property
    def low(self) -> float:
        return _or(self.epsilon_low, 0.4 if self.loss == "gmpo" else 0.2)

    @property
    def high(self) -> float:
        return _or(self.epsilon_high, 4.0 if self.loss == "cispo" else self.low)

    @property
    def level(self) -> Level:
        return _or(self.ratio, "token")


@dataclass(frozen=True, slots=True, kw_only=True)
class Coefficients:
    """The weights that may be adapted while training; part of the checkpoint."""

    beta: float
    entropy: float
    acts: bool = True
    """Whether the entropy is low enough for its adaptive bonus."""

    @property
    def bonus(self) -> float:
        return self.entropy if self.acts else 0.0


def start_coefficients(config: ObjectiveConfig) -> Coefficients:
    """As configured."""
    return Coefficients(beta=config.kl.beta, entropy=config.entropy.bonus)


def adapted(
    coefficients: Coefficients, config: ObjectiveConfig, *, kl: float | None, entropy: float | None
) -> Coefficients:
    """The coefficients after a rollout whose means over all tokens were `kl` and `entropy`; None: not measured.

    beta: the proportional controller of https://arxiv.org/abs/1909.08593, section 2.2. Entropy: the bonus rises by
    `step` where the entropy is at most the target; above, it falls and does not act (https://arxiv.org/abs/2505.22312).
    """
    beta, bonus, acts = coefficients.beta, coefficients.entropy, coefficients.acts
    if config.kl.target is not None and kl is not None:
        error = min(max(kl / config.kl.target - 1, -0.2), 0.2)
        beta = beta * (1 + 0.1 * error)
    if config.entropy.target is not None and entropy is not None:
        acts = entropy <= config.entropy.target
        bonus = min(max(bonus + (config.entropy.step if acts else -config.entropy.step), 0.0), config.entropy.largest)
    return Coefficients(beta=beta, entropy=bonus, acts=acts)


def with_gradient(samples: Sequence[Sample], config: ObjectiveConfig, coefficients: Coefficients) -> Sequence[Sample]:
    """Those that the model must see: one whose advantages are all zero moves nothing, if nothing else looks at it.

    KL and entropy do; `local` counts what is in a micro-batch. All denominators count every sequence all the same.
    """
    entropy_matters = coefficients.bonus > 0 or config.entropy.target is not None
    if config.kl.beta > 0 or entropy_matters or config.reduction == "local":
        return samples
    return [sample for sample in samples if bool(sample.advantages.any())]


def objective_loss(
    config: ObjectiveConfig,
    policy: TokenLogprobs,
    batch: MicroBatch,
    *,
    coefficients: Coefficients,
    totals: Totals,
    max_tokens: int,
) -> Float[Tensor, ""]:
    """This micro-batch's share of the loss: the shares of all micro-batches and ranks add up to the whole."""
    values = surrogate(config, policy.logprobs, batch)
    if batch.weights is not None:
        values = values * batch.weights
    if config.off_policy_limit is not None:
        values = torch.where(off_policy(config, policy.logprobs, batch), 0.0, values)
    if config.kl.place == "loss" and batch.reference_logprobs is not None:
        distance = losses.kl(policy.logprobs, batch.reference_logprobs, estimator=config.kl.estimator)
        if config.kl.estimator == "k3_ratio":
            base = batch.base_logprobs
            distance = distance * torch.exp(losses.log_ratios(policy.logprobs, base, batch.lengths, level="token"))
        values = values + coefficients.beta * distance
    weights = losses.sequence_weights(config.reduction, batch.lengths, batch.group_tokens, totals, max_tokens)
    loss = torch.sum(values * losses.spread(weights.to(values.dtype), batch.lengths))
    if coefficients.bonus > 0:
        loss = loss - coefficients.bonus * policy.entropy.sum() / max(totals.tokens, 1.0)
    return loss


def surrogate(config: ObjectiveConfig, policy_logprobs: Float[Tensor, " N"], batch: MicroBatch) -> Float[Tensor, " N"]:
    """The configured loss of each token."""
    sampler_logprobs, advantages, lengths = batch.base_logprobs, batch.advantages, batch.lengths
    log_ratio = losses.log_ratios(policy_logprobs, sampler_logprobs, lengths, level=config.level)
    match config.loss:
        case "clip":
            return losses.clipped_surrogate(
                log_ratio,
                advantages,
                epsilon_low=config.low,
                epsilon_high=config.high,
                dual_clip=_or(config.dual_clip, math.inf),
            )
        case "cispo":
            return losses.cispo(policy_logprobs, log_ratio, advantages, epsilon_high=config.high)
        case "sapo":
            tau_positive, tau_negative = _or(config.tau_positive, 1.0), _or(config.tau_negative, 1.05)
            return losses.sapo(log_ratio, advantages, tau_positive=tau_positive, tau_negative=tau_negative)
        case "gmpo":
            return losses.gmpo(log_ratio, advantages, lengths, epsilon_low=config.low, epsilon_high=config.high)
        case "dppo":
            tv_limit = _or(config.tv_limit, TV_LIMIT)
            return losses.dppo(policy_logprobs, sampler_logprobs, advantages, tv_limit=tv_limit)
        case "vespo":
            return losses.vespo(
                policy_logprobs,
                sampler_logprobs,
                advantages,
                lengths,
                shape_positive=_or(config.shape_positive, (2.0, 3.0)),
                shape_negative=_or(config.shape_negative, (3.0, 2.0)),
            )
        case "reinforce":
            return losses.reinforce(policy_logprobs, advantages)


@torch.no_grad()
def held(
    config: ObjectiveConfig, policy_logprobs: Float[Tensor, " N"], batch: MicroBatch
) -> tuple[Bool[Tensor, " N"], Bool[Tensor, " N"]] | None:
    """The tokens that the loss holds at its upper and at its lower edge; None for a loss without edges.

    cispo has an upper edge only, and holds a token's weight there whatever its advantage.
    """
    base, advantages = batch.base_logprobs, batch.advantages
    if config.loss == "dppo":
        return losses.beyond_tv(policy_logprobs, base, advantages, tv_limit=_or(config.tv_limit, TV_LIMIT))
    log_ratio = losses.log_ratios(policy_logprobs, base, batch.lengths, level=config.level)
    match config.loss:
        case "clip":
            above = (log_ratio > math.log1p(config.high)) & (advantages > 0)
            dual = (log_ratio > math.log(_or(config.dual_clip, math.inf))) & (advantages < 0)
            return above | dual, (log_ratio < math.log1p(-config.low)) & (advantages < 0)
        case "gmpo":
            return (log_ratio > config.high) & (advantages > 0), (log_ratio < -config.low) & (advantages < 0)
        case "cispo":
            above = log_ratio > math.log1p(config.high)
            return above, torch.zeros_like(above)
        case _:
            return None


def off_policy(config: ObjectiveConfig, policy_logprobs: Float[Tensor, " N"], batch: MicroBatch) -> Bool[Tensor, " N"]:
    """The tokens that leave the loss because their sequence is off-policy; measured against the engine itself."""
    limit = _or(config.off_policy_limit, math.inf)
    return losses.gone_off_policy(policy_logprobs, batch.sampler_logprobs, batch.advantages, batch.lengths, limit=limit)


def _or(value: Value | None, default: Value) -> Value:
    return default if value is None else value


def _positive(value: float | None) -> bool:
    return value is None or 0 < value < math.inf
