"""Records every rollout of a run, to be looked at, reported and trained on again; `rollout_files` has the format.

Costs no forward pass: what the policy said is what the updates have computed anyway.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import accumulate, pairwise
from pathlib import Path
from typing import cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from transformers import PreTrainedTokenizerBase

from grpo_lightning.generation import Recorded
from grpo_lightning.module import GRPOModule
from grpo_lightning.preparation import Prepared
from grpo_lightning.rollout_files import (
    FOLDER,
    RecordedCompletion,
    RecordedGroup,
    RolloutHeader,
    own_files,
    remove_after,
    write_file,
)
from grpo_lightning.seeding import rollout_seed

MEGABYTE = 10**6

DIGITS = 5
"""Of the policy's log-probs, which are for looking at."""


class RecordRollouts(Callback):
    """Writes what each step has generated to `rollouts` in the run's folder: one file a step and process.

    `python scripts/rollouts.py RUN` shows them; the engine `grpo_lightning.generation.Recorded` trains on them again.

    Args:
        every_n_rollouts: Which are recorded: the first and every n-th after it; 0: none.
        max_megabytes: What the folder may hold. The oldest go first, but for the very first and the latest.

    """

    def __init__(self, every_n_rollouts: int = 1, max_megabytes: float = 500.0) -> None:
        if every_n_rollouts < 0:
            raise ValueError(
                f"recording.every_n_rollouts: {every_n_rollouts} is refused; it must be positive, or 0 for none"
            )
        if not max_megabytes > 0:
            raise ValueError(f"recording.max_megabytes: {max_megabytes} is refused; it must be positive")
        self.every_n_rollouts, self.max_megabytes = every_n_rollouts, max_megabytes
        self.sizes: dict[Path, int] = {}
        """This process's files, the oldest first."""
        self.texts = TokenTexts()
        self.began = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuses to write over what is being trained on."""
        engine = cast(GRPOModule, pl_module).engine
        if stage == "fit" and isinstance(engine, Recorded):
            folder = folder_of(trainer)
            if Path(engine.folder).resolve() == folder.resolve():
                raise ValueError(
                    f"engine.folder: {engine.folder} is where this run records its own rollouts; give the run another "
                    "name with --run"
                )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A run that goes on from a checkpoint comes to the steps behind it once more."""
        folder = folder_of(trainer)
        try:
            if trainer.local_rank == 0:
                remove_after(folder, trainer.global_step)
            known = own_files(folder, trainer.global_rank)
            self.sizes = {path: path.stat().st_size for step, path in known if step <= trainer.global_step}
        except OSError as error:
            logging.getLogger(__name__).warning("recording: %s is not put in order (%s)", folder, error)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        self.began = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        module = cast(GRPOModule, pl_module)
        number = module.iteration - 1
        if module.last is None or not self.every_n_rollouts or number % self.every_n_rollouts:
            return
        header = RolloutHeader(
            step=trainer.global_step,
            rollout=number,
            updates=trainer.global_step - self.began,
            seed=rollout_seed(module.seed, number),
            run_seed=module.seed,
            group_size=module.group_size,
            sampling=asdict(module.sampling),
            rewards=module.last.scores.names,
            rank=trainer.global_rank,
            ranks=trainer.world_size,
        )
        folder = folder_of(trainer)
        groups = recorded(module.last, module.looks, self.texts.of(module.last, module.vocabulary))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path = write_file(folder, header, groups)
            self.sizes.pop(path, None)
            self.sizes[path] = path.stat().st_size
            self.make_room(self.max_megabytes * MEGABYTE / trainer.world_size)
        except OSError as error:
            logging.getLogger(__name__).warning("recording: step %d is not recorded (%s)", header.step, error)

    def make_room(self, most: float) -> None:
        """Removes the oldest until this process's files hold no more than so many bytes."""
        total = sum(self.sizes.values())
        for path in list(self.sizes)[1:-1]:
            if total <= most:
                break
            total -= self.sizes.pop(path)
            path.unlink(missing_ok=True)


def folder_of(trainer: Trainer) -> Path:
    """Where a run's rollouts are recorded."""
    return Path(trainer.default_root_dir) / FOLDER


class TokenTexts:
    """The text of each token by itself, a leading blank included; remembered, because decoding one takes a while."""

    def __init__(self) -> None:
        self.known: dict[int, str] = {}

    def of(self, trained: Prepared, tokenizer: PreTrainedTokenizerBase) -> Mapping[int, str]:
        """Of all tokens of the completions, and of others."""
        completions = [c for group in trained.rollout.groups for c in group.completions]
        new = sorted({i for c in completions for i in c.token_ids} - self.known.keys())
        if new:
            self.known |= zip(new, token_texts(tokenizer, new), strict=True)
        return self.known


def token_texts(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> list[str]:
    """Each decoded by itself. Behind a letter, because some tokenizers leave a blank out that begins a text."""
    letter = list(tokenizer.encode("a", add_special_tokens=False))
    how = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}
    start, *behind = tokenizer.batch_decode([letter, *([*letter, i] for i in token_ids)], **how)
    alone = tokenizer.batch_decode([[i] for i in token_ids], **how)
    return [
        text.removeprefix(start) if text.startswith(start) else single
        for single, text in zip(alone, behind, strict=True)
    ]


def recorded(
    trained: Prepared, looks: Mapping[tuple[int, int], torch.Tensor], texts: Mapping[int, str]
) -> list[RecordedGroup]:
    """A step's groups as they are written; `looks` as of `GRPOModule`."""
    samples = {(s.group, s.sample): s for s in trained.samples}
    known = dict(zip(looks, on_host(list(looks.values())), strict=True))
    names, rewards = trained.scores.names, trained.scores.rewards.tolist()
    groups = []
    for number, group in enumerate(trained.rollout.groups):
        completions = []
        for j, c in enumerate(group.completions):
            policy = known.get((number, j))
            if policy is not None and len(policy) < len(c.token_ids):
                policy = spread(policy, samples[number, j].counted.tolist(), len(c.token_ids))
            completions.append(
                RecordedCompletion(
                    text=c.text,
                    token_ids=c.token_ids,
                    token_texts=tuple(map(texts.__getitem__, c.token_ids)),
                    stop_reason=c.stop_reason,
                    sampler_logprobs=c.sampler_logprobs,
                    policy_logprobs=None if policy is None else tuple(policy),
                    rewards=dict(zip(names, rewards[number][j], strict=True)),
                    reward=float(trained.rewards[number, j]),
                    advantage=float(trained.advantages[number, j]),
                    trained=(number, j) in samples,
                )
            )
        prompt = group.prompt
        groups.append(
            RecordedGroup(
                uid=prompt.uid,
                prompt=prompt.text,
                answer=prompt.answer,
                prompt_ids=prompt.token_ids,
                completions=tuple(completions),
            )
        )
    return groups


def on_host(values: Sequence[torch.Tensor]) -> list[list[float]]:
    """Log-probs as numbers of DIGITS digits; a device is waited for once."""
    if not values:
        return []
    flat = torch.cat(list(values)).cpu().double().numpy().round(DIGITS).tolist()
    ends = accumulate(map(len, values), initial=0)
    return [flat[start:end] for start, end in pairwise(ends)]


def spread(values: Sequence[float], places: Sequence[int], length: int) -> list[float]:
    """The values at their places, NaN elsewhere."""
    found = [float("nan")] * length
    for place, value in zip(places, values, strict=True):
        found[place] = value
    return found
