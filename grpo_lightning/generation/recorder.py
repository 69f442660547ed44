"""What a device does in each step, recorded once as a CUDA graph and replayed, without Python between the kernels."""

from collections.abc import Callable

import torch
from torch import Tensor

Work = Callable[[Tensor], tuple[Tensor, ...]]
"""Of tensors on the device to others, which also may change what it reads there; the same kernels at each call."""


class Recorder:
    """Calls work as it is, or, from the second time on that nothing was arranged anew, by a recording of it.

    The first time also builds the kernels that the recording needs. Results stay valid until the next call.
    """

    def __init__(self) -> None:
        self.arranged: int | None = None
        self.recording: Recording | None = None

    def __call__(self, work: Work, argument: Tensor, arranged: int) -> tuple[Tensor, ...]:
        """`arranged`: another number where the work is another than at the last call, but for what it reads."""
        if arranged != self.arranged:
            self.arranged, self.recording = arranged, None
            return work(argument)
        if self.recording is None:
            self.recording = Recording(work, argument)
        return self.recording(argument)


class Recording:
    """One call of a function, to be made again with other values."""

    def __init__(self, work: Work, argument: Tensor) -> None:
        self.argument = argument.clone()
        self.graph = torch.cuda.CUDAGraph()
        current, aside = torch.cuda.current_stream(), torch.cuda.Stream()
        aside.wait_stream(current)
        with torch.cuda.stream(aside):
            self.graph.capture_begin(capture_error_mode="thread_local")  # others may use the device meanwhile
            try:
                self.results = work(self.argument)
            finally:
                self.graph.capture_end()
        current.wait_stream(aside)

    def __call__(self, argument: Tensor) -> tuple[Tensor, ...]:
        self.argument.copy_(argument)
        self.graph.replay()
        return self.results
