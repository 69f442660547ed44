"""How many steps a completion reasons in, by their marks: a nudge towards structure, not a judge of reasoning."""

import re
from collections.abc import Iterator, Sequence

from grpo_lightning.types import Record
from rewards.tags import only

ORDINALS = "first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|firstly|secondly|thirdly|next|then|finally"
MARK = re.compile(
    rf"(?:[#>*_]{{1,6}} ?)?(?:step \d{{1,3}}\b[ *_]*[.:)]?|\d{{1,3}}[.)](?=\s|$)|[-*•](?=\s|$)|(?:{ORDINALS}),)[*_]*",
    re.I,
)
"""What begins a step: `1.`, `2)`, `Step 3:`, `- `, `First,`, also in Markdown's emphasis and headings. Linear in time:
tried at the beginning of a line or sentence only, and nothing after an unbounded repeat can fail."""
SENTENCE = re.compile(rf"(?<=[.!?;]) (?=(?:{ORDINALS}|step \d{{1,3}}\b))", re.I)
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_\u3040-\u30ff\u3400-\u9fff]+")
"""A word; each character of Chinese and Japanese is one."""


def steps(text: str) -> Iterator[tuple[str, ...]]:
    """The words, without case, between each mark and the next. What stands before the first mark is no step."""
    words: list[str] | None = None
    for line in text.splitlines():
        for sentence in SENTENCE.split(" ".join(line.split())):
            mark = MARK.match(sentence)
            if mark is not None:
                if words is not None:
                    yield tuple(words)
                words, sentence = [], sentence[mark.end() :]
            if words is not None:
                words += WORD.findall(sentence.casefold())
    if words is not None:
        yield tuple(words)


class Steps:
    """The number of steps as a share of the number wanted, 1 at most.

    A step begins with a mark, such as `1.`, `Step 2:`, `- ` or `First,`, and holds words of its own: an empty one
    and one that repeats another word by word do not count. Made-up steps do; keep the weight small.

    Args:
        wanted: Steps from which the reward is 1.
        words: Different words that a step needs.
        tag: Count in this tag only, as in `<think>…</think>`; null: in the whole completion.

    """

    def __init__(self, wanted: int = 3, words: int = 3, tag: str | None = None) -> None:
        for key, value in (("wanted", wanted), ("words", words)):
            if value < 1:
                raise ValueError(f"Steps.{key}: {value} is refused; it must be at least 1")
        if tag == "":
            raise ValueError("Steps.tag: '' is refused; name a tag, or null for the whole completion")
        self.wanted, self.words, self.tag = wanted, words, tag

    def __call__(self, records: Sequence[Record]) -> list[float]:
        return [min(1.0, self.count(record.completion) / self.wanted) for record in records]

    def count(self, completion: str) -> int:
        """How many steps there are."""
        text = completion if self.tag is None else only(completion, self.tag) or ""
        return len({step for step in steps(text) if len(set(step)) >= self.words})
