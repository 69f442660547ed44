"""A command of ours up to where it would run: everything is parsed, checked and made, no model is loaded.

Settings of devices are checked as they are written, and then made on one CPU.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import yaml
from jsonargparse import Namespace, set_parsing_settings

from grpo_lightning.cli import GRPOCommandLine, GRPOTrainer
from grpo_lightning.module import GRPOModule
from grpo_lightning.prompts import PromptDataModule
from grpo_lightning.trust import check_config

MINIMAL = {
    "model": {"policy": {"pretrained": "tiny"}, "rewards": [{"reward": "rewards.length.Tokens"}]},
    "data": {"source": {"class_path": "grpo_lightning.sources.Dataset", "init_args": {"path": "rows.jsonl"}}},
}
ENGINES = [
    {"class_path": "VLLMServer", "init_args": {"urls": ["http://localhost:8000"], "folder": "weights"}},
    {"class_path": "VLLMColocated"},
    {"class_path": "TransformersContinuousBatching"},
]
ON_ONE_CPU = {"accelerator": "cpu", "devices": 1, "num_nodes": 1, "strategy": "auto", "logger": False}


class DryCommandLine(GRPOCommandLine):
    """Stops before the command, and before the run's folder is made."""

    settings: Namespace

    def before_instantiate_classes(self) -> None:
        config = self.config[self.subcommand]
        check_config(config)
        self.settings = config.clone()
        for key, value in ON_ONE_CPU.items():
            config.trainer[key] = value

    def _run_subcommand(self, subcommand: str) -> None:
        pass


def dry(*args: str) -> DryCommandLine:
    """Its `model` and `datamodule` are made, its `settings` those that the words and configs say."""
    GRPOCommandLine.only = args[0]
    set_parsing_settings(docstring_parse_attribute_docstrings=False)  # which takes seconds
    return DryCommandLine(
        GRPOModule,
        PromptDataModule,
        args=list(args),
        trainer_class=GRPOTrainer,
        seed_everything_default=0,
        auto_configure_optimizers=False,
        save_config_callback=None,
        parser_kwargs={"exit_on_error": False},
    )


def every_setting(folder: Path) -> dict[str, object]:
    """Every key with its default, those of each engine included."""
    config, found = folder / "minimal.yaml", dict[str, object]()
    config.write_text(yaml.safe_dump(MINIMAL), encoding="utf-8")
    for engine in ([], *(["--model.engine", json.dumps(engine)] for engine in ENGINES)):
        found = flat(dry("fit", "--config", str(config), *engine).settings.as_dict()) | found
    return found


def with_parents(keys: Iterable[str]) -> set[str]:
    """The keys, and all that they are under."""
    return {".".join(key.split(".")[: n + 1]) for key in keys for n in range(key.count(".") + 1)}


def flat(settings: dict[str, object], prefix: str = "") -> dict[str, object]:
    """Nested settings by dotted key."""
    found: dict[str, object] = {}
    for key, value in settings.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {prefix + key: value}
    return found
