"""Rows with the columns that data sets of the hub have, and files of them as they lie there.

The columns are those of the data sets' cards; the contents are made up, and short enough for a tokenizer of characters.
"""

from collections.abc import Sequence
from pathlib import Path

import pyarrow
import pyarrow.parquet

Row = dict[str, object]

GSM8K = {
    "question": "Natalia sold 48 clips in April and half as many in May. How many in all?",
    "answer": "She sold 48/2 = <<48/2=24>>24 clips in May.\nIn all 48+24 = <<48+24=72>>72.\n#### 72",
}
"""openai/gsm8k."""

MATH = {
    "problem": "What is $\\frac{1}{2} + \\frac{1}{4}$?",
    "solution": "We have $\\frac{2}{4} + \\frac{1}{4} = \\boxed{\\frac{3}{4}}.$",
    "answer": "\\frac{3}{4}",
    "subject": "Prealgebra",
    "level": 1,
    "unique_id": "test/prealgebra/1.json",
}
"""nlile/hendrycks-MATH-benchmark and HuggingFaceH4/MATH-500."""

DEEPMATH = {
    "question": "Evaluate the limit: \\[ \\lim_{x \\to 0} \\frac{\\sin 2x}{x} \\]",
    "final_answer": "2",
    "difficulty": 4.5,
    "topic": "Mathematics -> Calculus -> Limits",
    "r1_solution_1": "Since $\\sin 2x$ is close to $2x$ ... \\boxed{2}",
    "r1_solution_2": "By L'Hopital's rule ... \\boxed{2}",
    "r1_solution_3": "By the series of the sine ... \\boxed{2}",
}
"""zwhe99/DeepMath-103K."""

MBPP = {
    "task_id": 11,
    "text": "Write a function to double a number.",
    "code": "def double(x):\r\n  return 2 * x",
    "test_list": ["assert double(2) == 4", "assert double(0) == 0", "assert double(-3) == -6"],
    "test_setup_code": "",
    "challenge_test_list": ["assert double(10) == 20"],
}
"""google-research-datasets/mbpp, full."""

MBPP_SANITIZED = {
    "source_file": "Benchmark Questions Verification V2.ipynb",
    "task_id": 82,
    "prompt": "Write a function to find the area of a unit circle.",
    "code": "import math\ndef area():\n  return math.pi",
    "test_imports": ["import math"],
    "test_list": ["assert math.isclose(area(), math.pi)"],
}
"""google-research-datasets/mbpp, sanitized."""

ULTRAFEEDBACK = {
    "prompt": "Name a prime.",
    "prompt_id": "0" * 64,
    "chosen": [{"content": "Name a prime.", "role": "user"}, {"content": "2", "role": "assistant"}],
    "rejected": [{"content": "Name a prime.", "role": "user"}, {"content": "4", "role": "assistant"}],
    "messages": [{"content": "Name a prime.", "role": "user"}, {"content": "2", "role": "assistant"}],
    "score_chosen": 9.0,
    "score_rejected": 2.0,
}
"""HuggingFaceH4/ultrafeedback_binarized."""


def many(row: Row, column: str, count: int, name: str = "") -> list[Row]:
    """The row again and again, with a number in the column of the prompt, so that no two prompts are the same."""
    return [row | {column: f"{name}{number}. {row[column]}"} for number in range(count)]


def write_parquet(folder: Path, **splits: Sequence[Row]) -> None:
    """A file for each split, named as on the hub."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in splits.items():
        table = pyarrow.Table.from_pylist(list(rows))
        pyarrow.parquet.write_table(table, folder / f"{split}-00000-of-00001.parquet")
