"""Recorded rollouts: what is written is what is read, bit for bit, whatever is in it; bounded; and trained on again."""

import dataclasses
import gzip
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from grpo_lightning.batching import GHOST, by_sequence, micro_batches
from grpo_lightning.cli import main
from grpo_lightning.filters import FilterConfig
from grpo_lightning.generation import BuiltinGenerator, Recorded, Rollout, SamplingConfig
from grpo_lightning.module import GRPOModule
from grpo_lightning.objective import ObjectiveConfig
from grpo_lightning.optimization import UpdateConfig
from grpo_lightning.recording import RecordRollouts, on_host, spread, token_texts
from grpo_lightning.rollout_files import (
    RecordedCompletion,
    RecordedGroup,
    RolloutHeader,
    read_header,
    read_step,
    recorded_steps,
    step_files,
    write_file,
)
from grpo_lightning.scoring import RewardSpec
from grpo_lightning.types import Prompt
from tests.fakes import REWARDS, many_digits, never_mixed, tiny_data, tiny_module, tiny_trainer
from tests.tiny import VOCABULARY, sample

ROOT = Path(__file__).parent.parent
HOSTILE = (
    "</style><script>alert(1)</script>\x1b[31m\x1b]0;title\x07\r\n\x00\x9b2J\u2028\u202e\ud800 {{x}} [red]漢👨\u200d👩"
)


def header(step: int = 4, **changes: object) -> RolloutHeader:
    settings: dict[str, object] = {
        "step": step,
        "rollout": step - 1,
        "updates": 1,
        "seed": 2**63 - 1,
        "run_seed": 0,
        "group_size": 2,
        "sampling": {"temperature": 1.0, "stop": ["\n"]},
        "rewards": ("answer", "format"),
    }
    return RolloutHeader(**(settings | changes))


def completion(**changes: object) -> RecordedCompletion:
    settings: dict[str, object] = {
        "text": HOSTILE,
        "token_ids": (7, 0, 1),
        "token_texts": (HOSTILE, "a", "<end>"),
        "stop_reason": "eos",
        "sampler_logprobs": (float(np.float32(-0.1)), float(np.float32(-1e-30)), -2.0000002384185791015625),
        "policy_logprobs": (-0.25, 0.0, -2.0),
        "rewards": {"answer": 1 / 3, "format": math.nan},
        "reward": 1 / 3,
        "advantage": -0.7071067811865475,
        "trained": True,
    }
    return RecordedCompletion(**(settings | changes))


