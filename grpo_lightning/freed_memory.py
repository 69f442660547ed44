"""What glibc does with memory that was freed: by default a block of 32 MB goes back to the kernel at once, and the end
of the heap in between, to be zeroed page by page when the next step asks for as much. On a CPU that is up to a tenth of
a step.
"""

import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""As glibc's malloc.h has them."""

LARGEST = 2**30
"""Bytes. More than that at once is rare, and given back as before."""

LARGEST_OF_OLD = 2**25
"""What older versions of glibc take at most."""


def keep_freed_memory() -> None:
    """Lets this process keep what it frees, for its next step; its peak stays within a few percent.

    Does nothing where malloc is another, or where the environment says what its thresholds are.
    """
    said = [f"{key}={value}" for key, value in os.environ.items() if key.startswith(("MALLOC_", "GLIBC_TUNABLES"))]
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or any("_threshold" in each.lower() for each in said):
        return
    if mallopt(M_MMAP_THRESHOLD, LARGEST) or mallopt(M_MMAP_THRESHOLD, LARGEST_OF_OLD):
        mallopt(M_TRIM_THRESHOLD, LARGEST)
