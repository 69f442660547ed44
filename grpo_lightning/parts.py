"""What each reward is to the whole, as declared: weight, role, bound, gate, tier and unit. Free of arrays."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A weight that changes with the rollouts."""

    start: float
    """At the first rollout."""
    end: float
    """From rollout `rollouts` on."""
    rollouts: int
    """How long the change takes."""
    shape: Literal["linear", "cosine", "step"] = "linear"
    """`step`: the start until the end."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start) and math.isfinite(self.end)):
            raise ValueError(f"weight: from {self.start} to {self.end} is refused; both must be finite numbers")
        if self.rollouts < 1:
            raise ValueError(f"weight.rollouts: {self.rollouts} is refused; it must be at least 1")
        if self.start == self.end:
            raise ValueError(f"weight: from {self.start:g} to {self.end:g} is no schedule; give the number alone")

    def at(self, rollout: int) -> float:
        """The weight at a rollout, counted from 0."""
        progress = min(1.0, rollout / self.rollouts)
        done = {"linear": progress, "cosine": 0.5 - 0.5 * math.cos(math.pi * progress), "step": float(progress == 1)}
        return self.start + (self.end - self.start) * done[self.shape]


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one reward is to the whole."""

    weight: float | Schedule = 1.0
    """Its share; 0: shown, never trained on. Of a constraint: its multiplier at the start."""
    role: Literal["objective", "constraint", "metric"] = "objective"
    """`objective`: maximised. `constraint`: its mean is held at its bound (combine.way: constrained). `metric`: shown,
    never trained on."""
    at_least: float | None = None
    """Of a constraint: the mean that it must not fall below."""
    at_most: float | None = None
    """Of a constraint: the mean that it must not exceed."""
    gate: Mapping[str, float] = field(default_factory=dict)
    """Names of other rewards with thresholds: this one counts only where those all reach them. Elsewhere it is as good
    as the worst that counts, and never better than 0."""
    tier: int = 0
    """Of combine.way: lexicographic. Tier 1 counts in groups where tier 0 says nothing, and so on."""
    scale: float = 1.0
    """What its values are divided by before anything else is done with them, bounds too: its unit."""

    def __post_init__(self) -> None:
        number = None if isinstance(self.weight, Schedule) else self.weight
        if number is not None and not math.isfinite(number):
            raise ValueError(f"weight: {number} is refused; it must be a finite number")
        if self.role == "metric" and number not in (0.0, 1.0):
            raise ValueError(f"weight: {self.weight} is refused; a metric is never trained on, so leave it out")
        bounds = {"at_least": self.at_least, "at_most": self.at_most}
        given = {name: bound for name, bound in bounds.items() if bound is not None}
        if given and self.role != "constraint":
            raise ValueError(f"{next(iter(given))}: is for constraints; set role: constraint, not {self.role!r}")
        if self.role == "constraint" and len(given) != 1:
            raise ValueError(f"role: a constraint has one bound, at_least or at_most; it has {given or 'none'}")
        if self.role == "constraint" and (number is None or number < 0):
            raise ValueError(f"weight: {self.weight} is refused; a constraint's multiplier starts there, at 0 or more")
        for name, bound in (given | {f"gate.{other}": threshold for other, threshold in self.gate.items()}).items():
            if not math.isfinite(bound):
                raise ValueError(f"{name}: {bound} is refused; it must be a finite number")
        if not 0 < self.scale < math.inf:
            raise ValueError(f"scale: {self.scale} is refused; it must be a positive number")

    @property
    def first_multiplier(self) -> float:
        """Where a constraint's multiplier starts; 0 of everything else."""
        return self.weight if self.role == "constraint" and not isinstance(self.weight, Schedule) else 0.0

    @property
    def bound(self) -> float | None:
        """Of a constraint, whichever it has."""
        return self.at_most if self.at_least is None else self.at_least

    @property
    def trains(self) -> bool:
        """Whether it is an objective whose weight is ever another than 0."""
        ends = (self.weight.start, self.weight.end) if isinstance(self.weight, Schedule) else (self.weight,)
        return self.role == "objective" and any(end != 0 for end in ends)

    @property
    def smallest_weight(self) -> float:
        """The least that its declared weight ever is."""
        return min(self.weight.start, self.weight.end) if isinstance(self.weight, Schedule) else self.weight

    def weight_at(self, rollout: int) -> float:
        """Its declared weight; 0 unless it is an objective."""
        if self.role != "objective":
            return 0.0
        return self.weight.at(rollout) if isinstance(self.weight, Schedule) else self.weight

    def sign_at(self, rollout: int) -> float:
        """1 where it is to be raised, -1 where it is to be lowered."""
        return -1.0 if self.at_most is not None or self.weight_at(rollout) < 0 else 1.0
