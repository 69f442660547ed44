"""Checkpoints of a policy that is shared out over devices: resumed, resumed by another number of them, exported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from transformers import AutoModelForCausalLM, PreTrainedModel

from grpo_lightning.exporting import export_checkpoint
from grpo_lightning.generation import BuiltinGenerator, SamplingConfig
from grpo_lightning.policy import PolicyConfig
from grpo_lightning.sharding import FullySharded, saved_weights
from tests.fakes import tiny_data, tiny_module
from tests.tiny import prompt, tiny_folder, tiny_tokenizer

ROOT = Path(__file__).parent.parent
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


def run_command(*words: str) -> str:
    """Output of a Python program. Gloo on a CPU may end badly after all is done, so files are what counts."""
    command = [sys.executable, *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, env=environment)
    return done.stdout[-2000:] + done.stderr[-6000:]


def load(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)


@pytest.fixture(scope="module", params=["folder", "file"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with a run of two processes and one that was resumed in the middle; and how checkpoints were written."""
    folder, how = tmp_path_factory.mktemp("sharded"), request.param
    tiny_folder(folder / "tiny")
    said = run_command(*TORCHRUN, "-m", "tests.resume_sharded", str(folder), how)
    assert (folder / f"{how}-resumed.pt").exists(), said
    return folder, how


def test_resuming_from_shares_is_exact(trained: tuple[Path, str]) -> None:
    folder, how = trained
    whole, resumed, start = (load(folder / f"{how}-whole.pt"), load(folder / f"{how}-resumed.pt"), None)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    start = saved_weights(folder / f"{how}-whole" / "checkpoints" / "step=8.ckpt")
    assert not all(torch.equal(value, start[name]) for name, value in whole.items())


def test_another_number_of_devices_goes_on_from_the_same_checkpoint(trained: tuple[Path, str]) -> None:
    """To within rounding: sums over ranks are made in another order."""
    folder, how = trained
    checkpoint = folder / f"{how}-whole" / "checkpoints" / "step=8.ckpt"
    assert checkpoint.is_dir() == (how == "folder")
    said = run_command("-m", "tests.resume_sharded", str(folder), "again", str(checkpoint))
    assert (folder / "again.pt").exists(), said
    whole, again = load(folder / f"{how}-whole.pt"), load(folder / "again.pt")
    assert max(float((value - again[name]).abs().max()) for name, value in whole.items()) < 1e-9
    (folder / "again.pt").unlink()


def test_a_run_without_sharding_goes_on_with_it(tmp_path: Path) -> None:
    """Optimizer states find their parameters, though AdamW's groups order them differently than the model does."""
    tiny_folder(tmp_path / "tiny")
    said = run_command("-m", "tests.resume_sharded", str(tmp_path), "across")
    assert (tmp_path / "across.pt").exists(), said
    whole, across = load(tmp_path / "across-whole.pt"), load(tmp_path / "across.pt")
    assert max(float((value - across[name]).abs().max()) for name, value in whole.items()) < 1e-9


def tokens_of(policy: PreTrainedModel) -> list[tuple[int, ...]]:
    sampling = SamplingConfig(max_tokens=8)
    prompts = [prompt("1+2=", uid=1), prompt("34+5=", uid=2)]
    groups = (
        BuiltinGenerator(policy, tiny_tokenizer()).generate(prompts, group_size=3, sampling=sampling, seed=0).groups
    )
    return [completion.token_ids for group in groups for completion in group.completions]


def test_an_export_has_the_weights_and_generates_the_same_tokens(trained: tuple[Path, str], tmp_path: Path) -> None:
    folder, how = trained
    config = PolicyConfig(pretrained=str(folder / "tiny"), dtype="float64")
    checkpoint = folder / f"{how}-whole" / "checkpoints" / "step=12.ckpt"
    export_checkpoint(config, checkpoint, tmp_path / "hf", seed=0, run=folder)
    whole = load(folder / f"{how}-whole.pt")
    exported = {
        name: AutoModelForCausalLM.from_pretrained(place, dtype=torch.float64)
        for name, place in (("checkpoint", tmp_path / "hf"), ("end", folder / f"{how}-whole-policy"))
    }
    for policy in exported.values():
        assert all(torch.equal(value, whole[name]) for name, value in policy.state_dict().items())
    first, second = (tokens_of(policy) for policy in exported.values())
    assert first == second
    base = AutoModelForCausalLM.from_pretrained(folder / "tiny", dtype=torch.float64)
    assert tokens_of(base) != first


def test_one_more_config_shares_an_experiment_out(tmp_path: Path) -> None:
    """The quickstart under configs/scale/fsdp-8-gpus.yaml, on two processes instead of eight GPUs, ends as on one."""
    configs = ROOT / "configs"
    short = [
        *("--trainer.accelerator", "cpu", "--trainer.precision", "32-true", "--trainer.max_steps", "2"),
        *("--trainer.val_check_interval", "4"),
        *("--trainer.callbacks", "[]", "--trainer.enable_progress_bar", "false", "--data.prompts_per_step", "8"),
        *("--data.source.init_args.train", "32", "--data.source.init_args.test", "8", "--runs", str(tmp_path)),
    ]
    for run, more in {
        "one": [],
        "two": ["--config", str(configs / "scale" / "fsdp-8-gpus.yaml"), "--trainer.devices", "2"],
    }.items():
        program = ["-m", "grpo_lightning"]
        said = run_command(*program, "fit", "--config", str(configs / "quickstart.yaml"), *more, *short, "--run", run)
        assert (tmp_path / run / "checkpoints" / "last.ckpt").exists(), said
        saved = ["--config", str(tmp_path / run / "config.yaml"), "--ckpt_path", "last"]
        said = run_command(*program, "export", *saved, "--folder", str(tmp_path / run / "hf"))
        assert (tmp_path / run / "hf" / "model.safetensors").exists(), said
    one, two = (AutoModelForCausalLM.from_pretrained(tmp_path / run / "hf").state_dict() for run in ("one", "two"))
    # Two steps of Adam move a weight by up to 2 x 6e-5; rounding may turn a step's sign where a gradient is almost 0.
    start = AutoModelForCausalLM.from_pretrained(ROOT / "grpo_lightning" / "embedded" / "arithmetic").state_dict()
    moved = torch.cat([(one[name] - start[name]).flatten() for name in one])
    apart = torch.cat([(one[name] - two[name]).flatten() for name in one])
    assert float(apart.norm() / moved.norm()) < 1e-2


def test_other_strategies_are_refused_before_the_model_loads(tmp_path: Path) -> None:
    module = tiny_module(tmp_path)
    trainer = Trainer(
        accelerator="cpu", devices=1, strategy="ddp_notebook", logger=False, enable_checkpointing=False, max_epochs=1
    )
    trainer.strategy.__class__ = type("DeepSpeedStrategy", (type(trainer.strategy),), {})
    module._trainer = trainer
    trainer.datamodule = tiny_data(tmp_path)
    with pytest.raises(ValueError, match=r"trainer\.strategy: DeepSpeedStrategy is refused; use auto, ddp or fully_"):
        module.setup("fit")
    assert module.policy is None


def test_fully_sharded_is_a_name_for_the_command_line(tmp_path: Path) -> None:
    trainer = Trainer(accelerator="cpu", devices=2, strategy="fully_sharded", logger=False)
    assert isinstance(trainer.strategy, FullySharded)
