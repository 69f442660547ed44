"""A program, not a test: trains the quickstart's task three rollouts by each recipe, and writes down what it saw.

python -m tests.golden_recipes    # rewrites golden_recipes.json; a change of numerics must say why in its commit
"""

import csv
import json
import sys
import tempfile
from pathlib import Path

import yaml

from grpo_lightning.cli import main

ROOT = Path(__file__).parent.parent
RECIPES = sorted((ROOT / "configs" / "recipes").glob("*.yaml"))
GOLDENS = Path(__file__).with_suffix(".json")
SEEN = ("update/loss", "update/grad_norm", "reward", "update/entropy", "advantage/abs")
ROLLOUTS = 3


def train(recipe: Path, folder: Path) -> list[dict[str, float]]:
    """What each of three rollouts of 8 prompts logged, in two optimizer steps each if the loss allows it."""
    loss = yaml.safe_load(recipe.read_text(encoding="utf-8"))["model"]["objective"]["loss"]
    minibatches = 1 if loss == "reinforce" else 2
    logger = {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": str(folder), "name": ""}}
    args = ["fit", "--config", str(ROOT / "configs" / "quickstart.yaml"), "--config", str(recipe)]
    args += ["--runs", str(folder), "--trainer.callbacks", "[]", "--trainer.enable_progress_bar", "false"]
    args += ["--trainer.logger", json.dumps(logger), "--trainer.limit_val_batches", "0", "--trainer.max_epochs", "-1"]
    args += ["--trainer.max_steps", str(ROLLOUTS * minibatches), "--model.update.minibatches", str(minibatches)]
    args += ["--data.prompts_per_step", "8", "--data.source.init_args.train", "64"]
    main(args)
    (log,) = folder.rglob("metrics.csv")
    with log.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("update/loss")]
    return [{name: float(row[name]) for name in SEEN if row[name]} for row in rows]


if __name__ == "__main__":
    found = {}
    for recipe in RECIPES:
        sys.argv = ["grpo-lightning"]
        with tempfile.TemporaryDirectory() as folder:
            found[recipe.stem] = train(recipe, Path(folder))
    GOLDENS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
