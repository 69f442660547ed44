"""Layers of a policy in fewer passes over memory: the same values and gradients, and less kept for the backward pass.

transformers writes an RMSNorm and a gated MLP as one elementwise operation behind another, each with a tensor of its
own, of which several stay until the backward pass. A layer is replaced where its code is, instruction for instruction,
that of Llama's, as in most families.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import rms_norm, silu
from transformers.activations import SiLUActivation
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm


def fuse_layers(policy: nn.Module) -> None:
    """Replaces the layers that can be; they keep their weights, and the others stay as they are."""
    for module in policy.modules():
        if runs_as(module, LlamaRMSNorm):
            module.__class__ = FusedRMSNorm
        elif runs_as(module, LlamaMLP) and isinstance(module.act_fn, nn.SiLU | SiLUActivation):
            module.__class__ = FusedMLP


def runs_as(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether the module computes what those of this class do, whatever its own is called."""
    own, other = (getattr(each.forward, "__code__", None) for each in (type(module), kind))
    if own is None or other is None or "forward" in vars(module):
        return False
    return (own.co_code, own.co_names, own.co_consts) == (other.co_code, other.co_names, other.co_consts)


class FusedRMSNorm(LlamaRMSNorm):
    """In float32 by a kernel of torch's, or, where it has none for the gradients, on a CPU, by what comes close."""

    def forward(self, hidden_states: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        weight = self.weight
        if not hidden_states.dtype == weight.dtype == torch.float32 or torch.compiler.is_compiling():
            return super().forward(hidden_states)
        if hidden_states.device.type != "cpu" or not torch.is_grad_enabled():
            return rms_norm(hidden_states, weight.shape, weight, self.variance_epsilon)
        return _RMSNorm.apply(hidden_states, weight, self.variance_epsilon)  # type: ignore[no-untyped-call]


class FusedMLP(LlamaMLP):
    """Keeps two of the three tensors of its width."""

    def forward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        if torch.compiler.is_compiling():
            return super().forward(x)  # type: ignore[no-untyped-call]
        gate, up = self.gate_proj(x), self.up_proj(x)
        return self.down_proj(_SwiGLU.apply(gate, up))  # type: ignore[no-untyped-call]


class _RMSNorm(torch.autograd.Function):
    """y = r x w with r = (mean x^2 + eps)^-1/2; keeps x and r."""

    @staticmethod
    def forward(ctx: Any, x: Float[Tensor, "*B D"], weight: Float[Tensor, " D"], eps: float) -> Float[Tensor, "*B D"]:
        r = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, r)
        return (x * r).mul_(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_y: Float[Tensor, "*B D"]) -> tuple[Tensor | None, Tensor | None, None]:
        """dx = r w dy - x r^3 mean(x w dy), dw = sum r x dy.

        A layer norm whose mean is said to be 0 has the same, but for r mean(w dy), which it subtracts from dx.
        """
        x, weight, r = ctx.saved_tensors
        of_y = of_y.contiguous()
        of_x, of_weight, _ = torch.ops.aten.native_layer_norm_backward(
            of_y, x, weight.shape, torch.zeros_like(r), r, weight, None, [*ctx.needs_input_grad[:2], False]
        )
        if of_x is not None:
            with torch.autocast(x.device.type, enabled=False):  # which would round the product
                of_x.addcmul_(r, (of_y @ weight)[..., None], value=1 / x.shape[-1])
        return of_x, of_weight, None


class _SwiGLU(torch.autograd.Function):
    """silu(gate) up; keeps both and makes silu(gate) again."""

    @staticmethod
    def forward(ctx: Any, gate: Float[Tensor, "*B M"], up: Float[Tensor, "*B M"]) -> Float[Tensor, "*B M"]:
        ctx.save_for_backward(gate, up)
        return silu(gate).mul_(up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_product: Float[Tensor, "*B M"]) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        of_up = silu(gate).mul_(of_product)
        of_gate = of_product * up
        return torch.ops.aten.silu_backward.grad_input(of_gate, gate, grad_input=of_gate), of_up
