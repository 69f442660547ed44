"""What a run leaves behind besides its metrics: sample completions, the exported policy, predictions on disk."""

import json
from pathlib import Path
from typing import cast

import numpy as np
from jaxtyping import Float
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from grpo_lightning.exporting import write_policy
from grpo_lightning.generation import Rollout
from grpo_lightning.module import GRPOModule
from grpo_lightning.preparation import Prepared
from grpo_lightning.sharding import full_state
from grpo_lightning.types import Scores


class SampleLog(Callback):
    """Writes groups of completions to TensorBoard as text: each reward, the advantage and the stop reason.

    Shown are the group whose rewards are furthest apart, the one with the lowest and the one with the highest mean; of
    each the completions with the highest and the lowest advantages.

    Args:
        every_n_rollouts: How often.
        completions: How many of a group.
        groups: How many of these three.
        characters: Of a prompt or a completion; of a longer one the middle is left out.

    """

    def __init__(
        self, every_n_rollouts: int = 10, completions: int = 4, groups: int = 3, characters: int = 2000
    ) -> None:
        for name, value in (("every_n_rollouts", every_n_rollouts), ("completions", completions), ("groups", groups)):
            if value < 1:
                raise ValueError(f"SampleLog.{name}: {value} is refused; it must be at least 1")
        if characters < SHORTEST:
            raise ValueError(f"SampleLog.characters: {characters} is refused; it must be at least {SHORTEST}")
        self.every_n_rollouts, self.completions = every_n_rollouts, completions
        self.groups, self.characters = groups, characters

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        module = cast(GRPOModule, pl_module)
        if trainer.is_global_zero and module.last is not None and module.iteration % self.every_n_rollouts == 0:
            text = self.text(module.last)
            for logger in trainer.loggers:
                if isinstance(logger, TensorBoardLogger):
                    logger.experiment.add_text("samples", text, trainer.global_step)

    def text(self, trained: Prepared) -> str:
        """As Markdown."""
        tables = [
            f"### {title}\n\n{group_as_markdown(trained, number, self.completions, self.characters)}"
            for title, number in telling_groups(trained.rewards)[: self.groups]
        ]
        return "\n\n".join(tables)


SHORTEST = 40
"""Characters of a text that is cut: enough for its beginning and its end."""


def telling_groups(rewards: Float[np.ndarray, "P G"]) -> list[tuple[str, int]]:
    """Up to three different groups, each with what it shows; where none has rewards that train, the first one."""
    known = np.flatnonzero(~np.isnan(rewards).all(axis=1))
    if not len(known):
        return [("A group, none of which trains", 0)]
    of_known = rewards[known]
    means = np.nanmean(of_known, axis=1)
    spread = np.nanmax(of_known, axis=1) - np.nanmin(of_known, axis=1)
    wanted = {
        "Rewards furthest apart": int(known[spread.argmax()]),
        "Lowest rewards": int(known[means.argmin()]),
        "Highest rewards": int(known[means.argmax()]),
    }
    found: dict[int, str] = {}
    for title, number in wanted.items():
        found.setdefault(number, title)
    return [(title, number) for number, title in found.items()]


def group_as_markdown(trained: Prepared, number: int, completions: int, characters: int) -> str:
    """One prompt's group as a table, by falling advantage; of a large one the top and the bottom."""
    group, names = trained.rollout.groups[number], trained.scores.names
    order = np.argsort(-trained.advantages[number], kind="stable").tolist()
    bottom = completions // 2
    if len(order) > completions:
        order = order[: completions - bottom] + order[len(order) - bottom :]
    lines = [
        f"**{_cell(_cut(group.prompt.text, characters)).replace('<', '&lt;')}**",
        "",
        f"answer: `{_cell(str(group.prompt.answer))}`",
        "",
        "| completion | tokens | " + " | ".join(names) + " | advantage | stop |",
        "|---" * (len(names) + 4) + "|",
    ]
    for j in order:
        completion = group.completions[j]
        rewards = " | ".join("–" if np.isnan(value) else f"{value:g}" for value in trained.scores.rewards[number, j])
        lines.append(
            f"| `{_cell(_cut(completion.text, characters)) or ' '}` | {len(completion.token_ids)} | {rewards} "
            f"| {trained.advantages[number, j]:+.2f} | {completion.stop_reason} |"
        )
    return "\n".join(lines)


def _cut(text: str, characters: int) -> str:
    if len(text) <= characters:
        return text
    half = characters // 2
    return f"{text[:half]} … {text[-half:]}"


def _cell(text: str) -> str:
    """Within one cell of a table, and within backticks, where nothing else has a meaning."""
    return text.replace("|", "¦").replace("`", "'").replace("\n", "⏎")


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
