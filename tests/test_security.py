"""Data, models and checkpoints are untrusted, as is what the model writes. SECURITY.md says so, and names these tests.

Each payload would leave a file behind.
"""

import copy
import json
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint
import yaml
from jsonargparse import Namespace

from grpo_lightning.cli import main
from grpo_lightning.policy import PolicyConfig, load_policy, load_tokenizer
from grpo_lightning.sharding import FullySharded, saved_weights
from grpo_lightning.shares import check_shares
from grpo_lightning.sources import Dataset
from grpo_lightning.trust import check_config
from tests.test_cli import CONFIG, REWARD
from tests.tiny import tiny_folder, tiny_policy

SECRETS = {
    "HF_TOKEN": "hf_" + "a1B2" * 8,
    "OPENAI_API_KEY": "sk-proj-" + "Z9y8" * 8,
    "AWS_SECRET_ACCESS_KEY": "q7" * 20,
}


class Payload:
    """Unpickled without care, it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tiny_folder(tmp_path / "tiny")
    (tmp_path / "rewards").mkdir()
    (tmp_path / "rewards" / "mine.py").write_text(REWARD)
    monkeypatch.chdir(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "rewards"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "argv", ["grpo-lightning"])
    return tmp_path


def config(**changes: object) -> dict:
    wanted = copy.deepcopy(CONFIG)
    wanted["trainer"] |= {"max_steps": 1}
    for key, value in changes.items():
        inner = wanted
        *path, last = key.split("__")
        for word in path:
            inner = inner[word]
        inner[last] = value
    return wanted


def fit(text: str | dict, *args: str) -> None:
    Path("config.yaml").write_text(text if isinstance(text, str) else yaml.safe_dump(text))
    main(["fit", "--config", "config.yaml", *args])


def test_the_payload_works(tmp_path: Path) -> None:
    """Otherwise the tests below show nothing."""
    pickle.loads(pickle.dumps(Payload(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


def test_weights_in_a_pickle_are_loaded_without_running_it(tmp_path: Path) -> None:
    tiny_folder(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(tiny_policy().state_dict(), tmp_path / "pytorch_model.bin")
    load_policy(PolicyConfig(pretrained=str(tmp_path)), seed=0)
    torch.save({"x": Payload(tmp_path / "ran")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"policy\.pretrained: no model could be loaded .* holds more than weights"):
        load_policy(PolicyConfig(pretrained=str(tmp_path)), seed=0)
    assert not (tmp_path / "ran").exists()


def test_code_that_comes_with_a_model_does_not_run(tmp_path: Path) -> None:
    tiny_folder(tmp_path)
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: pass\n")
    for name, keys in (("config", ("AutoConfig", "AutoModelForCausalLM")), ("tokenizer_config", ("AutoTokenizer",))):
        path = tmp_path / f"{name}.json"
        changed = json.loads(path.read_text()) | {"model_type": "evil", "tokenizer_class": "Evil"}
        changed["auto_map"] = {key: ["evil.Evil", None] if "Tokenizer" in key else "evil.Evil" for key in keys}
        path.write_text(json.dumps(changed))
    with pytest.raises(ValueError, match=r"no model could be loaded .* custom code"):
        load_policy(PolicyConfig(pretrained=str(tmp_path)), seed=0)
    with pytest.raises(ValueError, match=r"no tokenizer could be loaded .* custom code"):
        load_tokenizer(str(tmp_path))
    assert not (tmp_path / "ran").exists()


def test_a_chat_template_is_sandboxed(tmp_path: Path) -> None:
    """A template is a program that comes with a tokenizer: it may format, and reach nothing of Python."""
    tiny_folder(tmp_path)
    tokenizer = load_tokenizer(str(tmp_path))
    escape = "cycler.__init__.__globals__.os.system"
    tokenizer.chat_template = "{{ " + escape + "('touch " + str(tmp_path / "ran") + "') }}"
    with pytest.raises(Exception, match=r"unsafe|undefined"):
        tokenizer.apply_chat_template([{"role": "user", "content": "1"}], tokenize=False)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["train.py", "train.pkl", "train.pt"])
def test_a_data_folder_with_code_in_it_is_only_looked_at(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    ran = tmp_path / "ran"
    path.write_bytes(f"open({str(ran)!r}, 'w')\n".encode() if name == "train.py" else pickle.dumps(Payload(ran)))
    (tmp_path / f"{tmp_path.name}.py").write_text(f"open({str(ran)!r}, 'w')\n")  # `datasets` once ran such a script
    with pytest.raises(ValueError, match=r"no files of the split 'train'"):
        Dataset(path=str(tmp_path)).rows("train")
    with pytest.raises(ValueError, match=r"no files of the split|unknown kind of data file"):
        Dataset(path=str(path)).rows("train")
    assert not ran.exists()


def test_a_checkpoint_with_code_in_it_is_refused_by_every_command(project: Path) -> None:
    fit(config())
    path = project / "runs" / "tiny" / "checkpoints" / "last.ckpt"
    torch.save(torch.load(path, weights_only=True) | {"extra": Payload(project / "ran")}, "bad.ckpt")
    for words in (["fit"], ["validate"], ["test"], ["predict"], ["export", "--folder", "out"]):
        with pytest.raises(SystemExit, match=r"grpo-lightning: ckpt_path: .* could run code; not loaded"):
            main([words[0], "--config", "config.yaml", *words[1:], "--ckpt_path", "bad.ckpt"])
    assert not (project / "ran").exists()


def shares(folder: Path, extra: object = 0.5) -> Path:
    """A checkpoint as one device leaves it among several: weights, and a setting of an optimizer that is no tensor."""
    weights = {"policy.weight": torch.arange(3.0)}
    state = {"state_dict": weights, "optimizer_0": {"lr": extra, "betas": (0.9, 0.99)}}
    with warnings.catch_warnings(action="ignore"):  # that there is one process only
        torch.distributed.checkpoint.save(state, checkpoint_id=folder, no_dist=True)
    torch.save({}, folder / "meta.pt")
    return folder


def test_a_checkpoint_of_several_devices_is_read(tmp_path: Path) -> None:
    assert saved_weights(shares(tmp_path / "last.ckpt"))["weight"].tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("place", ["table", "table of rank 0", "entry", "entry outside"])
def test_a_checkpoint_folder_with_code_in_it_is_refused(tmp_path: Path, place: str) -> None:
    """Torch itself would run it: it unpickles the table of contents, and what is in it beside tensors."""
    payload = Payload(tmp_path / "ran")
    folder = shares(tmp_path / "last.ckpt", payload if place.startswith("entry") else 0.5)
    table = folder / ".metadata"
    if place.startswith("table"):
        evil = folder / "__0.metadata" if place.endswith("0") else table  # read where there is no whole table
        table.unlink()
        evil.write_bytes(pickle.dumps(payload))
    elif place == "entry outside":
        (folder / "__0_0.distcp").rename(tmp_path / "elsewhere")
        there = pickle.loads(table.read_bytes())
        for found in there.storage_data.values():
            found.relative_path = "../elsewhere"
        table.write_bytes(pickle.dumps(there))
    for read in (saved_weights, check_shares, FullySharded().load_checkpoint):
        with pytest.raises((pickle.UnpicklingError, ValueError), match=r"names posix\.system|system|outside|damaged"):
            read(folder)
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_folder_with_code_in_it_is_refused_in_one_line(project: Path) -> None:
    folder = shares(project / "bad.ckpt", Payload(project / "ran"))
    Path("config.yaml").write_text(yaml.safe_dump(config()))
    with pytest.raises(SystemExit, match=r"grpo-lightning: ckpt_path: .* could run code; not loaded"):
        main(["export", "--config", "config.yaml", "--folder", "out", "--ckpt_path", str(folder)])
    assert not (project / "ran").exists()


@pytest.mark.parametrize(
    "reward",
    [
        "os.system",
        "builtins.eval",
        "subprocess.run",
        "shutil.rmtree",
        {"class_path": "os.system", "init_args": {"command": "touch ran"}},
        {"class_path": "os.mkdir", "init_args": {"path": "ran"}},
        {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", "ran"]}},
        {"class_path": "rewards.mine.factory"},
        {"class_path": "functools.partial", "init_args": {"func": "os.system"}},
    ],
)
def test_a_config_names_classes_and_reward_functions_only(project: Path, reward: str | dict) -> None:
    with (project / "rewards" / "mine.py").open("a") as file:
        file.write("\n\ndef factory():\n    open('ran', 'w')\n    return slow\n")
    with pytest.raises(SystemExit) as caught:
        fit(config(model__rewards=[{"name": "a", "reward": reward}]))
    assert str(caught.value.code).startswith("grpo-lightning: ")
    assert "model.rewards" in str(caught.value.code)
    assert "\n" not in str(caught.value.code)
    assert not (project / "ran").exists()


def test_what_is_neither_callback_nor_source_is_refused_before_it_is_made(project: Path) -> None:
    popen = {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", "ran"]}}
    for changes, key in (
        ({"trainer__callbacks": [popen]}, "trainer.callbacks"),
        ({"data__source": popen}, "data.source"),
        ({"trainer__logger": popen}, "trainer.logger"),
        ({"trainer__strategy": popen}, "trainer.strategy"),
    ):
        with pytest.raises(SystemExit, match=rf"grpo-lightning: .*{key}"):
            fit(config(**changes))
    assert not (project / "ran").exists()


def test_yaml_tags_are_refused(project: Path) -> None:
    text = yaml.safe_dump(config()).replace("run: tiny", "run: !!python/object/apply:os.system ['touch ran']")
    assert "python/object" in text
    with pytest.raises(SystemExit, match=r"could not determine a constructor for the tag"):
        fit(text)
    assert not (project / "ran").exists()


def test_secrets_of_the_environment_are_nowhere_in_a_run(project: Path) -> None:
    """Every byte of the run's folder and of what is printed, after fit, test, predict and export."""
    Path("config.yaml").write_text(yaml.safe_dump(config()))
    printed = b""
    for words in (["fit"], ["test", "--ckpt_path", "last"], ["export", "--folder", "runs/tiny/out"]):
        command = [sys.executable, "-m", "grpo_lightning", words[0], "--config", "config.yaml", *words[1:]]
        done = subprocess.run(command, capture_output=True, env=os.environ | SECRETS, timeout=300)
        assert done.returncode == 0, done.stderr.decode()
        printed += done.stdout + done.stderr
    files = [path for path in Path("runs").rglob("*") if path.is_file()]
    assert {".ckpt", ".yaml", ".safetensors"} <= {path.suffix for path in files}
    assert any(path.name.startswith("events") for path in files)
    for name, secret in SECRETS.items():
        assert secret.encode() not in printed, name
        for path in files:
            assert secret.encode() not in path.read_bytes(), (name, path)


