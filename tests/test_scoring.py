"""The border to rewards: whatever a reward does, every record gets its number and no process stays."""

import dataclasses
import logging
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import psutil
import pytest

from grpo_lightning.collection import collect
from grpo_lightning.failures import LOGGED_PER_MINUTE
from grpo_lightning.filters import FilterConfig
from grpo_lightning.generation import Rollout
from grpo_lightning.pool import Outcome, PooledReward, Tasks, WorkerPool
from grpo_lightning.ranks import Ranks
from grpo_lightning.scoring import Reward, RewardError, RewardSpec, Scorer
from grpo_lightning.types import Completion, Group, Prompt, Record, RewardStats, Scores
from tests.unruly import (
    Answerer,
    Ghost,
    ScaledLength,
    ScaledLengthAsync,
    Stillborn,
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


def appears(path: Path, within: float = 60.0) -> bool:
    deadline = time.monotonic() + within
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    return path.exists()


@pytest.fixture(autouse=True)
def no_worker_or_thread_stays() -> Iterator[None]:
    yield
    assert workers_of(psutil.Process()) == []
    assert [thread for thread in threading.enumerate() if thread.name == "scoring"] == []


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
        ("bytes", (1, 0, 0)),
        ("generator", (1, 0, 0)),
        ("hog", (1, 0, 0)),
        ("killed", (1, 1, 0)),
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
    """Two workers, two hangs of 2 s side by side: well under the 4 s that one worker would need."""
    with Scorer([RewardSpec(reward=obey, timeout=2.0)], workers=2) as scorer:
        scorer.score([group("warm", "up")])
        start = time.monotonic()
        scores = scorer.score([group("sleep", "regex")])
        assert 2.0 <= time.monotonic() - start < 3.9
    assert scores.stats[0].timeouts == 2
    assert scores.stats[0].latency_p50 == scores.stats[0].latency_p99 == 2.0


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


def test_a_child_that_comes_back_from_a_reward_answers_nothing() -> None:
    """Its answer, 9, would stand for the next record, and each later answer for the one after."""
    with Scorer([RewardSpec(reward=obey)], workers=1) as scorer:
        scorer.score([group(*["x"] * 100)])
        for _ in range(3):
            scores = scorer.score([group("a", "fork", "bb", "fork", "ccc", "dddd")])
            assert scores.rewards[0, :, 0].tolist() == [1.0, 1.0, 2.0, 1.0, 3.0, 4.0]


def test_a_death_shows_at_once_although_a_child_lives_on() -> None:
    """The child would hold the worker's pipes for a minute."""
    with Scorer([RewardSpec(reward=obey, timeout=60.0)], workers=1) as scorer:
        scorer.score([group("warm up")])
        start = time.monotonic()
        scores = scorer.score([group("fork and die", "a")])
        assert time.monotonic() - start < 20.0
    assert (scores.rewards.ravel().tolist(), scores.stats[0].crashes) == ([0.0, 1.0], 1)


def test_a_worker_that_is_killed_from_outside_costs_its_record_only(caplog: pytest.LogCaptureFixture) -> None:
    """As the kernel does when the machine's memory runs out; the record would have slept for a minute."""
    found: list[Scores] = []
    with Scorer([RewardSpec(reward=obey, timeout=60.0)], workers=1) as scorer:
        scorer.score([group("warm up")])
        scoring = threading.Thread(target=lambda: found.append(scorer.score([group("a", "sleep", "bb")])))
        scoring.start()
        time.sleep(0.3)
        [worker] = workers_of(psutil.Process())
        worker.kill()
        scoring.join(30.0)
    assert found[0].rewards.ravel().tolist() == [1.0, 0.0, 2.0]
    assert (found[0].stats[0].errors, found[0].stats[0].crashes) == (1, 1)
    assert "crash: its worker died with status -9; prompt 'q', completion 'sleep'" in caplog.text


@pytest.mark.parametrize("inline", [False, True])
def test_a_wrong_number_of_scores_is_told(inline: bool, caplog: pytest.LogCaptureFixture) -> None:
    values, stats = score_one(obey, "two", inline=inline)
    assert (values, stats.errors) == ([0.0], 1)
    assert "reward 'obey': error: ValueError: returned 5 values, expected 1: one per record" in caplog.text


def test_workers_that_die_while_they_start_are_replaced(tmp_path: Path) -> None:
    """Twice in a row is bad luck; the third time something is wrong."""
    assert score_one(Stillborn(str(tmp_path), 2), "abc")[0] == [3.0]
    (tmp_path / "more").mkdir()
    with (
        Scorer([RewardSpec(reward=Stillborn(str(tmp_path / "more"), 9))], workers=1) as scorer,
        pytest.raises(RewardError, match="died while it started, with status -9"),
    ):
        scorer.score([group("abc")])
    assert len(list((tmp_path / "more").iterdir())) == 3


def test_a_row_that_cannot_be_sent_is_named() -> None:
    row = dataclasses.replace(group("a").prompt, row={"lock": threading.Lock()})
    with Scorer([RewardSpec(reward=length)], workers=1) as scorer:
        with pytest.raises(RewardError, match=r"the row of prompt 'q' cannot be sent to workers \(TypeError"):
            scorer.score([Group(prompt=row, completions=group("a").completions)])
        assert scorer.score([group("ab")]).rewards.tolist() == [[[2.0]]]


@pytest.mark.parametrize("times", [8, pytest.param(200, marks=pytest.mark.slow)])
def test_timeouts_and_crashes_leave_nothing_behind(times: int) -> None:
    with Scorer([RewardSpec(reward=obey, timeout=0.05)], workers=2) as scorer:
        scorer.score([group("a", "b")])
        before = len(list_open()), threading.active_count(), len(workers_of(psutil.Process()))
        for _ in range(times):
            scores = scorer.score([group("sleep", "os exit", "a")])
            assert (scores.stats[0].crashes, scores.stats[0].timeouts) == (1, 1)
        after = len(list_open()), threading.active_count(), len(workers_of(psutil.Process()))
    assert all(now <= then for now, then in zip(after, before, strict=True)), (before, after)


def list_open() -> list[str]:
    return os.listdir("/proc/self/fd")


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


class Listed(Sequence[float]):
    """Says that it has two items, and has what `item` makes of a place."""

    def __init__(self, item: Callable[[int], float]) -> None:
        self.item = item

    def __len__(self) -> int:
        return 2

    def __getitem__(self, place: int) -> float:
        return self.item(place)


class Number(float):
    def __float__(self) -> float:
        raise KeyError("no float")


def test_an_inline_answer_is_read_where_it_may_hang_or_raise() -> None:
    """One that raises, one that ends early, one that never ends, one that takes 2 s to read, one of strange numbers."""
    cases = {
        lambda place: {}[place]: "error: KeyError: 0",
        lambda place: [1.0][place]: "error: ValueError: returned a sequence of length 2 that does not hold as many",
        lambda place: 1.0: "error: ValueError: returned a sequence of length 2 that does not hold as many",
        lambda place: time.sleep(1.0) or 1.0: r"timeout: 2 records took longer than 0\.2 s",
    }
    for item, cause in cases.items():
        reward = lambda records, item=item: Listed(item)  # noqa: E731
        with pytest.raises(RewardError, match=cause):
            score_one(reward, "a", "b", inline=True, name="listed", fail="raise", timeout=0.1)
        values, _ = score_one(reward, "a", "b", inline=True, name="listed", timeout=0.1)
        assert values == [0.0, 0.0]
    assert score_one(lambda records: [Number(1.0), 2.0], "a", "b", inline=True, name="n")[0] == [0.0, 2.0]


def test_inline_hang_is_given_up_and_not_called_again_meanwhile() -> None:
    release, calls = threading.Event(), []

    def wait(records: Sequence[Record]) -> list[float]:
        calls.append(len(records))
        release.wait(30)
        return [1.0 for _ in records]

    with Scorer([RewardSpec(reward=wait, inline=True, timeout=0.1)]) as scorer:
        start = time.monotonic()
        assert scorer.score([group("a", "b")]).stats[0].timeouts == 2
        assert 0.2 <= time.monotonic() - start < 5.0
        assert scorer.score([group("a")]).stats[0].timeouts == 1
        assert calls == [2]
        release.set()
        for thread in threading.enumerate():
            if thread.name == "reward wait":
                thread.join()
        assert scorer.score([group("a")]).rewards.tolist() == [[[1.0]]]


# ------------------------------------------------------------------------------------------ groups as they are finished

MEETING = """
import os, time

def meet(records):
    deed, _, path = records[0].completion.partition(" ")
    if deed == "make":
        open(path, "w").close()
    while deed == "wait" and not os.path.exists(path):
        time.sleep(0.005)
    return [1.0 for _ in records]
"""


@pytest.fixture
def meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reward:
    """1 for "make PATH", which makes a file, and for "wait PATH", which waits until there is one."""
    (tmp_path / "meeting.py").write_text(MEETING)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "meeting", raising=False)
    import meeting

    return meeting.meet


