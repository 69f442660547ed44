"""Rewards as configured, and the scorer that applies them to groups, all at once or each as soon as it is finished.

Keeps the rewards apart: weights are only carried, and `combine.py` adds up. Imports neither torch nor Lightning.

The border to hostile text is here: whatever a reward does to a record ends as a number, NaN for "does not apply", or a
failure that is counted, logged and scored by the policy `fail`. No NaN or infinity leaves as a score.
"""

import importlib.util
import math
import os
import pickle
import re
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from grpo_lightning.failures import FailureLog, shown
from grpo_lightning.parts import Part
from grpo_lightning.pool import Outcome, PooledReward, RewardError, Tasks, WorkerPool
from grpo_lightning.ray_pool import RayPool
from grpo_lightning.types import Group, Record, RewardStats, Scores
from grpo_lightning.waiting import waiting
from grpo_lightning.workers import Reward, checked, describe, invoke

__all__ = ["Executor", "Reward", "RewardError", "RewardSpec", "ScoreStream", "Scorer"]

FailPolicy = Literal["raise", "zero", "skip"]
Executor = Literal["processes", "ray"]
"""Where rewards that are not inline run."""

LONGEST_TIMEOUT = 86_400
"""A day; what waits on processes takes no more than a few weeks."""


@dataclass(frozen=True, kw_only=True)
class RewardSpec(Part):
    """One reward, what it is to the whole, and what a failure of it means."""

    reward: Reward
    """A function, or a class with `__call__` and its arguments; sync or async."""
    name: str | None = None
    """Shown in logs and used by a row's routing; null: the function's or class's name in snake_case."""
    fail: FailPolicy = "zero"
    """Scores a record on which the reward raised, timed out, crashed or gave NaN or an infinity. raise: the run stops;
    zero: 0.0; skip: as if the reward did not apply."""
    timeout: float = 10.0
    """Seconds for one record, after which its worker is killed. Inline, for the one call: this times its records."""
    inline: bool = False
    """Call once with the whole batch in a thread of this process, instead of record by record in workers: for reward
    models on a GPU, and rewards that batch or have their own pool. A call that times out is left alone but cannot be
    killed: until it ends, the reward's records count as timeouts. Code that keeps the GIL is not timed out at all."""

    def __post_init__(self) -> None:
        try:
            super().__post_init__()
        except ValueError as error:
            whose = self.name or getattr(self.reward, "__name__", type(self.reward).__name__)
            raise ValueError(f"rewards.{whose}.{error}") from error
        if not callable(self.reward):
            raise TypeError(f"reward: {self.reward!r} cannot be called; give a function or an object with __call__")
        if not 0 < self.timeout <= LONGEST_TIMEOUT:
            raise ValueError(f"timeout: {self.timeout} is refused; it must be above 0 and at most {LONGEST_TIMEOUT} s")
        if self.fail not in get_args(FailPolicy):
            raise ValueError(f"fail: {self.fail!r} is refused; it must be one of {', '.join(get_args(FailPolicy))}")
        if self.name is not None and not re.fullmatch(r"[\w.-]+", self.name):
            raise ValueError(f"name: {self.name!r} is refused; use letters, digits, '_', '-' and '.' only")


