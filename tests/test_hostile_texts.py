"""Every reward on texts that nobody would write in good faith: an answer in under a second, and no exception."""

import math
from collections.abc import Callable, Sequence

import pytest

from grpo_lightning.types import Record
from rewards.chat_endpoint import Endpoint
from rewards.exact_match import ExactMatch
from rewards.json_schema import JsonSchema
from rewards.language import Script
from rewards.length import Cosine, Overlong, Target, Tokens
from rewards.llm_judge import LLMJudge, NoScoreError
from rewards.regex_match import Regex
from rewards.repetition import Repetition
from rewards.steps import Steps
from rewards.tags import Filled, Format
from tests.clock import within

MEGABYTE = 1_000_000

TEXTS = {
    "empty": "",
    "white space": " \n\t" * (MEGABYTE // 3),
    "NUL": "\x00" * MEGABYTE,
    "controls": "".join(map(chr, range(32))) * 30_000,
    "surrogates": "\ud800" * MEGABYTE,
    "half a pair": "a\udfff b",
    "zero width": "\u200b" * MEGABYTE,
    "marks": "\u0301" * MEGABYTE,
    "letters with marks": "a\u0301" * (MEGABYTE // 2),
    "overrides": "\u202e\u2066" * (MEGABYTE // 2),
    "fillers": "\u3164\u2800" * (MEGABYTE // 2),
    "families": "👨\u200d👩\u200d👧" * (MEGABYTE // 5),
    "Han": "漢" * MEGABYTE,
    "one word": "a" * MEGABYTE,
    "many words": " ".join(map(str, range(150_000))),
    "blocks": "<think>a</think>" * 60_000,
    "openings": "<think>" * 140_000,
    "unclosed tags": "<answer " * 120_000,
    "attributes": '<answer id="1">' * 60_000,
    "blanks in a tag": "<" + " " * MEGABYTE,
    "look-alikes": "＜think＞a＜/think＞" * 60_000,
    "fences": "```\n" * (MEGABYTE // 4),
    "brackets": "[" * MEGABYTE,
    "objects": '{"a":' * (MEGABYTE // 5),
    "numbers": f"[{'1,' * 24_000}1]",
    "keys": "{" + ",".join(f'"k{i}":1' for i in range(4400)) + "}",
    "digits": "9" * MEGABYTE,
    "escapes": '"' + "\\u0041" * 8_000 + '"',
    "steps": "".join(f"{i % 999}. word{i} b c\n" for i in range(60_000)),
    "ordinals": "then, " * (MEGABYTE // 6),
    "emphasis": "*" * MEGABYTE,
    "line ends": "\r\n\u2028" * (MEGABYTE // 3),
    "scores": "Score: 10 " * (MEGABYTE // 10),
    "template marks": "<|im_end|>" * (MEGABYTE // 10),
    "open marks": "<|" * (MEGABYTE // 2),
}


def judged(records: Sequence[Record]) -> list[float | None]:
    """What a judge is told of the completion, and what is read from a judge who repeats it."""
    judge = LLMJudge(Endpoint(url="http://localhost/v1", model="m"), rubric="{prompt}: {completion}")
    judge.messages(records[0], "0")
    try:
        return [judge.read(records[0].completion)]
    except NoScoreError:
        return [None]


REWARDS: dict[str, Callable[[Sequence[Record]], Sequence[float | None]]] = {
    "Format": Format(),
    "Filled": Filled(),
    "ExactMatch": ExactMatch(tag="answer"),
    "Regex": Regex(r"(?s)<think>.*?</think>\s*<answer>.*?</answer>", whole=True),
    "JsonSchema": JsonSchema({"additionalProperties": {"type": "integer"}, "items": {"minimum": 0}}),
    "JsonSchema, recursive": JsonSchema(
        {"anyOf": [{"type": "array", "items": {"$ref": "#"}}, {"type": "integer"}, {"additionalProperties": False}]}
    ),
    "JsonSchema in a tag": JsonSchema({"uniqueItems": True}, tag="answer"),
    "Tokens": Tokens(),
    "Target": Target(10),
    "Overlong": Overlong(10, 5),
    "Cosine": Cosine(ExactMatch(), limit=100),
    "Repetition": Repetition(4),
    "Repetition of words": Repetition(40, unit="word"),
    "Script": Script(["Latin", "Han"]),
    "Steps": Steps(),
    "Steps in a tag": Steps(tag="think"),
    "LLMJudge": judged,
}


@pytest.mark.parametrize("name", REWARDS)
def test_no_text_is_too_much(name: str) -> None:
    for what, text in TEXTS.items():
        ids = tuple(ord(each) % 1000 for each in text[:100_000])
        record = Record(prompt="q", completion=text, token_ids=ids, answer="7", row={}, stop_reason="length")
        with within(1.0, what):
            (given,) = REWARDS[name]([record])
        assert given is None or math.isfinite(given), what
