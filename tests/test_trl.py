"""docs/trl.md: every field of TRL's config has a row, defaults of both sides are as said, and the example trains."""

import ast
import inspect
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import MISSING, fields
from functools import cache
from pathlib import Path

import pytest
import yaml

from grpo_lightning.cli import main
from grpo_lightning.mismatch import MismatchConfig
from grpo_lightning.objective import ObjectiveConfig
from tests.dry import dry, every_setting, with_parents
from tests.hub_rows import GSM8K, many, write_parquet
from tests.pages import ROOT, Block, blocks_of, tables_of
from tests.tiny import tiny_folder

PAGE = ROOT / "docs" / "trl.md"
WITHOUT_DEFAULT = {"model.rewards", "model.engine.init_args.urls"}
KEY = re.compile(r"(?:model|data|trainer|checkpoint|ranks)\.[\w.]+|run|runs|seed_everything|ckpt_path")


@pytest.fixture(scope="module")
def trl():
    return pytest.importorskip("trl")


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["grpo-lightning"])
        return every_setting(tmp_path_factory.mktemp("trl"))


@cache
def rows(*head: str) -> list[list[str]]:
    """The rows of all tables whose head begins so."""
    return [row for table in tables_of(PAGE) if table[0][: len(head)] == list(head) for row in table[1:]]


