"""Reward for code: the program in a completion against the row's unit tests, in the sandbox."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from grpo_lightning.types import Record
from rewards.sandbox import Fence, Verdict, run_tests
from rewards.sandboxing.pool import pool_for

Tests = str | list[dict[str, str]]


def extract_code(completion: str) -> str:
    """The program: after the last `</think>`, the last `<answer>` if any, its last fenced block if any."""
    text = completion.rpartition("</think>")[2]
    _, tag, answer = text.rpartition("<answer>")
    if tag:
        text = answer.partition("</answer>")[0]
    closed, unclosed = _fenced_blocks(text)
    if closed is not None:
        return closed
    return text if unclosed is None else unclosed  # the length limit may cut the closing fence off


def _fenced_blocks(text: str) -> tuple[str | None, str | None]:
    """The last closed block between fences, and one that is still open at the end. One pass over the lines."""
    closed: str | None = None
    block: list[str] | None = None
    for line in text.splitlines(keepends=True):
        mark = line.strip()
        if block is None:
            if mark.startswith("```") and "`" not in mark[3:]:
                block = []
        elif mark == "```":
            closed, block = "".join(block), None
        else:
            block.append(line)
    return closed, None if block is None else "".join(block)


def read_tests(value: object) -> Tests | None:
    """The tests in a row's column; None if there are none.

    Python source of asserts; a list of such sources, as in MBPP; a list of `{"stdin": …, "stdout": …}`; or such a list
    as JSON text.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            return str(value)  # Python source that begins with a list
    if value is None or value in ("", []):
        return None
    if isinstance(value, str):
        return value if value.strip() else None
    if isinstance(value, list | tuple):
        if all(isinstance(each, str) for each in value):
            return "\n".join(value)
        if all(isinstance(each, dict) and {"stdin", "stdout"} <= each.keys() for each in value):
            return [{"stdin": str(each["stdin"]), "stdout": str(each["stdout"])} for each in value]
    raise ValueError(f'tests must be source, a list of sources or a list of {{"stdin", "stdout"}}, not {value!r:.200}')


class UnitTests:
    """1.0 where the completion's program passes all unit tests of its row, else 0.0; or the fraction that it passes."""

    def __init__(
        self, column: str = "tests", timeout: float = 10.0, partial: bool = False, fence: Fence | None = None
    ) -> None:
        """
        Args:
            column: Column of the row that holds the tests: asserts as Python source, a list of such sources, or a list
                of {"stdin", "stdout"}. A row without tests has no reward.
            timeout: Seconds for all tests of one program together.
            partial: Reward the fraction of tests passed instead of all or nothing.
            fence: How the sandbox confines programs: memory, disk, and the layers that it must have.
        """
        if timeout <= 0:
            raise ValueError(f"timeout must be positive, not {timeout}")
        self._column = column
        self._timeout = timeout
        self._partial = partial
        self._fence = fence or Fence()

    def __call__(self, records: Sequence[Record]) -> list[float | None]:
        """The rewards of a batch, whose programs run side by side."""
        with ThreadPoolExecutor(max_workers=pool_for(self._fence).size) as threads:
            return list(threads.map(self._reward, records))

    def _reward(self, record: Record) -> float | None:
        tests = read_tests(record.row.get(self._column))
        if tests is None:
            return None
        return self._value(run_tests(extract_code(record.completion), tests, self._timeout, self._fence))

    def _value(self, verdict: Verdict) -> float:
        return verdict.fraction if self._partial else float(verdict.passed)
