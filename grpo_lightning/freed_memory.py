"""What glibc does with memory that was freed: by default the end of the heap goes back to the kernel at once, and so do
blocks larger than any before, to be zeroed page by page when the next step asks for as much.
"""

import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""As glibc's malloc.h has them."""

LARGEST = 2**25
"""Bytes. Larger blocks are given back as before: kept, they make a peak 7 % higher where they are logits of 128 MB."""


def keep_freed_memory() -> None:
    """Lets this process keep what it frees, for its next step; its peak stays within a few percent.

    Does nothing where malloc is another, or where the environment says what its thresholds are.
    """
    said = [f"{key}={value}" for key, value in os.environ.items() if key.startswith(("MALLOC_", "GLIBC_TUNABLES"))]
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or any("_threshold" in each.lower() for each in said):
        return
    if mallopt(M_MMAP_THRESHOLD, LARGEST):
        mallopt(M_TRIM_THRESHOLD, 2**30)  # the free end of the heap, given back only beyond that
