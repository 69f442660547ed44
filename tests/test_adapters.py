"""LoRA: it starts as nothing, it alone trains and is saved, and merged or alone it is the policy that was trained."""

import sys
from pathlib import Path

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from grpo_lightning.adapters import AdapterConfig, add_adapter, without_adapter
from grpo_lightning.exporting import export_checkpoint
from grpo_lightning.objective import KLConfig, ObjectiveConfig
from grpo_lightning.optimization import OptimizerConfig
from grpo_lightning.policy import PolicyConfig, load_policy
from tests.fakes import tiny_data, tiny_module, tiny_trainer
from tests.tiny import tiny_folder, tiny_policy

IDS = torch.tensor([[3, 4, 5, 6, 7]])
KL = ObjectiveConfig(kl=KLConfig(beta=0.05))


@torch.no_grad()
def logits(policy: PreTrainedModel) -> torch.Tensor:
    return policy(input_ids=IDS).logits


@pytest.mark.parametrize("family", ["qwen3", "llama", "gpt2"])
def test_a_new_adapter_changes_nothing_and_alone_has_gradients(family: str) -> None:
    policy = tiny_policy(family)
    before = logits(policy)
    add_adapter(policy, AdapterConfig(rank=2))
    assert torch.equal(logits(policy), before)
    trained = {name for name, parameter in policy.named_parameters() if parameter.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    assert not any("lm_head" in name for name in trained)


def test_an_adapter_keeps_its_precision_on_weights_of_16_bit(tmp_path: Path) -> None:
    """Steps of 1e-5 beside entries of about 0.1 are below what bfloat16 can tell apart."""
    folder = str(tiny_folder(tmp_path / "tiny"))
    config = PolicyConfig(pretrained=folder, dtype="bfloat16", adapter=AdapterConfig(rank=2))
    module = tiny_module(tmp_path, policy=config, optimizer=OptimizerConfig(lr=1e-5))
    tiny_trainer(tmp_path, max_epochs=1).fit(module, datamodule=tiny_data(tmp_path))
    start = load_policy(config, seed=0).state_dict()
    for name, value in module.model.state_dict().items():
        assert value.dtype == (torch.float32 if "lora_" in name else torch.bfloat16)
        if "lora_A" in name:
            assert float((value != start[name]).float().mean()) > 0.9, name


def test_without_its_adapter_a_policy_is_what_it_was() -> None:
    policy = tiny_policy()
    before = logits(policy)
    add_adapter(policy, AdapterConfig(rank=2))
    for name, parameter in policy.named_parameters():
        if "lora_B" in name:
            parameter.data.fill_(0.1)
    with without_adapter(policy):
        assert torch.equal(logits(policy), before)
    assert not torch.allclose(logits(policy), before)
    assert all(p.requires_grad for name, p in policy.named_parameters() if "lora_" in name)


def test_training_moves_the_adapter_and_nothing_else(tmp_path: Path) -> None:
    """And the reference of its KL term is the policy without it: 0 at first, then not."""
    module = tiny_module(
        tmp_path,
        policy=PolicyConfig(pretrained=str(tiny_folder(tmp_path / "tiny")), adapter=AdapterConfig(rank=2)),
        objective=KL,
    )
    trainer = tiny_trainer(tmp_path, max_epochs=1)
    trainer.fit(module, datamodule=tiny_data(tmp_path))
    assert module.reference is None
    start = load_policy(module.policy_config, seed=0).state_dict()
    moved = {name for name, value in module.model.state_dict().items() if not torch.equal(value, start[name])}
    assert moved
    assert all("lora_" in name for name in moved)
    assert float(trainer.callback_metrics["update/kl_to_reference"]) > 1e-6


def test_a_checkpoint_holds_the_adapter_alone_and_resumes_exactly(tmp_path: Path) -> None:
    settings = {
        "policy": PolicyConfig(pretrained=str(tiny_folder(tmp_path / "tiny")), adapter=AdapterConfig(rank=2)),
        "objective": KL,
    }
    whole = tiny_module(tmp_path, **settings)
    tiny_trainer(tmp_path, max_epochs=2).fit(whole, datamodule=tiny_data(tmp_path))
    middle = tmp_path / "checkpoints" / "step=8.ckpt"
    saved = torch.load(middle, weights_only=True)["state_dict"]
    assert saved
    assert all("lora_" in name for name in saved)
    resumed = tiny_module(tmp_path, **settings)
    tiny_trainer(tmp_path, max_epochs=2).fit(resumed, datamodule=tiny_data(tmp_path), ckpt_path=middle)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_merged_or_alone_an_export_is_the_trained_policy(tmp_path: Path) -> None:
    base = tiny_folder(tmp_path / "tiny")
    config = PolicyConfig(pretrained=str(base), adapter=AdapterConfig(rank=2, alpha=3.0))
    module = tiny_module(tmp_path, policy=config)
    tiny_trainer(tmp_path, max_epochs=1).fit(module, datamodule=tiny_data(tmp_path))
    checkpoint = tmp_path / "checkpoints" / "step=12.ckpt"
    export_checkpoint(config, checkpoint, tmp_path / "hf", seed=0, run=tmp_path)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "hf")
    alone = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path / "hf" / "adapter")
    want = logits(module.model)
    assert not torch.allclose(want, logits(AutoModelForCausalLM.from_pretrained(base)), atol=1e-4)
    torch.testing.assert_close(logits(merged), want, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits(alone), want, rtol=1e-5, atol=1e-5)
    assert not any("lora_" in name for name in merged.state_dict())


