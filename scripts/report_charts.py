"""Charts of a report as inline SVG. Pure functions; colours are those of report.css.

A chart carries its numbers in an attribute, which report.js shows under the pointer.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from scripts.report_html import COLOURS, number, safe

POINTS = 200
"""As many of a line are drawn; a longer one is drawn as means of neighbours."""
DASHES = 4
"""Of report.css, for fronts."""
NAMED = 12
"""As many dots of a scatter plot have their names beside them."""
LETTER = 6.2
"""Width of one."""
BESIDE = tuple((right, down) for down in (4, -8, 16, -20, 28, -32, 40) for right in (True, False))
"""Where a name may be: right or left of its dot, and how far down."""
ROUNDING = 1e-4
"""By so much a share may be beyond 0 or 1."""
WIDE = 200.0
"""How far the largest value is above the median where `wide` makes an axis logarithmic."""
WIDTH, HEIGHT = 400.0, 214.0
LEFT, RIGHT, TOP, BOTTOM = 48.0, 382.0, 10.0, 184.0
"""Edges of the plot within WIDTH x HEIGHT."""

Place = tuple[float, float]
Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One run's values of one measure."""

    name: str
    colour: int
    """Which run it is of."""
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    """Lower bounds, as many as values, or none."""
    high: Sequence[float] = ()


@dataclass(frozen=True, kw_only=True)
class Dot:
    """One point of a scatter plot."""

    name: str
    colour: int
    x: float
    y: float


# ---------------------------------------------------------------------------------------------------------------- lines


def finite(line: Line) -> Line:
    """Without values that are no numbers, or endless."""
    keep = [i for i, value in enumerate(line.y) if math.isfinite(value)]
    low, high = ([side[i] for i in keep] if side else [] for side in (line.low, line.high))
    return replace(line, x=[line.x[i] for i in keep], y=[line.y[i] for i in keep], low=low, high=high)


