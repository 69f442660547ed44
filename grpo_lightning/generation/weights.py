"""The policy's weights for an engine that has a copy of its own: whole, by the names of a Hugging Face checkpoint."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion

Mark = tuple[int, int]
"""What tells two states of the weights apart."""


def mark(policy: PreTrainedModel, version: int) -> Mark:
    """Optimizer steps, and torch's count of in-place changes: also loading a checkpoint makes another state."""
    return version, sum(parameter._version for parameter in policy.parameters())


def full_weights(policy: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """Name and whole tensor, one after the other; tied ones once.

    Where the policy is sharded each step is a collective, so every rank must go through to the end.
    """
    state = policy.state_dict(keep_vars=True)
    if any(".lora_" in name for name in state):
        raise ValueError("engine: an engine with weights of its own knows no adapters; take the built-in engine")
    seen: set[int] = set()
    for name, value in state.items():
        if id(value) not in seen:
            seen.add(id(value))
            value = value.detach()
            yield name, value.full_tensor() if isinstance(value, DTensor) else value


def checkpoint_weights(policy: PreTrainedModel, *, keep: bool) -> dict[str, Tensor]:
    """All of `full_weights` by their names in a checkpoint; a collective. {} where `keep` is false."""
    whole = {}
    for name, value in full_weights(policy):
        if keep:
            whole[name] = value
    return dict(revert_weight_conversion(policy, whole)) if keep else {}


def write_weights(weights: dict[str, Tensor], folder: Path) -> None:
    """Leaves `folder` with `model.safetensors`; whoever sees the folder sees it whole."""
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    whole = {name: value.to("cpu").contiguous() for name, value in weights.items()}
    save_file(whole, unfinished / "model.safetensors", metadata={"format": "pt"})
    unfinished.rename(folder)
