"""A rollout's cache on a GPU, whose step needs nothing from the host, so that a CUDA graph can replay it.

A step of few rows is hundreds of kernels of microseconds each; launched one by one, Python takes ten times as long as
the device. What changes from step to step, tokens and lengths, is on the device; what changes shapes, rows that come
and go and room for completions, ends a recording.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from grpo_lightning.generation.flash_decoding import attend
from grpo_lightning.generation.shared_cache import Forward, SharedCache
from grpo_lightning.generation.where import Where


class GraphedCache(SharedCache):
    """Of a policy that reads nothing back from the device within a step."""

    compact_at = 0.6
    growth = 256
    records = True

    def __init__(self, forward: Forward, max_tokens: int, device: torch.device) -> None:
        self.multiprocessors = torch.cuda.get_device_properties(device).multi_processor_count
        super().__init__(forward, max_tokens, device)

    def admit(self, prompts: Sequence[Sequence[int]], group_size: int) -> Float[Tensor, "P V"]:
        logits = super().admit(prompts, group_size)
        for module, pair in self.prompts.items():
            if module not in self.completions:
                rows = len(self.filled)
                keys, values = (held.new_zeros((rows, held.shape[1], self.room, held.shape[3])) for held in pair)
                self.completions[module] = keys, values
        return logits

    def step(self, tokens: Tensor) -> Tensor:
        self.where = Where(
            first=self.first,
            each=self.each,
            largest=self.slots.size,
            prompt_lengths=self.lengths_of_groups,
            lengths=self.columns + 1,
            nothing=self.nothing,
            before=self.prompt_lengths,
            position=self.prompt_lengths + self.columns,
            multiprocessors=self.multiprocessors,
        )
        return super().step(tokens)

    def attend(
        self,
        module: nn.Module,
        query: Float[Tensor, "B H 1 D"],
        key: Float[Tensor, "B J 1 D"],
        value: Float[Tensor, "B J 1 E"],
        *,
        scaling: float | None,
        window: int | None,
    ) -> Float[Tensor, "B 1 H E"]:
        for states, new in zip(self.completions[module], (key, value), strict=True):
            states[self.rows, :, self.columns] = new[:, :, 0]
        scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
        prompts, completions = self.prompts[module], self.completions[module]
        return attend(query[:, :, 0], prompts, completions, self.where, scaling=scaling, window=window)[:, None]

    def _arrange(self) -> None:
        super()._arrange()
        groups = torch.tensor(self.groups, dtype=torch.long)
        counts = torch.bincount(groups, minlength=len(self.lengths))
        self.first = torch.cat([counts.new_zeros(1), counts.cumsum(0)]).to(self.device)
        self.each = torch.arange(len(groups) + 1, device=self.device)
        self.lengths_of_groups = torch.tensor(self.lengths, dtype=torch.long, device=self.device)
        self.nothing = torch.zeros_like(self.lengths_of_groups)
