"""The forms in which data sets keep unit tests, read into three: source, programs' cases, and functions' pairs.

Reads only what is written; nothing here runs.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

_FUNCTION_KEYS = ("function", "fn_name", "func_name")
_INPUT_KEYS, _OUTPUT_KEYS = ("input", "inputs"), ("output", "outputs", "expected")


@dataclass(frozen=True, slots=True)
class Case:
    """The program runs with this input and has to print this."""

    stdin: str
    stdout: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Pair:
    """The function is called with these arguments and has to return this."""

    function: str
    """A name of the module, or a method of its class `Solution`."""
    arguments: Sequence[object] | Mapping[str, object]
    """By position, or by name."""
    output: object
    weight: float = 1.0
    either: bool = False
    """`output` is a list of one item, which is as good: APPS wraps some of its outputs."""


Tests = str | tuple[Case, ...] | tuple[Pair, ...]


def read_tests(value: object) -> Tests | None:
    """The tests in a row's column, or given to `run_tests`; None if there are none.

    * Python source with asserts, or a list of such sources, as in MBPP;
    * a list of `{"stdin": …, "stdout": …}`; `input` and `output` are other names for them;
    * a list of `{"function": …, "input": [arguments], "output": …}`: also `fn_name` or `func_name`, `inputs`, `outputs`
      or `expected`. An object in place of the list gives arguments by name; a text gives them as lines of JSON, and the
      output as JSON, as in LiveCodeBench;
    * `{"fn_name": …, "inputs": [[arguments], …], "outputs": […]}` as in APPS and TACO; without `fn_name`, inputs and
      outputs of a program;
    * any of these as JSON text, or what this returned.

    A test of a list may have a `weight`. Raises ValueError for anything else.
    """
    if isinstance(value, str):
        value = _of_text(value)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return _of_columns(value)
    if isinstance(value, list | tuple):
        if not value:
            return None
        if all(isinstance(each, str) for each in value):
            return _of_text("\n".join(value), parse=False)  # type: ignore[return-value]
        if all(isinstance(each, Mapping) for each in value):
            return _of_rows(value)
        if all(isinstance(each, Case) for each in value) or all(isinstance(each, Pair) for each in value):
            return tuple(value)
    raise _refused(value)


def _of_text(text: str, parse: bool = True) -> object:
    if parse and text.lstrip()[:1] in ("[", "{"):
        try:
            value: object = json.loads(text)
        except (ValueError, RecursionError):
            return text  # Python source that begins with a list
        if isinstance(value, Mapping | list):
            return value
    return text if text.strip() else None


def _refused(value: object) -> ValueError:
    forms = '{"stdin", "stdout"} or {"function", "input", "output"}'
    return ValueError(f"tests must be source, a list of sources, or a list of {forms}, not {value!r:.200}")


def _of_rows(rows: Sequence[Mapping[str, object]]) -> Tests:
    if _first(rows[0], _FUNCTION_KEYS) is None:
        return tuple(_case(row, number) for number, row in enumerate(rows, start=1))
    return tuple(_pair(row, number) for number, row in enumerate(rows, start=1))


def _of_columns(columns: Mapping[str, object]) -> Tests | None:
    inputs, outputs = columns.get("inputs"), columns.get("outputs")
    if not (isinstance(inputs, list | tuple) and isinstance(outputs, list | tuple) and len(inputs) == len(outputs)):
        raise ValueError(
            f'tests of one object need "inputs" and "outputs", two lists of one length, not {columns!r:.200}'
        )
    function = _first(columns, _FUNCTION_KEYS)
    weights = columns.get("weights") or [1.0] * len(inputs)
    if not isinstance(weights, list | tuple) or len(weights) != len(inputs):
        raise ValueError(f"weights: {weights!r:.200} is refused; it must be a list with one number for each input")
    rows = [
        {"input": given, "output": wanted, "weight": weight}
        for given, wanted, weight in zip(inputs, outputs, weights, strict=True)
    ]
    if not rows:
        return None
    if function is None:
        return tuple(_case(_joined(row), number) for number, row in enumerate(rows, start=1))
    pairs = (_pair({**row, "function": function}, number) for number, row in enumerate(rows, start=1))
    return tuple(
        Pair(each.function, each.arguments, each.output, each.weight, _is_wrapped(each.output)) for each in pairs
    )


def _is_wrapped(output: object) -> bool:
    return isinstance(output, list) and len(output) == 1


def _joined(row: dict[str, object]) -> dict[str, object]:
    """APPS has some inputs and outputs of programs as lists of lines."""
    return {key: "\n".join(map(str, value)) if isinstance(value, list | tuple) else value for key, value in row.items()}


def _first(row: Mapping[str, object], keys: Sequence[str]) -> object:
    return next((row[key] for key in keys if row.get(key) is not None), None)


def _case(row: Mapping[str, object], number: int) -> Case:
    given, wanted = _first(row, ("stdin", "input")), _first(row, ("stdout", "output"))
    if not isinstance(given, str) or not isinstance(wanted, str):
        raise ValueError(f'case {number} is {row!r:.200}; it needs strings under "stdin" and "stdout"')
    return Case(given, wanted, _weight(row, f"case {number}"))


def _pair(row: Mapping[str, object], number: int) -> Pair:
    function = _first(row, _FUNCTION_KEYS)
    given = next((row[key] for key in _INPUT_KEYS if key in row), None)
    has_output = [key for key in _OUTPUT_KEYS if key in row]
    if not isinstance(function, str) or not function.isidentifier() or given is None or not has_output:
        raise ValueError(f'pair {number} is {row!r:.200}; it needs a name under "function", "input" and "output"')
    wanted = row[has_output[0]]
    if isinstance(given, str):
        given = _parsed(given, number, lambda text: [json.loads(line) for line in text.split("\n") if line.strip()])
        wanted = _parsed(wanted, number, json.loads) if isinstance(wanted, str) else wanted
    if not isinstance(given, list | tuple | Mapping):
        raise ValueError(f"pair {number} has the input {given!r:.200}; it must be a list of arguments, or an object")
    return Pair(function, given, wanted, _weight(row, f"pair {number}"))


def _parsed(text: str, number: int, parse: Callable[[str], object]) -> object:
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"pair {number} has {text!r:.200}; text must be JSON, one argument a line: {error}") from None


def _weight(row: Mapping[str, object], label: str) -> float:
    weight = row.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not (math.isfinite(weight) and weight > 0):
        raise ValueError(f"{label} has the weight {weight!r}; it must be a finite number above 0")
    return float(weight)


def pairs_as_json(pairs: Sequence[Pair]) -> str:
    """The text that the tests' process reads; ValueError for values that JSON has not."""
    rows = [
        {"function": each.function, "arguments": each.arguments, "output": each.output, "either": each.either}
        for each in pairs
    ]
    try:
        return json.dumps(rows)
    except (TypeError, RecursionError) as error:
        raise ValueError(f"inputs and outputs of pairs must be values of JSON: {error}") from None
