"""Checkpoints: never half, found broken where they are, the best and the last kept, and what resuming says."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from resource import RLIM_INFINITY, RLIMIT_FSIZE, setrlimit

import pytest
import torch
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from grpo_lightning import saving
from grpo_lightning.checkpoint import BoundaryCheckpoint, PlainFile, ended
from grpo_lightning.cli import last_checkpoint, main
from grpo_lightning.resuming import changes, cut_log
from tests.fakes import tiny_data, tiny_module, tiny_trainer
from tests.test_cli import command, final_weights, fit, project  # noqa: F401
from tests.test_training import run, same, weights

ROOT = Path(__file__).parent.parent


def write_file(path: Path, number: int) -> None:
    torch.save({"number": number, "weights": torch.full((1000,), float(number))}, path)


def write_folder(path: Path, number: int) -> None:
    """As `torch.distributed.checkpoint` and Lightning leave one of two ranks behind."""
    path.mkdir()
    for name in (".metadata", "__0_0.distcp", "__1_0.distcp"):
        (path / name).write_bytes(bytes([number]) * 5000)
    torch.save({"number": number}, path / "meta.pt")


def number_of(path: Path) -> int:
    return int(torch.load(path / "meta.pt" if path.is_dir() else path, weights_only=True)["number"])


def save(folder: Path, write: Callable[[Path, int], None], number: int) -> None:
    saving.clear_aside(folder)
    write(folder / saving.ASIDE, number)
    saving.seal(folder / saving.ASIDE)
    saving.publish_last(folder / saving.ASIDE)


KINDS = pytest.mark.parametrize("write", [write_file, write_folder])


@KINDS
def test_the_last_two_are_kept(tmp_path: Path, write: Callable[[Path, int], None]) -> None:
    for number in (1, 2, 3):
        save(tmp_path, write, number)
    assert [number_of(path) for path in saving.candidates(tmp_path)] == [3, 2]
    assert len([path for path in tmp_path.iterdir() if not path.is_symlink()]) == 2, "and nothing else"


class Killed(BaseException):
    """Stands for SIGKILL: nothing after it is done."""


CALLS = ("link", "rename", "replace", "unlink", "symlink", "rmdir")
"""Every call by which the file system changes names."""


@KINDS
@pytest.mark.parametrize("followed", [False, True], ids=["", "after a copy that followed links"])
def test_at_every_instant_a_whole_checkpoint_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path, int], None], followed: bool
) -> None:
    """Killed before each change of the file system in turn: `last` is the old or the new one, and both work on."""
    for stop in range(100):
        folder = tmp_path / str(stop)
        folder.mkdir()
        save(folder, write, 1)
        save(folder, write, 2)
        if followed and write is write_folder:
            shutil.copytree(folder, tmp_path / "copy", symlinks=False)
            shutil.rmtree(folder)
            os.rename(tmp_path / "copy", folder)
        left = stop

        def count(original: Callable[..., object]) -> Callable[..., object]:
            def counted(*args: object, **kwargs: object) -> object:
                nonlocal left
                if left == 0:
                    raise Killed
                left -= 1
                return original(*args, **kwargs)

            return counted

        write(folder / saving.ASIDE, 3)
        saving.seal(folder / saving.ASIDE)
        with monkeypatch.context() as patched:
            for name in CALLS:
                patched.setattr(os, name, count(getattr(os, name)))
            try:
                saving.publish_last(folder / saving.ASIDE)
            except Killed:
                pass
            else:
                break
        usable = last_checkpoint(folder, required=True)
        assert usable is not None
        if Path(usable).name == "last.ckpt":
            assert number_of(Path(usable)) in (2, 3)
        else:
            assert followed, "otherwise last is always there"
            assert number_of(Path(usable)) == 1
        number_of_usable = number_of(Path(usable))
        save(folder, write, 4)
        assert number_of(folder / "last.ckpt") == 4
        assert number_of(folder / "previous.ckpt") == number_of_usable
    assert stop > 2, "it was killed somewhere"


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 0x10
    path.write_bytes(data)


def test_a_broken_file_is_recognised(tmp_path: Path) -> None:
    """At whatever length it is cut, and wherever in a record a bit is flipped."""
    path = tmp_path / "last.ckpt"
    write_file(path, 7)
    assert saving.flaw(path) is None
    whole = path.read_bytes()
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 30, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert "no checkpoint, or one that was cut off" in (saving.flaw(path) or ""), length
    weights_at = whole.index(torch.full((1000,), 7.0).numpy().tobytes())
    for place in (weights_at, weights_at + 1999, weights_at + 3999):
        path.write_bytes(whole)
        flip(path, place)
        assert "is damaged" in (saving.flaw(path) or ""), place
    assert saving.flaw(tmp_path / "nowhere.ckpt") == "is not there"


def test_a_broken_folder_is_recognised(tmp_path: Path) -> None:
    def folder(name: str) -> Path:
        write_folder(tmp_path / name, 7)
        saving.seal(tmp_path / name)
        return tmp_path / name

    assert saving.flaw(folder("whole")) is None
    (folder("missing") / "__1_0.distcp").unlink()
    assert saving.flaw(tmp_path / "missing") == "misses __1_0.distcp"
    flip(folder("flipped") / "__0_0.distcp", 2500)
    assert saving.flaw(tmp_path / "flipped") == "is damaged (checksum of __0_0.distcp)"
    (folder("cut") / "meta.pt").write_bytes(b"")
    assert saving.flaw(tmp_path / "cut") == "is damaged (checksum of meta.pt)"
    (folder("half") / ".metadata").unlink()
    assert "no checkpoint, or one that was cut off" in (saving.flaw(tmp_path / "half") or "")
    (folder("unsealed") / saving.SEAL).write_text("{")
    assert saving.flaw(tmp_path / "unsealed") == "is damaged (sealed.json)"
    (folder("lightnings") / saving.SEAL).unlink()
    assert saving.flaw(tmp_path / "lightnings") is None, "one that Lightning wrote by itself has no seal"


def test_shares_of_checksums_are_the_whole(tmp_path: Path) -> None:
    write_folder(tmp_path / "a", 1)
    shares = [saving.checksums(tmp_path / "a", share, 3) for share in range(3)]
    assert {name: found for share in shares for name, found in share.items()} == saving.checksums(tmp_path / "a")


@KINDS
def test_the_one_before_a_broken_one_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, write: Callable[[Path, int], None]
) -> None:
    for number in (1, 2):
        save(tmp_path, write, number)
    last = tmp_path / "last.ckpt"
    flip(last / "__0_0.distcp" if last.is_dir() else last, 1500)
    found = last_checkpoint(tmp_path, required=True)
    assert found == str(tmp_path / "previous.ckpt")
    assert number_of(Path(found)) == 1
    assert "last.ckpt is damaged" in caplog.text
    assert "the one before it is used" in caplog.text
    before = tmp_path / "previous.ckpt"
    flip(before / "__1_0.distcp" if last.is_dir() else before, 1500)
    with pytest.raises(ValueError, match=r"ckpt_path: none of the 2 checkpoints in .* is whole"):
        last_checkpoint(tmp_path, required=False)


def test_a_run_goes_on_from_the_one_before_and_keeps_two_whole_ones(project: Path, capsys, caplog) -> None:  # noqa: F811
    fit("--run", "whole")
    fit("--trainer.max_steps", "3")
    flip(Path("runs/tiny/checkpoints/last.ckpt"), 20_000)
    fit("--ckpt_path", "last")
    assert "last.ckpt is damaged" in caplog.text
    whole, resumed = final_weights("runs/whole"), final_weights("runs/tiny")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    for name in ("last.ckpt", "previous.ckpt"):
        assert saving.flaw(Path("runs/tiny/checkpoints") / name) is None
    assert Path("runs/tiny/checkpoints/last.ckpt.broken").exists()


def test_a_broken_checkpoint_that_was_named_is_refused(project: Path) -> None:  # noqa: F811
    fit("--trainer.max_steps", "1")
    flip(Path("runs/tiny/checkpoints/last.ckpt"), 20_000)
    with pytest.raises(SystemExit, match=r"ckpt_path: .*last\.ckpt is damaged .*; name another, or `last`"):
        fit("--ckpt_path", "runs/tiny/checkpoints/last.ckpt")


class FullDisk(Callback):
    """From the third rollout on no file can be longer than 50 kB; a checkpoint has 300."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        if trainer.global_step == 8:
            setrlimit(RLIMIT_FSIZE, (50_000, RLIM_INFINITY))


