"""One rollout ahead: by the older policy, while the newer is made; exact under resume; refused where it cannot be."""

import copy
import re
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from grpo_lightning.ahead import Background, background
from grpo_lightning.collection import Collected
from grpo_lightning.filters import FilterConfig
from grpo_lightning.generation import Builtin, Engine, Generator, Rollout, SamplingConfig
from grpo_lightning.mismatch import MismatchConfig
from grpo_lightning.module import GRPOModule
from grpo_lightning.objective import KLConfig, ObjectiveConfig
from grpo_lightning.optimization import UpdateConfig
from grpo_lightning.ranks import Ranks
from grpo_lightning.scoring import RewardError, RewardSpec
from grpo_lightning.seeding import rollout_seed
from grpo_lightning.types import Group, Prompt, Record
from tests.fakes import REWARDS, many_digits, share_of_digits, tiny_data, tiny_module, tiny_trainer

JUDGED = [*REWARDS, RewardSpec(reward=many_digits, weight=0.0, inline=True)]

AHEAD = UpdateConfig(num_iterations=2, minibatches=2, micro_batch_tokens=64, async_steps=1)


@dataclass(frozen=True)
class Copied(Engine):
    """A copy of the policy, as a server would have; `gate` holds each generation up until it is let go."""

    runs_apart: ClassVar[bool] = True
    gate: Callable[[], None] = field(default=lambda: None)

    def check(self, sampling: SamplingConfig) -> None:
        """Takes any."""

    def start(
        self, policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, sampling: SamplingConfig, ranks: Ranks
    ) -> "CopiedGenerator":
        own = copy.deepcopy(policy)
        return CopiedGenerator(self, policy, own, Builtin().start(own, tokenizer, sampling=sampling, ranks=ranks))


class CopiedGenerator:
    def __init__(self, engine: Copied, policy: PreTrainedModel, own: PreTrainedModel, inner: Generator) -> None:
        self.engine, self.policy, self.own, self.inner = engine, policy, own, inner

    def use_weights(self, version: int) -> None:
        self.own.load_state_dict(self.policy.state_dict())
        self.inner.use_weights(version)

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        group_size: int,
        sampling: SamplingConfig,
        seed: int,
        prefix: str = "",
        finished: Callable[[int, Group], None] | None = None,
    ) -> Rollout:
        if threading.current_thread() is not threading.main_thread():
            self.engine.gate()
        return self.inner.generate(
            prompts, group_size=group_size, sampling=sampling, seed=seed, prefix=prefix, finished=finished
        )


class Steps(Callback):
    """Of each step: the policy before it, what it trained on, and its metrics."""

    def __init__(self) -> None:
        self.before: list[dict[str, torch.Tensor]] = []
        self.rollouts: list[Rollout] = []
        self.metrics: list[dict[str, float]] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: GRPOModule, *args: object) -> None:
        self.before.append({name: value.clone() for name, value in pl_module.model.state_dict().items()})

    def on_train_batch_end(self, trainer: Trainer, pl_module: GRPOModule, *args: object) -> None:
        assert pl_module.last is not None
        self.rollouts.append(pl_module.last.rollout)
        self.metrics.append({name: float(value) for name, value in trainer.callback_metrics.items()})


def run(
    folder: Path, engine: Engine | None = None, *callbacks: Callback, resume: Path | None = None, **changes: object
) -> tuple[GRPOModule, Steps]:
    """Six steps of four optimizer steps, with a validation behind every second."""
    steps = Steps()
    module = tiny_module(folder, **({"engine": engine or Copied(), "update": AHEAD} | changes))
    trainer = tiny_trainer(folder, steps, *callbacks, val_check_interval=2)
    trainer.fit(module, datamodule=tiny_data(folder), ckpt_path=resume)
    return module, steps


