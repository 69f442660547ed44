"""Ragged sequences -> micro-batches of tensors. The one place that pads, and the one that shifts by one.

Rows are padded on the right, where a causal model never looks; or packed end to end into one row, where transformers
keeps sequences apart by their restarting position ids; or flat in one row with a prompt once for all its completions,
where a plan says who sees whom. Everything behind the model is flat: one entry per completion token. The hidden state
at position t predicts the token at t + 1, so a sequence's last token never enters the model.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from grpo_lightning.losses import Totals
from grpo_lightning.packing import Span
from grpo_lightning.ranks import Ranks
from grpo_lightning.types import Group

Layout = Literal["shared", "padded", "packed"]


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
    def read_ids(self) -> tuple[int, ...]:
        """The tokens of the completion behind which the model is asked for another."""
        return self.completion_ids[:-1]

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
    """None for padded rows."""
    spans: tuple[Span, ...] | None
    """What stands where and sees what, where prompts are shared."""
    predictors: Int[Tensor, " N"]
    """Where the token before each of the N tokens stands in the flattened `input_ids`."""
    targets: Int[Tensor, " N"]
    """The tokens themselves."""
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
            logprobs = np.array(completion.sampler_logprobs, dtype=np.float32)
            counted = np.flatnonzero(np.isfinite(logprobs))
            if keep[number, j] and len(counted):
                samples.append(
                    Sample(
                        prompt_ids=group.prompt.token_ids,
                        completion_ids=completion.token_ids,
                        group=number,
                        sample=j,
                        counted=torch.from_numpy(counted),
                        sampler_logprobs=torch.from_numpy(logprobs[counted]),
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

    With shared prompts, groups stay together as far as they fit, and a prompt counts once in each micro-batch. A
    sequence longer than `max_tokens` gets a micro-batch of its own. Every sequence appears exactly once.
    """
    shared = layout == "shared"
    longest = Counter[tuple[object, ...]]()
    for s in samples if shared else ():
        longest[_prompt(s)] = max(longest[_prompt(s)], len(s))
    part: list[int] = []
    size = 0
    for i in sorted(range(len(samples)), key=lambda i: _rank(samples[i], longest)):
        length = len(samples[i])
        if layout == "padded":
            grown = length * (len(part) + 1)
        elif shared and part and _prompt(samples[part[-1]]) == _prompt(samples[i]):
            grown = size + len(samples[i].completion_ids)
        else:
            grown = size + length
        if part and grown > max_tokens:
            yield _micro_batch(samples, part, layout)
            part, grown = [], length
        part.append(i)
        size = grown
    if part:
        yield _micro_batch(samples, part, layout)


def _prompt(sample: Sample) -> tuple[object, ...]:
    """Equal for sequences that may share their prompt."""
    return sample.group, sample.prompt_ids


def _rank(sample: Sample, longest: Mapping[tuple[object, ...], int]) -> tuple[object, ...]:
    """Where a sequence stands among those to be cut: by its length, or with its group, by that of the longest."""
    return (longest[_prompt(sample)], _prompt(sample), len(sample)) if longest else (len(sample),)


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


def by_sequence(values: Tensor, samples: Sequence[Sample], batch: MicroBatch) -> dict[tuple[int, int], Tensor]:
    """The micro-batch's N values, apart for each of its sequences, by group and sample; a ghost has none."""
    if not len(values):
        return {}
    own = [samples[i] for i in batch.order]
    return {(s.group, s.sample): part for s, part in zip(own, values.split([len(s.counted) for s in own]), strict=True)}


def totals_of(samples: Sequence[Sample], micro_batches: int, ranks: Ranks) -> Totals:
    """The denominators of one optimizer step, over all ranks."""
    tokens, groups = sum(len(s.counted) for s in samples), len({s.group for s in samples})
    counts = torch.tensor([tokens, len(samples), groups, micro_batches], dtype=torch.float64)
    all_tokens, sequences, prompts, cuts = ranks.sum(counts).tolist()
    return Totals(tokens=all_tokens, sequences=sequences, prompts=prompts, micro_batches=cuts)


