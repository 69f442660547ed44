"""Sequences that share a prompt, flat in one row: each prompt once, and behind it its completions.

A completion sees its prompt and itself. Attention costs what it would cost with a copy of the prompt before each
completion; all the rest of the model sees a prompt token once. A GPU in 16 bit has a kernel that takes sequences of any
length; elsewhere attention is computed in rectangles of rows alike in length, with as much padding as `ROOM` allows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention

from grpo_lightning.attention import Plan

ROOM = 1.25
"""The longest row of a rectangle is at most so many times as long as its shortest, and `SLACK` tokens."""

SLACK = 8


class Span(NamedTuple):
    """One sequence in the flat row: it stands at `start`, has `length` tokens, and sees those of its prompt, too."""

    start: int
    length: int
    prompt_start: int = 0
    prompt_length: int = 0


class Masks:
    """What is added to the scores, by type and window: made once, for else each layer would keep its own.

    No dataclass and no dictionary: FSDP2 hands each layer copies of those.
    """

    def __init__(self) -> None:
        self.made: dict[tuple[torch.dtype, int | None], Float[Tensor, "_ 1 T C"]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rectangle:
    """S sequences, padded to T queries and C = L + T keys, of which the first L are the prompt's."""

    queries: Int[Tensor, "S T"]
    """Where each stands in the flat row; what pads stands anywhere, and is dropped."""
    keys: Int[Tensor, "S C"]
    seen: Bool[Tensor, "_ T C"] | None
    """None: no prompt, and each query sees the keys up to its own. One for all, where all prompts are as long."""
    kept: Int[Tensor, " M"]
    """Which of the S x T are no padding."""
    masks: Masks = field(default_factory=Masks)


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedPrompts(Plan):
    """The plan of a flat row of N tokens."""

    rectangles: tuple[Rectangle, ...]
    order: Int[Tensor, " N"]
    """Where each token stands among what the rectangles keep, one after the other."""
    positions: Int[Tensor, " N"]
    """In its own sequence, prompt included."""
    longest: int
    """Sequence."""

    def attend(
        self,
        module: nn.Module,
        query: Float[Tensor, "1 H N D"],
        key: Float[Tensor, "1 J N D"],
        value: Float[Tensor, "1 J N E"],
        *,
        scaling: float | None,
        window: int | None,
    ) -> Float[Tensor, "1 N H E"]:
        q, k, v = (states[0].transpose(0, 1) for states in (query, key, value))
        window = window if window is not None and window < self.longest else None
        found = [_rectangle(each, q, k, v, self.positions, scaling, window) for each in self.rectangles]
        return torch.cat(found).index_select(0, self.order)[None]