def score_one_by_one(
    scorer: Scorer, groups: Iterable[Group], *, pause: float, error: Exception | None = None
) -> list[list[list[float]]]:
    """Groups that come apart in time; `error`: raised once all have come."""
    with scorer.stream() as stream:
        for place, each in enumerate(groups):
            stream.add(place, each)
            time.sleep(pause)
        if error is not None:
            raise error
        return stream.scores().rewards.tolist()


def test_a_group_is_scored_while_others_are_generated(meet: Reward, tmp_path: Path) -> None:
    """The engine ends its second prompt's group first, and the first one's only after the other has been scored."""
    made = tmp_path / "made"
    prompts = [group().prompt] * 2
    groups = (group("late", "late"), group(f"make {made}", "early"))

    def generate(prompts: Sequence[Prompt], finished: Callable[[int, Group], None]) -> Rollout:
        finished(1, groups[1])
        assert appears(made), "nothing was scored during generation"
        finished(0, groups[0])
        return Rollout(groups=groups, prefill_seconds=0.0, decode_seconds=0.0)

    with Scorer([RewardSpec(reward=meet), RewardSpec(reward=length)], workers=1) as scorer:
        found = collect(
            prompts,
            config=FilterConfig(),
            judge=lambda scores: scores.rewards[:, :, 0],
            generate=generate,
            stream=scorer.stream,
            draw=lambda count: [],
            ranks=Ranks.one(),
        )
    assert found.scores.rewards[:, :, 0].tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert found.scores.rewards[:, :, 1].tolist() == [[4.0, 4.0], [len(f"make {made}"), 5.0]]


