"""The commands of the grammar: functions with their base, power and argument; fractions, roots, sums."""

from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING

from rewards.math_answer.calculus import derivative, integral, limit, series_product, series_sum
from rewards.math_answer.tokens import FUNCTIONS, NotMathError
from rewards.math_answer.tree import (
    IMAGINARY,
    MINUS_ONE,
    Add,
    Call,
    Const,
    Expr,
    Mul,
    Num,
    Pow,
    Sym,
    add,
    divide,
    mul,
    number,
    power,
    symbols,
)

if TYPE_CHECKING:
    from rewards.math_answer.parse import Parser

_ALIASES = {
    "asin": "arcsin", "acos": "arccos", "atan": "arctan", "lg": "log10", "tg": "tan", "ctg": "cot", "arctg": "arctan",
    "arcctg": "arccot", "arsinh": "arcsinh", "arcosh": "arccosh", "artanh": "arctanh", "asinh": "arcsinh",
    "acosh": "arccosh", "atanh": "arctanh", "Arg": "arg",
}  # fmt: skip
_INVERSE = frozenset(("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh"))
_OF_COMPLEX = frozenset(("Re", "Im", "arg"))
"""Functions that real points say nothing about."""
_OF_SEVERAL = frozenset(("max", "min", "gcd", "lcm"))


def function(parser: "Parser", name: str) -> Expr:
    """A named function with its base, its power and its argument."""
    name = _ALIASES.get(name, name)
    base: Expr | None = None
    exponent: Expr | None = None
    while parser.is_op("_", "^"):
        if parser.take().text == "_":
            # TeX reads \\log_48 as the logarithm of 8 to the base 4.
            alone = parser.peek().kind in ("end", "close") or parser.peek().text in ("+", "-", "*", "/", "^")
            base = parser.argument(whole=not (alone and parser.token.kind == "num" and parser.token.text.isdigit()))
        elif parser.circle():
            raise NotMathError("degrees of a function")
        else:
            exponent = parser.exponent()
    if exponent == MINUS_ONE and name in _INVERSE:
        name, exponent = "arc" + name, None
    if name in _OF_SEVERAL and parser.token.kind == "open" and parser.token.text == "set":
        arguments = parser.arguments("set")
    else:
        arguments = _arguments(parser)
    if name == "log" and base is not None:
        arguments, name = (*arguments, base), "log_base"
    if name == "log10":
        arguments, name = (*arguments, number(10)), "log_base"
    if name in _OF_COMPLEX and symbols(arguments[0]):
        name = "fn:" + name
    call = _CLOSED_FORMS[name](arguments[0]) if name in _CLOSED_FORMS else Call(name, arguments)
    return call if exponent is None else power(call, exponent)


def _arguments(parser: "Parser") -> tuple[Expr, ...]:
    """In parentheses, perhaps with braces around these, or bare."""
    if _parenthesis(parser):
        return parser.arguments()
    if not _braced_parenthesis(parser):
        return (bare(parser),)
    parser.take()
    arguments = parser.arguments()
    parser.expect("close", "{")
    return arguments


def _braced_parenthesis(parser: "Parser") -> bool:
    """Whether {(x)} follows, as SymPy writes the argument of \\log{(x)}^2; not {(x)(y)}."""
    if parser.token.text != "{" or parser.peek().text != "(":
        return False
    depth = 0
    for at in range(parser.at + 1, len(parser.tokens) - 1):
        token = parser.tokens[at]
        depth += (token.kind == "open") - (token.kind == "close")
        if depth == 0:
            return parser.tokens[at + 1].kind == "close"
    return False


def _parenthesis(parser: "Parser") -> bool:
    return parser.token.kind == "open" and parser.token.text == "("


def bare(parser: "Parser") -> Expr:
    """An argument without parentheses: 3x of `\\sin 3x`, up to the next function, bracket or sign."""
    if parser.token.kind == "cmd" and parser.token.text in FUNCTIONS and parser.token.text != "sqrt":
        return parser.power()
    factors = [parser.signed()]
    while (
        parser.starts_factor()
        and parser.token.kind in ("num", "sym", "cmd")
        and parser.token.text not in FUNCTIONS - {"sqrt"}
    ):
        factors.append(parser.power())
    if parser.is_op("/") and parser.peek().kind == "num" and isinstance(factors[-1], Const | Num | Sym):
        parser.take()
        factors.append(power(parser.power(), MINUS_ONE))
    return mul(*factors)


def fraction(parser: "Parser") -> Expr:
    differentiated = derivative(parser)
    if differentiated is not None:
        return differentiated
    top = parser.argument()
    return divide(top, parser.argument())


def root(parser: "Parser") -> Expr:
    index: Expr | None = None
    if parser.token.kind == "open" and parser.token.text == "[":
        index = parser.group("[")
    radicand = parser.argument(whole=True)
    if index is None or index == number(2):
        return Pow(radicand, Num(Fraction(1, 2)))
    return Call("root", (radicand, index))


def cube_root(parser: "Parser") -> Expr:
    return Call("root", (parser.argument(whole=True), number(3)))


def binomial(parser: "Parser") -> Expr:
    top = parser.argument()
    return Call("binom", (top, parser.argument()))


def overline(parser: "Parser") -> Expr:
    inner = parser.argument(whole=True)
    is_segment = isinstance(inner, Mul) and all(isinstance(part, Sym) and part.name.isupper() for part in inner.factors)
    return inner if is_segment else _conjugate(inner)


def accented(name: str) -> Callable[["Parser"], Expr]:
    """A letter with a mark over it is another letter."""
    return lambda parser: Call("fn:" + name, (parser.argument(whole=True),))


def _conjugate(expr: Expr) -> Expr:
    """The conjugate, down to its names: that of a + bi is conj(a) - conj(b) i."""
    match expr:
        case Num():
            return expr
        case Add(terms):
            return add(*map(_conjugate, terms))
        case Mul(factors):
            return mul(*map(_conjugate, factors))
        case _ if not symbols(expr):
            return Call("conj", (expr,))
    return Call("fn:overline", (expr,))


def shape(parser: "Parser") -> Expr:
    """\\angle ABC and its kind: one name."""
    letters = []
    while parser.token.kind == "sym":
        letters.append(parser.take().text)
    if not letters:
        raise NotMathError("a shape needs a name")
    return Sym("\\shape " + "".join(letters))


_CLOSED_FORMS: dict[str, Callable[[Expr], Expr]] = {
    "exp": lambda angle: power(Const("e"), angle),
    "cis": lambda angle: add(Call("cos", (angle,)), mul(IMAGINARY, Call("sin", (angle,)))),
}
COMMANDS: dict[str, Callable[["Parser"], Expr]] = {
    "frac": fraction,
    "sqrt": root,
    "cbrt": cube_root,
    "binom": binomial,
    "overline": overline,
    "dot": accented("dot"),
    "ddot": accented("ddot"),
    "tilde": accented("tilde"),
    "widetilde": accented("tilde"),
    "angle": shape,
    "triangle": shape,
    "sum": series_sum,
    "prod": series_product,
    "int": integral,
    "lim": limit,
}
