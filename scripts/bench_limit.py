"""What this machine can do, for `bench.py`: the rate of a large matrix product, and of a copy through memory."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from scripts.bench import Work

SIDE, BYTES = {"cpu": 1536, "cuda": 8192}, {"cpu": 2**28, "cuda": 2**31}


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
    print(json.dumps(limits(work.device, torch.bfloat16 if work.sixteen and work.device != "cpu" else torch.float32)))


def limits(device: str, dtype: torch.dtype) -> dict[str, float]:
    """FLOPs and bytes per second; a copy reads and writes."""
    side, size = SIDE[device], BYTES[device]
    one, other = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    product = best_seconds(lambda: one @ other, device)
    source = torch.ones(size // 4, device=device)
    target = torch.empty_like(source)
    copy = best_seconds(lambda: target.copy_(source), device)
    return {"flops": 2 * side**3 / product, "bytes_per_second": 2 * size / copy}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Work(**json.loads(sys.argv[2])))
