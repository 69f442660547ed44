"""Names that an answer may carry or leave out: x, f(x), AB, |AB|, NO/BO, (x, y), a word."""

import re

from rewards.math_answer.matrix import Tokens, closing
from rewards.math_answer.stops import changes
from rewards.math_answer.tree import (
    MINUS_ONE,
    Answer,
    Call,
    Collection,
    Expr,
    Interval,
    Matrix,
    Mul,
    Pow,
    Ratio,
    Relation,
    Scalar,
    Sym,
    Text,
    substitute,
    symbols,
)

_RATIOS = frozenset(("sin", "cos", "tan", "cot", "sec", "csc"))
_OF_EVENTS = frozenset(("P", "Pr", "\\P", "E", "\\E", "Var"))
_VAGUE = frozenset(
    ("about", "approximately", "approx", "exactly", "answer", "the answer is", "answer:", "option", "choice", "is")
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
        case Mul((Sym("\\E" | "\\P"), _)):
            return True
        case Mul((Sym("m"), Sym(angle))):
            return angle.startswith("\\shape")
        case Call("det", _):
            return True
        case Call(name, args):
            return name.startswith(("fn:", "at:")) or (name == "abs" and is_segment(args[0]))
        case Mul((top, Pow(bottom, exponent))) if exponent == MINUS_ONE:
            return is_segment(top) and is_segment(bottom)
    return is_segment(expr)


def is_named(side: Answer, value: Answer) -> bool:
    """Whether a side is the name of a value: any label, of a number also cos x or |z|, of a matrix also A^{-1}."""
    if isinstance(value, Scalar) and not symbols(value.expr):
        match side:
            case Scalar(Call("abs", (Sym("z"),)), ""):
                return True
            case Scalar(Call(name, (Sym(),)), "") if name in _RATIOS:
                return True
    match side, value:
        case Scalar(Pow(Sym(name), _), ""), Matrix():
            return name[0].isupper()
    return is_label(side)


def same_unknown(gold: Collection, given: Collection) -> tuple[list[Answer], list[Answer]] | None:
    """The values of x = 1 or x = 2 and of x_1 = 1, x_2 = 2, where one numbers them and the other does not."""
    values = []
    for one in (gold, given):
        if not all(isinstance(item, Relation) and item.ops == ("=",) for item in one.items):
            return None
        values.append([(item.sides[0], item.sides[1]) for item in one.items if isinstance(item, Relation)])
    names = [{_stem(label) for label, _ in each} for each in values]
    numbered = [any(label != _stem(label) for label, _ in each) for each in values]
    if names[0] != names[1] or len(names[0]) != 1 or numbered[0] == numbered[1]:
        return None
    return [value for _, value in values[0]], [value for _, value in values[1]]


def _stem(label: Answer) -> Answer:
    """x of x_1."""
    match label:
        case Scalar(Sym(name), ""):
            return Scalar(Sym(name.partition("_")[0]))
    return label


def event(tokens: Tokens) -> Answer | None:
    """The label P(X = 2), or the expectation of something, when that is all there is."""
    if len(tokens) < 4 or tokens[0].text not in _OF_EVENTS or tokens[1].text not in ("(", "["):
        return None
    whole = closing(tokens[1:]) == len(tokens) - 2
    return Scalar(Call("fn:P", (Sym("Event " + " ".join(token.text for token in tokens)),))) if whole else None


def leads(words: str) -> bool:
    """`approximately`, `the probability is`: words in front of an answer that say nothing about it."""
    words = words.lower().strip(" :")
    claim = words.removesuffix(" is").removesuffix(" equals")
    return words in _VAGUE or (claim != words and not changes(claim))


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
        if any(isinstance(arg, Sym) and arg.name[0].isupper() for arg in (*one.expr.args, *two.expr.args)):
            return False
        return one.expr.name == two.expr.name and all(isinstance(arg, Sym) for arg in (*one.expr.args, *two.expr.args))
    return all(functions) and bool(symbols(first.expr))


def renamed_as(one: Answer, two: Answer, first: Answer | None, second: Answer | None) -> tuple[Answer, Answer]:
    """Both values with the arguments of the second function named as in the first."""
    assert first is not None
    assert second is not None
    match one, two, second:
        case Scalar(Call(_, new)), Scalar(Call(_, old)), Scalar(expr, unit) if len(new) == len(old):
            if {each.name for each in new if isinstance(each, Sym)} & (symbols(expr) - symbols(Call("", old))):
                return first, Text("")
            for at, argument in enumerate(old):
                expr = substitute(expr, argument.name, Sym(f"\\argument{at}")) if isinstance(argument, Sym) else expr
            for at, argument in enumerate(new):
                expr = substitute(expr, f"\\argument{at}", argument)
            return first, Scalar(expr, unit)
    return first, second
