"""GRPO as a LightningModule: `training_step` is the algorithm, one rollout and all of its updates.

Optimisation is manual, because one batch of prompts makes `num_iterations` x `minibatches` optimizer steps. Holds no
mathematics (see `losses`, `advantages`, `combine`) and loads no model before every setting has been checked.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.loops.utilities import _block_parallel_sync_behavior
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from grpo_lightning.advantages import AdvantageConfig, group_advantages
from grpo_lightning.batching import Layout, Sample, micro_batches, samples_of
from grpo_lightning.combine import weighted_sum
from grpo_lightning.evaluation import EvaluationConfig, evaluate
from grpo_lightning.generation import BuiltinGenerator, Rollout, SamplingConfig
from grpo_lightning.logprobs import check_packing, completion_logprobs
from grpo_lightning.losses import Totals
from grpo_lightning.metrics import Tally, tally_rollout, tally_scores, tally_update
from grpo_lightning.objective import ObjectiveConfig, objective_loss
from grpo_lightning.optimization import OptimizerConfig, adamw, lr_factor
from grpo_lightning.policy import PolicyConfig, frozen_copy, load_policy, load_tokenizer, write_policy
from grpo_lightning.prompts import PromptDataModule
from grpo_lightning.scoring import RewardSpec, Scorer
from grpo_lightning.seeding import seed_of
from grpo_lightning.types import Prompt, Scores


@dataclass(frozen=True, kw_only=True)
class UpdateConfig:
    """How one rollout becomes optimizer steps."""

    num_iterations: int = 1
    """Passes over each rollout (mu in the papers)."""
    minibatches: int = 1
    """Optimizer steps per pass; each takes an equal share of the prompts, with their whole groups."""
    micro_batch_tokens: int = 16384
    """Tokens per forward and backward pass, padding included: memory, not results."""
    layout: Layout = "padded"
    """`padded`: rows of similar length, padded on the right. `packed`: sequences end to end in one row."""

    def __post_init__(self) -> None:
        for name in ("num_iterations", "minibatches", "micro_batch_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"update.{name}: {getattr(self, name)} is refused; it must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What the last training step saw, for callbacks that show it."""

    rollout: Rollout
    scores: Scores
    rewards: np.ndarray
    """(P, G) combined."""
    advantages: np.ndarray
    """(P, G)."""


SHOWN = {"rew": "reward", "acc": "accuracy", "tok/s": "speed/tokens_per_second"}
"""What the progress bar shows, by short names that fit on its line."""


PRECISIONS = ("32-true", "bf16-mixed")
"""What the log-probs are proved with; a `-true` precision would change the type of everything else, too."""


