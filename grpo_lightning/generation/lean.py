"""The forward pass of a Llama, Mistral, Qwen2 or Qwen3, without what transformers does around it.

An engine makes a pass for each token, of few rows: there, what an operation costs by itself is most of the time. So
matrices with one input are one matrix here, and nothing is asked that the engine knows. No gradients; a policy with
shards, quantised weights or hooks is left to transformers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import zip_longest
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import linear, rms_norm
from transformers import PreTrainedModel
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from grpo_lightning.adapters import Low, unadapted
from grpo_lightning.attention import Plan
from grpo_lightning.compiling import compiles
from grpo_lightning.fused import FusedRMSNorm, runs_as
from grpo_lightning.generation.packed_weights import packed_product
from grpo_lightning.policy import plain_head, project

FAMILIES = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")

LENGTH_BOUND = ("dynamic", "longrope")
"""Kinds of positions whose angles depend on the longest sequence, which the module reads back from the device."""

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
    known = sum(unadapted(module)[1] is not None for modules in linears for module in modules)
    if known != sum("lora_A" in module._modules for module in policy.modules()):
        return None
    if type(policy.get_input_embeddings()) is not nn.Embedding or not all(map(_plain, linears)):
        return None
    return LeanPolicy(policy, dtype if policy.dtype == torch.float32 else None)


def _plain(linears: Sequence[Any]) -> bool:
    """Whether those with one input can be one matrix."""
    below = [unadapted(module)[0] for module in linears]
    if not all(type(module) is nn.Linear for module in below):
        return False
    biased = [module.bias is not None for module in below]
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
        plain = plain_head(policy) is not None
        self.norm = _norm(model.norm, dtype if plain else None)
        head = policy.get_output_embeddings()
        self.head: Product = _product([head], dtype) if plain else partial(project, policy)

    def __call__(
        self, ids: Int[Tensor, "B T"], positions: Int[Tensor, "B T"], last: Int[Tensor, " B"], plan: Plan
    ) -> Float[Tensor, "B V"]:
        """Logits of the token behind the `last` of each row."""
        alone = ids.shape[1] == 1
        small = compiled() if alone and compiles(ids.device.type) else PLAIN
        x, y = self.embedding(ids), None
        turn = _turn(self.rotary, x, positions)
        for layer in self.layers:
            x, y = layer(x, y, turn, plan, small)
        if not alone:
            at = torch.arange(len(ids), device=ids.device)
            x, y = x[at, last][:, None], None if y is None else y[at, last][:, None]
        logits = self.head(small.added(x, y, *self.norm)[1][:, 0])
        return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _turn(
    rotary: Any, x: Float[Tensor, "B T M"], positions: Int[Tensor, "B T"]
) -> tuple[Float[Tensor, "B T 1 D"], Float[Tensor, "B T 1 D"]]:
    """Cosine and sine of each position's angles, twice; the first of the sines negated."""
    if rotary.rope_type in LENGTH_BOUND:
        cos, sin = (both.chunk(2, dim=-1)[0] for both in rotary(x, positions))
    else:
        angles = positions[..., None] * rotary.inv_freq.float()
        cos, sin = ((f(angles) * rotary.attention_scaling).to(x.dtype) for f in (torch.cos, torch.sin))
    return torch.cat([cos, cos], dim=-1)[:, :, None], torch.cat([-sin, sin], dim=-1)[:, :, None]


class Norm(NamedTuple):
    weight: Float[Tensor, " M"]
    eps: float
    dtype: torch.dtype
    """Of what it returns."""


class Small(NamedTuple):
    """What a layer computes between its products."""

    added: Callable[..., tuple[Tensor, Tensor]]
    turned: Callable[..., Tensor]
    gated: Callable[..., Tensor]


def added(
    x: Float[Tensor, "B T M"], y: Float[Tensor, "B T M"] | None, weight: Tensor, eps: float, dtype: torch.dtype
) -> tuple[Float[Tensor, "B T M"], Float[Tensor, "B T M"]]:
    """x + y, and that normed."""
    x = x if y is None else x + y
    return x, _normed(x, weight, eps).to(dtype)


