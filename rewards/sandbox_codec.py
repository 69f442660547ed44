"""How values are spelled on the channel, as JSON.

A scalar is itself; everything else is a list that begins with a letter. Exact types of plain data travel by value; pure
functions and types of the standard library by name; all other objects stay and travel as a number, with a description
of their class the first time. Decoding builds only what these letters allow, whatever arrives.
"""

import builtins
import collections
import contextlib
import datetime
import decimal
import fractions
import functools
import importlib
import operator
import sys
import types
from collections.abc import Callable, Iterable

from rewards.sandbox_stubs import SPECIAL_METHODS, Ask, RemoteMeta, RemoteObject, coroutine_of, generator_of, make_type

Spelled = object
Data = list | dict | set | bytearray | collections.deque
"""Mutable data that crosses by value and keeps its identity on both sides."""

_TRACKED_CONTAINERS, _TRACKED_ITEMS = 2_000, 50_000
"""How much mutable data is compared before each message; older data beyond it no longer follows changes."""

_PURE_BUILTINS = frozenset(
    "abs all any ascii bin bool bytearray bytes callable chr complex dict divmod enumerate filter float frozenset hash hex "
    "int isinstance issubclass iter len list map max min next object oct ord pow range repr reversed round set slice "
    "sorted str sum tuple type zip".split()
)
_PURE_MODULES = frozenset({"math", "operator", "_operator", "collections", "datetime", "decimal", "fractions"})
_ERROR_MODULES = frozenset({"dataclasses", "json.decoder", "_queue", "queue", "asyncio.exceptions", "statistics", "enum"})
_LIBRARY = frozenset(sys.stdlib_module_names) - {"antigravity", "this", "__main__", "idlelib", "turtle", "turtledemo"}
_IMMUTABLE_BASES = (int, float, str, bytes, tuple, frozenset, complex)
_BUILT_BY_NAME: dict[str, Callable[..., object]] = {
    "Decimal": lambda text: decimal.Decimal(str(text)),
    "Fraction": lambda top, bottom: fractions.Fraction(int(str(top), 16), int(str(bottom), 16)),
    "date": lambda *fields: datetime.date(*fields),
    "time": lambda *fields: datetime.time(*fields),
    "datetime": lambda *fields: datetime.datetime(*fields),
    "timedelta": lambda *fields: datetime.timedelta(*fields),
}
_DICT_KINDS: dict[str, Callable[[], dict[object, object]]] = {
    "dict": dict,
    "OrderedDict": collections.OrderedDict,
    "Counter": collections.Counter,
    "defaultdict": collections.defaultdict,
}
_FUNCTION_TYPES = (types.FunctionType, types.MethodType, functools._lru_cache_wrapper, functools.partial)


