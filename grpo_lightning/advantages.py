"""Rewards -> advantages: (r - centre) / scale, pure functions of (P, G) arrays.

A group is a row of the array, never found by text or id. NaN marks a completion that has no reward or was filtered out:
it leaves every mean and standard deviation and gets advantage 0. For `batch` and `whiten` the array must hold the rows
of all ranks.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

Array = np.ndarray

Centre = Literal["group", "leave_one_out", "length", "batch", "runner_up", "none"]
Scale = Literal["group", "batch", "whiten", "mean", "none"]

LARGEST_REWARD = 1e12
"""Beyond this a reward is a mistake, and its square no longer leaves room for the sums."""

SMALLEST_SCALE = 1e-24
"""Less than this counts as zero: of the largest reward, divided by less, float32 holds no quotient."""


@dataclass(frozen=True, kw_only=True)
class AdvantageConfig:
    """How a reward becomes an advantage: A = (r - centre) / scale."""

    centre: Centre = "group"
    """`group`: its mean. `leave_one_out`: the mean of the others (RLOO). `length`: its mean weighted by tokens (OPO).
    `batch`: the mean over all groups (REINFORCE++). `runner_up`: only the best counts, by its lead (pass@k). `none`."""
    scale: Scale = "group"
    """`group`: its standard deviation (GRPO). `batch`: that of all rewards (LitePPO, ScaleRL). `whiten`: that of all
    centred rewards (REINFORCE++-baseline). `mean`: the group's mean (MaxRL). `none` (Dr. GRPO)."""
    std: Literal["sample", "population"] = "sample"
    """Which standard deviation: over G - 1 or over G."""
    eps: float = 1e-4
    """Added to the standard deviation, so that little spread divides by something. The mean of MaxRL gets none."""
    keep: int | None = None
    """GFPO: of each group only this many completions train, the best by `keep_by`; null: all."""
    keep_by: Literal["length", "efficiency"] = "length"
    """`length`: the shortest. `efficiency`: the highest reward per token."""
    overlong_share: float = 0.0
    """DAPO's soft punishment: over this last share of sampling.max_tokens the reward falls by up to 1 (0.2)."""

    def __post_init__(self) -> None:
        if not 0 <= self.eps < np.inf:
            raise ValueError(f"advantage.eps: {self.eps} is refused; use 0 or a small positive number like 1e-4")
        if self.keep is not None and self.keep < 2:
            raise ValueError(f"advantage.keep: {self.keep} has no baseline; keep at least 2 completions of a group")
        if not 0 <= self.overlong_share <= 1:
            raise ValueError(f"advantage.overlong_share: {self.overlong_share} is refused; it must be between 0 and 1")
        if self.scale == "mean" and self.overlong_share > 0:
            raise ValueError(
                "advantage.overlong_share: makes rewards negative, which advantage.scale 'mean' cannot take"
            )
        if self.keep is None and self.keep_by != "length":
            raise ValueError("advantage.keep_by: has no effect without advantage.keep")

    @property
    def needs_all_ranks(self) -> bool:
        return self.centre == "batch" or self.scale in ("batch", "whiten")


def group_advantages(
    rewards: Float[Array, "P G"], lengths: Int[Array, "P G"], config: AdvantageConfig
) -> Float[Array, "P G"]:
    """A = (r - centre(r)) / scale(r), for instance GRPO's (r - mean) / (std + eps) (https://arxiv.org/abs/2402.03300).

    A scale of zero gives zeros. A group of equal rewards gets exactly 0 from every centre inside the group. Four right
    of eight give +-0.94 with the sample std (0.53) and +-1 with the population one (0.5).
    """
    if rewards.shape[1] < 2:
        raise ValueError(f"group_size: {rewards.shape[1]} has no baseline; use at least 2 completions per prompt")
    if (np.abs(rewards) > LARGEST_REWARD).any():
        worst = rewards.flat[np.nanargmax(np.abs(rewards))]
        raise ValueError(f"rewards: {worst:g} reached the advantages; they must be finite and below {LARGEST_REWARD:g}")
    if config.scale == "mean" and (rewards < 0).any():
        raise ValueError(f"advantage.scale: 'mean' needs rewards of at least 0; one is {np.nanmin(rewards):g}")
    valid = ~np.isnan(rewards)
    centred = np.where(valid, _centred(rewards, lengths, valid, config.centre), 0.0)
    if config.scale == "none":
        return centred
    scale = _scale(rewards, centred, valid, config)
    return np.divide(centred, scale, out=np.zeros_like(centred), where=np.isfinite(scale) & (scale >= SMALLEST_SCALE))


def scale_of(
    rewards: Float[Array, "P G"], lengths: Int[Array, "P G"], config: AdvantageConfig
) -> Float[Array, "P 1"] | Float[Array, "1 1"]:
    """What `group_advantages` divides by, for each group or for all; what is divided by 0 becomes 0."""
    if config.scale == "none":
        return np.ones((1, 1))
    valid = ~np.isnan(rewards)
    return _scale(rewards, np.where(valid, _centred(rewards, lengths, valid, config.centre), 0.0), valid, config)


