"""The border to rewards: whatever a reward does, every record gets its number and no process stays."""

import logging
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import psutil
import pytest

from grpo_lightning.scoring import LOGGED_PER_MINUTE, Reward, RewardError, RewardSpec, Scorer
from grpo_lightning.types import Completion, Group, Prompt, Record, RewardStats
from tests.unruly import (
    Answerer,
    Ghost,
    ScaledLength,
    ScaledLengthAsync,
    batch_size,
    fields,
    is_clean,
    length,
    length_async,
    obey,
    pid,
)

# ------------------------------------------------------------------------------------------------------- helpers


def group(*texts: str, rewards: frozenset[str] | None = None) -> Group:
    prompt = Prompt(uid=0, text="q", token_ids=(1,), answer="42", row={"level": 3}, rewards=rewards)
    return Group(prompt=prompt, completions=tuple(completion(text) for text in texts))


def completion(text: str) -> Completion:
    return Completion(token_ids=(5, 2), sampler_logprobs=(-0.5, -0.1), text=text, stop_reason="eos")


def score_one(reward: object, *texts: str, **settings: object) -> tuple[list[float], RewardStats]:
    """One group scored by one reward."""
    with Scorer([RewardSpec(reward=reward, **settings)], workers=2) as scorer:
        scores = scorer.score([group(*texts)])
    return scores.rewards[0, :, 0].tolist(), scores.stats[0]


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    return [child for child in process.children() if "grpo_lightning.workers" in " ".join(child.cmdline())]


def gone(processes: list[psutil.Process], within: float = 5.0) -> bool:
    alive = psutil.wait_procs(processes, timeout=within)[1]
    return all(process.status() == psutil.STATUS_ZOMBIE for process in alive)


@pytest.fixture(autouse=True)
def no_worker_stays() -> Iterator[None]:
    yield
    assert workers_of(psutil.Process()) == []


# ------------------------------------------------------------------------------------------------------ contract


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("reward", [length, length_async, ScaledLength(1.0), ScaledLengthAsync(1.0)])
def test_functions_and_instances_sync_and_async(reward: Reward, inline: bool) -> None:
    with Scorer([RewardSpec(reward=reward, inline=inline)], workers=1) as scorer:
        scores = scorer.score([group("a", "bb"), group("ccc", "")])
    assert scores.rewards.dtype == np.float64
    assert scores.rewards.tolist() == [[[1.0], [2.0]], [[3.0], [0.0]]]


def test_a_reward_sees_the_whole_record() -> None:
    assert score_one(fields, "abc", "abd")[0] == [1.0, 0.0]
    assert score_one(fields, "abc", "abd", inline=True)[0] == [1.0, 0.0]


@pytest.mark.parametrize("inline", [False, True])
def test_each_kind_of_item(inline: bool) -> None:
    """None does not apply; numbers count as floats; all else is an error of that record alone, scored 0."""
    texts = ("none", "bool", "numpy int", "numpy bool", "numpy float", "nan", "inf", "text", "list", "huge", "fine")
    values, stats = score_one(Answerer(), *texts, inline=inline)
    np.testing.assert_equal(values, [math.nan, 1.0, 7.0, 1.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 4.0])
    assert (stats.errors, stats.crashes, stats.timeouts) == (5, 0, 0)


@pytest.mark.parametrize(
    ("deed", "counts"),
    [
        ("raise", (1, 0, 0)),
        ("exit", (1, 0, 0)),
        ("two", (1, 0, 0)),
        ("string", (1, 0, 0)),
        ("dict", (1, 0, 0)),
        ("hog", (1, 0, 0)),
        ("os exit", (1, 1, 0)),
        ("segfault", (1, 1, 0)),
        ("sleep", (0, 0, 1)),
        ("regex", (0, 0, 1)),
    ],
)
def test_one_bad_record_harms_no_other(deed: str, counts: tuple[int, int, int]) -> None:
    """Errors, crashes among them, timeouts; the nine others get their length, 1 to 9."""
    others = ["x" * n for n in range(1, 10)]
    values, stats = score_one(obey, *others[:4], deed, *others[4:], timeout=0.5)
    assert values == [1.0, 2.0, 3.0, 4.0, 0.0, 5.0, 6.0, 7.0, 8.0, 9.0]
    assert (stats.errors, stats.crashes, stats.timeouts) == counts


def test_a_bad_record_in_a_message_of_many() -> None:
    """After a first batch the reward is known to be cheap, and its records travel together."""
    with Scorer([RewardSpec(reward=obey, timeout=0.5)], workers=1) as scorer:
        scorer.score([group(*["x"] * 100)])
        scores = scorer.score([group("a", "os exit", "bb", "sleep", "hog", "ccc")])
    assert scores.rewards[0, :, 0].tolist() == [1.0, 0.0, 2.0, 0.0, 0.0, 3.0]
    assert (scores.stats[0].errors, scores.stats[0].crashes, scores.stats[0].timeouts) == (2, 1, 1)