def codes(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def mapped() -> list[list[str]]:
    return rows("TRL", "default", "here", "default", "what differs")


def test_every_field_has_one_row(trl) -> None:
    named = [codes(row[0]) for row in mapped()] + [codes(row[0]) for row in rows("TRL", "why there is no key")]
    listed = [name for names in named for name in names]
    assert sorted(listed) == sorted(field.name for field in fields(trl.GRPOConfig))


def test_defaults_of_trl_are_as_said(trl) -> None:
    real = {field.name: field.default for field in fields(trl.GRPOConfig)}
    for row in mapped():
        (name,) = codes(row[0])
        assert real[name] is not MISSING, name
        assert ast.literal_eval(codes(row[1])[0]) == real[name], name


def test_our_keys_exist_with_the_defaults_that_are_said(ours: dict[str, object]) -> None:
    """`none` says why in the last column; a default that is the same for several keys is said once."""
    for row in mapped():
        keys = codes(row[2])
        if not keys:
            assert (row[2], row[3]) == ("none", ""), row
            assert row[4], row
            continue
        assert all(key in ours for key in keys), [key for key in keys if key not in ours]
        wanted = [json.loads(json.dumps(ours[key])) for key in keys if key not in WITHOUT_DEFAULT]
        said = [json.loads(default) for default in codes(row[3])]
        assert said == [value for i, value in enumerate(wanted) if value not in wanted[:i]], row


def test_every_key_in_the_text_exists(ours: dict[str, object]) -> None:
    known = with_parents(ours)
    for code in codes(re.sub(r"^```.*?^```$", "", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)):
        key = code.partition(":")[0]
        if KEY.fullmatch(key) and "/" not in key:
            assert key in known, code


def test_every_argument_of_the_trainer_has_a_row(trl) -> None:
    said = {name for table in tables_of(PAGE) for row in table[1:] for name in codes(row[0])}
    arguments = set(inspect.signature(trl.GRPOTrainer.__init__).parameters) - {"self", "args"}
    assert arguments <= said, arguments - said


def test_every_loss_of_trl_is_one_of_ours(trl) -> None:
    """By the objective that test_parity finds equal to it."""
    from tests.test_parity import LOSSES

    said = {}
    for row in rows("TRL", "`model.objective` here"):
        for name in codes(row[0]):
            ours = ObjectiveConfig(**yaml.safe_load(codes(row[1])[0]))
            said[name] = ours
            equal = ObjectiveConfig(**LOSSES[name][1])
            assert (ours.loss, ours.reduction) == (equal.loss, equal.reduction), name
    text = inspect.getdoc(trl.GRPOConfig)
    listed = text.partition("loss_type (`str`")[2].partition("mask_truncated_completions (")[0]
    assert set(re.findall(r'- `"(\w+)"`', listed)) == set(said)


def test_every_mode_of_trls_correction_is_one_of_ours_or_none(trl) -> None:
    said = {codes(row[0])[0]: codes(row[1])[:1] for row in rows("TRL", "`model.mismatch.correction` here")}
    text = inspect.getdoc(trl.GRPOConfig)
    listed = text.partition("vllm_importance_sampling_mode (`str`")[2].partition("vllm_importance_sampling_clip_max (")[
        0
    ]
    assert set(re.findall(r'- `"(\w+)"`', listed)) == set(said)
    assert [mode for mode, ours in said.items() if not ours] == ["sequence_truncate"]
    for correction in (name for ours in said.values() for name in ours):
        MismatchConfig(correction=correction)


# ------------------------------------------------------------------------------------------------------- the example


@cache
def block(kind: str, path: str | None) -> Block:
    (found,) = (each for each in blocks_of(PAGE) if (each.kind, each.path) == (kind, path))
    return found


def given(script: str) -> dict[str, object]:
    """What the script gives to GRPOConfig."""
    (call,) = (
        node
        for node in ast.walk(ast.parse(script))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "GRPOConfig"
    )
    return {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords if keyword.arg}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example's files as a user would have them, with stand-ins for the model and the data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["grpo-lightning"])
    monkeypatch.syspath_prepend(tmp_path)
    for each in blocks_of(PAGE):
        if each.path is not None:
            Path(each.path).parent.mkdir(exist_ok=True)
            Path(each.path).write_text(each.text)
    tiny_folder(tmp_path / "tiny")
    write_parquet(tmp_path / "gsm8k" / "main", train=many(GSM8K, "question", 32), test=many(GSM8K, "question", 4, "t"))
    return tmp_path


def test_the_example_says_the_same_on_both_sides(trl, folder: Path) -> None:
    theirs = given(block("python", None).text)
    with pytest.warns(FutureWarning, match="activation_checkpointing"):  # an alias that TRL itself still uses
        config = trl.GRPOConfig(**theirs | {"output_dir": str(folder), "bf16": False, "use_cpu": True})
    found = dry("fit", "--config", "trl-gsm8k.yaml")
    model, data = found.settings.model, found.settings.data
    assert data.prompts_per_step == config.generation_batch_size / config.num_generations == 64
    assert model["update"].minibatches == config.steps_per_generation / config.gradient_accumulation_steps == 2
    assert model["update"].num_iterations == config.num_iterations
    assert model.group_size == config.num_generations
    assert model.sampling.max_tokens == config.max_completion_length
    assert model.sampling.temperature == config.temperature
    assert model.objective.kl.beta == config.beta
    assert (model.objective.kl.estimator == "k3_ratio") == config.use_bias_correction_kl
    assert found.model.recipe.objective.low == config.epsilon
    assert model.objective.epsilon_high == config.epsilon_high
    assert model.advantage.scale == config.scale_rewards
    assert [spec.weight for spec in model.rewards] == config.reward_weights
    assert (model.filters.truncated == "drop") == config.mask_truncated_completions
    assert model.optimizer.lr == config.learning_rate
    assert list(model.optimizer.betas) == [config.adam_beta1, config.adam_beta2]
    assert (model.optimizer.eps, model.optimizer.weight_decay) == (config.adam_epsilon, config.weight_decay)
    assert (model.optimizer.schedule, model.optimizer.warmup_steps) == (config.lr_scheduler_type, config.warmup_steps)
    assert model.optimizer.max_grad_norm == config.max_grad_norm
    assert model.policy.gradient_checkpointing == config.gradient_checkpointing
    assert found.settings.trainer.max_epochs == config.num_train_epochs
    assert (found.settings.trainer.precision == "bf16-mixed") == theirs["bf16"]
    assert found.settings.checkpoint.every_n_train_steps == config.save_steps
    assert found.settings.seed_everything == config.seed
    assert ObjectiveConfig(loss=model.objective.loss, reduction=model.objective.reduction) == ObjectiveConfig()


def test_the_example_trains_a_step(folder: Path) -> None:
    """With tiny stand-ins, and eight prompts in a step instead of 64; the reward is the page's own file."""
    source = {"class_path": "grpo_lightning.sources.Dataset", "init_args": {"path": "./gsm8k", "name": "main"}}
    words = ["--model.policy.pretrained", "tiny", "--data.source", json.dumps(source), "--data.prompts_per_step", "8"]
    words += ["--model.sampling.max_tokens", "8", "--trainer.max_steps", "2", "--trainer.accelerator", "cpu"]
    words += ["--trainer.precision", "32-true", "--trainer.enable_progress_bar", "false"]
    main(["fit", "--config", "trl-gsm8k.yaml", *words])
    assert (folder / "runs" / "trl-gsm8k" / "checkpoints" / "last.ckpt").is_file()


COUNTS_ELSE = {
    "data.validation_batch": "of all devices",
    "trainer.log_every_n_steps": "only what is shown",
    "model.engine.init_args.timeout": "of one answer",
    "model.engine.init_args.sleep": "memory only",
    "model.update.layout": "no number depends on it",
    "model.combine.way": "another name of the same",
    "model.mismatch.correction": "said in the text: with vLLM only",
    "model.objective.entropy.largest": "with a target only",
    "model.objective.entropy.step": "with a target only",
    "model.objective.kl.sync_mix": "with sync_every only",
}
"""Differing defaults that need not be set to train alike, and why."""


def test_the_defaults_that_differ_are_set_in_the_block_that_says_so() -> None:
    """Of rows with a value of one type on both sides; to what the row says that TRL has."""
    text = PAGE.read_text(encoding="utf-8").partition("## Defaults that differ")[2].partition("```yaml")[2]
    said = dict(leaves(yaml.safe_load(text.partition("```")[0])))
    differ = {}
    for row in mapped():
        keys, ours = codes(row[2]), [json.loads(default) for default in codes(row[3])]
        theirs = ast.literal_eval(codes(row[1])[0])
        if len(keys) == len(ours) == 1 and theirs != ours[0] and type(theirs) is type(ours[0]):
            differ.setdefault(keys[0], theirs)
    assert set(COUNTS_ELSE) <= set(differ)
    wanted = {key: value for key, value in differ.items() if key not in COUNTS_ELSE}
    assert {key: said.get(key) for key in wanted} == wanted


def leaves(node: dict[str, object], start: str = "") -> Iterator[tuple[str, object]]:
    """Every setting by its dotted name."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{start}{key}.")
        else:
            yield start + key, value
