"""Runs the tests in a process of their own; the code under test answers from another one through `sandbox_channel`.

Each top-level statement with an assert in it, each call of a function that the tests define, each `test*` function and
each method of a `unittest.TestCase` is one test. Results go line by line to a descriptor that the code under test never
has, so that those of finished tests survive a deadline.

Names that the tests use and do not define are asked of the code under test. Built-in names and modules of the standard
library are not, or code could bring its own `abs` or `math`; unless the tests use no other name, as in
`assert sum(2, 3) == 5`.
"""

import builtins
import importlib
import json
import os
import symtable
import sys
import types
from collections.abc import Callable, Iterator

import _ast

from rewards.sandbox_candidate import CHANNEL, SOURCE, _new_module
from rewards.sandbox_channel import ChannelBroken, Peer
from rewards.sandbox_stubs import RemoteMeta, RemoteObject

RESULTS = 5
"""Descriptor for the results."""
_PARSE_ONLY = 0x400
_RECURSION = 5_000
_UNWANTED = frozenset({"antigravity", "this", "idlelib", "turtle", "turtledemo", "tkinter"})
"""Modules that do something when they are imported."""
_CHECKERS = frozenset(
    "abs all any bool callable dict getattr hasattr isinstance issubclass len list print repr round set sorted str tuple "
    "type vars".split()
)
"""Built-ins that a test applies to a result: the code's own are used only where the tests use nothing else."""


_DELEGATED = {
    "dataclasses": ("asdict", "astuple", "fields", "is_dataclass", "replace"),
    "inspect": ("iscoroutinefunction", "isfunction", "isgeneratorfunction", "signature"),
    "asyncio": ("iscoroutinefunction",),
}
"""Library functions that look inside an object, and therefore run where it is."""


class Namespace(dict[str, object]):
    """The tests' globals; a name that is missing is asked of the code under test, each time, as it may change."""

    def __init__(self, peer: Peer, askable: frozenset[str], contents: dict[str, object]) -> None:
        super().__init__(contents)
        self._peer = peer
        self._askable = askable

    def __missing__(self, name: str) -> object:
        if name not in self._askable:
            raise KeyError(name)
        return self._peer.ask("global", name)

    def fill(self) -> None:
        """Take over the functions and classes, which do not change."""
        for name in sorted(self._askable):
            try:
                value = self[name]
            except KeyError:
                continue
            is_class = isinstance(value, RemoteMeta)
            if is_class:
                value._under_test = name.lstrip("_")[:1].isupper() and (value._under_test or not _is_bound(value, self))
            if is_class or callable(value):
                self[name] = value


def _is_bound(value: object, namespace: dict[str, object]) -> bool:
    return any(value is each for each in namespace.values())


def free_names(source: str) -> frozenset[str]:
    """The names that the tests use and do not define."""
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
    return frozenset(name for name in used - bound if not (name.startswith("__") and name.endswith("__")))


def library_names(free: frozenset[str], tree: _ast.AST) -> dict[str, types.ModuleType]:
    """Modules of the standard library that the tests use without an import: only by attributes, which they have."""
    attributes: dict[str, set[str]] = {name: set() for name in free & sys.stdlib_module_names}
    direct: set[str] = set()
    nodes = [tree]
    while nodes and attributes:
        node = nodes.pop()
        if isinstance(node, _ast.Attribute) and isinstance(node.value, _ast.Name):
            attributes.setdefault(node.value.id, set()).add(node.attr)
        elif isinstance(node, _ast.Name):
            direct.add(node.id)
        else:
            nodes.extend(_children(node))
    found = {}
    for name in (free & sys.stdlib_module_names) - direct - _UNWANTED:
        module = importlib.import_module(name)
        if all(hasattr(module, attribute) for attribute in attributes[name]):
            found[name] = module
    return found


def askable_names(free: frozenset[str]) -> frozenset[str]:
    """The free names that the code under test has to define."""
    known = {name for name in free if hasattr(builtins, name)}
    if free - known:
        return free - known
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
        free = free_names(source)
        modules = library_names(free, self._tree)
        self._namespace = Namespace(peer, askable_names(free - modules.keys()), {**vars(module), **modules})
        for name in _DELEGATED:
            if name in source:
                self._delegate(importlib.import_module(name), _DELEGATED[name])
        sys.modules["__main__"] = module

    def run(self) -> None:
        """Report every test, then the end."""
        planned = sum(self._is_test(each) for each in self._tree.body) + len(self._uncalled)
        _report({"planned": planned})
        try:
            self._peer.await_announcement()
            self._namespace.fill()
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

    def _delegate(self, module: types.ModuleType, names: tuple[str, ...]) -> None:
        """Have the functions of a module run on the other side where their first argument is there."""
        for name in names:
            ours = getattr(module, name)

            def either(
                target: object, *rest: object, _name: str = name, _ours: Callable[..., object] = ours, **more: object
            ) -> object:
                if isinstance(target, RemoteObject | RemoteMeta):
                    return self._peer.ask("library", module.__name__, _name, target, *rest, **more)
                return _ours(target, *rest, **more)

            setattr(module, name, either)

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
