"""The front of runs: any that have ended, by any measures, each to be high or low; what is wrong said in one line."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "front.py"
spec = importlib.util.spec_from_file_location("front", SCRIPT)
front = importlib.util.module_from_spec(spec)
sys.modules["front"] = front
spec.loader.exec_module(front)


def leave(folder: Path, way: str = "sum", scale: str = "group", **after: float) -> Path:
    """The folder of a run that has ended, with a scheduled weight, an unnamed reward and a bound."""
    rewards = [
        {"name": "a", "weight": 1.0, "role": "objective", "reward": "some.Reward"},
        {"name": None, "weight": {"start": 0.5, "end": 0.0, "rollouts": 3}, "role": "objective", "reward": "b.Other"},
        {"name": "c", "weight": 0.1, "role": "constraint", "at_least": 0.9, "reward": "c.Other"},
    ]
    folder.mkdir(parents=True)
    model = {"combine": {"way": way}, "advantage": {"scale": scale}, "rewards": rewards}
    (folder / "config.yaml").write_text(yaml.safe_dump({"model": model}))
    (folder / "summary.json").write_text(json.dumps({"before": {}, "after": after}))
    return folder


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["front.py", *map(str, words)])
    front.main()


def test_three_objectives_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """x and y high, z low, from (0, 0, 10): (1, 2, 9) is 1 x 2 x 1 = 2, (2, 1, 9) as well, together 3; (1, 1, 9.5) is
    behind both; a run of another way, 3 x 1 x 2, is on the front of all alone with those."""
    leave(tmp_path / "one", x=1, y=2, z=9)
    leave(tmp_path / "two", x=2, y=1, z=9)
    leave(tmp_path / "behind", x=1, y=1, z=9.5)
    leave(tmp_path / "centred", scale="none", x=3, y=0.5, z=8)
    (tmp_path / "front.md").write_text("an earlier one, among runs/*")
    (tmp_path / "unfinished").mkdir()
    words = ["--high", "x", "y", "--low", "z", "--corner", 0, 0, 10]
    run(monkeypatch, *sorted(tmp_path.iterdir()), *words)
    lines = (tmp_path / "front.md").read_text().splitlines()
    assert lines[0].endswith("| hypervolume from (x 0, y 0, z 10) |")
    assert lines[2:4] == ["| sum | 3 | 2 | 3 |", "| sum, centred | 1 | 1 | 3 |"]
    rows = {line.split(" | ")[1]: line for line in lines[7:]}
    assert rows["one"] == "| sum | one | a 1, b.Other 0.5…0, c ≥ 0.9 | 1 | 2 | 9 | yes |"
    assert rows["behind"].endswith("| 1 | 1 | 9.5 |  |")
    assert (tmp_path / "front.png").stat().st_size > 10_000


def test_the_corner_is_the_worst_of_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Accuracy 0.5 and 0.9, lengths 10 and 40: from (0.5, 40) neither encloses anything; a third, 0.7 at 20, does."""
    for name, (accuracy, length) in {"a": (0.5, 10), "b": (0.9, 40), "c": (0.7, 20)}.items():
        leave(tmp_path / name, accuracy_sampled=accuracy, length_sampled=length)
    run(monkeypatch, *(tmp_path / name for name in "abc"), "--folder", tmp_path / "out")
    lines = (tmp_path / "out" / "front.md").read_text().splitlines()
    assert lines[0].endswith("hypervolume from (accuracy_sampled 0.5, length_sampled 40) |")
    assert lines[2] == "| sum | 3 | 3 | 4 |", "(0.7 - 0.5) x (40 - 20)"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "nowhere: there is no such folder"),
        (["empty"], "none of these is the folder of a run"),
        ([], "none of these is the folder of a run"),
        (["ended", "--high", "x", "nothing"], "ended: summary.json has no nothing; it has x, y"),
        (["broken", "--high", "x", "y"], "broken: is no run that this can read: JSONDecodeError"),
        (["ended", "--high", "x"], "a front has two different objectives or more, not x"),
        (["ended", "--high", "x", "--low", "x"], "a front has two different objectives or more, not x, x"),
        (["ended", "--high", "x", "y", "--corner", "1"], "1 numbers for 2 objectives"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, words: list[str], message: str) -> None:
    leave(tmp_path / "ended", x=1, y=2)
    leave(tmp_path / "broken", x=1, y=2)
    (tmp_path / "broken" / "summary.json").write_text("{")
    (tmp_path / "empty").mkdir()
    done = subprocess.run([sys.executable, SCRIPT, *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert message in done.stderr.splitlines()[-1]


def test_the_sweep_is_what_it_says() -> None:
    """Each run is a config of its own: no constraint beside weights, no setting of another way."""
    args = dict(zip((words := front.of("gdpo", 0.5))[::2], words[1::2], strict=True))
    rewards = json.loads(args["--model.rewards"])
    assert [(r["name"], r["weight"], r["role"]) for r in rewards if r["weight"]] == [
        ("answer", 1.0, "objective"), ("format", 0.1, "objective"), ("brevity", 0.5, "objective"),
    ]  # fmt: skip
    assert json.loads(args["--model.combine"]) == {"way": "gdpo", "rate": 0.1, "damping": 0.0, "largest": 10.0}
    (bound,) = (r["at_most"] for r in json.loads(front.of("constrained", 18)[1]) if r["name"] == "tokens")
    assert bound == 18
