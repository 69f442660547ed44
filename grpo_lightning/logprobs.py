"""Hidden states -> log-prob and entropy of the sampled tokens, in chunks. The one place that shifts by one.

The logits of a whole batch are never held: each chunk of tokens goes through the head by itself, and with gradients it
is recomputed in the backward pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from grpo_lightning.batching import Layout, MicroBatch, Sample, micro_batches
from grpo_lightning.policy import project
from grpo_lightning.sharding import as_forward, inference

PACKING_TOLERANCE = 0.05
"""Difference in log-prob that rounding in bfloat16 explains; sequences that see each other differ by more."""

CHUNK_LOGITS = 2**26
"""Logits held at once: 256 MiB in float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLogprobs:
    """Of one micro-batch, one entry per completion token."""

    logprobs: Float[Tensor, " N"]
    entropy: Float[Tensor, " N"]
    """Of the distribution at that token."""


def completion_logprobs(
    policy: PreTrainedModel, batch: MicroBatch, *, temperature: float, entropy_gradient: bool = False
) -> TokenLogprobs:
    """Log pi(token) and entropy of every completion token under softmax(logits / temperature), in float32.

    The hidden state at position t predicts the token at t + 1. Entropy has a gradient only if asked for.
    """
    logprobs, entropy = as_forward(policy, _token_logprobs)(batch, temperature, entropy_gradient)
    return TokenLogprobs(logprobs=logprobs, entropy=entropy)


def _token_logprobs(
    policy: PreTrainedModel, batch: MicroBatch, temperature: float, entropy_gradient: bool
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
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
            logprob, entropy = checkpoint(
                _head, policy, part, target, temperature, entropy_gradient, use_reentrant=False
            )
        else:
            logprob, entropy = _head(policy, part, target, temperature, entropy_gradient)
        logprobs.append(logprob)
        entropies.append(entropy)
    return torch.cat(logprobs), torch.cat(entropies)


def sample_logprobs(
    policy: PreTrainedModel, samples: Sequence[Sample], *, temperature: float, max_tokens: int, layout: Layout
) -> list[TokenLogprobs]:
    """What the policy says of each sample, without gradient; on the CPU."""
    found: dict[int, TokenLogprobs] = {}
    with inference(policy):
        for batch in micro_batches(samples, max_tokens=max_tokens, layout=layout):
            tokens = completion_logprobs(policy, batch.to(policy.device), temperature=temperature)
            lengths = batch.lengths.tolist()
            parts = zip(tokens.logprobs.cpu().split(lengths), tokens.entropy.cpu().split(lengths), strict=True)
            for i, (logprobs, entropy) in zip(batch.order, parts, strict=True):
                found[i] = TokenLogprobs(logprobs=logprobs, entropy=entropy)
    return [found[i] for i in range(len(samples))]


def check_packing(policy: PreTrainedModel) -> None:
    """Refuses a model in which sequences packed into one row see each other; transformers does not say so itself."""
    vocabulary = policy.config.get_text_config(decoder=True).vocab_size
    samples = [
        Sample(
            prompt_ids=((7 * i + 1) % vocabulary,),
            completion_ids=tuple((11 * i + 3 * t) % vocabulary for t in range(4)),
            group=i,
            sample=0,
            counted=torch.arange(4),
            sampler_logprobs=torch.zeros(4),
            advantages=torch.zeros(4),
        )
        for i in range(3)
    ]
    (packed,) = micro_batches(samples, max_tokens=100, layout="packed")
    (padded,) = micro_batches(samples, max_tokens=100, layout="padded")
    with inference(policy):
        one, other = (
            completion_logprobs(policy, batch.to(policy.device), temperature=1.0).logprobs for batch in (packed, padded)
        )
    difference = float((one - other).abs().max())
    if not difference <= PACKING_TOLERANCE:
        raise ValueError(
            f"update.layout: 'packed' mixes sequences in a {type(policy).__name__} (their log-probs move by "
            f"{difference:.2g}); use 'padded'"
        )


def _head(
    policy: PreTrainedModel,
    hidden: Float[Tensor, "N D"],
    targets: Int[Tensor, " N"],
    temperature: float,
    entropy_gradient: bool,
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    logits = project(policy, hidden) / temperature
    logprobs = torch.log_softmax(logits, dim=-1)
    with torch.set_grad_enabled(entropy_gradient and torch.is_grad_enabled()):
        entropy = -(logprobs.exp() * logprobs).sum(dim=-1)
    return logprobs.gather(1, targets[:, None]).squeeze(1), entropy
