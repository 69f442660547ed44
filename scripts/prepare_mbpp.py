"""MBPP from its files as they lie on the hub to prompts and tests: a folder with one .jsonl for each split.

    hf download google-research-datasets/mbpp --repo-type dataset --include 'full/*' --local-dir data/mbpp-hub
    python scripts/prepare_mbpp.py data/mbpp-hub/full --out data/mbpp
    python scripts/prepare_mbpp.py data/mbpp-hub/sanitized --out data/mbpp --shown 3 --limit 100

Takes both configurations, `full` and `sanitized`. A row becomes {"prompt", "tests", "task_id"}: the task and the first
`--shown` of its tests, without which nobody knows the function's name; and all tests, those of the challenge list
included, with what must be imported or set up before them. `--shown 3` is the prompt of the paper, whose tests can all
be hard-coded. The split `prompt`, meant as examples, is left out.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from grpo_lightning.sources import Row, files_of_split, read_file, write_jsonl

SPLITS = ("train", "validation", "test")


def converted(row: Row, shown: int, where: str) -> Row:
    """A row of either configuration as prompt and tests."""
    task = row.get("text", row.get("prompt"))
    if not isinstance(task, str) or not task.strip():
        raise ValueError(f"{where}: no task under 'text' or 'prompt'; there are {', '.join(row)}")
    tests = _sources(row.get("test_list"), f"{where}: test_list")
    if not tests:
        raise ValueError(f"{where}: no tests under 'test_list'; there are {', '.join(row)}")
    setup = _sources(row.get("test_setup_code") or row.get("test_imports"), f"{where}: test_setup_code or test_imports")
    challenge = _sources(row.get("challenge_test_list"), f"{where}: challenge_test_list")
    examples = "\n".join(tests[:shown])
    prompt = f"{task.strip()}\n\nYour program should pass tests like these:\n\n{examples}" if examples else task.strip()
    return {"prompt": prompt, "tests": [*setup, *tests, *challenge], "task_id": row.get("task_id")}


def _sources(value: object, where: str) -> list[str]:
    """Python source, or a list of it, without what is empty."""
    values = [value] if isinstance(value, str) else value or []
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        raise ValueError(f"{where}: {value!r:.80} is refused; source or a list of sources is needed")
    return [each.replace("\r\n", "\n") for each in values if each.strip()]


def rows_of(folder: Path, split: str, shown: int) -> Iterator[Row]:
    for path in files_of_split(folder, split):
        for number, row in enumerate(read_file(path)):
            yield converted(row, shown, f"{path}, row {number} (from 0)")


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with files of the splits train, validation and test")
    parser.add_argument("--out", required=True, type=Path, help="the folder to write to")
    parser.add_argument("--shown", type=int, default=1, help="tests that the prompt shows")
    parser.add_argument("--limit", type=int, help="write at most this many rows of each split")
    return parser


def main(words: Sequence[str] | None = None) -> None:
    given = arguments().parse_args(words)
    try:
        if given.limit is not None and given.limit < 1:
            raise ValueError(f"--limit: {given.limit} is refused; it must be at least 1")
        if given.shown < 0:
            raise ValueError(f"--shown: {given.shown} is refused; it must be 0 or more")
        for split in SPLITS:
            path = given.out / f"{split}.jsonl"
            count = write_jsonl(path, islice(rows_of(given.folder, split, given.shown), given.limit))
            print(f"{count} rows in {path}")
    except (ValueError, OSError) as error:
        sys.exit(f"prepare_mbpp: {error}")


if __name__ == "__main__":
    main()
