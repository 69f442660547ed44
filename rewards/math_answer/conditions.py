"""The condition behind a family of answers: the letter that runs through all integers, as in pi/2 + 2 k pi, k in Z.

Such a letter may have any name, so it is renamed here; what is said of the unknown itself (x > 3, x in Z) stays.
"""

import re

from rewards.math_answer.tree import Expr, Sym, substitute, symbols

WHOLE = "\\whole"
"""The name of a letter that runs through the integers."""
_MAX_CHARS = 400
_TEXT = re.compile(r"\\text ?\{([^{}]*)\}")
_INTEGERS = r"(?:\\in ?(?:\\math(?:bb|bf) ?\{ ?Z ?\}|Z)|(?:is |being )?(?:any |an )?integers?)"
_CONDITION = re.compile(
    rf"[ ,;(]*\b(?:for |where |with )?(?:any |all |every |some |each )?"
    rf"(?:(?:an )?integers? (?:values? of )?\$?([a-z])\$?|(?<!\\)\$?([a-z])\$? ?{_INTEGERS})\s*\)?$"
)
_RELATION = r" ?(?:[=<>]|\\(?:le|ge|ne|lt|gt|in|equiv))"


def without_condition(text: str) -> str:
    """The text without `k in Z` behind it, its letter renamed."""
    if len(text) > _MAX_CHARS or not ("Z" in text or "integer" in text):
        return text
    plain = " ".join(_TEXT.sub(r" \1 ", text).split())
    found = _CONDITION.search(plain)
    if not found or not plain[: found.start()].strip():
        return text
    letter, body = found[1] or found[2], plain[: found.start()]
    alone = rf"(?<![a-zA-Z\\]){letter}(?![a-zA-Z])"
    if letter in "ei" or re.match(letter + _RELATION, body) or not re.search(alone, body):
        return text
    return re.sub(alone, lambda _: WHOLE + " ", body)


def with_whole(expr: Expr, other: Expr) -> Expr | None:
    """2 k pi beside an answer that says of its letter that it is an integer."""
    letters = symbols(expr) - symbols(other)
    if len(letters) != 1 or WHOLE not in symbols(other) - symbols(expr):
        return None
    (letter,) = letters
    return substitute(expr, letter, Sym(WHOLE)) if letter in ("k", "n", "m", "l", "j") else None
