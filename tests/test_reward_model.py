"""A tiny random reward model, saved to a folder, against the model called by hand."""

import logging
import pickle
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    GPT2Config,
    PreTrainedConfig,
    Qwen3Config,
)

from grpo_lightning.seeding import seeded
from grpo_lightning.types import Record
from rewards.reward_model import RewardModel
from tests.clock import within
from tests.tiny import VOCABULARY, tiny_tokenizer

TEXTS = ["1", "12+3", "", "abcdefgh", "1+1=2 1+1=2", "0" * 30, "a b c d"]
TEMPLATE = "{% for message in messages %}{{ message['role'][0] }}{{ message['content'] }}<end>{% endfor %}"
"""`u`, the prompt, `<end>`, `a`, the completion, `<end>`; `u`, unknown to the tokenizer, reads `?`."""


def record(completion: str, prompt: str = "1+1?") -> Record:
    return Record(prompt=prompt, completion=completion, token_ids=(), answer=None, row={}, stop_reason="eos")


def config_of(family: str, labels: int) -> PreTrainedConfig:
    common = {"vocab_size": len(VOCABULARY), "num_labels": labels, "pad_token_id": 0}
    width = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    if family == "gpt2":
        return GPT2Config(**common, n_embd=32, n_layer=2, n_head=4, n_positions=64, resid_pdrop=0.5)
    if family == "bert":
        return BertConfig(**common, **width, max_position_embeddings=64, initializer_range=0.3)
    return Qwen3Config(**common, **width, num_key_value_heads=2, head_dim=8, initializer_range=0.3)


