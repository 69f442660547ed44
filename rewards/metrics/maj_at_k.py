"""maj@k as a metric of the `evaluate` library: is the answer that most samples give the right one?"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from datasets.features import Features, Value
from datasets.features import Sequence as Several
from evaluate import info, module

from grpo_lightning.statistics import bounded
from rewards.exact_match import ExactMatch
from rewards.math_answer import MathAnswer, is_correct

DESCRIPTION = """Share of problems whose most frequent answer among the first k samples is right, with a bootstrap
interval over problems. Answers that are equivalent, as 1/2 and 0.5, vote together; of equally many votes the answer
given first wins; samples without an answer do not vote."""

INPUTS = """
Args:
    predictions: for each problem a list with the text of each sample.
    references: for each problem its answer.
    k: numbers of samples to let vote; null: all.
    answers: "math": mathematical answers, found in the texts; "exact": each text is an answer.
    confidence: of the interval.
Returns:
    maj_at_K for each K, with maj_at_K_low and maj_at_K_high.
Example:
    >>> MajAtK().compute(predictions=[["1/2", "3", "0.5"]], references=["\\\\frac12"])["maj_at_3"]
    1.0
"""


class MajAtK(module.Metric):
    """See DESCRIPTION."""

    def _info(self) -> info.MetricInfo:
        text = Value("string")
        features = Features(predictions=Several(text), references=text)
        return info.MetricInfo(
            description=DESCRIPTION, citation="arXiv:2203.11171", inputs_description=INPUTS, features=features
        )

    def _compute(  # type: ignore[override]  # each metric has arguments of its own
        self,
        predictions: Sequence[Sequence[str]],
        references: Sequence[str],
        k: Sequence[int] | None = None,
        answers: Literal["math", "exact"] = "math",
        confidence: float = 0.95,
    ) -> dict[str, float]:
        if answers not in ("math", "exact"):
            raise ValueError(f"answers: {answers!r} is refused; it must be 'math' or 'exact'")
        fewest = min((len(samples) for samples in predictions), default=0)
        counts = [fewest] if k is None else list(k)
        if not counts or min(counts) < 1 or max(counts) > fewest:
            raise ValueError(
                f"k: {counts} is refused; each must be from 1 to {fewest}, the fewest samples of a problem"
            )
        results: dict[str, float] = {}
        for count in counts:
            voted = zip(predictions, references, strict=True)
            right = np.array([_is_right(samples[:count], wanted, answers) for samples, wanted in voted], dtype=float)
            results |= bounded(f"maj_at_{count}", right, confidence=confidence)
        return results


def _is_right(samples: Sequence[str], wanted: str, answers: str) -> bool:
    winner = (MathAnswer() if answers == "math" else ExactMatch()).majority(samples)
    if winner is None:
        return False
    return is_correct(samples[winner], wanted) if answers == "math" else samples[winner].strip() == wanted.strip()
