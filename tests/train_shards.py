"""A program, not a test: trains a small sharded module in two processes, with checkpoints that are folders.

python -m tests.train_shards FOLDER MAX_STEPS [CHECKPOINT]
"""

import sys
from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.utils.data import DataLoader

from grpo_lightning.checkpoint import BoundaryCheckpoint
from grpo_lightning.cli import quieten


class Small(LightningModule):
    """Two steps to a batch, by hand, as GRPOModule does."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 1))

    def configure_model(self) -> None:
        for layer in self.layers:
            fully_shard(layer, mesh=self.device_mesh["data_parallel"])
        fully_shard(self.layers, mesh=self.device_mesh["data_parallel"])

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        optimizer = self.optimizers()
        for _ in range(2):
            optimizer.zero_grad()
            self.manual_backward(self.layers(batch).square().mean())
            optimizer.step()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-2)

    def train_dataloader(self) -> DataLoader:
        # All alike: this loader has no place in the data to go on from.
        return DataLoader([torch.ones(2, 8)] * 4, batch_size=None)


def main(folder: Path, max_steps: int, checkpoint: str | None) -> None:
    quieten()
    keep = BoundaryCheckpoint(
        folder / "checkpoints", "{step}", every_n_train_steps=2, save_last=True, enable_version_counter=False
    )
    trainer = Trainer(
        accelerator="cpu",
        devices=2,
        strategy=ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1),
        max_steps=max_steps,
        max_epochs=-1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=[keep],
    )
    module = Small()
    trainer.fit(module, ckpt_path=checkpoint)
    weights = {name: value.full_tensor() for name, value in module.state_dict().items()}
    if trainer.is_global_zero:
        torch.save(weights, folder / f"weights{max_steps}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None)