class Codec:
    """Spells values for one end of a channel, and remembers which objects crossed it."""

    def __init__(self, ask: Ask, *, guarded: bool) -> None:
        self._ask = ask
        self._guarded = guarded
        self._exports: dict[int, object] = {}
        self._export_numbers: dict[int, int] = {}
        self._stubs: dict[int, object] = {}
        self._stub_numbers: dict[int, int] = {}
        self._data: dict[int, Data] = {}
        self._data_numbers: dict[int, int] = {}
        self._next_data = 0 if guarded else 1
        self._snapshots: dict[int, list[object]] = {}

    # Spelling ----------------------------------------------------------------------------------------------------

    def encode(self, value: object) -> Spelled:
        """The spelling of any object."""
        kind = type(value)
        if value is None or kind is bool or kind is str or kind is float:
            return value
        if kind is int:
            return value if -(1 << 62) < value < 1 << 62 else ["i", hex(value)]  # type: ignore[operator,arg-type]
        encoder = _ENCODERS.get(kind)
        return encoder(self, value) if encoder is not None else self._encode_object(value)

    def encode_error(self, error: BaseException) -> Spelled:
        """The spelling of an exception: its class, arguments and cause; attributes are asked for when needed."""
        kind, arguments = self._encode_class(type(error)), [self.encode(each) for each in error.args]
        cause = None if error.__cause__ is None else self.encode_error(error.__cause__)
        return ["e", kind, self._number_of(error), arguments, cause]

    def _encode_items(self, values: Iterable[object]) -> list[Spelled]:
        return [self.encode(each) for each in values]

    def _encode_data(self, value: Data) -> Spelled:
        known = self._data_numbers.get(id(value))
        if known is not None:
            return ["@", known]
        number, self._next_data = self._next_data, self._next_data + 2
        self._remember_data(number, value)
        default = getattr(value, "default_factory", None)
        kind = type(value).__name__
        return ["m", number, kind, self._encode_items(_flatten(value)), self.encode(default)]

    def _encode_object(self, value: object) -> Spelled:
        if isinstance(value, type):
            return self._encode_class(value)
        if id(value) in self._stub_numbers:
            return ["h", self._stub_numbers[id(value)]]
        if isinstance(value, BaseException):
            return self.encode_error(value)
        if isinstance(value, types.ModuleType) and sys.modules.get(value.__name__) is value:
            if value.__name__ in _LIBRARY:
                return ["M", value.__name__]
        elif isinstance(value, types.BuiltinFunctionType) and _is_pure(value):
            return ["g", value.__module__, value.__qualname__]
        return self._encode_stub(value)

    def _encode_stub(self, value: object) -> Spelled:
        form = "o"
        if isinstance(value, types.GeneratorType):
            form = "G"
        elif isinstance(value, types.CoroutineType):
            form = "C"
        base: Spelled = None
        for plain in _IMMUTABLE_BASES:
            if isinstance(value, plain):
                base = self.encode(_plain_value(value, plain))
        return [form, self._export_class(type(value)), self._number_of(value), base, _labels(value)]

    def _encode_class(self, cls: type) -> Spelled:
        if _is_pure(cls) or (issubclass(cls, BaseException) and cls.__module__ in _ERROR_MODULES):
            return ["g", cls.__module__, cls.__qualname__]
        if isinstance(cls, RemoteMeta):
            return ["h", cls._class_id]
        return self._export_class(cls)

    def _export_class(self, cls: type) -> Spelled:
        if id(cls) in self._export_numbers:
            return ["K", self._export_numbers[id(cls)]]
        number = self._number_of(cls)
        bases = [self._encode_class(base) for base in cls.__bases__ if base is not object]
        specials = [name for name in SPECIAL_METHODS if _has_special(cls, name)]
        if issubclass(cls, list | dict | set):
            specials.append("base data")
        if issubclass(cls, _FUNCTION_TYPES):
            specials.append("__get__")
        return ["k", number, _labels(cls), bases, specials]

    def _number_of(self, value: object) -> int:
        known = self._export_numbers.get(id(value))
        if known is None:
            known = self._export_numbers[id(value)] = len(self._exports) + 1
            self._exports[known] = value  # kept, so that the id stays taken
        return known

    # Reading -----------------------------------------------------------------------------------------------------

    def decode(self, spelled: Spelled) -> object:
        """The value of a spelling; any exception means that the other end broke the protocol."""
        if not isinstance(spelled, list):
            if isinstance(spelled, dict):
                raise ValueError("an object is no spelling")
            return spelled
        return _DECODERS[spelled[0]](self, *spelled[1:])

    def _decode_items(self, spelled: list[Spelled]) -> list[object]:
        return [self.decode(each) for each in spelled]

    def _decode_data(self, number: int, kind: str, items: list[Spelled], default: Spelled) -> object:
        if number in self._data or number % 2 == self._next_data % 2:
            raise ValueError("a number twice")
        factory = self.decode(default)
        data: Data = _DICT_KINDS[kind]() if kind in _DICT_KINDS else _SEQUENCE_KINDS[kind]()
        if isinstance(data, collections.defaultdict):
            data.default_factory = factory  # type: ignore[assignment]
        self._data[number] = data  # before the items: they may contain it
        self._data_numbers[id(data)] = number
        _refill(data, self._decode_items(items))
        self._snapshots[number] = _flatten(data)
        return data

    def _decode_own(self, number: int) -> object:
        return self._exports[number]

    def _decode_class(self, number: int, labels: dict[str, str], bases: list[Spelled], specials: list[str]) -> object:
        if number in self._stubs:
            raise ValueError("a number twice")
        decoded = [self.decode(base) for base in bases]
        kept = [base for base in decoded if isinstance(base, type) and _may_derive_from(base)]
        if not any(isinstance(base, RemoteMeta) for base in kept):
            kept.insert(0, RemoteObject)
        name, described = str(labels["__name__"]), {key: str(labels[key]) for key in _LABELS if key in labels}
        described["__module__"] = described.get("__module__", "solution")
        described.pop("__name__")
        arguments = (number, set(specials), described, self._ask, self._guarded)
        try:
            made = make_type(name, tuple(kept), *arguments)
        except TypeError:  # bases that do not combine on this side
            made = make_type(name, (RemoteObject,), *arguments)
        self._stubs[number] = made
        return made

    def _decode_known_class(self, number: int) -> object:
        known = self._stubs[number]
        if not isinstance(known, RemoteMeta):
            raise ValueError("not a class")
        return known

    def _decode_stub(
        self, kind: Spelled, number: int, base: Spelled, labels: dict[str, str], wrap: Callable[..., object] | None = None
    ) -> object:
        known = self._stubs.get(number)
        if known is not None:
            if isinstance(known, RemoteObject):
                object.__setattr__(known, "_seen", True)
                object.__setattr__(known, "_made_by_tests", False)
            return known
        cls = self.decode(kind)
        if not isinstance(cls, RemoteMeta):
            cls = make_type("object", (RemoteObject,), 0, set(), {}, self._ask, self._guarded)
        plain = next((each for each in _IMMUTABLE_BASES if issubclass(cls, each)), object)
        stub = plain.__new__(cls, *([] if plain is object else [self.decode(base)]))  # type: ignore[call-overload]
        for key in _LABELS:
            if key in labels:
                object.__setattr__(stub, key, str(labels[key]))
        return self._keep_stub(number, stub if wrap is None else wrap(stub), stub)

    def _decode_generator(self, *fields: Spelled) -> object:
        return self._decode_stub(*fields, wrap=generator_of)  # type: ignore[arg-type]

    def _decode_coroutine(self, *fields: Spelled) -> object:
        return self._decode_stub(*fields, wrap=coroutine_of)  # type: ignore[arg-type]

    def _decode_error(self, kind: Spelled, number: int, arguments: list[Spelled], cause: Spelled) -> object:
        known = self._stubs.get(number)
        if known is not None:
            return known
        cls = self.decode(kind)
        if not (isinstance(cls, type) and issubclass(cls, BaseException)):
            cls = Exception
        values = self._decode_items(arguments)
        error = cls.__new__(cls, *values)
        with contextlib.suppress(Exception):  # some take other arguments than they keep
            error.__init__(*values)  # type: ignore[misc]
        error.args = tuple(values)
        decoded_cause = None if cause is None else self.decode(cause)
        if isinstance(decoded_cause, BaseException):
            error.__cause__ = decoded_cause
        return self._keep_stub(number, error, error)

    def _keep_stub(self, number: int, value: object, stub: object) -> object:
        self._stubs[number] = value
        self._stub_numbers[id(value)] = self._stub_numbers[id(stub)] = number
        self._stubs[-number] = stub  # kept, so that the id stays taken
        return value

    # Mutable data ------------------------------------------------------------------------------------------------

    def _remember_data(self, number: int, data: Data) -> None:
        self._data[number] = data
        self._data_numbers[id(data)] = number
        self._snapshots[number] = _flatten(data)

    def changes(self) -> list[Spelled]:
        """What happened here to the data that crossed, since the last message."""
        changed = []
        for number, before in list(self._snapshots.items()):
            now = _flatten(self._data[number])
            if len(now) != len(before) or not all(map(operator.is_, now, before)):
                self._snapshots[number] = now
                changed.append([number, self._encode_items(now)])
        return changed

    def apply_changes(self, spelled: object) -> None:
        """What happened there."""
        for number, items in spelled:  # type: ignore[attr-defined]
            data = self._data[number]
            _refill(data, self._decode_items(items))
            if number in self._snapshots:
                self._snapshots[number] = _flatten(data)

    def forget_oldest(self) -> None:
        """Stop following the oldest data once there is much of it."""
        total = sum(map(len, self._snapshots.values()))
        while self._snapshots and (len(self._snapshots) > _TRACKED_CONTAINERS or total > _TRACKED_ITEMS):
            total -= len(self._snapshots.pop(next(iter(self._snapshots))))


