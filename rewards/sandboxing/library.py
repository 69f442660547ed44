"""The part of the standard library that a name on the channel may stand for: pure functions, types and errors.

A name is looked up in these lists, and never anywhere else.
"""

import builtins
import importlib
import sys
import types

_PURE_BUILTINS = frozenset(
    [
        "abs",
        "all",
        "any",
        "ascii",
        "bin",
        "bool",
        "bytearray",
        "bytes",
        "callable",
        "chr",
        "complex",
        "dict",
        "divmod",
        "enumerate",
        "filter",
        "float",
        "frozenset",
        "hash",
        "hex",
        "int",
        "isinstance",
        "issubclass",
        "iter",
        "len",
        "list",
        "map",
        "max",
        "min",
        "next",
        "object",
        "oct",
        "ord",
        "pow",
        "range",
        "repr",
        "reversed",
        "round",
        "set",
        "slice",
        "sorted",
        "str",
        "sum",
        "tuple",
        "type",
        "zip",
    ]
)
_PURE_MODULES = frozenset({"math", "operator", "_operator", "collections", "datetime", "decimal", "fractions"})
_ERROR_MODULES = frozenset(
    {"dataclasses", "json.decoder", "_queue", "queue", "asyncio.exceptions", "statistics", "enum"}
)
_LIBRARY = frozenset(sys.stdlib_module_names) - {"antigravity", "this", "__main__", "idlelib", "turtle", "turtledemo"}


def is_pure(value: object) -> bool:
    """Whether the other side can find this very object by its name."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    return isinstance(module, str) and isinstance(name, str) and resolve(module, name) is value


def resolve(module: str, name: str) -> object:
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


def is_error(cls: type) -> bool:
    """Whether the other side knows this exception of the standard library."""
    return issubclass(cls, BaseException) and cls.__module__ in _ERROR_MODULES


def is_library(module: str) -> bool:
    """Whether a module of this name comes with Python and does nothing when it is imported."""
    return module in _LIBRARY
