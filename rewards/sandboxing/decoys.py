"""Values beside an expected one, which an honest `__eq__` tells apart and one that says yes to everything does not."""

import os
from collections.abc import Callable

_NUMBERS = 31
"""How many numbers beside an expected one: who only guesses which of them was meant is right once in 32 times."""


def decoys_of(value: object) -> list[object]:
    """Other values of the same type and shape, in any order; none for those that have no neighbours."""
    return sorted((each for each in _neighbours(value) if each != value), key=lambda _: os.urandom(4))


def _neighbours(value: object) -> list[object]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):  # from a window that lies anywhere around the value: its middle tells nothing
        first = -(os.urandom(1)[0] % (_NUMBERS + 1))
        width = max(1.0, abs(value) / 1000) if isinstance(value, float) else 1
        return [value + step * width for step in range(first, first + _NUMBERS + 1) if step]
    if isinstance(value, str):
        return [value[:-1] + chr(ord(value[-1]) ^ 1), chr(ord(value[0]) ^ 1) + value[1:]] if value else ["a"]
    if type(value) is list:
        return _with_one_changed(value, list) if value else [[0]]
    if type(value) is tuple:
        return _with_one_changed(list(value), tuple) if value else [(0,)]
    if type(value) is dict:
        keys = list(value)
        return _with_one_changed(list(value.values()), lambda items: dict(zip(keys, items))) if value else [{0: 0}]  # noqa: B905
    if type(value) in (set, frozenset):
        return [value | {object()}, value ^ {next(iter(value), None)}]  # type: ignore[operator,call-overload]
    return []


def _with_one_changed(items: list[object], made_of: Callable[[list[object]], object]) -> list[object]:
    """One of the items replaced by its decoys, and one of them missing."""
    place = os.urandom(1)[0] % len(items)
    replaced = [made_of([*items[:place], each, *items[place + 1 :]]) for each in _neighbours(items[place])]
    return [*replaced, made_of(items[:-1])]