_LABELS = ("__name__", "__qualname__", "__module__", "__doc__")
_SEQUENCE_KINDS: dict[str, Callable[[], Data]] = {
    "list": list,
    "set": set,
    "bytearray": bytearray,
    "deque": collections.deque,
}


def _labels(value: object) -> dict[str, str]:
    if not isinstance(value, (type, *_FUNCTION_TYPES, types.BuiltinFunctionType)):
        return {}
    labels = {key: getattr(value, key, None) for key in _LABELS}
    return {key: text for key, text in labels.items() if isinstance(text, str)}


def _flatten(data: Data) -> list[object]:
    if isinstance(data, dict):
        return [each for pair in data.items() for each in pair]
    return list(data)


def _refill(data: Data, items: list[object]) -> None:
    if isinstance(data, dict):
        pairs = list(zip(items[::2], items[1::2], strict=True))
        data.clear()
        for key, value in pairs:
            data[key] = value
    elif isinstance(data, set):
        data.clear()
        data.update(items)
    elif isinstance(data, collections.deque):
        data.clear()
        data.extend(items)
    else:
        data[:] = items  # type: ignore[index]


def _plain_value(value: object, plain: type) -> object:
    if plain in (tuple, frozenset):
        return plain(plain.__iter__(value))  # type: ignore[attr-defined]
    if plain is str:
        return str.__str__(value)
    if plain is bytes:
        return bytes.__getitem__(value, slice(None))  # type: ignore[arg-type]
    return {int: int.__int__, float: float.__float__, complex: complex.__complex__}[plain](value)  # type: ignore[index]


