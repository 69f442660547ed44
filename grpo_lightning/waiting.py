"""What this process is doing, in words: its stage, for the progress bar, and what it waits for, said when that is long.

Not a profiler, and no deadline: nothing ends because of it. What it says goes to the log, so that it stands in a
terminal and in a file alike. To enter and to leave a wait takes microseconds; one thread looks at all of them.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

PATIENCE = 10.0
"""Seconds of silence that nobody wonders about; then what is waited for is named, and each time they have doubled."""

TICK = 0.5
"""Seconds between two looks."""

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Wait:
    """Something that this process cannot go on without."""

    what: Callable[[], str]
    since: float
    patience: float
    """Seconds after which it is named next."""
    said: str = ""
    """How it was named last; empty as long as it was not."""


class Board:
    """The stage and the waits of a process, oldest first. Any thread may write on it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._stage = ("", clock())
        self._waits: list[Wait] = []
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    @property
    def stage(self) -> tuple[str, float]:
        """What is being done, and for how many seconds."""
        name, since = self._stage
        return name, self.clock() - since

    def begin(self, name: str) -> None:
        """From now on this stage; of the main thread only, beside which others may be ahead of it."""
        if threading.current_thread() is threading.main_thread():
            self._stage = (name, self.clock())

    @contextmanager
    def waiting(self, what: str | Callable[[], str], *, patience: float = PATIENCE) -> Iterator[None]:
        """Within it, this is waited for; "waiting for WHAT" is how it will be said. A function is asked when it is."""
        wait = Wait((lambda: what) if isinstance(what, str) else what, self.clock(), patience)
        self._waits.append(wait)
        with self._lock:
            if self._thread is None or not self._thread.is_alive():  # not alive: this is a fork of who had it
                self._thread = threading.Thread(target=self._watch, name="waiting", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            self._waits.remove(wait)
            if wait.said:
                log.warning("%swaited %.0f s for %s", whose(), self.clock() - wait.since, wait.said)

    def longest(self) -> tuple[str, float] | None:
        """What has been waited for longest, and for how many seconds; None if nothing is."""
        for wait in self._waits[:1]:
            return wait.what(), self.clock() - wait.since
        return None

    def look(self) -> None:
        """Names what is waited for in vain; of several threads that wait for the same the first one speaks."""
        for wait in tuple(self._waits):
            seconds = self.clock() - wait.since
            if seconds < wait.patience:
                continue
            wait.patience = 2 * seconds
            text = wait.what()
            if not any(other.said == text for other in self._waits if other is not wait):
                wait.said = text
                log.warning("%swaiting for %s, %.0f s so far", whose(), text, seconds)

    def _watch(self) -> None:
        while True:
            time.sleep(TICK)
            self.look()


def whose() -> str:
    """Which process speaks, where there are several and it is not the first."""
    rank = os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or "0"
    return "" if rank == "0" else f"rank {rank}: "


BOARD = Board()
"""This process's."""

waiting = BOARD.waiting
