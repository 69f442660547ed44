"""Values over the rationals with i, exactly: what settles polynomials, rational functions and all plain numbers."""

import hashlib
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from math import comb, factorial, floor, gcd, lcm, prod

from rewards.math_answer.tree import Add, Call, Const, Expr, Mul, Num, Pow, Sym, bits, symbols

Gaussian = tuple[Fraction, Fraction]
"""Real and imaginary part."""

_MAX_BITS = 24_000
_MAX_TERMS = 5_000
_MAX_COUNTED = 2_000
_MAX_DEGREE = 12
"""Of a polynomial that is integrated."""
_ZERO = Fraction(0)


class NotExactError(ArithmeticError):
    """The value is not rational, or has too many digits to be worth it."""


class TooCostlyError(ArithmeticError):
    """The comparison would take longer than an answer deserves; it counts as different."""


class UndefinedError(ArithmeticError):
    """No (real) value at this point."""


class Work:
    """What one comparison may still spend, in units of about 30 nanoseconds. Counted, not timed: it repeats exactly."""

    def __init__(self, units: int = 8_000_000) -> None:
        self.left = units

    def spend(self, units: int) -> None:
        self.left -= units
        if self.left < 0:
            raise TooCostlyError


def unknown(name: str, arguments: Sequence[object]) -> Fraction:
    """The value of an unknown function: fixed for the same arguments, unrelated for others."""
    digest = hashlib.blake2b(repr((name, *arguments)).encode(), digest_size=6).digest()
    return Fraction(int.from_bytes(digest, "big") + 1, 2**47)


def exact(expr: Expr, point: Mapping[str, Fraction], work: Work) -> Gaussian:
    """The value at a point. NotExactError where it is irrational; ZeroDivisionError at a pole."""
    match expr:
        case Num(value):
            return value, _ZERO
        case Const("i"):
            return _ZERO, Fraction(1)
        case Sym(name):
            return point[name], _ZERO
        case Add(terms):
            values = [exact(term, point, work) for term in terms]
            work.spend(100 * len(values))
            return _checked(sum((v[0] for v in values), _ZERO), sum((v[1] for v in values), _ZERO), work)
        case Mul(factors):
            product = exact(factors[0], point, work)
            for factor in factors[1:]:
                product = _times(product, exact(factor, point, work), work)
            return product
        case Pow(base, exponent):
            return _power(exact(base, point, work), exact(exponent, point, work), work)
        case Call(name, args):
            return _call(name, args, point, work)
    raise NotExactError


def _checked(real: Fraction, imaginary: Fraction, work: Work) -> Gaussian:
    length = bits(real) + bits(imaginary)
    if length > _MAX_BITS:
        raise NotExactError
    work.spend(100 + length * length // 4_000)
    return real, imaginary


def _times(a: Gaussian, b: Gaussian, work: Work) -> Gaussian:
    if not a[1] and not b[1]:
        return _checked(a[0] * b[0], _ZERO, work)
    return _checked(a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0], work)


def _power(base: Gaussian, exponent: Gaussian, work: Work) -> Gaussian:
    if exponent[1] or exponent[0].denominator != 1:
        raise NotExactError
    n = exponent[0].numerator
    if abs(n) * (bits(base[0]) + bits(base[1])) > _MAX_BITS:
        raise NotExactError
    if not base[1]:
        return _checked(base[0] ** n, _ZERO, work)
    if n < 0:
        norm = base[0] ** 2 + base[1] ** 2
        base, n = (base[0] / norm, -base[1] / norm), -n
    if n > 64:
        raise NotExactError
    product = (Fraction(1), _ZERO)
    for _ in range(n):
        product = _times(product, base, work)
    return product


def _call(name: str, args: tuple[Expr, ...], point: Mapping[str, Fraction], work: Work) -> Gaussian:
    if name in ("sum", "prod"):
        return _series(name, args, point, work)
    if name == "int":
        return _integral(args, point, work)
    if name in ("lim", "antiderivative"):
        raise NotExactError
    values = [exact(arg, point, work) for arg in args]
    work.spend(200)
    if name.startswith(("fn:", "at:")):
        return unknown(name, values), _ZERO
    if name in ("Re", "Im", "conj"):
        real, imaginary = values[0]
        return {"Re": (real, _ZERO), "Im": (imaginary, _ZERO), "conj": (real, -imaginary)}[name]
    if any(value[1] for value in values):
        raise NotExactError
    return _real_call(name, [value[0] for value in values]), _ZERO


