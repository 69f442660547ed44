"""Ragged sequences -> micro-batches of tensors. The one place that pads.

Rows are padded on the right, where a causal model never looks, or packed end to end into one row, where transformers
keeps sequences apart by their restarting position ids. Either way no attention mask is needed, and everything behind
the model is flat: one entry per completion token.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from grpo_lightning.types import Group

Layout = Literal["padded", "packed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One sequence of the batch, with what its update needs."""

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    sampler_logprobs: Float[Tensor, " T"]
    advantage: float
    reference_logprobs: Float[Tensor, " T"] | None = None
    """Only where the objective has a KL term."""

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.completion_ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatch:
    """What one forward pass takes, R rows of C columns, and its N completion tokens, flat and in row order."""

    input_ids: Int[Tensor, "R C"]
    position_ids: Int[Tensor, "R C"] | None
    """Only for the packed layout."""
    completion_index: Int[Tensor, " N"]
    """Where each completion token stands in the flattened `input_ids`."""
    sequence: Int[Tensor, " N"]
    """Which sequence of the micro-batch each token belongs to, 0..S-1."""
    lengths: Int[Tensor, " S"]
    """Completion tokens of each sequence."""
    advantages: Float[Tensor, " N"]
    sampler_logprobs: Float[Tensor, " N"]
    reference_logprobs: Float[Tensor, " N"] | None
    order: tuple[int, ...]
    """Where each sequence stood in what was cut into micro-batches."""

    def to(self, device: torch.device) -> "MicroBatch":
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved = {name: value.to(device) for name, value in values.items() if isinstance(value, Tensor)}
        return replace(self, **moved)  # type: ignore[arg-type]


def samples_of(groups: Sequence[Group], advantages: Float[np.ndarray, "P G"]) -> list[list[Sample]]:
    """The sequences of each group that hold at least one token."""
    return [
        [
            Sample(
                prompt_ids=group.prompt.token_ids,
                completion_ids=completion.token_ids,
                sampler_logprobs=torch.tensor(completion.sampler_logprobs, dtype=torch.float32),
                advantage=float(advantage),
            )
            for completion, advantage in zip(group.completions, row, strict=True)
            if completion.token_ids
        ]
        for group, row in zip(groups, advantages, strict=True)
    ]


def micro_batches(samples: Sequence[Sample], *, max_tokens: int, layout: Layout) -> Iterator[MicroBatch]:
    """Cuts the sequences, sorted by length, into micro-batches of at most `max_tokens` tokens, padding included.

    A sequence longer than `max_tokens` gets a micro-batch of its own. Every sequence appears exactly once.
    """
    part: list[int] = []
    size = 0
    for i in sorted(range(len(samples)), key=lambda i: len(samples[i])):
        length = len(samples[i])
        grown = size + length if layout == "packed" else length * (len(part) + 1)
        if part and grown > max_tokens:
            yield _micro_batch(samples, part, layout)
            part, grown = [], length
        part.append(i)
        size = grown
    if part:
        yield _micro_batch(samples, part, layout)


def _micro_batch(samples: Sequence[Sample], order: Sequence[int], layout: Layout) -> MicroBatch:
    chosen = [samples[i] for i in order]
    sizes = np.array([len(sample) for sample in chosen])
    packed = layout == "packed"
    starts = np.cumsum(sizes) - sizes if packed else np.arange(len(chosen)) * sizes.max()
    total = int(sizes.sum() if packed else sizes.max() * len(chosen))
    ids, positions = torch.zeros(total, dtype=torch.long), torch.zeros(total, dtype=torch.long)
    index = []
    for start, size, sample in zip(starts.tolist(), sizes.tolist(), chosen, strict=True):
        ids[start : start + size] = torch.tensor(sample.prompt_ids + sample.completion_ids)
        positions[start : start + size] = torch.arange(size)
        index.append(torch.arange(start + len(sample.prompt_ids), start + size))
    lengths = torch.tensor([len(sample.completion_ids) for sample in chosen])
    advantages = torch.tensor([sample.advantage for sample in chosen], dtype=torch.float32)
    references = [sample.reference_logprobs for sample in chosen if sample.reference_logprobs is not None]
    return MicroBatch(
        input_ids=ids.view(1 if packed else len(chosen), -1),
        position_ids=positions[None] if packed else None,
        completion_index=torch.cat(index),
        sequence=torch.arange(len(chosen)).repeat_interleave(lengths),
        lengths=lengths,
        advantages=advantages.repeat_interleave(lengths),
        sampler_logprobs=torch.cat([sample.sampler_logprobs for sample in chosen]),
        reference_logprobs=torch.cat(references) if references else None,
        order=tuple(order),
    )
