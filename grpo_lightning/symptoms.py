"""Symptoms of runs that go wrong: of each what was seen, in numbers, what it may mean, and which settings to change.

Read off logged metrics only. Thresholds are for warnings that deserve attention: a healthy run shows none.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Protocol, runtime_checkable

Row = Mapping[str, float]

KEPT = (
    *("accuracy", "reward", "completion/tokens", "completion/duplicates", "stop/length", "sampler/entropy"),
    *("groups/zero_signal", "groups/mixed", "groups/all_right", "groups/all_wrong", "groups/unscored"),
    *("update/skipped", "update/kl_to_sampler", "update/ess", "sampler/kl", "speed/tokens_per_second"),
    *("time/rollout", "time/reward", "time/prepare", "time/update"),
)
"""Metrics that are looked at."""

FIRST, RECENT = 10, 60
"""Rollouts that are remembered: those at the start, and the latest."""


@dataclass(slots=True, kw_only=True)
class History:
    """What a run has logged, as far as it is remembered."""

    first: list[dict[str, float]] = field(default_factory=list)
    recent: list[dict[str, float]] = field(default_factory=list)
    rollouts: int = 0
    held_out: list[tuple[int, float, float]] = field(default_factory=list)
    """Of each validation: the step, the accuracy, and the reward in training at that time."""
    not_finite: list[str] = field(default_factory=list)
    """Metrics of the last rollout that are no numbers."""

    def add(self, row: Row) -> None:
        """One more rollout."""
        kept = {name: row[name] for name in KEPT if name in row and math.isfinite(row[name])}
        self.not_finite = [name for name, value in row.items() if not math.isfinite(value)]
        self.rollouts += 1
        self.recent = [*self.recent, kept][-RECENT:]
        if len(self.first) < FIRST:
            self.first.append(kept)

    def validated(self, step: int, accuracy: float, window: int = 5) -> None:
        """One more validation; again at the same step, it replaces the other."""
        earlier = [each for each in self.held_out if each[0] < step]
        self.held_out = [*earlier, (step, accuracy, self.now("reward", min(window, self.rollouts)) or 0.0)]

    def now(self, name: str, window: int) -> float | None:
        """The mean of the last `window` rollouts; None before there are as many, or if any lacks it."""
        return _mean(self.recent[-window:], name, window)

    def stands_still(self, window: int, least: float = 0.01) -> float | None:
        """Accuracy over the last `window` rollouts if it is not `least` above that of the ones before; else None."""
        late, early = self.recent[-window:], self.recent[-2 * window : -window]
        now, before = _mean(late, "accuracy", window), _mean(early, "accuracy", window)
        return now if now is not None and before is not None and now < before + least else None

    def change(self, name: str, window: int) -> tuple[float, float] | None:
        """The mean of the first `window` rollouts, and of the last; None as long as these overlap."""
        first, now = min(window, FIRST), self.now(name, window)
        start = _mean(self.first[:first], name, first)
        return None if start is None or now is None or self.rollouts < first + window else (start, now)


def _mean(rows: Sequence[Row], name: str, count: int) -> float | None:
    values = [row[name] for row in rows if name in row]
    return fmean(values) if values and len(values) == count else None


@runtime_checkable
class Symptom(Protocol):
    """Thresholds of one symptom, and what they make of a run."""

    def sees(self, past: History) -> str | None:
        """What there is to say after the latest rollout; None if all is well."""
        ...


def _check(key: str, symptom: Symptom) -> None:
    """Refuses thresholds by which it would never be seen, or always."""
    for name, value in vars(symptom).items():
        if name in ("window", "rollouts") and not 1 <= value <= RECENT // 2:
            raise ValueError(f"watchdogs.{key}.{name}: {value} is refused; it must be 1 to {RECENT // 2} rollouts")
        least = int(name == "skipped")
        if not least <= value < math.inf:
            raise ValueError(f"watchdogs.{key}.{name}: {value} is refused; it must be {least} or more")


@dataclass(frozen=True, kw_only=True)
class EntropyCollapse:
    """The policy is nearly certain of everything, and not because it is right."""

    below: float = 0.03
    """Nats per token."""
    of_start: float = 0.25
    """And below this share of what it was at the start."""
    solved: float = 0.9
    """From this accuracy on certainty is earned; and as long as accuracy rises."""
    window: int = 10
    """Rollouts that are averaged."""

    def __post_init__(self) -> None:
        _check("entropy", self)

    def sees(self, past: History) -> str | None:
        change, accuracy = past.change("sampler/entropy", self.window), past.stands_still(self.window)
        if change is None or accuracy is None or accuracy >= self.solved:
            return None
        start, entropy = change
        if entropy >= self.below or entropy >= self.of_start * start:
            return None
        return (
            f"the entropy per token fell from {start:.3g} to {entropy:.3g} while accuracy stays at {accuracy:.1%}. "
            "The policy says the same thing whatever it is rewarded for, so it finds nothing new. Raise "
            "model.objective.epsilon_high (0.28) or model.sampling.temperature, set model.objective.entropy.target, or "
            "lower model.optimizer.lr"
        )


@dataclass(frozen=True, kw_only=True)
class LengthExplosion:
    """Completions grow without getting better, or into the length limit."""

    growth: float = 2.0
    """Times the tokens of the start."""
    gain: float = 0.05
    """Accuracy that pays for growth."""
    truncated: float = 0.2
    """Share of completions that end at the limit; counts if it rose by half of this since the start."""
    window: int = 5
    """Rollouts that are averaged."""

    def __post_init__(self) -> None:
        _check("length", self)

    def sees(self, past: History) -> str | None:
        ends, lengths = past.change("stop/length", self.window), past.change("completion/tokens", self.window)
        if ends is None or lengths is None:
            return None
        (cut_before, cut), (before, tokens) = ends, lengths
        right_before, right = past.change("accuracy", self.window) or (0.0, 0.0)
        if cut >= self.truncated and cut - cut_before >= self.truncated / 2:
            return (
                f"{cut:.1%} of the completions end at the length limit, {cut_before:.1%} did at the start; tokens per "
                f"completion went from {before:.0f} to {tokens:.0f}. Truncated answers are scored as wrong whatever "
                "they were about to say. Raise model.sampling.max_tokens, set model.advantage.overlong_share (0.2) or "
                "model.filters.truncated: drop, or add a reward that bounds the length (role: constraint)"
            )
        gained = right - right_before
        if tokens >= self.growth * before and gained < self.gain:
            return (
                f"tokens per completion went from {before:.0f} to {tokens:.0f} while accuracy changed by {gained:+.1%}."
                " Length pays without use: long wrong answers are punished less per token. Take "
                "model.objective.reduction: token or constant, set model.advantage.overlong_share, or add a reward "
                "that bounds the length (role: constraint)"
            )
        return None


@dataclass(frozen=True, kw_only=True)
class RewardHacking:
    """The reward rises, and what it stands for does not."""

    fall: float = 0.1
    """Held-out accuracy below its best, in the mean of the last two validations, while the reward rose."""
    duplicates: float = 0.5
    """Share of completions that repeat another of their group; counts if it rose by half of this since the start."""
    solved: float = 0.9
    """From this accuracy on, equal completions are right ones."""
    window: int = 10
    """Rollouts that are averaged."""

    def __post_init__(self) -> None:
        _check("hacking", self)

    def sees(self, past: History) -> str | None:
        return self.held_out(past) or self.repeats(past)

    def held_out(self, past: History) -> str | None:
        if len(past.held_out) < 3:
            return None
        step, best, reward_then = max(past.held_out[:-2], key=lambda each: each[1])
        accuracy = fmean(each[1] for each in past.held_out[-2:])
        reward = past.held_out[-1][2]
        seen = [each[2] for each in past.held_out]
        risen = reward - reward_then > 0.1 * (max(seen) - min(seen))
        if best - accuracy < self.fall or not risen:
            return None
        return (
            f"since step {step} the reward in training rose from {reward_then:.3g} to {reward:.3g}, and accuracy on "
            f"held-out prompts fell from {best:.1%} to {accuracy:.1%}. The policy may have found a way to be rewarded "
            "without being right, or learns its prompts by heart. Read the samples in TensorBoard's TEXT tab; tighten "
            "model.rewards or gate them by the accuracy; raise model.objective.kl.beta; stop at the best checkpoint "
            "(checkpoint.monitor)"
        )

    def repeats(self, past: History) -> str | None:
        change, accuracy = past.change("completion/duplicates", self.window), past.stands_still(self.window)
        if change is None or accuracy is None or accuracy >= self.solved:
            return None
        before, now = change
        if now < self.duplicates or now - before < self.duplicates / 2:
            return None
        return (
            f"{now:.1%} of the completions repeat another one of their group, {before:.1%} did at the start, while "
            f"accuracy stays at {accuracy:.1%}. The policy has settled on few answers that are rewarded without "
            "being right. Look at what model.rewards pay for; raise model.sampling.temperature or "
            "model.objective.entropy.bonus"
        )


@dataclass(frozen=True, kw_only=True)
class NoSignal:
    """All completions of each group are rewarded alike: there is nothing to learn from."""

    rollouts: int = 3
    """In a row, in which no group has signal."""

    def __post_init__(self) -> None:
        _check("signal", self)

    def sees(self, past: History) -> str | None:
        rows = past.recent[-self.rollouts :]
        if len(rows) < self.rollouts or not all(map(_silent, rows)):
            return None
        right, wrong = (fmean(row.get(f"groups/{which}", 0.0) for row in rows) for which in ("all_right", "all_wrong"))
        seen = f"no group of the last {self.rollouts} rollouts had rewards that differ"
        if right >= 0.5:
            return (
                f"{seen}: {right:.0%} are all right. These prompts are learnt. Stop, take harder ones (data.source), "
                "or set model.filters.retire_at and model.filters.silent: refill"
            )
        if wrong >= 0.5:
            return (
                f"{seen}: {wrong:.0%} are all wrong. The prompts are too hard, or the reward never fires: try it on a "
                "right answer by hand. Raise model.group_size, take easier prompts (data.source), a stronger "
                "model.policy.pretrained, or a reward for parts of an answer; look at stop/length for answers cut off"
            )
        return (
            f"{seen}, {right:.0%} all right and {wrong:.0%} all wrong. Raise model.sampling.temperature, "
            "model.group_size or data.prompts_per_step; model.filters.silent: refill draws on until groups differ"
        )


def _silent(row: Row) -> bool:
    known = row.get("groups/zero_signal")
    return known == 1.0 if known is not None else row.get("groups/mixed") == 0.0


@dataclass(frozen=True, kw_only=True)
class BadNumbers:
    """Steps were skipped because something was not finite, or metrics are not."""

    skipped: int = 1
    """Optimizer steps that were not finite, over `window`."""
    window: int = 20
    """Rollouts."""

    def __post_init__(self) -> None:
        _check("numbers", self)

    def sees(self, past: History) -> str | None:
        skipped = sum(row.get("update/skipped", 0.0) for row in past.recent[-self.window :])
        if skipped < self.skipped and not past.not_finite:
            return None
        odd = f"; not finite now: {', '.join(past.not_finite[:5])}" if past.not_finite else ""
        return (
            f"{skipped:.0f} optimizer steps of the last {min(self.window, past.rollouts)} rollouts were skipped "
            f"because loss or gradient was not finite{odd}. The weights are unharmed, but numbers overflow. Lower "
            "model.optimizer.lr or model.optimizer.max_grad_norm, take model.policy.dtype: float32 or bfloat16 in "
            "place of float16; model.update.max_bad_steps says how many in a row end the run and keep the batch"
        )


@dataclass(frozen=True, kw_only=True)
class ThroughputDrop:
    """Fewer tokens per second than before."""

    share: float = 0.5
    """Of the median before."""
    window: int = 5
    """Rollouts, whose median counts; twice as many must have gone before."""

    def __post_init__(self) -> None:
        _check("throughput", self)

    def sees(self, past: History) -> str | None:
        late, early = past.recent[-self.window :], past.recent[: -self.window]
        now, before = (_median(rows, "speed/tokens_per_second") for rows in (late, early))
        if len(early) < 2 * self.window or now is None or before is None or now >= self.share * before:
            return None
        stages = ("rollout", "reward", "prepare", "update")
        times = {each: (_median(early, f"time/{each}") or 0.0, _median(late, f"time/{each}") or 0.0) for each in stages}
        worst = max(times, key=lambda each: times[each][1] - times[each][0])
        return (
            f"{now:.3g} tokens per second, {before:.3g} before; the most of it in time/{worst}, which went from "
            f"{times[worst][0]:.2g} to {times[worst][1]:.2g} s. {SLOWER[worst]}"
        )


SLOWER = {
    "rollout": "Completions got longer, the engine is starved, or another program took the device. Look at "
    "completion/tokens; limit model.sampling.max_tokens",
    "reward": "A reward got slow or times out. Look at reward/NAME/latency_p99 and reward/NAME/timeouts; raise "
    "model.reward_workers",
    "prepare": "More samples need another look at by policy or reference. Look at completion/tokens",
    "update": "More groups train than before, completions got longer, or another program took the device. Look at "
    "groups/zero_signal and completion/tokens; model.update.micro_batch_tokens bounds what is computed at once",
}


def _median(rows: Sequence[Row], name: str) -> float | None:
    values = [row[name] for row in rows if name in row]
    return median(values) if values else None


@dataclass(frozen=True, kw_only=True)
class Drift:
    """The policy is no longer the one that sampled, or the engine never was."""

    kl: float = 0.1
    """Nats per token between the policy, after updates, and what sampled."""
    ess: float = 0.5
    """Effective sample size of the ratios, as a share."""
    engine_kl: float = 0.02
    """Nats per token between engine and policy before any update."""
    window: int = 3
    """Rollouts that are averaged."""

    def __post_init__(self) -> None:
        _check("drift", self)

    def sees(self, past: History) -> str | None:
        engine = past.now("sampler/kl", self.window)
        if engine is not None and engine > self.engine_kl:
            return (
                f"before any update the engine's log-probs are {engine:.2g} nats per token (KL) from the policy's. The "
                "engine computes another distribution, or has old weights. Set model.mismatch.correction: truncate; "
                "compare model.policy.dtype with the engine's dtype"
            )
        kl, ess = past.now("update/kl_to_sampler", self.window), past.now("update/ess", self.window)
        far, few = kl is not None and kl > self.kl, ess is not None and ess < self.ess
        if not far and not few:
            return None
        seen = [f"the policy went {kl:.2g} nats per token (KL) away from what sampled"] if kl is not None else []
        seen += [f"the ratios are worth {ess:.0%} of the samples"] if ess is not None else []
        return (
            f"{' and '.join(seen)}. Updates are made of answers that the policy would not give any more. Lower "
            "model.optimizer.lr, model.update.num_iterations or model.update.minibatches, or set "
            "model.objective.off_policy_limit"
        )
