"""Every file in configs/ trains a step, with tiny stand-ins of the same schema for what would be downloaded.

What a config's head says about making its data ready is run, too, on files with the columns that the hub's have.
"""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml

from grpo_lightning.cli import main
from grpo_lightning.types import Completion, Group
from scripts.plan import main as plan
from tests.dry import DryCommandLine, dry, flat
from tests.fake_vllm_server import serving
from tests.hub_rows import DEEPMATH, GSM8K, MATH, MBPP, ULTRAFEEDBACK, Row, many, write_parquet
from tests.test_reward_model import model_folder
from tests.tiny import tiny_folder, tiny_policy, tiny_tokenizer

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
TABLE = (ROOT / "configs" / "README.md").read_text(encoding="utf-8")
EMBEDDED = {"quickstart", "programs", "brevity"}
"""Configs whose policy and data are part of the package."""

ONE_STEP = [
    *("--trainer.max_steps", "1", "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"),
    *("--trainer.precision", "32-true", "--trainer.val_check_interval", "1", "--data.prompts_per_step", "4"),
]


@dataclass(frozen=True)
class Hub:
    """What stands in for the hub's files: where the config's head, or `source`, says that they lie."""

    files: dict[str, tuple[Row, str]]
    """By folder: a row, and the column of its prompt."""
    right: dict[str, str]
    """By reward: a completion that it scores 1."""
    wrong: str
    source: dict[str, object] | None = None
    """The source's arguments where the config names a data set of the hub; None: the config's are local."""


MBPP_FILES = {"data/mbpp-hub/full": (MBPP, "text")}
DOUBLE = "Like this:\n```python\ndef double(x):\n    return x + x\n```"
HUBS = {
    "gsm8k-qwen2.5-0.5b": Hub(
        {"data/gsm8k-hub/main": (GSM8K, "question")},
        {"answer": "So \\boxed{72}.", "boxed": "So \\boxed{72}."},
        "So \\boxed{71}.",
        {"path": "data/gsm8k-hub", "name": "main", "train": "train", "test": "test"},
    ),
    "math-qwen2.5-1.5b": Hub(
        {"data/math": (MATH, "problem")},
        {"answer": "\\boxed{0.75}"},
        "\\boxed{0.74}",
        {"path": "data/math", "train": "train", "test": "test"},
    ),
    "deepmath-qwen2.5-3b": Hub(
        {"data/deepmath-hub/data": (DEEPMATH, "question")}, {"answer": "\\boxed{2}"}, "\\boxed{1}, or 2"
    ),
    "mbpp-qwen2.5-coder-1.5b": Hub(MBPP_FILES, {"tests": DOUBLE, "share": DOUBLE}, "```python\nx = 1\n```"),
    "mixed-qwen2.5-1.5b": Hub(
        MBPP_FILES | {"data/gsm8k-hub/main": (GSM8K, "question")}, {"answer": "\\boxed{72}", "tests": DOUBLE}, "71"
    ),
    "chat-qwen2.5-1.5b-reward-model": Hub(
        {"data/chat": (ULTRAFEEDBACK, "prompt")},
        {},
        "",
        {"path": "data/chat", "train": "train_gen", "test": "test_gen"},
    ),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own, with a tiny policy and a tiny reward model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["grpo-lightning"])
    tiny_folder(tmp_path / "tiny")
    return tmp_path


