"""How cost grows: with tokens, with the vocabulary, and with the group. Writes curves.json and curves.png.

    python -m scripts.bench_curves --folder docs/bench

Each point is a run of our side of `bench.py` in a process of its own, on the shape `small`.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import matplotlib.pyplot as plt

from scripts.bench import Result, Work, commit, machine, run_side, weights_of, write_inputs

BASE = Work(size="small", prompts=8, group=8, max_tokens=64, mean_tokens=1e9, steps=2, warm=1)
"""Random policies that never stop: every completion has `max_tokens` tokens."""

TOKENS = [replace(BASE, max_tokens=tokens) for tokens in (32, 64, 128)]
VOCABULARIES = [replace(BASE, prompts=16, vocabulary=size) for size in (1024, 4096, 16384, 65536)]
GROUPS = [replace(BASE, prompts=2, group=group, shortest=512, longest=512, max_tokens=32) for group in (2, 4, 8, 16)]


def measured(work: Work) -> Result:
    """One run's figures."""
    with tempfile.TemporaryDirectory() as name:
        write_inputs(work, Path(name))
        return run_side("ours", work, Path(name))


def weights_mb(work: Work) -> float:
    """Weights, gradients and AdamW's two moments, in float32."""
    return 16 * sum(weights_of(work.shape)) / 2**20


def points(works: Sequence[Work], x: str) -> list[dict[str, float]]:
    """One for each run: what was varied, and what it cost."""
    found = []
    for work in works:
        result = measured(work)
        row = {x: float(getattr(work, x)), "completion_tokens": result["completion_tokens"]}
        row |= {name: result[name] for name in ("cpu_seconds_per_step", "rollout", "update", "growth_mb")}
        row["beside_weights_mb"] = result["growth_mb"] - weights_mb(work)
        row["seconds_per_prompt_token"] = result["seconds_per_step"] / (work.prompts * work.longest)
        found.append(row)
        print(row)
    return found


def draw(curves: dict[str, list[dict[str, float]]], path: Path) -> None:
    """A panel for each."""
    figure, panels = plt.subplots(1, 3, figsize=(13, 3.8))
    tokens, vocabularies, groups = curves["tokens"], curves["vocabulary"], curves["group"]
    for phase in ("rollout", "update"):
        panels[0].plot([p["completion_tokens"] for p in tokens], [p[phase] for p in tokens], "o-", label=phase)
    panels[0].set(xlabel="completion tokens of a step", ylabel="seconds", title="linear in tokens")
    panels[1].semilogx(
        [p["vocabulary"] for p in vocabularies], [p["beside_weights_mb"] for p in vocabularies], "o-", label="peak"
    )
    panels[1].set(xlabel="vocabulary", ylabel="MB beside weights and optimizer", title="memory and the vocabulary")
    panels[2].plot(
        [p["group"] for p in groups], [1e6 * p["seconds_per_prompt_token"] for p in groups], "o-", label="step"
    )
    first = groups[0]
    panels[2].plot(
        [p["group"] for p in groups],
        [1e6 * first["seconds_per_prompt_token"] * p["group"] / first["group"] for p in groups],
        "--",
        label="if each completion had its own prompt",
    )
    panels[2].set(xlabel="group (prompts of 512 tokens)", ylabel="µs per prompt token", title="a prompt is paid once")
    for panel in panels:
        panel.set_ylim(bottom=0)
        panel.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("docs/bench"))
    folder = parser.parse_args().folder
    curves = {
        "tokens": points(TOKENS, "max_tokens"),
        "vocabulary": points(VOCABULARIES, "vocabulary"),
        "group": points(GROUPS, "group"),
    }
    folder.mkdir(parents=True, exist_ok=True)
    about = {"commit": commit(), "date": date.today().isoformat(), "machine": machine(BASE)}
    (folder / "curves.json").write_text(json.dumps(about | curves, indent=2) + "\n")
    draw(curves, folder / "curves.png")


if __name__ == "__main__":
    main()
