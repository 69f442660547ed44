"""Reward for code: the program in a completion against the row's unit tests, in the sandbox."""

import json
import logging
import os
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

from grpo_lightning.types import Record
from rewards.sandbox import Fence, Verdict, run_tests
from rewards.sandboxing.forms import read_tests
from rewards.sandboxing.pool import pool_for

__all__ = ["UnitTests", "extract_code", "read_tests"]

_logger = logging.getLogger(__name__)


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


class UnitTests:
    """1.0 where the completion's program passes all unit tests of its row, else 0.0; or the share that it passes."""

    def __init__(
        self,
        column: str = "tests",
        timeout: float = 10.0,
        partial: bool = False,
        entry_point: str | None = None,
        prelude: str = "",
        log: str | None = None,
        fence: Fence | None = None,
    ) -> None:
        """
        Args:
            column: Column of the row that holds the tests: asserts as Python source, a list of such sources, or a list
                of {"stdin", "stdout"} or {"function", "input", "output"}, each with a "weight" if it has one; or any
                of these as JSON text (see `rewards.sandboxing.forms`). A row without tests has no reward.
            timeout: Seconds for all tests of one program together.
            partial: Reward the share of the tests that passed, by weight, instead of all or nothing.
            entry_point: Column that names the function to call the tests' `check` with, as HumanEval has it. null: the
                tests call what they test.
            prelude: Source put before every program, for data whose solutions assume imports, as LeetCode's do.
            log: File to which each program adds a line of JSON: prompt, code, reward, seconds, and the outcome of each
                test (passed, failed, error, timeout or memory). null: counts only, at the level DEBUG of the log.
            fence: How the sandbox confines programs: memory, disk, and the layers that it must have.
        """
        if timeout <= 0:
            raise ValueError(f"timeout must be positive, not {timeout}")
        self._column = column
        self._timeout = timeout
        self._partial = partial
        self._entry_point = entry_point
        self._prelude = f"{prelude}\n" if prelude else ""
        self._log = None if log is None else os.path.abspath(log)
        self._fence = fence or Fence()

    def __call__(self, records: Sequence[Record]) -> list[float | None]:
        """The rewards of a batch, whose programs run side by side."""
        with ThreadPoolExecutor(max_workers=pool_for(self._fence).size) as threads:
            return list(threads.map(self._reward, records))

    def _reward(self, record: Record) -> float | None:
        tests = read_tests(record.row.get(self._column))
        if tests is None:
            return None
        if self._entry_point is not None and isinstance(tests, str):
            tests = f"{tests}\ncheck({self._function_of(record)})\n"
        started = time.perf_counter()
        code = extract_code(record.completion)
        verdict = run_tests(self._prelude + code, tests, self._timeout, self._fence)
        reward = verdict.fraction if self._partial else float(verdict.passed)
        self._note(record, code, verdict, reward, time.perf_counter() - started)
        return reward

    def _function_of(self, record: Record) -> str:
        name = record.row.get(self._entry_point or "")
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"column {self._entry_point!r} holds {name!r}; it must be the name of a function")
        return name

    def _note(self, record: Record, code: str, verdict: Verdict, reward: float, seconds: float) -> None:
        _logger.debug("unit tests: %s; %s", dict(Counter(each.outcome for each in verdict.results)), verdict.detail)
        if self._log is not None:
            line = {"prompt": record.prompt, "code": code, "reward": reward, "seconds": round(seconds, 4)}
            _append(self._log, {**line, "tests": [asdict(each) for each in verdict.results]})


def _append(path: str, line: dict[str, object]) -> None:
    """Add a line in one write, so that those of several processes stay whole."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        os.write(descriptor, json.dumps(line).encode("ascii") + b"\n")
    finally:
        os.close(descriptor)
