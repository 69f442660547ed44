"""Answers in words: prose against products of symbols, letters of multiple choice, and their normal forms."""

import re

from rewards.math_answer.stops import changes
from rewards.math_answer.text import squeeze
from rewards.math_answer.tree import Text

_LETTER = re.compile(
    r"(?:\\?(?:text|textbf|mathrm|mathbf)\s*\{)?\s*(?:(?:option|choice|answer)\b:?\s*)?[(\[]?\s*([A-Z])\s*[)\]]?\s*\}?\s*[.:]?",
    re.IGNORECASE,
)
_LEADING = re.compile(r"(?:\\(?:text|textbf|mathrm|mathbf) ?\{)? ?\(?([A-H]) ?(?:\)|[.:](?= )) ?\}?")
_FIGURES = {"overrightarrow": "ray", "vec": "ray", "overleftrightarrow": "line"}
_NAMED = re.compile(r"\\(overline|triangle|overrightarrow|overleftrightarrow|vec|bar) ?\{? ?([A-Z]{2,6}) ?\}?")
_DIGIT_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_DIGITS = _DIGIT_WORDS.split()
_TEN_WORDS = "twenty thirty forty fifty sixty seventy eighty ninety"
_TENS = _TEN_WORDS.split()
_SPELLED = {
    **{word: str(value) for value, word in enumerate(_DIGITS)},
    **{word: str(10 * value) for value, word in enumerate(_TENS, 2)},
    **{f"{ten}-{one}": str(10 * t + d) for t, ten in enumerate(_TENS, 2) for d, one in enumerate(_DIGITS[:10]) if d},
    "one hundred": "100", "a hundred": "100", "one thousand": "1000", "one million": "1000000",
    "half": r"\frac{1}{2}",
    "one half": r"\frac{1}{2}", "a half": r"\frac{1}{2}", "one third": r"\frac{1}{3}", "two thirds": r"\frac{2}{3}",
    "one fourth": r"\frac{1}{4}", "one quarter": r"\frac{1}{4}", "three fourths": r"\frac{3}{4}",
    "three quarters": r"\frac{3}{4}", "infinity": r"\infty", "all real numbers": r"\mathbb{R}",
    "integers": r"\mathbb{Z}", "all integers": r"\mathbb{Z}", "the integers": r"\mathbb{Z}",
    "the set of integers": r"\mathbb{Z}", "the set of all integers": r"\mathbb{Z}", "all reals": r"\mathbb{R}",
    "the real numbers": r"\mathbb{R}", "the set of real numbers": r"\mathbb{R}",
    "the set of all real numbers": r"\mathbb{R}", "empty set": r"\emptyset", "the empty set": r"\emptyset",
}  # fmt: skip
"""Words that are mathematics: numbers, and the sets that answers name in words."""
_SAME_WORDS = {
    "does not exist": "dne", "the limit does not exist": "dne", "doesn't exist": "dne",
    "no solutions": "no solution", "there is no solution": "no solution", "there are no solutions": "no solution",
}  # fmt: skip
_ALL_REALS = re.compile(r"all real(?: numbers| values)?(?: (?:of |for )?[a-z])|any real number")
_NUMERAL = re.compile(r"\d{1,30}(?:,\d{3})*(?:\.\d{1,30})?(?:/\d{1,30})?")
_LABEL = re.compile(r"(?!of\b)[a-z][a-z ]{1,40}")
_CAPITALS = frozenset(("yes", "no", "dne", "one", "two", "six", "ten"))
"""Short words, which say the same in capitals; AB is not ab."""
_SHORT = "no on or is at am an as by do go he if in it me my of so to up us we be"
_SHORT_WORDS = frozenset(_SHORT.split())


def spelled_out(text: str) -> str:
    """The mathematics that a text says in words, as in twelve, negative three, the empty set; or nothing."""
    if not text[0].isalpha() and not text.startswith("\\text"):
        return ""
    words = " ".join(re.sub(r"\\text(?:bf|it|rm)? ?\{([^{}]*)\}", r"\1", text).lower().rstrip(".").split())
    sign, _, rest = words.partition(" ")
    if sign in ("negative", "minus"):
        value = _SPELLED.get(rest) or (rest if _NUMERAL.fullmatch(rest) else "")
        return f"-{value}" if value else ""
    if _ALL_REALS.fullmatch(words):
        return r"\mathbb{R}"
    said = (words, words.replace(" ", "-"), words.replace("-", " "))
    return next((_SPELLED[each] for each in said if each in _SPELLED), "") or _counted_out(words.split(" "))


