"""Sections of a report that are charts: learning, rewards, stability, speed, and the Pareto front."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import Any

import numpy as np

from scripts.front import Axis, Point, front_line, label_of, place_of, reached, way_of, worst
from scripts.report_charts import Dot, Line, chart, scatter, stacked, thinned
from scripts.report_html import number, row, safe, shown, table
from scripts.report_runs import Run

STAGES = ("rollout", "reward", "prepare", "update")
ROUNDING = 1e-6
"""A KL below this is zero but for rounding."""


@dataclass(frozen=True)
class Wanted:
    """A chart of what is logged under one tag."""

    title: str
    tag: str
    share: bool = False
    """From 0 to 1, if the values are within."""
    zero: bool = False
    """From 0."""
    wide: bool = False
    """Logarithmic, if the largest values are far from the usual."""


def line_of(run: Run, colour: int, tag: str) -> Line:
    """What a run logged under a tag, with the bounds beside it if there are any."""
    curve = run.curves.get(tag, {})
    low, high = (run.curves.get(f"{tag}/{side}", {}) for side in ("low", "high"))
    bounds = [[side.get(step, math.nan) for step in curve] for side in (low, high)] if low and high else [[], []]
    return Line(name=run.name, colour=colour, x=list(curve), y=list(curve.values()), low=bounds[0], high=bounds[1])


def gallery(runs: Sequence[Run], wanted: Sequence[Wanted], without: Collection[str] = ()) -> str:
    """A chart for each that any run logged, with all runs in it; the others are named below.

    `without`: names of runs that need not be said to lack it.
    """
    charts = {each.title: drawn(runs, each, without) for each in wanted}
    missing = [title.lower() for title, found in charts.items() if not found]
    told = f'<p class="faint">Not logged: {safe(", ".join(missing))}.</p>' if missing else ""
    return (f'<div class="charts">{"".join(charts.values())}</div>' if any(charts.values()) else "") + told


def drawn(runs: Sequence[Run], wanted: Wanted, without: Collection[str]) -> str:
    """One chart, empty if no run logged it."""
    lines = [line_of(run, i, wanted.tag) for i, run in enumerate(runs)]
    lacking = [line.name for line in lines if not line.y and line.name not in without]
    notes = [f"not in {', '.join(lacking) if len(lacking) <= 3 else f'{len(lacking)} of the runs'}"] if lacking else []
    if len(runs) == 1 and lines[0].y:
        notes.append(f"last {shown(wanted.tag, lines[0].y[-1])}")
    sizes = [abs(value) for line in lines for value in line.y]
    if "/kl" in wanted.tag and sizes and max(sizes) < ROUNDING:
        notes.append("zero but for rounding")
    return chart(wanted.title, lines, note=", ".join(notes), zero=wanted.zero, share=wanted.share, wide=wanted.wide)


def learning(runs: Sequence[Run]) -> str:
    """Reward, accuracies, entropy, length and KL; other held-out measures behind a click."""
    entropy = "update/entropy" if logged(runs, "update/entropy") else "sampler/entropy"
    main = [
        Wanted("Reward", "reward"),
        Wanted("Accuracy in training", "accuracy", share=True),
        Wanted("Held-out accuracy", "val/accuracy", share=True),
        Wanted("Entropy per token", entropy, zero=True),
        Wanted("Tokens per completion", "completion/tokens", zero=True),
        Wanted("KL to the sampler", "update/kl_to_sampler", wide=True),
    ]
    if logged(runs, "update/kl_to_reference"):
        main.append(Wanted("KL to the reference", "update/kl_to_reference", wide=True))
    tags = dict.fromkeys(tag for run in runs for tag in run.curves if tag.startswith("val/"))
    bounds = {f"{tag}/{side}" for tag in tags for side in ("low", "high")}
    others = [Wanted(tag, tag, share=True) for tag in tags if tag not in bounds | {"val/accuracy"}]
    more = f"<details><summary>{len(others)} more held-out measures</summary>{gallery(runs, others)}</details>"
    return gallery(runs, main) + (more if others else "")


def logged(runs: Sequence[Run], tag: str) -> bool:
    """Whether any run did."""
    return any(tag in run.curves for run in runs)


def rewards(runs: Sequence[Run]) -> str:
    """Each reward by itself, then how often two of them pull apart."""
    names = dict.fromkeys(name for run in runs for name in run.rewards)
    parts = [reward(runs, name) for name in names]
    if pairs := sorted({tag for run in runs for tag in run.curves if tag.startswith("conflict/")}):
        parts.append("<h3>Conflicts <small>share of completions that two rewards pull apart</small></h3>")
        parts.append(
            gallery(runs, [Wanted(tag.partition("/")[2], tag, share=True) for tag in pairs], [run.name for run in runs])
        )
    return "".join(parts) or "<p>No reward was logged.</p>"


def reward(runs: Sequence[Run], name: str) -> str:
    """Its mean, its share of the advantage, how far it is followed, and weight and bound where they move."""
    tag = f"reward/{name}"
    wanted = [Wanted("Mean", tag)]
    if logged(runs, f"{tag}/share"):
        wanted.append(Wanted("Share of the advantage", f"{tag}/share", share=True))
    wanted.append(Wanted("Correlation with the advantage", f"{tag}/followed"))
    if len({value for run in runs for value in run.curves.get(f"{tag}/weight", {}).values()}) > 1:
        wanted.append(Wanted("Weight, or multiplier", f"{tag}/weight", zero=True))
    if logged(runs, f"{tag}/above_bound"):
        wanted.append(Wanted("Mean above its bound", f"{tag}/above_bound"))
    said = dict.fromkeys(role(name, run.rewards[name]) for run in runs if name in run.rewards)
    without = [run.name for run in runs if name not in run.rewards]
    only = [f"only in {', '.join(run.name for run in runs if name in run.rewards)}"] if without else []
    words = " · ".join([*filter(None, said), *only, *failures(runs, tag)])
    return f"<h3>{safe(name)} <small>{safe(words)}</small></h3>{gallery(runs, wanted, without)}"


def role(name: str, settings: Mapping[str, Any]) -> str:
    """A reward's weight or bound in words; nothing if its settings are not known."""
    try:
        label = label_of([settings]).removeprefix(f"{name} ")
    except (KeyError, TypeError, ValueError):
        return ""
    weighs = label and settings.get("role", "objective") == "objective"
    return f"weight {label}" if weighs else label or "shown, never trained on"


