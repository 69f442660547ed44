"""What a device does in each step, recorded once as a CUDA graph and replayed, without Python between the kernels."""

import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

import torch
from torch import Tensor

Work = Callable[[Tensor], tuple[Tensor, ...]]
"""Of tensors on the device to others, which also may change what it reads there; the same kernels at each call."""


class Recorder:
    """Calls work as it is, or, from the second time on that nothing was arranged anew, by a recording of it.

    The first time also builds the kernels that the recording needs. Results stay valid until the next call. Where a
    recording fails, which nothing of the work may have been done by, all is called as it is.
    """

    def __init__(self) -> None:
        self.arranged: int | None = None
        self.recording: Recording | None = None
        self.holds = False
        """Whether the recording is of what is arranged now."""
        self.fails = False

    def __call__(self, work: Work, argument: Tensor, arranged: int) -> tuple[Tensor, ...]:
        """`arranged`: another number where the work is another than at the last call, but for what it reads."""
        if arranged != self.arranged:
            self.arranged, self.holds = arranged, False
            return work(argument)
        if not self.holds and not self.fails:
            try:
                self.recording, self.holds = _recorded(work, argument, self.recording), True
            except RuntimeError as error:
                self.recording, self.fails = None, True
                said = str(error).partition("\n")[0]
                warnings.warn(
                    f"steps of this rollout are launched one by one, not as CUDA graphs: {said}", stacklevel=2
                )
        return work(argument) if self.recording is None else self.recording(argument)


class Recording:
    """One call of a function, to be made again with other values. `pool`: memory of torch's to take, or None."""

    def __init__(self, work: Work, argument: Tensor, pool: Any) -> None:
        self.argument = argument.clone()
        self.graph = torch.cuda.CUDAGraph()
        current = torch.cuda.current_stream()
        aside = _aside(current.device, threading.get_ident())
        aside.wait_stream(current)
        with torch.cuda.stream(aside):
            # Others may use the device meanwhile.
            self.graph.capture_begin(pool=pool, capture_error_mode="thread_local")
            try:
                self.results = work(self.argument)
            except BaseException:
                with suppress(RuntimeError):  # that nothing was recorded, which says less
                    self.graph.capture_end()
                raise
            self.graph.capture_end()
        current.wait_stream(aside)
        self.pool = self.graph.pool()

    def __call__(self, argument: Tensor) -> tuple[Tensor, ...]:
        self.argument.copy_(argument)
        self.graph.replay()
        return self.results


def _recorded(work: Work, argument: Tensor, before: Recording | None) -> Recording:
    """In the memory of the one before. If that is short, at the second try: while it records, torch gives back nothing
    that it keeps for later.
    """
    pool = None if before is None else before.pool
    try:
        return Recording(work, argument, pool)
    except torch.OutOfMemoryError:
        pass
    torch.cuda.empty_cache()
    return Recording(work, argument, pool)


@cache
def _aside(device: torch.device, thread: int) -> torch.cuda.Stream:
    """One for all recordings: a library of products keeps a workspace for each stream that it meets, of 32 MiB."""
    return torch.cuda.Stream(device)
