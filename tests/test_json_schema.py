"""JSON by schema: one case a line, (completion, reward), and schemas that are refused."""

import json
import time

import pytest

from grpo_lightning.types import Record
from rewards.json_schema import MAX_CHARACTERS, JsonSchema

SCHEMA = {
    "type": "object",
    "properties": {
        "n": {"type": "integer", "minimum": 0},
        "word": {"type": "string", "pattern": "^[a-z]+$"},
        "set": {"type": "array", "uniqueItems": True},
        "step": {"multipleOf": 0.5},
        "any": True,
    },
    "required": ["n"],
    "additionalProperties": False,
}
CATASTROPHE = {"pattern": "^(?:a|aa)+$"}


def record(completion: str, **row: object) -> Record:
    return Record(prompt="", completion=completion, token_ids=(), answer=None, row=row, stop_reason="eos")


@pytest.mark.parametrize(
    ("completion", "reward"),
    [
        ('{"n": 1}', 1.0),
        (' \n{"n": 1, "word": "abc"}\n', 1.0),
        ('```json\n{"n": 1}\n```', 1.0),
        ('```\n{"n": 1}\n```', 1.0),
        ('<think>{"n": "no"}</think>{"n": 1}', 1.0),
        ('{"n": 1.0}', 1.0),
        ('{"n": -1}', 0.0),
        ('{"n": true}', 0.0),
        ('{"n": "1"}', 0.0),
        ('{"word": "abc"}', 0.0),
        ('{"n": 1, "word": "ABC"}', 0.0),
        ('{"n": 1, "more": 2}', 0.0),
        ('{"n": 1} {"n": 1}', 0.0),
        ('Here it is: {"n": 1}', 0.0),
        ('{"n": 1} as wanted', 0.0),
        ('```json\n{"n": 1}\n``` as wanted', 0.0),
        ('```json\n{"n": 1}', 0.0),
        ('```python\n{"n": 1}\n```', 0.0),
        ('```json\n{"n": 1}\n```\n```json\n{"n": 1}\n```', 0.0),
        ('{"n": 0, "n": 1}', 0.0),
        ('{"n": 1, "any": {"a": 1, "a": 1}}', 0.0),
        ('{"n": 1, "any": NaN}', 0.0),
        ('{"n": 1, "any": -Infinity}', 0.0),
        ('{"n": 1, "any": 1e999}', 0.0),
        ('{"n": ' + "9" * 300 + "}", 1.0),
        ('{"n": ' + "9" * 301 + "}", 0.0),
        ('{"n": ' + "9" * 90_000 + "}", 0.0),
        ('{"n": 1, "step": ' + "9" * 300 + "}", 1.0),
        ('{"n": 1, "set": [1, 1.0]}', 0.0),
        ('{"n": 1, "set": [{"a": 1, "b": 2}, {"b": 2, "a": 1}]}', 0.0),
        ('{"n": 1, "set": [1, true, "1", [1], null]}', 1.0),
        ('{"n": 1, "any": ' + "[" * 45_000 + "]" * 45_000 + "}", 0.0),
        ("[" * 90_000, 0.0),
        ('{"n": ' * 15_000, 0.0),
        ('{"n": 1,}', 0.0),
        ('{"n": 01}', 0.0),
        ("{'n': 1}", 0.0),
        ('{"n": 1} // one', 0.0),
        ('\ufeff{"n": 1}', 0.0),
        ('{"n": 1' + " " * MAX_CHARACTERS + "}", 0.0),
        ("null", 0.0),
        ("", 0.0),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_json_schema(completion: str, reward: float) -> None:
    start = time.process_time()
    assert JsonSchema(SCHEMA)([record(completion)]) == [reward]
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize(
    ("completion", "reward"),
    [
        ('so <json>{"n": 1}</json>', 1.0),
        ('<json>```json\n{"n": 1}\n```</json>', 1.0),
        ('<think><json>no</json></think><json>{"n": 1}</json>', 1.0),
        ('<json>{"n": 1}</json><json>{"n": 1}</json>', 0.0),
        ('{"n": 1}', 0.0),
    ],
)
def test_a_document_in_a_tag(completion: str, reward: float) -> None:
    assert JsonSchema(SCHEMA, tag="json")([record(completion)]) == [reward]


def test_rows_have_their_own_schemas() -> None:
    reward = JsonSchema(column="schema")
    integer, text = '{"type": "integer"}', {"type": "string"}
    assert reward([record("1", schema=integer), record("1", schema=text), record("1")]) == [1.0, 0.0, None]
    with pytest.raises(ValueError, match=r"JsonSchema.schema: type: integer is no JSON"):
        reward([record("1", schema="type: integer")])


@pytest.mark.parametrize(
    "schema", [CATASTROPHE, {"$schema": "https://json-schema.org/draft/2020-12/schema", **CATASTROPHE}]
)
def test_a_pattern_that_backtracks_without_end_is_stopped(schema: dict[str, object]) -> None:
    """Also behind a reference to the root, where jsonschema would take the draft's own validator."""
    evil = "a" * 60 + "b"
    for wanted in (schema, schema | {"properties": {"next": {"$ref": "#"}}}):
        document = evil if wanted is schema else {"next": evil}
        start = time.monotonic()
        with pytest.raises(TimeoutError, match=r"JsonSchema.schema: .* took over 0.5 s"):
            JsonSchema(wanted)([record(json.dumps(document))])
        assert time.monotonic() - start < 1.5


@pytest.mark.parametrize(
    "items", [["{}"] * 2, [f'{{"a":{i}}}' for i in range(9000)], ["true"] + [str(i) for i in range(15_000)]]
)
def test_unique_items_take_linear_time(items: list[str]) -> None:
    """jsonschema's own compares each with each in the last two."""
    start = time.process_time()
    unique = len(set(items)) == len(items)
    assert JsonSchema({"uniqueItems": True})([record(f"[{','.join(items)}]")]) == [float(unique)]
    assert time.process_time() - start < 1.0


def test_recursive_schemas_read_recursive_documents() -> None:
    schema = {"type": "object", "properties": {"next": {"$ref": "#"}}, "additionalProperties": False}
    deep = [(20, 1.0), (10_000, 0.0)]
    for depth, reward in deep:
        assert JsonSchema(schema)([record('{"next":' * depth + "{}" + "}" * depth)]) == [reward]
    assert JsonSchema(schema)([record('{"next": {"nest": {}}}')]) == [0.0]


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "integr"}, r"\$.type: 'integr' is not valid"),
        ({"properties": {"a": {"minimum": "0"}}}, r"\$.properties.a.minimum: '0' is not of type"),
        ({"pattern": "("}, r"\$.pattern: '\(' is not a 'regex'"),
        ({"$ref": "#"}, "refers to itself without end"),
        ({"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"$ref": "#/$defs/a"}}}, "refers to itself without end"),
        ({"$ref": "http://127.0.0.1:9/schema.json"}, "is not in the schema; nothing is fetched"),
        ({"properties": {"a": {"$ref": "file:///etc/hostname"}}}, "is not in the schema; nothing is fetched"),
        ({"items": {"$ref": "#/$defs/nowhere"}}, "is not in the schema; nothing is fetched"),
        ({"const": float("nan")}, "is no JSON"),
    ],
)
def test_schemas_are_checked_at_once(schema: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=rf"^JsonSchema.schema: .*{message}") as caught:
        JsonSchema(schema)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "https://json-schema.org/draft/2020-12/schema"},
        {"properties": {"$ref": {"type": "string"}}},
        {"$id": "http://example.com/a", "$defs": {"b": {"$id": "b", "type": "array"}}, "$ref": "b"},
        {"$schema": "http://json-schema.org/draft-07/schema#", "$ref": "#/definitions/a", "definitions": {"a": {}}},
    ],
)
def test_references_within_the_schema_are_allowed(schema: dict[str, object]) -> None:
    assert JsonSchema(schema)([record("[")]) == [0.0]
