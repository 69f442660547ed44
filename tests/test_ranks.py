"""Two processes with half of the prompts each train as one with all of them: gradients, denominators and metrics."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.tiny import tiny_folder
from tests.train_ranks import RECIPES

ROOT = Path(__file__).parent.parent

RUNS = {
    "auto": tuple(RECIPES),
    "ddp": tuple(RECIPES),
    "fully_sharded": tuple(RECIPES),
    "layerwise": ("refill", "nothing", "adapter"),
    "offloaded": ("token",),
}
"""Strategy -> the recipes that are trained under it; `auto` is one process."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the results of every run. Gloo on a CPU may end badly when all is done, so files are what count."""
    folder = tmp_path_factory.mktemp("ranks")
    tiny_folder(folder / "tiny")
    for strategy, recipes in RUNS.items():
        launch = [] if strategy == "auto" else ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
        command = [sys.executable, *launch, "-m", "tests.train_ranks", str(folder), strategy, *recipes]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, env=environment)
        missing = [recipe for recipe in recipes if not (folder / f"{strategy}-{recipe}.pt").exists()]
        assert not missing, f"{strategy} left no {missing}: {done.stdout[-2000:]}{done.stderr[-6000:]}"
    return folder


@pytest.mark.parametrize(
    ("strategy", "recipe"), [(s, r) for s, recipes in RUNS.items() for r in recipes if s != "auto"]
)
def test_two_ranks_are_one(trained: Path, strategy: str, recipe: str) -> None:
    one, two = (torch.load(trained / f"{name}-{recipe}.pt", weights_only=True) for name in ("auto", strategy))
    assert two["metrics"] == pytest.approx(one["metrics"], rel=1e-6, abs=1e-7)
    for kind in ("gradients", "weights"):
        assert one[kind].keys() == two[kind].keys()
        largest = max(float(value.abs().max()) for value in one[kind].values())
        for name, value in one[kind].items():
            assert float((value - two[kind][name]).abs().max()) <= 1e-6 * largest, (kind, name)
    assert recipe == "nothing" or max(float(value.abs().max()) for value in one["gradients"].values()) > 1e-3


def test_two_ranks_give_the_gradient_of_one_for_every_loss_and_reduction(tmp_path: Path) -> None:
    """Shares of three groups and one, and of all and none, whose rank keeps step with ghosts; in float64."""
    command = [sys.executable, "-m", "tests.rank_gradients", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    worst = json.loads((tmp_path / "worst.json").read_text())
    assert len(worst) == 11 * 5
    assert max(worst.values()) < 1e-12, worst
