"""Before and after: what a run taught, as a table, a picture and `summary.json`."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import RunningStage
from rich.console import Console
from rich.table import Table

from grpo_lightning.interruption import interrupted
from grpo_lightning.metrics import Tally
from grpo_lightning.module import GRPOModule
from grpo_lightning.prompts import PromptDataModule

Measures = dict[str, float]


class BeforeAfter(Callback):
    """Evaluates on the test split before and after training, and shows the difference.

    Writes `summary.json` and `curves.png` into the run's folder. With `control_prefix`, the untrained policy is also
    evaluated with that text forced on it: what it could do all along, so that nobody mistakes selecting for teaching.

    Args:
        control_prefix: Start of every completion of the control; null: no control.

    """

    def __init__(self, control_prefix: str | None = None) -> None:
        self.control_prefix = control_prefix
        self.started = 0.0
        self.measured: dict[str, Measures] = {}
        self.curves: dict[str, list[tuple[int, float]]] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.started = time.perf_counter()
        cast(PromptDataModule, trainer.datamodule).setup("test")  # type: ignore[attr-defined]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if "before" not in self.measured:
            self.measured["before"] = self._measure(trainer, pl_module)
            if self.control_prefix is not None:
                self.measured["control"] = self._measure(trainer, pl_module, prefix=self.control_prefix)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        self._note(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._note(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if interrupted(trainer):
            return  # whoever sent the signal is waiting
        self.measured["after"] = self._measure(trainer, pl_module)
        if not trainer.is_global_zero:
            return
        folder = Path(trainer.default_root_dir)
        summary = {
            **self.measured,
            "seconds": round(time.perf_counter() - self.started, 1),
            "seed": cast(GRPOModule, pl_module).seed,
            "steps": trainer.global_step,
        }
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        draw_curves(self.curves, folder / "curves.png")

    def show(self, folder: Path) -> None:
        """Prints the table and where the rest is; the command line calls this when the progress bar is gone."""
        console = Console()
        if "after" in self.measured:
            console.print(summary_table(self.measured))
            console.print(f"learning curves: {folder / 'curves.png'}", soft_wrap=True)
            console.print(f"numbers: {folder / 'summary.json'}", soft_wrap=True)

    def state_dict(self) -> dict[str, object]:
        """What was measured and drawn so far, in plain types, so that a resumed run reports the whole."""
        curves = {name: [list(point) for point in points] for name, points in self.curves.items()}
        return {"measured": self.measured, "curves": curves}

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        self.measured = cast(dict[str, Measures], state_dict["measured"])
        curves = cast(dict[str, list[list[float]]], state_dict["curves"])
        self.curves = {name: [(int(x), y) for x, y in points] for name, points in curves.items()}

    def _measure(self, trainer: Trainer, pl_module: LightningModule, prefix: str = "") -> Measures:
        module, data = cast(GRPOModule, pl_module), cast(PromptDataModule, trainer.datamodule)  # type: ignore[attr-defined]
        tally = Tally()
        with trainer.strategy.precision_plugin.forward_context():  # as in a test step
            for prompts in data.test_dataloader():
                module.evaluate_on(tally, prompts, prefix=prefix)
        return tally.read(module.ranks)

    def _note(self, trainer: Trainer) -> None:
        for name in ("reward", "accuracy", "val/accuracy", "val/accuracy_sampled", "completion/tokens"):
            points, value = self.curves.setdefault(name, []), trainer.callback_metrics.get(name)
            fresh = not name.startswith("val/") or trainer.state.stage == RunningStage.VALIDATING
            if value is not None and fresh and (not points or points[-1][0] < trainer.global_step):
                points.append((trainer.global_step, float(value)))


def summary_table(measured: Mapping[str, Measures]) -> Table:
    """One row per measure, one column per time of measuring."""
    columns = [name for name in ("before", "after", "control") if name in measured]
    table = Table(title="On held-out problems that no training saw")
    table.add_column("")
    for column in columns:
        table.add_column("untrained, forced" if column == "control" else column, justify="right")
    for name in measured["after"]:
        values = [measured[column].get(name, float("nan")) for column in columns]
        share = name.startswith("accuracy") or (name.startswith("reward/") and all(abs(v) <= 1 for v in values))
        table.add_row(name.replace("_", " "), *(f"{value:.1%}" if share else f"{value:.1f}" for value in values))
    return table


def draw_curves(curves: Mapping[str, list[tuple[int, float]]], path: Path) -> None:
    """Two panels: rewards and accuracies over optimizer steps, and the length of completions."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    from matplotlib import pyplot  # slow to load, and needed once, at the end

    figure, (upper, lower) = pyplot.subplots(2, 1, sharex=True, figsize=(7, 6), height_ratios=(2, 1))
    for name, points in curves.items():
        axis = lower if name == "completion/tokens" else upper
        axis.plot(*zip(*points, strict=True), label=name, marker="o" if name.startswith("val/") else None)
    upper.set_ylabel("share, mean reward")
    lower.set_ylabel("tokens")
    lower.set_xlabel("optimizer step")
    for axis in (upper, lower):
        axis.legend()
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
