"""What a sentence claims about a number in it: doubts, bounds and alternatives, and the sentences that state a count.

A number behind `not`, `at least` or `either` is no answer, and a bound behind a count does not replace it.
"""

import re

from rewards.math_answer.stops import MULTIPLIERS
from rewards.math_answer.units import UNITS

LINK = re.compile(
    r"(?:\b(?:[Ii]t|[Tt]hat|answer)['\u2019]s|\b(?:is|are|equals|be|gives us"
    r"|[Tt]herefore,?|[Ss]o,?|[Tt]hus,?|[Hh]ence,?|gives|choose|pick|select"
    r"|(?:simplifies|reduces|comes|equal) to))\s+(?:at\s+(?!least|most))?(?=\S|$)"
)
"""What stands between a question and its answer."""
_NUMBER = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?"
_DOUBT = re.compile(
    r"(?<!\\)\b(?:not(?! sure| certain| only)|never|cannot|neither|nor|except|either|between|least|most"
    r"|(?:more|less|fewer|greater|smaller|larger|other) than|wrong|incorrect|false|one of|anything"
    r"|minus|plus|times|squared|cubed|divided|up to|impossible)\b|n't\b",
    re.IGNORECASE,
)
_BOUND = re.compile(r"\b(?:over|under|above|below)\s+\S{0,12}\s*$", re.IGNORECASE)
_BOUNDED = re.compile(r"\W*(?:over|under|above|below)\b", re.IGNORECASE)
_DENIED = re.compile(r"(?:\b(?:not|cannot|never)|n't)(?:\s+\w+)?\s*$", re.IGNORECASE)
_NEGATED = re.compile(
    r"(?:\b(?:not|cannot|never)|n't)(?:\s+(?:possibly|really|actually|simply|necessarily|true that \w+))?\s*$"
    r"|\b(?:wrong|incorrect) \w+\s*$"
)
_BEHIND = re.compile(
    r"[\s$*]*(?:(?:is|are|was|seems)\s+(?:not\b|n't\b|wrong|incorrect|false)|(?:isn't|aren't|wasn't)\b"
    r"|(?:or|plus|minus|squared|cubed|over|choose|divided)\b|times\s+(?:[-\d$(\\]|[a-z]\b|the\b))",
    re.IGNORECASE,
)
_CORRECTED = re.compile(r"\bnot \S{1,20} but\b", re.IGNORECASE)
_CHANGED = re.compile(
    r"\s*(?:(?:or (?:more|less|fewer|maybe|perhaps|not)|plus|minus|squared|cubed|choose|maybe|perhaps)\b"
    r"|times\s+(?=[-\d$(\\]|[a-z]\b)"
    r"|,? (?:or|maybe|perhaps) (?:maybe|perhaps|possibly)\b|(?:is|are) (?:not|wrong|incorrect|false)\b|isn't\b)",
    re.IGNORECASE,
)
_ASKED = re.compile(r"[^.!?\n]{0,60}\?")
_ASKING = re.compile(r"\s*(?:so )?(?:is|are|was|could|can|does|do|would|should|what if)\b", re.IGNORECASE)
_BOLD = re.compile(r"(?<![\w)])\*\*(?=\S)([^*\n]{1,300}?)(?<=\S)\*\*(?![\w(])")
_BREAK = re.compile(r"[.!?](?=\s)|\n")
_ALTERNATIVE = re.compile(r"\b(?:or|maybe|perhaps|possibly)\b", re.IGNORECASE)
_OFFERED = re.compile(r"\d\W{0,3}\s*\bor\s+(?:\d|it\b|maybe\b|perhaps\b)|^\W*(?:either|or)\b", re.IGNORECASE)
_UNSURE = re.compile(r"\b(?:maybe|perhaps|possibly)\b", re.IGNORECASE)
_DIGITS = re.compile(r"\d+(?:[.,/]\d+)*")
_SURRENDER = re.compile(r"\b(?:give up|(?:cannot|can't|could not|couldn't) (?:solve|determine|find))\b", re.IGNORECASE)
_LEAD = re.compile(
    r"(?:(?:so|thus|hence|therefore|i got|we get)\b[,:]?|ans(?:wer)?\s*[.:=])\s+(?=\S)|a:\s*(?=[-\d.,/ ]+$)",
    re.IGNORECASE,
)
_COUNT = re.compile(
    rf"\b(?:[Tt]here (?:are|is) (?:exactly |only )?(?P<one>{_NUMBER}) (?:[a-z -]{{2,40}})??"
    rf"(?:(?:(?:less|greater|smaller|larger|more|fewer) than|below|under|above|up to) {_NUMBER}"
    rf"|between {_NUMBER} and {_NUMBER}|from {_NUMBER} to {_NUMBER}|such \w+: [\d, and]+)"
    rf"|(?:has|have) (?P<two>{_NUMBER}) [a-z]+ (?:left|remaining) after \D{{1,40}}(?:{_NUMBER})?\D{{0,30}})\.?$"
)
_CONTRAST = re.compile(r",\s*(?:and |but )?not\b.*$", re.DOTALL)
_ATTAINED = re.compile(
    r",\s*(?:which is\s+)?(?:attained|achieved|reached|occurring|obtained)\b[^.]*(?:\.\d[^.]*)*\.?$"
    r"|\s*\((?:we|I)?\s*(?:reject|discard|ignor)[^()]{0,80}\)(?=\.?$)|(?<=[.!?])\s*\([^()]{1,80}\)\s*$"
)


