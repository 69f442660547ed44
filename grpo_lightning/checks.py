"""What must hold before the first update of a run: the policy is its sampler and its reference.

Nothing else shows a wrong shift, temperature, dropout or reference as early: the loss would look healthy.
"""

import torch

from grpo_lightning.batching import MicroBatch
from grpo_lightning.logprobs import TokenLogprobs

EXACT, ROUNDED = 1e-4, 0.02
"""Mean difference in log-prob that rounding explains, in float32 and in 16-bit arithmetic."""


@torch.no_grad()
def check_first_step(policy: TokenLogprobs, batch: MicroBatch, *, exact: bool) -> None:
    """Refuses to train where the ratio is not 1 or the KL to the reference is not 0, to within rounding."""
    limit = EXACT if exact else ROUNDED
    if not bool(torch.isfinite(policy.logprobs).all()):
        raise RuntimeError(
            "first step: the policy gives log-probs that are not finite; look at its weights, and at model.policy.dtype"
        )
    if (gap := _gap(policy, batch.base_logprobs)) > limit:
        raise RuntimeError(
            f"first step: policy and sampler differ by {gap:.2g} in log-prob per token, so the ratio is not 1 "
            f"(rounding explains {limit:g}); look for dropout, a padded prompt, another temperature or other weights "
            "in the engine, or set model.mismatch.correction; model.first_step_checks: false goes on regardless"
        )
    if batch.reference_logprobs is not None and (gap := _gap(policy, batch.reference_logprobs)) > limit:
        raise RuntimeError(
            f"first step: policy and reference differ by {gap:.2g} in log-prob per token, so the KL is not 0 (rounding "
            f"explains {limit:g}); the reference must be the policy's start; model.first_step_checks: false goes on "
            "regardless"
        )


def _gap(policy: TokenLogprobs, other: torch.Tensor) -> float:
    return float((policy.logprobs - other).abs().mean()) if len(other) else 0.0
