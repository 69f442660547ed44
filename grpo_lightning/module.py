"""GRPO as a LightningModule: `training_step` is the algorithm, one rollout and all of its updates.

Optimisation is manual, because one batch of prompts makes `num_iterations` x `minibatches` optimizer steps. Holds no
mathematics (see `losses`, `advantages`, `combine`) and loads no model before every setting has been checked.
"""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.loops.utilities import _block_parallel_sync_behavior
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from grpo_lightning.advantages import AdvantageConfig
from grpo_lightning.batching import Sample, even_micro_batches, minibatches, totals_of
from grpo_lightning.checks import check_first_step, check_fit, check_precision
from grpo_lightning.collection import Collected, collect
from grpo_lightning.combine import CombineConfig, judged, restored, saved, start_state
from grpo_lightning.evaluation import EvaluationConfig, evaluate
from grpo_lightning.filters import FilterConfig, pass_rates
from grpo_lightning.generation import BuiltinGenerator, Rollout, SamplingConfig
from grpo_lightning.logprobs import check_packing, completion_logprobs, sample_logprobs
from grpo_lightning.metrics import Tally, tally_prepared, tally_rollout, tally_scores, tally_times, tally_update
from grpo_lightning.mismatch import MismatchConfig
from grpo_lightning.objective import ObjectiveConfig, adapted, objective_loss, start_coefficients
from grpo_lightning.optimization import OptimizerConfig, UpdateConfig, adamw, lr_factor, planned_steps, settings_win
from grpo_lightning.policy import (
    PolicyConfig,
    export_checkpoint,
    frozen_copy,
    load_policy,
    load_tokenizer,
    move_towards,
)
from grpo_lightning.preparation import Prepared, Recipe, prepare
from grpo_lightning.prompts import PromptDataModule
from grpo_lightning.ranks import Ranks
from grpo_lightning.scoring import Executor, RewardSpec, Scorer
from grpo_lightning.seeding import seed_of
from grpo_lightning.types import Prompt, Scores

SHOWN = {"rew": "reward", "acc": "accuracy", "tok/s": "speed/tokens_per_second"}
"""What the progress bar shows, by short names that fit on its line."""


