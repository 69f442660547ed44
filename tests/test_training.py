"""The loop: repeatable, resumable from every checkpoint to the last bit, and it learns."""

import os
import re
import signal
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from grpo_lightning.balance import WatchBalance
from grpo_lightning.batching import minibatches
from grpo_lightning.combine import CombineConfig
from grpo_lightning.filters import FilterConfig
from grpo_lightning.generation import SamplingConfig
from grpo_lightning.interruption import Interruption
from grpo_lightning.mismatch import MismatchConfig
from grpo_lightning.module import GRPOModule
from grpo_lightning.objective import EntropyConfig, KLConfig, ObjectiveConfig
from grpo_lightning.optimization import OptimizerConfig, UpdateConfig, planned_steps
from grpo_lightning.parts import Schedule
from grpo_lightning.ranks import Ranks
from grpo_lightning.scoring import RewardError, RewardSpec
from tests.fakes import (
    REWARDS,
    RaisesAtCall,
    always,
    brevity,
    count_tokens,
    many_digits,
    nearly_constant,
    nothing_applies,
    share_of_digits,
    tiny_data,
    tiny_module,
    tiny_trainer,
)
from tests.tiny import sample, tiny_policy

STEPS = 2 * 3 * 4
"""Two epochs of three rollouts (11 prompts, 4 a step), each with 2 passes of 2 minibatches."""


TRAINER = {"max_epochs", "max_steps", "val_check_interval", "every_n_train_steps"}
"""Settings of `run` that are the trainer's; the rest are the module's."""


