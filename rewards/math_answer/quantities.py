"""Readings of a value that only another answer can settle: 10 m, 1 hour 30 minutes, C(10, 3), a + bI, F(x) + C.

Each is offered beside the plain reading and decides nothing by itself.
"""

import re
from itertools import pairwise

from rewards.math_answer.calculus import derive
from rewards.math_answer.tokens import NotMathError
from rewards.math_answer.tree import (
    Add,
    Call,
    Const,
    Expr,
    Mul,
    Num,
    Pow,
    Scalar,
    Sym,
    add,
    mul,
    substitute,
    symbols,
)
from rewards.math_answer.units import read_unit

_ONE_LETTER = frozenset("mgshLJNVWA")
_CONSTANTS = frozenset(("C", "c", "K", "k", "C_1", "c_1"))
_COEFFICIENTS = frozenset("abcdkmnpqrABCDK")
"""Letters beside which another such letter need be no constant of integration."""


def as_quantity(scalar: Scalar) -> Scalar | None:
    """10m, 9.8 m/s^2: a number times letters that may be units. None when it is no such thing."""
    if scalar.unit or not isinstance(scalar.expr, Mul):
        return None
    numbers = [factor for factor in scalar.expr.factors if not symbols(factor)]
    units = [_power_of_unit(factor) for factor in scalar.expr.factors if symbols(factor)]
    if not numbers or not units or not all(units) or (len(units) > 1 and not any("^-" in unit for unit in units)):
        return None
    return Scalar(mul(*numbers), " ".join(units))


def _power_of_unit(expr: Expr, times: int = 1) -> str:
    match expr:
        case Sym(name) if name in _ONE_LETTER:
            return name.lower() if times == 1 else f"{name.lower()}^{times}"
        case Pow(Sym("m"), Num(power)) if power in (2, 3) and times == 1:
            return f"m^{power}"
        case Pow(base, Num(power)) if power.denominator == 1 and (power < 0 or times < 0) and abs(power * times) < 10:
            return _power_of_unit(base, times * int(power))
    return ""


def compound(items: list[Scalar]) -> Scalar | None:
    """1 hour 30 minutes, 5 ft 3 in: parts in falling units of one kind, as one value in the last of them."""
    units = [read_unit(item.unit) if item.unit else None for item in items]
    known = [unit for unit in units if unit is not None]
    if len(items) < 2 or len(known) < len(items) or any(unit[0] != known[0][0] for unit in known):
        return None
    factors = [unit[1] for unit in known]
    if any(large <= small for large, small in pairwise(factors)):
        return None
    parts = [mul(item.expr, Num(factor / factors[-1])) for item, factor in zip(items, factors, strict=True)]
    return Scalar(add(*parts), items[-1].unit)


def counted(expr: Expr) -> Expr | None:
    """C(10, 3) and P(10, 3) as numbers of choices and of arrangements."""
    match expr:
        case Call("fn:C" | "fn:P" as name, (Num(n), Num(k))) if n.denominator == k.denominator == 1 and 0 <= k <= n:
            choices = Call("binom", expr.args)
            return choices if name == "fn:C" else mul(choices, Call("factorial", (expr.args[1],)))
    return None


def with_imaginary(expr: Expr, other: Expr) -> Expr | None:
    """a + bI, 3 + 4j: the letter as the imaginary unit, where only the other answer writes i."""
    if not _has_i(other) or _has_i(expr):
        return None
    for name in ("I", "j"):
        if name in symbols(expr) - symbols(other):
            return substitute(expr, name, Const("i"))
    return None


def _has_i(expr: Expr) -> bool:
    match expr:
        case Const("i"):
            return True
        case Add(parts) | Mul(parts) | Call(_, parts):
            return any(map(_has_i, parts))
        case Pow(base, exponent):
            return _has_i(base) or _has_i(exponent)
    return False


def constant_of_integration(expr: Expr) -> str:
    """The C of F(x) + C: a letter of its own, added once."""
    terms = expr.terms if isinstance(expr, Add) else (expr,)
    found = [term.name for term in terms if isinstance(term, Sym) and term.name in _CONSTANTS]
    rest = frozenset[str]().union(*(symbols(term) for term in terms if not isinstance(term, Sym)))
    return found[0] if len(found) == 1 and found[0] not in rest and len(terms) > 1 else ""


def with_constant(expr: Expr, other: Expr) -> Expr | None:
    """F(x) + K, and c_1 f + c_2 g, with the constants named as in the other answer."""
    own, wanted = constant_of_integration(expr), constant_of_integration(other)
    letters = symbols(expr) | symbols(other)
    if own and wanted and own != wanted and wanted not in symbols(expr):
        if (letters - {own, wanted}) & _COEFFICIENTS:
            return None
        return substitute(expr, own, Sym(wanted))
    numbered = [name for name in symbols(expr) if re.fullmatch(r"[cC]_\d", name)]
    for name in numbered:
        if name.swapcase() not in symbols(other) or name.swapcase() in symbols(expr):
            return None
        expr = substitute(expr, name, Sym(name.swapcase()))
    return expr if numbered else None


def differentiated(family: Expr, other: Expr) -> tuple[Expr, Expr] | None:
    """An integral without bounds beside F(x) + C or another such integral, both differentiated."""
    match family, other:
        case Call("antiderivative", (body, Sym(name))), Call("antiderivative", (rival, Sym(same))) if name == same:
            return body, rival
        case Call("antiderivative", (body, Sym(name))), _ if constant_of_integration(other):
            try:
                return body, derive(other, name)
            except NotMathError:
                return None
    return None
