"""The reward for code: what it takes from a completion and a row, and what it gives."""

import json
import logging
import time
from dataclasses import replace
from pathlib import Path

import pytest

from grpo_lightning.types import Record
from rewards.sandbox import Fence, close_pools
from rewards.sandboxing.forms import Case, Pair
from rewards.unit_tests import UnitTests, extract_code, read_tests
from tests.clock import within

ADD = "def add(a, b):\n    return a + b\n"
TESTS = "assert add(1, 2) == 3\nassert add(0, 0) == 0"


@pytest.fixture(scope="module", autouse=True)
def _close() -> object:
    yield
    close_pools()


def record(completion: str, tests: object = TESTS, column: str = "tests") -> Record:
    return Record(prompt="", completion=completion, token_ids=(), answer=None, row={column: tests}, stop_reason="eos")


@pytest.mark.parametrize(
    ("completion", "code"),
    [
        (ADD, ADD),
        (f"Here:\n```python\n{ADD}```\nDone.", ADD),
        (f"```\nwrong\n```\nbetter\n```py\n{ADD}```", ADD),
        (f"<think>```python\nwrong\n```</think>\n```python\n{ADD}```", ADD),
        (f"<think>a</think><think>b</think>{ADD}", ADD),
        (f"<think>x</think><answer>{ADD}</answer>```python\nwrong\n```", ADD),
        (f"<answer>\n```python\n{ADD}```\n</answer>", ADD),
        (f"<answer>wrong</answer> no: <answer>{ADD}</answer>", ADD),
        (f"```python\n{ADD}", ADD),
        ("", ""),
        ("```python\nx = '```'\n```", "x = '```'\n"),
    ],
)
def test_the_code_is_taken_from_the_completion(completion: str, code: str) -> None:
    assert extract_code(completion) == code


def test_extraction_is_linear_in_the_completion() -> None:
    """A megabyte of opening fences, tags and blank lines takes no time to speak of."""
    for text in ("```python\n" * 100_000, "<answer>" * 130_000, "\n" * 1_000_000, " ```\n" * 200_000, "`" * 1_000_000):
        with within(1.0):
            extract_code(text)


