"""The mathematics of the update: surrogates, KL and reductions, as pure functions. The one place that divides.

Everything here is flat: one entry per completion token, N in all, without padding. A loss returns its value per token;
`sequence_weights` says what each token counts, and the caller's sum of value x weight is the loss. Because the weights
hold the denominators of the whole optimizer step, any split in micro-batches or over ranks adds up to the same.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

Reduction = Literal["token", "sequence", "constant"]


def clipped_surrogate(
    policy_logprobs: Float[Tensor, " N"],
    sampler_logprobs: Float[Tensor, " N"],
    advantages: Float[Tensor, " N"],
    *,
    epsilon_low: float,
    epsilon_high: float,
) -> Float[Tensor, " N"]:
    """-min(rho A, clip(rho, 1 - epsilon_low, 1 + epsilon_high) A), rho = pi_policy / pi_sampler.

    PPO's clip (https://arxiv.org/abs/1707.06347); epsilon_high > epsilon_low is DAPO's clip-higher
    (https://arxiv.org/abs/2503.14476). On-policy rho is one and the gradient is REINFORCE's, -A grad log pi.
    """
    ratio = torch.exp(policy_logprobs - sampler_logprobs)
    clipped = ratio.clamp(1 - epsilon_low, 1 + epsilon_high)
    return -torch.minimum(ratio * advantages, clipped * advantages)


def kl_k3(policy_logprobs: Float[Tensor, " N"], reference_logprobs: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """k3 = exp(-k1) - 1 + k1 with k1 = log pi - log pi_ref: never negative, zero where the two agree.

    Its expectation under pi is KL(pi || pi_ref) (http://joschu.net/blog/kl-approx.html).
    """
    k1 = policy_logprobs - reference_logprobs
    return torch.expm1(-k1) + k1


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Counts over one optimizer step: all micro-batches, all ranks."""

    tokens: float
    sequences: float


def sequence_weights(
    reduction: Reduction, lengths: Int[Tensor, " S"], totals: Totals, max_tokens: int
) -> Float[Tensor, " S"]:
    """What each token of a sequence counts, so that the loss is the plain sum over tokens of weight x value.

    token (DAPO): 1 / N_tok. sequence (GRPO): 1 / (N_seq len_i). constant (Dr. GRPO): 1 / (N_seq L_max).
    """
    ones = torch.ones(lengths.shape, dtype=torch.float32, device=lengths.device)
    match reduction:
        case "token":
            return ones / max(totals.tokens, 1.0)
        case "sequence":
            return ones / (max(totals.sequences, 1.0) * lengths.clamp(min=1))
        case "constant":
            return ones / (max(totals.sequences, 1.0) * max_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioStats:
    """Sums over tokens of what the ratio did. Tensors, so that nothing waits for them."""

    clipped_low: Tensor
    """Tokens with A < 0 held at 1 - epsilon_low."""
    clipped_high: Tensor
    """Tokens with A > 0 held at 1 + epsilon_high."""
    kl_to_sampler: Tensor
    """k3 of the policy against the sampler: how far the step has gone from the rollout."""
    ratio_max: Tensor


@torch.no_grad()
def ratio_stats(
    policy_logprobs: Float[Tensor, " N"],
    sampler_logprobs: Float[Tensor, " N"],
    advantages: Float[Tensor, " N"],
    *,
    epsilon_low: float,
    epsilon_high: float,
) -> RatioStats:
    """Diagnostics of one micro-batch of the clipped surrogate."""
    ratio = torch.exp(policy_logprobs - sampler_logprobs)
    return RatioStats(
        clipped_low=((ratio < 1 - epsilon_low) & (advantages < 0)).sum(),
        clipped_high=((ratio > 1 + epsilon_high) & (advantages > 0)).sum(),
        kl_to_sampler=kl_k3(sampler_logprobs, policy_logprobs).sum(),
        ratio_max=ratio.max() if len(ratio) else torch.ones((), device=ratio.device),
    )
