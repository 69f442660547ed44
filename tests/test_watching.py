"""What metrics and warnings say of several rewards: recomputed from what was recorded; silent without a cause."""

import re
from pathlib import Path

import numpy as np
import pytest
from lightning.pytorch import Callback, LightningModule, Trainer

from grpo_lightning.advantages import AdvantageConfig
from grpo_lightning.balance import WatchBalance
from grpo_lightning.combine import CombineConfig, combine, start_state
from grpo_lightning.filters import FilterConfig
from grpo_lightning.parts import Part
from grpo_lightning.scoring import RewardSpec
from tests.fakes import brevity, count_tokens, many_digits, share_of_digits, tiny_data, tiny_module, tiny_trainer


class Recorded(Callback):
    """What each rollout was trained on, and what was logged of it."""

    def __init__(self) -> None:
        self.steps: list[tuple[object, dict[str, float]]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        self.steps.append((pl_module.last, {k: float(v) for k, v in trainer.callback_metrics.items()}))


@pytest.mark.parametrize("silent", ["train", "refill"])
def test_what_is_shown_is_right(tmp_path: Path, silent: str) -> None:
    """By NumPy alone, from rewards and advantages. With refilled groups bounds and spreads are still of everything."""
    rewards = [
        RewardSpec(reward=share_of_digits, inline=True),
        RewardSpec(reward=brevity, weight=0.5, inline=True),
        RewardSpec(reward=count_tokens, role="constraint", at_most=3.0, scale=2.0, weight=0.3, inline=True),
        RewardSpec(reward=many_digits, weight=0.0, inline=True),
    ]
    filters = FilterConfig(silent=silent, reward="many_digits" if silent == "refill" else None)
    module = tiny_module(
        tmp_path, rewards=rewards, filters=filters, combine=CombineConfig(way="constrained", rate=0.2),
        advantage=AdvantageConfig(scale="none"),
    )  # fmt: skip
    recorded = Recorded()
    trainer = tiny_trainer(tmp_path, recorded, max_steps=8)
    trainer.fit(module, datamodule=tiny_data(tmp_path))
    multiplier = 0.3
    for trained, shown in recorded.steps:
        values, advantages = trained.scores.rewards, trained.advantages
        in_training = ~np.isnan(trained.rewards)
        multiplier += 0.2 * (values[:, :, 2].mean() - 3.0) / 2.0
        pulls = {"share_of_digits": 1.0, "brevity": 0.5, "count_tokens": -multiplier / 2.0, "many_digits": 0.0}
        sizes = {}
        for k, (name, weight) in enumerate(pulls.items()):
            r = values[:, :, k]
            assert shown[f"reward/{name}"] == pytest.approx(r.mean())
            assert shown[f"reward/{name}/std"] == pytest.approx(r.std())
            assert shown[f"reward/{name}/min"] == pytest.approx(r.min())
            assert shown[f"reward/{name}/max"] == pytest.approx(r.max())
            assert shown[f"reward/{name}/zero_signal"] == pytest.approx((np.ptp(r, axis=1) == 0).mean())
            assert shown[f"reward/{name}/applies"] == 1.0
            corr = np.corrcoef(r[in_training], advantages[in_training])[0, 1]
            assert shown[f"reward/{name}/followed"] == pytest.approx(corr)
            centred = r - r.mean(axis=1, keepdims=True)
            sizes[name] = np.abs(weight * centred[in_training]).sum()
        for name in ("share_of_digits", "brevity", "count_tokens"):
            assert shown[f"reward/{name}/share"] == pytest.approx(sizes[name] / sum(sizes.values()))
        assert shown["reward/brevity/weight"] == 0.5
        assert shown["reward/count_tokens/weight"] == pytest.approx(-multiplier)
        assert shown["reward/count_tokens/above_bound"] == pytest.approx(values[:, :, 2].mean() - 3.0)
        one, other = (values[:, :, k] - values[:, :, k].mean(axis=1, keepdims=True) for k in (0, 2))
        apart = ((one * other > 1e-12) & in_training).sum() / in_training.sum()
        assert shown["conflict/share_of_digits-count_tokens"] == pytest.approx(apart), "fewer tokens are better"


def watched(parts: dict[str, Part], rewards: np.ndarray, **settings: object) -> list[str]:
    """What a watch of two rollouts says of these rewards, seen three times."""
    config = CombineConfig(**settings)
    every = np.ones(rewards.shape[:2], dtype=int)
    combined = combine(rewards, every > 0, every, parts, config, AdvantageConfig(), start_state(parts))
    watch = WatchBalance(window=2)
    return [line for _ in range(3) for line in watch.noticed(config.way, parts, combined)]


def rare_and_common(rare: float = 0.05) -> np.ndarray:
    dice = np.random.default_rng(0)
    return np.stack([dice.random((64, 8)) < rare, dice.random((64, 8)) < 0.5], axis=2) * 1.0


def test_the_smaller_weight_that_dominates_is_named_once() -> None:
    (said,) = watched({"right": Part(), "form": Part(weight=0.2)}, rare_and_common())
    assert re.search(
        r"training follows 'form' \(weight 0\.2, .*\) more than 'right' \(weight 1, .*mo_grpo or gdpo", said
    )


def test_a_run_that_goes_on_remembers_what_it_saw_and_said() -> None:
    """One rollout before, one after: together the two of the window; and after that the pair is not named again."""
    parts, rewards = {"right": Part(), "form": Part(weight=0.2)}, rare_and_common()
    every = np.ones(rewards.shape[:2], dtype=int)
    combined = combine(rewards, every > 0, every, parts, CombineConfig(), AdvantageConfig(), start_state(parts))
    said, state = [], WatchBalance(window=2).state_dict()
    for _ in range(4):
        watch = WatchBalance(window=2)
        watch.load_state_dict(state)
        said.append(len(watch.noticed("sum", parts, combined)))
        state = watch.state_dict()
    assert said == [0, 1, 0, 0]


def test_a_large_weight_that_is_run_against_is_not_followed() -> None:
    """corr(a, A) is about -0.8, and its weight 1: following b, of weight 0.6 and ten times the spread, defeats it."""
    a = np.random.default_rng(0).random((32, 8))
    rewards = np.stack([a, 10 * (1 - a) + np.random.default_rng(1).random(a.shape)], axis=2)
    (said,) = watched({"a": Part(), "b": Part(weight=0.6)}, rewards)
    assert "more than 'a' (weight 1, -" in said


@pytest.mark.parametrize(
    ("parts", "settings"),
    [
        ({"right": Part(), "form": Part()}, {}),
        ({"right": Part(), "form": Part(weight=0.9)}, {}),
        ({"right": Part(), "form": Part(weight=0.2)}, {"way": "gdpo"}),
        ({"right": Part(), "form": Part(weight=0.2)}, {"way": "mo_grpo"}),
        ({"right": Part(), "form": Part(weight=0.2, gate={"right": 1.0})}, {}),
        ({"right": Part(), "form": Part(weight=0.2, tier=1)}, {"way": "lexicographic"}),
        (
            {"right": Part(), "form": Part(role="constraint", at_least=0.9, weight=0.5)},
            {"way": "constrained", "largest": 1.0},
        ),
        ({"right": Part(), "form": Part(weight=0.0)}, {}),
        ({"right": Part(), "form": Part(weight=0.2)}, {"way": "tchebycheff"}),
    ],
)
def test_no_false_alarm(parts: dict[str, Part], settings: dict[str, object]) -> None:
    assert watched(parts, rare_and_common(), **settings) == []


def test_a_window_has_a_length() -> None:
    with pytest.raises(ValueError, match=r"WatchBalance\.window: 0 is refused"):
        WatchBalance(window=0)
