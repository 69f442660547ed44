"""One rollout ahead: the next prompts are answered and scored while the policy is updated on the answers of before.

What is drawn so comes from a policy that is one training step older than the one that it trains. The loss knows: its
ratio is to the policy that drew. Every draw is still a function of (seed, step, prompt), so that nothing depends on how
long anything took.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from grpo_lightning.collection import Collected
from grpo_lightning.filters import outcome
from grpo_lightning.generation import Rollout
from grpo_lightning.types import Completion, Group, Prompt, RewardStats, Scores

Plain = dict[str, Any]
"""A rollout in the values that a checkpoint holds."""


class Abandoned(Exception):
    """What ends a generation that nobody waits for any more."""


class Background:
    """A call in a thread of its own. `checked` is for the call to ask, now and then, whether it is still wanted."""

    def __init__(self, call: Callable[["Background"], Collected]) -> None:
        self._found: list[Collected] = []
        self._error: list[BaseException] = []
        self._abandoned, self._ended = threading.Event(), threading.Event()

        def run() -> None:
            try:
                self._found.append(call(self))
            except BaseException as error:  # the end of a thread: `result` raises it
                self._error.append(error)
            finally:
                self._ended.set()

        self._thread = threading.Thread(target=run, name="next rollout", daemon=True)

    def start(self) -> None:
        try:
            self._thread.start()
        except RuntimeError:  # no more threads
            self._ended.set()
            raise

    def checked(self) -> None:
        """Raises where nobody waits any more."""
        if self._abandoned.is_set():
            raise Abandoned

    def result(self) -> Collected:
        """Waits for what the call gives, or raises what it raised."""
        self._ended.wait()  # join() alone takes a thread for ended when a signal interrupts it
        if self._error:
            raise self._error[0]
        return self._found[0]

    def abandon(self) -> None:
        """Asks the call to end, and waits until it has."""
        self._abandoned.set()
        self._ended.wait()
        if self._thread.is_alive():
            self._thread.join()


@contextmanager
def background(call: Callable[[Background], Collected]) -> Iterator[Background]:
    """The call runs while the context does; if that raises, the call is abandoned."""
    running = Background(call)
    try:
        running.start()
        yield running
    except BaseException:
        running.abandon()
        raise


def packed(found: Collected, terms: Plain) -> Plain:
    """The rollout in plain values; its prompts by their uids. `terms`: by which settings it was drawn and scored."""
    return {
        "terms": terms,
        "uids": [group.prompt.uid for group in found.rollout.groups],
        "completions": [
            [(c.token_ids, c.sampler_logprobs, c.text, c.stop_reason) for c in group.completions]
            for group in found.rollout.groups
        ],
        "truncation_gap": found.rollout.truncation_gap,
        "names": list(found.scores.names),
        "rewards": found.scores.rewards.tolist(),
        "stats": [asdict(stats) for stats in found.scores.stats],
    }


def unpacked(
    plain: Plain, prompts: Sequence[Prompt], terms: Plain, judge: Callable[[Scores], np.ndarray], *, drop: bool
) -> Collected | None:
    """The rollout again; None if it is not of these prompts, as when they are shared out among other ranks, or was
    drawn and scored by other settings. `drop`: silent groups do not train.
    """
    if plain["uids"] != [prompt.uid for prompt in prompts] or plain["terms"] != terms:
        return None
    groups = tuple(
        Group(
            prompt=prompt,
            completions=tuple(
                Completion(token_ids=tuple(ids), sampler_logprobs=tuple(logprobs), text=text, stop_reason=reason)
                for ids, logprobs, text, reason in completions
            ),
        )
        for prompt, completions in zip(prompts, plain["completions"], strict=True)
    )
    scores = Scores(
        names=tuple(plain["names"]),
        rewards=np.array(plain["rewards"], dtype=np.float64),
        stats=tuple(RewardStats(**stats) for stats in plain["stats"]),
    )
    result = outcome(judge(scores))
    rollout = Rollout(groups=groups, prefill_seconds=0.0, decode_seconds=0.0, truncation_gap=plain["truncation_gap"])
    return Collected(
        rollout=rollout,
        scores=scores,
        outcome=result,
        train=result.mixed if drop else np.ones_like(result.mixed),
        rounds=1,
        rollout_seconds=0.0,
        reward_seconds=0.0,
    )


def without_clock(found: Collected) -> Collected:
    """As the step sees it that trains on it: the time went by in the step before."""
    rollout = replace(found.rollout, prefill_seconds=0.0, decode_seconds=0.0)
    return replace(found, rollout=rollout, rollout_seconds=0.0, reward_seconds=0.0)