def test_a_deadline_is_per_record_and_holds() -> None:
    """Two workers, two hangs of 1 s side by side: well under the 2 s that one worker would need."""
    with Scorer([RewardSpec(reward=obey, timeout=1.0)], workers=2) as scorer:
        scorer.score([group("warm", "up")])
        start = time.monotonic()
        scores = scorer.score([group("sleep", "regex")])
        assert 1.0 <= time.monotonic() - start < 1.9
    assert scores.stats[0].timeouts == 2
    assert scores.stats[0].latency_p50 == scores.stats[0].latency_p99 == 1.0


def test_many_records_may_take_longer_than_one_deadline() -> None:
    """Twelve records of 0.1 s on one worker, 1.2 s in one message, under a deadline of 0.5 s for each."""
    with Scorer([RewardSpec(reward=obey, timeout=0.5)], workers=1) as scorer:
        scorer.score([group(*["x"] * 100)])
        scores = scorer.score([group(*["nap"] * 12)])
    assert scores.rewards.sum() == 12.0
    assert scores.stats[0].timeouts == 0
    assert scores.stats[0].latency_p50 >= 0.1
    assert scores.stats[0].seconds >= 1.2


def test_a_worker_that_ran_out_of_memory_is_replaced() -> None:
    """What filled it may be a cache that would fail every later record."""
    with Scorer([RewardSpec(reward=obey), RewardSpec(reward=pid)], workers=1) as scorer:
        pids = [scorer.score([group(text)]).rewards[0, 0, 1] for text in ("raise", "raise", "hog")]
    assert pids[0] == pids[1] != pids[2]


def test_what_rewards_print_stays_off_the_channel(capfd: pytest.CaptureFixture[str]) -> None:
    values, _ = score_one(obey, "print", "ab", "print", "abc")
    assert values == [0.0, 2.0, 0.0, 3.0]
    out = capfd.readouterr()
    assert out.out == ""
    assert "0123456789abcdef" in out.err


# -------------------------------------------------------------------------------------------------------- policy


@pytest.mark.parametrize("inline", [False, True])
def test_fail_decides_the_score(inline: bool) -> None:
    np.testing.assert_equal(score_one(obey, "raise", fail="skip", inline=inline)[0], [math.nan])
    np.testing.assert_equal(score_one(obey, "raise", fail="zero", inline=inline)[0], [0.0])
    with pytest.raises(RewardError, match=r"reward 'obey': error: KeyError.*completion 'raise'"):
        score_one(obey, "raise", fail="raise", inline=inline)


def test_fail_raise_names_timeouts_and_crashes_and_leaves_a_usable_scorer() -> None:
    with Scorer([RewardSpec(reward=obey, fail="raise", timeout=0.3)], workers=2) as scorer:
        with pytest.raises(RewardError, match=r"timeout: took longer than 0.3 s"):
            scorer.score([group("a", "sleep", *["x"] * 50)])
        with pytest.raises(RewardError, match=r"crash: its worker died with status 0"):
            scorer.score([group("os exit", *["x"] * 50)])
        assert scorer.score([group("abc")]).rewards.tolist() == [[[3.0]]]


def test_failures_are_logged_with_their_record_but_few(caplog: pytest.LogCaptureFixture) -> None:
    with Scorer([RewardSpec(reward=obey)], workers=2) as scorer, caplog.at_level(logging.WARNING):
        scores = scorer.score([group(*["raise"] * 5000)] * 2)
    assert scores.stats[0].errors == 10_000
    assert len(caplog.records) == LOGGED_PER_MINUTE
    line = caplog.records[0].getMessage()
    for part in ("'obey'", "KeyError", "unruly.py", "completion 'raise'"):
        assert part in line
    assert len(line) < 2000
    assert "\n" not in line


# -------------------------------------------------------------------------------------------------------- inline


def test_inline_is_one_call_in_this_process() -> None:
    here = [RewardSpec(reward=batch_size, inline=True), RewardSpec(reward=pid, inline=True), RewardSpec(reward=pid)]
    with Scorer(here, workers=1) as scorer:
        rewards = scorer.score([group("a", "b"), group("c", "d")]).rewards
    assert (rewards[..., 0] == 4.0).all()
    assert (rewards[..., 1] == os.getpid()).all()
    assert (rewards[..., 2] != os.getpid()).all()


