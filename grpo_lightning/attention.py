"""One hook into the models' attention: where a plan comes with the call, the plan says who sees whom.

Models ask transformers for an attention function by name. Ours is their `sdpa`, and, if the model was called with
`plan=...`, the plan's own instead. So sequences can share the keys and values of their prompt, which no mask of
transformers can say.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

PLANNED = "planned_sdpa"
"""Its name in transformers."""


class Plan(ABC):
    """Who sees whom, in one call of the model."""

    @abstractmethod
    def attend(
        self,
        module: nn.Module,
        query: Float[Tensor, "B H S D"],
        key: Float[Tensor, "B J C D"],
        value: Float[Tensor, "B J C D"],
        *,
        scaling: float | None,
        window: int | None,
    ) -> Float[Tensor, "B S H D"]:
        """What each query takes from the values it sees. `window`: it sees so many places back, itself included."""
        ...


def take_plans(policy: PreTrainedModel) -> None:
    """Lets the policy take plans, where it asks transformers for its attention and would have been given `sdpa`."""
    if policy._supports_attention_backend and policy.config._attn_implementation == "sdpa":
        policy.set_attn_implementation(PLANNED)


def takes_plans(policy: PreTrainedModel) -> bool:
    """Whether a plan given to the policy is followed."""
    return policy.config._attn_implementation == PLANNED


@contextmanager
def without_plans(policy: PreTrainedModel) -> Iterator[None]:
    """For engines of transformers that look at the name of the attention, and know `sdpa` only."""
    planned = takes_plans(policy)
    if planned:
        policy.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        if planned:
            policy.set_attn_implementation(PLANNED)


def no_mask(device: torch.device) -> Float[Tensor, "1 1 1 1"]:
    """In place of a mask, in a call with a plan: transformers takes one of four axes as it is, and makes none."""
    return torch.zeros((1, 1, 1, 1), device=device)


def _planned(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    plan: Plan | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **settings: Any,
) -> tuple[Tensor, Tensor | None]:
    if plan is None:
        settings |= {"scaling": scaling, "sliding_window": sliding_window}
        return sdpa_attention_forward(module, query, key, value, attention_mask, **settings)
    if changed := [name for name in ("softcap", "position_bias", "s_aux") if settings.get(name) is not None]:
        raise ValueError(f"a {type(module).__name__} has {changed[0]}, which no plan knows")
    return plan.attend(module, query, key, value, scaling=scaling, window=sliding_window), None


AttentionInterface.register(PLANNED, _planned)
AttentionMaskInterface.register(PLANNED, sdpa_mask)
