"""What a step or an evaluation says of itself, as a dict of floats, each a mean over all ranks."""

from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from grpo_lightning.advantages import has_signal
from grpo_lightning.batching import MicroBatch
from grpo_lightning.collection import Collected
from grpo_lightning.filters import RIGHT
from grpo_lightning.generation import Rollout
from grpo_lightning.logprobs import TokenLogprobs
from grpo_lightning.losses import kl, log_ratios
from grpo_lightning.objective import ObjectiveConfig, held, off_policy
from grpo_lightning.preparation import Prepared
from grpo_lightning.ranks import Ranks
from grpo_lightning.types import Scores
from grpo_lightning.ways import conflict, followed, shares


class Tally:
    """Named sums with their counts, and maxima; added to by anyone, read once.

    Values may be tensors on a device: nothing waits for them before `read`. Every rank must add the same names.
    """

    def __init__(self) -> None:
        self._sums: dict[str, list[tuple[Tensor | float, Tensor | float]]] = {}
        self._maxima: dict[str, list[Tensor | float]] = {}

    def add(self, name: str, total: Tensor | float, count: Tensor | float = 1.0) -> None:
        self._sums.setdefault(name, []).append((total, count))

    def __contains__(self, name: str) -> bool:
        return name in self._sums or name in self._maxima

    def maximum(self, name: str, value: Tensor | float) -> None:
        self._maxima.setdefault(name, []).append(value)

    def join(self, other: "Tally") -> None:
        """Adds all that was added to the other one."""
        for name, entries in other._sums.items():
            self._sums.setdefault(name, []).extend(entries)
        for name, peaks in other._maxima.items():
            self._maxima.setdefault(name, []).extend(peaks)

    def read(self, ranks: Ranks) -> dict[str, float]:
        """Each mean = its total / its count over everything added on all ranks; left out where the count is 0.

        Of the ratio's mean and mean square follows the effective sample size, (sum w)^2 / (N sum w^2).
        """
        names = [*self._sums, *self._maxima]
        pairs = [value for entries in self._sums.values() for pair in entries for value in pair]
        host = iter(_on_host(pairs + [peak for peaks in self._maxima.values() for peak in peaks]))
        own = [np.sum([(next(host), next(host)) for _ in entries], axis=0) for entries in self._sums.values()]
        own += [np.array((max(next(host) for _ in peaks), 0.0)) for peaks in self._maxima.values()]
        row = [("name", f"U{max(map(len, names), default=1)}"), ("value", "f8"), ("count", "f8")]
        table = np.array([(name, *pair) for name, pair in zip(names, own, strict=True)], dtype=row)
        tables = ranks.gather(table)
        if any(other["name"].tolist() != names for other in tables):
            raise RuntimeError(f"metrics differ between processes; this one has {', '.join(names)}")
        everywhere = np.stack(tables)
        sums, peaks = everywhere[:, : len(self._sums)], everywhere[:, len(self._sums) :]
        means = zip(self._sums, sums["value"].sum(axis=0).tolist(), sums["count"].sum(axis=0).tolist(), strict=True)
        values: dict[str, float] = {name: total / count for name, total, count in means if count > 0}
        values |= zip(self._maxima, peaks["value"].max(axis=0).tolist(), strict=True)
        if (square := values.pop("update/ratio_squared", None)) is not None:
            values["update/ess"] = values["update/ratio"] ** 2 / square
        return values


def _on_host(values: list[Tensor | float]) -> list[float]:
    """As numbers; tensors of a device come over together, so that it is waited for once."""
    tensors = [value.double() for value in values if isinstance(value, Tensor)]
    moved = iter(torch.stack(tensors).tolist() if tensors else [])
    return [next(moved) if isinstance(value, Tensor) else float(value) for value in values]


def tally_rollout(tally: Tally, rollout: Rollout) -> None:
    """Lengths, repetitions, why completions ended, and how far the sampler's distribution is from the loss's."""
    completions = [completion for group in rollout.groups for completion in group.completions]
    tally.add("completion/tokens", rollout.tokens, len(completions))
    tally.maximum("completion/tokens_max", max(len(completion.token_ids) for completion in completions))
    different = sum(len({c.token_ids for c in group.completions}) for group in rollout.groups)
    tally.add("completion/duplicates", len(completions) - different, len(completions))
    if not np.isnan(rollout.truncation_gap):
        tally.add("sampler/truncation_gap", rollout.truncation_gap, rollout.tokens)
    for reason in ("eos", "stop", "length"):
        tally.add(f"stop/{reason}", sum(c.stop_reason == reason for c in completions), len(completions))


def tally_entropy(tally: Tally, rollout: Rollout) -> None:
    """Of the distribution that everything generated was drawn from: the mean of -log p of what was drawn."""
    drawn = [np.array(c.sampler_logprobs) for group in rollout.groups for c in group.completions]
    logprobs = np.concatenate([np.zeros(0), *drawn])
    known = logprobs[np.isfinite(logprobs)]
    tally.add("sampler/entropy", -float(known.sum()), len(known))


def tally_scores(tally: Tally, scores: Scores, *, accuracy: str) -> None:
    """Each reward by itself over everything generated, and the share that is right."""
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


def tally_step(tally: Tally, found: Collected, batch: Prepared, *, accuracy: str) -> None:
    """All that a step says of its rollout, its rewards, and what became of them."""
    tally_rollout(tally, found.rollout)
    tally_entropy(tally, found.rollout)
    tally_scores(tally, found.scores, accuracy=accuracy)
    tally_prepared(tally, found, batch)