def test_inline_failures_are_the_whole_batch() -> None:
    for deed, cause in [("two", "returned 5 values, expected 2"), ("raise", "KeyError"), ("exit", "SystemExit")]:
        with pytest.raises(RewardError, match=cause):
            score_one(obey, "a", deed, inline=True, fail="raise")
        values, stats = score_one(obey, "a", deed, inline=True)
        assert values == [0.0, 0.0]
        assert stats.errors == 2


def test_inline_hang_is_given_up_and_not_called_again_meanwhile() -> None:
    release, calls = threading.Event(), []

    def wait(records: Sequence[Record]) -> list[float]:
        calls.append(len(records))
        release.wait(30)
        return [1.0 for _ in records]

    with Scorer([RewardSpec(reward=wait, inline=True, timeout=0.1)]) as scorer:
        start = time.monotonic()
        assert scorer.score([group("a", "b")]).stats[0].timeouts == 2
        assert 0.2 <= time.monotonic() - start < 1.0
        assert scorer.score([group("a")]).stats[0].timeouts == 1
        assert calls == [2]
        release.set()
        for thread in threading.enumerate():
            if thread.name == "reward wait":
                thread.join()
        assert scorer.score([group("a")]).rewards.tolist() == [[[1.0]]]


# ------------------------------------------------------------------------------------------------- names, routing


def test_names_come_from_class_or_function_and_are_unique() -> None:
    class GSM8KAnswer(ScaledLength):
        pass

    specs = [
        RewardSpec(reward=length),
        RewardSpec(reward=ScaledLength(1.0)),
        RewardSpec(reward=ScaledLength(2.0)),
        RewardSpec(reward=ScaledLength(3.0), name="length"),
        RewardSpec(reward=GSM8KAnswer(1.0), inline=True),
        RewardSpec(reward=lambda records: [1.0 for _ in records], inline=True),
    ]
    wanted = ("length", "scaled_length", "scaled_length_2", "length_2", "gsm8k_answer", "lambda")
    assert Scorer(specs).names == wanted


def test_columns_follow_the_configuration() -> None:
    specs = [RewardSpec(reward=ScaledLength(scale), weight=scale) for scale in (1.0, 10.0, 100.0)]
    with Scorer(specs, workers=2) as scorer:
        scores = scorer.score([group("a", "bb"), group("ccc", "dddd")])
    lengths = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert [spec.weight for spec in scorer.specs] == [1.0, 10.0, 100.0]
    np.testing.assert_array_equal(scores.rewards, lengths[..., None] * [1.0, 10.0, 100.0])


@pytest.mark.parametrize("inline", [False, True])
def test_routing_keeps_records_from_a_reward(inline: bool) -> None:
    """`obey` would raise on the second group, which does not ask for it."""
    specs = [RewardSpec(reward=obey, fail="raise", inline=inline), RewardSpec(reward=length)]
    groups = [group("a", "bb"), group("raise", "raise", rewards=frozenset({"length"}))]
    with Scorer(specs, workers=1) as scorer:
        rewards = scorer.score([*groups, group("c", "c", rewards=frozenset())]).rewards
    np.testing.assert_equal(
        rewards.tolist(),
        [[[1.0, 1.0], [2.0, 2.0]], [[math.nan, 5.0], [math.nan, 5.0]], [[math.nan, math.nan], [math.nan, math.nan]]],
    )


