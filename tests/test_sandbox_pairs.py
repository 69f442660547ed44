"""Functions with input and output: how they are called, what counts as the same value, and that no value lies."""

from collections.abc import Iterator

import pytest

from rewards.sandbox import close_pools, run_tests
from rewards.sandboxing.pairs import same

SECONDS = 20.0


@pytest.fixture(scope="module", autouse=True)
def _close() -> Iterator[None]:
    yield
    close_pools()


def outcomes(code: str, pairs: object, seconds: float = SECONDS) -> list[str]:
    return [each.outcome for each in run_tests(code, pairs, seconds).results]


def pair(*arguments: object, output: object, **more: object) -> dict[str, object]:
    return {"function": "f", "input": list(arguments), "output": output, **more}


@pytest.mark.parametrize(
    ("value", "expected", "equal"),
    [
        (1, 1, True),
        (1, 2, False),
        (1.0, 1, True),
        (True, 1, True),
        ("1", 1, False),
        (None, None, True),
        (None, 0, False),
        (0, None, False),
        ((1, [2, (3,)]), [1, [2, [3]]], True),
        ([1, 2], [1, 2, 3], False),
        ([1, 2, 3], [1, 2], False),
        ("ab", ["a", "b"], False),
        ({1: (2,), None: 3, False: 4, 0.5: 5}, {"1": [2], "null": 3, "false": 4, "0.5": 5}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ([], {}, False),
        (0.1 + 0.2, 0.3, True),
        (0.30001, 0.3, False),
        (3, 3.0, True),
        (10**16, 10**16 + 1, False),
        (10**400, 1.0, False),
        (float("nan"), float("nan"), True),
        (float("inf"), float("inf"), True),
        ("3.0", 3.0, False),
        ({1, 2}, [1, 2], False),
        (b"a", "a", False),
    ],
)
def test_equality_is_that_of_json(value: object, expected: object, equal: bool) -> None:
    assert same(value, expected) is equal


def test_arguments_by_position_by_name_and_as_lines_of_json() -> None:
    code = "def f(a, b=10): return [a, b]"
    by_name = {"function": "f", "input": {"b": 1, "a": 2}, "output": [2, 1]}
    lines = {"function": "f", "input": '[1]\n"x"', "output": '[[1], "x"]'}
    assert outcomes(code, [pair(1, 2, output=[1, 2]), pair(1, output=[1, 10]), by_name, lines]) == ["passed"] * 4


def test_a_method_of_solution_comes_before_a_function() -> None:
    """Every call has an object of its own: the second count is 1 again."""
    code = (
        "def f(): return 'function'\n"
        "class Solution:\n    def __init__(self): self.n = 0\n    def f(self): self.n += 1; return self.n"
    )
    assert outcomes(code, [pair(output=1), pair(output=1)]) == ["passed"] * 2
    assert outcomes("class Solution: pass\ndef f(): return 7", [pair(output=7)]) == ["passed"]


@pytest.mark.parametrize("name", ["sum", "abs", "isinstance", "same", "json"])
def test_a_function_may_have_any_name(name: str) -> None:
    pairs = [{"function": name, "input": [1], "output": 2}]
    assert outcomes(f"def {name}(x): return x + 1", pairs) == ["passed"]
    assert outcomes("x = 1", pairs) == ["error"]


def test_wrapped_outputs_of_apps() -> None:
    columns = {"fn_name": "f", "inputs": [[[5]], [[5]], [[6]]], "outputs": [[5], [[5]], [5]]}
    assert outcomes("def f(x): return x[0]", columns) == ["passed", "failed", "failed"]
    assert outcomes("def f(x): return x", columns) == ["passed", "passed", "failed"]
    assert outcomes("def f(x): return 5", [pair([5], output=[5])]) == ["failed"]


def test_every_pair_has_its_outcome() -> None:
    code = "def f(x):\n    while x == 9: pass\n    return bytearray(1 << 33) if x == 8 else 6 // x"
    pairs = [pair(2, output=3), pair(3, output=3), pair(0, output=1), pair(8, output=1), pair(9, output=1)]
    wanted = ["passed", "failed", "error", "memory", "timeout", "timeout"]
    assert outcomes(code, [*pairs, pair(1, output=6)], 1.0) == wanted


@pytest.mark.parametrize("code", ["raise ValueError", "import os; os._exit(0)", "def f(x): raise SystemExit", "def ("])
def test_what_does_not_load_or_return_fails_each_pair(code: str) -> None:
    assert outcomes(code, [pair(1, output=1), pair(2, output=2, weight=2)]) == ["error"] * 2


@pytest.mark.parametrize("base", ["object", "int", "str", "float", "list", "dict", "tuple", "frozenset", "complex"])
@pytest.mark.parametrize("output", [7, 7.0, "7", [7], [], {"7": 7}, {}, None, True])
def test_objects_that_equal_everything_equal_nothing(base: str, output: object) -> None:
    """What they hold counts: of an empty base it is 0, '', [] or {}, never 7."""
    code = f"""
class Any({base}):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return hash(7)
    def __len__(self): return 1
    def __bool__(self): return True
    def __iter__(self): return iter([7])
    def __getitem__(self, key): return 7
    def __float__(self): return 7.0
    def __int__(self): return 7
    def __index__(self): return 7
    def __str__(self): return '7'
    def __complex__(self): return 7j
    def __contains__(self, item): return True
    def keys(self): return ['7']
    def items(self): return [('7', 7)]
    __class__ = property(lambda self: {base})
def f(): return Any()
"""
    holds = {"list": [], "tuple": [], "dict": {}}
    honest = base in holds and holds[base] == output
    assert outcomes(code, [pair(output=output)]) == ["passed" if honest else "failed"]


def test_values_that_json_has_not_are_refused() -> None:
    with pytest.raises(ValueError, match="must be values of JSON"):
        run_tests("def f(): return 1", [pair(output={1})])