def test_each_rollout_is_drawn_by_the_policy_of_before_the_last_update(tmp_path: Path) -> None:
    """The first two by the policy as loaded: nothing was updated when they were drawn."""
    module, steps = run(tmp_path)
    assert len(steps.rollouts) == 6
    for k, rollout in enumerate(steps.rollouts):
        module.model.load_state_dict(steps.before[max(0, k - 1)])
        prompts = [group.prompt for group in rollout.groups]
        again = Builtin().start(module.model, module.vocabulary, sampling=module.sampling, ranks=Ranks.one())
        expected = again.generate(prompts, group_size=4, sampling=module.sampling, seed=rollout_seed(module.seed, k))
        assert [[each.token_ids for each in group.completions] for group in rollout.groups] == [
            [each.token_ids for each in group.completions] for group in expected.groups
        ]
    assert steps.metrics[0]["sampler/kl"] < 1e-8
    assert all(each["sampler/kl"] > 1e-6 for each in steps.metrics[1:]), "an older policy is not seen"
    assert all(each["time/rollout"] == 0.0 for each in steps.metrics[1:])


def test_prompts_and_seeds_are_those_of_a_run_that_waits(tmp_path: Path) -> None:
    _, ahead = run(tmp_path / "a")
    waits = UpdateConfig(num_iterations=2, minibatches=2, micro_batch_tokens=64)
    _, behind = run(tmp_path / "b", update=waits)
    for one, other in zip(ahead.rollouts, behind.rollouts, strict=True):
        assert [group.prompt.uid for group in one.groups] == [group.prompt.uid for group in other.groups]
    assert [g.completions for g in ahead.rollouts[0].groups] == [g.completions for g in behind.rollouts[0].groups]


def test_drawing_and_training_overlap(tmp_path: Path) -> None:
    """Each rollout that is drawn ahead waits for the first optimizer step of the update beside it: if that came only
    after the rollout, both would wait.
    """
    stepped = threading.Event()

    def wait() -> None:
        assert stepped.wait(60), "nothing was updated while this was drawn"
        stepped.clear()

    class Tell(Callback):
        def on_before_optimizer_step(self, *args: object) -> None:
            stepped.set()

    run(tmp_path, Copied(gate=wait), Tell())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"mismatch": MismatchConfig(correction="truncate")},
        {"rewards": JUDGED, "filters": FilterConfig(silent="drop", reward="many_digits")},
    ],
)
def test_resume_from_every_checkpoint_is_exact(tmp_path: Path, changes: dict[str, object]) -> None:
    module, whole = run(tmp_path / "whole", **changes)
    end = module.model.state_dict()
    for rollouts in range(1, 6):
        folder = tmp_path / str(rollouts)
        checkpoint = tmp_path / "whole" / "checkpoints" / f"step={4 * rollouts}.ckpt"
        resumed, steps = run(folder, resume=checkpoint, **changes)
        for name, value in resumed.model.state_dict().items():
            assert torch.equal(value, end[name]), (rollouts, name)
        assert [each["reward"] for each in steps.metrics] == [each["reward"] for each in whole.metrics[rollouts:]]


def test_what_was_drawn_and_scored_by_other_settings_is_drawn_anew(tmp_path: Path) -> None:
    """A reward more, and larger groups, than the checkpoint's: its rollout has no place for them."""
    run(tmp_path)
    checkpoint = tmp_path / "checkpoints" / "step=8.ckpt"
    _, steps = run(tmp_path / "rewards", resume=checkpoint, rewards=JUDGED)
    assert len(steps.metrics) == 4
    assert all("reward/many_digits" in each for each in steps.metrics)
    _, steps = run(tmp_path / "groups", resume=checkpoint, group_size=6)
    assert [{len(group.completions) for group in rollout.groups} for rollout in steps.rollouts] == [{6}] * 4


