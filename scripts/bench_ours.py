"""The side of `bench.py` that is this project: the module, the data and the Trainer, as a config would make them."""

import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Literal, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from grpo_lightning.batching import Layout
from grpo_lightning.generation import Builtin, SamplingConfig
from grpo_lightning.module import GRPOModule
from grpo_lightning.objective import KLConfig, ObjectiveConfig
from grpo_lightning.optimization import OptimizerConfig, UpdateConfig
from grpo_lightning.policy import PolicyConfig
from grpo_lightning.prompts import PromptDataModule
from grpo_lightning.scoring import RewardSpec
from grpo_lightning.sources import Dataset
from grpo_lightning.types import Record
from scripts.bench import PHASES, Work
from scripts.bench_clock import Clock, Peak, figures


def even(records: Sequence[Record]) -> list[float | None]:
    """The share of even token ids."""
    return [sum(token % 2 == 0 for token in record.token_ids) / len(record.token_ids) for record in records]


class Watch(Callback):
    """Starts the clock behind the first steps, and adds up what each rollout says of itself."""

    def __init__(self, warm: int) -> None:
        self.warm, self.clock, self.tokens = warm, Clock(), 0
        self.phases: dict[str, list[float]] = {phase: [] for phase in PHASES}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        if trainer.global_step == self.warm:
            self.clock.start()
        elif trainer.global_step > self.warm:
            assert isinstance(pl_module, GRPOModule)
            assert pl_module.last is not None
            self.tokens += pl_module.last.rollout.tokens
            for phase, seconds in self.phases.items():
                seconds.append(float(trainer.callback_metrics[f"time/{phase}"]))
        if trainer.global_step == trainer.max_steps:
            self.clock.stop()


def main(folder: Path, work: Work) -> None:
    torch.set_num_threads(work.threads)
    warnings.filterwarnings("ignore")
    watch = Watch(work.warm)
    module = GRPOModule(
        PolicyConfig(pretrained=str(folder), compile=work.compile),
        [RewardSpec(reward=even, inline=True)],
        group_size=work.group,
        sampling=SamplingConfig(max_tokens=work.max_tokens),
        engine=Builtin(dtype=cast(Literal["bfloat16"] | None, work.rollout or None)),
        objective=ObjectiveConfig(reduction="token", kl=KLConfig(beta=work.beta)),
        update=UpdateConfig(num_iterations=work.num_iterations, layout=cast(Layout, work.layout)),
        optimizer=OptimizerConfig(lr=work.lr),
        seed=work.seed,
        first_step_checks=not work.rollout,
    )
    rows = Dataset(path=str(folder / "train.jsonl"), validation=str(folder / "validation.jsonl"))
    data = PromptDataModule(
        rows,
        str(folder),
        chat_template=False,
        prompts_per_step=work.prompts,
        max_prompt_tokens=work.longest,
    )
    trainer = Trainer(
        accelerator="cpu" if work.device == "cpu" else "gpu",
        devices=1,
        max_steps=work.warm + work.steps,
        precision=cast(Literal["32-true", "bf16-mixed"], work.precision),
        limit_val_batches=0,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=[watch],
    )
    with Peak() as peak:
        trainer.fit(module, datamodule=data)
    share = work.num_iterations
    phases = {phase: mean(seconds) / share for phase, seconds in watch.phases.items()}
    print(json.dumps(figures(watch.clock, peak, steps=work.steps, tokens=watch.tokens) | phases))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Work(**json.loads(sys.argv[2])))