def group(*completions: RecordedCompletion, **changes: object) -> RecordedGroup:
    settings: dict[str, object] = {"uid": 3, "prompt": HOSTILE, "answer": None, "prompt_ids": (9, 0)}
    return RecordedGroup(**(settings | changes), completions=completions or (completion(), completion()))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Surrogates, control characters, infinities and what does not apply; NaN compares by its name."""
    odd = completion(
        sampler_logprobs=(math.nan, -math.inf, 0.5),
        policy_logprobs=None,
        reward=math.nan,
        advantage=0.0,
        trained=False,
        rewards={"answer": math.nan, "format": math.inf},
    )
    groups = [group(odd, completion()), group(uid=0, answer="\udfff", prompt="")]
    path = write_file(tmp_path, header(), groups)
    assert path.name == "step-000004.jsonl.gz"
    assert repr(read_step(tmp_path, 4)) == repr(groups)
    assert repr(read_header(path)) == repr(header(sampling={"temperature": 1.0, "stop": ["\n"]}))
    lines = gzip.decompress(path.read_bytes()).decode("ascii").split("\n")
    assert [json.loads(line, parse_constant=pytest.fail) is not None for line in lines[:-1]] == [True] * 4
    assert json.loads(lines[2])["completions"][0]["rewards"] == {"answer": None, "format": "inf"}


def test_any_float32_is_named(tmp_path: Path) -> None:
    """Log-probs over all magnitudes; a double comes back as the float32 next to it, as the loss would take it."""
    draw = np.random.default_rng(0)
    values = -np.exp(draw.uniform(-80, 5, 10_000)).astype(np.float32)
    some = completion(token_ids=(0,) * 10_000, token_texts=("a",) * 10_000, policy_logprobs=None)
    for given in (values.tolist(), (values.astype(np.float64) * (1 + 1e-12)).tolist()):
        write_file(tmp_path, header(), [group(dataclasses.replace(some, sampler_logprobs=tuple(given)))])
        assert [*read_step(tmp_path, 4)[0].completions[0].sampler_logprobs] == values.tolist()


def test_equal_rollouts_make_equal_files(tmp_path: Path) -> None:
    """No clock and no name in them; nothing else is left in the folder."""
    first = write_file(tmp_path, header(), [group()]).read_bytes()
    assert write_file(tmp_path, header(), [group()]).read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == ["step-000004.jsonl.gz"]


def test_the_ratio_is_the_policys_to_the_samplers() -> None:
    """e^(-0.25 + 0.1), e^0 and e^0; one that no float can name is the largest there is; NaN stays."""
    ratios = completion(policy_logprobs=(-0.25, 0.0, -2.0)).ratios
    assert ratios == pytest.approx((math.exp(-0.15), 1.0, 1.0))
    far = completion(sampler_logprobs=(-math.inf, math.nan, -1.0)).ratios
    assert far[0] == pytest.approx(math.exp(700))
    assert math.isnan(far[1])
    assert far[2] == pytest.approx(math.exp(-1))
    assert completion(policy_logprobs=None).ratios is None


def test_the_files_of_all_ranks_are_one_step(tmp_path: Path) -> None:
    for rank in (1, 0, 10):
        write_file(tmp_path, header(rank=rank, ranks=11), [group(uid=rank)])
    write_file(tmp_path, header(step=12), [group()])
    (tmp_path / "step-000099.jsonl.gz.writing").write_bytes(b"")
    assert recorded_steps(tmp_path) == [4, 12]
    assert recorded_steps(tmp_path / "nowhere") == []
    assert [each.uid for each in read_step(tmp_path, 4)] == [0, 1, 10]


def test_a_step_that_is_missing_is_named_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"step 3 is not recorded; no step is$"):
        read_step(tmp_path, 3)
    for step in range(1, 21):
        write_file(tmp_path, header(step=step), [])
    with pytest.raises(ValueError, match=r"step 21 is .*; steps 1, 2, 3, 4, 5, 6, \.\.\., 15, 16, 17, 18, 19, 20 are$"):
        read_step(tmp_path, 21)


def repacked(content: bytes, old: bytes, new: bytes) -> bytes:
    text = gzip.decompress(content)
    assert old in text
    return gzip.compress(text.replace(old, new))


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "no archive": lambda content: b"plain text",
    "cut off": lambda content: content[: len(content) // 2],
    "cut off at its end": lambda content: content[:-4],
    "flipped": lambda content: content[:-20] + bytes([content[-20] ^ 255]) + content[-19:],
    "no lines": lambda content: gzip.compress(b""),
    "a header only": lambda content: gzip.compress(gzip.decompress(content).split(b"\n")[0]),
    "another format": lambda content: repacked(content, b'"format": 1', b'"format": 2'),
    "no JSON": lambda content: repacked(content, b'"uid"', b"uid"),
    "lists": lambda content: gzip.compress(b"[]\n[]\n[]\n"),
    "a missing key": lambda content: repacked(content, b'"advantage"', b'"advantages"'),
    "a missing token": lambda content: repacked(content, b'"7":', b'"8":'),
    "a wrong number": lambda content: repacked(content, b"-2.00000024", b'"many"'),
    "not ASCII": lambda content: repacked(content, b"alert", "älert".encode()),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_file_is_said_in_one_line(tmp_path: Path, how: str) -> None:
    path = write_file(tmp_path, header(), [group()])
    path.write_bytes(DAMAGE[how](path.read_bytes()))
    with pytest.raises(ValueError, match=r"step-000004\.jsonl\.gz: is no recorded rollout, or a damaged one") as error:
        read_step(tmp_path, 4)
    assert "\n" not in str(error.value)


def test_records_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        group().uid = 1


# --------------------------------------------------------------------------------------------------------- of real runs


class Rows(Callback):
    """Keeps what each step says of itself, but for times."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        timed = ("time/", "speed/", "tok/s")
        ends = ("/seconds", "/latency_p50", "/latency_p99")
        values = trainer.callback_metrics.items()
        self.rows.append({n: float(v) for n, v in values if not n.startswith(timed) and not n.endswith(ends)})


