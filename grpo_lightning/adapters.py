"""Low-rank adapters by PEFT: a few trained matrices on a frozen policy, whose reference is the policy without them.

PEFT is an extra, loaded only where a config names an adapter.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

NAME = "default"
"""Of the adapter, within PEFT."""


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """LoRA (https://arxiv.org/abs/2106.09685): W + alpha / rank x B A, of which only A and B train."""

    rank: int = 16
    """Inner dimension of B A."""
    alpha: float = 32.0
    """Scale of B A, as a multiple of 1 / rank."""
    modules: tuple[str, ...] = ()
    """Names of the linear layers that are adapted, such as `q_proj`; empty: all but the output head."""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"adapter.rank: {self.rank} is refused; it must be at least 1")
        if not 0 < self.alpha < float("inf"):
            raise ValueError(f"adapter.alpha: {self.alpha} is refused; it must be positive")


class Low(NamedTuple):
    """What an adapter adds to x W^T: (x down^T) up^T."""

    down: Float[Tensor, "R D"]
    up: Float[Tensor, "E R"]
    """With its scale."""


def add_adapter(policy: PreTrainedModel, config: AdapterConfig) -> None:
    """Puts an adapter, which at first changes nothing, on the policy, and freezes everything else."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise ValueError("policy.adapter: needs PEFT; pip install 'grpo-lightning[lora]'") from None
    linear = {name: m for name, m in policy.named_modules() if isinstance(m, nn.Linear | Conv1D)}
    how = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type]
        target_modules=list(config.modules) or "all-linear",
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in linear.values()),
        task_type="CAUSAL_LM",
    )
    try:
        inject_adapter_in_model(how, policy, NAME)
    except ValueError as error:
        names = sorted({name.rpartition(".")[2] for name in linear})
        raise ValueError(
            f"policy.adapter.modules: {', '.join(config.modules)} do not fit a {type(policy).__name__}, whose linear "
            f"layers are {', '.join(names)} ({' '.join(str(error).split())[:120]})"
        ) from error
    for name, parameter in policy.named_parameters():
        parameter.requires_grad_("lora_" in name)
        if parameter.requires_grad:  # the small steps of an adapter would be lost in 16 bits
            parameter.data = parameter.data.to(torch.promote_types(parameter.dtype, torch.float32))


def check_adapter(policy: PreTrainedModel, names: Iterable[str]) -> None:
    """Refuses weights of these names if their adapter is on other layers than the policy's, or if they have none."""
    own = {name for name, _ in policy.named_parameters() if "lora_" in name}
    found = {name.removeprefix("policy.") for name in names if "lora_" in name}
    if own != found:
        raise ValueError(
            f"policy.adapter: makes {len(own)} matrices, of which the checkpoint has {len(own & found)}, and "
            f"{len(found - own)} others; take the policy.adapter of the run's config.yaml"
        )


@contextmanager
def without_adapter(policy: PreTrainedModel) -> Iterator[None]:
    """Within it the policy is the one that the adapter was put on."""
    layers = _layers(policy)
    for layer in layers:
        vars(layer)["_disable_adapters"] = True  # `enable_adapters` would also turn off their gradients
    try:
        yield
    finally:
        for layer in layers:
            vars(layer)["_disable_adapters"] = False


def unadapted(module: nn.Module) -> tuple[nn.Module, Low | None]:
    """The layer below an adapter, and the adapter; where there is none that is known, the module itself and None."""
    if "lora_A" not in module._modules or list(module.lora_A) != [NAME]:  # type: ignore[arg-type]
        return module, None
    layer: Any = module
    one, other = layer.lora_A[NAME], layer.lora_B[NAME]
    more = layer.disable_adapters or layer.merged or NAME in layer.lora_variant or layer.active_adapters != [NAME]
    plain = all(type(each) is nn.Linear and each.bias is None for each in (one, other))
    if more or not plain or type(layer.lora_dropout[NAME]) is not nn.Identity:
        return module, None
    return layer.get_base_layer(), Low(one.weight.detach(), other.weight.detach() * layer.scaling[NAME])


def write_adapter(policy: PreTrainedModel, folder: Path) -> None:
    """The adapter alone, as `peft.PeftModel.from_pretrained` reads it."""
    from peft import get_peft_model_state_dict

    folder.mkdir(parents=True, exist_ok=True)
    state = get_peft_model_state_dict(policy, adapter_name=NAME)
    weights = {f"base_model.model.{name}": value.contiguous() for name, value in state.items()}
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    policy.peft_config[NAME].save_pretrained(folder)


def merge_adapter(policy: PreTrainedModel) -> None:
    """W becomes W + alpha / rank x B A, and the adapter is gone."""
    adapted = set(_layers(policy))
    for name, module in list(policy.named_modules()):
        if module in adapted:
            module.merge()
            owner, _, leaf = name.rpartition(".")
            setattr(policy.get_submodule(owner), leaf, module.get_base_layer())
    del policy.peft_config


def _layers(policy: PreTrainedModel) -> list[nn.Module]:
    from peft.tuners.lora import LoraLayer

    return [module for module in policy.modules() if isinstance(module, LoraLayer)]
