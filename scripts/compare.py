"""Compares what two checkpoints measured on the same held-out prompts: paired, so that how hard each prompt is cancels.

    grpo-lightning test --config runs/a/config.yaml --ckpt_path last     # writes runs/a/evaluation/test-step40.json
    python scripts/compare.py runs/a runs/b                              # the latest of each
    python scripts/compare.py runs/a/evaluation/test-step20.json runs/a/evaluation/test-step40.json

Each row is a measure's mean of the first and of the second, the difference with its bootstrap interval over prompts, on
how many prompts the second is higher and lower, and p: how often flipping which was which, prompt by prompt, gives a
difference as large. A table of many measures holds a small p by chance: choose the measure before looking.
"""

import argparse
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from grpo_lightning.measures import is_share, shown, title_of
from grpo_lightning.statistics import Comparison, compare

Compared = dict[str, dict[str, Comparison]]
"""By set, by measure."""

WRITTEN = {"step", "evaluation", "sampling", "sets"}
WRITTEN_OF_A_SET = {"accuracy", "digest", "uids", "values"}
"""What is read here of a file, and of each of its sets."""

LATEST = re.compile(r"-step(\d+)\.json$")


def read(given: str) -> tuple[Path, dict[str, Any]]:
    """A file that `test` or `validate` has written, or of a run's folder the one of the latest checkpoint tested."""
    path = Path(given)
    if path.is_dir():
        found = {int(m[1]): each for each in path.glob("evaluation/test-step*.json") if (m := LATEST.search(each.name))}
        if not found:
            raise SystemExit(f"{path}: has no evaluation/test-step*.json; run grpo-lightning test on it first")
        path = found[max(found)]
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        missing = WRITTEN - content.keys()
        missing |= {key for each in content.get("sets", {}).values() for key in WRITTEN_OF_A_SET - each.keys()}
    except (OSError, ValueError, AttributeError) as error:
        raise SystemExit(
            f"{path}: is no file that grpo-lightning test writes ({type(error).__name__}: {error})"
        ) from error
    if missing:
        raise SystemExit(f"{path}: is no file that grpo-lightning test writes; it lacks {', '.join(sorted(missing))}")
    return path, content


def compared(first: dict[str, Any], second: dict[str, Any], confidence: float) -> Compared:
    """Every measure that both have, of every set of which both have answered the same prompts."""
    common = [name for name in first["sets"] if name in second["sets"]]
    same = [name for name in common if first["sets"][name]["digest"] == second["sets"][name]["digest"]]
    if common and not same:
        raise SystemExit(
            f"{', '.join(common)}: the two were measured on other prompts; use the same data.source and its seed"
        )
    found: Compared = {}
    for name in same:
        one, other = first["sets"][name], second["sets"][name]
        uids = sorted(set(one["uids"]) & set(other["uids"]))
        measures = [measure for measure in one["values"] if measure in other["values"]]
        if measures:
            columns = {each: (column(one, each, uids), column(other, each, uids)) for each in measures}
            found[name] = {each: compare(*pair, confidence=confidence) for each, pair in columns.items()}
    if not found:
        raise SystemExit(f"nothing in common: sets {', '.join(first['sets'])} against {', '.join(second['sets'])}")
    return found


def column(of: dict[str, Any], measure: str, uids: list[int]) -> np.ndarray:
    """The measure of these prompts, NaN where it does not apply."""
    values = dict(zip(of["uids"], of["values"][measure], strict=True))
    return np.array([np.nan if values[uid] is None else values[uid] for uid in uids], dtype=float)


def table(name: str, found: dict[str, Comparison], confidence: float) -> Table:
    """One row per measure."""
    prompts = max(each.prompts for each in found.values())
    rows = Table(title=f"{name}: {prompts} prompts, {100 * confidence:g}% intervals", box=None, padding=(0, 1, 0, 0))
    rows.add_column("")
    for title in ("first", "second", "difference", "higher", "lower", "p"):
        rows.add_column(title, justify="right", no_wrap=True)
    for measure, each in found.items():
        share = is_share(measure, [each.first, each.second])
        difference, low, high = (
            f"{value * (100 if share else 1):+.1f}" for value in (each.difference, each.low, each.high)
        )
        rows.add_row(
            title_of(measure),
            shown(each.first, share),
            shown(each.second, share),
            f"{difference} [{low}, {high}]",
            str(each.higher),
            str(each.lower),
            f"{each.p:.4f}" if each.p > 1e-4 else "≤ 0.0001",
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", help="a run's folder, or a file that test or validate has written")
    parser.add_argument("second", help="likewise")
    parser.add_argument("--confidence", type=float, default=0.95, help="of the intervals")
    parser.add_argument("--json", type=Path, help="also write the numbers there")
    given = parser.parse_args()
    if not 0 < given.confidence < 1:
        parser.error(f"--confidence: {given.confidence} is refused; it must be between 0 and 1")
    (first_path, first), (second_path, second) = read(given.first), read(given.second)
    found = compared(first, second, given.confidence)
    console = Console(markup=False)
    for label, path, content in (("first", first_path, first), ("second", second_path, second)):
        console.print(f"{label}: {path}, after {content['step']} steps", soft_wrap=True)
    for key in ("evaluation", "sampling"):
        if first[key] != second[key]:
            console.print(f"beware: the two were answered with other settings of model.{key}")
    for name in sorted(first["sets"].keys() & second["sets"].keys() - found.keys()):
        console.print(f"beware: {name} is left out; the two share no prompts or no measure of it")
    for name, measures in found.items():
        judges = [content["sets"][name]["accuracy"] for content in (first, second)]
        if judges[0] != judges[1]:
            console.print(f"beware: in {name} right is what {judges[0]} says in the first, {judges[1]} in the second")
        console.print(table(name, measures, given.confidence))
    if given.json is not None:
        numbers = {
            name: {measure: asdict(each) for measure, each in measures.items()} for name, measures in found.items()
        }
        content = {"first": str(first_path), "second": str(second_path), "sets": numbers}
        given.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