def make_ready(config: Path) -> list[str]:
    """Puts the hub's files there, runs what the config's head says to run on them, and gives words for stand-ins."""
    hub = HUBS[config.stem]
    for number, (place, (row, column)) in enumerate(hub.files.items()):
        names = (
            {"train": "train_gen", "test": "test_gen"} if row is ULTRAFEEDBACK else {"train": "train", "test": "test"}
        )
        rows = {names["train"]: many(row, column, 32, f"{number}."), names["test"]: many(row, column, 4, "t")}
        if row is MBPP:
            rows["validation"] = many(row, column, 4, "v")
        if row is DEEPMATH:
            del rows["test"]
        write_parquet(Path(place), **rows)
    for line in re.findall(r"^#   python (scripts/.*)$", config.read_text(encoding="utf-8"), re.MULTILINE):
        words = [path for word in shlex.split(line) for path in (sorted(map(str, Path().glob(word))) or [word])]
        subprocess.run([sys.executable, str(ROOT / words[0]), *words[1:]], check=True, capture_output=True)
    local: dict[str, object] = {"model": {"policy": {"pretrained": "tiny"}, "sampling": {"max_tokens": 8}}}
    if config.stem == "chat-qwen2.5-1.5b-reward-model":
        rewards = yaml.safe_load(config.read_text(encoding="utf-8"))["model"]["rewards"]
        rewards[0]["reward"]["init_args"] |= {"pretrained": model_folder(Path("reward")), "dtype": "float32"}
        local["model"] |= {"rewards": rewards}  # type: ignore[operator]
    if config.stem == "deepmath-qwen2.5-3b":
        write_parquet(Path("data/math500"), test=many(MATH, "problem", 3))
        sets = yaml.safe_load(config.read_text(encoding="utf-8"))["data"]["sets"]
        sets["math500"]["source"]["init_args"]["path"] = "data/math500"
        local["data"] = {"sets": sets}
    if hub.source is not None:
        source = {"class_path": "grpo_lightning.sources.Dataset", "init_args": hub.source}
        local["data"] = {"source": source}
    Path("local.yaml").write_text(yaml.safe_dump(local))
    return ["--config", "local.yaml"]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_a_config_trains_a_step(config: Path, folder: Path) -> None:
    args = [*ONE_STEP]
    if config.stem in EMBEDDED:
        args += ["--data.source.init_args.train", "8", "--data.source.init_args.validation", "4"]
        args += ["--data.source.init_args.test", "4"]
    else:
        args = [*make_ready(config), *args]
    main(["fit", "--config", str(config), *args])
    (run,) = (folder / "runs").iterdir()
    assert (run / "checkpoints" / "last.ckpt").is_file()
    summary = json.loads((run / "summary.json").read_text())
    names = [reward["name"] for reward in yaml.safe_load((run / "config.yaml").read_text())["model"]["rewards"]]
    assert {f"reward/{name}" for name in names} <= summary["after"].keys()


def scored(found: DryCommandLine, completions: Sequence[str]) -> dict[str, np.ndarray]:
    """The first prompt of each routing, each answered by all completions: (prompts, completions) by reward."""
    found.datamodule.setup("fit")
    found.model.scorer.check_routing(found.model.scorer.names)
    firsts = {prompt.rewards: prompt for prompt in reversed(found.datamodule.prompts["train"])}
    answers = tuple(
        Completion(token_ids=(1,), sampler_logprobs=(0.0,), text=text, stop_reason="eos") for text in completions
    )
    with found.model.scorer as scorer:
        groups = [Group(prompt=prompt, completions=answers) for prompt in firsts.values()]
        scores = scorer.score(groups)
    return {name: scores.rewards[:, :, k] for k, name in enumerate(scores.names)}


@pytest.mark.parametrize("name", [name for name, hub in HUBS.items() if hub.right])
def test_a_right_completion_is_told_from_a_wrong_one(name: str, folder: Path) -> None:
    """By the config's own rewards, on the rows of its own data; a row that a reward is not for gets none."""
    config = ROOT / "configs" / f"{name}.yaml"
    found = dry("fit", "--config", str(config), *make_ready(config), "--data.prompts_per_step", "4")
    hub = HUBS[name]
    for reward, right in hub.right.items():
        values = scored(found, [right, hub.wrong])[reward]
        assert [1.0, 0.0] in values.tolist(), f"{reward}: {values}"
        assert len(values) == np.isnan(values).all(axis=1).sum() + 1, "of several kinds of rows, one is its own"


def test_mixed_rows_are_of_two_kinds(folder: Path) -> None:
    """Both reach training, each with the one reward that its row names."""
    config = ROOT / "configs" / "mixed-qwen2.5-1.5b.yaml"
    found = dry("fit", "--config", str(config), *make_ready(config), "--data.prompts_per_step", "4")
    found.datamodule.setup("fit")
    assert {prompt.rewards for prompt in found.datamodule.prompts["train"]} == {
        frozenset({"answer"}),
        frozenset({"tests"}),
    }


def rows() -> list[list[str]]:
    """The rows of the table of experiments, as cells without blanks around them."""
    table = TABLE.partition("| config |")[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in table]


