"""What a mathematical answer can be, as frozen values: expressions below, typed answers above them.

Not a computer algebra system: nothing here simplifies. The makers (`add`, `mul`, `power`, `neg`) only fold exact
rationals, and only while these stay below `MAX_BITS`, so that building a tree never costs more than reading its text.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

MAX_BITS = 16_000
"""Of an exact number, so that one operation on it stays below a millisecond."""


@dataclass(frozen=True, slots=True)
class Num:
    value: Fraction
    digits: int = 0
    """Significant digits as written, when it was written as a decimal; 0 for integers and computed values."""
    places: int = 0
    """Of such a decimal: how many of its digits, closing zeros among them, stand behind the point."""


@dataclass(frozen=True, slots=True)
class Const:
    name: str
    """`pi`, `e`, `i`, or `inf`."""


@dataclass(frozen=True, slots=True)
class Sym:
    name: str


@dataclass(frozen=True, slots=True)
class Add:
    terms: tuple["Expr", ...]


@dataclass(frozen=True, slots=True)
class Mul:
    factors: tuple["Expr", ...]


@dataclass(frozen=True, slots=True)
class Pow:
    base: "Expr"
    exponent: "Expr"


@dataclass(frozen=True, slots=True)
class Call:
    """A named function; a name that `numeric` does not know is an unknown function, equal only to itself."""

    name: str
    args: tuple["Expr", ...]


Expr: TypeAlias = Num | Const | Sym | Add | Mul | Pow | Call


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value, perhaps with a unit."""

    expr: Expr
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    words: str


@dataclass(frozen=True, slots=True)
class Relation:
    """`sides[0] ops[0] sides[1] ops[1] ...`, as in x = 3, 2 < x < 5, a = b = 7."""

    sides: tuple["Answer", ...]
    ops: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Interval:
    low: Expr
    high: Expr
    low_closed: bool
    high_closed: bool


@dataclass(frozen=True, slots=True)
class Union:
    """Intervals and finite sets; `removed` are taken out of `parts`."""

    parts: tuple["Answer", ...]
    removed: tuple["Answer", ...] = ()


@dataclass(frozen=True, slots=True)
class Meet:
    """What all parts have in common."""

    parts: tuple["Answer", ...]


@dataclass(frozen=True, slots=True)
class Collection:
    kind: str
    """`set` {..} and `list` a, b are unordered; `tuple` (..) and `bracket` [..] are ordered."""
    items: tuple["Answer", ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    rows: tuple[tuple[Expr, ...], ...]


@dataclass(frozen=True, slots=True)
class Ratio:
    terms: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Time:
    hour: int
    minute: int
    second: int
    half: str
    """`am`, `pm` or nothing."""


Answer: TypeAlias = Scalar | Text | Relation | Interval | Union | Meet | Collection | Matrix | Ratio | Time

ZERO, ONE, MINUS_ONE = Num(Fraction(0)), Num(Fraction(1)), Num(Fraction(-1))
INFINITY, IMAGINARY = Const("inf"), Const("i")


def bits(value: Fraction) -> int:
    return value.numerator.bit_length() + value.denominator.bit_length()


def add(*terms: Expr) -> Expr:
    """The sum, folded when all terms are small exact numbers."""
    if len(terms) == 1:
        return terms[0]
    if all(isinstance(term, Num) for term in terms):
        values = [term.value for term in terms if isinstance(term, Num)]
        if sum(map(bits, values)) < MAX_BITS:
            return Num(sum(values, Fraction(0)))
    return Add(terms)


def mul(*factors: Expr) -> Expr:
    """The product, folded when all factors are small exact numbers."""
    if len(factors) == 1:
        return factors[0]
    if all(isinstance(factor, Num) for factor in factors):
        values = [factor.value for factor in factors if isinstance(factor, Num)]
        if sum(map(bits, values)) < MAX_BITS:
            product = Fraction(1)
            for value in values:
                product *= value
            return Num(product, *_kept_digits(factors))
    return Mul(factors)


def _kept_digits(factors: tuple[Expr, ...]) -> tuple[int, int]:
    """The digits and places of a decimal in scientific notation: of one decimal among powers of ten."""
    others = [factor.value for factor in factors if isinstance(factor, Num) and not factor.digits]
    decimals = [factor for factor in factors if isinstance(factor, Num) and factor.digits]
    if len(decimals) != 1 or not all(map(_is_power_of_ten, others)):
        return 0, 0
    raised = sum(len(str(value.numerator)) - len(str(value.denominator)) for value in others)
    return decimals[0].digits, decimals[0].places - raised


def _is_power_of_ten(value: Fraction) -> bool:
    size = max(value.numerator, value.denominator)
    return min(value.numerator, value.denominator) == 1 and bits(value) < 4_000 and str(size).rstrip("0") == "1"


def neg(expr: Expr) -> Expr:
    """-expr; a decimal keeps its digits, and a degree or percent sign stays outermost."""
    if isinstance(expr, Num):
        return Num(-expr.value, expr.digits, expr.places)
    if isinstance(expr, Call) and expr.name in ("deg", "pct"):
        return Call(expr.name, (neg(expr.args[0]),))
    return Mul((MINUS_ONE, expr))


def power(base: Expr, exponent: Expr) -> Expr:
    """base ** exponent, folded for an integer exponent with a small result; 0 to a power below 0 stays unfolded."""
    if isinstance(base, Num) and isinstance(exponent, Num) and exponent.value.denominator == 1:
        n = exponent.value.numerator
        if abs(n) * bits(base.value) < MAX_BITS and (base.value != 0 or n >= 0):
            return Num(base.value**n)
    return Pow(base, exponent)


def divide(top: Expr, bottom: Expr) -> Expr:
    return mul(top, power(bottom, MINUS_ONE))


def children(expr: Expr) -> tuple[Expr, ...]:
    match expr:
        case Add(parts) | Mul(parts) | Call(_, parts):
            return parts
        case Pow(base, exponent):
            return (base, exponent)
    return ()


BINDERS = frozenset(("sum", "prod", "int", "lim"))
"""Calls (body, low, high, index) that bind a letter; of a limit, `low` is where it goes and `high` the side."""


_NO_LETTERS = frozenset[str]()


def symbols(expr: Expr) -> frozenset[str]:
    """The free letters."""
    if isinstance(expr, Sym):
        return frozenset((expr.name,))
    found = _NO_LETTERS
    for child in children(expr):
        own = symbols(child)
        found = found | own if found else own
    if isinstance(expr, Call) and expr.name in BINDERS:
        return found - symbols(expr.args[3])
    return found


def size(expr: Expr) -> int:
    """Number of nodes."""
    return 1 + sum(size(child) for child in children(expr))


def calls(expr: Expr, names: frozenset[str]) -> bool:
    """Whether a function of that name occurs."""
    return (isinstance(expr, Call) and expr.name in names) or any(calls(child, names) for child in children(expr))


def number(value: int) -> Num:
    return Num(Fraction(value))


def substitute(expr: Expr, name: str, value: Expr) -> Expr:
    """The tree with a symbol replaced; `i` as an index is a symbol again."""
    match expr:
        case Sym(found) if found == name:
            return value
        case Const("i") if name == "i":
            return value
        case Add(parts):
            return add(*(substitute(part, name, value) for part in parts))
        case Mul(parts):
            return mul(*(substitute(part, name, value) for part in parts))
        case Pow(base, exponent):
            return power(substitute(base, name, value), substitute(exponent, name, value))
        case Call(function, parts):
            return Call(function, tuple(substitute(part, name, value) for part in parts))
    return expr
