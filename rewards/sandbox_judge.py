"""Runs the tests in a process of their own; the code under test answers from another one through `sandbox_channel`.

Each top-level statement with an assert in it, each call of a function that the tests define, each `test*` function and
each method of a `unittest.TestCase` is one test. Results go line by line to a descriptor that the code under test never
has, so that those of finished tests survive a deadline.

Names that the tests use and do not define are asked of the code under test. Built-in names and modules of the standard
library are not, or code could bring its own `abs` or `math`; unless the tests use no other name, as in
`assert sum(2, 3) == 5`.
"""

import builtins
import json
import os
import symtable
import sys
import types
from collections.abc import Iterator

import _ast

from rewards.sandbox_candidate import CHANNEL, SOURCE, _new_module
from rewards.sandbox_channel import ChannelBroken, Peer
from rewards.sandbox_stubs import RemoteMeta

RESULTS = 5
"""Descriptor for the results."""
_PARSE_ONLY = 0x400
_RECURSION = 5_000
_CHECKERS = frozenset(
    "abs all any bool callable dict getattr hasattr isinstance issubclass len list print repr round set sorted str tuple "
    "type vars".split()
)
"""Built-ins that a test applies to a result: the code's own are used only where the tests use nothing else."""


class Namespace(dict[str, object]):
    """The tests' globals; a name that is missing is asked of the code under test, each time, as it may change."""

    def __init__(self, peer: Peer, askable: frozenset[str], contents: dict[str, object]) -> None:
        super().__init__(contents)
        self._peer = peer
        self._askable = askable
        self._answered: dict[str, object] = {}
        self._read: list[type] = []

    def __missing__(self, name: str) -> object:
        if name not in self._askable:
            raise KeyError(name)
        if name in self._answered:
            return self._answered[name]
        value = self._peer.ask("global", name)
        if isinstance(value, RemoteMeta):
            value._under_test = name.lstrip("_")[:1].isupper() and (value._under_test or value not in self._read)
            self._read.append(value)
        if callable(value):
            self._answered[name] = value
        return value


def askable_names(source: str) -> frozenset[str]:
    """The names that the code under test has to define."""
    top = symtable.symtable(source, "tests", "exec")
    used: set[str] = set()
    tables = [top]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (symbol.is_global() or table is top):
                used.add(symbol.get_name())
    bound = {each.get_name() for each in top.get_symbols() if each.is_assigned() or each.is_imported()}
    free = {name for name in used - bound if not (name.startswith("__") and name.endswith("__"))}
    known = {name for name in free if hasattr(builtins, name) or name in sys.stdlib_module_names}
    if free - known:
        return frozenset(free - known)
    return frozenset(known if len(known) == 1 else known - _CHECKERS)


def _contains(node: _ast.AST, kinds: tuple[type, ...]) -> bool:
    """Whether a node of these kinds is below, outside the bodies of functions and classes."""
    if isinstance(node, kinds):
        return True
    if isinstance(node, _ast.FunctionDef | _ast.AsyncFunctionDef | _ast.ClassDef | _ast.Lambda):
        return False
    return any(_contains(child, kinds) for child in _children(node))


def _children(node: _ast.AST) -> Iterator[_ast.AST]:
    for field in node._fields:
        value = getattr(node, field, None)
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, _ast.AST):
                yield each


def _called_name(statement: _ast.stmt) -> str | None:
    if isinstance(statement, _ast.Expr) and isinstance(statement.value, _ast.Call):
        function = statement.value.func
        if isinstance(function, _ast.Name):
            return function.id
        if isinstance(function, _ast.Attribute) and isinstance(function.value, _ast.Name):
            return f"{function.value.id}.{function.attr}"
    return None


