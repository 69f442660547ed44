"""Whether two expressions are the same function: exactly where that is possible, else by evaluation to sixty digits.

Agreement at random points decides (identity testing), which is a proof in all but name for what the grammar can
spell. It is safe because nothing is compared by an absolute tolerance, and because every agreement is repeated with
more digits when an intermediate value was rounded away: 1/2^99 is not 1/2^98, e^(-300) is not 0, sqrt(1 + 10^(-100))
is not 1.

Real arithmetic comes first: a root of -8 of odd index is -2, and points where one side is not real do not decide.
Principal complex values are compared only when no real point exists.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from types import ModuleType

from rewards.math_answer.exact import NotExactError, TooCostlyError, UndefinedError, Work, exact
from rewards.math_answer.tree import (
    BINDERS,
    INFINITY,
    ZERO,
    Add,
    Call,
    Expr,
    Mul,
    Num,
    Pow,
    Sym,
    calls,
    children,
    neg,
    size,
    symbols,
)

_MAX_NODES = 2_400
_MAX_POINTS = 24
"""At which two functions are compared; fewer do where all of them are defined and nothing bends."""
_JUMPS = frozenset(("floor", "ceil", "mod"))
"""Functions that whole numbers tell apart: the ceiling of x is its floor and one at all other points."""
_STEPS = frozenset(("abs", "floor", "ceil", "max", "min", "sgn", "mod", "arg"))


def same(a: Expr, b: Expr, work: Work) -> bool:
    """Whether a and b are equal wherever both are defined. Raises TooCostlyError."""
    if a == b:
        return True
    if INFINITY in (a, b, neg(a), neg(b)) or _has_infinity(a) or _has_infinity(b):
        return False
    if size(a) + size(b) > _MAX_NODES:
        raise TooCostlyError
    match a, b:
        case Call(name, (one, *bounds)), Call(other, (two, *others)) if name in BINDERS and (name, bounds) == (
            other,
            others,
        ):
            return same(one, two, work) or _agree([a], [b], work)
    return _agree([a], [b], work)


def proportional(a: Expr, b: Expr, work: Work) -> int:
    """The sign of the constant c with a = c b, or 0 when there is none. Raises TooCostlyError."""
    if size(a) + size(b) > _MAX_NODES or _has_infinity(a) or _has_infinity(b):
        return 0
    if not (symbols(a) | symbols(b)):
        return 1 if same(a, b, work) else -1 if same(a, neg(b), work) else 0
    for point in _points(a, b, 8):
        try:
            sign = _evaluation().ratio_sign(a, b, point, work)
        except (UndefinedError, ZeroDivisionError):
            continue
        if not sign:
            continue
        # a(p) b(q) = a(q) b(p) for all q means that a/b is a constant, unless a(p) was 0 but for rounding.
        fixed = _Fixed(point)
        if same(fixed.of(a), ZERO, work) or same(fixed.of(b), ZERO, work):
            continue
        return sign if _agree([fixed.of(a), b], [a, fixed.of(b)], work) else 0
    return 0


def real_value(expr: Expr, work: Work) -> Fraction | None:
    """A constant's value, exactly or to about sixty digits; None when it is not real or has symbols."""
    if symbols(expr) or _has_infinity(expr):
        return None
    try:
        value = exact(expr, {}, work)
        return None if value[1] else value[0]
    except NotExactError:
        pass
    except ZeroDivisionError:
        return None
    try:
        found: Fraction | None = _evaluation().fraction_of(expr, work)
        return found
    except (UndefinedError, ZeroDivisionError):
        return None


class _Fixed:
    """Expressions with their symbols set to a point."""

    def __init__(self, point: Mapping[str, Fraction]) -> None:
        self.point = point

    def of(self, expr: Expr) -> Expr:
        match expr:
            case Sym(name) if name in self.point:
                return Num(self.point[name])
            case Add(parts):
                return Add(tuple(map(self.of, parts)))
            case Mul(parts):
                return Mul(tuple(map(self.of, parts)))
            case Pow(base, exponent):
                return Pow(self.of(base), self.of(exponent))
            case Call(name, parts):
                return Call(name, tuple(map(self.of, parts)))
        return expr


def _has_infinity(expr: Expr) -> bool:
    """Whether infinity stands for a value; as the end of a sum, a limit or an integral it does not."""
    if isinstance(expr, Call) and expr.name in BINDERS:
        return _has_infinity(expr.args[0])
    return expr == INFINITY or any(map(_has_infinity, children(expr)))


def _is_approximate(expr: Expr) -> bool:
    if isinstance(expr, Call) and (expr.name in ("int", "lim") or (expr.name == "sum" and expr.args[2] == INFINITY)):
        return True
    return any(map(_is_approximate, children(expr)))


