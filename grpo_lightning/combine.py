"""Several rewards -> one advantage: how, with which weights, and what is remembered from rollout to rollout.

R stays (P, G, K) up to here, and NaN means "does not apply here". Pure functions of the rewards of all ranks, so that
every statistic is global, and of a state that is part of the checkpoint; `ways` has the mathematics of each way. What
is said of the policy (means of constraints, fronts, the best seen, coefficients of variation) is over everything that
was generated and a gate lets through; what trains, over the completions that filters leave. With one reward of weight 1
every way but `hypervolume`, which sets the size of steps, is plain GRPO.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from grpo_lightning import ways
from grpo_lightning.advantages import AdvantageConfig, keep_best
from grpo_lightning.pareto import hypervolume, non_dominated
from grpo_lightning.parts import Part
from grpo_lightning.ways import Batch, Parted

Array = np.ndarray

Way = Literal[
    "sum", "mo_grpo", "gdpo", "gd2po", "lexicographic", "constrained", "ctwa", "saw", "tchebycheff", "hypervolume"
]

USED_BY: Mapping[str, tuple[Way, ...]] = {
    "rate": ("constrained", "ctwa"),
    "damping": ("constrained",),
    "largest": ("constrained", "ctwa"),
    "agreement": ("gd2po",),
    "follow": ("ctwa",),
    "memory": ("ctwa", "saw"),
}
"""Settings that only some ways look at."""


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
    """Of ctwa and saw: decay of the running means that they look at; 0: this rollout alone."""

    def __post_init__(self) -> None:
        checks = {
            "rate": (0 < self.rate < math.inf, "positive"),
            "damping": (0 <= self.damping < math.inf, "0 or positive"),
            "largest": (1 <= self.largest < math.inf, "at least 1"),
            "agreement": (0 <= self.agreement <= 1, "between 0 and 1"),
            "follow": (0 < self.follow <= 1, "above 0 and at most 1"),
            "memory": (0 <= self.memory < 1, "at least 0 and below 1"),
        }
        defaults = {field.name: field.default for field in fields(self)}
        for name, (holds, right) in checks.items():
            if not holds:
                raise ValueError(f"combine.{name}: {getattr(self, name)} is refused; it must be {right}")
            if self.way not in USED_BY[name] and getattr(self, name) != defaults[name]:
                users = " and ".join(USED_BY[name])
                raise ValueError(f"combine.{name}: has no effect with combine.way {self.way!r}, only with {users}")

    def check(self, parts: Mapping[str, Part], advantage: AdvantageConfig, judge: str | None = None) -> None:
        """Refuses parts that contradict the way, or one another. `judge` names the reward by which silent groups are
        left out, if they are.
        """
        objectives = {name: part for name, part in parts.items() if part.trains}
        if not objectives:
            raise ValueError("rewards: none is an objective with a weight, so there is nothing to train on")
        for name, part in parts.items():
            self._check_part(name, part, parts)
        if self.way == "constrained" and not any(part.role == "constraint" for part in parts.values()):
            raise ValueError("combine.way: 'constrained' needs a reward with `role: constraint`, and its bound")
        lowest = max(part.tier for part in objectives.values())
        if self.way == "lexicographic" and all(part.tier == lowest for part in objectives.values()):
            raise ValueError(f"combine.way: 'lexicographic' needs objectives in two tiers or more; all are in {lowest}")
        if self.way == "lexicographic" and judge is not None and parts[judge].tier < lowest:
            raise ValueError(
                f"filters.silent: leaves out groups that {judge!r} does not tell apart, where 'lexicographic' asks the "
                "next tier; set filters.silent: train"
            )
        if self.way in ("mo_grpo", "gdpo", "gd2po") and advantage.scale == "none":
            raise ValueError(
                f"advantage.scale: 'none' leaves {self.way!r} nothing to normalise by; use combine.way: sum"
            )
        negative = [name for name, part in objectives.items() if part.smallest_weight < 0]
        if negative and self.way in ("tchebycheff", "hypervolume"):
            raise ValueError(
                f"rewards.{negative[0]}.weight: is negative, but combine.way {self.way!r} measures distances; "
                "turn the reward round instead"
            )
        if advantage.scale == "mean" and (negative or self.way == "tchebycheff"):
            raise ValueError(
                "advantage.scale: 'mean' needs sums of at least 0; "
                + (f"rewards.{negative[0]}.weight is negative" if negative else "combine.way 'tchebycheff' has none")
            )

    def _check_part(self, name: str, part: Part, parts: Mapping[str, Part]) -> None:
        if unknown := set(part.gate) - set(parts):
            raise ValueError(
                f"rewards.{name}.gate: no reward is named {', '.join(sorted(unknown))}; there are {', '.join(parts)}"
            )
        if name in part.gate:
            raise ValueError(f"rewards.{name}.gate: a reward cannot be its own gate")
        if part.role == "constraint" and self.way != "constrained":
            raise ValueError(f"rewards.{name}.role: 'constraint' needs combine.way: constrained; it is {self.way!r}")
        if part.first_multiplier > self.largest:
            raise ValueError(
                f"rewards.{name}.weight: a multiplier cannot start at {part.first_multiplier:g}, above "
                f"combine.largest, {self.largest:g}"
            )
        if part.tier != 0 and not (part.trains and self.way == "lexicographic"):
            raise ValueError(
                f"rewards.{name}.tier: {part.tier} has no effect; only objectives have tiers, with combine.way: "
                "lexicographic"
            )


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
    corner: tuple[float, ...]
    """Of hypervolume: where it is measured from, the first mean of each; NaN before."""
    front: tuple[tuple[float, ...], ...] = ()
    """Of hypervolume: the batch means on the Pareto front so far."""


COLUMNS = ("multipliers", "growth", "running", "ideal", "corner")


def start_state(parts: Mapping[str, Part]) -> State:
    """Before the first rollout."""
    return State(
        multipliers=tuple(part.first_multiplier for part in parts.values()),
        growth=(0.0,) * len(parts),
        running=(math.nan,) * len(parts),
        ideal=(-math.inf,) * len(parts),
        corner=(math.nan,) * len(parts),
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

    places = [known.get(name) for name in names]
    front = tuple(tuple(math.nan if k is None else point[k] for k in places) for point in checkpoint["front"])
    return State(rollouts=checkpoint["rollouts"], front=front, **{field: column(field) for field in COLUMNS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Combined:
    """One rollout's advantages, and what the user wants to know of how they came about."""

    advantages: Float[Array, "P G"]
    total: Float[Array, "P G"]
    """The weighted sum of the objectives; NaN where nothing with a weight applies."""
    contributions: Float[Array, "P G K"]
    """What each reward brings in; they add up to the advantages, but for the mean that whitening takes off and for
    advantage.centre: runner_up."""
    weights: Float[Array, " K"]
    """As used: scheduled, adapted; a constraint's multiplier, negative for at_most."""
    means: Float[Array, " K"]
    """Of each reward over everything generated that it applies to and its gates let through: what bounds are about."""
    signs: Float[Array, " K"]
    """-1 of what is to be low."""
    trained: Float[Array, "P G K"]
    """The rewards as they came, NaN also where a completion was left out."""
    state: State
    """For the next rollout."""


