"""Prompts: splits, columns, templates, lengths, the order of training, resume, ranks. No downloads; tokens are words.

Of the words `task 0`, `task 1`, ... each is one row, so that a test reads its data off the number.
"""

import csv
import json
import random
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from grpo_lightning.prompts import UID_STRIDE, PromptDataModule, batch_indices
from grpo_lightning.rows import Columns, read_examples, share_out
from grpo_lightning.sources import Dataset, Generated, Row
from grpo_lightning.tasks import Split, heldout
from grpo_lightning.types import Prompt

torch.set_num_threads(1)

T = TypeVar("T")

TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }} : {{ m['content'] }} ; {% endfor %}"
    "{% if add_generation_prompt %}assistant :{% endif %}"
)


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A source that holds its rows."""

    train: list[Row]
    validation: list[Row] = field(default_factory=list)
    test: list[Row] = field(default_factory=list)

    def __str__(self) -> str:
        return "the list"

    def rows(self, split: Split) -> list[Row]:
        return {"train": self.train, "validation": self.validation, "test": self.test}[split]


class Doubling:
    """Double a number: more prompts than any test draws."""

    def row(self, rng: random.Random) -> Row:
        number = rng.randrange(10**6)
        return {"prompt": f"double {number}", "answer": str(2 * number)}


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a tokenizer of words and signs, with a chat template."""
    return save_tokenizer(tmp_path_factory.mktemp("tokenizer"), TEMPLATE)


def save_tokenizer(folder: Path, template: str | None) -> str:
    words = ["<unk>", "<eos>", "task", "double", "system", "user", "assistant", ":", ";", "long", "think", "hi"]
    words += [str(number) for number in range(1000)]
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", eos_token="<eos>")
    fast.chat_template = template
    fast.save_pretrained(folder)
    return str(folder)


def numbered(numbers: range) -> list[Row]:
    return [{"prompt": f"task {i}", "answer": i} for i in numbers]


def split_of(first: int, size: int) -> Listed:
    """`size` train rows from number `first`; three validation and two test rows far from them."""
    return Listed(
        train=numbered(range(first, first + size)), validation=numbered(range(900, 903)), test=numbered(range(950, 952))
    )


def flat(lists: Iterable[list[T]]) -> list[T]:
    return list(chain.from_iterable(lists))


def texts(prompts: list[Prompt]) -> list[str]:
    return [prompt.text for prompt in prompts]


def refusal(data: PromptDataModule, stage: str | None = "fit") -> str:
    """The message with which `setup` refuses; it is one line."""
    with pytest.raises(ValueError, match=r"\A.+\Z") as caught:  # the dot matches no line break
        data.setup(stage)
    return str(caught.value)


# --- what becomes of a row ----------------------------------------------------------------------------------------


def test_a_row_becomes_a_templated_prompt_that_keeps_its_columns(tokenizer: str) -> None:
    data = PromptDataModule(Listed(train=numbered(range(8))), tokenizer, prompts_per_step=2)
    data.setup("fit")
    prompt = data.prompts["train"][0]
    row = {"prompt": prompt.text, "answer": prompt.uid}
    assert (prompt.answer, prompt.row, prompt.rewards) == (str(prompt.uid), row, None)
    # user : task N ; assistant :
    assert prompt.token_ids == (5, 7, 2, 12 + prompt.uid, 8, 6, 7)


def test_a_system_prompt_goes_first_unless_the_messages_bring_one(tokenizer: str) -> None:
    own = [{"role": "system", "content": "long"}, {"role": "user", "content": "hi"}]
    source = Listed(
        train=[{"prompt": "task 1"}, {"prompt": own}], validation=[{"prompt": "task 2"}], test=[{"prompt": "task 3"}]
    )
    data = PromptDataModule(source, tokenizer, columns=Columns(answer=None), system_prompt="think", prompts_per_step=2)
    data.setup("fit")
    plain, chat = data.prompts["train"]
    assert plain.token_ids == (4, 7, 10, 8, 5, 7, 2, 13, 8, 6, 7)  # system : think ; user : task 1 ; assistant :
    assert chat.token_ids == (4, 7, 9, 8, 5, 7, 11, 8, 6, 7)  # system : long ; user : hi ; assistant :
    assert (plain.text, chat.text, chat.answer) == ("task 1", "hi", None)


