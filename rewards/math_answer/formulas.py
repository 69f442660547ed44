"""Formulas and numbers in running text: what dollar signs hold unless they are money, and what a sum comes to."""

import re

from rewards.math_answer.claims import LINK

_MATH = re.compile(r"\$\$(.+?)\$\$|(?<!\\)\$((?:[^$\\]|\\.)+?)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_MONEY = re.compile(r"\d[^\\]*?(?:\s|[-+*/=x\u00d7\u2212(,])$|\d[^\\{}=^_]*[A-Za-z]{3}")
_AMOUNT = r"[-\u2212]?[$\u20ac\u00a3]?\s?(?:\d{1,3}(?:[, ]\d{3})+|\d+)(?:\.\d+)?"
PLAIN_NUMBER = re.compile(
    r"(?<![\w.\\{^_])[-+\u2212]?[$\u20ac\u00a3]?\s?(?:\d{1,2}:\d{2}(?:\s?[AaPp]\.?[Mm]\b)?|\d+\s\d{1,3}/\d{1,3}"
    r"|(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:\s*/\s*\d+(?:\.\d+)?)?)(?:\s*\\?%)?(?![\w])"
    r"|(?<![\w.])[-+]?\.\d+"
)
_ARITHMETIC = re.compile(r"\d[^=]{0,60}?[-+*/\u00d7\u00f7\u2212x][^=]{0,60}?\d[^=]{0,40}$")
_RESULT = re.compile(rf"\s*(\**{_AMOUNT}\s?%?\**)(?![\w^/*+]| ?[-+*/\u00d7\u00f7] ?[$\d(])")
_BREAK = re.compile(r"[.!?](?=\s)|\n")


def formulas(text: str) -> list[re.Match[str]]:
    """The formulas of a text, first to last. `$4 + $2 = $6` has none: its signs are money."""
    found: list[re.Match[str]] = []
    at = 0
    while match := _MATH.search(text, at):
        money = match[2] is not None and (text[match.end() : match.end() + 1].isdigit() or _MONEY.match(match[2]))
        at = match.start() + 1 if money else match.end()
        if not money:
            found.append(match)
    return found


def formula_at(text: str, at: int = 0) -> re.Match[str] | None:
    """The formula that begins there."""
    match = _MATH.match(text, at)
    return match if match and formulas(match[0] + text[match.end() : match.end() + 1]) else None


def held(match: re.Match[str]) -> str:
    return next((group for group in match.groups() if group is not None), "").strip()


def inside(at: int, found: list[re.Match[str]]) -> bool:
    return any(formula.start() <= at < formula.end() for formula in found)


def first_of_run(text: str, found: list[re.Match[str]]) -> re.Match[str]:
    """The first of the last formulas that only commas and `and` part: $x = 3$ and $x = 4$."""
    at = len(found) - 1
    while at and re.fullmatch(r"\s*(?:,|,?\s*(?:and|or))\s*", text[found[at - 1].end() : found[at].start()]):
        at -= 1
    return found[at]


def is_sum(text: str, formula: re.Match[str]) -> bool:
    """Whether a formula is like 48 + 24 = 72, and no number behind it is claimed: `$48+24=72$ clips in 2 months`."""
    left, equals, right = held(formula).rpartition("=")
    behind = text[formula.end() :]
    claimed = any(re.search(r"\d", behind[link.end() :]) for link in LINK.finditer(behind))
    return bool(equals and right.strip() and _ARITHMETIC.search(left)) and not claimed and not _BREAK.search(behind)


def computed(text: str) -> tuple[int, int] | None:
    """Where the result of the last sum in the last sentence stands: 15 of `9 + 6 = 15 liters out of the 24 liters`.

    None where the sentence goes on to another claim, or is a formula rather than a sentence.
    """
    breaks = [found.end() for found in _BREAK.finditer(text.rstrip())]
    start = breaks[-1] if breaks else 0
    equals = text.rfind("=", start)
    if equals < 0 or "\\" in text[start:] or not re.search(r"[A-Za-z]{3}", text[start:]):
        return None
    left = text[max(start, equals - 160) : equals].rpartition("=")[2]
    found = _RESULT.match(text, equals + 1)
    if not found or not _ARITHMETIC.search(left):
        return None
    behind = text[found.end() :]
    if any(re.search(r"\d", behind[link.end() :]) for link in LINK.finditer(behind)):
        return None
    return found.span(1)
