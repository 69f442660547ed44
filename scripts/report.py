"""Writes one HTML file about a run, or several: what was reached, curves, rewards, samples, speed, and the config.

    python scripts/report.py runs/quickstart                                  # report.html
    python scripts/report.py runs/quickstart runs/quickstart-2 --out report.html
    python scripts/report.py runs/* --high accuracy reward/format --low length

The file loads nothing from anywhere. It shows what is in the folders of the runs, also of one that is still going or
has crashed, and says what is missing. --high and --low choose the objectives of the Pareto front of several runs.
"""

import argparse
import sys
import time
from pathlib import Path

from scripts.front import add_axes, axes_of
from scripts.report_page import page
from scripts.report_runs import names_of, read_run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs")
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="the file to write")
    add_axes(parser)
    given = parser.parse_args()
    axes = axes_of(parser, given)
    folders = list({folder.resolve(): folder for folder in given.runs if not folder.is_file()}.values())
    if not folders:
        raise SystemExit(f"{given.runs[0]}: is a file; name the folders of runs")
    runs = [read_run(folder, name) for folder, name in zip(folders, names_of(folders), strict=True)]
    text = page(runs, axes, now=time.time())
    try:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SystemExit(f"--out: {given.out} cannot be written: {error.strerror}") from error
    for run in runs:
        for note in run.notes:
            print(f"{run.name}: {note}", file=sys.stderr)
    print(f"{given.out}: {len(runs)} run{'s' * (len(runs) > 1)}, {given.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
