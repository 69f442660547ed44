"""When the sampler is not the trainer: weights for an engine of other precision or code, as pure functions.

w_t = pi(t) / pi_engine(t), pi the policy as it was when the rollout began. With the built-in engine w is one but for
rounding, and none of this is needed.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

LIMITS = {"truncate": (0.0, 2.0), "mask": (0.5, 5.0), "sequence": (0.99, 1.01)}
"""Defaults of (low, high)."""


@dataclass(frozen=True, kw_only=True)
class MismatchConfig:
    """What is done about the difference between engine and policy."""

    correction: Literal["none", "truncate", "mask", "sequence"] = "none"
    """`truncate` weights each token by min(w, high) (TIS). `mask` weights it by w and drops tokens outside [low, high]
    (IcePop). `sequence` drops completions whose geometric mean of w is outside, from their group's baseline too. All
    but `none` cost a forward pass over the rollout, and take the loss's ratio to the policy instead of the engine."""
    low: float | None = None
    """Null: 0.5 for `mask`, 0.99 for `sequence`."""
    high: float | None = None
    """Null: 2 for `truncate`, 5 for `mask`, 1.01 for `sequence`."""

    def __post_init__(self) -> None:
        if self.correction == "none" and (self.low is not None or self.high is not None):
            raise ValueError("mismatch.low, mismatch.high: have no effect with mismatch.correction 'none'")
        if self.correction == "truncate" and self.low is not None:
            raise ValueError("mismatch.low: 'truncate' has an upper limit only; set it to null")
        low, high = self.limits
        if not 0 <= low < high < math.inf:
            raise ValueError(f"mismatch.low, mismatch.high: [{low}, {high}] is refused; they must be positive and rise")

    @property
    def limits(self) -> tuple[float, float]:
        low, high = LIMITS.get(self.correction, (0.0, 1.0))
        return low if self.low is None else self.low, high if self.high is None else self.high


def token_weights(
    config: MismatchConfig, proximal_logprobs: Float[Tensor, " T"], sampler_logprobs: Float[Tensor, " T"]
) -> Float[Tensor, " T"]:
    """What each token of a sequence counts in the surrogate: truncated (https://fengyao.notion.site/off-policy-rl),
    masked (IcePop, https://arxiv.org/abs/2510.18855), or 1.
    """
    weights = torch.exp((proximal_logprobs - sampler_logprobs).clamp(-20.0, 20.0))
    low, high = config.limits
    match config.correction:
        case "truncate":
            return weights.clamp(max=high)
        case "mask":
            return torch.where((weights >= low) & (weights <= high), weights, 0.0)
        case _:
            return torch.ones_like(weights)


def accepts(
    config: MismatchConfig, proximal_logprobs: Float[Tensor, " T"], sampler_logprobs: Float[Tensor, " T"]
) -> bool:
    """Whether a sequence may train: the geometric mean of w is within the limits. A product would punish length."""
    if config.correction != "sequence" or len(sampler_logprobs) == 0:
        return True
    low, high = config.limits
    mean = float((proximal_logprobs - sampler_logprobs).mean())
    return math.log(low) <= mean <= math.log(high) if low > 0 else mean <= math.log(high)