def combine(
    rewards: Float[Array, "P G K"],
    kept: Bool[Array, "P G"],
    lengths: Int[Array, "P G"],
    named: Mapping[str, Part],
    config: CombineConfig,
    advantage: AdvantageConfig,
    state: State,
) -> Combined:
    """The advantages of one rollout of all ranks; `named` has a part for each of the K rewards, in their order.

    `rewards` are those of everything generated, `kept` is what trains.
    """
    if np.isinf(rewards).any():
        name = list(named)[int(np.argwhere(np.isinf(rewards))[0, 2])]
        raise ValueError(f"rewards.{name}: an infinity reached the advantages; rewards must be finite")
    parts = list(named.values())
    scales, signs = np.array([part.scale for part in parts]), np.array([part.sign_at(state.rollouts) for part in parts])
    is_open = ways.passing(rewards, named)
    seen = np.where(is_open, rewards, np.nan) / scales
    trained = np.where(kept[:, :, None], rewards, np.nan)
    compared: Literal["group", "batch"] = "batch" if advantage.centre in ("batch", "none") else "group"
    values = ways.shut(trained, is_open, signs, compared) / scales
    state = varied(seen, config, state)
    weights = current_weights(parts, config, state)
    total = ways.weighted_sum(values, weights)
    if advantage.keep is not None:
        best = ~np.isnan(keep_best(total, lengths, advantage))[:, :, None]
        values, trained = np.where(best, values, np.nan), np.where(best, trained, np.nan)
    several = sum(part.trains for part in parts) > 1
    batch = Batch(values=values, weights=weights, lengths=lengths, advantage=advantage, several=several)
    (result, contributions), used, state = advanced(batch, seen, parts, config, state)
    state = grown(values, result, weights, config, state)
    return Combined(
        advantages=result,
        total=total,
        contributions=contributions,
        weights=used,
        means=column_means(seen) * scales,
        signs=signs,
        trained=trained,
        state=replace(state, rollouts=state.rollouts + 1),
    )


