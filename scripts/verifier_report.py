"""Measures the verifiers, prints the tables, and exits with status 1 if a target is missed.

    python scripts/verifier_report.py
    python scripts/verifier_report.py --cases more.jsonl --forbid namespaces

Math: accuracy by category, wrong acceptances apart, and milliseconds of CPU a check. A case is a line of JSON with
`gold`, `completion` or `pred`, `expected`, and `category` or `why`; those whose `tier` is policy are shown and
have no target, as a convention decides them; those of the tier hostile must not be accepted, nor take long.
Sandbox: hostile programs by kind, honest verdicts, the layers in use, and programs a second. Programs are Python files
with the dictionaries of tests/sandbox_hostile.py and tests/sandbox_honest.py. Run it as another user, or with a layer
forbidden, to measure those. Throughput is the machine's as much as the sandbox's: measure it on idle cores.
"""

import argparse
import json
import os
import runpy
import statistics
import sys
import textwrap
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from rewards.math_answer import is_correct
from rewards.sandbox import Fence, Verdict, close_pools, run_tests
from rewards.sandboxing.pool import LAYERS, pool_for

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"

ACCURACY = {"core": 0.99, "free": 0.97}
"""Of the cases that mathematics decides, and of those in free text. Of both none may be accepted that is wrong: a wrong
reward teaches more than a missing one."""
MEDIAN_MS = 0.5
"""Of one answer."""
HOSTILE_SECONDS = 1.0
"""CPU time that no hostile answer may exceed."""
PROGRAMS_PER_CORE = 150.0
"""Programs a second and idle core, all layers in use."""
HONEST_SECONDS, HOSTILE_PROGRAM_SECONDS = 20.0, 0.5
TIMED = (
    ("asserts", "def add(a, b):\n    return a + b\n", "assert add(1, 2) == 3\nassert add(-1, 1) == 0"),
    ("stdin", "print(sum(map(int, input().split())))", [{"stdin": "1 2 3\n", "stdout": "6"}]),
    ("pairs", "def add(a, b):\n    return a + b\n", [{"function": "add", "input": [1, 2], "output": 3}]),
)