def test_a_full_disk_stops_the_run_and_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    keep = BoundaryCheckpoint(tmp_path / "checkpoints", "{step}", every_n_train_steps=1, save_last=True)
    trainer = tiny_trainer(tmp_path, callbacks=[FullDisk(), keep])
    try:
        with pytest.raises(
            saving.SaveError, match=r"could not be written at step 12 \(.*\); those before it are whole"
        ):
            trainer.fit(tiny_module(tmp_path), datamodule=tiny_data(tmp_path))
    finally:
        setrlimit(RLIMIT_FSIZE, (RLIM_INFINITY, RLIM_INFINITY))
    assert not list((tmp_path / "checkpoints").glob(f"{saving.ASIDE}*"))
    last = last_checkpoint(tmp_path / "checkpoints", required=True)
    assert torch.load(last, weights_only=True)["global_step"] == 8
    whole, _, _ = run(tmp_path / "whole")
    resumed, _, _ = run(tmp_path, resume=last)
    assert same(weights(whole), weights(resumed))


class NoSpace(PlainFile):
    def save_checkpoint(self, *args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_no_space_is_named(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, plugins=[NoSpace()])
    with pytest.raises(saving.SaveError, match="No space left on device"):
        trainer.fit(tiny_module(tmp_path), datamodule=tiny_data(tmp_path))


def test_a_folder_that_cannot_be_written_to_is_refused_before_training(project: Path) -> None:  # noqa: F811
    Path("full").write_text("a file where the folder should be")
    with pytest.raises(SystemExit, match=r"checkpoint\.dirpath: .*full/checkpoints cannot be written to"):
        fit("--checkpoint.dirpath", "full/checkpoints")


def scores(folder: Path) -> dict[int, float]:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {event.step: event.value for event in events.Scalars("val/accuracy")}


def test_the_best_of_validation_are_kept(project: Path) -> None:  # noqa: F811
    """By YAML; each is the policy that was validated, last is there besides, and resuming from a best one is exact."""
    Path("more.yaml").write_text(
        yaml.safe_dump(
            {
                "checkpoint": {"monitor": "val/reward/share_of", "save_top_k": 2},
                "trainer": {"val_check_interval": 1, "max_epochs": 2},
            }
        )
    )
    fit("--config", "more.yaml")
    folder = Path("runs/tiny")
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    found = {event.step: event.value for event in events.Scalars("val/reward/share_of")}
    assert list(found) == list(range(1, 9))
    best = sorted(found, key=lambda step: found[step])[-2:]
    if len(set(found.values())) == 8:
        kept = {int(path.stem.split("=")[1]) for path in (folder / "checkpoints").glob("step=*.ckpt")}
        assert kept == set(best)
    assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 8
    one = next((folder / "checkpoints").glob("step=*.ckpt"))
    main(["validate", "--config", "runs/tiny/config.yaml", "--ckpt_path", str(one)])
    step = int(one.stem.split("=")[1])
    measured = json.loads((folder / "evaluation" / f"validate-step{step}.json").read_text())["sets"]["validation"]
    assert measured["metrics"]["reward/share_of"]["value"] == pytest.approx(found[step])
    before = final_weights("runs/tiny")
    fit("--config", "more.yaml", "--ckpt_path", str(one))
    after = final_weights("runs/tiny")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_monitor_that_nothing_measures_is_named(project: Path, caplog) -> None:  # noqa: F811
    """Of a validation it ends the run there; of training it is a warning: some metrics come with some steps only."""
    with pytest.raises(SystemExit) as caught:
        fit("--checkpoint.monitor", "val/acuracy", "--trainer.val_check_interval", "1")
    message = str(caught.value.code)
    assert message.startswith("grpo-lightning: checkpoint.monitor: val/acuracy is not measured"), message
    assert "val/accuracy" in message
    assert len(message) < 300
    fit("--checkpoint.monitor", "acuracy")
    (warning,) = (text for text in caplog.messages if "checkpoint.monitor" in text)
    assert "acuracy is not measured" in warning
    assert "accuracy" in warning.partition("perhaps")[2]


def test_a_finished_run_says_so_and_does_nothing(project: Path, capsys) -> None:  # noqa: F811
    fit()
    stamp = {path: path.stat().st_mtime_ns for path in Path("runs/tiny").rglob("*") if path.is_file()}
    capsys.readouterr()
    fit("--ckpt_path", "last")
    assert (
        "runs/tiny: finished after 4 steps, 1 whole epochs; nothing to do. To go on, raise" in capsys.readouterr().out
    )
    assert {path: path.stat().st_mtime_ns for path in Path("runs/tiny").rglob("*") if path.is_file()} == stamp
    fit("--ckpt_path", "last", "--trainer.max_epochs", "2")
    assert torch.load("runs/tiny/checkpoints/last.ckpt", weights_only=True)["global_step"] == 8


def test_limits_that_end_a_run() -> None:
    assert ended(10, None, step=10, epochs=0)
    assert not ended(10, None, step=9, epochs=5)
    assert ended(-1, 2, step=1, epochs=2)
    assert not ended(-1, 2, step=1000, epochs=1)
    assert not ended(-1, -1, step=1000, epochs=1000)


class KillAtEnd(Callback):
    """Stands for a kill behind the last checkpoint: nothing after it is done."""

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        raise Killed

    on_train_end = on_validation_start


@pytest.mark.parametrize("limit", [{"max_epochs": 1}, {"max_steps": 12, "max_epochs": -1}])
def test_a_run_that_was_ended_behind_its_last_checkpoint_is_finished(tmp_path: Path, limit: dict[str, int]) -> None:
    """At `max_steps` too, where Lightning by itself would do nothing: the validation and the end of the run follow."""
    with pytest.raises(Killed):
        tiny_trainer(tmp_path, KillAtEnd(), **limit).fit(tiny_module(tmp_path), datamodule=tiny_data(tmp_path))
    calls: list[str] = []

    class Watch(Callback):
        def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            calls.append(f"validated at {trainer.global_step}")

        def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            calls.append(f"ended at {trainer.global_step}")

    trainer = tiny_trainer(tmp_path, Watch(), **limit)
    saved = tmp_path / "checkpoints" / "step=12.ckpt"
    trainer.fit(tiny_module(tmp_path), datamodule=tiny_data(tmp_path), ckpt_path=saved)
    assert calls == ["validated at 12", "ended at 12"]
    assert trainer.max_steps == limit.get("max_steps", -1)


def test_a_copied_run_goes_on_in_its_copy(project: Path) -> None:  # noqa: F811
    fit("--run", "whole")
    fit("--trainer.max_steps", "2")
    shutil.copytree("runs/tiny", "elsewhere/copy", symlinks=False)
    before = {path: path.read_bytes() for path in Path("runs/tiny").rglob("*") if path.is_file()}
    main(["fit", "--config", "elsewhere/copy/config.yaml", "--ckpt_path", "last", "--trainer.max_steps", "-1",
          "--trainer.max_epochs", "1"])  # fmt: skip
    whole, resumed = final_weights("runs/whole"), final_weights("elsewhere/copy")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert {path: path.read_bytes() for path in Path("runs/tiny").rglob("*") if path.is_file()} == before
    assert list(scores(Path("elsewhere/copy"))) == list(scores(Path("runs/whole")))


def test_two_runs_do_not_write_into_one_folder(project: Path) -> None:  # noqa: F811
    fit("--trainer.max_steps", "1")
    code = "import sys, time; from pathlib import Path; from grpo_lightning import saving\n"
    code += "lock = saving.only_writer(Path('runs/tiny')); print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(
            SystemExit, match=rf"run: runs/tiny is being written by another run \(process {other.pid} on"
        ):
            fit("--ckpt_path", "last")
        other.kill()  # it dies with the lock, and the lock with it
        other.wait()
    fit("--ckpt_path", "last")
    assert torch.load("runs/tiny/checkpoints/last.ckpt", weights_only=True)["global_step"] == 4


