"""Keys and values of a rollout by a model that masks say who sees whom: as transformers keeps them, in every row.

They are allocated once, instead of growing by a copy with each token.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache, PretrainedConfig, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from grpo_lightning.generation.cache import Cache
from grpo_lightning.policy import project
from grpo_lightning.sharding import as_forward


class PaddedCache(Cache):
    """Holds one batch at a time. Prompts are padded in front to one length, and copied for each row of the group."""

    joins = False

    def __init__(self, policy: PreTrainedModel, max_tokens: int) -> None:
        self.policy, self.max_tokens = policy, max_tokens

    def admit(self, prompts: Sequence[Sequence[int]], group_size: int) -> Float[Tensor, "P V"]:
        """Holds a group of rows for each of these prompts, and nothing else; returns the logits behind the prompts."""
        width, device = max(map(len, prompts)), self.policy.device
        padding = [width - len(prompt) for prompt in prompts]
        self.cache = preallocated_cache(self.policy.config, width + self.max_tokens)
        ids = torch.tensor(
            [[0] * pad + list(prompt) for pad, prompt in zip(padding, prompts, strict=True)], device=device
        )
        mask = (
            torch.arange(width + self.max_tokens, device=device) >= torch.tensor(padding, device=device)[:, None]
        ).long()
        self.mask = mask if any(padding) else None
        positions = (torch.arange(width, device=device) - torch.tensor(padding, device=device)[:, None]).clamp(min=0)
        logits = self._forward(ids, positions)
        self.cache.batch_repeat_interleave(group_size)
        self.mask = None if self.mask is None else self.mask.repeat_interleave(group_size, 0)
        self.position = (positions[:, -1] + 1).repeat_interleave(group_size)
        return logits

    def begin(self) -> None:
        """There is room for all that a rollout may draw."""

    def step(self, tokens: Int[Tensor, " B"]) -> Float[Tensor, "B V"]:
        """Takes in the next token of each row; returns the logits behind it."""
        logits = self._forward(tokens[:, None], self.position[:, None])
        self.position = self.position + 1
        return logits

    def keep(self, rows: Sequence[int]) -> None:
        """Drops all other rows."""
        index = torch.tensor(rows, dtype=torch.long, device=self.policy.device)
        self.cache.batch_select_indices(index)
        self.position = self.position[index]
        self.mask = None if self.mask is None else self.mask[index]

    def _forward(self, ids: Int[Tensor, "B T"], positions: Int[Tensor, "B T"]) -> Float[Tensor, "B V"]:
        filled = self.cache.get_seq_length() + ids.shape[1]
        mask = None if self.mask is None else self.mask[:, :filled]
        return as_forward(self.policy, last_logits)(ids, positions, mask, self.cache)


def last_logits(
    policy: PreTrainedModel,
    ids: Int[Tensor, "B T"],
    positions: Int[Tensor, "B T"],
    mask: Int[Tensor, "B C"] | None,
    cache: DynamicCache,
) -> Float[Tensor, "B V"]:
    """Of the token behind the last one; `cache` takes in what is new."""
    output = policy.base_model(
        input_ids=ids, position_ids=positions, attention_mask=mask, past_key_values=cache, use_cache=True
    )
    return project(policy, output[0][:, -1])


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
