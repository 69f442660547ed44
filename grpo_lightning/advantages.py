"""Rewards of a group -> advantages: centre x scale, pure functions of one (P, G) array.

A group is a row of the array, never found by text or id. NaN marks a completion that no reward applies to: it is left
out of every mean and standard deviation and gets advantage 0.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

Array = np.ndarray


@dataclass(frozen=True, kw_only=True)
class AdvantageConfig:
    """How a reward becomes an advantage: A = (r - centre) / scale."""

    scale: Literal["group", "none"] = "group"
    """`group` divides by the group's standard deviation (GRPO); `none` does not (Dr. GRPO)."""
    std: Literal["sample", "population"] = "sample"
    """Which standard deviation: over G - 1 or over G."""
    eps: float = 1e-4
    """Added to the standard deviation, so that a group without spread divides by something."""

    def __post_init__(self) -> None:
        if not self.eps >= 0:
            raise ValueError(f"advantage.eps: {self.eps} is negative; use 0 or a small positive number like 1e-4")


def group_advantages(rewards: Float[Array, "P G"], config: AdvantageConfig) -> Float[Array, "P G"]:
    """A_i = (r_i - mean(r)) / (std(r) + eps), mean and std over the group (https://arxiv.org/abs/2402.03300, eq. 3).

    With `scale: none`, A_i = r_i - mean(r) (https://arxiv.org/abs/2503.20783). A group of equal rewards gets exactly 0.
    Four right of eight gives +-0.94 with the sample std (0.53) and +-1 with the population one (0.5).
    """
    if rewards.shape[1] < 2:
        raise ValueError(f"group_size: {rewards.shape[1]} has no baseline; use at least 2 completions per prompt")
    if np.isinf(rewards).any():
        raise ValueError("rewards: an infinite reward reached the advantages; score it by the reward's `fail` policy")
    valid = ~np.isnan(rewards)
    counts = valid.sum(axis=1, keepdims=True)
    means = np.where(valid, rewards, 0.0).sum(axis=1, keepdims=True) / np.maximum(counts, 1)
    centred = np.where(valid & has_signal(rewards)[:, None], rewards - means, 0.0)
    if config.scale == "none":
        return centred
    freedom = counts - 1 if config.std == "sample" else counts
    std = np.sqrt((centred**2).sum(axis=1, keepdims=True) / np.maximum(freedom, 1))
    return np.divide(centred, std + config.eps, out=np.zeros_like(centred), where=std > 0)


def has_signal(rewards: Float[Array, "P G"]) -> np.ndarray:
    """Whether a group's rewards differ at all, (P,) bool; judged on the rewards themselves, before any rounding."""
    low = np.where(np.isnan(rewards), np.inf, rewards).min(axis=1)
    high = np.where(np.isnan(rewards), -np.inf, rewards).max(axis=1)
    return np.asarray(low < high)
