"""What a sample says about a rate: pass@k without bias, bootstrap intervals over prompts, paired comparisons.

Pure functions of numpy arrays; the metrics in `rewards/metrics/` and every evaluation share them.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

Array = np.ndarray

RESAMPLES = 2000
"""Of a bootstrap: at a 95 % interval this leaves 50 beyond each end."""

FLIPS = 10_000
"""Of a permutation test: the smallest p that it can tell is 1 / 10,001."""

CHUNK = 1 << 22
"""Draws of a bootstrap that are held at once."""


def pass_at_k(right: Float[Array, " n"], k: int) -> float:
    """Chance that of k of these n samples, drawn without return, at least one is right: 1 - C(n-c, k) / C(n, k).

    Without bias for the policy's own pass@k (https://arxiv.org/abs/2107.03374), as the share of one drawn subset, or
    1 - (1 - c/n)^k, is not. Samples count as right from 1 on; NaN ones are left out; NaN if fewer than k are left.
    """
    known = right[~np.isnan(right)]
    n, c = len(known), int((known >= 1).sum())
    if k < 1 or n < k:
        return float("nan")
    # C(n-c, k) / C(n, k) as a product of k factors, each below 1: no binomial overflows.
    return 1.0 - float(np.prod([(n - c - i) / (n - i) if n - c > i else 0.0 for i in range(k)]))


def intervals(
    values: Float[Array, "P M"], *, seed: int, confidence: float = 0.95, resamples: int = RESAMPLES
) -> Float[Array, "M 2"]:
    """Of each column's mean over prompts: the bounds between which `confidence` of bootstrap means lie.

    A resample draws P prompts with return, the same ones for every column. NaN: a prompt that the measure does not
    apply to. A column of equal values has no width, however few they are.
    """
    prompts, measures = values.shape
    valid = ~np.isnan(values)
    table = np.concatenate([np.where(valid, values, 0.0), valid], axis=1)
    rng = np.random.default_rng(seed)
    means = np.full((resamples, measures), np.nan)
    step = max(1, CHUNK // max(1, prompts))
    for start in range(0, resamples if prompts else 0, step):
        count = min(step, resamples - start)
        drawn = rng.integers(prompts, size=(count, prompts)) + prompts * np.arange(count)[:, None]
        times = np.bincount(drawn.ravel(), minlength=count * prompts).reshape(count, prompts)
        sums = times @ table
        with np.errstate(invalid="ignore"):
            means[start : start + count] = sums[:, :measures] / sums[:, measures:]
    bounds = np.full((measures, 2), np.nan)
    known = ~np.isnan(means).all(axis=0)
    tail = (1 - confidence) / 2
    if known.any():
        bounds[known] = np.nanquantile(means[:, known], (tail, 1 - tail), axis=0).T
    return bounds


def bounded(name: str, values: Float[Array, " P"], *, confidence: float = 0.95) -> dict[str, float]:
    """NAME, the mean of the values that are not NaN, with NAME_low and NAME_high, the bounds of its interval."""
    known = values[~np.isnan(values)]
    low, high = intervals(known[:, None], seed=0, confidence=confidence)[0].tolist()
    return {name: float(known.mean()) if len(known) else float("nan"), f"{name}_low": low, f"{name}_high": high}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two measurements of the same prompts."""

    prompts: int
    """That both measured."""
    first: float
    """Mean of the first over these prompts."""
    second: float
    difference: float
    """second - first."""
    low: float
    """Bootstrap bounds of the difference, over prompts."""
    high: float
    higher: int
    """Prompts on which the second is above the first."""
    lower: int
    p: float
    """Chance of a difference at least this large, either way, if which was which were a coin's flip at every prompt."""


def compare(
    first: Float[Array, " P"], second: Float[Array, " P"], *, seed: int = 0, confidence: float = 0.95
) -> Comparison:
    """A paired test: the prompts are the same, so that how hard each is cancels.

    p is of the sign-flip permutation test on the mean difference; of measures that are 0 or 1 it is McNemar's exact
    test, to within what FLIPS draws can tell. Prompts that are NaN on either side are left out; p is 1 without any.
    """
    both = ~(np.isnan(first) | np.isnan(second))
    change = second[both] - first[both]
    if not len(change):
        nan = float("nan")
        return Comparison(prompts=0, first=nan, second=nan, difference=nan, low=nan, high=nan, higher=0, lower=0, p=1.0)
    low, high = intervals(change[:, None], seed=seed, confidence=confidence)[0]
    return Comparison(
        prompts=len(change),
        first=float(first[both].mean()),
        second=float(second[both].mean()),
        difference=float(change.mean()),
        low=float(low),
        high=float(high),
        higher=int((change > 0).sum()),
        lower=int((change < 0).sum()),
        p=_sign_flip(change, seed),
    )


def _sign_flip(change: Float[Array, " P"], seed: int) -> float:
    moved = np.abs(change[change != 0])
    if not len(moved):
        return 1.0
    rng = np.random.default_rng(seed)
    # Sums that would be equal differ by rounding, which grows with what is summed, not with what is left of it.
    seen, found, left = abs(float(change.sum())) - 1e-12 * float(moved.sum()), 0, FLIPS
    while left:
        count = min(left, max(1, CHUNK // len(moved)))
        signs = rng.integers(2, size=(count, len(moved)), dtype=np.int8) * 2 - 1
        found += int((np.abs(signs @ moved) >= seen).sum())
        left -= count
    return (found + 1) / (FLIPS + 1)
