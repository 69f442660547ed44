"""JSON that a schema allows, read strictly and without a network.

Python's own reader takes duplicate keys, NaN, Infinity and numbers beyond every machine; this one does not. Schemas
follow their `$schema`, or draft 2020-12 (https://json-schema.org/draft/2020-12), with three differences: `$ref` never
leaves the schema, `format` is a comment, and patterns are searched with a time limit, by the `regex` package.
"""

import functools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn

from grpo_lightning.types import Record
from rewards.regex_match import matches
from rewards.tags import only

if TYPE_CHECKING:
    from jsonschema.protocols import Validator  # type: ignore[import-untyped]

MAX_CHARACTERS = 100_000
"""Longer documents are refused: checking one takes up to 30 µs for each of its values."""
MAX_DIGITS = 300
"""Integers stay within what a float can hold, because `multipleOf` divides."""


def document(completion: str, tag: str | None = None) -> str | None:
    """The text that has to be JSON: what follows the last `</think>`, there what the tag holds, without a fence."""
    text: str | None = completion.rpartition("</think>")[2]
    if tag is not None:
        text = only(text or "", tag)
    if text is None:
        return None
    text = text.strip()
    head, newline, rest = text.partition("\n")
    if newline and head.strip().lower() in ("```", "```json") and rest.endswith("```"):
        return rest.removesuffix("```")
    return text


def read_json(text: str) -> object:
    """The value. Raises ValueError or RecursionError for what is not strict JSON, is too long or nested too deeply."""
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"{len(text)} characters")
    return json.loads(
        text, object_pairs_hook=_object, parse_constant=_constant, parse_int=_integer, parse_float=_finite
    )


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len(found := dict(pairs)) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"{len(digits)} digits")
    return int(digits)


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text:.20} is no finite number")
    return value


class JsonSchema:
    """1 where the completion is one JSON document that a schema allows, with nothing but white space around it.

    What stands before a last `</think>` does not count, and the document may be a fenced block. A row without a schema
    has no score; a schema in a row that is none raises.

    Args:
        schema: The schema, for every row.
        column: Column of the row that holds its schema, as a mapping or as JSON text; instead of `schema`.
        tag: The tag that holds the document; null: the whole completion is the document.

    """

    def __init__(
        self, schema: dict[str, object] | None = None, column: str | None = None, tag: str | None = None
    ) -> None:
        if (schema is None) == (column is None):
            raise ValueError("JsonSchema.schema: give either a schema or a column, and not both")
        if tag == "":
            raise ValueError("JsonSchema.tag: '' is refused; name a tag, or null for the whole completion")
        self.column, self.tag = column, tag
        self.schema = None if schema is None else _text(schema)
        if self.schema is not None:
            _validator(self.schema)

    def __call__(self, records: Sequence[Record]) -> list[float | None]:
        return [self.score(record) for record in records]

    def score(self, record: Record) -> float | None:
        """1, 0, or None without a schema."""
        schema = self.schema
        if schema is None and self.column is not None and (value := record.row.get(self.column)) is not None:
            schema = value if isinstance(value, str) else _text(value)
        if schema is None:
            return None
        validator = _validator(schema)
        text = document(record.completion, self.tag)
        if text is None:
            return 0.0
        try:
            value = read_json(text)
        except (ValueError, RecursionError):
            return 0.0
        try:
            return float(next(validator.iter_errors(value), None) is None)
        except RecursionError:  # only what is nested deeply gets here: see _validator
            return 0.0


def _text(schema: object) -> str:
    try:
        return json.dumps(schema, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"JsonSchema.schema: {schema!r:.200} is no JSON: {error}") from None


@functools.lru_cache(maxsize=256)
def _validator(text: str) -> "Validator":
    """A validator of the schema, which is refused unless it is valid, its references are in it, and checks end."""
    from jsonschema import Draft202012Validator, SchemaError, validators  # type: ignore[import-untyped]
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    try:
        schema = json.loads(text)
    except ValueError as error:
        raise ValueError(f"JsonSchema.schema: {text:.200} is no JSON: {error}") from None
    if not isinstance(schema, Mapping):
        raise ValueError(f"JsonSchema.schema: {text:.200} is no schema; give a mapping")
    draft = validators.validator_for(schema, default=Draft202012Validator)
    try:
        draft.check_schema(schema)
    except SchemaError as error:
        raise ValueError(f"JsonSchema.schema: {error.json_path}: {error.message:.200}") from None
    ours = validators.extend(draft, {"pattern": _pattern, "uniqueItems": _unique_items})
    # With its "$schema", jsonschema would go back to the draft's own validator wherever `$ref` names the root.
    schema = {key: value for key, value in schema.items() if key != "$schema"}
    _check_references(schema, draft)
    validator = ours(schema, registry=Registry())
    try:
        for text_of_probe in ("null", "true", "0", '""', "[]", "{}"):
            validator.is_valid(json.loads(text_of_probe))
    except RecursionError:
        raise ValueError(f"JsonSchema.schema: {text:.200} refers to itself without end") from None
    except Unresolvable as error:
        raise ValueError(f"JsonSchema.schema: $ref {error.ref!r} is not in the schema") from None
    return validator


def _check_references(schema: Mapping[str, object], draft: "type[Validator]") -> None:
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import specification_with

    dialect = draft.META_SCHEMA.get("$id") or draft.META_SCHEMA.get("id")
    root = specification_with(str(dialect)).create_resource(schema)
    waiting = [(root, REGISTRY.resolver_with_root(root))]
    while waiting:
        resource, resolver = waiting.pop()
        if isinstance(resource.contents, Mapping):
            for key in {"$ref", "$dynamicRef"} & resource.contents.keys():
                try:
                    resolver.lookup(str(resource.contents[key]))
                except Unresolvable:
                    raise ValueError(
                        f"JsonSchema.schema: {key} {resource.contents[key]!r} is not in the schema; nothing is fetched"
                    ) from None
        waiting += [(each, resolver.in_subresource(each)) for each in resource.subresources()]


def _pattern(validator: "Validator", pattern: str, value: object, schema: object) -> Iterator[Exception]:
    from jsonschema import ValidationError

    if isinstance(value, str) and not matches("JsonSchema.schema", pattern, value):
        yield ValidationError(f"does not match {pattern!r}")


def _unique_items(validator: "Validator", wanted: bool, value: object, schema: object) -> Iterator[Exception]:
    """In linear time; jsonschema's own compares each with each."""
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
