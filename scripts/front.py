"""Draws the Pareto front of finished runs on held-out prompts, with its hypervolume for each way of combining.

    python scripts/front.py runs/*                                       # of any runs that left a summary.json
    python scripts/front.py runs/* --high accuracy reward/format --low length
    python scripts/front.py --sweep runs/front                           # first trains that of configs/brevity.yaml

Objectives are measures of summary.json that are to be high or low; with more than two the picture has a panel for each
pair. Writes front.png and front.md beside the runs (or into --folder). Hypervolume is measured from a corner, in the
measures' own units: what is worse than the corner in any of them counts nothing.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import yaml  # type: ignore[import-untyped]

from grpo_lightning.combine import CombineConfig
from grpo_lightning.pareto import hypervolume, non_dominated

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = (0.1, 0.25, 0.5, 1.0, 2.0)
BOUNDS = (14, 18, 22, 26, 30)
CENTRED = "sum, centred"
WAYS = ("sum", CENTRED, "mo_grpo", "gdpo", "gd2po", "ctwa", "saw", "tchebycheff", "hypervolume")
"""All that weights steer; tiers of `lexicographic` leave nothing to sweep."""
SWEPT_FROM = (0.0, 44.0)
"""Corner of the sweep: nothing right, in the most tokens that there may be."""
BREVITY = {"class_path": "rewards.length.Target", "init_args": {"tokens": 1, "falloff": 44}}
"""1 for a single token, 0 from 45 on."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One objective."""

    measure: str
    low: bool
    """Whether it is to be low."""

    @property
    def title(self) -> str:
        return f"{self.measure} ({'lower' if self.low else 'higher'} is better)"


@dataclass(frozen=True, kw_only=True)
class Point:
    """One run."""

    name: str
    way: str
    label: str
    """What sets the run apart: weights, and bounds of constraints."""
    values: tuple[float, ...]


def read(folder: Path, axes: Sequence[Axis]) -> Point:
    """What the run at `folder` has reached after training."""
    try:
        after = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["after"]
        model = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))["model"]
    except (OSError, ValueError, KeyError, yaml.YAMLError) as error:
        raise SystemExit(f"{folder}: is no run that this can read: {type(error).__name__} {error}") from error
    if missing := [axis.measure for axis in axes if axis.measure not in after]:
        raise SystemExit(f"{folder}: summary.json has no {', '.join(missing)}; it has {', '.join(after)}")
    values = tuple(float(after[axis.measure]) for axis in axes)
    return Point(name=folder.name, way=way_of(model), label=label_of(model["rewards"]), values=values)


def way_of(model: dict[str, Any]) -> str:
    """How the run combined its rewards, as the README's table has it."""
    way = str(model.get("combine", {}).get("way", "sum"))
    if way == "sum" and model.get("advantage", {}).get("scale") == "none":
        way = CENTRED
    return way + (", gated" if any(reward.get("gate") for reward in model["rewards"]) else "")


def label_of(rewards: Sequence[Mapping[str, Any]]) -> str:
    """Weights of the objectives, and bounds."""
    words = []
    for reward in rewards:
        name, weight = reward.get("name") or str(reward["reward"]), reward.get("weight", 1.0)
        shown = f"{weight['start']:g}…{weight['end']:g}" if isinstance(weight, dict) else f"{weight:g}"
        for key, sign in (("at_most", "≤"), ("at_least", "≥")):
            if reward.get(key) is not None:
                words.append(f"{name} {sign} {reward[key]:g}")
        if weight and reward.get("role", "objective") == "objective":
            words.append(f"{name} {shown}")
    return ", ".join(words)


def oriented(values: np.ndarray, axes: Sequence[Axis]) -> np.ndarray:
    """With every objective to be maximised."""
    return values * np.where([axis.low for axis in axes], -1.0, 1.0)


def worst(points: Sequence[Point], axes: Sequence[Axis]) -> tuple[float, ...]:
    """The corner of the worst that any run has reached of each objective."""
    values = oriented(np.array([point.values for point in points]), axes).min(axis=0)
    return tuple(oriented(values, axes).tolist())


@dataclass(frozen=True, kw_only=True)
class Reached:
    """By all runs of one way."""

    way: str
    runs: int
    on_front: int
    """Of those runs, on the front of this way."""
    volume: float


def reached(points: Sequence[Point], axes: Sequence[Axis], corner: Sequence[float]) -> list[Reached]:
    """The front of each way with its hypervolume."""
    found = []
    for way in sorted({point.way for point in points}):
        values = oriented(np.array([point.values for point in points if point.way == way]), axes)
        volume = hypervolume(values, oriented(np.array(corner), axes))
        on_front = int(non_dominated(values).sum())
        found.append(Reached(way=way, runs=len(values), on_front=on_front, volume=volume))
    return found


def place_of(corner: Sequence[float], axes: Sequence[Axis]) -> str:
    """The corner in words."""
    return ", ".join(f"{axis.measure} {value:.4g}" for axis, value in zip(axes, corner, strict=True))


