"""A policy that answers prompts and has its answers scored: what validation, test, prediction and training share.

Not an algorithm; `module.GRPOModule` is. Loads no model before every setting has been checked.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from lightning.pytorch import LightningModule
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from grpo_lightning.evaluation import EvaluationConfig, evaluate
from grpo_lightning.generation import Builtin, Engine, Rollout, SamplingConfig
from grpo_lightning.logprobs import check_layout
from grpo_lightning.metrics import Tally
from grpo_lightning.optimization import UpdateConfig
from grpo_lightning.policy import PolicyConfig, load_models, load_tokenizer
from grpo_lightning.prompts import PromptDataModule
from grpo_lightning.ranks import Ranks
from grpo_lightning.scoring import Scorer
from grpo_lightning.seeding import seed_of
from grpo_lightning.types import Prompt, Scores


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
        self.held_out = Tally()

    def configure_model(self) -> None:
        """Loads the policy, and its reference if one is wanted. Called again by validate and test."""
        if self.policy is not None:
            return
        config = self.policy_config
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

    def validation_step(self, prompts: list[Prompt], batch_idx: int) -> None:
        self.evaluate_on(self.held_out, prompts)

    def test_step(self, prompts: list[Prompt], batch_idx: int) -> None:
        self.evaluate_on(self.held_out, prompts)

    def predict_step(self, prompts: list[Prompt], batch_idx: int) -> tuple[Rollout, Scores]:
        """`evaluation.samples` completions of each prompt (one greedy one if that is 0), with their scores."""
        self.generator.use_weights(self.trainer.global_step)
        greedy = self.evaluation.samples == 0
        how = replace(self.sampling, temperature=0.0 if greedy else self.evaluation.temperature)
        rollout = self.generator.generate(
            prompts, group_size=max(1, self.evaluation.samples), sampling=how, seed=seed_of("predict", self.seed)
        )
        return rollout, self.scorer.score(rollout.groups)

    def on_validation_epoch_start(self) -> None:
        self.held_out = Tally()

    def on_validation_epoch_end(self) -> None:
        self.log_held_out("val")

    def on_test_epoch_start(self) -> None:
        self.held_out = Tally()

    def on_test_epoch_end(self) -> None:
        self.log_held_out("test")

    def teardown(self, stage: str) -> None:
        self.scorer.close()

    def evaluate_on(self, tally: Tally, prompts: Sequence[Prompt], prefix: str = "") -> None:
        """Adds these prompts' evaluation to `tally`."""
        self.generator.use_weights(self.trainer.global_step)
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

    def log_held_out(self, stage: str) -> None:
        """Logs what validation or test added up, as STAGE/NAME."""
        values = self.held_out.read(self.ranks)
        self.log("step", float(self.trainer.global_step))
        self.log_dict({f"{stage}/{name}": value for name, value in values.items()})

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
        """Whether the policy computes in float32 or better."""
        return self.trainer.precision == "32-true" and self.model.dtype.itemsize >= 4
