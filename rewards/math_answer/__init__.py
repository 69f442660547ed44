"""A reward for mathematical answers: is the completion's answer the same as the gold one, however it is written?

Three stages, each cheap enough to run on everything before it reaches the next: the string layer settles most answers
in microseconds; a typed parser with a closed grammar reads the rest; the comparison is exact over the rationals and
falls back to evaluation with sixty digits or more, by mpmath, the arithmetic under SymPy. Model text is never evaluated
as code, there is no relative tolerance, and the work per check is counted and bounded.

Conventions, where graders differ:
* A decimal is exact: 0.33 is not 1/3. Only a machine's decimal, ten significant digits or more, may stand for the exact
  value that it rounds, if that is no integer; a rounded gold answer is not given by the exact one.
* 28% is 28% and 0.28 and, because the question has often said "percent", 28; but 0.5% is not given for 0.5.
* 90 degrees is 90 and pi/2. Units and currencies may be left out; two known units are converted (1 m is 100 cm, 5 cm is
  not 5 m); an unknown word behind a number is a label. Words that change it are none: 5 million is 5000000, and what
  stands beside `or`, `not`, `at least`, `half`, a number or a comma in words is text.
* A comma followed by three digits separates thousands, at top level; a comma is never a decimal point.
* A list is unordered and counts its items, a set does not count them, tuples and [..] lists are ordered. A bare list of
  two is (1, 2) in that order; (1, 2) is a pair and an open interval alike.
* Labels in words may be left out of a single answer; in a list they count: Alice=5, Bob=3 is not Alice=3, Bob=5.
* In a sentence, a number behind `not`, `between`, `less than` or a guess is no answer, nor one that is taken back
  (`Wait, no`); of `4 + 5 = 9 miles in 3 hours` the answer is 9; $5 + $3 = $8 is money and no formula.
* x = 5 is 5, f(x) = 2x is y = 2x and 2x; x = 2 is not y = 2. In a chain x = a = b all values must agree, formulas
  in other letters apart (C = 2 pi r = 10 pi); behind an approximation sign nothing counts. x + y = 5 is not 5, but
  P(X = 2) = 1/2, cos x = 1/2 and |z| = 1/2 are 1/2.
* Boxes joined by commas, `and`, `or` are one list. A stated "final answer" after the last box replaces it.
* Beside a plain number one letter may be a unit (10m for 10), but not the other way round. 1 hour 30 minutes is 90
  minutes, 5'3'' is 63 inches, 22^\\circ 30' is 22.5 degrees.
* Beside a number C(10, 3), C_10^3 and P(10, 3) are counts; beside a pair P(1, 2) is a point. I and j are the imaginary
  unit where only the other answer writes i. The C of F(x) + C may have another letter, beside
  letters that are no coefficients; it may not be left out.
* Of a gold answer (B) 12 either half will do; (E) 12 is wrong; of an answer (B) 12 to a gold 12 the 12 counts.
  Numbers and sets may be said in words (twelve, all real numbers); an article is part of a text. Rows of equations in
  an environment are a list.
* \\sqrt23 is the root of 23, 1.000.000 a million, 1.000 one, 60^o an angle.
* 3 (mod 7) is 10 (mod 7), and 3. \\overline{AB} and \\triangle ABC are AB and ABC; over other
  letters a bar is a mark of its own, over numbers the conjugate.
* \\log without a base may be natural or decimal. Odd roots of negative numbers are real. Domains are not compared:
  x^2/x is x.
* Text is compared without case, a single letter with case. 12:00 and 12:00:00 are one time; 6:2 and 3:1 one ratio, and
  3:1 is 3.

Derivatives are taken symbolically, integrals of polynomials and finite sums exactly. In a limit n, k, m,
i, j run through whole numbers, other letters do not. Other definite integrals, limits
and infinite sums are approximated: they equal what agrees to eighteen digits, and nothing where two approximations
disagree. An integral without bounds equals an antiderivative with its constant.

Not covered: inverses and powers of matrices, integrals over regions, conditions behind an answer (`for n > 2`), except
that a letter is an integer, which may then have any name; systems that are equivalent without having the same
equations. These stay text, equal only to themselves.
"""

from collections.abc import Sequence

from grpo_lightning.types import Record
from rewards.math_answer.compare import equivalent
from rewards.math_answer.extract import DEFAULT_PLACES, Place, extract, strict_answers
from rewards.math_answer.shape import read
from rewards.math_answer.text import MAX_CHARS, clean, squeeze
from rewards.math_answer.tree import Text
from rewards.math_answer.words import leading_letter, led, letter, plain_text
from rewards.vote import most_frequent

