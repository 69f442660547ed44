"""A scored rollout -> the samples of its update: which train, with which advantage, weight and reference.

The middle of the algorithm. Everything that looks at more than one sequence is settled here, once per rollout and over
all ranks, so that the optimizer steps behind it may cut the samples as they like.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float

from grpo_lightning import losses
from grpo_lightning.advantages import AdvantageConfig, overlong_penalty
from grpo_lightning.batching import Sample, samples_of, with_advantages
from grpo_lightning.collection import Collected
from grpo_lightning.combine import CombineConfig, Combined, State, combine
from grpo_lightning.filters import FilterConfig
from grpo_lightning.generation import Rollout
from grpo_lightning.logprobs import TokenLogprobs
from grpo_lightning.mismatch import MismatchConfig, accepts, token_weights
from grpo_lightning.objective import ObjectiveConfig
from grpo_lightning.parts import Part
from grpo_lightning.ranks import Ranks
from grpo_lightning.types import Scores

Forward = Callable[[Sequence[Sample]], list[TokenLogprobs]]
"""What a model says of each sample, without gradient."""


OVERLONG = "overlong"
"""Name of the length penalty among the parts that are combined."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The settings that make a variant of GRPO."""

    advantage: AdvantageConfig
    objective: ObjectiveConfig
    filters: FilterConfig
    mismatch: MismatchConfig
    combine: CombineConfig

    @property
    def looks_again(self) -> bool:
        """Whether the policy itself must see the rollout before its first update."""
        return self.mismatch.correction != "none" or self.objective.entropy.top_share < 1

    def all_parts(self, rewards: Mapping[str, Part]) -> dict[str, Part]:
        """What is combined, by name: the rewards, and the length penalty if there is one."""
        if self.advantage.overlong_share > 0 and OVERLONG in rewards:
            raise ValueError(
                f"rewards: {OVERLONG!r} is the penalty of advantage.overlong_share; name the reward otherwise"
            )
        return dict(rewards) | ({OVERLONG: Part()} if self.advantage.overlong_share > 0 else {})

    def check(self, group_size: int, *, single_update: bool) -> None:
        """Refuses what contradicts the other settings."""
        advantage = self.advantage
        if advantage.keep is not None and advantage.keep > group_size:
            raise ValueError(f"advantage.keep: {advantage.keep} is more than the {group_size} of group_size")
        if self.objective.loss == "reinforce" and not single_update:
            raise ValueError(
                "objective.loss: 'reinforce' looks at no ratio and is right for one update per rollout only; set "
                "update.num_iterations and update.minibatches to 1, or take 'cispo'"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What a training step trains on; also for callbacks that show it."""

    rollout: Rollout
    scores: Scores
    rewards: Float[np.ndarray, "P G"]
    """Their weighted sum; NaN where nothing applies or the completion was left out."""
    advantages: Float[np.ndarray, "P G"]
    combined: Combined
    """Of all ranks."""
    values: Float[np.ndarray, "N G K"]
    """The rewards of everything generated, of all ranks, in the order of `parts`."""
    parts: Mapping[str, Part]
    samples: list[Sample]
    masked: dict[str, tuple[float, float]]
    """Cause -> tokens that do not train for it, out of how many."""


def prepare(
    found: Collected,
    recipe: Recipe,
    *,
    parts: Mapping[str, Part],
    state: State,
    max_tokens: int,
    beta: float,
    policy: Forward,
    reference: Forward | None,
    ranks: Ranks,
) -> Prepared:
    """Filters, then mismatch and high-entropy tokens, rewards to advantages, and the reference.

    `parts` names the rewards in the order of the scores, and then OVERLONG if there is such a penalty.
    """
    groups = found.rollout.groups
    lengths = np.array([[len(c.token_ids) for c in group.completions] for group in groups])
    truncated = np.array([[c.stop_reason == "length" for c in group.completions] for group in groups])
    keep = np.broadcast_to(found.train[:, None], lengths.shape)
    masked: dict[str, tuple[float, float]] = {}
    if recipe.filters.truncated == "drop":
        masked["truncated"] = float(lengths[keep & truncated].sum()), float(lengths[keep].sum())
        keep = keep & ~truncated
    samples = samples_of(groups, keep)
    tokens = sum(len(s.counted) for s in samples)
    masked["no_logprob"] = float(lengths[keep].sum() - tokens), float(lengths[keep].sum())
    if recipe.looks_again:
        samples, causes = reweighted(samples, policy(samples), recipe, ranks)
        masked |= {cause: (count, float(tokens)) for cause, count in causes.items()}
    keep = np.zeros(lengths.shape, dtype=bool)
    for s in samples:
        keep[s.group, s.sample] = True
    rewards = found.scores.rewards
    if recipe.advantage.overlong_share > 0:
        rewards = np.dstack([rewards, overlong_penalty(lengths, max_tokens, recipe.advantage.overlong_share)])
    everywhere = ranks.gather(np.dstack([keep, lengths, rewards]))
    stacked = np.concatenate(everywhere)
    kept, all_lengths, values = stacked[:, :, 0] > 0, stacked[:, :, 1].astype(int), stacked[:, :, 2:]
    combined = combine(values, kept, all_lengths, parts, recipe.combine, recipe.advantage, state)
    start = sum(map(len, everywhere[: ranks.rank]))
    own = slice(start, start + len(rewards))
    samples = with_advantages(samples, combined.advantages[own])
    if reference is not None:
        samples = with_reference(samples, reference(samples), recipe.objective, beta, ranks)
    return Prepared(
        rollout=found.rollout,
        scores=found.scores,
        rewards=combined.total[own],
        advantages=combined.advantages[own],
        combined=combined,
        values=values,
        parts=parts,
        samples=samples,
        masked=masked,
    )


def reweighted(
    samples: Sequence[Sample], policy: Sequence[TokenLogprobs], recipe: Recipe, ranks: Ranks
) -> tuple[list[Sample], dict[str, float]]:
    """The samples that the mismatch filter accepts, with their weights; and how many tokens each cause masks.

    `policy` is what the policy says of them before the first update.
    """
    corrects, top_share = recipe.mismatch.correction != "none", recipe.objective.entropy.top_share
    masked: dict[str, float] = {}
    pairs = list(zip(samples, policy, strict=True))
    if corrects:
        pairs = [(s, told) for s, told in pairs if accepts(recipe.mismatch, told.logprobs, s.sampler_logprobs)]
        masked["mismatch"] = float(sum(len(s.counted) for s in samples) - sum(len(s.counted) for s, _ in pairs))
    if top_share < 1:
        masked["low_entropy"] = 0.0
    entropies = [told.entropy.numpy() for _, told in pairs]
    threshold = torch.tensor(top_quantile(entropies, top_share, ranks))
    kept = []
    for s, told in pairs:
        weights = token_weights(recipe.mismatch, told.logprobs, s.sampler_logprobs)
        if corrects:
            masked["mismatch"] += float((weights == 0).sum())
            s = replace(s, proximal_logprobs=told.logprobs)
        if top_share < 1:
            masked["low_entropy"] += float((told.entropy < threshold).sum())
            weights = torch.where(told.entropy < threshold, 0.0, weights)
        kept.append(replace(s, weights=weights))
    return kept, masked


def top_quantile(values: Sequence[np.ndarray], share: float, ranks: Ranks) -> float:
    """The value above which `share` of all values lie, over all ranks."""
    everywhere = np.concatenate(ranks.gather(np.concatenate([np.zeros(0, dtype=np.float32), *values])))
    return float(np.quantile(everywhere, 1 - share)) if len(everywhere) else 0.0


def with_reference(
    samples: Sequence[Sample], told: Sequence[TokenLogprobs], objective: ObjectiveConfig, beta: float, ranks: Ranks
) -> list[Sample]:
    """The samples with the reference's log-probs; or, with the KL in the reward, A_t + beta (mean KL - KL_t) instead.

    The KL's mean is over all tokens of all ranks, so that it moves no baseline.
    """
    if objective.kl.place == "loss":
        return [replace(s, reference_logprobs=each.logprobs) for s, each in zip(samples, told, strict=True)]
    estimator = objective.kl.estimator
    distances = [
        losses.kl(s.base_logprobs, each.logprobs, estimator=estimator) for s, each in zip(samples, told, strict=True)
    ]
    counts = torch.tensor([sum(float(d.sum()) for d in distances), sum(map(len, distances))], dtype=torch.float64)
    total, tokens = ranks.sum(counts).tolist()
    mean = total / max(tokens, 1.0)
    return [
        replace(s, advantages=s.advantages + beta * (mean - distance), reference_logprobs=each.logprobs)
        for s, distance, each in zip(samples, distances, told, strict=True)
    ]
