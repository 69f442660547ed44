"""Format and exact match: one case a line, (completion, answer, reward)."""

import pytest

from grpo_lightning.types import Record
from rewards.exact_match import ExactMatch
from rewards.tags import Filled, Format, only
from tests.clock import within


def record(completion: str, answer: str | None = None) -> Record:
    return Record(prompt="", completion=completion, token_ids=(), answer=answer, row={}, stop_reason="eos")


@pytest.mark.parametrize(
    ("completion", "reward"),
    [
        ("<think>a</think><answer>b</answer>", 1.0),
        ("  <think>a\nb</think>\n<answer>b</answer>\n", 1.0),
        ("<think>1 < 2 > 0</think><answer><b></answer>", 1.0),
        ("", 0.0),
        ("b", 0.0),
        ("<answer>b</answer>", 0.0),
        ("<think>a</think>", 0.0),
        ("<answer>b</answer><think>a</think>", 0.0),
        ("<think>a</think><answer>b</answer>c", 0.0),
        ("c<think>a</think><answer>b</answer>", 0.0),
        ("<think>a</think>c<answer>b</answer>", 0.0),
        ("<think>a</think><answer>b</answer><answer>b</answer>", 0.0),
        ("<think>a</think><think>a</think><answer>b</answer>", 0.0),
        ("<think>a<answer>b</answer></think>", 0.0),
        ("<think>a<answer></think>b</answer>", 0.0),
        ("</think>a<think><answer>b</answer>", 0.0),
        ("<think>a</think><answer> \n</answer>", 0.0),
        ("<think>a</think><answer>b", 0.0),
        ("<THINK>a</THINK><answer>b</answer>", 0.0),
        ("< think>a</think><answer>b</answer>", 0.0),
        ('<think id="1">a</think><answer>b</answer>', 0.0),
        ("<think>a</think><answer>b<answer >c</answer>", 0.0),
        ("<think>a</think><answer>b<ANSWER>c</answer>", 0.0),
        ('<think>a</think><answer>b<answer id="2">c</answer>', 0.0),
        ("<think>a</think><answer>b< / Answer >c</answer>", 0.0),
        ("<think>a<answer/></think><answer>b</answer>", 0.0),
        ("<think>a</think><answer>b</answer ></answer>", 0.0),
        ("<think>a <answers> b</think><answer>c</answer>", 1.0),
        ("<think>a</think><answer>＜answer＞b</answer>", 1.0),
        ("＜think＞a＜/think＞＜answer＞b＜/answer＞", 0.0),
        ("<think>a</think><\u0430nswer>b</\u0430nswer>", 0.0),  # a Cyrillic а
        ("<think>a</think><ans\u200bwer>b</ans\u200bwer>", 0.0),
        ("<think>a</think>\u200b<answer>b</answer>", 0.0),
        ("\ufeff<think>a</think><answer>b</answer>", 0.0),
        ("```\n<think>a</think><answer>b</answer>\n```", 0.0),
        ("<think>a</think>\x00<answer>b</answer>", 0.0),
        ("<think>a</think><answer>```\nb\n```</answer>", 1.0),
        ("<think>\ud800</think><answer>b</answer>", 1.0),
    ],
)
def test_format(completion: str, reward: float) -> None:
    assert Format(may_be_empty=["think"])([record(completion)]) == [reward]


def test_format_refuses_an_empty_block_unless_it_may_be() -> None:
    empty = record("<think></think><answer>b</answer>")
    assert Format()([empty]) == [0.0]
    assert Format(may_be_empty=["think"])([empty]) == [1.0]


@pytest.mark.parametrize(
    "evil",
    ["< " * 100_000, "<think " * 30_000, "<think>\n" * 6000, "<think>" + "</think><answer>" * 6000, "<" * 200_000],
)
def test_format_is_linear(evil: str) -> None:
    with within(0.5):
        assert Format()([record(evil)] * 10) == [0.0] * 10


@pytest.mark.parametrize(
    ("completion", "answer", "reward"),
    [
        ("<think></think><answer>812</answer>", "812", 1.0),
        ("<answer> 812\n</answer>", " 812", 1.0),
        ("<answer>813</answer>", "812", 0.0),
        ("<answer>0812</answer>", "812", 0.0),
        ("<answer>812</answer><answer>812</answer>", "812", 0.0),
        ("<answer>811</answer><answer>812</answer>", "812", 0.0),
        ("</answer>812<answer>", "812", 0.0),
        ("<answer>812", "812", 0.0),
        ("812", "812", 0.0),
        ("", "812", 0.0),
        ("", "", 0.0),
        ("<answer></answer>", "", 1.0),
        ("<answer>812</answer>", None, None),
    ],
)
def test_exact_match(completion: str, answer: str | None, reward: float | None) -> None:
    assert ExactMatch(tag="answer")([record(completion, answer)]) == [reward]


def test_exact_match_of_the_whole_completion() -> None:
    assert ExactMatch()([record("812", "812"), record("812.", "812")]) == [1.0, 0.0]


def test_filled() -> None:
    texts = ["<think>a</think>", "<think> \n</think>", "<think></think>", "", "<think>a</think><think>b</think>"]
    assert Filled()([record(text) for text in texts]) == [1.0, 0.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("content", "reward"),
    [
        ("\u200b", 0.0),
        ("\ufeff\u2060 \u00ad", 0.0),
        ("\u3164\u2800\ufe0f", 0.0),
        ("\x00\x1b", 0.0),
        ("\U000e0101", 0.0),
        ("\u200b.", 1.0),
        ("é", 1.0),
        ("漢", 1.0),
        ("❤\ufe0f", 1.0),
    ],
)
def test_what_nobody_sees_is_no_content(content: str, reward: float) -> None:
    """Zero width, marks, fillers that count as letters, controls, and a variation selector."""
    text = record(f"<think>{content}</think><answer>b</answer>")
    assert [Format()([text]), Filled()([text])] == [[reward], [reward]]
    assert Format(may_be_empty=["think"])([text]) == [1.0]


def test_only() -> None:
    assert only("x<a>y</a>z", "a") == "y"
    assert only("</a>y<a>", "a") is None


@pytest.mark.parametrize("arguments", [{"tags": []}, {"tags": ["a", "a"]}, {"may_be_empty": ["nope"]}])
def test_contradictions_are_refused(arguments: dict[str, list[str]]) -> None:
    with pytest.raises(ValueError, match=r"^Format\."):
        Format(**arguments)
