"""The value of an expression at a point, to any precision, by mpmath.

Real arithmetic raises UndefinedError where a step is not real; the complex one takes principal values. Steps are
counted, and those whose cost has no bound (towers, huge factorials) are refused before they start.
"""

import threading
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import TypeAlias

import mpmath  # type: ignore[import-untyped]

from rewards.math_answer.approximate import approximate
from rewards.math_answer.exact import TooCostlyError, UndefinedError, Work, unknown
from rewards.math_answer.tree import INFINITY, Add, Call, Const, Expr, Mul, Num, Pow, Sym, calls

_BITS = 200
"""Sixty digits."""
_MAX_BITS = 12_000
_BITS_FOR = {"int": 110, "sum": 400, "lim": 1_400}
"""Of approximations. A limit takes differences of neighbours fifty digits apart, squared and cubed."""

Value: TypeAlias = "mpmath.mpf | mpmath.mpc"
_LOCAL = threading.local()


def context_of(length: int) -> "mpmath.ctx_mp.MPContext":
    """mpmath keeps its precision in a context; each thread has its own."""
    context = getattr(_LOCAL, "context", None)
    if context is None:
        context = _LOCAL.context = mpmath.ctx_mp.MPContext()
    context.prec = length
    return context


class Evaluator:
    """One precision, real or complex. `needs` is the precision at which nothing would have been rounded away."""

    def __init__(self, length: int, real: bool, log_base: int, work: Work, *, rough: bool = False) -> None:
        self.context = context_of(length)
        self.length, self.real, self.log_base, self.work = length, real, log_base, work
        self.rough = rough
        """Whether tiny intermediate values may be rounded away."""
        self.needs = 0
        self.top = 0
        """The largest binary exponent of an intermediate value: rounding errors lie below it."""

    def value(self, expr: Expr, point: Mapping[str, Fraction]) -> Value:
        """The value of the tree; raises UndefinedError, ZeroDivisionError or TooCostlyError."""
        self.work.spend(self.length)
        value = self._node(expr, point)
        self.top = max(self.top, self._mag(value))
        return value

    def _node(self, expr: Expr, point: Mapping[str, Fraction]) -> Value:
        match expr:
            case Num(value):
                # sqrt(N^2 + 1) + sqrt(N^2 - 1) comes as near to 2 N as the square of the digits of N.
                length = max(value.numerator.bit_length(), value.denominator.bit_length())
                self.needs = max(self.needs, 2 * length + 100)
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

    def _extent(self, value: Value) -> int:
        """How far the size of a value is from 1, which is what its functions cost."""
        return self._mag(value) if self.rough else abs(self._mag(value))

    def _sum(self, values: list[Value]) -> Value:
        sizes = [self._mag(value) for value in values if value]
        if sizes:
            self.needs = max(self.needs, 2 * (max(sizes) - min(sizes)) + 100)
        return self.context.fsum(values)

    def _power(self, base: Value, exponent: Value, written: Expr) -> Value:
        if self._extent(exponent) > (300 if self.rough else 60):
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
        if name in ("int", "lim") or (name == "sum" and args[2] == INFINITY):
            try:
                return approximate(self, name, args, point)
            except (ValueError, TypeError, OverflowError, self.context.NoConvergence) as error:
                raise UndefinedError from error
        if name in ("sum", "prod"):
            return self._series(name, args, point)
        values = [self.value(arg, point) for arg in args]
        self.work.spend(40 * self.length)
        if name.startswith(("fn:", "at:")):
            return self._rational(unknown(name, [self.context.nstr(value, 30) for value in values]))
        for value in values:
            if self._extent(value) > 300:
                raise TooCostlyError
            self.needs = max(self.needs, 4 * abs(self._mag(value)) + 64)
        if name in ("tanh", "coth"):
            # tanh 100 differs from 1 by 2 e^-200.
            self.needs = max(self.needs, int(min(4 * abs(values[0]), 2 * _MAX_BITS)) + 64)
        method = _METHODS.get(name)
        if method is None:
            raise UndefinedError
        try:
            return self._finite(method(self, values))
        except (ValueError, TypeError, OverflowError) as error:
            raise UndefinedError from error

    def _series(self, name: str, args: tuple[Expr, ...], point: Mapping[str, Fraction]) -> Value:
        body, low, high, index = args
        assert isinstance(index, Sym)
        start, stop = self.value(low, point), self.value(high, point)
        if not (self.context.isint(start) and self.context.isint(stop)):
            raise UndefinedError
        if stop - start > 300:
            raise TooCostlyError
        total = self.context.mpf(int(name == "prod"))
        for k in range(int(start), int(stop) + 1):
            term = self.value(body, {**point, index.name: Fraction(k)})
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
        self.work.spend((400 if abs(values[0]) > 1_000 else 20) * self.length)
        return self.context.gamma(values[0] + 1)

    def double_factorial(self, values: list[Value]) -> Value:
        if abs(values[0]) > 100_000:
            raise TooCostlyError
        self.work.spend(800 * self.length)
        return self.context.fac2(values[0])

    def remainder(self, values: list[Value]) -> Value:
        """a mod b, which has the sign of b."""
        return values[0] - values[1] * self.context.floor(values[0] / values[1])

    def binomial(self, values: list[Value]) -> Value:
        if max(map(abs, values)) > 100_000:
            raise TooCostlyError
        self.work.spend(1_200 * self.length)
        return self.context.binomial(*values)


