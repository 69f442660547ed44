"""The answer that most completions of a prompt give: which completions agree is the reward's to say.

Runs where rewards run, in killable workers: to compare two answers is to read hostile text.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, cast, runtime_checkable

import numpy as np
from jaxtyping import Float

from grpo_lightning.scoring import LONGEST_TIMEOUT, Executor, RewardSpec, Scorer
from grpo_lightning.types import Completion, Group, Record

TEXTS = "completions"
"""The column of a ballot's row: the texts of a prompt's completions."""


@runtime_checkable
class Votes(Protocol):
    """A reward that knows when two completions give the same answer; without this there is no maj@k."""

    def majority(self, completions: Sequence[str]) -> int | None:
        """The place of a completion that gives the answer which most of them give, the first of equally many; None if
        no completion gives one.
        """
        ...


class Majority:
    """A reward of ballots: one record a prompt, whose score is the place of the completion that wins."""

    def __init__(self, reward: Votes) -> None:
        self.reward = reward

    def __call__(self, records: Sequence[Record]) -> list[float | None]:
        return [self._count(cast(list[str], record.row[TEXTS])) for record in records]

    def _count(self, completions: list[str]) -> int | None:
        place = self.reward.majority(completions)
        if place is not None and place not in range(len(completions)):
            raise ValueError(f"majority gave {place!r}, which is no place among {len(completions)} completions")
        return place


def ballots(spec: RewardSpec, workers: int | None, executor: Executor, *, samples: int) -> Scorer | None:
    """The scorer that counts votes by this reward; None if it cannot tell when answers are the same.

    It runs where the reward does. A ballot may take as long as it may to score its completions.
    """
    if not isinstance(spec.reward, Votes):
        return None
    counting = RewardSpec(
        reward=Majority(spec.reward),
        name="majority",
        fail="skip",
        timeout=min(spec.timeout * samples, LONGEST_TIMEOUT),
        inline=spec.inline,
    )
    return Scorer([counting], workers=workers, executor=executor)


def winners(scorer: Scorer, groups: Sequence[Group]) -> Float[np.ndarray, " P"]:
    """Of each group the place of the completion whose answer wins.

    NaN where none gives an answer, or the votes could not be counted, which is logged.
    """
    paper = Completion(token_ids=(), sampler_logprobs=(), text="", stop_reason="eos")
    cast = [
        Group(
            prompt=replace(group.prompt, row={TEXTS: [each.text for each in group.completions]}, rewards=None),
            completions=(paper,),
        )
        for group in groups
    ]
    return scorer.score(cast).rewards[:, 0, 0] if cast else np.zeros(0)
