"""Recorded rollouts in place of generation, to train on the same completions again: with other losses, other rewards.

Not the policy's own completions once a setting differs: from the second step on they are those of the run that was
recorded, and the ratio says how far that is. Held-out prompts, which are not recorded, the built-in engine answers.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from grpo_lightning.generation.contract import Engine, Generator, Rollout, SamplingConfig
from grpo_lightning.generation.engine import Builtin
from grpo_lightning.prompts import UID_STRIDE
from grpo_lightning.ranks import Ranks
from grpo_lightning.rollout_files import (
    RecordedGroup,
    RolloutHeader,
    read_groups,
    read_header,
    recorded_steps,
    step_files,
    which,
)
from grpo_lightning.types import Completion, Group, Prompt

NO_MATTER = ("max_rows",)
"""Settings of sampling that change no completion."""


@dataclass(frozen=True, kw_only=True)
class Recorded(Engine):
    """The completions that an earlier run has recorded, for training; nothing is generated but for evaluation."""

    folder: str
    """The `rollouts` folder of the run that was recorded; every rollout is needed (`recording.every_n_rollouts: 1`)."""

    def check(self, sampling: SamplingConfig) -> None:
        """Refuses a folder without rollouts, and other settings than they were drawn with."""
        steps = recorded_steps(Path(self.folder))
        if not steps:
            raise ValueError(
                f"engine.folder: there are no recorded rollouts in {self.folder}; name the `rollouts` folder of a run"
            )
        before, now = self.header(steps[0]).sampling, json.loads(json.dumps(asdict(sampling)))
        for name, value in now.items():
            if name not in NO_MATTER and before.get(name) != value:
                raise ValueError(
                    f"sampling.{name}: {value} is refused; the rollouts in engine.folder {self.folder} were drawn with "
                    f"{before.get(name)}"
                )

    def start(
        self, policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, sampling: SamplingConfig, ranks: Ranks
    ) -> "RecordedGenerator":
        return RecordedGenerator(self, lambda: Builtin().start(policy, tokenizer, sampling=sampling, ranks=ranks))

    def header(self, step: int) -> RolloutHeader:
        """What is recorded of a step besides its groups."""
        return read_header(step_files(Path(self.folder), step)[0])


class RecordedGenerator:
    """Answers train prompts from the recording and leaves others to `otherwise`, started when first needed."""

    def __init__(self, engine: Recorded, otherwise: Callable[[], Generator]) -> None:
        self.engine, self.otherwise = engine, otherwise
        self.started: Generator | None = None
        headers = (engine.header(step) for step in recorded_steps(Path(engine.folder)))
        self.known = {header.seed: header for header in headers}
        """Each rollout, by the seed that it was drawn from."""
        self.at: int | None = None
        self.groups: Mapping[int, RecordedGroup] = {}
        """Of the step `at`, by the prompt's uid."""

    def use_weights(self, version: int) -> None:
        """Nothing to do: the built-in engine generates with the policy itself, and a recording has no weights."""

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
        if any(prompt.uid >= UID_STRIDE for prompt in prompts):
            self.started = self.started or self.otherwise()
            return self.started.generate(
                prompts, group_size=group_size, sampling=sampling, seed=seed, prefix=prefix, finished=finished
            )
        began = time.perf_counter()
        header = self._open(seed)
        if header.group_size != group_size:
            raise ValueError(
                f"group_size: {group_size} is refused; the rollouts in engine.folder {self.engine.folder} have groups "
                f"of {header.group_size}"
            )
        groups = []
        for place, prompt in enumerate(prompts):
            groups.append(self._group(prompt, header.step, group_size))
            if finished is not None:
                finished(place, groups[place])
        return Rollout(
            groups=tuple(groups),
            prefill_seconds=0.0,
            decode_seconds=time.perf_counter() - began,
            truncation_gap=float("nan") if sampling.truncates else 0.0,
        )

    def _open(self, seed: int) -> RolloutHeader:
        """Reads the groups of the rollout that was drawn from this seed."""
        if seed not in self.known:
            first = next(iter(self.known.values()))
            steps = which([header.step for header in self.known.values()])
            raise ValueError(
                f"engine.folder: {self.engine.folder} lacks the rollout that this step needs: of seed_everything "
                f"{first.run_seed}, {steps} recorded; take that seed, and no more steps than that"
            )
        header = self.known[seed]
        if self.at != header.step:
            files = step_files(Path(self.engine.folder), header.step)
            self.groups = {group.uid: group for path in files for group in read_groups(path)}
            self.at = header.step
        return header

    def _group(self, prompt: Prompt, step: int, size: int) -> Group:
        """The recorded completions of a prompt, which must be the one that they were drawn for."""
        where = f"engine.folder: step {step} of {self.engine.folder}"
        found = self.groups.get(prompt.uid)
        if found is None:
            raise ValueError(
                f"{where} has nothing of train prompt {prompt.uid}; keep data, seed and prompts_per_step, and with "
                "filters.silent: refill or filters.retire_at also rewards and filters, which decide what is asked next"
            )
        if found.prompt_ids != prompt.token_ids:
            raise ValueError(
                f"{where} has train prompt {prompt.uid} with other tokens; keep data, system prompt and tokenizer"
            )
        if len(found.completions) != size:
            raise ValueError(
                f"{where} has {len(found.completions)} completions of train prompt {prompt.uid}, not {size}"
            )
        completions = tuple(
            Completion(
                token_ids=each.token_ids,
                sampler_logprobs=each.sampler_logprobs,
                text=each.text,
                stop_reason=each.stop_reason,
            )
            for each in found.completions
        )
        return Group(prompt=prompt, completions=completions)
