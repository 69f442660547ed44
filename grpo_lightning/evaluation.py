"""How good the policy is on held-out prompts: what each prompt measured, and means with intervals over the prompts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from grpo_lightning.filters import RIGHT
from grpo_lightning.generation import Generator, SamplingConfig
from grpo_lightning.ranks import Ranks
from grpo_lightning.scoring import Scorer
from grpo_lightning.statistics import intervals, pass_at_k
from grpo_lightning.types import Completion, Group, Prompt, Scores
from grpo_lightning.voting import winners

PerPrompt = Float[np.ndarray, " P"]

GREEDY, SAMPLED = "", "_sampled"
"""The two ways of answering, as the ends of their measures' names."""


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How held-out prompts are answered in validate, test and during fit."""

    accuracy: str | None = None
    """Name of the reward that means "right" where it reaches 1; null: the first one."""
    greedy: bool = True
    """Answer each prompt once with the most likely tokens."""
    samples: int = 1
    """Sampled completions per prompt, besides the greedy one; 0: greedy only. From 2 on there is pass@k for k = 2, 4,
    ... up to all of them, and maj@k of all of them."""
    temperature: float = 1.0
    """Of the sampled completions."""
    top_p: float | None = None
    """Of the sampled completions; null: as `sampling` has it for training."""
    top_k: int | None = None
    """Likewise."""
    min_p: float | None = None
    """Likewise."""
    max_tokens: int | None = None
    """Longest answer, greedy or sampled; null: as in training."""
    confidence: float = 0.95
    """Of the bootstrap intervals: share of resampled means between the bounds."""

    def __post_init__(self) -> None:
        if self.samples < 0:
            raise ValueError(f"evaluation.samples: {self.samples} is refused; it must be 0 (greedy only) or positive")
        if self.samples == 0 and not self.greedy:
            raise ValueError("evaluation.samples: 0 without evaluation.greedy answers nothing; set one of them")
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"evaluation.temperature: {self.temperature} is refused; it must be positive")
        if not 0 < self.confidence < 1:
            raise ValueError(f"evaluation.confidence: {self.confidence} is refused; it must be between 0 and 1")
        try:
            self.sampled(SamplingConfig())
        except ValueError as error:
            raise ValueError(str(error).replace("sampling.", "evaluation.", 1)) from error

    def accuracy_name(self, names: Sequence[str]) -> str:
        """The accuracy reward's name; refuses one that is not there."""
        name = names[0] if self.accuracy is None else self.accuracy
        if name not in names:
            raise ValueError(f"evaluation.accuracy: no reward is named {name!r}; the names are {', '.join(names)}")
        return name

    def sampled(self, training: SamplingConfig) -> SamplingConfig:
        """How the sampled answers are drawn, where training draws like that."""
        return replace(
            training,
            temperature=self.temperature,
            top_p=training.top_p if self.top_p is None else self.top_p,
            top_k=training.top_k if self.top_k is None else self.top_k,
            min_p=training.min_p if self.min_p is None else self.min_p,
            max_tokens=training.max_tokens if self.max_tokens is None else self.max_tokens,
        )

    def ways(self, training: SamplingConfig) -> Iterator[tuple[str, int, SamplingConfig]]:
        """Each way of answering: the end of its measures' names, answers per prompt, how they are drawn."""
        sampled = self.sampled(training)
        if self.greedy:
            yield GREEDY, 1, replace(sampled, temperature=0.0)
        if self.samples:
            yield SAMPLED, self.samples, sampled

    @property
    def attempts(self) -> list[int]:
        """The k of pass@k, besides 1, which is the accuracy: powers of two, and all samples."""
        powers = [2**i for i in range(1, self.samples.bit_length()) if 2**i < self.samples]
        return [*powers, self.samples] if self.samples > 1 else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What some prompts were answered in one way, and what that scored."""

    groups: tuple[Group, ...]
    scores: Scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A mean over prompts, with the bounds of its bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Each prompt of a set by itself, on every rank the same."""

    uids: Int[np.ndarray, " P"]
    values: Mapping[str, PerPrompt]
    """By measure; NaN where it does not apply to the prompt."""

    def means(self, *, seed: int, confidence: float) -> dict[str, Measure]:
        """Over prompts, each counting once; measures that apply to none are left out."""
        known = {name: column for name, column in self.values.items() if not np.isnan(column).all()}
        if not known:
            return {}
        bounds = intervals(np.stack(list(known.values()), axis=1), seed=seed, confidence=confidence)
        return {
            name: Measure(value=float(np.nanmean(column)), low=float(low), high=float(high))
            for (name, column), (low, high) in zip(known.items(), bounds, strict=True)
        }


