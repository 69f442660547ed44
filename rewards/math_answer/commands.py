"""The commands of the grammar: functions with their base, power and argument; fractions, roots, sums."""

from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING

from rewards.math_answer.tokens import FUNCTIONS, NotMathError
from rewards.math_answer.tree import (
    IMAGINARY,
    MINUS_ONE,
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
    substitute,
)

if TYPE_CHECKING:
    from rewards.math_answer.parse import Parser

_ALIASES = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "lg": "log10"}
_INVERSE = frozenset(("sin", "cos", "tan", "cot", "sec", "csc"))


def function(parser: "Parser", name: str) -> Expr:
    """A named function with its base, its power and its argument."""
    name = _ALIASES.get(name, name)
    base: Expr | None = None
    exponent: Expr | None = None
    while parser.is_op("_", "^"):
        if parser.take().text == "_":
            base = parser.argument(whole=True)
        elif parser.circle():
            raise NotMathError("degrees of a function")
        else:
            exponent = parser.exponent()
    if exponent == MINUS_ONE and name in _INVERSE:
        name, exponent = "arc" + name, None
    arguments = parser.arguments() if _parenthesis(parser) else (bare(parser),)
    if name == "log" and base is not None:
        arguments, name = (*arguments, base), "log_base"
    if name == "log10":
        arguments, name = (*arguments, number(10)), "log_base"
    call = _CLOSED_FORMS[name](arguments[0]) if name in _CLOSED_FORMS else Call(name, arguments)
    return call if exponent is None else power(call, exponent)


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
    return inner if is_segment else Call("fn:overline", (inner,))


def shape(parser: "Parser") -> Expr:
    """\\angle ABC and its kind: one name."""
    letters = []
    while parser.token.kind == "sym":
        letters.append(parser.take().text)
    if not letters:
        raise NotMathError("a shape needs a name")
    return Sym("\\shape " + "".join(letters))


def series_sum(parser: "Parser") -> Expr:
    return _bounded(parser, "sum")


def series_product(parser: "Parser") -> Expr:
    return _bounded(parser, "prod")


def _bounded(parser: "Parser", kind: str) -> Expr:
    """\\sum_{k=a}^{b} body, the index renamed so that its letter does not matter."""
    parser.expect("op", "_")
    parser.expect("open", "{")
    index = parser.take()
    parser.expect("rel", "=")
    low = parser.expression()
    parser.expect("close", "{")
    parser.expect("op", "^")
    high = parser.argument(whole=True)
    if index.kind != "sym":
        raise NotMathError("an index is a letter")
    body = parser.term()
    return Call(kind, (substitute(body, index.text, Sym("\\index")), low, high))


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
    "angle": shape,
    "triangle": shape,
    "sum": series_sum,
    "prod": series_product,
}
