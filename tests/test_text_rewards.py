"""Patterns, length, repetition, script and steps: one case a line, (completion, reward)."""

import random
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from grpo_lightning.types import Record
from rewards.exact_match import ExactMatch
from rewards.language import Script
from rewards.length import Cosine, Overlong, Target
from rewards.regex_match import Regex, last_group
from rewards.repetition import Repetition, repeated_share
from rewards.steps import Steps
from tests.clock import within

LONG = 1_000_000


def record(completion: str = "", tokens: int | Sequence[int] = 0, answer: str | None = None) -> Record:
    ids = (0,) * tokens if isinstance(tokens, int) else tuple(tokens)
    return Record(prompt="", completion=completion, token_ids=ids, answer=answer, row={}, stop_reason="eos")


def score(reward: Callable[[Sequence[Record]], Sequence[float | None]], *records: Record) -> list[float | None]:
    return list(reward(records))


# ------------------------------------------------------------------------------------------------------- patterns


@pytest.mark.parametrize(
    ("completion", "whole", "reward"),
    [
        ("so 42", False, 1.0),
        ("so 42", True, 0.0),
        ("42", True, 1.0),
        ("42\n", True, 0.0),
        ("4a2", True, 0.0),
        ("", False, 0.0),
        ("٤٢", True, 0.0),
    ],
)
def test_regex(completion: str, whole: bool, reward: float) -> None:
    assert score(Regex("[0-9]+", whole=whole), record(completion)) == [reward]


def test_regex_takes_flags_and_unicode_properties() -> None:
    dot = r"<a>.*</a>"
    assert score(Regex("(?s)" + dot), record("<a>\n</a>")) == [1.0]
    assert score(Regex(dot), record("<a>\n</a>")) == [0.0]
    assert score(Regex(r"\p{Han}"), record("漢"), record("a")) == [1.0, 0.0]


@pytest.mark.parametrize(
    ("pattern", "text"),
    [("(?:a|aa)+$", "a" * 60 + "b"), (r"\s+$", " " * LONG + "x")],
)
def test_a_pattern_that_backtracks_without_end_is_stopped(pattern: str, text: str) -> None:
    """Fibonacci(61) ways to write 60 as ones and twos; a million squared."""
    start = time.monotonic()
    with pytest.raises(TimeoutError, match=r"Regex.pattern: .* took over 0.5 s on \d+ characters"):
        score(Regex(pattern), record(text))
    assert time.monotonic() - start < 5.0


