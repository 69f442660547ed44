"""Stand-ins for objects that live in the other process: each attribute, call and operator is asked of the owner.

A stand-in's type is made to look like the owner's: same name, same bases, and only the special methods that the
original has, so that `isinstance`, `callable`, `except` and truth values answer as in one process.

Who may be asked what, on the guarded side (where the tests are): between two stand-ins each operator goes to the owner.
Between a stand-in and plain data it does not: an object whose `__eq__` says yes to everything would pass any test.
One exception: an object that the tests made themselves by calling a class under a capitalised name, which they also
use as a class (`classes`), is under test with its operators, so `Vector(1, 2) * 3` and `"word" in trie` after
`trie.insert("word")` go to it, until it comes back from any other call. It may not equal decoys beside plain data: an
`__eq__` that holds for neighbours of a value, as one with a tolerance of 1, is refused. Tests that do nothing with an
object but to compare it with plain data, as in `Celsius(5) == 5` alone or `3 in Interval(1, 5)` without `__iter__`,
cannot tell it from a function's result, and fail.
"""

import collections
import copy
import operator
import os
import types
from collections.abc import Awaitable, Callable, Generator, ItemsView, Iterator, KeysView
from typing import TYPE_CHECKING

from rewards.sandboxing.decoys import decoys_of

if TYPE_CHECKING:
    import asyncio

Ask = Callable[..., object]

_OBJECTS_WITH_FRAMES = (
    types.FunctionType,
    types.MethodType,
    types.BuiltinFunctionType,
    types.GeneratorType,
    types.CoroutineType,
    types.AsyncGeneratorType,
    types.FrameType,
    types.TracebackType,
    types.CodeType,
    types.ModuleType,
)
_USER_TYPES = (collections.UserDict, collections.UserList, collections.UserString)
_loops: list["asyncio.AbstractEventLoop"] = []
_FUNCTION_LABELS = frozenset({"__name__", "__qualname__", "__doc__"})


def _reflected(function: Callable[[object, object], object]) -> Ask:
    return lambda right, left: function(left, right)


def _equal(left: object, right: object) -> object:
    """`left == right`, unless `left` equals just anything."""
    result = left == right
    if result is not True:
        return result
    try:
        return (left == object()) is not True
    except Exception:  # an honest __eq__ may read an attribute that only its own kind has
        return True


def _call(target: Ask, /, *arguments: object, **keywords: object) -> object:
    return target(*arguments, **keywords)


async def _result_of(awaitable: Awaitable[object]) -> object:
    return await awaitable


def _await(awaitable: Awaitable[object]) -> object:
    """Run to the end, on one loop for the whole conversation: an asynchronous generator ends with its loop.

    Where this happens while a loop runs, which waits for the other process, on one more loop.
    """
    import asyncio  # not above: every process of the sandbox would carry it

    loop = next((each for each in _loops if not each.is_running()), None)
    if loop is None:
        loop = asyncio.new_event_loop()
        _loops.append(loop)
    waiting = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        return loop.run_until_complete(_result_of(awaitable))
    finally:
        asyncio._set_running_loop(waiting)


def close_loops() -> bool:
    """Whether something was awaited for the other end; its loops are closed."""
    awaited = bool(_loops)
    while _loops:
        _loops.pop().close()
    return awaited


HOLD_BASE_DATA: tuple[type, ...] = (list, dict, set, type({}.keys()), type({}.items()), *_USER_TYPES)
"""Types whose instances stay where they are, but compare with plain data by the plain data in them."""


def _base_data(target: object) -> object:
    """The plain list, dictionary or set inside an instance of a subclass, whatever that overrides."""
    if isinstance(target, list):
        return list(list.__iter__(target))
    if isinstance(target, dict):
        return dict(dict.items(target))
    if isinstance(target, set):
        return set(set.__iter__(target))
    if isinstance(target, KeysView | ItemsView):
        return set(target)
    if isinstance(target, _USER_TYPES):
        return target.data
    raise TypeError("no plain data inside")


_COMPARISONS: dict[str, Ask] = {f"__{name}__": getattr(operator, name) for name in ("lt", "le", "gt", "ge")}
_ARITHMETIC = (
    "add",
    "sub",
    "mul",
    "matmul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "lshift",
    "rshift",
    "and",
    "or",
    "xor",
)
_BINARY: dict[str, Ask] = dict(_COMPARISONS)
for _name in _ARITHMETIC:
    _function = getattr(operator, f"__{_name}__")
    _BINARY |= {f"__{_name}__": _function, f"__r{_name}__": _reflected(_function)}
    _BINARY[f"__i{_name}__"] = getattr(operator, f"__i{_name}__")