def advanced(
    batch: Batch, seen: Float[Array, "P G K"], parts: Sequence[Part], config: CombineConfig, state: State
) -> tuple[Parted, Float[Array, " K"], State]:
    """The way's advantages and contributions, the weights that it used, and the state that it leaves."""
    match config.way:
        case "mo_grpo":
            return ways.mo_grpo(batch), batch.weights, state
        case "gdpo":
            return ways.gdpo(batch), batch.weights, state
        case "gd2po":
            return ways.gd2po(batch, config.agreement), batch.weights, state
        case "lexicographic":
            return ways.lexicographic(batch, [part.tier for part in parts]), batch.weights, state
        case "constrained":
            pulls, state = ascended(violations(seen, parts), parts, config, state)
            return ways.constrained(batch, pulls), batch.weights + pulls, state
        case "tchebycheff":
            ideal = np.fmax(state.ideal, np.where(np.isnan(seen), -np.inf, seen).max(axis=(0, 1)))
            return ways.tchebycheff(batch, ideal), batch.weights, replace(state, ideal=tuple(ideal.tolist()))
        case "hypervolume":
            step, state = stepped(column_means(seen), [part.trains for part in parts], state)
            result, contributions = ways.summed(batch)
            return (step * result, step * contributions), batch.weights, state
        case _:
            return ways.summed(batch), batch.weights, state


def judged(rewards: Float[Array, "P G K"], k: int, weights: Float[Array, " K"]) -> Float[Array, "P G"]:
    """What tells whether a group has something to learn: reward k alone, without any shaping; in groups that k does not
    score, as with rows routed to other rewards, the weighted sum.
    """
    unscored = np.isnan(rewards[:, :, k]).all(axis=1, keepdims=True)
    return np.where(unscored, ways.weighted_sum(rewards, weights), rewards[:, :, k])


# ------------------------------------------------------------------------------------------------ what is remembered


def current_weights(parts: Sequence[Part], config: CombineConfig, state: State) -> Float[Array, " K"]:
    """Declared or scheduled, times what they have been adapted by.

    ctwa: w_k e^growth_k. saw (https://arxiv.org/abs/2606.07705): w_k CV_k / mean CV over the objectives, so that
    rewards that have stopped to vary fade.
    """
    weights = np.array([part.weight_at(state.rollouts) for part in parts], dtype=np.float64)
    if config.way == "ctwa":
        return weights * np.exp(state.growth)
    if config.way == "saw":
        variation = np.array(state.running)
        known = np.array([part.trains for part in parts]) & ~np.isnan(variation)
        if known.any() and variation[known].mean() > 0:
            return weights * np.where(known, variation / variation[known].mean(), 1.0)
    return weights


def varied(seen: Float[Array, "P G K"], config: CombineConfig, state: State) -> State:
    """With saw's running coefficients of variation, this rollout's included."""
    if config.way != "saw":
        return state
    new = [ways.variation_of(seen[:, :, k]) for k in range(seen.shape[2])]
    return replace(state, running=_mixed(state.running, new, config.memory))