class Judge:
    """Runs the tests one by one and reports each."""

    def __init__(self, source: str, peer: Peer) -> None:
        self._peer = peer
        self._tree = compile(source, "tests", "exec", _PARSE_ONLY, dont_inherit=True)
        functions = (_ast.FunctionDef, _ast.AsyncFunctionDef)
        self._functions = {each.name: each for each in self._tree.body if isinstance(each, functions)}
        called = {_called_name(each) for each in self._tree.body}
        self._uncalled = [
            name
            for name, node in self._functions.items()
            if name.startswith("test") and name not in called and len(node.args.args) == len(node.args.defaults)
        ]
        module = _new_module("tests")
        self._namespace = Namespace(peer, askable_names(source), vars(module))
        sys.modules["__main__"] = module

    def run(self) -> None:
        """Report every test, then the end."""
        planned = sum(self._is_test(each) for each in self._tree.body) + len(self._uncalled)
        _report({"planned": planned})
        try:
            self._peer.await_announcement()
        except BaseException as error:
            _report(_outcome("loading the code", error))
            return
        for statement in self._tree.body:
            if _called_name(statement) != "unittest.main":
                self._run_statement(statement)
        for name in self._uncalled:
            self._run_unit(name, types.FunctionType(_call_code(name), self._namespace), True)
        self._run_cases()
        _report({"end": True})

    def _is_test(self, statement: _ast.stmt) -> bool:
        if _called_name(statement) in self._functions:
            return True
        return _contains(statement, (_ast.Assert, _ast.Raise))

    def _run_statement(self, statement: _ast.stmt) -> None:
        code = compile(_ast.Module(body=[statement], type_ignores=[]), "tests", "exec", dont_inherit=True)
        self._run_unit(f"line {statement.lineno}", code, self._is_test(statement))

    def _run_unit(self, label: str, unit: types.CodeType | types.FunctionType, counts: bool) -> None:
        try:
            if isinstance(unit, types.CodeType):
                exec(unit, self._namespace)
            else:
                unit()
            if self._peer.broken:  # a test may swallow anything
                raise ChannelBroken("the conversation is over")
        except BaseException as error:
            _report(_outcome(label, error))
            if self._peer.broken:
                sys.exit(0)
        else:
            if counts:
                _report({"outcome": "passed", "label": label})

    def _run_cases(self) -> None:
        unittest = sys.modules.get("unittest")
        classes = [each for each in list(self._namespace.values()) if isinstance(each, type)]
        for cls in classes:
            if unittest is None or not issubclass(cls, unittest.TestCase) or cls.__module__ != "tests":
                continue
            for case in unittest.defaultTestLoader.loadTestsFromTestCase(cls):
                result = unittest.TestResult()
                case(result)
                problems = [*result.failures, *result.errors, *result.skipped, *result.expectedFailures]
                clean = result.wasSuccessful() and result.testsRun == 1 and not problems and not self._peer.broken
                outcome = "passed" if clean else "error" if result.errors else "failed"
                _report({"outcome": outcome, "label": case.id(), "detail": str(problems[-1][1])[-200:] if problems else ""})


def _call_code(name: str) -> types.CodeType:
    """Code that calls a test function, and runs its coroutine if it makes one."""
    text = f"_made = {name}()\nif hasattr(_made, 'cr_code'):\n    import asyncio\n    asyncio.run(_made)"
    return compile(text, "tests", "exec", dont_inherit=True)


def _outcome(label: str, error: BaseException) -> dict[str, object]:
    kind = "failed" if isinstance(error, AssertionError) else "memory" if isinstance(error, MemoryError) else "error"
    detail = type(error).__name__
    if error.args and type(error.args[0]) is str:
        detail += f": {error.args[0][:200]}"
    return {"outcome": kind, "label": label, "detail": detail}


def _report(line: dict[str, object]) -> None:
    os.write(RESULTS, json.dumps(line).encode() + b"\n")


def run_judge() -> int:
    """Run the tests of the source descriptor; the exit status says nothing."""
    sys.setrecursionlimit(_RECURSION)
    with open(SOURCE, encoding="utf-8", errors="surrogatepass") as file:
        source = file.read()
    peer = Peer(CHANNEL, guarded=True)
    peer.replay_output = lambda text: sys.stdout.write(text)
    try:
        judge = Judge(source, peer)
    except (SyntaxError, ValueError) as error:
        _report(_outcome("reading the tests", error))
        return 0
    judge.run()
    return 0
