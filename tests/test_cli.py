"""The command line as a user meets it: runs, folders, overrides, and one-line errors before a model loads."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoModelForCausalLM

from grpo_lightning import __version__
from grpo_lightning import policy_module as module_file
from grpo_lightning.__main__ import COMMANDS
from grpo_lightning.cli import GRPOCommandLine, last_checkpoint, main, quieten, run_folder
from tests.tiny import tiny_folder

REWARD = """
from collections.abc import Sequence

from grpo_lightning.types import Record


class ShareOf:
    '''How much of the completion are these characters.

    Args:
        characters: Which.
    '''

    def __init__(self, characters: str = "0123456789") -> None:
        self.characters = characters

    def __call__(self, records: Sequence[Record]) -> list[float]:
        return [sum(c in self.characters for c in r.completion) / max(1, len(r.completion)) for r in records]


def slow(records):
    import time
    time.sleep(0.05)
    return [0.0 for _ in records]
"""

CONFIG: dict = {
    "run": "tiny",
    "threads": 1,  # how many there are decides how sums are rounded
    "model": {
        "policy": {"pretrained": "tiny"},
        "rewards": [
            {"name": "answer", "reward": {"class_path": "rewards.exact_match.ExactMatch"}},
            {
                "reward": {"class_path": "rewards.mine.ShareOf", "init_args": {"characters": "0123456789 "}},
                "weight": 0.5,
            },
        ],
        "group_size": 4,
        "sampling": {"max_tokens": 6},
        "optimizer": {"lr": 1e-3},
        "reward_workers": 1,
    },
    "data": {
        "source": {
            "class_path": "grpo_lightning.sources.Generated",
            "init_args": {
                "task": {"class_path": "grpo_lightning.tasks.Arithmetic", "init_args": {"digits": 2}},
                "train": 16,
                "validation": 4,
                "test": 4,
            },
        },
        "prompts_per_step": 4,
    },
    "checkpoint": {"every_n_train_steps": 1, "save_top_k": -1},
    "trainer": {
        "accelerator": "cpu",
        "enable_model_summary": False,
        "enable_progress_bar": False,
        "callbacks": [
            {"class_path": "grpo_lightning.callbacks.SampleLog", "init_args": {"every_n_rollouts": 2}},
            {"class_path": "grpo_lightning.callbacks.ExportPolicy"},
            {"class_path": "grpo_lightning.report.BeforeAfter", "init_args": {"control_prefix": "1"}},
        ],
    },
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's own folder: a config, a policy, and a reward of their own beside the shipped ones."""
    tiny_folder(tmp_path / "tiny")
    (tmp_path / "rewards").mkdir()
    (tmp_path / "rewards" / "mine.py").write_text(REWARD)
    (tmp_path / "rewards" / "broken.py").write_text("def f(:\n")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    monkeypatch.chdir(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "rewards"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "argv", ["grpo-lightning"])
    return tmp_path


