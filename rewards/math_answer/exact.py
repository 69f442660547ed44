"""Values over the rationals with i, exactly: what settles polynomials, rational functions and all plain numbers."""

import hashlib
from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import comb, factorial, floor, gcd, lcm

from rewards.math_answer.tree import Add, Call, Const, Expr, Mul, Num, Pow, Sym, bits

Gaussian = tuple[Fraction, Fraction]
"""Real and imaginary part."""

_MAX_BITS = 24_000
_MAX_TERMS = 300
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
    values = [exact(arg, point, work) for arg in args]
    work.spend(200)
    if name.startswith(("fn:", "at:")):
        return unknown(name, values), _ZERO
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
        case "max" | "min":
            return max(values) if name == "max" else min(values)
        case "factorial" if first.denominator == 1 and 0 <= first <= 1_000:
            return Fraction(factorial(int(first)))
        case "binom" if all(v.denominator == 1 and 0 <= v <= 2_000 for v in values):
            return Fraction(comb(int(first), int(values[1])))
    raise NotExactError


def _series(name: str, args: tuple[Expr, ...], point: Mapping[str, Fraction], work: Work) -> Gaussian:
    """A finite sum or product, term by term; with symbolic bounds an unknown function of body and bounds."""
    body, low, high = args
    start, stop = exact(low, point, work)[0], exact(high, point, work)[0]
    if start.denominator != 1 or stop.denominator != 1:
        probe = exact(body, {**point, "\\index": Fraction(5_003, 4_001)}, work)
        return unknown(name, [probe, start, stop]), _ZERO
    if stop - start > _MAX_TERMS:
        raise NotExactError
    total: Gaussian = (Fraction(int(name == "prod")), _ZERO)
    for k in range(int(start), int(stop) + 1):
        value = exact(body, {**point, "\\index": Fraction(k)}, work)
        total = (
            _times(total, value, work) if name == "prod" else _checked(total[0] + value[0], total[1] + value[1], work)
        )
    return total
