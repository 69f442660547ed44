"""A micro-batch through the model -> log-prob and entropy of its completion tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.backends.cuda import is_flash_attention_available
from transformers import PreTrainedModel

from grpo_lightning.attention import no_mask, takes_plans
from grpo_lightning.batching import Layout, MicroBatch, Sample, micro_batches
from grpo_lightning.head import token_logprobs
from grpo_lightning.packing import ragged_prompts, shared_prompts
from grpo_lightning.sharding import as_forward, inference

PACKING_TOLERANCE = 0.05
"""Difference in log-prob that rounding in bfloat16 explains; sequences that see each other differ by more."""


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
    planned: dict[str, object] = {}
    if batch.spans is not None and batch.position_ids is not None:
        device = batch.input_ids.device
        ragged = takes_ragged(policy, device)
        plan = ragged_prompts(batch.spans, device) if ragged else shared_prompts(batch.spans, batch.position_ids[0])
        planned = {"plan": plan, "attention_mask": no_mask(device)}
    output = policy.base_model(input_ids=batch.input_ids, position_ids=batch.position_ids, use_cache=False, **planned)
    hidden, targets = output[0].flatten(0, 1).index_select(0, batch.predictors), batch.targets
    return token_logprobs(policy, hidden, targets, temperature=temperature, entropy_gradient=entropy_gradient)


def takes_ragged(policy: PreTrainedModel, device: torch.device) -> bool:
    """Whether this device, in the type it computes in now, has a kernel for sequences of any length.

    It takes heads of one width, keys and values alike. That of AMD is another one, which was never tried.
    """
    if device.type != "cuda" or torch.version.hip is not None or not is_flash_attention_available():
        return False
    if torch.cuda.get_device_capability(device) < (8, 0):
        return False
    autocast = torch.is_autocast_enabled("cuda")
    dtype = torch.get_autocast_dtype("cuda") if autocast else policy.dtype
    config = policy.config.get_text_config(decoder=True)
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    others = any(getattr(config, name, None) for name in ("v_head_dim", "global_head_dim"))
    return dtype in (torch.bfloat16, torch.float16) and not others and width % 8 == 0 and width <= 256


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


def check_layout(policy: PreTrainedModel, layout: Layout) -> None:
    """Refuses a model in which sequences of one row see each other; transformers does not say so itself."""
    if layout == "padded":
        return
    if layout == "shared" and not takes_plans(policy):
        raise ValueError(
            f"update.layout: 'shared' needs the attention of transformers' `sdpa`, which this {type(policy).__name__} "
            "does not ask for; use 'packed' with flash_attention_2 or flex_attention, else 'padded'"
        )
    vocabulary = policy.config.get_text_config(decoder=True).vocab_size
    samples = [
        Sample(
            prompt_ids=tuple((7 * (i // 2) + t + 1) % vocabulary for t in range(2)),
            completion_ids=tuple((11 * i + 3 * t) % vocabulary for t in range(5)),
            group=i // 2,
            sample=i % 2,
            counted=torch.arange(5),
            sampler_logprobs=torch.zeros(5),
            advantages=torch.zeros(5),
        )
        for i in range(4)
    ]
    (batch,) = micro_batches(samples, max_tokens=100, layout=layout)
    (padded,) = micro_batches(samples, max_tokens=100, layout="padded")
    with inference(policy):
        one, other = (
            completion_logprobs(policy, each.to(policy.device), temperature=1.0).logprobs for each in (batch, padded)
        )
    difference = float((one - other).abs().max())
    if not difference <= PACKING_TOLERANCE:
        raise ValueError(
            f"update.layout: {layout!r} mixes sequences in a {type(policy).__name__} (their log-probs move by "
            f"{difference:.2g}); use 'padded'"
        )
