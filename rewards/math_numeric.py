"""Whether two expressions are the same function: exactly where that is possible, else by evaluation to sixty digits.

Agreement at random points decides (identity testing), which is a proof in all but name for what the grammar can spell. It is
safe because nothing is compared by an absolute tolerance, and because every agreement is repeated with more digits when an
intermediate value was rounded away: 1/2^99 is not 1/2^98, e^(-300) is not 0, sqrt(1 + 10^(-100)) is not 1.

Real arithmetic comes first: a root of -8 of odd index is -2, and points where one side is not real do not decide.
Principal complex values are compared only when no real point exists.
"""

import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import TypeAlias

import mpmath  # type: ignore[import-untyped]

from rewards.math_exact import Gaussian, NotExactError, TooCostlyError, Work, exact, unknown
from rewards.math_tree import INFINITY, Add, Call, Const, Expr, Mul, Num, Pow, Sym, calls, neg, size, symbols

Value: TypeAlias = "mpmath.mpf | mpmath.mpc"

_BITS = 200
_MAX_BITS = 12_000
_MAX_NODES = 800
_STEPS = frozenset(("abs", "floor", "ceil", "max", "min", "sgn"))
_local = threading.local()


class UndefinedError(ArithmeticError):
    """No (real) value at this point."""


def same(a: Expr, b: Expr, work: Work) -> bool:
    """Whether a and b are equal wherever both are defined. Raises TooCostlyError."""
    if a == b:
        return True
    if INFINITY in (a, b, neg(a), neg(b)) or _has_infinity(a) or _has_infinity(b):
        return False
    if size(a) + size(b) > _MAX_NODES:
        raise TooCostlyError
    try:
        return _agree_exactly(a, b, work)
    except NotExactError:
        bases = (0, 10) if calls(a, frozenset(("log",))) or calls(b, frozenset(("log",))) else (0,)
        return any(_agree_numerically([a], [b], base, work) for base in bases)


def proportional(a: Expr, b: Expr, work: Work) -> int:
    """The sign of the constant c with a = c b, or 0 when there is none. Raises TooCostlyError."""
    if size(a) + size(b) > _MAX_NODES or _has_infinity(a) or _has_infinity(b):
        return 0
    for point in _points(a, b, 8):
        try:
            first, second = _value(a, point, work), _value(b, point, work)
        except (UndefinedError, ZeroDivisionError):
            continue
        if first == 0 or second == 0:
            continue
        # a(p) b(q) = a(q) b(p) for all q means that a/b is a constant.
        fixed = _Fixed(point)
        if not _agree_numerically([fixed.of(a), b], [a, fixed.of(b)], 0, work):
            return 0
        ratio = first / second
        return 1 if isinstance(ratio, mpmath.mpc) or ratio > 0 else -1
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
        number = _value(expr, {}, work)
    except UndefinedError:
        return None
    if isinstance(number, mpmath.mpc) or not mpmath.isfinite(number) or abs(mpmath.mag(number)) > 4_000:
        return None
    sign, mantissa, exponent, _ = number._mpf_
    return Fraction((-1) ** sign * int(mantissa)) * Fraction(2) ** int(exponent)


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
    match expr:
        case Const("inf"):
            return True
        case Add(parts) | Mul(parts) | Call(_, parts):
            return any(map(_has_infinity, parts))
        case Pow(base, exponent):
            return _has_infinity(base) or _has_infinity(exponent)
    return False


def _points(a: Expr, b: Expr, count: int) -> Iterator[dict[str, Fraction]]:
    """Seeded points of several sizes and signs, so that x^1000 + 1, |x - 5| and sqrt(x - 900) all show themselves."""
    names = sorted(symbols(a) | symbols(b) - {"\\index"})
    names = [name for name in names if name != "\\index"]
    dice = random.Random(20_240_229)
    for index in range(count if names else 1):
        reach = (900, 900, 3_500, 9_000, 40_000, 2_000_000)[index % 6]
        signs = (1,) if index % 2 == 0 else (1, -1)
        yield {name: Fraction(dice.choice(signs) * dice.randint(17, reach), 1_009) for name in names}


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


