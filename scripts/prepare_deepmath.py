"""DeepMath-103K from its files as they lie on the hub to a folder with a .jsonl for each split.

    hf download zwhe99/DeepMath-103K --repo-type dataset --include 'data/*' --local-dir data/deepmath-hub
    python scripts/prepare_deepmath.py data/deepmath-hub/data/*.parquet --out data/deepmath
    python scripts/prepare_deepmath.py FILES --out FOLDER --min-difficulty 3 --max-difficulty 6 --limit 10000

Keeps question, final_answer, difficulty and topic, and leaves out the three solutions of each problem, which are nearly
all of the 5 GB and which no reward reads. Of the rows that a hash of the question puts aside, the first `--held-out`
are validation and as many test; all others are train. Reads and writes row by row. Rows without an answer are left out.
"""

import argparse
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from grpo_lightning.sources import Row, read_file, write_jsonl
from grpo_lightning.tasks import Split, heldout

HELD_OUT: tuple[Split, ...] = ("validation", "test")
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


def put_aside(rows: Iterable[Row], split: Split, count: int, seen: set[object]) -> Iterator[Row]:
    """The first rows of a held-out split; `seen` learns their questions."""
    for row in islice((row for row in rows if heldout(str(row["question"])) == split), count):
        seen.add(row["question"])
        yield row


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, help="parquet, jsonl, json or csv")
    parser.add_argument("--out", required=True, type=Path, help="the folder to write to")
    parser.add_argument("--min-difficulty", type=float, default=-math.inf)
    parser.add_argument("--max-difficulty", type=float, default=math.inf)
    parser.add_argument("--held-out", type=int, default=256, help="rows of validation, and of test")
    parser.add_argument("--limit", type=int, help="take at most this many rows")
    return parser


def main(words: Sequence[str] | None = None) -> None:
    given = arguments().parse_args(words)
    seen: set[object] = set()

    def rows() -> Iterator[Row]:
        return islice(kept(given.files, given.min_difficulty, given.max_difficulty), given.limit)

    try:
        if given.limit is not None and given.limit < 1:
            raise ValueError(f"--limit: {given.limit} is refused; it must be at least 1")
        if given.held_out < 1:
            raise ValueError(f"--held-out: {given.held_out} is refused; it must be at least 1")
        for split in (*HELD_OUT, "train"):
            train = (row for row in rows() if row["question"] not in seen)
            path = given.out / f"{split}.jsonl"
            count = write_jsonl(path, train if split == "train" else put_aside(rows(), split, given.held_out, seen))
            if not count:
                raise ValueError(f"{path}: no rows; more are needed that have an answer and a difficulty within bounds")
            print(f"{count} rows in {path}")
    except (ValueError, OSError) as error:
        sys.exit(f"prepare_deepmath: {error}")


if __name__ == "__main__":
    main()