@dataclass(slots=True)
class Report:
    """What is printed, and the targets that were missed."""

    missed: list[str] = field(default_factory=list)

    def table(self, title: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print a table in Markdown."""
        print(f"\n## {title}\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
        for row in rows:
            print(f"| {' | '.join(map(_cell, row))} |", flush=True)

    def want(self, holds: bool, target: str) -> None:
        """Note a target, and that it is missed unless it holds."""
        if not holds:
            self.missed.append(target)


def _cell(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value).replace("|", r"\|")


def _percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


# Math ----------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class MathTally:
    """The checks of one category or tier."""

    right: int = 0
    refused_right: int = 0
    """Right answers that were refused."""
    accepted_wrong: int = 0
    to_refuse: int = 0
    seconds: list[float] = field(default_factory=list)

    def add(self, expected: bool, accepted: bool, seconds: float) -> None:
        self.right += accepted is expected
        self.refused_right += expected and not accepted
        self.accepted_wrong += accepted and not expected
        self.to_refuse += not expected
        self.seconds.append(seconds)

    def row(self, name: str) -> list[object]:
        """Cells of a table."""
        milliseconds = [1000 * each for each in self.seconds]
        total = len(milliseconds)
        share = f"{100 * self.right / max(1, total):.1f} %"
        times = [_percentile(milliseconds, 0.5), _percentile(milliseconds, 0.99), max(milliseconds, default=0.0)]
        return [name, total, share, self.refused_right, f"{self.accepted_wrong} of {self.to_refuse}", *times]


def report_math(report: Report, path: Path, limit: int | None) -> None:
    """Grade the cases of one file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    by_category: defaultdict[str, MathTally] = defaultdict(MathTally)
    by_tier: defaultdict[str, MathTally] = defaultdict(MathTally)
    for line in lines[:limit]:
        case = json.loads(line)
        completion = case["completion"] if "completion" in case else case["pred"]
        started = time.process_time()
        accepted = is_correct(completion, case["gold"])
        seconds = time.process_time() - started
        for tally in (by_category[case.get("category") or case.get("why", "")], by_tier[case.get("tier", "core")]):
            tally.add(bool(case["expected"]), accepted, seconds)
    rows = [tally.row(name) for name, tally in sorted(by_category.items())]
    rows += [tally.row(f"**all {name}**") for name, tally in sorted(by_tier.items())]
    head = ("category", "cases", "accuracy", "right refused", "wrong accepted", "median ms", "p99 ms", "max ms")
    report.table(f"Math: {path.name}", head, rows)
    for tier, tally in by_tier.items():
        _check_tier(report, f"{path.name}, {tier}", tier, tally)


def _check_tier(report: Report, name: str, tier: str, tally: MathTally) -> None:
    if tier == "hostile":
        report.want(tally.accepted_wrong == 0, f"{name}: {tally.accepted_wrong} accepted, wanted 0")
        slowest = max(tally.seconds)
        report.want(slowest <= HOSTILE_SECONDS, f"{name}: {slowest:.2f} s, wanted {HOSTILE_SECONDS} s at most")
    elif tier in ACCURACY:
        accuracy, median = tally.right / len(tally.seconds), 1000 * statistics.median(tally.seconds)
        report.want(accuracy >= ACCURACY[tier], f"{name}: accuracy {accuracy:.2%}, wanted {ACCURACY[tier]:.0%}")
        report.want(tally.accepted_wrong == 0, f"{name}: {tally.accepted_wrong} wrong accepted, wanted 0")
        report.want(median <= MEDIAN_MS, f"{name}: median {median:.2f} ms, wanted {MEDIAN_MS} ms at most")


# Sandbox -------------------------------------------------------------------------------------------------------------


def attempt(body: str) -> str:
    """A program that prints whether `body` got through."""
    indented = textwrap.indent(body.strip("\n").replace("REPOSITORY", str(ROOT)), "    ")
    return f"try:\n{indented}\nexcept BaseException:\n    print('contained')\nelse:\n    print('escaped')\n"


def _contained(body: str, fence: Fence) -> bool:
    verdict = run_tests(attempt(body), [{"stdin": "", "stdout": "contained"}], HONEST_SECONDS, fence)
    return verdict.passed or verdict.results[0].outcome != "failed"  # killed for trying, or it printed the other word


def report_hostile(report: Report, path: Path, fence: Fence, limit: int | None) -> None:
    """Run hostile programs: attempts to get out, modules that fake a pass, programs that fake an output."""
    found = runpy.run_path(str(path))
    kind_of: Callable[[str], str] = found["kind_of"]
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for name, body in list(found["ATTEMPTS"].items())[:limit]:
        _count(report, counts[kind_of(body)], "escaped", name, not _contained(body, fence))
    for name, (code, tests) in list(found["CHEATS"].items())[:limit]:
        verdict = run_tests(code, tests, HOSTILE_PROGRAM_SECONDS, fence)
        _count(report, counts["forge a verdict"], "forged", name, verdict.passed)
    for name, (code, given, expected) in list(found["PRINTED"].items())[:limit]:
        verdict = run_tests(code, [{"stdin": given, "stdout": expected}], HOSTILE_PROGRAM_SECONDS, fence)
        _count(report, counts["fake an output"], "forged", name, verdict.passed)
    rows = [(kind, each["programs"], each["escaped"], each["forged"]) for kind, each in sorted(counts.items())]
    totals = [sum(each[what] for each in counts.values()) for what in ("programs", "escaped", "forged")]
    report.table("Sandbox: hostile programs", ("kind", "programs", "escaped", "forged"), [*rows, ("**all**", *totals)])


def _count(report: Report, counts: Counter[str], what: str, name: str, happened: bool) -> None:
    counts["programs"] += 1
    counts[what] += happened
    report.want(not happened, f"hostile program {name!r}: {what}")


def report_honest(report: Report, path: Path, fence: Fence, limit: int | None) -> None:
    """Run honest programs, which all pass."""
    found = runpy.run_path(str(path))
    rows = []
    for title, name in (("modules with asserts", "MODULES"), ("programs with input", "PROGRAMS")):
        programs: Mapping[str, tuple[str, object]] = dict(list(found[name].items())[:limit])
        wrong = []
        for label, (code, tests) in programs.items():
            verdict = run_tests(code, _cases(tests), HONEST_SECONDS, fence)
            if not verdict.passed:
                wrong.append(label)
                report.want(False, f"honest program {label!r}: {verdict.detail}")
        rows.append((title, len(programs), len(programs) - len(wrong)))
    report.table("Sandbox: honest programs", ("kind", "programs", "right verdicts"), rows)


def _cases(tests: object) -> object:
    if isinstance(tests, str):
        return tests
    assert isinstance(tests, list)
    return [{"stdin": given, "stdout": expected} for given, expected in tests]


def report_throughput(report: Report, fence: Fence, seconds: float) -> None:
    """Run one small program of each form from as many threads as there are servers."""
    cores = len(os.sched_getaffinity(0))
    pool = pool_for(fence)
    wanted = PROGRAMS_PER_CORE * cores
    rows = []
    with ThreadPoolExecutor(pool.size) as threads:
        for form, code, tests in TIMED:

            def run_one(_: object, code: str = code, tests: object = tests) -> Verdict:
                return run_tests(code, tests, HONEST_SECONDS, fence)

            list(threads.map(run_one, range(4 * pool.size)))  # starts the servers
            done, started = 0, time.perf_counter()
            while time.perf_counter() - started < seconds:
                done += sum(each.passed for each in threads.map(run_one, range(64)))
            rate = done / (time.perf_counter() - started)
            rows.append((form, rate, wanted))
            report.want(rate >= wanted, f"throughput of {form}: {rate:.0f} programs/s, wanted {wanted:.0f}")
    load = os.getloadavg()[0]
    report.table(
        f"Sandbox: throughput, {cores} cores, load {load:.1f}", ("form", "programs/s", "wanted at least"), rows
    )


def report_layers(fence: Fence) -> None:
    """Start the sandbox and name what it is made of."""
    run_tests("x = 1", "assert x == 1", HONEST_SECONDS, fence)
    with pool_for(fence).worker() as worker:
        layers = [each for each in LAYERS if worker is not None and each in worker.layers]
    print(f"\nSandbox of user {os.getuid()}: {', '.join(layers)}")


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("math", "hostile", "honest", "throughput"), action="append")
    parser.add_argument("--cases", type=Path, action="append", help="more math cases, beside tests/math_cases.jsonl")
    parser.add_argument("--hostile", type=Path, default=TESTS / "sandbox_hostile.py")
    parser.add_argument("--honest", type=Path, default=TESTS / "sandbox_honest.py")
    parser.add_argument("--forbid", action="append", default=[], choices=("namespaces", "landlock", "user"))
    parser.add_argument("--limit", type=int, help="so many of each kind, for a quick look")
    parser.add_argument("--seconds", type=float, default=5.0, help="for the throughput of each form")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """The exit status: 1 if a target is missed."""
    chosen = _arguments(words)
    parts = chosen.only or ("math", "hostile", "honest", "throughput")
    report, fence = Report(), Fence(forbid=tuple(chosen.forbid))
    if "math" in parts:
        for path in [TESTS / "math_cases.jsonl", *(chosen.cases or [])]:
            report_math(report, path, chosen.limit)
    try:
        if set(parts) - {"math"}:
            report_layers(fence)
        if "hostile" in parts:
            report_hostile(report, chosen.hostile, fence, chosen.limit)
        if "honest" in parts:
            report_honest(report, chosen.honest, fence, chosen.limit)
        if "throughput" in parts:
            report_throughput(report, fence, chosen.seconds)
    finally:
        close_pools()
    print("\nMissed:" if report.missed else "\nEvery target is met.")
    for target in report.missed:
        print(f"- {target}")
    return 1 if report.missed else 0


if __name__ == "__main__":
    sys.exit(main())
