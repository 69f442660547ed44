"""An exported folder as lm-evaluation-harness takes it: transformers' loaders, the chat template, greedy `generate`.

The harness itself is not installed. What it does with a model is done here by hand: messages through the tokenizer's
template, encoded without further special tokens, a batch padded on the left, `generate` without sampling.
"""

import re
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from grpo_lightning.cli import main
from grpo_lightning.generation import SamplingConfig
from grpo_lightning.generation.engine import BuiltinGenerator
from grpo_lightning.policy import PolicyConfig, load_policy, load_tokenizer
from grpo_lightning.types import Prompt
from tests.pages import ROOT

QUESTIONS = ["123+456", "7+8", "999+1", "20+300"]
"""Of unlike length, so that a batch has padding."""
FEW = ["--data.source.init_args.train", "64", "--data.source.init_args.validation", "4"]
FEW += [
    "--data.source.init_args.test",
    "4",
    "--trainer.val_check_interval",
    "1",
    "--trainer.enable_progress_bar",
    "false",
    "--trainer.callbacks",
    "[]",
]


@pytest.fixture(params=["whole", "adapted"])
def exported(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two steps of the quickstart, and what `export` makes of its checkpoint."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["grpo-lightning"])
    words = ["fit", "--config", str(ROOT / "configs" / "quickstart.yaml"), *FEW]
    if request.param == "adapted":
        pytest.importorskip("peft")
        words += ["--model.policy.adapter", '{"rank": 2}', "--model.optimizer.lr", "1e-2"]
    main(words)
    main(["export", "--config", "runs/quickstart/config.yaml", "--ckpt_path", "last", "--folder", "exported"])
    assert Path("exported/adapter").is_dir() == (request.param == "adapted")
    return Path("exported")


def test_a_folder_is_loaded_and_generates_what_we_would(exported: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(exported, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(exported).eval()
    assert tokenizer.chat_template == load_tokenizer("embedded:arithmetic").chat_template is not None
    chats = [[{"role": "user", "content": question}] for question in QUESTIONS]
    texts = [tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) for chat in chats]
    batch = tokenizer(texts, add_special_tokens=False, padding=True, return_tensors="pt")
    assert bool((batch["attention_mask"] == 0).any()), "the case: some rows are padded"
    with torch.inference_mode():
        drawn = model.generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            max_new_tokens=44,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
        )
    theirs = tokenizer.batch_decode(drawn[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)

    policy = load_policy(PolicyConfig(pretrained=str(exported)), seed=0).eval()
    prompts = [
        Prompt(
            uid=uid,
            text=text,
            token_ids=tuple(tokenizer(text, add_special_tokens=False)["input_ids"]),
            answer=None,
            row={},
        )
        for uid, text in enumerate(texts)
    ]
    greedy = SamplingConfig(max_tokens=44, temperature=0.0)
    rollout = BuiltinGenerator(policy, tokenizer).generate(prompts, group_size=1, sampling=greedy, seed=0)
    assert theirs == [group.completions[0].text for group in rollout.groups]
    assert all("<answer>" in text for text in theirs), "and it says something"


def test_the_command_names_the_exported_folder() -> None:
    page = (ROOT / "docs" / "lm-eval.md").read_text(encoding="utf-8")
    (folder,) = re.findall(r"--folder (\S+)", page)
    assert re.findall(r"pretrained=([\w./-]+),dtype", page) == [folder]
    assert f"{folder}/adapter" in page
