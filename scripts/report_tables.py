"""Sections of a report that are words and numbers: what was reached, what differs, evaluations, and samples."""

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from scripts.report_html import between, number, part, row, safe, shown, swatch, table
from scripts.report_runs import NOT_SET, Run, as_number, as_pair, differences, mapping

SAMPLES, OPEN = 24, 6
"""How many prompts of a run are shown, and how many of these without a click."""
SMALL = (
    "Below a score: its interval, where it came from, and what the untrained policy does when a prefix is forced on it."
)
LAST = ("reward", "accuracy", "val/accuracy")
LONG = 160
"""Characters of a setting that are shown."""
LONGEST = 4000
"""Characters of a text that are shown."""


def summary(runs: Sequence[Run]) -> str:
    """What was reached, what it took, and what differs between the runs."""
    return (summary_of_one(runs[0]) if len(runs) == 1 else comparison(runs)) + notes(runs)


def summary_of_one(run: Run) -> str:
    """Tiles with what changed most visibly, and a table of all that was measured."""
    before, after, control = (run.measures(when) for when in ("before", "after", "control"))
    accuracies = [name for name in after if name.startswith("accuracy")]
    tiles = [tile(name.replace("_", " "), change(name, before, after)) for name in accuracies[:2]]
    tiles += [tile("tokens", change("length", before, after))] if "length" in after else []
    tiles += [] if after else [tile(f"{name}, last", shown(name, value)) for name, value in last(run).items()]
    tiles += [tile(name, value) for name, value in taken(run).items()]
    columns = {"before": before, "after": after} | ({"control": control} if control else {})
    rows = []
    for name in dict.fromkeys(name for values in columns.values() for name in values):
        cells = (
            shown(name, found.get(name)) + between(name, run.interval(when, name)) for when, found in columns.items()
        )
        rows.append(row(safe(name), cells))
    heads = ("held-out prompts", "before", "after", "untrained, forced")
    held_out = table(heads[: 1 + len(columns)], rows) if rows else ""
    return f'<div class="tiles">{"".join(tiles)}</div>{held_out}'


def last(run: Run) -> dict[str, float]:
    """What was logged last, of the measures that are followed during training."""
    return {name: list(run.curves[name].values())[-1] for name in LAST if name in run.curves}


def tile(name: str, value: str) -> str:
    return f'<div class="tile"><span class="faint">{safe(name)}</span><b>{safe(value)}</b></div>'


def change(name: str, before: Mapping[str, float], after: Mapping[str, float]) -> str:
    """From what to what."""
    return f"{shown(name, before[name])} → {shown(name, after[name])}" if name in before else shown(name, after[name])


def duration(seconds: float) -> str:
    """In the two largest units."""
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 7200 else f"{whole // 3600} h {whole % 3600 // 60} min"


def taken(run: Run) -> dict[str, str]:
    """Steps, time and seed, as far as they are known."""
    steps, seconds = run.summary.get("steps", run.last_step), as_number(run.summary.get("seconds"))
    if seconds is not None and math.isfinite(seconds):
        time = duration(seconds)
    else:
        time = f"{duration(run.times[1] - run.times[0])} so far" if run.times else "–"
    seed = run.summary.get("seed", run.config.get("seed_everything", "–"))
    return {"steps": "–" if steps is None else str(steps), "time": time, "seed": str(seed)}


def comparison(runs: Sequence[Run]) -> str:
    """One column a run: what was reached after training, from where, at what cost, and the settings that differ."""
    names = dict.fromkeys(name for run in runs for name in run.measures("after"))
    rows = [part("held-out prompts, after training")] if names else []
    rows += [row(safe(name), (cell(run, name) for run in runs)) for name in names]
    if any(not run.measures("after") for run in runs):
        lasts = [last(run) for run in runs]
        rows.append(part("last logged in training"))
        rows += [row(name, (shown(name, each.get(name)) for each in lasts)) for name in LAST]
    rows.append(part("what it took"))
    rows += [row(name, (safe(taken(run)[name]) for run in runs)) for name in ("steps", "time", "seed")]
    told = f'<p class="faint">{SMALL}</p>' if names else ""
    return table(["", *(head(run, i) for i, run in enumerate(runs))], rows) + told + settings(runs)


def head(run: Run, number: int, below: str = "") -> str:
    """The run's name in its colour, above a column."""
    return f"{swatch(number)}{safe(run.name)}" + (f"<small>{safe(below)}</small>" if below else "")


def settings(runs: Sequence[Run]) -> str:
    """The settings that are not the same in all runs that have a config; those of the Trainer last."""
    compared = [(i, run) for i, run in enumerate(runs) if run.config]
    if len(compared) < 2:
        return ""
    rows = []
    for key, values in sorted(differences([run.config for _, run in compared]), key=of_trainer):
        cells = (setting(value, faint=i > 0 and value == values[0]) for i, value in enumerate(values))
        rows.append(row(f"<code>{safe(key)}</code>", cells))
    below = table(["", *(head(run, i) for i, run in compared)], rows, "words") if rows else "<p>None.</p>"
    return f"<h3>Settings that differ</h3>{below}"


def of_trainer(found: tuple[str, list[object]]) -> bool:
    """Whether a setting is the Trainer's, such as its callbacks."""
    return found[0].startswith("trainer.")


def cell(run: Run, name: str) -> str:
    """What a run has reached, its interval, and where it came from."""
    after, before, control = (run.measures(when).get(name) for when in ("after", "before", "control"))
    if after is None:
        return "–"
    origin = [] if before is None else [f"from {shown(name, before)}"]
    origin += [] if control is None else [f"forced {shown(name, control)}"]
    return f"{shown(name, after)}{between(name, run.interval('after', name))}<small>{', '.join(origin)}</small>"


