"""Optimizer steps whose loss or gradient is not finite: skipped on all ranks alike, counted, and kept for replay.

A skipped step touches neither weights nor optimizer state, and counts as a step like any other: learning rate,
`max_steps` and checkpoints go on as if it had been taken. Steps that follow each other end the run, and the
micro-batches of the last one are left in a file that `grpo_lightning.replay` reads.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from grpo_lightning.batching import MicroBatch
from grpo_lightning.generation import SamplingConfig
from grpo_lightning.losses import Totals
from grpo_lightning.metrics import Tally
from grpo_lightning.objective import Coefficients, ObjectiveConfig
from grpo_lightning.packing import Span
from grpo_lightning.policy import PolicyConfig
from grpo_lightning.ranks import Ranks

BYTES = 64 * 2**20
"""What a file of micro-batches may hold; those that no longer fit are left out, and counted in the file."""


class BadSteps(RuntimeError):
    """Too many steps in a row were not finite."""


@dataclass(slots=True, kw_only=True)
class Step:
    """One optimizer step on its way: what it saw and measured, until it is known whether it is taken."""

    number: int
    totals: Totals
    coefficients: Coefficients
    tally: Tally = field(default_factory=Tally)
    batches: list[MicroBatch] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)

    def add(self, batch: MicroBatch, loss: Tensor) -> None:
        """One micro-batch with its share of the loss."""
        self.batches.append(batch)
        self.losses.append(loss.detach())

    @property
    def loss(self) -> Tensor:
        """Of this rank."""
        return torch.stack(self.losses).sum()


class Guard:
    """Decides of each step whether it is taken; `in_a_row` counts the last steps that were not.

    `settings` are those of policy, objective and sampling: what a loss depends on besides weights and batch.
    """

    def __init__(
        self, allowed: int, *, policy: PolicyConfig, objective: ObjectiveConfig, sampling: SamplingConfig, seed: int
    ) -> None:
        self.allowed = allowed
        self.settings = {
            "policy": asdict(policy),
            "objective": asdict(objective),
            "seed": seed,
            "temperature": sampling.temperature,
            "max_tokens": sampling.max_tokens,
        }
        self.in_a_row = 0
        self.skipped = 0

    def settle(self, step: Step, norm: float, tally: Tally, model: nn.Module, ranks: Ranks, folder: Path) -> None:
        """Decides it for all ranks, and adds to `tally` what a step that is taken has measured.

        Where loss or gradient is not finite on any rank, the gradients are dropped: no optimizer acts without. `norm`
        is the gradient's, before it was clipped. Raises BadSteps after more than `allowed` in a row, with its batch in
        `folder`.
        """
        bad = not (math.isfinite(norm) and bool(torch.isfinite(step.loss)))
        if not float(ranks.max(torch.tensor(float(bad)))):
            self.in_a_row = 0
            step.tally.add("update/loss", step.loss * ranks.size)
            step.tally.add("update/grad_norm", norm)
            tally.join(step.tally)
            return
        model.zero_grad(set_to_none=True)
        self.in_a_row += 1
        self.skipped += 1
        what = f"loss is {float(step.loss)} and gradient norm is {norm} at optimizer step {step.number}"
        if self.in_a_row > self.allowed:
            raise BadSteps(
                f"{what}: the weights are unharmed, but update.max_bad_steps allows {self.allowed} in a row and this "
                f"is number {self.in_a_row}; its batch is in {keep(step, norm, self.settings, ranks, folder)} (see "
                "python -m grpo_lightning.replay --help); the run can go on from its last checkpoint with other "
                "settings, e.g. a smaller optimizer.lr"
            )
        logging.getLogger(__name__).warning("%s: skipped, %d in a row", what, self.in_a_row)

    def take_skipped(self) -> float:
        """How many steps were skipped since the last call."""
        count, self.skipped = self.skipped, 0
        return float(count)


def keep(step: Step, norm: float, settings: Mapping[str, Any], ranks: Ranks, folder: Path) -> str:
    """Writes the micro-batches of a step with all that their loss depends on except the weights; returns where.

    On each rank that has a loss that is not finite, those with such a loss; if there is none anywhere, every rank all.
    """
    losses = [float(loss) for loss in step.losses]
    guilty = [bool(flag[0]) for flag in ranks.gather(np.array([not all(map(math.isfinite, losses))]))]
    writers = [rank for rank, found in enumerate(guilty) if found or not any(guilty)]
    paths = {rank: folder / f"step={step.number}-rank={rank}.pt" for rank in writers}
    if ranks.rank in paths:
        chosen = [i for i, loss in enumerate(losses) if not math.isfinite(loss)] or list(range(len(losses)))
        kept = _that_fit([step.batches[i] for i in chosen])
        content = {
            **settings,
            "step": step.number,
            "rank": ranks.rank,
            "ranks": ranks.size,
            "gradient_norm": norm,
            "totals": asdict(step.totals),
            "coefficients": asdict(step.coefficients),
            "losses": [losses[i] for i in chosen][: len(kept)],
            "micro_batches": kept,
            "left_out": len(chosen) - len(kept),
        }
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(content, paths[ranks.rank])
    return " and ".join(map(str, paths.values()))


def micro_batch_from(values: Mapping[str, Any]) -> MicroBatch:
    """Of what `keep` has written."""
    spans = values["spans"] and tuple(Span(*span) for span in values["spans"])
    return MicroBatch(**{**values, "order": tuple(values["order"]), "spans": spans})


def _that_fit(batches: Sequence[MicroBatch]) -> list[dict[str, Any]]:
    """The first ones, as plain values on the CPU, as long as all together stay below BYTES; always one."""
    kept: list[dict[str, Any]] = []
    size = 0
    for batch in batches:
        values = {f.name: getattr(batch, f.name) for f in fields(batch)}
        values = {name: v.detach().cpu().clone() if isinstance(v, Tensor) else v for name, v in values.items()}
        size += sum(value.nbytes for value in values.values() if isinstance(value, Tensor))
        if kept and size > BYTES:
            break
        spans = batch.spans and [list(span) for span in batch.spans]
        kept.append({**values, "order": list(batch.order), "spans": spans})
    return kept