def tally_prepared(tally: Tally, found: Collected, batch: Prepared) -> None:
    """How groups came out, what does not train and why, and the rewards and advantages of what does."""
    outcome, groups, train = found.outcome, len(found.train), found.train
    for name in ("mixed", "all_right", "all_wrong", "unscored"):
        tally.add(f"groups/{name}", float(getattr(outcome, name).sum()), groups)
        tally.add(f"dropped/{name}", float((getattr(outcome, name) & ~train).sum()))
    tally.add("rollout/rounds", found.rounds)
    tally.add("rollout/groups", groups)
    for cause, (count, total) in batch.masked.items():
        tally.add(f"masked/{cause}", count, total)
    tally_parts(tally, batch)
    valid = ~np.isnan(batch.rewards)
    tally.add("reward", float(batch.rewards[valid].sum()), float(valid.sum()))
    tally.add("groups/zero_signal", float((train & ~has_signal(batch.rewards)).sum()), float(train.sum()))
    tally.add("advantage/abs", float(np.abs(batch.advantages[valid]).sum()), float(valid.sum()))
    tally.maximum("advantage/max", float(np.abs(batch.advantages).max()))


def tally_parts(tally: Tally, batch: Prepared) -> None:
    """Each reward's spread over everything generated; and of what trains, how much it is followed, and how rewards pull
    against each other. Over all ranks.
    """
    combined, trained = batch.combined, []
    share = shares(combined.contributions)
    for k, (name, part) in enumerate(batch.parts.items()):
        values = batch.values[:, :, k]
        found = values[~np.isnan(values)]
        if len(found):
            tally.add(f"reward/{name}/std", float(found.std()))
            tally.add(f"reward/{name}/min", float(found.min()))
            tally.add(f"reward/{name}/max", float(found.max()))
            scored = ~np.isnan(values).all(axis=1)
            tally.add(f"reward/{name}/zero_signal", float((~has_signal(values[scored])).mean()))
        if part.bound is not None and not np.isnan(combined.means[k]):
            tally.add(f"reward/{name}/above_bound", float(combined.means[k]) - part.bound)
        correlation = followed(combined.trained[:, :, k], combined.advantages)
        if not np.isnan(correlation):
            tally.add(f"reward/{name}/followed", correlation)
        if combined.weights[k] or part.role == "constraint":
            trained.append((k, name))
            tally.add(f"reward/{name}/share", float(share[k]))
            tally.add(f"reward/{name}/weight", float(combined.weights[k]))
    for (k, name), (other, other_name) in combinations(trained, 2):
        sign = float(combined.signs[k] * combined.signs[other])
        apart = conflict(combined.trained[:, :, k], combined.trained[:, :, other], sign)
        if not np.isnan(apart):
            tally.add(f"conflict/{name}-{other_name}", apart)


def tally_times(tally: Tally, found: Collected, *, started: float, updating: float, ended: float, ranks: Ranks) -> None:
    """Seconds of each stage, and completion tokens of all ranks per second."""
    tokens = found.rollout.tokens * ranks.size
    tally.add("time/rollout", found.rollout_seconds)
    tally.add("time/rollout/prefill", found.rollout.prefill_seconds)
    tally.add("time/rollout/decode", found.rollout.decode_seconds)
    tally.add("time/reward", found.reward_seconds)
    tally.add("time/prepare", updating - started - found.rollout_seconds - found.reward_seconds)
    tally.add("time/update", ended - updating)
    tally.add("speed/tokens_per_second", tokens, ended - started)
    tally.add("speed/rollout_tokens_per_second", tokens, found.rollout_seconds)


def tally_update(
    tally: Tally, policy: TokenLogprobs, batch: MicroBatch, objective: ObjectiveConfig, *, first: bool
) -> None:
    """What one micro-batch says of the update: entropy, ratio, clipping, and how far the policy has gone from where.

    `first`: the policy has not been updated since the rollout, so what is between it and the sampler is the engine's.
    """
    logprobs, tokens = policy.logprobs.detach(), len(policy.logprobs)
    if first:
        gap = (logprobs - batch.sampler_logprobs).abs()
        tally.add("sampler/kl", kl(batch.sampler_logprobs, logprobs, estimator="k3").sum(), tokens)
        tally.add("sampler/gap", gap.sum(), tokens)
        tally.maximum("sampler/gap_max", gap.max() if tokens else 0.0)
    log_ratio = log_ratios(logprobs, batch.base_logprobs, batch.lengths, level="token")
    ratio = torch.exp(log_ratio)
    tally.add("update/entropy", policy.entropy.detach().sum(), tokens)
    tally.add("update/kl_to_sampler", kl(batch.sampler_logprobs, logprobs, estimator="k3").sum(), tokens)
    tally.add("update/ratio", ratio.sum(), tokens)
    tally.add("update/ratio_squared", (ratio**2).sum(), tokens)
    tally.maximum("update/ratio_max", torch.exp(log_ratio.abs().max()) if tokens else 1.0)
    edges = held(objective, logprobs, batch)
    if edges is not None:
        tally.add("update/clipped_high", edges[0].sum(), tokens)
        tally.add("update/clipped_low", edges[1].sum(), tokens)
    if objective.off_policy_limit is not None:
        tally.add("masked/off_policy", off_policy(objective, logprobs, batch).sum(), tokens)
    if objective.kl.beta > 0:
        reference = logprobs if batch.reference_logprobs is None else batch.reference_logprobs
        tally.add("update/kl_to_reference", kl(logprobs, reference, estimator="k3").sum(), tokens)
