"""Words that change the value or the claim beside them, so that a text with one of them is no mere label or unit."""

import re
from fractions import Fraction

_COUNTS = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety zero"
)
_PARTS = (
    "half halves third thirds fourth fourths quarter quarters fifth fifths sixth sixths seventh sevenths eighth "
    "eighths ninth ninths tenth tenths twelfth twelfths hundredth hundredths "
    "thousandth thousandths millionth millionths"
)
_LOGIC = (
    "or not and but if unless except maybe perhaps possibly either neither nor is are isn't aren't cannot never "
    "false wrong incorrect neg lnot anything otherwise"
)
_BOUNDS = "least most more less fewer than over under below beyond between"
_ARITHMETIC = (
    "plus minus cubed squared factorial choose remainder mod modulo to base negative divided root power sqrt "
    "opposite inverse reciprocal double twice triple tens score"
)
_WORD = re.compile(r"[A-Za-z']+")
_STOPS = frozenset(f"{_COUNTS} {_PARTS} {_LOGIC} {_BOUNDS} {_ARITHMETIC} mille".split())
_RAISED = re.compile(
    r"(?<=[A-Za-z])\s*\^\s*\{?\s*-?\s*[1-9]\s*\}?(?![\d.,])|\b(?:[cmk]?m|in|ft)[23](?!\d)|(?<=\bangle) [1-9](?!\d)"
)
"""The power of a unit, as in cm^2."""
_INDEX = re.compile(r"_\s*\{[^{}]*[{}]")
"""Of a name, as in x_{1,2}; a closing brace may have been written as its opening one."""
_UNIT_POWERS = re.compile(
    r"\b(?:cm|mm|km|m|in|ft|yd|mi|(?:centi|milli|kilo)?met(?:er|re)s?|inch(?:es)?|foot|feet|yards?|miles?|units?|seconds?)"
    r" (?:squared|cubed)\b"
)

MULTIPLIERS = {
    "dozen": 12, "dozens": 12, "hundred": 100, "hundreds": 100, "thousand": 10**3, "thousands": 10**3, "lakh": 10**5,
    "million": 10**6, "millions": 10**6, "crore": 10**7, "billion": 10**9, "billions": 10**9, "trillion": 10**12,
}  # fmt: skip
"""Words behind a number that multiply it."""


def multiplier(text: str) -> tuple[Fraction, str] | None:
    """The factor that a text begins with, and the rest of the text."""
    word, _, rest = text.strip().partition(" ")
    factor = MULTIPLIERS.get(word.lower().rstrip("."))
    return (Fraction(factor), rest.strip()) if factor else None


def changes(text: str) -> bool:
    """Whether a text holds a number, a comma between words, or a word that changes what stands beside it."""
    bare = _RAISED.sub(" ", _UNIT_POWERS.sub(" ", _INDEX.sub(" ", text)))
    words = _WORD.findall(bare)
    return bool(
        re.search(r"\d|[,;!=<>|+]\s*\S|!", bare)
        or any(word == "R" or word.lower() in _STOPS or word.lower() in MULTIPLIERS for word in words)
        or re.search(r"\b(?:points?|times)\s+\S|\bsquare of\b|^\s*-", bare)
    )