def _micro_batch(samples: Sequence[Sample], order: Sequence[int], layout: Layout) -> MicroBatch:
    chosen = [samples[i] for i in order]
    rows = {"shared": _shared, "padded": _padded, "packed": _packed}[layout](chosen)
    return MicroBatch(
        input_ids=rows.input_ids,
        position_ids=rows.position_ids,
        spans=rows.spans,
        predictors=_counted(chosen, rows.before),
        targets=_counted(chosen, [np.array(s.completion_ids, dtype=np.int64) for s in chosen]),
        lengths=torch.tensor([len(sample.counted) for sample in chosen]),
        group_tokens=torch.tensor([sample.group_tokens for sample in chosen]),
        advantages=torch.cat([sample.advantages for sample in chosen]),
        sampler_logprobs=torch.cat([sample.sampler_logprobs for sample in chosen]),
        proximal_logprobs=_joined([sample.proximal_logprobs for sample in chosen]),
        reference_logprobs=_joined([sample.reference_logprobs for sample in chosen]),
        weights=_joined([sample.weights for sample in chosen]),
        order=tuple(order),
    )


def _counted(chosen: Sequence[Sample], values: Sequence[Int[np.ndarray, " _"]]) -> Int[Tensor, " N"]:
    """Of each completion's values those of tokens that train."""
    return torch.from_numpy(np.concatenate([each[s.counted.numpy()] for s, each in zip(chosen, values, strict=True)]))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """How a layout lays sequences out."""

    input_ids: Int[Tensor, "R C"]
    position_ids: Int[Tensor, "R C"] | None = None
    spans: tuple[Span, ...] | None = None
    before: list[Int[np.ndarray, " _"]]
    """For each sequence, where the token before each token of its completion stands in the flattened `input_ids`."""


def _padded(chosen: Sequence[Sample]) -> _Rows:
    texts = [torch.tensor(sample.prompt_ids + sample.read_ids) for sample in chosen]
    ids = pad_sequence(texts, batch_first=True)
    starts = [row * ids.shape[1] + len(sample.prompt_ids) - 1 for row, sample in enumerate(chosen)]
    return _Rows(input_ids=ids, before=[_run(start, s) for start, s in zip(starts, chosen, strict=True)])


def _packed(chosen: Sequence[Sample]) -> _Rows:
    texts = [torch.tensor(sample.prompt_ids + sample.read_ids) for sample in chosen]
    starts = np.cumsum([0, *map(len, texts[:-1])]).tolist()
    return _Rows(
        input_ids=torch.cat(texts)[None],
        position_ids=torch.cat([torch.arange(len(text)) for text in texts])[None],
        before=[_run(start + len(s.prompt_ids) - 1, s) for start, s in zip(starts, chosen, strict=True)],
    )


def _shared(chosen: Sequence[Sample]) -> _Rows:
    """Sequences of one prompt are neighbours; the prompt stands before the first of them."""
    ids: list[int] = []
    positions: list[np.ndarray] = []
    spans: list[Span] = []
    before: list[np.ndarray] = []
    prompt = Span(start=0, length=0)
    for place, sample in enumerate(chosen):
        length, own = len(sample.prompt_ids), sample.read_ids
        if place == 0 or _prompt(chosen[place - 1]) != _prompt(sample):
            prompt = Span(start=len(ids), length=length)
            spans.append(prompt)
            ids += sample.prompt_ids
            positions.append(np.arange(length))
        run = np.arange(len(own))
        before.append(np.append(prompt.start + length - 1, len(ids) + run))
        spans.append(Span(start=len(ids), length=len(own), prompt_start=prompt.start, prompt_length=length))
        ids += own
        positions.append(length + run)
    return _Rows(
        input_ids=torch.tensor(ids)[None],
        position_ids=torch.from_numpy(np.concatenate(positions))[None],
        spans=tuple(spans),
        before=before,
    )


def _run(start: int, sample: Sample) -> Int[np.ndarray, " L"]:
    return start + np.arange(len(sample.completion_ids))


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    """One after the other; None where no sequence has any."""
    found = [part for part in parts if part is not None]
    return torch.cat(found) if found else None