class Recorder(Callback):
    """Keeps every logged metric of each rollout, except those that are times."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *rest: object) -> None:
        timed = ("time/", "speed/", "tok/s", "val/")
        row = {k: float(v) for k, v in trainer.callback_metrics.items() if not k.startswith(timed)}
        self.rows.append({k: v for k, v in row.items() if not k.endswith(("/seconds", "/latency_p50", "/latency_p99"))})


def run(folder: Path, *, resume: Path | None = None, **changes: object) -> tuple[GRPOModule, Recorder, Trainer]:
    recorder = Recorder()
    trainer_changes = {k: changes.pop(k) for k in TRAINER & changes.keys()}
    trainer = tiny_trainer(folder, recorder, **trainer_changes)
    module = tiny_module(folder, **changes)
    trainer.fit(module, datamodule=tiny_data(folder), ckpt_path=resume)
    return module, recorder, trainer


def weights(module: GRPOModule) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in module.model.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_two_runs_are_equal_to_the_bit(tmp_path: Path) -> None:
    first, rows, trainer = run(tmp_path / "a")
    torch.manual_seed(99)  # no draw may come from the global stream
    second, again, _ = run(tmp_path / "b")
    assert trainer.global_step == STEPS
    assert len(rows.rows) == 6
    assert rows.rows == again.rows
    assert same(weights(first), weights(second))
    other, _, _ = run(tmp_path / "c", seed=1)
    assert not same(weights(first), weights(other))


@pytest.mark.parametrize("minibatches", [1, 2])
def test_resume_from_every_checkpoint_is_exact(tmp_path: Path, minibatches: int) -> None:
    """In both epochs, with several passes per rollout, a reference, a schedule and validation in between."""
    settings = {
        "update": UpdateConfig(num_iterations=2, minibatches=minibatches, micro_batch_tokens=64),
        "val_check_interval": 2,
    }
    whole, rows, _ = run(tmp_path, **settings)
    saved = sorted((tmp_path / "checkpoints").glob("step=*.ckpt"), key=lambda path: int(path.stem.split("=")[1]))
    assert len(saved) == 6
    for done, checkpoint in enumerate(saved[:-1], start=1):
        torch.manual_seed(done)
        resumed, rest, _ = run(tmp_path, resume=checkpoint, **settings)
        assert rest.rows == rows.rows[done:], checkpoint
        assert same(weights(whole), weights(resumed)), checkpoint


def test_resume_restores_everything_that_moves(tmp_path: Path) -> None:
    """Adapted coefficients, a moving reference, refilled and retired prompts: from any checkpoint, to the last bit."""
    settings = {
        "objective": ObjectiveConfig(
            kl=KLConfig(beta=0.05, target=0.001, sync_every=2, sync_mix=0.6),
            entropy=EntropyConfig(bonus=0.001, target=2.0, top_share=0.8),
        ),
        "filters": FilterConfig(silent="refill", reward="many_digits", retire_at=0.5),
        "rewards": [*REWARDS, RewardSpec(reward=many_digits, weight=0.0, inline=True)],
        "max_epochs": 3,
    }
    whole, rows, trainer = run(tmp_path, **settings)
    assert len({row["update/beta"] for row in rows.rows}) == len(rows.rows), "beta is adapted"
    assert len({row["update/entropy_bonus"] for row in rows.rows}) > 2
    assert whole.data.drawn > 0, "prompts are refilled"
    moved = dict(whole.reference.state_dict())
    saved = sorted((tmp_path / "checkpoints").glob("step=*.ckpt"), key=lambda path: int(path.stem.split("=")[1]))
    assert len(saved) == 9
    states = [torch.load(path, weights_only=True)["PromptDataModule"] for path in saved]
    assert len({tuple(state["retired"]) for state in states}) > 3, "prompts are retired, and come back"
    for done in (1, 2, 3, 5, 8):
        resumed, rest, again = run(tmp_path, resume=saved[done - 1], **settings)
        assert rest.rows == rows.rows[done:], done
        assert same(weights(whole), weights(resumed)), done
        assert same(moved, dict(resumed.reference.state_dict())), done
        assert (resumed.data.drawn, resumed.data.retired) == (whole.data.drawn, whole.data.retired)
    assert trainer.global_step == again.global_step


def test_resume_restores_the_combination(tmp_path: Path) -> None:
    """A multiplier, an adapted weight's state and a schedule's place."""
    tokens = RewardSpec(reward=count_tokens, role="constraint", at_most=3.0, weight=0.1, inline=True)
    fading = RewardSpec(reward=brevity, weight=Schedule(start=1.0, end=0.0, rollouts=5), inline=True)
    settings = {
        "combine": CombineConfig(way="constrained", rate=0.3, damping=0.5),
        "rewards": [REWARDS[0], fading, tokens],
    }
    whole, rows, _ = run(tmp_path, **settings)
    multipliers = [row["reward/count_tokens/weight"] for row in rows.rows]
    assert len(set(multipliers)) == len(multipliers)
    assert [row["reward/brevity/weight"] for row in rows.rows[:5]] == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2])
    assert all(-1 <= row["reward/share_of_digits/followed"] <= 1 for row in rows.rows)
    assert rows.rows[0]["reward/count_tokens/above_bound"] == pytest.approx(rows.rows[0]["reward/count_tokens"] - 3.0)
    saved = sorted((tmp_path / "checkpoints").glob("step=*.ckpt"), key=lambda path: int(path.stem.split("=")[1]))
    for done in (1, 4):
        resumed, rest, _ = run(tmp_path, resume=saved[done - 1], **settings)
        assert rest.rows == rows.rows[done:]
        assert same(weights(whole), weights(resumed))
        assert resumed.combine_state.multipliers == whole.combine_state.multipliers


def test_following_the_smaller_weight_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The larger weight hardly varies, so that the sum follows the other one."""
    flat = RewardSpec(reward=nearly_constant, weight=1.0, inline=True)
    loud = RewardSpec(reward=share_of_digits, weight=0.5, inline=True)
    module = tiny_module(tmp_path, rewards=[flat, loud])
    tiny_trainer(tmp_path, WatchBalance(window=2), max_steps=8).fit(module, datamodule=tiny_data(tmp_path))
    assert re.search(r"training follows 'share_of_digits' \(weight 0\.5, .*'nearly_constant'", caplog.text)


