"""Several rewards -> one advantage: R stays (P, G, K) up to here, and NaN means "does not apply here".

Pure functions of the rewards of all ranks, so that every statistic is global, and of a state that is part of the
checkpoint. z_k is the advantage of reward k alone. With one reward of weight 1 every way but `hypervolume`, which sets
the size of steps, is plain GRPO.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from grpo_lightning.advantages import AdvantageConfig, group_advantages, keep_best
from grpo_lightning.pareto import hypervolume, non_dominated
from grpo_lightning.parts import Part

Array = np.ndarray

Way = Literal[
    "sum", "mo_grpo", "gdpo", "gd2po", "lexicographic", "constrained", "ctwa", "saw", "tchebycheff", "hypervolume"
]

NORMALISED = ("mo_grpo", "gdpo", "gd2po", "lexicographic", "constrained")
"""The ways that add up advantages of the rewards instead of the rewards."""

CORNER = 0.0
"""Where hypervolumes are measured from, in every reward."""


@dataclass(frozen=True, kw_only=True)
class CombineConfig:
    """How several rewards become one advantage; z_k is that of reward k alone, by the settings of `advantage`."""

    way: Way = "sum"
    """`sum`: of w_k r_k, then the advantage: follows spread rather than weights, unless advantage.scale is none.
    `mo_grpo`: of w_k z_k. `gdpo`: that, whitened over the batch. `gd2po`: that, without samples in conflict.
    `lexicographic`: tier by tier. `constrained`: objectives, with the constraints held. `ctwa`, `saw`: weights adapt.
    `tchebycheff`: the worst shortfall. `hypervolume`: larger steps where the Pareto front advances."""
    rate: float = 0.1
    """Of constrained: what a violation adds to its multiplier, at each rollout. Of ctwa: how fast weights grow."""
    damping: float = 0.0
    """Of constrained: what the present violation adds to the multiplier while it lasts, against oscillation."""
    largest: float = 10.0
    """Of constrained: the multipliers' upper limit. Of ctwa: that of each weight's growth."""
    agreement: float = 0.2
    """Of gd2po: samples whose signs differ train only where |sum w z| / sum |w z| reaches this."""
    follow: float = 0.5
    """Of ctwa: the correlation with the advantage that the largest weight is due; others in proportion."""
    memory: float = 0.9
    """Of ctwa and saw: decay of the running means that they look at."""

    def __post_init__(self) -> None:
        checks = {
            "rate": (0 < self.rate < math.inf, "positive"),
            "damping": (0 <= self.damping < math.inf, "0 or positive"),
            "largest": (1 <= self.largest < math.inf, "at least 1"),
            "agreement": (0 <= self.agreement <= 1, "between 0 and 1"),
            "follow": (0 < self.follow <= 1, "above 0 and at most 1"),
            "memory": (0 <= self.memory < 1, "at least 0 and below 1"),
        }
        for name, (holds, right) in checks.items():
            if not holds:
                raise ValueError(f"combine.{name}: {getattr(self, name)} is refused; it must be {right}")

    def check(self, parts: Mapping[str, Part], advantage: AdvantageConfig) -> None:
        """Refuses parts that contradict the way, or one another."""
        objectives = [name for name, part in parts.items() if part.role == "objective" and part.weight != 0]
        if not objectives:
            raise ValueError("rewards: none is an objective with a weight, so there is nothing to train on")
        constraints = [name for name, part in parts.items() if part.role == "constraint"]
        if (self.way == "constrained") != bool(constraints):
            raise ValueError("combine.way: 'constrained' and rewards with `role: constraint` need one another")
        tiers = {parts[name].tier for name in objectives}
        if (self.way == "lexicographic") != (len(tiers) > 1):
            raise ValueError("combine.way: 'lexicographic' and rewards in more than one tier need one another")
        if self.way in ("tchebycheff", "hypervolume") and any(part.smallest_weight < 0 for part in parts.values()):
            raise ValueError(f"combine.way: {self.way!r} measures distances, so it needs positive weights")
        if self.way in ("mo_grpo", "gdpo", "gd2po") and advantage.scale == "none":
            raise ValueError(
                f"advantage.scale: 'none' leaves {self.way!r} nothing to normalise by; use combine.way: sum"
            )
        for name, part in parts.items():
            if unknown := set(part.gate) - set(parts):
                raise ValueError(f"rewards.{name}.gate: no reward is named {', '.join(sorted(unknown))}")
            if name in part.gate:
                raise ValueError(f"rewards.{name}.gate: a reward cannot be its own gate")


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a way of combining remembers; one number per reward in each."""

    rollouts: int = 0
    multipliers: tuple[float, ...]
    """Of constrained."""
    growth: tuple[float, ...]
    """Of ctwa: logarithm of what each weight has grown by."""
    running: tuple[float, ...]
    """Of ctwa: correlations with the advantage; of saw: coefficients of variation. NaN before the first."""
    ideal: tuple[float, ...]
    """Of tchebycheff: the best value seen."""
    front: tuple[tuple[float, ...], ...] = ()
    """Of hypervolume: the batch means on the Pareto front so far."""


