"""The processes of a run, seen from one of them: sums, maxima and rows over all, for statistics that must be global.

Not for gradients, which the strategy averages. With one process every call returns what it was given.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from grpo_lightning.waiting import waiting

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """`size` processes, of which this is number `rank`; small tensors travel by way of `device`."""

    size: int
    rank: int
    device: torch.device

    @staticmethod
    def one() -> "Ranks":
        """A run of one process."""
        return Ranks(size=1, rank=0, device=torch.device("cpu"))

    def sum(self, values: Tensor) -> Tensor:
        """Summed over ranks."""
        return self._reduce(values, torch.distributed.ReduceOp.SUM)

    def max(self, values: Tensor) -> Tensor:
        """The largest over ranks."""
        return self._reduce(values, torch.distributed.ReduceOp.MAX)

    def gather(self, rows: np.ndarray) -> list[np.ndarray]:
        """Every rank's rows, in the order of ranks; they need not be equally many."""
        return self.gather_objects(rows)

    def gather_objects(self, own: T) -> list[T]:
        """Every rank's own, in the order of ranks."""
        if self.size == 1:
            return [own]
        found: list[T] = [own] * self.size
        with waiting("the other processes"):
            torch.distributed.all_gather_object(found, own)
        return found

    def _reduce(self, values: Tensor, operation: object) -> Tensor:
        if self.size == 1:
            return values
        moved = values.to(self.device)
        with waiting("the other processes"):
            torch.distributed.all_reduce(moved, op=operation)
            return moved.cpu()