def _fields(moment: datetime.datetime) -> tuple[int, ...]:
    return (*moment.timetuple()[:6], moment.microsecond)


def _is_pure(value: object) -> bool:
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    return isinstance(module, str) and isinstance(name, str) and _resolve(module, name) is value


def _resolve(module: str, name: str) -> object:
    """The pure function or type, or exception, of that name; None for anything else."""
    if module == "builtins":
        found: object = getattr(builtins, name, None)
        is_error = isinstance(found, type) and issubclass(found, BaseException)
        return found if name in _PURE_BUILTINS or is_error else None
    if module == "_operator":
        module = "operator"
    if module in _PURE_MODULES:
        found = getattr(importlib.import_module(module), name, None)
        return found if isinstance(found, type | types.BuiltinFunctionType) and not name.startswith("_") else None
    if module in _ERROR_MODULES:
        found = getattr(importlib.import_module(module), name, None)
        return found if isinstance(found, type) and issubclass(found, BaseException) else None
    return None


def _has_special(cls: type, name: str) -> bool:
    return any(vars(each).get(name) is not None for each in cls.__mro__ if each is not object)


def _may_derive_from(base: type) -> bool:
    return isinstance(base, RemoteMeta) or base in _IMMUTABLE_BASES or issubclass(base, BaseException)


def _decode_global(_: Codec, module: str, name: str) -> object:
    found = _resolve(module, name)
    if found is None:
        raise ValueError("not a pure name")
    return found


def _decode_module(_: Codec, name: str) -> object:
    if name not in _LIBRARY:
        raise ValueError("not a library module")
    return importlib.import_module(name)


_ENCODERS: dict[type, Callable[..., Spelled]] = {
    **dict.fromkeys((*_SEQUENCE_KINDS.values(), *_DICT_KINDS.values()), Codec._encode_data),  # type: ignore[dict-item,list-item]
    tuple: lambda codec, value: ["t", *codec._encode_items(value)],
    frozenset: lambda codec, value: ["f", *codec._encode_items(value)],
    bytes: lambda _, value: ["b", value.decode("latin-1")],
    complex: lambda _, value: ["c", value.real, value.imag],
    range: lambda codec, value: ["r", *codec._encode_items((value.start, value.stop, value.step))],
    slice: lambda codec, value: ["s", *codec._encode_items((value.start, value.stop, value.step))],
    type(...): lambda _, value: ["."],
    type(NotImplemented): lambda _, value: ["!"],
    decimal.Decimal: lambda _, value: ["x", "Decimal", str(value)],
    fractions.Fraction: lambda _, value: ["x", "Fraction", hex(value.numerator), hex(value.denominator)],
    datetime.date: lambda _, value: ["x", "date", value.year, value.month, value.day],
    datetime.datetime: lambda codec, value: codec._encode_stub(value) if value.tzinfo else ["x", "datetime", *_fields(value)],
    datetime.timedelta: lambda _, value: ["x", "timedelta", value.days, value.seconds, value.microseconds],
    types.NoneType: lambda _, value: None,
}
_DECODERS: dict[str, Callable[..., object]] = {
    "i": lambda _, text: int(text, 16),
    "t": lambda codec, *items: tuple(codec._decode_items(items)),
    "f": lambda codec, *items: frozenset(codec._decode_items(items)),
    "b": lambda _, text: text.encode("latin-1"),
    "c": lambda _, real, imaginary: complex(real, imaginary),
    "r": lambda codec, *fields: range(*codec._decode_items(fields)),
    "s": lambda codec, *fields: slice(*codec._decode_items(fields)),
    ".": lambda _: ...,
    "!": lambda _: NotImplemented,
    "x": lambda _, name, *fields: _BUILT_BY_NAME[name](*fields),
    "@": lambda codec, number: codec._data[number],
    "m": Codec._decode_data,
    "g": _decode_global,
    "M": _decode_module,
    "h": Codec._decode_own,
    "k": Codec._decode_class,
    "K": Codec._decode_known_class,
    "o": Codec._decode_stub,
    "G": Codec._decode_generator,
    "C": Codec._decode_coroutine,
    "e": Codec._decode_error,
}
