"""Two processes with half of the prompts each train as one with all of them: gradients, denominators and metrics."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.tiny import tiny_folder

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("reduction", ["token", "sequence", "constant"])
def test_two_ranks_are_one(tmp_path: Path, reduction: str) -> None:
    tiny_folder(tmp_path / "tiny")
    for devices in ("1", "2"):
        command = [sys.executable, "-m", "tests.train_tiny", str(tmp_path), devices, reduction]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert (tmp_path / f"weights{devices}.pt").exists(), done.stdout + done.stderr
    one, two = (json.loads((tmp_path / f"metrics{n}.json").read_text()) for n in (1, 2))
    assert two == pytest.approx(one, rel=1e-4)
    before, after = (torch.load(tmp_path / f"weights{n}.pt", weights_only=True) for n in (1, 2))
    for name, value in before.items():
        # Adam's first steps are lr x the gradient's sign: a wrong gradient moves a weight by 1e-3 or more.
        assert float((value - after[name]).abs().max()) < 1e-4, name


@pytest.mark.parametrize("recipe", ["batch", "refill", "nothing", "combined", "whitened"])
def test_two_ranks_are_one_by_recipe(tmp_path: Path, recipe: str) -> None:
    """Statistics of the batch, filters, refills, combinations and their state: all of them global."""
    tiny_folder(tmp_path / "tiny")
    for devices in ("1", "2"):
        command = [sys.executable, "-m", "tests.train_recipe", str(tmp_path), devices, recipe]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert (tmp_path / f"weights{devices}.pt").exists(), done.stdout + done.stderr
    one, two = (json.loads((tmp_path / f"metrics{n}.json").read_text()) for n in (1, 2))
    assert two == pytest.approx(one, rel=1e-3, abs=1e-6)
    before, after = (torch.load(tmp_path / f"weights{n}.pt", weights_only=True) for n in (1, 2))
    for name, value in before.items():
        assert float((value - after[name]).abs().max()) < 1e-4, name


def test_two_ranks_give_the_gradient_of_one_for_every_loss_and_reduction(tmp_path: Path) -> None:
    """Shares of three groups and one, and of all and none, whose rank keeps step with ghosts; in float64."""
    command = [sys.executable, "-m", "tests.rank_gradients", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    worst = json.loads((tmp_path / "worst.json").read_text())
    assert len(worst) == 11 * 5
    assert max(worst.values()) < 1e-12, worst