def test_a_log_is_cut_to_what_the_checkpoint_knew(tmp_path: Path) -> None:
    for name, size in (("tfevents.1", 10), ("tfevents.2", 10), ("tfevents.3", 10)):
        (tmp_path / name).write_bytes(b"x" * size)
    files = {path.name: path for path in tmp_path.iterdir()}
    with pytest.warns(UserWarning, match=r"tfevents\.2 is shorter"), pytest.warns(UserWarning, match="gone is gone"):
        cut_log(files, {"tfevents.1": 4, "tfevents.2": 11, "gone": 5})
    assert {path.name: path.stat().st_size for path in tmp_path.iterdir()} == {
        "tfevents.1": 4,
        "tfevents.2": 10,
        "replaced.3": 10,
    }


def test_a_fit_that_starts_anew_leaves_no_rows_of_before(project: Path) -> None:  # noqa: F811
    fit("--trainer.max_steps", "2")
    shutil.rmtree("runs/tiny/checkpoints")
    fit("--ckpt_path", "last")
    events = EventAccumulator("runs/tiny", size_guidance={"scalars": 0}).Reload()
    assert [event.step for event in events.Scalars("reward")] == [1, 2, 3, 4]


def test_changes_are_named_with_what_they_mean() -> None:
    before = {"a": {"b": 1}, "model": {"optimizer": {"lr": 1.0}, "rewards": [{"weight": 1}]}, "ckpt_path": "x"}
    now = {"model": {"optimizer": {"lr": 2.0}, "rewards": [{"weight": 1}, {"weight": 2}]}, "ckpt_path": "y"}
    assert [str(change) for change in changes(before, now)] == [
        "model.optimizer.lr: 1.0 -> 2.0: safe (the new value holds from here on)",
        "model.rewards[1].weight: (not set) -> 2: changes the course",
        "a.b: 1 -> (not set): changes the course",
    ]
    assert changes(now, now) == []