def thinned(line: Line) -> tuple[Line, int]:
    """With at most POINTS points, each the mean of so many neighbours. Bounds are means too; without any, they become
    the neighbours' least and largest.
    """
    size = math.ceil(len(line.y) / POINTS)
    if size <= 1:
        return line, 1
    parts = [slice(i, i + size) for i in range(0, len(line.y), size)]
    mean = {
        each: [_mean(getattr(line, each)[p]) for p in parts]
        for each in ("x", "y", "low", "high")
        if line.low or each in "xy"
    }
    low = mean.get("low") or [min(line.y[part]) for part in parts]
    high = mean.get("high") or [max(line.y[part]) for part in parts]
    return replace(line, x=mean["x"], y=mean["y"], low=low, high=high), size


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers from `low` to `high`."""
    rough = (high - low) / count
    if not rough > 0 or not math.isfinite(rough):
        return [low]
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * m for m in (1, 2, 2.5, 5, 10) if unit * m >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def labels(values: Sequence[float]) -> list[str]:
    """Ticks in as many digits as tell them apart."""
    step = min((abs(b - a) for a, b in pairwise(values)), default=0.0)
    for digits in range(3, 9):
        texts = [number(value, digits) for value in values]
        if all(
            abs(float(text.replace(",", "")) - value) <= step / 100 for text, value in zip(texts, values, strict=True)
        ):
            break
    return texts


@dataclass(frozen=True, kw_only=True)
class Scale:
    """From a value to its place along one side of the plot."""

    low: float
    high: float
    start: float
    """Where `low` is drawn."""
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = (math.log10(self.low), math.log10(self.high)) if self.log else (self.low, self.high)
        value = math.log10(max(value, self.low)) if self.log else value
        return self.start + (self.end - self.start) * (value - low) / (high - low)

    @property
    def ticks(self) -> list[float]:
        if not self.log:
            return ticks(self.low, self.high)
        first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
        every = max(1, (last - first) // 4)
        return [10.0**i for i in range(first, last + 1, every)]


def across(values: Sequence[float]) -> Scale:
    """From left to right."""
    low, high = min(values), max(values)
    return Scale(low=low, high=high, start=LEFT, end=RIGHT) if high > low else _around(low, LEFT, RIGHT)


def upward(values: Sequence[float], *, zero: bool = False, share: bool = False, wide: bool = False) -> Scale:
    """From the bottom to the top; from 0 if `zero`, from 0 to 1 if a `share`; logarithmic if `wide` and far apart."""
    low, high = min(values), max(values)
    if share and low >= -ROUNDING and high <= 1 + ROUNDING:
        return Scale(low=0.0, high=1.0, start=BOTTOM, end=TOP)
    positive = sorted(value for value in values if value > 0)
    if wide and low >= 0 and positive and high > WIDE * positive[len(positive) // 2]:
        return Scale(low=positive[0], high=high, start=BOTTOM, end=TOP, log=True)
    low = min(low, 0.0) if zero else low
    if not high > low:
        return _around(low, BOTTOM, TOP)
    margin = (high - low) * 0.06
    return Scale(low=low if low == 0 else low - margin, high=high + margin, start=BOTTOM, end=TOP)


def _around(value: float, start: float, end: float) -> Scale:
    margin = abs(value) * 0.1
    return Scale(low=value - margin, high=value + (margin or 1.0), start=start, end=end)


# -------------------------------------------------------------------------------------------------------------- drawing


def points(scales: tuple[Scale, Scale], x: Sequence[float], y: Sequence[float]) -> str:
    """As SVG has them."""
    return " ".join(f"{scales[0](a):.1f},{scales[1](b):.1f}" for a, b in zip(x, y, strict=True))


def frame(scales: tuple[Scale, Scale], label: str) -> str:
    """Grid, numbers, and what is from left to right."""
    parts = []
    for value, text in zip(scales[1].ticks, labels(scales[1].ticks), strict=True):
        y = scales[1](value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{text}</text>')
    for value, text in zip(scales[0].ticks, labels(scales[0].ticks), strict=True):
        parts.append(f'<text x="{scales[0](value):.1f}" y="{BOTTOM + 14}" text-anchor="middle">{text}</text>')
    parts.append(f'<text class="label" x="{RIGHT}" y="{HEIGHT - 4}" text-anchor="end">{safe(label)}</text>')
    return "".join(parts)


def style_of(colour: int) -> str:
    """Classes of a line: its run, for the legend, and its colour."""
    return f"run-{colour} c{colour % COLOURS}{' again' if colour >= COLOURS else ''}"


def figure(title: str, note: str, body: str, scales: tuple[Scale, Scale], rows: Sequence[object]) -> str:
    """A chart with its caption; `rows` of [name, class, x, y, run] are what the pointer shows."""
    x = scales[0]
    where = json.dumps([x.start, x.end, x.low, x.high])
    data = f'data-x="{where}" data-rows="{safe(json.dumps(rows, separators=(",", ":")))}"'
    small = f" <small>{safe(note)}</small>" if note else ""
    return (
        f'<figure class="chart"><figcaption>{safe(title)}{small}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-label="{safe(title)}" {data}>'
        f"{body}</svg></figure>"
    )


def chart(
    title: str,
    lines: Sequence[Line],
    *,
    note: str = "",
    zero: bool = False,
    share: bool = False,
    wide: bool = False,
    label: str = "optimizer step",
) -> str:
    """Lines over one axis, with their bounds as bands; nothing where there is no value to draw."""
    kept = [finite(line) for line in lines]
    lost = sum(len(line.y) for line in lines) - sum(len(line.y) for line in kept)
    thin = [thinned(line) for line in kept if line.y]
    if not thin:
        return ""
    drawn, most = [line for line, _ in thin], max(size for _, size in thin)
    bounds = [value for line in drawn for side in (line.low, line.high) for value in side if math.isfinite(value)]
    y = upward([value for line in drawn for value in line.y] + bounds, zero=zero, share=share, wide=wide)
    scales = across([value for line in drawn for value in line.x]), y
    notes = [note, "logarithmic" * y.log, f"{lost} not finite" * (lost > 0), f"means of {most} steps" * (most > 1)]
    body = frame(scales, label) + "".join(band(line, scales) for line in drawn)
    body += "".join(trace(line, scales) for line in drawn)
    rows = [[line.name, style_of(line.colour), _short(line.x), _short(line.y), line.colour] for line in drawn]
    return figure(title, ", ".join(each for each in notes if each), body, scales, rows)


def _short(values: Sequence[float]) -> list[float]:
    """To five digits: what the pointer shows."""
    return [float(f"{value:.5g}") if abs(value) < 1e5 else round(value) for value in values]


def band(line: Line, scales: tuple[Scale, Scale]) -> str:
    """Between the bounds, where both are known."""
    known = [i for i in range(len(line.low)) if math.isfinite(line.low[i]) and math.isfinite(line.high[i])]
    if not known:
        return ""
    there = points(scales, [line.x[i] for i in known], [line.high[i] for i in known])
    back = points(scales, [line.x[i] for i in reversed(known)], [line.low[i] for i in reversed(known)])
    return f'<polygon class="band {style_of(line.colour)}" points="{there} {back}"/>'


def trace(line: Line, scales: tuple[Scale, Scale]) -> str:
    """The line; dots where there are few points."""
    path = f'<polyline class="line {style_of(line.colour)}" points="{points(scales, line.x, line.y)}"/>'
    if len(line.y) > 15:
        return path
    places = (
        f'<circle cx="{scales[0](x):.1f}" cy="{scales[1](y):.1f}" r="2.5"/>'
        for x, y in zip(line.x, line.y, strict=True)
    )
    return path + f'<g class="dots {style_of(line.colour)}">{"".join(places)}</g>'


def stacked(title: str, layers: Sequence[Line], *, note: str = "", top: float, label: str = "optimizer step") -> str:
    """Layers over the same steps, one upon the other, up to `top`."""
    x = layers[0].x
    sums = [[sum(layer.y[i] for layer in layers[:k]) for i in range(len(x))] for k in range(len(layers) + 1)]
    scales = across(x), upward([top], zero=True)
    body = frame(scales, label)
    for layer, under, over in zip(layers, sums, sums[1:], strict=False):
        back = points(scales, list(reversed(x)), list(reversed(under)))
        body += f'<polygon class="layer l{layer.colour}" points="{points(scales, x, over)} {back}"/>'
    rows = [[layer.name, f"l{layer.colour}", _short(x), _short(layer.y), None] for layer in reversed(layers)]
    return figure(title, note, body, scales, rows)


def scatter(
    dots: Sequence[Dot], fronts: Sequence[tuple[str, Sequence[Place]]], titles: tuple[str, str], *, low: bool
) -> str:
    """Points with names, and a line along each front, each with its name and its points from left to right.

    `low`: what is from left to right is to be low, so what is reached at an x is the best of those on its left.
    """
    scales = replace(upward([dot.x for dot in dots]), start=LEFT, end=RIGHT), upward([dot.y for dot in dots])
    body = frame(scales, f"→ {titles[0]}")
    for k, (name, front) in enumerate(fronts):
        corners = [(b[0], a[1]) if low else (a[0], b[1]) for a, b in pairwise(front)]
        path = [front[0], *(p for pair in zip(corners, front[1:], strict=True) for p in pair)]
        places = points(scales, [p[0] for p in path], [p[1] for p in path])
        body += f'<polyline class="front w{k % DASHES}" points="{places}"><title>{safe(name)}</title></polyline>'
    names = places_of(dots, scales) if len(dots) <= NAMED else [""] * len(dots)
    body += "".join(mark(dot, scales, titles, name) for dot, name in zip(dots, names, strict=True))
    return figure(titles[1], "", body, scales, [])


def places_of(dots: Sequence[Dot], scales: tuple[Scale, Scale]) -> list[str]:
    """Names beside dots, each where it covers no other name and no dot; left out if there is no such place."""
    centres = [(scales[0](dot.x), scales[1](dot.y)) for dot in dots]
    covered: list[Box] = [(x - 5, y - 5, x + 5, y + 5) for x, y in centres]
    found = []
    for dot, (x, y) in zip(dots, centres, strict=True):
        width, texts = LETTER * len(dot.name), []
        for right, down in BESIDE:
            left = x + 8 if right else x - 8 - width
            box = (left, y + down - 9, left + width, y + down + 3)
            inside = box[0] >= LEFT and box[1] >= 0 and box[2] <= WIDTH and box[3] <= BOTTOM
            if inside and not any(overlap(box, other) for other in covered):
                covered.append(box)
                texts = [f'<text x="{left:.1f}" y="{y + down:.1f}">{safe(dot.name)}</text>']
                break
        found += texts or [""]
    return found


def overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def mark(dot: Dot, scales: tuple[Scale, Scale], titles: tuple[str, str], name: str) -> str:
    """A dot with its name, and its values under the pointer."""
    at, up = scales[0](dot.x), scales[1](dot.y)
    said = f"<title>{safe(f'{dot.name}: {titles[0]} {number(dot.x)}, {titles[1]} {number(dot.y)}')}</title>"
    circle = f'<circle class="dot" cx="{at:.1f}" cy="{up:.1f}" r="4.5">{said}</circle>'
    return f'<g class="{style_of(dot.colour)}">{circle}{name}</g>'
