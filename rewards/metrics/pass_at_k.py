"""pass@k as a metric of the `evaluate` library, from samples that were judged already."""

from collections.abc import Sequence

import numpy as np
from datasets.features import Features, Value
from datasets.features import Sequence as Several
from evaluate import info, module

from grpo_lightning.statistics import bounded, pass_at_k

DESCRIPTION = """Chance that at least one of k samples of a problem is right, without bias from n >= k given samples:
1 - C(n-c, k) / C(n, k), c of them right; the mean over problems, with a bootstrap interval over problems."""

INPUTS = """
Args:
    predictions: for each problem a list with the score of each sample, which counts as right from 1 on; null: none,
        and a problem with fewer than k scores is left out.
    k: numbers of samples to ask for.
    confidence: of the interval.
Returns:
    pass_at_K for each K, with pass_at_K_low and pass_at_K_high.
Example:
    >>> PassAtK().compute(predictions=[[1, 0], [0, 0]], k=[1, 2])["pass_at_2"]
    0.5
"""


class PassAtK(module.Metric):
    """See DESCRIPTION."""

    def _info(self) -> info.MetricInfo:
        features = Features(predictions=Several(Value("float64")))
        return info.MetricInfo(
            description=DESCRIPTION, citation="arXiv:2107.03374", inputs_description=INPUTS, features=features
        )

    def _compute(  # type: ignore[override]  # each metric has arguments of its own
        self, predictions: Sequence[Sequence[float]], k: Sequence[int] = (1,), confidence: float = 0.95
    ) -> dict[str, float]:
        fewest = min((len(samples) for samples in predictions), default=0)
        if not k or min(k) < 1 or max(k) > fewest:
            raise ValueError(
                f"k: {list(k)} is refused; each must be from 1 to {fewest}, the fewest samples of a problem"
            )
        scores = [np.array(samples, dtype=float) for samples in predictions]
        results: dict[str, float] = {}
        for each in k:
            chances = np.array([pass_at_k(samples, each) for samples in scores])
            results |= bounded(f"pass_at_{each}", chances, confidence=confidence)
        return results
