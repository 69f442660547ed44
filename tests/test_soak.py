"""Long runs stay as they are: memory, descriptors, threads and processes; with workers, TensorBoard and checkpoints."""

from pathlib import Path

import psutil
import pytest
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from grpo_lightning.callbacks import SampleLog
from grpo_lightning.checkpoint import BoundaryCheckpoint
from grpo_lightning.optimization import OptimizerConfig, UpdateConfig
from grpo_lightning.scoring import RewardSpec
from tests.fakes import brevity, share_of_digits, tiny_data, tiny_module, tiny_trainer

MIB = 2**20


class Usage(Callback):
    """What this process and those below it hold after each `every` optimizer steps."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.others = set(psutil.Process().children(recursive=True))
        """Of other tests."""
        self.rows: dict[int, dict[str, float]] = {}

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *rest: object) -> None:
        if trainer.global_step % self.every == 0:
            own = psutil.Process()
            children = set(own.children(recursive=True)) - self.others
            self.rows[trainer.global_step] = {
                "rss": own.memory_info().rss / MIB,
                "worker rss": sum(child.memory_info().rss for child in children) / MIB,
                "descriptors": own.num_fds(),
                "worker descriptors": sum(child.num_fds() for child in children),
                "threads": own.num_threads(),
                "processes": len(children),
            }


def soak(folder: Path, steps: int, every: int) -> dict[int, dict[str, float]]:
    usage = Usage(every)
    checkpoints = BoundaryCheckpoint(
        folder / "checkpoints", "{step}", every_n_train_steps=5, save_top_k=1, save_last=True
    )
    module = tiny_module(
        folder,
        rewards=[RewardSpec(reward=share_of_digits), RewardSpec(reward=brevity, weight=0.1, inline=True)],
        reward_workers=2,
        update=UpdateConfig(micro_batch_tokens=64),
        optimizer=OptimizerConfig(lr=1e-3),
    )
    trainer = tiny_trainer(
        folder,
        max_steps=steps,
        max_epochs=-1,
        logger=TensorBoardLogger(folder, name="", version="", default_hp_metric=False),
        callbacks=[usage, checkpoints, SampleLog(every_n_rollouts=5)],
        check_val_every_n_epoch=5,
    )
    trainer.fit(module, datamodule=tiny_data(folder))
    assert trainer.global_step == steps
    kept = {f"step={steps}.ckpt", "last.ckpt", "previous.ckpt", "finished.json"}
    assert {path.name for path in (folder / "checkpoints").iterdir()} == kept
    return usage.rows


def test_a_run_holds_no_more_descriptors_threads_and_processes_after_sixty_steps(tmp_path: Path) -> None:
    others = set(psutil.Process().children(recursive=True))
    rows = soak(tmp_path, 60, 20)
    for name in ("descriptors", "worker descriptors", "threads", "processes"):
        assert len({row[name] for row in rows.values()}) == 1, rows
    assert rows[60]["processes"] == 2
    assert not set(psutil.Process().children(recursive=True)) - others, "the workers leave with the run"


@pytest.mark.slow
def test_a_thousand_steps_are_flat(tmp_path: Path) -> None:
    """Memory may breathe by a few MiB from step 200 on; a leak of 32 KiB a step would be 25 MiB."""
    rows = soak(tmp_path, 1000, 100)
    print(*(f"{step}: {row}" for step, row in rows.items()), sep="\n")
    for name in ("descriptors", "worker descriptors", "threads", "processes"):
        assert len({row[name] for row in rows.values()}) == 1, rows
    for name in ("rss", "worker rss"):
        assert rows[1000][name] - rows[200][name] < 16, rows
