"""Hidden states -> log-prob and entropy of the sampled tokens, in chunks. The one place that shifts by one.

The logits of a whole batch are never held: each chunk of tokens goes through the head by itself, and with gradients it
is recomputed in the backward pass.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from grpo_lightning.batching import MicroBatch
from grpo_lightning.policy import project

CHUNK_LOGITS = 2**26
"""Logits held at once: 256 MiB in float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLogprobs:
    """Of one micro-batch, one entry per completion token."""

    logprobs: Float[Tensor, " N"]
    entropy: Float[Tensor, " N"]
    """Of the distribution at that token; without gradient."""


def completion_logprobs(policy: PreTrainedModel, batch: MicroBatch, *, temperature: float) -> TokenLogprobs:
    """Log pi(token) and entropy of every completion token under softmax(logits / temperature), in float32.

    The hidden state at position t predicts the token at t + 1.
    """
    output = policy.base_model(
        input_ids=batch.input_ids, position_ids=batch.position_ids, attention_mask=None, use_cache=False
    )
    hidden = output[0].flatten(0, 1)[batch.completion_index - 1]
    targets = batch.input_ids.flatten()[batch.completion_index]
    rows = max(1, CHUNK_LOGITS // policy.config.get_text_config(decoder=True).vocab_size)
    recompute = torch.is_grad_enabled() and len(targets) > rows
    logprobs, entropies = [], []
    for part, target in zip(hidden.split(rows), targets.split(rows), strict=True):
        if recompute:
            logprob, entropy = checkpoint(_head, policy, part, target, temperature, use_reentrant=False)
        else:
            logprob, entropy = _head(policy, part, target, temperature)
        logprobs.append(logprob)
        entropies.append(entropy)
    return TokenLogprobs(logprobs=torch.cat(logprobs), entropy=torch.cat(entropies))


def _head(
    policy: PreTrainedModel, hidden: Float[Tensor, "N D"], targets: Int[Tensor, " N"], temperature: float
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    logits = project(policy, hidden) / temperature
    logprobs = torch.log_softmax(logits, dim=-1)
    with torch.no_grad():
        entropy = -(logprobs.exp() * logprobs).sum(dim=-1)
    return logprobs.gather(1, targets[:, None]).squeeze(1), entropy
