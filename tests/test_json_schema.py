"""JSON by schema: one case a line, (completion, reward), and schemas that are refused."""

import json
import time

import pytest

from grpo_lightning.types import Record
from rewards.json_schema import MAX_CHARACTERS, JsonSchema
from tests.clock import within

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
    with within(0.5):
        assert JsonSchema(SCHEMA)([record(completion)]) == [reward]


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
        assert time.monotonic() - start < 5.0


SLOW_KEY = json.dumps({"a" * 60 + "b": 1})


@pytest.mark.parametrize(
    "schema",
    [
        {"patternProperties": {CATASTROPHE["pattern"]: {}}},
        {"patternProperties": {CATASTROPHE["pattern"]: {}}, "additionalProperties": False},
        {"allOf": [{"patternProperties": {CATASTROPHE["pattern"]: True}}], "unevaluatedProperties": False},
        {
            "$schema": "https://json-schema.org/draft/2019-09/schema",
            "patternProperties": {CATASTROPHE["pattern"]: {}},
            "unevaluatedProperties": False,
        },
        {"propertyNames": CATASTROPHE},
        {
            "$ref": "http://example.com/a",
            "$defs": {
                "a": {
                    "$id": "http://example.com/a",
                    "$schema": "https://json-schema.org/draft/2020-12/schema",
                    "propertyNames": CATASTROPHE,
                }
            },
        },
    ],
)
def test_no_pattern_for_keys_backtracks_without_end(schema: dict[str, object]) -> None:
    start = time.monotonic()
    with pytest.raises(TimeoutError, match=r"JsonSchema.schema: .* took over 0.5 s"):
        JsonSchema(schema)([record(SLOW_KEY)])
    assert time.monotonic() - start < 5.0


def test_many_slow_patterns_share_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rewards.json_keywords.PATTERN_SECONDS", 0.0)
    with pytest.raises(TimeoutError, match=r"JsonSchema.schema: its patterns took over 0.0 s on one document"):
        JsonSchema({"pattern": "a"})([record('"a"')])


@pytest.mark.parametrize(
    ("document", "reward"),
    [
        ({"a": 1}, 1.0),
        ({"x9": 1}, 1.0),
        ({"x9": "s"}, 0.0),
        ({"b": 1}, 1.0),
        ({"b": "s"}, 0.0),
        ({"c": 1}, 1.0),
        ({"c": 1, "d": 1}, 1.0),
        ({"d": 1, "e": 2}, 1.0),
        ({"d": 2, "e": 2}, 0.0),
        ({"f": 1, "g": 2}, 1.0),
        ({"g": 2}, 0.0),
        ({"r": 1}, 1.0),
        ({"z": 1}, 0.0),
    ],
)
def test_unevaluated_properties(document: object, reward: float) -> None:
    """`b` is spoken of only by a branch that holds, `e` where `d` is 1, `g` where there is an `f`."""
    schema = {
        "properties": {"a": {}, "d": {}, "f": {}},
        "patternProperties": {"^x": {"type": "integer"}},
        "anyOf": [{"properties": {"b": {"type": "integer"}}, "required": ["b"]}, {"properties": {"c": True}}],
        "if": {"properties": {"d": {"const": 1}}, "required": ["d"]},
        "then": {"properties": {"e": {}}},
        "dependentSchemas": {"f": {"properties": {"g": {}}}},
        "$ref": "#/$defs/r",
        "$defs": {"r": {"properties": {"r": {}}}},
        "unevaluatedProperties": False,
    }
    assert JsonSchema(schema)([record(json.dumps(document))]) == [reward]


@pytest.mark.parametrize(
    ("document", "reward"), [({"a1": 1}, 1.0), ({"a1": "s"}, 0.0), ({"n": "s"}, 1.0), ({"b": True}, 0.0)]
)
def test_additional_properties_beside_patterns(document: object, reward: float) -> None:
    schema = {
        "properties": {"n": {}},
        "patternProperties": {"^a": {"type": "integer"}},
        "additionalProperties": {"type": "null"},
    }
    assert JsonSchema(schema)([record(json.dumps(document))]) == [reward]


def test_a_document_that_takes_too_many_steps_is_not_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two branches at each of 24 levels are 2^24 ways to the wrong leaf; at 4 levels a few hundred steps say so."""
    monkeypatch.setattr("rewards.json_keywords.MAX_STEPS", 20_000)
    items = {"type": "array", "items": {"$ref": "#"}}
    reward = JsonSchema({"anyOf": [items | {"minItems": 5}, items | {"maxItems": 1}, {"type": "integer"}]})
    with within(2.0):
        wrong, right = "[" * 24 + '"x"' + "]" * 24, "[" * 4 + "1" + "]" * 4
        assert reward([record(wrong), record(right)]) == [0.0, 1.0]


def test_the_longest_documents_are_within_the_budget() -> None:
    """24,999 values with three keywords each."""
    schema = {"items": {"$ref": "#/$defs/digit"}, "$defs": {"digit": {"type": "integer", "minimum": 0}}}
    text = f"[{','.join('1' * 24_999)}]"
    assert len(text) <= MAX_CHARACTERS
    assert JsonSchema(schema)([record(text)]) == [1.0]


def test_patterns_are_those_of_regex() -> None:
    assert JsonSchema({"pattern": r"^\p{L}+$"})([record('"\u00e9a"'), record('"1"')]) == [1.0, 0.0]


@pytest.mark.parametrize(
    "items", [["{}"] * 2, [f'{{"a":{i}}}' for i in range(4500)], ["true"] + [str(i) for i in range(8_000)]]
)
def test_unique_items_take_linear_time(items: list[str]) -> None:
    """jsonschema's own compares each with each in the last two."""
    with within(1.0):
        unique = len(set(items)) == len(items)
        assert JsonSchema({"uniqueItems": True})([record(f"[{','.join(items)}]")]) == [float(unique)]


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
        ({"patternProperties": {"(": {}}}, r"'\(' is not a 'regex'"),
        (
            {"$schema": "http://json-schema.org/draft-04/schema#", "patternProperties": {"(": {}}},
            r"'\(' is not a 'regex'",
        ),
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
