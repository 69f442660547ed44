"""What every generation engine promises."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from grpo_lightning.ranks import Ranks
from grpo_lightning.types import Group, Prompt


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How completions are drawn."""

    max_tokens: int = 256
    """Longest completion, in tokens."""
    temperature: float = 1.0
    """Divides the logits, in sampling and in the loss alike; 0 takes the most likely token."""
    top_k: int = 0
    """Sample from the k most likely tokens only; 0: from all."""
    top_p: float = 1.0
    """Sample from the smallest set of tokens that holds this probability; 1: from all."""
    min_p: float = 0.0
    """Drop tokens less likely than this share of the most likely one."""
    repetition_penalty: float = 1.0
    """Divides (or, if negative, multiplies) the logits of tokens that the prompt or completion holds already."""
    stop: tuple[str, ...] = ()
    """Strings that end a completion; they stay in its text."""
    stop_token_ids: tuple[int, ...] = ()
    """Tokens that end a completion, besides the model's own end tokens."""
    max_rows: int = 1024
    """Completions generated at once; more wait for their place."""

    def __post_init__(self) -> None:
        checks = {
            "max_tokens": (self.max_tokens >= 1, "at least 1"),
            "temperature": (0 <= self.temperature < float("inf"), "0 (greedy) or a positive number"),
            "top_k": (self.top_k >= 0, "0 (off) or a positive number"),
            "top_p": (0 < self.top_p <= 1, "above 0 and at most 1"),
            "min_p": (0 <= self.min_p < 1, "at least 0 and below 1"),
            "repetition_penalty": (0 < self.repetition_penalty < float("inf"), "a positive number, 1 for none"),
            "stop": (all(self.stop), "strings that are not empty"),
            "max_rows": (self.max_rows >= 1, "at least 1"),
        }
        for name, (holds, right) in checks.items():
            if not holds:
                raise ValueError(f"sampling.{name}: {getattr(self, name)} is refused; it must be {right}")

    @property
    def truncates(self) -> bool:
        """Whether tokens are drawn from another distribution than softmax(logits / temperature)."""
        return self.top_k > 0 or self.top_p < 1 or self.min_p > 0 or self.repetition_penalty != 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """The groups of a batch of prompts, in the prompts' order, and what they cost."""

    groups: tuple[Group, ...]
    prefill_seconds: float
    decode_seconds: float
    truncation_gap: float = 0.0
    """Sum over tokens of log q - log pi, q what top-k, top-p, min-p and penalties left to sample from; NaN where the
    engine does not tell it."""

    @property
    def tokens(self) -> int:
        """Completion tokens, stop tokens included."""
        return sum(len(completion.token_ids) for group in self.groups for completion in group.completions)


@runtime_checkable
class Generator(Protocol):
    """A started engine: completes prompts with the policy's weights."""

    def use_weights(self, version: int) -> None:
        """The completions that follow come from the policy as it is now.

        `version` counts optimizer steps. Every rank calls this before each rollout and evaluation, because gathering
        the shards of a policy is a collective; an engine that has these weights already does nothing.
        """
        ...

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        group_size: int,
        sampling: SamplingConfig,
        seed: int,
        prefix: str = "",
        finished: Callable[[int, Group], None] | None = None,
    ) -> Rollout:
        """`group_size` completions of each prompt.

        Sample j of a prompt depends on (seed, prompt.uid, j) and the weights only, so the same completions come out in
        whatever company a prompt is generated (to within rounding of the logits). `sampler_logprobs` are those of
        softmax(logits / temperature), the distribution that the loss uses, also where the sampler truncates it; for
        greedy completions those of softmax(logits). `prefix` is forced on every completion: it stands at the start of
        its text, but not among its tokens. `finished` is called once for each group, with its place among the prompts,
        as soon as its last completion has ended, in any order; what it raises ends the generation.
        """
        ...


class Engine(ABC):
    """What a config names: the settings of an engine, made before there is a model."""

    runs_apart: ClassVar[bool] = False
    """Whether it holds weights of its own and can draw while the policy is being updated."""

    @property
    def rounds(self) -> bool:
        """Whether it is asked to compute in 16 bit what the policy computes in more."""
        return False

    @abstractmethod
    def check(self, sampling: SamplingConfig) -> None:
        """Refuses, in one line, training completions that this engine cannot draw as the contract says."""

    @abstractmethod
    def start(
        self,
        policy: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        sampling: SamplingConfig,
        ranks: Ranks,
    ) -> Generator:
        """The engine for this policy, on every rank. `sampling` is that of training."""
