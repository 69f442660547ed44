"""Rewards on a real local Ray cluster: the contract is that of the processes of one machine."""

import contextlib
import dataclasses
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from grpo_lightning import ray_pool
from grpo_lightning.scoring import RewardError, RewardSpec, Scorer
from grpo_lightning.types import Completion, Group, Prompt
from tests.unruly import Ghost, ScaledLength, Stillborn, length_async, obey, pid

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    """With room for the two shared workers, and two more."""
    ray.init(num_cpus=4, include_dashboard=False, configure_logging=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def scorer() -> Iterator[Scorer]:
    """Workers for all tests that leave it usable, as one takes a second to start."""
    specs = [RewardSpec(reward=obey, timeout=2.0), RewardSpec(reward=pid)]
    with Scorer(specs, workers=2, executor="ray") as made:
        yield made


@pytest.fixture(autouse=True)
def _no_long_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_pool, "START_TIMEOUT", 30.0)


def group(*texts: str, rewards: frozenset[str] | None = None) -> Group:
    prompt = Prompt(uid=0, text="q", token_ids=(1,), answer="42", row={"level": 3}, rewards=rewards)
    completions = (Completion(token_ids=(5,), sampler_logprobs=(-0.5,), text=text, stop_reason="eos") for text in texts)
    return Group(prompt=prompt, completions=tuple(completions))