@pytest.mark.parametrize("key", ["run", "model.policy.pretrained", "trainer.logger.init_args.api_key"])
def test_a_secret_in_the_config_is_refused_and_not_shown(key: str) -> None:
    for secret in (SECRETS["HF_TOKEN"], "only-this-machine-knows", "ghp_" + "x" * 36):
        given = Namespace()
        given[key] = f"prefix {secret}"
        with pytest.raises(ValueError, match="holds a secret, which is refused") as caught:
            check_config(given, {"MY_TOKEN": "only-this-machine-knows", "TOKEN": "", "PATH": "/bin"})
        assert secret not in str(caught.value)
        assert str(caught.value).startswith(key)


def test_innocent_settings_are_no_secrets() -> None:
    given = Namespace(eos_token="</s>", key_variable="OPENAI_API_KEY", stop=("token",), api_key=None, pretrained="a/b")
    check_config(given, {"X_TOKEN": "short", "LONG_TOKEN": "not in there at all", "HOME": "a/b/c/d/e/f"})


def test_a_secret_on_the_command_line_stops_before_anything_is_written(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRETS["HF_TOKEN"])
    with pytest.raises(SystemExit, match=r"model\.policy\.revision: holds a secret.* HF_TOKEN") as caught:
        fit(config(), "--model.policy.revision", SECRETS["HF_TOKEN"])
    assert SECRETS["HF_TOKEN"] not in str(caught.value.code)
    assert not (project / "runs").exists()
