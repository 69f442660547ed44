"""Rows -> chat-templated prompts -> batches: splits that share no prompt, and an order that resumes exactly.

Holds no position and no generator state: batch k of training is a pure function of (rows, batch size, k, seed), and k
is the trainer's own count of finished batches. There are no `torch` data loaders here, because a batch is a list of
`Prompt`s, made once in `setup`.
"""

import re
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain, compress
from typing import Any

import numpy as np
from jinja2 import TemplateError
from lightning import LightningDataModule
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from transformers import PreTrainedTokenizerBase

from grpo_lightning.policy import load_tokenizer
from grpo_lightning.rows import SPLITS, Columns, Example, HeldOutSet, read_examples, read_set, share_out
from grpo_lightning.seeding import seed_of
from grpo_lightning.sources import Source
from grpo_lightning.tasks import Split
from grpo_lightning.types import Prompt

UID_STRIDE = 10**9
"""Uids of validation start here, those of test at twice this and those of further sets at multiples that their names
choose, so that no two share a random stream, and to add one changes nothing about the others."""

TAKEN = re.compile(r"train|validation|test|reward|(accuracy|length|truncated)(_sampled)?|(pass|maj)_at_\d+|low|high")
"""What a further set cannot be called, because its measures' names begin with its own."""

SPLITS_OF_STAGE: dict[str | None, tuple[Split, ...]] = {
    "fit": ("train", "validation"),
    "validate": ("validation",),
    "test": ("test",),
    "predict": ("test",),
    None: SPLITS,
}