_BINARY |= {"__divmod__": divmod, "__rdivmod__": _reflected(divmod)}
_FREE: dict[str, Ask] = {
    "__call__": _call,
    "__len__": len,
    "__iter__": iter,
    "__next__": next,
    "__reversed__": reversed,
    "__bool__": bool,
    "__str__": str,
    "__repr__": repr,
    "__format__": format,
    "__hash__": hash,
    "__neg__": operator.neg,
    "__pos__": operator.pos,
    "__invert__": operator.invert,
    "__abs__": abs,
    "__int__": int,
    "__float__": float,
    "__index__": operator.index,
    "__round__": round,
    "__bytes__": bytes,
    "__getitem__": operator.getitem,
    "__setitem__": operator.setitem,
    "__delitem__": operator.delitem,
    "__aiter__": lambda target: type(target).__aiter__(target),
    "__anext__": lambda target: type(target).__anext__(target),
    "__aenter__": lambda target: type(target).__aenter__(target),
    "__aexit__": lambda target, *error: type(target).__aexit__(target, *error),
    "__enter__": lambda target: type(target).__enter__(target),
    "__exit__": lambda target, *error: type(target).__exit__(target, *error),
}
SPECIAL_METHODS = (*_FREE, *_BINARY, "__contains__", "__eq__", "__await__")
_CLASS_METHODS = ("__iter__", "__len__", "__getitem__")
_KEPT_ON_DATA = ("__str__", "__repr__", "__call__", "__enter__", "__exit__")
"""Special methods asked of the owner although the value itself is here: no comparison is among them."""

OPERATIONS: dict[str, Ask] = {
    **_FREE,
    **_BINARY,
    "__eq__": _equal,
    "__contains__": operator.contains,
    "getattr": getattr,
    "setattr": setattr,
    "delattr": delattr,
    "dir": dir,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "send": lambda generator, value: generator.send(value),
    "throw": lambda generator, error: generator.throw(error),
    "close": lambda generator: generator.close(),
    "await": _await,
    "base data": _base_data,
}


def may_serve(operation: str, arguments: list[object]) -> bool:
    """Whether the guarded side performs this on an object that the tests handed out.

    Calling and iterating are what it was handed out for. Private attributes, and any attribute of functions, frames and
    generators, lead to the tests' globals and stay closed; only instances of the tests' own classes can be changed.
    """
    target = arguments[0] if arguments else None
    if isinstance(target, RemoteObject | RemoteMeta):
        return False
    if operation in ("setattr", "delattr", "getattr"):
        name = arguments[1] if len(arguments) > 1 else ""
        if isinstance(target, _OBJECTS_WITH_FRAMES):
            return operation == "getattr" and name in _FUNCTION_LABELS
        if not isinstance(name, str) or name.startswith("_"):
            return operation == "getattr" and isinstance(target, type) and name in _FUNCTION_LABELS
        return operation == "getattr" or type(target).__module__ == "tests"
    return operation in SPECIAL_METHODS or operation in ("copy", "deepcopy", "send", "close", "await")


