"""Where in a completion the answer stands. Linear scans; what the answer means is not decided here.

The last commitment counts: the last box, the last tag, the last "answer is". Boxes joined by nothing but commas,
`and` or `or` are one list, so that two guesses never pass for one value.
"""

import re
from collections.abc import Sequence
from typing import Literal

from rewards.math_answer.claims import (
    LINK,
    changed_behind,
    counted_in,
    denied,
    doubted,
    guessed,
    multiplied,
    reasoned,
    verdict,
    without_bold,
    without_contrast,
    without_lead,
    without_place,
)
from rewards.math_answer.formulas import (
    PLAIN_NUMBER,
    computed,
    first_of_run,
    formula_at,
    formulas,
    held,
    inside,
    is_sum,
)

Place = Literal["boxed", "answer_tag", "hashes", "final_answer", "fenced", "plain"]
DEFAULT_PLACES: tuple[Place, ...] = ("boxed", "answer_tag", "hashes", "final_answer", "fenced", "plain")
MAX_TEXT = 1_000_000
"""Characters of a completion; a longer one has no answer."""
_MAX_SENTENCE = 1_500

Found = tuple[int, str]
"""Where the answer ends, and its text."""

_BRACE = re.compile(r"\\{1,2}(?:boxed|fbox)[ \n]{0,4}(?:\{|([0-9A-Za-z])(?![a-zA-Z]))|\\.|[{}]", re.DOTALL)
_JOINT = re.compile(
    r"(?:\s|\$|\\[\[\]()]|\\q?quad|\\[,;:! ]|,|;|&|\band\b|\bor\b|\.(?=\s*$)"
    r"|\\(?:text|mbox|textrm)\{\s*,?\s*(?:and|or|,)\s*\})*"
)
_CHAT = re.compile(r"<\|[a-z_]{1,20}\|>|</s>|<\uff5cend")
_PLEASANTRY = re.compile(r"(?:I hope (?:it|this) is correct|I hope this helps|Hope this helps)[.!]?\s*", re.IGNORECASE)
_PHRASE = re.compile(
    r"(?<!wrong )(?<!incorrect )(?<!not the )\*{0,2}(?:final answers?|answers?|final results?|solutions?|results?"
    r"|(?:correct|best|right) (?:option|choice))\*{0,2}"
    r"(?P<link>\s*(?:is|are|[=-]>|=|:|\uff1a|was|-(?=\s))[:\s]*\*{0,2}(?:\s*(?:that|simply|therefore|thus)\b)?|\s+(?=\$|\\\(|\\\[))"
    r"|\u7b54\u6848\s{0,4}(?:\u662f|\u4e3a|:|\uff1a)",
    re.IGNORECASE,
)
_REASON = re.compile(
    r"\s*,?\s*\b(?:since|because|which|(?:al)?though|whereas|(?:rather|instead) (?:than|of)"
    r"|as (?:required|desired|we|the)|so that|where)\b.*"
    r"|\s*\((?=[^()]{0,80}[a-z]{3})[^()]{0,200}\)",
    re.DOTALL,
)
"""What a sentence says behind its answer."""
_CONCLUDED = re.compile(r"[.\n]\s*(?:[Tt]herefore|[Tt]hus|[Hh]ence|[Ss]o)\b[^\n]*[\d$\\]")
"""What follows a mere result, which the conclusion replaces."""
_RETRACTED = re.compile(
    r"(?:(?:^|[.!?\n]\s*)(?:but )?(?:wait|actually|no|hold on|oops|sorry|correction|scratch that|let me recheck)\b"
    r"|\bI made (?:a|an) (?:mistake|error)\b)[,.:!]*",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?](?=\s+[A-Z\[*]|\s*$)|\n\s*\n|\n(?=[A-Z*#])|\s*```")


def final_part(completion: str) -> str:
    """What follows the reasoning: after the last </think>, without markers of the chat template."""
    text = completion if len(completion) <= MAX_TEXT else ""
    at = text.rfind("</think>")
    text = text[at + len("</think>") :] if at >= 0 else text
    marker = _CHAT.search(text)
    if marker and text[: marker.start()].strip():
        text = text[: marker.start()]
    return text


def extract(completion: str, places: Sequence[Place] = DEFAULT_PLACES, *, strict: bool = False) -> list[str]:
    """The answer's text at the first of `places` that has one, as readings to try in turn; [] when none has.

    With `strict` only the first place is looked at and its readings are all demanded to agree, see `strict_answers`.
    """
    text = final_part(completion)
    for place in places[:1] if strict else places:
        found = _FINDERS[place](text)
        if found is None:
            continue
        if place == "boxed" and "final_answer" in places and not strict:
            found = _later_word(text, found)
        return [found[1]]
    return []


def strict_answers(completion: str, place: Place) -> list[str]:
    """Every answer given at a place, for the check that they do not differ."""
    text = final_part(completion)
    if place == "boxed":
        return [content for _, _, content in boxes(text)]
    if place == "answer_tag":
        return [content for _, content in _tags(text)]
    if place == "hashes":
        return [line for _, line in _hash_lines(text)]
    if place == "final_answer":
        found = [_after_phrase(text, phrase) for phrase in _phrases(text)]
        return [(_taken_back(text, one) or one)[1] for one in found if one is not None]
    one = _FINDERS[place](text)
    return [one[1]] if one else []


def _later_word(text: str, found: Found) -> Found:
    """A final answer stated in mathematics after the last box replaces it."""
    for phrase in reversed(_phrases(text[found[0] :])[-40:]):
        if "final" not in phrase[0].lower():
            continue
        later = _after_phrase(text[found[0] :], phrase)
        if later is not None and re.search(r"\d|\\", later[1]) and len(later[1]) < 300:
            return later
    return found


def boxes(text: str) -> list[tuple[int, int, str]]:
    """Start, end and content of each balanced box, outermost only."""
    found: list[tuple[int, int, int, int]] = []
    opened: list[tuple[bool, int, int]] = []
    if "boxed" not in text and "fbox" not in text:
        return []
    for brace in _BRACE.finditer(text):
        if brace[1]:
            found.append((brace.start(), brace.end(), *brace.span(1)))
        elif brace[0].endswith("{") and brace[0] != "\\{":
            opened.append((len(brace[0]) > 1, brace.start(), brace.end()))
        elif brace[0] == "}" and opened:
            is_box, start, inside = opened.pop()
            if is_box:
                while found and found[-1][0] > start:
                    found.pop()
                found.append((start, brace.end(), inside, brace.start()))
    unclosed = [(start, inside) for is_box, start, inside in opened if is_box]
    if not found and unclosed:
        return _forgiven(text, *unclosed[-1])
    # Only now is anything cut out: boxes in boxes would be copied once for each level.
    return [(start, end, text[low:high]) for start, end, low, high in found]


def _forgiven(text: str, start: int, inside: int) -> list[tuple[int, int, str]]:
    """\\boxed{185\\}: an escaped brace closes when nothing else does, close by."""
    end = text.find("\\}", inside, inside + 200)
    if end < 0 or "{" in text[inside:end] or "\n" in text[inside:end]:
        return []
    return [(start, end + 2, text[inside:end])]


def _boxed(text: str) -> Found | None:
    found = boxes(text)
    if not found:
        return None
    joined = [found[-1]]
    for box in reversed(found[:-1]):
        between = text[box[1] : joined[-1][0]]
        if len(between) > 60 or not _JOINT.fullmatch(between) or not re.search(r",|;|and|or|quad", between):
            break
        joined.append(box)
    contents = list(dict.fromkeys(box[2].strip() for box in reversed(joined)))
    return found[-1][1], ", ".join(contents)


def _tags(text: str) -> list[Found]:
    found: list[Found] = []
    at = 0
    while (start := text.find("<answer>", at)) >= 0:
        end = text.find("</answer>", start)
        if end < 0:
            break
        inner = _box_inside(text[start + len("<answer>") : end])
        found.append((end, _said(inner) if re.search(r"[a-z]{3} (?:is|are|equals) ", inner) else inner))
        at = end
    return found


def _box_inside(text: str) -> str:
    found = _boxed(text) if "\\boxed" in text else None
    return found[1] if found else text.strip()


def _answer_tag(text: str) -> Found | None:
    found = _tags(text)
    return found[-1] if found else None


def _hash_lines(text: str) -> list[Found]:
    found: list[Found] = []
    at = 0
    while (start := text.find("####", at)) >= 0:
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        line = text[start:end].strip("# \t")
        if line:
            found.append((end, _box_inside(line)))
        at = end
    return found


def _hashes(text: str) -> Found | None:
    found = _hash_lines(text)
    return found[-1] if found else None


def _phrases(text: str) -> list[re.Match[str]]:
    return list(_PHRASE.finditer(text))


def _final_answer(text: str) -> Found | None:
    text = _PLEASANTRY.sub(" ", text)
    for phrase in reversed(_phrases(text)[-40:]):
        found = _after_phrase(text, phrase)
        if found is not None and not ("answer" not in phrase[0].lower() and _CONCLUDED.search(text, found[0])):
            return _taken_back(text, found) or found
    return _before_phrase(text)


def _taken_back(text: str, found: Found) -> Found | None:
    """19 of `The answer is 18. Wait, no, it is 19.`"""
    doubts = list(_RETRACTED.finditer(text, found[0]))
    return _plain(text[doubts[-1].end() :]) if doubts and re.search(r"\d", text[doubts[-1].end() :]) else None


def _before_phrase(text: str) -> Found | None:
    """`x <= 2 is our answer`."""
    ends = list(re.finditer(r"\s(?:is|are) (?:the|our|my) (?:final |correct )?(?:answer|solution)\b", text[-2_000:]))
    if not ends:
        return None
    head = text[-2_000:][: ends[-1].start()]
    segments = [m for m in formulas(head) if not head[m.end() :].strip()]
    return (len(text), held(segments[-1])) if segments else None


def _after_phrase(text: str, phrase: re.Match[str]) -> Found | None:
    rest = text[phrase.end() : phrase.end() + _MAX_SENTENCE]
    lead = len(rest) - len(rest.lstrip(" \t\n*:}"))
    rest = rest[lead:]
    start = phrase.end() + lead
    math = formula_at(rest)
    if math and changed_behind(rest, math.end()):
        return start + math.end(), _sentence(rest)
    if math:
        return start + math.end(), _with_neighbours(rest, math)
    sentence = _sentence(rest)
    if not sentence.strip():
        return None
    return start + len(sentence), _said(sentence)


def _with_neighbours(rest: str, math: re.Match[str]) -> str:
    """A formula with the formulas that continue it: `$3$ and $4$`, `$28$ percent`."""
    answer, at = held(math), math.end()
    while joint := re.match(r"\s*(?:,\s*(?:and|or)?|and|or)\s*(?=\$|\\\()", rest[at:]):
        following = formula_at(rest, at + joint.end())
        if not following:
            break
        answer, at = f"{answer}, {held(following)}", following.end()
    tail = re.match(r"\s*(?:\\?%|percent\b|pct\b)", rest[at:])
    return answer + (" %" if tail else multiplied(rest, at))


def _sentence(rest: str) -> str:
    end = _SENTENCE_END.search(rest)
    return rest[: end.start()] if end else rest


def _said(sentence: str) -> str:
    """What a sentence gives as its answer: `The volume of $ABC$ is 120` gives 120."""
    sentence = without_contrast(without_place(without_bold(_PLEASANTRY.sub(" ", sentence).strip()).rstrip("*")))
    sentence = _REASON.sub("", sentence).strip() or sentence
    at = sentence.rfind(" is ")
    if at >= 0 and guessed(sentence[:at]):
        return sentence
    if at >= 0:
        sentence = sentence[at + 4 :].strip()
    if re.match(r"(?:[Oo]ption |[Cc]hoice )?\(?[A-H]\) \S", sentence) and not doubted(sentence):
        return sentence
    if _SECOND_CHOICE.match(sentence) or (doubted(sentence) and not _CHOICE.match(sentence)):
        return sentence
    segments = formulas(sentence)
    if segments and _math_first(sentence, segments):
        run = sentence[first_of_run(sentence, segments).start() :]
        return _with_neighbours(run, formula_at(run) or segments[-1])
    return _shortened(sentence)


def _math_first(sentence: str, segments: list[re.Match[str]]) -> bool:
    """Whether the last formula comes after every number outside of formulas."""
    numbers = [m.start() for m in PLAIN_NUMBER.finditer(sentence) if not inside(m.start(), segments)]
    return not numbers or numbers[-1] < segments[-1].start()


_CHOICE = re.compile(r"(?:option|choice)?\s*\(?([A-H])\)?(?=[.,:;)]|\s+(?:because|since|as)\b|\s*$)")
_SECOND_CHOICE = re.compile(
    r"(?:[Oo]ption |[Cc]hoice )?\(?[A-H]\)?\s*[,;]\s*(?:(?:or|and|but|maybe|perhaps|possibly)\b|\(?[A-H]\b)"
)


def _shortened(sentence: str) -> str:
    """A sentence of words around one number becomes the number; anything else stays whole."""
    choice = _CHOICE.match(sentence)
    if choice:
        return choice[1]
    words = re.findall(r"[A-Za-z]{3,}", re.sub(r"\\[a-zA-Z]+|\\text\{[^{}]*\}", "", sentence))
    numbers = list(PLAIN_NUMBER.finditer(sentence))
    sum_at = computed(sentence)
    if sum_at and not denied(sentence, *sum_at):
        return sentence[slice(*sum_at)] + multiplied(sentence, sum_at[1])
    if numbers and len(words) >= 2 and not re.search(r"[=<>\\^]", sentence):
        if denied(sentence, numbers[-1].start(), numbers[-1].end()):
            return sentence
        return numbers[-1][0].strip() + multiplied(sentence, numbers[-1].end())
    return sentence


def _fenced(text: str) -> Found | None:
    end = text.rfind("```")
    start = text.rfind("```", 0, end) if end > 0 else -1
    if start < 0:
        return None
    content = text[start + 3 : end]
    if re.search(r"\d", text[end:]):
        return None
    head, newline, body = content.partition("\n")
    return end, _box_inside(body if newline and (not head.strip() or head.strip().isalpha()) else content)


def _plain(text: str) -> Found | None:
    """The whole text when it is short, else the last formula or number, unless its sentence denies it."""
    text = without_bold(_PLEASANTRY.sub(" ", text).strip())
    if not text:
        return None
    stated = reasoned(text) or counted_in(text)
    if stated:
        return len(text), stated
    tail = without_place(text[-4_000:])
    sum_at, segments = computed(tail), formulas(tail)
    if sum_at and not (segments and segments[-1].end() > sum_at[0]):
        return len(text), text if denied(tail, *sum_at) else tail[slice(*sum_at)] + multiplied(tail, sum_at[1])
    said = _last_words(tail)
    if said:
        return len(text), said
    if len(text) <= 150 and "\n" not in text and _is_bare(without_lead(text), segments):
        return len(text), without_lead(text)
    numbers = [m for m in PLAIN_NUMBER.finditer(tail) if not inside(m.start(), segments)]
    if segments and (not numbers or segments[-1].start() > numbers[-1].start() or is_sum(tail, segments[-1])):
        last = first_of_run(tail, segments)
        if denied(tail, last.start(), segments[-1].end()):
            return len(text), text
        return len(text), _with_neighbours(tail[last.start() :], formula_at(tail[last.start() :]) or last)
    if numbers:
        if denied(tail, numbers[-1].start(), numbers[-1].end()):
            return len(text), text
        return len(text), numbers[-1][0].strip() + multiplied(tail, numbers[-1].end())
    return len(text), _chosen(text[-60:]) or verdict(text)


def _is_bare(text: str, segments: list[re.Match[str]]) -> bool:
    """Whether a short text is an answer without a sentence around it."""
    if any(not segment[0].startswith(text[:1]) for segment in segments[:1]) and re.search(r"[A-Za-z]{3}", text):
        return False
    begins = re.match(r"(?:I|(?!sqrt\b|pi\b)[A-Za-z]?[a-z']*[a-z]{2})\s+(?=[^\s=:])", text)
    return not begins and not re.search(r"[A-Za-z]{2,}\s+[A-Za-z]{2,}", text)


def _chosen(tail: str) -> str:
    """The letter of a choice that ends a text, unless it is denied or the last of several."""
    choice = re.search(r"\b([A-H])\s*[.)]?\s*$", tail)
    if not choice or denied(tail, choice.start(), choice.end()):
        return ""
    return "" if re.search(r"\b[A-H]\s*(?:,|or|and|,\s*or)\s*$", tail[: choice.start()]) else choice[1]


_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3,}")
_FORMULA_WORDS = "sqrt sin cos tan log inf infinity and cbrt arctan arcsin arccos exp max min"
_MATH_WORDS = frozenset(_FORMULA_WORDS.split())


def _last_words(text: str) -> str:
    """What follows the last `is`, `are` or `thus` of the text, if it is a bare formula: `The point is (1, 2).`"""
    links = list(LINK.finditer(text[-400:]))
    if not links or denied(text[-400:], links[-1].end(), len(text[-400:])):
        return ""
    said = text[-400:][links[-1].end() :].strip()
    said = said[:-1].rstrip() if said.endswith(".") else said
    bare = all(word in _MATH_WORDS for word in _WORD.findall(said)) and "$" not in said and "\n" not in said
    return said if bare and not re.search(r"\\[(\[]|[.;?!] ", said) else ""


_FINDERS = {
    "boxed": _boxed,
    "answer_tag": _answer_tag,
    "hashes": _hashes,
    "final_answer": _final_answer,
    "fenced": _fenced,
    "plain": _plain,
}