def _centred(
    rewards: Float[Array, "P G"], lengths: Int[Array, "P G"], valid: Bool[Array, "P G"], centre: Centre
) -> Float[Array, "P G"]:
    """r - centre. Where a group's rewards are all equal its own centre is that value, without rounding."""
    filled = np.where(valid, rewards, 0.0)
    counts = np.maximum(valid.sum(axis=1, keepdims=True), 1)
    signal = has_signal(rewards)[:, None]
    match centre:
        case "none":
            return filled
        case "batch":
            return filled - filled.sum() / max(valid.sum(), 1)
        case "group":
            return np.where(signal, filled - filled.sum(axis=1, keepdims=True) / counts, 0.0)
        case "leave_one_out":
            # r_i - mean of the others = G / (G - 1) (r_i - mean)
            factor = counts / np.maximum(counts - 1, 1)
            return np.where(signal, factor * (filled - filled.sum(axis=1, keepdims=True) / counts), 0.0)
        case "length":
            weights = np.where(valid, lengths, 0)
            tokens = np.maximum(weights.sum(axis=1, keepdims=True), 1)
            return np.where(signal, filled - (weights * filled).sum(axis=1, keepdims=True) / tokens, 0.0)
        case "runner_up":
            ordered = np.sort(np.where(valid, rewards, -np.inf), axis=1)
            best, second = ordered[:, -1:], ordered[:, -2:-1]
            lead = np.where(np.isfinite(second), best, 0.0) - np.where(np.isfinite(second), second, 0.0)
            return np.where(valid & (rewards == best), lead, 0.0)


def _scale(
    rewards: Float[Array, "P G"], centred: Float[Array, "P G"], valid: Bool[Array, "P G"], config: AdvantageConfig
) -> Float[Array, "P 1"] | Float[Array, "1 1"]:
    """What the centred rewards are divided by, for each group or for all; 0 where they must become 0."""
    counts = valid.sum(axis=1, keepdims=True)
    if config.scale == "mean":
        return np.where(valid, rewards, 0.0).sum(axis=1, keepdims=True) / np.maximum(counts, 1)
    values = np.where(valid, centred if config.scale == "whiten" else rewards, np.nan)
    if config.scale != "group":
        values = values.reshape(1, -1)
    std = _std(values, sample=config.std == "sample")
    return np.where(std > 0, std + config.eps, 0.0)


def _std(values: Float[Array, "R C"], *, sample: bool) -> Float[Array, "R 1"]:
    """Over the entries of each row that are not NaN; exactly 0 where these are equal or fewer than two."""
    valid = ~np.isnan(values)
    counts = valid.sum(axis=1, keepdims=True)
    means = np.where(valid, values, 0.0).sum(axis=1, keepdims=True) / np.maximum(counts, 1)
    squares = np.where(valid, (values - means) ** 2, 0.0).sum(axis=1, keepdims=True)
    variance = squares / np.maximum(counts - 1 if sample else counts, 1)
    return np.where(has_signal(values)[:, None], np.sqrt(variance), 0.0)


def has_signal(rewards: Float[Array, "P G"]) -> Bool[Array, " P"]:
    """Whether a group's rewards differ at all; judged on the rewards themselves, before any rounding."""
    low = np.where(np.isnan(rewards), np.inf, rewards).min(axis=1)
    high = np.where(np.isnan(rewards), -np.inf, rewards).max(axis=1)
    return np.asarray(low < high)


def overlong_penalty(lengths: Int[Array, "P G"], max_tokens: int, share: float) -> Float[Array, "P G"]:
    """clamp(-(L - (L_max - b)) / b, -1, 0), b = share x L_max (DAPO, https://arxiv.org/abs/2503.14476, eq. 13)."""
    buffer = share * max_tokens
    if buffer == 0:
        return np.zeros(lengths.shape)
    return np.clip(-(lengths - (max_tokens - buffer)) / buffer, -1.0, 0.0)


def keep_best(rewards: Float[Array, "P G"], lengths: Int[Array, "P G"], config: AdvantageConfig) -> Float[Array, "P G"]:
    """NaN in place of all but the `keep` best of each group, so that these alone make its mean and deviation.

    Best are the shortest, or those of most reward per token (GFPO, https://arxiv.org/abs/2508.09726); of equal ones the
    first. What has no reward is never kept. The others get advantage 0 and still count in the loss's denominators.
    """
    if config.keep is None:
        return rewards
    cost = lengths.astype(float) if config.keep_by == "length" else -rewards / np.maximum(lengths, 1)
    order = np.argsort(np.where(np.isnan(rewards), np.inf, cost), axis=1, kind="stable")
    rank = np.argsort(order, axis=1, kind="stable")
    return np.where(rank < config.keep, rewards, np.nan)