def start_state(parts: Mapping[str, Part]) -> State:
    """Before the first rollout."""
    return State(
        multipliers=tuple(part.first_multiplier for part in parts.values()),
        growth=(0.0,) * len(parts),
        running=(math.nan,) * len(parts),
        ideal=(-math.inf,) * len(parts),
    )


def saved(state: State, names: Sequence[str]) -> dict[str, Any]:
    """The state for a checkpoint, with the names of the rewards that it is about."""
    return {"names": list(names), **asdict(state)}


def restored(checkpoint: Mapping[str, Any], start: State, names: Sequence[str]) -> State:
    """The state of a checkpoint for these rewards: by name, and as at the start for those that are new."""
    known = {name: place for place, name in enumerate(checkpoint["names"])}

    def column(field: str) -> tuple[float, ...]:
        fresh = getattr(start, field)
        return tuple(checkpoint[field][known[name]] if name in known else fresh[k] for k, name in enumerate(names))

    columns = {field: column(field) for field in ("multipliers", "growth", "running", "ideal")}
    front = checkpoint["front"] if list(names) == list(checkpoint["names"]) else ()
    return State(rollouts=checkpoint["rollouts"], front=front, **columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Combined:
    """One rollout's advantages, and what the user wants to know of how they came about."""

    advantages: Float[Array, "P G"]
    total: Float[Array, "P G"]
    """The weighted sum of the objectives; NaN where nothing with a weight applies."""
    contributions: Float[Array, "P G K"]
    """What each reward brings in: w_k z_k, or w_k (r_k - centre) where rewards are summed first; 0 where it does not
    apply."""
    weights: Float[Array, " K"]
    """As used: scheduled, adapted; a constraint's multiplier, negative for at_most."""
    state: State
    """For the next rollout."""


def combine(
    rewards: Float[Array, "P G K"],
    lengths: Int[Array, "P G"],
    named: Mapping[str, Part],
    config: CombineConfig,
    advantage: AdvantageConfig,
    state: State,
) -> Combined:
    """The advantages of one rollout of all ranks; `named` has a part for each of the K rewards, in their order."""
    parts = list(named.values())
    values = gated(rewards, list(named), parts) / np.array([part.scale for part in parts])
    weights = current_weights(parts, config, state)
    total = weighted_sum(values, weights)
    kept = keep_best(total, lengths, advantage)
    values = np.where(np.isnan(kept)[:, :, None] & ~np.isnan(total)[:, :, None], np.nan, values)
    constraint = np.array([part.role == "constraint" for part in parts])
    alone = each_alone(values, lengths, (weights != 0) | constraint, advantage)
    state = replace(state, rollouts=state.rollouts + 1)
    match config.way:
        case "sum" | "ctwa" | "saw":
            result = group_advantages(kept, lengths, advantage)
        case "mo_grpo":
            result = alone @ weights
        case "gdpo":
            result = alone @ weights if np.count_nonzero(weights) == 1 else whitened(alone @ weights, ~np.isnan(kept))
        case "gd2po":
            result = without_conflicts(alone * weights, ~np.isnan(kept), config.agreement)
        case "lexicographic":
            result = by_tier(alone * weights, [part.tier for part in parts])
        case "constrained":
            signs, wrong = (
                np.array([1.0 if part.at_most is None else -1.0 for part in parts]),
                violations(values, parts),
            )
            # Dual ascent, https://arxiv.org/abs/2007.03964: lambda sums up violations, and acts with one more of them.
            multipliers = np.clip(np.array(state.multipliers) + config.rate * wrong, 0.0, config.largest)
            acting = np.clip(multipliers + config.damping * wrong, 0.0, config.largest)
            weights = weights + signs * acting
            result = group_advantages(kept, lengths, advantage) + alone @ np.where(constraint, weights, 0.0)
            state = replace(state, multipliers=tuple(multipliers.tolist()))
        case "tchebycheff":
            ideal = np.fmax(state.ideal, np.nanmax(values, axis=(0, 1), initial=-np.inf))
            result = group_advantages(worst_shortfall(values, weights, ideal), lengths, advantage)
            state = replace(state, ideal=tuple(ideal.tolist()))
        case "hypervolume":
            growth, front = advance(values, weights, state.front)
            result = (0.5 + 1.5 * math.tanh(growth)) * group_advantages(kept, lengths, advantage)
            state = replace(state, front=front)
    state = adapted(values, result, weights, config, state)
    if config.way not in NORMALISED:
        alone = each_alone(values, lengths, weights != 0, replace(advantage, scale="none"))
    return Combined(advantages=result, total=total, contributions=alone * weights, weights=weights, state=state)


# ------------------------------------------------------------------------------------------------------- the pieces


def each_alone(
    values: Float[Array, "P G K"], lengths: Int[Array, "P G"], wanted: Bool[Array, " K"], advantage: AdvantageConfig
) -> Float[Array, "P G K"]:
    """z_k of the rewards that are wanted, zeros for the others."""
    alone = np.zeros(values.shape)
    for k in np.flatnonzero(wanted):
        alone[:, :, k] = group_advantages(values[:, :, k], lengths, advantage)
    return alone


def weighted_sum(rewards: Float[Array, "P G K"], weights: Float[Array, " K"]) -> Float[Array, "P G"]:
    """R = sum_k w_k r_k.

    Where a reward does not apply to one completion, the mean of the group's other values stands in: the completion
    neither gains nor loses by it. Where it applies to nobody in the group, it adds nothing. A completion to which no
    reward with a weight applies is NaN.
    """
    valid = ~np.isnan(rewards)
    total = (np.where(valid, rewards, _group_means(rewards, valid)) * weights).sum(axis=2)
    applies = (valid & (weights != 0)).any(axis=2)
    return np.where(applies, total, np.nan)


def judged(rewards: Float[Array, "P G K"], k: int, weights: Float[Array, " K"]) -> Float[Array, "P G"]:
    """What tells whether a group has something to learn: reward k alone, without any shaping; in groups that k does not
    score, as with rows routed to other rewards, the weighted sum.
    """
    unscored = np.isnan(rewards[:, :, k]).all(axis=1, keepdims=True)
    return np.where(unscored, weighted_sum(rewards, weights), rewards[:, :, k])


def gated(rewards: Float[Array, "P G K"], names: Sequence[str], parts: Sequence[Part]) -> Float[Array, "P G K"]:
    """The rewards, each closed to completions that do not reach its gates' thresholds; NaN never reaches one.

    The closed get the least that an open one in their group has, and no more than 0: a gate never rewards them.
    """
    values = rewards.copy()
    for k, part in enumerate(parts):
        if part.gate:
            reached = [rewards[:, :, names.index(other)] >= threshold for other, threshold in part.gate.items()]
            is_open = np.all(reached, axis=0)
            least = np.where(is_open & ~np.isnan(rewards[:, :, k]), rewards[:, :, k], np.inf).min(axis=1, keepdims=True)
            closed = np.where(np.isnan(rewards[:, :, k]), np.nan, np.minimum(least, 0.0))
            values[:, :, k] = np.where(is_open, rewards[:, :, k], closed)
    return values


def current_weights(parts: Sequence[Part], config: CombineConfig, state: State) -> Float[Array, " K"]:
    """Declared or scheduled, times what they have been adapted by.

    ctwa (https://arxiv.org/abs/2509.11452 for the setting): w_k e^growth_k. saw: w_k x CV_k / mean CV, the running
    coefficient of variation, so that rewards that have stopped to vary fade.
    """
    weights = np.array([part.weight_at(state.rollouts) for part in parts], dtype=np.float64)
    if config.way == "ctwa":
        return weights * np.exp(state.growth)
    if config.way == "saw":
        variation = np.array(state.running)
        trained = (weights != 0) & ~np.isnan(variation)
        if trained.any() and variation[trained].mean() > 0:
            return weights * np.where(trained, variation / variation[trained].mean(), 1.0)
    return weights


def whitened(advantages: Float[Array, "P G"], kept: Bool[Array, "P G"]) -> Float[Array, "P G"]:
    """(A - mean) / std over the kept completions of the batch, not over their tokens; 0 for the rest (GDPO,
    https://arxiv.org/abs/2601.05242).
    """
    chosen = advantages[kept]
    if len(chosen) < 2 or chosen.std() == 0:
        return np.where(kept, advantages, 0.0)
    return np.where(kept, (advantages - chosen.mean()) / chosen.std(ddof=1), 0.0)


def without_conflicts(
    weighted: Float[Array, "P G K"], valid: Bool[Array, "P G"], agreement: float
) -> Float[Array, "P G"]:
    """Whitened sum over the completions whose rewards do not cancel: of those whose weighted z disagree in sign, only
    where |sum| / sum of || reaches `agreement` (GD2PO).
    """
    total, size = weighted.sum(axis=2), np.abs(weighted).sum(axis=2)
    disagree = (weighted > 0).any(axis=2) & (weighted < 0).any(axis=2)
    return whitened(total, valid & ~(disagree & (np.abs(total) < agreement * size)))


def by_tier(weighted: Float[Array, "P G K"], tiers: Sequence[int]) -> Float[Array, "P G"]:
    """In each group the sum over the first tier in which any completion has an advantage."""
    result = np.zeros(weighted.shape[:2])
    open_groups = np.ones(len(weighted), dtype=bool)
    for tier in sorted(set(tiers)):
        part = weighted[:, :, [k for k, each in enumerate(tiers) if each == tier]].sum(axis=2)
        speaks = open_groups & (part != 0).any(axis=1)
        result[speaks] = part[speaks]
        open_groups &= ~speaks
    return result


def violations(values: Float[Array, "P G K"], parts: Sequence[Part]) -> Float[Array, " K"]:
    """How far the batch mean of each constraint is on the wrong side of its bound, in units of `scale`; negative on the
    right one, 0 without a bound or a value.
    """
    found = np.zeros(len(parts))
    for k, part in enumerate(parts):
        mean = _mean(values[:, :, k])
        if part.at_least is not None and not math.isnan(mean):
            found[k] = part.at_least / part.scale - mean
        if part.at_most is not None and not math.isnan(mean):
            found[k] = mean - part.at_most / part.scale
    return found


def worst_shortfall(
    values: Float[Array, "P G K"], weights: Float[Array, " K"], ideal: Float[Array, " K"]
) -> Float[Array, "P G"]:
    """-max_k w_k (ideal_k - r_k) over the rewards that apply; reaches parts of a front that no weighted sum does."""
    trained = weights != 0
    short = weights[trained] * (ideal[trained] - values[:, :, trained])
    nothing = np.isnan(short).all(axis=2)
    return np.where(nothing, np.nan, -np.where(np.isnan(short), -np.inf, short).max(axis=2))


def advance(
    values: Float[Array, "P G K"], weights: Float[Array, " K"], front: Sequence[Sequence[float]]
) -> tuple[float, tuple[tuple[float, ...], ...]]:
    """How much the batch means of the rewards with positive weights enlarge the hypervolume, relative to what it was;
    and the front with them (https://arxiv.org/abs/2509.11452).
    """
    trained = [k for k in range(len(weights)) if weights[k] > 0]
    point = np.array([[_mean(values[:, :, k]) for k in trained]])
    if not trained or np.isnan(point).any():
        return 0.0, tuple(map(tuple, front))
    before = np.array(front).reshape(-1, len(trained))
    after = np.concatenate([before, point])
    after = after[non_dominated(after)]
    corner = np.full(len(trained), CORNER)
    old, new = hypervolume(before, corner), hypervolume(after, corner)
    return (new - old) / old if old > 0 else 0.0, tuple(map(tuple, after.tolist()))


def adapted(
    values: Float[Array, "P G K"],
    advantages: Float[Array, "P G"],
    weights: Float[Array, " K"],
    config: CombineConfig,
    state: State,
) -> State:
    """The state with the running means and growth of `ctwa` and `saw`.

    ctwa: log w_k += rate x max(0, due_k - running corr(r_k, A)), due_k = follow x w_k / max w, signs as in w.
    saw: running std / |mean|.
    """
    if config.way not in ("ctwa", "saw"):
        return state
    shown = [followed(values[:, :, k], advantages) if config.way == "ctwa" else _variation(values[:, :, k])
             for k in range(len(weights))]  # fmt: skip
    running = [
        new if math.isnan(old) else old if math.isnan(new) else config.memory * old + (1 - config.memory) * new
        for old, new in zip(state.running, shown, strict=True)
    ]
    state = replace(state, running=tuple(running))
    if config.way == "saw":
        return state
    declared = weights / np.exp(state.growth)
    due = config.follow * np.abs(declared) / np.abs(declared).max()
    ignored = np.where(np.isnan(running), 0.0, np.maximum(0.0, due - np.sign(declared) * running))
    growth = np.minimum(np.array(state.growth) + config.rate * ignored, math.log(config.largest))
    return replace(state, growth=tuple(np.where(weights != 0, growth, 0.0).tolist()))


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


def shares(combined: Combined) -> Float[Array, " K"]:
    """Each reward's part of the advantages: its mean absolute contribution over the sum of these; zeros if all are."""
    sizes = np.abs(combined.contributions).mean(axis=(0, 1))
    return sizes / sizes.sum() if sizes.sum() > 0 else sizes


def conflicts(combined: Combined, k: int, other: int) -> float:
    """The share of completions that two rewards pull in opposite directions."""
    return float((combined.contributions[:, :, k] * combined.contributions[:, :, other] < 0).mean())


def _mean(values: Float[Array, "P G"]) -> float:
    valid = values[~np.isnan(values)]
    return float(valid.mean()) if len(valid) else math.nan


def _variation(values: Float[Array, "P G"]) -> float:
    valid = values[~np.isnan(values)]
    return float(valid.std() / abs(valid.mean())) if len(valid) and valid.mean() != 0 else math.nan


def _group_means(rewards: Float[Array, "P G K"], valid: Bool[Array, "P G K"]) -> Float[Array, "P 1 K"]:
    """Means over the valid entries, 0 without any; within the extremes, so that equal values give just that value."""
    counts = np.maximum(valid.sum(axis=1, keepdims=True), 1)
    means = np.where(valid, rewards, 0.0).sum(axis=1, keepdims=True) / counts
    low = np.where(valid, rewards, np.inf).min(axis=1, keepdims=True)
    high = np.where(valid, rewards, -np.inf).max(axis=1, keepdims=True)
    return np.where(low <= high, np.clip(means, low, high), 0.0)
