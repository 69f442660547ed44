"""What tests get that import pytest, which the sandbox has not: the part of it that single files of tests use.

Not pytest: `raises`, `approx`, `fail`, `skip`, `param`, `fixture` of any scope made anew for each test, the fixtures
`tmp_path` and `capsys`, `mark.parametrize` and `mark.skip`; any other mark does nothing.
"""

import contextlib
import functools
import importlib
import io
import itertools
import math
import pathlib
import re
import sys
import tempfile
import types
from collections.abc import Callable, Iterator, Mapping, Sequence

Function = Callable[..., object]
Unit = Callable[[], object]
_RELATIVE, _ABSOLUTE = 1e-6, 1e-12
"""pytest's own tolerances."""


class Raised:
    """What `raises` caught."""

    def __init__(self) -> None:
        self.value: BaseException = BaseException("nothing was raised yet")

    @property
    def type(self) -> type[BaseException]:
        return self.value.__class__

    def match(self, pattern: str) -> bool:
        assert re.search(pattern, str(self.value)), f"{pattern!r} is not in the error's text"
        return True


def raises(
    expected: type[BaseException] | tuple[type[BaseException], ...],
    function: Function | None = None,
    *arguments: object,
    match: str | None = None,
    **keywords: object,
) -> object:
    """A context, or a call, that fails unless it raises."""
    if function is None:
        return _expecting(expected, match)
    with _expecting(expected, match) as caught:
        function(*arguments, **keywords)
    return caught


@contextlib.contextmanager
def _expecting(expected: type[BaseException] | tuple[type[BaseException], ...], match: str | None) -> Iterator[Raised]:
    caught = Raised()
    try:
        yield caught
    except expected as error:
        caught.value = error
    else:
        fail(f"did not raise {expected}")
    if match is not None:
        caught.match(match)


class approx:  # noqa: N801 - pytest's name
    """Equal to what is close: a number, or a sequence or dictionary of numbers."""

    def __init__(self, expected: object, rel: float | None = None, abs: float | None = None) -> None:
        self._expected = expected
        self._absolute = _ABSOLUTE if abs is None else abs
        self._relative = rel if rel is not None else _RELATIVE if abs is None else 0.0

    def __eq__(self, actual: object) -> bool:
        return self._close(actual, self._expected)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"approx({self._expected!r})"

    def _close(self, actual: object, expected: object) -> bool:
        if isinstance(expected, Mapping):
            return (
                isinstance(actual, Mapping)
                and actual.keys() == expected.keys()
                and all(self._close(actual[key], each) for key, each in expected.items())
            )
        if isinstance(expected, list | tuple):
            return (
                isinstance(actual, list | tuple)
                and len(actual) == len(expected)
                and all(map(self._close, actual, expected))
            )
        if isinstance(expected, int | float) and isinstance(actual, int | float):
            return math.isclose(
                actual, expected, rel_tol=0.0, abs_tol=max(self._absolute, self._relative * abs(expected))
            )
        return bool(actual == expected)


def fail(reason: str = "", pytrace: bool = True) -> None:
    """Fail the test."""
    raise AssertionError(reason)


def skip(reason: str = "", **_: object) -> None:
    """A test that does not look cannot pass."""
    raise AssertionError(f"skipped: {reason}")


def main(*_: object, **__: object) -> int:
    """Does nothing: the tests of the file run anyway."""
    return 0


class param(tuple[object, ...]):  # noqa: N801 - pytest's name
    """The values of one case."""

    def __new__(cls, *values: object, **_: object) -> "param":
        return super().__new__(cls, values)


def fixture(function: Function | None = None, **_: object) -> Function:
    """Mark a function whose result goes to the tests that name it."""
    if function is None:
        return fixture
    function._is_fixture = True  # type: ignore[attr-defined]
    return function


class _Marks:
    def parametrize(self, names: str | Sequence[str], values: Sequence[object], **_: object) -> Function:
        keys = [each.strip() for each in names.split(",")] if isinstance(names, str) else list(names)
        rows = [each if len(keys) > 1 or isinstance(each, param) else (each,) for each in values]
        cases = [dict(zip(keys, row, strict=True)) for row in rows]  # type: ignore[call-overload]

        def mark(target: Function) -> Function:
            target._cases = [  # type: ignore[attr-defined]
                {**one, **other} for one, other in itertools.product(cases, getattr(target, "_cases", [{}]))
            ]
            return target

        return mark

    def skip(self, target: Function | None = None, **_: object) -> Function:
        if target is None:
            return self.skip
        target._cases = []  # type: ignore[attr-defined]
        return target

    def __getattr__(self, name: str) -> Function:
        return _unmarked


def _unmarked(*arguments: object, **_: object) -> object:
    target = arguments[0] if arguments else None
    return target if isinstance(target, types.FunctionType | type) else lambda each: each


mark = _Marks()


class _Captured:
    """The fixture `capsys`."""

    def readouterr(self) -> types.SimpleNamespace:
        assert isinstance(sys.stdout, io.StringIO)
        out = sys.stdout.getvalue()
        sys.stdout.seek(0)
        sys.stdout.truncate()
        return types.SimpleNamespace(out=out, err="")


def units(label: str, function: Function, fixtures: Mapping[str, object]) -> list[tuple[str, Unit]]:
    """A label and a call for each case of a test."""
    cases: list[dict[str, object]] = getattr(function, "_cases", [{}])
    labels = [label] if len(cases) == 1 else [f"{label}[{number}]" for number in range(len(cases))]
    return [(each, functools.partial(_run, function, case, fixtures)) for each, case in zip(labels, cases, strict=True)]


def _run(function: Function, given: dict[str, object], fixtures: Mapping[str, object]) -> None:
    with contextlib.ExitStack() as after:
        made = function(**given, **_missing(function, given, fixtures, after))
        if isinstance(made, types.CoroutineType):
            importlib.import_module("asyncio").run(made)  # not above: it is large


def _missing(
    function: Function, given: Mapping[str, object], fixtures: Mapping[str, object], after: contextlib.ExitStack
) -> dict[str, object]:
    """The fixtures that a function names."""
    code = getattr(function, "__func__", function).__code__
    names = code.co_varnames[
        isinstance(function, types.MethodType) : code.co_argcount - len(function.__defaults__ or ())
    ]
    return {name: _fixture(name, fixtures, after) for name in names if name not in given}


def _fixture(name: str, fixtures: Mapping[str, object], after: contextlib.ExitStack) -> object:
    maker = fixtures.get(name)
    if not isinstance(maker, types.FunctionType) or not hasattr(maker, "_is_fixture"):
        if name == "tmp_path":
            return pathlib.Path(after.enter_context(tempfile.TemporaryDirectory()))
        if name == "capsys":
            after.enter_context(contextlib.redirect_stdout(io.StringIO()))
            return _Captured()
        raise LookupError(f"no fixture {name}")
    made = maker(**_missing(maker, {}, fixtures, after))
    if isinstance(made, types.GeneratorType):
        after.callback(next, made, None)
        return next(made)
    return made
