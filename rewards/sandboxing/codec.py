"""How values are spelled on the channel, as JSON.

A scalar is itself; everything else is a list that begins with a letter. Exact types of plain data travel by value; pure
functions and types of the standard library by name; all other objects stay and travel as a number, with a description
of their class the first time. Decoding builds only what these letters allow, whatever arrives.
"""

import collections
import contextlib
import datetime
import decimal
import fractions
import functools
import importlib
import sys
import types
from collections.abc import Callable, Iterable

from rewards.sandboxing.library import is_error, is_library, is_pure, resolve
from rewards.sandboxing.shared import MUTABLE_TYPES, Data, SharedData, flatten
from rewards.sandboxing.stubs import (
    HOLD_BASE_DATA,
    SPECIAL_METHODS,
    Ask,
    RemoteMeta,
    RemoteObject,
    coroutine_of,
    generator_of,
    make_type,
)

Spelled = object
_IMMUTABLE_BASES = (int, float, str, bytes, tuple, frozenset, complex)
_BUILT_BY_NAME: dict[str, Callable[..., object]] = {
    "Decimal": lambda text: decimal.Decimal(str(text)),
    "Fraction": lambda top, bottom: fractions.Fraction(int(str(top), 16), int(str(bottom), 16)),
    "date": lambda *fields: datetime.date(*fields),
    "time": lambda *fields: datetime.time(*fields),
    "datetime": lambda *fields: datetime.datetime(*fields),
    "timedelta": lambda *fields: datetime.timedelta(*fields),
    "timezone": lambda offset, name: datetime.timezone(datetime.timedelta(*offset), name),
}
_CHANGEABLE_TYPE, _KINDS_OF_TYPE = 1 << 9, 1 << 8 | 1 << 9
"""Py_TPFLAGS_HEAPTYPE without Py_TPFLAGS_IMMUTABLETYPE."""
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
        self.shared = SharedData(even=guarded)
        self.lent = False
        """The other end named what is this process's own and can be changed: a module, or a class written in Python."""

    def changes(self) -> list[Spelled]:
        """What happened here to the data that crossed, since the last message."""
        return [[number, self._encode_items(items)] for number, items in self.shared.changes()]

    def apply_changes(self, spelled: list[list[Spelled]]) -> None:
        """What happened there."""
        for number, items in spelled:
            assert isinstance(number, int)
            assert isinstance(items, list)
            self.shared.refill(number, self._decode_items(items))

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
        known = self.shared.number_of(value)
        if known is not None:
            return ["@", known]
        number = self.shared.add(value)
        default = self.encode(getattr(value, "default_factory", None) or getattr(value, "maxlen", None))
        return ["m", number, type(value).__name__, self._encode_items(flatten(value)), default]

    def _encode_object(self, value: object) -> Spelled:
        if issubclass(type(value), type):
            return self._encode_class(value)  # type: ignore[arg-type]
        if id(value) in self._stub_numbers:
            return ["h", self._stub_numbers[id(value)]]
        if isinstance(value, BaseException):
            return self.encode_error(value)
        if isinstance(value, types.ModuleType) and sys.modules.get(value.__name__) is value:
            if is_library(value.__name__):
                return ["M", value.__name__]
        elif isinstance(value, types.BuiltinFunctionType) and is_pure(value):
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
            if issubclass(type(value), plain):  # not isinstance, which believes `__class__`
                base = self.encode(_plain_value(value, plain))
        return [form, self._export_class(type(value)), self._number_of(value), base, _labels(value)]

    def _encode_moment(self, value: datetime.datetime | datetime.time, name: str, fields: tuple[int, ...]) -> Spelled:
        zone = value.tzinfo
        if zone is None:
            return ["x", name, *fields]
        if type(zone) is datetime.timezone:
            return ["z", name, *fields, *_zone(zone)]
        return self._encode_stub(value)

    def _encode_class(self, cls: type) -> Spelled:
        if is_pure(cls) or is_error(cls):
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
        if issubclass(cls, HOLD_BASE_DATA):
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
        longest = default if isinstance(default, int) else None
        data = self.shared.accept(number, kind, longest)  # before the items: they may contain it
        if isinstance(data, collections.defaultdict):
            data.default_factory = self.decode(default)  # type: ignore[assignment]
        self.shared.refill(number, self._decode_items(items))
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
        self,
        kind: Spelled,
        number: int,
        base: Spelled,
        labels: dict[str, str],
        wrap: Callable[..., object] | None = None,
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
        contents = [] if plain is object else [self.decode(base)]
        stub: object = plain.__new__(cls, *contents)
        for key in _LABELS:
            if key in labels:
                object.__setattr__(stub, key, str(labels[key]))
        return self._keep_stub(number, stub if wrap is None else wrap(stub), stub)

    def _decode_generator(self, kind: Spelled, number: int, base: Spelled, labels: dict[str, str]) -> object:
        return self._decode_stub(kind, number, base, labels, generator_of)

    def _decode_coroutine(self, kind: Spelled, number: int, base: Spelled, labels: dict[str, str]) -> object:
        return self._decode_stub(kind, number, base, labels, coroutine_of)

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
        object.__setattr__(error, "args", tuple(values))
        decoded_cause = None if cause is None else self.decode(cause)
        if isinstance(decoded_cause, BaseException):
            object.__setattr__(error, "__cause__", decoded_cause)
        return self._keep_stub(number, error, error)

    def _keep_stub(self, number: int, value: object, stub: object) -> object:
        self._stubs[number] = value
        self._stub_numbers[id(value)] = self._stub_numbers[id(stub)] = number
        self._stubs[-number] = stub  # kept, so that the id stays taken
        return value