class PromptDataModule(LightningDataModule):
    """Prompts for training, validation, test and prediction (which answers the test split).

    After `setup`, `prompts` holds each split's prompts; `dropped` counts those left out as too long and `shared` those
    left out because they also stand in a split further from training. Without a trainer it acts as the only rank, at
    the first batch.

    Args:
        source: Where rows come from: `Generated` or `Dataset`.
        tokenizer: Hub name, local folder or `embedded:NAME`; the CLI takes the policy's.
        columns: Which column means what.
        sets: Further held-out sets by name; what NAME measures is val/NAME/... and test/NAME/... . Train rows with one
            of their prompts are left out.
        system_prompt: Put before each prompt as a system message, unless its messages have one.
        chat_template: Wrap the prompt in the tokenizer's chat template; false: the bare text is the prompt.
        prompts_per_step: Prompts of a training step, over all devices.
        max_prompt_tokens: Longer prompts are left out and counted, never cut.
        seed: Of the training order.
        validation_batch: Prompts of a validation, test or prediction batch, over all devices; batches are evened out.
        revision: Branch, tag or commit of the tokenizer on the hub.
        trust_remote_code: Run Python code that comes with the tokenizer.

    """

    def __init__(
        self,
        source: Source,
        tokenizer: str,
        columns: Columns = Columns(),
        sets: dict[str, HeldOutSet] | None = None,
        system_prompt: str | None = None,
        chat_template: bool = True,
        prompts_per_step: int = 32,
        max_prompt_tokens: int = 512,
        seed: int = 0,
        validation_batch: int = 256,
        revision: str | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        super().__init__()
        sizes = {
            "prompts_per_step": prompts_per_step,
            "max_prompt_tokens": max_prompt_tokens,
            "validation_batch": validation_batch,
        }
        for key, size in sizes.items():
            if size < 1:
                raise ValueError(f"data.{key}: {size} is too few; use at least 1")
        if system_prompt is not None and not chat_template:
            raise ValueError("data.system_prompt: needs data.chat_template; without it, put the text into the prompts")
        for name, each in (sets or {}).items():
            if each.system_prompt is not None and not chat_template:
                raise ValueError(
                    f"data.sets.{name}.system_prompt: needs data.chat_template, as data.system_prompt does"
                )
            if not re.fullmatch(r"[\w.-]+", name) or TAKEN.fullmatch(name):
                raise ValueError(f"data.sets: {name!r} is refused; use letters, digits and -_. and no measure's name")
        self.source, self.columns, self.system_prompt = source, columns, system_prompt
        self.sets = dict(sets or {})
        self.tokenizer, self.revision, self.trust_remote_code = tokenizer, revision, trust_remote_code
        self.chat_template, self.max_prompt_tokens, self.seed = chat_template, max_prompt_tokens, seed
        self.prompts_per_step, self.validation_batch = prompts_per_step, validation_batch
        self.prompts: dict[Split, list[Prompt]] = {}
        self.further: dict[str, list[Prompt]] = {}
        self.dropped: dict[str, int] = {}
        self.shared: dict[Split, int] = {}
        self.drawn = 0
        self.retired: set[int] = set()
        self.in_step: set[int] = set()

    @property
    def world_size(self) -> int:
        return self.trainer.world_size if self.trainer else 1

    @property
    def rank(self) -> int:
        return self.trainer.global_rank if self.trainer else 0

    def setup(self, stage: str | None = None) -> None:
        """Reads, shares out, templates and tokenizes what `stage` needs and an earlier call has not made yet."""
        wanted = SPLITS_OF_STAGE[stage]
        if missing := [split for split in wanted if split not in self.prompts]:
            tokenizer = load_tokenizer(self.tokenizer, revision=self.revision, trust_remote_code=self.trust_remote_code)
            if self.chat_template and tokenizer.chat_template is None:
                raise ValueError(
                    f"data.chat_template: the tokenizer of {self.tokenizer!r} has none; take an instruction-tuned "
                    "policy, or set data.chat_template to false to train on the bare text"
                )
            sets = self._read_sets()
            elsewhere = chain.from_iterable(sets.values())
            examples, self.shared = share_out(read_examples(self.source, self.columns), elsewhere)
            for split in missing:
                base = UID_STRIDE * SPLITS.index(split)
                self.prompts[split] = self._tokenize(split, base, examples[split], self.system_prompt, tokenizer)
            for name, base in self._further_uids().items():
                if name not in self.further:
                    own = self.sets[name].system_prompt
                    system_prompt = self.system_prompt if own is None else own
                    self.further[name] = self._tokenize(name, base, sets[name], system_prompt, tokenizer)
        if "train" in wanted:
            self._check_train()
        for split in wanted:
            unanswered = stage in ("validate", "test") and not self.held_out(split)
            self._check_held_out(split, required=unanswered or stage == "predict")
        for name, prompts in self.further.items():
            if len(prompts) < self.world_size:
                raise ValueError(
                    f"data.sets.{name}: {len(prompts)} prompts ({self.dropped[name]} left out as too long) are fewer "
                    f"than the {self.world_size} devices; give at least one for each"
                )

    def train_dataloader(self) -> "TrainBatches":
        return TrainBatches(self)

    def val_dataloader(self) -> "list[HeldOutBatches]":
        return list(self.held_out("validation").values())

    def test_dataloader(self) -> "list[HeldOutBatches]":
        return list(self.held_out("test").values())

    def predict_dataloader(self) -> "HeldOutBatches":
        return HeldOutBatches(self, self.prompts["test"])

    def held_out(self, split: Split) -> "dict[str, HeldOutBatches]":
        """What validation or test answers, by name: the split, which has none, and the further sets."""
        chosen = {name: each for name, each in self.sets.items() if split == "test" or each.in_validation}
        own = {"": self.prompts[split]} if self.prompts[split] else {}
        return {
            name: HeldOutBatches(self, prompts)
            for name, prompts in (own | {n: self.further[n] for n in chosen}).items()
        }

    def draw(self, count: int) -> list[Prompt]:
        """This rank's share of `count` further train prompts, all of them others than those of the step so far.

        They come from a second, endless stream of permutations, so that training's own order is not disturbed; its
        position, `drawn`, is part of the checkpoint. There are fewer if the data has no more that are not in the step.
        """
        rows = self._draw(count + -count % self.world_size)
        rows = rows[: len(rows) - len(rows) % self.world_size]
        return [self.prompts["train"][row] for row in rows[self.rank :: self.world_size]]

    def retire(self, uids: Iterable[int]) -> None:
        """Offers the train prompts of these uids no more, until too few are left for a step; then all come back."""
        self.retired |= set(uids)
        if len(self.prompts["train"]) - len(self.retired) < self.prompts_per_step:
            rank_zero_info("filters.retire_at: fewer prompts than a step needs are unsolved; all come back")
            self.retired.clear()

    def begin_step(self, k: int) -> list[Prompt]:
        """This rank's share of training batch k, others in place of those that are retired."""
        prompts = self.prompts["train"]
        rows = batch_indices(len(prompts), self.prompts_per_step, k, self.seed)
        rows = [row for row in rows if prompts[row].uid not in self.retired]
        self.in_step = set(rows)
        rows += self._draw(self.prompts_per_step - len(rows))
        return [prompts[row] for row in rows[self.rank :: self.world_size]]

    def _draw(self, count: int) -> list[int]:
        """The next `count` rows of the second stream that are neither in the step nor retired, if there are so many."""
        prompts, rows = self.prompts["train"], list[int]()
        n, order, epoch = len(prompts), list[int](), -1
        for _ in range(2 * n):  # however it begins, this holds every row at least once
            if len(rows) == count:
                break
            if epoch != self.drawn // n:
                epoch = self.drawn // n
                order = np.random.default_rng(seed_of("refill", self.seed, epoch)).permutation(n).tolist()
            row = order[self.drawn % n]
            self.drawn += 1
            if row not in self.in_step and prompts[row].uid not in self.retired:
                self.in_step.add(row)
                rows.append(row)
        return rows

    def state_dict(self) -> dict[str, Any]:
        return {"drawn": self.drawn, "retired": sorted(self.retired)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.drawn, self.retired = state_dict["drawn"], set(state_dict["retired"])

    def transfer_batch_to_device(self, batch: list[Prompt], device: object, dataloader_idx: int) -> list[Prompt]:
        """Prompts are plain Python: Lightning must not look into them for tensors."""
        return batch

    def _read_sets(self) -> dict[str, list[Example]]:
        found = {}
        for name, each in self.sets.items():
            try:
                found[name] = read_set(each, self.columns)
            except ValueError as error:
                cause = str(error).removeprefix("data.")
                joint = "." if re.match(r"(columns|source|split)[.:]", cause) else ": "
                raise ValueError(f"data.sets.{name}{joint}{cause}") from error
        return found

    def _further_uids(self) -> dict[str, int]:
        """Where the uids of each further set begin."""
        bases = {name: UID_STRIDE * (len(SPLITS) + zlib.crc32(name.encode())) for name in self.sets}
        if len(set(bases.values())) < len(bases):
            raise ValueError(f"data.sets: two of the names {', '.join(bases)} have one random stream; rename one")
        return bases

    def _tokenize(
        self, what: str, base: int, examples: list[Example], system: str | None, tokenizer: PreTrainedTokenizerBase
    ) -> list[Prompt]:
        """The prompts of a split or set without those too long, which are counted in `dropped`."""
        rendered = [self._render(example, system, tokenizer) for example in examples]
        # A chat template writes the special tokens itself.
        ids = tokenizer(rendered, add_special_tokens=not self.chat_template)["input_ids"] if rendered else []
        for example, token_ids in zip(examples, ids, strict=True):
            if not token_ids:
                raise ValueError(f"{example.where}: its prompt has no tokens; every row needs a prompt")
        fits = [len(token_ids) <= self.max_prompt_tokens for token_ids in ids]
        kept = list(compress(zip(examples, ids, strict=True), fits))
        self.dropped[what] = len(examples) - len(kept)
        if self.dropped[what]:
            rank_zero_warn(
                f"data: {self.dropped[what]} of {len(examples)} {what} prompts left out, longer than "
                f"data.max_prompt_tokens = {self.max_prompt_tokens}"
            )
        return [
            Prompt(
                uid=base + example.position,
                text=example.text,
                token_ids=tuple(token_ids),
                answer=example.answer,
                row=example.row,
                rewards=example.rewards,
            )
            for example, token_ids in kept
        ]

    def _render(self, example: Example, system: str | None, tokenizer: PreTrainedTokenizerBase) -> str:
        messages = list(example.messages)
        if not self.chat_template:
            if len(messages) > 1:
                raise ValueError(f"{example.where}: several messages need data.chat_template; or give text")
            return example.text
        if system is not None and all(message["role"] != "system" for message in messages):
            messages = [{"role": "system", "content": system}, *messages]
        try:
            return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        except TemplateError as error:
            raise ValueError(
                f"{example.where}: the chat template of {self.tokenizer!r} refuses its messages ({error})"
            ) from error

    def _check_train(self) -> None:
        rows, batch = len(self.prompts["train"]), self.prompts_per_step
        if rows < batch:
            raise ValueError(
                f"data.prompts_per_step: {batch} is more than the {rows} train prompts of {self.source} (without "
                f"{self.dropped['train']} too long ones and what is held out); use at most {rows}, or more data"
            )
        if batch % self.world_size:
            raise ValueError(
                f"data.prompts_per_step: {batch} cannot be shared evenly by {self.world_size} devices; use a multiple"
            )

    def _check_held_out(self, split: Split, *, required: bool) -> None:
        rows = len(self.prompts[split])
        if (required or rows) and rows < self.world_size:
            raise ValueError(
                f"data: {rows} {split} prompts in {self.source} ({self.dropped[split]} left out as too long) are fewer "
                f"than the {self.world_size} devices, and no data.sets take their place; give at least one for each"
            )


class TrainBatches:
    """The share of this rank in one epoch, from where the trainer stands to the epoch's end.

    Sized, so that Lightning does not fetch ahead of training; lazy, so that the position is read after a checkpoint has
    restored it. The epoch's end follows from the position too, because Lightning forgets its place in the epoch when a
    run that resumed at the end of one is resumed again. What `limit_train_batches` leaves of an epoch opens the next.
    """

    def __init__(self, data: PromptDataModule) -> None:
        self.data = data

    def __len__(self) -> int:
        return -(-len(self.data.prompts["train"]) // self.data.prompts_per_step)

    def __iter__(self) -> Iterator[list[Prompt]]:
        data = self.data
        finished, epoch = 0, len(self)
        if data.trainer:
            finished = data.trainer.fit_loop.epoch_loop.batch_progress.total.processed  # type: ignore[attr-defined]
            epoch = int(min(epoch, data.trainer.num_training_batches))
        for k in range(finished, (finished // epoch + 1) * epoch):
            yield data.begin_step(k)

    def state_dict(self) -> dict[str, int]:
        """Empty: its presence tells Lightning that the loader resumes, the trainer's own counters say where."""
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Nothing to restore."""


class HeldOutBatches:
    """The share of this rank in held-out prompts, in order, each prompt once; all ranks have equally many batches."""

    def __init__(self, data: PromptDataModule, prompts: list[Prompt]) -> None:
        self.data, self.prompts = data, prompts

    def __len__(self) -> int:
        rows = len(self.prompts)
        # At least one prompt per batch and rank: an empty share would leave the others waiting in a collective.
        return min(-(-rows // self.data.validation_batch), rows // self.data.world_size)

    def __iter__(self) -> Iterator[list[Prompt]]:
        share, count = self.prompts[self.data.rank :: self.data.world_size], len(self)
        for k in range(count):
            yield share[len(share) * k // count : len(share) * (k + 1) // count]


def batch_indices(n: int, batch: int, k: int, seed: int) -> list[int]:
    """Rows of batch number k: places k·batch .. (k+1)·batch - 1 of an endless stream of permutations of range(n).

    So every batch is full, no row is used a second time before all were used once, an epoch of ceil(n / batch) batches
    ends with the first rows of the next permutation instead of dropping its tail, and the number k is all there is to
    save. With n = 5 and batch = 2: [a b] [c d] [e A] [B C] [D E] [..., each letter a row, each case a permutation.

    For n >= batch no batch holds a row twice: samples are seeded by row, so its second group would repeat the first.
    """
    start = k * batch
    epoch, offset = divmod(start, n)
    rows: list[int] = _permutation(n, batch, epoch, seed)[offset : offset + batch].tolist()
    if len(rows) < batch:
        rows += _permutation(n, batch, epoch + 1, seed)[: batch - len(rows)].tolist()
    return rows


def _permutation(n: int, batch: int, epoch: int, seed: int) -> np.ndarray:
    """Permutation number `epoch` of the stream: seeded, then rearranged so that no batch holds a row twice.

    Of its first `batch` places, those that share a batch with the end of the permutation before go to rows that are not
    there. If n < 2·batch, that end may be rearranged too: then the walk starts at the last permutation that begins with
    a batch of its own, at most `batch` permutations ago.
    """
    first = max(epoch - 1, 0)
    while n < 2 * batch and first * n % batch:
        first -= 1
    order = np.random.default_rng(seed_of("order", seed, first)).permutation(n)
    for number in range(first + 1, epoch + 1):
        taken = order[n - number * n % batch :]
        order = np.random.default_rng(seed_of("order", seed, number)).permutation(n)
        head = order[:batch]
        repeats = np.isin(head, taken)
        order[:batch] = np.concatenate([head[~repeats], head[repeats]])
    return order
