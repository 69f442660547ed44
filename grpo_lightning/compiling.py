"""Whether kernels can be built here. Where not, or on a CPU, the same is computed by operations of torch."""

import os
import sysconfig
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from shutil import which

import torch

SWITCH = "GRPO_LIGHTNING_KERNELS"
"""`0` in this variable of the environment: none are built."""


@cache
def compiles(device: str) -> bool:
    """Whether this is a GPU of NVIDIA's, not older than Ampere, with Triton and what Triton needs.

    That is a compiler of C, as it looks for one, and the headers of Python.
    """
    if device != "cuda" or os.environ.get(SWITCH) == "0":
        return False
    if torch.version.hip is not None or torch.cuda.get_device_capability() < (8, 0):
        return False
    names = [os.environ["CC"]] if "CC" in os.environ else ["gcc", "clang"]
    scheme = sysconfig.get_default_scheme().replace("posix_local", "posix_prefix")  # Debian's, which has no headers
    headers = Path(sysconfig.get_paths(scheme)["include"])
    return any(map(which, names)) and (headers / "Python.h").is_file() and find_spec("triton") is not None
