"""What a step or an evaluation says of itself, as a dict of floats, each a mean over all ranks."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from grpo_lightning.advantages import has_signal
from grpo_lightning.batching import MicroBatch
from grpo_lightning.generation import Rollout
from grpo_lightning.logprobs import TokenLogprobs
from grpo_lightning.losses import kl_k3, ratio_stats
from grpo_lightning.objective import ObjectiveConfig
from grpo_lightning.types import Scores

RIGHT = 1.0
"""An answer counts as accurate from this value of the accuracy reward on."""

Reduce = Callable[[Tensor], Tensor]


class Tally:
    """Named sums with their counts, and maxima; added to by anyone, read once.

    Values may be tensors on a device: nothing waits for them before `read`. Every rank must add the same names.
    """

    def __init__(self) -> None:
        self._sums: dict[str, list[tuple[Tensor | float, Tensor | float]]] = {}
        self._maxima: dict[str, list[Tensor | float]] = {}

    def add(self, name: str, total: Tensor | float, count: Tensor | float = 1.0) -> None:
        self._sums.setdefault(name, []).append((total, count))

    def maximum(self, name: str, value: Tensor | float) -> None:
        self._maxima.setdefault(name, []).append(value)

    def read(self, *, all_sum: Reduce, all_max: Reduce) -> dict[str, float]:
        """Each mean = its total / its count over everything added on all ranks; left out where the count is 0."""
        values: dict[str, float] = {}
        if self._sums:
            pairs = [
                [sum(map(float, column)) for column in zip(*entries, strict=True)] for entries in self._sums.values()
            ]
            sums = all_sum(torch.tensor(pairs, dtype=torch.float64)).tolist()
            values |= {name: total / count for name, (total, count) in zip(self._sums, sums, strict=True) if count > 0}
        if self._maxima:
            peaks = [max(map(float, entries)) for entries in self._maxima.values()]
            values |= zip(self._maxima, all_max(torch.tensor(peaks, dtype=torch.float64)).tolist(), strict=True)
        return values


def tally_scores(tally: Tally, scores: Scores, rewards: np.ndarray, advantages: np.ndarray, *, accuracy: str) -> None:
    """Each reward by itself, their combination, how much signal the groups carry, and the share that is right."""
    right = scores.rewards[:, :, scores.names.index(accuracy)]
    tally.add("accuracy", float((right >= RIGHT).sum()), float((~np.isnan(right)).sum()))
    for k, name in enumerate(scores.names):
        values = scores.rewards[:, :, k]
        applies = ~np.isnan(values)
        tally.add(f"reward/{name}", float(values[applies].sum()), float(applies.sum()))
        tally.add(f"reward/{name}/applies", float(applies.sum()), applies.size)
        tally.add(f"reward/{name}/errors", float(scores.stats[k].errors))
        tally.add(f"reward/{name}/timeouts", float(scores.stats[k].timeouts))
        tally.add(f"reward/{name}/seconds", scores.stats[k].seconds)
        tally.add(f"reward/{name}/crashes", float(scores.stats[k].crashes))
        tally.maximum(f"reward/{name}/latency_p50", scores.stats[k].latency_p50)
        tally.maximum(f"reward/{name}/latency_p99", scores.stats[k].latency_p99)
    valid = ~np.isnan(rewards)
    tally.add("reward", float(rewards[valid].sum()), float(valid.sum()))
    tally.add("groups/zero_signal", float((~has_signal(rewards)).sum()), len(rewards))
    tally.add("advantage/abs", float(np.abs(advantages).sum()), advantages.size)
    tally.maximum("advantage/max", float(np.abs(advantages).max()))


def tally_rollout(tally: Tally, rollout: Rollout) -> None:
    """Lengths and why completions ended."""
    completions = [completion for group in rollout.groups for completion in group.completions]
    tally.add("completion/tokens", rollout.tokens, len(completions))
    tally.maximum("completion/tokens_max", max(len(completion.token_ids) for completion in completions))
    for reason in ("eos", "stop", "length"):
        tally.add(f"stop/{reason}", sum(c.stop_reason == reason for c in completions), len(completions))


def tally_update(tally: Tally, policy: TokenLogprobs, batch: MicroBatch, objective: ObjectiveConfig) -> None:
    """What one micro-batch says of the update: entropy, ratio, clipping, and how far the policy has gone from where."""
    logprobs, tokens = policy.logprobs.detach(), len(policy.logprobs)
    stats = ratio_stats(
        logprobs,
        batch.sampler_logprobs,
        batch.advantages,
        epsilon_low=objective.epsilon_low,
        epsilon_high=objective.clip_high,
    )
    tally.add("update/entropy", policy.entropy.sum(), tokens)
    tally.add("update/kl_to_sampler", stats.kl_to_sampler, tokens)
    tally.add("update/clipped_low", stats.clipped_low, tokens)
    tally.add("update/clipped_high", stats.clipped_high, tokens)
    tally.maximum("update/ratio_max", stats.ratio_max)
    if batch.reference_logprobs is not None:
        tally.add("update/kl_to_reference", kl_k3(logprobs, batch.reference_logprobs).sum(), tokens)