def _counts(expr: Expr) -> frozenset[str]:
    """Letters in the bounds of finite sums and products: they stand for whole numbers."""
    found = frozenset[str]()
    for child in children(expr):
        found |= _counts(child)
    if isinstance(expr, Call) and expr.name in ("sum", "prod"):
        return found | symbols(expr.args[1]) | symbols(expr.args[2])
    return found


def _points(a: Expr, b: Expr, count: int) -> Iterator[dict[str, Fraction]]:
    """Seeded points of several sizes and signs, so that x^1000 + 1, |x - 5| and sqrt(x - 900) all show themselves."""
    names = sorted(symbols(a) | symbols(b))
    counts = _counts(a) | _counts(b) if names else ()
    dice = random.Random(20_240_229)
    far = 3_000 * max(_largest(a), _largest(b))
    for index in range(count if names else 1):
        reach = (900, 900, 3_500, 9_000, 40_000, far)[index % 6]
        point = {
            name: Fraction(_sign(index, at, dice) * dice.randint(17, reach), 1_009) for at, name in enumerate(names)
        }
        yield {**point, **{name: Fraction(dice.randint(3, 7 + 4 * index)) for name in sorted(counts)}}
    if names and (calls(a, _JUMPS) or calls(b, _JUMPS)):
        for whole in range(-5, 13):
            yield {name: Fraction(whole * (at + 1) + at) for at, name in enumerate(names)}


def _sign(index: int, at: int, dice: random.Random) -> int:
    """The sign of letter `at` at a point. Of any few letters each, each two and all have opposite signs somewhere."""
    if index in (0, 2, 4, 6, 8, 11):
        return 1
    negative = {1: (at + 1) & 1, 3: (at + 1) & 2, 5: True, 7: at == 0, 10: True}.get(index)
    return dice.choice((1, -1)) if negative is None else -1 if negative else 1


def _largest(expr: Expr) -> int:
    """The largest number written in the tree, within reason: where steps like |x - 1000| may hide."""
    if isinstance(expr, Num):
        return min(int(abs(expr.value)) + 2, 10**14)
    return max(map(_largest, children(expr)), default=2)


def _agree_exactly(a: Expr, b: Expr, work: Work) -> bool:
    seen = 0
    for point in _points(a, b, 18 if calls(a, _STEPS) or calls(b, _STEPS) else 6):
        try:
            if exact(a, point, work) != exact(b, point, work):
                return False
            seen += 1
        except ZeroDivisionError:
            continue
    return seen > 0


def _evaluation() -> ModuleType:
    """Imported late: mpmath takes a tenth of a second, and most answers never need it."""
    from rewards.math_answer import evaluate

    return evaluate


def _agree(a: Sequence[Expr], b: Sequence[Expr], work: Work) -> bool:
    """Whether the products of a and of b are the same function."""
    one, two = (parts[0] if len(parts) == 1 else Mul(tuple(parts)) for parts in (a, b))
    try:
        return _agree_exactly(one, two, work)
    except NotExactError:
        bases = (0, 10) if calls(one, frozenset(("log",))) or calls(two, frozenset(("log",))) else (0,)
        return any(_agree_numerically(one, two, base, work) for base in bases)


def _agree_numerically(whole_a: Expr, whole_b: Expr, log_base: int, work: Work) -> bool:
    """At real points first, else at complex values."""
    if _is_approximate(whole_a) or _is_approximate(whole_b):
        return _agree_nearly(whole_a, whole_b, log_base, work)
    letters = symbols(whole_a) | symbols(whole_b)
    enough = _MAX_POINTS if calls(whole_a, _STEPS) or calls(whole_b, _STEPS) else 7 if len(letters) < 2 else 9
    for real in (True, False):
        seen = 0
        for point in _points(whole_a, whole_b, _MAX_POINTS):
            try:
                if not _evaluation().agree_at(whole_a, whole_b, point, real, log_base, work):
                    return False
            except (UndefinedError, ZeroDivisionError):
                continue
            seen += 1
            if seen >= enough:
                return True
        if seen >= (3 if letters else 1):
            return True
    return False


def _agree_nearly(whole_a: Expr, whole_b: Expr, log_base: int, work: Work) -> bool:
    """At three real points, or once without letters."""
    wanted = 3 if symbols(whole_a) | symbols(whole_b) else 1
    seen = 0
    for point in _points(whole_a, whole_b, 9):
        try:
            if not _evaluation().nearly_agree_at(whole_a, whole_b, point, log_base, work):
                return False
        except (UndefinedError, ZeroDivisionError):
            continue
        seen += 1
        if seen == wanted:
            return True
    return False