def shared_prompts(spans: Sequence[Span], positions: Int[Tensor, " N"]) -> SharedPrompts:
    """The plan for spans that cover the N places once each, on the device of their positions."""
    spans = [span for span in spans if span.length]
    order = sorted(range(len(spans)), key=lambda i: (spans[i].prompt_length > 0, spans[i].length, spans[i].start))
    rectangles: list[Rectangle] = []
    part: list[Span] = []
    places: list[np.ndarray] = []
    for span in [spans[i] for i in order]:
        if part and not _alike(part[0], span):
            rectangles.append(_padded(part))
            part = []
        part.append(span)
        places.append(np.arange(span.start, span.start + span.length))
    rectangles.append(_padded(part))
    flat = np.concatenate(places)
    inverse = np.empty_like(flat)
    inverse[flat] = np.arange(len(flat))
    longest = max(span.prompt_length + span.length for span in spans)
    device = positions.device
    return SharedPrompts(
        rectangles=tuple(_moved(each, device) for each in rectangles),
        order=torch.from_numpy(inverse).to(device),
        positions=positions,
        longest=longest,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RaggedPrompts(Plan):
    """The plan of a flat row of N tokens for the kernel of a GPU, which takes a type of 16 bit."""

    keys: Int[Tensor, " M"]
    """Where they stand, of each span those of its prompt, then its own."""
    own: Int[Tensor, " N"]
    """Which of them are a span's own, in order."""
    copies: Int[Tensor, " _"]
    """Which are its prompt's."""
    originals: Int[Tensor, " _"]
    """Where those stand."""
    queries_until: Int[Tensor, " U"]
    """How many there are before each span, and in all."""
    keys_until: Int[Tensor, " U"]
    most_queries: int
    """Of a span."""
    most_keys: int

    def attend(
        self,
        module: nn.Module,
        query: Float[Tensor, "1 H N D"],
        key: Float[Tensor, "1 J N D"],
        value: Float[Tensor, "1 J N E"],
        *,
        scaling: float | None,
        window: int | None,
    ) -> Float[Tensor, "1 N H E"]:
        dtype = _attended(query)
        q, k, v = (states.squeeze(0).transpose(0, 1).to(dtype) for states in (query, key, value))
        places = self.keys, self.own, self.copies, self.originals
        k, v = _Repeated.apply(k, v, *places)  # type: ignore[no-untyped-call]
        mixed = varlen_attn(
            q,
            k,
            v,
            self.queries_until,
            self.keys_until,
            self.most_queries,
            self.most_keys,
            scale=scaling,
            window_size=(-1 if window is None else window - 1, 0),
            enable_gqa=q.shape[1] != k.shape[1],
        )
        return cast(Tensor, mixed)[None]


def ragged_prompts(spans: Sequence[Span], device: torch.device) -> RaggedPrompts:
    """The plan for spans that cover the row once each, in order."""
    spans = [span for span in spans if span.length]
    runs = [run for span in spans for run in ((span.prompt_start, span.prompt_length), (span.start, span.length))]
    keys = np.concatenate([np.arange(start, start + length) for start, length in runs])
    own = np.concatenate([np.full(length, i % 2 == 1) for i, (_, length) in enumerate(runs)])
    found = keys, np.flatnonzero(own), np.flatnonzero(~own), keys[~own]
    places = [torch.from_numpy(each).to(device) for each in found]
    queries, seen = [span.length for span in spans], [span.prompt_length + span.length for span in spans]
    until = [torch.tensor([0, *accumulate(each)], dtype=torch.int32).to(device) for each in (queries, seen)]
    return RaggedPrompts(
        keys=places[0],
        own=places[1],
        copies=places[2],
        originals=places[3],
        queries_until=until[0],
        keys_until=until[1],
        most_queries=max(queries),
        most_keys=max(seen),
    )


class _Repeated(torch.autograd.Function):
    """Keys and values at these places; the gradients of what is taken often are added up in float32 or better."""

    @staticmethod
    def forward(
        ctx: Any,
        keys: Float[Tensor, "N J D"],
        values: Float[Tensor, "N J E"],
        places: Int[Tensor, " M"],
        own: Int[Tensor, " N"],
        copies: Int[Tensor, " _"],
        originals: Int[Tensor, " _"],
    ) -> tuple[Float[Tensor, "M J D"], Float[Tensor, "M J E"]]:
        ctx.save_for_backward(own, copies, originals)
        return keys.index_select(0, places), values.index_select(0, places)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *of_taken: Float[Tensor, "M J _"]) -> tuple[Tensor | None, ...]:
        own, copies, originals = ctx.saved_tensors
        found = []
        for each in of_taken:
            summed = torch.promote_types(each.dtype, torch.float32)
            total = each.index_select(0, own).to(summed)
            total.index_add_(0, originals, each.index_select(0, copies).to(summed))
            found.append(total.to(each.dtype))
        return *found, None, None, None, None


def _alike(first: Span, other: Span) -> bool:
    """Whether both may stand in one rectangle; the second is no shorter."""
    if (first.prompt_length > 0) != (other.prompt_length > 0):
        return False
    prompts = sorted((first.prompt_length, other.prompt_length))
    return other.length <= ROOM * first.length + SLACK and prompts[1] <= ROOM * prompts[0] + SLACK


