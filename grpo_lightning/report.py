"""What a run taught and how good a checkpoint is: tables, a picture, and files for other programs."""

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple
from pathlib import Path
from typing import cast

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import RunningStage, TrainerFn
from rich.console import Console
from rich.table import Table

from grpo_lightning.evaluation import GREEDY, SAMPLED, Answers, HeldOut, Measure
from grpo_lightning.interruption import interrupted
from grpo_lightning.measures import is_share, shown, title_of
from grpo_lightning.module import GRPOModule
from grpo_lightning.prompts import PromptDataModule
from grpo_lightning.tasks import Split
from grpo_lightning.types import Prompt

Measures = dict[str, Measure]
Sample = dict[str, object]

SHOWN_SAMPLES = 8
"""Held-out prompts whose answers before and after are kept."""


class BeforeAfter(Callback):
    """Evaluates on the test split before and after training, and shows the difference.

    Writes `summary.json`, `samples.json` and `curves.png` into the run's folder. With `control_prefix`, the untrained
    policy is also evaluated with that text forced on it: what it could do all along, so that nobody mistakes selecting
    for teaching.

    Args:
        control_prefix: Start of every completion of the control; null: no control.

    """

    def __init__(self, control_prefix: str | None = None) -> None:
        self.control_prefix = control_prefix
        self.started = 0.0
        self.measured: dict[str, Measures] = {}
        self.samples: dict[str, list[Sample]] = {}
        self.curves: dict[str, list[tuple[int, float]]] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.started = time.perf_counter()
        cast(PromptDataModule, trainer.datamodule).setup("test")  # type: ignore[attr-defined]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if "before" not in self.measured:
            self._measure("before", trainer, pl_module)
            if self.control_prefix is not None:
                self._measure("control", trainer, pl_module, prefix=self.control_prefix)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        self._note(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._note(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if interrupted(trainer):
            return  # whoever sent the signal is waiting
        self._measure("after", trainer, pl_module)
        if not trainer.is_global_zero:
            return
        folder = Path(trainer.default_root_dir)
        summary = {
            **{when: {name: found.value for name, found in each.items()} for when, each in self.measured.items()},
            "intervals": {
                when: {name: [found.low, found.high] for name, found in each.items()}
                for when, each in self.measured.items()
            },
            "seconds": round(time.perf_counter() - self.started, 1),
            "seed": cast(GRPOModule, pl_module).seed,
            "steps": trainer.global_step,
        }
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "summary.json", summary)
        write_json(folder / "samples.json", side_by_side(self.samples["before"], self.samples["after"]))
        draw_curves(self.curves, folder / "curves.png")

    def show(self, folder: Path) -> None:
        """Prints the table and where the rest is; the command line calls this when the progress bar is gone."""
        console = Console(markup=False)
        if "after" in self.measured:
            console.print(summary_table(self.measured))
            console.print(f"learning curves: {folder / 'curves.png'}", soft_wrap=True)
            console.print(f"numbers: {folder / 'summary.json'}", soft_wrap=True)

    def state_dict(self) -> dict[str, object]:
        """What was measured and drawn so far, in plain types, so that a resumed run reports the whole."""
        curves = {name: [list(point) for point in points] for name, points in self.curves.items()}
        measured = {
            when: {name: list(astuple(found)) for name, found in each.items()} for when, each in self.measured.items()
        }
        return {"measured": measured, "samples": self.samples, "curves": curves}

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        measured = cast(dict[str, dict[str, list[float]]], state_dict["measured"])
        self.measured = {
            when: {name: Measure(value=value, low=low, high=high) for name, (value, low, high) in each.items()}
            for when, each in measured.items()
        }
        self.samples = cast(dict[str, list[Sample]], state_dict["samples"])
        curves = cast(dict[str, list[list[float]]], state_dict["curves"])
        self.curves = {name: [(int(x), y) for x, y in points] for name, points in curves.items()}

    def _measure(self, when: str, trainer: Trainer, pl_module: LightningModule, prefix: str = "") -> None:
        module, data = cast(GRPOModule, pl_module), cast(PromptDataModule, trainer.datamodule)  # type: ignore[attr-defined]
        self.measured[when], self.samples[when] = {}, []
        with trainer.strategy.precision_plugin.forward_context():  # as in a test step
            for name, batches in data.held_out("test").items():
                held_out = HeldOut()
                for prompts in batches:
                    answers = module.evaluate_on(held_out, prompts, name, prefix)
                    self.samples[when] += samples_of(prompts, answers)[: SHOWN_SAMPLES - len(self.samples[when])]
                means = module.means(held_out.read(module.ranks))
                self.measured[when] |= {"/".join(filter(None, (name, each))): found for each, found in means.items()}
        module.close_votes()

    def _note(self, trainer: Trainer) -> None:
        for name in ("reward", "accuracy", "val/accuracy", "val/accuracy_sampled", "completion/tokens"):
            points, value = self.curves.setdefault(name, []), trainer.callback_metrics.get(name)
            fresh = not name.startswith("val/") or trainer.state.stage == RunningStage.VALIDATING
            if value is not None and fresh and (not points or points[-1][0] < trainer.global_step):
                points.append((trainer.global_step, float(value)))


class Scoreboard(Callback):
    """After `test` and `validate`: prints what was measured, and writes it into the run's folder `evaluation`.

    The file, `test-step40.json`, also holds what each prompt measured, so that `scripts/compare.py` can compare two.
    """

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write("test", trainer, cast(GRPOModule, pl_module))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._write("validate", trainer, cast(GRPOModule, pl_module))

    def _write(self, stage: str, trainer: Trainer, module: GRPOModule) -> None:
        if not trainer.is_global_zero:
            return
        own: Split = "test" if stage == "test" else "validation"
        held_out = {name or own: batches for name, batches in module.data.held_out(own).items()}
        judges = {
            name or own: module.evaluation_of(name).accuracy_name(module.scorer.names) for name in module.measured
        }
        found = {name or own: (measured, module.means(measured)) for name, measured in module.measured.items()}
        sets = {
            name: {
                "accuracy": judges[name],
                "digest": digest(held_out[name].prompts),
                "prompts": len(measured.uids),
                "metrics": {each: asdict(mean) for each, mean in means.items()},
                "uids": measured.uids.tolist(),
                "values": {each: without_nan(column) for each, column in measured.values.items()},
            }
            for name, (measured, means) in found.items()
        }
        step, config = module.step_of_weights, module.evaluation
        content = {
            "step": step,
            "seed": module.seed,
            "evaluation": asdict(config),
            "sampling": asdict(config.sampled(module.sampling)),
            "sets": sets,
        }
        path = Path(trainer.default_root_dir) / "evaluation" / f"{stage}-step{step}.json"
        write_json(path, content)
        console = Console(markup=False)
        for name, (measured, means) in found.items():
            title = f"{name}: {len(measured.uids)} prompts, after {step} steps"
            console.print(measures_table(title, means, config.confidence))
        console.print(f"numbers: {path}", soft_wrap=True)


def digest(prompts: Sequence[Prompt]) -> str:
    """The same for the same questions under the same numbers."""
    text = json.dumps([(prompt.uid, prompt.text, prompt.answer) for prompt in prompts])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def samples_of(prompts: Sequence[Prompt], answers: Mapping[str, Answers]) -> list[Sample]:
    """Each prompt with its greedy answer, or the first sampled one, and its rewards."""
    given = answers.get(GREEDY) or answers[SAMPLED]
    return [
        {
            "uid": prompt.uid,
            "prompt": prompt.text,
            "answer": prompt.answer,
            "text": group.completions[0].text,
            "rewards": dict(zip(given.scores.names, without_nan(rewards[0]), strict=True)),
        }
        for prompt, group, rewards in zip(prompts, given.groups, given.scores.rewards, strict=True)
    ]


def side_by_side(before: Sequence[Sample], after: Sequence[Sample]) -> list[Sample]:
    """The answers to each prompt, before and after; where ranks are not those of before, to those that this one has."""
    first = {each["uid"]: each for each in before}
    pairs = [(first[each["uid"]], each) for each in after if each["uid"] in first]
    return [
        {
            "prompt": one["prompt"],
            "answer": one["answer"],
            "before": {key: one[key] for key in ("text", "rewards")},
            "after": {key: other[key] for key in ("text", "rewards")},
        }
        for one, other in pairs
    ]


def write_json(path: Path, content: object) -> None:
    """Readable, and whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, path)


def without_nan(values: np.ndarray) -> list[float | None]:
    """As JSON can say it."""
    return [None if np.isnan(value) else float(value) for value in values]


def measures_table(title: str, means: Measures, confidence: float) -> Table:
    """One row per measure, with the bounds of its interval."""
    table = Table(title=title)
    for column in ("", "mean", f"{100 * confidence:g}% interval"):
        table.add_column(column, justify="right" if column else "left")
    for name, found in means.items():
        share = is_share(name, [found.low, found.value, found.high])
        low, value, high = (shown(each, share) for each in (found.low, found.value, found.high))
        table.add_row(title_of(name), value, f"{low} – {high}")
    return table


def summary_table(measured: Mapping[str, Measures]) -> Table:
    """One row per measure, one column per time of measuring."""
    columns = [name for name in ("before", "after", "control") if name in measured]
    table = Table(title="On held-out problems that no training saw", caption="mean over problems, with its interval")
    table.add_column("")
    for column in columns:
        table.add_column("untrained, forced" if column == "control" else column, justify="right")
    for name in measured["after"]:
        found = [measured[column].get(name) for column in columns]
        share = is_share(name, [value for each in found if each for value in astuple(each)])
        table.add_row(title_of(name), *("" if each is None else with_bounds(each, share) for each in found))
    return table


def with_bounds(found: Measure, share: bool) -> str:
    """68.8% [63–74], 27.5 [26.2–28.9]."""
    low, high = (f"{100 * each:.0f}" if share else f"{each:.1f}" for each in (found.low, found.high))
    return f"{shown(found.value, share)} [{low}–{high}]"


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
