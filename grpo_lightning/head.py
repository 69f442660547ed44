"""Final hidden states -> log-prob of the next token and entropy, in chunks: logits are never there whole.

Where they are a matrix product and nothing else, the backward pass is written out: it makes each chunk's logits again
and adds to one gradient of the head in place, where autograd would make one for each chunk. What fits into one chunk
keeps its probabilities instead.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from grpo_lightning.policy import plain_head, project

CHUNK_LOGITS = 2**25
"""Logits held at once: 128 MiB in float32."""

PIECE_LOGITS = 2**21
"""Of them, those that have their probabilities beside them at once."""


def token_logprobs(
    policy: PreTrainedModel,
    hidden: Float[Tensor, "N D"],
    targets: Int[Tensor, " N"],
    *,
    temperature: float,
    entropy_gradient: bool,
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    """log p of each target and the entropy under softmax(logits / temperature), in float32 or better.

    Logits are overwritten, so a hook on the head that wants them must copy them.
    """
    vocabulary = policy.config.get_text_config(decoder=True).vocab_size
    rows = max(1, CHUNK_LOGITS // vocabulary)
    weight = plain_head(policy)
    if len(targets) <= rows:
        logprobs, entropy = _through_autograd(policy, hidden, targets, temperature, entropy_gradient)
    elif weight is not None:
        kind = hidden.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
        logprobs, entropy = _Fused.apply(  # type: ignore[no-untyped-call]
            hidden, weight, targets, temperature, rows, dtype, entropy_gradient
        )
    else:
        found = [
            checkpoint(_through_autograd, policy, h, t, temperature, entropy_gradient, use_reentrant=False)
            for h, t in zip(hidden.split(rows), targets.split(rows), strict=True)
        ]
        logprobs, entropy = (torch.cat(parts) for parts in zip(*found, strict=True))
    return logprobs, entropy


def distribution(
    logits: Float[Tensor, "N V"], targets: Int[Tensor, " N"]
) -> tuple[Float[Tensor, "N V"], Float[Tensor, " N"], Float[Tensor, " N"]]:
    """p, log p_t and the entropy H. Overwrites the logits with p, some rows at a time: both are never there whole."""
    rows = max(1, PIECE_LOGITS // logits.shape[1])
    found = [_into_p(z, t) for z, t in zip(logits.split(rows), targets.split(rows), strict=True)]
    logprobs, entropy = (torch.cat(parts) for parts in zip(*found, strict=True))
    return logits, logprobs, entropy


def _into_p(
    logits: Float[Tensor, "N V"], targets: Int[Tensor, " N"]
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    """With k where a logit z is largest: log p_t = z_t - z_k + log p_k, H = z_k - log p_k - p z."""
    largest, at = logits.max(dim=-1)
    p = torch.softmax(logits, dim=-1)
    log_p = p.gather(1, at[:, None]).squeeze(1).log()
    logprobs = logits.gather(1, targets[:, None]).squeeze(1) - largest + log_p
    entropy = largest - log_p - logits.mul_(p).sum(dim=-1)
    logits.copy_(p)
    return logprobs, entropy


def logits_gradient(
    p: Float[Tensor, "N V"],
    targets: Int[Tensor, " N"],
    entropy: Float[Tensor, " N"],
    of_logprobs: Float[Tensor, " N"],
    of_entropy: Float[Tensor, " N"] | None,
) -> Float[Tensor, "N V"]:
    """d log p_t / d z = [t] - p and d H / d z = -p (log p + H), weighted and added up. Overwrites p."""
    if of_entropy is None:
        p.mul_(-of_logprobs[:, None])
    else:
        rows = max(1, PIECE_LOGITS // p.shape[1])
        for part, h, one, other in zip(*(x.split(rows) for x in (p, entropy, of_logprobs, of_entropy)), strict=True):
            of_entropies = torch.xlogy(part, part).addcmul_(part, h[:, None]).mul_(other[:, None])
            part.mul_(-one[:, None]).sub_(of_entropies)
    return p.scatter_add_(1, targets[:, None], of_logprobs[:, None])


class _Fused(torch.autograd.Function):
    """z = hidden weight^T / temperature, and `distribution` of it, `rows` at a time; nothing of z is kept."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Float[Tensor, "N D"],
        weight: Float[Tensor, "V D"],
        targets: Int[Tensor, " N"],
        temperature: float,
        rows: int,
        dtype: torch.dtype,
        entropy_gradient: bool,
    ) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
        used = weight.to(dtype)
        found = [
            distribution(_logits(h.to(dtype), used, temperature), t)[1:]
            for h, t in zip(hidden.split(rows), targets.split(rows), strict=True)
        ]
        ctx.save_for_backward(hidden, weight, targets)
        ctx.how = temperature, rows, dtype
        ctx.set_materialize_grads(False)
        logprobs, entropy = (torch.cat(parts) for parts in zip(*found, strict=True))
        if not entropy_gradient:
            ctx.mark_non_differentiable(entropy)
        return logprobs, entropy

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, of_logprobs: Float[Tensor, " N"] | None, of_entropy: Float[Tensor, " N"] | None
    ) -> tuple[Float[Tensor, "N D"], Float[Tensor, "V D"] | None, None, None, None, None, None]:
        hidden, weight, targets = ctx.saved_tensors
        temperature, rows, dtype = ctx.how
        used = weight.to(dtype)
        summed = torch.promote_types(weight.dtype, torch.float32)
        of_weight = torch.zeros_like(weight, dtype=summed) if ctx.needs_input_grad[1] else None
        of_hidden = torch.empty_like(hidden)
        for start in range(0, len(targets), rows):
            part = slice(start, start + rows)
            h, t = hidden[part].to(dtype), targets[part]
            p, logprobs, entropy = distribution(_logits(h, used, temperature), t)
            first = torch.zeros_like(logprobs) if of_logprobs is None else of_logprobs[part]
            second = None if of_entropy is None else of_entropy[part]
            of_logits = logits_gradient(p, t, entropy, first, second).div_(temperature).to(dtype)
            of_hidden[part] = of_logits @ used
            if of_weight is not None:
                _add_product(of_weight, of_logits.T, h)
            del p, of_logits  # not beside the next
        return of_hidden, None if of_weight is None else of_weight.to(weight.dtype), None, None, None, None, None


