"""A key-value cache that is allocated once, instead of growing by a copy with each token."""

import torch
from torch import Tensor
from transformers import DynamicCache, PretrainedConfig
from transformers.cache_utils import DynamicLayer


class PreallocatedLayer(DynamicLayer):
    """`DynamicLayer` over a buffer of fixed capacity: `keys` and `values` are views of its filled part."""

    keys: Tensor
    values: Tensor
    key_buffer: Tensor
    value_buffer: Tensor

    def __init__(self, capacity: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.capacity = capacity

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        super().lazy_initialization(key_states, value_states)
        self._adopt(key_states[..., :0, :], value_states[..., :0, :])

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.keys.shape[-2]
        end = start + key_states.shape[-2]
        self.key_buffer[..., start:end, :] = key_states
        self.value_buffer[..., start:end, :] = value_states
        self.keys, self.values = self.key_buffer[..., :end, :], self.value_buffer[..., :end, :]
        return self.keys, self.values

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Row i becomes rows i * repeats .. (i + 1) * repeats - 1."""
        rows = torch.arange(len(self.keys), device=self.keys.device).repeat_interleave(repeats)
        self._adopt(self.keys[rows], self.values[rows])

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keeps only these rows, in place: the buffer's first rows are overwritten."""
        for buffer, filled in ((self.key_buffer, self.keys), (self.value_buffer, self.values)):
            buffer[: len(indices), :, : filled.shape[-2]] = filled[indices]
        length = self.keys.shape[-2]
        self.key_buffer, self.value_buffer = self.key_buffer[: len(indices)], self.value_buffer[: len(indices)]
        self.keys, self.values = self.key_buffer[..., :length, :], self.value_buffer[..., :length, :]

    def _adopt(self, keys: Tensor, values: Tensor) -> None:
        """Allocates buffers for these rows and fills them with what they hold so far."""
        batch, _, length, _ = keys.shape
        self.key_buffer = keys.new_empty((batch, keys.shape[1], self.capacity, keys.shape[3]))
        self.value_buffer = values.new_empty((batch, values.shape[1], self.capacity, values.shape[3]))
        self.key_buffer[..., :length, :], self.value_buffer[..., :length, :] = keys, values
        self.keys, self.values = self.key_buffer[..., :length, :], self.value_buffer[..., :length, :]


def preallocated_cache(config: PretrainedConfig, capacity: int) -> DynamicCache:
    """The model's own kind of cache, full-attention layers preallocated, others (sliding, linear) as they are."""
    cache = DynamicCache(config=config)
    cache.layers = [PreallocatedLayer(capacity) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
