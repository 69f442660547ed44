"""Several rewards -> one: R stays (P, G, K) up to here, and NaN means "does not apply here"."""

import numpy as np
from jaxtyping import Float

Array = np.ndarray


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


def _group_means(rewards: Float[Array, "P G K"], valid: np.ndarray) -> Float[Array, "P 1 K"]:
    """Means over the valid entries, 0 without any; within the extremes, so that equal values give just that value."""
    counts = np.maximum(valid.sum(axis=1, keepdims=True), 1)
    means = np.where(valid, rewards, 0.0).sum(axis=1, keepdims=True) / counts
    low = np.where(valid, rewards, np.inf).min(axis=1, keepdims=True)
    high = np.where(valid, rewards, -np.inf).max(axis=1, keepdims=True)
    return np.where(low <= high, np.clip(means, low, high), 0.0)