class HeldOut:
    """What a set of prompts measures: added to batch by batch, read once."""

    def __init__(self) -> None:
        self._uids: list[int] = []
        self._values: dict[str, list[PerPrompt]] = {}

    def add(self, prompts: Sequence[Prompt], values: Mapping[str, PerPrompt]) -> None:
        """One value for each of these prompts; the names are the same each time."""
        self._uids += [prompt.uid for prompt in prompts]
        for name, column in values.items():
            self._values.setdefault(name, []).append(column)

    def read(self, ranks: Ranks) -> Measured:
        """All prompts of all ranks, in the order of their uids, so that it does not matter who answered them."""
        names = list(self._values)
        row = [("uid", "i8"), *((name, "f8") for name in names)]
        table = np.zeros(len(self._uids), dtype=row)
        table["uid"] = self._uids
        for name in names:
            table[name] = np.concatenate(self._values[name])
        everywhere = [other for other in ranks.gather(table) if len(other)] or [table]
        table = np.concatenate(everywhere)
        table = table[np.argsort(table["uid"], kind="stable")]
        return Measured(uids=table["uid"], values={name: table[name] for name in (table.dtype.names or ())[1:]})


def evaluate(
    prompts: Sequence[Prompt],
    *,
    generator: Generator,
    scorer: Scorer,
    votes: Scorer | None,
    sampling: SamplingConfig,
    config: EvaluationConfig,
    seed: int,
    prefix: str = "",
) -> tuple[dict[str, PerPrompt], dict[str, Answers]]:
    """What each prompt measures, and its answers by way (`GREEDY`, `SAMPLED`).

    Measures: accuracy, length and truncated of the greedy answer, the same of the sampled ones with `_sampled` behind
    (their mean: accuracy_sampled is avg@k); of these also pass_at_K, maj_at_K and each reward/NAME (of the greedy one,
    if there are no samples). `votes` counts for maj@k; `prefix` is forced on every completion.
    """
    accuracy = scorer.names.index(config.accuracy_name(scorer.names))
    values: dict[str, PerPrompt] = {}
    answers: dict[str, Answers] = {}
    for way, count, how in config.ways(sampling):
        groups = generator.generate(prompts, group_size=count, sampling=how, seed=seed, prefix=prefix).groups
        scores = scorer.score(groups)
        answers[way] = Answers(groups=groups, scores=scores)
        right = np.where(np.isnan(scores.rewards[:, :, accuracy]), np.nan, scores.rewards[:, :, accuracy] >= RIGHT)
        values[f"accuracy{way}"] = _mean(right)
        values[f"length{way}"] = _mean(_each(groups, lambda completion: len(completion.token_ids)))
        values[f"truncated{way}"] = _mean(_each(groups, lambda completion: completion.stop_reason == "length"))
        if way == SAMPLED:
            for k in config.attempts:
                values[f"pass_at_{k}"] = np.array([pass_at_k(row, k) for row in right])
            if votes is not None and config.attempts:
                values[f"maj_at_{count}"] = _majority(right, groups, votes)
        if way == SAMPLED or not config.samples:
            for k, name in enumerate(scores.names):
                values[f"reward/{name}"] = _mean(scores.rewards[:, :, k])
    return values, answers


def _each(groups: Sequence[Group], of: Callable[[Completion], float]) -> Float[np.ndarray, "P G"]:
    return np.array([[of(completion) for completion in group.completions] for group in groups], dtype=float)


def _mean(values: Float[np.ndarray, "P G"]) -> PerPrompt:
    """Over the completions that have a value; NaN where none has."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0.0).sum(axis=1) / known.sum(axis=1)


def _majority(right: Float[np.ndarray, "P G"], groups: Sequence[Group], votes: Scorer) -> PerPrompt:
    """Whether the winner is right; NaN where the prompt has no right answer, and nothing is counted then.

    0 where no completion gave an answer, and where votes cannot be counted: what hangs the count gains nothing by it.
    """
    judged = np.flatnonzero(~np.isnan(right).all(axis=1)).tolist()
    places = winners(votes, [groups[row] for row in judged])
    found = np.full(len(right), np.nan)
    found[judged] = [
        0.0 if np.isnan(place) else right[row, int(place)] for row, place in zip(judged, places, strict=True)
    ]
    return found
