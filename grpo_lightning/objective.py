"""The objective of the update: which surrogate, which KL, which reduction, composed from `losses`."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from grpo_lightning.batching import MicroBatch
from grpo_lightning.logprobs import TokenLogprobs
from grpo_lightning.losses import Reduction, Totals, clipped_surrogate, kl_k3, sequence_weights


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """What is minimised: clipped surrogate + beta KL, reduced over tokens."""

    epsilon_low: float = 0.2
    """The ratio is clipped below at 1 - epsilon_low."""
    epsilon_high: float | None = None
    """The ratio is clipped above at 1 + epsilon_high; null: the same as epsilon_low. DAPO: 0.28."""
    beta: float = 0.0
    """Weight of the KL to the frozen reference (k3). 0 loads no reference. DeepSeekMath: 0.04."""
    reduction: Reduction = "token"
    """`token`: mean over all tokens (DAPO). `sequence`: mean over sequences of their token means (GRPO). `constant`:
    sum over tokens / (sequences x sampling.max_tokens) (Dr. GRPO)."""

    def __post_init__(self) -> None:
        if not 0 <= self.epsilon_low < 1:
            raise ValueError(f"objective.epsilon_low: {self.epsilon_low} is refused; it must be at least 0 and below 1")
        if not 0 <= self.clip_high < float("inf"):
            raise ValueError(f"objective.epsilon_high: {self.epsilon_high} is refused; it must be 0 or positive")
        if not 0 <= self.beta < float("inf"):
            raise ValueError(f"objective.beta: {self.beta} is refused; it must be 0 (no KL) or positive")

    @property
    def clip_high(self) -> float:
        return self.epsilon_low if self.epsilon_high is None else self.epsilon_high


def objective_loss(
    config: ObjectiveConfig, policy: TokenLogprobs, batch: MicroBatch, *, totals: Totals, max_tokens: int
) -> Float[Tensor, ""]:
    """This micro-batch's share of the loss: the shares of all micro-batches and ranks add up to the whole."""
    values = clipped_surrogate(
        policy.logprobs,
        batch.sampler_logprobs,
        batch.advantages,
        epsilon_low=config.epsilon_low,
        epsilon_high=config.clip_high,
    )
    if config.beta > 0 and batch.reference_logprobs is not None:
        values = values + config.beta * kl_k3(policy.logprobs, batch.reference_logprobs)
    weights = sequence_weights(config.reduction, batch.lengths, totals, max_tokens)
    return torch.sum(values * weights[batch.sequence])