def test_without_chat_template_the_prompt_is_the_bare_text(tokenizer: str) -> None:
    data = PromptDataModule(split_of(0, 4), tokenizer, chat_template=False, prompts_per_step=4)
    data.setup("fit")
    assert [prompt.token_ids for prompt in data.prompts["train"]] == [(2, 12 + i) for i in range(4)]


def test_routing_takes_names_lists_and_nothing(tokenizer: str) -> None:
    cells = ["math", ["math", "format"], "math, format", None, ""]
    source = Listed(
        train=[{"prompt": f"task {i}", "kind": cell} for i, cell in enumerate(cells)],
        validation=[{"prompt": "task 90", "kind": None}],
        test=[{"prompt": "task 91", "kind": None}],
    )
    data = PromptDataModule(source, tokenizer, columns=Columns(answer=None, rewards="kind"), prompts_per_step=5)
    data.setup("fit")
    both = frozenset({"math", "format"})
    assert [prompt.rewards for prompt in data.prompts["train"]] == [frozenset({"math"}), both, both, None, None]


def test_long_prompts_are_counted_and_never_cut(tokenizer: str) -> None:
    long = {"prompt": "task 4 long long", "answer": ""}
    source = Listed(
        train=[long, *numbered(range(3))], validation=numbered(range(90, 92)), test=[long | {"prompt": "hi"}]
    )
    data = PromptDataModule(source, tokenizer, prompts_per_step=3, max_prompt_tokens=7)  # user : task N ; assistant :
    with pytest.warns(UserWarning, match=r"1 of 4 train prompts left out, longer than data.max_prompt_tokens = 7"):
        data.setup()
    assert data.dropped == {"train": 1, "validation": 0, "test": 0}
    assert [(p.uid, p.text) for p in data.prompts["train"]] == [(1, "task 0"), (2, "task 1"), (3, "task 2")]


def test_setup_makes_what_the_stage_needs_and_only_once(tokenizer: str) -> None:
    data = PromptDataModule(split_of(0, 4), tokenizer, prompts_per_step=2)
    data.setup("test")
    assert list(data.prompts) == ["test"]
    first = data.prompts["test"]
    data.setup("fit")
    data.setup("predict")
    assert set(data.prompts) == {"train", "validation", "test"}
    assert data.prompts["test"] is first


# --- splits -------------------------------------------------------------------------------------------------------


def test_missing_splits_are_carved_out_of_train(tokenizer: str) -> None:
    """The share of a split is 1/8 by a hash, so 400 rows give each about 50."""
    data = PromptDataModule(Listed(train=numbered(range(400))), tokenizer)
    data.setup()
    for split, prompts in data.prompts.items():
        assert {heldout(prompt.text) for prompt in prompts} == {split}
    sizes = {split: len(prompts) for split, prompts in data.prompts.items()}
    assert sum(sizes.values()) == 400
    assert 25 < sizes["validation"] < 75
    assert 25 < sizes["test"] < 75
    assert data.shared == {"train": 0, "validation": 0, "test": 0}


