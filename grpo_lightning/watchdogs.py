"""Watches a run for symptoms and for rewards out of balance, and warns, once per episode; changes nothing.

A warning stands in the log, as text in TensorBoard, and as a line of `watchdog.jsonl` in the run's folder.
"""

import json
import logging
import math
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from grpo_lightning.module import GRPOModule
from grpo_lightning.symptoms import (
    BadNumbers,
    Drift,
    EntropyCollapse,
    History,
    LengthExplosion,
    NoSignal,
    RewardHacking,
    Row,
    Symptom,
    ThroughputDrop,
)
from grpo_lightning.tensorboard import writers

log = logging.getLogger(__name__)

FILE = "watchdog.jsonl"

HELD_OUT = ("val/accuracy_sampled", "val/accuracy")
"""Held-out accuracy; the first that there is, because sampled answers jump less."""


class Watchdogs(Callback):
    """Warns of what goes wrong in a run, once per episode: in the log, in TensorBoard's TEXT tab, in `watchdog.jsonl`.

    Args:
        entropy: Certain without being right; null turns it off, as with all of them.
        length: Longer without being better, or cut off.
        hacking: Rewarded without being right.
        signal: Nothing to learn from.
        numbers: Not finite.
        throughput: Slower.
        drift: Away from what sampled.
        calm: Rollouts without what was seen, after which it is another episode.

    """

    def __init__(
        self,
        entropy: EntropyCollapse | None = EntropyCollapse(),
        length: LengthExplosion | None = LengthExplosion(),
        hacking: RewardHacking | None = RewardHacking(),
        signal: NoSignal | None = NoSignal(),
        numbers: BadNumbers | None = BadNumbers(),
        throughput: ThroughputDrop | None = ThroughputDrop(),
        drift: Drift | None = Drift(),
        calm: int = 10,
    ) -> None:
        if calm < 1:
            raise ValueError(f"watchdogs.calm: {calm} is refused; it must be at least 1")
        every: dict[str, Symptom | None] = {
            "entropy collapse": entropy,
            "length explosion": length,
            "reward hacking": hacking,
            "no signal": signal,
            "bad numbers": numbers,
            "throughput drop": throughput,
            "drift": drift,
        }
        self.symptoms = {name: symptom for name, symptom in every.items() if symptom is not None}
        self.calm = calm
        self.history = History()
        self.quiet: dict[str, int] = {}
        """Of those that have spoken: rollouts since they last saw it."""

    def noticed(self, row: Row) -> dict[str, str]:
        """Takes one more rollout into account; what is to be said of it, and by whom."""
        self.history.add(row)
        said = {}
        for name, symptom in self.symptoms.items():
            text = symptom.sees(self.history)
            if text is not None:
                if name not in self.quiet:
                    said[name] = text
                self.quiet[name] = 0
            elif name in self.quiet:
                self.quiet[name] += 1
                if self.quiet[name] >= self.calm:
                    del self.quiet[name]
        return said

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        forget_later(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        module = cast(GRPOModule, pl_module)
        aged = ("sampler/kl",) if module.update.async_steps else ()  # says nothing of the engine: it holds an update
        row = {name: value for name, value in module.metrics.items() if name not in aged}
        for name, text in self.noticed(row).items():
            warn(trainer, name, text)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        found = [float(trainer.callback_metrics[name]) for name in HELD_OUT if name in trainer.callback_metrics]
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking and found:
            self.history.validated(trainer.global_step, found[0])

    def state_dict(self) -> dict[str, Any]:
        """In plain types, so that a run that goes on warns of what one without an end would."""
        past = {each.name: getattr(self.history, each.name) for each in fields(History)}
        return {"history": past | {"held_out": list(map(list, self.history.held_out))}, "quiet": self.quiet}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        past = state_dict["history"]
        self.history = History(**(past | {"held_out": [tuple(each) for each in past["held_out"]]}))
        self.quiet = dict(state_dict["quiet"])


def warn(trainer: Trainer, who: str, text: str) -> None:
    """Says it, on the first rank. `who` is the name of what was noticed."""
    if not trainer.is_global_zero:
        return
    step = trainer.global_step
    log.warning("step %d: %s: %s", step, who, text)
    for writer in writers(trainer):
        writer.add_text("watchdog", f"**{who}**: {text}", step)
    path = Path(trainer.default_root_dir) / FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "watchdog": who, "text": text}, ensure_ascii=False) + "\n")
    except OSError as error:
        log.warning("step %d: not in %s (%s)", step, path, error)


def forget_later(trainer: Trainer) -> None:
    """Drops what was written after the step at hand, by a run that goes on from an earlier checkpoint."""
    path = Path(trainer.default_root_dir) / FILE
    if trainer.is_global_zero and path.is_file():
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
            kept = [f"{line}\n" for line in lines if _step_of(line) <= trainer.global_step]
            path.write_text("".join(kept), encoding="utf-8")
        except OSError as error:
            log.warning("%s still holds what an earlier session has said (%s)", path, error)


def _step_of(line: str) -> float:
    """The step of a warning; infinite for what is none, such as half a line of a run that was killed."""
    try:
        return int(json.loads(line)["step"])
    except (KeyError, TypeError, ValueError):
        return math.inf
