"""The forward pass of a Llama, Mistral, Qwen2 or Qwen3, without what transformers does around it.

An engine makes a pass for each token, of few rows: there, what an operation costs by itself is most of the time. So
matrices with one input are one matrix here, and nothing is asked that the engine knows. No gradients; a policy with
adapters, shards, quantised weights or hooks is left to transformers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import linear, rms_norm
from transformers import PreTrainedModel
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from grpo_lightning.attention import Plan
from grpo_lightning.fused import FusedRMSNorm, runs_as
from grpo_lightning.generation.packed_weights import packed_product
from grpo_lightning.policy import plain_head, project

FAMILIES = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")

Product = Callable[[Tensor], Tensor]


def lean(policy: PreTrainedModel, dtype: torch.dtype | None) -> "LeanPolicy | None":
    """The policy with its weights as they are now, multiplied in this type (None: their own); None if it is another.

    A type is for weights in float32, as in autocast. Of weights in float64 transformers rounds norms to float32; so
    that nothing differs, these are left to it.
    """
    if policy.dtype == torch.float64:
        return None
    if type(policy).__name__ not in FAMILIES or not type(policy).__module__.startswith("transformers."):
        return None
    if any(type(parameter.data) is not Tensor for parameter in policy.parameters()):
        return None
    if any(m._forward_hooks or m._forward_pre_hooks or "forward" in vars(m) for m in policy.modules()):
        return None
    model: Any = policy.base_model
    norms = [model.norm, *(norm for layer in model.layers for norm in (layer.input_layernorm, *_later_norms(layer)))]
    if not all(type(norm) is FusedRMSNorm or runs_as(norm, LlamaRMSNorm) for norm in norms):
        return None
    linears = [_linears(layer) for layer in model.layers]
    if type(policy.get_input_embeddings()) is not nn.Embedding or not all(map(_plain, linears)):
        return None
    return LeanPolicy(policy, dtype if policy.dtype == torch.float32 else None)


def _plain(linears: Sequence[Any]) -> bool:
    """Whether those with one input can be one matrix."""
    if not all(type(module) is nn.Linear for module in linears):
        return False
    biased = [module.bias is not None for module in linears]
    return len(set(biased[:3])) == len(set(biased[4:6])) == 1


def _later_norms(layer: Any) -> list[Any]:
    """Of the MLP, and of queries and keys, where there are any."""
    own = layer.self_attn
    return [layer.post_attention_layernorm, *([own.q_norm, own.k_norm] if hasattr(own, "q_norm") else [])]


def _linears(layer: Any) -> tuple[Any, ...]:
    attention, mlp = layer.self_attn, layer.mlp
    first = (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj)
    return (*first, mlp.gate_proj, mlp.up_proj, mlp.down_proj)


class LeanPolicy:
    """`next_logits` of a policy, with copies of those weights that multiply faster in another form."""

    def __init__(self, policy: PreTrainedModel, dtype: torch.dtype | None) -> None:
        model: Any = policy.base_model
        config = policy.config
        window = config.sliding_window if type(policy).__name__ == "MistralForCausalLM" else None
        self.embedding: Product = policy.get_input_embeddings()
        self.rotary = model.rotary_emb
        self.layers = [_layer(layer, window, dtype) for layer in model.layers[: config.num_hidden_layers]]
        self.norm = _norm(model.norm)
        plain = plain_head(policy) is not None
        head = policy.get_output_embeddings()
        self.head: Product = _product([head], dtype) if plain else partial(project, policy)

    def __call__(
        self, ids: Int[Tensor, "B T"], positions: Int[Tensor, "B T"], last: Int[Tensor, " B"], plan: Plan
    ) -> Float[Tensor, "B V"]:
        """Logits of the token behind the `last` of each row."""
        x = self.embedding(ids)
        cos, sin = self.rotary(x, positions)
        half = cos.shape[-1] // 2
        turn = cos[:, :, None], torch.cat([-sin[..., :half], sin[..., half:]], dim=-1)[:, :, None]
        for layer in self.layers:
            x = layer(x, turn, plan)
        x = x[:, 0] if ids.shape[1] == 1 else x[torch.arange(len(ids), device=ids.device), last]
        logits = self.head(self.norm(x))
        return logits.to(torch.promote_types(logits.dtype, torch.float32))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """x += o(attention(q, k, v)); x += down(act(gate) up), each of x normed."""

    attention: nn.Module
    """Whose keys and values these are."""
    heads: int
    width: int
    """Of a head."""
    scaling: float
    window: int | None
    first: Product
    """The norm before attention."""
    qkv: Product
    eps: float | None
    """Of the norms of queries and keys, if there are any."""
    head_weights: Float[Tensor, "HJ D"] | None
    """Theirs: of each query head, then of each key head."""
    out: Product
    second: Product
    gate_up: Product
    act: Product
    down: Product

    def __call__(
        self, x: Float[Tensor, "B T M"], turn: tuple[Float[Tensor, "B T 1 D"], Float[Tensor, "B T 1 D"]], plan: Plan
    ) -> Float[Tensor, "B T M"]:
        states = self.qkv(self.first(x)).unflatten(-1, (-1, self.width))
        keys = (states.shape[2] - self.heads) // 2
        value = states[:, :, self.heads + keys :]
        qk = states[:, :, : self.heads + keys].to(x.dtype)
        if self.head_weights is not None:
            qk = rms_norm(qk, (self.width,), None, self.eps).mul_(self.head_weights)
        qk = torch.addcmul(qk * turn[0], qk.roll(self.width // 2, -1), turn[1]).to(value.dtype).transpose(1, 2)
        mixed = plan.attend(
            self.attention,
            qk[:, : self.heads],
            qk[:, self.heads :],
            value.transpose(1, 2),
            scaling=self.scaling,
            window=self.window,
        )
        x = x + self.out(mixed.flatten(2))
        gate, up = self.gate_up(self.second(x)).chunk(2, dim=-1)
        return x.add_(self.down(self.act(gate).mul_(up)))


def _layer(layer: Any, window: int | None, dtype: torch.dtype | None) -> _Layer:
    """`window`: of a layer that does not say its own."""
    attention = layer.self_attn
    query, key, value, out, gate, up, down = _linears(layer)
    second, *norms = _later_norms(layer)
    heads = [linear.out_features // attention.head_dim for linear in (query, key)]
    weights = [norm.weight.expand(count, -1) for norm, count in zip(norms, heads, strict=False)]
    return _Layer(
        attention=attention,
        heads=heads[0],
        width=attention.head_dim,
        scaling=attention.scaling,
        window=getattr(attention, "sliding_window", window),
        first=_norm(layer.input_layernorm),
        qkv=_product([query, key, value], dtype),
        eps=norms[0].variance_epsilon if norms else None,
        head_weights=torch.cat(weights) if weights else None,
        out=_product([out], dtype),
        second=_norm(second),
        gate_up=_product([gate, up], dtype),
        act=layer.mlp.act_fn,
        down=_product([down], dtype),
    )


def _norm(module: Any) -> Product:
    weight = module.weight
    return partial(rms_norm, normalized_shape=weight.shape, weight=weight, eps=module.variance_epsilon)


def _product(layers: Sequence[nn.Linear], dtype: torch.dtype | None) -> Product:
    """The outputs of these linear layers for one input, one behind the other.

    Copies weights where that makes it faster: on a CPU, and where they are cast anyway.
    """
    weights = [layer.weight.detach() for layer in layers]
    biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
    if weights[0].device.type == "cpu" or dtype is not None:
        weight = torch.cat([each.to(dtype) for each in weights]) if len(weights) > 1 else weights[0]
        bias = torch.cat(biases) if biases else None
        return packed_product(weight, bias, dtype or weight.dtype)
    parts = [partial(linear, weight=weight, bias=bias) for weight, bias in zip_longest(weights, biases)]
    return parts[0] if len(parts) == 1 else lambda x: torch.cat([part(x) for part in parts], dim=-1)
