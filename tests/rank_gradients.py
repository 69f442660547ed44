"""A program, not a test: two gloo processes share the samples of one step, and sum their gradients.

python -m tests.rank_gradients FOLDER     # the largest relative difference to one process, by loss and reduction
"""

import itertools
import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from grpo_lightning.batching import Sample, even_micro_batches, totals_of
from grpo_lightning.logprobs import completion_logprobs
from grpo_lightning.objective import ObjectiveConfig, objective_loss, start_coefficients
from grpo_lightning.ranks import Ranks
from tests.test_objective import EXTRAS, MAX_TOKENS, REDUCTIONS, VARIANTS, ragged_samples
from tests.tiny import tiny_policy

SHARES = {2: [(0, 1, 2), (3,)], 3: [(0, 1, 2, 3), ()]}
"""Which groups each of two ranks holds: three and one; all and none."""


def gradient(config: ObjectiveConfig, samples: list[Sample], ranks: Ranks, cut: int, layout: str) -> torch.Tensor:
    policy = tiny_policy("qwen3", dtype=torch.float64)
    batches = even_micro_batches(samples, cut, layout, ranks)
    totals = totals_of(samples, len(batches), ranks)
    coefficients = start_coefficients(config)
    for batch in batches:
        current = completion_logprobs(policy, batch, temperature=0.9, entropy_gradient=True)
        objective_loss(
            config, current, batch, coefficients=coefficients, totals=totals, max_tokens=MAX_TOKENS
        ).backward()
    return ranks.sum(torch.cat([p.grad.flatten() for p in policy.parameters()]))


def work(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2)
    two, one = Ranks(size=2, rank=rank, device=torch.device("cpu")), Ranks.one()
    samples, worst = ragged_samples(), {}
    for name, reduction in itertools.product(VARIANTS, REDUCTIONS):
        config = ObjectiveConfig(**VARIANTS[name], reduction=reduction, **EXTRAS)
        if reduction == "local":  # the same micro-batches on one rank and on two, or it would be another loss
            continue
        whole = gradient(config, samples, one, 100, "padded")
        for number, layout in ((2, "padded"), (3, "packed")):
            own = [s for s in samples if s.group in SHARES[number][rank]]
            parts = gradient(config, own, two, 100, layout)
            difference = float((parts - whole).norm() / whole.norm())
            worst[f"{name} {reduction}"] = max(difference, worst.get(f"{name} {reduction}", 0.0))
    if rank == 0:
        (folder / "worst.json").write_text(json.dumps(worst))
    dist.barrier()
    os._exit(0)  # as the interpreter ends gloo may abort


if __name__ == "__main__":
    mp.spawn(work, (Path(sys.argv[1]),), nprocs=2)