def _real_call(name: str, values: list[Fraction]) -> Fraction:
    first = values[0]
    match name:
        case "pct":
            return first / 100
        case "abs":
            return abs(first)
        case "floor":
            return Fraction(floor(first))
        case "ceil":
            return Fraction(-floor(-first))
        case "gcd" | "lcm" if all(value.denominator == 1 for value in values):
            return Fraction((gcd if name == "gcd" else lcm)(*map(int, values)))
        case "mod" if values[1]:
            return first - values[1] * floor(first / values[1])
        case "max" | "min":
            return max(values) if name == "max" else min(values)
    return Fraction(_counted(name, values))


def _counted(name: str, values: list[Fraction]) -> int:
    """Factorials and binomials of small natural numbers."""
    if any(value.denominator != 1 or not 0 <= value <= _MAX_COUNTED for value in values):
        raise NotExactError
    match name, list(map(int, values)):
        case "factorial", [n] if n <= _MAX_COUNTED // 2:
            return factorial(n)
        case "factorial2", [n]:
            return prod(range(n, 0, -2))
        case "binom", [n, k]:
            return comb(n, k)
    raise NotExactError


def _series(name: str, args: tuple[Expr, ...], point: Mapping[str, Fraction], work: Work) -> Gaussian:
    """A finite sum or product, term by term."""
    body, low, high, index = args
    assert isinstance(index, Sym)
    if high == Const("inf"):
        raise NotExactError
    start, stop = exact(low, point, work)[0], exact(high, point, work)[0]
    if start.denominator != 1 or stop.denominator != 1 or stop - start > _MAX_TERMS:
        raise NotExactError
    total: Gaussian = (Fraction(int(name == "prod")), _ZERO)
    for k in range(int(start), int(stop) + 1):
        value = exact(body, {**point, index.name: Fraction(k)}, work)
        total = (
            _times(total, value, work) if name == "prod" else _checked(total[0] + value[0], total[1] + value[1], work)
        )
    return total


def _integral(args: tuple[Expr, ...], point: Mapping[str, Fraction], work: Work) -> Gaussian:
    """Of a polynomial of low degree, through its values at 0, 1, 2, ..; four more values show that its degree is."""
    body, low, high, index = args
    assert isinstance(index, Sym)
    if not is_polynomial(body, index.name):
        raise NotExactError
    start, stop = exact(low, point, work), exact(high, point, work)
    try:
        values = [exact(body, {**point, index.name: Fraction(k)}, work) for k in range(_MAX_DEGREE + 5)]
    except ZeroDivisionError as error:
        raise NotExactError from error
    if start[1] or stop[1] or any(value[1] for value in values):
        raise NotExactError
    heights = _newton([value[0] for value in values])
    if any(heights[_MAX_DEGREE + 1 :]):
        raise NotExactError
    work.spend(20_000)
    return _area(heights, stop[0]) - _area(heights, start[0]), _ZERO


def is_polynomial(expr: Expr, name: str) -> bool:
    """Whether a tree is a polynomial in one symbol by its form; integrals of polynomials count."""
    if name not in symbols(expr):
        return True
    match expr:
        case Sym():
            return True
        case Add(parts) | Mul(parts):
            return all(is_polynomial(part, name) for part in parts)
        case Pow(base, Num(exponent)) if exponent.denominator == 1 and exponent >= 0:
            return is_polynomial(base, name)
        case Call("int", (body, low, high, Sym(own))):
            return is_polynomial(body, own) and all(is_polynomial(part, name) for part in (body, low, high))
    return False


def _newton(values: list[Fraction]) -> list[Fraction]:
    """The forward differences at 0: f(x) is the sum of heights[k] * binomial(x, k)."""
    heights = []
    while values:
        heights.append(values[0])
        values = [after - before for before, after in pairwise(values)]
    return heights


def _area(heights: list[Fraction], x: Fraction) -> Fraction:
    """The integral from 0 to x, one power of x after the other."""
    powers = [Fraction(0)] * (_MAX_DEGREE + 2)
    basis = [Fraction(1)]
    for k, height in enumerate(heights[: _MAX_DEGREE + 1]):
        for power, coefficient in enumerate(basis):
            powers[power] += height * coefficient
        shifted = [Fraction(0), *basis]
        lowered = [coefficient * k for coefficient in basis] + [Fraction(0)]
        basis = [(a - b) / (k + 1) for a, b in zip(shifted, lowered, strict=True)]
    return sum((coefficient * x ** (power + 1) / (power + 1) for power, coefficient in enumerate(powers)), Fraction(0))
