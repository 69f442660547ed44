"""Weights in the layout of oneDNN while a CPU decodes: for the few rows of a step its product is up to twice as fast as
the one that `torch.nn.Linear` takes. Costs a copy of the weights as long as it lasts, which under autocast is the cast.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

ROWS = 16
"""For which the layout is chosen; others are right, too."""

LEAST = 2**17
"""Elements of a weight that gains by it in float32; smaller ones are in the caches anyway."""


@contextmanager
def packed_weights(policy: nn.Module) -> Iterator[None]:
    """Within, linear layers on a CPU multiply so, without gradients: in float32 large ones, in bfloat16 all. Their
    weights must not change. Those of a compiled policy do not: the compiler refuses such products.
    """
    compiled = any(module._compiled_call_impl is not None for module in policy.modules())
    every = [] if compiled else policy.modules()
    packed = [module for module in every if type(module) is nn.Linear and _packs(module)]
    try:
        for module in packed:
            bias = None if module.bias is None else module.bias.detach()
            module.forward = packed_product(module.weight.detach(), bias, _computed(module.weight))  # type: ignore[method-assign, assignment]
        yield
    finally:
        for module in packed:
            vars(module).pop("forward", None)


def packed_product(
    weight: Float[Tensor, "E D"], bias: Float[Tensor, " E"] | None, dtype: torch.dtype
) -> Callable[[Tensor], Tensor]:
    """x -> x weight^T + bias in this type; on a CPU the weight is packed, if that gains, or transposed in memory."""
    weight, bias = weight.to(dtype), None if bias is None else bias.to(dtype)
    if packs(weight, dtype):
        weight = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)
        return partial(_linear, weight, bias, dtype)
    if weight.device.type == "cpu":
        weight = weight.T.contiguous().T
    return lambda x: linear(x.to(dtype), weight, bias)


def packs(weight: Tensor, dtype: torch.dtype) -> bool:
    """Whether a weight, multiplied in this type, gains."""
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype == torch.float32 and weight.numel() >= LEAST


def _packs(module: nn.Linear) -> bool:
    """Whether its weight gains, and is a plain one: no shard and not quantised."""
    weight = module.weight
    return "forward" not in vars(module) and type(weight.data) is Tensor and packs(weight, _computed(weight))


def _computed(weight: Tensor) -> torch.dtype:
    """The type of the product: the weight's, or what autocast casts a float32 one to."""
    casts = weight.dtype == torch.float32 and torch.is_autocast_enabled("cpu")
    return torch.get_autocast_dtype("cpu") if casts else weight.dtype


def _linear(
    weight: Tensor, bias: Tensor | None, dtype: torch.dtype, inputs: Float[Tensor, "*B D"]
) -> Float[Tensor, "*B E"]:
    return torch.ops.mkldnn._linear_pointwise(inputs.to(dtype), weight, bias, "none", [], "")
