"""The report on the verifiers: it prints what it measured, and its exit status says whether a target was missed."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = runpy.run_path(str(Path(__file__).parent.parent / "scripts" / "verifier_report.py"), run_name="report")
main: Callable[[list[str]], int] = SCRIPT["main"]

HOSTILE = """
ATTEMPTS = {"reads": "open('/etc/passwd')", "does nothing wrong": "pass"}
CHEATS = {"wrong": ("def f(): return 1", "assert f() == 2"), "right": ("def f(): return 2", "assert f() == 2")}
PRINTED = {"wrong": ("print(1)", "", "2")}


def kind_of(body):
    return "files" if "open" in body else "other"
"""
HONEST = """
MODULES = {"right": ("x = 1", "assert x == 1"), "wrong": ("x = 1", "assert x == 2")}
PROGRAMS = {"echo": ("print(input())", [("a", "a"), ("b", "b")])}
"""


def test_its_own_corpora_meet_every_target(capsys: pytest.CaptureFixture[str]) -> None:
    """Three of each kind: hostile 3 attempts, 3 modules, 3 programs."""
    assert main(["--only", "hostile", "--only", "honest", "--limit", "3"]) == 0
    printed = capsys.readouterr().out
    assert "| **all** | 9 | 0 | 0 |" in printed
    assert "| modules with asserts | 3 | 3 |" in printed
    assert "| programs with input | 3 | 3 |" in printed
    assert "seccomp" in printed
    assert printed.rstrip().endswith("Every target is met.")


def test_escapes_and_forged_passes_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "hostile.py").write_text(HOSTILE)
    assert main(["--only", "hostile", "--hostile", str(tmp_path / "hostile.py")]) == 1
    printed = capsys.readouterr().out
    for row in ("files | 1 | 0 | 0", "other | 1 | 1 | 0", "forge a verdict | 2 | 0 | 1", "**all** | 5 | 1 | 1"):
        assert f"| {row} |" in printed
    assert "- hostile program 'does nothing wrong': escaped" in printed
    assert "- hostile program 'right': forged" in printed


def test_wrong_verdicts_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "honest.py").write_text(HONEST)
    assert main(["--only", "honest", "--honest", str(tmp_path / "honest.py")]) == 1
    printed = capsys.readouterr().out
    assert "| modules with asserts | 2 | 1 |" in printed
    assert "- honest program 'wrong': failed line 1: AssertionError" in printed


def test_math_cases_of_either_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of four core cases two labels are wrong, one of each kind; policy has no target."""
    cases = [
        {"gold": "7", "completion": r"\boxed{7}", "expected": True, "why": "integers"},
        {"gold": "7", "pred": r"\boxed{8}", "expected": False, "category": "integers", "tier": "core"},
        {"gold": "7", "pred": r"\boxed{8}", "expected": True, "category": "integers", "tier": "core"},
        {"gold": "7", "pred": r"\boxed{7}", "expected": False, "category": "integers", "tier": "core"},
        {"gold": "7", "pred": r"\boxed{7}", "expected": False, "category": "odd", "tier": "policy"},
        {"gold": "7", "pred": r"\boxed{7}", "expected": False, "category": "odd", "tier": "hostile"},
    ]
    path = tmp_path / "more.jsonl"
    path.write_text("\n".join(map(json.dumps, cases)))
    assert main(["--only", "math", "--limit", "6", "--cases", str(path)]) == 1
    printed = capsys.readouterr().out
    assert "| integers | 4 | 50.0 % | 1 | 1 of 2 |" in printed
    missed = printed.partition("Missed:")[2]
    assert "- more.jsonl, core: accuracy 50.00%, wanted 99%" in missed
    assert "- more.jsonl, hostile: 1 accepted, wanted 0" in missed
    assert "policy" not in missed
    assert "- more.jsonl, core: 1 wrong accepted, wanted 0" in missed
    assert missed.count("- ") == 3


def test_throughput_is_measured_for_each_form(capsys: pytest.CaptureFixture[str]) -> None:
    """Whether this machine is idle enough for the target is not what is tested."""
    main(["--only", "throughput", "--seconds", "0.1"])
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    rates = {row[0].removeprefix("| "): float(row[1]) for row in rows[1:]}
    assert rates.keys() == {"asserts", "stdin", "pairs"}
    assert min(rates.values()) > 1.0


@pytest.mark.parametrize(("share", "value"), [(0.0, 1.0), (0.5, 3.0), (0.99, 4.0), (1.0, 4.0)])
def test_percentiles(share: float, value: float) -> None:
    assert SCRIPT["_percentile"]([4.0, 2.0, 1.0, 3.0], share) == value
    assert SCRIPT["_percentile"]([], share) == 0.0
