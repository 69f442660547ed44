"""What is planned: a model, how it trains, and how it is spread over devices."""

from dataclasses import dataclass, replace

from grpo_lightning.generation import SamplingConfig
from grpo_lightning.optimization import UpdateConfig
from grpo_lightning.plan.shape import LINEARS, Shape, adapter_parameters, layer_matrices, parameters

DTYPES = ("float32", "bfloat16", "float16")

ENGINES = ("builtin", "colocated", "folder", "nccl")
"""What generates: the policy itself; vLLM beside it; vLLM's servers, sent new weights by a folder or by NCCL."""

NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Of a quantised element: 4 bits, a scale of 8 bits for 64 of them, and one of 4 bytes for 256 scales."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a micro-batch of an update brings."""

    tokens: int
    """T, that the model reads: of a sequence all but the last; padding included."""
    completion: int
    """N, whose log-probs are asked for."""
    queries: int
    """Of attention: T, or the places of its rectangles where prompts are shared."""
    keys: int
    """Of attention without a mask: T, or those of the prompts' rectangles."""
    masked: int = 0
    """Keys of attention with a mask, or, of a `ragged` job, with a prompt before them."""
    mask: int = 0
    """Its elements."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is trained, and how it is spread."""

    shape: Shape
    sampling: SamplingConfig
    update: UpdateConfig
    group_size: int
    prompts: int
    """Of a step, over all devices."""
    prompt_tokens: int
    """Of the longest prompt."""
    dtype: str = "float32"
    """Of the weights."""
    mixed: bool = False
    """Precision bf16-mixed: matrices multiply in bfloat16, weights stay as they are."""
    attention: str = "sdpa"
    checkpointing: bool = False
    reference: bool = False
    device: str = "cuda"
    """The type of each: on a CPU micro-batches are smaller where the config leaves it open, and so are masked keys."""
    gpus: int = 1
    shards: int = 1
    """Devices that share one copy of weights, gradients, optimizer and reference (FSDP2); 1: each has its own."""
    fsdp: bool = False
    """FSDP2, even on one device."""
    layerwise: bool = False
    """Sharded, generates from a layer at a time instead of a whole copy."""
    offload: bool = False
    """Sharded, keeps shares of weights, gradients, optimizer and reference in the memory of the host."""
    lora_rank: int = 0
    """Of adapters; 0: all weights train."""
    lora_modules: tuple[str, ...] = ()
    """The matrices of a layer that have one; empty: all."""
    quantized: bool = False
    """The frozen matrices of the layers are kept in 4 bits (NF4)."""
    looks_again: bool = False
    """The policy itself reads the rollout before it trains on it."""
    engine: str = "builtin"
    """One of ENGINES."""
    engine_rounds: bool = False
    """Whether the built-in one draws in bfloat16, whatever the policy trains in."""
    engine_memory: float = 0.0
    """Bytes that a colocated one takes while it generates."""
    engine_sleeps: bool = True
    """Whether a colocated one gives them back while the policy trains."""

    def __post_init__(self) -> None:
        checks = {
            "device": (self.device, self.device in ("cuda", "cpu"), "cuda or cpu"),
            "gpus": (self.gpus, self.gpus >= 1, "at least 1"),
            "shards": (self.shards, self.shards >= 1 and self.gpus % self.shards == 0, f"a divisor of {self.gpus}"),
            "prompts_per_step": (self.prompts, self.prompts >= self.gpus, f"one for each of {self.gpus} devices"),
            "policy.attention": (self.attention, self.attention != "eager", "another: eager attention is not planned"),
            "policy.dtype": (self.dtype, self.dtype in DTYPES, " or ".join(DTYPES)),
            "lora_rank": (self.lora_rank, self.lora_rank >= 0, "0 (off) or positive"),
            "adapter.modules": (self.lora_modules, set(self.lora_modules) <= set(LINEARS), f"of {', '.join(LINEARS)}"),
            "policy.quantization": ("nf4", not self.quantized or self.lora_rank > 0, "none, or with policy.adapter"),
            "engine": (
                self.engine,
                self.engine in ENGINES and (self.engine == "builtin" or not self.lora_rank),
                "the built-in one for adapters, and otherwise " + " or ".join(ENGINES),
            ),
            "engine.dtype": ("bfloat16", not self.engine_rounds or not self.sharded, "null to plan FullySharded"),
        } | {
            f"strategy.{name}": (True, not value or self.sharded, "of FullySharded")
            for name, value in {"cpu_offload": self.offload, "rollout layerwise": self.layerwise}.items()
        }
        for name, (value, holds, right) in checks.items():
            if not holds:
                raise ValueError(f"{name}: {value!r} is refused; it must be {right}")

    @property
    def weight_bytes(self) -> int:
        """w."""
        return 4 if self.dtype == "float32" else 2

    @property
    def drawing(self) -> "Job":
        """As it is while the built-in engine draws."""
        return replace(self, mixed=self.mixed or self.engine_rounds)

    @property
    def sharded(self) -> bool:
        """Whether FSDP2 gathers layers, which also casts them once, where precision is mixed."""
        return self.fsdp or self.shards > 1

    @property
    def working_bytes(self) -> int:
        """r, of the residual stream and of a weight to be used: w, but 2 as FSDP2 gathers it under mixed precision."""
        return 2 if self.mixed and self.sharded else self.weight_bytes

    @property
    def casts(self) -> bool:
        """Whether weights and inputs are copied to bfloat16 wherever they are multiplied."""
        return self.mixed and self.working_bytes == 4

    @property
    def compute_bytes(self) -> int:
        """c."""
        return 2 if self.mixed else self.weight_bytes

    @property
    def colocated(self) -> bool:
        """Whether the policy itself generates."""
        return self.engine == "builtin"

    @property
    def masked(self) -> bool:
        """Whether an update's attention needs a mask of T x T: sdpa, where sequences are packed into one row."""
        return self.update.layout == "packed" and self.attention == "sdpa"

    @property
    def shared(self) -> bool:
        """Whether a prompt stands once for its completions."""
        return self.update.layout == "shared"

    @property
    def ragged(self) -> bool:
        """Whether the kernel for that takes completions of any length: on a GPU in 16 bit."""
        return self.shared and self.device == "cuda" and self.compute_bytes == 2

    @property
    def adapters(self) -> int:
        """A, 0 where there are none."""
        return adapter_parameters(self.shape, self.lora_rank, self.lora_modules)

    @property
    def trainable(self) -> int:
        return self.adapters if self.lora_rank else parameters(self.shape)

    @property
    def trainable_bytes(self) -> int:
        """Of a weight that trains, its gradient, and each of the optimizer's two; of adapters float32, whatever the
        weights are.
        """
        return 4 if self.lora_rank else self.weight_bytes

    @property
    def adapted_bytes(self) -> int:
        """a, of what an adapter multiplies."""
        return self.compute_bytes if self.mixed else self.trainable_bytes

    @property
    def adapters_copy(self) -> bool:
        """Whether each adapter keeps a copy of its input, which PEFT casts to the float32 of its weights and autocast
        from there: wherever not all is float32, but for FSDP2, which casts weights as well.
        """
        return not self.sharded if self.mixed else self.weight_bytes == 2

    @property
    def reduced_bytes(self) -> int:
        """Of a gradient as FSDP2 adds it up."""
        return 4 if self.mixed else self.trainable_bytes

    def stored(self, weight: int) -> float:
        """Bytes of the whole policy at so many a weight, w or r; quantised matrices stay as they are."""
        matrices = self.shape.layers * layer_matrices(self.shape)
        small = matrices * (NF4_BYTES - weight) if self.quantized else 0.0
        return parameters(self.shape) * weight + self.adapters * self.trainable_bytes + small

    @property
    def share(self) -> int:
        """Prompts of a step on each device; of the fullest, where they do not divide."""
        return -(-self.prompts // self.gpus)

    @property
    def sequence(self) -> int:
        """Tokens of the longest sequence, which is also C."""
        return self.prompt_tokens + self.sampling.max_tokens

    @property
    def prompts_at_once(self) -> int:
        return min(self.share, max(1, self.sampling.max_rows // self.group_size))

    @property
    def rows(self) -> int:
        """B."""
        return self.prompts_at_once * self.group_size

    @property
    def minibatch_rows(self) -> int:
        """Sequences of an optimizer step on each device."""
        return -(-self.share // self.update.minibatches) * self.group_size

    @property
    def micro_batch_rows(self) -> int:
        """Sequences of a micro-batch: as many as fit, at least one, at most those of a minibatch. Shared, whole groups
        and what fits of another.
        """
        budget, own = self.update.tokens_on(self.device), self.sampling.max_tokens
        rows = budget // self.sequence
        if self.shared:
            groups, rest = divmod(budget, self.prompt_tokens + self.group_size * own)
            rows = groups * self.group_size + max(0, rest - self.prompt_tokens) // own
        return min(self.minibatch_rows, max(1, rows))

    def load(self, rows: int) -> Load:
        """Of so many of the longest sequences: T = R (S - 1).

        Shared, R completions of M tokens in as few groups as can be, g, each with a prompt of S - M tokens once:
        T = g (S - M) + R (M - 1), with keys of each sequence, and a mask, but not if `ragged`. Where micro-batches cut
        groups, the rest of one comes before others, and so one prompt more, if it fits. One mask is for all completions
        of a group; of several, whose prompts may differ in length, each has its own.
        """
        columns, completion = self.sequence - 1, rows * self.sampling.max_tokens
        tokens = rows * columns
        if not self.shared:
            keys, masked, mask = (0, tokens, tokens * tokens) if self.masked else (tokens, 0, 0)
            return Load(tokens=tokens, completion=completion, queries=tokens, keys=keys, masked=masked, mask=mask)
        groups = -(-rows // self.group_size)
        cut = rows % self.group_size > 0 and self.minibatch_rows > self.group_size
        if cut and (groups + 1) * self.prompt_tokens + completion <= self.update.tokens_on(self.device):
            groups += 1
        read = groups * self.prompt_tokens + completion - rows
        mask = (self.sampling.max_tokens - 1) * columns * (rows if cut or groups > 1 else 1)
        return Load(
            tokens=read,
            completion=completion,
            queries=read,
            keys=groups * self.prompt_tokens,
            masked=tokens,
            mask=0 if self.ragged else mask,
        )
