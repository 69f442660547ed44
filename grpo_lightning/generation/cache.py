"""What the built-in engine asks of the keys and values it holds."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor


class Cache(ABC):
    """Keys and values of rows, in the order in which they were admitted."""

    joins: bool
    """Whether rows can be admitted while others are held."""
    compact_at = 0.8
    """Finished rows leave when this share or less is still alive: copying costs, and so do dead rows."""
    arranged = 0
    """Another number whenever rows or buffers are others than before."""
    records = False
    """Whether `step` is for the device alone: what it did once can be replayed until rows or buffers change."""

    @abstractmethod
    def admit(self, prompts: Sequence[Sequence[int]], group_size: int) -> Float[Tensor, "P V"]:
        """Adds a group of rows for each of these prompts; returns the logits behind the prompts."""

    @abstractmethod
    def begin(self) -> None:
        """Makes room for one token more of each row; before each step."""

    @abstractmethod
    def step(self, tokens: Int[Tensor, " B"]) -> Float[Tensor, "B V"]:
        """Takes in the next token of each row; returns the logits behind it."""

    @abstractmethod
    def keep(self, rows: Sequence[int]) -> None:
        """Drops all rows but these, which are in order."""
