"""Prompts -> a scored rollout; with dynamic sampling in several rounds, until enough groups carry signal."""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float

from grpo_lightning.filters import FilterConfig, Outcome, outcome
from grpo_lightning.generation import Rollout
from grpo_lightning.ranks import Ranks
from grpo_lightning.types import Group, Prompt, RewardStats, Scores
from grpo_lightning.waiting import BOARD


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """Everything that one step generated, and which of its groups train."""

    rollout: Rollout
    scores: Scores
    outcome: Outcome
    train: Bool[np.ndarray, " P"]
    rounds: int
    rollout_seconds: float
    reward_seconds: float
    """What scoring added after generation had ended."""


class Scoring(Protocol):
    """A batch in scoring, such as a `ScoreStream`."""

    def add(self, place: int, group: Group) -> None:
        """Takes a finished group; `place` is its place in the batch."""
        ...

    def scores(self) -> Scores:
        """Those of all groups, in order of place."""
        ...


def collect(
    prompts: Sequence[Prompt],
    *,
    config: FilterConfig,
    judge: Callable[[Scores], Float[np.ndarray, "P G"]],
    generate: Callable[[Sequence[Prompt], Callable[[int, Group], None]], Rollout],
    stream: Callable[[], AbstractContextManager[Scoring]],
    draw: Callable[[int], list[Prompt]],
    ranks: Ranks,
) -> Collected:
    """This rank's share of a step. `draw(n)` gives its share of at least n further prompts, or of fewer if there are no
    more; `judge`, the values by which a group is silent or not.

    A group is scored while others are still generated: `generate` hands each to its second argument as it is finished.
    With `silent: refill` rounds go on until, over all ranks, as many groups carry signal as there were prompts. How
    many prompts a round draws follows from the share with signal so far; a surplus in the last round does not train.
    All ranks make the same number of rounds.
    """
    wanted = int(ranks.sum(torch.tensor(float(len(prompts)))))
    rollouts: list[Rollout] = []
    scores: list[Scores] = []
    train: list[np.ndarray] = []
    clock = [0.0, 0.0]
    found = drawn = 0
    rounds = config.max_rounds if config.silent == "refill" else 1
    while prompts:
        started = time.perf_counter()
        BOARD.begin("rollout")
        with stream() as scoring:
            rollouts.append(generate(prompts, scoring.add))
            generated = time.perf_counter()
            BOARD.begin("reward")
            scores.append(scoring.scores())
        if len(scores[-1].rewards) != len(rollouts[-1].groups):
            raise RuntimeError(
                f"the generator handed {len(scores[-1].rewards)} of {len(rollouts[-1].groups)} groups to `finished`; "
                "it must call it once for each"
            )
        clock[0] += generated - started
        clock[1] += time.perf_counter() - generated
        signal = outcome(judge(scores[-1])).mixed
        everywhere = np.stack(ranks.gather(signal), axis=1).reshape(-1)
        admitted = everywhere & (found + np.cumsum(everywhere) <= wanted)
        train.append(admitted.reshape(-1, ranks.size)[:, ranks.rank])
        found, drawn = found + int(admitted.sum()), drawn + len(everywhere)
        missing = wanted - found
        if missing == 0 or len(rollouts) == rounds:
            break
        prompts = draw(min(wanted, math.ceil(missing * drawn / max(found, 1))))
    whole = joined_scores(scores)
    result = outcome(judge(whole))
    return Collected(
        rollout=joined_rollouts(rollouts),
        scores=whole,
        outcome=result,
        train=np.ones_like(result.mixed) if config.silent == "train" else np.concatenate(train),
        rounds=len(rollouts),
        rollout_seconds=clock[0],
        reward_seconds=clock[1],
    )


def joined_rollouts(parts: Sequence[Rollout]) -> Rollout:
    """The rounds of a step as one rollout."""
    return Rollout(
        groups=tuple(group for part in parts for group in part.groups),
        prefill_seconds=sum(part.prefill_seconds for part in parts),
        decode_seconds=sum(part.decode_seconds for part in parts),
        truncation_gap=sum(part.truncation_gap for part in parts),
    )


def joined_scores(parts: Sequence[Scores]) -> Scores:
    """The rounds of a step as one; of latencies the worst round's."""
    return Scores(
        names=parts[0].names,
        rewards=np.concatenate([part.rewards for part in parts]),
        stats=tuple(
            RewardStats(
                seconds=sum(each.seconds for each in stats),
                errors=sum(each.errors for each in stats),
                crashes=sum(each.crashes for each in stats),
                timeouts=sum(each.timeouts for each in stats),
                latency_p50=max(each.latency_p50 for each in stats),
                latency_p99=max(each.latency_p99 for each in stats),
            )
            for stats in zip(*(part.stats for part in parts), strict=True)
        ),
    )
