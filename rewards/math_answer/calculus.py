"""Sums, products, limits, integrals and derivatives: how they are read, and how a tree is differentiated.

A bound letter is renamed to `\\index1`, `\\index2`, .. by its depth, so that it does not matter which letter was used.
Values are found elsewhere: exactly in `exact`, by approximation in `approximate`.
"""

from typing import TYPE_CHECKING

from rewards.math_answer.cursor import MAX_DEPTH
from rewards.math_answer.tokens import NotMathError, Token
from rewards.math_answer.tree import (
    MINUS_ONE,
    ONE,
    ZERO,
    Add,
    Call,
    Expr,
    Mul,
    Num,
    Pow,
    Sym,
    add,
    children,
    divide,
    mul,
    neg,
    number,
    power,
    size,
    substitute,
    symbols,
)

if TYPE_CHECKING:
    from rewards.math_answer.parse import Parser

_COUNTING = frozenset("nkmijN")
"""Letters of a limit that run through whole numbers."""
_MAX_BOUND = 3
"""Of sums, limits and integrals within each other."""
_MAX_ORDER = 6
_MAX_NODES = 2_000


def bound(kind: str, body: Expr, name: str, low: Expr, high: Expr) -> Call:
    """The call that binds a letter of its body."""
    depth = _depth(body) + 1
    if depth > _MAX_BOUND:
        raise NotMathError("too many sums or integrals within each other")
    index = Sym(f"\\index{depth}")
    return Call(kind, (substitute(body, name, index), low, high, index))


def _depth(expr: Expr) -> int:
    own = int(expr.name[6:]) if isinstance(expr, Sym) and expr.name.startswith("\\index") else 0
    return max([own, *map(_depth, children(expr))])


def series_sum(parser: "Parser") -> Expr:
    return _series(parser, "sum")


def series_product(parser: "Parser") -> Expr:
    return _series(parser, "prod")


def _series(parser: "Parser", kind: str) -> Expr:
    """\\sum_{k=a}^{b} body, the bounds in either order."""
    index = ""
    low: Expr = ZERO
    high: Expr | None = None
    while parser.is_op("_", "^"):
        if parser.take().text == "^":
            high = parser.argument(whole=True)
            continue
        parser.expect("open", "{")
        index = _letter(parser.take())
        parser.expect("rel", "=")
        low = parser.expression()
        parser.expect("close", "{")
    if not index or high is None:
        raise NotMathError("a sum needs its index and both bounds")
    return bound(kind, parser.term(), index, low, high)


def _letter(token: Token) -> str:
    if token.kind == "sym":
        return token.text
    if token.kind == "cmd":
        return "\\" + token.text
    raise NotMathError("an index is a letter")


def limit(parser: "Parser") -> Expr:
    """\\lim_{x \\to a} body, and from one side with a^+ or a^-."""
    parser.expect("op", "_")
    parser.expect("open", "{")
    index = _letter(parser.take())
    parser.expect("rel", "->")
    side = _side(parser)
    target = parser.expression()
    parser.expect("close", "{")
    return bound("lim", parser.term(), index, target, number(side or (2 if index in _COUNTING else 0)))


def _side(parser: "Parser") -> int:
    """1 or -1 where ^+ or ^- stands before the closing brace, which is taken away; else 0."""
    end = next((at for at in range(parser.at, len(parser.tokens)) if parser.tokens[at].kind == "close"), parser.at)
    start = end - 2
    if parser.tokens[end - 1].text in ("+", "-") and parser.tokens[end - 2].text == "{":
        end, start = end + 1, end - 3
    sign = next((token.text for token in parser.tokens[start + 1 : end] if token.text in ("+", "-")), "")
    if not sign or start <= parser.at or parser.tokens[start].text != "^":
        return 0
    del parser.tokens[start:end]
    return 1 if sign == "+" else -1


def integral(parser: "Parser") -> Expr:
    """\\int_a^b body dx; the differential may stand in a fraction. Without bounds it is a family of functions."""
    low: Expr | None = None
    high: Expr | None = None
    while parser.is_op("_", "^"):
        if parser.take().text == "_":
            low = parser.argument(whole=True)
        else:
            high = parser.argument(whole=True)
    body, name = _integrand(parser)
    if low is None and high is None:
        return Call("antiderivative", (body, Sym(name)))
    if low is None or high is None:
        raise NotMathError("an integral has two bounds or none")
    return bound("int", body, name, low, high)


def _integrand(parser: "Parser") -> tuple[Expr, str]:
    at, depth = _differential(parser)
    name = _letter(parser.tokens[at + 1])
    if depth:
        bare = parser.tokens[at - 1].kind == "open" and parser.tokens[at + 2].kind == "close"
        parser.tokens[at : at + 2] = [Token("num", "1", ONE.value)] if bare else []
        return parser.term(), name
    inner = type(parser)([*parser.tokens[parser.at : at], Token("end", "")])
    inner.depth = parser.depth + 1
    if inner.depth > MAX_DEPTH:
        raise NotMathError("nested too deep")
    parser.at, start = at + 2, parser.at
    body = inner.expression() if at > start else ONE
    if inner.token.kind != "end" and at > start:
        raise NotMathError("something is left of an integrand")
    return body, name


