"""Each watchdog hears what it is there for, once per episode, and none hears anything in a healthy run."""

import json
import math
import re
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from jsonargparse import get_loader
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from grpo_lightning.cli import main
from grpo_lightning.module import GRPOModule
from grpo_lightning.optimization import OptimizerConfig, UpdateConfig
from grpo_lightning.prompts import PromptDataModule
from grpo_lightning.scoring import RewardSpec
from grpo_lightning.symptoms import (
    BadNumbers,
    Drift,
    EntropyCollapse,
    History,
    LengthExplosion,
    NoSignal,
    RewardHacking,
    Symptom,
    ThroughputDrop,
)
from grpo_lightning.watchdogs import FILE, HELD_OUT, Watchdogs, forget_later, warn
from tests.fakes import never_mixed, tiny_data, tiny_module, tiny_trainer
from tests.healthy import MADE_BY, TABLE, read

ROOT = Path(__file__).parent.parent

Row = dict[str, float]

HEALTHY = {
    "accuracy": 0.4, "reward": 0.5, "completion/tokens": 100.0, "completion/duplicates": 0.1, "stop/length": 0.02,
    "sampler/entropy": 0.5, "groups/zero_signal": 0.3, "groups/mixed": 0.7, "groups/all_right": 0.2,
    "groups/all_wrong": 0.1, "update/skipped": 0.0, "update/kl_to_sampler": 0.001, "update/ess": 0.99,
    "sampler/kl": 1e-6, "speed/tokens_per_second": 1000.0, "time/rollout": 10.0, "time/reward": 1.0,
    "time/prepare": 1.0, "time/update": 8.0,
}  # fmt: skip


def past(*stretches: tuple[int, Row]) -> list[Row]:
    """So many healthy rollouts, each with these changes."""
    return [HEALTHY | changes for count, changes in stretches for _ in range(count)]


def heard(symptom: Symptom, rows: Iterable[Row]) -> list[tuple[int, str]]:
    """After which rollouts, counted from 1, it is seen, and what is said."""
    history, found = History(), []
    for number, row in enumerate(rows, 1):
        history.add(row)
        if text := symptom.sees(history):
            found.append((number, text))
    return found


def test_a_healthy_quickstart_is_left_alone() -> None:
    """All of its 40 steps, as logged, with the default thresholds."""
    assert TABLE.read_text(encoding="utf-8").startswith(MADE_BY + "\n")
    dogs, rows = Watchdogs(), read(TABLE)
    assert [row["step"] for row in rows] == list(range(1, 41))
    assert rows[-1]["accuracy"] > 0.9
    for row in rows:
        assert dogs.noticed(row) == {}, row["step"]
        for name in HELD_OUT[:1]:
            if name in row:
                dogs.history.validated(int(row["step"]), row[name])
    assert len(dogs.history.held_out) == 8


def test_entropy_that_collapses_without_success() -> None:
    """10 rollouts at 0.5 nats, then 0.01: of the last ten, k old ones left, the mean is 0.01 + 0.049 k.

    It is below 0.03 first where k = 0, so after rollout 20. With rising accuracy, or high one, nothing is said.
    """
    rows = past((10, {}), (12, {"sampler/entropy": 0.01}))
    number, text = heard(EntropyCollapse(), rows)[0]
    assert number == 20
    assert "fell from 0.5 to 0.01 while accuracy stays at 40.0%" in text
    assert not heard(EntropyCollapse(), past((10, {}), (12, {"sampler/entropy": 0.01, "accuracy": 0.42})))
    solved = {"sampler/entropy": 0.01, "accuracy": 0.95}
    assert not heard(EntropyCollapse(), past((10, {"accuracy": 0.95}), (12, solved)))
    low = {"sampler/entropy": 0.02}
    assert not heard(EntropyCollapse(), past((30, low))), "it always was so low"


def test_completions_that_run_into_the_limit() -> None:
    """0.02 at first; of the last five, k have 0.5: 0.02 + 0.096 k, at least 0.2 from k = 2 on."""
    number, text = heard(LengthExplosion(), past((10, {}), (3, {"stop/length": 0.5})))[0]
    assert number == 12
    assert "21.2% of the completions end at the length limit, 2.0% did at the start" in text
    assert not heard(LengthExplosion(), past((20, {"stop/length": 0.25}))), "it always was so"


