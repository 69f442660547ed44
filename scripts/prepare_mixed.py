"""Mathematics and code as one data set whose rows name their own rewards: a folder with a train and a test file.

    hf download openai/gsm8k --repo-type dataset --include 'main/*' --local-dir data/gsm8k-hub
    python scripts/prepare_mbpp.py data/mbpp-hub/full --out data/mbpp
    python scripts/prepare_mixed.py --math data/gsm8k-hub/main --code data/mbpp --out data/mixed
    python scripts/prepare_mixed.py --math FOLDER --prompt problem --answer answer --code data/mbpp --out data/mixed

Both folders hold files of the splits train and test; the code is as prepare_mbpp.py writes it. A row becomes
{"prompt", "answer", "tests", "rewards"} with `rewards` "answer" or "tests", for `data.columns.rewards`.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from grpo_lightning.sources import Row, files_of_split, read_file, write_jsonl

SPLITS = ("train", "test")


def routed(row: Row, columns: Sequence[str], reward: str, where: str) -> Row:
    """Prompt and what it is judged by, `columns` of the row, under the names that the config reads."""
    for name in columns:
        if not row.get(name):
            raise ValueError(f"{where}: nothing in the column {name!r}; there are {', '.join(row)}")
    prompt, gold = columns
    return {"prompt": row[prompt], "answer": None, "tests": None} | {reward: row[gold], "rewards": reward}


def rows_of(folder: Path, split: str, columns: Sequence[str], reward: str) -> Iterator[Row]:
    for path in files_of_split(folder, split):
        for number, row in enumerate(read_file(path)):
            yield routed(row, columns, reward, f"{path}, row {number} (from 0)")


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--math", required=True, type=Path, help="folder of problems with an answer")
    parser.add_argument("--prompt", default="question", help="their column with the problem")
    parser.add_argument("--answer", default="answer", help="their column with the answer, or a solution that holds it")
    parser.add_argument("--code", required=True, type=Path, help="folder of prompts with unit tests")
    parser.add_argument("--out", required=True, type=Path, help="the folder to write to")
    parser.add_argument("--limit", type=int, help="take at most this many rows of each kind and split")
    return parser


def main(words: Sequence[str] | None = None) -> None:
    given = arguments().parse_args(words)
    try:
        if given.limit is not None and given.limit < 1:
            raise ValueError(f"--limit: {given.limit} is refused; it must be at least 1")
        for split in SPLITS:
            mathematics = rows_of(given.math, split, (given.prompt, given.answer), "answer")
            code = rows_of(given.code, split, ("prompt", "tests"), "tests")
            path = given.out / f"{split}.jsonl"
            count = write_jsonl(path, chain(islice(mathematics, given.limit), islice(code, given.limit)))
            print(f"{count} rows in {path}")
    except (ValueError, OSError) as error:
        sys.exit(f"prepare_mixed: {error}")


if __name__ == "__main__":
    main()