def test_the_seconds_of_scoring_are_those_after_generation() -> None:
    """A nap of 0.1 s is over before generation ends, 1 s after it began; then one that is not."""
    with Scorer([RewardSpec(reward=obey)], workers=1) as scorer:
        scorer.score([group("warm up")])
        for patience in (1.0, 0.0):

            def generate(prompts: Sequence[Prompt], finished: Callable[[int, Group], None]) -> Rollout:
                groups = (group("nap"),)
                finished(0, groups[0])
                time.sleep(patience)  # noqa: B023 called in its round
                return Rollout(groups=groups, prefill_seconds=0.0, decode_seconds=0.0)

            found = collect(
                [group().prompt],
                config=FilterConfig(),
                judge=lambda scores: scores.rewards[:, :, 0],
                generate=generate,
                stream=scorer.stream,
                draw=lambda count: [],
                ranks=Ranks.one(),
            )
            assert found.rollout_seconds >= patience
            assert (found.reward_seconds >= 0.1 - 0.02) == (patience == 0.0)


def test_a_slow_record_holds_no_later_group_back(meet: Reward, tmp_path: Path) -> None:
    """The first group's record waits for what the last group's makes."""
    made = tmp_path / "made"
    with Scorer([RewardSpec(reward=meet, fail="raise")], workers=2) as scorer, scorer.stream() as stream:
        stream.add(0, group(f"wait {made}"))
        for place in range(1, 20):
            stream.add(place, group("between"))
        stream.add(20, group(f"make {made}"))
        assert stream.scores().rewards.tolist() == [[[1.0]]] * 21


def test_scores_are_those_of_all_groups_at_once() -> None:
    """Added in another order, with pauses, by rewards of which one is inline and one fails at times."""
    specs = [RewardSpec(reward=obey, fail="skip"), RewardSpec(reward=batch_size, inline=True), RewardSpec(reward=pid)]
    routes = [frozenset({"obey", "batch_size"}), frozenset({"batch_size"}), frozenset({"obey"})]
    texts = ["raise", "exit", "none", "two"]
    groups = [group("x" * p, texts[p % 4], "y", rewards=routes[p % 3]) for p in range(30)]
    with Scorer(specs, workers=2) as scorer:
        wanted = scorer.score(groups)
        with scorer.stream() as stream:
            for place in sorted(range(30), key=lambda p: (7 * p) % 30):
                stream.add(place, groups[place])
                time.sleep(0.002 * (place % 3))
            found = stream.scores()
    np.testing.assert_array_equal(found.rewards, wanted.rewards)
    assert found.rewards[1, :, 1].tolist() == [60.0] * 3, "20 of 30 groups, three completions each, in one call"
    assert [(each.errors, each.crashes, each.timeouts) for each in found.stats] == [(15, 0, 0), (0, 0, 0), (0, 0, 0)]
    assert [each.errors for each in wanted.stats] == [15, 0, 0]


@pytest.mark.parametrize("deed", ["sleep", "regex"])
def test_what_ends_generation_ends_the_scoring(deed: str) -> None:
    """The record under way would take a minute."""
    with Scorer([RewardSpec(reward=obey, timeout=60.0)], workers=1) as scorer:
        scorer.score([group("warm up")])
        [worker] = workers_of(psutil.Process())
        start = time.monotonic()
        with pytest.raises(KeyError, match="generation"):
            score_one_by_one(scorer, [group(deed), group("a")], pause=0.1, error=KeyError("generation"))
        assert time.monotonic() - start < 5.0
        assert gone([worker])
        assert scorer.score([group("abc")]).rewards.tolist() == [[[3.0]]]


