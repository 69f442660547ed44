"""What the sides of `bench.py` measure with: CPU time and memory of their own process, also on a GPU."""

import os
import resource
import threading
import time
from types import TracebackType

import torch

PAGE = os.sysconf("SC_PAGE_SIZE")


def cpu_seconds() -> float:
    """Of all threads of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def resident_mb() -> float:
    """Of this process now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE / 2**20


class Peak:
    """The highest resident memory between entering and leaving, looked at every 10 ms."""

    def __enter__(self) -> "Peak":
        self.before = self.mb = resident_mb()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.01):
            self.mb = max(self.mb, resident_mb())


class Clock:
    """Seconds and CPU seconds from `start` to `stop`, when all that was asked of a GPU is done."""

    def start(self) -> None:
        settle()
        self._wall, self._cpu = time.perf_counter(), cpu_seconds()

    def stop(self) -> None:
        settle()
        self.seconds, self.cpu = time.perf_counter() - self._wall, cpu_seconds() - self._cpu


def settle() -> None:
    """Waits for the GPU, if one is used."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def figures(clock: Clock, peak: Peak, *, steps: int, tokens: int) -> dict[str, float]:
    """What both sides report. `tokens` were generated while the clock ran."""
    gpu = {"gpu_peak_mb": torch.cuda.max_memory_allocated() / 2**20} if torch.cuda.is_initialized() else {}
    return gpu | {
        "seconds_per_step": clock.seconds / steps,
        "cpu_seconds_per_step": clock.cpu / steps,
        "tokens_per_second": tokens / clock.seconds,
        "tokens_per_cpu_second": tokens / clock.cpu,
        "completion_tokens": tokens / steps,
        "peak_mb": peak.mb,
        "growth_mb": peak.mb - peak.before,
    }
