"""Definite integrals, limits and infinite sums by approximation, to about twenty digits.

What the rest of the package decides exactly or to sixty digits is not decided here. A value counts only when two
approximations of it agree; a limit that creeps, a sum that diverges and a pole have none.
"""

from collections.abc import Callable, Mapping
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING

from rewards.math_answer.exact import NotExactError, TooCostlyError, UndefinedError, exact, is_polynomial
from rewards.math_answer.tree import INFINITY, Call, Expr, Num, Sym, add, calls, children, divide, neg, symbols

if TYPE_CHECKING:
    from rewards.math_answer.evaluate import Evaluator, Value

_DIGITS = 1e-18
_NEAR = (Fraction(1_234_567, 10**26), Fraction(7_654_321, 10**56))
"""Two distances from which a limit is looked at: no period of a function like sin(pi/x) divides both."""
_FAR_OFF = (10**20 + 1, 10**35 + 3, 10**50)
"""Three numbers from which a limit at infinity is looked at, odd and even: (-1)^n has none."""
_STEPS = frozenset(("abs", "floor", "ceil", "max", "min", "sgn", "mod", "arg"))
"""Functions that bend or jump, which no sample of points shows."""
_MAX_KINKS = 24
_BETWEEN = (Fraction(1, 2), Fraction(22, 71), Fraction(5, 7))
"""Added to the far points unless the letter counts: sin(pi x) has no limit, sin(pi n) has."""
_TERMS = 200
"""Of an infinite sum."""
_FAR = 10**6

Function = Callable[["Value"], "Value"]


def approximate(evaluator: "Evaluator", name: str, args: tuple[Expr, ...], point: Mapping[str, Fraction]) -> "Value":
    """The value of an `int`, `lim` or infinite `sum` at a point. UndefinedError where none was found."""
    body, low, high, index = args
    assert isinstance(index, Sym)

    def function(x: "Value") -> "Value":
        try:
            return evaluator.value(body, {**point, index.name: _fraction(x)})
        except TooCostlyError:
            # Far out a quadrature asks for e^(-10^40); an integrand that grows there has shown it nearer by.
            if name == "int" and abs(x) > _FAR:
                return evaluator.context.mpf(0)
            raise

    if name == "lim":
        return _limit(evaluator, function, low, int(high.value) if isinstance(high, Num) else 0, point)
    ends = [_end(evaluator, end, point) for end in (low, high)]
    evaluator.work.spend(400_000)
    if name == "int":
        return _integral(evaluator, function, _split(ends, _kinks(body, index.name, ends, point, evaluator)))
    if calls(body, _STEPS):
        raise UndefinedError
    return _sum(evaluator, function, ends[0])


def _split(ends: list["Value"], kinks: list["Value"]) -> list["Value"]:
    low, high = min(ends), max(ends)
    inside = sorted({kink for kink in kinks if low < kink < high})
    return [ends[0], *(inside if ends[0] == low else inside[::-1]), ends[1]]


def _kinks(
    expr: Expr, name: str, ends: list["Value"], point: Mapping[str, Fraction], evaluator: "Evaluator"
) -> list["Value"]:
    """Where |..|, floor and their kind bend or jump. UndefinedError unless their arguments are linear."""
    found = [kink for child in children(expr) for kink in _kinks(child, name, ends, point, evaluator)]
    if not isinstance(expr, Call) or expr.name not in _STEPS or name not in symbols(expr):
        return found
    bends = expr.name not in ("floor", "ceil", "mod")
    argument = expr.args[0]
    if expr.name in ("max", "min", "mod"):
        if len(expr.args) != 2:
            raise UndefinedError
        argument = add(argument, neg(expr.args[1])) if bends else divide(argument, expr.args[1])
    if not is_polynomial(argument, name) or any(not evaluator.context.isfinite(end) for end in ends):
        raise UndefinedError
    try:
        values = [exact(argument, {**point, name: Fraction(x)}, evaluator.work)[0] for x in (0, 1, 2, 3)]
    except NotExactError as error:
        raise UndefinedError from error
    slope = values[1] - values[0]
    if values[2] - values[1] != slope or values[3] - values[2] != slope:
        raise UndefinedError
    if not slope:
        return found
    levels = [0]
    if not bends:
        reached = sorted(int(slope.numerator * end / slope.denominator + float(values[0])) for end in ends)
        levels = list(range(reached[0] - 1, reached[1] + 2))
    if len(levels) > _MAX_KINKS:
        raise UndefinedError
    places = [(level - values[0]) / slope for level in levels]
    return [*found, *(evaluator.context.mpf(place.numerator) / place.denominator for place in places)]


