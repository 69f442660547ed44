"""A pool of worker processes: hands out records, enforces deadlines by SIGKILL, replaces what died.

When a reward hangs, crashes or eats memory, the one record in its worker's hands fails. Every other record is scored
as if nothing had happened.

Differs from `multiprocessing.Pool`: the parent's main module is never imported again, nothing that a worker sends is
unpickled, and a deadline is enforced from outside, so that a regular expression that holds the GIL is no way around it.
A pool belongs to one thread at a time, which need not be the main one; its tasks may come from another while it runs.
"""

import glob
import math
import os
import pickle
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Literal, NamedTuple

from grpo_lightning.types import Record
from grpo_lightning.workers import LENGTH, REPLY, Kind, describe

START_TIMEOUT = 60.0
"""Seconds for a worker to import its rewards; a cold network disk needs many, a hang at import never ends."""

START_ATTEMPTS = 3
"""Workers in a row that a signal may end while they start: where memory is short, the kernel picks any process."""

KILL_TIMEOUT = 5.0
"""Seconds for a killed worker to be gone; one that a device or a network disk holds is left to die when it can."""

CHUNK_RECORDS, CHUNK_SECONDS = 32, 0.002
"""A message holds records for about this long, one at least: cheap rewards pay for few messages, and slow ones are
spread over the workers one by one."""

_BOOT = "import sys; sys.path[:] = sys.argv[4:]; from grpo_lightning.workers import serve; serve(*sys.argv[1:4])"


class RewardError(RuntimeError):
    """A reward failed where that ends the run."""


class Outcome(NamedTuple):
    """What became of one record."""

    value: float | None
    """Finite, or None: does not apply, or failed."""
    seconds: float
    failure: Literal["error", "crash", "timeout"] | None = None
    cause: str = ""


def outcome_of(kind: Kind, value: float, seconds: float, text: str) -> Outcome:
    """What a worker's answer to a record says."""
    failure: Literal["error"] | None = "error" if kind in (Kind.ERROR, Kind.EXHAUSTED) else None
    return Outcome(value if kind is Kind.VALUE else None, seconds, failure, text)


class PooledReward(NamedTuple):
    """A reward as the pool keeps it."""

    name: str
    pickled: bytes
    timeout: float


def payload_of(rewards: Mapping[int, PooledReward]) -> bytes:
    """What a worker loads its rewards from."""
    return pickle.dumps({which: (reward.name, reward.pickled) for which, reward in rewards.items()})


Task = tuple[int, Record]
"""A reward's key, and what it is to score."""


class CancelledError(Exception):
    """Nobody waits for the outcomes any more."""


class Tasks:
    """What a pool is to score. One thread adds to it and ends it, while the pool's takes from it."""

    def __init__(self) -> None:
        self._fresh: deque[Sequence[Task]] = deque()
        self._ended = self._cancelled = False
        self.wakes, self._wake = os.pipe()  # the first is readable when there is something to take note of
        for end in (self.wakes, self._wake):
            os.set_blocking(end, False)

    def add(self, tasks: Sequence[Task]) -> None:
        self._fresh.append(tasks)
        self._ring()

    def end(self) -> None:
        """Says that no more will come."""
        self._ended = True
        self._ring()

    def cancel(self) -> None:
        """Makes the next `take` raise CancelledError."""
        self._cancelled = True
        self._ring()

    def take(self) -> tuple[list[Task], bool]:
        """What was added since the last time, in order, and whether more may come."""
        with suppress(BlockingIOError):
            os.read(self.wakes, 1 << 16)
        if self._cancelled:
            raise CancelledError
        is_open = not self._ended  # read first: what was added before the end is found below
        found: list[Task] = []
        while self._fresh:
            found += self._fresh.popleft()
        return found, is_open

    def close(self) -> None:
        """For the adding thread, once no pool takes from it."""
        os.close(self.wakes)
        os.close(self._wake)

    def _ring(self) -> None:
        with suppress(BlockingIOError):  # full: it has rung already
            os.write(self._wake, b"\0")


