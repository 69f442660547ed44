"""The side of `bench.py` that is TRL: its GRPOTrainer on the same policy, prompts, group, lengths, beta and mu."""

import json
import logging
import sys
import warnings
from pathlib import Path

import torch
from datasets.arrow_dataset import Dataset
from transformers import AutoTokenizer, TrainerCallback
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from scripts.bench import Work
from scripts.bench_clock import Clock, Peak, figures

ROWS = 16
"""Of a forward pass on a GPU, at most: it makes all logits of them."""

tokens: list[int] = []


def even(completion_ids: list[list[int]], **_: object) -> list[float | None]:
    """The share of even token ids."""
    tokens.append(sum(map(len, completion_ids)))
    return [sum(token % 2 == 0 for token in ids) / len(ids) for ids in completion_ids]


class Watch(TrainerCallback):
    """Starts the clock behind the first steps."""

    def __init__(self, warm: int, last: int) -> None:
        self.warm, self.last, self.clock, self.before = warm, last, Clock(), 0

    def on_step_end(self, args: object, state: object, control: object, **_: object) -> None:
        step = state.global_step  # type: ignore[attr-defined]
        if step == self.warm:
            self.before = sum(tokens)
            self.clock.start()
        if step == self.last:
            self.clock.stop()


def main(folder: Path, work: Work) -> None:
    torch.set_num_threads(work.threads)
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    lines = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    rows = work.prompts * work.group
    at_once = rows if work.device == "cpu" else max(n for n in range(1, ROWS + 1) if rows % n == 0)
    settings = GRPOConfig(
        output_dir=str(folder / "trl"),
        use_cpu=work.device == "cpu",
        per_device_train_batch_size=at_once,
        gradient_accumulation_steps=rows // at_once,
        use_transformers_continuous_batching=work.continuous,
        num_generations=work.group,
        max_completion_length=work.max_tokens,
        max_steps=work.warm + work.steps,
        beta=work.beta,
        num_iterations=work.num_iterations,
        learning_rate=work.lr,
        lr_scheduler_type="constant",
        adam_beta2=0.99,
        max_grad_norm=1.0,
        loss_type="dapo",
        temperature=1.0,
        bf16=work.sixteen,
        gradient_checkpointing=False,
        shuffle_dataset=False,
        logging_steps=10**6,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        seed=work.seed,
        model_init_kwargs={"dtype": "float32"},
    )
    watch = Watch(work.warm, work.warm + work.steps)
    trainer = GRPOTrainer(
        model=str(folder),
        reward_funcs=even,
        args=settings,
        train_dataset=Dataset.from_dict({"prompt": [line["prompt"] for line in lines]}),
        processing_class=AutoTokenizer.from_pretrained(folder),
        callbacks=[watch],
    )
    with Peak() as peak:
        trainer.train()
    print(json.dumps(figures(watch.clock, peak, steps=work.steps, tokens=sum(tokens) - watch.before)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Work(**json.loads(sys.argv[2])))
