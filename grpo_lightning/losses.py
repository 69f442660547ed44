"""The mathematics of the update: surrogates, KL and reductions, as pure functions. The one place that divides.

Everything here is flat: one entry per completion token that counts, N in all, without padding; the tokens of a sequence
stand together. A loss returns its value per token; `sequence_weights` says what each token counts, and the caller's sum
of value x weight is the loss. Because the weights hold the denominators of the whole optimizer step, any split in
micro-batches or over ranks adds up to the same.

`log_ratio` is log rho, rho = pi_policy / pi_sampler. On-policy rho is one, and the gradient of every loss here is
REINFORCE's, -A grad log pi.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Level = Literal["token", "sequence", "sequence_token"]
Reduction = Literal["token", "sequence", "constant", "sequence_sum", "prompt", "local"]
Estimator = Literal["k1", "k2", "k3", "k3_ratio", "k3_straight"]

LOG_LIMIT = 20.0
"""Log-ratios beyond this, a factor of 5e8, are held there without gradient, so that no exponential overflows."""


# ------------------------------------------------------------------------------------------------------------- ratios


def sequence_sums(values: Float[Tensor, " N"], lengths: Int[Tensor, " S"]) -> Float[Tensor, " S"]:
    """The sum over each sequence's tokens."""
    return torch.segment_reduce(values, "sum", lengths=lengths, initial=0.0)


def sequence_means(values: Float[Tensor, " N"], lengths: Int[Tensor, " S"]) -> Float[Tensor, " S"]:
    """The mean over each sequence's tokens."""
    return sequence_sums(values, lengths) / lengths.clamp(min=1)


def spread(values: Float[Tensor, " S"], lengths: Int[Tensor, " S"]) -> Float[Tensor, " N"]:
    """Each sequence's value at each of its tokens."""
    return values.repeat_interleave(lengths)


def log_ratios(
    policy_logprobs: Float[Tensor, " N"],
    sampler_logprobs: Float[Tensor, " N"],
    lengths: Int[Tensor, " S"],
    *,
    level: Level,
) -> Float[Tensor, " N"]:
    """log rho_t per token.

    token: log pi_policy - log pi_sampler. sequence (GSPO, https://arxiv.org/abs/2507.18071, eq. 7): the mean of these
    over the sequence, log s, at each of its tokens. sequence_token (GSPO-token, eq. 14): the value log s with the
    gradient of the token's own log-prob, sg(log s) + log pi - sg(log pi).
    """
    token = policy_logprobs - sampler_logprobs
    if level == "token":
        return token.clamp(-LOG_LIMIT, LOG_LIMIT)
    mean = sequence_means(token, lengths).clamp(-LOG_LIMIT, LOG_LIMIT)
    if level == "sequence":
        return spread(mean, lengths)
    return spread(mean.detach(), lengths) + policy_logprobs - policy_logprobs.detach()


# ------------------------------------------------------------------------------------------------------------- losses


def clipped_surrogate(
    log_ratio: Float[Tensor, " N"],
    advantages: Float[Tensor, " N"],
    *,
    epsilon_low: float,
    epsilon_high: float,
    dual_clip: float = math.inf,
) -> Float[Tensor, " N"]:
    """-min(min(rho, c) A, clip(rho, 1 - epsilon_low, 1 + epsilon_high) A).

    PPO's clip (https://arxiv.org/abs/1707.06347); epsilon_high > epsilon_low is DAPO's clip-higher
    (https://arxiv.org/abs/2503.14476). c > 1 + epsilon_high bounds the loss by -c A where A < 0 and changes nothing
    elsewhere: dual-clip PPO (https://arxiv.org/abs/1912.09729) and INTELLECT-2's two-sided delta
    (https://arxiv.org/abs/2505.07291) are this same function.
    """
    ratio = torch.exp(log_ratio)
    clipped = ratio.clamp(1 - epsilon_low, 1 + epsilon_high)
    return -torch.minimum(ratio.clamp(max=dual_clip) * advantages, clipped * advantages)