def test_resuming_with_a_changed_config_says_what_changed(project: Path, capsys) -> None:  # noqa: F811
    fit("--trainer.max_steps", "1")
    capsys.readouterr()
    fit("--ckpt_path", "last", "--trainer.max_steps", "2")
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("resume:")] == [
        "resume: trainer.max_steps: 1 -> 2: safe (a schedule stretches to the new end)"
    ]
    fit("--ckpt_path", "last", "--trainer.max_steps", "3", "--data.prompts_per_step", "2", "--model.group_size", "2",
        "--model.sampling.top_k", "5", "--seed_everything", "1")  # fmt: skip
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("resume:")]
    for words in (
        "data.prompts_per_step: 4 -> 2: changes the course (the position counts batches: other rows come next)",
        "model.group_size: 4 -> 2: changes the course (advantages have another baseline)",
        "model.sampling.top_k: 0 -> 5: changes the course",
        "seed_everything: 0 -> 1: changes the course (other draws, and the position means other rows)",
    ):
        assert f"resume: {words}" in told, told


def test_a_model_of_another_shape_is_refused(project: Path) -> None:  # noqa: F811
    from tests.tiny import tiny_policy

    fit("--trainer.max_steps", "1")
    shutil.copytree("tiny", "other")
    tiny_policy("llama").save_pretrained("other")
    with pytest.raises(SystemExit, match=r"ckpt_path: its weights are not those of model\.policy \(.*state_dict"):
        fit("--ckpt_path", "last", "--model.policy.pretrained", "other")
    kept = yaml.safe_load(Path("runs/tiny/config.yaml").read_text())
    assert kept["model"]["policy"]["pretrained"] != "other", "what was refused is not the run's config"


