"""The nouns: what flows from prompts to the loss, as frozen records with named fields.

Free of torch on purpose: rewards and their worker processes read `Record` and must start in milliseconds. Tensors
begin in `batching.py`.

Letters name axes everywhere: P prompts, G completions per prompt, B = P * G, T completion tokens, K rewards,
V vocabulary.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

StopReason = Literal["eos", "stop", "length"]
"""Why a completion ended: the end-of-sequence token, a configured stop token or string, or the length limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One row of data, ready for the policy."""

    uid: int
    """Position in its data set; with the seed it names the random stream of the prompt's samples."""
    text: str
    """What the user asks, before the chat template."""
    token_ids: tuple[int, ...]
    """The templated, tokenized prompt."""
    answer: str | None
    """The expected answer, for rewards that compare."""
    row: Mapping[str, object]
    """Every column of the row, for rewards that need more."""
    rewards: frozenset[str] | None = None
    """Names of the rewards that apply to this row; None: all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One sampled answer."""

    token_ids: tuple[int, ...]
    """The sampled tokens, the stop token included."""
    sampler_logprobs: tuple[float, ...]
    """log π of each token when it was sampled, under the distribution that the loss uses."""
    text: str
    """The decoded tokens without special ones; a stop string stays, because its tokens are trained on."""
    stop_reason: StopReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A prompt and its G completions, in the order of their sample numbers."""

    prompt: Prompt
    completions: tuple[Completion, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One completion as a reward sees it. A reward takes a sequence of these and gives a float or None for each."""

    prompt: str
    completion: str
    token_ids: tuple[int, ...]
    answer: str | None
    row: Mapping[str, object]
    stop_reason: StopReason


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardStats:
    """What happened while one reward scored one batch."""

    seconds: float = 0.0
    """Spent on its records, summed: with several workers, more than went by."""
    errors: int = 0
    """Records that the policy `fail` decided, because the reward raised, crashed or returned NaN or an infinity."""
    crashes: int = 0
    """Those of the errors that took the worker process with them."""
    timeouts: int = 0
    """Records that the policy `fail` decided, because the reward took too long."""
    latency_p50: float = 0.0
    """Median seconds for one record."""
    latency_p99: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """All rewards of a batch, still apart."""

    names: tuple[str, ...]
    rewards: np.ndarray
    """float64 (P, G, K); NaN where a reward does not apply."""
    stats: tuple[RewardStats, ...]
    """One for each reward."""