def _agree_numerically(a: Sequence[Expr], b: Sequence[Expr], log_base: int, work: Work) -> bool:
    """Whether the products of a and of b agree, at real points first and else at complex values."""
    whole_a, whole_b = (parts[0] if len(parts) == 1 else Mul(tuple(parts)) for parts in (a, b))
    count = 24 if calls(whole_a, _STEPS) or calls(whole_b, _STEPS) else 12
    for real in (True, False):
        seen = 0
        for point in _points(whole_a, whole_b, count):
            try:
                if not _agree_at(whole_a, whole_b, point, real, log_base, work):
                    return False
            except (UndefinedError, ZeroDivisionError):
                continue
            seen += 1
            if seen >= 7 and count == 12:
                return True
        if seen >= (3 if symbols(whole_a) | symbols(whole_b) else 1):
            return True
    return False


def _agree_at(a: Expr, b: Expr, point: Mapping[str, Fraction], real: bool, log_base: int, work: Work) -> bool:
    length = _BITS
    smaller: list[Value] = []
    while True:
        evaluator = _Evaluator(length, real, log_base, work)
        x, y = evaluator.value(a, point), evaluator.value(b, point)
        gap, scale = abs(x - y), max(abs(x), abs(y))
        close = gap <= scale * mpmath.ldexp(1, 80 - length)
        if close and evaluator.needs <= length:
            return True
        if not close and (scale > mpmath.ldexp(1, -length // 3) or (smaller and gap > smaller[-1] * mpmath.ldexp(1, -length // 3))):
            return False
        if smaller and not close:
            return True  # The difference shrinks with the precision: it is rounding around zero.
        if not close:
            smaller.append(gap)
        length = max(evaluator.needs + 64, 3 * length)
        if length > _MAX_BITS:
            raise TooCostlyError


def _value(expr: Expr, point: Mapping[str, Fraction], work: Work) -> Value:
    try:
        return _Evaluator(_BITS, True, 0, work).value(expr, point)
    except UndefinedError:
        return _Evaluator(_BITS, False, 0, work).value(expr, point)


def _context(length: int) -> "mpmath.ctx_mp.MPContext":
    """mpmath keeps its precision in a context; each thread has its own."""
    context = getattr(_local, "context", None)
    if context is None:
        context = _local.context = mpmath.ctx_mp.MPContext()
    context.prec = length
    return context


class _Evaluator:
    """One precision, real or complex. `needs` is the precision at which nothing would have been rounded away."""

    def __init__(self, length: int, real: bool, log_base: int, work: Work) -> None:
        self.context = _context(length)
        self.length, self.real, self.log_base, self.work = length, real, log_base, work
        self.needs = 0

    def value(self, expr: Expr, point: Mapping[str, Fraction]) -> Value:
        self.work.spend(self.length)
        match expr:
            case Num(value):
                return self._rational(value)
            case Sym(name):
                return self._rational(point[name])
            case Const(name):
                return self._constant(name)
            case Add(terms):
                return self._sum([self.value(term, point) for term in terms])
            case Mul(factors):
                product = self.context.mpf(1)
                for factor in factors:
                    product *= self.value(factor, point)
                return product
            case Pow(base, exponent):
                return self._power(self.value(base, point), self.value(exponent, point), exponent)
            case Call(name, args):
                return self._call(name, args, point)
        raise UndefinedError

    def _rational(self, value: Fraction) -> Value:
        self.needs = max(self.needs, value.numerator.bit_length() + 64, value.denominator.bit_length() + 64)
        return self.context.mpf(value.numerator) / value.denominator

    def _constant(self, name: str) -> Value:
        match name:
            case "pi":
                return +self.context.pi
            case "e":
                return +self.context.e
            case "i" if not self.real:
                return self.context.mpc(0, 1)
        raise UndefinedError

    def _mag(self, value: Value) -> int:
        return int(self.context.mag(value)) if value else 0

    def _sum(self, values: list[Value]) -> Value:
        sizes = [self._mag(value) for value in values if value]
        if sizes:
            self.needs = max(self.needs, max(sizes) - min(sizes) + 100)
        return self.context.fsum(values)

    def _power(self, base: Value, exponent: Value, written: Expr) -> Value:
        if abs(self._mag(exponent)) > 60:
            raise TooCostlyError
        self.needs = max(self.needs, 4 * abs(min(self._mag(exponent), 0)))
        self.work.spend(10 * self.length)
        if not base:
            if self.context.re(exponent) > 0:
                return self.context.mpf(0)
            if not exponent:
                return self.context.mpf(1)
            raise ZeroDivisionError
        negative = not isinstance(base, self.context.mpc) and base < 0
        if negative and not self.context.isint(exponent):
            return self._negative_power(base, exponent, written)
        return self._finite(base**exponent)

    def _negative_power(self, base: Value, exponent: Value, written: Expr) -> Value:
        """(-8)^(1/3) is -2: an odd denominator has a real root."""
        ratio = written.value if isinstance(written, Num) else None
        if ratio is not None and ratio.denominator % 2:
            root = abs(base) ** exponent
            return -root if ratio.numerator % 2 else root
        if self.real:
            raise UndefinedError
        return self._finite(self.context.mpc(base) ** exponent)

    def _finite(self, value: Value) -> Value:
        if not self.context.isfinite(value):
            raise UndefinedError
        if self.real and isinstance(value, self.context.mpc):
            raise UndefinedError
        return value

    def _call(self, name: str, args: tuple[Expr, ...], point: Mapping[str, Fraction]) -> Value:
        if name in ("sum", "prod"):
            return self._series(name, args, point)
        values = [self.value(arg, point) for arg in args]
        self.work.spend(40 * self.length)
        if name.startswith(("fn:", "at:")):
            return self._rational(unknown(name, [self.context.nstr(value, 30) for value in values]))
        for value in values:
            if self._mag(value) > 300:
                raise TooCostlyError
            self.needs = max(self.needs, 4 * abs(self._mag(value)) + 64)
        method = _METHODS.get(name)
        if method is None:
            raise UndefinedError
        try:
            return self._finite(method(self, values))
        except (ValueError, TypeError, OverflowError) as error:
            raise UndefinedError from error

    def _series(self, name: str, args: tuple[Expr, ...], point: Mapping[str, Fraction]) -> Value:
        body, low, high = args
        start, stop = self.value(low, point), self.value(high, point)
        if not (self.context.isint(start) and self.context.isint(stop)):
            probe = self.value(body, {**point, "\\index": Fraction(5_003, 4_001)})
            return self._rational(unknown(name, [self.context.nstr(v, 30) for v in (probe, start, stop)]))
        if stop - start > 300:
            raise TooCostlyError
        total = self.context.mpf(int(name == "prod"))
        for k in range(int(start), int(stop) + 1):
            term = self.value(body, {**point, "\\index": Fraction(k)})
            total = total * term if name == "prod" else total + term
        return total

    def root(self, values: list[Value]) -> Value:
        radicand, index = values
        if not self.context.isint(index) or not 1 <= index <= 1_000:
            return self._power(radicand, 1 / index, Sym("n"))
        return self._power(radicand, 1 / index, Num(Fraction(1, int(index))))

    def logarithm(self, value: Value) -> Value:
        if not value:
            raise UndefinedError
        if self.real and value < 0:
            raise UndefinedError
        return self.context.ln(value)

    def plain_log(self, values: list[Value]) -> Value:
        result = self.logarithm(values[0])
        return result / self.context.ln(self.log_base) if self.log_base else result

    def log_to_base(self, values: list[Value]) -> Value:
        return self.logarithm(values[0]) / self.logarithm(values[1])

    def factorial(self, values: list[Value]) -> Value:
        if abs(values[0]) > 100_000:
            raise TooCostlyError
        self.work.spend(400 * self.length)
        return self.context.gamma(values[0] + 1)

    def binomial(self, values: list[Value]) -> Value:
        if max(map(abs, values)) > 100_000:
            raise TooCostlyError
        self.work.spend(1_200 * self.length)
        return self.context.binomial(*values)


def _named(name: str) -> Callable[[_Evaluator, list[Value]], Value]:
    return lambda evaluator, values: getattr(evaluator.context, name)(*values)


_METHODS: dict[str, Callable[[_Evaluator, list[Value]], Value]] = {
    **{name: _named(name) for name in ("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "coth", "floor", "ceil")},
    **{f"arc{name}": _named(f"a{name}") for name in ("sin", "cos", "tan", "cot", "sec", "csc")},
    "abs": lambda evaluator, values: abs(values[0]),
    "max": lambda evaluator, values: max(values),
    "min": lambda evaluator, values: min(values),
    "sgn": _named("sign"),
    "root": _Evaluator.root,
    "ln": lambda evaluator, values: evaluator.logarithm(values[0]),
    "log": _Evaluator.plain_log,
    "log_base": _Evaluator.log_to_base,
    "factorial": _Evaluator.factorial,
    "binom": _Evaluator.binomial,
    "deg": lambda evaluator, values: values[0] * evaluator.context.pi / 180,
    "pct": lambda evaluator, values: values[0] / 100,
}

__all__ = ["Gaussian", "TooCostlyError", "Work", "proportional", "real_value", "same"]
