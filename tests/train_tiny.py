"""A program, not a test: trains the tiny policy in as many processes as told, and leaves weights and metrics behind.

python -m tests.train_tiny FOLDER DEVICES REDUCTION
"""

import json
import sys
from pathlib import Path

import torch

from grpo_lightning.objective import KLConfig, ObjectiveConfig
from grpo_lightning.optimization import OptimizerConfig, UpdateConfig
from tests.fakes import tiny_data, tiny_module, tiny_trainer


def main(folder: Path, devices: int, reduction: str) -> None:
    torch.set_num_threads(1)
    module = tiny_module(
        folder,
        update=UpdateConfig(num_iterations=2, micro_batch_tokens=40),
        objective=ObjectiveConfig(kl=KLConfig(beta=0.05), reduction=reduction),
        optimizer=OptimizerConfig(lr=1e-3),
    )
    strategy = "ddp" if devices > 1 else "auto"
    trainer = tiny_trainer(folder, devices=devices, strategy=strategy, max_steps=2, max_epochs=-1)
    trainer.fit(module, datamodule=tiny_data(folder))
    if trainer.is_global_zero:
        names = ("reward", "update/grad_norm", "update/loss", "update/entropy", "completion/tokens", "accuracy")
        metrics = {name: float(trainer.callback_metrics[name]) for name in names}
        (folder / f"metrics{devices}.json").write_text(json.dumps(metrics))
        torch.save(module.model.state_dict(), folder / f"weights{devices}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
