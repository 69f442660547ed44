"""Checkpoints between rollouts.

A training step makes several optimizer steps, and only between training steps is there no rollout to lose: resuming
from there needs no more than weights, optimizer, schedule and the loop's counters. Every checkpoint is of such an
instant, a boundary, also one that is written later: the counters, the place in the data and the log are kept as they
stood at it. Resuming does again what came after it, so also the step's row in the log and a validation that was due.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loops.progress import _ProcessedTracker
from lightning.pytorch.plugins.io import AsyncCheckpointIO, TorchCheckpointIO
from lightning.pytorch.trainer.states import TrainerFn
from torch.distributed.checkpoint.api import CheckpointException

from grpo_lightning import saving
from grpo_lightning.interruption import interrupted
from grpo_lightning.module import GRPOModule
from grpo_lightning.resuming import Sizes, cut_log, event_files, log_sizes, loggers_in
from grpo_lightning.saving import LAST, SaveError
from grpo_lightning.waiting import BOARD, waiting

FINISHED = "finished.json"
"""Beside the checkpoints: the step and the epochs with which the run came to its end, summary and all."""

HELD_OUT = "val/"
"""Start of the names of metrics that a validation makes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """What a checkpoint holds besides weights, optimizer and callbacks, as it stood when a training step had ended."""

    step: int
    loops: dict[str, Any]
    data: dict[str, Any]
    """The data module's state, by its name in a checkpoint."""
    sizes: Sizes
    """Of the log, without this step's row."""
    row: dict[str, float]
    """This step's row of the log, empty if it was not due."""
    validate: bool
    """Whether a validation is due before the next step."""


