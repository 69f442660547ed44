"""The contract of `pool.py` on a Ray cluster: rewards run in actors, a deadline kills the actor, another takes over.

Where actors run, and when there is room for one, is Ray's to decide: each asks for one CPU. The nodes have this package
and the rewards installed, or share a disk.

Differs from `pool.py`: a call holds one record, about a millisecond of overhead; what a worker sends is unpickled by
Ray; and what a reward has started itself ends with its actor only where Ray is set to do so. A pool belongs to one
thread at a time, and is made in the main one, where Ray sets signal handlers. Several trainers on one cluster, or
several ranks, share its CPUs only if each has a number of workers set. Ray is imported when a pool is made.
"""

import math
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

from grpo_lightning.pool import (
    START_ATTEMPTS,
    Outcome,
    PooledReward,
    RewardError,
    Task,
    Tasks,
    outcome_of,
    payload_of,
    unsendable,
)
from grpo_lightning.types import Record
from grpo_lightning.waiting import waiting
from grpo_lightning.workers import Kind, Reward, UnloadableError, answer, limit_memory, load

if TYPE_CHECKING:
    import ray
    from ray.actor import ActorProxy

START_TIMEOUT = 300.0
"""Seconds until there is a first worker: a cluster may have to add a node for it."""

POLL_SECONDS = 0.02
"""Between two looks for new tasks: waiting for Ray cannot be interrupted by them."""

_ENVIRONMENT = {"env_vars": {"PYTHONHASHSEED": "0"}}
"""Equal hashes, so that workers iterate sets alike."""


class RewardActor:
    """A worker, as Ray runs it."""

    def __init__(self, path: list[str], payload: bytes) -> None:
        sys.path[:] = path
        limit_memory()
        self._rewards: dict[int, Reward] = {}
        self._unloadable = ""
        try:
            self._rewards = load(payload)
        except UnloadableError as error:
            self._unloadable = str(error)

    def start(self) -> tuple[Kind, float, float, str]:
        """Whether the rewards are loaded."""
        return (Kind.UNLOADABLE if self._unloadable else Kind.READY), 0.0, 0.0, self._unloadable

    def score(self, which: int, record: Record) -> tuple[Kind, float, float, str]:
        """One record by one reward."""
        return answer(self._rewards[which], record)


@dataclass(slots=True)
class _Worker:
    """An actor and the one call that it has in hand."""

    actor: "ActorProxy[RewardActor]"
    call: "ray.ObjectRef[tuple[Kind, float, float, str]] | None"
    index: int | None = None
    """The task in hand; None: it starts, shows that it still lives, or is idle."""
    has_started: bool = False
    deadline: float = math.inf


