"""Whether kernels can be built here. Where not, or on a CPU, the same is computed by operations of torch."""

import os
from functools import cache
from importlib.util import find_spec
from shutil import which

import torch

SWITCH = "GRPO_LIGHTNING_KERNELS"
"""`0` in this variable of the environment: none are built."""


@cache
def compiles(device: str) -> bool:
    """Whether this is an NVIDIA GPU with Triton and what Triton needs, a compiler of C, and nobody is against it."""
    compiler = any(map(which, (os.environ.get("CC", "cc"), "gcc", "clang")))
    wanted = os.environ.get(SWITCH) != "0" and torch.version.hip is None
    return device == "cuda" and wanted and compiler and find_spec("triton") is not None
