"""A CUDA graph as far as a CPU can have one: what a function did to tensors, done again without the function.

As on a GPU, nothing is done while it is recorded, and whatever the function learnt from the host stays what it was.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from grpo_lightning.generation.recorder import Recording, Work

READS = {"aten._local_scalar_dense.default", "aten.equal.default", "aten.nonzero.default"}
"""What waits for the device, which no recording may."""


class Steps(TorchDispatchMode):
    """Notes each operation, and restores what it changed of tensors that were there before."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[tuple[Any, Any, Any, Any]] = []
        self.before: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert str(func) not in READS, f"{func} reads from the device"
        kwargs = kwargs or {}
        for argument, given in zip(func._schema.arguments, args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                self.before.setdefault(id(given), (given, given.clone()))
        result = func(*args, **kwargs)
        self.done.append((func, args, kwargs, result))
        return result


class FakeRecording(Recording):
    """In place of `recorder.Recording`."""

    pools: ClassVar[list[object]] = []
    """The memory that each was offered."""

    def __init__(self, work: Work, argument: Tensor, pool: object) -> None:
        self.pools.append(pool)
        self.pool = len(self.pools)
        self.argument = argument.clone()
        with Steps() as steps:
            self.results = work(self.argument)
        for tensor, value in reversed(steps.before.values()):
            tensor.copy_(value)
        self.done = steps.done

    def __call__(self, argument: Tensor) -> tuple[Tensor, ...]:
        self.argument.copy_(argument)
        for func, args, kwargs, result in self.done:
            old, new = tree_flatten(result)[0], tree_flatten(func(*args, **kwargs))[0]
            for one, other in zip(old, new, strict=True):
                if isinstance(one, Tensor) and one is not other and one.data_ptr() != other.data_ptr():
                    one.copy_(other)
        return self.results


def attend(
    query: Tensor,
    prompts: tuple[Tensor, Tensor],
    completions: tuple[Tensor, Tensor],
    where: Any,
    *,
    scaling: float,
    window: int | None,
) -> Tensor:
    """What `flash_decoding.attend` computes, by masks; reads no length from the device."""
    rows = where.each[:-1]
    group = torch.searchsorted(where.first, rows, right=True) - 1
    keys, values = (torch.cat([a[group], b], dim=2) for a, b in zip(prompts, completions, strict=True))
    ratio = query.shape[1] // keys.shape[1]
    keys, values = keys.repeat_interleave(ratio, 1), values.repeat_interleave(ratio, 1)
    place = torch.arange(keys.shape[2], device=query.device)
    length = prompts[0].shape[2]
    own = place - length
    position = torch.where(place < length, place, own + where.before[:, None])
    held = torch.where(place < length, place < where.prompt_lengths[group][:, None], own < where.lengths[:, None])
    if window is not None:
        held = held & (position > where.position[:, None] - window)
    scores = torch.einsum("bhd,bhtd->bht", query, keys) * scaling
    weights = torch.softmax(scores.masked_fill(~held[:, None], -torch.inf), dim=-1)
    return torch.einsum("bht,bhtd->bhd", weights, values.masked_fill(~held[:, None, :, None], 0.0))
