"""What is waited for is named after ten seconds, then each time the wait has doubled, in the log; and by whom."""

import re
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from grpo_lightning.scoring import RewardSpec, Scorer
from grpo_lightning.types import Completion, Group, Prompt, Record
from grpo_lightning.waiting import BOARD, TICK, Board


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_wait_is_named_at_10_20_and_40_seconds_and_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    board = Board(clock)
    with board.waiting("the engine"):
        for second in range(1, 46):
            clock.now = 100.0 + second
            board.look()
        assert board.longest() == ("the engine", 45.0)
    assert [record.getMessage() for record in caplog.records] == [
        "waiting for the engine, 10 s so far",
        "waiting for the engine, 20 s so far",
        "waiting for the engine, 40 s so far",
        "waited 45 s for the engine",
    ]
    assert board.longest() is None


def test_a_short_wait_is_not_mentioned(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    board = Board(clock)
    with suppress(OSError), board.waiting("a disk"):
        clock.now += 9.9
        board.look()
        raise OSError("gone")
    assert not caplog.records
    assert board.longest() is None


def test_of_several_threads_that_wait_for_the_same_one_speaks(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    board = Board(clock)
    with board.waiting("a server"), board.waiting("a server"), board.waiting("another"):
        clock.now += 11
        board.look()
    assert [record.getMessage() for record in caplog.records] == [
        "waiting for a server, 11 s so far",
        "waiting for another, 11 s so far",
        "waited 11 s for another",
        "waited 11 s for a server",
    ]


def test_another_rank_says_which_it_is(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")
    clock = Clock()
    board = Board(clock)
    with board.waiting("the other processes"):
        clock.now += 10
        board.look()
        assert caplog.records[0].getMessage() == "rank 3: waiting for the other processes, 10 s so far"


def test_a_thread_looks_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    """On a clock that runs a hundred times too fast, ten seconds are a tenth of one."""
    board = Board(lambda: 100 * time.monotonic())
    with board.waiting("what never comes"):
        end = time.monotonic() + 20 * TICK
        while not caplog.records and time.monotonic() < end:
            time.sleep(0.02)
    assert re.match(r"waiting for what never comes, \d+ s so far", caplog.records[0].getMessage())


def test_a_stage_has_a_name_and_seconds() -> None:
    clock = Clock()
    board = Board(clock)
    board.begin("rollout")
    clock.now += 3
    assert board.stage == ("rollout", 3.0)
    board.begin("update")
    assert board.stage == ("update", 0.0)


class Until:
    """Scores nothing before a file is there."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __call__(self, records: Sequence[Record]) -> list[float]:
        while not Path(self.path).exists():
            time.sleep(0.01)
        return [1.0 for _ in records]


@pytest.mark.parametrize(
    ("inline", "said"), [(False, "rewards: slow (2 completions to go)"), (True, "reward 'slow' to score 2 completions")]
)
def test_who_waits_for_a_reward_knows_for_which(tmp_path: Path, inline: bool, said: str) -> None:
    completion = Completion(token_ids=(1,), sampler_logprobs=(0.0,), text="a", stop_reason="eos")
    prompt = Prompt(uid=0, text="q", token_ids=(1,), answer=None, row={})
    spec = RewardSpec(reward=Until(str(tmp_path / "go")), name="slow", inline=inline, timeout=60.0)
    with Scorer([spec], workers=1) as scorer:
        groups = [Group(prompt=prompt, completions=(completion, completion))]
        thread = threading.Thread(target=scorer.score, args=(groups,))
        thread.start()
        end, seen = time.monotonic() + 30, None
        while seen is None and time.monotonic() < end:
            wait = BOARD.longest()
            seen = wait and wait[0]
            time.sleep(0.01)
        (tmp_path / "go").touch()
        thread.join()
    assert seen == said
    assert BOARD.longest() is None
