"""The dimensions of a decoder, and what follows from them alone: parameters, matrices, adapters.

Knows the families whose layer is attention with grouped keys, a gated MLP and two norms; refuses others, because their
layers hold other things.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PretrainedConfig

LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""A layer's matrices, as the families call them."""

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
"""What `shape_of` reads, by the `model_type` of a config.json."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A model's dimensions."""

    vocabulary: int
    hidden: int
    intermediate: int
    """Width of the gated MLP."""
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    tied: bool
    """The head is the embedding."""
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    """Queries and keys pass a norm of their own, as in Qwen3."""

    @property
    def queries(self) -> int:
        """Width of all heads together."""
        return self.heads * self.head_dim

    @property
    def keys(self) -> int:
        """Width of all key heads together; the values' is the same."""
        return self.kv_heads * self.head_dim


def shape_of(config: PretrainedConfig) -> Shape:
    """The dimensions that a config.json states."""
    family = config.model_type
    if family not in FAMILIES:
        raise ValueError(f"policy.pretrained: no plan for a {family!r}; planned are {', '.join(FAMILIES)}")
    bias = family == "qwen2" or bool(getattr(config, "attention_bias", False))
    return Shape(
        vocabulary=config.vocab_size,
        hidden=config.hidden_size,
        intermediate=config.intermediate_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
        tied=bool(config.tie_word_embeddings),
        qkv_bias=bias,
        output_bias=bias and family != "qwen2",
        mlp_bias=bool(getattr(config, "mlp_bias", False)),
        qk_norm=family == "qwen3",
    )


def linears(shape: Shape) -> list[tuple[int, int]]:
    """(in, out) of a layer's seven matrices, in the order of LINEARS."""
    d, i = shape.hidden, shape.intermediate
    return [(d, shape.queries), (d, shape.keys), (d, shape.keys), (shape.queries, d), (d, i), (d, i), (i, d)]


def layer_matrices(shape: Shape) -> int:
    """Elements of a layer's matrices: sum of in x out."""
    return sum(rows * columns for rows, columns in linears(shape))


def layer_parameters(shape: Shape) -> int:
    """matrices + biases + 2 norms of D, and with qk_norm 2 of the head's width."""
    biases = shape.qkv_bias * (shape.queries + 2 * shape.keys) + shape.output_bias * shape.hidden
    biases += shape.mlp_bias * (2 * shape.intermediate + shape.hidden)
    return layer_matrices(shape) + biases + 2 * shape.hidden + shape.qk_norm * 2 * shape.head_dim


def embedding_parameters(shape: Shape) -> int:
    """V x D, twice where the head is not tied, + the last norm: what lies outside the layers."""
    return shape.vocabulary * shape.hidden * (1 if shape.tied else 2) + shape.hidden


def parameters(shape: Shape) -> int:
    """Embeddings + L x layer."""
    return embedding_parameters(shape) + shape.layers * layer_parameters(shape)


def adapter_parameters(shape: Shape, rank: int, modules: Sequence[str] = ()) -> int:
    """LoRA on these matrices, or on all seven: L x rank x sum of (in + out)."""
    named = dict(zip(LINEARS, linears(shape), strict=True))
    return shape.layers * rank * sum(sum(named[module]) for module in modules or LINEARS)
