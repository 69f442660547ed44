"""A program, not a test: trains the tiny policy by a recipe in as many processes as told, and leaves weights behind.

python -m tests.train_recipe FOLDER DEVICES RECIPE
"""

import json
import sys
from pathlib import Path

import torch

from grpo_lightning.advantages import AdvantageConfig
from grpo_lightning.combine import CombineConfig
from grpo_lightning.filters import FilterConfig
from grpo_lightning.objective import EntropyConfig, KLConfig, ObjectiveConfig
from grpo_lightning.optimization import OptimizerConfig, UpdateConfig
from grpo_lightning.scoring import RewardSpec
from tests.fakes import REWARDS, brevity, count_tokens, many_digits, never_mixed, tiny_data, tiny_module, tiny_trainer

JUDGED = [*REWARDS, RewardSpec(reward=many_digits, weight=0.0, inline=True)]
BOUND = RewardSpec(reward=count_tokens, role="constraint", at_most=3.0, inline=True)

RECIPES: dict[str, dict[str, object]] = {
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
    # combination, whose state and statistics are global
    "combined": {
        "rewards": [REWARDS[0], RewardSpec(reward=brevity, inline=True), BOUND],
        "combine": CombineConfig(way="constrained", rate=0.3),
    },
    "whitened": {
        "rewards": [REWARDS[0], RewardSpec(reward=brevity, inline=True)],
        "combine": CombineConfig(way="gdpo"),
    },
}


def main(folder: Path, devices: int, recipe: str) -> None:
    torch.set_num_threads(1)
    settings: dict[str, object] = {"objective": ObjectiveConfig(), "update": UpdateConfig(micro_batch_tokens=40)}
    module = tiny_module(folder, **(settings | {"optimizer": OptimizerConfig(lr=1e-3)} | RECIPES[recipe]))
    strategy = "ddp" if devices > 1 else "auto"
    trainer = tiny_trainer(folder, devices=devices, strategy=strategy, max_steps=3, max_epochs=-1)
    trainer.fit(module, datamodule=tiny_data(folder))
    if trainer.is_global_zero:
        names = ("reward", "update/grad_norm", "update/loss", "update/entropy", "completion/tokens", "accuracy")
        metrics = {name: float(trainer.callback_metrics[name]) for name in names if name in trainer.callback_metrics}
        (folder / f"metrics{devices}.json").write_text(json.dumps(metrics))
        torch.save(module.model.state_dict(), folder / f"weights{devices}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