@pytest.mark.parametrize(
    ("value", "tests"),
    [
        (None, None),
        ("", None),
        ([], None),
        (" \n", None),
        ("assert x", "assert x"),
        (["assert x", "assert y"], "assert x\nassert y"),
        ([{"stdin": "1", "stdout": "2", "id": 3}], (Case("1", "2"),)),
        ('[{"stdin": "1", "stdout": "2"}]', (Case("1", "2"),)),
        ([{"input": "1", "output": "2", "weight": 3}], (Case("1", "2", 3.0),)),
        ({"inputs": ["1\n", ["2", "3"]], "outputs": ["4", ["5", "6"]]}, (Case("1\n", "4"), Case("2\n3", "5\n6"))),
        ({"inputs": [], "outputs": []}, None),
        ("[f(1)]\nassert f(1)", "[f(1)]\nassert f(1)"),
        ("{f(1)}\nassert f(1)", "{f(1)}\nassert f(1)"),
        ([{"function": "f", "input": [1, "a"], "output": None}], (Pair("f", [1, "a"], None),)),
        ([{"fn_name": "f", "inputs": {"x": 1}, "expected": [2]}], (Pair("f", {"x": 1}, [2]),)),
        ([{"func_name": "f", "input": '[1, 2]\n"a"', "output": "[3]"}], (Pair("f", [[1, 2], "a"], [3]),)),
        (
            '{"fn_name": "f", "inputs": [[1], [2]], "outputs": [[3], 4]}',
            (Pair("f", [1], [3], either=True), Pair("f", [2], 4)),
        ),
    ],
)
def test_columns_of_tests(value: object, tests: object) -> None:
    assert read_tests(value) == tests


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, "tests must be source"),
        ([1, 2], "tests must be source"),
        ("[1, 2]", "tests must be source"),
        ([{"stdin": "1"}], "case 1 is .*; it needs strings"),
        ([{"stdin": "1", "stdout": "1"}, {"function": "f", "input": [], "output": 1}], "case 2"),
        ([{"stdin": "1", "stdout": "1", "weight": 0}], "case 1 has the weight 0; it must be a finite number above 0"),
        ([{"function": "f", "input": [1]}], "pair 1 is .*; it needs a name"),
        ([{"function": "f()", "input": [1], "output": 1}], "pair 1"),
        ([{"function": "f", "input": 1, "output": 1}], "pair 1 has the input 1; it must be a list"),
        ([{"function": "f", "input": "x", "output": "1"}], "pair 1 has 'x'; text must be JSON"),
        ([{"function": "f", "input": [1], "output": 1, "weight": "2"}], "pair 1 has the weight '2'"),
        ({"inputs": ["1"], "outputs": []}, "two lists of one length"),
        ({"inputs": ["1"], "outputs": ["1"], "weights": [1, 2]}, "weights: .* one number for each input"),
    ],
)
def test_a_column_that_is_no_test_is_refused(value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_tests(value)


def test_all_or_nothing() -> None:
    """The second program passes one assert of two."""
    half = "def add(a, b): return 3"
    assert UnitTests()([record(ADD), record(half), record("")]) == [1.0, 0.0, 0.0]


def test_the_fraction_that_passes() -> None:
    half = "def add(a, b): return 3"
    assert UnitTests(partial=True)([record(ADD), record(half)]) == [1.0, 0.5]


def test_rows_without_tests_have_no_reward() -> None:
    rows = [record(ADD, None), record(ADD, TESTS, "other"), record(ADD)]
    assert UnitTests()(rows) == [None, None, 1.0]
    assert UnitTests(column="other")(rows[1:2]) == [1.0]


def test_programs_with_input_and_output() -> None:
    cases = [{"stdin": "2\n", "stdout": "4"}, {"stdin": "3\n", "stdout": "9"}]
    square, double = "print(int(input()) ** 2)", "print(int(input()) * 2)"
    assert UnitTests()([record(square, cases), record(double, cases)]) == [1.0, 0.0]
    assert UnitTests(partial=True)([record(double, cases)]) == [0.5]


def test_a_share_goes_by_weight() -> None:
    """Of the weights 1 and 3 the test with 3 passes; of the program's 5 and 1 that with 5."""
    pairs = [
        {"function": "add", "input": [1, 2], "output": 3},
        {"function": "add", "input": [0, 3], "output": 3, "weight": 3},
    ]
    cases = [{"stdin": "2", "stdout": "4", "weight": 5}, {"stdin": "3", "stdout": "9", "weight": 1}]
    assert UnitTests(partial=True)([record("def add(a, b): return b", pairs)]) == [0.75]
    assert UnitTests(partial=True)([record("print(int(input()) * 2)", cases)]) == [5 / 6]
    assert UnitTests()([record("def add(a, b): return b", pairs), record(ADD, pairs)]) == [0.0, 1.0]


def test_a_prelude_is_there_for_every_program() -> None:
    solution = "class Solution:\n    def first(self, a: List[int]) -> int: return a[0]"
    pairs = {"fn_name": "first", "inputs": [[[7, 8]]], "outputs": [7]}
    assert UnitTests()([record(solution, pairs)]) == [0.0]
    assert UnitTests(prelude="from typing import List")([record(solution, pairs)]) == [1.0]


def test_the_entry_point_is_what_check_is_called_with() -> None:
    """As in HumanEval, whose tests only define `check`."""
    tests = "def check(candidate):\n    assert candidate(1, 2) == 3"
    row = {"tests": tests, "entry_point": "add"}
    right = Record(prompt="", completion=ADD, token_ids=(), answer=None, row=row, stop_reason="eos")
    assert UnitTests(entry_point="entry_point")([right, replace(right, completion="def add(a, b): return 4")]) == [1, 0]
    assert UnitTests()([right]) == [0.0]
    with pytest.raises(ValueError, match="column 'entry_point' holds 'a b'; it must be the name of a function"):
        UnitTests(entry_point="entry_point")([replace(right, row={**row, "entry_point": "a b"})])


def test_the_log_has_a_line_for_each_program(tmp_path: Path) -> None:
    """Eight programs write from several threads; each test has its outcome."""
    log = tmp_path / "new" / "tests.jsonl"
    cases = [{"stdin": "0", "stdout": "0"}, {"stdin": "1", "stdout": "0"}, {"stdin": "", "stdout": "0"}]
    rewards = UnitTests(partial=True, log=str(log))([record("print(int(input()))", cases)] * 8)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(lines) == 8
    assert rewards == [line["reward"] for line in lines] == [1 / 3] * 8
    for line in lines:
        assert line["code"] == "print(int(input()))"
        assert [test["outcome"] for test in line["tests"]] == ["passed", "failed", "error"]
        assert line["tests"][2]["detail"].startswith("EOFError")
        assert line["seconds"] > 0


def test_outcomes_are_counted_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "rewards.unit_tests"):
        UnitTests()([record("def add(a, b): return 3")])
    assert "{'passed': 1, 'failed': 1}" in caplog.messages[-1]


def test_a_hang_costs_its_own_record_only() -> None:
    started = time.monotonic()
    rewards = UnitTests(timeout=1.0, fence=Fence(workers=2))([record("while True: pass"), record(ADD), record(ADD)])
    assert rewards[0] == 0.0
    assert time.monotonic() - started < 10.0


def test_a_batch_runs_side_by_side() -> None:
    """Four programs that sleep for 1.5 s on four workers take less than the 6 s of one after another."""
    fence = Fence(workers=4)
    slow = "import time\ntime.sleep(1.5)\n" + ADD
    reward = UnitTests(timeout=20.0, fence=fence)
    reward([record(ADD)] * 4)
    started = time.monotonic()
    assert reward([record(slow)] * 4) == [1.0] * 4
    assert time.monotonic() - started < 5.5


def test_an_empty_batch() -> None:
    assert UnitTests()([]) == []


def test_a_timeout_has_to_be_positive() -> None:
    with pytest.raises(ValueError, match="timeout"):
        UnitTests(timeout=0)
