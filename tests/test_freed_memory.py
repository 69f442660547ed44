"""What was freed is there for the next step, if nobody said otherwise."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from grpo_lightning import policy_module
from tests.fakes import tiny_data, tiny_module, tiny_trainer

PROGRAM = """
import resource
import sys

from grpo_lightning.freed_memory import keep_freed_memory

block = bytes([1])  # multiplied by a constant it would be made once, by the compiler
if sys.argv[1] == "keep":
    keep_freed_memory()
block * 2**24
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(16):
    block * 2**24
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
GIVEN_BACK = 16 * 8
"""Page faults, at least: 16 times 16 MiB, in pages of at most 2 MiB."""


def faults(what: str, **environment: str) -> int:
    own = {key: value for key, value in os.environ.items() if not key.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    root = Path(__file__).parent.parent
    command = [sys.executable, "-c", PROGRAM, what]
    return int(subprocess.run(command, env=own | environment, cwd=root, capture_output=True, check=True).stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="malloc is another")
def test_what_was_freed_is_kept_unless_the_environment_says_what_is() -> None:
    assert faults("leave") >= GIVEN_BACK
    assert faults("keep") < GIVEN_BACK / 4
    assert faults("keep", MALLOC_TRIM_THRESHOLD_="131072") >= GIVEN_BACK
    assert faults("keep", GLIBC_TUNABLES="glibc.malloc.mmap_threshold=131072") >= GIVEN_BACK


def test_a_run_on_a_cpu_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[None] = []
    monkeypatch.setattr(policy_module, "keep_freed_memory", lambda: asked.append(None))
    tiny_trainer(tmp_path).fit(tiny_module(tmp_path), datamodule=tiny_data(tmp_path))
    assert asked
