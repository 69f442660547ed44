"""What TensorBoard shows: every metric on a page and no page with an empty chart; histograms, samples, settings."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import api_pb2, metadata

from grpo_lightning.advantages import AdvantageConfig
from grpo_lightning.callbacks import SampleLog, group_as_markdown, telling_groups
from grpo_lightning.combine import CombineConfig
from grpo_lightning.mismatch import MismatchConfig
from grpo_lightning.objective import EntropyConfig, KLConfig, ObjectiveConfig
from grpo_lightning.report import BeforeAfter
from grpo_lightning.scoring import RewardSpec
from grpo_lightning.tensorboard import PAGES, SCORES, SHOWN_FIRST, Histograms, HParams, Pages, flat, layout
from tests.fakes import brevity, count_tokens, share_of_digits, tiny_data, tiny_module, tiny_trainer

REWARDS = [
    RewardSpec(reward=share_of_digits, inline=True),
    RewardSpec(reward=brevity, weight=0.5, inline=True),
    RewardSpec(reward=count_tokens, role="constraint", at_most=3.0, scale=2.0, weight=0.3, inline=True),
]

BOUNDS = re.compile(r"^val/.*/(low|high)$")
"""Drawn with what they are the bounds of."""


def tensorboard_in(folder: Path) -> TensorBoardLogger:
    return TensorBoardLogger(folder, name="", version="", default_hp_metric=False)


def fit(folder: Path, *callbacks: Callback, checkpoint: Path | None = None, **settings: object) -> Trainer:
    """With everything that is logged under some setting only."""
    module = tiny_module(
        folder, rewards=REWARDS, combine=CombineConfig(way="constrained", rate=0.2),
        advantage=AdvantageConfig(scale="none"), mismatch=MismatchConfig(correction="truncate"),
        objective=ObjectiveConfig(kl=KLConfig(beta=0.05), entropy=EntropyConfig(bonus=0.01), off_policy_limit=1.0),
    )  # fmt: skip
    trainer = tiny_trainer(folder, *callbacks, logger=tensorboard_in(folder), val_check_interval=1, **settings)
    trainer.fit(module, datamodule=tiny_data(folder), ckpt_path=checkpoint)
    return trainer


def events_of(folder: Path) -> EventAccumulator:
    guidance = {"scalars": 0, "tensors": 0, "histograms": 0}
    return EventAccumulator(str(folder), size_guidance=guidance).Reload()


def pages_of(events: EventAccumulator) -> dict[str, dict[str, list[str]]]:
    """Page -> chart -> its patterns, or its value with its bounds, as the last layout has it."""
    tensor = events.Tensors("custom_scalars__config__")[-1]
    shown = layout_pb2.Layout.FromString(tensor.tensor_proto.string_val[0])
    found: dict[str, dict[str, list[str]]] = {}
    for page in shown.category:
        for chart in page.chart:
            (series,) = chart.margin.series or (None,)
            tags = [series.value, series.lower, series.upper] if series else list(chart.multiline.tag)
            found.setdefault(page.title, {})[chart.title] = tags
    return found


class Measured(Callback):
    """What the module measured, and what Lightning's callbacks are told, by step."""

    def __init__(self) -> None:
        self.own: dict[int, dict[str, float]] = {}
        self.told: dict[int, dict[str, float]] = {}

    def on_train_batch_end(self, trainer: Trainer, pl_module: object, *rest: object) -> None:
        self.own[trainer.global_step] = {name: float(np.float32(value)) for name, value in pl_module.metrics.items()}
        told = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.told[trainer.global_step] = {name: v for name, v in told.items() if not name.startswith("val/")}