def doubted(sentence: str) -> bool:
    """Whether a bare answer in words is denied, bounded, one of several, or a sum of words."""
    unsure = _UNSURE if "$" in sentence or "\\(" in sentence else _ALTERNATIVE
    guesses = len(_DIGITS.findall(sentence)) > 1 and unsure.search(sentence)
    return bool(guesses or _DOUBT.search(sentence) or _BOUNDED.match(sentence) or _SURRENDER.search(sentence))


def guessed(head: str) -> bool:
    """Whether a number was offered before another guess: `4 or maybe it`."""
    found = re.search(r"\d.*\b(?:or|maybe|perhaps|possibly)\b", head, re.DOTALL)
    return bool(found)


def changed_behind(text: str, end: int) -> bool:
    """Whether words behind a formula change it: `$5$ or more`, `$5$ squared`."""
    return bool(_CHANGED.match(text, end))


def denied(text: str, start: int, end: int) -> bool:
    """Whether the sentence around text[start:end] does not claim it: `cannot be 5`, `at least 5`, `5 is wrong`."""
    before, after = text[max(0, start - 400) : start], text[end : end + 100]
    breaks = list(_BREAK.finditer(before))
    before = before[breaks[-1].end() :] if breaks else before
    links = list(LINK.finditer(before))
    nearest = _CORRECTED.sub(" ", before[links[-1].end() :] if links else before)
    link = links[-1][0].strip() if links else ""
    if links and (_DENIED if link == "be" else _NEGATED).search(before[: links[-1].start()]):
        return True
    left, equals, right = nearest.rpartition("=")
    if equals and not _DENIED.search(left):
        nearest = right
    if _SURRENDER.search(text[-200:]) or _BEHIND.match(after) or _DOUBT.search(nearest) or _BOUND.search(nearest):
        return True
    if _ASKED.match(after) and _ASKING.match(before):
        return True
    guesses = _ALTERNATIVE.search(nearest) or _UNSURE.search(before) or _OFFERED.search(before)
    return bool(guesses and (not before[: guesses.start()].strip() or re.search(r"\d", before[: guesses.end()])))


def multiplied(text: str, end: int) -> str:
    """The word behind a number that multiplies or measures it, as in 12 dozen or 45 minutes; or nothing."""
    word = re.match(r"\s+([a-z]+)\b", text[end : end + 24])
    return f" {word[1]}" if word and (word[1] in MULTIPLIERS or (word[1] in UNITS and len(word[1]) > 2)) else ""


def without_lead(text: str) -> str:
    """Without `Thus`, `Ans:` and their kind in front."""
    found = _LEAD.match(text)
    return text[found.end() :] if found else text


def without_place(text: str) -> str:
    """Without where a value is attained, and without what was rejected in parentheses."""
    return _ATTAINED.sub("", text)


def without_bold(text: str) -> str:
    """Without the marks of bold words; those of powers stay."""
    return _BOLD.sub(r"\1", text) if "**" in text else text


def without_contrast(text: str) -> str:
    """B of `B, not C`."""
    return _CONTRAST.sub("", text)


def counted_in(text: str) -> str:
    """The count that the last sentence states, as in `There are 7 primes less than 18`; or nothing."""
    found = _COUNT.search(text[-300:])
    return (found["one"] or found["two"]) if found else ""


def verdict(text: str) -> str:
    """The answer of a text without numbers: its yes or no, its choice, or up to three words behind its last `is`."""
    leading = re.match(r"(yes|no|true|false)\b(?:[,.]|\s+(?:because|since)\b)", text, re.IGNORECASE)
    if leading:
        return leading[1]
    unsolved = re.search(r"\bhas (no (?:real )?solutions?)\.?$", text[-100:])
    if unsolved and not _DOUBT.search(text[-300:]):
        return unsolved[1]
    link = re.search(r".*\b(?:is|are|(?<!not )(?<!n't )be)\s+(\w+(?: \w+){0,2})\.?$", text[-300:], re.DOTALL)
    return link[1] if link else text


def reasoned(text: str) -> str:
    """The yes or no, or the choice, that a sentence states before anything else; or nothing."""
    leading = re.match(r"(yes|no|true|false)\b,?\s+(?:because|since)\b", text, re.IGNORECASE)
    choice = re.match(
        r"(?:(?:[Ss]o|[Tt]hus|[Tt]herefore|[Hh]ence),? )?(?:[Oo]ption |[Cc]hoice )?\(?([A-H])\)? "
        r"is (?:the )?(?:correct|right|best)(?: \w+)?\.?$",
        text,
    )
    found = leading or choice
    return found[1] if found else ""