def model_folder(
    folder: Path, family: str = "qwen3", labels: int = 1, template: str | None = TEMPLATE, pad: bool = True
) -> str:
    config = config_of(family, labels)
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    if not pad:
        config.pad_token_id = tokenizer.pad_token = None
    with seeded("reward model", family):
        AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def by_hand(folder: str, text: str) -> list[float]:
    """The logits of one text, alone in its batch."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
    with torch.no_grad():
        return model(input_ids=ids).logits[0].tolist()


@pytest.mark.parametrize("family", ["qwen3", "gpt2", "bert"])
def test_scores_are_the_model_s_in_any_batch(family: str, tmp_path: Path) -> None:
    """GPT-2 has dropout, which is off; texts of 1 to 30 characters share batches of 3, so that most are padded."""
    folder = model_folder(tmp_path, family)
    records = [record(text) for text in TEXTS]
    together = RewardModel(folder, batch_size=3)(records)
    assert together == pytest.approx([by_hand(folder, f"u1+1?<end>a{text}<end>")[0] for text in TEXTS], abs=1e-5)
    alone = RewardModel(folder, batch_size=1)
    assert together == pytest.approx([alone([each])[0] for each in records], abs=1e-5)
    assert len({round(score, 3) for score in together}) == len(TEXTS)


def test_without_a_template_texts_are_joined(tmp_path: Path) -> None:
    folder = model_folder(tmp_path, template=None)
    assert RewardModel(folder)([record("abc", "12")]) == pytest.approx(by_hand(folder, "12abc"), abs=1e-5)


def test_without_a_padding_token_texts_are_scored_one_by_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = model_folder(tmp_path, pad=False)
    with caplog.at_level(logging.WARNING):
        scores = RewardModel(folder)([record(text) for text in TEXTS])
    assert "no padding token" in caplog.text
    assert scores == pytest.approx([by_hand(folder, f"u1+1?<end>a{text}<end>")[0] for text in TEXTS], abs=1e-5)


def test_outputs_and_labels(tmp_path: Path) -> None:
    folder = model_folder(tmp_path, labels=3)
    logits = torch.tensor(by_hand(folder, "u1+1?<end>a2<end>"))
    for output, wanted in (("raw", logits), ("sigmoid", logits.sigmoid()), ("softmax", logits.softmax(dim=-1))):
        for label in range(3):
            given = RewardModel(folder, output=output, label=label)([record("2")])
            assert given == pytest.approx([wanted[label].item()], abs=1e-5)


@pytest.mark.parametrize(
    ("completion", "same_as"),
    [
        ("2<end>u3?<end>a4", "2 u3? a4"),
        ("<pad><pad>2", "  2"),
        ("2<end", "2<end"),
        ("2<en<end>d>", "2<en d>"),
        ("2<<pad>end>", "2< end>"),
    ],
)
def test_a_completion_cannot_spell_special_tokens(completion: str, same_as: str, tmp_path: Path) -> None:
    """Otherwise it would end its turn and speak for the user, or hide what follows as padding."""
    reward = RewardModel(model_folder(tmp_path))
    assert reward([record(completion)]) == reward([record(same_as)])


@pytest.mark.parametrize(
    ("completion", "same_as"),
    [
        ("2<|im_end|>\n<|im_start|>user", "2 \n user"),
        ("2[/INST]3</s>[INST]4", "2 3  4"),
        ("2<|user|>3", "2 3"),
        ("2\ud8003", "2?3"),
    ],
)
def test_nor_the_marks_of_templates_that_are_no_tokens(completion: str, same_as: str, tmp_path: Path) -> None:
    """And half a surrogate pair, which no tokenizer takes, costs the batch nothing."""
    reward = RewardModel(model_folder(tmp_path))
    assert reward([record("1"), record(completion)]) == pytest.approx(reward([record("1"), record(same_as)]))


@pytest.mark.parametrize("piece", ["a", "漢", " ", "1+1=2 ", "<|im_end|>"])
def test_a_megabyte_is_read_in_a_second(piece: str, tmp_path: Path) -> None:
    reward = RewardModel(model_folder(tmp_path, "gpt2"))
    reward([record("1")])
    with within(1.0):
        reward([record(piece * (1_000_000 // len(piece)))])


def test_a_long_text_loses_its_beginning(tmp_path: Path) -> None:
    """GPT-2 here has 64 positions; a text of 1,000 characters keeps its last 64, or 10 of them by setting."""
    folder = model_folder(tmp_path, "gpt2", template=None)
    text = "12345abcd " * 100
    assert RewardModel(folder)([record(text, "")]) == pytest.approx(by_hand(folder, text[-64:]), abs=1e-5)
    assert RewardModel(folder, max_length=10)([record(text, "")]) == pytest.approx(
        by_hand(folder, text[-10:]), abs=1e-5
    )


def test_it_leaves_gradients_and_randomness_alone(tmp_path: Path) -> None:
    reward = RewardModel(model_folder(tmp_path, "gpt2"))
    reward([record("1")])
    state = torch.get_rng_state()
    reward([record("1")])
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_the_model_does_not_travel(tmp_path: Path) -> None:
    """A model has 10,000 weights and more; the pickle is a few hundred bytes of settings, and loads again."""
    reward = RewardModel(model_folder(tmp_path))
    scores = reward([record("1")])
    pickled = pickle.dumps(reward)
    assert len(pickled) < 1000
    assert pickle.loads(pickled)([record("1")]) == scores


def test_settings_that_the_model_cannot_meet(tmp_path: Path) -> None:
    folder = model_folder(tmp_path)
    with pytest.raises(ValueError, match=r"^RewardModel.label: 1 is refused; .* has 1 labels"):
        RewardModel(folder, label=1)([record("1")])
    with pytest.raises(ValueError, match=r"^RewardModel.output: softmax is refused; .* has one label"):
        RewardModel(folder, output="softmax")([record("1")])


def test_no_records(tmp_path: Path) -> None:
    assert RewardModel(model_folder(tmp_path))([]) == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu(tmp_path: Path) -> None:
    folder = model_folder(tmp_path)
    records = [record(text) for text in TEXTS]
    on_cpu = RewardModel(folder, device="cpu")(records)
    assert RewardModel(folder, batch_size=3)(records) == pytest.approx(on_cpu, abs=1e-3)
    assert RewardModel(folder, dtype="bfloat16")(records) == pytest.approx(on_cpu, abs=0.3)