def test_a_moving_reference_ends_where_the_policy_is(tmp_path: Path) -> None:
    """With mix 1 after every rollout, the KL at the start of each rollout is 0."""
    kl = KLConfig(beta=0.05, sync_every=1)
    module, recorder, _ = run(tmp_path, objective=ObjectiveConfig(kl=kl), update=UpdateConfig())
    assert same(weights(module), dict(module.reference.state_dict()))
    assert all(row["update/kl_to_reference"] == pytest.approx(0.0, abs=1e-7) for row in recorder.rows)


def test_a_reference_that_is_not_the_policys_start_is_noticed(tmp_path: Path) -> None:
    class Spoil(Callback):
        def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            next(pl_module.reference.parameters()).data.add_(0.1)

    module = tiny_module(tmp_path)
    with pytest.raises(RuntimeError, match=r"policy and reference differ by .* so the KL is not 0"):
        tiny_trainer(tmp_path, Spoil()).fit(module, datamodule=tiny_data(tmp_path))


def test_an_engine_with_other_weights_is_noticed(tmp_path: Path) -> None:
    class Stale(Callback):
        def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            pl_module.generator.policy = tiny_policy(seed=1)

    for settings, outcome in (
        ({}, pytest.raises(RuntimeError, match=r"policy and sampler differ by .* so the ratio is not 1")),
        ({"first_step_checks": False}, nullcontext()),
        ({"mismatch": MismatchConfig(correction="truncate")}, nullcontext()),
    ):
        with outcome:
            module = tiny_module(tmp_path, **settings)
            tiny_trainer(tmp_path, Stale(), max_steps=1).fit(module, datamodule=tiny_data(tmp_path))


def test_truncated_sampling_is_measured(tmp_path: Path) -> None:
    """The gap is E[-log mass kept], so 0 without truncation and positive with it."""
    _, plain, _ = run(tmp_path / "a", max_steps=1)
    _, cut, _ = run(tmp_path / "b", max_steps=1, sampling=SamplingConfig(max_tokens=8, top_k=3))
    assert plain.rows[0]["sampler/truncation_gap"] == 0.0
    assert 0.05 < cut.rows[0]["sampler/truncation_gap"] < 3.0


def test_all_prompts_solved_come_back(tmp_path: Path) -> None:
    _, recorder, _ = run(tmp_path, filters=FilterConfig(retire_at=1.0, reward="always"), rewards=[
        *REWARDS, RewardSpec(reward=always, weight=0.0, inline=True)
    ])  # fmt: skip
    assert len(recorder.rows) == 6


def test_resume_at_the_end_of_each_epoch_is_exact(tmp_path: Path) -> None:
    """Three epochs in one run, and in three runs that each go on from the last one's end."""
    constant = {"optimizer": OptimizerConfig(lr=1e-2)}  # a schedule would depend on the planned length
    whole, rows, _ = run(tmp_path / "whole", max_epochs=3, **constant)
    last, seen = None, []
    for epochs in (1, 2, 3):
        module, recorder, trainer = run(tmp_path / "parts", resume=last, max_epochs=epochs, **constant)
        seen += recorder.rows
        last = tmp_path / "parts" / "checkpoints" / f"step={trainer.global_step}.ckpt"
    assert seen == rows.rows
    assert same(weights(whole), weights(module))


