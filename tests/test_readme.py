"""The README is run: each command, the reward in ten lines, and what it says about files and metrics."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from grpo_lightning.cli import main
from grpo_lightning.types import Record

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
COMMANDS = [line for kind, block in BLOCKS if kind == "bash" for line in block.splitlines() if line.strip()]

SMALLER = {
    "fit": [
        *("--trainer.val_check_interval", "1"),
        *("--data.source.init_args.train", "32", "--data.source.init_args.validation", "4"),
        *("--data.source.init_args.test", "4", "--trainer.enable_progress_bar", "false"),
    ],
    "test": ["--trainer.enable_progress_bar", "false"],
    "predict": ["--trainer.enable_progress_bar", "false"],
    "export": [],
}
"""What makes each command take a second: fewer prompts, one step."""


def test_every_grpo_lightning_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In their order, because later ones use what earlier ones leave."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["grpo-lightning"])
    commands = [line for line in COMMANDS if line.startswith("grpo-lightning ")]
    assert len(commands) >= 9
    main(["fit", "--config", "configs/quickstart.yaml", *SMALLER["fit"]])  # `make quickstart`
    for line in commands:
        words, _, comment = line.partition("#")
        args = words.split()[1:]
        if "needs a GPU" in comment:
            args = [*args, "--print_config"]
        elif not {"--help", "--print_config"} & set(args):
            args = [*args, *SMALLER[args[0]]]
        if {"--help", "--print_config"} & set(args):
            with pytest.raises(SystemExit, match="0"):
                main(args)
        else:
            main(args)
    for _ in (line for line in COMMANDS if line.startswith("python scripts/front.py")):
        words = [str(ROOT / "scripts" / "front.py"), *map(str, sorted(Path("runs").iterdir()))]
        subprocess.run([sys.executable, *words], check=True, capture_output=True)
    for line in (line for line in COMMANDS if line.startswith("python scripts/plan.py")):
        words = line.partition("#")[0].split()[2:]
        done = subprocess.run(
            [sys.executable, str(ROOT / "scripts" / "plan.py"), *words], check=True, capture_output=True
        )
        assert b"optimizer" in done.stdout
    assert (tmp_path / "runs" / "front.png").is_file()
    assert (tmp_path / "exported" / "model.safetensors").is_file()
    assert (tmp_path / "runs" / "quickstart" / "predictions.jsonl").is_file()
    assert {path.name for path in (tmp_path / "runs" / "quickstart").iterdir()} >= {
        "summary.json",
        "curves.png",
        "checkpoints",
        "config.yaml",
        "policy",
    }


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("make ")])
def test_every_make_target_exists(line: str) -> None:
    target = line.partition("#")[0].split()[1]
    done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_command_is_known() -> None:
    assert {line.split()[0] for line in COMMANDS} == {
        "make",
        "grpo-lightning",
        "tensorboard",
        "python",
        ".venv/bin/pytest",
    }


def test_the_reward_in_ten_lines_works(tmp_path: Path) -> None:
    (block,) = (block for kind, block in BLOCKS if kind == "python" and "class Brevity" in block)
    scope: dict[str, type] = {}
    exec(block, scope)
    some = {"prompt": "", "completion": "", "answer": None, "row": {}, "stop_reason": "eos"}
    records = [Record(token_ids=(0,) * n, **some) for n in (0, 10, 99)]
    assert scope["Brevity"](limit=40)(records) == [1.0, 0.75, 0.0]


def test_links_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *ROOT.glob("*/README.md")]:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert link.startswith("http") or (page.parent / link).exists(), f"{page}: {link}"


def test_the_map_names_every_file() -> None:
    named = set(re.findall(r"\(grpo_lightning/([\w/]+?)(?:\.py|/)\)", README))
    parts = {path.relative_to(ROOT / "grpo_lightning").parts[0] for path in (ROOT / "grpo_lightning").rglob("*.py")}
    assert named == {part.removesuffix(".py") for part in parts} - {"__init__", "__main__"}
