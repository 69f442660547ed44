"""Rewards for completions written in tags, like `<think>…</think><answer>…</answer>`.

One pass over tag positions, so that time grows with length only; no regular expression reads model output.
"""

from collections.abc import Sequence

from grpo_lightning.types import Record


def only(text: str, tag: str) -> str | None:
    """What stands between `<tag>` and `</tag>`; None unless each occurs exactly once, in this order."""
    start, end = f"<{tag}>", f"</{tag}>"
    if text.count(start) != 1 or text.count(end) != 1:
        return None
    begin, stop = text.index(start) + len(start), text.index(end)
    return text[begin:stop] if begin <= stop else None


class Format:
    """1 where the completion is just these tags, each once, in this order, with nothing but white space around them.

    Args:
        tags: The tags, in order.
        may_be_empty: Those that may hold nothing but white space.

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
            if content is None or not (content.strip() or tag in self.may_be_empty):
                return False
            rest = rest.lstrip()
            whole = f"<{tag}>{content}</{tag}>"
            if not rest.startswith(whole):
                return False
            rest = rest[len(whole) :]
        return not rest.strip()


class Filled:
    """1 where a tag holds anything but white space: with weight 0, the share of completions that think.

    Args:
        tag: The tag.

    """

    def __init__(self, tag: str = "think") -> None:
        self.tag = tag

    def __call__(self, records: Sequence[Record]) -> list[float]:
        return [float(bool((only(record.completion, self.tag) or "").strip())) for record in records]