def _counted_out(words: list[str]) -> str:
    """Twelve apples and two hours: a number in words and what it counts."""
    for length in (2, 1):
        value = _SPELLED.get(" ".join(words[:length])) or _SPELLED.get("-".join(words[:length]))
        rest = " ".join(words[length:])
        if value and value[-1].isdigit() and _LABEL.fullmatch(rest) and not changes(rest):
            return rf"{value} \text{{ {rest}}}"
    return ""


def plain_text(text: str) -> Text:
    """Words without markup, case and closing punctuation. A lone letter keeps its case: x is not X."""
    words = re.sub(
        r"\\(?:text|textbf|textit|mathrm|mathbf|mbox|operatorname|textrm|emph|textsf|texttt)\s*(?=\{)", " ", text
    )
    words = re.sub(r"\$|\\[ ,;!]" if re.search(r"\\[a-zA-Z]|[_^]", words) else r"[{}$]|\\[ ,;!]", " ", words)
    words = re.sub(r"\\wedge(?![a-zA-Z])", r"\\land", re.sub(r"\\vee(?![a-zA-Z])", r"\\lor", words))
    words = " ".join(re.sub(r"\\(?:[lc]?dots[bc]?)(?![a-zA-Z])", "...", words).split())
    closing = ' .,;:"`*' if words.endswith("'") and not words.startswith(("'", "`", '"')) else " .,;:\"'`*"
    words = words.lstrip(" :\"'`*").rstrip(closing) if not words.endswith("...") else words
    if words.startswith("(") and words.endswith(")") and words.count("(") == 1:
        words = words[1:-1].strip()
    words = _SAME_WORDS.get(words.lower(), words)
    if len(words) == 1 or (len(words) < 4 and words.isupper() and words.lower() not in _CAPITALS):
        return Text(words)
    return Text(squeeze(re.sub(r"(?<=[a-zA-Z])-(?=[a-z])|(?<=[a-z])-(?=[A-Z])", " ", words)).lower())


def letter(text: str) -> str:
    """The choice that a text names, as in (C), C., \\text{(C)}, option C; or nothing."""
    found = _LETTER.fullmatch(text.strip())
    if not found:
        return ""
    marked = any(mark in text for mark in "()[]") or len(text.strip()) > 3
    return found[1].upper() if marked or found[1].isupper() else ""


def leading_letter(text: str) -> str:
    """The choice that begins an answer, as in (C) 12 or C: the moon; nothing when another choice follows."""
    return led(text)[0]


def led(text: str) -> tuple[str, str]:
    """The choice that begins an answer, and what follows it; nothing when another choice follows."""
    found = _LEADING.match(text)
    if not found or re.search(r"(?<![A-Za-z\\])[A-H](?![A-Za-z])", text[found.end() :]):
        return "", ""
    return found[1], text[found.end() :].strip()


def named(text: str) -> str:
    """The points of \\overline{AB} or \\triangle ABC, with a word for a ray or a line; or nothing, as for an angle."""
    found = _NAMED.fullmatch(text)
    return f"{_FIGURES.get(found[1], '')} {found[2]}".strip() if found else ""


def is_words(text: str) -> bool:
    """Letters and blanks that are prose rather than a product of symbols."""
    bare = text.strip()
    if not re.fullmatch(r"[A-Za-z][A-Za-z' .-]*", bare):
        return False
    words = bare.split()
    if len(words) > 1:
        return not all(len(word) == 1 or word in ("and", "or") for word in words) and not _reads_as_function(words)
    word = words[0]
    if word in ("pi", "theta", "alpha", "beta", "infinity", "inf", "oo"):
        return False
    if "-" in word or "." in word or "'" in word:
        return len(word) > 5
    if len(word) <= 1 or not word.islower():
        return len(word) > 1
    return not (len(word) == 2 and word not in _SHORT_WORDS) and not (len(word) == 3 and not set(word) & set("aeiou"))


def _reads_as_function(words: list[str]) -> bool:
    return words[0] in ("sin", "cos", "tan", "ln", "log", "sec", "csc", "cot", "sqrt") and all(
        len(w) <= 5 for w in words[1:]
    )