def command(*args: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "grpo_lightning", *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def fit(*args: str) -> None:
    main(["fit", "--config", "config.yaml", *args])


def final_weights(folder: str) -> dict[str, torch.Tensor]:
    return torch.load(Path(folder) / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def test_a_run_leaves_everything_in_its_folder_and_serves_every_command(project: Path, capsys) -> None:
    fit()
    shown = capsys.readouterr().out
    assert "On held-out problems that no training saw" in shown
    assert "tensorboard --logdir runs/tiny" in shown
    folder = Path("runs/tiny")
    summary = json.loads((folder / "summary.json").read_text())
    for when in ("before", "after", "control"):
        assert {"accuracy", "accuracy_sampled", "length", "reward/share_of"} <= set(summary[when])
    assert summary["seed"] == 0
    assert summary["seconds"] > 0
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    assert [event.step for event in events.Scalars("reward")] == [1, 2, 3, 4]
    promised = {"reward/answer", "reward/share_of", "advantage/abs", "groups/zero_signal", "update/kl_to_sampler",
                "update/entropy", "update/ratio_max", "update/clipped_low", "update/clipped_high", "update/grad_norm",
                "update/lr", "completion/tokens", "stop/eos", "stop/length", "time/rollout", "time/reward",
                "time/update", "speed/tokens_per_second", "val/accuracy", "val/accuracy_sampled"}  # fmt: skip
    assert promised <= set(events.Tags()["scalars"])
    text = events.Tensors("samples/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "| completion | tokens | answer | share_of | advantage | stop |" in text

    config = str(folder / "config.yaml")
    main(["validate", "--config", config, "--ckpt_path", "last"])
    main(["test", "--config", config, "--ckpt_path", "last"])
    assert f"{summary['after']['accuracy_sampled']}" in capsys.readouterr().out
    main(["predict", "--config", config, "--ckpt_path", "last"])
    assert f"completions: {folder / 'predictions.jsonl'}" in capsys.readouterr().out
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    assert len(lines) == 4
    assert set(lines[0]) == {"prompt", "completion", "answer", "stop_reason", "rewards"}
    main(["export", "--config", config, "--ckpt_path", "last", "--folder", "exported"])
    for path in ("exported", folder / "policy"):
        loaded = AutoModelForCausalLM.from_pretrained(path).state_dict()
        for name, value in final_weights("runs/tiny").items():
            assert torch.equal(loaded[name.removeprefix("policy.")], value), name


def test_each_fit_gets_a_folder_and_resume_goes_on_in_the_latest(project: Path) -> None:
    fit("--trainer.max_steps", "2")
    fit("--trainer.max_steps", "1")
    assert sorted(path.name for path in Path("runs").iterdir()) == ["tiny", "tiny-2"]
    fit("--ckpt_path", "last")
    assert not Path("runs/tiny-3").exists()
    assert torch.load("runs/tiny-2/checkpoints/last.ckpt", weights_only=True)["global_step"] == 4
    fit("--run", "whole")
    whole, resumed = final_weights("runs/whole"), final_weights("runs/tiny-2")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_saved_config_belongs_to_its_run(project: Path, capsys) -> None:
    """Also when a later run of the same name exists; fitting it anew gets a folder of its own."""
    fit("--trainer.max_steps", "1")
    fit("--trainer.max_steps", "2")
    main(["predict", "--config", "runs/tiny/config.yaml", "--ckpt_path", "last"])
    assert Path("runs/tiny/predictions.jsonl").exists()
    assert not Path("runs/tiny-2/predictions.jsonl").exists()
    before = Path("runs/tiny/checkpoints/last.ckpt").read_bytes()
    main(["fit", "--config", "runs/tiny/config.yaml"])
    assert Path("runs/tiny-3/checkpoints/last.ckpt").exists()
    assert Path("runs/tiny/checkpoints/last.ckpt").read_bytes() == before


def test_resume_before_the_first_checkpoint_starts_anew(project: Path) -> None:
    fit("--ckpt_path", "last", "--trainer.max_steps", "1")
    assert Path("runs/tiny/checkpoints/last.ckpt").is_file()


def test_configs_compose_left_to_right_and_the_command_line_wins(project: Path) -> None:
    Path("more.yaml").write_text(
        "model: {objective: {kl: {beta: 0.1}, epsilon_low: 0.3}, optimizer: {warmup_steps: 1}}\n"
    )
    args = ["fit", "--config", "config.yaml", "--config", "more.yaml", "--model.objective.epsilon_low", "0.1"]
    done = subprocess.run(
        [sys.executable, "-m", "grpo_lightning", *args, "--print_config"], capture_output=True, text=True
    )
    config = yaml.safe_load(done.stdout)
    objective = config["model"]["objective"]
    assert (objective["epsilon_low"], objective["epsilon_high"], objective["kl"]["beta"]) == (0.1, None, 0.1)
    assert config["model"]["optimizer"]["warmup_steps"] == 1
    assert config["model"]["optimizer"]["lr"] == 1e-3


def test_help_comes_without_what_takes_seconds_to_import(monkeypatch: pytest.MonkeyPatch) -> None:
    program = "import sys; sys.argv[1:] = {}; from grpo_lightning.__main__ import main; main(); print(*sys.modules)"
    for words in (["--help"], ["-h"], ["--version"]):
        done = subprocess.run([sys.executable, "-c", program.format(words)], capture_output=True, text=True, check=True)
        assert not {"torch", "lightning", "transformers", "numpy"} & set(done.stdout.split("\n")[-2].split())
        assert (__version__ if words == ["--version"] else "explain its every key") in done.stdout
    monkeypatch.setattr(GRPOCommandLine, "only", None)
    assert list(COMMANDS) == list(GRPOCommandLine.subcommands())


def test_help_explains_fields_from_their_docstrings() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "grpo_lightning", "fit", "--help"],
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "400"},
    )
    for words in (
        "The ratio is clipped below at 1 - epsilon_low",
        "Completions per prompt; the group is the baseline",
        "Longest completion, in tokens",
        "Passes over each rollout (mu in the papers)",
        "Longer prompts are left out and counted, never cut",
        "Name of the run; its folder is RUNS/NAME",
    ):
        assert words in done.stdout, words