def test_a_checkpoint_without_this_adapter_is_refused_instead_of_left_aside(tmp_path: Path) -> None:
    """Otherwise the export would be the pretrained policy, and a resumed run would begin anew."""
    folder = str(tiny_folder(tmp_path / "tiny"))
    plain, narrow, wide = (
        PolicyConfig(pretrained=folder, adapter=adapter)
        for adapter in (None, AdapterConfig(rank=2, modules=("q_proj",)), AdapterConfig(rank=2))
    )
    for made, named in ((plain, wide), (narrow, wide), (wide, narrow)):
        state = load_policy(made, seed=0).state_dict()
        checkpoint = {"state_dict": {f"policy.{name}": value for name, value in state.items()}}
        torch.save(checkpoint, tmp_path / "a.ckpt")
        with pytest.raises(ValueError, match=r"policy\.adapter: makes \d+ matrices, of which the checkpoint has"):
            export_checkpoint(named, tmp_path / "a.ckpt", tmp_path / "hf", seed=0, run=tmp_path)
    module = tiny_module(tmp_path, policy=plain)
    tiny_trainer(tmp_path, max_epochs=1).fit(module, datamodule=tiny_data(tmp_path))
    resumed, middle = tiny_module(tmp_path, policy=wide), tmp_path / "checkpoints" / "step=4.ckpt"
    with pytest.raises(ValueError, match=r"policy\.adapter: makes 28 matrices, of which the checkpoint has 0, and 0"):
        tiny_trainer(tmp_path, max_epochs=1).fit(resumed, datamodule=tiny_data(tmp_path), ckpt_path=middle)


def test_an_adapter_for_layers_that_are_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match=r"policy\.adapter\.modules: query do not fit a Qwen3ForCausalLM.* q_proj"):
        add_adapter(tiny_policy(), AdapterConfig(modules=("query",)))


def test_quantised_weights_need_an_adapter_bitsandbytes_and_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"policy\.quantization: only frozen weights"):
        PolicyConfig(pretrained="x", quantization="nf4")
    folder = str(tiny_folder(tmp_path / "tiny"))
    config = PolicyConfig(pretrained=folder, adapter=AdapterConfig(rank=2), quantization="nf4")
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)  # as where it is not installed
    with pytest.raises(ValueError, match=r"pip install 'grpo-lightning\[qlora\]'"):
        load_policy(config, seed=0)
    module = tiny_module(tmp_path, policy=config)
    with pytest.raises(ValueError, match=r"policy\.quantization: 'nf4' trains on GPUs only"):
        tiny_trainer(tmp_path).fit(module, datamodule=tiny_data(tmp_path))
