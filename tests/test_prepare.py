"""The scripts that make data sets ready, on local files with the columns that the hub's have."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from grpo_lightning.sources import Dataset
from grpo_lightning.tasks import heldout
from rewards.sandbox import run_tests
from rewards.unit_tests import read_tests
from tests.hub_rows import DEEPMATH, GSM8K, MATH, MBPP, MBPP_SANITIZED, many, write_parquet

SCRIPTS = Path(__file__).parent.parent / "scripts"


def run(script: str, *words: object) -> str:
    """What it prints; or, if it refuses, the line that says why."""
    done = subprocess.run([sys.executable, SCRIPTS / script, *map(str, words)], capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    return done.stdout if done.returncode == 0 else done.stderr


def splits(*rows: dict[str, object]) -> dict[str, list[dict[str, object]]]:
    return {name: list(rows) for name in ("train", "validation", "test")}


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_deepmath_keeps_what_training_reads(tmp_path: Path) -> None:
    """Of 90 rows of difficulties 1, 2, 3 in turn, the 30 of difficulty 2 have no answer; from 1.5 on 30 are left."""
    rows = [row | {"difficulty": float(1 + i % 3)} for i, row in enumerate(many(DEEPMATH, "question", 90))]
    for row in rows[1::3]:
        row["final_answer"] = ""
    write_parquet(tmp_path, train=rows)
    (file,) = tmp_path.glob("*.parquet")
    out = tmp_path / "new" / "deepmath"
    printed = run("prepare_deepmath.py", file, "--out", out, "--min-difficulty", 1.5, "--held-out", 2)
    found = {name: lines(out / f"{name}.jsonl") for name in ("train", "validation", "test")}
    assert {name: len(found[name]) for name in found} == {"train": 26, "validation": 2, "test": 2}
    assert f"26 rows in {out / 'train.jsonl'}" in printed
    made = [row["question"] for name in found for row in found[name]]
    assert sorted(made) == sorted(str(row["question"]) for row in rows[2::3]), "each once"
    assert found["train"][0].keys() == {"question", "final_answer", "difficulty", "topic"}
    assert all(heldout(row["question"]) == name for name in ("validation", "test") for row in found[name])


def test_deepmath_goes_on_with_the_next_file_up_to_its_limit(tmp_path: Path) -> None:
    for name, numbers in (("a", range(50)), ("b", range(50, 100))):
        rows = [DEEPMATH | {"question": f"{number}?", "difficulty": float(number)} for number in numbers]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = (tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    run("prepare_deepmath.py", *files, "--out", tmp_path, "--min-difficulty", 10, "--max-difficulty", 95, "--limit", 60)
    made = [row["question"] for name in ("train", "validation", "test") for row in lines(tmp_path / f"{name}.jsonl")]
    assert sorted(made) == sorted(f"{number}?" for number in range(10, 70))


def test_mbpp_shows_one_test_and_keeps_all(tmp_path: Path) -> None:
    write_parquet(tmp_path, **splits(MBPP, MBPP), prompt=[MBPP])
    run("prepare_mbpp.py", tmp_path, "--out", tmp_path / "out", "--limit", 1)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "test.jsonl",
        "train.jsonl",
        "validation.jsonl",
    ]
    (row,) = lines(tmp_path / "out" / "train.jsonl")
    assert row["prompt"] == (
        "Write a function to double a number.\n\nYour program should pass tests like these:\n\nassert double(2) == 4"
    )
    assert row["tests"] == [*MBPP["test_list"], *MBPP["challenge_test_list"]]
    assert row["task_id"] == 11
    tests = read_tests(row["tests"])
    assert run_tests(MBPP["code"], tests).passed
    assert not run_tests("def double(x): return 4 if x == 2 else 0", tests).passed, "hard-coding what is shown"


def test_mbpp_sanitized_imports_what_its_tests_need(tmp_path: Path) -> None:
    write_parquet(tmp_path, **splits(MBPP_SANITIZED))
    run("prepare_mbpp.py", tmp_path, "--out", tmp_path / "out", "--shown", 0)
    (row,) = lines(tmp_path / "out" / "test.jsonl")
    assert row["prompt"] == MBPP_SANITIZED["prompt"]
    assert run_tests(MBPP_SANITIZED["code"], read_tests(row["tests"])).passed
    assert not run_tests("def area(): return 3", read_tests(row["tests"])).passed


def test_setup_code_runs_before_the_tests(tmp_path: Path) -> None:
    row = MBPP | {"test_setup_code": "TWO = 2", "test_list": ["assert double(TWO) == 4"], "challenge_test_list": []}
    write_parquet(tmp_path, **splits(row))
    run("prepare_mbpp.py", tmp_path, "--out", tmp_path / "out")
    (made,) = lines(tmp_path / "out" / "train.jsonl")
    assert run_tests(MBPP["code"], read_tests(made["tests"])).passed


def test_a_mixed_row_names_its_reward(tmp_path: Path) -> None:
    write_parquet(tmp_path / "math", train=many(MATH, "problem", 3), test=[MATH])
    write_parquet(tmp_path / "mbpp", **splits(MBPP))
    run("prepare_mbpp.py", tmp_path / "mbpp", "--out", tmp_path / "code")
    where = ("--math", tmp_path / "math", "--code", tmp_path / "code", "--out", tmp_path / "out")
    printed = run("prepare_mixed.py", *where, "--prompt", "problem", "--limit", 2)
    assert printed.splitlines()[0] == f"3 rows in {tmp_path / 'out' / 'train.jsonl'}"
    first, second, third = lines(tmp_path / "out" / "train.jsonl")
    answer = {"answer": MATH["answer"], "tests": None, "rewards": "answer"}
    assert first == {"prompt": f"0. {MATH['problem']}"} | answer
    assert second == {"prompt": f"1. {MATH['problem']}"} | answer
    assert (third["answer"], third["rewards"]) == (None, "tests")
    assert third["tests"] == [*MBPP["test_list"], *MBPP["challenge_test_list"]]


def test_gsm8k_mixes_by_default(tmp_path: Path) -> None:
    write_parquet(tmp_path / "math", train=[GSM8K], test=[GSM8K])
    (tmp_path / "code").mkdir()
    for split in ("train", "test"):
        row = {"prompt": "p", "tests": ["assert f() == 1"]}
        (tmp_path / "code" / f"{split}.jsonl").write_text(json.dumps(row) + "\n")
    run("prepare_mixed.py", "--math", tmp_path / "math", "--code", tmp_path / "code", "--out", tmp_path / "out")
    rows = Dataset(path=str(tmp_path / "out"), test="test").rows("test")
    assert [row["prompt"] for row in rows] == [GSM8K["question"], "p"]


@pytest.mark.parametrize(
    ("script", "row", "says"),
    [
        ("prepare_deepmath.py", MATH, "row 0 (from 0): no column 'question'; there are problem, solution"),
        ("prepare_deepmath.py", DEEPMATH | {"difficulty": "hard"}, "row 0 (from 0): difficulty 'hard' is refused"),
        (
            "prepare_deepmath.py",
            DEEPMATH | {"final_answer": ""},
            "validation.jsonl: no rows; more are needed",
        ),
        ("prepare_mbpp.py", MBPP | {"text": " "}, "row 0 (from 0): no task under 'text' or 'prompt'"),
        ("prepare_mbpp.py", MBPP | {"test_list": []}, "row 0 (from 0): no tests under 'test_list'"),
        ("prepare_mbpp.py", MBPP | {"test_list": [1]}, "row 0 (from 0): test_list: [1] is refused"),
        ("prepare_mixed.py", MATH, "row 0 (from 0): nothing in the column 'question'; there are problem, solution"),
    ],
)
def test_what_is_wrong_is_one_line(script: str, row: dict[str, object], says: str, tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    folder.mkdir()
    for split in ("train", "validation", "test"):
        (folder / f"{split}.jsonl").write_text(json.dumps(row) + "\n")
    words = {
        "prepare_deepmath.py": [folder / "train.jsonl", "--out", tmp_path / "out"],
        "prepare_mbpp.py": [folder, "--out", tmp_path / "out"],
        "prepare_mixed.py": ["--math", folder, "--code", folder, "--out", tmp_path / "out"],
    }[script]
    printed = run(script, *words)
    assert printed.startswith(script.removesuffix(".py"))
    assert len(printed.splitlines()) == 1
    assert says in printed
    assert not list(tmp_path.glob("out/*.part"))


@pytest.mark.parametrize(
    ("script", "words", "says"),
    [
        ("prepare_deepmath.py", ["rows.jsonl", "--out", "out", "--limit", "0"], "--limit: 0 is refused"),
        ("prepare_deepmath.py", ["rows.jsonl", "--out", "out", "--held-out", "0"], "--held-out: 0 is refused"),
        ("prepare_deepmath.py", ["rows.jsonl", "--out", "out"], "rows.jsonl: no such data file"),
        ("prepare_mbpp.py", ["hub", "--out", "out", "--limit", "-1"], "--limit: -1 is refused"),
        ("prepare_mbpp.py", ["hub", "--out", "out", "--shown", "-1"], "--shown: -1 is refused"),
        ("prepare_mbpp.py", ["hub", "--out", "out"], "hub: no such data folder"),
        ("prepare_mixed.py", ["--math", "a", "--code", "b", "--out", "out", "--limit", "0"], "--limit: 0 is refused"),
        ("prepare_mixed.py", ["--math", "a", "--code", "b", "--out", "out"], "a: no such data folder"),
    ],
)
def test_wrong_words_are_one_line(
    script: str, words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    printed = run(script, *words)
    assert printed.startswith(f"{script.removesuffix('.py')}: {says}")
    assert len(printed.splitlines()) == 1


def test_a_folder_without_a_split_says_what_it_has(tmp_path: Path) -> None:
    write_parquet(tmp_path, train=[MBPP])
    said = run("prepare_mbpp.py", tmp_path, "--out", tmp_path / "out")
    assert "no files of the split 'validation'; there are: train-00000-of-00001.parquet" in said


def test_a_row_that_fails_leaves_no_file_and_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    folder.mkdir()
    for split in ("train", "validation", "test"):
        (folder / f"{split}.jsonl").write_text(json.dumps(MBPP) + "\n")
    run("prepare_mbpp.py", folder, "--out", tmp_path)
    before = (tmp_path / "train.jsonl").read_text()
    (folder / "train.jsonl").write_text(json.dumps(MBPP | {"text": "Another."}) + "\n{\n")
    said = run("prepare_mbpp.py", folder, "--out", tmp_path)
    assert said.startswith(f"prepare_mbpp: {folder / 'train.jsonl'}, line 2: not JSON")
    assert (tmp_path / "train.jsonl").read_text() == before
    assert not (tmp_path / "train.jsonl.part").exists()