class GRPOModule(LightningModule):
    """Holds the policy and its frozen reference, and trains the policy by group-relative rewards.

    Args:
        policy: Which model is trained.
        rewards: The verifiers and their weights.
        group_size: Completions per prompt; the group is the baseline, so at least 2.
        sampling: How training completions are drawn.
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
        super().__init__()
        if group_size < 2:
            raise ValueError(f"group_size: {group_size} has no baseline; use at least 2 completions per prompt")
        if not rewards:
            raise ValueError("rewards: none are given; at least one is needed")
        if sampling.temperature == 0:
            raise ValueError("sampling.temperature: 0 makes a group of equal completions; use e.g. 1.0")
        self.automatic_optimization = False
        self.reference: PreTrainedModel | None
        self.policy_config, self.group_size, self.sampling, self.update = policy, group_size, sampling, update
        self.recipe = Recipe(
            advantage=advantage, objective=objective, filters=filters, mismatch=mismatch, combine=combine
        )
        self.recipe.check(group_size, single_update=update.num_iterations * update.minibatches == 1)
        self.optimizer_config, self.evaluation, self.seed = optimizer, evaluation, seed
        self.first_step_checks = first_step_checks
        self.scorer = Scorer(rewards, workers=reward_workers, executor=executor)
        self.parts = self.recipe.all_parts(dict(zip(self.scorer.names, rewards, strict=True)))
        combine.check(self.parts, advantage)
        self.accuracy = evaluation.accuracy_name(self.scorer.names)
        self.judge = filters.judge(self.scorer.names, self.accuracy)
        self.policy: PreTrainedModel | None = None
        self.tokenizer: PreTrainedTokenizerBase | None = None
        self.coefficients = start_coefficients(objective)
        self.combine_state = start_state(self.parts)
        self.tally = Tally()
        self.tally_held_out = Tally()
        self.last: Prepared | None = None

    # ------------------------------------------------------------------------------------------------- the algorithm

    def training_step(self, prompts: list[Prompt], batch_idx: int) -> None:
        """One iteration: prompts -> rollout -> rewards -> advantages -> loss -> step."""
        started = time.perf_counter()
        found = self.collect(prompts)
        batch = self.prepare(found)
        updating = time.perf_counter()
        for iteration in range(self.update.num_iterations):
            key = seed_of("minibatches", self.seed, self.iteration, iteration, self.global_rank)
            for minibatch in minibatches(batch.samples, self.update.minibatches, seed=key):
                if self.finished:
                    break
                self.optimizer_step_on(minibatch)
        self.last, self.combine_state = batch, batch.combined.state
        self.log_step(found, batch, started=started, updating=updating)
        self.move_on(found)

    def collect(self, prompts: Sequence[Prompt]) -> Collected:
        """G completions of each prompt by the current policy, scored; in rounds, if silent groups are refilled.

        A group is scored while others are still generated.
        """
        seed = seed_of("rollout", self.seed, self.iteration)
        return collect(
            prompts,
            config=self.recipe.filters,
            judge=self.judged,
            generate=lambda prompts, finished: self.generator.generate(
                prompts, group_size=self.group_size, sampling=self.sampling, seed=seed, finished=finished
            ),
            stream=self.scorer.stream,
            draw=lambda count: self.data.draw(count),
            ranks=self.ranks,
        )

    def judged(self, scores: Scores) -> np.ndarray:
        """By what groups are silent or solved: the reward that `filters` names, where it applies."""
        weights = np.array([spec.weight_at(self.iteration) for spec in self.scorer.specs])
        return judged(scores.rewards, scores.names.index(self.judge), weights)

    def prepare(self, found: Collected) -> Prepared:
        """The samples to train on, with their advantages."""
        forward = partial(
            sample_logprobs,
            temperature=self.sampling.temperature,
            max_tokens=self.update.micro_batch_tokens,
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
            reference=None if self.reference is None else partial(forward, self.reference),
            ranks=self.ranks,
        )

    def optimizer_step_on(self, samples: Sequence[Sample]) -> None:
        """One optimizer step: its denominators count all micro-batches and ranks, so how it is cut changes nothing."""
        optimizer = cast(LightningOptimizer, self.optimizers())
        scheduler = cast(LRScheduler, self.lr_schedulers())
        objective = self.recipe.objective
        batches = even_micro_batches(samples, self.update.micro_batch_tokens, self.update.layout, self.ranks)
        totals = totals_of(samples, len(batches), self.ranks)
        total = torch.zeros((), device=self.device)
        optimizer.zero_grad()
        for number, batch in enumerate(batches):
            batch = batch.to(self.device)
            with self.synchronised(last=number == len(batches) - 1):
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
            tally_update(self.tally, current, batch, objective)
            total += loss.detach()
        self.tally.add("update/loss", total * self.trainer.world_size)
        optimizer.step()
        scheduler.step()

    def move_on(self, found: Collected) -> None:
        """What changes from rollout to rollout besides the weights: retired prompts, and a reference that moves."""
        kl, retire_at = self.recipe.objective.kl, self.recipe.filters.retire_at
        if retire_at is not None:
            rates = pass_rates(self.judged(found.scores))
            solved = [g.prompt.uid for g, rate in zip(found.rollout.groups, rates, strict=True) if rate >= retire_at]
            self.data.retire(np.concatenate(self.ranks.gather(np.array(solved, dtype=np.int64))).tolist())
        if self.reference is not None and kl.sync_every and (self.iteration + 1) % kl.sync_every == 0:
            move_towards(self.reference, self.model, kl.sync_mix)

    # ------------------------------------------------------------------------------------------------ Lightning's hooks

    def setup(self, stage: str) -> None:
        """Refuses what cannot work with this data, before any model is loaded."""
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, PromptDataModule):
            routed = (prompt.rewards for prompts in data.prompts.values() for prompt in prompts)
            self.scorer.check_routing({name for names in routed if names is not None for name in names})
        check_precision(self.trainer.precision)
        if stage == "fit":
            check_fit(self.trainer, data, self.update, self.optimizer_config, self.recipe.filters)

    def configure_model(self) -> None:
        """Loads the policy, and its reference if the objective has a KL term. Called again by validate and test."""
        if self.policy is not None:
            return
        config = self.policy_config
        self.tokenizer = load_tokenizer(
            config.pretrained, revision=config.revision, trust_remote_code=config.trust_remote_code
        )
        policy = load_policy(config, seed=self.seed)
        if self.update.layout == "packed":
            check_packing(policy)
        reference = frozen_copy(policy) if self.recipe.objective.kl.beta > 0 else None
        if reference is not None:
            nn.Module.to(reference, self.trainer.strategy.root_device)
        # Hidden from nn.Module: not in checkpoints, not in the optimizer, not moved to train mode.
        self.__dict__["reference"] = reference
        self.policy = policy
        self.generator = BuiltinGenerator(policy, self.tokenizer)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        optimizer = adamw(self.optimizer_config, self.model.parameters())
        factor = lr_factor(self.optimizer_config, planned_steps(self.trainer, self.update))
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.LambdaLR(optimizer, factor)}

    def on_train_start(self) -> None:
        """The settings win over a checkpoint's: a resumed optimizer would keep those it was saved with."""
        settings_win(cast(LambdaLR, self.lr_schedulers()), self.optimizer_config)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clips, after a gradient scaler has unscaled. A gradient that is not finite ends the run."""
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.optimizer_config.max_grad_norm)
        if not torch.isfinite(norm):
            raise RuntimeError(
                f"gradient norm is {float(norm)} at optimizer step {self.trainer.global_step}: the weights are "
                "unharmed; go on from the last checkpoint with a smaller optimizer.lr"
            )
        self.tally.add("update/grad_norm", norm)
        self.tally.add("update/lr", optimizer.param_groups[0]["lr"])

    def validation_step(self, prompts: list[Prompt], batch_idx: int) -> None:
        self.evaluate_on(self.tally_held_out, prompts)

    def test_step(self, prompts: list[Prompt], batch_idx: int) -> None:
        self.evaluate_on(self.tally_held_out, prompts)

    def predict_step(self, prompts: list[Prompt], batch_idx: int) -> tuple[Rollout, Scores]:
        """`evaluation.samples` completions of each prompt (one greedy one if that is 0), with their scores."""
        greedy = self.evaluation.samples == 0
        how = replace(self.sampling, temperature=0.0 if greedy else self.evaluation.temperature)
        rollout = self.generator.generate(
            prompts, group_size=max(1, self.evaluation.samples), sampling=how, seed=seed_of("predict", self.seed)
        )
        return rollout, self.scorer.score(rollout.groups)

    def on_validation_epoch_start(self) -> None:
        self.tally_held_out = Tally()

    def on_validation_epoch_end(self) -> None:
        self.log_held_out("val")

    def on_test_epoch_start(self) -> None:
        self.tally_held_out = Tally()

    def on_test_epoch_end(self) -> None:
        self.log_held_out("test")

    def teardown(self, stage: str) -> None:
        self.scorer.close()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What the weights do not hold: adapted coefficients, and a reference that has moved."""
        checkpoint["coefficients"] = asdict(self.coefficients)
        checkpoint["combine"] = saved(self.combine_state, list(self.parts))
        if self.reference is not None and self.recipe.objective.kl.sync_every is not None:
            checkpoint["reference"] = self.reference.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """A coefficient that is not adapted is the settings'; so is a reference that does not move."""
        objective, known = self.recipe.objective, checkpoint["coefficients"]
        if objective.kl.target is not None:
            self.coefficients = replace(self.coefficients, beta=known["beta"])
        if objective.entropy.target is not None:
            self.coefficients = replace(self.coefficients, entropy=known["entropy"], acts=known["acts"])
        self.combine_state = restored(checkpoint["combine"], self.combine_state, list(self.parts))
        if self.reference is not None and objective.kl.sync_every is not None and "reference" in checkpoint:
            self.reference.load_state_dict(checkpoint["reference"])

    def export(self, checkpoint: Path, folder: Path) -> None:
        """Writes a checkpoint's policy as a Hugging Face folder; needs no trainer."""
        export_checkpoint(self.policy_config, checkpoint, folder)

    # -------------------------------------------------------------------------------------------------------- its parts

    @property
    def model(self) -> PreTrainedModel:
        """The policy, once it is loaded."""
        if self.policy is None:
            raise RuntimeError("the policy is loaded by configure_model; start a Trainer first")
        return self.policy

    @property
    def vocabulary(self) -> PreTrainedTokenizerBase:
        """The tokenizer, once it is loaded."""
        if self.tokenizer is None:
            raise RuntimeError("the tokenizer is loaded by configure_model; start a Trainer first")
        return self.tokenizer

    @property
    def iteration(self) -> int:
        """Rollouts trained on so far, over all epochs; restored by resume, so that random streams go on."""
        return self.trainer.fit_loop.epoch_loop.batch_progress.total.processed  # type: ignore[attr-defined]

    @property
    def finished(self) -> bool:
        """Whether max_steps is reached; the Trainer itself looks between rollouts only."""
        return self.trainer.max_steps != -1 and self.trainer.global_step >= self.trainer.max_steps

    @property
    def ranks(self) -> Ranks:
        """All processes of the run."""
        return Ranks(size=self.trainer.world_size, rank=self.global_rank, device=self.device)

    @property
    def data(self) -> PromptDataModule:
        """Where further prompts come from."""
        return cast(PromptDataModule, self.trainer.datamodule)  # type: ignore[attr-defined]

    @property
    def exact(self) -> bool:
        """Whether the policy computes in float32 or better."""
        return self.trainer.precision == "32-true" and self.model.dtype.itemsize >= 4

    def synchronised(self, *, last: bool) -> AbstractContextManager[None]:
        """Gradients are averaged over ranks in the last micro-batch of a step only."""
        return _block_parallel_sync_behavior(self.trainer.strategy, block=not last)

    def evaluate_on(self, tally: Tally, prompts: Sequence[Prompt], prefix: str = "") -> None:
        """Adds these prompts' evaluation to `tally`."""
        evaluate(
            tally,
            prompts,
            generator=self.generator,
            scorer=self.scorer,
            sampling=self.sampling,
            config=self.evaluation,
            seed=seed_of("evaluation", self.seed),
            prefix=prefix,
        )

    def log_step(self, found: Collected, batch: Prepared, *, started: float, updating: float) -> None:
        """Reads the tally, logs it at the optimizer step it ends on, adapts the coefficients, and starts a new one."""
        tally = self.tally
        tally_rollout(tally, found.rollout)
        tally_scores(tally, found.scores, accuracy=self.accuracy)
        tally_prepared(tally, found, batch)
        tally_times(tally, found, started=started, updating=updating, ended=time.perf_counter(), ranks=self.ranks)
        objective, coefficients = self.recipe.objective, self.coefficients
        tally.add("update/beta", coefficients.beta)
        tally.add("update/entropy_bonus", coefficients.bonus)
        values = tally.read(self.ranks)
        self.coefficients = adapted(
            coefficients, objective, kl=values.get("update/kl_to_reference"), entropy=values.get("update/entropy")
        )
        self.tally = Tally()
        self.log("step", float(self.trainer.global_step))
        self.log_dict(values)
        shown = {label: values[name] for label, name in SHOWN.items() if name in values}
        self.log_dict(shown, prog_bar=True, logger=False)

    def log_held_out(self, stage: str) -> None:
        """Logs what validation or test added up, as STAGE/NAME."""
        values = self.tally_held_out.read(self.ranks)
        self.log("step", float(self.trainer.global_step))
        self.log_dict({f"{stage}/{name}": value for name, value in values.items()})