@pytest.mark.parametrize(("call", "steps"), [(2, 4), (4, 12), (7, 16)])
def test_what_was_trained_before_a_failure_is_saved_and_goes_on_exactly(tmp_path: Path, call: int, steps: int) -> None:
    """A reward under `fail: raise` raises in the second and the fifth rollout, and in the first validation.

    Each rollout makes 4 steps; calls 4 and 5 are the validation behind the third. No checkpoint is due before the end.
    """
    whole, _, _ = run(tmp_path / "whole")
    rewards = [*REWARDS, RewardSpec(reward=RaisesAtCall(call), weight=0.0, fail="raise", inline=True)]
    module = tiny_module(tmp_path, rewards=rewards)
    with pytest.raises(RewardError, match="no more"):
        tiny_trainer(tmp_path, every_n_train_steps=1000).fit(module, datamodule=tiny_data(tmp_path))
    saved = tmp_path / "checkpoints" / f"step={steps}.ckpt"
    resumed, _, _ = run(tmp_path, resume=saved, every_n_train_steps=1000)
    assert same(weights(whole), weights(resumed))


def test_max_steps_ends_inside_a_rollout(tmp_path: Path) -> None:
    _, recorder, trainer = run(tmp_path, max_steps=6)
    assert trainer.global_step == 6
    assert len(recorder.rows) == 2


def test_micro_batch_size_and_layout_change_nothing_but_rounding(tmp_path: Path) -> None:
    found = []
    for number, update in enumerate(
        [
            UpdateConfig(minibatches=2, micro_batch_tokens=10_000),
            UpdateConfig(minibatches=2, micro_batch_tokens=20),
            UpdateConfig(minibatches=2, micro_batch_tokens=100, layout="packed"),
        ]
    ):
        # Plain SGD would show the gradient itself; Adam's first steps show its sign, so compare before they differ.
        module, _, _ = run(tmp_path / str(number), update=update, max_steps=2, optimizer=OptimizerConfig(lr=1e-4))
        found.append(torch.cat([value.flatten() for value in weights(module).values()]))
    for other in found[1:]:
        assert float((other - found[0]).abs().max()) < 1e-5


def test_the_first_update_is_on_policy(tmp_path: Path) -> None:
    """Before any step the ratio is one and the policy is its reference: nothing clips and both KLs are zero."""
    _, recorder, _ = run(tmp_path, update=UpdateConfig(), max_steps=1)
    row = recorder.rows[0]
    assert row["update/ratio_max"] == pytest.approx(1.0, abs=1e-4)
    assert row["update/ess"] == pytest.approx(1.0, abs=1e-7)
    assert row["update/kl_to_sampler"] == pytest.approx(0.0, abs=1e-7)
    assert row["update/kl_to_reference"] == pytest.approx(0.0, abs=1e-7)
    assert row["update/clipped_low"] == row["update/clipped_high"] == 0.0


def test_without_kl_no_reference_is_loaded_and_none_is_ever_saved(tmp_path: Path) -> None:
    module, _, trainer = run(tmp_path / "a", objective=ObjectiveConfig(), max_steps=1)
    assert module.reference is None
    module, _, trainer = run(tmp_path / "b", max_steps=1)
    assert module.reference is not None
    names = set(torch.load(tmp_path / "b" / "checkpoints" / "step=1.ckpt", weights_only=True)["state_dict"])
    assert names == {f"policy.{name}" for name in module.model.state_dict()}
    counted = sum(p.numel() for group in trainer.optimizers[0].param_groups for p in group["params"])
    assert counted == sum(p.numel() for p in module.model.parameters())


def test_the_reference_is_the_policys_start_also_after_resume(tmp_path: Path) -> None:
    start = weights(run(tmp_path / "none", max_steps=0, objective=ObjectiveConfig())[0])
    run(tmp_path, max_epochs=1)
    checkpoint = max((tmp_path / "checkpoints").glob("*.ckpt"))
    module, _, _ = run(tmp_path, resume=checkpoint)
    assert module.reference is not None
    assert same(start, dict(module.reference.state_dict()))
    assert not same(start, weights(module))


def test_reward_goes_up(tmp_path: Path) -> None:
    _, recorder, _ = run(
        tmp_path, max_epochs=10, objective=ObjectiveConfig(), optimizer=OptimizerConfig(lr=5e-3), update=UpdateConfig()
    )
    rewards = [row["reward/share_of_digits"] for row in recorder.rows]
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 0.2


