"""The tests of the mathematics are themselves tested: every hand-made mistake in it must fail one of them."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_mutant_of_the_mathematics_is_noticed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.mutants"], cwd=ROOT, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [], "these changes pass all tests"