def test_no_prompt_stands_in_two_splits(tokenizer: str) -> None:
    """Train 0-9, validation 8-11, test 11-12: train loses 8 and 9, validation loses 11."""
    source = Listed(train=numbered(range(10)), validation=numbered(range(8, 12)), test=numbered(range(11, 13)))
    data = PromptDataModule(source, tokenizer, prompts_per_step=4)
    with pytest.warns(UserWarning, match="left out") as caught:
        data.setup()
    assert texts(data.prompts["train"]) == [f"task {i}" for i in range(8)]
    assert texts(data.prompts["validation"]) == ["task 8", "task 9", "task 10"]
    assert texts(data.prompts["test"]) == ["task 11", "task 12"]
    assert data.shared == {"train": 2, "validation": 1, "test": 0}
    said = [str(warning.message) for warning in caught]
    assert any("2 train prompts left out" in text for text in said)
    assert any("1 validation prompts left out" in text for text in said)


def test_uids_are_positions_and_differ_between_splits(tokenizer: str) -> None:
    data = PromptDataModule(split_of(0, 4), tokenizer, prompts_per_step=2)
    data.setup()
    uids = {split: [prompt.uid for prompt in prompts] for split, prompts in data.prompts.items()}
    assert uids["train"] == [0, 1, 2, 3]
    assert uids["validation"] == [UID_STRIDE, UID_STRIDE + 1, UID_STRIDE + 2]
    assert uids["test"] == [2 * UID_STRIDE, 2 * UID_STRIDE + 1]


def test_generated_rows_are_seeded_and_disjoint(tokenizer: str) -> None:
    source = Generated(task=Doubling(), train=64, validation=8, test=8, seed=3)
    assert source.rows("train") == Generated(task=Doubling(), train=64, seed=3).rows("train")
    assert source.rows("train") != Generated(task=Doubling(), train=64, seed=4).rows("train")
    data = PromptDataModule(source, tokenizer)
    data.setup()
    assert {split: len(prompts) for split, prompts in data.prompts.items()} == {"train": 64, "validation": 8, "test": 8}
    assert not any(data.shared.values())
    assert "generated Doubling" in str(source)


# --- the order of training ----------------------------------------------------------------------------------------


def stream(n: int, batch: int, batches: int, seed: int = 0) -> list[int]:
    return [row for k in range(batches) for row in batch_indices(n, batch, k, seed)]


@pytest.mark.parametrize(("n", "batch"), [(10, 3), (8, 8), (9, 8), (13, 8), (5, 1), (7, 7), (100, 32), (3, 2)])
def test_every_n_places_of_the_stream_are_a_permutation(n: int, batch: int) -> None:
    """So the tail of an epoch is used, and no row is used m + 1 times before all were used m times."""
    places = stream(n, batch, 6 * n)
    passes = len(places) // n
    assert all(sorted(places[i * n : (i + 1) * n]) == list(range(n)) for i in range(passes))
    assert len({tuple(places[i * n : (i + 1) * n]) for i in range(passes)}) > passes / 2 or n < 6


@pytest.mark.parametrize(("n", "batch"), [(10, 3), (9, 8), (13, 8), (100, 32), (3, 2), (65, 64)])
def test_no_batch_holds_a_row_twice(n: int, batch: int) -> None:
    for k in range(4 * n):
        rows = batch_indices(n, batch, k, 1)
        assert len(rows) == batch == len(set(rows))


def test_the_order_depends_on_the_seed_and_nothing_else() -> None:
    assert batch_indices(100, 8, 40, 7) == batch_indices(100, 8, 40, 7)
    assert stream(100, 10, 10, seed=1) != stream(100, 10, 10, seed=2)
    state = np.random.get_state()[1].copy()
    batch_indices(100, 8, 40, 7)
    assert (np.random.get_state()[1] == state).all()


def test_every_row_is_equally_likely_in_a_shared_batch() -> None:
    """n = 10, batch = 4: batch 2 is two rows of one permutation and two of the next; a row is in 0.4 of all seeds'.

    With 2000 seeds the standard deviation is sqrt(0.4 * 0.6 / 2000) = 0.011; the bound is five of them.
    """
    counts = Counter(row for seed in range(2000) for row in batch_indices(10, 4, 2, seed))
    assert all(abs(counts[row] / 2000 - 0.4) < 0.055 for row in range(10))


