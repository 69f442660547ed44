"""Writes what watchdogs see of a run as a small table: python -m tests.healthy RUN > tests/healthy_quickstart.csv"""

import csv
import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from grpo_lightning.symptoms import KEPT
from grpo_lightning.watchdogs import HELD_OUT

TABLE = Path(__file__).parent / "healthy_quickstart.csv"

MADE_BY = (
    "# grpo-lightning fit --config configs/quickstart.yaml && python -m tests.healthy runs/quickstart "
    "> tests/healthy_quickstart.csv"
)


def rows_of(run: Path) -> list[dict[str, float]]:
    """A row for each step, with the metrics that were logged at it."""
    events = EventAccumulator(str(run), size_guidance={"scalars": 0}).Reload()
    rows: dict[int, dict[str, float]] = {}
    for name in [name for name in (*KEPT, *HELD_OUT) if name in events.Tags()["scalars"]]:
        for event in events.Scalars(name):
            rows.setdefault(event.step, {"step": event.step})[name] = event.value
    return [rows[step] for step in sorted(rows)]


def read(path: Path) -> list[dict[str, float]]:
    """The rows of such a table."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(lines[1:])]


def main(run: Path) -> None:
    print(MADE_BY)
    writer = csv.DictWriter(sys.stdout, ["step", *KEPT, *HELD_OUT], lineterminator="\n")
    writer.writeheader()
    for row in rows_of(run):
        writer.writerow({name: f"{value:.5g}" for name, value in row.items()})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