def test_a_sound_pattern_reads_a_megabyte() -> None:
    assert score(Regex(r"answer: \d+$"), record("x " * (LONG // 2) + "answer: 7")) == [1.0]


def test_the_last_match_gives_the_group() -> None:
    assert last_group("k", r"n=(\d)", "n=1 n=2 m=3") == "2"
    assert last_group("k", r"n=(\d)", "none") is None


# --------------------------------------------------------------------------------------------------------- length


@pytest.mark.parametrize(
    ("length", "reward"),
    [(100, 1.0), (90, 1.0), (110, 1.0), (85, 0.75), (120, 0.5), (80, 0.5), (130, 0.0), (0, 0.0), (9999, 0.0)],
)
def test_target(length: int, reward: float) -> None:
    """100 tokens, 10 of tolerance, 20 to fall: at 120 half of the 20 are used up."""
    assert score(Target(100, tolerance=10, falloff=20), record(tokens=length)) == [reward]


@pytest.mark.parametrize(
    ("length", "reward"), [(0, 0.0), (80, 0.0), (85, -0.25), (90, -0.5), (99, -0.95), (100, -1.0), (9999, -1.0)]
)
def test_overlong(length: int, reward: float) -> None:
    """(100 - 20 - L) / 20 between 80 and 100."""
    assert score(Overlong(limit=100, buffer=20), record(tokens=length)) == [reward]


def test_overlong_is_equation_13_of_dapo() -> None:
    reward = Overlong(limit=50, buffer=15)
    for length in range(70):
        equation = 0.0 if length <= 35 else (35 - length) / 15 if length <= 50 else -1.0
        assert reward.value(length) == pytest.approx(equation)


@pytest.mark.parametrize(
    ("completion", "answer", "length", "reward"),
    [
        ("7", "7", 0, 2.0),
        ("7", "7", 50, 1.5),
        ("7", "7", 25, 1.5 + 0.5 * np.sqrt(0.5)),
        ("7", "7", 100, -10.0),
        ("8", "7", 0, -8.0),
        ("8", "7", 50, -4.0),
        ("8", "7", 75, -4.0 + 4.0 * np.sqrt(0.5)),
        ("8", "7", 100, -10.0),
        ("8", "7", 101, -10.0),
        ("8", None, 50, None),
    ],
)
def test_cosine(completion: str, answer: str | None, length: int, reward: float | None) -> None:
    """Of 100 tokens: half-way is the mean of both ends, a quarter off it is the square root of a half towards one."""
    cosine = Cosine(correct=ExactMatch(), limit=100, wrong=(-8.0, 0.0))
    given = score(cosine, record(completion, length, answer))
    assert given == [None if reward is None else pytest.approx(reward)]


def test_cosine_takes_no_partial_score_for_right() -> None:
    cosine = Cosine(correct=lambda records: [0.5, 1.0], limit=10, right=(1.0, 1.0), wrong=(0.0, 0.0))
    assert score(cosine, record(), record()) == [0.0, 1.0]


# ----------------------------------------------------------------------------------------------------- repetition


@pytest.mark.parametrize(
    ("completion", "reward"),
    [
        ("a b c d", 0.0),
        ("a b a b", -1 / 3),
        ("a a a a a", -3 / 4),
        ("A b a B", -1 / 3),
        ("a", 0.0),
        ("", 0.0),
        ("a\u200bb a b", 0.0),
    ],
)
def test_repetition_of_words(completion: str, reward: float) -> None:
    """`a b a b` has the pairs ab, ba, ab: one of three occurred before."""
    assert score(Repetition(2, unit="word"), record(completion)) == [pytest.approx(reward)]


def test_repetition_of_tokens() -> None:
    """1 2 3 1 2 3 has four triples, and 123 twice."""
    assert score(Repetition(3), record("x x x x", (1, 2, 3, 1, 2, 3)), record("x x x x", ())) == [-0.25, 0.0]


def test_repetition_is_what_spelling_the_ngrams_out_gives() -> None:
    numbers = random.Random(0)
    for _ in range(300):
        units = [numbers.randrange(2) for _ in range(numbers.randrange(40))]
        n = numbers.randrange(1, 12)
        ngrams = [tuple(units[i : i + n]) for i in range(len(units) - n + 1)]
        assert repeated_share(units, n) == (1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0)


@pytest.mark.parametrize("n", [4, 40])
def test_repetition_is_linear(n: int) -> None:
    loop, fresh = record("", (1,) * 300_000), record("", range(300_000))
    with within(4.0):
        assert score(Repetition(n), loop, fresh) == [pytest.approx(-1.0, abs=1e-5), 0.0]


# --------------------------------------------------------------------------------------------------------- script


@pytest.mark.parametrize(
    ("scripts", "completion", "reward"),
    [
        (["Latin"], "So x = 3, n'est-ce pas? ✓ 🙂", 1.0),
        (["Latin"], "abcd мирт", 0.5),
        (["Latin", "Cyrillic"], "abcd мирт", 1.0),
        (["Latin"], "h\u0435llo", 0.8),  # a Cyrillic homoglyph
        (["Latin"], "café", 1.0),
        (["Latin"], "cafe\u0301", 1.0),
        (["Han", "Hiragana", "Katakana"], "カレーを食べる", 1.0),
        (["Han"], "答案是x", 0.75),
        (["Arabic"], "می\u200cخواهم", 1.0),  # Persian needs the joiner
        (["Latin"], "he\u200bllo", 5 / 6),  # zero-width space
        (["Latin"], "\ufeffabc", 0.75),
        (["Latin"], "abc\U000e0041", 0.75),  # an invisible tag
        (["Latin"], "abc\ue000", 0.75),
        (["Latin"], "a" + "\u0301" * 7, 0.25),  # three marks more than a letter bears
        (["Latin"], "𝐡𝐢", 0.0),  # mathematical letters belong to no script
        (["Latin"], "12 + 3 = 15", 0.0),
        (["Latin"], "\u200b", 0.0),
        (["Latin"], "", 0.0),
    ],
)
def test_script(scripts: list[str], completion: str, reward: float) -> None:
    assert score(Script(scripts), record(completion)) == [pytest.approx(reward)]


@pytest.mark.parametrize("piece", ["a", "\u0301", "\u200b", "a\u0301"])
def test_script_is_linear(piece: str) -> None:
    with within(3.0):
        score(Script(), record(piece * (LONG // len(piece))))


# ---------------------------------------------------------------------------------------------------------- steps


@pytest.mark.parametrize(
    ("completion", "count"),
    [
        ("1. add the two\n2. take away three\n3) halve what remains", 3),
        ("Step 1: add the two\nstep 2. take away three", 2),
        ("**Step 1:** add the two\n### Step 2\ntake away three", 2),
        ("- add the two\n* take away three\n• halve what remains", 3),
        ("First, add the two. Second, take away three. Finally, halve the rest.", 3),
        ("1. 2+3=5\n2. 5+4=9", 2),
        ("1. 计算总和\n2. 减去三个", 2),
        ("1.\n2.\n3.", 0),
        ("1.\n2.\n3. halve what remains", 1),
        ("1. add the two\n2. add the two\n3. ADD, the two!", 1),
        ("- a a a a\n- b b b", 0),
        ("1. ...\n2. ---\n3. \u200b\u200b\u200b", 0),
        ("Step Step Step 1 2 3", 0),
        ("add the two, first of all, then take away three", 0),
        ("3.14 is about pi\n-5 is below zero\n2nd thoughts do not count", 0),
        ("", 0),
    ],
)
def test_steps(completion: str, count: int) -> None:
    assert Steps().count(completion) == count


def test_steps_saturate() -> None:
    text = "".join(f"{n}. add {n} to it\n" for n in range(1, 10))
    halves = ["1. add the two", "1. add the two\n2. take away three", text]
    assert score(Steps(wanted=2), *map(record, halves)) == [0.5, 1.0, 1.0]


def test_steps_in_a_tag() -> None:
    inside = record("<think>1. add the two</think>2. take away three")
    twice = record("<think>1. add the two</think><think>2. take away three</think>")
    assert score(Steps(wanted=2, tag="think"), inside, twice, record("1. add the two")) == [0.5, 0.0, 0.0]


@pytest.mark.parametrize("piece", ["1. a b c\n", ". ", "first, ", " ", "*", "#", "1", "\n", ". step ", "Step 1: "])
def test_steps_are_linear(piece: str) -> None:
    with within(2.0):
        Steps().count(piece * (LONG // len(piece)))