def grown(
    values: Float[Array, "P G K"],
    advantages: Float[Array, "P G"],
    weights: Float[Array, " K"],
    config: CombineConfig,
    state: State,
) -> State:
    """With ctwa's running correlations and growth: log w_k += rate x max(0, due_k - running corr(r_k, A)), where due_k
    = follow x w_k / max w of the weights as declared, and signs are as in w.
    """
    declared = weights / np.exp(state.growth)
    if config.way != "ctwa" or not declared.any():
        return state
    new = [ways.followed(values[:, :, k], advantages) for k in range(len(weights))]
    running = _mixed(state.running, new, config.memory)
    due = config.follow * np.abs(declared) / np.abs(declared).max()
    ignored = np.where(np.isnan(running), 0.0, np.maximum(0.0, due - np.sign(declared) * running))
    growth = np.minimum(np.array(state.growth) + config.rate * ignored, math.log(config.largest))
    return replace(state, running=running, growth=tuple(growth.tolist()))


def violations(seen: Float[Array, "P G K"], parts: Sequence[Part]) -> Float[Array, " K"]:
    """How far the mean of each constraint is on the wrong side of its bound, in units of `scale`; negative on the right
    one, 0 without a bound or a value.
    """
    means, found = column_means(seen), np.zeros(len(parts))
    for k, part in enumerate(parts):
        if part.bound is not None and not math.isnan(means[k]):
            found[k] = part.sign_at(0) * (part.bound / part.scale - means[k])
    return found


def ascended(
    wrong: Float[Array, " K"], parts: Sequence[Part], config: CombineConfig, state: State
) -> tuple[Float[Array, " K"], State]:
    """Dual ascent (https://arxiv.org/abs/2007.03964): lambda_k <- lambda_k + rate x violation_k, within 0 and
    `largest`; and what pulls now, +-(lambda_k + damping x violation_k), within the same: up for at_least, down for
    at_most.
    """
    multipliers = np.clip(np.array(state.multipliers) + config.rate * wrong, 0.0, config.largest)
    acting = np.clip(multipliers + config.damping * wrong, 0.0, config.largest)
    pulls = np.array([part.sign_at(0) if part.role == "constraint" else 0.0 for part in parts]) * acting
    return pulls, replace(state, multipliers=tuple(multipliers.tolist()))


def stepped(means: Float[Array, " K"], trains: Sequence[bool], state: State) -> tuple[float, State]:
    """0.5 + 1.5 tanh(what these means add to the hypervolume of the front), and the front with them
    (https://arxiv.org/abs/2509.11452). The volume is in units of `scale`, from the first rollout's means.
    """
    corner = np.where(np.isnan(state.corner), means, state.corner)
    state = replace(state, corner=tuple(corner.tolist()))
    chosen = np.array(trains)
    if np.isnan(means[chosen]).any():
        return 0.5, state
    front = np.array(state.front).reshape(-1, len(means))
    before = front[~np.isnan(front[:, chosen]).any(axis=1)]
    after = np.concatenate([before, means[None]])
    after = after[non_dominated(after[:, chosen])]
    volumes = [hypervolume(points[:, chosen], corner[chosen]) for points in (before, after)]
    return 0.5 + 1.5 * math.tanh(volumes[1] - volumes[0]), replace(state, front=tuple(map(tuple, after.tolist())))


def column_means(seen: Float[Array, "P G K"]) -> Float[Array, " K"]:
    """The mean of each reward where it applies; NaN where it applies nowhere."""
    return np.array([ways.mean_of(seen[:, :, k]) for k in range(seen.shape[2])])


def _mixed(old: Sequence[float], new: Sequence[float], memory: float) -> tuple[float, ...]:
    """memory x old + (1 - memory) x new; what is NaN does not count."""
    return tuple(
        b if math.isnan(a) else a if math.isnan(b) else memory * a + (1 - memory) * b
        for a, b in zip(old, new, strict=True)
    )
