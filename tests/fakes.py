"""Rewards and runs for tests. Rewards stand in a module of their own, so that workers can import them."""

from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch import Callback, Trainer

from grpo_lightning.checkpoint import BoundaryCheckpoint
from grpo_lightning.generation import SamplingConfig
from grpo_lightning.module import GRPOModule
from grpo_lightning.objective import KLConfig, ObjectiveConfig
from grpo_lightning.optimization import OptimizerConfig, UpdateConfig
from grpo_lightning.policy import PolicyConfig
from grpo_lightning.prompts import PromptDataModule
from grpo_lightning.scoring import RewardSpec
from grpo_lightning.sources import Generated
from grpo_lightning.tasks import Arithmetic
from grpo_lightning.types import Record
from tests.tiny import tiny_folder


def share_of_digits(records: Sequence[Record]) -> list[float]:
    """How much of the completion is digits: varied, and easy to raise."""
    return [sum(c.isdigit() for c in record.completion) / max(1, len(record.completion)) for record in records]


def brevity(records: Sequence[Record]) -> list[float]:
    return [1 / (1 + len(record.token_ids)) for record in records]


def many_digits(records: Sequence[Record]) -> list[float]:
    """Right where a third of the completion is digits: sometimes."""
    return [float(value >= 1 / 3) for value in share_of_digits(records)]


def count_tokens(records: Sequence[Record]) -> list[float]:
    return [float(len(record.token_ids)) for record in records]


def nearly_constant(records: Sequence[Record]) -> list[float]:
    """A thousandth, at odd lengths only."""
    return [0.001 * (len(record.token_ids) % 2) for record in records]


def never_mixed(records: Sequence[Record]) -> list[float]:
    return [0.5 for _ in records]


def always(records: Sequence[Record]) -> list[float]:
    return [1.0 for _ in records]


def nothing_applies(records: Sequence[Record]) -> list[None]:
    return [None for _ in records]


class RaisesAtCall:
    """Gives zeros until its n-th call."""

    def __init__(self, n: int) -> None:
        self.left = n

    def __call__(self, records: Sequence[Record]) -> list[float]:
        self.left -= 1
        if not self.left:
            raise ValueError("no more")
        return [0.0 for _ in records]


REWARDS = [RewardSpec(reward=share_of_digits, inline=True), RewardSpec(reward=brevity, weight=0.1, inline=True)]


def tiny_module(folder: Path, **changes: object) -> GRPOModule:
    if not (folder / "tiny").exists():
        tiny_folder(folder / "tiny")
    settings: dict[str, object] = {
        "policy": PolicyConfig(pretrained=str(folder / "tiny")),
        "rewards": REWARDS,
        "group_size": 4,
        "sampling": SamplingConfig(max_tokens=8),
        "objective": ObjectiveConfig(kl=KLConfig(beta=0.05)),
        "update": UpdateConfig(num_iterations=2, minibatches=2, micro_batch_tokens=64),
        "optimizer": OptimizerConfig(lr=1e-2, schedule="cosine", warmup_steps=2, weight_decay=0.1),
    }
    return GRPOModule(**(settings | changes))


def tiny_data(folder: Path, **changes: object) -> PromptDataModule:
    source = Generated(task=Arithmetic(digits=2), train=11, validation=5, test=5)
    settings: dict[str, object] = {"source": source, "tokenizer": str(folder / "tiny"), "prompts_per_step": 4}
    return PromptDataModule(**(settings | changes))


def tiny_trainer(folder: Path, *callbacks: Callback, every_n_train_steps: int = 1, **changes: object) -> Trainer:
    keep = BoundaryCheckpoint(
        folder / "checkpoints",
        "{step}",
        every_n_train_steps=every_n_train_steps,
        save_top_k=-1,
        enable_version_counter=False,
    )
    settings: dict[str, object] = {
        "accelerator": "cpu",
        "max_epochs": 2,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 1,
        "default_root_dir": folder,
        "callbacks": [keep, *callbacks],
    }
    return Trainer(**(settings | changes))
