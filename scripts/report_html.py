"""Pieces of a report's HTML: text made safe, numbers, tables."""

import html
import math
import re
from collections.abc import Iterable, Sequence

COLOURS = 7
"""Of report.css, as many as stay apart for the colour-blind; further runs have them again, dashed."""
SHARES = ("accuracy", "pass@", "pass_at", "maj@", "maj_at", "avg@", "avg_at", "truncated", "truncation")
"""How names of measures begin that are shown as percentages."""
UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ud800-\udfff"
    "\ufeff\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f]"
)
"""Control characters but tab and new line, lone surrogates, what reorders the text around it, and what is not drawn."""


def safe(value: object) -> str:
    """As text or attribute of HTML that UTF-8 can hold: what would not be seen, or reorders the rest, is spelt out."""
    return html.escape(UNSEEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", str(value)))


def number(value: float, digits: int = 3) -> str:
    """So many digits, or whole from a thousand on."""
    if not math.isfinite(value):
        return str(value)
    whole = 1000 <= abs(value) < 1e9 and digits <= 4
    return f"{value:,.0f}" if whole else f"{value:.{digits}g}"


def shown(measure: str, value: float | None) -> str:
    """A measured value, in its unit."""
    if value is None:
        return "–"
    if measure.rpartition("/")[2].startswith(SHARES) and 0 <= value <= 1:
        return f"{100 * value:.1f} %"
    return number(value)


def between(measure: str, bounds: tuple[float, float] | None) -> str:
    """An interval, small; nothing if it is not known."""
    return f"<small>{shown(measure, bounds[0])} to {shown(measure, bounds[1])}</small>" if bounds else ""


def table(head: Sequence[str], rows: Iterable[str], kind: str = "") -> str:
    """A card with a table: cells of the head and whole rows, both as HTML."""
    cells = "".join(f"<th>{cell}</th>" for cell in head)
    head_row, body = f"<thead><tr>{cells}</tr></thead>", f"<tbody>{''.join(rows)}</tbody>"
    return f'<div class="card"><table class="{kind}">{head_row}{body}</table></div>'


def row(first: str, cells: Iterable[str]) -> str:
    """A row of a table, from HTML."""
    return f"<tr><th>{first}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def part(title: str) -> str:
    """A row that names those below it."""
    return f'<tr class="part"><th>{safe(title)}</th></tr>'


def swatch(run: int) -> str:
    """The colour of a run."""
    return f'<i class="swatch c{run % COLOURS}{" again" if run >= COLOURS else ""}"></i>'