WRONG = [
    (["--model.objective.epsilon_low", "-1"], ["objective.epsilon_low", "-1", "at least 0"]),
    (["--model.objective.epsilonn", "1"], ["epsilonn"]),
    (["--model.objective.kl.beta", "much"], ["kl.beta", "much", "float"]),
    (["--model.group_size", "1"], ["group_size", "1", "at least 2"]),
    (["--model.update.num_iterations", "0"], ["num_iterations", "0", "at least 1"]),
    (["--model.update.minibatches", "5"], ["minibatches", "5", "4 prompts"]),
    (["--model.sampling.temperature", "0"], ["temperature", "0", "1.0"]),
    (["--model.objective.reduction", "mean"], ["reduction", "mean", "token"]),
    (["--model.policy.pretrained", "nowhere"], ["policy.pretrained", "nowhere", "config.json"]),
    (["--model.policy.pretrained", "embedded:nope"], ["embedded:nope", "embedded:arithmetic"]),
    (["--model.evaluation.accuracy", "nope"], ["evaluation.accuracy", "nope", "answer"]),
    (["--model.optimizer.lr", "-1"], ["optimizer.lr", "-1", "positive"]),
    (["--data.prompts_per_step", "17"], ["prompts_per_step", "17", "16"]),
    (["--data.source.init_args.task.init_args.digits", "0"], ["digits", "0", "at least 1"]),
    (["--seed_everything", "true"], ["seed_everything", "number"]),
    (["--trainer.max_epochs", "many"], ["max_epochs", "many"]),
    (["--ckpt_path", "nowhere.ckpt"], ["nowhere.ckpt"]),
    (["--config", "nowhere.yaml"], ["nowhere.yaml"]),
    (["--model.rewards", '[{"reward": "rewards.nope.Nope"}]'], ["rewards.nope"]),
    (["--model.rewards", '[{"reward": {"class_path": "rewards.mine.ShareOf", "init_args": {"charakters": "1"}}}]'],
     ["charakters"]),
    (["--model.rewards", '[{"reward": "rewards.mine.slow", "weight": ".nan"}]'], ["weight", "nan"]),
    (["--model.rewards", "[]"], ["rewards", "at least one"]),
    (["--model.rewards", '[{"reward": "rewards.mine.slow", "weight": 0}]'], ["none is an objective with a weight"]),
    (["--model.rewards", '[{"reward": "rewards.broken.f"}]'], ["invalid syntax", "broken.py", "line 1"]),
    (["--model.optimizer.schedule", "linear", "--trainer.max_epochs", "-1"], ["optimizer.schedule", "max_steps"]),
    (["--ckpt_path", "config.yaml"], ["config.yaml", "no checkpoint"]),
    (["--run", "a/b"], ["run: 'a/b'", "without slashes"]),
    (["--model.rewards.0.weight", "2"], ["model.rewards", "as a whole", "KEY+"]),
    (["--model.optimiser.lr", "2"], ["model.optimiser.lr", "--help"]),
    (["--model.engine.dtype", "bfloat16"], ["model.engine.dtype", "--model.engine CLASS"]),
    (["--trainer.strategy", "deepspeed_stage_2"], ["trainer.strategy", "DeepSpeed", "fully_sharded"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("args", "words"), WRONG, ids=lambda value: " ".join(value) if isinstance(value, list) else None
)
def test_wrong_settings_stop_in_one_line_before_a_model_loads(
    project: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], words: list[str]
) -> None:
    loaded: list[object] = []
    load = module_file.load_models
    monkeypatch.setattr(module_file, "load_models", lambda *a, **k: (loaded.append(a), load(*a, **k))[1])
    with pytest.raises(SystemExit) as caught:
        fit(*args)
    message = str(caught.value.code)
    assert message.startswith("grpo-lightning: "), message
    assert "\n" not in message
    for word in words:
        assert word in message, message
    assert len(message) < 600, message
    assert not loaded or "nowhere" in str(args)


def test_a_broken_line_of_data_is_named(project: Path) -> None:
    Path("rows.jsonl").write_text('{"prompt": "1+1", "answer": "2"}\n{"prompt": \n')
    with pytest.raises(SystemExit, match=r"rows\.jsonl.*2"):
        fit("--data.source", '{"class_path": "grpo_lightning.sources.Dataset", "init_args": {"path": "rows.jsonl"}}')


def test_a_missing_column_is_named(project: Path) -> None:
    Path("rows.jsonl").write_text('{"question": "1+1", "answer": "2"}\n' * 20)
    with pytest.raises(SystemExit, match=r"'prompt'.*question"):
        fit("--data.source", '{"class_path": "grpo_lightning.sources.Dataset", "init_args": {"path": "rows.jsonl"}}')


def test_a_reward_that_raises_under_fail_raise_names_itself(project: Path) -> None:
    Path("rewards/bad.py").write_text("def bad(records):\n    raise KeyError('oops')\n")
    with pytest.raises(SystemExit, match=r"reward 'bad': error: .*oops.*prompt"):
        fit("--model.rewards+", '{"reward": "rewards.bad.bad", "fail": "raise"}')


def test_a_reward_that_raises_is_counted_and_the_run_goes_on(project: Path) -> None:
    Path("rewards/bad.py").write_text("def bad(records):\n    raise KeyError('oops')\n")
    fit("--model.rewards+", '{"reward": "rewards.bad.bad"}', "--trainer.max_steps", "1")
    events = EventAccumulator("runs/tiny").Reload()
    assert events.Scalars("reward/bad/errors")[0].value == 16.0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_leaves_and_resume_is_exact(project: Path, number: signal.Signals) -> None:
    slow = [
        "--model.rewards+",
        '{"reward": "rewards.mine.slow", "weight": 0.0}',
        "--checkpoint.every_n_train_steps",
        "100",
    ]
    process = command("fit", "--config", "config.yaml", *slow)
    deadline = time.monotonic() + 120
    while not list(Path("runs").glob("tiny/events*")) or _steps("runs/tiny") < 1:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]  # noqa: PT018
        time.sleep(0.1)
    process.send_signal(number)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 128 + number, output
    saved = torch.load("runs/tiny/checkpoints/last.ckpt", weights_only=True)["global_step"]
    assert 1 <= saved < 4, output
    fit(*slow, "--ckpt_path", "last")
    fit(*slow, "--run", "whole")
    whole, resumed = final_weights("runs/whole"), final_weights("runs/tiny")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize("delay", [0.0, 0.13, 0.31])
