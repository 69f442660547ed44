"""Runs model-written Python against unit tests so that it cannot escape, cheat or hang.

    run_tests("def add(a, b): return a + b", "assert add(2, 2) == 4", timeout=5.0).passed

Every program runs in a fresh process forked from a warm server (`sandboxing.server`). The verdict never comes from that
process: the output of a program is compared here, and asserts and pairs of input and output run in another process that
asks the code under test over a channel of plain data (`sandboxing.judge`, `sandboxing.pairs`, `sandboxing.channel`).

Layers, each used where the kernel offers it, named once in the log and demanded by `Fence.strict`:

* limits: address space, CPU time, file size, descriptors; wall time from outside; output capped;
* seccomp: an allow list of system calls; no process, program, socket, message queue, shared memory or signal to others;
* namespaces: a root with the standard library, the system's libraries and an empty bounded directory; no network;
* landlock: the same for files where namespaces are forbidden, and beneath them;
* user, capabilities: root becomes a user without a name, another one for each server; no capability, no new privilege.

Always: an empty environment, no inherited descriptor, a directory that is replaced once it was touched, and a self-test
of every server before its first program. limits, seccomp, and one of namespaces and landlock are never done without.

Not covered: bugs of the kernel and side channels of the processor; load on shared cores and memory bandwidth; reading
the standard library, the system's libraries and, without namespaces, the existence and metadata of other files; without
namespaces disk use is checked 20 times a second, not bounded exactly. Tests are trusted: they run confined, but weak
tests, tests whose expected values can be guessed, and names that tests use without importing them are what the code
makes of them. An object of the code's own class answers for its own operators (see `sandboxing.stubs`). Programs that
run side by side as one ordinary user without namespaces share the limit of threads.
Not supported in asserts: operators between plain data and an object of a class that the tests use in no other way (see
`sandboxing.classes`), a class of the tests that derives from one under test, tests that replace names inside the code
under test (`mock.patch("solution.x")`), equality of library objects that are no plain data (a `Path`, an `array`)
between both sides, a metaclass asked for by `type`, methods with which a class derived from plain data overrides the
plain ones (`E(str).join`), third-party packages, but for what `sandboxing.pytest_standin` has of pytest.
"""

import contextlib
import fcntl
import functools
import json
import math
import os
import select
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rewards.sandboxing.forms import Case, Pair, pairs_as_json, read_tests
from rewards.sandboxing.pool import Fence, Kind, Pool, Report, SandboxError, ServerBroken, Worker, close_pools, pool_for

__all__ = ["Fence", "SandboxError", "TestResult", "Verdict", "close_pools", "run_tests"]

Outcome = Literal["passed", "failed", "error", "timeout", "memory"]

_GRACE = 0.5
"""Seconds after the deadline in which the servers have to report; then they are killed."""
_SPARE_OUTPUT = 1 << 20
_MAX_RESULTS = 4 << 20
_MAX_ERRORS = 16 << 20
_MAX_ERROR_TEXT = 4096
_DETAIL = 300


