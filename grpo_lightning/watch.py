"""The processes of a run watch each other: one that dies, stops or is left behind ends all, with a line that names it.

Each process has a thread that keeps saying "still here" in the store by which the processes found each other, and reads
what the others say. No collective takes part, so it works the same with gloo and NCCL, for processes that Lightning,
torchrun or SLURM has started, and in every phase of a run. A collective's own timeout (`timeout` of the strategy) is
still what notices a process that lives and never comes; then this names it.
"""

import contextlib
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

State = Literal["runs", "waits", "failed", "ended", "left"]

COLLECTIVE = re.compile("gloo|nccl|c10d", re.IGNORECASE)
"""In the text of torch's errors: a collective did not come about, for which this process is not to blame."""

UNKNOWN = 0.02
"""Seconds until a process looks again for those it has not heard of yet: only one that is known can be seen to die."""

EXIT = 1
"""Code of a process that ends because of another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """What a process says of itself."""

    beat: int = 0
    """Grows, so that each sign is another one."""
    state: State = "runs"
    """`waits`: a collective failed here because of others; `failed`: an error here; `ended`: it has named who."""
    note: str = ""
    place: str = ""
    """The machine, and its process numbers."""
    pid: int = 0
    born: str = ""
    """When the process began, because numbers are used again."""

    @staticmethod
    def own() -> "Sign":
        return Sign(place=_place(), pid=os.getpid(), born=_born(os.getpid()))

    @property
    def is_near(self) -> bool:
        """Whether this process can look at that one, and end it."""
        return bool(self.place) and self.place == _place()

    @property
    def is_dead(self) -> bool:
        """Whether it is known that the process is no more."""
        return self.is_near and _born(self.pid) != self.born


@dataclass(slots=True)
class Watch:
    """What one process knows of the others, and its verdict; no threads here.

    `clock` counts seconds; only differences on this machine are looked at.
    """

    rank: int
    size: int
    timeout: float
    clock: Callable[[], float] = time.monotonic
    signs: dict[int, Sign] = field(default_factory=dict)
    heard: dict[int, float] = field(default_factory=dict)
    answered: float = 0.0
    """When the store last answered."""

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forgets how long the others have been silent: this process itself was stopped."""
        now = self.clock()
        self.answered = now
        self.heard = dict.fromkeys(self.others, now)

    @property
    def others(self) -> list[int]:
        return [rank for rank in range(self.size) if rank != self.rank]

    def hear(self, signs: dict[int, Sign]) -> None:
        """Signs of the others, as they stand in the store now."""
        self.answered = self.clock()
        for rank, sign in signs.items():
            if self.signs.get(rank) != sign:
                self.signs[rank], self.heard[rank] = sign, self.answered

    def verdict(self) -> tuple[str, list[int]] | None:
        """What ended the run, in a line, and who must be ended for it; None as long as all is well."""
        now = self.clock()
        for sign in self.signs.values():
            if sign.state == "ended":
                return sign.note, []
        for rank, sign in self.signs.items():
            if sign.state != "left" and sign.is_dead:
                cause = f": {sign.note}" if sign.state == "failed" else ", killed or crashed"
                return f"rank {rank} (process {sign.pid}) is gone{cause}", []
            if sign.state == "failed" and now - self.heard[rank] > 2:
                return f"rank {rank} failed: {sign.note}", []
        if now - self.answered > self.timeout:
            host = self.signs.get(0)
            who = "rank 0" if host is None else f"rank 0 (process {host.pid})"
            return f"{who} or its machine has not answered for {now - self.answered:.0f} s", [0]
        silent = [r for r in self.others if now - self.heard[r] > self.timeout and not self._has_left(r)]
        if silent:
            named = " and ".join(f"rank {r} (process {self.signs[r].pid if r in self.signs else '?'})" for r in silent)
            return (
                f"{named} has not been heard of for {self.timeout:g} s: stopped, hung, or its machine is gone",
                silent,
            )
        return None

    def left_behind(self) -> tuple[str, list[int]] | None:
        """As `verdict`, once a collective has failed here: who lives, and has not come to it."""
        absent = [r for r in self.others if r not in self.signs or self.signs[r].state == "runs"]
        if not absent or len(absent) == self.size:
            return None
        named = " and ".join(f"rank {r} (process {self.signs[r].pid if r in self.signs else '?'})" for r in absent)
        lives = "lives, but " if set(absent) <= set(self.signs) else ""
        return f"{named} {lives}did not come to where the others waited for it", absent

    @property
    def all_have_left(self) -> bool:
        return all(self._has_left(rank) for rank in self.others)

    def _has_left(self, rank: int) -> bool:
        return rank in self.signs and self.signs[rank].state == "left"


