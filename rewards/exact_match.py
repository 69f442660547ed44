"""The answer, character by character: for tasks whose answers have one spelling."""

from collections.abc import Sequence

from grpo_lightning.types import Record
from rewards.tags import only
from rewards.vote import most_frequent


class ExactMatch:
    """1 where the completion's answer equals the row's, white space at the ends aside.

    A row without an answer has no score. Two answers are none: a tag that occurs twice never matches.

    Args:
        tag: The tag that holds the answer, as in `<answer>42</answer>`; null: the whole completion is the answer.

    """

    def __init__(self, tag: str | None = None) -> None:
        self.tag = tag

    def __call__(self, records: Sequence[Record]) -> list[float | None]:
        return [self.score(record.completion, record.answer) for record in records]

    def score(self, completion: str, answer: str | None) -> float | None:
        """1, 0, or None without an answer to compare with."""
        if answer is None:
            return None
        return float(self.answer_of(completion) == answer.strip())

    def majority(self, completions: Sequence[str]) -> int | None:
        """The place of a completion that gives the most frequent answer; None if no completion gives one."""
        return most_frequent(
            [self.answer_of(each) or None for each in completions], same=lambda one, other: one == other
        )

    def answer_of(self, completion: str) -> str | None:
        """The completion's answer, if it gives one."""
        given = completion if self.tag is None else only(completion, self.tag)
        return None if given is None else given.strip()
