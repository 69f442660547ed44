"""Unit tests in the sandbox as a metric of the `evaluate` library."""

from collections.abc import Sequence

import numpy as np
from datasets.features import Features, Value
from evaluate import info, module

from grpo_lightning.statistics import bounded
from grpo_lightning.types import Record
from rewards.unit_tests import UnitTests

DESCRIPTION = """Share of programs that pass all their unit tests, run in the sandbox, with a bootstrap interval. The
sandbox is that of the reward `rewards.unit_tests.UnitTests`; SECURITY.md says what it holds back."""

INPUTS = """
Args:
    predictions: programs, or texts with a program between fences.
    references: for each program its tests: asserts as Python source, a list of such sources, or a list of
        {"stdin", "stdout"} or {"function", "input", "output"}; lists as JSON text (see rewards/sandboxing/forms.py).
    timeout: seconds for all tests of one program together.
    partial: count the share of its tests that a program passes, instead of all or nothing.
    confidence: of the interval.
Returns:
    code_pass with code_pass_low and code_pass_high; `passed`, a number from 0 to 1 for each.
Example:
    >>> CodePass().compute(predictions=["def f(): return 1"], references=["assert f() == 1"])["code_pass"]
    1.0
"""


class CodePass(module.Metric):
    """See DESCRIPTION."""

    def _info(self) -> info.MetricInfo:
        text = Value("string")
        features = Features(predictions=text, references=text)
        return info.MetricInfo(description=DESCRIPTION, citation="", inputs_description=INPUTS, features=features)

    def _compute(  # type: ignore[override]  # each metric has arguments of its own
        self,
        predictions: Sequence[str],
        references: Sequence[str],
        timeout: float = 10.0,
        partial: bool = False,
        confidence: float = 0.95,
    ) -> dict[str, object]:
        records = [_record(program, tests) for program, tests in zip(predictions, references, strict=True)]
        passed = np.array(UnitTests(timeout=timeout, partial=partial)(records), dtype=float)
        return {**bounded("code_pass", passed, confidence=confidence), "passed": passed.tolist()}


def _record(program: str, tests: str) -> Record:
    return Record(prompt="", completion=program, token_ids=(), answer=None, row={"tests": tests}, stop_reason="eos")