SLOW = ["--model.rewards+", '{"reward": "rewards.mine.slow", "weight": 0.0}', "--checkpoint.every_n_train_steps", "100"]


def started(*args: str) -> subprocess.Popen[str]:
    """A run in its second rollout or later."""
    process = command("fit", "--config", "config.yaml", *SLOW, "--trainer.max_epochs", "20", *args)
    deadline = time.monotonic() + 200
    while not _has_row(Path("runs/tiny")):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]  # noqa: PT018
        time.sleep(0.05)
    return process


def _has_row(folder: Path) -> bool:
    """Of a step; pages and settings, which stand there before, do not have this name."""
    return any(b"groups/unscored" in path.read_bytes() for path in folder.glob("events*"))


def assert_goes_on(*args: str) -> None:
    """From where the run is, five steps later, as one that was not interrupted."""
    done = torch.load("runs/tiny/checkpoints/last.ckpt", weights_only=True)["global_step"]
    end = [*SLOW, "--trainer.max_epochs", "20", "--trainer.max_steps", str(done + 5), *args]
    fit(*end, "--ckpt_path", "last")
    fit(*end, "--run", "whole")
    whole, resumed = final_weights("runs/whole"), final_weights("runs/tiny")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    events = EventAccumulator("runs/tiny", size_guidance={"scalars": 0}).Reload()
    assert [event.step for event in events.Scalars("reward")] == list(range(1, done + 6))


