"""Answers are recomputed from the prompts' text, by Python's own arithmetic: the tasks never evaluate any."""

import random
import re
from fractions import Fraction
from itertools import pairwise

import pytest

from grpo_lightning.tasks import (
    FORMS,
    Arithmetic,
    ChainedArithmetic,
    Countdown,
    LinearEquations,
    Programs,
    Split,
    Task,
    generate,
    heldout,
)

TASKS: list[Task] = [
    Arithmetic(),
    Arithmetic(digits=2, operations="+-*"),
    ChainedArithmetic(),
    LinearEquations(),
    Countdown(),
    Countdown(numbers=5, largest=30, lowest_target=100, highest_target=999),
    Programs(),
]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def rows_of(task: Task, size: int = 200) -> list[dict[str, object]]:
    return generate(task, size, 0, "train")


def run(source: str, name: str = "f") -> object:
    names: dict[str, object] = {}
    exec(source, names)
    return names.get(name)


def values_in(expression: str) -> Fraction:
    """An expression's exact value: each number becomes a fraction first."""
    return eval(re.sub(r"(\d+)", r"Fraction(\1)", expression))


@pytest.mark.parametrize(
    "task",
    [Arithmetic(), Arithmetic(digits=2, operations="+-*"), ChainedArithmetic(), ChainedArithmetic(largest=40)],
    ids=str,
)
def test_the_answer_is_the_value_of_the_prompt(task: Task):
    for row in rows_of(task):
        assert eval(str(row["prompt"])) == int(str(row["answer"]))


def test_arithmetic_has_the_digits_asked_for_and_no_negative_answer():
    for row in rows_of(Arithmetic(digits=4, operations="-")):
        assert re.fullmatch(r"[1-9]\d{3}-[1-9]\d{3}", str(row["prompt"]))
        assert int(str(row["answer"])) >= 0


def test_every_operation_is_drawn():
    text = "".join(str(row["prompt"]) for row in rows_of(Arithmetic(operations="+-*")))
    assert set("+-*") <= set(text)


def test_chains_are_as_long_as_asked_for():
    lengths = {len(re.findall(r"\d+", str(row["prompt"]))) for row in rows_of(ChainedArithmetic(fewest=2, most=4))}
    assert lengths == {2, 3, 4}


def test_the_answer_solves_the_equation():
    for row in rows_of(LinearEquations()):
        left, right = str(row["prompt"]).split("=")
        assert eval(left, {"x": int(str(row["answer"]))}) == int(right)


@pytest.mark.parametrize("task", [task for task in TASKS if isinstance(task, Countdown)], ids=str)
def test_a_countdown_is_solved_with_every_number_once(task: Countdown):
    for row in rows_of(task):
        numbers, target, answer = row["numbers"], row["target"], str(row["answer"])
        assert isinstance(numbers, list)
        assert isinstance(target, int)
        assert sorted(map(int, re.findall(r"\d+", answer))) == sorted(numbers)
        assert values_in(answer) == target
        assert task.lowest_target <= target <= task.highest_target
        assert row["prompt"] == f"make {target} from {' '.join(map(str, numbers))}"


def test_a_countdown_uses_only_its_operations():
    for row in rows_of(Countdown(operations="+")):
        assert set(str(row["answer"])) <= set("0123456789+()")


def test_the_answer_of_a_program_passes_its_tests():
    for row in rows_of(Programs()):
        run(f"{row['answer']}\n{row['tests']}")


def test_tests_ask_for_the_shown_inputs_and_for_unseen_ones():
    for row in rows_of(Programs(shown=4, unseen=2)):
        tests = str(row["tests"]).splitlines()
        assert [test.split(" == ")[0] for test in tests] == [f"assert f({x})" for x in range(6)]
        assert str(row["prompt"]) == " ".join(test.removeprefix("assert ").replace(" == ", "=") for test in tests[:4])


def test_a_hard_coded_program_fails():
    """None of the forms is constant, so the first value is wrong somewhere."""
    for row in rows_of(Programs()):
        first = str(row["prompt"]).split()[0].removeprefix("f(0)=")
        with pytest.raises(AssertionError):
            run(f"def f(x): return {first}\n{row['tests']}")


@pytest.mark.parametrize("form", FORMS)
def test_a_form_is_the_function_it_writes(form: str):
    for a, b in [(1, 1), (2, 5), (9, 3)]:
        f = run(f"def f(x): return {form.format(a=a, b=b)}")
        assert callable(f)
        assert [f(x) for x in range(-3, 8)] == [FORMS[form](x, a, b) for x in range(-3, 8)]


@pytest.mark.parametrize("form", FORMS)
def test_three_values_fix_every_form(form: str):
    """Third differences are zero: the form is a polynomial of degree two at most."""
    values = [FORMS[form](x, 7, 4) for x in range(9)]
    for _ in range(3):
        values = [right - left for left, right in pairwise(values)]
    assert not any(values)


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_every_row_has_a_prompt_and_an_answer_in_printable_ascii(task: Task):
    for row in rows_of(task, 50):
        for column in ("prompt", "answer"):
            assert isinstance(row[column], str)
            assert re.fullmatch(r"[ -~]+", str(row[column]))


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_splits_share_no_prompt(task: Task):
    prompts = {split: {row["prompt"] for row in generate(task, 40, 3, split)} for split in SPLITS}
    assert not prompts["train"] & prompts["validation"]
    assert not prompts["train"] & prompts["test"]
    assert not prompts["validation"] & prompts["test"]
    for split in SPLITS:
        assert {heldout(str(prompt)) for prompt in prompts[split]} == {split}