class _Worker:
    """One process, its pipes, and the tasks that it was sent and has not answered."""

    def __init__(self) -> None:
        requests_end, self.requests = os.pipe()
        self.replies, replies_end = os.pipe()
        lifeline_end, self.lifeline = os.pipe()
        ends = (requests_end, replies_end, lifeline_end)
        path = [entry or os.getcwd() for entry in sys.path]
        # One thread per worker, since there is one worker per core; equal hashes, so that workers iterate sets alike.
        defaults = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _BOOT, *map(str, ends), *path],
                stdin=subprocess.DEVNULL,
                stdout=2,
                pass_fds=ends,
                start_new_session=True,  # Ctrl-C is the parent's to handle, and a kill reaches the whole group
                env=defaults | os.environ,
            )
        finally:
            for end in ends:
                os.close(end)
        os.set_blocking(self.requests, False)
        self.inbox = bytearray()
        self.outbox = memoryview(b"")
        self.tasks: deque[int] = deque()
        self.ready = False
        self.deadline = time.monotonic() + START_TIMEOUT

    def next_reply(self) -> tuple[Kind, float, float, str] | None:
        """Takes one whole reply out of the inbox."""
        if len(self.inbox) < REPLY.size:
            return None
        kind, value, seconds, length = REPLY.unpack_from(self.inbox)
        end = REPLY.size + length
        if len(self.inbox) < end:
            return None
        text = self.inbox[REPLY.size : end].decode()
        del self.inbox[:end]
        return Kind(kind), value, seconds, text

    def kill(self) -> int | None:
        """Ends the worker and what it has started; the status that it left, None if it is not gone yet.

        What left its process group is found as its descendant, unless the worker was dead before.
        """
        with suppress(ProcessLookupError):  # where SIGCHLD is ignored, nothing waits to be reaped
            os.killpg(self.process.pid, signal.SIGSTOP)  # so that it starts nothing more
            for child in _descendants(self.process.pid):
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(child, signal.SIGKILL)
            os.killpg(self.process.pid, signal.SIGKILL)  # before wait(), while nobody else can get the number
        for descriptor in (self.requests, self.replies, self.lifeline):
            os.close(descriptor)
        try:
            return self.process.wait(KILL_TIMEOUT)
        except subprocess.TimeoutExpired:
            return None


def _descendants(process: int) -> set[int]:
    """The children of a process, and theirs, as /proc knows them."""
    found, waiting = set[int](), [process]
    while waiting:
        for path in glob.glob(f"/proc/{waiting.pop()}/task/*/children"):
            with suppress(OSError), open(path, encoding="ascii") as children:
                fresh = set(map(int, children.read().split())) - found
                found |= fresh
                waiting += fresh
    return found