@pytest.mark.parametrize("every", [1, 2])
def test_a_step_is_logged_as_it_was_measured(tmp_path: Path, every: int) -> None:
    """In single precision, as Lightning does; and only when it is due."""
    measured = Measured()
    fit(tmp_path, measured, log_every_n_steps=every)
    logged: dict[int, dict[str, float]] = {}
    events = events_of(tmp_path)
    for tag in events.Tags()["scalars"]:
        for event in events.Scalars(tag):
            if not tag.startswith("val/"):
                logged.setdefault(event.step, {})[tag] = event.value
    assert logged == {step: row for step, row in measured.own.items() if step // 4 % every == 0}
    for step, row in measured.own.items():
        assert measured.told[step].items() >= row.items()
        assert measured.told[step].keys() - row.keys() <= {"step", "rew", "acc", "tok/s"}


def shows(pattern: str, tag: str) -> bool:
    """As TensorBoard reads them: series of bounds by name, others by pattern."""
    return bool(re.match(pattern, tag)) if pattern.startswith("^") else pattern == tag


def test_every_metric_is_on_a_page_and_every_chart_shows_one(tmp_path: Path) -> None:
    fit(tmp_path, Pages())
    events = events_of(tmp_path)
    logged, pages = events.Tags()["scalars"], pages_of(events)
    assert list(pages) == list(PAGES) == ["learning", "rewards", "stability", "speed"]
    for page, charts in PAGES.items():
        assert charts.keys() == pages[page].keys()
    patterns = [pattern for charts in pages.values() for tags in charts.values() for pattern in tags]
    for pattern in patterns:
        assert any(shows(pattern, tag) for tag in logged), f"{pattern} shows nothing"
    for tag in logged:
        on = [pattern for pattern in patterns if shows(pattern, tag)]
        unseen = tag in ("step", "epoch") or (BOUNDS.match(tag) and not tag.startswith("val/accuracy"))
        assert len(on) == (0 if unseen else 1), f"{tag} is on {on}"


def test_charts_without_a_metric_are_left_out_and_bounds_are_drawn_where_there_are_both() -> None:
    known = {"accuracy", "val/accuracy", "val/accuracy/low", "val/accuracy/high", "val/accuracy_sampled"}
    learning = layout(known | {"val/pass@4", "val/pass@4/low", "val/hard/accuracy", "val/hard/reward/a"})["learning"]
    assert learning == {
        "accuracy in training": ["Multiline", ["^accuracy$"]],
        "accuracy on held-out prompts, greedy": ["Margin", ["val/accuracy", "val/accuracy/low", "val/accuracy/high"]],
        "accuracy on held-out prompts, sampled": ["Multiline", ["^val/accuracy_sampled$"]],
        "other measures on held-out prompts": ["Multiline", [PAGES["learning"]["other measures on held-out prompts"]]],
        "each reward on held-out prompts": ["Multiline", [PAGES["learning"]["each reward on held-out prompts"]]],
    }
    others = PAGES["learning"]["other measures on held-out prompts"]
    matched = [name for name in ("pass@4", "pass@4/low", "hard/accuracy", "hard/reward/a", "accuracy", "length_sampled")
               if re.match(others, f"val/{name}")]  # fmt: skip
    assert matched == ["pass@4", "hard/accuracy"]


def test_pages_survive_a_resume(tmp_path: Path) -> None:
    """Also what only a validation logs, before there is another one."""
    fit(tmp_path, Pages(), max_epochs=1)
    whole = pages_of(events_of(tmp_path))
    for path in tmp_path.glob("*tfevents*"):
        path.unlink()
    with pytest.warns(UserWarning, match="is gone"):
        fit(tmp_path, Pages(), checkpoint=tmp_path / "checkpoints" / "step=8.ckpt", max_epochs=2)
    first = events_of(tmp_path).Tensors("custom_scalars__config__")[0]
    assert "val/accuracy" in str(layout_pb2.Layout.FromString(first.tensor_proto.string_val[0]))
    assert pages_of(events_of(tmp_path)) == whole


class Last(Callback):
    """What the last rollout was trained on."""

    def on_train_end(self, trainer: Trainer, pl_module: object) -> None:
        self.prepared = pl_module.last


def test_histograms_hold_every_reward_and_the_advantages(tmp_path: Path) -> None:
    """Of 4 or 3 prompts with 4 completions; the sums are those of what was trained on."""
    last = Last()
    fit(tmp_path, Histograms(every_n_rollouts=2), last)
    events = events_of(tmp_path)
    names = ["share_of_digits", "brevity", "count_tokens"]
    assert sorted(events.Tags()["histograms"]) == sorted(["advantages", *(f"rewards/{name}" for name in names)])
    values = last.prepared.values
    for k, name in enumerate(names):
        found = events.Histograms(f"rewards/{name}")
        assert [event.step for event in found] == [8, 16, 24][: len(found)]
        assert found[-1].histogram_value.num == values[:, :, k].size
        assert found[-1].histogram_value.sum == pytest.approx(values[:, :, k].sum())
    assert events.Histograms("advantages")[-1].histogram_value.num == values.shape[0] * values.shape[1]
    with pytest.raises(ValueError, match=r"Histograms\.every_n_rollouts: 0 is refused"):
        Histograms(every_n_rollouts=0)


def test_groups_that_tell_something_are_shown() -> None:
    """Spreads 0, 1, 0.5, 0; means 1, 0.5, 0.25, 0.1: groups 1, 3 and 0."""
    rewards = np.array([[1.0, 1.0], [0.0, 1.0], [0.0, 0.5], [0.1, 0.1]])
    assert telling_groups(rewards) == [("Rewards furthest apart", 1), ("Lowest rewards", 3), ("Highest rewards", 0)]
    assert telling_groups(np.array([[np.nan, np.nan], [0.5, np.nan]])) == [("Rewards furthest apart", 1)]
    assert telling_groups(np.full((2, 2), np.nan)) == [("A group, none of which trains", 0)]


def test_samples_are_tables_with_rewards_and_advantages(tmp_path: Path) -> None:
    last = Last()
    fit(tmp_path, SampleLog(every_n_rollouts=1, completions=3, groups=2), last)
    trained = last.prepared
    (*_, event) = events_of(tmp_path).Tensors("samples/text_summary")
    text = event.tensor_proto.string_val[0].decode()
    assert text.count("\n| completion | tokens | share_of_digits | brevity | count_tokens | advantage | stop |\n") == 2
    (_, number), *_ = telling_groups(trained.rewards)
    order = np.argsort(-trained.advantages[number], kind="stable")
    table = group_as_markdown(trained, number, completions=3, characters=100)
    assert table in text
    rows = table.splitlines()[6:]
    assert len(rows) == 3, "the two best and the worst of four"
    for row, j in zip(rows, [order[0], order[1], order[3]], strict=True):
        completion = trained.rollout.groups[number].completions[j]
        a, b, c = trained.scores.rewards[number, j]
        cells = f"{len(completion.token_ids)} | {a:g} | {b:g} | {c:g} | {trained.advantages[number, j]:+.2f}"
        assert row.endswith(f"` | {cells} | {completion.stop_reason} |")


@pytest.mark.parametrize("setting", ["every_n_rollouts", "completions", "groups", "characters"])
def test_samples_need_a_number(setting: str) -> None:
    with pytest.raises(ValueError, match=rf"SampleLog\.{setting}: 0 is refused"):
        SampleLog(**{setting: 0})


# ----------------------------------------------------------------------------------------------------------- settings

CONFIG = {
    "seed_everything": 3,
    "run": "mine",
    "model": {"optimizer": {"lr": 1e-3, "betas": [0.9, 0.99]}, "engine": None, "policy": {"compile": False}},
    "data": {"source": {"class_path": "a.Dataset", "init_args": {"path": "rows.jsonl"}}},
    "trainer": {"max_epochs": 2, "callbacks": [{"class_path": "b.Callback"}], "enable_progress_bar": True},
    "checkpoint": {"save_last": True},
    "watchdogs": {"calm": 10},
}

SETTINGS = {
    "seed_everything": 3,
    "model.optimizer.lr": 1e-3,
    "model.optimizer.betas[0]": 0.9,
    "model.optimizer.betas[1]": 0.99,
    "model.policy.compile": False,
    "data.source.class_path": "a.Dataset",
    "data.source.init_args.path": "rows.jsonl",
    "trainer.max_epochs": 2,
}


def test_settings_are_flat_and_those_that_change_nothing_are_left_out() -> None:
    assert flat(CONFIG) == SETTINGS


def told(folder: Path) -> dict[str, object]:
    """What the tab reads: of each kind of message the first one in the run's files."""
    events, found = events_of(folder), {}
    for tag in events.Tags()["tensors"]:
        content = events.SummaryMetadata(tag).plugin_data.content
        if tag == metadata.EXPERIMENT_TAG:
            found["experiment"] = metadata.parse_experiment_plugin_data(content)
        elif tag == metadata.SESSION_START_INFO_TAG:
            start = metadata.parse_session_start_info_plugin_data(content)
            found["settings"] = {name: getattr(v, v.WhichOneof("kind")) for name, v in start.hparams.items()}
        elif tag == metadata.SESSION_END_INFO_TAG:
            found["status"] = metadata.parse_session_end_info_plugin_data(content).status
    return found


class Dies(Callback):
    def on_train_batch_end(self, trainer: Trainer, *rest: object) -> None:
        if trainer.global_step == 16:
            raise RuntimeError("lost")


def test_settings_and_scores_stand_in_the_runs_own_folder(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    fit(tmp_path, BeforeAfter(), HParams())
    found, events = told(tmp_path), events_of(tmp_path)
    assert found["settings"] == SETTINGS
    assert found["status"] == api_pb2.Status.Value("STATUS_SUCCESS")
    assert {info.name for info in found["experiment"].hparam_infos} == SETTINGS.keys()
    assert {info.name for info in found["experiment"].hparam_infos if info.differs} == SETTINGS.keys() & SHOWN_FIRST
    assert tuple(info.name.tag for info in found["experiment"].metric_infos) == SCORES
    assert set(SCORES) <= set(events.Tags()["scalars"])
    after = json.loads((tmp_path / "summary.json").read_text())["after"]
    for name, value in after.items():
        (event,) = events.Scalars(f"final/{name}")
        assert (event.step, event.value) == (24, pytest.approx(value))
    assert not [path for path in tmp_path.rglob("*tfevents*") if path.parent != tmp_path], "no runs beside the run"


def test_a_run_that_dies_has_settings_and_goes_on_without_doubling(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    with pytest.raises(RuntimeError, match="lost"):
        fit(tmp_path, BeforeAfter(), HParams(), Dies())
    assert told(tmp_path)["settings"] == SETTINGS
    assert told(tmp_path)["status"] == api_pb2.Status.Value("STATUS_FAILURE")
    assert "final/accuracy" not in events_of(tmp_path).Tags()["scalars"]
    fit(tmp_path, BeforeAfter(), HParams(), checkpoint=tmp_path / "checkpoints" / "step=8.ckpt")
    assert told(tmp_path)["settings"] == SETTINGS
    assert told(tmp_path)["status"] == api_pb2.Status.Value("STATUS_SUCCESS"), "the failure was cut off with the log"
    assert len(events_of(tmp_path).Scalars("final/accuracy")) == 1


def test_without_a_config_or_a_summary_there_is_nothing_to_tell(tmp_path: Path) -> None:
    fit(tmp_path, HParams(), max_epochs=1)
    assert told(tmp_path).keys() == {"status"}
