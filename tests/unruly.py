"""Rewards for the tests of scoring: well-behaved ones, and ones that misbehave on command.

Workers import this file, so that it stays light: no pytest, no torch.
"""

import asyncio
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np

from grpo_lightning.types import Record


def length(records: Sequence[Record]) -> list[float | None]:
    return [float(len(record.completion)) for record in records]


async def length_async(records: Sequence[Record]) -> list[float | None]:
    await asyncio.sleep(0)
    return length(records)


class ScaledLength:
    def __init__(self, scale: float) -> None:
        self.scale = scale

    def __call__(self, records: Sequence[Record]) -> list[float | None]:
        return [self.scale * len(record.completion) for record in records]


class ScaledLengthAsync(ScaledLength):
    async def __call__(self, records: Sequence[Record]) -> list[float | None]:  # type: ignore[override]
        return super().__call__(records)


class Ghost:
    """Pickles, and cannot be loaded again."""

    def __call__(self, records: Sequence[Record]) -> list[float | None]:
        return length(records)

    def __setstate__(self, state: object) -> None:
        raise OSError("no such\nfile")

    def __getstate__(self) -> tuple[int]:
        return (1,)


class Stillborn:
    """The first `times` processes that load it die, as if memory were short just then."""

    def __init__(self, folder: str, times: int) -> None:
        self.folder, self.times = folder, times

    def __call__(self, records: Sequence[Record]) -> list[float | None]:
        return length(records)

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        deaths = len(os.listdir(self.folder))
        if deaths < self.times:
            open(os.path.join(self.folder, str(deaths)), "w").close()
            os.kill(os.getpid(), signal.SIGKILL)


class Answerer:
    def __call__(self, records: Sequence[Record]) -> list[object]:
        return [ANSWERS.get(record.completion, len(record.completion)) for record in records]


ANSWERS: dict[str, object] = {
    "none": None,
    "nan": math.nan,
    "inf": math.inf,
    "text": "1.0",
    "list": [1.0],
    "huge": 10**400,
    "bool": True,
    "numpy int": np.int64(7),
    "numpy bool": np.bool_(True),
    "numpy float": np.float32(0.5),
}


def raise_long() -> object:
    raise KeyError("no such key: " + 10_000 * "x")


def start_child() -> object:
    subprocess.Popen(["sleep", "60"])
    time.sleep(60)
    return [1.0]


def leave_session() -> object:
    subprocess.Popen(["sleep", "60"], start_new_session=True)
    time.sleep(60)
    return [1.0]


def fork_and_answer() -> object:
    return [9.0] if os.fork() == 0 else [1.0]


def fork_and_die() -> object:
    if os.fork() == 0:
        time.sleep(60)
    os._exit(3)


def nap() -> object:
    time.sleep(0.1)
    return [1.0]


def print_much() -> object:
    print("0123456789abcdef" * 64)
    os.write(1, bytes(range(256)))
    return [float(len(sys.stdin.read()))]


DEEDS: dict[str, Callable[[], object]] = {
    "raise": raise_long,
    "exit": lambda: sys.exit(0),
    "os exit": lambda: os._exit(0),
    "segfault": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "hog": lambda: [float(len(np.zeros(6 << 30, dtype=np.uint8)))],  # never touched: only a limit refuses it
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),  # as the kernel does when memory runs out
    "fork": fork_and_answer,
    "fork and die": fork_and_die,
    "sleep": lambda: time.sleep(60),
    "regex": lambda: re.fullmatch("(a+)+", 60 * "a" + "b"),  # never gives the GIL away
    "child": start_child,
    "session": leave_session,
    "print": print_much,
    "nap": nap,
    "two": lambda: [1.0, 2.0, 3.0, 4.0, 5.0],
    "string": lambda: "1",
    "bytes": lambda: b"1",
    "generator": lambda: (1.0 for _ in range(1)),
    "dict": lambda: {0: 1.0},
}


def obey(records: Sequence[Record]) -> object:
    """Does the first deed that a completion names; scores its length if none does."""
    for record in records:
        if record.completion in DEEDS:
            return DEEDS[record.completion]()
    return length(records)


def is_clean(records: Sequence[Record]) -> list[float]:
    heavy = {"torch", "lightning", "transformers", "jsonargparse"}
    return [float(heavy.isdisjoint(sys.modules)) for _ in records]


def pid(records: Sequence[Record]) -> list[float]:
    return [float(os.getpid()) for _ in records]


def batch_size(records: Sequence[Record]) -> list[float]:
    return [float(len(records))] * len(records)


def fields(records: Sequence[Record]) -> list[float]:
    """1 where the record is the first completion of `group("abc")`."""
    wanted = Record(prompt="q", completion="abc", token_ids=(5, 2), answer="42", row={"level": 3}, stop_reason="eos")
    return [float(record == wanted) for record in records]


class VotesAsTold:
    """Votes for the place that the first completion says."""

    def __call__(self, records: Sequence[object]) -> list[float]:
        return [1.0 for _ in records]

    def majority(self, completions: Sequence[str]) -> int | None:
        return int(completions[0])


class VotesForEver:
    """Never ends to count where a completion says `hang`."""

    def __call__(self, records: Sequence[object]) -> list[float]:
        return [1.0 for _ in records]

    def majority(self, completions: Sequence[str]) -> int | None:
        while "hang" in completions:
            pass
        return 0