class WorkerPool:
    """Up to `limit` workers that score tasks; started when first needed, replaced when killed."""

    def __init__(self, rewards: Mapping[int, PooledReward], limit: int) -> None:
        self._rewards = rewards
        self._limit = limit
        self._payload = payload_of(rewards)
        self._cost: dict[int, float] = {}
        self._workers: list[_Worker] = []
        self._selector = selectors.DefaultSelector()
        self._pending: dict[int, deque[int]] = {which: deque() for which in rewards}
        self._tasks: list[Task] = []
        self._report: Callable[[int, Outcome], None] = lambda index, outcome: None
        self._is_open = False
        self._looked = 0.0
        self._stillborn = 0

    def run(self, tasks: Tasks, report: Callable[[int, Outcome], None]) -> None:
        """Scores the tasks as they are added, until they have ended, and reports position and outcome, in any order.

        Raises RewardError when a worker cannot start. If that is so, `report` raises or the tasks are cancelled, what
        is under way is killed.
        """
        self._tasks, self._report, self._stillborn = [], report, 0
        self._selector.register(tasks.wakes, selectors.EVENT_READ)
        try:
            while self._admit(tasks) or self._waiting() or any(worker.tasks for worker in self._workers):
                self._hire()
                self._listen()
                self._enforce()
                self._feed()
        except BaseException:
            for worker in [worker for worker in self._workers if worker.tasks or not worker.ready]:
                self._retire(worker)
            for queue in self._pending.values():
                queue.clear()
            raise
        finally:
            self._selector.unregister(tasks.wakes)

    def close(self) -> None:
        """Leaves no process behind. A later `run` starts new workers."""
        for worker in list(self._workers):
            self._retire(worker)

    def _admit(self, tasks: Tasks) -> bool:
        """Queues what has come; whether more may come."""
        fresh, self._is_open = tasks.take()
        for which, record in fresh:
            self._pending[which].append(len(self._tasks))
            self._tasks.append((which, record))
        return self._is_open

    def _waiting(self) -> int:
        return sum(map(len, self._pending.values()))

    def _hire(self) -> None:
        busy = sum(bool(worker.tasks) for worker in self._workers)
        while len(self._workers) < min(self._limit, busy + self._waiting()):
            worker = _Worker()
            self._workers.append(worker)
            self._selector.register(worker.replies, selectors.EVENT_READ, worker)
            self._post(worker, self._payload)

    def _listen(self) -> None:
        """Waits for replies and tasks, until the next deadline; not at all while an idle worker could be fed."""
        self._looked = time.monotonic()
        waiting = [worker.deadline for worker in self._workers if worker.tasks or not worker.ready]
        patience: float | None = max(0.0, min(waiting, default=0.0) - self._looked)
        if len(waiting) < len(self._workers) and self._waiting():
            patience = 0.0
        elif self._is_open and not waiting:
            patience = None
        for key, _ in self._selector.select(patience):
            if key.data is None:
                continue  # tasks, which the next round admits
            worker: _Worker = key.data
            if worker not in self._workers:
                continue  # retired earlier in this round
            if key.fd == worker.requests:
                self._flush(worker)
            else:
                self._receive(worker)

    def _receive(self, worker: _Worker) -> None:
        data = os.read(worker.replies, 1 << 16)
        if not data:
            self._bury(worker)
            return
        worker.inbox += data
        while worker in self._workers and (reply := worker.next_reply()):
            self._settle(worker, *reply)

    def _settle(self, worker: _Worker, kind: Kind, value: float, seconds: float, text: str) -> None:
        if kind is Kind.UNLOADABLE:
            raise RewardError(text)
        if kind is Kind.READY:
            worker.ready, self._stillborn = True, 0
            return
        if not worker.tasks:
            self._retire(worker)  # something else writes to its channel: nothing that comes from there can be believed
            return
        index = worker.tasks.popleft()
        self._spent(index, seconds)
        if worker.tasks:
            worker.deadline = time.monotonic() + self._timeout(worker.tasks[0])
        if kind is Kind.EXHAUSTED:
            self._retire(worker)
        self._report(index, outcome_of(kind, value, seconds, text))

    def _bury(self, worker: _Worker) -> None:
        """The worker has gone by itself: blames the record that it had in hand."""
        culprit = worker.tasks.popleft() if worker.tasks else None
        started = worker.ready
        status = self._retire(worker)
        if not started:
            self._stillborn += 1
            if status is None or status >= 0 or self._stillborn == START_ATTEMPTS:
                raise RewardError(f"a reward worker died while it started, with status {status}")
        if culprit is not None:
            seconds = time.monotonic() - worker.deadline + self._timeout(culprit)
            self._report(culprit, Outcome(None, seconds, "crash", f"its worker died with status {status}"))

    def _enforce(self) -> None:
        """By the time of the last look: an answer that came while this thread was held up is not late."""
        for worker in list(self._workers):
            if worker.deadline > self._looked or (worker.ready and not worker.tasks):
                continue
            if not worker.ready:
                raise RewardError(f"a reward worker did not start within {START_TIMEOUT:g} s")
            culprit = worker.tasks.popleft()
            self._retire(worker)
            timeout = self._timeout(culprit)
            self._spent(culprit, timeout)
            self._report(culprit, Outcome(None, timeout, "timeout", f"took longer than {timeout:g} s"))

    def _feed(self) -> None:
        for worker in list(self._workers):
            if self._waiting() and worker.ready and not worker.tasks:
                which = min((which for which, queue in self._pending.items() if queue), key=self._oldest)
                worker.tasks.extend(self._take(which))
                worker.deadline = time.monotonic() + self._timeout(worker.tasks[0])
                self._post(worker, _pickled(which, [self._tasks[index][1] for index in worker.tasks]))

    def _oldest(self, which: int) -> int:
        return self._pending[which][0]

    def _take(self, which: int) -> Iterator[int]:
        """The next tasks of one reward, as many as make a message; the last ones are dealt out to all workers."""
        cost = max(self._cost.get(which, CHUNK_SECONDS), CHUNK_SECONDS / CHUNK_RECORDS)
        share = math.ceil(self._waiting() / self._limit)
        queue = self._pending[which]
        for _ in range(min(len(queue), max(1, min(share, int(CHUNK_SECONDS / cost))))):
            yield queue.popleft()

    def _post(self, worker: _Worker, message: bytes) -> None:
        worker.outbox = memoryview(LENGTH.pack(len(message)) + message)
        self._flush(worker)

    def _flush(self, worker: _Worker) -> None:
        """Writes what the pipe takes now, and the rest when it takes more: a stuck worker cannot block the parent."""
        try:
            worker.outbox = worker.outbox[os.write(worker.requests, worker.outbox) :]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            worker.outbox = memoryview(b"")  # it is dead: the end of its replies tells
        watched = worker.requests in self._selector.get_map()
        if worker.outbox and not watched:
            self._selector.register(worker.requests, selectors.EVENT_WRITE, worker)
        elif watched and not worker.outbox:
            self._selector.unregister(worker.requests)

    def _retire(self, worker: _Worker) -> int | None:
        """Kills the worker and puts the tasks that it still had back in front."""
        if worker.tasks:
            self._pending[self._tasks[worker.tasks[0]][0]].extendleft(reversed(worker.tasks))
        self._workers.remove(worker)
        for descriptor in (worker.replies, worker.requests):
            if descriptor in self._selector.get_map():
                self._selector.unregister(descriptor)
        return worker.kill()

    def _timeout(self, index: int) -> float:
        return self._rewards[self._tasks[index][0]].timeout

    def _spent(self, index: int, seconds: float) -> None:
        """Follows what one record costs; rarely slow is slow enough to be sent alone."""
        which = self._tasks[index][0]
        self._cost[which] = 0.8 * self._cost.get(which, seconds) + 0.2 * seconds


def _pickled(which: int, records: list[Record]) -> bytes:
    try:
        return pickle.dumps((which, records))
    except Exception as error:  # of any kind: what a row's objects make of it
        raise unsendable(records[0], error) from error


def unsendable(record: Record, error: Exception) -> RewardError:
    """What to tell of a record that does not reach a worker."""
    return RewardError(
        f"the row of prompt {record.prompt[:80]!r} cannot be sent to workers ({describe(error)}); its columns must "
        "hold plain data, or the rewards that it asks for be `inline: true`"
    )