def test_routing_to_an_unknown_reward_is_refused() -> None:
    scorer = Scorer([RewardSpec(reward=length), RewardSpec(reward=obey)])
    with pytest.raises(ValueError, match="'lenght' unknown; there are length, obey"):
        scorer.check_routing({"length", "lenght"})
    with pytest.raises(ValueError, match="'lenght' unknown"):
        scorer.score([group("a", rewards=frozenset({"lenght"}))])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight": math.nan}, "weight: nan"),
        ({"weight": math.inf}, "weight: inf"),
        ({"timeout": 0.0}, r"timeout: 0\.0"),
        ({"timeout": math.nan}, "timeout: nan"),
        ({"name": "a/b"}, "name: 'a/b'"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RewardSpec(reward=length, **settings)


def test_an_unknown_policy_is_refused() -> None:
    """By the type checker where one is active, by the class otherwise."""
    with pytest.raises((TypeError, ValueError), match="explode"):
        RewardSpec(reward=length, fail="explode")


def test_what_cannot_reach_a_worker_is_refused_at_once() -> None:
    spec = RewardSpec(reward=lambda records: [1.0], name="closure")
    with pytest.raises(ValueError, match=r"'closure' cannot be sent to workers.*`inline: true`") as caught:
        Scorer([spec])
    assert "\n" not in str(caught.value)

    def scripted(records: Sequence[Record]) -> list[float]:
        return [1.0 for _ in records]

    scripted.__module__ = "__main__"
    with pytest.raises(ValueError, match="'scripted' stands in the main script"):
        Scorer([RewardSpec(reward=scripted)])
    with pytest.raises(ValueError, match="workers: 0"):
        Scorer([RewardSpec(reward=length)], workers=0)


def test_what_a_worker_cannot_load_is_named() -> None:
    with pytest.raises(RewardError, match=r"'ghost' cannot be loaded in a worker: OSError: no such file"):
        score_one(Ghost(), "a")


# ----------------------------------------------------------------------------------------------- order, processes


def test_order_is_kept_and_the_number_of_workers_changes_nothing() -> None:
    groups = [group(*("x" * ((7 * p + 3 * g) % 50) for g in range(8))) for p in range(32)]
    wanted = [[(7 * p + 3 * g) % 50 for g in range(8)] for p in range(32)]
    for workers in (1, 2, 3):
        with Scorer([RewardSpec(reward=length), RewardSpec(reward=length_async)], workers=workers) as scorer:
            for _ in range(2):
                rewards = scorer.score(groups).rewards
                assert rewards[..., 0].tolist() == rewards[..., 1].tolist() == wanted


def test_large_messages_pass() -> None:
    """A megabyte per record: many times what a pipe holds."""
    assert score_one(length, "x" * 1_000_000, "y" * 1_000_001)[0] == [1_000_000.0, 1_000_001.0]


def test_no_groups_and_no_rewards() -> None:
    with Scorer([RewardSpec(reward=length)]) as scorer:
        assert scorer.score([]).rewards.shape == (0, 0, 1)
    assert Scorer([]).score([group("a", "b")]).rewards.shape == (1, 2, 0)


def test_workers_start_late_without_torch_and_leave_at_close() -> None:
    scorer = Scorer([RewardSpec(reward=is_clean)], workers=2)
    assert workers_of(psutil.Process()) == []
    assert scorer.score([group(*["a"] * 20)]).rewards.min() == 1.0
    started = workers_of(psutil.Process())
    assert 1 <= len(started) <= 2
    scorer.close()
    assert gone(started)
    assert scorer.score([group("a")]).rewards.tolist() == [[[1.0]]]
    scorer.close()


def test_an_idle_worker_that_was_killed_is_replaced() -> None:
    with Scorer([RewardSpec(reward=length, fail="raise")], workers=1) as scorer:
        scorer.score([group("a")])
        [worker] = workers_of(psutil.Process())
        worker.kill()
        time.sleep(0.05)
        assert scorer.score([group("abc")]).rewards.tolist() == [[[3.0]]]


def test_a_timeout_ends_what_the_reward_started() -> None:
    with Scorer([RewardSpec(reward=obey, timeout=0.5)], workers=1) as scorer:
        scoring = threading.Thread(target=scorer.score, args=([group("child")],))
        scoring.start()
        started: list[psutil.Process] = []
        while scoring.is_alive() and not started:
            started = [child for child in psutil.Process().children(recursive=True) if child.name() == "sleep"]
        scoring.join()
    assert len(started) == 1
    assert gone(started)


OWN_REWARD = """
import re

def hang(records):
    open({begun!r}, "w").close()
    re.match("(a+)+$", 60 * "a" + "b")
"""

PARENT = """
import sys
sys.path.insert(0, {folder!r})
import own_reward
from tests.unruly import (
    Answerer, Ghost, ScaledLength, ScaledLengthAsync, batch_size, fields, is_clean, length, length_async, obey, pid
)

from grpo_lightning.scoring import RewardSpec, Scorer
from grpo_lightning.types import Completion, Group, Prompt

prompt = Prompt(uid=0, text="q", token_ids=(1,), answer=None, row={{}})
done = Completion(token_ids=(2,), sampler_logprobs=(0.0,), text="x", stop_reason="eos")
scorer = Scorer([RewardSpec(reward=own_reward.hang, timeout=60.0)], workers=2)
scorer.score([Group(prompt=prompt, completions=(done, done))])
"""


def test_nothing_outlives_a_killed_parent(tmp_path: Path) -> None:
    """Both workers are inside a regular expression that keeps the GIL when their parent is killed.

    Their reward lies in a folder that only the parent's `sys.path` names.
    """
    begun = tmp_path / "begun"
    (tmp_path / "own_reward.py").write_text(OWN_REWARD.format(begun=str(begun)))
    parent = subprocess.Popen([sys.executable, "-c", PARENT.format(folder=str(tmp_path))])
    deadline = time.monotonic() + 10
    while not begun.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert begun.exists()
    started = psutil.Process(parent.pid).children()
    assert len(started) == 2
    parent.kill()
    parent.wait()
    assert gone(started)
