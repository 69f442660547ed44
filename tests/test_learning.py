"""The quickstart learns, shortened to a quarter: ten steps are enough to see that thinking pays."""

import json
import sys
from pathlib import Path

import pytest

from grpo_lightning.cli import main

ROOT = Path(__file__).parent.parent


def test_the_quickstart_learns_to_think(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["grpo-lightning"])
    shorter = ["--data.source.init_args.train", "320", "--data.source.init_args.test", "128"]
    main(["fit", "--config", str(ROOT / "configs" / "quickstart.yaml"), *shorter])
    summary = json.loads(Path("runs/quickstart/summary.json").read_text(encoding="utf-8"))
    before, after, control = summary["before"], summary["after"], summary["control"]
    assert before["accuracy"] <= 0.45
    assert before["accuracy_sampled"] <= 0.45
    assert after["accuracy_sampled"] >= before["accuracy_sampled"] + 0.2
    assert after["reward/thinks"] >= before["reward/thinks"] + 0.2
    assert after["length_sampled"] > before["length_sampled"]
    assert control["accuracy"] >= 0.95
