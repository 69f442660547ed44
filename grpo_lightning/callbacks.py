"""What watches a run: sample completions, pages of metrics, rewards out of balance, exports, predictions on disk."""

import json
from collections import deque
from collections.abc import Mapping
from itertools import permutations
from pathlib import Path
from typing import cast

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_warn

from grpo_lightning.combine import Combined, Way
from grpo_lightning.exporting import write_policy
from grpo_lightning.generation import Rollout
from grpo_lightning.module import GRPOModule
from grpo_lightning.parts import Part
from grpo_lightning.preparation import Prepared
from grpo_lightning.sharding import full_state
from grpo_lightning.types import Scores
from grpo_lightning.ways import followed


class SampleLog(Callback):
    """Writes one group of completions to TensorBoard as text: each reward, the advantage and the stop reason.

    Args:
        every_n_rollouts: How often.
        completions: How many of the group.

    """

    def __init__(self, every_n_rollouts: int = 10, completions: int = 4) -> None:
        if every_n_rollouts < 1:
            raise ValueError(f"SampleLog.every_n_rollouts: {every_n_rollouts} is refused; it must be at least 1")
        self.every_n_rollouts, self.completions = every_n_rollouts, completions

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        module = cast(GRPOModule, pl_module)
        if trainer.is_global_zero and module.last is not None and module.iteration % self.every_n_rollouts == 0:
            for logger in trainer.loggers:
                if isinstance(logger, TensorBoardLogger):
                    text = group_as_markdown(module.last, self.completions)
                    logger.experiment.add_text("samples", text, trainer.global_step)


def group_as_markdown(trained: Prepared, completions: int) -> str:
    """The first prompt's group as a Markdown table."""
    group, names = trained.rollout.groups[0], trained.scores.names
    lines = [
        f"**{_cell(group.prompt.text)}** (answer {_cell(str(group.prompt.answer))})",
        "",
        "| completion | " + " | ".join(names) + " | advantage | stop |",
        "|---" * (len(names) + 3) + "|",
    ]
    for j, completion in enumerate(group.completions[:completions]):
        rewards = " | ".join(f"{value:g}" for value in trained.scores.rewards[0, j])
        advantage = trained.advantages[0, j]
        lines.append(f"| `{_cell(completion.text)}` | {rewards} | {advantage:+.2f} | {completion.stop_reason} |")
    return "\n".join(lines)


class ExportPolicy(Callback):
    """Writes the trained policy as a Hugging Face folder when training ends.

    Args:
        folder: Where; null: `policy` in the run's folder.

    """

    def __init__(self, folder: str | None = None) -> None:
        self.folder = folder

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        module = cast(GRPOModule, pl_module)
        state = full_state(module.model)  # on every rank: shares are gathered
        if trainer.is_global_zero:
            run = Path(trainer.default_root_dir)
            folder = Path(self.folder or run / "policy")
            write_policy(
                folder, module.policy_config, module.model, state, module.vocabulary, seed=module.seed, run=run
            )


class CloseScorer(Callback):
    """Ends the reward workers when an exception ends the run; otherwise the module's teardown does."""

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        cast(GRPOModule, pl_module).scorer.close()


