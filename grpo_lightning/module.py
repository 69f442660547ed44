"""GRPO as a LightningModule: `training_step` is the algorithm, one rollout and all of its updates.

Optimisation is manual, because one batch of prompts makes `num_iterations` x `minibatches` optimizer steps. Holds no
mathematics: see `losses`, `advantages`, `combine`.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.loops.utilities import _block_parallel_sync_behavior
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from grpo_lightning.adapters import check_adapter, without_adapter
from grpo_lightning.advantages import AdvantageConfig
from grpo_lightning.ahead import Plain, background, packed, unpacked, without_clock
from grpo_lightning.bad_steps import Guard, Step
from grpo_lightning.batching import Sample, by_sequence, even_micro_batches, minibatches, totals_of
from grpo_lightning.checks import check_ahead, check_first_step, check_fit, check_precision
from grpo_lightning.collection import Collected, collect
from grpo_lightning.combine import CombineConfig, judged, restored, saved, start_state
from grpo_lightning.evaluation import EvaluationConfig
from grpo_lightning.filters import FilterConfig, pass_rates
from grpo_lightning.generation import Engine, Rollout, SamplingConfig
from grpo_lightning.logprobs import TokenLogprobs, completion_logprobs, sample_logprobs
from grpo_lightning.metrics import Tally, tally_step, tally_times, tally_update
from grpo_lightning.mismatch import MismatchConfig
from grpo_lightning.objective import ObjectiveConfig, adapted, objective_loss, start_coefficients, with_gradient
from grpo_lightning.optimization import OptimizerConfig, UpdateConfig, adamw, lr_factor, planned_steps, settings_win
from grpo_lightning.policy import PolicyConfig, move_towards
from grpo_lightning.policy_module import PolicyModule
from grpo_lightning.preparation import Forward, Prepared, Recipe, prepare
from grpo_lightning.prompts import PromptDataModule
from grpo_lightning.ranks import Ranks
from grpo_lightning.scoring import Executor, RewardSpec, Scorer
from grpo_lightning.seeding import rollout_seed, seed_of
from grpo_lightning.sharding import (
    check_strategy,
    clip_gradients,
    full_state,
    load_full_state,
    shards_of,
)
from grpo_lightning.types import Group, Prompt, Scores
from grpo_lightning.waiting import BOARD

SHOWN = {"rew": "reward", "acc": "accuracy", "tok/s": "speed/tokens_per_second"}
"""What the progress bar shows, by short names that fit on its line."""


class GRPOModule(PolicyModule):
    """Holds the policy and its frozen reference, and trains the policy by group-relative rewards.

    Args:
        policy: Which model is trained.
        rewards: The verifiers and their weights.
        group_size: Completions per prompt; the group is the baseline, so at least 2.
        sampling: How training completions are drawn.
        engine: What draws completions; null: the policy itself, in a decode loop of this project.
        filters: Which completions and groups train.
        mismatch: What is done about the difference between the sampling engine and the policy.
        combine: How several rewards become one.
        advantage: How a group's rewards become advantages.
        objective: What is minimised.
        update: How one rollout becomes optimizer steps.
        optimizer: AdamW and its schedule.
        evaluation: How held-out prompts are answered.
        first_step_checks: Refuse to train where, before the first update, the ratio is not 1 or the KL not 0.
        reward_workers: Processes that score; null: one per core, of this machine or of the Ray cluster.
        executor: Where rewards that are not inline run: processes of this machine, or actors of a Ray cluster (that of
            RAY_ADDRESS, else one started here).
        seed: Of every random draw; the command line sets it from seed_everything.

    """

    def __init__(
        self,
        policy: PolicyConfig,
        rewards: list[RewardSpec],
        group_size: int = 8,
        sampling: SamplingConfig = SamplingConfig(),
        engine: Engine | None = None,
        filters: FilterConfig = FilterConfig(),
        mismatch: MismatchConfig = MismatchConfig(),
        combine: CombineConfig = CombineConfig(),
        advantage: AdvantageConfig = AdvantageConfig(),
        objective: ObjectiveConfig = ObjectiveConfig(),
        update: UpdateConfig = UpdateConfig(),
        optimizer: OptimizerConfig = OptimizerConfig(),
        evaluation: EvaluationConfig = EvaluationConfig(),
        first_step_checks: bool = True,
        reward_workers: int | None = None,
        executor: Executor = "processes",
        seed: int = 0,
    ) -> None:
        if group_size < 2:
            raise ValueError(f"group_size: {group_size} has no baseline; use at least 2 completions per prompt")
        if not rewards:
            raise ValueError("rewards: none are given; at least one is needed")
        if sampling.temperature == 0:
            raise ValueError("sampling.temperature: 0 makes a group of equal completions; use e.g. 1.0")
        scorer = Scorer(rewards, workers=reward_workers, executor=executor)
        super().__init__(
            policy, sampling, evaluation, scorer, update, engine, reference=objective.kl.beta > 0, seed=seed
        )
        self.automatic_optimization = False
        self.group_size, self.optimizer_config, self.first_step_checks = group_size, optimizer, first_step_checks
        self.recipe = Recipe(
            advantage=advantage, objective=objective, filters=filters, mismatch=mismatch, combine=combine
        )
        self.recipe.check(group_size, single_update=update.num_iterations * update.minibatches == 1)
        self.parts = self.recipe.all_parts(dict(zip(scorer.names, rewards, strict=True)))
        self.accuracy = evaluation.accuracy_name(scorer.names)
        self.judge = filters.judge(scorer.names, self.accuracy)
        combine.check(self.parts, advantage, judge=None if filters.silent == "train" else self.judge)
        self.coefficients = start_coefficients(objective)
        self.combine_state = start_state(self.parts)
        self.tally = Tally()
        self.guard = Guard(update.max_bad_steps, policy=policy, objective=objective, sampling=sampling, seed=seed)
        self.last: Prepared | None = None
        self.following: Collected | None = None
        """Collected ahead; kept through the step that trains on it, for a checkpoint of before its first update."""
        self.restored: list[Plain] | None = None
        """That of every rank, as a checkpoint held it."""
        self.looks: dict[tuple[int, int], torch.Tensor] = {}
        """Of each sequence of the last step, by group and sample, its log-probs when an update last looked at it."""
        self.metrics: dict[str, float] = {}

    # ------------------------------------------------------------------------------------------------- the algorithm

    def training_step(self, prompts: list[Prompt], batch_idx: int) -> None:
        """One iteration: prompts -> rollout -> rewards -> advantages -> loss -> step."""
        started = time.perf_counter()
        found = self.collected_ahead(prompts) or self.collect(prompts, self.iteration)
        BOARD.begin("update")
        batch = self.prepare(found)
        updating = time.perf_counter()
        self.looks = {}
        with self.collecting_ahead():
            for iteration in range(self.update.num_iterations):
                key = seed_of("minibatches", self.seed, self.iteration, iteration)
                for minibatch in minibatches(batch.samples, self.update.minibatches, seed=key, ranks=self.ranks):
                    if self.finished:
                        break
                    self.optimizer_step_on(minibatch)
        self.last, self.combine_state = batch, batch.combined.state
        self.log_step(found, batch, started=started, updating=updating)
        self.move_on(found)

    def collect(self, prompts: Sequence[Prompt], iteration: int) -> Collected:
        """G completions of each prompt by the current policy, scored; in rounds, if silent groups are refilled.

        A group is scored while others are still generated.
        """
        self.generator.use_weights(self.trainer.global_step)
        return self.collect_by_engine(prompts, iteration, ranks=self.ranks)

    def collect_by_engine(
        self, prompts: Sequence[Prompt], iteration: int, *, ranks: Ranks, noticed: Callable[[], None] = lambda: None
    ) -> Collected:
        """By the weights that the engine has; `noticed` is called for each finished group."""
        seed = rollout_seed(self.seed, iteration)

        def generate(prompts: Sequence[Prompt], take: Callable[[int, Group], None]) -> Rollout:
            def finished(place: int, group: Group) -> None:
                noticed()
                take(place, group)

            return self.generator.generate(
                prompts, group_size=self.group_size, sampling=self.sampling, seed=seed, finished=finished
            )

        return collect(
            prompts,
            config=self.recipe.filters,
            judge=partial(self.judged, iteration=iteration),
            generate=generate,
            stream=self.scorer.stream,
            draw=lambda count: self.data.draw(count),
            ranks=ranks,
        )

    def judged(self, scores: Scores, iteration: int) -> np.ndarray:
        """By what groups are silent or solved: the reward that `filters` names, where it applies."""
        weights = np.array([spec.weight_at(iteration) for spec in self.scorer.specs])
        return judged(scores.rewards, scores.names.index(self.judge), weights)

    def collected_ahead(self, prompts: Sequence[Prompt]) -> Collected | None:
        """This step's rollout, if it was collected during the step before."""
        found = self.following
        if found is None and self.restored is not None and len(self.restored) == self.ranks.size:
            judge, drop = partial(self.judged, iteration=self.iteration), self.recipe.filters.silent == "drop"
            found = unpacked(self.restored[self.ranks.rank], prompts, self.terms, judge, drop=drop)
            if self.ranks.max(torch.tensor(float(found is None))):  # all ranks, or none: to collect takes all
                return None
        return found

    @contextmanager
    def collecting_ahead(self) -> Iterator[None]:
        """With `update.async_steps` collects the next step's rollout meanwhile, by the policy as it is now.

        No collectives in that thread: they would meet those of the update in another order on every rank.
        """
        if not self.update.async_steps:
            yield
            return
        self.generator.use_weights(self.trainer.global_step)
        following = self.iteration + 1
        prompts = self.data.begin_step(following)
        call = partial(self.collect_by_engine, prompts, following, ranks=Ranks.one())
        with background(lambda running: call(noticed=running.checked)) as running:
            yield
            updated = time.perf_counter()
            BOARD.begin("rollout")
            self.following, self.restored = without_clock(running.result()), None
        self.tally.add("time/wait", time.perf_counter() - updated)

    def prepare(self, found: Collected) -> Prepared:
        """The samples to train on, with their advantages."""
        forward = partial(
            sample_logprobs,
            temperature=self.sampling.temperature,
            max_tokens=self.update.tokens_on(self.device.type),
            layout=self.update.layout,
        )
        return prepare(
            found,
            self.recipe,
            parts=self.parts,
            state=self.combine_state,
            max_tokens=self.sampling.max_tokens,
            beta=self.coefficients.beta,
            policy=partial(forward, self.model),
            reference=self.reference_forward(forward),
            ranks=self.ranks,
        )

    def reference_forward(self, forward: Callable[..., list[TokenLogprobs]]) -> Forward | None:
        """`forward` of the reference, which of an adapted policy is the policy without its adapter; None without KL."""
        if self.reference is not None:
            return partial(forward, self.reference)
        if self.recipe.objective.kl.beta > 0:
            return without_adapter(self.model)(partial(forward, self.model))
        return None

    def optimizer_step_on(self, samples: Sequence[Sample]) -> None:
        """One optimizer step: its denominators count all micro-batches and ranks, so how it is cut changes nothing."""
        optimizer = cast(LightningOptimizer, self.optimizers())
        scheduler = cast(LRScheduler, self.lr_schedulers())
        objective = self.recipe.objective
        seen = with_gradient(samples, objective, self.coefficients)
        tokens = self.update.tokens_on(self.device.type)
        batches = even_micro_batches(seen, tokens, self.update.layout, self.ranks)
        totals = totals_of(samples, len(batches), self.ranks)
        self.step = step = Step(number=self.trainer.global_step, totals=totals, coefficients=self.coefficients)
        for number, batch in enumerate(batches):
            batch = batch.to(self.device)
            # DDP averages gradients over ranks once; FSDP2 each time, so that nobody ever holds all of them.
            with _block_parallel_sync_behavior(self.trainer.strategy, block=number < len(batches) - 1):
                current = completion_logprobs(
                    self.model,
                    batch,
                    temperature=self.sampling.temperature,
                    entropy_gradient=self.coefficients.bonus > 0,
                )
                if self.first_step_checks and self.trainer.global_step == 0:
                    check_first_step(current, batch, exact=self.exact)
                loss = objective_loss(
                    objective,
                    current,
                    batch,
                    coefficients=self.coefficients,
                    totals=totals,
                    max_tokens=self.sampling.max_tokens,
                )
                self.manual_backward(loss * self.trainer.world_size)
            self.looks |= by_sequence(current.logprobs.detach(), seen, batch)
            tally_update(step.tally, current, batch, objective, first="update/loss" not in self.tally)
            step.add(batch, loss)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()  # now, not before the next: a rollout has better use for the memory

    def move_on(self, found: Collected) -> None:
        """What changes from rollout to rollout besides the weights: retired prompts, and a reference that moves."""
        kl, retire_at = self.recipe.objective.kl, self.recipe.filters.retire_at
        if retire_at is not None:
            rates = pass_rates(self.judged(found.scores, self.iteration))
            solved = [g.prompt.uid for g, rate in zip(found.rollout.groups, rates, strict=True) if rate >= retire_at]
            self.data.retire(np.concatenate(self.ranks.gather(np.array(solved, dtype=np.int64))).tolist())
        if self.reference is not None and kl.sync_every and (self.iteration + 1) % kl.sync_every == 0:
            move_towards(self.reference, self.model, kl.sync_mix)

    # ------------------------------------------------------------------------------------------------ Lightning's hooks

    def setup(self, stage: str) -> None:
        """Refuses what cannot work with this data, before any model is loaded."""
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, PromptDataModule):
            self.check_names(data)
        check_precision(self.trainer.precision)
        check_strategy(self.trainer.strategy)
        if stage == "fit":
            check_fit(self.trainer, data, self.update, self.optimizer_config, self.recipe.filters)
            check_ahead(self.update, self.engine, self.recipe.filters, self.recipe.objective, data)
            self.restored = self.following = None  # of an earlier fit

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        optimizer = adamw(self.optimizer_config, self.model.parameters())
        factor = lr_factor(self.optimizer_config, planned_steps(self.trainer, self.update))
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.LambdaLR(optimizer, factor)}

    def on_train_start(self) -> None:
        """The settings win over a checkpoint's: a resumed optimizer would keep those it was saved with."""
        settings_win(cast(LambdaLR, self.lr_schedulers()), self.optimizer_config)

    def on_train_batch_end(self, outputs: object, batch: object, batch_idx: int) -> None:
        """Writes the step's row, once callbacks are through: when `self.log` would, which takes 0.4 ms for a metric."""
        connector = self.trainer._logger_connector
        if connector.should_update_logs:
            connector.log_metrics(self.row | {"step": torch.tensor(float(self.trainer.global_step))})

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clips, after a gradient scaler has unscaled. A step that is not finite on some rank is skipped on all."""
        norm = clip_gradients(self.model, self.optimizer_config.max_grad_norm)
        folder = Path(self.trainer.default_root_dir) / "bad_steps"
        self.guard.settle(self.step, float(norm), self.tally, self.model, self.ranks, folder)
        self.tally.add("update/lr", optimizer.param_groups[0]["lr"])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What the weights do not hold: adapted coefficients, and a reference that has moved."""
        checkpoint["coefficients"] = asdict(self.coefficients)
        checkpoint["combine"] = saved(self.combine_state, list(self.parts))
        checkpoint["bad_steps"] = self.guard.in_a_row
        checkpoint["ahead"] = self.restored
        if self.following is not None:
            checkpoint["ahead"] = self.ranks.gather_objects(packed(self.following, self.terms))
        if self.reference is not None and self.recipe.objective.kl.sync_every is not None:
            checkpoint["reference"] = full_state(self.reference)
        if self.policy_config.adapter is not None and shards_of(self.model) is None:
            checkpoint["state_dict"] = {n: w for n, w in checkpoint["state_dict"].items() if "lora_" in n}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """A coefficient that is not adapted is the settings'; so is a reference that does not move."""
        super().on_load_checkpoint(checkpoint)
        if self.policy_config.adapter is not None and "state_dict" in checkpoint:
            check_adapter(self.model, checkpoint["state_dict"])
        objective, known = self.recipe.objective, checkpoint["coefficients"]
        self.guard.in_a_row = checkpoint.get("bad_steps", 0)
        self.restored = checkpoint.get("ahead") if self.update.async_steps else None
        if objective.kl.target is not None:
            self.coefficients = replace(self.coefficients, beta=known["beta"])
        if objective.entropy.target is not None:
            self.coefficients = replace(self.coefficients, entropy=known["entropy"], acts=known["acts"])
        self.combine_state = restored(checkpoint["combine"], self.combine_state, list(self.parts))
        if self.reference is not None and objective.kl.sync_every is not None and "reference" in checkpoint:
            load_full_state(self.reference, checkpoint["reference"])

    # -------------------------------------------------------------------------------------------------------- its parts

    @property
    def terms(self) -> Plain:
        """The settings by which a rollout is drawn and scored; those that change nothing in it are left out."""
        sampling = {name: value for name, value in asdict(self.sampling).items() if name != "max_rows"}
        rewards = list(self.scorer.names)
        return {"seed": self.seed, "group_size": self.group_size, "sampling": sampling, "rewards": rewards}

    @property
    def iteration(self) -> int:
        """Rollouts trained on so far, over all epochs; restored by resume, so that random streams go on."""
        return self.trainer.fit_loop.epoch_loop.batch_progress.total.processed  # type: ignore[attr-defined]

    @property
    def row(self) -> dict[str, Tensor]:
        """The last step's metrics, as Lightning keeps them."""
        return {name: torch.tensor(value, dtype=torch.float32) for name, value in self.metrics.items()}

    @property
    def finished(self) -> bool:
        """Whether max_steps is reached; the Trainer itself looks between rollouts only."""
        return self.trainer.max_steps != -1 and self.trainer.global_step >= self.trainer.max_steps

    def log_step(self, found: Collected, batch: Prepared, *, started: float, updating: float) -> None:
        """Reads the tally, logs it at the optimizer step it ends on, adapts the coefficients, and starts a new one."""
        tally = self.tally
        tally_step(tally, found, batch, accuracy=self.accuracy)
        tally_times(tally, found, started=started, updating=updating, ended=time.perf_counter(), ranks=self.ranks)
        objective, coefficients = self.recipe.objective, self.coefficients
        tally.add("update/skipped", self.guard.take_skipped())
        tally.add("update/beta", coefficients.beta)
        tally.add("update/entropy_bonus", coefficients.bonus)
        values = tally.read(self.ranks)
        self.coefficients = adapted(
            coefficients, objective, kl=values.get("update/kl_to_reference"), entropy=values.get("update/entropy")
        )
        self.tally, self.metrics = Tally(), values
        self.log("step", float(self.trainer.global_step))
        self.trainer._logger_connector._callback_metrics.update(self.row)
        shown = {label: values[name] for label, name in SHOWN.items() if name in values}
        self.log_dict(shown, prog_bar=True, logger=False)