def table(points: Sequence[Point], axes: Sequence[Axis], corner: Sequence[float]) -> str:
    """Markdown: the front of each way with its hypervolume, then every run."""
    where, measures = place_of(corner, axes), [axis.measure for axis in axes]
    lines = [f"| way | runs | on its front | hypervolume from ({where}) |", "|---|---|---|---|"]
    for each in reached(points, axes, corner):
        lines.append(f"| {each.way} | {each.runs} | {each.on_front} | {each.volume:.3g} |")
    front = non_dominated(oriented(np.array([point.values for point in points]), axes))
    head = ["way", "run", "settings", *measures, "on the front of all"]
    lines += ["", "| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for point, best in zip(points, front, strict=True):
        cells = [point.way, point.name, point.label, *(f"{value:.4g}" for value in point.values), "yes" if best else ""]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def front_line(values: np.ndarray, axes: Sequence[Axis]) -> np.ndarray:
    """Those of (N, 2) that no other is better than, from left to right."""
    front = values[non_dominated(oriented(values, axes))]
    return front[np.argsort(front[:, 0])]


def draw(points: Sequence[Point], axes: Sequence[Axis], path: Path) -> None:
    """A panel for each pair of objectives; one colour a way; its front is a line."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    from matplotlib import pyplot  # slow to load

    pairs = list(combinations(range(len(axes)), 2))
    figure, panels = pyplot.subplots(1, len(pairs), figsize=(7 * len(pairs), 5), squeeze=False)
    for panel, pair in zip(panels[0], pairs, strict=True):
        shown = [axes[i] for i in pair]
        for way in sorted({point.way for point in points}):
            values = np.array([[point.values[i] for i in pair] for point in points if point.way == way])
            dots = panel.scatter(values[:, 0], values[:, 1], label=way, alpha=0.7)
            front = front_line(values, shown)
            step = "post" if shown[0].low else "pre"  # what is reached at an x is the best of those no worse in x
            panel.step(front[:, 0], front[:, 1], where=step, color=dots.get_facecolor()[0], alpha=0.7)
        panel.set_xlabel(shown[0].title)
        panel.set_ylabel(shown[1].title)
        panel.grid(alpha=0.3)
    panels[0][0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def sweep(folder: Path) -> list[Path]:
    """Answers against brevity: five weightings of each way, five bounds of `constrained`; finished runs are kept."""
    runs = []
    for way in (*WAYS, "constrained"):
        for setting in BOUNDS if way == "constrained" else WEIGHTS:
            run = folder / f"{way.replace(', ', '-')}-{setting:g}"
            runs.append(run)
            if not (run / "summary.json").exists():
                args = ["fit", "--config", str(ROOT / "configs" / "brevity.yaml"), "--run", run.name]
                args += ["--runs", str(folder), "--ckpt_path", "last"]  # goes on with a run that was ended
                args += ["--trainer.enable_progress_bar", "false", *of(way, setting)]
                if subprocess.run([sys.executable, "-m", "grpo_lightning", *args], check=False).returncode:
                    raise SystemExit(f"{run}: this run of the sweep failed; the same command goes on from here")
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
    defaults = {key: CombineConfig.__dict__[key] for key in ("rate", "damping", "largest")}
    combine = json.dumps({"way": "sum" if way == CENTRED else way, **defaults})
    scale = "none" if way == CENTRED else "group"
    return ["--model.rewards", json.dumps(rewards), "--model.combine", combine, "--model.advantage.scale", scale]


def chosen(given: argparse.Namespace) -> list[Path]:
    """The folders of runs that have ended; says which others were named."""
    runs = [*given.runs, *(sweep(given.sweep) if given.sweep else [])]
    if missing := [run for run in runs if not run.exists()]:
        raise SystemExit(f"{missing[0]}: there is no such folder")
    finished = [run for run in runs if (run / "summary.json").is_file()]
    for run in runs:
        if run.is_dir() and run not in finished:
            print(f"{run}: left out, it has no summary.json (unfinished, or without the BeforeAfter callback)")
    if not finished:
        raise SystemExit("none of these is the folder of a run with a summary.json; name some, or --sweep FOLDER")
    return finished


def add_axes(parser: argparse.ArgumentParser) -> None:
    """The options that choose objectives."""
    parser.add_argument("--high", nargs="+", help="measures to be high; accuracy_sampled if neither this nor --low")
    parser.add_argument("--low", nargs="+", help="measures to be low; length_sampled if neither this nor --high")


def axes_of(parser: argparse.ArgumentParser, given: argparse.Namespace) -> list[Axis]:
    """What the options chose: two different objectives or more, or the parser's error."""
    neither = given.high is None and given.low is None
    high, low = (["accuracy_sampled"], ["length_sampled"]) if neither else (given.high or [], given.low or [])
    axes = [Axis(measure=m, low=False) for m in high] + [Axis(measure=m, low=True) for m in low]
    if len(axes) < 2 or len({axis.measure for axis in axes}) < len(axes):
        parser.error(f"--high, --low: a front has two different objectives or more, not {', '.join([*high, *low])}")
    return axes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, help="folders of runs")
    parser.add_argument("--sweep", type=Path, help="train the sweep into this folder first")
    add_axes(parser)
    parser.add_argument(
        "--corner", nargs="+", type=float, help="worst of each of high, then of low; else of these runs"
    )
    parser.add_argument("--folder", type=Path, help="where front.png and front.md go")
    given = parser.parse_args()
    axes = axes_of(parser, given)
    if given.corner is not None and len(given.corner) != len(axes):
        parser.error(f"--corner: {len(given.corner)} numbers for {len(axes)} objectives")
    runs = chosen(given)
    points = [read(run, axes) for run in runs]
    usual = given.high is None and given.low is None
    corner = given.corner or (SWEPT_FROM if given.sweep and usual else worst(points, axes))
    folder = given.folder or given.sweep or runs[0].parent
    folder.mkdir(parents=True, exist_ok=True)
    text = table(points, axes, corner)
    (folder / "front.md").write_text(text, encoding="utf-8")
    draw(points, axes, folder / "front.png")
    print(text)


if __name__ == "__main__":
    main()
