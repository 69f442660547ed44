"""Keywords of JSON Schema whose cost is bounded, for `json_schema`; the rest are those of the `jsonschema` package.

jsonschema searches patterns with `re`, compares unique items each with each, and walks `anyOf` in a recursive schema
for exponential time. Here patterns are searched by `regex` with a time limit, unique items take linear time, and one
document has a budget of steps.
"""

import functools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING

from rewards.regex_match import matches

if TYPE_CHECKING:
    from jsonschema.protocols import Validator  # type: ignore[import-untyped]

Keyword = Callable[..., Iterable[Exception] | None]
Schema = Mapping[str, object]

MAX_STEPS = 100_000
"""Keywords applied to values while one document is checked: about 0.5 s, and four for each value of the longest one."""
PATTERN_SECONDS = 2.0
"""What all searches in one document may take together."""
_KEY = "JsonSchema.schema"


class TooManyStepsError(Exception):
    """A document takes more than MAX_STEPS."""


class _Spent:
    """What checking one document took so far."""

    steps = 0
    seconds = 0.0


_spent: ContextVar[_Spent] = ContextVar("spent")


def start_counting() -> None:
    """Give the next document, in this thread, a budget of its own."""
    _spent.set(_Spent())


def bounded(keywords: Mapping[str, Keyword]) -> dict[str, Keyword]:
    """These keywords, or ours in their place; each counts as a step."""
    chosen = {name: _OURS.get(name, keyword) for name, keyword in keywords.items()}
    return {name: _counted(keyword) for name, keyword in chosen.items()}


def _step() -> None:
    spent = _spent.get()
    spent.steps += 1
    if spent.steps > MAX_STEPS:
        raise TooManyStepsError(f"{_KEY}: a document takes over {MAX_STEPS} steps")


def _counted(keyword: Keyword) -> Keyword:
    @functools.wraps(keyword)
    def count(validator: "Validator", setting: object, value: object, schema: Schema) -> Iterable[Exception] | None:
        _step()
        return keyword(validator, setting, value, schema)

    return count


def _matches(pattern: str, text: str) -> bool:
    spent = _spent.get()
    start = time.monotonic()
    try:
        return matches(_KEY, pattern, text)
    finally:
        spent.seconds += time.monotonic() - start
        if spent.seconds > PATTERN_SECONDS:
            raise TimeoutError(f"{_KEY}: its patterns took over {PATTERN_SECONDS} s on one document")


def _pattern(_validator: "Validator", pattern: str, value: object, _schema: Schema) -> Iterator[Exception]:
    from jsonschema import ValidationError  # type: ignore[import-untyped]

    if isinstance(value, str) and not _matches(pattern, value):
        yield ValidationError(f"does not match {pattern!r}")


def _pattern_properties(
    validator: "Validator", patterns: Schema, value: object, _schema: Schema
) -> Iterator[Exception]:
    if not isinstance(value, dict):
        return
    for pattern, subschema in patterns.items():
        for key, item in value.items():
            if _matches(pattern, key):
                yield from validator.descend(item, subschema, path=key, schema_path=pattern)


def _additional_properties(
    validator: "Validator", wanted: object, value: object, schema: Schema
) -> Iterator[Exception]:
    if not isinstance(value, dict):
        return
    named, patterns = _mapping(schema.get("properties")), _mapping(schema.get("patternProperties"))
    for key, item in value.items():
        if key not in named and not any(_matches(pattern, key) for pattern in patterns):
            yield from validator.descend(item, wanted, path=key)


def _unevaluated_properties(
    validator: "Validator", wanted: object, value: object, schema: Schema
) -> Iterator[Exception]:
    if not isinstance(value, dict):
        return
    evaluated = _evaluated(validator, value, {name: each for name, each in schema.items() if name not in _UNEVALUATED})
    for key, item in value.items():
        if key not in evaluated:
            yield from validator.descend(item, wanted, path=key)


_UNEVALUATED = ("unevaluatedProperties", "unevaluatedItems")


def _evaluated(validator: "Validator", value: dict[str, object], schema: object) -> set[str]:
    """The keys that a schema which allows `value` speaks of, itself or in one of its applied subschemas."""
    _step()
    if not isinstance(schema, Mapping):
        return set()
    if {"additionalProperties", "unevaluatedProperties"} & schema.keys():
        return set(value)
    found = value.keys() & _mapping(schema.get("properties")).keys()
    for pattern in _mapping(schema.get("patternProperties")):
        found |= {key for key in value if key not in found and _matches(pattern, key)}
    for each in _referenced(validator, schema):
        found |= _evaluated(each, value, each.schema)
    for each in _applied(validator, value, schema):
        found |= _evaluated(validator, value, each)
    return found


def _referenced(validator: "Validator", schema: Schema) -> Iterator["Validator"]:
    from referencing.jsonschema import lookup_recursive_ref

    for name in ("$ref", "$dynamicRef"):
        if name in schema:
            resolved = validator._resolver.lookup(schema[name])
            yield validator.evolve(schema=resolved.contents, _resolver=resolved.resolver)
    if "$recursiveRef" in schema:
        resolved = lookup_recursive_ref(validator._resolver)
        yield validator.evolve(schema=resolved.contents, _resolver=resolved.resolver)


def _applied(validator: "Validator", value: dict[str, object], schema: Schema) -> Iterator[object]:
    """The subschemas in place that allow `value`."""
    for name in ("allOf", "oneOf", "anyOf"):
        subschemas = schema.get(name, [])
        assert isinstance(subschemas, list)
        yield from (each for each in subschemas if _allows(validator, value, each))
    for key, subschema in _mapping(schema.get("dependentSchemas")).items():
        if key in value:
            yield subschema
    if "if" in schema:
        holds = _allows(validator, value, schema["if"])
        if holds:
            yield schema["if"]
        yield schema.get("then" if holds else "else", True)


def _allows(validator: "Validator", value: object, schema: object) -> bool:
    return next(iter(validator.descend(value, schema)), None) is None


def _mapping(value: object) -> Schema:
    return value if isinstance(value, Mapping) else {}


def _unique_items(_validator: "Validator", wanted: bool, value: object, _schema: Schema) -> Iterator[Exception]:
    from jsonschema import ValidationError

    if wanted and isinstance(value, list) and len({_canonical(item) for item in value}) < len(value):
        yield ValidationError("has equal items")


def _canonical(value: object) -> str:
    """The same text for values that JSON Schema calls equal: 1 and 1.0, but not 1 and true."""
    return json.dumps(_whole(value), sort_keys=True)


def _whole(value: object) -> object:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    return value


_OURS: dict[str, Keyword] = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "unevaluatedProperties": _unevaluated_properties,
    "uniqueItems": _unique_items,
}