class PlainFile(TorchCheckpointIO):
    """Writes where it is told, and nowhere else: Lightning's own writes into memory, then into /tmp, then there."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: object = None) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with Path(path).open("wb") as file:
            torch.save(checkpoint, file)


class BoundaryCheckpoint(ModelCheckpoint):
    """`ModelCheckpoint` that knows that one training step makes several optimizer steps.

    Saves after the rollout in which the optimizer steps cross a multiple of `every_n_train_steps`, after the rollout at
    which the run ends or is asked to stop, before one that failed, and every `train_time_interval`. Lightning's own,
    with manual optimisation, misses most of the first and all of the others. With a `monitor` of validation it saves
    before each validation, and keeps that if it is one of the `save_top_k` best. `last.ckpt` is always there, and
    `previous.ckpt` the one before it.
    """

    _crossed = 0
    _boundary: Boundary | None = None
    _written: tuple[int, Path] | None = None
    _files: Mapping[str, Path] = {}
    _resumed = False
    _max_steps: int | None = None
    _fit_started = False
    _warned = False

    @property
    def state_key(self) -> str:
        return "BoundaryCheckpoint"  # also when its settings have changed

    @property
    def folder(self) -> Path:
        """Where the checkpoints are."""
        return Path(str(self.dirpath))

    # ------------------------------------------------------------------------------------------------------- resuming

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if stage != "fit":
            return
        io = trainer.strategy.checkpoint_io
        if isinstance(io, AsyncCheckpointIO):
            raise ValueError("trainer.plugins: AsyncCheckpointIO is refused; a checkpoint with a name must be whole")
        if type(io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = PlainFile()
        if trainer.is_global_zero:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                saving.clear_aside(self.folder)
                (self.folder / saving.ASIDE).mkdir()
                saving.clear_aside(self.folder)
            except OSError as error:
                raise ValueError(f"checkpoint.dirpath: {self.folder} cannot be written to ({error})") from error
            self._files = event_files(trainer, present=False)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """The instant that the checkpoint is of; at the end of a run that was not finished, a way to finish it."""
        if trainer.state.fn != TrainerFn.FITTING or "boundary" not in checkpoint:
            return
        self._boundary = Boundary(**(checkpoint["boundary"] | {"loops": checkpoint["loops"]}))
        self._last_global_step_saved = self._boundary.step
        self._resumed = trainer.ckpt_path is not None and Path(trainer.ckpt_path).absolute().parent == self.folder
        if self._resumed:
            self._last_checkpoint_saved = str(trainer.ckpt_path)
            self._written = (self._boundary.step, Path(self._last_checkpoint_saved).absolute())
        if trainer.max_steps != -1 and self._boundary.step >= trainer.max_steps:
            self._max_steps = trainer.max_steps
            self._open_end(trainer)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._fit_started = True
        self._open_end(trainer)

    def _open_end(self, trainer: Trainer) -> None:
        """Lets Lightning, which goes nowhere from max_steps, start, validate and end; once plans have been made by it.

        Some strategies load the checkpoint before the hook of the start, some after it.
        """
        if self._max_steps is not None and self._fit_started:
            trainer.fit_loop.epoch_loop.max_steps = -1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        if self._max_steps is not None:
            trainer.fit_loop.epoch_loop.max_steps, self._max_steps = self._max_steps, None
        self._crossed = self._multiple(trainer)
        if self._boundary is None:
            return
        if self._resumed and trainer.is_global_zero:
            cut_log(self._files, self._boundary.sizes)
            if self._boundary.row:
                for logger in loggers_in(trainer):
                    logger.log_metrics(self._boundary.row, self._boundary.step)
                    logger.save()
        if self._boundary.validate:
            validate(trainer)

    # -------------------------------------------------------------------------------------------------- when to save

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        """Mends a count: resumed from the last batch of an epoch, Lightning does not count the next epoch as started.

        A later checkpoint would keep the error, and resuming from that one at an epoch's end would train an epoch more.
        And a row of the log is the step's own: Lightning repeats what only earlier steps of the epoch have said.
        """
        if trainer._results is not None:
            trainer._results.reset()
        known = trainer._logger_connector._callback_metrics
        for name in [name for name in known if not name.startswith(HELD_OUT)]:
            del known[name]
        progress = trainer.fit_loop.epoch_progress
        for counts in cast(tuple[_ProcessedTracker, ...], (progress.total, progress.current)):
            if counts.ready == counts.processed:
                counts.ready += 1
                counts.started += 1

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        self._boundary = boundary_of(trainer)
        crossed = self._multiple(trainer)
        due = crossed > self._crossed or trainer.should_stop or _ends_with_this_batch(trainer)
        self._crossed = crossed
        if self._train_time_interval is not None:
            elapsed = time.monotonic() - (self._last_time_checked or 0.0)
            late = trainer.strategy.broadcast(elapsed >= self._train_time_interval.total_seconds())
            due = due or late
        due = due or (self._held_out and self._boundary.validate)
        if due and not self._should_skip_saving_checkpoint(trainer):
            self.save(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The checkpoint from before this validation is one of the best, or not."""
        if not self._held_out:
            super().on_validation_end(trainer, pl_module)
        elif trainer.state.fn == TrainerFn.FITTING and self._boundary is not None:
            metrics = self._monitor_candidates(trainer)
            if self.monitor not in metrics:
                raise ValueError(self._unknown(metrics))
            self._save_topk_checkpoint(trainer, metrics)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Saves what was trained so far, unless a rollout was in the middle of its steps; in validation, too."""
        between = self._boundary is not None and self._boundary.step == trainer.global_step
        skip = self._should_skip_saving_checkpoint(trainer) or isinstance(exception, SaveError)
        if trainer.world_size == 1 and between and not skip:
            self.save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        rollouts = cast(_ProcessedTracker, trainer.fit_loop.epoch_loop.batch_progress.total).processed
        epochs = int(rollouts // trainer.num_training_batches)  # Lightning also counts one that max_steps has cut short
        done = _at_end(trainer, trainer.global_step, epochs) and not interrupted(trainer)
        if trainer.is_global_zero and done and self._boundary is not None:
            found = {"step": trainer.global_step, "epochs": epochs}
            (self.folder / FINISHED).write_text(json.dumps(found) + "\n", encoding="utf-8")

    # --------------------------------------------------------------------------------------------------- how to save

    def save(self, trainer: Trainer) -> None:
        """Saves now, as the best if it is, and as last."""
        self._last_time_checked = time.monotonic()
        metrics = self._monitor_candidates(trainer)
        if self.monitor is None or (self.monitor in metrics and not self._held_out):
            self._save_topk_checkpoint(trainer, metrics)
        elif not self._held_out and not self._warned:
            logging.getLogger(__name__).warning("%s", self._unknown(metrics))
            self._warned = True
        self._save_last_checkpoint(trainer, metrics)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Puts the boundary's state in place of the present one, which may have begun another rollout."""
        boundary = self._boundary
        if boundary is not None and boundary.step == trainer.global_step:
            checkpoint["loops"] = boundary.loops
            checkpoint["boundary"] = asdict(replace(boundary, loops={}))
            checkpoint |= boundary.data

    def state_dict(self) -> dict[str, Any]:
        """Lightning's, with names in place of paths: the folder may be copied elsewhere."""
        state = super().state_dict() | {"dirpath": ""}
        for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
            state[key] = Path(state[key]).name
        state["best_k_models"] = {Path(path).name: score for path, score in self.best_k_models.items()}
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        state = state_dict | {"dirpath": self.dirpath}
        for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
            state[key] = str(self.folder / state[key]) if state[key] else ""
        state["best_k_models"] = {str(self.folder / name): score for name, score in state["best_k_models"].items()}
        super().load_state_dict(state)

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        """Called on all ranks. Writes aside, then gives the name; the second name of a step costs no second writing."""
        BOARD.begin("saving")
        target, aside = Path(filepath), self.folder / saving.ASIDE
        if self._written is not None and self._written[0] == trainer.global_step:
            source = self._written[1]
            self._on_rank_0(trainer, target, lambda: saving.second_name(source, aside))
        else:
            checkpoint = trainer._checkpoint_connector.dump_checkpoint(self.save_weights_only)
            self._on_rank_0(trainer, target, lambda: saving.remove(aside))
            failure: BaseException | None = None
            try:
                with waiting(f"{target} to be written"):
                    trainer.strategy.save_checkpoint(checkpoint, aside)
            except (OSError, RuntimeError, CheckpointException) as error:  # torch makes each of a full disk
                failure = error
            self._agree(trainer, target, failure)
            sums = self._checksums(trainer, aside)
            self._on_rank_0(trainer, target, lambda: saving.seal(aside, sums))
            self._written = (trainer.global_step, target)
        name = saving.publish_last if target.name == LAST else lambda path: saving.publish(path, target)
        self._on_rank_0(trainer, target, lambda: name(aside))
        if trainer.is_global_zero:
            (self.folder / FINISHED).unlink(missing_ok=True)
            for logger in trainer.loggers:
                logger.after_save_checkpoint(self)
        self._last_global_step_saved = trainer.global_step
        self._last_checkpoint_saved = filepath

    def _checksums(self, trainer: Trainer, aside: Path) -> dict[str, list[int]] | None:
        """Of a folder's files, each rank reading its share."""
        if not aside.is_dir():
            return None
        share = saving.checksums(aside, trainer.global_rank, trainer.world_size)
        shares = [share] * trainer.world_size
        if trainer.world_size > 1:
            torch.distributed.all_gather_object(shares, share)
        return {name: found for share in shares for name, found in share.items()}

    def _on_rank_0(self, trainer: Trainer, target: Path, action: Callable[[], None]) -> None:
        failure = None
        if trainer.is_global_zero:
            try:
                action()
            except OSError as error:
                failure = error
        self._agree(trainer, target, failure)

    def _agree(self, trainer: Trainer, target: Path, failure: BaseException | None) -> None:
        """All ranks go on, or none does."""
        if trainer.strategy.reduce_boolean_decision(failure is not None, all=False):
            with suppress(OSError):
                saving.clear_aside(self.folder)
            raise SaveError(
                f"checkpoint: {target} could not be written at step {trainer.global_step} "
                f"({failure or 'another rank says why'}); those before it are whole: make room and go on with "
                "--ckpt_path last"
            ) from failure

    @property
    def _held_out(self) -> bool:
        return self.monitor is not None and self.monitor.startswith(HELD_OUT)

    def _unknown(self, metrics: Mapping[str, object]) -> str:
        """That the monitor is no metric, and which ones are meant perhaps."""
        held_out = {name for name in metrics if name.startswith(HELD_OUT) and not name.endswith(("/low", "/high"))}
        near = get_close_matches(str(self.monitor), metrics, cutoff=0.5) or sorted(held_out) or ["val/accuracy"]
        why = f"{self.monitor} is not measured, so no checkpoint is the best"
        return f"checkpoint.monitor: {why}; perhaps {', '.join(near)}"

    def _multiple(self, trainer: Trainer) -> int:
        return trainer.global_step // self._every_n_train_steps if self._every_n_train_steps > 0 else 0


