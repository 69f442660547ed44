"""How a rollout becomes optimizer steps: passes and cuts, AdamW with decay groups, the learning-rate schedule."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from lightning.pytorch import Trainer
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from grpo_lightning.batching import Layout


@dataclass(frozen=True, kw_only=True)
class UpdateConfig:
    """How one rollout becomes optimizer steps."""

    num_iterations: int = 1
    """Passes over each rollout (mu in the papers)."""
    minibatches: int = 1
    """Optimizer steps per pass; each takes an equal share of the prompts, with their whole groups."""
    micro_batch_tokens: int | None = None
    """Tokens per forward and backward pass, padding included: memory, not results. null: 16384, or 2048 on a CPU."""
    layout: Layout = "shared"
    """`shared`: flat, with a prompt once for all its completions; for attention `sdpa`. `packed`: sequences end to end,
    for `flash_attention_2` and `flex_attention`. `padded`: rows of similar length, padded on the right; any model."""
    async_steps: Literal[0, 1] = 0
    """1: the next rollout is drawn and scored while this one trains, by the policy of before that update. Needs an
    engine that holds weights of its own, on other devices than the training's, such as VLLMServer."""
    max_bad_steps: int = 3
    """Optimizer steps in a row that may be skipped because loss or gradient is not finite; one more ends the run."""

    def __post_init__(self) -> None:
        if self.max_bad_steps < 0:
            raise ValueError(f"update.max_bad_steps: {self.max_bad_steps} is refused; it must be 0 or more")
        for name in ("num_iterations", "minibatches", "micro_batch_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"update.{name}: {value} is refused; it must be at least 1")

    def tokens_on(self, device: str) -> int:
        """Of a micro-batch, by the type of the device: a CPU gains nothing from more than its caches hold."""
        return self.micro_batch_tokens or (2048 if device == "cpu" else 16384)


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW and its schedule. One step is one optimizer step, of which a rollout has num_iterations x minibatches."""

    lr: float = 1e-6
    """Peak learning rate."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Adam's decay rates. Its steps do not shrink as groups go quiet, so keep the second at 0.99 or above."""
    eps: float = 1e-8
    """Adam's denominator offset."""
    weight_decay: float = 0.0
    """Decoupled decay of matrices and embeddings; vectors (norms, biases) are never decayed."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """From the peak to `final_lr` of it at the run's last step."""
    warmup_steps: int = 0
    """Optimizer steps of linear rise from lr / warmup_steps."""
    final_lr: float = 0.0
    """Where the schedule ends, as a share of the peak."""
    max_grad_norm: float = 1.0
    """Gradients of a larger norm are scaled down to it; `.inf` for none."""

    def __post_init__(self) -> None:
        checks = {
            "lr": (0 < self.lr < math.inf, "a positive number"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "0 or positive"),
            "betas": (all(0 <= beta < 1 for beta in self.betas), "two numbers in [0, 1)"),
            "warmup_steps": (self.warmup_steps >= 0, "0 or positive"),
            "final_lr": (0 <= self.final_lr <= 1, "a share between 0 and 1"),
            "max_grad_norm": (self.max_grad_norm > 0, "positive, .inf for no clipping"),
        }
        for name, (holds, right) in checks.items():
            if not holds:
                raise ValueError(f"optimizer.{name}: {getattr(self, name)} is refused; it must be {right}")


def adamw(config: OptimizerConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.AdamW:
    """AdamW over the trainable parameters: matrices with decay, vectors without."""
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    kept = [group for group in groups if group["params"]]
    return torch.optim.AdamW(kept, lr=config.lr, betas=config.betas, eps=config.eps, fused=True)


def planned_steps(trainer: Trainer, update: UpdateConfig) -> int | None:
    """Optimizer steps of the whole run, None if it has no end."""
    ends: list[float] = [trainer.max_steps] if trainer.max_steps != -1 else []
    if trainer.max_epochs is not None and trainer.max_epochs != -1:
        trainer.fit_loop.setup_data()
        ends.append(trainer.num_training_batches * trainer.max_epochs * update.num_iterations * update.minibatches)
    return int(min(ends)) if ends else None


def settings_win(scheduler: LambdaLR, config: OptimizerConfig) -> None:
    """Puts the settings back into an optimizer that a checkpoint has restored with those it was saved with."""
    scheduler.base_lrs = [config.lr] * len(scheduler.optimizer.param_groups)
    for group, factor in zip(scheduler.optimizer.param_groups, scheduler.lr_lambdas, strict=True):
        group["lr"] = config.lr * factor(scheduler.last_epoch)
        group["betas"], group["eps"] = config.betas, config.eps
        group["weight_decay"] = config.weight_decay if group["params"][0].ndim >= 2 else 0.0


def lr_factor(config: OptimizerConfig, total_steps: int | None) -> Callable[[int], float]:
    """Step -> share of the peak learning rate. Steps count from 0; the last one, total_steps - 1, gets `final_lr`."""
    if config.schedule != "constant" and total_steps is None:
        raise ValueError(f"optimizer.schedule: {config.schedule!r} needs an end; set trainer.max_steps or max_epochs")

    def factor(step: int) -> float:
        if step < config.warmup_steps:
            return (step + 1) / config.warmup_steps
        if config.schedule == "constant" or total_steps is None:
            return 1.0
        span = max(1, total_steps - 1 - config.warmup_steps)
        progress = min(1.0, (step - config.warmup_steps) / span)
        shape = 1 - progress if config.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
        return config.final_lr + (1 - config.final_lr) * shape

    return factor
