"""Answers in words: prose against products of symbols, letters of multiple choice, and their normal forms."""

import re

from rewards.math_answer.text import squeeze
from rewards.math_answer.tree import Text

_LETTER = re.compile(
    r"(?:\\?(?:text|textbf|mathrm|mathbf)\s*\{)?\s*(?:(?:option|choice|answer)\b:?\s*)?[(\[]?\s*([A-Z])\s*[)\]]?\s*\}?\s*[.:]?",
    re.IGNORECASE,
)
_LEADING = re.compile(r"(?:\\(?:text|textbf|mathrm|mathbf) ?\{)? ?\(?([A-H]) ?(?:\)|[.:](?= )) ?\}?")
_SHORT = "no on or is at am an as by do go he if in it me my of so to up us we be"
_SHORT_WORDS = frozenset(_SHORT.split())


def plain_text(text: str) -> Text:
    """Words without markup, case and closing punctuation. A lone letter keeps its case: x is not X."""
    words = re.sub(
        r"\\(?:text|textbf|textit|mathrm|mathbf|mbox|operatorname|textrm|emph|textsf|texttt)\s*(?=\{)", " ", text
    )
    words = re.sub(r"\$|\\[ ,;!]" if re.search(r"\\[a-zA-Z]|[_^]", words) else r"[{}$]|\\[ ,;!]", " ", words)
    words = " ".join(re.sub(r"\\(?:[lc]?dots[bc]?)(?![a-zA-Z])", "...", words).split())
    words = words.lstrip(" :\"'`*").rstrip(" .,;:\"'`*") if not words.endswith("...") else words
    if words.startswith("(") and words.endswith(")") and words.count("(") == 1:
        words = words[1:-1].strip()
    return Text(words if len(words) == 1 else squeeze(re.sub(r"(?<=[a-zA-Z])-(?=[a-zA-Z])", " ", words)).lower())


def letter(text: str) -> str:
    """The choice that a text names, as in (C), C., \\text{(C)}, option C; or nothing."""
    found = _LETTER.fullmatch(text.strip())
    if not found:
        return ""
    marked = any(mark in text for mark in "()[]") or len(text.strip()) > 3
    return found[1].upper() if marked or found[1].isupper() else ""


def leading_letter(text: str) -> str:
    """The choice that begins an answer, as in (C) 12 or C: the moon; nothing when another choice follows."""
    found = _LEADING.match(text)
    return found[1] if found and not re.search(r"(?<![A-Za-z\\])[A-H](?![A-Za-z])", text[found.end() :]) else ""


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