def turned(
    states: Float[Tensor, "B T HJ D"],
    cos: Float[Tensor, "B T 1 D"],
    sin: Float[Tensor, "B T 1 D"],
    weights: Float[Tensor, "HJ D"] | None,
    eps: float | None,
) -> Float[Tensor, "B T HJ D"]:
    """Queries and keys, normed if there are weights for that, and turned by their positions."""
    qk = states.to(cos.dtype)
    if weights is not None and eps is not None:
        qk = _normed(qk, weights, eps)
    return torch.addcmul(qk * cos, qk.roll(qk.shape[-1] // 2, -1), sin).to(states.dtype)


def _normed(x: Float[Tensor, "*B D"], weights: Float[Tensor, "*W D"], eps: float) -> Float[Tensor, "*B D"]:
    """x w (mean x^2 + eps)^-1/2; on a CPU in fewer operations than torch's, with the mean as a product."""
    if x.device.type != "cpu" or x.dtype != torch.float32:
        alike = weights.dim() == 1
        y = rms_norm(x, x.shape[-1:], weights if alike else None, eps)
        return y if alike else y.mul_(weights)
    share, offset = _mean(x.shape[-1], eps)
    scale = torch.addmv(offset, x.square().flatten(0, -2), share).rsqrt_()
    return x.mul(scale.view(*x.shape[:-1], 1)).mul_(weights)


@cache
def _mean(width: int, eps: float) -> tuple[Float[Tensor, " D"], Float[Tensor, " 1"]]:
    return torch.full((width,), 1 / width), torch.full((1,), eps)


def gated(both: Float[Tensor, "B T II"], act: Product) -> Float[Tensor, "B T I"]:
    """act(gate) up."""
    gate, up = both.chunk(2, dim=-1)
    return act(gate).mul_(up)


PLAIN = Small(added, turned, gated)


@cache
def compiled() -> Small:
    """Each as one kernel or two, instead of one for each operation."""
    return Small(torch.compile(added), torch.compile(turned), torch.compile(gated))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """x += o(attention(q, k, v)); x += down(act(gate) up), each of x normed. What is added last is left to the next."""

    attention: nn.Module
    """Whose keys and values these are."""
    heads: int
    width: int
    """Of a head."""
    scaling: float
    window: int | None
    first: Norm
    """Before attention."""
    qkv: Product
    eps: float | None
    """Of the norms of queries and keys, if there are any."""
    head_weights: Float[Tensor, "HJ D"] | None
    """Theirs: of each query head, then of each key head."""
    out: Product
    second: Norm
    gate_up: Product
    act: Product
    down: Product

    def __call__(
        self,
        x: Float[Tensor, "B T M"],
        y: Float[Tensor, "B T M"] | None,
        turn: tuple[Float[Tensor, "B T 1 D"], Float[Tensor, "B T 1 D"]],
        plan: Plan,
        small: Small,
    ) -> tuple[Float[Tensor, "B T M"], Float[Tensor, "B T M"]]:
        x, normed = small.added(x, y, *self.first)
        states = self.qkv(normed).unflatten(-1, (-1, self.width))
        keys = (states.shape[2] - self.heads) // 2
        value = states[:, :, self.heads + keys :]
        qk = small.turned(states[:, :, : self.heads + keys], *turn, self.head_weights, self.eps).transpose(1, 2)
        mixed = plan.attend(
            self.attention,
            qk[:, : self.heads],
            qk[:, self.heads :],
            value.transpose(1, 2),
            scaling=self.scaling,
            window=self.window,
        )
        x, normed = small.added(x, self.out(mixed.flatten(2)), *self.second)
        return x, self.down(small.gated(self.gate_up(normed), self.act))


def _layer(layer: Any, window: int | None, dtype: torch.dtype | None) -> _Layer:
    """`window`: of a layer that does not say its own."""
    attention = layer.self_attn
    query, key, value, out, gate, up, down = _linears(layer)
    second, *norms = _later_norms(layer)
    heads = [module.out_features // attention.head_dim for module in (query, key)]
    weights = [norm.weight.expand(count, -1) for norm, count in zip(norms, heads, strict=False)]
    return _Layer(
        attention=attention,
        heads=heads[0],
        width=attention.head_dim,
        scaling=attention.scaling,
        window=getattr(attention, "sliding_window", window),
        first=_norm(layer.input_layernorm, dtype),
        qkv=_product([query, key, value], dtype),
        eps=norms[0].variance_epsilon if norms else None,
        head_weights=torch.cat(weights) if weights else None,
        out=_product([out], dtype),
        second=_norm(second, dtype),
        gate_up=_product([gate, up], dtype),
        act=layer.mlp.act_fn,
        down=_product([down], dtype),
    )


def _norm(module: Any, dtype: torch.dtype | None) -> Norm:
    """For a product in this type."""
    weight = module.weight.detach()
    return Norm(weight, module.variance_epsilon, dtype or weight.dtype)


def _product(modules: Sequence[nn.Module], dtype: torch.dtype | None) -> Product:
    """The outputs of these linear layers for one input, one behind the other, with what adapters add to them."""
    below = [unadapted(module) for module in modules]
    product, start = _base([cast(nn.Linear, layer) for layer, _ in below], dtype), 0
    lows: list[tuple[slice, Low]] = []
    for layer, low in below:
        end = start + cast(nn.Linear, layer).out_features
        if low is not None:
            lows.append((slice(start, end), Low(*(each.to(dtype) for each in low))))
        start = end
    return partial(_adapted, product, lows) if lows else product


def _adapted(product: Product, lows: Sequence[tuple[slice, Low]], x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B E"]:
    y = product(x)
    for part, (down, up) in lows:
        y[..., part] += linear(linear(x.to(down.dtype), down), up)
    return y


def _base(layers: Sequence[nn.Linear], dtype: torch.dtype | None) -> Product:
    """Copies weights where that makes it faster: on a CPU, and where they are cast anyway."""
    weights = [layer.weight.detach() for layer in layers]
    biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
    if weights[0].device.type == "cpu" or dtype is not None:
        weight = torch.cat([each.to(dtype) for each in weights]) if len(weights) > 1 else weights[0]
        bias = torch.cat(biases) if biases else None
        return packed_product(weight, bias, dtype or weight.dtype)
    parts = [partial(linear, weight=weight, bias=bias) for weight, bias in zip_longest(weights, biases)]
    return parts[0] if len(parts) == 1 else lambda x: torch.cat([part(x) for part in parts], dim=-1)
