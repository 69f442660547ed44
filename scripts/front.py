"""Draws the Pareto front of finished runs on held-out prompts, with its hypervolume for each way of combining.

    python scripts/front.py runs/*                          # of any runs that left a summary.json
    python scripts/front.py --sweep runs/front              # first trains the sweep of configs/brevity.yaml

Two objectives, each a measure of summary.json and whether it is to be high or low. Writes front.png and front.md beside
the runs (or into --folder). Hypervolume is measured from the worst corner that is given, in the measures' own units.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml  # type: ignore[import-untyped]

from grpo_lightning.pareto import hypervolume, non_dominated

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = (0.1, 0.25, 0.5, 1.0, 2.0)
BOUNDS = (14, 18, 22, 26, 30)
WAYS = ("sum", "mo_grpo", "gdpo", "tchebycheff")
BREVITY = {"class_path": "rewards.length.Target", "init_args": {"tokens": 1, "falloff": 44}}
"""1 for a single token, 0 from 45 on."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One run."""

    name: str
    way: str
    label: str
    """What sets the run apart: weights, and bounds of constraints."""
    values: tuple[float, float]


def read(folder: Path, measures: Sequence[str]) -> Point:
    """What the run at `folder` has reached after training."""
    after = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["after"]
    if missing := [measure for measure in measures if measure not in after]:
        raise SystemExit(f"{folder}: summary.json has no {', '.join(missing)}; it has {', '.join(after)}")
    model = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))["model"]
    bounds = [f"{r['name']} ≤ {r['at_most']:g}" for r in model["rewards"] if r.get("at_most") is not None]
    weights = [f"{r['name']} {r['weight']:g}" for r in model["rewards"] if r["weight"] and r["role"] == "objective"]
    x, y = (float(after[measure]) for measure in measures)
    return Point(name=folder.name, way=model["combine"]["way"], label=", ".join(bounds or weights), values=(x, y))


def oriented(values: np.ndarray, low: Sequence[bool]) -> np.ndarray:
    """With every objective to be maximised."""
    return values * np.where(low, -1.0, 1.0)


def table(points: Sequence[Point], measures: Sequence[str], low: Sequence[bool], corner: Sequence[float]) -> str:
    """Markdown: the front of each way with its hypervolume, then every run."""
    reference = oriented(np.array(corner), low)
    lines = ["| way | runs | on its front | hypervolume |", "|---|---|---|---|"]
    for way in sorted({point.way for point in points}):
        values = oriented(np.array([point.values for point in points if point.way == way]), low)
        volume = hypervolume(values, reference)
        lines.append(f"| {way} | {len(values)} | {int(non_dominated(values).sum())} | {volume:.3g} |")
    front = non_dominated(oriented(np.array([point.values for point in points]), low))
    lines += ["", f"| way | run | {measures[0]} | {measures[1]} | on the front of all |", "|---|---|---|---|---|"]
    for point, best in zip(points, front, strict=True):
        x, y = point.values
        lines.append(f"| {point.way} | {point.label} | {x:.4g} | {y:.4g} | {'yes' if best else ''} |")
    return "\n".join(lines) + "\n"


def draw(points: Sequence[Point], measures: Sequence[str], low: Sequence[bool], path: Path) -> None:
    """One colour a way; its front is a line."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    from matplotlib import pyplot  # slow to load

    figure, axis = pyplot.subplots(figsize=(7, 5))
    for way in sorted({point.way for point in points}):
        values = np.array([point.values for point in points if point.way == way])
        dots = axis.scatter(values[:, 0], values[:, 1], label=way, alpha=0.7)
        front = values[non_dominated(oriented(values, low))]
        front = front[np.argsort(front[:, 0])]
        axis.step(front[:, 0], front[:, 1], where="pre", color=dots.get_facecolor()[0], alpha=0.7)
    titles = [
        f"{name} ({'lower' if is_low else 'higher'} is better)" for name, is_low in zip(measures, low, strict=True)
    ]
    axis.set_xlabel(titles[0])
    axis.set_ylabel(titles[1])
    axis.legend()
    axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def sweep(folder: Path) -> list[Path]:
    """Answers against brevity: five weightings of each way, five bounds of `constrained`; finished runs are kept."""
    runs = []
    for way in (*WAYS, "constrained"):
        for setting in BOUNDS if way == "constrained" else WEIGHTS:
            run = folder / f"{way}-{setting:g}"
            runs.append(run)
            if not (run / "summary.json").exists():
                args = ["fit", "--config", str(ROOT / "configs" / "brevity.yaml"), "--run", run.name]
                args += ["--runs", str(folder), "--trainer.enable_progress_bar", "false", *of(way, setting)]
                subprocess.run([sys.executable, "-m", "grpo_lightning", *args], check=True)
    return runs


def of(way: str, setting: float) -> list[str]:
    """Arguments that turn the config into one run of the sweep."""
    rewards = yaml.safe_load((ROOT / "configs" / "brevity.yaml").read_text(encoding="utf-8"))["model"]["rewards"]
    if way == "constrained":
        for reward in rewards:
            if reward["name"] == "tokens":
                reward["at_most"] = setting
        return ["--model.rewards", json.dumps(rewards)]
    # A list on the command line is laid over the config's, item by item: so each says that it is no constraint.
    plain = {"role": "objective", "at_most": None, "scale": 1.0}
    rewards = [reward | plain for reward in rewards if reward["name"] != "tokens"]
    rewards.append({"name": "brevity", "weight": setting, "reward": BREVITY} | plain)
    combine = json.dumps({"way": way})
    return ["--model.rewards", json.dumps(rewards), "--model.combine", combine, "--model.advantage.scale", "group"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, help="folders of runs")
    parser.add_argument("--sweep", type=Path, help="train the sweep into this folder first")
    parser.add_argument("--high", default="accuracy_sampled", help="measure to be high")
    parser.add_argument("--low", default="length_sampled", help="measure to be low")
    parser.add_argument("--corner", nargs=2, type=float, default=(0.0, 44.0), help="worst of high and of low")
    parser.add_argument("--folder", type=Path, help="where front.png and front.md go")
    given = parser.parse_args()
    runs = [*given.runs, *(sweep(given.sweep) if given.sweep else [])]
    if not runs:
        parser.error("name the folders of runs, or --sweep FOLDER")
    measures, low = (given.high, given.low), (False, True)
    points = [read(run, measures) for run in runs if (run / "summary.json").exists()]
    folder = given.folder or given.sweep or runs[0].parent
    text = table(points, measures, low, given.corner)
    (folder / "front.md").write_text(text, encoding="utf-8")
    draw(points, measures, low, folder / "front.png")
    print(text)


if __name__ == "__main__":
    main()