def failures(runs: Sequence[Run], tag: str) -> list[str]:
    """How often a reward failed, of the runs in which it did."""
    found = []
    for run in runs:
        counts = {what: sum(run.curves.get(f"{tag}/{what}", {}).values()) for what in ("errors", "crashes", "timeouts")}
        words = [f"{count:g} {what}" for what, count in counts.items() if count]
        found += [f"{run.name}: {', '.join(words)}"] if words else []
    return found


def stability(runs: Sequence[Run]) -> str:
    """Of the updates: size, edges, and how far the policy has gone from what sampled."""
    wanted = [
        Wanted("Gradient norm", "update/grad_norm", zero=True, wide=True),
        Wanted("Clipped at the upper edge", "update/clipped_high", zero=True),
        Wanted("Clipped at the lower edge", "update/clipped_low", zero=True),
        Wanted("Effective sample size", "update/ess", share=True),
        Wanted("Groups without signal", "groups/zero_signal", share=True),
        Wanted("Completions cut at the limit", "stop/length", share=True),
    ]
    if any(any(run.curves.get("update/skipped", {}).values()) for run in runs):
        wanted.append(Wanted("Steps skipped, as they were not finite", "update/skipped", zero=True))
    return gallery(runs, wanted)


def speed(runs: Sequence[Run]) -> str:
    """Tokens per second, and where the seconds of a step go."""
    curves = gallery(runs, [Wanted("Completion tokens per second", "speed/tokens_per_second", zero=True)])
    stages = {run.name: layers for run in runs if (layers := stages_of(run))}
    if not stages:
        return curves
    tops = [sum(values) for layers in stages.values() for values in zip(*(layer.y for layer in layers), strict=True)]
    charts = [stacked(name, layers, top=max(tops), note=medians(layers)) for name, layers in stages.items()]
    keys = [f'<span class="chip l{k}"><i class="swatch block"></i>{stage}</span>' for k, stage in enumerate(STAGES)]
    return f'{curves}<h3>Seconds of a step {" ".join(keys)}</h3><div class="charts">{"".join(charts)}</div>'


