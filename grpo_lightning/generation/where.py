"""Who sees whom in a step of `graphed_cache`. Letters as in `shared_cache`."""

from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Which rows see which prompt, and how much of what is held counts; all on the device."""

    prompt_lengths: Int[Tensor, " G"]
    lengths: Int[Tensor, " B"]
    """Own tokens of each row, the new one included."""
    nothing: Int[Tensor, " G"]
    """Tokens before a prompt: 0."""
    before: Int[Tensor, " B"]
    """Tokens before those of a row: its prompt's."""
    position: Int[Tensor, " B"]
    """Of the new token."""
    first: Int[Tensor, " G+1"]
    """Of each group the first row, and behind the last group the number of rows."""
    each: Int[Tensor, " B+1"]
    """The same of rows: 0 to B."""
    largest: int
    """Rows of the largest group."""
    multiprocessors: int
    """Of the device."""