def _padded(spans: Sequence[Span]) -> Rectangle:
    """Prompts are padded on the left, sequences on the right."""
    width = max(span.length for span in spans)
    lead = max(span.prompt_length for span in spans)
    starts, lengths, prompt_starts, prompt_lengths = np.array(spans).T[:, :, None]
    own, before = np.arange(width)[None], np.arange(lead)[None] - (lead - prompt_lengths)
    queries = starts + np.minimum(own, lengths - 1)
    keys = np.concatenate([prompt_starts + np.maximum(before, 0), queries], axis=1)
    seen = None
    if lead:
        causal = np.broadcast_to(own[:, :, None] >= own[:, None], (len(spans), width, width))
        prompt = np.broadcast_to((before >= 0)[:, None], (len(spans), width, lead))
        alike = (prompt_lengths == lead).all()
        seen = torch.from_numpy(np.concatenate([prompt, causal], axis=2)[: 1 if alike else None])
    kept = np.flatnonzero((own < lengths).reshape(-1))
    return Rectangle(
        queries=torch.from_numpy(queries), keys=torch.from_numpy(keys), seen=seen, kept=torch.from_numpy(kept)
    )


def _rectangle(
    rectangle: Rectangle,
    query: Float[Tensor, "N H D"],
    key: Float[Tensor, "N J D"],
    value: Float[Tensor, "N J E"],
    positions: Int[Tensor, " N"],
    scaling: float | None,
    window: int | None,
) -> Float[Tensor, "M H E"]:
    q = _taken(query, rectangle.queries)
    k, v = _taken(key, rectangle.keys), _taken(value, rectangle.keys)
    mask = None
    if rectangle.seen is not None or window is not None:
        kind = _attended(query), window
        mask = rectangle.masks.made.get(kind)
        if mask is None:
            mask = rectangle.masks.made[kind] = _mask(rectangle, positions, *kind)
    grouped = q.shape[1] != k.shape[1]
    if grouped and mask is not None and q.device.type != "cpu":  # no kernel of theirs takes both
        k, v = (states.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for states in (k, v))
    out = scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=mask is None, scale=scaling, enable_gqa=q.shape[1] != k.shape[1]
    )
    return out.transpose(1, 2).flatten(0, 1).index_select(0, rectangle.kept)


def _mask(
    rectangle: Rectangle, positions: Int[Tensor, " N"], dtype: torch.dtype, window: int | None
) -> Float[Tensor, "_ 1 T C"]:
    """0 where a query sees a key, else -inf. Rows lie multiples of 8 elements apart: a GPU's kernel copies others."""
    width = rectangle.queries.shape[1]
    seen = rectangle.seen
    if seen is None:
        seen = torch.ones((1, width, width), dtype=torch.bool, device=positions.device).tril()
    if window is not None:
        seen = seen & (positions[rectangle.queries][:, :, None] - positions[rectangle.keys][:, None] < window)
    columns = seen.shape[2]
    mask = torch.zeros((*seen.shape[:2], -(-columns // 8) * 8), dtype=dtype, device=seen.device)[:, :, :columns]
    return mask.masked_fill_(~seen, -torch.inf)[:, None]


def _attended(query: Float[Tensor, "..."]) -> torch.dtype:
    """The type that attention computes in, to which autocast would cast the mask for each layer."""
    kind = query.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else query.dtype


def _taken(states: Float[Tensor, "N H D"], places: Int[Tensor, "S T"]) -> Float[Tensor, "S H T D"]:
    return states.index_select(0, places.flatten()).unflatten(0, places.shape).transpose(1, 2)


def _moved(rectangle: Rectangle, device: torch.device) -> Rectangle:
    return replace(
        rectangle,
        queries=rectangle.queries.to(device),
        keys=rectangle.keys.to(device),
        seen=None if rectangle.seen is None else rectangle.seen.to(device),
        kept=rectangle.kept.to(device),
        masks=Masks(),
    )
