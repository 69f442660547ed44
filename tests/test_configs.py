"""Every file in configs/ trains a step, with tiny stand-ins of the same schema for what would be downloaded."""

import json
import sys
from pathlib import Path

import pytest
import yaml

from grpo_lightning.cli import main
from tests.tiny import tiny_folder

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))

GSM8K = {
    "question": "Natalia sold 48 clips in April and half as many in May. How many in all?",
    "answer": "She sold 48/2 = <<48/2=24>>24 clips in May.\nIn all 48+24 = <<48+24=72>>72.\n#### 72",
}
"""A row like those of openai/gsm8k."""


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_a_config_trains_a_step(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["grpo-lightning"])
    args = ["--trainer.max_steps", "1", "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
    args += ["--trainer.precision", "32-true", "--trainer.val_check_interval", "1", "--data.prompts_per_step", "4"]
    settings = yaml.safe_load(config.read_text(encoding="utf-8"))
    if settings["model"]["policy"]["pretrained"].startswith("embedded:"):
        args += ["--data.source.init_args.train", "8", "--data.source.init_args.validation", "4"]
        args += ["--data.source.init_args.test", "4"]
    else:
        tiny_folder(tmp_path / "tiny")
        rows = [GSM8K | {"question": f"{i}+{i}?"} for i in range(32)]
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        source = {"path": "rows.jsonl", "name": None, "test": None}
        local = json.dumps({"class_path": "grpo_lightning.sources.Dataset", "init_args": source})
        args += ["--model.policy.pretrained", "tiny", "--data.source", local, "--model.sampling.max_tokens", "8"]
    main(["fit", "--config", str(config), *args])
    (folder,) = (tmp_path / "runs").iterdir()
    assert (folder / "checkpoints" / "last.ckpt").is_file()


def test_every_config_has_a_row_of_results() -> None:
    table = (ROOT / "configs" / "README.md").read_text(encoding="utf-8")
    for config in CONFIGS:
        assert f"`{config.name}`" in table


@pytest.mark.parametrize("overlay", sorted((ROOT / "configs" / "scale").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_scale_is_one_more_config(
    overlay: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Laid over an experiment it parses, sets what it says, and changes nothing else."""
    monkeypatch.setattr(sys, "argv", ["grpo-lightning"])
    base = ["fit", "--config", str(ROOT / "configs" / "gsm8k-qwen2.5-0.5b.yaml")]
    printed = []
    for args in (base, [*base, "--config", str(overlay)]):
        with pytest.raises(SystemExit, match="0"):
            main([*args, "--print_config"])
        printed.append(yaml.safe_load(capsys.readouterr().out))
    before, after = (flat(settings) for settings in printed)
    said = flat(yaml.safe_load(overlay.read_text(encoding="utf-8")))
    assert all(after[key] == value for key, value in said.items())
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert changed <= said.keys() | {"trainer.strategy"} | {
        key for key in after if key.startswith(("trainer.strategy.init_args.", "model.policy.adapter"))
    }


def flat(settings: dict[str, object], prefix: str = "") -> dict[str, object]:
    """Nested settings by dotted key."""
    found: dict[str, object] = {}
    for key, value in settings.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found
