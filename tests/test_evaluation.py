"""Evaluation: what each prompt measures, named sets, votes, files, and comparisons of two checkpoints."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from grpo_lightning.cli import main
from grpo_lightning.evaluation import EvaluationConfig, HeldOut, evaluate
from grpo_lightning.generation import Rollout, SamplingConfig
from grpo_lightning.ranks import Ranks
from grpo_lightning.report import BeforeAfter, Scoreboard
from grpo_lightning.rows import Columns, HeldOutSet
from grpo_lightning.scoring import RewardSpec, Scorer
from grpo_lightning.sources import Dataset, Generated
from grpo_lightning.tasks import Arithmetic
from grpo_lightning.types import Completion, Group
from grpo_lightning.voting import ballots, winners
from rewards.exact_match import ExactMatch
from rewards.math_answer import MathAnswer
from rewards.vote import most_frequent
from tests.fakes import REWARDS, always, tiny_data, tiny_module, tiny_trainer
from tests.test_cli import fit, project
from tests.tiny import prompt
from tests.unruly import VotesAsTold, VotesForEver, length

__all__ = ["project"]

ROOT = Path(__file__).parent.parent


class Scripted:
    """Answers with these texts, a token a character; at most `max_tokens`, as an engine would."""

    def __init__(self, texts: dict[str, Sequence[str]]) -> None:
        self.texts = texts
        self.asked: list[tuple[int, SamplingConfig, str]] = []

    def use_weights(self, version: int) -> None:
        """There are none."""

    def generate(self, prompts, *, group_size, sampling, seed, prefix="", finished=None) -> Rollout:
        self.asked.append((group_size, sampling, prefix))
        return Rollout(
            groups=tuple(
                Group(prompt=each, completions=tuple(map(completion, self.texts[each.text][:group_size])))
                for each in prompts
            ),
            prefill_seconds=0.0,
            decode_seconds=0.0,
        )


def completion(text: str) -> Completion:
    stop = "length" if text.endswith("…") else "eos"
    return Completion(token_ids=(0,) * len(text), sampler_logprobs=(0.0,) * len(text), text=text, stop_reason=stop)


def measured(
    texts: dict[str, Sequence[str]], answers: dict[str, str | None], reward: object = ExactMatch(), **config: object
) -> dict[str, list[float]]:
    """What each prompt measures, by measure."""
    prompts = [prompt(text, uid=i, answer=answers[text]) for i, text in enumerate(texts)]
    settings = EvaluationConfig(**config)
    spec = RewardSpec(reward=reward, name="answer")
    votes = ballots(spec, 1, "processes", samples=settings.samples) if settings.samples > 1 else None
    with Scorer([spec], workers=1) as scorer:
        values, _ = evaluate(
            prompts,
            generator=Scripted(texts),
            scorer=scorer,
            votes=votes,
            sampling=SamplingConfig(max_tokens=8),
            config=settings,
            seed=0,
        )
    if votes is not None:
        votes.close()
    return {name: column.tolist() for name, column in values.items()}


def test_what_a_prompt_measures() -> None:
    """The greedy answer is the first text. `a`: right, wrong, right, cut off; `b`: never right."""
    texts = {"a": ["7", "8", "7", "77…"], "b": ["1", "22", "3", "22"]}
    found = measured(texts, {"a": "7", "b": "0"}, samples=4)
    assert found == {
        "accuracy": [1.0, 0.0],
        "length": [1.0, 1.0],
        "truncated": [0.0, 0.0],
        "accuracy_sampled": [0.5, 0.0],
        "length_sampled": [(1 + 1 + 1 + 3) / 4, (1 + 2 + 1 + 2) / 4],
        "truncated_sampled": [0.25, 0.0],
        "pass_at_2": [1 - 1 / 6, 0.0],  # of the six pairs one holds the two wrong ones
        "pass_at_4": [1.0, 0.0],
        "maj_at_4": [1.0, 0.0],
        "reward/answer": [0.5, 0.0],
    }


@pytest.mark.parametrize(
    ("samples", "attempts"), [(0, []), (1, []), (2, [2]), (3, [2, 3]), (4, [2, 4]), (8, [2, 4, 8]), (9, [2, 4, 8, 9])]
)
def test_pass_at_k_is_measured_for_powers_of_two_and_all(samples: int, attempts: list[int]) -> None:
    assert EvaluationConfig(samples=samples).attempts == attempts


def test_greedy_only_and_sampled_only() -> None:
    texts, answers = {"a": ["7"]}, {"a": "7"}
    assert set(measured(texts, answers, samples=0)) == {"accuracy", "length", "truncated", "reward/answer"}
    only = measured(texts, answers, greedy=False)
    assert set(only) == {"accuracy_sampled", "length_sampled", "truncated_sampled", "reward/answer"}


def test_equivalent_answers_vote_together() -> None:
    """1/2 and 0.5 have two votes of four, 3 and 4 one each; letter by letter all would have one, and 3 come first."""
    texts = {"half": ["3", "the answer is 1/2", r"\boxed{0.5}", "4"]}
    assert measured(texts, {"half": "0.5"}, reward=MathAnswer(), samples=4)["maj_at_4"] == [1.0]
    assert measured(texts, {"half": "0.5"}, reward=ExactMatch(), samples=4)["maj_at_4"] == [0.0]


def test_no_answer_does_not_vote_and_a_prompt_without_a_right_answer_does_not_count() -> None:
    texts = {"silent": ["<answer>", "<answer>"], "open": ["1", "1"], "sure": ["<answer>1</answer>", "x"]}
    found = measured(texts, {"silent": "1", "open": None, "sure": "1"}, reward=ExactMatch("answer"), samples=2)
    assert found["maj_at_2"] == [0.0, pytest.approx(np.nan, nan_ok=True), 1.0]
    assert found["accuracy_sampled"] == [0.0, pytest.approx(np.nan, nan_ok=True), 0.5]


def test_a_reward_that_knows_no_equal_answers_has_no_maj() -> None:
    found = measured({"a": ["7", "7"]}, {"a": "7"}, reward=length, samples=2)
    assert "pass_at_2" in found
    assert "maj_at_2" not in found


@pytest.mark.parametrize(
    ("answers", "place"),
    [
        (["a", "b", "B"], 1),
        (["a", "b"], 0),
        ([None, "b", None, None], 1),
        ([None, None], None),
        ([], None),
        (["a", "b", "c", "C", "A"], 0),
        (["a", "B", "b", "A", "A"], 3),  # as most of them write it
        (["", "", "", "b"], 3),
        (["", None], None),
        (["a|b", "a", "a", "b", "b", "c", "c", "c", "c"], 5),  # what is the same as two unlike ones does not join them
    ],
)
def test_the_most_frequent_answer(answers: list[str | None], place: int | None) -> None:
    """Texts are the same that have a word in common, in small letters or large ones; `a|b` is both a and b."""

    def same(one: str, other: str) -> bool:
        first, second = (set(text.lower().split("|")) - {""} for text in (one, other))
        return bool(first & second)

    assert most_frequent(answers, same) == place


def test_a_vote_compares_no_more_than_it_must() -> None:
    """a1 has 3 votes of 6 and a2 joins: b1 and b2 together have fewer than 4."""
    compared: list[tuple[str, str]] = []

    def same(one: str, other: str) -> bool:
        compared.append((one, other))
        return one[0] == other[0]

    assert most_frequent(["b2", "a1", "a2", "a1", "b1", "a1"], same) == 1
    assert [pair for pair in compared if pair[0] != pair[1]] == [("b2", "a1"), ("a2", "a1")]
    compared.clear()
    assert most_frequent(["slow", "a1", "a1"], same) == 1
    assert not [pair for pair in compared if pair[0] != pair[1]]


def test_in_mathematics_nothing_is_no_answer_and_percent_join_no_unlike_answers() -> None:
    boxed = [r"\boxed{}", r"\boxed{\,}", r"\boxed{}", r"\boxed{5}"]
    assert MathAnswer().majority(boxed) == 3
    answers = (r"28\%", "28", "28", "0.28", "0.28", "30", "30", "30", "30")
    assert MathAnswer().majority([rf"\boxed{{{answer}}}" for answer in answers]) == 5


def test_a_vote_that_hangs_is_killed_and_the_others_count() -> None:
    groups = [
        Group(prompt=prompt("a", uid=i), completions=(completion(text), completion("x")))
        for i, text in enumerate(("fine", "hang", "fine"))
    ]
    votes = ballots(RewardSpec(reward=VotesForEver(), timeout=0.25), 1, "processes", samples=2)
    assert votes is not None
    with votes:
        np.testing.assert_array_equal(winners(votes, groups), [0.0, np.nan, 0.0])


@pytest.mark.parametrize("inline", [False, True])
def test_a_reward_that_votes_for_nobody_there_is_a_failure(inline: bool, caplog: pytest.LogCaptureFixture) -> None:
    groups = [Group(prompt=prompt("a"), completions=(completion("2"), completion("x")))]
    votes = ballots(RewardSpec(reward=VotesAsTold(), inline=inline), 1, "processes", samples=2)
    assert votes is not None
    with votes:
        assert np.isnan(winners(votes, groups)).all()
    assert "majority gave 2, which is no place among 2 completions" in caplog.text


def test_a_ballot_runs_where_its_reward_does_for_as_long_as_its_completions() -> None:
    spec = RewardSpec(reward=VotesAsTold(), inline=True, timeout=3.0)
    votes = ballots(spec, None, "processes", samples=4)
    assert votes is not None
    assert (votes.specs[0].inline, votes.specs[0].timeout) == (True, 12.0)


def test_own_sampling_settings() -> None:
    training = SamplingConfig(max_tokens=8, temperature=0.7, top_p=0.9, top_k=5)
    config = EvaluationConfig(samples=3, temperature=1.2, top_p=1.0, max_tokens=20)
    assert list(config.ways(training)) == [
        ("", 1, SamplingConfig(max_tokens=20, temperature=0.0, top_p=1.0, top_k=5)),
        ("_sampled", 3, SamplingConfig(max_tokens=20, temperature=1.2, top_p=1.0, top_k=5)),
    ]


class Kept(Callback):
    """The lengths of all completions that were predicted."""

    def __init__(self) -> None:
        self.lengths: list[int] = []

    def on_predict_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        rollout, _ = outputs
        self.lengths += [len(each.token_ids) for group in rollout.groups for each in group.completions]


@pytest.mark.parametrize(("samples", "count"), [(0, 1), (3, 3)])
def test_predictions_are_drawn_as_in_evaluation(tmp_path: Path, samples: int, count: int) -> None:
    """Five prompts; training would draw up to eight tokens."""
    module, kept = tiny_module(tmp_path, evaluation=EvaluationConfig(samples=samples, max_tokens=2)), Kept()
    tiny_trainer(tmp_path, kept).predict(module, datamodule=tiny_data(tmp_path), return_predictions=False)
    assert len(kept.lengths) == 5 * count
    assert max(kept.lengths) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": -1}, "evaluation.samples: -1 is refused"),
        ({"samples": 0, "greedy": False}, "evaluation.samples: 0 without evaluation.greedy answers nothing"),
        ({"temperature": 0.0}, "evaluation.temperature: 0.0 is refused"),
        ({"top_p": 0.0}, "evaluation.top_p: 0.0 is refused; it must be above 0 and at most 1"),
        ({"max_tokens": 0}, "evaluation.max_tokens: 0 is refused"),
        ({"confidence": 1.0}, "evaluation.confidence: 1.0 is refused"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        EvaluationConfig(**settings)


def test_how_prompts_are_shared_out_changes_nothing() -> None:
    """Read in the order of uids, whoever measured them."""
    prompts = [prompt("a", uid=uid) for uid in (5, 3, 9)]
    one, left, right = HeldOut(), HeldOut(), HeldOut()
    one.add(prompts, {"x": np.array([5.0, 3.0, 9.0])})
    left.add(prompts[:1], {"x": np.array([5.0])})
    right.add(prompts[1:2], {"x": np.array([3.0])})
    right.add(prompts[2:], {"x": np.array([9.0])})

    given: list[np.ndarray] = []

    class Both(Ranks):
        """Notes what a rank gives, and hands out what all gave so far."""

        def gather(self, rows: np.ndarray) -> list[np.ndarray]:
            given.append(rows)
            return given

    both = Both(size=2, rank=0, device=torch.device("cpu"))
    left.read(both)
    whole, shared = one.read(Ranks.one()), right.read(both)
    assert whole.uids.tolist() == shared.uids.tolist() == [3, 5, 9]
    assert whole.values["x"].tolist() == shared.values["x"].tolist() == [3.0, 5.0, 9.0]
    assert whole.means(seed=0, confidence=0.95) == shared.means(seed=0, confidence=0.95)


# ------------------------------------------------------------------------------------------------------ named sets


def rows_of(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_sets_have_prompts_columns_and_random_streams_of_their_own(tmp_path: Path) -> None:
    file = rows_of(tmp_path / "more.jsonl", {"q": "1+1?", "a": "2"}, {"q": "2+2?", "a": "4"})
    more = HeldOutSet(source=Dataset(path=str(file)), split="train", columns=Columns(prompt="q", answer="a"))
    other = HeldOutSet(source=Generated(task=Arithmetic(digits=1), train=1, test=3), in_validation=False)
    tiny_module(tmp_path)
    data = tiny_data(tmp_path, sets={"more": more, "other": other})
    data.setup("fit")
    data.setup("test")
    assert list(data.held_out("validation")) == ["", "more"]
    assert {name: len(batches.prompts) for name, batches in data.held_out("test").items()} == {
        "": 5,
        "more": 2,
        "other": 3,
    }
    assert [each.answer for each in data.further["more"]] == ["2", "4"]
    every = [each for prompts in (*data.prompts.values(), *data.further.values()) for each in prompts]
    assert len({each.uid for each in every}) == len(every)
    alone = tiny_data(tmp_path, sets={"more": more})
    alone.setup("test")
    assert alone.further["more"] == data.further["more"]


def test_a_set_has_a_system_prompt_of_its_own_or_that_of_all_or_an_empty_one(tmp_path: Path) -> None:
    """The tokenizer has a token a character, and its template writes contents only."""
    file = rows_of(tmp_path / "more.jsonl", {"prompt": "1+1", "answer": "2"})
    source = Dataset(path=str(file))
    tiny_module(tmp_path)
    sets = {
        name: HeldOutSet(source=source, split="train", system_prompt=text)
        for name, text in {"own": "33", "common": None, "none": ""}.items()
    }
    data = tiny_data(tmp_path, sets=sets, system_prompt="4444")
    data.setup("test")
    lengths = {name: len(prompts[0].token_ids) for name, prompts in data.further.items()}
    assert (lengths["own"] - lengths["none"], lengths["common"] - lengths["none"]) == (2, 4)
    with pytest.raises(ValueError, match=r"data\.sets\.own\.system_prompt: needs data\.chat_template"):
        tiny_data(tmp_path, sets=sets, chat_template=False)


def test_no_training_row_stands_in_a_set(tmp_path: Path) -> None:
    file = rows_of(tmp_path / "train.jsonl", *({"prompt": f"{i}+1", "answer": i + 1} for i in range(40)))
    same = rows_of(tmp_path / "same.jsonl", *({"prompt": f"{i}+1", "answer": i + 1} for i in range(5)))
    tiny_module(tmp_path)
    held = HeldOutSet(source=Dataset(path=str(same)), split="train")
    data = tiny_data(tmp_path, source=Dataset(path=str(file)), sets={"same": held})
    with pytest.warns(UserWarning, match="train prompts left out, because they also stand in a held-out split"):
        data.setup("fit")
    assert not {each.text for each in data.prompts["train"]} & {f"{i}+1" for i in range(5)}


@pytest.mark.parametrize("name", ["accuracy", "reward", "pass_at_4", "test", "a/b", ""])
def test_names_that_measures_have_are_refused(tmp_path: Path, name: str) -> None:
    held = HeldOutSet(source=Generated(task=Arithmetic(digits=1)))
    with pytest.raises(ValueError, match=re.escape(f"data.sets: {name!r} is refused")):
        tiny_data(tmp_path, sets={name: held})


def test_a_set_without_rows_says_so(tmp_path: Path) -> None:
    file = rows_of(tmp_path / "more.jsonl", {"prompt": "1+1", "answer": 2})
    tiny_module(tmp_path)
    data = tiny_data(tmp_path, sets={"more": HeldOutSet(source=Dataset(path=str(file)))})
    with pytest.raises(ValueError, match=r"data\.sets\.more\.split: .*more\.jsonl has no test rows; name another"):
        data.setup("fit")


@pytest.mark.parametrize(
    ("line", "columns", "message"),
    [
        ({"q": "1+1"}, Columns(), r"data\.sets\.more\.columns\.prompt: no column 'prompt' in train of .*more\.jsonl"),
        ({"q": 3}, Columns(prompt="q", answer=None), r"data\.sets\.more: train row 0 \(from 0\) of .*: column 'q'"),
    ],
)
def test_what_is_wrong_with_a_set_names_it(
    tmp_path: Path, line: dict[str, object], columns: Columns, message: str
) -> None:
    source = Dataset(path=str(rows_of(tmp_path / "more.jsonl", line)))
    tiny_module(tmp_path)
    data = tiny_data(tmp_path, sets={"more": HeldOutSet(source=source, split="train", columns=columns)})
    with pytest.raises(ValueError, match=rf"\A{message}"):
        data.setup("fit")


def test_validation_without_anything_to_answer_is_refused(tmp_path: Path) -> None:
    """Fit goes on without, and `test` answers the set."""
    alone = Generated(task=Arithmetic(digits=2), train=11, validation=0, test=0)
    held = HeldOutSet(source=Generated(task=Arithmetic(digits=1), train=1, test=3), in_validation=False)
    tiny_module(tmp_path)
    data = tiny_data(tmp_path, source=alone, sets={"more": held})
    for stage in ("fit", "test"):
        data.setup(stage)
    assert list(data.held_out("test")) == ["more"]
    with pytest.raises(ValueError, match=r"0 validation prompts .* no data\.sets take their place"):
        data.setup("validate")


def test_rewards_that_no_reward_is_named_are_refused_before_training(tmp_path: Path) -> None:
    file = rows_of(tmp_path / "more.jsonl", {"prompt": "1+1", "rewards": "answer"})
    columns = Columns(answer=None, rewards="rewards")
    held = HeldOutSet(source=Dataset(path=str(file)), split="train", columns=columns)
    module = tiny_module(tmp_path)
    with pytest.raises(ValueError, match="rewards: 'answer' unknown; there are share_of_digits, brevity"):
        tiny_trainer(tmp_path, max_steps=1).fit(module, datamodule=tiny_data(tmp_path, sets={"more": held}))
    assert module.policy is None


def test_a_set_may_have_another_reward_that_means_right(tmp_path: Path) -> None:
    """`always` gives 1 and cannot vote, an exact match votes; of the split itself the share of digits is asked."""
    rewards = [*REWARDS, RewardSpec(reward=always, inline=True), RewardSpec(reward=ExactMatch(), inline=True)]
    source = Generated(task=Arithmetic(digits=1), train=1, test=3)
    sets = {name: HeldOutSet(source=source, accuracy=name) for name in ("always", "exact_match")}
    module = tiny_module(tmp_path, rewards=rewards, evaluation=EvaluationConfig(samples=2, max_tokens=1))
    trainer = tiny_trainer(tmp_path, Scoreboard())
    trainer.test(module, datamodule=tiny_data(tmp_path, sets=sets), verbose=False)
    found = {name for name in trainer.callback_metrics if "maj_at_2" in name and name.count("/") < 3}
    assert found == {"test/exact_match/maj_at_2"}
    assert trainer.callback_metrics["test/always/accuracy"] == trainer.callback_metrics["test/always/pass_at_2"] == 1.0
    assert trainer.callback_metrics["test/exact_match/accuracy"] == 0.0
    content = json.loads((tmp_path / "evaluation" / "test-step0.json").read_text())
    judges = {name: each["accuracy"] for name, each in content["sets"].items()}
    assert judges == {"test": "share_of_digits", "always": "always", "exact_match": "exact_match"}


def test_a_set_s_reward_that_is_not_there_is_refused(tmp_path: Path) -> None:
    held = HeldOutSet(source=Generated(task=Arithmetic(digits=1), train=1, test=3), accuracy="tests")
    module = tiny_module(tmp_path)
    message = "data.sets.m.accuracy: no reward is named 'tests'; the names are share_of_digits, brevity"
    with pytest.raises(ValueError, match=re.escape(message)):
        tiny_trainer(tmp_path).test(module, datamodule=tiny_data(tmp_path, sets={"m": held}))
    assert module.policy is None


def test_a_run_measures_every_set_before_and_after(tmp_path: Path) -> None:
    more = HeldOutSet(source=Generated(task=Arithmetic(digits=1), train=1, test=3))
    module, data = tiny_module(tmp_path, evaluation=EvaluationConfig(samples=2)), tiny_data(tmp_path, sets={"m": more})
    before_after = BeforeAfter(control_prefix="1")
    trainer = tiny_trainer(tmp_path, before_after, max_epochs=1, val_check_interval=1)
    trainer.fit(module, datamodule=data)
    for name in ("accuracy", "pass_at_2", "length_sampled", "reward/brevity"):
        for tag in (f"val/{name}", f"val/m/{name}"):
            low, value, high = (float(trainer.callback_metrics[f"{tag}{end}"]) for end in ("/low", "", "/high"))
            assert low <= value <= high
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert {"accuracy", "m/accuracy", "m/pass_at_2"} <= set(summary["after"])
    low, high = summary["intervals"]["before"]["m/length_sampled"]
    assert low <= summary["before"]["m/length_sampled"] <= high
    samples = json.loads((tmp_path / "samples.json").read_text())
    assert [each["prompt"] for each in samples] == [
        each.text for name in ("", "m") for each in data.held_out("test")[name].prompts
    ]
    assert set(samples[0]) == {"prompt", "answer", "before", "after"}


# ---------------------------------------------------------------------------------------- files, and two checkpoints


def compare(*args: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, str(ROOT / "scripts" / "compare.py"), *map(str, args)]
    return subprocess.run(words, capture_output=True, text=True)


def test_checkpoints_are_measured_and_compared(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file of a checkpoint says what the run measured of the same weights."""
    fit("--model.evaluation.samples", "2")
    summary = json.loads(Path("runs/tiny/summary.json").read_text())
    config = "runs/tiny/config.yaml"
    main(["test", "--config", config, "--ckpt_path", "last"])
    shown = capsys.readouterr().out
    assert "test: 4 prompts, after 4 steps" in shown
    main(["test", "--config", config, "--ckpt_path", "runs/tiny/checkpoints/step=1.ckpt"])
    main(["validate", "--config", config, "--ckpt_path", "last"])
    folder = Path("runs/tiny/evaluation")
    assert {path.name for path in folder.glob("*.json")} == {
        "test-step1.json",
        "test-step4.json",
        "validate-step4.json",
    }
    content = json.loads((folder / "test-step4.json").read_text())
    found = content["sets"]["test"]
    assert {name: each["value"] for name, each in found["metrics"].items()} == summary["after"]
    assert {name: [each["low"], each["high"]] for name, each in found["metrics"].items()} == (
        summary["intervals"]["after"]
    )
    assert np.mean(found["values"]["length_sampled"]) == pytest.approx(found["metrics"]["length_sampled"]["value"])
    events = EventAccumulator(str(folder)).Reload()
    assert 1 in [event.step for event in events.Scalars("test/accuracy")]

    done = compare(folder / "test-step1.json", "runs/tiny", "--json", "out.json")
    assert done.returncode == 0, done.stderr
    assert "second: runs/tiny/evaluation/test-step4.json, after 4 steps" in done.stdout
    out = json.loads(Path("out.json").read_text())["sets"]["test"]
    one = json.loads((folder / "test-step1.json").read_text())["sets"]["test"]["values"]["length"]
    other = found["values"]["length"]
    assert out["length"]["difference"] == pytest.approx(np.mean(np.array(other) - one))
    assert out["length"]["prompts"] == 4


