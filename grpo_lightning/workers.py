"""A process that runs rewards and may be killed at any moment: what happens inside it. `pool.py` holds the other end.

Not a sandbox: a reward is trusted code. What it reads is not, and may make it hang, crash or eat memory.

A worker imports this file, `types.py` and numpy: it starts without torch, in a fraction of a second.

The channel: length-prefixed pickles to the worker; back come `REPLY` structs with a text behind them, never a pickle.
Both run on descriptors of their own: what rewards print goes to the parent's standard error.
"""

import asyncio
import fcntl
import inspect
import itertools
import math
import os
import pickle
import resource
import signal
import struct
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from enum import IntEnum
from numbers import Real
from typing import BinaryIO

import numpy as np

from grpo_lightning.types import Record

Reward = Callable[[Sequence[Record]], Sequence[float | None] | Awaitable[Sequence[float | None]]]
"""A float for each record, or None where the reward does not apply. It leaves the records as they are."""

MEMORY_LIMIT = 4 << 30
"""Bytes of private memory for one worker: far above what a verifier needs, low enough that a few of them do not take
the machine down. RLIMIT_DATA rather than RLIMIT_AS, because runtimes reserve address space that they never touch."""

CAUSE_CHARACTERS = 500
"""A cause is cut here: exception texts quote model output, which may be megabytes."""


class Kind(IntEnum):
    VALUE, NONE, ERROR, EXHAUSTED, READY, UNLOADABLE = range(6)


REPLY = struct.Struct("<BddI")
"""Kind, value, seconds, length of the UTF-8 text that follows."""
LENGTH = struct.Struct("<Q")


# ---------------------------------------------------------------------------------------------- calling a reward


def invoke(reward: Reward, records: Sequence[Record]) -> list[object]:
    """What the reward returned, awaited if need be and read to its end: as many as `records`, unchecked."""
    result: object = reward(records)
    if inspect.isawaitable(result):
        result = asyncio.run(_finish(result))
    if isinstance(result, str | bytes | bytearray) or not isinstance(result, Sequence | np.ndarray):
        raise TypeError(f"returned {type(result).__name__}, wanted a list with one float or None per record")
    if len(result) != len(records):
        raise ValueError(f"returned {len(result)} values, expected {len(records)}: one per record")
    items: list[object] = list(itertools.islice(result, len(records) + 1))  # what it says of its length may be wrong
    if len(items) != len(records):
        raise ValueError(f"returned a sequence of length {len(result)} that does not hold as many values")
    return items


async def _finish(result: Awaitable[object]) -> object:
    return await result


def checked(item: object) -> float | None:
    """One item of a reward's answer as a finite float or None."""
    if item is None:
        return None
    if not isinstance(item, Real | np.bool_):
        raise TypeError(f"returned {type(item).__name__} for a record, wanted a float or None")
    value = float(item)
    if not math.isfinite(value):
        raise ValueError(f"returned {value} for a record, wanted a finite number or None")
    return value


def describe(error: BaseException) -> str:
    """One line: type, text and, unless it is in this file, place of an exception."""
    text = " ".join("".join(traceback.format_exception_only(error))[:CAUSE_CHARACTERS].split())
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    if place is None or place.tb_frame.f_code.co_filename == __file__:
        return text
    return f"{text} ({place.tb_frame.f_code.co_filename}:{place.tb_lineno})"


# --------------------------------------------------------------------------------------------- the worker's side


def serve(requests: str, replies: str, lifeline: str) -> None:
    """A worker's whole life: loads the rewards, answers batches in order, leaves when the parent does.

    The arguments are numbers of inherited descriptors; `lifeline` is a pipe whose other end only the parent holds.
    """
    channel = [int(descriptor) for descriptor in (requests, replies, lifeline)]
    for descriptor in channel:
        os.set_inheritable(descriptor, False)
    os.register_at_fork(after_in_child=lambda: _close(channel))  # a child that lives on would hide the worker's death
    limit_memory()
    _die_with(int(lifeline))
    out = int(replies)
    with os.fdopen(int(requests), "rb") as inbox:
        try:
            rewards = load(next(_messages(inbox), b""))
        except UnloadableError as error:
            _send(out, Kind.UNLOADABLE, text=str(error))
            sys.exit(1)
        _send(out, Kind.READY)
        for message in _messages(inbox):
            which, records = pickle.loads(message)
            for record in records:
                _send(out, *answer(rewards[which], record))
    os.killpg(0, signal.SIGKILL)  # also ends what rewards have started


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        with suppress(OSError):  # the reward may have closed it
            os.close(descriptor)


def limit_memory() -> None:
    """Keep this process from taking the machine's memory, or filling its disk with a dump."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = MEMORY_LIMIT if hard == resource.RLIM_INFINITY else min(MEMORY_LIMIT, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash is counted, not dumped


def _die_with(lifeline: int) -> None:
    """Has the kernel kill this process group once nobody holds the other end of the lifeline.

    A watching thread would not get the GIL from a reward that keeps it, and PR_SET_PDEATHSIG fires when the *thread*
    ends that started the worker. Where F_SETSIG is missing, a worker leaves when it next waits for a message.
    """
    if sys.platform == "linux":
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)


def _messages(inbox: BinaryIO) -> Iterator[bytes]:
    while len(prefix := inbox.read(LENGTH.size)) == LENGTH.size:
        yield inbox.read(LENGTH.unpack(prefix)[0])


class UnloadableError(Exception):
    """A reward does not exist where a worker runs, or refuses to be made again there."""


def load(message: bytes) -> dict[int, Reward]:
    """The rewards by key, from the pickled dictionary of their names and pickles."""
    rewards: dict[int, Reward] = {}
    for which, (name, pickled) in pickle.loads(message).items():
        try:
            rewards[which] = pickle.loads(pickled)
        except BaseException as error:
            raise UnloadableError(f"reward {name!r} cannot be loaded in a worker: {describe(error)}") from None
    return rewards


def answer(reward: Reward, record: Record) -> tuple[Kind, float, float, str]:
    """What the reward makes of a record: kind, value, seconds, and the cause of a failure. Never raises.

    Returns in this process only: a child that the reward has forked, and that comes back from it, ends here. It would
    answer a second time, and every later answer would count for another record.
    """
    here, start = os.getpid(), time.perf_counter()
    value, text = None, ""
    try:
        value = checked(invoke(reward, [record])[0])
        kind = Kind.NONE if value is None else Kind.VALUE
    except MemoryError as error:
        # What filled the memory may stay there (a cache), so the parent replaces this worker.
        kind, text = Kind.EXHAUSTED, describe(error)
    except BaseException as error:  # a reward that calls sys.exit() fails like any other
        kind, text = Kind.ERROR, describe(error)
    if os.getpid() != here:
        os._exit(1)
    return kind, value or 0.0, time.perf_counter() - start, text


def _send(replies: int, kind: Kind, value: float = 0.0, seconds: float = 0.0, text: str = "") -> None:
    encoded = text.encode(errors="backslashreplace")
    os.write(replies, REPLY.pack(kind, value, seconds, len(encoded)) + encoded)