@dataclass(frozen=True, slots=True)
class TestResult:
    """One test."""

    outcome: Outcome
    label: str
    detail: str = ""
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the tests say about a program."""

    passed: bool
    """The whole answer: there are tests, and every one passed."""
    results: tuple[TestResult, ...] = ()
    """One for each test that is known of."""
    detail: str = ""
    """Why not, in a line."""

    @property
    def fraction(self) -> float:
        """The share of tests that passed, by their weights."""
        passed = math.fsum(each.weight for each in self.results if each.outcome == "passed")
        return passed / math.fsum(each.weight for each in self.results) if self.results else 0.0


def run_tests(code: str, tests: object, timeout: float = 10.0, fence: Fence | None = None) -> Verdict:
    """Run `code` against `tests` within `timeout` seconds for all tests together; one without time left is a timeout.

    `tests` is Python source with asserts over the names that `code` defines, or of a form that `forms.read_tests` reads
    (what it returned will do, too):

    * a list of `{"stdin": …, "stdout": …}`: the program runs once for each, has to exit with status 0, and its output
      is compared line by line with trailing white space removed;
    * a list of `{"function": …, "input": [arguments], "output": …}`: the function, or the method of a new `Solution`,
      is called once for each, and what it returns is compared as JSON (`pairs.same`).

    Each of these may have a `weight`, which `Verdict.fraction` heeds. Safe to call from several threads. Waiting for a
    free server does not count as time. Raises `SandboxError` where no safe sandbox can be had, ValueError for tests of
    no known form.
    """
    if timeout <= 0:
        raise ValueError(f"timeout must be positive, not {timeout}")
    read = read_tests(tests)
    if read is None:
        return Verdict(False, (), "no tests")
    pool = pool_for(fence or Fence())
    if isinstance(read, str):
        return _verdict(_run_judged(pool, code, "source", read, timeout))
    cases = [each for each in read if isinstance(each, Case)]
    if cases:
        return _verdict(_run_cases(pool, code, cases, timeout))
    pairs = [each for each in read if isinstance(each, Pair)]
    return _verdict(_weighted(_run_judged(pool, code, "pairs", pairs_as_json(pairs), timeout), pairs))


def _verdict(results: list[TestResult]) -> Verdict:
    bad = [each for each in results if each.outcome != "passed"]
    detail = f"{bad[0].outcome} {bad[0].label}: {bad[0].detail}"[:_DETAIL] if bad else "" if results else "no tests"
    return Verdict(bool(results) and not bad, tuple(results), detail)


# Asserts and pairs ---------------------------------------------------------------------------------------------------


def _run_judged(pool: Pool, code: str, kind: Kind, tests: str, timeout: float) -> list[TestResult]:
    try:
        lines, report = pool.with_worker(lambda worker: _judge(worker, code, kind, tests, timeout))
    except ServerBroken as error:
        return [TestResult("error", "sandbox", str(error))]
    return _read_results(lines, report)


def _judge(worker: Worker, code: str, kind: Kind, tests: str, timeout: float) -> tuple[bytes, Report]:
    """The judge's lines, and how the code under test ended."""
    deadline = time.monotonic() + timeout
    with contextlib.ExitStack() as ours:
        reading, writing = os.pipe()
        ours.callback(os.close, reading)
        with contextlib.ExitStack() as theirs:
            theirs.callback(os.close, writing)
            near, far = (theirs.enter_context(each) for each in socket.socketpair())
            null = theirs.enter_context(open(os.devnull, "r+b")).fileno()
            worker.candidate.start("module", timeout, [null, null, null, _file_of(code, theirs), far.fileno()])
            worker.judge.order(kind, _file_of(tests, theirs), near.fileno(), writing)
        (lines,), ended = _read_all({reading: _MAX_RESULTS}, deadline + _GRACE)
    worker.candidate.stop()
    report = worker.candidate.finish(deadline + 2 * _GRACE - time.monotonic())
    if not ended or b'{"stays"' not in lines:
        worker.judge.retire()
    return lines, report if ended else Report("timeout", report.status)


def _read_results(lines: bytes, report: Report) -> list[TestResult]:
    results, planned, ended = [], 1, False
    for line in lines.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # the judge was killed while it wrote
            continue
        planned = int(entry.get("planned", planned))
        ended = ended or "end" in entry
        if "outcome" in entry:
            results.append(TestResult(entry["outcome"], str(entry["label"]), str(entry.get("detail", ""))[:_DETAIL]))
    if ended:
        return results
    cause = _cause(report)
    if cause == "timeout" and results and "ChannelBroken" in results[-1].detail:
        results[-1] = TestResult("timeout", results[-1].label)
    if not results or results[-1].outcome == "passed":
        results.append(TestResult(cause, "the tests did not end"))
    return results + [TestResult(cause, "not run")] * (planned - len(results))


def _cause(report: Report) -> Outcome:
    if report.killed == "timeout" or report.status == -signal.SIGXCPU:
        return "timeout"
    return "error"


def _weighted(results: list[TestResult], pairs: Sequence[Pair]) -> list[TestResult]:
    """A result with its weight for each pair, also where the code did not load or the sandbox broke."""
    if len(results) != len(pairs):
        results = [*results, *[replace(results[-1], detail="not run")] * len(pairs)][: len(pairs)]
    return [replace(each, weight=pair.weight) for each, pair in zip(results, pairs, strict=True)]


# Programs ------------------------------------------------------------------------------------------------------------