def test_a_schedulers_signal_saves_and_asks_to_be_started_again(project: Path) -> None:  # noqa: F811
    process = started()
    process.send_signal(signal.SIGUSR1)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 75, output
    assert_goes_on()


def test_ctrl_c_twice_leaves_at_once(project: Path) -> None:  # noqa: F811
    Path("rewards/long.py").write_text(
        "import time\n\ndef long(records):\n    time.sleep(30)\n    return [0.0 for _ in records]\n"
    )
    process = started()
    process.send_signal(signal.SIGINT)
    time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 130, output
    assert Path("runs/tiny/checkpoints/last.ckpt").exists(), output
    assert_goes_on()


def _runs(pid: int) -> bool:
    """Whether there is such a process, and it has not ended; one that has may still wait for somebody to notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


TWO = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--model.reward_workers", "1"]


@pytest.mark.parametrize("rank", [0, 1, None])
def test_a_signal_to_one_rank_or_all_ends_all(project: Path, rank: int | None) -> None:  # noqa: F811
    process = started(*TWO)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    other = [int(pid) for pid in children if b"--trainer.devices" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(other) == 1
    for pid in {0: [process.pid], 1: other, None: [process.pid, *other]}[rank]:
        os.kill(pid, signal.SIGTERM)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 143, output
    deadline = time.monotonic() + 30
    while _runs(other[0]):
        assert time.monotonic() < deadline, output
        time.sleep(0.1)
    done = torch.load("runs/tiny/checkpoints/last.ckpt", weights_only=True)["global_step"]
    assert 1 <= done < 80


@pytest.mark.parametrize(("first", "then"), [([], TWO), (TWO, [])])
def test_another_number_of_ranks_goes_on(project: Path, first: list[str], then: list[str]) -> None:  # noqa: F811
    """One rank then two, two ranks then one: as one rank throughout, but for how sums are rounded."""
    plain = ["--model.optimizer.lr", "1e-4"]
    for folder, options in (("runs/tiny", first), ("runs/whole", [])):
        done = command(
            "fit", "--config", "config.yaml", "--run", folder[5:], "--trainer.max_steps", "2", *plain, *options
        )
        output = done.communicate(timeout=200)[0]
        assert done.returncode == 0, output
    for folder, options in (("runs/tiny", then), ("runs/whole", [])):
        done = command("fit", "--config", "config.yaml", "--run", folder[5:], "--ckpt_path", "last", *plain, *options)
        output = done.communicate(timeout=200)[0]
        assert done.returncode == 0, output
        changed = "trainer.devices: " in output
        assert changed == (folder == "runs/tiny"), output
    whole, resumed = final_weights("runs/whole"), final_weights("runs/tiny")
    assert max(float((whole[name] - resumed[name]).abs().max()) for name in whole) < 1e-5


def test_ranks_that_prompts_cannot_be_shared_by_are_refused(project: Path) -> None:  # noqa: F811
    done = command("fit", "--config", "config.yaml", "--data.prompts_per_step", "3", *TWO)
    output = done.communicate(timeout=200)[0]
    assert done.returncode == 1, output
    assert "data.prompts_per_step: 3 cannot be shared evenly by 2 devices; use a multiple" in output


SRUN = """#!/usr/bin/env bash
# One task; the scheduler's signal comes when the log says that training has begun, the first time.
export SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 SLURM_NTASKS=1 SLURM_NNODES=1 SLURM_JOB_NAME=grpo
export MASTER_ADDR=127.0.0.1
"$@" &
task=$!
if [[ ! -e signalled ]]; then
  until grep -qs groups/unscored runs/*/events* || ! kill -0 $task; do sleep 0.05; done
  touch signalled
  kill -USR1 $task
fi
wait $task
"""


def test_slurm_requeues_a_run_until_it_is_finished(project: Path) -> None:  # noqa: F811
    """With an `srun` and a `scontrol` that do what SLURM's would, on one task."""
    bin_folder = Path("bin")
    bin_folder.mkdir()
    (bin_folder / "srun").write_text(SRUN)
    (bin_folder / "scontrol").write_text('#!/usr/bin/env bash\necho "$@" >> requeued\n')
    (bin_folder / "grpo").write_text(f'#!/usr/bin/env bash\nexec {sys.executable} -m grpo_lightning "$@"\n')
    for path in bin_folder.iterdir():
        path.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{bin_folder.resolve()}:{os.environ['PATH']}",
        "GRPO_LIGHTNING": "grpo",
        "SLURM_JOB_ID": "1234",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_NTASKS_PER_NODE": "1",
    }
    script = [str(ROOT / "scripts" / "slurm.sh"), "--config", "config.yaml", *SLOW, "--trainer.max_epochs", "3"]
    for requeued in (1, 1):
        done = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stdout + done.stderr
        assert Path("requeued").read_text() == "requeue 1234\n" * requeued
    assert torch.load("runs/job-1234/checkpoints/last.ckpt", weights_only=True)["global_step"] == 12
    assert not list(Path("runs/job-1234").glob("hpc_ckpt*")), "Lightning's own handler saves in the middle of a step"
    fit(*SLOW, "--run", "whole", "--trainer.max_epochs", "3")
    whole, resumed = final_weights("runs/whole"), final_weights("runs/job-1234")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def shards(folder: Path, *args: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.train_shards", str(folder), *args], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_sharded_checkpoints_are_folders_and_go_on(tmp_path: Path) -> None:
    """On two ranks: sealed, two kept behind links, and going on from the one before gives the same weights."""
    shards(tmp_path, "6")
    kept = tmp_path / "checkpoints"
    assert (kept / "last.ckpt").is_symlink()
    assert {"__0_0.distcp", "__1_0.distcp", "meta.pt", ".metadata"} <= set(os.listdir(kept / "last.ckpt"))
    assert [saving.flaw(path) for path in saving.candidates(kept)] == [None, None, None]
    assert torch.load(kept / "previous.ckpt" / "meta.pt", weights_only=True)["global_step"] == 4
    whole = torch.load(tmp_path / "weights6.pt")
    flip(kept / "last.ckpt" / "__1_0.distcp", 1000)
    last = last_checkpoint(kept, required=True)
    assert last == str(kept / "previous.ckpt")
    shards(tmp_path, "6", last)
    assert same(whole, torch.load(tmp_path / "weights6.pt"))


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_a_folder_of_shares_is_refused_where_files_are_read(project: Path, command: str) -> None:  # noqa: F811
    """... by `auto` and `ddp`; the line says which strategy reads it. The run's config stays as it was."""
    write_folder(Path("shares.ckpt"), 1)
    with pytest.raises(SystemExit) as caught:
        main([command, "--config", "config.yaml", "--ckpt_path", "shares.ckpt"])
    said = str(caught.value.code)
    assert said.startswith(
        "grpo-lightning: ckpt_path: shares.ckpt is a folder of shares, which only --trainer.strategy"
    )
    assert "\n" not in said
    assert not Path("runs/tiny/config.yaml").exists()