def test_length_that_grows_in_vain() -> None:
    """100 tokens, then 250: the mean of five is 100 + 30 k, 200 from k = 4 on."""
    number, text = heard(LengthExplosion(), past((5, {}), (6, {"completion/tokens": 250.0})))[0]
    assert number == 10, "earlier there is no start to compare with"
    assert "went from 100 to 250 while accuracy changed by +0.0%" in text
    useful = {"completion/tokens": 250.0, "accuracy": 0.6}
    assert not heard(LengthExplosion(), past((5, {}), (6, useful)))


def validated(*measures: tuple[float, float]) -> History:
    """A validation after each rollout: held-out accuracy and reward in training."""
    history = History()
    for step, (accuracy, reward) in enumerate(measures, 1):
        history.add(HEALTHY | {"reward": reward})
        history.validated(step, accuracy, window=1)
    return history


def test_reward_up_and_held_out_accuracy_down() -> None:
    text = RewardHacking().sees(validated((0.5, 0.5), (0.6, 0.6), (0.45, 0.8), (0.47, 0.9)))
    assert text is not None
    assert "since step 2 the reward in training rose from 0.6 to 0.9" in text
    assert "held-out prompts fell from 60.0% to 46.0%" in text
    assert RewardHacking().sees(validated((0.5, 0.5), (0.6, 0.9), (0.45, 0.8), (0.47, 0.7))) is None, "both fall"
    assert RewardHacking().sees(validated((0.5, 0.5), (0.6, 0.6), (0.45, 0.8), (0.65, 0.9))) is None, "one dip"
    assert RewardHacking().sees(validated((0.6, 0.6), (0.45, 0.8))) is None, "too early"


def test_a_validation_that_is_repeated_counts_once() -> None:
    history = validated((0.5, 0.5), (0.6, 0.6))
    history.validated(2, 0.7, window=1)
    assert history.held_out == [(1, 0.5, 0.5), (2, 0.7, 0.6)]


def test_groups_that_repeat_themselves() -> None:
    """From 0.1 to 0.9, in the mean of ten 0.1 + 0.08 k: at least 0.5 from k = 5 on, but not before there are 20."""
    number, text = heard(RewardHacking(), past((15, {}), (8, {"completion/duplicates": 0.9})))[0]
    assert number == 20
    assert "50.0% of the completions repeat another one of their group, 10.0% did at the start" in text
    assert not heard(RewardHacking(), past((30, {"completion/duplicates": 0.8}))), "short answers always do"


@pytest.mark.parametrize(
    ("groups", "advice"),
    [
        ({"groups/all_right": 0.9, "groups/all_wrong": 0.1}, "90% are all right. These prompts are learnt"),
        ({"groups/all_right": 0.0, "groups/all_wrong": 1.0}, "100% are all wrong. The prompts are too hard"),
        ({"groups/all_right": 0.0, "groups/all_wrong": 0.0}, "0% all right and 0% all wrong"),
    ],
)
def test_nothing_to_learn_from(groups: Row, advice: str) -> None:
    silent = groups | {"groups/zero_signal": 1.0, "groups/mixed": 0.0}
    number, text = heard(NoSignal(), past((1, {}), (3, silent)))[0]
    assert number == 4
    assert advice in text
    dropped = [
        {name: value for name, value in row.items() if name != "groups/zero_signal"} for row in past((3, silent))
    ]
    assert [number for number, _ in heard(NoSignal(), dropped)] == [3], "filters that leave them out"
    assert not heard(NoSignal(), past((2, silent), (1, {}), (2, silent)))


def test_numbers_that_are_none() -> None:
    (first, *others) = heard(BadNumbers(), past((3, {}), (1, {"update/skipped": 2.0}), (25, {})))
    assert first[0] == 4
    assert first[1].startswith("2 optimizer steps of the last 4 rollouts were skipped")
    assert others[-1][0] == 23, "twenty rollouts remember it"
    ((number, text),) = heard(BadNumbers(), past((1, {}), (1, {"reward/judge": math.inf, "reward": math.nan}), (1, {})))
    assert number == 2
    assert "not finite now: reward, reward/judge" in text


