"""SIGKILL at random instants, then on from the last checkpoint: weights, log, summary, recorded rollouts and best
checkpoints are those of a run that nobody killed, bit for bit; on two ranks too.

The instants are drawn over what a run does (`doing` of train_kill), so that they fall into rollouts, scoring, updates,
validations and the writing of checkpoints however fast the machine is.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from tests.tiny import tiny_folder

ROOT = Path(__file__).parent.parent
TIMED = ("time/", "speed/")
"""Metrics that differ from run to run, besides those that end as in TIMED_ENDS."""
TIMED_ENDS = ("/seconds", "/latency_p50", "/latency_p99")


class Runs:
    """The program that runs are started from."""

    def __init__(self) -> None:
        self.program = subprocess.Popen(
            [sys.executable, "-m", "tests.train_kill"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"},
        )

    def start(self, folder: Path, devices: int) -> int:
        """Starts a run; returns its process group."""
        print(f"{folder} {devices}", file=self.program.stdin, flush=True)
        return int(self.program.stdout.readline())

    def end(self) -> int:
        """The exit code of the run that was started."""
        return int(self.program.stdout.readline())

    def close(self) -> None:
        self.program.stdin.close()
        self.program.wait()
        self.program.stdout.close()


@pytest.fixture(scope="module")
def runs() -> Iterator[Runs]:
    found = Runs()
    yield found
    found.close()


def new_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    tiny_folder(folder / "tiny")
    return folder


def lines(folder: Path) -> list[str]:
    path = folder / "doing"
    return path.read_text().splitlines() if path.exists() else []


def kill_at(group: int, folder: Path, line: int, delay: float) -> str:
    """Kills the run `delay` seconds after it has begun the `line`-th thing that it does; returns what that was."""
    deadline = time.monotonic() + 120
    while len(lines(folder)) < line:
        assert time.monotonic() < deadline, (folder / "output").read_text()
        time.sleep(0.001)
    time.sleep(delay)
    os.killpg(group, signal.SIGKILL)
    return lines(folder)[-1] if line else "start"


def log_of(folder: Path) -> dict[str, list[tuple[int, object]]]:
    """Everything in TensorBoard's files that is not a time, in the order in which it stands there."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0}).Reload()
    found: dict[str, list[tuple[int, object]]] = {}
    for tag in events.Tags()["scalars"]:
        if not tag.startswith(TIMED) and not tag.endswith(TIMED_ENDS):
            found[tag] = [(event.step, event.value) for event in events.Scalars(tag)]
    for tag in events.Tags()["tensors"]:
        found[tag] = [(event.step, event.tensor_proto.SerializeToString()) for event in events.Tensors(tag)]
    return found


def first_record(path: Path) -> str:
    return next(EventFileLoader(str(path)).Load()).file_version


def summary_of(folder: Path) -> dict[str, object]:
    return {key: value for key, value in json.loads((folder / "summary.json").read_text()).items() if key != "seconds"}


def rollouts_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "rollouts").iterdir()}


def assert_same_run(whole: Path, other: Path) -> None:
    assert log_of(other) == log_of(whole)
    assert all(first_record(path) == "brain.Event:2" for path in other.glob("events*tfevents*")), "whole files"
    assert summary_of(other) == summary_of(whole)
    assert rollouts_of(other) == rollouts_of(whole)
    names = sorted(path.name for path in (whole / "checkpoints").iterdir())
    assert sorted(path.name for path in (other / "checkpoints").iterdir()) == names
    for path in [Path("weights.pt"), *(Path("checkpoints") / name for name in names if name.endswith(".ckpt"))]:
        ours, theirs = (torch.load(folder / path, weights_only=True) for folder in (whole, other))
        curves = [x["callbacks"]["BeforeAfter"]["curves"] for x in (ours, theirs) if "callbacks" in x]
        assert curves[:1] == curves[1:], path
        ours, theirs = ours.get("state_dict", ours), theirs.get("state_dict", theirs)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours), path


def kills(runs: Runs, folder: Path, *, devices: int, count: int, seed: int) -> Counter[str]:
    """Kills `count` runs at random instants, every third of them once more; returns what they were doing."""
    whole = new_folder(folder / "whole")
    runs.start(whole, devices)
    assert runs.end() == 0, (whole / "output").read_text()
    log = log_of(whole)
    assert [step for step, _ in log["completion/tokens"]] == list(range(4, 4 * 9 + 1, 4)), (
        "three epochs of three rollouts"
    )
    assert len(rollouts_of(whole)) == devices * 9
    assert [step for step, _ in log["val/reward/digits"]] == [8, 20, 32], "after the second rollout of each epoch"
    assert len({value for _, value in log["update/beta"]}) > 5, "beta is adapted"
    assert len({value for _, value in log["reward/count_tokens/weight"]}) > 5, "a multiplier is adapted"
    total, draw, seen = len(lines(whole)), random.Random(seed), Counter[str]()
    for number in range(count):
        killed = new_folder(folder / f"{number}")
        for _ in range(2 if number % 3 == 2 else 1):
            already = len(lines(killed))
            group = runs.start(killed, devices)
            line, delay = draw.randrange(1, max(2, total - already)), draw.uniform(0, 0.05)
            seen[kill_at(group, killed, already + line, delay)] += 1
            assert runs.end() == -signal.SIGKILL, (killed / "output").read_text()
        runs.start(killed, devices)
        assert runs.end() == 0, (killed / "output").read_text()
        assert_same_run(whole, killed)
        print(number, seen, flush=True)
        shutil.rmtree(killed)
    return seen


def test_a_killed_run_goes_on_as_if_it_were_not(runs: Runs, tmp_path: Path) -> None:
    kills(runs, tmp_path, devices=1, count=4, seed=int(os.environ.get("KILLS_SEED", "1")))


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
def test_25_killed_runs_go_on_as_if_they_were_not(runs: Runs, tmp_path: Path, devices: int) -> None:
    seen = kills(runs, tmp_path, devices=devices, count=25, seed=int(os.environ.get("KILLS_SEED", "1")))
    print(seen)
    assert set(seen) >= {"rollout", "update", "writing"}