def train(
    folder: Path, *callbacks: Callback, resume: Path | None = None, **changes: object
) -> tuple[GRPOModule, list[dict[str, float]]]:
    """Of 11 prompts, 4 a step, two epochs: 6 steps, of 4 optimizer steps unless `update` says otherwise."""
    ours = {name: changes.pop(name) for name in ("max_steps", "max_epochs") if name in changes}
    module, rows = tiny_module(folder, **changes), Rows()
    trainer = tiny_trainer(folder, *callbacks, rows, limit_val_batches=0, **ours)
    trainer.fit(module, datamodule=tiny_data(folder), ckpt_path=resume)
    return module, rows.rows


def same_weights(one: GRPOModule, other: GRPOModule) -> bool:
    theirs = other.model.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in one.model.state_dict().items())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "rollouts").iterdir())}


def test_a_run_records_what_it_trained_on(tmp_path: Path) -> None:
    """Each step of 4 updates its 4 groups of 4; against what the module itself holds after the last step.

    The tiny tokenizer has no decoder, so that a blank stands before each token.
    """
    module, rows = train(tmp_path, RecordRollouts())
    folder = tmp_path / "rollouts"
    assert recorded_steps(folder) == [4, 8, 12, 16, 20, 24]
    first = read_header(folder / "step-000004.jsonl.gz")
    assert (first.rollout, first.updates, first.group_size, first.ranks) == (0, 4, 4, 1)
    assert read_header(folder / "step-000024.jsonl.gz").rollout == 5
    last, groups = module.last, read_step(folder, 24)
    assert [g.uid for g in groups] == [g.prompt.uid for g in last.rollout.groups]
    assert [g.prompt_ids for g in groups] == [g.prompt.token_ids for g in last.rollout.groups]
    assert [g.answer for g in groups] == [g.prompt.answer for g in last.rollout.groups]
    for number, group in enumerate(groups):
        for j, found in enumerate(group.completions):
            drawn = last.rollout.groups[number].completions[j]
            assert (found.text, found.token_ids) == (drawn.text, drawn.token_ids)
            assert (found.stop_reason, found.sampler_logprobs) == (drawn.stop_reason, drawn.sampler_logprobs)
            assert [*found.rewards.values()] == last.scores.rewards[number, j].tolist()
            assert (found.reward, found.advantage) == (last.rewards[number, j], last.advantages[number, j])
            assert [*found.token_texts] == [f" {VOCABULARY[i]}" for i in found.token_ids]
            assert found.trained
    mean = sum(each.rewards["brevity"] for group in groups for each in group.completions) / 16
    assert mean == pytest.approx(rows[-1]["reward/brevity"])


def test_the_ratio_of_a_single_update_is_one_and_of_several_is_not(tmp_path: Path) -> None:
    """With one update a rollout the last look comes before it; the second of two iterations looks at what it did."""
    for name, update in {"once": UpdateConfig(), "twice": UpdateConfig(num_iterations=2)}.items():
        train(tmp_path / name, RecordRollouts(), update=update, max_steps=4)
        step = recorded_steps(tmp_path / name / "rollouts")[-1]
        groups = read_step(tmp_path / name / "rollouts", step)
        ratios = [ratio for group in groups for each in group.completions for ratio in each.ratios]
        far = max(abs(ratio - 1) for ratio in ratios)
        assert far < 1e-4 if name == "once" else far > 1e-3, (name, far)


