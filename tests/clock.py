"""How long something may take, whatever else the machine and this process do meanwhile."""

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def within(seconds: float, what: object = "") -> Iterator[None]:
    """CPU seconds of this thread, without the collector, which looks through all that other tests have left."""
    collects = gc.isenabled()
    gc.disable()
    try:
        start = time.thread_time()
        yield
        spent = time.thread_time() - start
    finally:
        if collects:
            gc.enable()
    assert spent < seconds, f"{what} took {spent:.2f} s"