def setting(value: object, *, faint: bool) -> str:
    """A value of a config, short: of a group, what is set."""
    if isinstance(value, Mapping):
        value = {name: each for name, each in value.items() if each not in (None, {}, [])}
    if isinstance(value, str) and value.isprintable():
        told = value
    else:
        told = "not set" if value is NOT_SET else json.dumps(value, ensure_ascii=False, default=str)
    kind = ' class="faint"' if faint else ""
    return f"<code{kind}>{safe(told if len(told) <= LONG else f'{told[:LONG]} …')}</code>"


def notes(runs: Sequence[Run]) -> str:
    """What each run lacks."""
    lines = []
    for run in runs:
        said = list(run.notes)
        if run.times and not run.summary:
            said.append(f"last logged: step {run.last_step}, {moment(run.times[1])}")
        lines += [f'<p class="faint">{safe(run.name)}: {safe("; ".join(said))}</p>'] if said else []
    return "".join(lines)


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def evaluations(runs: Sequence[Run]) -> str:
    """What `grpo-lightning test` measured, a column for each time; nothing if it never ran."""
    found = [(i, name, each) for i, run in enumerate(runs) for name, each in run.evaluations.items()]
    columns = [values_of(each) for _, _, each in found]
    names = dict.fromkeys(key for column in columns for key in column)
    rows = [
        row(f"{safe(where)} · {safe(metric)}", (column.get((where, metric), "–") for column in columns))
        for where, metric in names
    ]
    heads = [head(runs[i], i, f"step {each.get('step', '–')}, {name}") for i, name, each in found]
    return table(["set · measure", *heads], rows) if rows else ""


def values_of(found: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """Each metric of each set, with its interval, as HTML."""
    values = {}
    for where, each in mapping(found.get("sets")).items():
        prompts = f"<small>{safe(each['prompts'])} prompts</small>" if "prompts" in mapping(each) else ""
        for metric, measured in mapping(mapping(each).get("metrics")).items():
            value = as_number(mapping(measured).get("value"))
            bounds = as_pair([mapping(measured).get("low"), mapping(measured).get("high")])
            values[str(where), str(metric)] = shown(metric, value) + between(metric, bounds) + prompts
    return values


# -------------------------------------------------------------------------------------------------------------- samples


def samples(runs: Sequence[Run]) -> str:
    """Completions of the same held-out prompts before and after training, side by side."""
    parts: list[str] = []
    for run in (run for run in runs if run.samples):
        each = [sample(found) for found in run.samples[:SAMPLES]]
        more = (
            f"<details><summary>{len(each) - OPEN} more</summary>{''.join(each[OPEN:])}</details>"
            if len(each) > OPEN
            else ""
        )
        title = f"{safe(run.name)} <small>{safe(changes(run))}</small>"
        body = f'<div class="card">{"".join(each[:OPEN])}{more}</div>'
        parts.append(f"<h3>{title}</h3>{body}" if not parts else f"<details><summary>{title}</summary>{body}</details>")
    return "".join(parts) or "<p>No run has a samples.json.</p>"


def changes(run: Run) -> str:
    """Of all prompts of samples.json: in how many each reward rose and fell."""
    count = len(run.samples)
    words = [f"the first {SAMPLES} of {count} prompts" if count > SAMPLES else f"{count} prompt{'s' * (count > 1)}"]
    pairs = [(rewards_of(found, "before"), rewards_of(found, "after")) for found in run.samples]
    for name in dict.fromkeys(name for _, after in pairs for name in after):
        arrows = [moved(before.get(name), after.get(name)) for before, after in pairs]
        words.append(f"{name} up in {arrows.count(' ▲')}, down in {arrows.count(' ▼')}")
    return "; ".join(words)


def sample(found: Mapping[str, Any]) -> str:
    """One prompt with its two completions."""
    given = found.get("answer")
    answer = "" if given is None else f' <span class="chip">answer: {clipped(given)}</span>'
    before, after = (column(found, when) for when in ("before", "after"))
    asked = f'<div class="asked">{text(found.get("prompt"))}{answer}</div>'
    return f'<div class="sample">{asked}{before}{after}</div>'


def column(found: Mapping[str, Any], when: str) -> str:
    """A completion with its rewards, and where they moved since before."""
    side = mapping(found.get(when))
    if not side:
        return f'<div><span class="faint">{when}: not sampled</span></div>'
    start = rewards_of(found, "before")
    chips = "".join(
        f'<span class="chip">{safe(name)} {"does not apply" if value is None else number(value)}'
        f"{moved(start.get(name), value)}</span>"
        for name, value in rewards_of(found, when).items()
    )
    return f'<div><span class="faint">{when}</span> {chips}{text(side.get("text"))}</div>'


def moved(start: float | None, end: float | None) -> str:
    """An arrow, if both are known and differ."""
    if start is None or end is None or start == end:
        return ""
    return " ▲" if end > start else " ▼"


def rewards_of(found: Mapping[str, Any], when: str) -> dict[str, float | None]:
    """What a completion earned; None where a reward does not apply."""
    given = mapping(mapping(found.get(when)).get("rewards"))
    return {str(name): as_number(value) for name, value in given.items()}


def text(value: object) -> str:
    """As it is, with its lines; the first new line after <pre> is not part of it."""
    return f"<pre>\n{'' if value is None else clipped(value)}</pre>"


def clipped(value: object) -> str:
    """The beginning of a text, safe, with how much is left out."""
    whole = str(value)
    more = len(whole) - LONGEST
    return safe(whole[:LONGEST]) + (f" … and {more:,} more characters" if more > 0 else "")
