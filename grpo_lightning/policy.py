"""Load or build the policy, its tokenizer and its frozen reference, and share them out over devices.

Differs from a bare `from_pretrained` in three ways: dropout is off for good (a log-prob must not depend on a coin), the
output head is checked to be one this project can compute in chunks, and errors say what to do.
"""

import copy
import importlib
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Literal

import torch
from jaxtyping import Float
from lightning.pytorch.strategies import Strategy
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from grpo_lightning.adapters import AdapterConfig, add_adapter
from grpo_lightning.attention import take_plans
from grpo_lightning.fused import fuse_layers
from grpo_lightning.hub import prepare_hub
from grpo_lightning.seeding import seeded
from grpo_lightning.sharding import FullySharded, layers_of, share_out
from grpo_lightning.waiting import waiting

EMBEDDED = "embedded:"
"""Prefix of the tiny policies that live in this package, as in `embedded:arithmetic`."""

HEAD_TOLERANCE = 1e-2
"""Relative difference allowed between a model's own logits and `project`'s: rounding in bfloat16, nothing more."""


@dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    """Which model is trained."""

    pretrained: str
    """Hub name, local folder, or `embedded:arithmetic` / `embedded:programs` for the tiny ones in this package."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    dtype: Literal["float64", "float32", "bfloat16", "float16"] = "float32"
    """Of the weights. For mixed precision keep float32 and set `trainer.precision`."""
    attention: Literal["sdpa", "eager", "flash_attention_2", "flex_attention"] = "sdpa"
    """The attention implementation."""
    random_weights: bool = False
    """Take only the shape and the tokenizer from `pretrained`; draw the weights from the run's seed."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model. Off: such a model is refused."""
    gradient_checkpointing: bool = False
    """Recompute each layer in the backward pass: less memory, about a third more time."""
    compile: bool = False
    """`torch.compile` the policy's layers, for updates; completions of a Llama, Mistral or Qwen are drawn without."""
    adapter: AdapterConfig | None = None
    """Train a low-rank adapter (LoRA, by PEFT) instead of all weights."""
    quantization: Literal["none", "nf4"] = "none"
    """`nf4`: keep the frozen weights in 4 bit (QLoRA, by bitsandbytes); with an adapter only."""

    def __post_init__(self) -> None:
        if self.quantization != "none" and self.adapter is None:
            raise ValueError("policy.quantization: only frozen weights can be quantised; set policy.adapter, too")
        if self.quantization != "none" and self.random_weights:
            raise ValueError("policy.quantization: reads weights from `pretrained`, so not with policy.random_weights")


def resolve(pretrained: str) -> str:
    """`embedded:NAME` -> its folder in this package; anything else is returned as it is."""
    if not pretrained.startswith(EMBEDDED):
        return pretrained
    root = Path(__file__).parent / "embedded"
    folder = root / pretrained.removeprefix(EMBEDDED)
    if not folder.is_dir():
        known = ", ".join(sorted(EMBEDDED + path.name for path in root.iterdir() if path.is_dir()))
        raise ValueError(f"policy.pretrained: {pretrained!r} does not exist; known: {known}")
    return str(folder)