def stages_of(run: Run) -> list[Line]:
    """Seconds of each stage, at the steps at which all that were logged were; empty if there are none."""
    known = {stage: run.curves[f"time/{stage}"] for stage in STAGES if f"time/{stage}" in run.curves}
    first = next(iter(known.values()), {})
    steps = [step for step in first if all(math.isfinite(curve.get(step, math.nan)) for curve in known.values())]
    if not steps:
        return []
    values = {stage: [max(0.0, curve[step]) for step in steps] for stage, curve in known.items()}
    lines = [Line(name=stage, colour=STAGES.index(stage), x=steps, y=each) for stage, each in values.items()]
    return [thinned(line)[0] for line in lines]


def medians(layers: Sequence[Line]) -> str:
    return "median " + ", ".join(f"{layer.name} {number(median(layer.y))}" for layer in layers)


# ---------------------------------------------------------------------------------------------------------------- front


def front(runs: Sequence[Run], axes: Sequence[Axis]) -> str:
    """The runs that measured every objective, a panel for each pair of these, and the hypervolume of each way."""
    found = {i: point for i, run in enumerate(runs) if (point := point_of(run, axes)) is not None}
    wanted = ", ".join(axis.measure for axis in axes)
    if len(found) < 2:
        names = dict.fromkeys(name for run in runs for name in run.measures("after"))
        there = f" --high and --low choose others of {', '.join(names)}." if names else ""
        return f"<p>Fewer than two runs have measured {safe(wanted)} after training.{safe(there)}</p>"
    points = list(found.values())
    corner = worst(points, axes)
    panels = [panel(found, axes, pair) for pair in combinations(range(len(axes)), 2)]
    rows = [
        row(safe(each.way), (str(each.runs), str(each.on_front), number(each.volume)))
        for each in reached(points, axes, corner)
    ]
    where = f"hypervolume<small>from {safe(place_of(corner, axes))}</small>"
    without = [run.name for i, run in enumerate(runs) if i not in found]
    said = (
        f'<p class="faint">Not among them, without {safe(wanted)}: {safe(", ".join(without))}.</p>' if without else ""
    )
    return (
        f'<div class="charts">{"".join(panels)}</div>{said}'
        f"{table(['rewards combined by', 'runs', 'on its front', where], rows)}"
    )


def point_of(run: Run, axes: Sequence[Axis]) -> Point | None:
    """Where a run came out; None unless all objectives were measured, as finite numbers."""
    after = run.measures("after")
    values = tuple(after.get(axis.measure, math.nan) for axis in axes)
    try:
        way, label = way_of(run.config["model"]), label_of(run.config["model"]["rewards"])
    except (KeyError, TypeError, ValueError, AttributeError):
        way, label = "unknown", ""
    return Point(name=run.name, way=way, label=label, values=values) if all(map(math.isfinite, values)) else None


def panel(found: Mapping[int, Point], axes: Sequence[Axis], pair: tuple[int, int]) -> str:
    """Two objectives: a dot for each run, in its colour, and a line along the front of each way."""
    shown_axes = [axes[i] for i in pair]
    dots = [Dot(name=p.name, colour=i, x=p.values[pair[0]], y=p.values[pair[1]]) for i, p in found.items()]
    fronts = []
    for way in sorted({point.way for point in found.values()}):
        values = np.array([[point.values[i] for i in pair] for point in found.values() if point.way == way])
        fronts.append((way, [(float(x), float(y)) for x, y in front_line(values, shown_axes)]))
    x, y = shown_axes
    return scatter(dots, fronts, (x.title, y.title), low=x.low)
