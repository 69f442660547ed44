"""What goes wrong outside a reward, and what a run does then: docs/faults.md names these tests."""

import json
import logging
import math
import os
import re
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from grpo_lightning import replay
from grpo_lightning.adapters import AdapterConfig
from grpo_lightning.bad_steps import BadSteps
from grpo_lightning.optimization import OptimizerConfig, UpdateConfig
from grpo_lightning.policy import PolicyConfig
from grpo_lightning.sources import Dataset
from grpo_lightning.watch import Sign, Watch
from tests.fakes import tiny_data, tiny_module, tiny_trainer
from tests.tiny import tiny_folder
from tests.train_faulty import Spoilt, spoil

ROOT = Path(__file__).parent.parent
LINEAR = OptimizerConfig(lr=1e-2, schedule="linear", weight_decay=0.1)


def spoilt(folder: Path, bad: set[int], **update: int) -> Spoilt:
    config = UpdateConfig(**{"num_iterations": 2, "minibatches": 2, "micro_batch_tokens": 64, **update})
    return spoil(tiny_module(folder, update=config, optimizer=LINEAR), bad)


class Steps(Callback):
    """Keeps weights and optimizer state as they are before each optimizer step, and what each rollout logs."""

    def __init__(self) -> None:
        self.states: list[dict[str, torch.Tensor]] = []
        self.rows: list[dict[str, float]] = []

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: object) -> None:
        self.states.append(state_of(trainer, pl_module))

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *rest: object) -> None:
        self.rows.append({name: float(value) for name, value in trainer.callback_metrics.items()})


def state_of(trainer: Trainer, module: LightningModule) -> dict[str, torch.Tensor]:
    moments = {
        f"{i}/{name}": value.clone()
        for i, state in enumerate(trainer.optimizers[0].state.values())
        for name, value in state.items()
    }
    return {name: value.detach().clone() for name, value in module.state_dict().items()} | moments


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_step_that_is_not_finite_is_skipped_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Steps 1, 6 and 7 of 12, four to a rollout: their states equal those before, and the schedule goes on."""
    steps = Steps()
    module = spoilt(tmp_path, {1, 6, 7})
    trainer = tiny_trainer(tmp_path, steps, max_epochs=1)
    with caplog.at_level(logging.WARNING, "grpo_lightning.bad_steps"):
        trainer.fit(module, datamodule=tiny_data(tmp_path))
    after = [*steps.states[1:], state_of(trainer, module)]
    assert [equal(a, b) for a, b in zip(steps.states, after, strict=True)] == [n in (1, 6, 7) for n in range(12)]
    assert trainer.global_step == 12
    assert [row["update/skipped"] for row in steps.rows] == [1.0, 2.0, 0.0]
    assert all(math.isfinite(value) for row in steps.rows for value in row.values())
    means = [sum(1e-2 * (1 - step / 11) for step in range(i, i + 4)) / 4 for i in (0, 4, 8)]
    assert [row["update/lr"] for row in steps.rows] == pytest.approx(means)
    said = [record.getMessage() for record in caplog.records if record.name == "grpo_lightning.bad_steps"]
    assert [re.findall(r"loss is (\w+) .* step (\d+): skipped, (\d) in a row", line)[0] for line in said] == [
        ("nan", "1", "1"), ("nan", "6", "1"), ("nan", "7", "2"),
    ]  # fmt: skip
    assert not (tmp_path / "bad_steps").exists()


def test_resume_is_exact_around_steps_that_were_skipped(tmp_path: Path) -> None:
    bad = {1, 6, 7, 8, 13}
    module = spoilt(tmp_path, bad)
    tiny_trainer(tmp_path).fit(module, datamodule=tiny_data(tmp_path))
    for step in (4, 8, 12, 16):
        resumed = spoilt(tmp_path, bad)
        trainer = tiny_trainer(tmp_path)
        trainer.fit(resumed, datamodule=tiny_data(tmp_path), ckpt_path=tmp_path / "checkpoints" / f"step={step}.ckpt")
        assert trainer.global_step == 24
        assert equal(dict(module.state_dict()), dict(resumed.state_dict())), step


def test_too_many_in_a_row_end_the_run_and_the_batch_can_be_replayed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Steps 3, 4 and 5: two are allowed, across the rollouts' boundary, and across a resume from there."""
    message = r"at optimizer step 5: the weights are unharmed.* allows 2 in a row and this is number 3"
    for checkpoint in (None, tmp_path / "checkpoints" / "step=4.ckpt"):
        module = spoilt(tmp_path, {3, 4, 5}, max_bad_steps=2)
        with pytest.raises(BadSteps, match=message) as caught:
            tiny_trainer(tmp_path).fit(module, datamodule=tiny_data(tmp_path), ckpt_path=checkpoint)
        path = tmp_path / "bad_steps" / "step=5-rank=0.pt"
        assert str(path) in str(caught.value)
        saved = torch.load(path, weights_only=True)
        path.unlink()
        assert len(saved["micro_batches"]) == 1, "only the micro-batch whose loss is not finite is kept"
        assert math.isnan(saved["losses"][0])
    torch.save(saved, path)
    replay.main([str(path), str(tmp_path / "checkpoints" / "step=4.ckpt")])
    output = capsys.readouterr().out
    assert "optimizer step 5, rank 0 of 1" in output
    assert "micro-batch 0: loss was nan, is nan" in output
    assert len(re.findall(r"sequence \d+, not finite: advantage at \[0", output)) == 1, output
    assert "gradients that are not finite: model.embed_tokens.weight" in output
    for values in saved["micro_batches"]:
        values["advantages"].fill_(1.0)
    torch.save(saved, path)
    replay.main([str(path)])
    output = capsys.readouterr().out
    assert re.search(r"loss was nan, is -?\d", output), output
    assert "not finite" not in output