def test_what_cannot_be_compared_is_said_in_one_line(project: Path) -> None:
    missing = compare("nowhere", "nowhere")
    assert missing.stderr.startswith("nowhere: is no file that grpo-lightning test writes")
    Path("runs/empty").mkdir(parents=True)
    assert "has no evaluation/test-step*.json" in compare("runs/empty", "runs/empty").stderr
    fit("--trainer.max_steps", "1")
    for seed in ("0", "7"):
        main(["test", "--config", "runs/tiny/config.yaml", "--data.source.init_args.seed", seed])
        Path("runs/tiny/evaluation/test-step0.json").rename(f"{seed}.json")
    other = compare("0.json", "7.json")
    assert other.stderr == "test: the two were measured on other prompts; use the same data.source and its seed\n"
    content = json.loads(Path("0.json").read_text())
    content["sets"]["more"] = content["sets"]["test"] | {"digest": "0", "accuracy": "other"}
    Path("more.json").write_text(json.dumps(content))
    content["sets"]["more"] = content["sets"]["more"] | {"digest": "1"}
    content["sets"]["test"]["accuracy"] = "other"
    Path("0-more.json").write_text(json.dumps(content))
    one_left_out = compare("more.json", "0-more.json")
    assert "beware: more is left out; the two share no prompts or no measure of it" in one_left_out.stdout
    assert "beware: in test right is what answer says in the first, other in the second" in one_left_out.stdout
    del content["sets"]["more"]
    values = content["sets"]["test"]["values"]
    for old in list(values):
        values[f"other {old}"] = values.pop(old)
    Path("other.json").write_text(json.dumps(content))
    assert compare("0.json", "other.json").stderr == "nothing in common: sets test against test\n"
    Path("part.json").write_text("{}")
    assert compare("0.json", "part.json").stderr == (
        "part.json: is no file that grpo-lightning test writes; it lacks evaluation, sampling, sets, step\n"
    )


