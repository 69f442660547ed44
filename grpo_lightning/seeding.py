"""Randomness by counter: every draw is a pure function of a named key, so there is no generator state to save."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

Key = str | int


def seed_of(*key: Key) -> int:
    """A 63-bit seed from a key such as ("rollout", seed, epoch): equal keys, equal seeds, on every machine."""
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest(), "big") >> 1


def rollout_seed(seed: int, number: int) -> int:
    """Of the samples of a run's training rollout, the first of which is number 0."""
    return seed_of("rollout", seed, number)


@contextmanager
def seeded(*key: Key) -> Iterator[None]:
    """Within the block torch (CPU), NumPy and `random` draw from `key`'s stream; their own are untouched."""
    seed, python_state, numpy_state = seed_of(*key), random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
