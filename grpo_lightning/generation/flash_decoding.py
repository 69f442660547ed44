"""Attention of one new token of each row to its group's prompt and to its own tokens, in Triton.

After flash decoding (https://pytorch.org/blog/flash-decoding/): a program takes a stretch of keys of one head and all
queries that see them, so a prompt is read once for its group; a second kernel adds up the stretches. How long prompts
and rows are is read on the device, so a CUDA graph of it stays right while rows grow.

Letters as in `shared_cache`. Queries that share keys are numbered by row, then by head: R of each row.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from grpo_lightning.generation.where import Where

FEWEST = 16
"""Queries of a program: a matrix unit takes no fewer, nor fewer channels or keys."""

MOST = 64

PLACES = 64
"""Keys that a program takes at once, in 16 bit."""

WIDE = 128
"""Channels of more than which both are fewer: most GPUs have 99 KiB of shared memory for a program."""

WAVES = 4
"""Programs for each multiprocessor, so that none waits long for the others at the end."""

SPLITS = 16
"""Stretches of one prompt or row, at most."""


class Part(NamedTuple):
    """Keys and values of prompts, or of completions."""

    keys: Float[Tensor, "N J C D"]
    values: Float[Tensor, "N J C D"]
    first: Int[Tensor, " _"]
    """Of each, the first row that sees it, and behind the last the number of rows."""
    lengths: Int[Tensor, " N"]
    before: Int[Tensor, " N"]
    """Tokens before the first."""
    most: int
    """Rows that see the same."""


def attend(
    query: Float[Tensor, "B H D"],
    prompts: tuple[Float[Tensor, "G J L D"], Float[Tensor, "G J L D"]],
    completions: tuple[Float[Tensor, "B J O D"], Float[Tensor, "B J O D"]],
    where: Where,
    *,
    scaling: float,
    window: int | None,
) -> Float[Tensor, "B H D"]:
    """softmax(scaling q [K_prompt, K_own]^T) [V_prompt, V_own]; of a window, each sees so many places, its own too."""
    rows, heads, width = query.shape
    of_prompts = Part(*prompts, where.first, where.prompt_lengths, where.nothing, where.largest)
    own = Part(*completions, where.each, where.lengths, where.before, 1)
    splits = [_splits(part.keys.shape[0] * part.keys.shape[1], where.multiprocessors) for part in (of_prompts, own)]
    mixed = query.new_empty((sum(splits), rows, heads, width), dtype=torch.float32)
    weight = query.new_empty((sum(splits), rows, heads), dtype=torch.float32)
    seen = 2**30 if window is None else window
    _cut(query, of_prompts, mixed, weight, where.position, splits[0], scaling, seen)
    _cut(query, own, mixed[splits[0] :], weight[splits[0] :], where.position, splits[1], scaling, seen)
    out = query.new_empty((rows, heads, width))
    _together[(rows * heads,)](
        mixed,
        weight,
        out,
        rows * heads,
        sum(splits),
        padded_parts=triton.next_power_of_2(sum(splits)),
        width=width,
        padded=triton.next_power_of_2(width),
        num_warps=1,
    )
    return out


def _cut(
    query: Float[Tensor, "B H D"],
    part: Part,
    mixed: Float[Tensor, "P B H D"],
    weight: Float[Tensor, "P B H"],
    position: Int[Tensor, " B"],
    splits: int,
    scaling: float,
    window: int,
) -> None:
    """Fills in what so many stretches of each of N keys and values come to."""
    (rows, heads, width), (count, key_heads) = query.shape, part.keys.shape[:2]
    ratio, sixteen = heads // key_heads, query.dtype.itemsize == 2
    assert query.stride()[1:] == (width, 1)
    assert part.keys.stride() == part.values.stride()
    padded = max(FEWEST, triton.next_power_of_2(width))
    share = max(1, padded // WIDE)
    queries = max(FEWEST, min(MOST // share, triton.next_power_of_2(part.most * ratio)))
    places = max(FEWEST, (PLACES if sixteen else PLACES // 2) // share)
    _stretches[(count, key_heads, splits * triton.cdiv(part.most * ratio, queries))](
        query,
        *part[:-1],
        mixed,
        weight,
        position,
        scaling,
        window,
        query.stride(0),
        *part.keys.stride()[:3],
        rows * heads,
        heads,
        splits,
        ratio=ratio,
        width=width,
        padded=padded,
        queries=queries,
        places=places,
        precision="tf32" if sixteen else "ieee",
        num_warps=4,
        num_stages=3 if sixteen else 2,
    )


def _splits(programs: int, multiprocessors: int) -> int:
    """Into how many stretches each of so many is cut, to keep all multiprocessors at work."""
    return int(max(1, min(SPLITS, -(-WAVES * multiprocessors // programs))))


@triton.jit
def _stretches(
    query,
    keys,
    values,
    first,
    lengths,
    before,
    mixed,
    weight,
    position,
    scaling,
    window,
    query_row,
    stride,
    stride_head,
    stride_place,
    rows_heads,
    heads,
    splits,
    ratio: tl.constexpr,
    width: tl.constexpr,
    padded: tl.constexpr,
    queries: tl.constexpr,
    places: tl.constexpr,
    precision: tl.constexpr,
):
    """One stretch: the sum of softmax weights times values, divided by their sum, and the logarithm of that sum."""
    segment, head = tl.program_id(0), tl.program_id(1)
    split, block = tl.program_id(2) % splits, tl.program_id(2) // splits
    start = tl.load(first + segment)
    count = (tl.load(first + segment + 1) - start) * ratio
    number = block * queries + tl.arange(0, queries)
    row, own_head = start + number // ratio, head * ratio + number % ratio
    channel = tl.arange(0, padded)
    taken, inside = number < count, channel < width
    stored = taken[:, None] & inside
    q = tl.load(query + row[:, None] * query_row + own_head[:, None] * width + channel, mask=stored, other=0.0)
    # Of the first key that a row sees, the place here.
    lowest = tl.load(position + row, mask=taken, other=0) - tl.load(before + segment) - window + 1
    length = tl.load(lengths + segment)
    size = tl.cdiv(tl.cdiv(length, splits), places) * places
    begin = split * size
    end = tl.where(block * queries < count, tl.minimum(begin + size, length), begin)
    largest = tl.full((queries,), float("-inf"), tl.float32)
    total, sums = tl.zeros((queries,), tl.float32), tl.zeros((queries, padded), tl.float32)
    own_keys = keys + segment.to(tl.int64) * stride + head * stride_head
    own_values = values + segment.to(tl.int64) * stride + head * stride_head
    for at in range(begin, end, places):
        place = at + tl.arange(0, places)
        held = (place < end)[:, None] & inside
        there = place[:, None] * stride_place + channel
        k, v = tl.load(own_keys + there, mask=held, other=0.0), tl.load(own_values + there, mask=held, other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision=precision) * scaling
        seen = (place < end)[None, :] & (place[None, :] >= lowest[:, None])
        largest, total, sums = _taken_in(tl.where(seen, scores, float("-inf")), v, largest, total, sums, precision)
    some = total > 0
    result = split * rows_heads + row * heads + own_head
    tl.store(mixed + result[:, None] * width + channel, sums / tl.where(some, total, 1.0)[:, None], mask=stored)
    tl.store(weight + result, tl.where(some, tl.log(tl.where(some, total, 1.0)) + largest, float("-inf")), mask=taken)


@triton.jit
def _taken_in(scores, v, largest, total, sums, precision: tl.constexpr):
    """The softmax so far with these scores and values, relative to the largest score, if there is one yet."""
    higher = tl.maximum(largest, tl.max(scores, axis=1))
    base = tl.where(higher == float("-inf"), 0.0, higher)
    share, kept = tl.exp(scores - base[:, None]), tl.exp(largest - base)
    sums = sums * kept[:, None] + tl.dot(share.to(v.dtype), v, input_precision=precision)
    return higher, total * kept + tl.sum(share, axis=1), sums


@triton.jit
def _together(
    mixed,
    weight,
    out,
    rows_heads,
    parts,
    padded_parts: tl.constexpr,
    width: tl.constexpr,
    padded: tl.constexpr,
):
    """The stretches of one row and head, weighed by their sums."""
    place = tl.program_id(0).to(tl.int64)
    part, channel = tl.arange(0, padded_parts), tl.arange(0, padded)
    at = part * rows_heads + place
    logarithm = tl.load(weight + at, mask=part < parts, other=float("-inf"))
    share = tl.exp(logarithm - tl.max(logarithm, axis=0))
    share = tl.where(part < parts, share, 0.0)
    inside = (part < parts)[:, None] & (channel < width)
    sums = tl.load(mixed + at[:, None] * width + channel, mask=inside, other=0.0)
    result = tl.sum(sums * share[:, None], axis=0) / tl.sum(share, axis=0)
    tl.store(out + place * width + channel, result.to(out.dtype.element_ty), mask=channel < width)