def test_runs_of_other_seeds_compare_and_names_of_folders_are_no_markup(project: Path) -> None:
    """A folder's name may hold what a terminal library reads as a tag."""
    for seed in ("1", "2"):
        fit("--run", f"[red]{seed}[", "--runs", "r[/]", "--seed_everything", seed, "--trainer.max_steps", "1")
        main(["test", "--config", f"r[/]/[red]{seed}[/config.yaml", "--ckpt_path", "last"])
    longer = ["--model.sampling.max_tokens", "7", "--model.evaluation.greedy", "false"]
    main(["test", "--config", "r[/]/[red]2[/config.yaml", "--ckpt_path", "last", *longer])
    done = compare("r[/]/[red]1[", "r[/]/[red]2[")
    assert done.returncode == 0, done.stderr
    assert "second: r[/]/[red]2[/evaluation/test-step1.json, after 1 steps" in done.stdout
    assert "beware: the two were answered with other settings of model.evaluation" in done.stdout
    assert "beware: the two were answered with other settings of model.sampling" in done.stdout
    assert "test: 4 prompts, 95% intervals" in done.stdout
    assert "length sampled" in done.stdout
    assert "truncated sampled" in done.stdout


# ------------------------------------------------------------------------------------------- metrics of `evaluate`


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    import evaluate.config

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path])  # the library adds its cache of modules
        for name in [name for name in sys.modules if name.startswith("evaluate_modules")]:
            patch.delitem(sys.modules, name)
        for name in ("HF_MODULES_CACHE", "HF_METRICS_CACHE", "HF_EVALUATE_CACHE"):
            patch.setattr(evaluate.config, name, tmp_path_factory.mktemp(name))
        yield
        for name in [name for name in sys.modules if name.startswith("evaluate_modules")]:
            del sys.modules[name]