def actors() -> list[psutil.Process]:
    """Workers of this process's cluster."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it ends meanwhile
            if "RewardActor" in "".join(process.cmdline()):
                found.append(process)
    return found


def remaining(most: int) -> int:
    """How many workers there are, once `most` are left or a minute has passed: Ray ends a killed one when it can."""
    deadline = time.monotonic() + 60.0
    while len(actors()) > most and time.monotonic() < deadline:
        time.sleep(0.05)
    return len(actors())


def test_order_and_values_are_those_of_processes() -> None:
    specs = [RewardSpec(reward=ScaledLength(2.0)), RewardSpec(reward=length_async), RewardSpec(reward=obey)]
    groups = [group(*("x" * ((7 * p + 3 * g) % 50) for g in range(8))) for p in range(8)]
    with Scorer(specs, workers=2, executor="ray") as on_ray, Scorer(specs, workers=2) as here:
        scores, wanted = on_ray.score(groups), here.score(groups)
    np.testing.assert_array_equal(scores.rewards, wanted.rewards)
    assert scores.rewards[1, 2].tolist() == [26.0, 13.0, 13.0]  # (7 + 6) % 50 = 13
    assert scores.names == wanted.names
    assert [(each.errors, each.crashes, each.timeouts) for each in scores.stats] == [(0, 0, 0)] * 3


def test_bad_records_are_counted_and_harm_no_other(scorer: Scorer) -> None:
    """Three raise, three crash and two hang; the ones between get their length."""
    texts = ["a", "raise", "bb", "hog", "exit", "ccc", "os exit", "segfault", "dddd", "sleep", "regex", "eeeee"]
    texts.append("killed")
    scores = scorer.score([group(*texts, rewards=frozenset({"obey"}))])
    values = [1.0, 0.0, 2.0, 0.0, 0.0, 3.0, 0.0, 0.0, 4.0, 0.0, 0.0, 5.0, 0.0]
    np.testing.assert_equal(scores.rewards[0].tolist(), [[value, math.nan] for value in values])
    stats = scores.stats[0]
    assert (stats.errors, stats.crashes, stats.timeouts) == (6, 3, 2)
    assert stats.latency_p99 < 5.0
    assert scorer.score([group("ab")]).rewards[0, 0, 0] == 2.0


def test_a_child_that_comes_back_from_a_reward_answers_nothing(scorer: Scorer) -> None:
    """Its answer would be 9."""
    scores = scorer.score([group("a", "fork", "bb", "fork", "ccc", rewards=frozenset({"obey"}))])
    assert scores.rewards[0, :, 0].tolist() == [1.0, 1.0, 2.0, 1.0, 3.0]


def test_a_worker_that_died_idle_costs_no_record(scorer: Scorer) -> None:
    before = set(scorer.score([group(*["x"] * 20)]).rewards[0, :, 1])
    for process in actors():
        process.kill()
    psutil.wait_procs(actors(), timeout=5.0)
    scores = scorer.score([group(*["x"] * 20)])
    assert scores.stats[0].crashes == scores.stats[1].crashes == 0
    assert before.isdisjoint(scores.rewards[0, :, 1])


def test_failures_that_end_the_run_leave_a_usable_scorer() -> None:
    with Scorer([RewardSpec(reward=obey, fail="raise", timeout=3.0)], workers=1, executor="ray") as scorer:
        with pytest.raises(RewardError, match=r"timeout: took longer than 3 s"):
            scorer.score([group("a", "sleep", "b")])
        with pytest.raises(RewardError, match=r"crash: its worker died: The actor died"):
            scorer.score([group("os exit", "b")])
        assert scorer.score([group("abc")]).rewards.tolist() == [[[3.0]]]


def test_groups_are_scored_as_they_come_and_no_slow_record_holds_them_back(scorer: Scorer) -> None:
    """The hang of 2 s is under way when the later groups come."""
    with scorer.stream() as stream:
        stream.add(1, group("sleep"))
        time.sleep(0.1)
        for place in (2, 0, 3):
            stream.add(place, group("x" * (place + 1)))
            time.sleep(0.05)
        scores = stream.scores()
    assert scores.rewards[:, 0, 0].tolist() == [1.0, 0.0, 3.0, 4.0]
    assert (scores.stats[0].errors, scores.stats[0].timeouts) == (0, 1)


def break_off(scorer: Scorer) -> None:
    with scorer.stream() as stream:
        stream.add(0, group("sleep"))
        time.sleep(0.2)
        raise KeyError("generation")


def test_what_ends_generation_ends_the_scoring() -> None:
    """The record under way would take a minute."""
    with Scorer([RewardSpec(reward=obey, timeout=60.0)], workers=1, executor="ray") as scorer:
        before = scorer.score([group("ab")]).rewards[0, 0, 0]
        start = time.monotonic()
        with pytest.raises(KeyError, match="generation"):
            break_off(scorer)
        assert time.monotonic() - start < 5.0
        assert scorer.score([group("ab")]).rewards[0, 0, 0] == before == 2.0


def test_a_row_that_cannot_be_sent_is_named(scorer: Scorer) -> None:
    prompt = dataclasses.replace(group("a").prompt, row={"lock": threading.Lock()})
    with pytest.raises(RewardError, match=r"^the row of prompt 'q' cannot be sent to workers \(TypeError"):
        scorer.score([dataclasses.replace(group("a"), prompt=prompt)])
    assert scorer.score([group("ab")]).rewards[0, 0, 0] == 2.0


def test_workers_that_die_while_they_start_are_replaced(tmp_path: Path) -> None:
    with Scorer([RewardSpec(reward=Stillborn(str(tmp_path), 2))], workers=1, executor="ray") as scorer:
        assert scorer.score([group("abc")]).rewards.tolist() == [[[3.0]]]
    assert len(list(tmp_path.iterdir())) == 2


def test_what_an_actor_cannot_load_is_named() -> None:
    with (
        Scorer([RewardSpec(reward=Ghost())], workers=1, executor="ray") as scorer,
        pytest.raises(RewardError, match=r"'ghost' cannot be loaded in a worker: OSError: no such file"),
    ):
        scorer.score([group("a")])


def test_no_actor_outlives_its_scorer(scorer: Scorer) -> None:
    scorer.score([group("a")])
    assert remaining(2) in (1, 2)  # those of earlier tests' scorers are gone
    scorer.close()
    assert remaining(0) == 0
    assert ray.is_initialized()


def test_a_cluster_without_room_is_named(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    class Tenant:
        def stay(self) -> None:
            return None

    scorer.close()  # its workers take up room
    assert remaining(0) == 0
    tenant = ray.remote(num_cpus=4)(Tenant).remote()
    ray.get(tenant.stay.remote(), timeout=60)
    monkeypatch.setattr(ray_pool, "START_TIMEOUT", 0.5)
    with (
        Scorer([RewardSpec(reward=obey)], workers=1, executor="ray") as crowded,
        pytest.raises(RewardError, match=r"no reward worker started within 0.5 s: has the cluster a free CPU"),
    ):
        crowded.score([group("a")])
    ray.kill(tenant)


OWN_CLUSTER = """
import ray
from grpo_lightning.scoring import RewardSpec, Scorer
from tests.test_ray import group
from tests.unruly import length

with Scorer([RewardSpec(reward=length)], workers=1, executor="ray") as scorer:
    print(scorer.score([group("abc")]).rewards.tolist(), ray.is_initialized())
print(ray.is_initialized())
"""


def test_a_cluster_is_started_and_ended_where_there_is_none() -> None:
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, "-c", OWN_CLUSTER],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
        env=environment,
        timeout=60.0,
        check=False,
    )
    assert done.stdout.splitlines() == ["[[[3.0]]] True", "False"], done.stderr


def test_an_unknown_executor_is_refused() -> None:
    with pytest.raises((TypeError, ValueError), match="dask"):
        Scorer([RewardSpec(reward=obey)], executor="dask")
