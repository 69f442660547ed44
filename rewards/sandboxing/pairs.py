"""Calls functions of the code under test with given arguments and compares what they return, on the tests' side.

What arrives is compared by the plain data in it; no operator of an object of the code is ever asked.
"""

import json
import math
from collections.abc import Callable

from rewards.sandboxing.channel import Peer
from rewards.sandboxing.codec import plain_data

_RELATIVE, _ABSOLUTE = 1e-6, 1e-9
"""How far a number may be from an expected float, as on the sites that such tests come from."""
_CLASS = "Solution"

Unit = Callable[[], None]


def units(source: str, peer: Peer) -> list[tuple[str, Unit]]:
    """A label and a test for each pair of the JSON text; a test raises AssertionError if the pair does not hold."""
    rows = json.loads(source)
    return [(f"pair {number}", _unit(row, peer)) for number, row in enumerate(rows, start=1)]


def _unit(row: dict[str, object], peer: Peer) -> Unit:
    arguments, output = row["arguments"], row["output"]
    positional, named = (arguments, {}) if isinstance(arguments, list) else ([], arguments)

    def run() -> None:
        returned = _function(peer, str(row["function"]))(*positional, **named)  # type: ignore[arg-type]
        if not same(returned, output) and not (row["either"] and same(returned, output[0])):  # type: ignore[index]
            raise AssertionError("another value was returned")

    return run


def _function(peer: Peer, name: str) -> Callable[..., object]:
    """The method of a new `Solution` where there is one, else the function of this name."""
    try:
        method = getattr(peer.ask("global", _CLASS)(), name)  # type: ignore[operator]
    except (KeyError, AttributeError):
        method = peer.ask("global", name)
    if not callable(method):
        raise TypeError(f"{name} is no function")
    return method


def same(value: object, expected: object) -> bool:
    """Equality as JSON: a tuple is a list, keys are text, a number may miss an expected float by a rounding error."""
    value = plain_data(value)
    if isinstance(expected, list):
        if not isinstance(value, list | tuple) or len(value) != len(expected):
            return False
        return all(same(mine, wanted) for mine, wanted in zip(value, expected, strict=True))
    if isinstance(expected, dict):
        if not isinstance(value, dict) or len(value) != len(expected):
            return False
        by_text = {_key(key): each for key, each in value.items()}
        return by_text.keys() == expected.keys() and all(same(by_text[key], expected[key]) for key in expected)
    if isinstance(expected, float):
        return type(value) in (int, float) and _is_close(value, expected)  # type: ignore[arg-type]
    return type(value) in (str, int, float, bool, type(None)) and value == expected


def _is_close(value: float, expected: float) -> bool:
    try:
        close = math.isclose(value, expected, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE)
    except OverflowError:  # an integer beyond all floats
        return False
    return close or (math.isnan(value) and math.isnan(expected))


def _key(key: object) -> object:
    """A dictionary's key as JSON spells it."""
    key = plain_data(key)
    if key is None or isinstance(key, bool | int | float):
        return json.dumps(key)
    return key
