"""Seeded generators of rows to make prompts of: sums, chains of operations, equations, countdown, small programs.

Knows neither tokenizers nor rewards. Which split a row belongs to is decided by its prompt alone, so no two splits
share one, whatever the seeds and sizes. Answers are computed beside the text, never by evaluating it.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal, Protocol, runtime_checkable

Split = Literal["train", "validation", "test"]

MISSES_IN_A_ROW = 10_000
"""So many draws without a new prompt of the split mean that there are hardly any left, or none."""

TRIES = 10_000
"""Draws of one countdown before its targets are called out of reach."""

OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
}

FORMS: dict[str, Callable[[int, int, int], int]] = {
    "x+{a}": lambda x, a, b: x + a,
    "x-{a}": lambda x, a, b: x - a,
    "x*{a}": lambda x, a, b: x * a,
    "{a}-x": lambda x, a, b: a - x,
    "x*{a}+{b}": lambda x, a, b: x * a + b,
    "x*{a}-{b}": lambda x, a, b: x * a - b,
    "(x+{a})*{b}": lambda x, a, b: (x + a) * b,
    "x*x+{a}": lambda x, a, b: x * x + a,
    "x*x-{a}": lambda x, a, b: x * x - a,
    "x*x*{a}": lambda x, a, b: x * x * a,
    "x*x+x*{a}": lambda x, a, b: x * x + x * a,
}
"""What a program may return, as source and as a function. None is of higher degree than two: three values fix it."""

POINTS = 3
"""Values that fix a polynomial of degree two."""


@runtime_checkable
class Task(Protocol):
    """What rows are drawn from."""

    def row(self, rng: random.Random) -> dict[str, object]:
        """One row, drawn from `rng` alone: at least "prompt" and "answer", both text. Prompts may repeat."""


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """One operation on two numbers: "123+456" -> "579"."""

    digits: int = 3
    """Of both numbers, without leading zeros."""
    operations: str = "+"
    """Drawn from these characters: + - *. A difference is never negative."""

    def __post_init__(self) -> None:
        _check_least("digits", self.digits, 1)
        _check_operations(self.operations, "+-*")

    def row(self, rng: random.Random) -> dict[str, object]:
        low, high = 10 ** (self.digits - 1), 10**self.digits - 1
        a, b, operation = rng.randint(low, high), rng.randint(low, high), rng.choice(self.operations)
        if operation == "-":
            a, b = max(a, b), min(a, b)
        return {"prompt": f"{a}{operation}{b}", "answer": str(OPERATIONS[operation](a, b))}


@dataclass(frozen=True, kw_only=True)
class ChainedArithmetic:
    """Several operations in a row, multiplication first: "7+3*5-2" -> "20"."""

    fewest: int = 3
    """Numbers in the shortest chain."""
    most: int = 6
    """Numbers in the longest chain."""
    largest: int = 9
    """Each number lies between 1 and this."""
    operations: str = "+-*"
    """Drawn from these characters: + - *. The result may be negative."""

    def __post_init__(self) -> None:
        _check_least("fewest", self.fewest, 2)
        _check_least("most", self.most, self.fewest)
        _check_least("largest", self.largest, 1)
        _check_operations(self.operations, "+-*")

    def row(self, rng: random.Random) -> dict[str, object]:
        text = str(product := rng.randint(1, self.largest))
        total, sign = 0, 1
        for _ in range(rng.randint(self.fewest, self.most) - 1):
            operation, number = rng.choice(self.operations), rng.randint(1, self.largest)
            text += f"{operation}{number}"
            if operation == "*":
                product *= number
            else:
                total, product, sign = total + sign * product, number, 1 if operation == "+" else -1
        return {"prompt": text, "answer": str(total + sign * product)}


@dataclass(frozen=True, kw_only=True)
class LinearEquations:
    """One unknown, with a whole number for its solution: "3*x+7=22" -> "5"."""

    largest_factor: int = 9
    """The factor of x lies between 2 and this."""
    largest_constant: int = 30
    """What is added or subtracted lies between 1 and this."""
    largest_solution: int = 12
    """The solution lies between minus this and this."""

    def __post_init__(self) -> None:
        _check_least("largest_factor", self.largest_factor, 2)
        _check_least("largest_constant", self.largest_constant, 1)
        _check_least("largest_solution", self.largest_solution, 0)

    def row(self, rng: random.Random) -> dict[str, object]:
        factor, constant = rng.randint(2, self.largest_factor), rng.randint(1, self.largest_constant)
        solution, operation = rng.randint(-self.largest_solution, self.largest_solution), rng.choice("+-")
        right = OPERATIONS[operation](factor * solution, constant)
        return {"prompt": f"{factor}*x{operation}{constant}={right}", "answer": str(solution)}


@dataclass(frozen=True, kw_only=True)
class Countdown:
    """Reach a target with every number used once: "make 21 from 3 4 6" -> "(4*6)-3".

    Every target can be reached through positive whole numbers. The answer is one solution of perhaps many: verify a
    completion against the columns "numbers" and "target".
    """

    numbers: int = 3
    """How many there are."""
    largest: int = 9
    """Each number lies between 1 and this."""
    lowest_target: int = 1
    """Smallest target."""
    highest_target: int = 99
    """Largest target."""
    operations: str = "+-*/"
    """Those the solution may use, of + - * /. Division only where it leaves no remainder."""

    def __post_init__(self) -> None:
        _check_least("numbers", self.numbers, 2)
        _check_least("largest", self.largest, 2)
        _check_least("lowest_target", self.lowest_target, 1)
        _check_least("highest_target", self.highest_target, self.lowest_target)
        _check_operations(self.operations, "+-*/")
        if self.lowest_target > self.largest**self.numbers:
            raise ValueError(
                f"task.lowest_target: {self.lowest_target} cannot be reached; {self.numbers} numbers up to "
                f"{self.largest} make {self.largest**self.numbers} at most"
            )

    def row(self, rng: random.Random) -> dict[str, object]:
        for _ in range(TRIES):
            numbers = [rng.randint(1, self.largest) for _ in range(self.numbers)]
            solved = _combine(numbers, self.operations, rng)
            if solved is not None and self.lowest_target <= solved[0] <= self.highest_target:
                target, expression = solved
                prompt = f"make {target} from {' '.join(map(str, numbers))}"
                return {"prompt": prompt, "answer": expression, "numbers": numbers, "target": target}
        raise ValueError(
            f"task.lowest_target, task.highest_target: no target from {self.lowest_target} to {self.highest_target} "
            f"found in {TRIES} draws; widen the range"
        )


@dataclass(frozen=True, kw_only=True)
class Programs:
    """A Python function of one whole number, described by values: "f(0)=4 f(1)=7 f(2)=10".

    The column "tests" is Python source, one `assert f(k) == v` a line: on the shown inputs and on unseen ones. What is
    shown fixes the function, among polynomials of degree two: no other simple answer passes the tests.
    """

    forms: tuple[str, ...] = tuple(FORMS)
    """What the function may return; see `FORMS`."""
    largest: int = 50
    """The constants a and b lie between 1 and this."""
    shown: int = 3
    """The prompt has the values at 0 .. shown - 1."""
    unseen: int = 4
    """The tests go on for this many more inputs."""

    def __post_init__(self) -> None:
        if not self.forms:
            raise ValueError(f"task.forms: () is empty; use some of {', '.join(FORMS)}")
        for form in self.forms:
            if form not in FORMS:
                raise ValueError(f"task.forms: unknown form {form!r}; use some of {', '.join(FORMS)}")
        _check_least("largest", self.largest, 1)
        _check_least("shown", self.shown, POINTS)
        _check_least("unseen", self.unseen, 1)

    def row(self, rng: random.Random) -> dict[str, object]:
        form, a, b = rng.choice(self.forms), rng.randint(1, self.largest), rng.randint(1, self.largest)
        values = [FORMS[form](x, a, b) for x in range(self.shown + self.unseen)]
        return {
            "prompt": " ".join(f"f({x})={value}" for x, value in enumerate(values[: self.shown])),
            "answer": f"def f(x): return {form.format(a=a, b=b)}",
            "tests": "\n".join(f"assert f({x}) == {value}" for x, value in enumerate(values)),
        }


def heldout(prompt: str) -> Split:
    """The split a prompt belongs to, for good: by a hash of its text, an eighth each for test and validation."""
    slot = blake2b(prompt.encode()).digest()[0] % 8
    return "test" if slot == 0 else "validation" if slot == 1 else "train"


def generate(task: Task, size: int, seed: int, split: Split) -> list[dict[str, object]]:
    """`size` rows of one split with distinct prompts; equal arguments, equal rows; a smaller size, the first of them.

    ValueError if the task has too few prompts.
    """
    rng, rows, misses = random.Random(f"{seed} {split}"), dict[object, dict[str, object]](), 0
    while len(rows) < size:
        row = task.row(rng)
        prompt = row["prompt"]
        if prompt in rows or heldout(str(prompt)) != split:
            misses += 1
            if misses == MISSES_IN_A_ROW:
                raise ValueError(f"{task}: {len(rows)} distinct {split} prompts, not {size}; ask for fewer or widen it")
        else:
            rows[prompt], misses = row, 0
    return list(rows.values())


def _combine(numbers: list[int], operations: str, rng: random.Random) -> tuple[int, str] | None:
    """All numbers joined at random, as value and expression; None where a step is not a positive whole number."""
    parts = [(number, str(number)) for number in numbers]
    while len(parts) > 1:
        (a, left), (b, right) = (parts.pop(rng.randrange(len(parts))) for _ in range(2))
        operation = rng.choice(operations)
        if operation == "/":
            value, rest = divmod(a, b)
            if rest:
                return None
        else:
            value = OPERATIONS[operation](a, b)
        if value < 1:
            return None
        parts.append((value, f"({left}{operation}{right})"))
    value, expression = parts[0]
    return value, expression[1:-1]


def _check_least(field: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"task.{field}: {value} is too small; use at least {least}")


def _check_operations(value: str, known: str) -> None:
    if not value or not set(value) <= set(known):
        raise ValueError(f"task.operations: {value!r} is not understood; use some of {' '.join(known)}")