class RayPool:
    """Up to `limit` actors that score tasks; started when first needed, replaced when killed."""

    def __init__(self, rewards: Mapping[int, PooledReward], limit: int | None) -> None:
        """Joins the cluster. `limit`: None is one for each of its CPUs."""
        ray = _ray()
        self._owns_cluster = not ray.is_initialized()
        if self._owns_cluster:
            with waiting("a Ray cluster"):
                ray.init(configure_logging=False, include_dashboard=False)
        self._rewards = rewards
        self._limit = limit or max(1, int(ray.cluster_resources().get("CPU", 1)))
        self._workers: list[_Worker] = []
        self._pending: deque[int] = deque()
        self._tasks: list[Task] = []
        self._report: Callable[[int, Outcome], None] = lambda index, outcome: None
        self._is_open = False
        self._stillborn = 0
        self._looked = self._give_up = math.inf

    def run(self, tasks: Tasks, report: Callable[[int, Outcome], None]) -> None:
        """Scores the tasks as they are added, until they have ended, and reports position and outcome, in any order.

        Raises RewardError when no worker can start. If that is so, `report` raises or the tasks are cancelled, what is
        under way is killed.
        """
        self._tasks, self._report, self._stillborn = [], report, 0
        self._give_up = time.monotonic() + START_TIMEOUT
        for worker in self._workers:
            worker.call = _started(worker.actor)  # one that died idle is not to cost a record
        try:
            while self._admit(tasks) or self._pending or any(worker.index is not None for worker in self._workers):
                self._hire()
                self._feed()
                self._collect()
                self._enforce()
        except BaseException:
            for worker in [worker for worker in self._workers if worker.call is not None]:
                self._retire(worker)
            self._pending.clear()
            raise

    def close(self) -> None:
        """Leaves no actor behind, and no cluster that was started here."""
        for worker in list(self._workers):
            self._retire(worker)
        if self._owns_cluster:
            _ray().shutdown()
        self._owns_cluster = False

    def _admit(self, tasks: Tasks) -> bool:
        """Queues what has come; whether more may come."""
        fresh, self._is_open = tasks.take()
        self._pending.extend(range(len(self._tasks), len(self._tasks) + len(fresh)))
        self._tasks += fresh
        return self._is_open

    def _hire(self) -> None:
        ray = _ray()
        busy = sum(worker.index is not None for worker in self._workers)
        while len(self._workers) < min(self._limit, busy + len(self._pending)):
            path = [entry or os.getcwd() for entry in sys.path]
            made = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0, runtime_env=_ENVIRONMENT)(RewardActor)
            actor = made.remote(path, payload_of(self._rewards))
            self._workers.append(_Worker(actor, _started(actor)))

    def _feed(self) -> None:
        for worker in self._workers:
            if self._pending and worker.call is None:
                index = self._pending.popleft()
                which, record = self._tasks[index]
                try:
                    worker.call = worker.actor.score.remote(which, record)  # type: ignore[attr-defined]
                except Exception as error:  # of any kind: what a row's objects make of it
                    raise unsendable(record, error) from error
                worker.index, worker.deadline = index, time.monotonic() + self._rewards[which].timeout

    def _collect(self) -> None:
        """Waits for answers, until the next deadline; not for long while tasks may come."""
        self._looked = time.monotonic()
        calls = {worker.call: worker for worker in self._workers if worker.call is not None}
        if not calls:
            time.sleep(POLL_SECONDS)
            return
        due = min(worker.deadline for worker in self._workers)
        if all(worker.index is None for worker in self._workers):
            due = self._give_up
        patience = max(0.0, due - self._looked)
        wait, refs = _ray().wait, list(calls)
        if wait(refs, timeout=min(patience, POLL_SECONDS) if self._is_open else patience)[0]:
            for call in wait(refs, num_returns=len(refs), timeout=0)[0]:
                self._settle(calls[call])

    def _settle(self, worker: _Worker) -> None:
        ray = _ray()
        index = worker.index
        try:
            kind, value, seconds, text = ray.get(worker.call)
        except ray.exceptions.RayError as error:  # its death, or a record that does not load where it runs
            self._retire(worker)
            if index is None and worker.has_started:
                return
            if index is None:
                self._stillborn += 1
                if self._stillborn < START_ATTEMPTS:
                    return
                raise RewardError(f"a reward worker died while it started: {_line(error)}") from None
            timeout = self._rewards[self._tasks[index][0]].timeout
            spent = time.monotonic() - worker.deadline + timeout
            self._report(index, Outcome(None, spent, "crash", f"its worker died: {_line(error)}"))
            return
        if kind is Kind.UNLOADABLE:
            raise RewardError(text)
        worker.call, worker.index, worker.deadline, worker.has_started = None, None, math.inf, True
        self._stillborn = 0
        if kind is Kind.EXHAUSTED:
            self._retire(worker)
        if index is not None:
            self._report(index, outcome_of(kind, value, seconds, text))

    def _enforce(self) -> None:
        """By the time of the last look: an answer that came while this thread was held up is not late."""
        for worker in list(self._workers):
            if worker.index is not None and worker.deadline <= self._looked:
                timeout = self._rewards[self._tasks[worker.index][0]].timeout
                self._retire(worker)
                self._report(worker.index, Outcome(None, timeout, "timeout", f"took longer than {timeout:g} s"))
        if self._looked > self._give_up and self._workers and all(_is_starting(worker) for worker in self._workers):
            raise RewardError(f"no reward worker started within {START_TIMEOUT:g} s: has the cluster a free CPU?")

    def _retire(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        self._give_up = time.monotonic() + START_TIMEOUT
        _ray().kill(worker.actor)


def _started(actor: "ActorProxy[RewardActor]") -> "ray.ObjectRef[tuple[Kind, float, float, str]]":
    return actor.start.remote()  # type: ignore[attr-defined]


def _is_starting(worker: _Worker) -> bool:
    return worker.index is None and worker.call is not None


def _ray() -> ModuleType:
    import ray  # an optional dependency, and a heavy one

    return ray


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
