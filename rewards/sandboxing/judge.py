"""Runs the tests in a process of their own; the code under test answers from another one through `channel`.

Each top-level statement with an assert in it, each call of a function that the tests define, each `test*` function and
each method of a `unittest.TestCase` is one test. Results go line by line to a descriptor that the code under test never
has, so that those of finished tests survive a deadline. One process judges many programs, as the tests are trusted and
programs reach it as data only; it leaves after tests that may have changed it.

Tests may also be pairs of arguments and output (`pairs`), each one test.

Names that the tests use and do not define are asked of the code under test. Built-in names and modules of the standard
library are not, or code could bring its own `abs` or `math`; unless the tests use no other name, as in
`assert sum(2, 3) == 5`.
"""

import _ast
import builtins
import functools
import importlib
import json
import os
import re
import socket
import symtable
import sys
import threading
import types
from collections.abc import Callable

from rewards.sandboxing import pairs
from rewards.sandboxing.candidate import new_module
from rewards.sandboxing.channel import ChannelBroken, Peer
from rewards.sandboxing.classes import children, class_names
from rewards.sandboxing.stubs import RemoteMeta, RemoteObject

ORDERS = 3
"""Descriptor of the socket on which the client hands over the descriptors of one run after another."""
_RUNS = 500
"""A judge leaves after so many runs."""
_LASTING = re.compile(
    r"\b(builtins|sys|os|patch|setattr|delattr|seed|signal|threading|globals|mock|__(?!name|eq|init|main)\w+__)\b"
)
"""Words of tests that may change the process they run in."""
_PARSE_ONLY = 0x400
_INPUT = builtins.input
_RECURSION = 5_000
_UNWANTED = frozenset({"antigravity", "this", "idlelib", "turtle", "turtledemo", "tkinter"})
"""Modules that do something when they are imported."""
_CHECKERS = frozenset(
    [
        "abs",
        "all",
        "any",
        "bool",
        "callable",
        "dict",
        "getattr",
        "hasattr",
        "isinstance",
        "issubclass",
        "len",
        "list",
        "print",
        "repr",
        "round",
        "set",
        "sorted",
        "str",
        "tuple",
        "type",
        "vars",
    ]
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

    def __init__(
        self, peer: Peer, askable: frozenset[str], classes: frozenset[str], contents: dict[str, object]
    ) -> None:
        super().__init__(contents)
        self._peer = peer
        self._askable = askable
        self._classes = classes

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
            if isinstance(value, RemoteMeta):
                value._under_test = name in self._classes and (value._under_test or not _is_bound(value, self))
            if callable(value):
                self[name] = value


def _is_bound(value: object, namespace: dict[str, object]) -> bool:
    return any(value is each for each in namespace.values())


def free_names(top: symtable.SymbolTable) -> frozenset[str]:
    """The names that the tests use and do not define."""
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
            nodes.extend(children(node))
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
    return any(_contains(child, kinds) for child in children(node))


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

    def __init__(self, source: str, peer: Peer, results: int) -> None:
        self._peer = peer
        self._results = results
        self._source = source
        self._tree = compile(source, "tests", "exec", _PARSE_ONLY, dont_inherit=True)
        functions = (_ast.FunctionDef, _ast.AsyncFunctionDef)
        self._functions = {each.name: each for each in self._tree.body if isinstance(each, functions)}
        called = {_called_name(each) for each in self._tree.body}
        self._uncalled = [
            name
            for name, node in self._functions.items()
            if name.startswith("test") and name not in called and len(node.args.args) == len(node.args.defaults)
        ]
        module = new_module("tests")
        self._names = symtable.symtable(source, "tests", "exec")
        free = free_names(self._names)
        modules = library_names(free, self._tree)
        askable = askable_names(free - modules.keys())
        capitalised = frozenset(name for name in askable if name.lstrip("_")[:1].isupper())
        classes = class_names(self._tree, capitalised) if capitalised else capitalised
        self._namespace = Namespace(peer, askable, classes, {**vars(module), **modules})
        for name in _DELEGATED:
            if name in source:
                self._delegate(importlib.import_module(name), _DELEGATED[name])
        sys.modules["__main__"] = module

    def run(self) -> None:
        """Report every test, then the end."""
        planned = sum(self._is_test(each) for each in self._tree.body) + len(self._uncalled)
        self._report({"planned": planned})
        try:
            self._peer.await_announcement()
            self._namespace.fill()
        except BaseException as error:
            self._report(_outcome("loading the code", error))
            return
        for statement in self._tree.body:
            if _called_name(statement) != "unittest.main":
                self._run_statement(statement)
        for name in self._uncalled:
            _run_unit(self._peer, self._results, name, types.FunctionType(_call_code(name), self._namespace), True)
        self._run_cases()
        self._report({"end": True})

    def may_have_changed_process(self) -> bool:
        """Whether the tests may have left something behind in this process."""
        if _LASTING.search(self._source):
            return True
        return _assigns_below(self._tree, {each.get_name() for each in self._names.get_symbols() if each.is_imported()})

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
        run = functools.partial(exec, code, self._namespace)
        _run_unit(self._peer, self._results, f"line {statement.lineno}", run, self._is_test(statement))

    def _run_cases(self) -> None:
        unittest = sys.modules.get("unittest")
        classes = [each for each in list(self._namespace.values()) if isinstance(each, type)]
        for cls in classes:
            if unittest is None or not issubclass(cls, unittest.TestCase) or cls.__module__ != "tests":
                continue
            for case in unittest.defaultTestLoader.loadTestsFromTestCase(cls):
                result = unittest.TestResult()
                unittest.TestSuite([case]).run(result)  # not the case alone: it has `setUpClass`
                problems = [*result.failures, *result.errors, *result.skipped, *result.expectedFailures]
                clean = result.wasSuccessful() and result.testsRun == 1 and not problems and not self._peer.broken
                outcome = "passed" if clean else "error" if result.errors else "failed"
                detail = str(problems[-1][1]).strip().rpartition("\n")[2] if problems else ""
                self._report({"outcome": outcome, "label": case.id(), "detail": detail})

    def _report(self, line: dict[str, object]) -> None:
        _write(self._results, line)


def _run_unit(peer: Peer, results: int, label: str, unit: Callable[[], object], counts: bool) -> None:
    """Run one part of the tests; report that it failed or, if it counts as a test, that it passed."""
    try:
        unit()
        if peer.broken:  # a test may swallow anything
            raise ChannelBroken("the conversation is over")
    except BaseException as error:
        _write(results, _outcome(label, error))
        if peer.broken:
            raise ChannelBroken("the conversation is over") from None
    else:
        if counts:
            _write(results, {"outcome": "passed", "label": label})


def _run_pairs(source: str, peer: Peer, results: int) -> None:
    tests = pairs.units(source, peer)
    _write(results, {"planned": len(tests)})
    try:
        peer.await_announcement()
    except BaseException as error:
        _write(results, _outcome("loading the code", error))
        return
    for label, unit in tests:
        _run_unit(peer, results, label, unit, True)
    _write(results, {"end": True})


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


def _write(results: int, line: dict[str, object]) -> None:
    os.write(results, json.dumps(line).encode() + b"\n")


def _read_input(everything: bool) -> str:
    """A line, or all, of what the tests put in place of `input` or `sys.stdin`; empty if they did not."""
    if builtins.input is not _INPUT:
        return f"{builtins.input()}\n"
    if sys.stdin is sys.__stdin__:
        return ""
    return sys.stdin.read() if everything else sys.stdin.readline()


def _judge_one(kind: bytes, source: str, channel: int, results: int) -> bool:
    """Run the tests; whether this process is as it was before."""
    directory = os.stat(".").st_mtime_ns
    peer = Peer(channel, guarded=True)
    peer.replay_output = lambda text: sys.stdout.write(text)
    peer.read_input = _read_input
    changed = False
    try:
        if kind == b"pairs":
            _run_pairs(source, peer, results)
        else:
            judge = Judge(source, peer, results)
            changed = judge.may_have_changed_process()
            judge.run()
    except (SyntaxError, ValueError) as error:
        _write(results, _outcome("reading the tests", error))
    except ChannelBroken:
        pass  # reported with the test that met it
    finally:
        peer.close()
    changed = changed or threading.active_count() > 1 or os.stat(".").st_mtime_ns != directory
    return peer.is_light and not changed


def _assigns_below(node: _ast.AST, names: set[str]) -> bool:
    """Whether an attribute or item of one of these names is assigned to."""
    if isinstance(node, _ast.Attribute | _ast.Subscript) and not isinstance(node.ctx, _ast.Load):
        root: _ast.AST = node
        while isinstance(root, _ast.Attribute | _ast.Subscript | _ast.Call):
            root = root.func if isinstance(root, _ast.Call) else root.value
        if isinstance(root, _ast.Name) and root.id in names:
            return True
    return any(_assigns_below(child, names) for child in children(node))


def run_judge() -> int:
    """Serve runs until the client is gone, or one may have changed this process; the exit status says nothing."""
    sys.setrecursionlimit(_RECURSION)
    orders = socket.socket(fileno=ORDERS)
    for run in range(1, _RUNS + 1):
        kind, descriptors, _, _ = socket.recv_fds(orders, 16, 3)
        if len(descriptors) != 3:
            break
        with open(descriptors[0], encoding="utf-8", errors="surrogatepass") as file:
            source = file.read()
        leaving = not _judge_one(kind, source, *descriptors[1:]) or run == _RUNS
        if not leaving:
            _write(descriptors[2], {"stays": True})
        os.close(descriptors[2])
        if leaving:
            break
    return 0
