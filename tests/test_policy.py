"""Loading, refusing and writing policies; dropout off; the head in chunks."""

import json
from itertools import product
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, FalconConfig, Gemma2Config, GraniteConfig

from grpo_lightning import head as head_module
from grpo_lightning.batching import Sample, micro_batches
from grpo_lightning.exporting import write_policy
from grpo_lightning.fused import fuse_layers
from grpo_lightning.generation import BuiltinGenerator
from grpo_lightning.logprobs import check_layout, completion_logprobs
from grpo_lightning.policy import (
    PolicyConfig,
    check_head,
    frozen_copy,
    load_policy,
    load_tokenizer,
    resolve,
)
from tests.tiny import END, SHAPE, prompt, tiny_folder, tiny_policy, tiny_tokenizer
from tests.tiny import sample as tiny_sample

FALCON = {
    "vocab_size": 24,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.3,
}


def sample(text: str, completion: list[int]) -> Sample:
    return tiny_sample(prompt(text).token_ids, completion, advantage=1.0)


SAMPLES = [sample("12+34=", [3, 4, END]), sample("7=", [5, 6, 7, 8, 9, END])]


def test_a_folder_loads_and_writes_back_the_same(tmp_path: Path) -> None:
    folder = str(tiny_folder(tmp_path / "a"))
    policy = load_policy(PolicyConfig(pretrained=folder), seed=0)
    for name, value in tiny_policy().state_dict().items():
        assert torch.equal(policy.state_dict()[name], value), name
    config, tokenizer = PolicyConfig(pretrained=folder), load_tokenizer(folder)
    write_policy(tmp_path / "b", config, policy, policy.state_dict(), tokenizer, seed=0, run=tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "b").eval()
    ids = torch.tensor([[2, 3, 4]])
    assert torch.allclose(again(ids).logits, policy.eval()(ids).logits, atol=1e-5)
    fuse_layers(again)
    assert torch.equal(again(ids).logits, policy(ids).logits)
    assert AutoTokenizer.from_pretrained(tmp_path / "b").decode([2, 3, 12]) == tiny_tokenizer().decode([2, 3, 12])
    assert (tmp_path / "b" / "model.safetensors").is_file()


def test_random_weights_come_from_the_seed(tmp_path: Path) -> None:
    config = PolicyConfig(pretrained=str(tiny_folder(tmp_path)), random_weights=True)
    first, again, other = (load_policy(config, seed=seed).get_input_embeddings().weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, tiny_policy().get_input_embeddings().weight)


def test_dropout_is_off_even_in_training_mode(tmp_path: Path) -> None:
    """GPT-2 with half of everything dropped: two passes in training mode agree, and agree with evaluation."""
    folder = tiny_folder(tmp_path, "gpt2")
    config = json.loads((folder / "config.json").read_text())
    config |= {"resid_pdrop": 0.5, "embd_pdrop": 0.5, "attn_pdrop": 0.5}
    (folder / "config.json").write_text(json.dumps(config))
    dropping = AutoModelForCausalLM.from_pretrained(folder).train()
    ids = torch.tensor([[2, 3, 4, 5]])
    assert not torch.equal(dropping(ids).logits, dropping(ids).logits), "the case is too easy"
    policy = load_policy(PolicyConfig(pretrained=str(folder)), seed=0)
    assert policy.training
    assert torch.equal(policy(ids).logits, policy(ids).logits)
    assert torch.equal(policy(ids).logits, policy.eval()(ids).logits)


def test_attention_dropout_is_off(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"attention_dropout": 0.5}))
    policy = load_policy(PolicyConfig(pretrained=str(folder)), seed=0)
    ids = torch.tensor([[2, 3, 4, 5]])
    assert torch.equal(policy(ids).logits, policy(ids).logits)


def gradients(policy: torch.nn.Module) -> torch.Tensor:
    batch = next(iter(micro_batches(SAMPLES, max_tokens=1000, layout="padded")))
    policy.zero_grad()
    completion_logprobs(policy, batch, temperature=1.0).logprobs.sum().backward()
    return torch.cat([p.grad.flatten() for p in policy.parameters()])


@pytest.mark.parametrize("family", ["qwen3", "gpt2"])
def test_gradient_checkpointing_changes_no_gradient(tmp_path: Path, family: str) -> None:
    folder = str(tiny_folder(tmp_path, family))
    plain = load_policy(PolicyConfig(pretrained=folder), seed=0)
    saving = load_policy(PolicyConfig(pretrained=folder, gradient_checkpointing=True), seed=0)
    assert saving.is_activation_checkpointing
    assert torch.allclose(gradients(plain), gradients(saving), atol=1e-6)


def test_chunks_change_neither_logprobs_nor_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = gradients(tiny_policy(dtype=torch.float64))
    monkeypatch.setattr(head_module, "CHUNK_LOGITS", 1)
    assert torch.allclose(gradients(tiny_policy(dtype=torch.float64)), whole, atol=1e-12)