def test_what_filters_leave_out_is_recorded_as_such(tmp_path: Path) -> None:
    """No group of `never_mixed` trains: no look, no ratio, no reward that counts."""
    silent = [*REWARDS, RewardSpec(reward=never_mixed, weight=0.0, inline=True)]
    filters = FilterConfig(silent="drop", reward="never_mixed")
    train(tmp_path, RecordRollouts(), rewards=silent, filters=filters, max_steps=4)
    found = [each for group in read_step(tmp_path / "rollouts", 4) for each in group.completions]
    assert len(found) == 16
    assert not any(each.trained for each in found)
    assert all(each.policy_logprobs is None and math.isnan(each.reward) for each in found)
    assert all(each.rewards["never_mixed"] == 0.5 for each in found)


def test_tokens_that_do_not_train_have_no_ratio() -> None:
    """Values stand at the places of the tokens that they are of; five digits are kept."""
    assert spread([-1.25, -2.5], [0, 2], 4) == pytest.approx([-1.25, math.nan, -2.5, math.nan], nan_ok=True)
    assert on_host([torch.tensor([-1.25, -2.5]), torch.tensor([-1.123456789])]) == [[-1.25, -2.5], [-1.12346]]
    assert on_host([]) == []


BYTES = [chr(i) for i in [*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324)]]
"""GPT-2's names of the 256 bytes: those that can be seen name themselves."""


@pytest.mark.parametrize("kind", ["bytes", "words"])
def test_tokens_by_themselves_make_the_text(kind: str) -> None:
    """Blanks in front of words stay, as do special tokens; the three bytes of 漢 are three unknown pieces."""
    if kind == "bytes":
        names = {name: i for i, name in enumerate([*BYTES, "Ġhi", "<end>"])}
        inner = Tokenizer(models.BPE(vocab=names | {"Ġh": 258}, merges=[("Ġ", "h"), ("Ġh", "i")]))
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        inner.decoder = decoders.ByteLevel()
    else:
        inner = Tokenizer(models.WordLevel({w: i for i, w in enumerate(["?", "▁hi", "▁a", "漢", "<end>"])}, "?"))
        inner.pre_tokenizer = pre_tokenizers.Metaspace()
        inner.decoder = decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>", clean_up_tokenization_spaces=False)
    assert token_texts(tokenizer, tokenizer.encode("a hi hi")[1:]) == [" hi", " hi"]
    assert token_texts(tokenizer, tokenizer.convert_tokens_to_ids(["<end>"])) == ["<end>"]
    if kind == "bytes":
        assert token_texts(tokenizer, tokenizer.encode("漢")) == ["\ufffd"] * 3
        assert token_texts(tokenizer, tokenizer.encode("\n\x1b")) == ["\n", "\x1b"]


def test_values_find_their_sequences() -> None:
    """Sorted by length when cut, so that the second sample stands first; a ghost has no values."""
    samples = [sample((2,), (3, 4, 1), group=5, number=1), sample((2,), (1,), group=0)]
    (batch,) = micro_batches(samples, max_tokens=100, layout="padded")
    assert batch.order == (1, 0)
    found = by_sequence(torch.tensor([0.5, 1.0, 2.0, 3.0]), samples, batch)
    assert {key: value.tolist() for key, value in found.items()} == {(0, 0): [0.5], (5, 1): [1.0, 2.0, 3.0]}
    (ghost,) = micro_batches([GHOST], max_tokens=1, layout="padded")
    assert by_sequence(torch.zeros(0), [], ghost) == {}