class Scorer:
    """Applies all rewards to groups. One thread and one batch at a time; processes start when one first needs them."""

    def __init__(
        self, specs: Sequence[RewardSpec], workers: int | None = None, executor: Executor = "processes"
    ) -> None:
        """For the rewards that are not inline: how many workers, and whose.

        `workers`: None is one for each core, of this process or of the Ray cluster. `executor`: processes of this
        machine, or actors of the Ray cluster that RAY_ADDRESS names, else of one started here.
        """
        if workers is not None and workers < 1:
            raise ValueError(f"workers: {workers} is refused; it must be at least 1")
        if executor not in get_args(Executor):
            raise ValueError(f"executor: {executor!r} is refused; it must be one of {', '.join(get_args(Executor))}")
        if executor == "ray" and importlib.util.find_spec("ray") is None:
            raise ValueError("executor: 'ray' needs Ray, which is not installed: pip install 'grpo-lightning[ray]'")
        self.specs = tuple(specs)
        self.names = _names(self.specs)
        self.workers, self.executor = workers, executor
        self._pooled = {
            k: PooledReward(name, _pickled(name, spec.reward), spec.timeout)
            for k, (name, spec) in enumerate(zip(self.names, self.specs, strict=True))
            if not spec.inline
        }
        self._pool: WorkerPool | RayPool | None = None
        self._stream: ScoreStream | None = None
        self._abandoned: dict[int, threading.Thread] = {}
        self._failures = [FailureLog(name) for name in self.names]

    def check_routing(self, names: Iterable[str]) -> None:
        """Refuses names of rewards that this scorer does not have."""
        unknown = sorted(set(names) - set(self.names))
        if unknown:
            raise ValueError(f"rewards: {', '.join(map(repr, unknown))} unknown; there are {', '.join(self.names)}")

    def score(self, groups: Sequence[Group]) -> Scores:
        """Scores every completion by every reward that its prompt asks for; all groups are of one size.

        NaN stands where a reward does not apply: it returned None, the prompt's routing leaves it out, or it failed
        under `skip`. Raises RewardError when a reward with `fail: raise` fails or a worker cannot start; ValueError for
        routing to an unknown reward.
        """
        with self.stream() as stream:
            for place, group in enumerate(groups):
                stream.add(place, group)
            return stream.scores()

    def stream(self) -> "ScoreStream":
        """A batch whose groups come one by one; it ends, and the next may begin, when its context is left."""
        if self._stream is not None:
            raise RuntimeError("a batch is still being scored: leave its stream before the next")
        self._stream = ScoreStream(self)
        return self._stream

    def close(self) -> None:
        """Leaves no process and no open stream behind; a later batch starts new ones."""
        if self._stream is not None:
            self._stream.close()
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def __enter__(self) -> "Scorer":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def pool(self) -> WorkerPool | RayPool:
        """The workers of the rewards that are not inline."""
        if self._pool is None and self.executor == "ray":
            self._pool = RayPool(self._pooled, self.workers)
        elif self._pool is None:
            self._pool = WorkerPool(self._pooled, self.workers or len(os.sched_getaffinity(0)))
        return self._pool

    def forget(self, stream: "ScoreStream") -> None:
        """The stream has ended."""
        if self._stream is stream:
            self._stream = None

    def value(self, k: int, record: Record, outcome: Outcome) -> float:
        """The score of one record; what failed is scored by policy."""
        if outcome.failure is None:
            return math.nan if outcome.value is None else outcome.value
        fail = self.specs[k].fail
        if fail == "raise":
            raise RewardError(f"reward {self.names[k]!r}: {outcome.failure}: {outcome.cause}; {shown(record)}")
        self._failures[k].warn(record, outcome)
        return 0.0 if fail == "zero" else math.nan

    def call_inline(self, k: int, records: list[Record]) -> list[Outcome]:
        """One call of an inline reward. Thread-local state, such as torch.no_grad, is the reward's own to set."""
        spec, count = self.specs[k], len(records)
        earlier = self._abandoned.get(k)
        if earlier is not None and earlier.is_alive():
            return [Outcome(None, 0.0, "timeout", "still busy with an earlier batch, which timed out")] * count
        limit = spec.timeout * count
        answer: list[list[Outcome]] = []
        cause: list[str] = []

        def call() -> None:
            try:
                answer.append([_checked(item) for item in invoke(spec.reward, records)])
            except BaseException as error:  # the end of a thread: whatever it is, it is this batch's outcome
                cause.append(describe(error))

        start = time.perf_counter()
        thread = threading.Thread(target=call, name=f"reward {self.names[k]}", daemon=True)
        thread.start()
        with waiting(f"reward {self.names[k]!r} to score {count} completions"):
            thread.join(limit)
        seconds = (time.perf_counter() - start) / count
        if answer:
            return [outcome._replace(seconds=seconds) for outcome in answer[0]]
        if cause:
            return [Outcome(None, seconds, "error", cause[0])] * count
        self._abandoned[k] = thread
        return [Outcome(None, seconds, "timeout", f"{count} records took longer than {limit:g} s")] * count


