"""Runs the tests in a process of their own; the code under test answers from another one through `channel`.

Each top-level statement with an assert in it, each call of a function that the tests define, each case of a `test*`
function, and each method of a `unittest.TestCase` or of a class named `Test*` is one test. Results go line by line to a
descriptor that the code under test never has, so that those of finished tests survive a deadline. One process judges
many programs, as the tests are trusted and programs reach it as data only; it leaves after tests that may have changed
it.

Tests may also be pairs of arguments and output (`pairs`), each one test.

Names that the tests use and do not define, or import from `solution`, are asked of the code under test. Built-in names
and modules of the standard library are not, or code could bring its own `abs` or `math`; unless the tests use no other
name, as in `assert sum(2, 3) == 5`.
"""

import _ast
import builtins
import functools
import importlib
import json
import os
import socket
import symtable
import sys
import threading
import types
from collections.abc import Callable

from rewards.sandboxing import pairs, pytest_standin, reading
from rewards.sandboxing.candidate import new_module
from rewards.sandboxing.channel import ChannelBroken, Peer
from rewards.sandboxing.classes import class_names
from rewards.sandboxing.stubs import RemoteMeta, RemoteObject, close_loops

ORDERS = 3
"""Descriptor of the socket on which the client hands over the descriptors of one run after another."""
_RUNS = 500
"""A judge leaves after so many runs."""
_INPUT = builtins.input
_RECURSION = 5_000
_DELEGATED = {
    "dataclasses": ("asdict", "astuple", "fields", "is_dataclass", "replace"),
    "inspect": ("iscoroutinefunction", "isfunction", "isgeneratorfunction", "signature"),
    "asyncio": ("iscoroutinefunction",),
}
"""Library functions that look inside an object, and therefore run where it is."""


class Namespace(dict[str, object]):
    """The tests' globals; a name that is missing is asked of the code under test, each time, as it may change."""

    def __init__(
        self,
        peer: Peer,
        askable: frozenset[str],
        classes: frozenset[str],
        imported: dict[str, str],
        contents: dict[str, object],
    ) -> None:
        super().__init__(contents)
        self._peer = peer
        self._askable = askable
        self._classes = classes
        self._imported = imported

    def __missing__(self, name: str) -> object:
        if name not in self._askable:
            raise KeyError(name)
        return self._peer.ask("global", self._imported.get(name, name))

    def fill(self) -> None:
        """Take over the functions and classes, which do not change; ImportError if an imported name is not there."""
        for name in sorted(self._askable):
            try:
                value = self[name]
            except KeyError:
                if name in self._imported:
                    raise ImportError(f"the code under test defines no {self._imported[name]}") from None
                continue
            if isinstance(value, RemoteMeta):
                value._under_test = name in self._classes and (value._under_test or not _is_bound(value, self))
            if callable(value):
                self[name] = value


def _is_bound(value: object, namespace: dict[str, object]) -> bool:
    return any(value is each for each in namespace.values())


class ModuleUnderTest(types.ModuleType):
    """What tests get that import the code under test: its globals."""

    _peer: Peer

    def __init__(self, name: str, peer: Peer) -> None:
        super().__init__(name)
        self._peer = peer

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self._peer.ask("global", name)
        except KeyError:
            raise AttributeError(f"the code under test has no {name}") from None


