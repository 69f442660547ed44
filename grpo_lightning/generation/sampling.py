"""Logits -> the next token, by pure functions: the distribution, its truncation, and the draw by one uniform number."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from grpo_lightning.generation.contract import SamplingConfig
from grpo_lightning.seeding import seed_of

LARGEST_UNIFORM = 1 - 2.0**-20
"""Below one by more than float32 loses in a cumulative sum, so that a draw never falls behind the last token."""

BLOCK = 256
"""Tokens whose probabilities are first added up, so that a sum that runs over them token by token stays short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """One token for each row."""

    tokens: Int[Tensor, " B"]
    logprobs: Float[Tensor, " B"]
    """Of softmax(logits / temperature); of softmax(logits) where the most likely token is taken."""
    gaps: Float[Tensor, " B"] | None
    """log q - log pi, q what tokens were drawn from, where that is another distribution."""


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


def draw(weights: Float[Tensor, "B V"], uniform: Float[Tensor, " B"]) -> Int[Tensor, " B"]:
    """Inverse-CDF sampling: the first token whose cumulative weight exceeds uniform x total.

    In a large vocabulary first the block of tokens where that happens is looked for, then the token within it.
    """
    whole = weights.shape[1] // BLOCK
    if whole < 2:
        cumulative = weights.cumsum(dim=-1)
        return _first_above(cumulative, uniform * cumulative[:, -1])
    blocks = weights[:, : whole * BLOCK].unflatten(1, (whole, BLOCK)).sum(dim=-1)
    rest = weights[:, whole * BLOCK :].sum(dim=-1, keepdim=True)
    cumulative = torch.cat([blocks, rest], dim=1).cumsum(dim=-1)
    target = uniform * cumulative[:, -1]
    block = _first_above(cumulative, target)
    before = pad(cumulative, (1, 0)).gather(1, block[:, None]).squeeze(1)
    tokens = block[:, None] * BLOCK + torch.arange(BLOCK, device=weights.device)
    inside = weights.gather(1, tokens.clamp(max=weights.shape[1] - 1)) * (tokens < weights.shape[1])
    inside = inside.cumsum(dim=-1)
    # The sums of a block in two orders differ in their last digits.
    target = torch.minimum(target - before, inside[:, -1] * LARGEST_UNIFORM)
    return block * BLOCK + _first_above(inside, target)


def _first_above(cumulative: Float[Tensor, "B N"], target: Float[Tensor, " B"]) -> Int[Tensor, " B"]:
    return torch.searchsorted(cumulative, target[:, None], right=True).squeeze(1)


def sample(
    logits: Float[Tensor, "B V"],
    uniform: Float[Tensor, " B"],
    seen: Bool[Tensor, "B V"] | None,
    sampling: SamplingConfig,
) -> Drawn:
    """The next token of each row; `seen` are the tokens that a repetition penalty is for, if there is one.

    log p(token) = (logit - largest logit) + log(largest p), as in `head.distribution`: it holds for p too small for its
    type, too.
    """
    greedy = sampling.temperature == 0
    scaled = logits if greedy or sampling.temperature == 1 else logits / sampling.temperature
    probs = torch.softmax(scaled, dim=-1)
    largest, log_p = scaled.amax(dim=-1), probs.amax(dim=-1).log()
    favoured = scaled
    if seen is not None:
        penalised = penalise_repetition(logits, seen, sampling.repetition_penalty)
        favoured = penalised if greedy else penalised / sampling.temperature
        probs = torch.softmax(favoured, dim=-1)
    gaps = None
    if greedy:
        tokens = favoured.argmax(dim=-1)
    else:
        probs = truncate(probs, sampling)
        tokens = draw(probs, uniform)
    logprobs = scaled.gather(1, tokens[:, None]).squeeze(1) - largest + log_p
    if sampling.truncates and not greedy:
        gaps = (probs.gather(1, tokens[:, None]).squeeze(1) / probs.sum(dim=-1)).log() - logprobs
    return Drawn(tokens=tokens, logprobs=logprobs, gaps=gaps)
