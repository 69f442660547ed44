"""JSON that a schema allows, read strictly and without a network.

Python's own reader takes duplicate keys, NaN, Infinity and numbers beyond every machine; this one does not. Schemas
follow the `$schema` at their root, or draft 2020-12 (https://json-schema.org/draft/2020-12), with four differences:
`$ref` never leaves the schema, `format` is a comment, every pattern is searched with a time limit, by the `regex`
package, and a document that takes too many steps is not allowed (`json_keywords`).
"""

import functools
import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn

from grpo_lightning.types import Record
from rewards.json_keywords import TooManyStepsError, bounded, start_counting
from rewards.tags import only

if TYPE_CHECKING:
    from jsonschema import FormatChecker  # type: ignore[import-untyped]
    from jsonschema.protocols import Validator  # type: ignore[import-untyped]

MAX_CHARACTERS = 50_000
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
        start_counting()
        try:
            return float(next(validator.iter_errors(value), None) is None)
        except (RecursionError, TooManyStepsError):  # only what is nested deeply gets to the first: see _validator
            return 0.0


def _text(schema: object) -> str:
    try:
        return json.dumps(schema, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"JsonSchema.schema: {schema!r:.200} is no JSON: {error}") from None


@functools.lru_cache(maxsize=256)
def _validator(text: str) -> "Validator":
    """A validator of the schema, which is refused unless it is valid, its references are in it, and checks end."""
    import attrs
    from jsonschema import Draft202012Validator, SchemaError, validators
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
        draft.check_schema(schema, format_checker=_pattern_checker())
    except SchemaError as error:
        raise ValueError(f"JsonSchema.schema: {error.json_path}: {error.message:.200}") from None
    ours = validators.extend(draft, bounded(draft.VALIDATORS))
    ours.evolve = attrs.evolve  # jsonschema's own goes back to the draft's keywords wherever there is a "$schema"
    _check_parts(schema, draft)
    validator = ours(schema, registry=Registry())
    start_counting()
    try:
        for text_of_probe in ("null", "true", "0", '""', "[]", "{}"):
            validator.is_valid(json.loads(text_of_probe))
    except RecursionError:
        raise ValueError(f"JsonSchema.schema: {text:.200} refers to itself without end") from None
    except Unresolvable as error:
        raise ValueError(f"JsonSchema.schema: $ref {error.ref!r} is not in the schema") from None
    return validator


def _pattern_checker() -> "FormatChecker":
    """Takes for a `regex` what the `regex` package does, and knows no other format."""
    import regex  # type: ignore[import-untyped]
    from jsonschema import FormatChecker

    checker = FormatChecker(formats=())
    checker.checks("regex", raises=regex.error)(lambda text: not isinstance(text, str) or regex.compile(text))
    return checker


def _check_parts(schema: Mapping[str, object], draft: "type[Validator]") -> None:
    """Refuse references that lead out of the schema, and patterns that are none, which old drafts do not check."""
    import regex
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
            for pattern in resource.contents.get("patternProperties", {}):
                try:
                    regex.compile(pattern)
                except regex.error:
                    raise ValueError(f"JsonSchema.schema: patternProperties: {pattern!r} is not a 'regex'") from None
        waiting += [(each, resolver.in_subresource(each)) for each in resource.subresources()]
