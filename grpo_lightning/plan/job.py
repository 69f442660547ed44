"""What is planned: a model, how it trains, and how it is spread over devices."""

from dataclasses import dataclass

from grpo_lightning.generation import SamplingConfig
from grpo_lightning.optimization import UpdateConfig
from grpo_lightning.plan.shape import Shape, adapter_parameters, parameters

DTYPES = ("float32", "bfloat16", "float16")

ADAPTER_BYTES = 4
"""Of an adapter's element: float32 whatever the weights are."""


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
    gpus: int = 1
    shards: int = 1
    """Devices that share one copy of weights, gradients, optimizer and reference (FSDP2); 1: each has its own."""
    lora_rank: int = 0
    """Of adapters on every matrix of a layer; 0: all weights train."""
    colocated: bool = True
    """Rollouts are generated on the devices that train; false: by servers elsewhere."""

    def __post_init__(self) -> None:
        checks = {
            "gpus": (self.gpus, self.gpus >= 1, "at least 1"),
            "shards": (self.shards, self.shards >= 1 and self.gpus % self.shards == 0, f"a divisor of {self.gpus}"),
            "prompts_per_step": (self.prompts, self.prompts >= self.gpus, f"one for each of {self.gpus} devices"),
            "policy.attention": (self.attention, self.attention != "eager", "another: eager attention is not planned"),
            "policy.dtype": (self.dtype, self.dtype in DTYPES, " or ".join(DTYPES)),
            "lora_rank": (self.lora_rank, self.lora_rank >= 0, "0 (off) or positive"),
        }
        for name, (value, holds, right) in checks.items():
            if not holds:
                raise ValueError(f"{name}: {value!r} is refused; it must be {right}")

    @property
    def weight_bytes(self) -> int:
        """w."""
        return 4 if self.dtype == "float32" else 2

    @property
    def casts(self) -> bool:
        """Whether weights and inputs are copied to bfloat16 wherever they are multiplied."""
        return self.mixed and self.weight_bytes == 4

    @property
    def compute_bytes(self) -> int:
        """c. The residual stream, r, is as wide as the weights."""
        return 2 if self.mixed else self.weight_bytes

    @property
    def masked(self) -> bool:
        """Whether an update's attention needs a mask of T x T: sdpa, where sequences are packed into one row."""
        return self.update.layout == "packed" and self.attention == "sdpa"

    @property
    def trainable(self) -> int:
        return adapter_parameters(self.shape, self.lora_rank) if self.lora_rank else parameters(self.shape)

    @property
    def trainable_bytes(self) -> int:
        """Of a gradient's element, and of each of the optimizer's two; adapters are float32."""
        return ADAPTER_BYTES if self.lora_rank else self.weight_bytes

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
        """Sequences of a micro-batch: as many as fit, at least one, at most those of a minibatch."""
        return min(self.minibatch_rows, max(1, self.update.micro_batch_tokens // self.sequence))
