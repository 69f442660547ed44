"""DeepMath-103K from its files as they lie on the hub to one .jsonl: question, final_answer, difficulty and topic.

    hf download zwhe99/DeepMath-103K --repo-type dataset --include 'data/*' --local-dir data/deepmath-hub
    python scripts/prepare_deepmath.py data/deepmath-hub/data/*.parquet --out data/deepmath.jsonl
    python scripts/prepare_deepmath.py FILES --out FILE --min-difficulty 3 --max-difficulty 6 --limit 10000

Leaves out the three solutions of each problem, which are nearly all of the 5 GB and which no reward reads. Reads and
writes row by row. Rows without an answer are left out.
"""

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from grpo_lightning.sources import Row, read_file, write_jsonl

KEPT = ("question", "final_answer", "difficulty", "topic")


def kept(paths: Sequence[Path], low: float, high: float) -> Iterator[Row]:
    """The columns that training reads, of rows with an answer whose difficulty lies within the bounds."""
    for path in paths:
        for number, row in enumerate(read_file(path)):
            if missing := [name for name in KEPT if name not in row]:
                raise ValueError(f"{path}, row {number} (from 0): no column {missing[0]!r}; there are {', '.join(row)}")
            difficulty = row["difficulty"]
            if not isinstance(difficulty, int | float):
                raise ValueError(
                    f"{path}, row {number} (from 0): difficulty {difficulty!r} is refused; a number is needed"
                )
            if row["final_answer"] and low <= difficulty <= high:
                yield {name: row[name] for name in KEPT}


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, help="parquet, jsonl, json or csv")
    parser.add_argument("--out", required=True, type=Path, help="the .jsonl to write")
    parser.add_argument("--min-difficulty", type=float, default=-math.inf)
    parser.add_argument("--max-difficulty", type=float, default=math.inf)
    parser.add_argument("--limit", type=int, help="write at most this many rows")
    return parser


def main(words: Sequence[str] | None = None) -> None:
    given = arguments().parse_args(words)
    try:
        count = write_jsonl(
            given.out, islice(kept(given.files, given.min_difficulty, given.max_difficulty), given.limit)
        )
        if not count:
            raise ValueError(f"{given.out}: no row has an answer and a difficulty within the bounds")
    except (ValueError, OSError) as error:
        sys.exit(f"prepare_deepmath: {error}")
    print(f"{count} rows in {given.out}")


if __name__ == "__main__":
    main()
