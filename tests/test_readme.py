"""What only the README says: the reward in ten lines, and the map of the files. test_docs.py runs its commands."""

import re
from pathlib import Path

from grpo_lightning.types import Record
from tests.pages import blocks_of

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"


def test_the_reward_in_ten_lines_works() -> None:
    (block,) = (block for block in blocks_of(README) if block.path == "rewards/brevity.py")
    scope: dict[str, type] = {}
    exec(block.text, scope)
    some = {"prompt": "", "completion": "", "answer": None, "row": {}, "stop_reason": "eos"}
    records = [Record(token_ids=(0,) * n, **some) for n in (0, 10, 99)]
    assert scope["Brevity"](limit=40)(records) == [1.0, 0.75, 0.0]


def test_the_map_names_every_file() -> None:
    named = set(re.findall(r"\(grpo_lightning/([\w/]+?)(?:\.py|/)\)", README.read_text(encoding="utf-8")))
    parts = {path.relative_to(ROOT / "grpo_lightning").parts[0] for path in (ROOT / "grpo_lightning").rglob("*.py")}
    assert named == {part.removesuffix(".py") for part in parts} - {"__init__", "__main__"}