def test_killed_at_any_point_resume_is_exact(project: Path, delay: float) -> None:
    """SIGKILL at some moment after the first rollout, wherever the run is by then."""
    slow = ["--model.rewards+", '{"reward": "rewards.mine.slow", "weight": 0.0}', "--model.update.num_iterations", "3"]
    process = command("fit", "--config", "config.yaml", *slow)
    deadline = time.monotonic() + 120
    while not Path("runs/tiny/checkpoints/last.ckpt").exists():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]  # noqa: PT018
        time.sleep(0.02)
    time.sleep(delay)
    process.kill()
    process.communicate()
    fit(*slow, "--ckpt_path", "last")
    fit(*slow, "--run", "whole")
    whole, resumed = final_weights("runs/whole"), final_weights("runs/tiny")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_rewards_beside_the_config_are_found_from_anywhere(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = project / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    tiny = ["--model.policy.pretrained", str(project / "tiny"), "--trainer.max_steps", "1"]
    main(["fit", "--config", "../config.yaml", *tiny])
    assert (elsewhere / "runs" / "tiny" / "summary.json").exists()


def test_run_folders_are_numbered(tmp_path: Path) -> None:
    assert run_folder(tmp_path, "a", fresh=True) == tmp_path / "a"
    assert run_folder(tmp_path, "a", fresh=False) == tmp_path / "a"
    for name in ("a", "a-2", "a-10", "ab", "a-x"):
        (tmp_path / name).mkdir()
    assert run_folder(tmp_path, "a", fresh=True) == tmp_path / "a-11"
    assert run_folder(tmp_path, "a", fresh=False) == tmp_path / "a-10"
    assert run_folder(tmp_path, "b", fresh=True) == tmp_path / "b"


def test_last_is_refused_where_it_is_needed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ckpt_path: there is no .*last\.ckpt; run fit first"):
        last_checkpoint(tmp_path, required=True)


def _steps(folder: str) -> int:
    try:
        events = EventAccumulator(folder).Reload()
        return len(events.Scalars("reward")) if "reward" in events.Tags()["scalars"] else 0
    except Exception:  # the file is being written
        return 0


def test_a_reader_that_has_gone_does_not_kill_a_run() -> None:
    """Python ignores SIGPIPE, so that writing to a dead worker or server is an error that its caller handles."""
    quieten()
    assert signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN
    done = subprocess.Popen([sys.executable, "-m", "grpo_lightning", "fit", "--help"], stdout=-1, stderr=-1)
    done.stdout.close()
    assert done.wait() in (0, 128 + signal.SIGPIPE)
    assert b"Traceback" not in done.stderr.read()
    done.stderr.close()
