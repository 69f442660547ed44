"""Pareto fronts and their hypervolume, every objective to be maximised. Pure NumPy; exact, for tens of points."""

import numpy as np
from jaxtyping import Bool, Float

Array = np.ndarray


def non_dominated(points: Float[Array, "N K"]) -> Bool[Array, " N"]:
    """Which points no other one is at least as good as everywhere and better somewhere. Of equal points the first."""
    keep = np.ones(len(points), dtype=bool)
    for i, point in enumerate(points):
        as_good = (points >= point).all(axis=1)
        better = as_good & (points > point).any(axis=1)
        keep[i] = not better.any() and not as_good[:i].any()
    return keep


def hypervolume(points: Float[Array, "N K"], reference: Float[Array, " K"]) -> float:
    """Volume of what is at least as good as `reference` and dominated by a point. 0 without points.

    By slices along the last objective: between two heights lies the volume, one dimension less, of the points above.
    """
    points = points[(points > reference).all(axis=1)]
    if not len(points):
        return 0.0
    if points.shape[1] == 1:
        return float(points.max() - reference[0])
    order = np.argsort(-points[:, -1], kind="stable")
    points = points[order]
    heights = np.append(points[:, -1], reference[-1])
    volume = 0.0
    for i in range(len(points)):
        if heights[i] > heights[i + 1]:
            above = points[: i + 1, :-1]
            volume += hypervolume(above[non_dominated(above)], reference[:-1]) * (heights[i] - heights[i + 1])
    return float(volume)