def test_a_failure_that_ends_the_run_shows_at_the_next_group_or_at_the_end() -> None:
    with Scorer([RewardSpec(reward=obey, fail="raise")], workers=1) as scorer:
        with pytest.raises(RewardError, match="KeyError"):
            score_one_by_one(scorer, [group("raise")], pause=0.0)
        groups = [group("raise"), *[group("a")] * 1000]
        with pytest.raises(RewardError, match="KeyError"):
            score_one_by_one(scorer, groups, pause=0.01, error=AssertionError("ten seconds, and nobody was told"))
        assert scorer.score([group("abc")]).rewards.tolist() == [[[3.0]]]


def test_a_scorer_that_is_closed_ends_its_stream() -> None:
    scorer = Scorer([RewardSpec(reward=obey, timeout=60.0)], workers=1)
    stream = scorer.stream()
    stream.add(0, group("sleep"))
    time.sleep(0.1)
    scorer.close()
    assert workers_of(psutil.Process()) == []
    with pytest.raises(RuntimeError, match="this stream has ended"):
        stream.add(1, group("a"))
    with pytest.raises(RuntimeError, match="this stream has ended"):
        stream.scores()
    assert scorer.score([group("abc")]).rewards.tolist() == [[[3.0]]]
    scorer.close()


def test_streams_are_used_one_by_one_and_their_places_are_filled() -> None:
    with Scorer([RewardSpec(reward=length)], workers=1) as scorer, scorer.stream() as stream:
        with pytest.raises(RuntimeError, match="a batch is still being scored"):
            scorer.score([group("a")])
        stream.add(2, group("a"))
        with pytest.raises(ValueError, match="place 2 was added before"):
            stream.add(2, group("a"))
        with pytest.raises(ValueError, match=r"place 0 was never added; the places are \[2\]"):
            stream.scores()


def test_an_answer_is_not_late_because_the_parent_was() -> None:
    """While the report of a fast record takes 1 s, the other worker's nap of 0.1 s ends, within its 0.5 s."""
    pool = WorkerPool({0: PooledReward("obey", pickle.dumps(obey), 0.5)}, 2)
    nap, fast = (
        Record(prompt="", completion=text, token_ids=(), answer=None, row={}, stop_reason="eos")
        for text in ("nap", "fast")
    )
    for _ in range(2):  # the first time both workers start
        tasks, outcomes = Tasks(), {}

        def report(index: int, outcome: Outcome) -> None:
            outcomes[index] = outcome.value  # noqa: B023 called in its round
            time.sleep(index)  # 0 for the nap, 1 for the fast one

        tasks.add([(0, nap), (0, fast)])
        tasks.end()
        pool.run(tasks, report)
        tasks.close()
        assert outcomes == {0: 1.0, 1: 4.0}
    pool.close()


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
    wanted = ("length_2", "scaled_length", "scaled_length_2", "length", "gsm8k_answer", "lambda")
    assert Scorer(specs).names == wanted


def test_a_name_that_is_given_twice_is_refused() -> None:
    """A gate or a row that names it could mean either."""
    with pytest.raises(ValueError, match="rewards: the name 'x' is given to 2; each needs its own"):
        Scorer([RewardSpec(reward=length, name="x"), RewardSpec(reward=obey, name="x")])


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
        ({"timeout": 1e7}, r"timeout: 10000000\.0 is refused; it must be above 0 and at most 86400 s"),
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


@pytest.mark.parametrize("deed", ["child", "session"])
def test_a_timeout_ends_what_the_reward_started(deed: str) -> None:
    """Also what has left the worker's process group."""
    with Scorer([RewardSpec(reward=obey, timeout=0.5)], workers=1) as scorer:
        scoring = threading.Thread(target=scorer.score, args=([group(deed)],))
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


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_its_parent(tmp_path: Path, number: signal.Signals) -> None:
    """Both workers are inside a regular expression that keeps the GIL when their parent is killed or interrupted.

    Their reward lies in a folder that only the parent's `sys.path` names.
    """
    begun = tmp_path / "begun"
    (tmp_path / "own_reward.py").write_text(OWN_REWARD.format(begun=str(begun)))
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT.format(folder=str(tmp_path))],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell may have it ignored
    )
    assert appears(begun)
    started = psutil.Process(parent.pid).children()
    assert len(started) == 2
    parent.send_signal(number)
    errors = parent.communicate(timeout=60.0)[1]
    assert parent.returncode == -number
    assert ("KeyboardInterrupt" in errors) == (number == signal.SIGINT)
    assert gone(started)