def _fraction(x: "Value") -> Fraction:
    sign, mantissa, exponent, _ = x._mpf_
    if abs(exponent) > 10_000:
        raise UndefinedError
    return (-1) ** sign * int(mantissa) * Fraction(2) ** int(exponent)


def _end(evaluator: "Evaluator", end: Expr, point: Mapping[str, Fraction]) -> "Value":
    if end == INFINITY:
        return evaluator.context.inf
    if end == neg(INFINITY):
        return evaluator.context.ninf
    return evaluator.value(end, point)


def _integral(evaluator: "Evaluator", function: Function, ends: list["Value"]) -> "Value":
    """By quadrature, whose own estimate of its error must be small."""
    value, error = evaluator.context.quad(function, ends, error=True, maxdegree=7)
    return _agreed(evaluator, value, value + error)


def _sum(evaluator: "Evaluator", function: Function, start: "Value") -> "Value":
    """Plainly where the terms die fast, else by an acceleration of alternating or of slowly falling terms."""
    terms: list[Value] = []
    while len(terms) < _TERMS:
        terms.append(function(start + len(terms)))
        if len(terms) > 60 and all(0 < abs(term) < _DIGITS * _DIGITS for term in terms[-8:]):
            return evaluator.context.fsum(terms)
    early, late = abs(terms[_TERMS // 4]), abs(terms[-1])
    if late > early / 2:
        raise UndefinedError
    if all(one * two < 0 for one, two in pairwise(terms)):
        return _agreed(evaluator, _alternating(evaluator, terms[:60]), _alternating(evaluator, terms[:50]))
    return _agreed(evaluator, _extrapolated(evaluator, terms, 28), _extrapolated(evaluator, terms, 24))


def _alternating(evaluator: "Evaluator", terms: list["Value"]) -> "Value":
    """Algorithm 1 of Cohen, Rodriguez Villegas and Zagier (https://people.mpim-bonn.mpg.de/zagier/files/exp-math-9)."""
    context, count = evaluator.context, len(terms)
    grown = (3 + context.sqrt(8)) ** count
    scale = (grown + 1 / grown) / 2
    weight, rest, total = context.mpf(-1), -scale, context.mpf(0)
    for k, term in enumerate(terms):
        rest = weight - rest
        total += rest * (term if k % 2 == 0 else -term)
        weight = weight * (k + count) * (k - count) * 2 / ((2 * k + 1) * (k + 1))
    return total / scale


def _extrapolated(evaluator: "Evaluator", terms: list["Value"], order: int) -> "Value":
    """Richardson's: partial sums with an error in powers of 1/n, from n = order to n = 2 order."""
    context, total = evaluator.context, evaluator.context.mpf(0)
    partial = context.fsum(terms[:order])
    for k in range(order + 1):
        weight = context.mpf(order + k) ** order / (context.factorial(k) * context.factorial(order - k))
        total += (weight if (k + order) % 2 == 0 else -weight) * partial
        partial += terms[order + k]
    return total


def _limit(
    evaluator: "Evaluator", function: Function, target: Expr, side: int, point: Mapping[str, Fraction]
) -> "Value":
    """From two distances, and for a finite place from both sides. `side` is 2 for a letter that counts."""
    at, context = _end(evaluator, target, point), evaluator.context
    counts, side = side == 2, side % 2 and side
    if context.isinf(at):
        far_off = [far + (0 if counts else between) for far, between in zip(_FAR_OFF, _BETWEEN, strict=True)]
        places = [context.mpf(far.numerator) / far.denominator for far in far_off]
        values = [function(place if at > 0 else -place) for place in places]
    else:
        steps = [context.mpf(near.numerator) / near.denominator for near in _NEAR]
        values = [function(at + sign * step) for sign in ((side,) if side else (1, -1)) for step in steps]
    for value in values[:-1]:
        _agreed(evaluator, values[-1], value)
    last, before = abs(values[-1]), abs(values[-2])
    # What is left of sin(pi n) by rounding is no constant, either.
    rounding = last != before and last < context.ldexp(1, 200 - evaluator.length)
    return context.mpf(0) if last < _DIGITS and (last <= before / 10**5 or rounding) else values[-1]


def _agreed(evaluator: "Evaluator", value: "Value", other: "Value") -> "Value":
    gap = abs(value - other)
    if not evaluator.context.isfinite(gap) or gap > max(abs(value), 1) * _DIGITS:
        raise UndefinedError
    return value