_LABELS = ("__name__", "__qualname__", "__module__", "__doc__")


def _labels(value: object) -> dict[str, str]:
    if not isinstance(value, (type, *_FUNCTION_TYPES, types.BuiltinFunctionType)):
        return {}
    labels = {key: getattr(value, key, None) for key in _LABELS}
    return {key: text for key, text in labels.items() if isinstance(text, str)}


def _plain_value(value: object, plain: type) -> object:
    """The `plain` inside an instance of a subclass, whatever that overrides."""
    return _PLAIN_VALUES[plain](value)


def plain_data(value: object) -> object:
    """The plain data inside an instance of a subclass of it, whatever that overrides; any other value as it is."""
    if isinstance(value, RemoteObject) and not value._holds_data:
        return type(value)._ask("base data", value) if value._has_base_data else value
    if isinstance(type(value), RemoteMeta):
        for plain in _IMMUTABLE_BASES:
            if issubclass(type(value), plain):
                return _plain_value(value, plain)
    return value


def _fields(moment: datetime.datetime) -> tuple[int, ...]:
    return (*moment.timetuple()[:6], moment.microsecond)


def _zone(zone: datetime.timezone) -> tuple[list[int], str]:
    """Offset and name."""
    offset = zone.utcoffset(None)
    return [offset.days, offset.seconds, offset.microseconds], zone.tzname(None)


def _decode_zoned(_: Codec, name: str, *fields: object) -> object:
    *clock, offset, zone_name = fields
    return _BUILT_BY_NAME[name](*clock, _BUILT_BY_NAME["timezone"](offset, zone_name))


def _has_special(cls: type, name: str) -> bool:
    return any(vars(each).get(name) is not None for each in cls.__mro__ if each is not object)


def _may_derive_from(base: type) -> bool:
    return isinstance(base, RemoteMeta) or base in _IMMUTABLE_BASES or issubclass(base, BaseException)


def _decode_global(codec: Codec, module: str, name: str) -> object:
    found = resolve(module, name)
    if found is None:
        raise ValueError("not a pure name")
    codec.lent = codec.lent or (isinstance(found, type) and found.__flags__ & _KINDS_OF_TYPE == _CHANGEABLE_TYPE)
    return found


def _decode_module(codec: Codec, name: str) -> object:
    if not is_library(name):
        raise ValueError("not a library module")
    codec.lent = True
    return importlib.import_module(name)


_PLAIN_VALUES: dict[type, Callable[..., object]] = {
    int: int.__int__,
    float: float.__float__,
    complex: complex.__complex__,
    str: str.__str__,
    bytes: lambda value: bytes.__getitem__(value, slice(None)),
    tuple: lambda value: tuple(tuple.__iter__(value)),
    frozenset: lambda value: frozenset(frozenset.__iter__(value)),
}
_ENCODERS: dict[type, Callable[..., Spelled]] = {
    **dict.fromkeys(MUTABLE_TYPES, Codec._encode_data),
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
    datetime.datetime: lambda codec, value: codec._encode_moment(value, "datetime", _fields(value)),
    datetime.time: lambda codec, value: codec._encode_moment(
        value, "time", (value.hour, value.minute, value.second, value.microsecond)
    ),
    datetime.timezone: lambda _, value: ["x", "timezone", *_zone(value)],
    datetime.timedelta: lambda _, value: ["x", "timedelta", value.days, value.seconds, value.microseconds],
    types.NoneType: lambda _, value: None,
    types.TracebackType: lambda _, value: None,  # of use to nobody but those who look for frames
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
    "z": _decode_zoned,
    "@": lambda codec, number: codec.shared.at(number),
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
