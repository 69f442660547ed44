"""The reward for code: what it takes from a completion and a row, and what it gives."""

import time

import pytest

from grpo_lightning.types import Record
from rewards.sandbox import Fence, close_pools
from rewards.unit_tests import UnitTests, extract_code, read_tests

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
        started = time.monotonic()
        extract_code(text)
        assert time.monotonic() - started < 1.0


@pytest.mark.parametrize(
    ("value", "tests"),
    [
        (None, None),
        ("", None),
        ([], None),
        (" \n", None),
        ("assert x", "assert x"),
        (["assert x", "assert y"], "assert x\nassert y"),
        ([{"stdin": "1", "stdout": "2", "id": 3}], [{"stdin": "1", "stdout": "2"}]),
        ('[{"stdin": "1", "stdout": "2"}]', [{"stdin": "1", "stdout": "2"}]),
        ("[f(1)]\nassert f(1)", "[f(1)]\nassert f(1)"),
    ],
)
def test_columns_of_tests(value: object, tests: object) -> None:
    assert read_tests(value) == tests


def test_a_column_that_is_no_test_is_refused() -> None:
    with pytest.raises(ValueError, match="tests must be"):
        read_tests(3)


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


def test_a_hang_costs_its_own_record_only() -> None:
    started = time.monotonic()
    rewards = UnitTests(timeout=1.0, fence=Fence(workers=2))([record("while True: pass"), record(ADD), record(ADD)])
    assert rewards[0] == 0.0
    assert time.monotonic() - started < 10.0


def test_a_batch_runs_side_by_side() -> None:
    """Four programs that sleep for 0.5 s on four workers take less than the 2 s of one after another."""
    fence = Fence(workers=4)
    slow = "import time\ntime.sleep(0.5)\n" + ADD
    reward = UnitTests(timeout=20.0, fence=fence)
    reward([record(ADD)] * 4)
    started = time.monotonic()
    assert reward([record(slow)] * 4) == [1.0] * 4
    assert time.monotonic() - started < 1.9


def test_an_empty_batch() -> None:
    assert UnitTests()([]) == []


def test_a_timeout_has_to_be_positive() -> None:
    with pytest.raises(ValueError, match="timeout"):
        UnitTests(timeout=0)