def _named(name: str) -> Callable[[Evaluator, list[Value]], Value]:
    return lambda evaluator, values: getattr(evaluator.context, name)(*values)


_METHODS: dict[str, Callable[[Evaluator, list[Value]], Value]] = {
    **{
        name: _named(name)
        for name in ("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "coth", "floor", "ceil")
    },
    **{f"arc{name}": _named(f"a{name}") for name in ("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh")},
    **{name: _named(name) for name in ("sech", "csch", "arg", "conj")},
    "Re": _named("re"),
    "Im": _named("im"),
    "abs": lambda evaluator, values: abs(values[0]),
    "max": lambda evaluator, values: max(values),
    "min": lambda evaluator, values: min(values),
    "sgn": _named("sign"),
    "root": Evaluator.root,
    "ln": lambda evaluator, values: evaluator.logarithm(values[0]),
    "log": Evaluator.plain_log,
    "log_base": Evaluator.log_to_base,
    "factorial": Evaluator.factorial,
    "factorial2": Evaluator.double_factorial,
    "mod": Evaluator.remainder,
    "binom": Evaluator.binomial,
    "deg": lambda evaluator, values: values[0] * evaluator.context.pi / 180,
    "pct": lambda evaluator, values: values[0] / 100,
}


def agree_at(a: Expr, b: Expr, point: Mapping[str, Fraction], real: bool, log_base: int, work: Work) -> bool:
    """Whether two values are the same number, with as many digits as that takes.

    A relative agreement counts only when no intermediate value was rounded away; a difference that is small enough
    to be rounding counts only when it does not shrink with the precision. UndefinedError where too many digits would
    be needed: another point may decide.
    """
    length, before = _BITS, None
    while length <= _MAX_BITS:
        evaluator = Evaluator(length, real, log_base, work)
        x, y = evaluator.value(a, point), evaluator.value(b, point)
        gap = abs(x - y)
        if gap <= max(abs(x), abs(y)) * mpmath.ldexp(1, 80 - length):
            if evaluator.needs <= length:
                return True
            before = None
        elif gap > mpmath.ldexp(1, 2 * evaluator.top + 60 - length):
            return False
        elif before is not None:
            return bool(gap <= before * mpmath.ldexp(1, -_BITS))
        else:
            before = gap
        length = max(evaluator.needs + 64, 3 * length)
    raise UndefinedError


def nearly_agree_at(a: Expr, b: Expr, point: Mapping[str, Fraction], log_base: int, work: Work) -> bool:
    """Whether two values with integrals, limits or infinite sums in them agree to eighteen digits."""
    needed = (_BITS_FOR[name] for name in _BITS_FOR if calls(a, frozenset((name,))) or calls(b, frozenset((name,))))
    evaluator = Evaluator(max(needed), True, log_base, work, rough=True)
    x, y = evaluator.value(a, point), evaluator.value(b, point)
    return bool(abs(x - y) <= max(abs(x), abs(y)) * 1e-18)


def value_at(expr: Expr, point: Mapping[str, Fraction], work: Work) -> Value:
    """The real value if there is one, else the complex one."""
    try:
        return Evaluator(_BITS, True, 0, work).value(expr, point)
    except UndefinedError:
        return Evaluator(_BITS, False, 0, work).value(expr, point)


def ratio_sign(a: Expr, b: Expr, point: Mapping[str, Fraction], work: Work) -> int:
    """The sign of a/b, 1 where it is complex, and 0 where one of them is 0."""
    first, second = value_at(a, point, work), value_at(b, point, work)
    if not first or not second:
        return 0
    ratio = first / second
    return 1 if hasattr(ratio, "_mpc_") or ratio > 0 else -1


def fraction_of(expr: Expr, work: Work) -> Fraction | None:
    """A real constant to sixty digits."""
    value = value_at(expr, {}, work)
    if hasattr(value, "_mpc_") or not mpmath.isfinite(value) or abs(mpmath.mag(value)) > 4_000:
        return None
    sign, mantissa, exponent, _ = value._mpf_
    return Fraction((-1) ** sign * int(mantissa)) * Fraction(2) ** int(exponent)