def test_fewer_tokens_per_second() -> None:
    """The median of the last five is the slow one from the third on; time/reward grew most, from 1 to 21 s."""
    slow = {"speed/tokens_per_second": 400.0, "time/reward": 21.0, "time/update": 10.0}
    number, text = heard(ThroughputDrop(), past((12, {}), (4, slow)))[0]
    assert number == 15
    assert "400 tokens per second, 1e+03 before; the most of it in time/reward, which went from 1 to 21 s" in text
    assert not heard(ThroughputDrop(), past((12, {}), (4, {"speed/tokens_per_second": 600.0})))
    assert not heard(ThroughputDrop(), past((4, {}), (4, slow))), "too early to tell"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"update/kl_to_sampler": 0.2}, "0.2 nats per token (KL) away from what sampled"),
        ({"update/ess": 0.3}, "the ratios are worth 30% of the samples"),
        ({"sampler/kl": 0.05}, "the engine's log-probs are 0.05 nats per token"),
    ],
)
def test_a_policy_that_is_not_what_sampled(changes: Row, said: str) -> None:
    number, text = heard(Drift(), past((5, {}), (3, changes)))[-1]
    assert number == 8
    assert said in text


def test_once_per_episode() -> None:
    """Silent in rollouts 1 to 6 and 14 to 20: seen from 3 on, gone for seven; with calm 7 it is another episode."""
    silent = {"groups/zero_signal": 1.0, "groups/mixed": 0.0}
    rows = past((6, silent), (7, {}), (7, silent))
    for calm, expected in ((7, [3, 16]), (10, [3])):
        dogs = Watchdogs(calm=calm)
        assert [n for n, row in enumerate(rows, 1) if "no signal" in dogs.noticed(row)] == expected


