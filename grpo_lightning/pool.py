"""A pool of worker processes: hands out records, enforces deadlines by SIGKILL, replaces what died.

When a reward hangs, crashes or eats memory, the one record in its worker's hands fails. Every other record is scored
as if nothing had happened.

Differs from `multiprocessing.Pool`: the parent's main module is never imported again, nothing that a worker sends is
unpickled, and a deadline is enforced from outside, so that a regular expression that holds the GIL is no way around it.
A pool belongs to one thread at a time.
"""

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
from typing import Literal, NamedTuple

from grpo_lightning.types import Record
from grpo_lightning.workers import LENGTH, REPLY, Kind

START_TIMEOUT = 60.0
"""Seconds for a worker to import its rewards; a cold network disk needs many, a hang at import never ends."""

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

    def kill(self) -> int:
        """Ends the process group and returns the status that the worker left."""
        os.killpg(self.process.pid, signal.SIGKILL)  # before wait(), while nobody else can get the number
        for descriptor in (self.requests, self.replies, self.lifeline):
            os.close(descriptor)
        return self.process.wait()


class WorkerPool:
    """Up to `limit` workers that score tasks; started when first needed, replaced when killed."""

    def __init__(self, rewards: Mapping[int, PooledReward], limit: int) -> None:
        self._rewards = rewards
        self._limit = limit
        self._payload = payload_of(rewards)
        self._cost: dict[int, float] = {}
        self._workers: list[_Worker] = []
        self._selector = selectors.DefaultSelector()
        self._pending: deque[int] = deque()
        self._tasks: Sequence[tuple[int, Record]] = ()
        self._report: Callable[[int, Outcome], None] = lambda index, outcome: None

    def run(self, tasks: Sequence[tuple[int, Record]], report: Callable[[int, Outcome], None]) -> None:
        """Scores each task, a reward's key and a record, and reports its position and outcome, in any order.

        Raises RewardError when a worker cannot start. If `report` raises, what is under way is killed.
        """
        self._tasks, self._report = tasks, report
        self._pending.extend(range(len(tasks)))
        try:
            while self._pending or any(worker.tasks for worker in self._workers):
                self._hire()
                self._listen()
                self._enforce()
                self._feed()
        except BaseException:
            for worker in [worker for worker in self._workers if worker.tasks or not worker.ready]:
                self._retire(worker)
            self._pending.clear()
            raise

    def close(self) -> None:
        """Leaves no process behind. A later `run` starts new workers."""
        for worker in list(self._workers):
            self._retire(worker)

    def _hire(self) -> None:
        busy = sum(bool(worker.tasks) for worker in self._workers)
        while len(self._workers) < min(self._limit, busy + len(self._pending)):
            worker = _Worker()
            self._workers.append(worker)
            self._selector.register(worker.replies, selectors.EVENT_READ, worker)
            self._post(worker, self._payload)

    def _listen(self) -> None:
        """Waits for replies, until the next deadline; not at all while an idle worker could be fed."""
        waiting = [worker.deadline for worker in self._workers if worker.tasks or not worker.ready]
        idle = len(waiting) < len(self._workers)
        patience = 0.0 if idle and self._pending else max(0.0, min(waiting, default=0.0) - time.monotonic())
        for key, _ in self._selector.select(patience):
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
            worker.ready = True
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
            raise RewardError(f"a reward worker died while it started, with status {status}")
        if culprit is not None:
            seconds = time.monotonic() - worker.deadline + self._timeout(culprit)
            self._report(culprit, Outcome(None, seconds, "crash", f"its worker died with status {status}"))

    def _enforce(self) -> None:
        now = time.monotonic()
        for worker in list(self._workers):
            if worker.deadline > now or (worker.ready and not worker.tasks):
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
            if self._pending and worker.ready and not worker.tasks:
                which = self._tasks[self._pending[0]][0]
                worker.tasks.extend(self._take(which))
                worker.deadline = time.monotonic() + self._timeout(worker.tasks[0])
                self._post(worker, pickle.dumps((which, [self._tasks[index][1] for index in worker.tasks])))

    def _take(self, which: int) -> Iterator[int]:
        """The next tasks of one reward, as many as make a message; the last ones are dealt out to all workers."""
        cost = max(self._cost.get(which, CHUNK_SECONDS), CHUNK_SECONDS / CHUNK_RECORDS)
        share = math.ceil(len(self._pending) / self._limit)
        for _ in range(max(1, min(share, int(CHUNK_SECONDS / cost)))):
            if not self._pending or self._tasks[self._pending[0]][0] != which:
                return
            yield self._pending.popleft()

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

    def _retire(self, worker: _Worker) -> int:
        """Kills the worker and puts the tasks that it still had back in front."""
        self._pending.extendleft(reversed(worker.tasks))
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