def _add_product(total: Float[Tensor, "V D"], one: Float[Tensor, "V N"], other: Float[Tensor, "N D"]) -> None:
    """In place, and where all is of one type, without a product to hold."""
    if total.dtype == one.dtype:
        total.addmm_(one, other)
    else:
        total += one @ other


def _logits(hidden: Float[Tensor, "N D"], weight: Float[Tensor, "V D"], temperature: float) -> Float[Tensor, "N V"]:
    logits = hidden @ weight.T
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return logits if temperature == 1 else logits.div_(temperature)


def _through_autograd(
    policy: PreTrainedModel,
    hidden: Float[Tensor, "N D"],
    targets: Int[Tensor, " N"],
    temperature: float,
    entropy_gradient: bool,
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    logits = project(policy, hidden)
    logprobs, entropy = _Chosen.apply(logits, targets, temperature, entropy_gradient)  # type: ignore[no-untyped-call]
    return logprobs, entropy


class _Chosen(torch.autograd.Function):
    """`distribution` of logits / temperature, keeping p alone."""

    @staticmethod
    def forward(
        ctx: Any, logits: Float[Tensor, "N V"], targets: Int[Tensor, " N"], temperature: float, entropy_gradient: bool
    ) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
        p, logprobs, entropy = distribution(logits if temperature == 1 else logits.div_(temperature), targets)
        ctx.save_for_backward(p, targets, entropy)
        ctx.temperature = temperature
        ctx.set_materialize_grads(False)
        if not entropy_gradient:
            ctx.mark_non_differentiable(entropy)
        return logprobs, entropy

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, of_logprobs: Float[Tensor, " N"] | None, of_entropy: Float[Tensor, " N"] | None
    ) -> tuple[Float[Tensor, "N V"], None, None, None]:
        p, targets, entropy = ctx.saved_tensors
        first = torch.zeros_like(entropy) if of_logprobs is None else of_logprobs
        of_logits = logits_gradient(p, targets, entropy, first, of_entropy)
        return of_logits if ctx.temperature == 1 else of_logits.div_(ctx.temperature), None, None, None