def test_null_turns_one_off_and_no_calm_is_refused() -> None:
    dogs = Watchdogs(signal=None)
    assert all(dogs.noticed(row) == {} for row in past((9, {"groups/zero_signal": 1.0})))
    with pytest.raises(ValueError, match=r"watchdogs\.calm: 0 is refused"):
        Watchdogs(calm=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (lambda: EntropyCollapse(window=0), r"watchdogs\.entropy\.window: 0 is refused; it must be 1 to 30 rollouts"),
        (lambda: NoSignal(rollouts=31), r"watchdogs\.signal\.rollouts: 31 is refused; it must be 1 to 30 rollouts"),
        (lambda: Drift(kl=math.nan), r"watchdogs\.drift\.kl: nan is refused; it must be 0 or more"),
        (lambda: LengthExplosion(gain=-0.1), r"watchdogs\.length\.gain: -0\.1 is refused; it must be 0 or more"),
        (lambda: BadNumbers(skipped=0), r"watchdogs\.numbers\.skipped: 0 is refused; it must be 1 or more"),
    ],
)
def test_thresholds_that_make_no_sense_are_refused(settings: Callable[[], Symptom], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings()


def test_advice_names_settings_that_there_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every dotted name in symptoms.py that begins as a setting does."""
    monkeypatch.setattr(sys, "argv", ["grpo-lightning"])
    source = (ROOT / "grpo_lightning" / "symptoms.py").read_text(encoding="utf-8")
    named = set(re.findall(r"\b(?:model|data|trainer|checkpoint)\.[a-z_.]*[a-z_]", re.sub(r'"\s*f?"', "", source)))
    assert len(named) > 15
    with pytest.raises(SystemExit, match="0"):
        main(["fit", "--config", str(ROOT / "configs" / "quickstart.yaml"), "--print_config"])
    shown = get_loader("yaml")(capsys.readouterr().out)
    for name in named:
        place = shown
        for key in name.split("."):
            assert key in place, name
            place = place[key]


# ------------------------------------------------------------------------------------------------------- in real runs


def told(folder: Path) -> list[tuple[int, str]]:
    lines = (folder / "watchdog.jsonl").read_text(encoding="utf-8").splitlines()
    return [(line["step"], line["watchdog"]) for line in map(json.loads, lines)]


def silent_module(folder: Path) -> GRPOModule:
    return tiny_module(folder, rewards=[RewardSpec(reward=never_mixed, inline=True)], update=UpdateConfig())


def fit(
    folder: Path, module: GRPOModule, *callbacks: Callback, checkpoint: str | None = None, **settings: object
) -> None:
    logger = TensorBoardLogger(folder, name="", version="", default_hp_metric=False)
    trainer = tiny_trainer(folder, *callbacks, Watchdogs(), logger=logger, **settings)
    data: PromptDataModule = tiny_data(folder)
    trainer.fit(module, datamodule=data, ckpt_path=checkpoint and folder / "checkpoints" / f"{checkpoint}.ckpt")


def test_a_reward_that_is_always_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Said once, after the third of six rollouts: in the log, in TensorBoard and in the run's folder."""
    fit(tmp_path, silent_module(tmp_path), max_epochs=3)
    assert told(tmp_path) == [(3, "no signal")]
    assert [r.getMessage()[:19] for r in caplog.records if r.name == "grpo_lightning.watchdogs"] == [
        "step 3: no signal: "
    ]
    events = EventAccumulator(str(tmp_path), size_guidance={"tensors": 0}).Reload()
    (event,) = events.Tensors("watchdog/text_summary")
    assert event.step == 3
    assert event.tensor_proto.string_val[0].startswith(b"**no signal**: no group of the last 3 rollouts")


@pytest.mark.parametrize("step", [2, 3, 4])
def test_a_run_that_goes_on_warns_as_if_it_had_not_stopped(tmp_path: Path, step: int) -> None:
    """From before, at and after the warning; what was written later than the checkpoint is written anew."""
    fit(tmp_path, silent_module(tmp_path), max_epochs=3)
    whole = (tmp_path / "watchdog.jsonl").read_text(encoding="utf-8")
    shutil.rmtree(tmp_path / "lightning_logs", ignore_errors=True)
    fit(tmp_path, silent_module(tmp_path), max_epochs=3, checkpoint=f"step={step}")
    assert (tmp_path / "watchdog.jsonl").read_text(encoding="utf-8") == whole
    events = EventAccumulator(str(tmp_path), size_guidance={"tensors": 0}).Reload()
    assert len(events.Tensors("watchdog/text_summary")) == 1


class Overflows(Callback):
    """The gradient of the second rollout's first step."""

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        if trainer.global_step == 4:
            next(pl_module.parameters()).grad.fill_(math.inf)


def test_a_gradient_that_overflows(tmp_path: Path) -> None:
    """Four steps to a rollout, so it is said at step 8."""
    fit(tmp_path, tiny_module(tmp_path), Overflows())
    assert (8, "bad numbers") in told(tmp_path)


def test_steps_that_are_far_too_large(tmp_path: Path) -> None:
    """A learning rate of 1, and four updates of the same completions."""
    module = tiny_module(tmp_path, optimizer=OptimizerConfig(lr=1.0))
    fit(tmp_path, module, max_epochs=3)
    assert "drift" in [name for _, name in told(tmp_path)]


def test_what_cannot_be_written_or_read_ends_no_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A folder in the file's place stands for a full disk; half a line, for a run that was killed."""
    trainer = tiny_trainer(tmp_path)
    path = tmp_path / FILE
    path.mkdir()
    warn(trainer, "drift", "too far")
    assert "too far" in caplog.text
    assert "not in" in caplog.text
    path.rmdir()
    own = '{"step": 0, "watchdog": "drift", "text": "a\u2028b"}\n'
    path.write_text(own + '{"step": 7, "watchdog": "later"}\n' + '{"step": 0, "wat\n[]\n\0\0', encoding="utf-8")
    forget_later(trainer)
    assert path.read_text(encoding="utf-8") == own


def test_with_a_rollout_ahead_the_distance_before_updates_is_not_the_engines(tmp_path: Path) -> None:
    """It holds one update: more than an engine may differ by is no drift, and below the policy's own limit."""
    for ahead, said in ((0, ["drift"]), (1, [])):
        dogs = Watchdogs()
        module = tiny_module(tmp_path, update=UpdateConfig(async_steps=ahead))
        module.metrics = {"sampler/kl": 0.05, "update/kl_to_sampler": 0.05}
        for _ in range(3):
            dogs.on_train_batch_end(tiny_trainer(tmp_path), module, None, None, 0)
        assert list(dogs.quiet) == said