def test_without_a_trainer_an_epoch_is_one_pass(tokenizer: str) -> None:
    data = PromptDataModule(split_of(0, 5), tokenizer, prompts_per_step=2)
    data.setup("fit")
    batches = list(data.train_dataloader())
    assert [len(batch) for batch in batches] == [2, 2, 2]
    assert len(data.train_dataloader()) == 3
    assert set(texts(flat(batches))) == {f"task {i}" for i in range(5)}


# --- several ranks ------------------------------------------------------------------------------------------------


def on_rank(data: PromptDataModule, rank: int, world: int, finished: int = 0) -> PromptDataModule:
    """As if a trainer of `world` processes had this one at `rank`, with `finished` batches behind it."""
    progress = SimpleNamespace(total=SimpleNamespace(processed=finished))
    loop = SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress))
    trainer = SimpleNamespace(world_size=world, global_rank=rank, fit_loop=loop, num_training_batches=1000)
    data.trainer = trainer  # type: ignore[assignment]
    return data


def test_ranks_share_each_training_batch(tokenizer: str) -> None:
    data = PromptDataModule(split_of(0, 9), tokenizer, prompts_per_step=4)
    data.setup("fit")
    whole = list(data.train_dataloader())
    shares = [list(on_rank(data, rank, 2).train_dataloader()) for rank in range(2)]
    for batch, left, right in zip(whole, *shares, strict=True):
        assert (batch[::2], batch[1::2]) == (left, right)


@pytest.mark.parametrize(
    ("rows", "world", "batch"), [(5, 2, 2), (5, 1, 2), (7, 3, 3), (3, 3, 1), (3, 2, 256), (9, 2, 3)]
)
def test_ranks_share_held_out_prompts_without_waiting_for_each_other(
    tokenizer: str, rows: int, world: int, batch: int
) -> None:
    source = Listed(train=numbered(range(900, 912)), validation=numbered(range(rows)), test=numbered(range(800, 803)))
    data = PromptDataModule(source, tokenizer, prompts_per_step=6, validation_batch=batch)
    data.setup("fit")
    shares = [list(*on_rank(data, rank, world).val_dataloader()) for rank in range(world)]
    assert len({len(share) for share in shares}) == 1
    assert all(batch for share in shares for batch in share)
    assert len(shares[0]) == len(data.held_out("validation")[""])
    assert sorted(texts(flat(flat(shares)))) == sorted(f"task {i}" for i in range(rows))


def test_held_out_batches_are_in_order_and_even(tokenizer: str) -> None:
    """Five prompts in batches of at most 4 are 2 + 3, not 4 + 1."""
    source = Listed(train=numbered(range(90, 99)), validation=numbered(range(80, 82)), test=numbered(range(5)))
    data = PromptDataModule(source, tokenizer, prompts_per_step=2, validation_batch=4)
    data.setup("test")
    (batches,) = data.test_dataloader()
    assert [texts(batch) for batch in batches] == [["task 0", "task 1"], ["task 2", "task 3", "task 4"]]
    assert list(data.predict_dataloader()) == list(batches)


def test_ranks_that_cannot_share_are_refused(tokenizer: str) -> None:
    data = on_rank(PromptDataModule(split_of(0, 9), tokenizer, prompts_per_step=4), 0, 3)
    assert refusal(data) == "data.prompts_per_step: 4 cannot be shared evenly by 3 devices; use a multiple"
    data = on_rank(PromptDataModule(split_of(0, 9), tokenizer, prompts_per_step=3), 0, 3)
    assert "2 test prompts in the list" in refusal(data, "test")


# --- a real trainer -----------------------------------------------------------------------------------------------