def test_a_run_that_goes_on_leaves_the_same_files(tmp_path: Path) -> None:
    """From the checkpoint of step 12, with files of later steps, one half written, and one of a step that never was."""
    train(tmp_path / "all", RecordRollouts())
    most = 3.5e-6 * max(map(len, contents(tmp_path / "all").values()))
    whole, _ = train(tmp_path, RecordRollouts(max_megabytes=most))
    before = contents(tmp_path)
    assert 2 < len(before) < 6, "the bound has been reached"
    (tmp_path / "rollouts" / "step-000016.jsonl.gz").write_bytes(b"of another run")
    (tmp_path / "rollouts" / "step-000018.jsonl.gz").write_bytes(b"of another run")
    (tmp_path / "rollouts" / "step-000020.jsonl.gz.writing").write_bytes(b"half")
    resumed, _ = train(tmp_path, RecordRollouts(max_megabytes=most), resume=tmp_path / "checkpoints" / "step=12.ckpt")
    assert same_weights(whole, resumed)
    assert contents(tmp_path) == before


def test_the_oldest_go_first_and_the_first_stays(tmp_path: Path) -> None:
    """Six files of at least 500 bytes: 2000 hold the first and the latest; below one file's size, these two stay."""
    train(tmp_path / "all", RecordRollouts())
    sizes = {name: len(content) for name, content in contents(tmp_path / "all").items()}
    assert min(sizes.values()) > 500
    for most in (2 * max(sizes.values()), 1):
        train(tmp_path / f"{most}", RecordRollouts(max_megabytes=most / 1e6))
        found = contents(tmp_path / f"{most}")
        assert [*found] == ["step-000004.jsonl.gz", "step-000024.jsonl.gz"], "two fit, three do not"
        assert most == 1 or sum(map(len, found.values())) <= most
    train(tmp_path / "some", RecordRollouts(every_n_rollouts=4))
    assert recorded_steps(tmp_path / "some" / "rollouts") == [4, 20], "rollouts 0 and 4"
    train(tmp_path / "none", RecordRollouts(every_n_rollouts=0), max_steps=4)
    assert not (tmp_path / "none" / "rollouts").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"every_n_rollouts": -1}, "recording.every_n_rollouts: -1 is refused"),
        ({"max_megabytes": 0.0}, "recording.max_megabytes: 0.0 is refused"),
        ({"max_megabytes": math.nan}, "recording.max_megabytes: nan is refused"),
    ],
)
def test_settings_are_checked(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RecordRollouts(**settings)


def test_a_rollout_that_cannot_be_written_does_not_end_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "rollouts").write_text("a file in the folder's place")
    train(tmp_path, RecordRollouts(), max_steps=4)
    assert "recording: step 4 is not recorded" in caplog.text


# --------------------------------------------------------------------------------------------------------------- replay


class Counted:
    """A built-in engine that counts the prompts it is asked."""

    def __init__(self, module: GRPOModule) -> None:
        self.inner, self.asked = BuiltinGenerator(module.model, module.vocabulary), 0

    def use_weights(self, version: int) -> None: ...

    def generate(self, prompts: Sequence[Prompt], **how: object) -> Rollout:
        self.asked += len(prompts)
        return self.inner.generate(prompts, **how)


class Count(Callback):
    """Puts a counting engine behind the recording."""

    def on_fit_start(self, trainer: Trainer, pl_module: GRPOModule) -> None:
        self.engine = Counted(pl_module)
        pl_module.generator.otherwise = lambda: self.engine


def replayed(folder: Path, source: Path, **changes: object) -> tuple[GRPOModule, list[dict[str, float]], int]:
    """A run on the rollouts of `source`, and how many prompts were generated for."""
    count = Count()
    module, rows = train(folder, count, engine=Recorded(folder=str(source / "rollouts")), **changes)
    return module, rows, count.engine.asked