class ScoreStream:
    """One batch in scoring: groups come as they are finished, in any order, and the scores at the end.

    A context of one thread; another runs the pool meanwhile. To leave it before `scores` has returned kills what is
    under way. `add` and `scores` raise what `Scorer.score` does, `add` also for a group that came earlier.
    """

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._groups: dict[int, Group] = {}
        self._records: dict[int, list[Record]] = {}
        self._tallies = [_Tally() for _ in scorer.specs]
        self._tasks = Tasks()
        self._slots: list[tuple[int, int, int]] = []  # of each task: reward, place, sample
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._error: BaseException | None = None
        self._is_closed = False

    def add(self, place: int, group: Group) -> None:
        """Starts to score a group, which will stand at `place` among the scores."""
        self._check()
        if place in self._groups:
            raise ValueError(f"place {place} was added before; each is added once")
        self._scorer.check_routing(group.prompt.rewards or ())
        self._groups[place], self._records[place] = group, _records(group)
        slots = [
            (k, place, sample)
            for k, spec in enumerate(self._scorer.specs)
            if not spec.inline and self._applies(k, group)
            for sample in range(len(group.completions))
        ]
        if slots:
            self._slots += slots
            self._tasks.add([(k, self._records[place][sample]) for k, place, sample in slots])
            if self._thread is None:
                pool = self._scorer.pool()
                self._thread = threading.Thread(target=self._work, args=(pool,), name="scoring", daemon=True)
                self._thread.start()

    def scores(self) -> Scores:
        """Waits for all groups, which must fill the places from 0 on. Calls the inline rewards, in order of place."""
        self._check()
        if missing := sorted(set(range(len(self._groups))) - set(self._groups)):
            raise ValueError(f"place {missing[0]} was never added; the places are {sorted(self._groups)}")
        self._tasks.end()
        for k, spec in enumerate(self._scorer.specs):
            chosen = [place for place in range(len(self._groups)) if self._applies(k, self._groups[place])]
            slots = [(k, place, sample) for place in chosen for sample in range(len(self._records[place]))]
            if spec.inline and slots:
                records = [self._records[place][sample] for _, place, sample in slots]
                for slot, outcome in zip(slots, self._scorer.call_inline(k, records), strict=True):
                    self._settle(slot, outcome)
        if self._thread is not None:
            with waiting(self._missing):
                self._stopped.wait()
        self._check()
        size = len(self._groups[0].completions) if self._groups else 0
        rewards = np.full((len(self._groups), size, len(self._tallies)), np.nan)
        for k, tally in enumerate(self._tallies):
            for where, value in tally.values.items():
                rewards[*where, k] = value
        return Scores(names=self._scorer.names, rewards=rewards, stats=tuple(tally.stats() for tally in self._tallies))

    def close(self) -> None:
        """Kills what is under way, and leaves no thread behind."""
        if self._is_closed:
            return
        self._tasks.cancel()
        if self._thread is not None and self._thread.is_alive():
            self._stopped.wait()  # join() alone takes a thread for ended when a signal interrupts it
            self._thread.join()
        self._is_closed = True
        self._tasks.close()
        self._scorer.forget(self)

    def __enter__(self) -> "ScoreStream":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _work(self, pool: WorkerPool | RayPool) -> None:
        """The life of the thread that runs the pool."""
        try:
            pool.run(self._tasks, lambda index, outcome: self._settle(self._slots[index], outcome))
        except BaseException as error:  # the end of a thread: the owner's next call raises it
            self._error = error
        finally:
            self._stopped.set()

    def _check(self) -> None:
        if self._is_closed:
            raise RuntimeError("this stream has ended: its context was left, or its scorer was closed")
        if self._error is not None:
            raise self._error

    def _applies(self, k: int, group: Group) -> bool:
        return group.prompt.rewards is None or self._scorer.names[k] in group.prompt.rewards

    def _missing(self) -> str:
        """What has no score yet, by rewards."""
        left = Counter(self._scorer.names[k] for k, *slot in self._slots if tuple(slot) not in self._tallies[k].values)
        return "rewards: " + ", ".join(f"{name} ({count} completions to go)" for name, count in left.items())

    def _settle(self, slot: tuple[int, int, int], outcome: Outcome) -> None:
        k, place, sample = slot
        self._tallies[k].values[place, sample] = self._scorer.value(k, self._records[place][sample], outcome)
        self._tallies[k].add(outcome)