def test_every_config_has_a_row_of_results() -> None:
    for config in CONFIGS:
        assert any(f"`{config.name}`" in row[0] for row in rows()), config.name


def test_every_row_says_whether_it_was_measured() -> None:
    """Nine cells: config, what, hardware, command, time, memory, before and after, seeds, measured."""
    for row in rows():
        assert len(row) == 9, row
        assert all(row), row
        assert re.match(r"\d{4}-\d\d-\d\d, torch |expected, not run by us", row[8]), row[8]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0][:40].strip("`"))
def test_the_command_of_a_row_is_one_that_works(row: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsed, checked and made, without a model or data."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["grpo-lightning"])
    (command,) = re.findall(r"`(grpo-lightning .*?|scripts/torchrun.sh .*?)`", row[3])
    words = shlex.split(command)
    found = dry(*(words[1:] if words[0] == "grpo-lightning" else ["fit", *words[1:]]))
    hub = re.findall(r"`((?:Qwen|Skywork)/[\w.-]+)`", row[1])
    assert found.settings.model.policy.pretrained in [*hub, "embedded:arithmetic", "embedded:programs"]


@pytest.mark.parametrize("row", [row for row in rows() if row[8].startswith("expected")], ids=lambda row: row[0][:40])
def test_the_memory_of_a_row_is_the_plan_s(
    row: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command that the cell names, on the row's configs, plans the gigabytes that the cell says."""
    monkeypatch.chdir(ROOT)
    said, options = re.fullmatch(r"([\d.]+) GB \(`plan.py (.*)`\)", row[5]).groups()
    configs = re.findall(r"--config [^\s`]+", row[3])
    words = [word for config in configs for word in config.split()]
    plan([*words, *options.split()])
    (peak,) = re.findall(r"^fits: ([\d.]+) GB at the peak", capsys.readouterr().out, re.MULTILINE)
    assert float(said) == pytest.approx(float(peak), abs=0.5)


def one_step(folder: Path, *overlays: str) -> Path:
    """A step of the GSM8K experiment under more configs, with stand-ins; the run's folder."""
    config = ROOT / "configs" / "gsm8k-qwen2.5-0.5b.yaml"
    more = [word for overlay in overlays for word in ("--config", str(overlay))]
    main(["fit", "--config", str(config), *more, *make_ready(config), *ONE_STEP])
    (run,) = (folder / "runs").iterdir()
    assert (run / "checkpoints" / "last.ckpt").is_file()
    return run


def test_an_adapter_is_one_more_config(folder: Path) -> None:
    pytest.importorskip("peft")
    run = one_step(folder, str(ROOT / "configs" / "scale" / "lora.yaml"))
    assert (run / "policy" / "adapter").is_dir()


def test_completions_from_a_server_are_one_more_config(folder: Path) -> None:
    """vLLM's stand-in answers, at an address and through a folder of the test's."""
    with serving(tiny_policy(), tiny_tokenizer()) as (url, server):
        place = {"urls": [url], "folder": str(folder / "weights")}
        here = {"model": {"engine": {"class_path": "VLLMServer", "init_args": place}}}
        (folder / "here.yaml").write_text(yaml.safe_dump(here))
        one_step(folder, str(ROOT / "configs" / "scale" / "vllm-server.yaml"), "here.yaml")
    assert server.calls.count("/v1/completions") >= 4, "four prompts of the step, and those held out"


@pytest.mark.parametrize("overlay", sorted((ROOT / "configs" / "scale").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_scale_is_one_more_config(overlay: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Laid over an experiment it is accepted, sets what it says, and changes nothing else."""
    monkeypatch.setattr(sys, "argv", ["grpo-lightning"])
    base = ["fit", "--config", str(ROOT / "configs" / "gsm8k-qwen2.5-0.5b.yaml")]
    before, after = (flat(dry(*args).settings.as_dict()) for args in (base, [*base, "--config", str(overlay)]))
    said = flat(yaml.safe_load(overlay.read_text(encoding="utf-8")))
    assert all(after[key] == value or list(after[key]) == value for key, value in said.items())
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)} - {"config"}
    parts = ("trainer.strategy", "model.policy.adapter", "model.engine")
    assert changed <= said.keys() | {key for key in before.keys() | after.keys() if key.startswith(parts)}
