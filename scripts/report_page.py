"""The page of a report: its sections, each a pure function of the runs, and the frame around them.

The page loads nothing. A content security policy allows the one script and the style that are written into it, by their
hashes; so even text that got past `safe` would neither run nor ask the network.
"""

import base64
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from scripts.front import Axis
from scripts.report_curves import front, learning, rewards, speed, stability
from scripts.report_html import safe, swatch
from scripts.report_runs import Run
from scripts.report_tables import evaluations, moment, samples, summary

HERE = Path(__file__).resolve().parent


def page(runs: Sequence[Run], axes: Sequence[Axis], *, now: float) -> str:
    """The whole file."""
    sections: dict[str, Callable[[], str]] = {
        "Summary": lambda: summary(runs),
        "Evaluation": lambda: evaluations(runs),
        "Learning": lambda: learning(runs),
        "Pareto front": lambda: front(runs, axes) if len(runs) > 1 else "",
        "Rewards": lambda: rewards(runs),
        "Samples": lambda: samples(runs),
        "Stability": lambda: stability(runs),
        "Speed": lambda: speed(runs),
        "Config": lambda: configs(runs),
    }
    built = {title: made for title, make in sections.items() if (made := make())}
    links = "".join(f'<a href="#{slug(title)}">{title}</a>' for title in built)
    body = "".join(f'<section id="{slug(title)}"><h2>{title}</h2>{made}</section>' for title, made in built.items())
    buttons = "".join(
        f'<button data-run="{i}" aria-pressed="true" title="show or hide">{swatch(i)}{safe(run.name)}</button>'
        for i, run in enumerate(runs)
    )
    legend = f'<div class="legend">{buttons}</div>' if len(runs) > 1 else ""
    names = ", ".join(run.name for run in runs[:6]) + " …" * (len(runs) > 6)
    title = safe(names if len(runs) == 1 else f"{len(runs)} runs: {names}")
    style = (HERE / "report.css").read_text(encoding="utf-8")
    style += "".join(f".hide-{i} .run-{i}{{display:none}}" for i in range(len(runs)))
    script = (HERE / "report.js").read_text(encoding="utf-8")
    policy = f"default-src 'none'; style-src '{fingerprint(style)}'; script-src '{fingerprint(script)}'"
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title><style>{style}</style></head>
<body><header><h1>{title}</h1><span class="faint">grpo-lightning report, {moment(now)}</span></header>
<nav><div>{links}{legend}</div></nav><main>{body}
<footer>Bands are intervals where these were logged, else the range of what a point is the mean of.</footer></main>
<script>{script}</script></body></html>
"""


def configs(runs: Sequence[Run]) -> str:
    """As each run had it, resolved."""
    return "".join(
        f"<details><summary>{safe(run.name)}</summary><pre>\n{safe(run.config_text)}</pre></details>"
        if run.config_text
        else f"<p>{safe(run.name)}: no config.yaml.</p>"
        for run in runs
    )


def slug(title: str) -> str:
    return title.lower().replace(" ", "-")


def fingerprint(text: str) -> str:
    """What the content security policy knows an inline style or script by."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
