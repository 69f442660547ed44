"""`head.summary` and `head.gradient` in Triton: each reads logits once, in the type that the product left them in."""

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

BLOCK = 8192
"""Logits of a row that a program takes at once."""


def summary(
    logits: Float[Tensor, "N V"], targets: Int[Tensor, " N"], temperature: float
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"], Float[Tensor, " N"]]:
    """As of `head`; leaves the logits as they are."""
    rows, vocabulary = logits.shape
    found = torch.empty((3, rows), dtype=torch.float32, device=logits.device)
    given = logits, targets, found, 1 / temperature, logits.stride(0), rows, vocabulary
    with torch.cuda.device_of(logits):  # a kernel starts on the current device
        _summary[(rows,)](*given, block=_block(vocabulary), num_warps=8)
    logprobs, entropy, log_sum = found
    return logprobs, entropy, log_sum


def gradient(
    logits: Float[Tensor, "N V"],
    targets: Int[Tensor, " N"],
    entropy: Float[Tensor, " N"],
    log_sum: Float[Tensor, " N"],
    of_logprobs: Float[Tensor, " N"],
    of_entropy: Float[Tensor, " N"] | None,
    temperature: float,
) -> Float[Tensor, "N V"]:
    """As of `head`."""
    rows, vocabulary = logits.shape
    block = _block(vocabulary)
    with torch.cuda.device_of(logits):
        _gradient[(rows, triton.cdiv(vocabulary, block))](
            logits,
            targets,
            entropy.contiguous(),
            log_sum.contiguous(),
            of_logprobs.contiguous(),
            of_logprobs if of_entropy is None else of_entropy.contiguous(),
            1 / temperature,
            logits.stride(0),
            vocabulary,
            has_entropy=of_entropy is not None,
            block=block,
            num_warps=8,
        )
    return logits


def _block(vocabulary: int) -> int:
    return int(min(BLOCK, triton.next_power_of_2(vocabulary)))


@triton.jit
def _summary(logits, targets, found, inverse, stride, rows, vocabulary, block: tl.constexpr):
    """With m the largest z so far, t = sum exp(z - m), u = sum (z - m) exp(z - m): log sum exp z = m + log t, and the
    entropy is log t - u / t.
    """
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, block)
    own = logits + row * stride
    largest, total, moment = float("-inf"), 0.0, 0.0
    for at in range(0, vocabulary, block):
        inside = at + column < vocabulary
        z = tl.load(own + at + column, mask=inside, other=float("-inf")).to(tl.float32) * inverse
        higher = tl.maximum(largest, tl.max(z, axis=0))
        below = tl.where(inside, z - higher, 0.0)
        share = tl.where(inside, tl.exp(below), 0.0)
        less = tl.where(total > 0, largest - higher, 0.0)
        kept = tl.exp(less)
        moment = (moment + less * total) * kept + tl.sum(share * below, axis=0)
        total = total * kept + tl.sum(share, axis=0)
        largest = higher
    log_sum = largest + tl.log(total)
    target = tl.load(own + tl.load(targets + row)).to(tl.float32) * inverse
    tl.store(found + row, target - largest - tl.log(total))
    tl.store(found + rows + row, tl.log(total) - moment / total)
    tl.store(found + 2 * rows + row, log_sum)


@triton.jit
def _gradient(
    logits,
    targets,
    entropy,
    log_sum,
    of_logprobs,
    of_entropy,
    inverse,
    stride,
    vocabulary,
    has_entropy: tl.constexpr,
    block: tl.constexpr,
):
    """((g [t] - g p) - h p (log p + H)) / temperature, g and h the gradients of log p_t and of H."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * block + tl.arange(0, block)
    inside = column < vocabulary
    own = logits + row * stride + column
    log_p = tl.load(own, mask=inside, other=0.0).to(tl.float32) * inverse - tl.load(log_sum + row)
    p = tl.exp(log_p)
    g = tl.load(of_logprobs + row)
    result = tl.where(column == tl.load(targets + row), g, 0.0) - g * p
    if has_entropy:
        result -= tl.load(of_entropy + row) * p * (log_p + tl.load(entropy + row))
    tl.store(own, (result * inverse).to(logits.dtype.element_ty), mask=inside)