class RankWatch(Callback):
    """Ends the run's processes when one of them dies, stops or fails, with one line that names it.

    Args:
        timeout: Seconds without a sign of life after which a process counts as stopped; one that is seen to have died
            on this machine counts at once. Null: nobody watches.

    """

    def __init__(self, timeout: float | None = 120.0) -> None:
        if timeout is not None and not 1 <= timeout < float("inf"):
            raise ValueError(f"ranks.timeout: {timeout} is refused; use at least 1 second, or null for no watch")
        self.timeout = timeout
        self._beacon: Beacon | None = None
        self._stages = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self.timeout is not None and trainer.world_size > 1 and self._beacon is None:
            self._stages += 1
            keys = [f"grpo-lightning/{self._stages}/{rank}" for rank in range(trainer.world_size)]
            store: Any = torch.distributed.distributed_c10d._get_default_store()
            watch = Watch(rank=trainer.global_rank, size=trainer.world_size, timeout=self.timeout)
            self._beacon = Beacon(store.clone(), keys, watch)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self._beacon is not None:
            self._beacon.fail(exception)
            self._beacon = None

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._beacon is not None:
            self._beacon.leave()
            self._beacon = None


class Beacon:
    """The threads of a `Watch`: one talks with the store and may be held up there, the other one judges."""

    def __init__(self, store: torch.distributed.distributed_c10d.Store, keys: list[str], watch: Watch) -> None:
        self.store, self.keys, self.watch = store, keys, watch
        self.state: State = "runs"
        self.note = ""
        self.interval = min(max(watch.timeout / 20, 0.1), 1.0)
        self._stop, self._lock = threading.Event(), threading.Lock()
        for name, work in (("rank-signs", self._talk), ("rank-watch", self._judge)):
            threading.Thread(target=work, name=name, daemon=True).start()

    def leave(self) -> None:
        """All is done; returns when the others have said the same, so that nobody misses who holds the store."""
        self._say("left", "")
        while not self._stop.is_set() and not self.watch.all_have_left:
            time.sleep(self.interval / 2)
        self._stop.set()

    def fail(self, exception: BaseException) -> None:
        """Tells the others of an error here, or finds out who is to blame for a collective that failed."""
        text = " ".join(f"{type(exception).__name__}: {exception}".split())[:500]
        is_torch = type(exception) is RuntimeError or isinstance(exception, torch.distributed.DistError)
        is_collective = is_torch and COLLECTIVE.search(text) is not None
        self._say("waits" if is_collective else "failed", text)
        time.sleep(3 * self.interval)
        if is_collective:
            time.sleep(3.0)  # those who waited, too, have said so by now
            if (found := self.watch.verdict() or self.watch.left_behind()) is not None:
                self.end(*found)
        self._stop.set()

    def end(self, line: str, guilty: list[int]) -> None:
        """Says who failed, ends what is left of it on this machine, and this process."""
        with self._lock:
            print(f"\ngrpo-lightning: {line}; the run ends, go on with --ckpt_path last", file=sys.stderr, flush=True)
            self._say("ended", line)
            for rank in guilty:
                sign = self.watch.signs.get(rank)
                if sign is not None and sign.is_near and not sign.is_dead:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(sign.pid, signal.SIGKILL)
            time.sleep(3 * self.interval)
            os._exit(EXIT)

    def _say(self, state: State, note: str) -> None:
        self.note = note
        self.state = state

    def _talk(self) -> None:
        """Says and hears, as long as the store answers; where it no longer does, `_judge` sees the silence."""
        sign, known = Sign.own(), [self.watch.rank]
        while not self._stop.is_set():
            sign = replace(sign, beat=sign.beat + 1, state=self.state, note=self.note)
            try:
                self.store.set(self.keys[self.watch.rank], json.dumps(asdict(sign)))
                known += [
                    rank for rank in self.watch.others if rank not in known and self.store.check([self.keys[rank]])
                ]
                found = self.store.multi_get([self.keys[rank] for rank in known])
            except RuntimeError:
                if sign.state == "left":
                    self._stop.set()
            else:
                signs = {rank: Sign(**json.loads(text)) for rank, text in zip(known, found, strict=True)}
                self.watch.hear({rank: sign for rank, sign in signs.items() if rank != self.watch.rank})
            self._stop.wait(self.interval if len(known) == self.watch.size else UNKNOWN)

    def _judge(self) -> None:
        last = time.monotonic()
        while not self._stop.wait(self.interval):
            if time.monotonic() - last > self.watch.timeout / 2:
                self.watch.restart()
            elif self.state != "failed" and (found := self.watch.verdict()) is not None:
                self.end(*found)
            last = time.monotonic()


def _place() -> str:
    """Tells apart machines, their restarts, and containers: where process numbers mean the same."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{os.uname().nodename} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return os.uname().nodename


def _born(pid: int) -> str:
    """When the process began; empty if there is none, or no more than its exit code is left."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state in "ZX" else rest[18]