class RemoteMeta(type):
    """The type of stand-in classes."""

    _class_id: int
    _ask: Ask
    _guarded: bool
    _under_test: bool
    """The tests read this class under a capitalised name that they use as a class's, and under no other."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, object]) -> "RemoteMeta":
        if "_class_id" not in namespace:
            raise TypeError(f"{name}: a class of the tests cannot derive from a class of the code under test")
        return super().__new__(mcs, name, bases, namespace)

    def __call__(cls, *arguments: object, **keywords: object) -> object:
        made = cls._ask("__call__", cls, *arguments, **keywords)
        if cls._under_test and type(made) is cls and not _state(made, "_seen"):
            object.__setattr__(made, "_made_by_tests", True)
        return made

    def __getattr__(cls, name: str) -> object:
        return cls._ask("getattr", cls, name)

    def __setattr__(cls, name: str, value: object) -> None:
        if name in ("_under_test", "__abstractmethods__"):
            super().__setattr__(name, value)
        else:
            cls._ask("setattr", cls, name, value)

    def __iter__(cls) -> Iterator[object]:
        return cls._ask("__iter__", cls)  # type: ignore[return-value]

    def __len__(cls) -> int:
        return cls._ask("__len__", cls)  # type: ignore[return-value]

    def __bool__(cls) -> bool:
        return True

    def __getitem__(cls, key: object) -> object:
        return cls._ask("__getitem__", cls, key)

    def __contains__(cls, value: object) -> bool:
        return any(value is each or value == each for each in cls)

    def __dir__(cls) -> list[str]:
        return cls._ask("dir", cls)  # type: ignore[return-value]


def _state(stub: object, name: str) -> object:
    return object.__getattribute__(stub, name)


class RemoteObject(metaclass=RemoteMeta):
    """A stand-in for one object of the other process."""

    _class_id = 0
    _object_id = 0
    _seen = False
    """It came back from the owner after it was made."""
    _made_by_tests = False
    _has_base_data = False
    _has_equality = False
    _under_test = False
    _holds_data = False
    _guarded = False

    def __getattr__(self, name: str) -> object:
        return type(self)._ask("getattr", self, name)

    def __setattr__(self, name: str, value: object) -> None:
        type(self)._ask("setattr", self, name, value)

    def __delattr__(self, name: str) -> None:
        type(self)._ask("delattr", self, name)

    def __dir__(self) -> list[str]:
        return type(self)._ask("dir", self)  # type: ignore[return-value]

    def __copy__(self) -> object:
        return type(self)._ask("copy", self)

    def __deepcopy__(self, _memo: object) -> object:
        return type(self)._ask("deepcopy", self)


def _answers_for(stub: object, other: object) -> bool:
    """Whether an operator between the two may be asked of the owner of `stub`."""
    guarded = type(stub)._guarded  # type: ignore[attr-defined]
    return not guarded or isinstance(other, RemoteObject) or bool(_state(stub, "_made_by_tests"))


def _equals_no_decoy(ask: Ask, stub: object, value: object) -> object:
    """Whether they are equal, asked among decoys in an order that the owner cannot foresee."""
    decoys = decoys_of(value)
    position = os.urandom(1)[0] % (len(decoys) + 1)
    equal_to_decoy = [_is_equal(ask, stub, each) for each in decoys[:position]]
    result = ask("__eq__", stub, value)
    if result is NotImplemented or not result:
        return result
    equal_to_decoy += [_is_equal(ask, stub, each) for each in decoys[position:]]
    return not any(equal_to_decoy)


def _is_equal(ask: Ask, stub: object, value: object) -> bool:
    try:
        result = ask("__eq__", stub, value)
        return result is not NotImplemented and bool(result)
    except Exception:  # an honest __eq__ may not take what no test compares it with
        return False


def _stub_equal(self: RemoteObject, other: object) -> object:
    ask = type(self)._ask
    if self is other and not self._has_equality:
        return True
    if self._has_base_data and not isinstance(other, RemoteObject):
        return ask("base data", self) == other
    if not self._has_equality or not _answers_for(self, other):
        return NotImplemented
    if type(self)._guarded and not isinstance(other, RemoteObject):
        return _equals_no_decoy(ask, self, other)
    return ask("__eq__", self, other)


def _stub_unequal(self: RemoteObject, other: object) -> object:
    equal = _stub_equal(self, other)
    return equal if equal is NotImplemented else not equal


def _stub_hash(self: RemoteObject) -> int:
    return type(self)._ask("__hash__", self) if self._has_equality else object.__hash__(self)  # type: ignore[return-value]


def _stub_contains(self: RemoteObject, item: object) -> bool:
    if _answers_for(self, item):
        return bool(type(self)._ask("__contains__", self, item))
    return any(item is each or item == each for each in iter(self))  # type: ignore[call-overload]


def _stub_get(self: object, instance: object, _owner: object = None) -> object:
    return self if instance is None else types.MethodType(self, instance)  # type: ignore[arg-type]


def _special(name: str) -> Callable[..., object]:
    def ask_owner(self: RemoteObject, *arguments: object, **keywords: object) -> object:
        return type(self)._ask(name, self, *arguments, **keywords)

    def ask_owner_if_allowed(self: RemoteObject, other: object) -> object:
        if not _answers_for(self, other):
            return NotImplemented
        result = type(self)._ask(name, self, other)
        if _state(self, "_made_by_tests") and isinstance(result, RemoteObject):
            object.__setattr__(result, "_made_by_tests", True)
        return result

    return ask_owner_if_allowed if name in _BINARY else ask_owner


_METHODS: dict[str, object] = {name: _special(name) for name in (*_FREE, *_BINARY)}
_METHODS |= {"__contains__": _stub_contains, "__await__": lambda self: coroutine_of(self).__await__()}


def make_type(
    name: str,
    bases: tuple[type, ...],
    class_id: int,
    specials: set[str],
    labels: dict[str, str],
    ask: Ask,
    guarded: bool,
) -> type:
    """A stand-in for a class with these special methods; `bases` are stand-ins, exceptions or plain immutable types."""
    holds_data = any(not isinstance(base, RemoteMeta) or base._holds_data for base in bases)
    namespace: dict[str, object] = {"_class_id": class_id, "_ask": staticmethod(ask), "_guarded": guarded}
    namespace |= {"_under_test": False, "_holds_data": holds_data, **labels}
    wanted = [each for each in _METHODS if each in specials and (each in _KEPT_ON_DATA or not holds_data)]
    namespace |= {each: _METHODS[each] for each in wanted}
    if not holds_data:
        namespace |= {"__eq__": _stub_equal, "__ne__": _stub_unequal, "__hash__": _stub_hash}
        namespace |= {"_has_equality": "__eq__" in specials, "_has_base_data": "base data" in specials}
        namespace["__dict__"] = property(lambda self: type(self)._ask("getattr", self, "__dict__"))
    if "__get__" in specials:
        namespace["__get__"] = _stub_get
    return RemoteMeta(name, bases, namespace)


def generator_of(stub: RemoteObject) -> Generator[object, object, object]:
    """A real generator that runs the owner's."""
    ask = type(stub)._ask
    sent: object = None
    while True:
        try:
            value = ask("send", stub, sent)
        except StopIteration as stop:
            return stop.value
        try:
            sent = yield value
        except GeneratorExit:
            ask("close", stub)
            raise


async def coroutine_of(stub: RemoteObject) -> object:
    """A real coroutine that runs the owner's to its end."""
    return type(stub)._ask("await", stub)
