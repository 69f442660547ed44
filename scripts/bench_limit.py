"""What this machine can do, for `bench.py`: the rate of a large matrix product, and of a copy through memory."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from scripts.bench import Work

SIDE, BYTES = 1536, 2**28


def best_seconds(call: Callable[[], object], device: str, times: int = 7) -> float:
    """The shortest of several calls, after one that does not count."""
    found = []
    for _ in range(times + 1):
        started = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - started)
    return min(found[1:])


def main(folder: Path, work: Work) -> None:
    torch.set_num_threads(work.threads)
    one, other = torch.randn(SIDE, SIDE, device=work.device), torch.randn(SIDE, SIDE, device=work.device)
    product = best_seconds(lambda: one @ other, work.device)
    source = torch.ones(BYTES // 4, device=work.device)
    target = torch.empty_like(source)
    copy = best_seconds(lambda: target.copy_(source), work.device)
    print(json.dumps({"flops": 2 * SIDE**3 / product, "bytes_per_second": 2 * BYTES / copy}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Work(**json.loads(sys.argv[2])))
