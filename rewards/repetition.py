"""A penalty for a completion that repeats itself."""

from collections.abc import Hashable, Sequence
from typing import Literal, get_args

from grpo_lightning.types import Record

Unit = Literal["token", "word"]


def repeated_share(units: Sequence[Hashable], n: int) -> float:
    """The share of n-grams that occurred before in the sequence; 0 where it is shorter than n.

    Numbers stand for the n-grams of 1, 2, 4, ... units, and two that overlap for one of n: time grows with
    length * log n, and no n-gram is ever spelt out.
    """
    total = len(units) - n + 1
    if total < 1:
        return 0.0
    width, names = 1, list(units)
    while 2 * width <= n:
        numbers: dict[Hashable, int] = {}
        names = [numbers.setdefault(pair, len(numbers)) for pair in zip(names, names[width:], strict=False)]
        width *= 2
    return 1.0 - len(set(zip(names, names[n - width :], strict=False))) / total


class Repetition:
    """Minus the share of n-grams that repeat an earlier one: 0 for a text without repeats, towards -1 for a loop.

    -(1 - distinct n-grams / n-grams): the penalty of https://arxiv.org/abs/2502.03373, for the completion as a whole.
    A text shorter than n is not penalized, and one that repeats itself in other words is not seen through.

    Args:
        n: The size of the n-grams; the paper takes 40.
        unit: Of what: sampled tokens, or words between white space, without case. Text without white space, such as
            Chinese, is one word.

    """

    def __init__(self, n: int = 4, unit: Unit = "token") -> None:
        if n < 1:
            raise ValueError(f"Repetition.n: {n} is refused; it must be at least 1")
        if unit not in get_args(Unit):
            raise ValueError(f"Repetition.unit: {unit!r} is refused; it must be one of {', '.join(get_args(Unit))}")
        self.n, self.unit = n, unit

    def __call__(self, records: Sequence[Record]) -> list[float]:
        return [-repeated_share(self.units(record), self.n) for record in records]

    def units(self, record: Record) -> Sequence[Hashable]:
        """What n-grams are made of."""
        return record.token_ids if self.unit == "token" else record.completion.casefold().split()
