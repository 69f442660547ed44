"""A policy that answers prompts and has its answers scored: what validation, test, prediction and training share.

Not an algorithm; `module.GRPOModule` is. Loads no model before every setting has been checked.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, cast

from lightning.pytorch import LightningModule
from lightning.pytorch.trainer.states import TrainerFn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from grpo_lightning.evaluation import Answers, EvaluationConfig, HeldOut, Measure, Measured, evaluate
from grpo_lightning.freed_memory import keep_freed_memory
from grpo_lightning.generation import Builtin, Engine, Rollout, SamplingConfig
from grpo_lightning.logprobs import check_layout
from grpo_lightning.optimization import UpdateConfig
from grpo_lightning.policy import PolicyConfig, load_models, load_tokenizer
from grpo_lightning.prompts import PromptDataModule
from grpo_lightning.ranks import Ranks
from grpo_lightning.scoring import Scorer
from grpo_lightning.seeding import seed_of
from grpo_lightning.types import Prompt, Scores
from grpo_lightning.voting import ballots
from grpo_lightning.waiting import BOARD


class PolicyModule(LightningModule):
    """Holds the policy, its frozen reference where one is wanted, the engine that generates and the scorer."""

    def __init__(
        self,
        policy: PolicyConfig,
        sampling: SamplingConfig,
        evaluation: EvaluationConfig,
        scorer: Scorer,
        update: UpdateConfig,
        engine: Engine | None,
        *,
        reference: bool,
        seed: int,
    ) -> None:
        super().__init__()
        self.strict_loading = policy.adapter is None  # a checkpoint holds the adapter alone
        self.policy_config, self.sampling, self.evaluation, self.seed = policy, sampling, evaluation, seed
        self.scorer, self.update, self.wants_reference = scorer, update, reference
        self.engine = engine or Builtin()
        self.engine.check(sampling)
        self.policy: PreTrainedModel | None = None
        self.reference: PreTrainedModel | None
        self.tokenizer: PreTrainedTokenizerBase | None = None
        evaluation.accuracy_name(scorer.names)  # refuses one that is not there
        self.votes: dict[str, Scorer | None] = {}
        self.held_out: dict[str, HeldOut] = {}
        self.measured: dict[str, Measured] = {}
        self.weights_step = 0

    def configure_model(self) -> None:
        """Loads the policy, and its reference if one is wanted. Called again by validate and test."""
        if self.policy is not None:
            return
        config = self.policy_config
        if self.trainer.strategy.root_device.type == "cpu":
            keep_freed_memory()
        self.tokenizer = load_tokenizer(
            config.pretrained, revision=config.revision, trust_remote_code=config.trust_remote_code
        )
        # An adapted policy is its own reference, without the adapter.
        wanted = self.wants_reference and config.adapter is None
        policy, reference = load_models(config, reference=wanted, seed=self.seed, strategy=self.trainer.strategy)
        check_layout(policy, self.update.layout)
        # Hidden from nn.Module: not in checkpoints, not in the optimizer, not moved to train mode.
        self.__dict__["reference"] = reference
        self.policy = policy
        self.generator = self.engine.start(policy, self.tokenizer, sampling=self.sampling, ranks=self.ranks)

    def validation_step(self, prompts: list[Prompt], batch_idx: int, dataloader_idx: int = 0) -> None:
        self.answer_held_out("validation", prompts, dataloader_idx)

    def test_step(self, prompts: list[Prompt], batch_idx: int, dataloader_idx: int = 0) -> None:
        self.answer_held_out("test", prompts, dataloader_idx)

    def predict_step(self, prompts: list[Prompt], batch_idx: int) -> tuple[Rollout, Scores]:
        """`evaluation.samples` completions of each prompt, drawn as in evaluation (one greedy one if that is 0)."""
        self.generator.use_weights(self.trainer.global_step)
        *_, (_, count, how) = self.evaluation.ways(self.sampling)
        rollout = self.generator.generate(prompts, group_size=count, sampling=how, seed=seed_of("predict", self.seed))
        return rollout, self.scorer.score(rollout.groups)

    def on_validation_epoch_start(self) -> None:
        self.held_out = {}

    def on_validation_epoch_end(self) -> None:
        self.log_held_out("val")

    def on_test_epoch_start(self) -> None:
        self.held_out = {}

    def on_test_epoch_end(self) -> None:
        self.log_held_out("test")

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.weights_step = checkpoint["global_step"]

    def teardown(self, stage: str) -> None:
        self.scorer.close()
        self.close_votes()

    def answer_held_out(self, split: Literal["validation", "test"], prompts: Sequence[Prompt], number: int) -> None:
        """Answers prompts of the `number`th held-out set, and keeps what they measured."""
        name = list(self.data.held_out(split))[number]
        self.evaluate_on(self.held_out.setdefault(name, HeldOut()), prompts, name)

    def evaluate_on(
        self, held_out: HeldOut, prompts: Sequence[Prompt], name: str, prefix: str = ""
    ) -> dict[str, Answers]:
        """Adds what these prompts of the set of this name measure; the answers, by way."""
        config = self.evaluation_of(name)
        BOARD.begin("evaluation")
        self.generator.use_weights(self.trainer.global_step)
        values, answers = evaluate(
            prompts,
            generator=self.generator,
            scorer=self.scorer,
            votes=self.votes_for(config),
            sampling=self.sampling,
            config=config,
            seed=seed_of("evaluation", self.seed),
            prefix=prefix,
        )
        held_out.add(prompts, values)
        return answers

    def evaluation_of(self, name: str) -> EvaluationConfig:
        """How the set of this name is answered and judged; the split itself has none."""
        own = self.data.sets[name].accuracy if name else None
        return self.evaluation if own is None else replace(self.evaluation, accuracy=own)

    def votes_for(self, config: EvaluationConfig) -> Scorer | None:
        """What counts votes as the accuracy reward does, if there are any to count and it can."""
        if config.samples < 2:
            return None
        scorer, judge = self.scorer, config.accuracy_name(self.scorer.names)
        if judge not in self.votes:
            spec = scorer.specs[scorer.names.index(judge)]
            self.votes[judge] = ballots(spec, scorer.workers, scorer.executor, samples=config.samples)
        return self.votes[judge]

    def check_names(self, data: PromptDataModule) -> None:
        """Refuses rewards that rows or sets name and that are not there."""
        every = (*data.prompts.values(), *data.further.values())
        routed = (prompt.rewards for prompts in every for prompt in prompts)
        self.scorer.check_routing({name for names in routed if names is not None for name in names})
        for name, each in data.sets.items():
            if each.accuracy not in (None, *self.scorer.names):
                known = ", ".join(self.scorer.names)
                raise ValueError(
                    f"data.sets.{name}.accuracy: no reward is named {each.accuracy!r}; the names are {known}"
                )

    def log_held_out(self, stage: str) -> None:
        """Logs what validation or test measured, as STAGE/NAME or STAGE/SET/NAME, each with /low and /high."""
        self.close_votes()
        self.measured = {name: held_out.read(self.ranks) for name, held_out in self.held_out.items()}
        self.log("step", float(self.step_of_weights))
        for name, measured in self.measured.items():
            for measure, found in self.means(measured).items():
                tag = "/".join(filter(None, (stage, name, measure)))
                self.log_dict({tag: found.value, f"{tag}/low": found.low, f"{tag}/high": found.high})

    def means(self, measured: Measured) -> dict[str, Measure]:
        """Over the prompts of a set, with intervals."""
        return measured.means(seed=seed_of("bootstrap", self.seed), confidence=self.evaluation.confidence)

    def close_votes(self) -> None:
        """Ends the processes that count votes, which nothing needs between evaluations."""
        for votes in self.votes.values():
            if votes is not None:
                votes.close()

    @property
    def step_of_weights(self) -> int:
        """Optimizer steps that made the policy as it is now; outside of fit those of the checkpoint."""
        return self.trainer.global_step if self.trainer.state.fn == TrainerFn.FITTING else self.weights_step

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
    def ranks(self) -> Ranks:
        """All processes of the run."""
        return Ranks(size=self.trainer.world_size, rank=self.global_rank, device=self.device)

    @property
    def data(self) -> PromptDataModule:
        """Where further prompts come from."""
        return cast(PromptDataModule, self.trainer.datamodule)  # type: ignore[attr-defined]

    @property
    def exact(self) -> bool:
        """Whether policy and engine compute in float32 or better."""
        full = self.trainer.precision == "32-true" and self.model.dtype.itemsize >= 4
        return full and not self.engine.rounds
