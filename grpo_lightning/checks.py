"""What must hold before training: settings that fit trainer and data; and, before the first update of a run, that the
policy is its sampler and its reference.

Nothing else shows a wrong shift, temperature, dropout or reference as early: the loss would look healthy.
"""

import torch
from lightning.pytorch import Trainer

from grpo_lightning.batching import MicroBatch
from grpo_lightning.filters import FilterConfig
from grpo_lightning.generation import Engine
from grpo_lightning.logprobs import TokenLogprobs
from grpo_lightning.objective import ObjectiveConfig
from grpo_lightning.optimization import OptimizerConfig, UpdateConfig, lr_factor
from grpo_lightning.prompts import PromptDataModule

PRECISIONS = ("32-true", "bf16-mixed")
"""What the log-probs are proved with; a `-true` precision would change the type of everything else, too."""

EXACT, ROUNDED = 1e-4, 0.02
"""Mean difference in log-prob that rounding explains, in float32 and in 16-bit arithmetic."""


def check_precision(precision: object) -> None:
    """Refuses a precision that nothing here is proved with."""
    if precision not in PRECISIONS:
        raise ValueError(
            f"trainer.precision: {precision!r} is refused; use one of {', '.join(PRECISIONS)}, or set "
            "model.policy.dtype for weights of another type"
        )


def check_fit(
    trainer: Trainer, data: object, update: UpdateConfig, optimizer: OptimizerConfig, filters: FilterConfig
) -> None:
    """Refuses what this trainer and this data cannot do."""
    bounded = trainer.max_steps != -1 or trainer.max_epochs not in (None, -1)
    lr_factor(optimizer, 1 if bounded else None)
    if not isinstance(data, PromptDataModule):
        if filters.silent == "refill" or filters.retire_at is not None:
            raise ValueError("filters: 'refill' and retire_at choose prompts, so they need a PromptDataModule")
        return
    if update.minibatches > data.prompts_per_step:
        raise ValueError(
            f"update.minibatches: {update.minibatches} is more than the {data.prompts_per_step} prompts of a step "
            "(data.prompts_per_step); use at most that many"
        )


def check_ahead(
    update: UpdateConfig, engine: Engine, filters: FilterConfig, objective: ObjectiveConfig, data: object
) -> None:
    """Refuses to collect ahead what depends on the step at hand."""
    if not update.async_steps:
        return
    why = ""
    if not engine.runs_apart:
        why = f"{type(engine).__name__} draws with the weights that are being updated; use an engine such as VLLMServer"
    elif filters.silent == "refill" or filters.retire_at is not None:
        why = "filters.silent 'refill' and filters.retire_at choose prompts by the step before; turn them off"
    elif objective.loss == "reinforce":
        why = "objective.loss 'reinforce' looks at no ratio, so it cannot tell an older policy; take 'cispo'"
    elif not isinstance(data, PromptDataModule):
        why = "the next step's prompts must be known ahead; use a PromptDataModule"
    if why:
        raise ValueError(f"update.async_steps: 1 is refused: {why}")


@torch.no_grad()
def check_first_step(policy: TokenLogprobs, batch: MicroBatch, *, exact: bool) -> None:
    """Refuses to train where the ratio is not 1 or the KL to the reference is not 0, to within rounding."""
    limit = EXACT if exact else ROUNDED
    if not bool(torch.isfinite(policy.logprobs).all()):
        raise RuntimeError(
            "first step: the policy gives log-probs that are not finite; look at its weights, and at model.policy.dtype"
        )
    if not (gap := _gap(policy, batch.base_logprobs)) <= limit:
        raise RuntimeError(
            f"first step: policy and sampler differ by {gap:.2g} in log-prob per token, so the ratio is not 1 "
            f"(rounding explains {limit:g}); look for dropout, a padded prompt, another temperature or other weights "
            "in the engine, or set model.mismatch.correction; model.first_step_checks: false goes on regardless"
        )
    if batch.reference_logprobs is not None and not (gap := _gap(policy, batch.reference_logprobs)) <= limit:
        raise RuntimeError(
            f"first step: policy and reference differ by {gap:.2g} in log-prob per token, so the KL is not 0 (rounding "
            f"explains {limit:g}); the reference must be the policy's start; model.first_step_checks: false goes on "
            "regardless"
        )


def _gap(policy: TokenLogprobs, other: torch.Tensor) -> float:
    return float((policy.logprobs - other).abs().mean()) if len(other) else 0.0