class Judge:
    """Runs the tests one by one and reports each."""

    def __init__(self, source: str, peer: Peer, results: int) -> None:
        self._peer = peer
        self._results = results
        peer.expects_stop = "StopIteration" in source
        self._tree = reading.parse(source)
        imported = reading.take_imports(self._tree)
        functions = (_ast.FunctionDef, _ast.AsyncFunctionDef)
        self._functions = {each.name: each for each in self._tree.body if isinstance(each, functions)}
        self._pytest = "pytest" in source
        if self._pytest:
            sys.modules["pytest"] = pytest_standin
        self._asserting = reading.asserting_functions(self._tree)
        called = {reading.called_name(each) for each in self._tree.body}
        self._uncalled = [
            name
            for name, node in self._functions.items()
            if name.startswith("test") and name not in called and (self._pytest or not _needs_arguments(node))
        ]
        module = new_module("tests")
        names = symtable.symtable(source, "tests", "exec")
        self.may_change_process = reading.may_change_process(source, self._tree, names)
        free = reading.free_names(names)
        modules = reading.library_names(free, self._tree)
        askable = reading.askable_names(free - modules.keys() - imported.keys()) | imported.keys()
        capitalised = frozenset(name for name in askable if name.lstrip("_")[:1].isupper())
        classes = class_names(self._tree, capitalised) if capitalised else capitalised
        self._namespace = Namespace(peer, askable, classes, imported, {**vars(module), **modules})
        for name in _DELEGATED:
            if name in source:
                self._delegate(importlib.import_module(name), _DELEGATED[name])
        sys.modules["__main__"] = module
        if any(name in source for name in reading.UNDER_TEST):
            sys.modules.update(dict.fromkeys(reading.UNDER_TEST, ModuleUnderTest("solution", peer)))

    def run(self) -> None:
        """Report every test, then the end."""
        statements = [(each, self._is_test(each)) for each in self._tree.body]
        self._report({"planned": sum(counts for _, counts in statements) + len(self._uncalled)})
        try:
            self._peer.await_announcement()
            self._namespace.fill()
        except BaseException as error:
            self._report(_outcome("loading the code", error))
            return
        for statement, counts in statements:
            if reading.called_name(statement) != "unittest.main":
                self._run_statement(statement, counts)
        for name in self._uncalled:
            self._run_function(name, self._namespace.get(name))
        self._run_cases()
        self._report({"end": True})

    def _delegate(self, module: types.ModuleType, names: tuple[str, ...]) -> None:
        """Have the functions of a module run on the other side where their first argument is there."""
        for name in names:
            ours = getattr(module, name)
            ours = getattr(ours, "_ours", ours)  # that of the last run asks a conversation that is over

            def either(
                target: object, *rest: object, _name: str = name, _ours: Callable[..., object] = ours, **more: object
            ) -> object:
                if isinstance(target, RemoteObject | RemoteMeta):
                    return self._peer.ask("library", module.__name__, _name, target, *rest, **more)
                return _ours(target, *rest, **more)

            either._ours = ours  # type: ignore[attr-defined]
            setattr(module, name, either)

    def _is_test(self, statement: _ast.stmt) -> bool:
        return reading.called_name(statement) in self._functions or reading.is_test(statement, self._asserting)

    def _run_statement(self, statement: _ast.stmt, counts: bool) -> None:
        code = compile(_ast.Module(body=[statement], type_ignores=[]), "tests", "exec", dont_inherit=True)
        run = functools.partial(exec, code, self._namespace)
        _run_unit(self._peer, self._results, f"line {statement.lineno}", run, counts)

    def _run_cases(self) -> None:
        unittest = sys.modules.get("unittest")
        classes = [each for each in list(self._namespace.values()) if isinstance(each, type)]
        for cls in classes:
            if cls.__module__ != "tests" or isinstance(cls, RemoteMeta):
                continue
            if unittest is None or not issubclass(cls, unittest.TestCase):
                self._run_plain_class(cls)
                continue
            for case in unittest.defaultTestLoader.loadTestsFromTestCase(cls):
                result = unittest.TestResult()
                unittest.TestSuite([case]).run(result)  # not the case alone: it has `setUpClass`
                problems = [*result.failures, *result.errors, *result.skipped, *result.expectedFailures]
                clean = result.wasSuccessful() and result.testsRun == 1 and not problems and not self._peer.broken
                outcome = "passed" if clean else "error" if result.errors else "failed"
                detail = str(problems[-1][1]).strip().rpartition("\n")[2] if problems else ""
                self._report({"outcome": outcome, "label": case.id(), "detail": detail})

    def _run_function(self, label: str, function: object, instance: object = None) -> None:
        """Run a test function, or a method of an instance, once for each of its cases."""
        assert callable(function), label
        units: list[tuple[str, Callable[[], object]]] = [(label, functools.partial(_call, function))]
        if self._pytest:
            units = pytest_standin.units(label, function, self._namespace)
        for each, unit in units:
            _run_unit(self._peer, self._results, each, functools.partial(_run_prepared, instance, function, unit), True)

    def _run_plain_class(self, cls: type) -> None:
        """Run the methods of a class without a base, as pytest does."""
        if not cls.__name__.startswith("Test") or "__init__" in vars(cls):
            return
        for name in [each for each in vars(cls) if each.startswith("test") and callable(getattr(cls, each))]:
            instance = cls()
            self._run_function(f"{cls.__name__}.{name}", getattr(instance, name), instance)

    def _report(self, line: dict[str, object]) -> None:
        _write(self._results, line)


def _needs_arguments(node: _ast.FunctionDef | _ast.AsyncFunctionDef) -> bool:
    return len(node.args.args) != len(node.args.defaults)


def _call(function: Callable[[], object]) -> None:
    made = function()
    if isinstance(made, types.CoroutineType):
        importlib.import_module("asyncio").run(made)


def _run_prepared(instance: object, test: Callable[..., object], unit: Callable[[], object]) -> None:
    """Run a test between what its instance, if it has one, does before and after each."""
    for when, step in (("setup_method", None), ("", unit), ("teardown_method", None)):
        method = step or getattr(instance, when, None)
        if method is not None:
            takes_test = isinstance(method, types.MethodType) and method.__func__.__code__.co_argcount == 2
            method(*([test] if takes_test else []))


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
            changed = judge.may_change_process
            judge.run()
    except (SyntaxError, ValueError) as error:
        _write(results, _outcome("reading the tests", error))
    except ChannelBroken:
        pass  # reported with the test that met it
    finally:
        peer.close()
    changed = close_loops() or changed or threading.active_count() > 1 or os.stat(".").st_mtime_ns != directory
    return peer.is_light and not changed


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
