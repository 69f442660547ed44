"""Two single values with their units, percent signs and degrees; and when a decimal may stand for an exact value."""

from collections.abc import Iterator
from fractions import Fraction

from rewards.math_answer.conditions import with_whole
from rewards.math_answer.exact import Work
from rewards.math_answer.numeric import real_value, same
from rewards.math_answer.quantities import as_quantity, counted, differentiated, with_constant, with_imaginary
from rewards.math_answer.tree import ZERO, Call, Const, Expr, Num, Scalar, add, mul, neg, symbols
from rewards.math_answer.units import Unit, read_unit

ROUNDED_DIGITS = 10
"""A decimal with this many significant digits was printed by a machine: it may stand for the exact value it rounds."""


def scalars(gold: Scalar, given: Scalar, work: Work) -> bool:
    """Whether two values agree as they are read, or else as what one of them may also mean beside the other."""
    if _agree(gold, given, work):
        return True
    if not symbols(gold.expr) and (quantity := as_quantity(given)):
        return _agree(gold, quantity, work)
    if gold.unit and not symbols(gold.expr) | symbols(given.expr):
        return False
    if not symbols(given.expr) and given.unit and (quantity := as_quantity(gold)):
        return _agree(quantity, given, work)
    return any(_values(one, two, work) for one, two in _other_readings(gold.expr, given.expr))


def _other_readings(gold: Expr, given: Expr) -> Iterator[tuple[Expr, Expr]]:
    """Choices and arrangements for C(n, k) and P(n, k), I as the imaginary unit, another constant of integration."""
    for one, two in ((gold, given), (given, gold)):
        if (bodies := differentiated(one, two)) is not None:
            yield bodies
    for reading in (with_imaginary, with_constant, with_whole):
        other = reading(given, gold)
        if other is not None:
            yield gold, other
        swapped = reading(gold, given) if reading is not with_constant else None
        if swapped is not None:
            yield swapped, given
    choices = counted(gold), counted(given)
    if (choices[0] is None) != (choices[1] is None):
        yield choices[0] or gold, choices[1] or given


def _agree(gold: Scalar, given: Scalar, work: Work) -> bool:
    if gold.unit.startswith("mod ") or given.unit.startswith("mod "):
        return _residues(gold, given, work)
    if gold.unit == given.unit or not (gold.unit or given.unit):
        return _values(gold.expr, given.expr, work)
    if gold.unit == "%":
        return _percent(gold.expr, given, work)
    if given.unit == "%":
        return _percent(given.expr, gold, work) and not (
            _is_small(gold.expr, work) and same(gold.expr, given.expr, work)
        )
    for one, two in ((gold, given), (given, gold)):
        if _is_degree(one.unit) and not _is_degree(two.unit) and two.unit in ("", "rad", "radians"):
            return _degrees(one.expr, two, work)
        if _is_degree(one.unit) and two.unit in ("celsius", "fahrenheit"):
            return _values(gold.expr, given.expr, work)
    if not gold.unit or not given.unit:
        return _values(gold.expr, given.expr, work)
    left, right = _units(gold.unit, given.unit)
    if left is None or right is None:
        return _values(gold.expr, given.expr, work)
    return left[0] == right[0] and _values(mul(gold.expr, Num(left[1])), mul(given.expr, Num(right[1])), work)


def _units(*names: str) -> list[Unit | None]:
    """What two units measure; beside a sign of sterling a pound is money."""
    return [read_unit("£" if "£" in names and name in ("pound", "pounds") else name) for name in names]


def _residues(gold: Scalar, given: Scalar, work: Work) -> bool:
    """3 (mod 7) is 3, and 10 (mod 7)."""
    if not (gold.unit and given.unit):
        return same(gold.expr, given.expr, work)
    if gold.unit != given.unit:
        return False
    modulus = Num(Fraction(int(gold.unit.removeprefix("mod "))))
    difference = add(gold.expr, neg(given.expr))
    return same(Call("mod", (difference, modulus)), ZERO, work)


def _is_degree(unit: str) -> bool:
    return unit.lower() in ("degree", "degrees", "deg")


def _is_small(expr: Expr, work: Work) -> bool:
    value = real_value(expr, work)
    return value is not None and 0 < abs(value) < 1


def _percent(percent: Expr, other: Scalar, work: Work) -> bool:
    """28% is 28 and 0.28, but not 28 cm."""
    if other.unit and read_unit(other.unit) is not None:
        return False
    return same(percent, other.expr, work) or same(mul(percent, Num(Fraction(1, 100))), other.expr, work)


def _degrees(degrees: Expr, other: Scalar, work: Work) -> bool:
    """90 degrees are 90 and pi/2."""
    if not other.unit and same(degrees, other.expr, work):
        return True
    return same(mul(degrees, Const("pi"), Num(Fraction(1, 180))), other.expr, work)


def _values(gold: Expr, given: Expr, work: Work) -> bool:
    return same(gold, given, work) or _rounds(gold, given, work)


def _rounds(gold: Expr, given: Expr, work: Work) -> bool:
    """A machine's decimal against an exact gold value that is no integer; no decimal is rounded to another."""
    if not isinstance(given, Num) or given.digits < ROUNDED_DIGITS or (isinstance(gold, Num) and gold.digits):
        return False
    value = real_value(gold, work)
    if value is None or value.denominator == 1:
        return False
    size = Fraction(10) ** -given.places
    gap = abs(value - given.value)
    return gap <= size / 2 or (gap < size and abs(given.value) < abs(value))
