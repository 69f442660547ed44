"""Ragged sequences -> micro-batches of tensors. The one place that pads.

Rows are padded on the right, where a causal model never looks, or packed end to end into one row, where transformers
keeps sequences apart by their restarting position ids. Either way no attention mask is needed, and everything behind
the model is flat: one entry per completion token.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from grpo_lightning.losses import Totals
from grpo_lightning.ranks import Ranks
from grpo_lightning.types import Group

Layout = Literal["padded", "packed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One sequence of the batch, with what its update needs. T counts the completion tokens that train."""

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    group: int
    """Number of its prompt in the rollout; with `sample`, its place there."""
    sample: int
    counted: Int[Tensor, " T"]
    """Which completion tokens train: those with a finite log-prob of the engine."""
    sampler_logprobs: Float[Tensor, " T"]
    advantages: Float[Tensor, " T"]
    proximal_logprobs: Float[Tensor, " T"] | None = None
    """The policy's own when the rollout began; only where they correct a mismatch with the engine."""
    reference_logprobs: Float[Tensor, " T"] | None = None
    """Only where the objective has a KL term."""
    weights: Float[Tensor, " T"] | None = None
    """Multiplies the surrogate of each token; None: one."""
    group_tokens: int = 0
    """T summed over the group's sequences."""

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.completion_ids)

    @property
    def base_logprobs(self) -> Float[Tensor, " T"]:
        """What the ratio is taken to: the engine, or the policy where a mismatch is corrected."""
        return self.sampler_logprobs if self.proximal_logprobs is None else self.proximal_logprobs


GHOST = Sample(
    prompt_ids=(0,),
    completion_ids=(0,),
    group=-1,
    sample=-1,
    counted=torch.zeros(0, dtype=torch.long),
    sampler_logprobs=torch.zeros(0),
    advantages=torch.zeros(0),
)
"""A sequence without a token that trains: keeps a rank in step whose share of the work is smaller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatch:
    """What one forward pass takes, R rows of C columns, and its N completion tokens that train, flat, in row order."""

    input_ids: Int[Tensor, "R C"]
    position_ids: Int[Tensor, "R C"] | None
    """Only for the packed layout."""
    completion_index: Int[Tensor, " N"]
    """Where each of the N tokens stands in the flattened `input_ids`."""
    lengths: Int[Tensor, " S"]
    """How many of the N tokens each sequence has, one sequence after the other."""
    group_tokens: Int[Tensor, " S"]
    """How many its whole group has, in this micro-batch or not."""
    advantages: Float[Tensor, " N"]
    sampler_logprobs: Float[Tensor, " N"]
    proximal_logprobs: Float[Tensor, " N"] | None
    reference_logprobs: Float[Tensor, " N"] | None
    weights: Float[Tensor, " N"] | None
    order: tuple[int, ...]
    """Where each sequence stood in what was cut into micro-batches."""

    @property
    def base_logprobs(self) -> Float[Tensor, " N"]:
        """As of the samples."""
        return self.sampler_logprobs if self.proximal_logprobs is None else self.proximal_logprobs

    def to(self, device: torch.device) -> "MicroBatch":
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved = {name: value.to(device) for name, value in values.items() if isinstance(value, Tensor)}
        return replace(self, **moved)  # type: ignore[arg-type]


def samples_of(groups: Sequence[Group], keep: Bool[np.ndarray, "P G"]) -> list[Sample]:
    """The completions that are kept and have a token that counts; their advantages are still zero."""
    samples = []
    for number, group in enumerate(groups):
        for j, completion in enumerate(group.completions):
            logprobs = torch.tensor(completion.sampler_logprobs, dtype=torch.float32)
            counted = torch.isfinite(logprobs).nonzero().squeeze(1)
            if keep[number, j] and len(counted):
                samples.append(
                    Sample(
                        prompt_ids=group.prompt.token_ids,
                        completion_ids=completion.token_ids,
                        group=number,
                        sample=j,
                        counted=counted,
                        sampler_logprobs=logprobs[counted],
                        advantages=torch.zeros(len(counted)),
                    )
                )
    return samples


def with_advantages(samples: Sequence[Sample], advantages: Float[np.ndarray, "P G"]) -> list[Sample]:
    """Each with its advantage at every token, and the tokens of its group as they are now counted."""
    tokens = Counter[int]()
    for s in samples:
        tokens[s.group] += len(s.counted)
    return [
        replace(
            s,
            advantages=torch.full((len(s.counted),), float(advantages[s.group, s.sample])),
            group_tokens=tokens[s.group],
        )
        for s in samples
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


def minibatches(samples: Sequence[Sample], parts: int, *, seed: int, ranks: Ranks) -> list[list[Sample]]:
    """This rank's samples in `parts` shares of nearly equally many groups over all ranks; no group is split.

    Group g of rank r of R is number g R + r of the step. The numbers are laid in a ring, cut at a place that depends on
    the seed into runs of neighbours, and the runs are shuffled, those without a group last. So the shares are the same
    for any R, and ranks have equally much of each, to within a group.
    """
    members: dict[int, list[Sample]] = {}
    for sample in samples:
        members.setdefault(sample.group * ranks.size + ranks.rank, []).append(sample)
    numbers = np.sort(np.concatenate(ranks.gather(np.array(sorted(members), dtype=np.int64))))
    random = np.random.default_rng(seed)
    runs = np.array_split(np.roll(numbers, -random.integers(max(1, len(numbers)))), parts)
    filled = min(parts, len(numbers))
    order = [*random.permutation(filled).tolist(), *range(filled, parts)]
    return [[sample for number in runs[k].tolist() for sample in members.get(number, [])] for k in order]


def even_micro_batches(samples: Sequence[Sample], max_tokens: int, layout: Layout, ranks: Ranks) -> list[MicroBatch]:
    """`micro_batches`, at least one and equally many on every rank: one with less work adds ghosts."""
    own = list(micro_batches(samples, max_tokens=max_tokens, layout=layout))
    most = max(1, int(ranks.max(torch.tensor(float(len(own))))))
    return own + list(micro_batches([GHOST] * (most - len(own)), max_tokens=1, layout=layout))


def totals_of(samples: Sequence[Sample], micro_batches: int, ranks: Ranks) -> Totals:
    """The denominators of one optimizer step, over all ranks."""
    tokens, groups = sum(len(s.counted) for s in samples), len({s.group for s in samples})
    counts = torch.tensor([tokens, len(samples), groups, micro_batches], dtype=torch.float64)
    all_tokens, sequences, prompts, cuts = ranks.sum(counts).tolist()
    return Totals(tokens=all_tokens, sequences=sequences, prompts=prompts, micro_batches=cuts)


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
        index.append(start + len(sample.prompt_ids) + sample.counted)
    return MicroBatch(
        input_ids=ids.view(1 if packed else len(chosen), -1),
        position_ids=positions[None] if packed else None,
        completion_index=torch.cat(index),
        lengths=torch.tensor([len(sample.counted) for sample in chosen]),
        group_tokens=torch.tensor([sample.group_tokens for sample in chosen]),
        advantages=torch.cat([sample.advantages for sample in chosen]),
        sampler_logprobs=torch.cat([sample.sampler_logprobs for sample in chosen]),
        proximal_logprobs=_joined([sample.proximal_logprobs for sample in chosen]),
        reference_logprobs=_joined([sample.reference_logprobs for sample in chosen]),
        weights=_joined([sample.weights for sample in chosen]),
        order=tuple(order),
    )


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    """One after the other; None where no sequence has any."""
    found = [part for part in parts if part is not None]
    return torch.cat(found) if found else None
