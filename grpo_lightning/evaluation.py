"""How good the policy is on held-out prompts: greedy and sampled, each reward by itself."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from grpo_lightning.filters import RIGHT
from grpo_lightning.generation import Generator, SamplingConfig
from grpo_lightning.metrics import Tally
from grpo_lightning.scoring import Scorer
from grpo_lightning.types import Prompt


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How held-out prompts are answered in validate, test and during fit."""

    accuracy: str | None = None
    """Name of the reward that means "right" where it reaches 1; null: the first one."""
    samples: int = 1
    """Sampled completions per prompt, besides the greedy one; 0: greedy only."""
    temperature: float = 1.0
    """Of the sampled completions; the rest of `sampling` applies as in training."""

    def __post_init__(self) -> None:
        if self.samples < 0:
            raise ValueError(f"evaluation.samples: {self.samples} is refused; it must be 0 (greedy only) or positive")
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"evaluation.temperature: {self.temperature} is refused; it must be positive")

    def accuracy_name(self, names: Sequence[str]) -> str:
        """The accuracy reward's name; refuses one that is not there."""
        name = names[0] if self.accuracy is None else self.accuracy
        if name not in names:
            raise ValueError(f"evaluation.accuracy: no reward is named {name!r}; the names are {', '.join(names)}")
        return name


def evaluate(
    tally: Tally,
    prompts: Sequence[Prompt],
    *,
    generator: Generator,
    scorer: Scorer,
    sampling: SamplingConfig,
    config: EvaluationConfig,
    seed: int,
    prefix: str = "",
) -> None:
    """Adds to `tally`: accuracy, accuracy_sampled, length, length_sampled and reward/NAME of the sampled completions
    (of the greedy ones if there are no samples). `prefix` is forced on every completion.
    """
    accuracy = config.accuracy_name(scorer.names)
    modes = {"": (1, replace(sampling, temperature=0.0))}
    if config.samples:
        modes["_sampled"] = (config.samples, replace(sampling, temperature=config.temperature))
    for suffix, (count, how) in modes.items():
        rollout = generator.generate(prompts, group_size=count, sampling=how, seed=seed, prefix=prefix)
        scores = scorer.score(rollout.groups)
        right = scores.rewards[:, :, scores.names.index(accuracy)]
        applies = ~np.isnan(right)
        tally.add(f"accuracy{suffix}", float((right[applies] >= RIGHT).sum()), float(applies.sum()))
        tally.add(f"length{suffix}", rollout.tokens, len(prompts) * count)
        if suffix or not config.samples:
            for k, name in enumerate(scores.names):
                values = scores.rewards[:, :, k]
                tally.add(f"reward/{name}", float(np.nansum(values)), float((~np.isnan(values)).sum()))
