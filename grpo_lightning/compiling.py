"""Whether kernels can be built here. Where not, or on a CPU, the same is computed by operations of torch."""

import os
from functools import cache
from importlib.util import find_spec
from shutil import which


@cache
def compiles(device: str) -> bool:
    """Whether this is a GPU with Triton and what Triton needs, a compiler of C."""
    found = any(map(which, (os.environ.get("CC", "cc"), "gcc", "clang")))
    return device == "cuda" and found and find_spec("triton") is not None
