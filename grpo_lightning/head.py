"""Final hidden states -> log-prob of the next token and entropy, in chunks: logits are never there whole.

Where they are a matrix product and nothing else, the backward pass is written out: it makes each chunk's logits again
and adds to one gradient of the head in place, where autograd would make one for each chunk. What fits into one chunk
keeps its probabilities instead, but on a GPU, whose kernels need none.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from grpo_lightning.compiling import compiles
from grpo_lightning.policy import plain_head, project

CHUNK_LOGITS = 2**25
"""Logits held at once: 128 MiB in float32."""

GPU_CHUNKS = 4
"""So many times more on a GPU: each chunk reads the whole head, and adds to the whole of its gradient."""

PIECE_LOGITS = 2**21
"""Of them, those that have their probabilities beside them at once; on a GPU a quarter of a chunk."""


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
    weight = plain_head(policy)
    most = CHUNK_LOGITS if weight is None else chunk_logits(hidden.device.type)
    rows = max(1, most // vocabulary)
    if weight is not None and (len(targets) > rows or (len(targets) > 0 and _built(hidden))):
        kind = hidden.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
        logprobs, entropy = _Fused.apply(  # type: ignore[no-untyped-call]
            hidden, weight, targets, temperature, rows, dtype, entropy_gradient
        )
    elif len(targets) <= rows:
        logprobs, entropy = _through_autograd(policy, hidden, targets, temperature, entropy_gradient)
    else:
        found = [
            checkpoint(_through_autograd, policy, h, t, temperature, entropy_gradient, use_reentrant=False)
            for h, t in zip(hidden.split(rows), targets.split(rows), strict=True)
        ]
        logprobs, entropy = (torch.cat(parts) for parts in zip(*found, strict=True))
    return logprobs, entropy


def chunk_logits(device: str) -> int:
    """Held at once, by the type of the device, of a head that is a product; of others autograd keeps more than one."""
    return CHUNK_LOGITS if device == "cpu" else GPU_CHUNKS * CHUNK_LOGITS


def piece_logits(device: str) -> int:
    """Of a chunk, by the type of the device."""
    return PIECE_LOGITS if device == "cpu" else CHUNK_LOGITS


def distribution(
    logits: Float[Tensor, "N V"], targets: Int[Tensor, " N"]
) -> tuple[Float[Tensor, "N V"], Float[Tensor, " N"], Float[Tensor, " N"]]:
    """p, log p_t and the entropy H. Overwrites the logits with p, some rows at a time: both are never there whole."""
    rows = max(1, piece_logits(logits.device.type) // logits.shape[1])
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
        rows = max(1, piece_logits(p.device.type) // p.shape[1])
        for part, h, one, other in zip(*(x.split(rows) for x in (p, entropy, of_logprobs, of_entropy)), strict=True):
            of_entropies = torch.xlogy(part, part).addcmul_(part, h[:, None]).mul_(other[:, None])
            part.mul_(-one[:, None]).sub_(of_entropies)
    return p.scatter_add_(1, targets[:, None], of_logprobs[:, None])


def summary(
    logits: Float[Tensor, "N V"], targets: Int[Tensor, " N"], temperature: float
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"], Float[Tensor, " N"]]:
    """log p of the targets, the entropy and log sum exp of logits / temperature. Overwrites the logits."""
    if _built(logits):
        from grpo_lightning import head_kernels

        return head_kernels.summary(logits, targets, temperature)
    z = _scaled(logits, temperature)
    at_targets = z.gather(1, targets[:, None]).squeeze(1)
    _, logprobs, entropy = distribution(z, targets)
    return logprobs, entropy, at_targets - logprobs


def gradient(
    logits: Float[Tensor, "N V"],
    targets: Int[Tensor, " N"],
    entropy: Float[Tensor, " N"],
    log_sum: Float[Tensor, " N"],
    of_logprobs: Float[Tensor, " N"],
    of_entropy: Float[Tensor, " N"] | None,
    temperature: float,
) -> Float[Tensor, "N V"]:
    """What `logits_gradient` says of logits / temperature, as a gradient of the logits, which it overwrites."""
    if _built(logits):
        from grpo_lightning import head_kernels

        return head_kernels.gradient(logits, targets, entropy, log_sum, of_logprobs, of_entropy, temperature)
    p = _scaled(logits, temperature)
    rows = max(1, piece_logits(p.device.type) // p.shape[1])
    for part, log in zip(p.split(rows), log_sum.split(rows), strict=True):
        part.sub_(log[:, None]).exp_()
    logits_gradient(p, targets, entropy, of_logprobs, of_entropy)
    if temperature != 1:
        p.div_(temperature)
    return p if p.dtype == logits.dtype else logits.copy_(p)


def _scaled(logits: Float[Tensor, "N V"], temperature: float) -> Float[Tensor, "N V"]:
    """logits / temperature in float32 or better."""
    z = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return z if temperature == 1 else z.div_(temperature)


class _Fused(torch.autograd.Function):
    """z = hidden weight^T, and `summary` of it, `rows` at a time; nothing of z is kept."""

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
            summary(h.to(dtype) @ used.T, t, temperature)
            for h, t in zip(hidden.split(rows), targets.split(rows), strict=True)
        ]
        logprobs, entropy, log_sum = (torch.cat(parts) for parts in zip(*found, strict=True))
        ctx.save_for_backward(hidden, weight, targets, entropy, log_sum)
        ctx.how = temperature, rows, dtype
        ctx.set_materialize_grads(False)
        if not entropy_gradient:
            ctx.mark_non_differentiable(entropy)
        return logprobs, entropy

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, of_logprobs: Float[Tensor, " N"] | None, of_entropy: Float[Tensor, " N"] | None
    ) -> tuple[Float[Tensor, "N D"], Float[Tensor, "V D"] | None, None, None, None, None, None]:
        hidden, weight, targets, entropy, log_sum = ctx.saved_tensors
        temperature, rows, dtype = ctx.how
        used = weight.to(dtype)
        first = torch.zeros_like(entropy) if of_logprobs is None else of_logprobs
        summed = torch.promote_types(weight.dtype, torch.float32)
        of_weight = torch.zeros_like(weight, dtype=summed) if ctx.needs_input_grad[1] else None
        of_hidden = torch.empty_like(hidden)
        for start in range(0, len(targets), rows):
            at = slice(start, start + rows)
            h, second = hidden[at].to(dtype), None if of_entropy is None else of_entropy[at]
            of_logits = gradient(h @ used.T, targets[at], entropy[at], log_sum[at], first[at], second, temperature)
            of_hidden[at] = of_logits @ used
            if of_weight is not None:
                _add_product(of_weight, of_logits.T, h)
            del of_logits  # not beside the next
        return of_hidden, None if of_weight is None else of_weight.to(weight.dtype), None, None, None, None, None


def _add_product(total: Float[Tensor, "V D"], one: Float[Tensor, "V N"], other: Float[Tensor, "N D"]) -> None:
    """In place, and but for 16 bit on a CPU, without a product to hold."""
    if total.dtype == one.dtype:
        total.addmm_(one, other)
    elif total.device.type == "cuda":
        torch.addmm(total, one, other, out_dtype=total.dtype, out=total)
    else:
        total += one @ other


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


def _built(states: Tensor) -> bool:
    """Whether `head_kernels` are for logits of this device and type."""
    return states.dtype != torch.float64 and compiles(states.device.type)


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
