"""A program, not a test: trains the tiny policy by each recipe, and leaves metrics, gradients and weights behind.

python -m tests.train_ranks FOLDER auto [RECIPE ...]                                              # one process
python -m torch.distributed.run --nproc_per_node 2 -m tests.train_ranks FOLDER ddp [RECIPE ...]   # two

Everything in float64, so that only what is wrong differs by more than rounding.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.strategies import DDPStrategy, Strategy
from torch.distributed.tensor import DTensor

from grpo_lightning.adapters import AdapterConfig
from grpo_lightning.advantages import AdvantageConfig
from grpo_lightning.combine import CombineConfig
from grpo_lightning.filters import FilterConfig
from grpo_lightning.module import GRPOModule
from grpo_lightning.objective import EntropyConfig, KLConfig, ObjectiveConfig
from grpo_lightning.optimization import OptimizerConfig, UpdateConfig
from grpo_lightning.policy import PolicyConfig
from grpo_lightning.scoring import RewardSpec
from grpo_lightning.sharding import FullySharded, full_state
from tests.fakes import REWARDS, brevity, count_tokens, many_digits, never_mixed, tiny_data, tiny_module, tiny_trainer

JUDGED = [*REWARDS, RewardSpec(reward=many_digits, weight=0.0, inline=True)]
BOUND = RewardSpec(reward=count_tokens, role="constraint", at_most=3.0, inline=True)
KL = KLConfig(beta=0.05)
TWICE = UpdateConfig(num_iterations=2, micro_batch_tokens=40)

RECIPES: dict[str, dict[str, object]] = {
    "token": {"objective": ObjectiveConfig(kl=KL, reduction="token"), "update": TWICE},
    "sequence": {"objective": ObjectiveConfig(kl=KL, reduction="sequence"), "update": TWICE},
    "constant": {"objective": ObjectiveConfig(kl=KL, reduction="constant"), "update": TWICE},
    # shares of a pass, and of silent groups, are the same whoever holds them
    "minibatches": {
        "update": UpdateConfig(num_iterations=2, minibatches=3, micro_batch_tokens=40),
        "filters": FilterConfig(silent="drop", reward="share_of_digits"),
    },
    "packed": {"update": UpdateConfig(num_iterations=2, micro_batch_tokens=40, layout="packed")},
    # every statistic over the batch: centre, scale, and the mean of the KL in the reward
    "batch": {
        "advantage": AdvantageConfig(centre="batch", scale="batch"),
        "objective": ObjectiveConfig(kl=KLConfig(beta=0.1, estimator="k1", place="reward")),
    },
    # refilled groups, high-entropy tokens over all ranks, retired prompts
    "refill": {
        "rewards": JUDGED,
        "filters": FilterConfig(silent="refill", reward="many_digits", retire_at=1.0),
        "objective": ObjectiveConfig(entropy=EntropyConfig(top_share=0.5)),
        "advantage": AdvantageConfig(overlong_share=0.5),
    },
    # no group is left: ranks without samples keep in step
    "nothing": {
        "rewards": [*REWARDS, RewardSpec(reward=never_mixed, weight=0.0, inline=True)],
        "filters": FilterConfig(silent="drop", reward="never_mixed"),
        "objective": ObjectiveConfig(entropy=EntropyConfig(top_share=0.5)),
    },
    # combination, whose state and statistics are global, and of all rounds of refilled groups
    "combined": {
        "rewards": [*JUDGED, BOUND],
        "combine": CombineConfig(way="constrained", rate=0.3),
        "filters": FilterConfig(silent="refill", reward="many_digits"),
    },
    "whitened": {
        "rewards": [REWARDS[0], RewardSpec(reward=brevity, inline=True)],
        "combine": CombineConfig(way="gdpo"),
    },
    # a reference that moves is shared out like the policy
    "moving": {"objective": ObjectiveConfig(kl=KLConfig(beta=0.05, sync_every=1, sync_mix=0.5))},
    "adapter": {"objective": ObjectiveConfig(kl=KL), "update": TWICE},
    "recomputed": {"objective": ObjectiveConfig(kl=KL), "update": TWICE},
}

POLICIES: dict[str, dict[str, object]] = {
    "adapter": {"adapter": AdapterConfig(rank=2)},
    "recomputed": {"gradient_checkpointing": True},
}

METRICS = (
    *("reward", "accuracy", "completion/tokens", "groups/mixed", "update/grad_norm", "update/loss"),
    *("update/entropy", "update/ratio", "update/kl_to_sampler", "update/kl_to_reference", "advantage/abs"),
    "reward/count_tokens/weight",
)


class Gradients(Callback):
    """Of the first optimizer step, whole, on rank 0."""

    def __init__(self) -> None:
        self.first: dict[str, torch.Tensor] = {}

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: GRPOModule, optimizer: object) -> None:
        if not self.first:
            named = [(name, p.grad) for name, p in pl_module.model.named_parameters() if p.grad is not None]
            self.first = {name: g.full_tensor() if isinstance(g, DTensor) else g.clone() for name, g in named}


def strategy_of(name: str) -> Strategy | str:
    sharded: Mapping[str, Mapping[str, object]] = {
        "fully_sharded": {},
        "layerwise": {"rollout": "layerwise"},
        "offloaded": {"cpu_offload": True},
    }
    if name in sharded:
        return FullySharded(**sharded[name], save_distributed_checkpoint=False, timeout_minutes=0.5)
    return DDPStrategy(process_group_backend="gloo") if name == "ddp" else name


def main(folder: Path, strategy: str, *recipes: str) -> None:
    torch.set_num_threads(1)
    for recipe in recipes or RECIPES:
        policy = PolicyConfig(pretrained=str(folder / "tiny"), dtype="float64", **POLICIES.get(recipe, {}))
        settings: dict[str, object] = {
            "policy": policy,
            "objective": ObjectiveConfig(),
            "update": UpdateConfig(micro_batch_tokens=40),
            "optimizer": OptimizerConfig(lr=1e-3),
        }
        module, gradients = tiny_module(folder, **(settings | RECIPES[recipe])), Gradients()
        trainer = tiny_trainer(
            folder / strategy / recipe,
            gradients,
            devices=1 if strategy == "auto" else 2,
            strategy=strategy_of(strategy),
            max_steps=3,
            max_epochs=-1,
        )
        trainer.fit(module, datamodule=tiny_data(folder))
        weights = full_state(module.model)
        if trainer.is_global_zero:
            metrics = {
                name: float(trainer.callback_metrics[name]) for name in METRICS if name in trainer.callback_metrics
            }
            found = {"metrics": metrics, "gradients": gradients.first, "weights": weights}
            torch.save(found, folder / f"{strategy}-{recipe}.pt")
        trainer.strategy.barrier()  # a rank that ends may abort in gloo, and torchrun then ends the other one


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
