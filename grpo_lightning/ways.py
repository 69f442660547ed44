"""The ways of making one advantage of several rewards: pure functions, each of one `Batch`.

R is (P, G, K) up to here; NaN means "does not apply here" and leaves means, deviations, counts and correlations. Knows
neither settings nor what is remembered from rollout to rollout: that is `combine`. z_k is the advantage of reward k
alone. Each way returns the advantages, and what each reward brought into them: contributions that add up to them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from grpo_lightning.advantages import AdvantageConfig, group_advantages, has_signal, scale_of
from grpo_lightning.parts import Part

Array = np.ndarray

ROUNDING = 1e-12
"""Sums below this share of their terms are rounding: rewards that cancel say nothing, and must not be scaled up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What a way sees of one rollout of all ranks."""

    values: Float[Array, "P G K"]
    """The rewards, gated and in their units; NaN where one does not apply or the completion was left out."""
    weights: Float[Array, " K"]
    """Of the objectives; 0 of everything else."""
    lengths: Int[Array, "P G"]
    advantage: AdvantageConfig
    several: bool
    """Whether there is more than one objective; one alone is plain GRPO, whatever the way."""


Parted = tuple[Float[Array, "P G"], Float[Array, "P G K"]]
"""Advantages, and the contributions that they are made of."""


def summed(batch: Batch) -> Parted:
    """The advantage of R = sum_k w_k r_k."""
    absent = stand_ins(batch.values, batch.lengths, batch.advantage)
    total = weighted_sum(batch.values, batch.weights, absent)
    complete = np.where(np.isnan(batch.values), absent, batch.values)
    filled = replace(batch, values=np.where(np.isnan(total)[:, :, None], np.nan, complete))
    centred = each_alone(filled, batch.weights != 0, replace(batch.advantage, scale="none")) * batch.weights
    scale = scale_of(total, batch.lengths, batch.advantage)[:, :, None]
    shared = np.divide(centred, scale, out=np.zeros_like(centred), where=np.isfinite(scale) & (scale > 0))
    return group_advantages(total, batch.lengths, batch.advantage), shared


def mo_grpo(batch: Batch) -> Parted:
    """sum_k w_k z_k."""
    parts = each_alone(batch, batch.weights != 0, batch.advantage) * batch.weights
    return parts.sum(axis=2), parts


def gdpo(batch: Batch) -> Parted:
    """sum_k w_k z_k, whitened over the sequences of the batch (https://arxiv.org/abs/2601.05242)."""
    _, parts = mo_grpo(batch)
    return whitened(parts, applies(batch)) if batch.several else (parts.sum(axis=2), parts)


def gd2po(batch: Batch, agreement: float) -> Parted:
    """`gdpo` over the completions whose rewards do not cancel: of those whose w_k z_k disagree in sign, only where
    |sum| / sum of || reaches `agreement` (https://arxiv.org/abs/2606.16771, without its weights of whole groups).
    """
    _, parts = mo_grpo(batch)
    disagree = (parts > 0).any(axis=2) & (parts < 0).any(axis=2)
    cancel = disagree & (np.abs(parts.sum(axis=2)) < agreement * np.abs(parts).sum(axis=2))
    return whitened(parts, applies(batch) & ~cancel) if batch.several else (parts.sum(axis=2), parts)


def lexicographic(batch: Batch, tiers: Sequence[int]) -> Parted:
    """In each group sum_k w_k z_k of the first tier that tells its completions apart."""
    _, parts = mo_grpo(batch)
    spoken, open_groups = np.zeros_like(parts), np.ones(len(parts), dtype=bool)
    for tier in sorted(set(tiers)):
        members = np.array([each == tier for each in tiers]) & (batch.weights != 0)
        valid = ~np.isnan(batch.values[:, :, members]).all(axis=2)
        says = settled(parts[:, :, members].sum(axis=2), np.abs(parts[:, :, members]).sum(axis=2))
        speaks = open_groups & has_signal(np.where(valid, says, np.nan))
        spoken[speaks] = np.where(members, parts[speaks], 0.0)
        open_groups &= ~speaks
    return spoken.sum(axis=2), spoken


def constrained(batch: Batch, pulls: Float[Array, " K"]) -> Parted:
    """A = the objectives' `summed` advantage + sum_k pull_k z_k, with +- a multiplier for a constraint's pull: of
    advantages, not of rewards (https://arxiv.org/abs/2602.05863).
    """
    result, parts = summed(batch)
    held = each_alone(batch, pulls != 0, batch.advantage) * pulls
    return result + held.sum(axis=2), parts + held


def tchebycheff(batch: Batch, ideal: Float[Array, " K"]) -> Parted:
    """The advantage of -max_k w_k (ideal_k - r_k); reaches parts of a front that no weighted sum does. All of it is the
    contribution of the reward that falls shortest.
    """
    if not batch.several:
        return summed(batch)
    seen = np.isfinite(ideal)
    filled = np.where(np.isnan(batch.values), group_means(batch.values), batch.values)
    nowhere = np.isnan(batch.values).all(axis=1, keepdims=True) | (batch.weights == 0) | ~seen
    short = np.where(nowhere, -np.inf, batch.weights * (np.where(seen, ideal, 0.0) - filled))
    worst = np.where(applies(batch) & ~nowhere.all(axis=2), short.max(axis=2), np.nan)
    result = group_advantages(-worst, batch.lengths, batch.advantage)
    binds = np.arange(len(batch.weights)) == short.argmax(axis=2)[:, :, None]
    return result, np.where(binds, result[:, :, None], 0.0)


# ------------------------------------------------------------------------------------------------------- the pieces


def each_alone(batch: Batch, wanted: Bool[Array, " K"], advantage: AdvantageConfig) -> Float[Array, "P G K"]:
    """z_k of the rewards that are wanted, zeros for the others."""
    alone = np.zeros(batch.values.shape)
    for k in np.flatnonzero(wanted):
        alone[:, :, k] = group_advantages(batch.values[:, :, k], batch.lengths, advantage)
    return alone


def applies(batch: Batch) -> Bool[Array, "P G"]:
    """Completions to which an objective with a weight applies."""
    return (~np.isnan(batch.values) & (batch.weights != 0)).any(axis=2)


def weighted_sum(
    rewards: Float[Array, "P G K"], weights: Float[Array, " K"], absent: Float[Array, "P 1 K"] | None = None
) -> Float[Array, "P G"]:
    """R = sum_k w_k r_k.

    Where a reward does not apply to one completion `absent` stands in, the mean of the group's other values if that is
    None: the completion neither gains nor loses by it. Where it applies to nobody in the group, that mean is 0. A
    completion to which no reward with a weight applies is NaN. Sums that only their rounding tells apart are equal.
    """
    valid = ~np.isnan(rewards)
    terms = np.where(valid, rewards, group_means(rewards) if absent is None else absent) * weights
    total = terms.sum(axis=2)
    if np.count_nonzero(weights) > 1:
        total = settled(total, np.abs(terms).sum(axis=2))
    return np.where((valid & (weights != 0)).any(axis=2), total, np.nan)


def settled(totals: Float[Array, "P G"], sizes: Float[Array, "P G"]) -> Float[Array, "P G"]:
    """The totals without rounding: 0 where terms of these sizes cancel, and equal where a group's differ by no more."""
    totals = np.where(np.abs(totals) <= ROUNDING * sizes, 0.0, totals)
    low, high = totals.min(axis=1, keepdims=True), totals.max(axis=1, keepdims=True)
    return np.where(high - low <= ROUNDING * sizes.max(axis=1, keepdims=True), low, totals)


def stand_ins(
    rewards: Float[Array, "P G K"], lengths: Int[Array, "P G"], advantage: AdvantageConfig
) -> Float[Array, "P 1 K"]:
    """What each reward's centre is, so that what it does not apply to stands exactly there. In groups where it applies
    to nobody 0, or the mean of the batch where groups are compared with each other.
    """
    valid = ~np.isnan(rewards)
    whole = np.broadcast_to(group_means(rewards.reshape(1, -1, rewards.shape[2])), (len(rewards), 1, rewards.shape[2]))
    if advantage.centre == "batch":
        return whole
    own = group_means(rewards)
    if advantage.centre == "length":
        tokens = np.where(valid, lengths[:, :, None], 0)
        sums = (tokens * np.where(valid, rewards, 0.0)).sum(axis=1, keepdims=True)
        own = sums / np.maximum(tokens.sum(axis=1, keepdims=True), 1)
    return np.where(valid.any(axis=1, keepdims=True), own, whole) if advantage.scale == "batch" else own


def group_means(rewards: Float[Array, "P G K"]) -> Float[Array, "P 1 K"]:
    """Means where they apply, 0 where nothing does; within the extremes, so that equal values give just that value."""
    valid = ~np.isnan(rewards)
    counts = np.maximum(valid.sum(axis=1, keepdims=True), 1)
    means = np.where(valid, rewards, 0.0).sum(axis=1, keepdims=True) / counts
    low = np.where(valid, rewards, np.inf).min(axis=1, keepdims=True)
    high = np.where(valid, rewards, -np.inf).max(axis=1, keepdims=True)
    return np.where(low <= high, np.clip(means, low, high), 0.0)


def passing(rewards: Float[Array, "P G K"], named: Mapping[str, Part]) -> Bool[Array, "P G K"]:
    """Where each reward's gates are open: all the named others reach their thresholds; NaN never reaches one."""
    is_open, names = np.ones(rewards.shape, dtype=bool), list(named)
    for k, part in enumerate(named.values()):
        for other, threshold in part.gate.items():
            is_open[:, :, k] &= rewards[:, :, names.index(other)] >= threshold
    return is_open


def shut(
    rewards: Float[Array, "P G K"],
    is_open: Bool[Array, "P G K"],
    signs: Float[Array, " K"],
    compared: Literal["group", "batch"],
) -> Float[Array, "P G K"]:
    """The rewards, with the worst of the open in place of each that a gate shuts out, and nothing better than 0.

    So a gate never rewards what it shuts out. Signs are -1 for what is to be low, whose worst is the largest. Worst of
    what it is `compared` with: its group, or the batch where the centre is not the group's own.
    """
    pulls = rewards * signs
    axes = 1 if compared == "group" else (0, 1)
    worst = np.where(is_open & ~np.isnan(pulls), pulls, np.inf).min(axis=axes, keepdims=True)
    return np.where(is_open | np.isnan(rewards), rewards, np.minimum(worst, 0.0) * signs)


def whitened(parts: Float[Array, "P G K"], kept: Bool[Array, "P G"]) -> Parted:
    """(A - mean) / std of A = the parts' sum, over the kept completions of the batch, not over their tokens; 0 for the
    rest. As it is where nothing varies.
    """
    parts = np.where(kept[:, :, None], parts, 0.0)
    total = settled(parts.sum(axis=2), np.abs(parts).sum(axis=2))
    chosen = total[kept]
    if len(chosen) < 2 or np.ptp(chosen) <= ROUNDING * np.abs(chosen).max():
        return total, parts
    std = chosen.std(ddof=1)
    return np.where(kept, (total - chosen.mean()) / std, 0.0), parts / std


# ------------------------------------------------------------------------------------------------------ diagnostics


def followed(rewards: Float[Array, "P G"], advantages: Float[Array, "P G"]) -> float:
    """corr(r_k, A) over the completions that the reward applies to: what training really follows; NaN if either is
    constant.
    """
    valid = ~np.isnan(rewards)
    r, a = rewards[valid], advantages[valid]
    if len(r) < 2 or np.ptp(r) == 0 or np.ptp(a) == 0:
        return math.nan
    return float(np.corrcoef(r, a)[0, 1])


def shares(contributions: Float[Array, "P G K"]) -> Float[Array, " K"]:
    """Each reward's part of the advantages: the sum of its absolute contributions over that of all, if not 0."""
    sizes = np.abs(contributions).sum(axis=(0, 1))
    return sizes / sizes.sum() if sizes.sum() > 0 else sizes


def conflict(values: Float[Array, "P G"], others: Float[Array, "P G"], sign: float) -> float:
    """The share of completions that two rewards pull apart: better than its group's mean by one, worse by the other; of
    those that both apply to, NaN if there are none. `sign` is -1 where one of the two is to be low.
    """
    both = ~np.isnan(values) & ~np.isnan(others)
    if not both.any():
        return math.nan
    pair = [np.where(both, each, np.nan)[:, :, None] for each in (values, others)]
    one, other = ((each - group_means(each))[:, :, 0] for each in pair)
    return float((sign * one * other < 0).sum() / both.sum())


def mean_of(values: Float[Array, "P G"]) -> float:
    """Of what applies; NaN if nothing does."""
    valid = values[~np.isnan(values)]
    return float(valid.mean()) if len(valid) else math.nan


def variation_of(values: Float[Array, "P G"]) -> float:
    """The coefficient of variation, std / |mean|; NaN without values, or where their mean is 0."""
    valid = values[~np.isnan(values)]
    return float(valid.std() / abs(valid.mean())) if len(valid) and valid.mean() != 0 else math.nan