def test_without_any_reward_nothing_is_learnt(tmp_path: Path) -> None:
    """All NaN: the advantages are zero, and so is every gradient; without decay and KL the weights stay."""
    start = weights(run(tmp_path, max_steps=0, objective=ObjectiveConfig())[0])
    spec = RewardSpec(reward=nothing_applies, inline=True)
    module, _, _ = run(
        tmp_path, rewards=[spec], objective=ObjectiveConfig(), optimizer=OptimizerConfig(lr=1e-2), max_steps=2
    )
    assert same(start, weights(module))


def test_a_gradient_that_is_not_finite_stops_before_the_step(tmp_path: Path) -> None:
    class Poison(Callback):
        def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *rest: object) -> None:
            parameter = next(pl_module.parameters())
            parameter.register_hook(lambda gradient: gradient * float("nan"))

    module = tiny_module(tmp_path, update=UpdateConfig(max_bad_steps=0))
    trainer = tiny_trainer(tmp_path, Poison())
    with pytest.raises(RuntimeError, match=r"gradient norm is nan at optimizer step 0: the weights are unharmed"):
        trainer.fit(module, datamodule=tiny_data(tmp_path))
    assert all(bool(torch.isfinite(p).all()) for p in module.parameters())


def test_clipping_bounds_the_gradient(tmp_path: Path) -> None:
    norms: list[float] = []

    class Watch(Callback):
        def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            trainer.optimizers[0].register_step_post_hook(lambda *_: norms.append(self.norm(pl_module)))

        def norm(self, pl_module: LightningModule) -> float:
            return float(torch.nn.utils.get_total_norm([p.grad for p in pl_module.parameters()]))

    module = tiny_module(tmp_path, optimizer=OptimizerConfig(lr=1e-4, max_grad_norm=1e-3))
    recorder = Recorder()
    tiny_trainer(tmp_path, Watch(), recorder, max_steps=4).fit(module, datamodule=tiny_data(tmp_path))
    assert norms
    assert max(norms) < 1.001e-3
    assert recorder.rows[0]["update/grad_norm"] > 1e-2, "the norm before clipping is what is logged"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"group_size": 1}, "group_size: 1 has no baseline; use at least 2 completions per prompt"),
        (
            {"update": lambda: UpdateConfig(num_iterations=0)},
            r"update\.num_iterations: 0 is refused; it must be at least 1",
        ),
        (
            {"rewards": [RewardSpec(reward=nothing_applies, name="a")], "evaluation": "b"},
            "no reward is named 'b'; the names are a",
        ),
    ],
)
def test_contradictions_are_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    from grpo_lightning.evaluation import EvaluationConfig

    if "evaluation" in changes:
        changes = changes | {"evaluation": EvaluationConfig(accuracy="b")}
    with pytest.raises(ValueError, match=message):
        tiny_module(tmp_path, **{k: v() if callable(v) else v for k, v in changes.items()})


def test_more_minibatches_than_prompts_are_refused_before_the_model_loads(tmp_path: Path) -> None:
    module = tiny_module(tmp_path, update=UpdateConfig(minibatches=5))
    with pytest.raises(ValueError, match=r"update\.minibatches: 5 is more than the 4 prompts of a step"):
        tiny_trainer(tmp_path).fit(module, datamodule=tiny_data(tmp_path))
    assert module.policy is None