def _differential(parser: "Parser") -> tuple[int, int]:
    """Where the dx of this integral stands, and how many brackets deep."""
    depth, wanted = 0, 1
    for at in range(parser.at, len(parser.tokens) - 1):
        token, following = parser.tokens[at], parser.tokens[at + 1]
        depth += (token.kind == "open") - (token.kind == "close")
        wanted += token.kind == "cmd" and token.text == "int"
        if depth < 0:
            break
        if token.kind == "sym" and token.text == "d" and following.kind in ("sym", "cmd"):
            wanted -= 1
            if not wanted:
                return at, depth
    raise NotMathError("an integral needs its differential")


def derivative(parser: "Parser") -> Expr | None:
    """\\frac{d^n}{dx^n} body, differentiated, or the name of \\frac{dy}{dx}; None for another fraction."""
    start, saved = parser.at, list(parser.tokens)
    try:
        function, name, order, mark = _differentials(parser)
    except (NotMathError, IndexError):
        parser.at = start
        parser.tokens[:] = saved
        return None
    if function:
        named = function + "'" * order if name == "x" else f"{function}{chr(39) * order}_{name}"
        return Sym(named) if mark == "d" else Call("fn:partial", (Sym(function), Sym(name)))
    if not parser.starts_factor():
        raise NotMathError("nothing to differentiate")
    body = parser.term()
    for _ in range(order):
        body = derive(body, name)
    return body


def _differentials(parser: "Parser") -> tuple[str, str, int, str]:
    """The function if one stands above, the letter below, the order, and the mark."""
    parser.expect("open", "{")
    mark = parser.take()
    order = _order(parser, mark)
    function = "" if parser.token.kind == "close" else _letter(parser.take())
    parser.expect("close", "{")
    parser.expect("open", "{")
    if parser.take() != mark:
        raise NotMathError("no differential below")
    name = _letter(parser.take())
    if _order(parser, mark) != order:
        raise NotMathError("another order below")
    parser.expect("close", "{")
    return function, name, order, mark.text


def _order(parser: "Parser", mark: Token) -> int:
    if (mark.kind, mark.text) not in (("sym", "d"), ("cmd", "partial")):
        raise NotMathError("no differential")
    if not parser.is_op("^"):
        return 1
    parser.take()
    order = parser.argument(whole=True)
    if isinstance(order, Num) and order.value.denominator == 1 and 1 <= order.value <= _MAX_ORDER:
        return int(order.value)
    raise NotMathError("an order is a small number")


def derive(expr: Expr, name: str) -> Expr:
    """The derivative by a symbol. NotMathError where a function has none here, or past a size."""
    if size(expr) > _MAX_NODES:
        raise NotMathError("too large to differentiate")
    if name not in symbols(expr):
        return ZERO
    match expr:
        case Sym():
            return ONE
        case Add(terms):
            return add(*(derive(term, name) for term in terms))
        case Mul(factors):
            return add(*(
                mul(*factors[:at], derive(factor, name), *factors[at + 1 :]) for at, factor in enumerate(factors)
            ))  # fmt: skip
        case Pow(base, exponent):
            if name not in symbols(exponent):
                return mul(exponent, power(base, add(exponent, MINUS_ONE)), derive(base, name))
            grown = mul(derive(exponent, name), Call("ln", (base,)))
            return mul(expr, add(grown, mul(exponent, divide(derive(base, name), base))))
        case Call(function, (argument,)) if function in _SLOPES:
            return mul(_slope(function, argument), derive(argument, name))
        case Call("root" | "int", parts):
            return _derive_parts(parts, name)
    raise NotMathError("no rule to differentiate by")


def _derive_parts(parts: tuple[Expr, ...], name: str) -> Expr:
    """The derivative of a root of some index, or by Leibniz's rule of an integral."""
    if len(parts) == 2:
        return derive(power(parts[0], power(parts[1], MINUS_ONE)), name)
    body, low, high, index = parts
    assert isinstance(index, Sym)
    moving = [(sign, end) for sign, end in ((ONE, high), (MINUS_ONE, low)) if name in symbols(end)]
    ends = (mul(sign, substitute(body, index.name, end), derive(end, name)) for sign, end in moving)
    return add(*ends, Call("int", (derive(body, name), low, high, index)))


_WITH_SLOPES = "sin cos tan ln log sinh cosh tanh arcsin arccos arctan sec csc cot"
_SLOPES = frozenset(_WITH_SLOPES.split())


def _slope(function: str, x: Expr) -> Expr:
    """The derivative of a function of one argument."""
    sine, cosine = Call("sin", (x,)), Call("cos", (x,))
    square, one_over = mul(x, x), power(x, MINUS_ONE)
    slopes: dict[str, Expr] = {
        "sin": cosine, "cos": neg(sine), "tan": power(cosine, number(-2)), "cot": neg(power(sine, number(-2))),
        "sec": divide(sine, mul(cosine, cosine)), "csc": neg(divide(cosine, mul(sine, sine))), "ln": one_over,
        "log": one_over, "sinh": Call("cosh", (x,)), "cosh": Call("sinh", (x,)),
        "tanh": power(Call("cosh", (x,)), number(-2)), "arctan": power(add(ONE, square), MINUS_ONE),
        "arcsin": power(add(ONE, neg(square)), Num(-ONE.value / 2)),
        "arccos": neg(power(add(ONE, neg(square)), Num(-ONE.value / 2))),
    }  # fmt: skip
    return slopes[function]