def test_a_replay_ends_with_the_same_weights_bit_for_bit(tmp_path: Path) -> None:
    """All six steps, with the same metrics; and those of rewards, which are scored anew."""
    whole, rows = train(tmp_path / "whole", RecordRollouts())
    again, same, asked = replayed(tmp_path / "again", tmp_path / "whole")
    assert asked == 0
    assert same_weights(whole, again)
    assert len(rows) == 6
    assert same == rows
    assert np.array_equal(whole.last.scores.rewards, again.last.scores.rewards)


def test_a_replay_with_another_objective_generates_nothing(tmp_path: Path) -> None:
    """Another loss, fewer updates a rollout: other weights, on the same completions; the rewards stay as they were."""
    whole, rows = train(tmp_path / "whole", RecordRollouts())
    changes = {"objective": ObjectiveConfig(loss="cispo"), "update": UpdateConfig(), "rewards": REWARDS[:1]}
    again, other, asked = replayed(tmp_path / "again", tmp_path / "whole", **changes)
    assert asked == 0
    assert not same_weights(whole, again)
    digits = "reward/share_of_digits"
    assert [row[digits] for row in other] == [row[digits] for row in rows]
    assert len({row[digits] for row in rows}) == 6


def test_a_replay_takes_what_any_number_of_ranks_has_recorded(tmp_path: Path) -> None:
    """Two files a step, the second rank's prompts in the first one's place."""
    whole, rows = train(tmp_path / "whole", RecordRollouts())
    folder = tmp_path / "whole" / "rollouts"
    for step in recorded_steps(folder):
        (path,) = step_files(folder, step)
        head, groups = read_header(path), read_step(folder, step)
        path.unlink()
        for rank in (0, 1):
            write_file(folder, dataclasses.replace(head, rank=rank, ranks=2), groups[1 - rank :: 2])
    again, same, asked = replayed(tmp_path / "again", tmp_path / "whole")
    assert (asked, same) == (0, rows)
    assert same_weights(whole, again)


def test_a_replay_that_goes_on_is_exact(tmp_path: Path) -> None:
    whole, _ = train(tmp_path / "whole", RecordRollouts())
    replayed(tmp_path / "again", tmp_path / "whole")
    resume = tmp_path / "again" / "checkpoints" / "step=12.ckpt"
    again, _, asked = replayed(tmp_path / "again", tmp_path / "whole", resume=resume)
    assert asked == 0
    assert same_weights(whole, again)


def test_a_replay_refills_what_the_recorded_run_did(tmp_path: Path) -> None:
    """The rounds of dynamic sampling, bit for bit; where other rewards ask for other prompts, one line says so."""
    settings = {
        "filters": FilterConfig(silent="refill", reward="many_digits"),
        "rewards": [*REWARDS, RewardSpec(reward=many_digits, weight=0.0, inline=True)],
    }
    whole, rows = train(tmp_path / "whole", RecordRollouts(), **settings)
    assert max(row["rollout/rounds"] for row in rows) > 1
    again, same, asked = replayed(tmp_path / "again", tmp_path / "whole", **settings)
    assert (asked, same) == (0, rows)
    assert same_weights(whole, again)
    settings["filters"] = FilterConfig(silent="refill", reward="never_mixed")
    settings["rewards"] = [*REWARDS, RewardSpec(reward=never_mixed, weight=0.0, inline=True)]
    with pytest.raises(ValueError, match=r"has nothing of train prompt \d+; keep .*filters.silent: refill") as error:
        replayed(tmp_path / "other", tmp_path / "whole", **settings)
    assert "\n" not in str(error.value)


def test_held_out_prompts_are_generated_for(tmp_path: Path) -> None:
    """5 of validation, greedy and sampled; the second run's own answers."""
    train(tmp_path / "whole", RecordRollouts(), max_steps=4)
    count = Count()
    module = tiny_module(tmp_path, engine=Recorded(folder=str(tmp_path / "whole" / "rollouts")))
    trainer = tiny_trainer(tmp_path, count, max_steps=4, val_check_interval=1)
    trainer.fit(module, datamodule=tiny_data(tmp_path))
    assert count.engine.asked == 10


