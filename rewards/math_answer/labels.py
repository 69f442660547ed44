"""Names that an answer may carry or leave out: x, f(x), AB, |AB|, NO/BO, (x, y), a word."""

import re

from rewards.math_answer.stops import changes
from rewards.math_answer.tree import (
    MINUS_ONE,
    Answer,
    Call,
    Collection,
    Expr,
    Interval,
    Mul,
    Pow,
    Ratio,
    Scalar,
    Sym,
    Text,
    substitute,
    symbols,
)

_WORDS = re.compile(r"[a-zA-Z\\][a-zA-Z0-9 _,:'{}()\\-]*")


def is_label(side: Answer) -> bool:
    """A name that an answer may carry or leave out: x, f(x), AB, |AB|, NO/BO, (x, y), a word."""
    match side:
        case Text(words):
            return not words or (bool(_WORDS.fullmatch(words)) and not changes(words))
        case Scalar(expr, ""):
            return is_name(expr)
        case Interval(low, high, False, False):
            return is_name(low) and is_name(high)
        case Collection("tuple", items):
            return all(map(is_label, items))
        case Ratio(terms):
            return all(map(is_name, terms))
    return False


def is_name(expr: Expr) -> bool:
    match expr:
        case Sym():
            return True
        case Call(name, args):
            return name.startswith(("fn:", "at:")) or (name == "abs" and is_segment(args[0]))
        case Mul((top, Pow(bottom, exponent))) if exponent == MINUS_ONE:
            return is_segment(top) and is_segment(bottom)
    return is_segment(expr)


def is_segment(expr: Expr) -> bool:
    """AB, as opposed to the product of two unknowns."""
    return isinstance(expr, Mul) and all(isinstance(part, Sym) and part.name[0].isupper() for part in expr.factors)


def same_label(one: Answer, two: Answer, first: Answer | None, second: Answer | None) -> bool:
    """The same name; for a function of its argument also y for f(x), or another letter for the argument."""
    if one == two or isinstance(one, Text) or isinstance(two, Text):
        return True
    if not (
        isinstance(one, Scalar) and isinstance(two, Scalar) and isinstance(first, Scalar) and isinstance(second, Scalar)
    ):
        return False
    functions = [isinstance(side.expr, Call) or side.expr == Sym("y") for side in (one, two)]
    if isinstance(one.expr, Call) and isinstance(two.expr, Call):
        return one.expr.name == two.expr.name and all(isinstance(arg, Sym) for arg in (*one.expr.args, *two.expr.args))
    return all(functions) and bool(symbols(first.expr))


def renamed_as(one: Answer, two: Answer, first: Answer | None, second: Answer | None) -> tuple[Answer, Answer]:
    """Both values with the arguments of the second function named as in the first."""
    assert first is not None
    assert second is not None
    match one, two, second:
        case Scalar(Call(_, new)), Scalar(Call(_, old)), Scalar(expr, unit) if len(new) == len(old):
            for at, argument in enumerate(old):
                expr = substitute(expr, argument.name, Sym(f"\\argument{at}")) if isinstance(argument, Sym) else expr
            for at, argument in enumerate(new):
                expr = substitute(expr, f"\\argument{at}", argument)
            return first, Scalar(expr, unit)
    return first, second