_MAX_INTEGER = 4_000
"""Digits; past it Python refuses the conversion."""


def is_correct(
    completion_text: str, gold_text: str, places: Sequence[Place] = DEFAULT_PLACES, strict: bool = False
) -> bool:
    """Whether the completion's answer equals the gold one.

    The answer is looked for at `places` in their order, after the last `</think>`. `gold_text` is the bare answer, or a
    solution with the answer in a box or behind `####`. With `strict` only the first place counts, and all answers given
    there must be the same. Never raises; refuses hostile input in bounded time.
    """
    gold = _gold(gold_text)
    if strict:
        answers = strict_answers(completion_text, places[0])
        return bool(answers) and all(same_answer(answer, gold) for answer in answers)
    return any(same_answer(answer, gold) for answer in extract(completion_text, places))


def same_answer(given: str, gold: str) -> bool:
    """Whether two bare answers, without text around them, are the same."""
    if len(given) > MAX_CHARS or len(gold) > MAX_CHARS:
        return given.strip() == gold.strip() != ""
    one, two = clean(gold), clean(given)
    if not one or not two:
        return False
    if squeeze(one) == squeeze(two):
        return True
    if _is_integer(one) and _is_integer(two):
        return int(one) == int(two)
    if _same_choice(one, two):
        return True
    first, second = read(one), read(two)
    if isinstance(first, Text) and isinstance(second, Text):
        return plain_text(one) == plain_text(two) or equivalent(first, second)
    return equivalent(first, second)


def _same_choice(gold: str, given: str) -> bool:
    """B and (B) 12, 12 and (B) 12; of a gold answer (B) 12 either half, but not (E) 12."""
    choice = letter(gold)
    if choice:
        return choice in (letter(given), leading_letter(given))
    choice, rest = led(gold)
    if not choice:
        own, own_rest = led(given)
        return bool(own and own_rest) and same_answer(own_rest, gold)
    if not rest:
        return False
    own, own_rest = led(given)
    if own:
        return own == choice and (not own_rest or same_answer(own_rest, rest))
    return letter(given) == choice or (not letter(given) and same_answer(given, rest))


def _is_integer(text: str) -> bool:
    digits = text[1:] if text[0] == "-" else text
    return digits.isdecimal() and digits.isascii() and len(digits) <= _MAX_INTEGER


def _gold(text: str) -> str:
    """The bare answer of a gold text."""
    if "\\boxed" in text or "\\fbox" in text:
        found = extract(text, ("boxed",))
        return found[0] if found else text
    for place, mark in (("hashes", "####"), ("answer_tag", "<answer>")):
        if mark in text:
            answers = extract(text, (place,))  # type: ignore[arg-type]
            return answers[0] if answers else text
    return text


class MathAnswer:
    """1 for a completion whose answer equals the row's, else 0; a row without an answer has no score.

    Args:
        places: Where the answer may stand, in the order of the search: `boxed` (the last \\boxed{}), `answer_tag`
            (<answer>..</answer>), `hashes` (behind ####), `final_answer` ("the final answer is .."), `fenced` (the last
            block between ```), `plain` (the last formula or number).
        strict: Only the first place counts, and two different answers there are wrong.

    """

    def __init__(self, places: Sequence[Place] = DEFAULT_PLACES, strict: bool = False) -> None:
        unknown = set(places) - set(DEFAULT_PLACES)
        if unknown or not places:
            raise ValueError(f"places are some of {DEFAULT_PLACES}, not {tuple(places)}")
        self.places = tuple(places)
        self.strict = strict

    def __call__(self, records: Sequence[Record]) -> list[float | None]:
        """One reward for each record."""
        return [self._reward(record.completion, record.answer) for record in records]

    def majority(self, completions: Sequence[str]) -> int | None:
        """The place of a completion that gives the answer which most of them give, however they write it; the first of
        equally many; None if no completion gives one.
        """
        return most_frequent([self._answer_of(completion) for completion in completions], same=same_answer)

    def _answer_of(self, completion: str) -> str | None:
        """The answer that is compared; with `strict` none if there are two that differ."""
        if not self.strict:
            return next(iter(extract(completion, self.places)), None)
        answers = strict_answers(completion, self.places[0])
        return answers[0] if answers and all(same_answer(each, answers[0]) for each in answers) else None

    def _reward(self, completion: str, answer: str | None) -> float | None:
        return None if answer is None else float(is_correct(completion, answer, self.places, self.strict))