def cispo(
    policy_logprobs: Float[Tensor, " N"],
    log_ratio: Float[Tensor, " N"],
    advantages: Float[Tensor, " N"],
    *,
    epsilon_high: float,
) -> Float[Tensor, " N"]:
    """-sg(min(rho, 1 + epsilon_high)) A log pi (https://arxiv.org/abs/2506.13585, eq. 4): caps the weight of a token,
    never its gradient. The cap is 1 + epsilon_high, not epsilon_high.
    """
    return -torch.exp(log_ratio).clamp(max=1 + epsilon_high).detach() * advantages * policy_logprobs


def sapo(
    log_ratio: Float[Tensor, " N"], advantages: Float[Tensor, " N"], *, tau_positive: float, tau_negative: float
) -> Float[Tensor, " N"]:
    """-(4 / tau) sigmoid(tau (rho - 1)) A, tau by the sign of A (https://arxiv.org/abs/2511.20347): a soft clip."""
    tau = torch.full_like(advantages, tau_negative).masked_fill(advantages > 0, tau_positive)
    return -4 / tau * torch.sigmoid(tau * (torch.exp(log_ratio) - 1)) * advantages


def gmpo(
    log_ratio: Float[Tensor, " N"],
    advantages: Float[Tensor, " N"],
    lengths: Int[Tensor, " S"],
    *,
    epsilon_low: float,
    epsilon_high: float,
) -> Float[Tensor, " N"]:
    """-A exp(mean_t l_t), l_t = min(log rho_t, epsilon_high) where A > 0, max(log rho_t, -epsilon_low) elsewhere.

    The geometric mean of clipped token ratios, clipped in log space (https://arxiv.org/abs/2507.20673, eq. 4).
    """
    held = torch.where(advantages > 0, log_ratio.clamp(max=epsilon_high), log_ratio.clamp(min=-epsilon_low))
    return -advantages * torch.exp(spread(sequence_means(held, lengths), lengths))


def dppo(
    policy_logprobs: Float[Tensor, " N"],
    sampler_logprobs: Float[Tensor, " N"],
    advantages: Float[Tensor, " N"],
    *,
    tv_limit: float,
) -> Float[Tensor, " N"]:
    """-A rho keep: a trust region on probabilities instead of ratios, by total variation.

    keep drops tokens that have moved by more than the limit in the direction of their advantage: A > 0 and
    pi - mu > limit, or A < 0 and pi - mu < -limit, mu the sampler's probability (https://arxiv.org/abs/2602.04879).
    """
    log_ratio = log_ratios(policy_logprobs, sampler_logprobs, torch.tensor([len(advantages)]), level="token")
    high, low = beyond_tv(policy_logprobs, sampler_logprobs, advantages, tv_limit=tv_limit)
    return torch.where(high | low, 0.0, -advantages * torch.exp(log_ratio))


@torch.no_grad()
def beyond_tv(
    policy_logprobs: Float[Tensor, " N"],
    sampler_logprobs: Float[Tensor, " N"],
    advantages: Float[Tensor, " N"],
    *,
    tv_limit: float,
) -> tuple[Bool[Tensor, " N"], Bool[Tensor, " N"]]:
    """The tokens that `dppo` drops: above, and below."""
    moved = torch.exp(policy_logprobs) - torch.exp(sampler_logprobs)
    return (advantages > 0) & (moved > tv_limit), (advantages < 0) & (moved < -tv_limit)


def vespo(
    policy_logprobs: Float[Tensor, " N"],
    sampler_logprobs: Float[Tensor, " N"],
    advantages: Float[Tensor, " N"],
    lengths: Int[Tensor, " S"],
    *,
    shape_positive: tuple[float, float],
    shape_negative: tuple[float, float],
) -> Float[Tensor, " N"]:
    """-sg(phi(w)) A log pi, phi(w) = e^lambda w^k e^(-lambda w), w = prod_t rho_t of the sequence.

    (k, lambda) by the sign of A (https://arxiv.org/abs/2602.10693). phi is 1 at w = 1 and falls to both sides.
    """
    (k_positive, lambda_positive), (k_negative, lambda_negative) = shape_positive, shape_negative
    with torch.no_grad():
        log_w = sequence_sums(policy_logprobs - sampler_logprobs, lengths).clamp(-LOG_LIMIT, LOG_LIMIT)
        log_w = spread(log_w, lengths)
        k = torch.full_like(advantages, k_negative).masked_fill(advantages >= 0, k_positive)
        lam = torch.full_like(advantages, lambda_negative).masked_fill(advantages >= 0, lambda_positive)
        phi = torch.exp(lam + k * log_w - lam * torch.exp(log_w))
    return -phi * advantages * policy_logprobs


