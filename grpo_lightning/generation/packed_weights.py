"""Weights in the layout of oneDNN while a CPU decodes: for the few rows of a step its product is up to twice as fast as
the one that `torch.nn.Linear` takes in float32. Costs a copy of the weights as long as it lasts.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

ROWS = 16
"""For which the layout is chosen; others are right, too."""

LEAST = 2**19
"""Elements of a weight that gains by it; smaller ones are in the caches anyway."""


@contextmanager
def packed_weights(policy: nn.Module) -> Iterator[None]:
    """Within, large linear layers in float32 on a CPU multiply so, without gradients. Their weights must not change."""
    packed = [module for module in policy.modules() if type(module) is nn.Linear and _packs(module)]
    try:
        for module in packed:
            weight = torch.ops.mkldnn._reorder_linear_weight(module.weight.detach(), ROWS)
            module.forward = partial(_linear, weight, module.bias)  # type: ignore[method-assign]
        yield
    finally:
        for module in packed:
            vars(module).pop("forward", None)


def _packs(module: nn.Linear) -> bool:
    """Whether its weight is a plain one, no shard and not quantised, and large enough."""
    if not torch.backends.mkldnn.is_available() or "forward" in vars(module):
        return False
    weight = module.weight
    if type(weight.data) is not Tensor or weight.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return False
    return weight.dtype == torch.float32 and weight.numel() >= LEAST


def _linear(weight: Tensor, bias: Tensor | None, inputs: Float[Tensor, "*B D"]) -> Float[Tensor, "*B E"]:
    return torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")
