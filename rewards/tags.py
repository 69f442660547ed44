"""Rewards for completions written in tags, like `<think>…</think><answer>…</answer>`.

One pass over tag positions, so that time grows with length only.
"""

import re
from collections.abc import Sequence

from grpo_lightning.types import Record


def only(text: str, tag: str) -> str | None:
    """What stands between `<tag>` and `</tag>`; None unless each occurs exactly once, in this order."""
    start, end = f"<{tag}>", f"</{tag}>"
    if text.count(start) != 1 or text.count(end) != 1:
        return None
    begin, stop = text.index(start) + len(start), text.index(end)
    return text[begin:stop] if begin <= stop else None


def spellings(text: str, tag: str) -> int:
    """How often the tag opens or closes, also in other cases, with blanks or with attributes: `<Answer id="1">`."""
    return len(re.findall(rf"<\s{{0,9}}/?\s{{0,9}}{re.escape(tag)}(?:[\s/][^<>]{{0,999}})?>", text, re.I))


_UNSEEN = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
    + "".join(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
)
"""Letters and marks of no width or no ink: the default-ignorable ones that `isprintable` takes for printable."""


def says_something(text: str) -> bool:
    """Whether it holds a character that can be seen: no white space, control, zero width or filler."""
    return any(each.isprintable() and not each.isspace() and each not in _UNSEEN for each in text)


class Format:
    """1 where the completion is just these tags, each once, in this order, with nothing but white space around them.

    Spelt as given: a `<Tag>`, `< tag >` or `<tag id="1">` is none, and within the tags one too many.

    Args:
        tags: The tags, in order.
        may_be_empty: Those that may hold nothing that can be seen.

    """

    def __init__(self, tags: Sequence[str] = ("think", "answer"), may_be_empty: Sequence[str] = ()) -> None:
        if not tags or len(set(tags)) != len(tags):
            raise ValueError(f"Format.tags: {list(tags)} is refused; give at least one tag, each once")
        if unknown := set(may_be_empty) - set(tags):
            raise ValueError(f"Format.may_be_empty: {sorted(unknown)} are not among the tags {list(tags)}")
        self.tags, self.may_be_empty = tuple(tags), frozenset(may_be_empty)

    def __call__(self, records: Sequence[Record]) -> list[float]:
        return [float(self.holds(record.completion)) for record in records]

    def holds(self, text: str) -> bool:
        """Whether the text has the format."""
        rest = text
        for tag in self.tags:
            content = only(text, tag)
            if content is None or spellings(text, tag) > 2 or not self._fills(tag, content):
                return False
            rest = rest.lstrip()
            whole = f"<{tag}>{content}</{tag}>"
            if not rest.startswith(whole):
                return False
            rest = rest[len(whole) :]
        return not rest.strip()

    def _fills(self, tag: str, content: str) -> bool:
        return tag in self.may_be_empty or says_something(content)


class Filled:
    """1 where a tag holds anything that can be seen: with weight 0, the share of completions that think.

    Args:
        tag: The tag.

    """

    def __init__(self, tag: str = "think") -> None:
        self.tag = tag

    def __call__(self, records: Sequence[Record]) -> list[float]:
        return [float(says_something(only(record.completion, self.tag) or "")) for record in records]