class Seen(LightningModule):
    """Notes the uids of every batch; trains one number, by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.train_uids: list[list[int]] = []
        self.held_out_uids: list[list[int]] = []

    def training_step(self, prompts: list[Prompt], batch_idx: int) -> None:
        for _ in range(2):
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(self.weight**2)
            optimizer.step()
        self.train_uids.append([prompt.uid for prompt in prompts])

    def validation_step(self, prompts: list[Prompt], batch_idx: int) -> None:
        self.held_out_uids.append([prompt.uid for prompt in prompts])

    def test_step(self, prompts: list[Prompt], batch_idx: int) -> None:
        self.held_out_uids.append([prompt.uid for prompt in prompts])

    def predict_step(self, prompts: list[Prompt], batch_idx: int) -> list[str]:
        return texts(prompts)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class SaveAfter(Callback):
    """Saves a checkpoint after each batch, as ModelCheckpoint would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(self, trainer: Trainer, *args: object) -> None:
        trainer.save_checkpoint(self.folder / f"{trainer.fit_loop.epoch_loop.batch_progress.total.processed}.ckpt")


def fit(
    folder: Path, tokenizer: str, *, ckpt_path: Path | None = None, callback: Callback | None = None, **kwargs: object
) -> Seen:
    """Three epochs of 7 rows in batches of 3: batches 0-2, 3-5 and 6-8."""
    seen = Seen()
    data = PromptDataModule(split_of(0, 7), tokenizer, prompts_per_step=3, validation_batch=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's opinions about devices, log intervals and optimizer state
        trainer = Trainer(
            accelerator="cpu",
            devices=1,
            max_epochs=3,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            default_root_dir=folder,
            callbacks=[callback] if callback else [],
            **kwargs,
        )
        trainer.fit(seen, datamodule=data, ckpt_path=ckpt_path)
    return seen


def test_a_resumed_run_sees_the_batches_it_would_have_seen(tokenizer: str, tmp_path: Path) -> None:
    """Stopped after each of the nine batches: within an epoch, at its end, in the second and in the last."""
    whole = fit(tmp_path, tokenizer, callback=SaveAfter(tmp_path)).train_uids
    assert whole == [batch_indices(7, 3, k, 0) for k in range(9)]
    for finished in range(1, 9):
        resumed = fit(tmp_path, tokenizer, ckpt_path=tmp_path / f"{finished}.ckpt").train_uids
        assert resumed == whole[finished:], finished


def test_a_resumed_run_can_be_resumed(tokenizer: str, tmp_path: Path) -> None:
    """First from the end of the first epoch, then from within a later one, whose start Lightning has forgotten."""
    fit(tmp_path, tokenizer, callback=SaveAfter(tmp_path))
    fit(tmp_path, tokenizer, callback=SaveAfter(tmp_path), ckpt_path=tmp_path / "3.ckpt")
    for finished in (4, 5, 7, 8):
        resumed = fit(tmp_path, tokenizer, ckpt_path=tmp_path / f"{finished}.ckpt").train_uids
        assert resumed == [batch_indices(7, 3, k, 0) for k in range(finished, 9)]


def test_resume_holds_with_shortened_epochs_and_validation_within_them(tokenizer: str, tmp_path: Path) -> None:
    """`limit_train_batches=2` of 3 makes epochs of batches 0-1, 2-3, 4-5; validation runs after each batch."""
    options = {"limit_train_batches": 2, "val_check_interval": 1}
    seen = fit(tmp_path, tokenizer, callback=SaveAfter(tmp_path), **options)
    assert seen.train_uids == [batch_indices(7, 3, k, 0) for k in range(6)]
    assert seen.held_out_uids == [[UID_STRIDE], [UID_STRIDE + 1, UID_STRIDE + 2]] * 6
    for finished in range(1, 6):
        resumed = fit(tmp_path, tokenizer, ckpt_path=tmp_path / f"{finished}.ckpt", **options).train_uids
        assert resumed == seen.train_uids[finished:], finished


def test_evaluation_outside_fit_answers_each_prompt_once(tokenizer: str, tmp_path: Path) -> None:
    seen, data = Seen(), PromptDataModule(split_of(0, 7), tokenizer, validation_batch=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path)
        trainer.validate(seen, datamodule=data, verbose=False)
        trainer.test(seen, datamodule=data, verbose=False)
        predicted = trainer.predict(seen, datamodule=data)
    assert flat(seen.held_out_uids) == [UID_STRIDE + i for i in range(3)] + [2 * UID_STRIDE, 2 * UID_STRIDE + 1]
    assert predicted == [["task 950", "task 951"]]


# --- files --------------------------------------------------------------------------------------------------------


def write(path: Path, rows: list[Row]) -> Path:
    """The rows in the format that the suffix names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=1))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".json", ".csv"])
def test_files_of_each_kind_are_read(suffix: str, tmp_path: Path) -> None:
    rows: list[Row] = [{"prompt": 'say "hé,\nllo"', "answer": "1"}, {"prompt": "task 2", "answer": "2"}]
    train, test = write(tmp_path / f"a{suffix}", rows), write(tmp_path / f"b{suffix}", rows[1:])
    source = Dataset(path=str(train), test=str(test))
    assert (source.rows("train"), source.rows("validation"), source.rows("test")) == (rows, [], rows[1:])
    assert Dataset(path=str(train), limit=1).rows("train") == rows[:1]


def test_messages_come_out_of_parquet_as_they_went_in(tokenizer: str, tmp_path: Path) -> None:
    chat = [{"role": "system", "content": "think"}, {"role": "user", "content": "hi"}]
    path = write(tmp_path / "chat.parquet", [{"prompt": chat, "answer": None}])
    other = write(tmp_path / "plain.jsonl", [{"prompt": "task 1", "answer": "1"}])
    data = PromptDataModule(
        Dataset(path=str(path), validation=str(other), test=str(other)), tokenizer, prompts_per_step=1
    )
    with pytest.warns(UserWarning, match="1 validation prompts"):
        data.setup("fit")
    assert data.prompts["train"][0].token_ids == (4, 7, 10, 8, 5, 7, 11, 8, 6, 7)


def test_a_folder_holds_a_file_or_shards_for_each_split(tmp_path: Path) -> None:
    for shard in range(2):
        write(tmp_path / "main" / f"train-0000{shard}-of-00002.parquet", [{"prompt": f"task {shard}"}])
    write(tmp_path / "main" / "test.jsonl", [{"prompt": "task 9"}])
    source = Dataset(path=str(tmp_path), name="main", test="test")
    assert [row["prompt"] for row in source.rows("train")] == ["task 0", "task 1"]
    assert source.rows("test") == Dataset(path=str(tmp_path / "main"), test="test.jsonl").rows("test")
    with pytest.raises(ValueError, match=r"no files of the split 'dev'; there are: test.jsonl, train-00000"):
        Dataset(path=str(tmp_path), name="main", validation="dev").rows("validation")
    with pytest.raises(ValueError, match=r"other: no such data folder"):
        Dataset(path=str(tmp_path), name="other").rows("train")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"prompt": "x"}\n\n{"prompt": \n', r"a\.jsonl, line 3: not JSON"),
        ("a.jsonl", b'{"prompt": "x"}\n[1]\n', r"a\.jsonl, line 2: a list; expected an object"),
        ("a.jsonl", b'{"prompt": "x"}\n\xff\n', r"a\.jsonl, line 2: not UTF-8 text"),
        ("a.json", b'[{"prompt": "x"},\n{"prompt" 1}]', r"a\.json, line 2: not JSON"),
        ("a.json", b'[{"prompt": "x"}, 3]', r"a\.json, element 1: a int"),
        ("a.csv", b"prompt,answer\nx,1\ny\n", r"a\.csv, line 3: 1 fields; the header has 2"),
        ("a.csv", b"prompt,answer\nx,1,2\n", r"a\.csv, line 2: 3 fields; the header has 2"),
        ("a.csv", b'prompt,answer\n"x"y,1\n', r"a\.csv, line 2: not CSV"),
        ("a.csv", b"prompt,answer\n", r"source\.train: no rows in 'train' of .*a\.csv"),
        ("a.jsonl", b"", r"source\.train: no rows in 'train' of .*a\.jsonl"),
        ("a.parquet", b"PAR1 not really", r"a\.parquet: not a readable parquet file"),
    ],
)
def test_a_broken_file_is_named_with_its_line(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        Dataset(path=str(tmp_path / name)).rows("train")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere\.jsonl: no such data file"):
        Dataset(path=str(tmp_path / "nowhere.jsonl")).rows("train")
    with pytest.raises(ValueError, match=r"rows\.txt: unknown kind of data file; known: .parquet, .jsonl, .json, .csv"):
        Dataset(path=str(write(tmp_path / "a.jsonl", [{}])), test="rows.txt").rows("test")


def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets.config
    import huggingface_hub.constants

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    message = r"\Asource.path: .* split 'train' of the data set nobody/nothing \(name=main\) .* check the name and .*\Z"
    with pytest.raises(ValueError, match=message):
        Dataset(path="nobody/nothing", name="main").rows("train")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"path": "openai/gsm8k", "limit": 0}, "source.limit: 0"),
        ({"path": "a.jsonl", "revision": "main"}, "source.revision: 'main' means nothing"),
        ({"path": "a.jsonl", "name": "main"}, "source.name: 'main' means nothing"),
        ({"path": "a.jsonl", "train": "b.jsonl"}, "source.train: 'b.jsonl' contradicts"),
    ],
)
def test_contradictions_in_a_data_set_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Dataset(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("sizes", [{"train": 0}, {"validation": -1}, {"test": -1}])
def test_sizes_that_cannot_be_drawn_are_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=rf"source\.{next(iter(sizes))}: "):
        Generated(task=Doubling(), **sizes)


# --- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": " "}, "train row 1 (from 0) of the list: column 'prompt' is empty"),
        ({"prompt": None}, "train row 1 (from 0) of the list: column 'prompt' is empty"),
        ({"answer": "1"}, "train row 1 (from 0) of the list: column 'prompt' is empty"),
        ({"prompt": 3}, "train row 1 (from 0) of the list: column 'prompt' is a int, '3'"),
        ({"prompt": [{"role": "user"}]}, "column 'prompt' is a list"),
        ({"prompt": [{"role": "assistant", "content": "4"}]}, "ends with a message of the assistant"),
        ({"prompt": "a\ud800"}, r"train row 1 (from 0) of the list: column 'prompt' holds \ud800, half of a character"),
        ({"prompt": "hi", "answer": "\udfff"}, r"column 'answer' holds \udfff, half of a character"),
        ({"prompt": "hi", "answer": ["1"]}, "train row 1 (from 0) of the list: column 'answer' is a list"),
        ({"prompt": "hi", "rewards": []}, "column 'rewards' is []; expected reward names"),
        ({"prompt": "hi", "rewards": "math,,code"}, "column 'rewards' is 'math,,code'"),
    ],
)
def test_a_bad_row_is_named(row: Row, message: str, tokenizer: str) -> None:
    good = {"prompt": "task 1", "answer": "1", "rewards": None}
    data = PromptDataModule(Listed(train=[good, row]), tokenizer, columns=Columns(rewards="rewards"))
    assert message in refusal(data)


@pytest.mark.parametrize("key", ["prompt", "answer", "rewards"])
def test_a_missing_column_is_named_with_those_there_are(key: str, tokenizer: str) -> None:
    data = PromptDataModule(split_of(0, 4), tokenizer, columns=Columns(**{key: "absent"}))
    assert refusal(data) == f"data.columns.{key}: no column 'absent' in train of the list; there are: answer, prompt"


def test_too_few_rows_are_refused_with_both_numbers(tokenizer: str) -> None:
    message = refusal(PromptDataModule(split_of(0, 5), tokenizer, prompts_per_step=8))
    assert message.startswith(
        "data.prompts_per_step: 8 is more than the 5 train prompts of the list (without 0 too long ones"
    )


def test_an_empty_held_out_split_is_refused_only_where_it_is_needed(tokenizer: str) -> None:
    train = [{"prompt": f"task {i}", "answer": i} for i in range(100) if heldout(f"task {i}") == "train"]
    data = PromptDataModule(Listed(train=train), tokenizer, prompts_per_step=2)
    data.setup("fit")
    assert data.val_dataloader() == []
    assert "0 validation prompts in the list" in refusal(data, "validate")


def test_a_tokenizer_without_chat_template_is_refused(tmp_path: Path) -> None:
    bare = save_tokenizer(tmp_path, None)
    assert "set data.chat_template to false" in refusal(PromptDataModule(split_of(0, 4), bare))
    PromptDataModule(split_of(0, 4), bare, chat_template=False, prompts_per_step=4).setup("fit")


def test_what_the_chat_template_refuses_is_named_with_its_row(tmp_path: Path) -> None:
    strict = save_tokenizer(tmp_path, "{{ raise_exception('no system role') }}")
    message = refusal(PromptDataModule(split_of(0, 4), strict, system_prompt="think"))
    assert message.startswith("train row 0 (from 0) of the list: the chat template of")
    assert "no system role" in message


def test_messages_need_a_chat_template(tokenizer: str) -> None:
    chat = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hi"},
        {"role": "user", "content": "hi"},
    ]
    source = Listed(train=[{"prompt": chat, "answer": ""}], validation=numbered(range(2)), test=numbered(range(2, 4)))
    assert "several messages need data.chat_template" in refusal(
        PromptDataModule(source, tokenizer, chat_template=False)
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompts_per_step": 0}, "data.prompts_per_step: 0"),
        ({"max_prompt_tokens": 0}, "data.max_prompt_tokens: 0"),
        ({"validation_batch": -1}, "data.validation_batch: -1"),
        ({"system_prompt": "x", "chat_template": False}, "data.system_prompt: needs data.chat_template"),
    ],
)
def test_settings_that_contradict_are_refused(settings: dict[str, object], message: str, tokenizer: str) -> None:
    with pytest.raises(ValueError, match=message):
        PromptDataModule(split_of(0, 4), tokenizer, **settings)  # type: ignore[arg-type]


# --- the command line ---------------------------------------------------------------------------------------------


def test_the_parser_builds_a_data_module_from_a_config(tokenizer: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", numbered(range(5)))
    parser = LightningArgumentParser()
    parser.add_lightning_class_args(PromptDataModule, "data")
    source = json.dumps({"class_path": "grpo_lightning.sources.Dataset", "init_args": {"path": str(path)}})
    config = parser.parse_args(
        [f"--data.source={source}", f"--data.tokenizer={tokenizer}", "--data.columns.answer=null"]
    )
    data = parser.instantiate(config).data
    assert isinstance(data, PromptDataModule)
    assert (data.source, data.columns) == (Dataset(path=str(path)), Columns(answer=None))
    assert "never cut" in parser.format_help()


def test_conversations_that_end_alike_are_different_prompts() -> None:
    """Only the last message is the record's prompt text; what came before decides whether two rows are one."""
    chats: list[Row] = []
    for i in range(60):
        said = [("user", f"x is {i}."), ("assistant", "Yes."), ("user", "Solve.")]
        chats.append({"prompt": [{"role": role, "content": content} for role, content in said]})
    source = Listed(train=chats[:40], validation=chats[40:50], test=[*chats[50:], chats[0]])
    with pytest.warns(UserWarning, match="1 train prompts left out"):
        splits, _ = share_out(read_examples(source, Columns(answer=None)))
    assert {split: len(examples) for split, examples in splits.items()} == {"train": 39, "validation": 10, "test": 11}