def reinforce(policy_logprobs: Float[Tensor, " N"], advantages: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """-A log pi (https://doi.org/10.1007/BF00992696). Looks at no ratio: right only while the policy is the sampler."""
    return -advantages * policy_logprobs


@torch.no_grad()
def gone_off_policy(
    policy_logprobs: Float[Tensor, " N"],
    sampler_logprobs: Float[Tensor, " N"],
    advantages: Float[Tensor, " N"],
    lengths: Int[Tensor, " S"],
    *,
    limit: float,
) -> Bool[Tensor, " N"]:
    """Tokens with A < 0 of sequences with mean_t(log pi_sampler - log pi_policy) > limit.

    The off-policy sequence mask of DeepSeek-V3.2 (https://arxiv.org/abs/2512.02556, section 3.1): a bad sequence that
    the policy has long left teaches nothing and destabilises.
    """
    drift = sequence_means(sampler_logprobs - policy_logprobs, lengths)
    return (spread(drift, lengths) > limit) & (advantages < 0)


# ----------------------------------------------------------------------------------------------------------------- KL


def kl(
    policy_logprobs: Float[Tensor, " N"], reference_logprobs: Float[Tensor, " N"], *, estimator: Estimator
) -> Float[Tensor, " N"]:
    """An estimate of KL(pi || pi_ref) at each sampled token, k1 = log pi - log pi_ref (http://joschu.net/blog/kl-approx.html).

    k1: unbiased, of either sign; its gradient is zero in expectation. k2 = k1^2 / 2: its gradient is the reverse KL's.
    k3 = e^(-k1) - 1 + k1: unbiased, never negative; its gradient is the forward KL's (https://arxiv.org/abs/2510.01555).
    k3_straight: the value of k3 with the gradient of k2. k3_ratio is k3 here; the caller weights it by rho.
    """
    k1 = (policy_logprobs - reference_logprobs).clamp(-LOG_LIMIT, LOG_LIMIT)
    match estimator:
        case "k1":
            return k1
        case "k2":
            return k1**2 / 2
        case "k3" | "k3_ratio":
            return torch.expm1(-k1) + k1
        case "k3_straight":
            k2 = k1**2 / 2
            return (torch.expm1(-k1) + k1).detach() + k2 - k2.detach()


# --------------------------------------------------------------------------------------------------------- reductions


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Counts over one optimizer step: all micro-batches, all ranks."""

    tokens: float
    sequences: float
    prompts: float
    micro_batches: float


def sequence_weights(
    reduction: Reduction,
    lengths: Int[Tensor, " S"],
    group_tokens: Int[Tensor, " S"],
    totals: Totals,
    max_tokens: int,
) -> Float[Tensor, " S"]:
    """What each token of a sequence counts, so that the loss is the plain sum over tokens of weight x value.

    token (DAPO): 1 / N_tok. sequence (GRPO): 1 / (N_seq len_i). constant (Dr. GRPO): 1 / (N_seq L_max).
    sequence_sum (LUSPO): 1 / N_seq. prompt (ScaleRL): 1 / (N_prompts N_tok of the sequence's group).
    local (BNPO): 1 / (N_micro N_tok of this micro-batch), the one that depends on how the step is cut.
    """
    ones = torch.ones(lengths.shape, dtype=torch.float64, device=lengths.device)
    sequences = max(totals.sequences, 1.0)
    match reduction:
        case "token":
            return ones / max(totals.tokens, 1.0)
        case "sequence":
            return ones / (sequences * lengths.clamp(min=1))
        case "constant":
            return ones / (sequences * max_tokens)
        case "sequence_sum":
            return ones / sequences
        case "prompt":
            return ones / (max(totals.prompts, 1.0) * group_tokens.clamp(min=1))
        case "local":
            return ones / (max(totals.micro_batches, 1.0) * lengths.sum().clamp(min=1))
