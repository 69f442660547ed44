"""Which completions and groups train: pure functions of what the rollout and its rewards look like.

A completion that is filtered out leaves its group's baseline, the loss and its denominators alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from grpo_lightning.advantages import has_signal

Array = np.ndarray

RIGHT = 1.0
"""An answer counts as accurate from this value of the accuracy reward on."""


@dataclass(frozen=True, kw_only=True)
class FilterConfig:
    """Which completions and groups train."""

    truncated: Literal["train", "drop"] = "train"
    """Completions cut off at sampling.max_tokens: `drop` leaves them out of the loss and of their group's baseline."""
    silent: Literal["train", "drop", "refill"] = "train"
    """Groups whose completions all score the same. `drop` leaves them out; `refill` draws other prompts in their place
    until prompts_per_step groups carry signal (DAPO's dynamic sampling). A step without any group left still moves the
    weights, by Adam's momentum."""
    max_rounds: int = 4
    """Of `refill`: rollouts per step at most; then the step trains on what it has."""
    reward: str | None = None
    """The reward that `silent` and `retire_at` look at, unshaped; null: the accuracy reward. Groups that it does not
    score are judged by the weighted sum."""
    retire_at: float | None = None
    """Prompts with at least this share of right completions are not drawn again (ScaleRL: 0.9); null: never."""

    def __post_init__(self) -> None:
        if self.silent != "refill" and self.max_rounds != 4:
            raise ValueError("filters.max_rounds: has no effect unless filters.silent is 'refill'")
        if self.silent == "train" and self.retire_at is None and self.reward is not None:
            raise ValueError("filters.reward: has no effect while neither filters.silent nor filters.retire_at acts")
        if self.max_rounds < 1:
            raise ValueError(f"filters.max_rounds: {self.max_rounds} is refused; it must be at least 1")
        if self.retire_at is not None and not 0 < self.retire_at <= 1:
            raise ValueError(f"filters.retire_at: {self.retire_at} is refused; it must be above 0 and at most 1")

    def judge(self, names: Sequence[str], accuracy: str) -> str:
        """The name of the reward that decides; refuses one that is not there."""
        name = accuracy if self.reward is None else self.reward
        if name not in names:
            raise ValueError(f"filters.reward: no reward is named {name!r}; the names are {', '.join(names)}")
        return name


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How the groups of a rollout came out, by one reward. Each group is in exactly one of the four."""

    mixed: Bool[Array, " P"]
    """The completions differ: there is something to learn."""
    all_right: Bool[Array, " P"]
    all_wrong: Bool[Array, " P"]
    """All score the same, less than right."""
    unscored: Bool[Array, " P"]
    """The reward applies to none of them."""


def outcome(rewards: Float[Array, "P G"]) -> Outcome:
    """Judged on the completions that the reward applies to."""
    valid = ~np.isnan(rewards)
    mixed, scored = has_signal(rewards), valid.any(axis=1)
    right = scored & ~mixed & (np.where(valid, rewards, np.inf).min(axis=1) >= RIGHT)
    return Outcome(mixed=mixed, all_right=right, all_wrong=scored & ~mixed & ~right, unscored=~scored)


def pass_rates(rewards: Float[Array, "P G"]) -> Float[Array, " P"]:
    """The share of right completions of each group, of those that the reward applies to; 0 where it applies to none."""
    valid = ~np.isnan(rewards)
    return np.asarray((np.where(valid, rewards, -np.inf) >= RIGHT).sum(axis=1) / np.maximum(valid.sum(axis=1), 1))