def test_entropy_against_the_definition() -> None:
    batch = next(iter(micro_batches(SAMPLES, max_tokens=1000, layout="padded")))
    policy = tiny_policy()
    found = completion_logprobs(policy, batch, temperature=0.5)
    with torch.no_grad():
        logits = policy(torch.tensor([SAMPLES[0].prompt_ids + SAMPLES[0].completion_ids])).logits[0, 1:-1] / 0.5
    table = torch.softmax(logits[-3:], -1).double()
    assert not found.entropy.requires_grad
    mine = found.entropy.split(batch.lengths.tolist())[batch.order.index(0)]
    assert mine.tolist() == pytest.approx((-table * table.log()).sum(-1).tolist(), rel=1e-4)


@pytest.mark.parametrize(
    "config",
    [
        Gemma2Config(**SHAPE, final_logit_softcapping=3.0, attn_logit_softcapping=None, query_pre_attn_scalar=8),
        GraniteConfig(**{k: v for k, v in SHAPE.items() if k != "head_dim"}, logits_scaling=4.0),
    ],
    ids=["softcapping", "scaling"],
)
def test_families_that_transform_their_logits(config: object) -> None:
    torch.manual_seed(0)
    check_head(AutoModelForCausalLM.from_config(config), "tiny")


def test_an_unknown_transformation_of_logits_is_refused() -> None:
    policy = tiny_policy("llama")
    plain = policy.forward

    def forward(*args: object, **kwargs: object) -> object:
        output = plain(*args, **kwargs)
        output.logits = output.logits * 2
        return output

    policy.forward = forward
    with pytest.raises(ValueError, match=r"'odd' transforms its logits .* extend grpo_lightning\.policy\.project"):
        check_head(policy, "odd")


def test_the_reference_is_a_frozen_copy_of_these_weights() -> None:
    policy = tiny_policy()
    with torch.no_grad():
        policy.get_input_embeddings().weight += 1
    reference = frozen_copy(policy)
    before = reference.get_input_embeddings().weight.clone()
    assert torch.equal(before, policy.get_input_embeddings().weight)
    with torch.no_grad():
        policy.get_input_embeddings().weight += 1
    assert torch.equal(reference.get_input_embeddings().weight, before)
    assert not any(parameter.requires_grad for parameter in reference.parameters())


def test_missing_and_broken_folders_are_named(tmp_path: Path) -> None:
    for name in (str(tmp_path / "nowhere"), "no-such/model"):
        for load in (
            lambda name=name: load_policy(PolicyConfig(pretrained=name), seed=0),
            lambda name=name: load_tokenizer(name),
        ):
            with pytest.raises(
                ValueError, match=rf"policy\.pretrained: no (model|tokenizer) could be loaded from '{name}'"
            ) as caught:
                load()
            assert "\n" not in str(caught.value)
    folder = tiny_folder(tmp_path / "broken")
    (folder / "model.safetensors").write_bytes(b"not a tensor")
    with pytest.raises(ValueError, match="no model could be loaded"):
        load_policy(PolicyConfig(pretrained=str(folder)), seed=0)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match="no model could be loaded"):
        load_policy(PolicyConfig(pretrained=str(folder)), seed=0)


def test_embedded_policies_are_listed_when_the_name_is_wrong() -> None:
    with pytest.raises(
        ValueError, match="'embedded:nope' does not exist; known: embedded:arithmetic, embedded:programs"
    ):
        resolve("embedded:nope")


@pytest.mark.parametrize("name", ["arithmetic", "programs"])
def test_embedded_policies_load(name: str) -> None:
    policy = load_policy(PolicyConfig(pretrained=f"embedded:{name}"), seed=0)
    tokenizer = load_tokenizer(f"embedded:{name}")
    assert 300_000 <= sum(p.numel() for p in policy.parameters()) <= 3_000_000
    assert sum(file.stat().st_size for file in Path(resolve(f"embedded:{name}")).iterdir()) < 3_000_000
    text = "<think>\n5+7+0=12</think><answer>812</answer>"
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False), skip_special_tokens=True) == text


def test_a_dropout_that_stays_is_refused(tmp_path: Path) -> None:
    """Falcon reads its rates from the config at each pass."""
    config = FalconConfig(**FALCON, hidden_dropout=0.5)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="has a dropout that cannot be turned off here"):
        load_policy(PolicyConfig(pretrained=str(tmp_path)), seed=0)


def test_packing_is_refused_where_sequences_would_see_each_other() -> None:
    for family, layout in product(("qwen3", "llama", "gpt2"), ("shared", "padded", "packed")):
        check_layout(tiny_policy(family), layout)
    torch.manual_seed(0)
    falcon = AutoModelForCausalLM.from_config(FalconConfig(**FALCON))
    with pytest.raises(
        ValueError, match=r"update\.layout: 'packed' mixes sequences in a FalconForCausalLM .* use 'padded'"
    ):
        check_layout(falcon, "packed")
    with pytest.raises(ValueError, match=r"update\.layout: 'shared' needs the attention .* FalconForCausalLM does not"):
        check_layout(falcon, "shared")
    check_layout(falcon, "padded")


def test_a_model_with_a_recurrent_state_is_refused() -> None:
    policy = tiny_policy()
    policy.config.layer_types = ["linear_attention", "full_attention"]
    with pytest.raises(ValueError, match="which the built-in engine cannot share within a group"):
        BuiltinGenerator(policy, tiny_tokenizer())