def boundary_of(trainer: Trainer) -> Boundary:
    """This instant, at which a training step has ended and its row of the log is not yet written."""
    connector, data = trainer._logger_connector, trainer.datamodule  # type: ignore[attr-defined]
    row = {}
    if trainer.loggers and connector.should_update_logs:
        row = connector.metrics["log"] | cast(GRPOModule, trainer.lightning_module).row
    return Boundary(
        step=trainer.global_step,
        loops=deepcopy(trainer._checkpoint_connector._get_loops_state_dict()),
        data={} if data is None else {type(data).__qualname__: deepcopy(data.state_dict())},
        sizes=log_sizes(trainer) if trainer.is_global_zero else {},
        row={name: float(value) for name, value in row.items() if name != "step"},
        validate=_validation_due(trainer),
    )


def _validation_due(trainer: Trainer) -> bool:
    """By the settings; Lightning also validates when a run is asked to stop, which its continuation would not."""
    fetcher, stop = trainer.fit_loop._data_fetcher, trainer.should_stop
    assert fetcher is not None
    trainer.should_stop = False
    try:
        return trainer.fit_loop.epoch_loop._should_check_val_fx(fetcher)
    finally:
        trainer.should_stop = stop


def validate(trainer: Trainer) -> None:
    """The validation that was due when the checkpoint was written: Lightning takes it for done."""
    loop = trainer.fit_loop.epoch_loop.val_loop
    trainer.validating = True
    loop.restarting = False
    loop.run()
    trainer.training = True


def _ends_with_this_batch(trainer: Trainer) -> bool:
    """Whether max_steps or max_epochs ends the training here."""
    return _at_end(trainer, trainer.global_step, trainer.current_epoch + int(trainer.is_last_batch))


def _at_end(trainer: Trainer, step: int, epochs: int) -> bool:
    return ended(trainer.max_steps, trainer.max_epochs, step=step, epochs=epochs)


def finished(folder: Path, max_steps: int, max_epochs: int | None) -> str | None:
    """How far the run with these checkpoints came, if it was finished and these limits ask for no more."""
    if not (folder / FINISHED).is_file():
        return None
    found = json.loads((folder / FINISHED).read_text(encoding="utf-8"))
    done = ended(max_steps, max_epochs, step=found["step"], epochs=found["epochs"])
    return f"finished after {found['step']} steps, {found['epochs']} whole epochs" if done else None


def ended(max_steps: int, max_epochs: int | None, *, step: int, epochs: int) -> bool:
    """Whether a run with these limits has ended after so many steps and whole epochs."""
    return (max_steps != -1 and step >= max_steps) or (max_epochs is not None and -1 < max_epochs <= epochs)
