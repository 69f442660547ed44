"""Mathematical equality as a metric of the `evaluate` library."""

from collections.abc import Sequence

import numpy as np
from datasets.features import Features, Value
from evaluate import info, module

from grpo_lightning.statistics import bounded
from rewards.math_answer import is_correct, same_answer

DESCRIPTION = """Share of answers that equal the reference, however either is written (1/2, 0.5, \\\\frac{1}{2}), with a
bootstrap interval. No text is evaluated as code. `rewards/math_answer/__init__.py` has the conventions."""

INPUTS = """
Args:
    predictions: texts, in which the answer is looked for: in \\\\boxed{}, <answer>, behind ####, or at the end.
    references: the answers; a solution with its answer in \\\\boxed{} or behind #### will do.
    bare: the predictions are answers, with no text around them.
    confidence: of the interval.
Returns:
    math_equivalence with math_equivalence_low and math_equivalence_high; `equal`, a 0 or 1 for each.
Example:
    >>> MathEquivalence().compute(predictions=["so it is 0.5."], references=["1/2"])["math_equivalence"]
    1.0
"""


class MathEquivalence(module.Metric):
    """See DESCRIPTION."""

    def _info(self) -> info.MetricInfo:
        text = Value("string")
        features = Features(predictions=text, references=text)
        return info.MetricInfo(description=DESCRIPTION, citation="", inputs_description=INPUTS, features=features)

    def _compute(  # type: ignore[override]  # each metric has arguments of its own
        self, predictions: Sequence[str], references: Sequence[str], bare: bool = False, confidence: float = 0.95
    ) -> dict[str, object]:
        same = same_answer if bare else is_correct
        equal = np.array(
            [same(given, wanted) for given, wanted in zip(predictions, references, strict=True)], dtype=float
        )
        return {**bounded("math_equivalence", equal, confidence=confidence), "equal": equal.tolist()}