class GRPOModule(LightningModule):
    """Holds the policy and its frozen reference, and trains the policy by group-relative rewards.

    Args:
        policy: Which model is trained.
        rewards: The verifiers and their weights.
        group_size: Completions per prompt; the group is the baseline, so at least 2.
        sampling: How training completions are drawn.
        advantage: How a group's rewards become advantages.
        objective: What is minimised.
        update: How one rollout becomes optimizer steps.
        optimizer: AdamW and its schedule.
        evaluation: How held-out prompts are answered.
        reward_workers: Processes that score; null: one per core.
        seed: Of every random draw; the command line sets it from seed_everything.

    """

    def __init__(
        self,
        policy: PolicyConfig,
        rewards: list[RewardSpec],
        group_size: int = 8,
        sampling: SamplingConfig = SamplingConfig(),
        advantage: AdvantageConfig = AdvantageConfig(),
        objective: ObjectiveConfig = ObjectiveConfig(),
        update: UpdateConfig = UpdateConfig(),
        optimizer: OptimizerConfig = OptimizerConfig(),
        evaluation: EvaluationConfig = EvaluationConfig(),
        reward_workers: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if group_size < 2:
            raise ValueError(f"group_size: {group_size} has no baseline; use at least 2 completions per prompt")
        if not rewards:
            raise ValueError("rewards: none are given; at least one is needed")
        if not any(spec.weight for spec in rewards):
            raise ValueError("rewards: every weight is 0, so there is nothing to train on; give one another weight")
        if sampling.temperature == 0:
            raise ValueError("sampling.temperature: 0 makes a group of equal completions; use e.g. 1.0")
        self.automatic_optimization = False
        self.reference: PreTrainedModel | None
        self.policy_config, self.group_size, self.sampling = policy, group_size, sampling
        self.advantage, self.objective, self.update = advantage, objective, update
        self.optimizer_config, self.evaluation, self.seed = optimizer, evaluation, seed
        self.scorer = Scorer(rewards, workers=reward_workers)
        self.accuracy = evaluation.accuracy_name(self.scorer.names)
        self.policy: PreTrainedModel | None = None
        self.tokenizer: PreTrainedTokenizerBase | None = None
        self.tally = Tally()
        self.tally_held_out = Tally()
        self.last: Trained | None = None

    # ------------------------------------------------------------------------------------------------- the algorithm

    def training_step(self, prompts: list[Prompt], batch_idx: int) -> None:
        """One iteration: prompts -> rollout -> rewards -> advantages -> loss -> step."""
        clock = [time.perf_counter()]
        rollout = self.rollout(prompts)
        clock.append(time.perf_counter())
        scores = self.scorer.score(rollout.groups)
        rewards = weighted_sum(scores.rewards, self.scorer.weights)
        advantages = group_advantages(rewards, self.advantage)
        clock.append(time.perf_counter())
        groups = self.with_reference(samples_of(rollout.groups, advantages))
        for iteration in range(self.update.num_iterations):
            for minibatch in self.minibatches(groups, iteration):
                if self.finished:
                    break
                self.optimizer_step_on(minibatch)
        clock.append(time.perf_counter())
        self.last = Trained(rollout=rollout, scores=scores, rewards=rewards, advantages=advantages)
        tally_rollout(self.tally, rollout)
        tally_scores(self.tally, scores, rewards, advantages, accuracy=self.accuracy)
        self.log_step(rollout, clock)

    def rollout(self, prompts: Sequence[Prompt]) -> Rollout:
        """G completions of each prompt by the current policy, from random streams that belong to this iteration."""
        return self.generator.generate(
            prompts,
            group_size=self.group_size,
            sampling=self.sampling,
            seed=seed_of("rollout", self.seed, self.iteration),
        )

    @torch.no_grad()
    def with_reference(self, groups: list[list[Sample]]) -> list[list[Sample]]:
        """The same samples with the reference's log-probs, where the objective has a KL term."""
        if self.reference is None:
            return groups
        flat = [sample for group in groups for sample in group]
        filled: dict[int, Sample] = {}
        for batch in micro_batches(flat, max_tokens=self.update.micro_batch_tokens, layout=self.update.layout):
            found = completion_logprobs(
                self.reference, batch.to(self.device), temperature=self.sampling.temperature
            ).logprobs.cpu()
            for i, part in zip(batch.order, found.split(batch.lengths.tolist()), strict=True):
                filled[i] = replace(flat[i], reference_logprobs=part)
        rows = iter(filled[i] for i in range(len(flat)))
        return [[next(rows) for _ in group] for group in groups]

    def minibatches(self, groups: Sequence[list[Sample]], iteration: int) -> Iterator[list[Sample]]:
        """The groups, shuffled anew for each pass and kept whole, in `minibatches` nearly equal parts."""
        key = seed_of("minibatches", self.seed, self.iteration, iteration, self.global_rank)
        order = np.random.default_rng(key).permutation(len(groups))
        for part in np.array_split(order, self.update.minibatches):
            yield [sample for i in part for sample in groups[i]]

    def optimizer_step_on(self, samples: list[Sample]) -> None:
        """One optimizer step: its denominators count all micro-batches and ranks, so how it is cut changes nothing."""
        optimizer = cast(LightningOptimizer, self.optimizers())
        scheduler = cast(LRScheduler, self.lr_schedulers())
        counts = torch.tensor([sum(len(s.sampler_logprobs) for s in samples), len(samples)], dtype=torch.float64)
        tokens, sequences = self.all_sum(counts).tolist()
        batches = list(micro_batches(samples, max_tokens=self.update.micro_batch_tokens, layout=self.update.layout))
        total = torch.zeros((), device=self.device)
        optimizer.zero_grad()
        for number, batch in enumerate(batches):
            batch = batch.to(self.device)
            with self.synchronised(last=number == len(batches) - 1):
                current = completion_logprobs(self.model, batch, temperature=self.sampling.temperature)
                loss = objective_loss(
                    self.objective,
                    current,
                    batch,
                    totals=Totals(tokens=tokens, sequences=sequences),
                    max_tokens=self.sampling.max_tokens,
                )
                self.manual_backward(loss * self.trainer.world_size)
            tally_update(self.tally, current, batch, self.objective)
            total += loss.detach()
        self.tally.add("update/loss", total * self.trainer.world_size)
        optimizer.step()
        scheduler.step()

    # ------------------------------------------------------------------------------------------------ Lightning's hooks

    def setup(self, stage: str) -> None:
        """Refuses what cannot work with this data, before any model is loaded."""
        if self.trainer.precision not in PRECISIONS:
            raise ValueError(
                f"trainer.precision: {self.trainer.precision!r} is refused; use one of {', '.join(PRECISIONS)}, or set "
                "model.policy.dtype for weights of another type"
            )
        bounded = self.trainer.max_steps != -1 or self.trainer.max_epochs not in (None, -1)
        if stage == "fit":
            lr_factor(self.optimizer_config, 1 if bounded else None)
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, PromptDataModule):
            return
        routed = (prompt.rewards for prompts in data.prompts.values() for prompt in prompts)
        self.scorer.check_routing({name for names in routed if names is not None for name in names})
        if stage == "fit":
            share = data.prompts_per_step // self.trainer.world_size
            if self.update.minibatches > share:
                raise ValueError(
                    f"update.minibatches: {self.update.minibatches} is more than the {share} prompts of a step on "
                    "each device (data.prompts_per_step / devices); use at most that many"
                )

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
        reference = frozen_copy(policy) if self.objective.beta > 0 else None
        if reference is not None:
            nn.Module.to(reference, self.trainer.strategy.root_device)
        # Hidden from nn.Module: not in checkpoints, not in the optimizer, not moved to train mode.
        self.__dict__["reference"] = reference
        self.policy = policy
        self.generator = BuiltinGenerator(policy, self.tokenizer)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        optimizer = adamw(self.optimizer_config, self.model.parameters())
        factor = lr_factor(self.optimizer_config, self.total_steps())
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.LambdaLR(optimizer, factor)}

    def on_train_start(self) -> None:
        """The settings win over a checkpoint's: a resumed optimizer would keep those it was saved with."""
        config, scheduler = self.optimizer_config, cast(LambdaLR, self.lr_schedulers())
        optimizer = scheduler.optimizer
        scheduler.base_lrs = [config.lr] * len(optimizer.param_groups)
        for group, factor in zip(optimizer.param_groups, scheduler.lr_lambdas, strict=True):
            group["lr"] = config.lr * factor(scheduler.last_epoch)
            group["betas"], group["eps"] = config.betas, config.eps
            group["weight_decay"] = config.weight_decay if group["params"][0].ndim >= 2 else 0.0

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

    def export(self, checkpoint: Path, folder: Path) -> None:
        """Writes a checkpoint's policy as a Hugging Face folder; needs no trainer."""
        config = self.policy_config
        policy = load_policy(config, seed=self.seed)
        if not checkpoint.is_file():
            raise ValueError(f"ckpt_path: there is no file {checkpoint}; name a checkpoint, or `last`")
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
        policy.load_state_dict({name.removeprefix("policy."): value for name, value in state.items()})
        tokenizer = load_tokenizer(
            config.pretrained, revision=config.revision, trust_remote_code=config.trust_remote_code
        )
        write_policy(policy, tokenizer, folder)

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

    def total_steps(self) -> int | None:
        """Optimizer steps of the whole run, None if it has no end."""
        ends: list[float] = [self.trainer.max_steps] if self.trainer.max_steps != -1 else []
        if self.trainer.max_epochs is not None and self.trainer.max_epochs != -1:
            self.trainer.fit_loop.setup_data()
            rollouts = self.trainer.num_training_batches * self.trainer.max_epochs
            ends.append(rollouts * self.update.num_iterations * self.update.minibatches)
        return int(min(ends)) if ends else None

    def all_sum(self, values: Tensor) -> Tensor:
        """Summed over ranks."""
        return self._reduce(values, torch.distributed.ReduceOp.SUM)

    def all_max(self, values: Tensor) -> Tensor:
        """The largest over ranks."""
        return self._reduce(values, torch.distributed.ReduceOp.MAX)

    def _reduce(self, values: Tensor, operation: object) -> Tensor:
        if self.trainer.world_size == 1:
            return values
        moved = values.to(self.device)
        torch.distributed.all_reduce(moved, op=operation)
        return moved.cpu()

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

    def log_step(self, rollout: Rollout, clock: Sequence[float]) -> None:
        """Reads the tally, logs it at the optimizer step it ends on, and begins a new one."""
        generated, scored, updated = np.diff(clock).tolist()
        tokens = rollout.tokens * self.trainer.world_size
        self.tally.add("time/rollout", generated)
        self.tally.add("time/rollout/prefill", rollout.prefill_seconds)
        self.tally.add("time/rollout/decode", rollout.decode_seconds)
        self.tally.add("time/reward", scored)
        self.tally.add("time/update", updated)
        self.tally.add("speed/tokens_per_second", tokens, clock[-1] - clock[0])
        self.tally.add("speed/rollout_tokens_per_second", tokens, generated)
        values = self.tally.read(all_sum=self.all_sum, all_max=self.all_max)
        self.tally = Tally()
        self.log("step", float(self.trainer.global_step))
        self.log_dict(values)
        shown = {label: values[name] for label, name in SHOWN.items() if name in values}
        self.log_dict(shown, prog_bar=True, logger=False)

    def log_held_out(self, stage: str) -> None:
        """Logs what validation or test added up, as STAGE/NAME."""
        values = self.tally_held_out.read(all_sum=self.all_sum, all_max=self.all_max)
        self.log("step", float(self.trainer.global_step))
        self.log_dict({f"{stage}/{name}": value for name, value in values.items()})
