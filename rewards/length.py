"""Rewards for the length of a completion, counted in its sampled tokens, the stop token included."""

import inspect
import math
from collections.abc import Callable, Sequence

from grpo_lightning.types import Record


class Tokens:
    """The number of tokens: for a bound on their mean (`role: constraint`), or to be shown with weight 0."""

    def __call__(self, records: Sequence[Record]) -> list[float]:
        return [float(len(record.token_ids)) for record in records]


class Target:
    """1 at a length, falling in straight lines to 0 on both sides.

    max(0, 1 - max(0, |L - tokens| - tolerance) / falloff)

    Args:
        tokens: The wanted length.
        tolerance: Tokens more or less that make no difference.
        falloff: Tokens beyond the tolerance at which the reward is 0.

    """

    def __init__(self, tokens: int, tolerance: int = 0, falloff: int = 100) -> None:
        for key, value, least in (("tokens", tokens, 1), ("tolerance", tolerance, 0), ("falloff", falloff, 1)):
            if value < least:
                raise ValueError(f"Target.{key}: {value} is refused; it must be at least {least}")
        self.tokens, self.tolerance, self.falloff = tokens, tolerance, falloff

    def __call__(self, records: Sequence[Record]) -> list[float]:
        return [self.value(len(record.token_ids)) for record in records]

    def value(self, length: int) -> float:
        """The reward of a length."""
        return max(0.0, 1.0 - max(0, abs(length - self.tokens) - self.tolerance) / self.falloff)


class Overlong:
    """0 up to a length, then falling in a straight line to -1: the soft overlong punishment of DAPO.

    min(0, max(-1, ((limit - buffer) - L) / buffer))        https://arxiv.org/abs/2503.14476, equation 13

    Args:
        limit: The length from which the reward is -1; commonly `sampling.max_tokens`.
        buffer: Tokens before the limit over which it falls.

    """

    def __init__(self, limit: int, buffer: int) -> None:
        if limit < 1:
            raise ValueError(f"Overlong.limit: {limit} is refused; it must be at least 1")
        if not 1 <= buffer <= limit:
            raise ValueError(f"Overlong.buffer: {buffer} is refused; it must be from 1 to the limit, {limit}")
        self.limit, self.buffer = limit, buffer

    def __call__(self, records: Sequence[Record]) -> list[float]:
        return [self.value(len(record.token_ids)) for record in records]

    def value(self, length: int) -> float:
        """The reward of a length."""
        return min(0.0, max(-1.0, (self.limit - self.buffer - length) / self.buffer))


class Cosine:
    """Half a cosine wave over the length, between two values for right and two for wrong completions.

    r_L + (r_0 - r_L) / 2 * (1 + cos(π L / limit)), with r_0 at length 0, r_L just before the limit.
    https://arxiv.org/abs/2502.03373: a right completion had better be short, a wrong one had better have tried longer.

    Takes the place of the reward that it asks; with that one beside it, as `weight: 0` to be seen, verification is paid
    for twice. Where that one does not apply, neither does this.

    Args:
        correct: The reward that decides: right from a score of 1 on. Not an async one.
        limit: The length that the wave spans; commonly `sampling.max_tokens`.
        right: r_0 and r_L of a right completion.
        wrong: r_0 and r_L of a wrong one.
        exceeded: The reward from the limit on, right or wrong.

    """

    def __init__(
        self,
        correct: Callable[[Sequence[Record]], Sequence[float | None]],
        limit: int,
        right: tuple[float, float] = (2.0, 1.0),
        wrong: tuple[float, float] = (-10.0, 0.0),
        exceeded: float = -10.0,
    ) -> None:
        if not callable(correct):
            raise ValueError(f"Cosine.correct: {correct!r} cannot be called; give a reward")
        if inspect.iscoroutinefunction(correct) or inspect.iscoroutinefunction(type(correct).__call__):
            raise ValueError(f"Cosine.correct: {correct!r} is async; give a reward that is not")
        if limit < 1:
            raise ValueError(f"Cosine.limit: {limit} is refused; it must be at least 1")
        for key, values in (("right", right), ("wrong", wrong), ("exceeded", (exceeded,))):
            if not all(map(math.isfinite, values)):
                raise ValueError(f"Cosine.{key}: {values} is refused; it must be finite")
        self.correct, self.limit = correct, limit
        self.right, self.wrong, self.exceeded = tuple(right), tuple(wrong), exceeded

    def __call__(self, records: Sequence[Record]) -> list[float | None]:
        verdicts, lengths = self.correct(records), [len(record.token_ids) for record in records]
        return [
            None if verdict is None else self.value(verdict >= 1, length)
            for verdict, length in zip(verdicts, lengths, strict=True)
        ]

    def value(self, is_right: bool, length: int) -> float:
        """The reward of a length."""
        if length >= self.limit:
            return self.exceeded
        at_0, at_limit = self.right if is_right else self.wrong
        return at_limit + (at_0 - at_limit) / 2 * (1 + math.cos(math.pi * length / self.limit))