class WritePredictions(Callback):
    """`predict` writes each completion with its scores as a line of `predictions.jsonl` in the run's folder."""

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: tuple[Rollout, Scores],
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        rollout, scores = outputs
        path = (
            Path(trainer.default_root_dir) / f"predictions{'' if trainer.is_global_zero else trainer.global_rank}.jsonl"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w" if batch_idx == 0 else "a", encoding="utf-8") as file:
            for group, rewards in zip(rollout.groups, scores.rewards, strict=True):
                for completion, row in zip(group.completions, rewards, strict=True):
                    line = {
                        "prompt": group.prompt.text,
                        "completion": completion.text,
                        "answer": group.prompt.answer,
                        "stop_reason": completion.stop_reason,
                        "rewards": {
                            name: None if np.isnan(value) else float(value)
                            for name, value in zip(scores.names, row, strict=True)
                        },
                    }
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")


PAGES = {
    "rewards": {
        "mean": r"^reward/[^/]+$",
        "what is followed: correlation with the advantage": r"^reward/[^/]+/followed$",
        "share of the advantage": r"^reward/[^/]+/share$",
        "weight, or multiplier of a constraint": r"^reward/[^/]+/weight$",
        "mean above its bound": r"^reward/[^/]+/above_bound$",
        "conflict: share of completions that two rewards pull apart": r"^conflict/",
        "groups without signal": r"^reward/[^/]+/zero_signal$",
        "spread": r"^reward/[^/]+/std$",
        "smallest and largest": r"^reward/[^/]+/(min|max)$",
        "share of completions that it applies to": r"^reward/[^/]+/applies$",
    },
}
"""Pages of TensorBoard's CUSTOM SCALARS tab: title of a chart -> the metrics in it."""


class Pages(Callback):
    """Puts related metrics on one page of TensorBoard's CUSTOM SCALARS tab."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            layout = {
                page: {title: ["Multiline", [tag]] for title, tag in charts.items()} for page, charts in PAGES.items()
            }
            for logger in trainer.loggers:
                if isinstance(logger, TensorBoardLogger):
                    logger.experiment.add_custom_scalars(layout)


NORMALISED = ("mo_grpo", "gdpo", "gd2po", "lexicographic")
"""Ways that keep to the weights already."""

LARGER, CLEARLY = 1.5, 0.1
"""From this ratio on a weight is larger than another; by this much a correlation is."""


class WatchBalance(Callback):
    """Warns, once for each pair, when training follows an objective of small weight more than one of large weight.

    What is followed is the mean correlation of reward and advantage over the last `window` rollouts in which both vary,
    counted negative where it runs against the weight. Constraints pull by multipliers, tiers come one after the other,
    and `tchebycheff` follows what falls shortest: none of these is out of balance.
    """

    def __init__(self, window: int = 20) -> None:
        if window < 1:
            raise ValueError(f"WatchBalance.window: {window} is refused; it must be at least 1")
        self.window = window
        self.seen: dict[str, deque[float]] = {}
        self.warned: set[tuple[str, str]] = set()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        module = cast(GRPOModule, pl_module)
        assert module.last is not None
        for line in self.noticed(module.recipe.combine.way, module.last.parts, module.last.combined):
            rank_zero_warn(line)

    def noticed(self, way: Way, parts: Mapping[str, Part], combined: Combined) -> list[str]:
        """Takes one more rollout into account; what is to be said of it."""
        if way == "tchebycheff":
            return []
        weights: dict[str, float] = {}
        for k, (name, part) in enumerate(parts.items()):
            if part.trains:
                weights[name] = abs(float(combined.weights[k]))
                value = followed(combined.trained[:, :, k], combined.advantages) * float(combined.signs[k])
                if not np.isnan(value):
                    self.seen.setdefault(name, deque(maxlen=self.window)).append(value)
        means = {name: float(np.mean(seen)) for name, seen in self.seen.items() if len(seen) == self.window}
        lines = []
        for large, small in permutations(means, 2):
            outweighs = 0 < LARGER * weights[small] < weights[large] and parts[large].tier == parts[small].tier
            if outweighs and means[small] > means[large] + CLEARLY and (large, small) not in self.warned:
                self.warned.add((large, small))
                kept = "a gate or other weights help"
                ways = "combine.way: mo_grpo or gdpo, a gate, or tiers keep to the weights"
                advice = kept if way in NORMALISED else ways
                lines.append(
                    f"rewards: training follows {small!r} (weight {weights[small]:g}, correlation {means[small]:.2f}) "
                    f"more than {large!r} (weight {weights[large]:g}, {means[large]:.2f}); {advice}"
                )
        return lines


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("`", "'").replace("\n", "⏎").replace("<", "&lt;")