def load_tokenizer(
    pretrained: str, *, revision: str | None = None, trust_remote_code: bool = False
) -> PreTrainedTokenizerBase:
    """The tokenizer of a hub name, a local folder or an embedded policy; pads with its end token if it has no other."""
    path = resolve(pretrained)
    prepare_hub(path)
    try:
        with waiting(f"the tokenizer of {pretrained}"):
            tokenizer = AutoTokenizer.from_pretrained(path, revision=revision, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise ValueError(_not_loaded("tokenizer", pretrained, error)) from error
    if tokenizer.eos_token_id is None:
        raise ValueError(f"policy.pretrained: the tokenizer of {pretrained!r} has no end-of-sequence token; set one")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_models(
    config: PolicyConfig, *, reference: bool, seed: int, strategy: Strategy
) -> tuple[PreTrainedModel, PreTrainedModel | None]:
    """The policy, and its frozen reference if one is asked for, as the strategy shares them out."""
    if config.quantization != "none" and strategy.root_device.type != "cuda":
        raise ValueError(
            f"policy.quantization: {config.quantization!r} trains on GPUs only; bitsandbytes has no gradients on a CPU"
        )
    if config.quantization != "none" and isinstance(strategy, FullySharded):
        raise ValueError(
            "policy.quantization: quantised weights cannot be shared out; take trainer.strategy ddp or auto"
        )
    if not isinstance(strategy, FullySharded):
        policy = load_policy(config, seed=seed)
        copied = frozen_copy(policy) if reference else None
        return policy, None if copied is None else nn.Module.to(copied, strategy.root_device)
    error = ""
    try:
        policy = load_policy(config, seed=seed, empty=not strategy.is_global_zero)
    except ValueError as refused:  # the others would wait for rank 0's weights
        error = str(refused)
    if error := strategy.broadcast(error):
        raise ValueError(error)
    with waiting("the policy to be shared out over the devices"):
        models = share_out(policy, strategy, copies=1 + reference)
    return models[0].train(), models[1].eval().requires_grad_(False) if reference else None


def load_policy(config: PolicyConfig, *, seed: int, empty: bool = False) -> PreTrainedModel:
    """The policy on the CPU, without dropout, ready to train. `empty`: of the same shape, on the meta device."""
    path, dtype = resolve(config.pretrained), getattr(torch, config.dtype)
    prepare_hub(path)
    shared = {"revision": config.revision, "trust_remote_code": config.trust_remote_code}
    how = {"dtype": dtype, "attn_implementation": config.attention}
    try:
        if empty or config.random_weights:
            shape = AutoConfig.from_pretrained(path, **shared)
            with seeded("weights", seed), torch.device("meta" if empty else "cpu"):
                policy = AutoModelForCausalLM.from_config(shape, trust_remote_code=config.trust_remote_code, **how)
        else:
            if config.quantization == "nf4":
                how["quantization_config"] = four_bit(dtype)
            with waiting(f"the weights of {config.pretrained}"):
                policy = AutoModelForCausalLM.from_pretrained(path, **shared, **how)
    except UnpicklingError as error:
        cause = ValueError("its pickle holds more than weights, and is not loaded; have it converted to safetensors")
        raise ValueError(_not_loaded("model", config.pretrained, cause)) from error
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        raise ValueError(_not_loaded("model", config.pretrained, error)) from error
    disable_dropout(policy)
    take_plans(policy)
    if not empty:
        check_dropout(policy, config.pretrained)
        check_head(policy, config.pretrained)
    if config.adapter is not None:
        with seeded("adapter", seed):
            add_adapter(policy, config.adapter)
    if config.gradient_checkpointing:
        # The second is its name in transformers 5.20, the last that vLLM 0.33 can be installed with.
        enable = getattr(policy, "activation_checkpointing_enable", None) or policy.gradient_checkpointing_enable
        enable({"use_reentrant": False})
    fuse_layers(policy)
    if config.compile:
        for layer in layers_of(policy):
            layer.compile()
    return policy.train()


def four_bit(dtype: torch.dtype) -> BitsAndBytesConfig:
    """NF4 with doubly quantised scales (QLoRA, https://arxiv.org/abs/2305.14314), computing in `dtype`."""
    try:
        importlib.import_module("bitsandbytes")
    except ImportError:
        raise ValueError("policy.quantization: needs bitsandbytes; pip install 'grpo-lightning[qlora]'") from None
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def frozen_copy(policy: PreTrainedModel) -> PreTrainedModel:
    """The reference: this policy's weights as they are now, without gradients."""
    return copy.deepcopy(policy).eval().requires_grad_(False)


def disable_dropout(policy: PreTrainedModel) -> None:
    """Sets every dropout rate to zero, in the modules and in the attributes that attention layers read.

    Turning off training mode would do the same but also gradient checkpointing, which transformers ties to it.
    """
    for module in policy.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name, value in vars(module).items():
            if isinstance(value, float) and ("drop" in name or "jitter" in name):
                setattr(module, name, 0.0)


@torch.no_grad()
def check_dropout(policy: PreTrainedModel, name: str) -> None:
    """Refuses a model that still drops something in training mode: its log-probs would depend on a coin."""
    ids = torch.arange(8).remainder(policy.config.get_text_config(decoder=True).vocab_size)[None]
    with seeded("dropout", name):
        once, twice = (policy.train().base_model(input_ids=ids, use_cache=False)[0] for _ in range(2))
    if not torch.equal(once, twice):
        raise ValueError(
            f"policy.pretrained: {name!r} has a dropout that cannot be turned off here; set the dropout rates in its "
            "config.json to 0"
        )


def project(policy: PreTrainedModel, hidden: Float[Tensor, "N D"]) -> Float[Tensor, "N V"]:
    """Final hidden states -> logits, in float32 or better: the head, with the scalings some families put behind it."""
    logits = policy.get_output_embeddings()(hidden)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    cap, divisor, factor = _scalings(policy)
    if cap is not None:
        logits = cap * torch.tanh(logits / cap)
    if divisor is not None:
        logits = logits / divisor
    if factor is not None:
        logits = logits * factor
    return logits


def plain_head(policy: PreTrainedModel) -> Tensor | None:
    """The head's weight, where `project` is a product with it and nothing else; None where it is more."""
    head = policy.get_output_embeddings()
    more = type(head) is not nn.Linear or head.bias is not None or "forward" in vars(head)
    if more or _scalings(policy) != (None, None, None) or head._forward_hooks or head._forward_pre_hooks:
        return None
    return None if isinstance(head.weight, DTensor) else head.weight


def _scalings(policy: PreTrainedModel) -> tuple[float | None, float | None, float | None]:
    """What is done to logits behind the head: a soft cap, a divisor, a factor."""
    config = policy.config.get_text_config(decoder=True)
    names = ("final_logit_softcapping", "logits_scaling", "logit_scale")
    return tuple(getattr(config, name, None) for name in names)  # type: ignore[return-value]


@torch.no_grad()
def check_head(policy: PreTrainedModel, name: str) -> None:
    """Refuses a model whose logits are not `project` of its final hidden states."""
    vocabulary = policy.config.get_text_config(decoder=True).vocab_size
    ids = (vocabulary // 2 + torch.arange(8)).remainder(vocabulary)[None]
    hidden = policy.base_model(input_ids=ids, use_cache=False)[0]
    own, ours = policy(input_ids=ids, use_cache=False).logits[0].float(), project(policy, hidden[0])
    difference = (own - ours).abs().max() / own.abs().max().clamp(min=1e-6)
    if not difference <= HEAD_TOLERANCE:
        raise ValueError(
            f"policy.pretrained: {name!r} transforms its logits in a way this project does not know (relative "
            f"difference {float(difference):.2g}); extend grpo_lightning.policy.project"
        )


@torch.no_grad()
def move_towards(reference: PreTrainedModel, policy: PreTrainedModel, mix: float) -> None:
    """reference = mix x policy + (1 - mix) x reference (TR-DPO, https://arxiv.org/abs/2404.09656); 1 copies exactly."""
    for own, other in zip(reference.parameters(), policy.parameters(), strict=True):
        own.copy_(other if mix == 1 else mix * other + (1 - mix) * own)


def _not_loaded(what: str, pretrained: str, error: Exception) -> str:
    cause = " ".join(str(error).split())[:300]
    return (
        f"policy.pretrained: no {what} could be loaded from {pretrained!r} (a hub name, or a folder with config.json, "
        f"model.safetensors and tokenizer.json): {cause}"
    )