def test_metrics_cover_what_the_readme_promises(tmp_path: Path) -> None:
    _, recorder, _ = run(tmp_path, max_steps=1)
    promised = {
        "reward", "accuracy", "reward/share_of_digits", "reward/brevity", "advantage/abs", "groups/zero_signal",
        "update/kl_to_reference", "update/kl_to_sampler", "update/entropy", "sampler/entropy",
        "update/ratio_max", "update/clipped_low",
        "update/clipped_high", "update/grad_norm", "update/lr", "update/loss", "completion/tokens",
        "completion/tokens_max", "stop/eos", "stop/stop", "stop/length", "groups/mixed", "groups/all_right",
        "groups/all_wrong", "dropped/mixed", "dropped/all_right", "dropped/all_wrong", "rollout/rounds",
        "rollout/groups", "update/entropy_bonus", "update/ratio", "update/ess", "update/beta", "masked/no_logprob",
        "sampler/truncation_gap",
    }  # fmt: skip
    assert promised <= set(recorder.rows[0])
    row = recorder.rows[0]
    assert row["stop/eos"] + row["stop/stop"] + row["stop/length"] == pytest.approx(1.0)
    expected = row["reward/share_of_digits"] + 0.1 * row["reward/brevity"]
    assert row["reward"] == pytest.approx(expected, rel=1e-6)


def test_rewards_in_use(tmp_path: Path) -> None:
    """The same rewards by workers and inline give the same run."""
    inline, rows, _ = run(tmp_path / "a", max_steps=2)
    specs = [RewardSpec(reward=spec.reward, weight=spec.weight) for spec in REWARDS]
    workers, again, _ = run(tmp_path / "b", max_steps=2, rewards=specs, reward_workers=1)
    assert rows.rows == again.rows
    assert same(weights(inline), weights(workers))


@pytest.mark.parametrize("every", [5, 1000])
def test_the_last_checkpoint_is_the_end_of_the_run(tmp_path: Path, every: int) -> None:
    """24 steps are no multiple of 5, nor of 1000."""
    module, _, trainer = run(tmp_path, every_n_train_steps=every)
    saved = torch.load(tmp_path / "checkpoints" / f"step={STEPS}.ckpt", weights_only=True)
    assert saved["global_step"] == trainer.global_step == STEPS
    assert same(weights(module), {k.removeprefix("policy."): v for k, v in saved["state_dict"].items()})
    longer, _, _ = run(
        tmp_path, resume=tmp_path / "checkpoints" / f"step={STEPS}.ckpt", max_epochs=3, every_n_train_steps=every
    )
    assert longer.trainer.global_step == STEPS * 3 // 2


@pytest.mark.parametrize(
    ("ends", "steps"), [({"max_epochs": 1, "max_steps": 100}, 12), ({"max_epochs": 9, "max_steps": 8}, 8), ({}, STEPS)]
)
def test_the_schedule_ends_with_the_run(tmp_path: Path, ends: dict[str, int], steps: int) -> None:
    optimizer = OptimizerConfig(lr=1e-2, schedule="linear", final_lr=0.25)
    module, recorder, trainer = run(tmp_path, optimizer=optimizer, **ends)
    assert trainer.global_step == planned_steps(trainer, module.update) == steps
    lr = [1e-2 * (1 - 0.75 * step / (steps - 1)) for step in range(steps)]
    means = [sum(lr[i : i + 4]) / 4 for i in range(0, steps, 4)]
    assert [row["update/lr"] for row in recorder.rows] == pytest.approx(means, rel=1e-5)


def test_the_settings_win_over_a_resumed_optimizers(tmp_path: Path) -> None:
    run(tmp_path, max_epochs=1)
    checkpoint = tmp_path / "checkpoints" / "step=12.ckpt"
    other = OptimizerConfig(lr=3e-4, betas=(0.5, 0.6), weight_decay=0.7)
    _, recorder, trainer = run(tmp_path, resume=checkpoint, optimizer=other)
    assert [row["update/lr"] for row in recorder.rows] == pytest.approx([3e-4] * 3)
    decays = {group["weight_decay"] for group in trainer.optimizers[0].param_groups}
    assert decays == {0.7, 0.0}
    assert all(group["betas"] == (0.5, 0.6) for group in trainer.optimizers[0].param_groups)


