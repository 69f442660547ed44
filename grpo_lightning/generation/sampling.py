"""Logits -> the next token, by pure functions: the distribution, its truncation, and the draw by one uniform number."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from grpo_lightning.generation.contract import SamplingConfig
from grpo_lightning.seeding import seed_of

LARGEST_UNIFORM = 1 - 2.0**-20
"""Below one by more than float32 loses in a cumulative sum, so that a draw never falls behind the last token."""


def uniforms(seed: int, keys: Sequence[tuple[int, int]], length: int) -> Float[Tensor, "B L"]:
    """One uniform number per row and step; row (uid, sample) draws from a stream of its own."""
    streams = (np.random.Generator(np.random.Philox(seed_of("sample", seed, uid, sample))) for uid, sample in keys)
    drawn = np.stack([stream.random(length, dtype=np.float32) for stream in streams])
    return torch.from_numpy(drawn).clamp_(max=LARGEST_UNIFORM)


def penalise_repetition(
    logits: Float[Tensor, "B V"], seen: Bool[Tensor, "B V"], penalty: float
) -> Float[Tensor, "B V"]:
    """Logits of seen tokens are divided by the penalty if positive, multiplied if not (https://arxiv.org/abs/1909.05858)."""
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def truncate(probs: Float[Tensor, "B V"], sampling: SamplingConfig) -> Float[Tensor, "B V"]:
    """Zeroes what top-k, then top-p, then min-p leave out. The most likely token always stays; nothing is rescaled."""
    if sampling.top_k > 0:
        smallest = probs.topk(min(sampling.top_k, probs.shape[-1]), dim=-1).values[:, -1:]
        probs = probs.masked_fill(probs < smallest, 0.0)
    if sampling.top_p < 1:
        ordered, order = probs.sort(dim=-1, descending=True)
        before = ordered.cumsum(dim=-1) - ordered
        ordered = ordered.masked_fill(before >= sampling.top_p * ordered.sum(dim=-1, keepdim=True), 0.0)
        probs = torch.zeros_like(probs).scatter(1, order, ordered)
    if sampling.min_p > 0:
        probs = probs.masked_fill(probs < sampling.min_p * probs.max(dim=-1, keepdim=True).values, 0.0)
    return probs


def draw(probs: Float[Tensor, "B V"], uniform: Float[Tensor, " B"]) -> Int[Tensor, " B"]:
    """Inverse-CDF sampling: the first token whose cumulative probability exceeds uniform x total."""
    cumulative = probs.cumsum(dim=-1)
    return torch.searchsorted(cumulative, uniform[:, None] * cumulative[:, -1:], right=True).squeeze(1)
