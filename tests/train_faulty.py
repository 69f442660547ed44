"""A program, not a test: trains the tiny policy in two processes, in which one does something bad.

python -m tests.train_faulty FOLDER DEED RANK TIMEOUT

The deed is done in the second rollout; `nan` spoils steps 5 and 6 of RANK. FOLDER/rank0 and FOLDER/rank1 hold the
process numbers; FOLDER/done appears on a good end.
"""

import hashlib
import json
import math
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy

from grpo_lightning.batching import Sample
from grpo_lightning.module import GRPOModule
from grpo_lightning.optimization import UpdateConfig
from grpo_lightning.watch import RankWatch
from tests import fakes


def raises() -> None:
    raise ValueError("a bad\nday")


class Spoilt(GRPOModule):
    """At some steps the advantage of one sequence is NaN, and so is the loss of its micro-batch."""

    bad: frozenset[int] = frozenset()

    def optimizer_step_on(self, samples: Sequence[Sample]) -> None:
        if self.trainer.global_step in self.bad:
            first = min(range(len(samples)), key=lambda i: len(samples[i]))
            spoilt = replace(samples[first], advantages=samples[first].advantages * math.nan)
            samples = [*samples[:first], spoilt, *samples[first + 1 :]]
        super().optimizer_step_on(samples)


def spoil(module: GRPOModule, bad: set[int]) -> Spoilt:
    module.__class__, module.bad = Spoilt, frozenset(bad)
    return module


class Hashes(Callback):
    """Leaves in FOLDER/stepsR.json the hash of rank R's weights before each step."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.sums = folder, []

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: object) -> None:
        flat = torch.cat([p.detach().flatten() for p in pl_module.parameters()])
        self.sums.append(hashlib.sha256(flat.numpy().tobytes()).hexdigest())

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        (self.folder / f"steps{trainer.global_rank}.json").write_text(json.dumps({"sums": self.sums}))


DEEDS = {
    "nan": lambda: None,
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "sleep": lambda: time.sleep(600),
    "raise": raises,
    "nothing": lambda: None,
}


class Deed(Callback):
    """What DEED says, in rollout, update or the batch's end."""

    def __init__(self, deed: str, phase: str, rank: int) -> None:
        self.deed, self.phase, self.rank = deed, phase, rank

    def act(self, trainer: Trainer, phase: str) -> None:
        if trainer.global_rank == self.rank and phase == self.phase and trainer.global_step >= 4:
            DEEDS[self.deed]()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *rest: object) -> None:
        self.act(trainer, "rollout")

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.act(trainer, "update")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.act(trainer, "end")


def main(folder: Path, deed: str, rank: int, timeout: float) -> None:
    torch.set_num_threads(1)
    deed, _, phase = deed.partition("-")
    own = int(os.environ.get("LOCAL_RANK", "0"))
    (folder / f"rank{own}").write_text(str(os.getpid()))
    update = UpdateConfig(num_iterations=2, minibatches=2, micro_batch_tokens=64, max_bad_steps=1)
    module = fakes.tiny_module(folder, update=update)
    if deed == "nan" and own == rank:
        spoil(module, {5, 6})
    trainer = fakes.tiny_trainer(
        folder,
        Deed(deed, phase, rank),
        Hashes(folder),
        RankWatch(timeout=timeout),
        devices=2,
        strategy=DDPStrategy(process_group_backend="gloo", timeout=timedelta(seconds=30 if deed == "sleep" else 600)),
        max_epochs=1,
    )
    trainer.fit(module, datamodule=fakes.tiny_data(folder))
    if trainer.is_global_zero:
        (folder / "done").touch()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