@pytest.mark.parametrize("precision", ["bf16-true", "16-mixed"])
def test_other_precisions_are_refused_before_the_model_loads(tmp_path: Path, precision: str) -> None:
    module = tiny_module(tmp_path)
    trainer = tiny_trainer(tmp_path)
    trainer.strategy.precision_plugin.precision = precision
    with pytest.raises(
        ValueError, match=rf"trainer\.precision: '{precision}' is refused; use one of 32-true, bf16-mixed"
    ):
        trainer.fit(module, datamodule=tiny_data(tmp_path))
    assert module.policy is None


def test_bf16_mixed_is_on_policy_at_first_and_trains(tmp_path: Path) -> None:
    start = weights(run(tmp_path / "start", max_steps=0)[0])
    recorder = Recorder()
    module = tiny_module(tmp_path, update=UpdateConfig(num_iterations=1))
    tiny_trainer(tmp_path, recorder, precision="bf16-mixed", max_steps=1).fit(module, datamodule=tiny_data(tmp_path))
    assert recorder.rows[0]["update/ratio_max"] == pytest.approx(1.0, abs=0.1)
    assert not same(start, weights(module))
    assert all(value.dtype == torch.float32 for value in weights(module).values())


def test_passes_see_the_groups_in_orders_of_their_own() -> None:
    samples = [sample((group,), (1, 1), group=group, number=j) for group in range(12) for j in range(2)]
    orders = []
    for seed in range(3):
        parts = minibatches(samples, 5, seed=seed, ranks=Ranks.one())
        # 12 groups of 2 in 5 shares: 3, 3, 2, 2, 2
        assert sorted(len(part) for part in parts) == [4, 4, 4, 6, 6]
        orders.append([s.group for part in parts for s in part])
    assert all(sorted(order[::2]) == list(range(12)) for order in orders)
    assert all(order[::2] == order[1::2] for order in orders), "no group is split"
    assert orders[0] != orders[1] != orders[2]


@pytest.mark.parametrize("size", [2, 3, 4])
def test_minibatches_are_the_same_for_any_number_of_ranks(size: int) -> None:
    """And each rank has nearly as much of each share: 12 groups, all but number 7, in 3 shares of 4, 4 and 3."""

    class Share(Ranks):
        def gather(self, rows: np.ndarray) -> list[np.ndarray]:
            assert sorted(rows) == [n for n in range(self.rank, 12, size) if n != 7]
            return [np.array([n for n in range(rank, 12, size) if n != 7]) for rank in range(size)]

    def shares(ranks: Ranks) -> list[list[int]]:
        own = [sample((0,), (1,), group=n // ranks.size) for n in range(ranks.rank, 12, ranks.size) if n != 7]
        parts = minibatches(own, 3, seed=5, ranks=ranks)
        return [[s.group * ranks.size + ranks.rank for s in part] for part in parts]

    whole = shares(Ranks.one())
    everyone = [shares(Share(size=size, rank=rank, device=torch.device("cpu"))) for rank in range(size)]
    for k, part in enumerate(whole):
        assert sorted(part) == sorted(number for own in everyone for number in own[k])
        counts = [len(own[k]) for own in everyone]
        assert max(counts) - min(counts) <= 2


def test_a_signal_in_validation_leaves_at_once_and_resume_is_exact(tmp_path: Path) -> None:
    """After the third rollout validation begins; nothing else is generated, and the run goes on from there."""

    class Sender(Callback):
        def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    interruption, recorder = Interruption(), Recorder()
    trainer = tiny_trainer(tmp_path, Sender(), interruption, recorder, every_n_train_steps=1000)
    with pytest.raises(SystemExit):
        trainer.fit(tiny_module(tmp_path), datamodule=tiny_data(tmp_path))
    assert interruption.received == signal.SIGTERM
    assert len(recorder.rows) == 3
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers
    whole, _, _ = run(tmp_path / "whole")
    resumed, _, _ = run(tmp_path, resume=tmp_path / "checkpoints" / "step=12.ckpt", every_n_train_steps=1000)
    assert same(weights(whole), weights(resumed))
