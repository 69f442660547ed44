"""A program, not a test: a run with everything that moves, made to be killed and to go on.

python -m tests.train_kill, then lines "FOLDER DEVICES" on its input. Each starts a run, as a process group of its own
that need not import anything again; answered by a line with the group's number at once, and by one with its exit code
when it has ended. A run goes on from the last whole checkpoint in FOLDER; it writes what it does, a line each, to
FOLDER/doing (rollout, scoring, update, validation, writing), and leaves FOLDER/weights.pt when it has ended.
"""

import os
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy

from grpo_lightning.callbacks import SampleLog
from grpo_lightning.checkpoint import BoundaryCheckpoint, PlainFile
from grpo_lightning.cli import last_checkpoint, quieten
from grpo_lightning.combine import CombineConfig
from grpo_lightning.filters import FilterConfig
from grpo_lightning.interruption import Interruption
from grpo_lightning.objective import EntropyConfig, KLConfig, ObjectiveConfig
from grpo_lightning.optimization import OptimizerConfig, UpdateConfig
from grpo_lightning.parts import Schedule
from grpo_lightning.recording import RecordRollouts
from grpo_lightning.report import BeforeAfter
from grpo_lightning.scoring import RewardSpec
from grpo_lightning.types import Record
from tests.fakes import brevity, count_tokens, many_digits, share_of_digits, tiny_data, tiny_module

DOING = "GRPO_LIGHTNING_TEST_DOING"


def doing(what: str) -> None:
    with Path(os.environ[DOING]).open("a") as file:
        file.write(f"{what}\n")


def slow_share_of_digits(records: Sequence[Record]) -> list[float]:
    """Marks what comes before it as rollout, itself as scoring, and what comes behind as update."""
    doing("scoring")
    time.sleep(0.01)
    doing("update")
    return share_of_digits(records)


class SlowFile(PlainFile):
    """Writes half, waits, and writes the rest: time enough to be killed in."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: object = None) -> None:
        doing("writing")
        super().save_checkpoint(checkpoint, path)
        whole = Path(path).read_bytes()
        with Path(path).open("wb") as file:
            file.write(whole[: len(whole) // 2])
            file.flush()
            time.sleep(0.05)
            file.write(whole[len(whole) // 2 :])


class Watched(BoundaryCheckpoint):
    """Marks when rollouts and validations begin."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        doing("rollout")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_validation_start(trainer, pl_module)
        doing("validation")


SETTINGS: dict[str, Any] = {
    "rewards": [
        RewardSpec(reward=slow_share_of_digits, name="digits", inline=True),
        RewardSpec(reward=brevity, weight=Schedule(start=1.0, end=0.0, rollouts=7), inline=True),
        RewardSpec(reward=count_tokens, role="constraint", at_most=3.0, weight=0.1, inline=True),
        RewardSpec(reward=many_digits, weight=0.0, inline=True),
    ],
    "combine": CombineConfig(way="constrained", rate=0.3, damping=0.5),
    "filters": FilterConfig(silent="refill", reward="many_digits", retire_at=0.5),
    "objective": ObjectiveConfig(
        kl=KLConfig(beta=0.05, target=0.001, sync_every=2, sync_mix=0.6),
        entropy=EntropyConfig(bonus=0.001, target=2.0, top_share=0.8),
    ),
    "update": UpdateConfig(num_iterations=2, minibatches=2, micro_batch_tokens=64),
    "optimizer": OptimizerConfig(lr=1e-2, schedule="cosine", warmup_steps=2, weight_decay=0.1),
}


def main(folder: Path, devices: int, last: str | None) -> None:
    torch.set_num_threads(1)
    quieten()
    os.environ[DOING] = str(folder / "doing")
    keep = Watched(
        folder / "checkpoints",
        "{step}",
        monitor="val/reward/digits",
        mode="max",
        save_top_k=2,
        save_last=True,
        every_n_train_steps=4,
        enable_version_counter=False,
    )
    trainer = Trainer(
        accelerator="cpu",
        devices=devices,
        strategy=DDPStrategy(process_group_backend="gloo") if devices > 1 else "auto",
        plugins=[SlowFile()],
        max_epochs=3,
        val_check_interval=2,
        logger=TensorBoardLogger(folder, name="", version="", default_hp_metric=False),
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        callbacks=[Interruption(), BeforeAfter(), SampleLog(every_n_rollouts=2), RecordRollouts(), keep],
    )
    module = tiny_module(folder, **SETTINGS)
    trainer.fit(module, datamodule=tiny_data(folder), ckpt_path=last)
    if trainer.is_global_zero:
        torch.save(module.model.state_dict(), folder / "weights.pt")


def run(folder: Path, devices: int) -> int:
    """In a process of its own: starts the ranks, waits for them."""
    os.setsid()
    with (folder / "output").open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    last = last_checkpoint(folder / "checkpoints", required=False)
    if devices == 1:
        return in_process(lambda: main(folder, devices, last))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    ranks = []
    for rank in range(devices):
        os.environ["LOCAL_RANK"] = str(rank)
        ranks.append(fork(lambda: in_process(lambda: main(folder, devices, last))))
    return max(os.waitstatus_to_exitcode(os.waitpid(rank, 0)[1]) for rank in ranks)


def in_process(action: Callable[[], None]) -> int:
    try:
        action()
    except SystemExit as error:
        return int(error.code or 0)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def fork(action: Callable[[], int]) -> int:
    if pid := os.fork():
        return pid
    os._exit(action())


if __name__ == "__main__":
    for line in sys.stdin:
        folder, devices = line.split()
        number = fork(lambda folder=Path(folder), devices=int(devices): run(folder, devices))
        print(number, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]), flush=True)