REFUSED: dict[str, tuple[dict[str, object], str]] = {
    "group size": ({"group_size": 2}, "group_size: 2 is refused; the rollouts in engine.folder .* groups of 4"),
    "seed": ({"seed": 1}, "lacks the rollout .* of seed_everything 0, step 4 is recorded"),
    "steps": ({"max_steps": 8}, "lacks the rollout .* step 4 is recorded"),
    "temperature": (
        {"sampling": SamplingConfig(max_tokens=8, temperature=0.7)},
        r"sampling.temperature: 0.7 is refused; the rollouts in engine.folder .* drawn with 1.0",
    ),
    "stop": ({"sampling": SamplingConfig(max_tokens=8, stop=("1",))}, r"sampling.stop: \['1'\] is refused"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_agree_is_refused(tmp_path: Path, what: str) -> None:
    changes, message = REFUSED[what]
    train(tmp_path / "whole", RecordRollouts(), max_steps=4)
    with pytest.raises(ValueError, match=message) as error:
        replayed(tmp_path / "again", tmp_path / "whole", **({"max_steps": 4} | changes))
    assert "\n" not in str(error.value)


def test_rows_at_once_make_no_difference(tmp_path: Path) -> None:
    train(tmp_path / "whole", RecordRollouts(), max_steps=4)
    sampling = SamplingConfig(max_tokens=8, max_rows=4)
    assert replayed(tmp_path / "again", tmp_path / "whole", sampling=sampling, max_steps=4)[2] == 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"uid": 999}, "has nothing of train prompt"), ({"prompt_ids": (9,)}, r"train prompt \d+ with other tokens")],
)
def test_other_prompts_are_refused(tmp_path: Path, changed: dict[str, object], message: str) -> None:
    train(tmp_path / "whole", RecordRollouts(), max_steps=4)
    folder = tmp_path / "whole" / "rollouts"
    head, groups = read_header(folder / "step-000004.jsonl.gz"), read_step(folder, 4)
    write_file(folder, head, [dataclasses.replace(groups[0], **changed), *groups[1:]])
    with pytest.raises(ValueError, match=message):
        replayed(tmp_path / "again", tmp_path / "whole", max_steps=4)


def test_a_folder_without_rollouts_is_refused_before_a_model_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"engine\.folder: there are no recorded rollouts in nowhere"):
        tiny_module(tmp_path, engine=Recorded(folder="nowhere"))


def test_a_replay_does_not_write_over_its_source(tmp_path: Path) -> None:
    train(tmp_path, RecordRollouts(), max_steps=4)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=r"engine\.folder: .* is where this run records its own rollouts"):
        train(tmp_path, RecordRollouts(), engine=Recorded(folder=str(tmp_path / "rollouts")))
    assert contents(tmp_path) == before


def test_the_command_line_records_and_replays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default; two rollouts of 32 prompts, with the policy and its rewards in worker processes as they come."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "argv", ["grpo-lightning"])
    words = ["fit", "--config", str(ROOT / "configs" / "quickstart.yaml"), "--trainer.enable_progress_bar", "false"]
    words += ["--data.source.init_args.train", "64", "--data.source.init_args.test", "4"]
    words += ["--trainer.limit_val_batches", "0"]
    main(words)
    assert recorded_steps(Path("runs/quickstart/rollouts")) == [1, 2]
    engine = {"class_path": "grpo_lightning.generation.Recorded", "init_args": {"folder": "runs/quickstart/rollouts"}}
    main([*words, "--run", "again", "--model.engine", json.dumps(engine), "--recording.every_n_rollouts", "0"])
    policies = [Path("runs") / run / "policy" / "model.safetensors" for run in ("quickstart", "again")]
    assert policies[0].read_bytes() == policies[1].read_bytes()
    assert not Path("runs/again/rollouts").exists()