def _run_cases(pool: Pool, code: str, cases: Sequence[Case], timeout: float) -> list[TestResult]:
    results: list[TestResult] = []
    left = timeout
    for number, case in enumerate(cases, start=1):
        label = f"case {number}"
        if left <= 0:
            results.append(TestResult("timeout", label, "no time left", case.weight))
            continue
        try:
            result, seconds = pool.with_worker(functools.partial(_run_timed, code, case, label, left))
        except ServerBroken as error:
            result, seconds = TestResult("error", label, f"sandbox: {error}"), left
        results.append(replace(result, weight=case.weight))
        left -= seconds
    return results


def _run_timed(code: str, case: Case, label: str, left: float, worker: Worker) -> tuple[TestResult, float]:
    started = time.monotonic()
    return _run_case(worker, code, case, label, started + left), time.monotonic() - started


def _run_case(worker: Worker, code: str, case: Case, label: str, deadline: float) -> TestResult:
    expected = case.stdout
    with contextlib.ExitStack() as ours:
        reading, writing = os.pipe()
        reading_errors, writing_errors = os.pipe()
        ours.callback(os.close, reading)
        ours.callback(os.close, reading_errors)
        with contextlib.ExitStack() as theirs:
            theirs.callback(os.close, writing)
            theirs.callback(os.close, writing_errors)
            files = [_file_of(case.stdin, theirs), writing, writing_errors, _file_of(code, theirs)]
            worker.candidate.start("program", max(0.001, deadline - time.monotonic()), files)
        limits = {reading: 2 * len(expected.encode("utf-8", "replace")) + _SPARE_OUTPUT, reading_errors: _MAX_ERRORS}
        (output, errors), _ = _read_all(limits, deadline + _GRACE)
        if len(output) > limits[reading] or len(errors) > limits[reading_errors]:
            worker.candidate.stop()
    report = worker.candidate.finish(deadline + 2 * _GRACE - time.monotonic())
    return _compare(output, expected, label, report, errors[-_MAX_ERROR_TEXT:].decode("utf-8", "replace").strip())


def _compare(output: bytes, expected: str, label: str, report: Report, errors: str) -> TestResult:
    if report.killed == "stopped":
        return TestResult("failed", label, "too much output")
    last_line = errors.rpartition("\n")[2]
    if report.killed is not None or report.status != 0:
        cause: Outcome = "memory" if last_line.startswith("MemoryError") else _cause(report)
        return TestResult(cause, label, (last_line or report.killed or f"exit status {report.status}")[:_DETAIL])
    ours, theirs = _lines(output.decode("utf-8", "backslashreplace")), _lines(expected)
    if ours == theirs:
        return TestResult("passed", label)
    if len(ours) != len(theirs):
        return TestResult("failed", label, f"{len(ours)} lines for {len(theirs)}")
    line = next(number for number, pair in enumerate(zip(ours, theirs, strict=True), start=1) if pair[0] != pair[1])
    return TestResult("failed", label, f"line {line} differs")


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")]


# Descriptors ---------------------------------------------------------------------------------------------------------


def _file_of(text: str, stack: contextlib.ExitStack) -> int:
    """An anonymous sealed file with this text, at its beginning."""
    descriptor = os.memfd_create("text", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    stack.callback(os.close, descriptor)
    view = memoryview(text.encode("utf-8", "surrogatepass"))
    while view:
        view = view[os.write(descriptor, view) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
    return descriptor


def _read_all(limits: dict[int, int], deadline: float) -> tuple[list[bytes], bool]:
    """What arrives on each descriptor until all are closed, which is true, or one exceeds its limit or time is up."""
    poll = select.poll()
    chunks: dict[int, list[bytes]] = {descriptor: [] for descriptor in limits}
    sizes = dict.fromkeys(limits, 0)
    for descriptor in limits:
        poll.register(descriptor, select.POLLIN)
    waiting = set(limits)
    while waiting and all(sizes[each] <= limits[each] for each in limits):
        left = deadline - time.monotonic()
        ready = poll.poll(max(0.0, 1000 * left))
        if not ready or left < 0:
            break
        for descriptor, _ in ready:
            chunk = os.read(descriptor, 1 << 16)
            if not chunk:
                poll.unregister(descriptor)
                waiting.discard(descriptor)
            sizes[descriptor] += len(chunk)
            chunks[descriptor].append(chunk)
    return [b"".join(chunks[descriptor]) for descriptor in limits], not waiting
