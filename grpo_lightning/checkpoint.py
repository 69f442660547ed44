"""Checkpoints between rollouts, and leaving in order when a signal asks for it.

A training step makes several optimizer steps, and only between training steps is there no rollout to lose: resuming
from there needs no more than weights, optimizer, schedule and the loop's counters.
"""

import signal
import time
from types import FrameType
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loops.progress import _ProcessedTracker
from lightning.pytorch.utilities import rank_zero_info


class BoundaryCheckpoint(ModelCheckpoint):
    """`ModelCheckpoint` that knows that one training step makes several optimizer steps.

    Saves after the rollout in which the optimizer steps cross a multiple of `every_n_train_steps`, after the rollout at
    which the run ends or is asked to stop, before one that failed, and every `train_time_interval`. Lightning's own,
    with manual optimisation, misses most of the first and all of the others.
    """

    _crossed = 0
    _boundary = -1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._crossed = self._multiple(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        """Mends a count: resumed from the last batch of an epoch, Lightning does not count the next epoch as started.

        A later checkpoint would keep the error, and resuming from that one at an epoch's end would train an epoch more.
        """
        self._boundary = trainer.global_step
        progress = trainer.fit_loop.epoch_progress
        for counts in cast(tuple[_ProcessedTracker, ...], (progress.total, progress.current)):
            if counts.ready == counts.processed:
                counts.ready += 1
                counts.started += 1

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        self._boundary = trainer.global_step
        crossed = self._multiple(trainer)
        due = crossed > self._crossed or trainer.should_stop or _ends_with_this_batch(trainer)
        self._crossed = crossed
        if self._train_time_interval is not None:
            elapsed = time.monotonic() - (self._last_time_checked or 0.0)
            late = trainer.strategy.broadcast(elapsed >= self._train_time_interval.total_seconds())
            due = due or late
        if due and not self._should_skip_saving_checkpoint(trainer):
            self.save(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Saves what was trained so far, unless a rollout was in the middle of its steps; in validation, too."""
        if trainer.world_size == 1 and 0 < trainer.global_step == self._boundary:
            self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Saves now, as the best if it is, and as last."""
        self._last_time_checked = time.monotonic()
        metrics = self._monitor_candidates(trainer)
        if self.monitor is not None and self.monitor not in metrics:
            self._save_last_checkpoint(trainer, metrics)
            return
        self._save_topk_checkpoint(trainer, metrics)
        self._save_last_checkpoint(trainer, metrics)

    def _multiple(self, trainer: Trainer) -> int:
        return trainer.global_step // self._every_n_train_steps if self._every_n_train_steps > 0 else 0


def _ends_with_this_batch(trainer: Trainer) -> bool:
    """Whether max_steps or max_epochs ends the training here."""
    if trainer.max_steps != -1 and trainer.global_step >= trainer.max_steps:
        return True
    bounded = trainer.max_epochs is not None and trainer.max_epochs != -1
    return bounded and trainer.is_last_batch and trainer.current_epoch + 1 >= cast(int, trainer.max_epochs)


class Interruption(Callback):
    """Ctrl-C and SIGTERM end the run after the rollout at hand, with a `BoundaryCheckpoint`; once more, at once.

    `received` is the signal's number afterwards, None if none came.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._receive)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        if trainer.strategy.reduce_boolean_decision(self.received is not None, all=False):
            trainer.should_stop = True  # Checkpoint callbacks come after all others, and see it.

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Between rollouts already: nothing to finish, and `BoundaryCheckpoint` saves on the way out."""
        if self.received is not None and trainer.world_size == 1:
            raise KeyboardInterrupt

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._restore()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number
        rank_zero_info(f"received {signal.Signals(number).name}: this step, then out")