def test_an_eighth_each_is_held_out():
    """Of 8000 prompts 1000 each are expected; five standard deviations are 5·√(8000·1/8·7/8) = 148."""
    homes = [heldout(f"prompt {i}") for i in range(8000)]
    assert abs(homes.count("test") - 1000) < 148
    assert abs(homes.count("validation") - 1000) < 148


def test_the_split_of_a_prompt_never_changes():
    """What `printf 100+456 | b2sum` prints begins with b0, which is 0 modulo 8; the others with 21 (1) and 93 (3)."""
    assert [heldout(prompt) for prompt in ("100+456", "103+456", "101+456")] == ["test", "validation", "train"]


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_a_seed_gives_the_same_rows_and_another_seed_others(task: Task):
    assert generate(task, 30, 5, "train") == generate(task, 30, 5, "train")
    assert generate(task, 30, 5, "train") != generate(task, 30, 6, "train")


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_rows_are_distinct_and_fewer_are_the_first_of_more(task: Task):
    rows = generate(task, 60, 0, "validation")
    assert len({row["prompt"] for row in rows}) == 60
    assert generate(task, 20, 0, "validation") == rows[:20]


def test_a_row_depends_on_its_generator_alone():
    random.seed(1)
    first = [task.row(random.Random(9)) for task in TASKS]
    random.seed(2)
    assert [task.row(random.Random(9)) for task in TASKS] == first


def test_all_prompts_of_a_small_task_can_be_asked_for():
    """One-digit sums: 81 prompts, which the three splits share among themselves."""
    task = Arithmetic(digits=1)
    prompts = [f"{a}+{b}" for a in range(1, 10) for b in range(1, 10)]
    for split in SPLITS:
        size = sum(heldout(prompt) == split for prompt in prompts)
        assert len(generate(task, size, 0, split)) == size
        with pytest.raises(
            ValueError, match=f": {size} distinct {split} prompts, not {size + 1}; ask for fewer or widen"
        ):
            generate(task, size + 1, 0, split)


def test_no_rows_at_all_may_be_asked_for():
    assert generate(Arithmetic(), 0, 0, "test") == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Arithmetic(digits=0), "task.digits: 0 is too small; use at least 1"),
        (lambda: Arithmetic(operations=""), "task.operations: '' is not understood; use some of + - *"),
        (lambda: Arithmetic(operations="+/"), "task.operations: '+/' is not understood; use some of + - *"),
        (lambda: ChainedArithmetic(fewest=1), "task.fewest: 1 is too small; use at least 2"),
        (lambda: ChainedArithmetic(fewest=5, most=4), "task.most: 4 is too small; use at least 5"),
        (lambda: ChainedArithmetic(largest=0), "task.largest: 0 is too small; use at least 1"),
        (lambda: ChainedArithmetic(operations="x"), "task.operations: 'x' is not understood; use some of + - *"),
        (lambda: LinearEquations(largest_factor=1), "task.largest_factor: 1 is too small; use at least 2"),
        (lambda: LinearEquations(largest_constant=0), "task.largest_constant: 0 is too small; use at least 1"),
        (lambda: LinearEquations(largest_solution=-1), "task.largest_solution: -1 is too small; use at least 0"),
        (lambda: Countdown(numbers=1), "task.numbers: 1 is too small; use at least 2"),
        (lambda: Countdown(largest=1), "task.largest: 1 is too small; use at least 2"),
        (lambda: Countdown(lowest_target=0), "task.lowest_target: 0 is too small; use at least 1"),
        (
            lambda: Countdown(lowest_target=50, highest_target=49),
            "task.highest_target: 49 is too small; use at least 50",
        ),
        (lambda: Countdown(operations="%"), "task.operations: '%' is not understood; use some of + - * /"),
        (
            lambda: Countdown(numbers=2, largest=3, lowest_target=10),
            "task.lowest_target: 10 cannot be reached; 2 numbers up to 3 make 9 at most",
        ),
        (
            lambda: Countdown(operations="-", lowest_target=90).row(random.Random(0)),
            "task.lowest_target, task.highest_target: no target from 90 to 99 found in 10000 draws; widen the range",
        ),
        (lambda: Programs(forms=()), f"task.forms: () is empty; use some of {', '.join(FORMS)}"),
        (lambda: Programs(forms=("x%{a}",)), f"task.forms: unknown form 'x%{{a}}'; use some of {', '.join(FORMS)}"),
        (lambda: Programs(largest=0), "task.largest: 0 is too small; use at least 1"),
        (lambda: Programs(shown=2), "task.shown: 2 is too small; use at least 3"),
        (lambda: Programs(unseen=0), "task.unseen: 0 is too small; use at least 1"),
    ],
)
def test_contradictions_are_refused(make, message: str):
    with pytest.raises(ValueError, match=re.escape(message) + r"\Z"):
        make()