@pytest.mark.parametrize(
    ("name", "given", "wanted"),
    [
        ("pass_at_k", {"predictions": [[1, 0], [0, 0]], "k": [1, 2]}, {"pass_at_1": 0.25, "pass_at_2": 0.5}),
        (
            "maj_at_k",
            {"predictions": [["1/2", "3", "0.5"], ["4", "5", "5"]], "references": [r"\frac12", "4"], "k": [1, 3]},
            {"maj_at_1": 1.0, "maj_at_3": 0.5},
        ),
        ("pass_at_k", {"predictions": [[1, None], [1, 0]], "k": [1, 2]}, {"pass_at_1": 0.75, "pass_at_2": 1.0}),
        ("maj_at_k", {"predictions": [["a", "b", "b "]], "references": ["b"], "answers": "exact"}, {"maj_at_3": 1.0}),
        (
            "math_equivalence",
            {"predictions": ["so it is 0.5.", r"\boxed{3}"], "references": ["1/2", "4"]},
            {"math_equivalence": 0.5, "equal": [1.0, 0.0]},
        ),
        (
            "math_equivalence",
            {"predictions": ["x=1/2", "it is 0.5"], "references": ["0.5", "1/2"], "bare": True},
            {"equal": [1.0, 0.0]},
        ),
        (
            "code_pass",
            {
                "predictions": ["def f(): return 1", "```python\ndef f(): return 2\n```", "raise SystemExit(0)"],
                "references": ["assert f() == 1"] * 3,
            },
            {"code_pass": 1 / 3, "passed": [1.0, 0.0, 0.0]},
        ),
        (
            "code_pass",
            {
                "predictions": ["print(int(input()) + 1)"],
                "references": [json.dumps([{"stdin": "1", "stdout": "2"}, {"stdin": "1", "stdout": "3"}])],
                "partial": True,
            },
            {"code_pass": 0.5},
        ),
    ],
)
def test_metrics_work_alone(cache: None, name: str, given: dict[str, object], wanted: dict[str, object]) -> None:
    from evaluate.loading import load

    found = load(str(ROOT / "rewards" / "metrics" / f"{name}.py"), keep_in_memory=True).compute(**given)
    for key, value in wanted.items():
        assert found[key] == pytest.approx(value), key
    bounded = [key for key in found if f"{key}_low" in found]
    assert bounded
    assert all(found[f"{key}_low"] <= found[key] <= found[f"{key}_high"] for key in bounded)


def test_metrics_refuse_a_k_that_there_are_no_samples_for(cache: None) -> None:
    from rewards.metrics.maj_at_k import MajAtK
    from rewards.metrics.pass_at_k import PassAtK

    with pytest.raises(ValueError, match=r"k: \[3\] is refused; each must be from 1 to 2"):
        PassAtK(keep_in_memory=True).compute(predictions=[[1, 0, 0], [0, 0]], k=[3])
    with pytest.raises(ValueError, match=r"k: \[0\] is refused"):
        MajAtK(keep_in_memory=True).compute(predictions=[["a"]], references=["a"], k=[0])


def test_the_page_names_what_is_measured() -> None:
    names = set(measured({"a": ["7"] * 4}, {"a": "7"}, samples=4))
    page = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    named = {name.replace("_K", "_4").replace("NAME", "answer") for name in re.findall(r"`([\w/]+)`", page)}
    assert names - {"pass_at_2"} <= named