@dataclass(kw_only=True)
class _Tally:
    """One reward and one batch in the making."""

    values: dict[tuple[int, int], float] = field(default_factory=dict)
    """By place and sample."""
    seconds: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        self.seconds.append(outcome.seconds)
        if outcome.failure is not None:
            self.failures[outcome.failure] += 1

    def stats(self) -> RewardStats:
        p50, p99 = np.percentile(self.seconds, (50, 99)) if self.seconds else (0.0, 0.0)
        return RewardStats(
            seconds=math.fsum(self.seconds),
            errors=self.failures["error"] + self.failures["crash"],
            crashes=self.failures["crash"],
            timeouts=self.failures["timeout"],
            latency_p50=float(p50),
            latency_p99=float(p99),
        )


def _records(group: Group) -> list[Record]:
    row = dict(group.prompt.row)  # a plain dict can be pickled, whatever the data side uses
    return [
        Record(
            prompt=group.prompt.text,
            completion=completion.text,
            token_ids=completion.token_ids,
            answer=group.prompt.answer,
            row=row,
            stop_reason=completion.stop_reason,
        )
        for completion in group.completions
    ]


def _checked(item: object) -> Outcome:
    try:
        return Outcome(checked(item), 0.0)
    except Exception as error:  # a number of the reward's own class may raise anything
        return Outcome(None, 0.0, "error", describe(error))


def _names(specs: Sequence[RewardSpec]) -> tuple[str, ...]:
    """Those that are set, and where none is, the class's or function's, numbered where that is taken."""
    chosen = [spec.name for spec in specs if spec.name is not None]
    if twice := [name for name in chosen if chosen.count(name) > 1]:
        raise ValueError(f"rewards: the name {twice[0]!r} is given to {chosen.count(twice[0])}; each needs its own")
    names: list[str] = []
    for spec in specs:
        base = name = spec.name or _snake_case(getattr(spec.reward, "__name__", type(spec.reward).__name__))
        count = 1
        while spec.name is None and name in (*names, *chosen):
            count += 1
            name = f"{base}_{count}"
        names.append(name)
    return tuple(names)


def _snake_case(name: str) -> str:
    """`MathAnswer` -> `math_answer`, `GSM8KAnswer` -> `gsm8k_answer`, `<lambda>` -> `lambda`."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z0-9])(?=[A-Z][a-z])", "_", name)
    return re.sub(r"\W+", "_", words).strip("_").lower()


def _pickled(name: str, reward: Reward) -> bytes:
    """The reward as workers get it, sent once."""
    home = getattr(reward, "__module__", type(reward).__module__)
    if home == "__main__":
        raise ValueError(f"reward {name!r} stands in the main script, which workers do not import; move it to a module")
    try:
        return pickle.dumps(reward)
    except Exception as error:  # __getstate__ and __reduce__ are the reward's own code
        cause = describe(error)
        raise ValueError(f"reward {name!r} cannot be sent to workers ({cause}); set `inline: true`") from error
