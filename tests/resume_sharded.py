"""A program, not a test: trains the tiny policy sharded over two processes, and once more from its own checkpoints.

python -m torch.distributed.run --nproc_per_node 2 -m tests.resume_sharded FOLDER folder|file
python -m tests.resume_sharded FOLDER again CHECKPOINT        # on one device, from what two have written
python -m tests.resume_sharded FOLDER across                  # sharded, from what was written without sharding
"""

import sys
from pathlib import Path

import torch

from grpo_lightning.exporting import write_policy
from grpo_lightning.objective import KLConfig, ObjectiveConfig
from grpo_lightning.policy import PolicyConfig
from grpo_lightning.sharding import FullySharded, full_state
from tests.fakes import tiny_data, tiny_module, tiny_trainer


def train(
    folder: Path,
    name: str,
    *,
    devices: int,
    as_folder: bool = False,
    sharded: bool = True,
    ckpt_path: Path | None = None,
) -> None:
    """Three rollouts of four steps each; leaves NAME.pt and, as a Hugging Face folder, NAME behind."""
    moving = ObjectiveConfig(kl=KLConfig(beta=0.05, sync_every=1, sync_mix=0.5))
    policy = PolicyConfig(pretrained=str(folder / "tiny"), dtype="float64")
    module = tiny_module(folder, objective=moving, policy=policy)
    strategy: FullySharded | str = "auto"
    if sharded:
        how = {"save_distributed_checkpoint": as_folder, "process_group_backend": "gloo", "timeout_minutes": 0.5}
        strategy = FullySharded(**how)
    trainer = tiny_trainer(folder / name, devices=devices, strategy=strategy, max_steps=12, max_epochs=-1)
    trainer.fit(module, datamodule=tiny_data(folder), ckpt_path=ckpt_path)
    state = full_state(module.model)
    if trainer.is_global_zero:
        config, tokenizer = module.policy_config, module.vocabulary
        write_policy(folder / f"{name}-policy", config, module.model, state, tokenizer, seed=0, run=folder / name)
        torch.save(state, folder / f"{name}.pt")
    trainer.strategy.barrier()  # a rank that ends may abort in gloo, and torchrun then ends the other one


def main(folder: Path, how: str, checkpoint: str = "") -> None:
    torch.set_num_threads(1)
    if how == "again":
        train(folder, "again", devices=1, as_folder=False, ckpt_path=Path(checkpoint))
        return
    if how == "across":
        train(folder, "across-whole", devices=1, sharded=False)
        train(folder, "across", devices=1, ckpt_path=folder / "across-whole" / "checkpoints" / "step=8.ckpt")
        return
    train(folder, f"{how}-whole", devices=2, as_folder=how == "folder")
    middle = folder / f"{how}-whole" / "checkpoints" / "step=8.ckpt"
    train(folder, f"{how}-resumed", devices=2, as_folder=how == "folder", ckpt_path=middle)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
