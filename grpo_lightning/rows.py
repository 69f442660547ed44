"""Rows -> examples: which column means what, what a prompt may look like, and splits that share no prompt.

Not yet tokenized: `prompts.py` does that. Every error names the split, the row and the source.
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import get_args

from lightning.pytorch.utilities import rank_zero_warn

from grpo_lightning.sources import Row, Source
from grpo_lightning.tasks import Split, heldout

SPLITS: tuple[Split, ...] = get_args(Split)

Message = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which column means what. Every column, named here or not, reaches the rewards in `Record.row`."""

    prompt: str = "prompt"
    """What the user asks: text, or a list of messages {"role": ..., "content": ...} that ends with the user's."""
    answer: str | None = "answer"
    """The expected answer; null: rows have none."""
    rewards: str | None = None
    """The rewards that apply to a row: a list of names, or text with commas; null or an empty cell: all of them."""


@dataclass(frozen=True, kw_only=True)
class HeldOutSet:
    """A further set of held-out prompts, with measures of its own."""

    source: Source
    """Where its rows come from."""
    split: Split = "test"
    """The rows of the source that are taken: `test`, `validation` or `train`, which is what a single file has."""
    columns: Columns | None = None
    """Which column means what; null: as in data.columns."""
    system_prompt: str | None = None
    """As data.system_prompt; null: that one."""
    accuracy: str | None = None
    """Name of the reward that means "right" here; null: as in model.evaluation."""
    in_validation: bool = True
    """Answered in every validation, too; false: by `test`, and before and after training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A row that has been read and checked."""

    position: int
    """In its source's split."""
    where: str
    """Its split, position and source, for error messages."""
    row: Row
    messages: tuple[Message, ...]
    """The conversation, without a system prompt from the settings; ends with the user's message."""
    text: str
    """The content of that last message."""
    answer: str | None
    rewards: frozenset[str] | None

    @property
    def key(self) -> str:
        """What two rows of one prompt have in common: the text, or the whole conversation if there is more to it."""
        return self.text if len(self.messages) == 1 else json.dumps(self.messages, sort_keys=True)


def read_examples(source: Source, columns: Columns) -> dict[Split, list[Example]]:
    """Every row of the source, by the source's own splits."""
    return {split: _read_split(source, split, columns) for split in SPLITS}


def read_set(given: HeldOutSet, columns: Columns) -> list[Example]:
    """The rows of a further set; there is at least one."""
    examples = _read_split(given.source, given.split, given.columns or columns)
    if not examples:
        raise ValueError(f"split: {given.source} has no {given.split} rows; name another, or set source.{given.split}")
    return examples


def share_out(
    read: dict[Split, list[Example]], elsewhere: Iterable[Example] = ()
) -> tuple[dict[Split, list[Example]], dict[Split, int]]:
    """Splits that share no prompt text, and how many prompts each lost to that; warns if there were any.

    A held-out split without rows is carved out of train by `heldout`, a hash of the text. Then test outranks
    validation, and both outrank train, which does not hold what is `elsewhere` either.
    """
    carved = {split for split in ("validation", "test") if not read[split]}
    splits: dict[Split, list[Example]] = {split: [] for split in SPLITS}
    for split in SPLITS:
        for example in read[split]:
            home = heldout(example.key)
            splits[home if split == "train" and home in carved else split].append(example)
    taken: set[str] = set()
    shared: Counter[Split] = Counter()
    for split in reversed(SPLITS):
        if split == "train":
            taken.update(example.key for example in elsewhere)
        kept = [example for example in splits[split] if example.key not in taken]
        shared[split] = len(splits[split]) - len(kept)
        taken.update(example.key for example in kept)
        splits[split] = kept
    for split, count in shared.items():
        if count:
            rank_zero_warn(f"data: {count} {split} prompts left out, because they also stand in a held-out split")
    return splits, dict(shared)


def _read_split(source: Source, split: Split, columns: Columns) -> list[Example]:
    rows = source.rows(split)
    present = {name for row in rows for name in row}
    for key, name in (("prompt", columns.prompt), ("answer", columns.answer), ("rewards", columns.rewards)):
        if rows and name is not None and name not in present:
            known = ", ".join(sorted(present))
            raise ValueError(f"data.columns.{key}: no column {name!r} in {split} of {source}; there are: {known}")
    examples = []
    for position, row in enumerate(rows):
        where = f"{split} row {position} (from 0) of {source}"
        messages = _read_messages(row.get(columns.prompt), f"{where}: column {columns.prompt!r}")
        answer = None if columns.answer is None else row.get(columns.answer)
        rewards = None if columns.rewards is None else row.get(columns.rewards)
        examples.append(
            Example(
                position=position,
                where=where,
                row=row,
                messages=messages,
                text=messages[-1]["content"],
                answer=_read_answer(answer, f"{where}: column {columns.answer!r}"),
                rewards=_read_rewards(rewards, f"{where}: column {columns.rewards!r}"),
            )
        )
    return examples


def _read_messages(value: object, where: str) -> tuple[Message, ...]:
    if isinstance(value, str):
        value = [{"role": "user", "content": value}]
    if not isinstance(value, list) or not value or not all(_is_message(message) for message in value):
        found = "empty" if not value else f"a {type(value).__name__}, {str(value)[:60]!r}"
        raise ValueError(f"{where} is {found}; expected text or a list of {{role, content}} messages")
    last = value[-1]
    if last["role"] != "user":
        raise ValueError(f"{where} ends with a message of the {last['role']}; it must end with the user's")
    if not last["content"].strip():
        raise ValueError(f"{where} is empty; every row needs a prompt")
    for message in value:
        _check_text(message["content"], where)
    return tuple(value)


def _check_text(text: str, where: str) -> None:
    """JSON can hold halves of characters, which no tokenizer, log or file takes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = text[error.start].encode("ascii", "backslashreplace").decode()
        raise ValueError(f"{where} holds {half}, half of a character (a lone surrogate); write it whole") from error


def _is_message(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(key), str) for key in ("role", "content"))


def _read_answer(value: object, where: str) -> str | None:
    if isinstance(value, str):
        _check_text(value, where)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return str(value)
    raise ValueError(f"{where} is a {type(value).__name__}; an answer is text or a number")


def _read_rewards(value: object, where: str) -> frozenset[str] | None:
    if value is None or value == "":
        return None
    names = [name.strip() for name in value.split(",")] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"{where} is {value!r}; expected reward names with commas or as a list, or null for all")
    return frozenset(names)
