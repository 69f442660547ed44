"""Leaving in order when a signal asks for it, with an exit code that says what for."""

import signal
from types import FrameType
from typing import Any, cast

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

GO_ON = 75
"""Exit code of a run that a scheduler's signal has ended: EX_TEMPFAIL, to be started again."""

SIGNALS = {
    signal.SIGINT: 128 + signal.SIGINT,
    signal.SIGTERM: 128 + signal.SIGTERM,
    signal.SIGUSR1: GO_ON,
    signal.SIGUSR2: GO_ON,
}
"""What asks a run to end, and the code with which it leaves. SLURM sends the last two if told so (`--signal`)."""


class Interruption(Callback):
    """A signal of `SIGNALS` ends the run after the rollout at hand, with a `BoundaryCheckpoint`; once more, at
    once.

    One rank that received it is enough: all know after the rollout, and leave with the same code. `received` is the
    signal's number then, None if none came.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}
        self._led = False
        self._agreed = False

    @property
    def code(self) -> int | None:
        """What to leave with, None for the usual.

        A process that Lightning has started leaves the telling to its parent, which Lightning would kill otherwise.
        """
        if self.received is None:
            return None
        return 0 if self._led else SIGNALS[signal.Signals(self.received)]

    def wait(self) -> None:
        """Before training there is nothing to save: the scheduler's signals end the run at once, with their code."""
        for number, code in SIGNALS.items():
            if code == GO_ON:
                self._before[number] = signal.signal(number, _leave)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """SLURM's signal is handled here; Lightning's handler would save in the middle of a step."""
        environment = trainer._accelerator_connector.cluster_environment
        self._led = isinstance(environment, LightningEnvironment) and trainer.local_rank > 0
        if isinstance(environment, SLURMEnvironment):
            environment.auto_requeue = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for number in SIGNALS:
            before = signal.signal(number, self._receive)
            self._before.setdefault(number, before)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        number = torch.tensor(self.received or 0, device=trainer.strategy.root_device)
        number = cast(torch.Tensor, trainer.strategy.reduce(number, reduce_op="max"))
        if int(number):
            self.received, self._agreed = int(number), True
            trainer.should_stop = True  # Checkpoint callbacks come after all others, and see it.

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Between rollouts already: nothing to finish, and `BoundaryCheckpoint` saves on the way out."""
        if self._agreed or (self.received is not None and trainer.world_size == 1):
            raise KeyboardInterrupt

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.restore()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.restore()

    def restore(self) -> None:
        """Puts back the handlers of before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number
        rank_zero_info(f"received {signal.Signals(number).name}: this step, then out")


def interrupted(trainer: Trainer) -> bool:
    """Whether a signal has ended this run."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    return any(isinstance(callback, Interruption) and callback.received is not None for callback in callbacks)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(SIGNALS[signal.Signals(number)])