def test_a_module_that_is_trained_again_forgets_what_it_drew_ahead(tmp_path: Path) -> None:
    module, first = run(tmp_path / "a", first_step_checks=False)  # the second time it is not the reference
    again = Steps()
    tiny_trainer(tmp_path / "b", again).fit(module, datamodule=tiny_data(tmp_path / "a"))
    uids = [[[group.prompt.uid for group in each.groups] for each in steps.rollouts] for steps in (first, again)]
    assert uids[0] == uids[1]


def test_who_is_interrupted_while_it_waits_leaves_nothing_running(tmp_path: Path) -> None:
    """A signal ends a join() early, and Python 3.11 then takes the thread for ended."""
    let_go, ended = threading.Event(), list[bool]()

    def call(running: Background) -> Collected:
        time.sleep(0.2)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        try:
            while not let_go.wait(0.05):
                running.checked()
            raise AssertionError
        finally:
            ended.append(True)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), background(call) as running:
            running.result()
        assert ended == [True]
    finally:
        let_go.set()
        signal.signal(signal.SIGINT, before)


def test_prompts_that_are_not_known_ahead_are_refused(tmp_path: Path) -> None:
    data = tiny_data(tmp_path)
    module = tiny_module(tmp_path, engine=Copied(), update=AHEAD)
    data.setup("fit")
    with pytest.raises(ValueError, match=r"update\.async_steps: 1 is refused: .* use a PromptDataModule"):
        tiny_trainer(tmp_path).fit(module, [data.prompts["train"][:4]], [data.prompts["validation"]])


def test_the_correction_takes_the_ratio_to_the_policy_and_weights_the_rest(tmp_path: Path) -> None:
    """On the first update of a rollout the ratio is 1 although an older policy drew; without correction it is not."""
    single = UpdateConfig(micro_batch_tokens=64, async_steps=1)
    _, corrected = run(tmp_path / "a", update=single, mismatch=MismatchConfig(correction="truncate"))
    _, plain = run(tmp_path / "b", update=single)
    assert all(each["update/ratio_max"] == pytest.approx(1, abs=1e-4) for each in corrected.metrics)
    assert all(each["update/ratio_max"] > 1.001 for each in plain.metrics[1:])


class RaisesAt:
    def __init__(self, call: int) -> None:
        self.left = call

    def __call__(self, records: Sequence[Record]) -> list[float]:
        self.left -= 1
        if self.left == 0:
            raise ValueError("no more")
        return share_of_digits(records)


def test_what_fails_ahead_ends_the_run_and_what_fails_in_the_update_ends_the_drawing(tmp_path: Path) -> None:
    failing = [RewardSpec(reward=RaisesAt(3), name="fails", inline=True, fail="raise")]
    with pytest.raises(RewardError, match="no more"):
        run(tmp_path / "a", rewards=failing)

    class Fails(Callback):
        def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, *args: object) -> None:
            if trainer.global_step == 6:
                raise RuntimeError("as asked")

    with pytest.raises(RuntimeError, match="as asked"):
        run(tmp_path / "b", None, Fails())
    assert not [each for each in threading.enumerate() if each.name == "next rollout"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"engine": Builtin()},
            "Builtin draws with the weights that are being updated; use an engine such as VLLMServer",
        ),
        ({"filters": FilterConfig(silent="refill")}, "filters.silent 'refill' and filters.retire_at choose prompts"),
        ({"filters": FilterConfig(retire_at=0.9)}, "filters.silent 'refill' and filters.retire_at choose prompts"),
        (
            {
                "objective": ObjectiveConfig(loss="reinforce", kl=KLConfig()),
                "update": UpdateConfig(async_steps=1),
            },
            "objective.loss 'reinforce' looks at no ratio",
        ),
    ],
)
def test_what_depends_on_the_step_at_hand_is_refused_before_the_model_loads(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    module = tiny_module(tmp_path, **({"engine": Copied(), "update": AHEAD} | changes))
    with pytest.raises(ValueError, match=re.escape(f"update.async_steps: 1 is refused: {message}")):
        tiny_trainer(tmp_path).fit(module, datamodule=tiny_data(tmp_path))
    assert module.policy is None