def test_a_batch_of_an_adapted_policy_is_replayed_from_its_adapter(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = PolicyConfig(pretrained=str(tiny_folder(tmp_path / "tiny")), adapter=AdapterConfig(rank=2))
    update = UpdateConfig(num_iterations=2, minibatches=2, micro_batch_tokens=64, max_bad_steps=0)
    module = spoil(tiny_module(tmp_path, policy=policy, update=update, optimizer=LINEAR), {5})
    with pytest.raises(BadSteps):
        tiny_trainer(tmp_path).fit(module, datamodule=tiny_data(tmp_path))
    path, checkpoint = tmp_path / "bad_steps" / "step=5-rank=0.pt", tmp_path / "checkpoints" / "step=4.ckpt"
    replay.main([str(path), str(checkpoint)])
    assert "micro-batch 0: loss was nan, is nan" in capsys.readouterr().out


def test_what_is_kept_for_replay_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grpo_lightning.bad_steps.BYTES", 1)

    class Poison(Callback):
        def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
            next(pl_module.parameters()).grad.fill_(math.inf)  # the losses are finite, so every micro-batch is suspect

    module = tiny_module(tmp_path, update=UpdateConfig(micro_batch_tokens=32, max_bad_steps=0))
    with pytest.raises(BadSteps, match=r"gradient norm is (inf|nan)"):
        tiny_trainer(tmp_path, Poison()).fit(module, datamodule=tiny_data(tmp_path))
    saved = torch.load(tmp_path / "bad_steps" / "step=0-rank=0.pt", weights_only=True)
    assert len(saved["micro_batches"]) == 1
    assert saved["left_out"] > 0


# ------------------------------------------------------------------------------------------------ ranks that go missing


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def watch(size: int = 3) -> tuple[Watch, Clock]:
    clock = Clock()
    return Watch(rank=0, size=size, timeout=10.0, clock=clock), clock


def test_who_is_silent_is_named_and_who_has_left_is_not() -> None:
    here, clock = watch()
    for second in range(30):
        clock.now = float(second)
        here.hear({1: Sign(beat=min(second, 4), pid=11), 2: Sign(state="left", pid=12)})
        found = here.verdict()
        assert (found is None) == (second <= 14), second  # heard of last at 4
    assert found == (
        "rank 1 (process 11) has not been heard of for 10 s: stopped, hung, or its machine is gone", [1],
    )  # fmt: skip


def test_who_holds_the_store_is_named_when_it_is_silent() -> None:
    clock = Clock()
    here = Watch(rank=1, size=2, timeout=10.0, clock=clock)
    here.hear({0: Sign(pid=10)})
    clock.now = 10.5
    assert here.verdict() == ("rank 0 (process 10) or its machine has not answered for 10 s", [0])
    here.restart()  # this process itself was stopped meanwhile
    assert here.verdict() is None


def test_a_dead_process_is_told_from_one_whose_number_is_used_again() -> None:
    here, _ = watch()
    own = Sign.own()
    here.hear({1: own, 2: own})
    assert here.verdict() is None
    child = subprocess.Popen(["sleep", "60"])
    theirs = replace(own, pid=child.pid, born="1")
    here.hear({1: theirs})
    assert here.verdict() == (f"rank 1 (process {child.pid}) is gone, killed or crashed", [])
    here.hear({1: replace(theirs, place="another machine")})
    assert here.verdict() is None
    child.kill()
    child.wait()


def test_who_lives_and_does_not_come_is_named() -> None:
    here, _ = watch()
    here.hear({1: Sign(state="waits"), 2: Sign(pid=12)})
    assert here.left_behind() == ("rank 2 (process 12) lives, but did not come to where the others waited for it", [2])
    here.hear({2: Sign(state="waits")})
    assert here.left_behind() is None


def test_of_who_was_never_heard_of_nobody_says_that_it_lives() -> None:
    here, _ = watch()
    here.hear({1: Sign(state="waits")})
    assert here.left_behind() == ("rank 2 (process ?) did not come to where the others waited for it", [2])


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize(
    ("deed", "rank", "line"),
    [
        ("kill-rollout", 1, r"rank 1 \(process {pid}\) is gone, killed or crashed"),
        ("kill-update", 0, r"rank 0 \(process {pid}\) is gone, killed or crashed"),
        ("stop-update", 1, r"rank 1 \(process {pid}\) has not been heard of for 8 s"),
        ("stop-rollout", 0, r"rank 0 \(process {pid}\) or its machine has not answered for \d+ s"),
        ("sleep-rollout", 1, r"rank 1 \(process {pid}\) lives, but did not come to where the others waited"),
        ("stop-update under torchrun", 1, r"rank 1 \(process {pid}\) has not been heard of for 8 s"),
        ("raise-update", 1, r"rank 1 (\(process {pid}\) is gone|failed): ValueError: a bad day"),
    ],
)
def test_a_rank_that_goes_missing_ends_the_run_and_is_named(tmp_path: Path, deed: str, rank: int, line: str) -> None:
    """Within 8 s of silence, or at once where it is seen to be dead; nothing is left running.

    Where Lightning has started the processes, it looks after those that die as well, and may be the first to see it.
    """
    tiny_folder(tmp_path / "tiny")
    deed, _, launcher = deed.partition(" under ")
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint"]
    start = [*torchrun, "localhost:0"] if launcher else []
    command = [sys.executable, *start, "-m", "tests.train_faulty", str(tmp_path), deed, str(rank), "8"]
    with (tmp_path / "output").open("w") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
        code = process.wait(timeout=200)
    pids = [int((tmp_path / f"rank{r}").read_text()) for r in (0, 1)]
    deadline = time.monotonic() + 60
    while not all(map(gone, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    text = (tmp_path / "output").read_text(errors="replace")
    assert all(map(gone, pids)), text
    assert code != 0, text
    assert not (tmp_path / "done").exists()
    ours = "^grpo-lightning: " + line.format(pid=pids[rank])
    lightnings = rf"^\[rank: {rank}\] Child process with PID {pids[rank]} terminated with code"
    dies = deed.startswith(("kill", "raise")) and rank > 0
    assert re.search(f"{ours}|{lightnings}" if dies else ours, text, re.MULTILINE), text[-3000:]


def test_a_loss_that_is_not_finite_on_one_rank_is_skipped_on_both(tmp_path: Path) -> None:
    """Steps 5 and 6 are bad on rank 1; one is allowed. Both ranks' weights stay equal; rank 1 keeps its batch."""
    tiny_folder(tmp_path / "tiny")
    command = [sys.executable, "-m", "tests.train_faulty", str(tmp_path), "nan-update", "1", "60"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    found = [json.loads((tmp_path / f"steps{rank}.json").read_text()) for rank in (0, 1)]
    assert found[0]["sums"] == found[1]["sums"]
    changed = [a != b for a, b in zip(found[0]["sums"], found[0]["sums"][1:], strict=False)]
    assert changed == [True, True, True, True, True, False]
    assert [path.name for path in (tmp_path / "bad_steps").iterdir()] == ["step=6-rank=1.pt"]
    assert "step=6-rank=1.pt" in done.stdout + done.stderr
    assert done.returncode != 0


# ------------------------------------------------------------------------------------------------------ hub and data

ASK = """
import sys, time
from pathlib import Path
from grpo_lightning.policy import PolicyConfig, load_policy, load_tokenizer
from grpo_lightning.sources import Dataset
started = time.monotonic()
for ask in (
    lambda: load_tokenizer("some/model"),
    lambda: load_policy(PolicyConfig(pretrained="some/model"), seed=0),
    lambda: Dataset(path="some/data").rows("train"),
):
    try:
        ask()
    except ValueError as error:
        print(" ".join(str(error).split()))
print(f"{time.monotonic() - started:.1f}")
"""
"""A program: one line for each of tokenizer, model and data set of a hub, and the seconds that it took."""


@pytest.mark.parametrize("kind", ["closed", "silent", "offline"])
def test_a_hub_that_does_not_answer_is_said_in_time(tmp_path: Path, kind: str) -> None:
    """Its libraries alone were still waiting for a silent one after 170 s. Three questions, one second to answer."""
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        port = hole.getsockname()[1]
        if kind == "silent":
            hole.listen(64)
        environment = os.environ | {
            "HF_ENDPOINT": f"http://127.0.0.1:{port}",
            "HF_HUB_OFFLINE": str(int(kind == "offline")),
            "HF_HUB_ETAG_TIMEOUT": "1",
            "HF_HOME": str(tmp_path),
        }
        done = subprocess.run(
            [sys.executable, "-c", ASK], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
        )
    *lines, seconds = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == ["policy.pretrained", "policy.pretrained", "source.path"], done
    assert all(name in line for name, line in zip(("some/model", "some/model", "some/data"), lines, strict=True))
    assert float(seconds) < 30
    waited = f"http://127.0.0.1:{port} gave no answer within 1 s" in done.stderr
    assert waited == (kind != "offline"), done.stderr


def rows_file(path: Path) -> Path:
    path.write_text("".join(json.dumps({"prompt": f"{i}+1=", "answer": str(i + 1)}) + "\n" for i in range(16)))
    return path


def test_a_data_file_that_vanishes_is_not_missed_by_a_run_and_named_on_resume(tmp_path: Path) -> None:
    """All rows are read when the run starts; its second epoch has them, too."""
    path = rows_file(tmp_path / "rows.jsonl")

    class Vanish(Callback):
        def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            path.unlink()

    trainer = tiny_trainer(tmp_path, Vanish())
    trainer.fit(tiny_module(tmp_path), datamodule=tiny_data(tmp_path, source=Dataset(path=str(path))))
    assert trainer.current_epoch == 2
    last = tmp_path / "checkpoints" / f"step={trainer.global_step}.ckpt"
    with pytest.raises(ValueError, match=rf"{path}: no such data file") as caught:
        tiny_trainer(tmp_path, max_epochs=3).fit(
            tiny_module(tmp_path), datamodule=tiny_data(tmp_path, source=Dataset(path=str(path))), ckpt_path=last
        )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "content"), [("a.jsonl", ""), ("a.csv", "prompt,answer\n"), ("a.json", "[]")])
def test_an_empty_data_file_is_named(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=rf"source\.train: no rows in .*{name}"):
        Dataset(path=str(tmp_path / name)).rows("train")


# ------------------------------------------------------------------------------------------------------ the fault table


def test_every_test_that_the_fault_table_and_the_security_policy_name_exists() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "tests").glob("test_*.py"))
    for path, least in ((ROOT / "docs" / "faults.md", 15), (ROOT / "SECURITY.md", 9)):
        table = path.read_text().split("| test |\n|---|")[1].split("\n\n")[0]
        rows = table.splitlines()[1:]
        assert len(rows) >= least
        for row in rows:
            names = re.findall(r"`(test_\w+)`", row.split("|")[-2])
            assert names, f"no test in {row}"
            for name in names:
                assert f"def {name}(" in sources, name
