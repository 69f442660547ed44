"""Sets of real numbers as sorted, merged pieces: what makes x > 2, (2, oo) and R \\ (-oo, 2] one answer."""

from dataclasses import dataclass, replace
from fractions import Fraction

from rewards.math_answer.exact import NotExactError, Work, exact, is_polynomial
from rewards.math_answer.numeric import real_value, same
from rewards.math_answer.tree import (
    INFINITY,
    Answer,
    Call,
    Collection,
    Expr,
    Interval,
    Meet,
    Num,
    Pow,
    Relation,
    Scalar,
    Sym,
    Union,
    add,
    mul,
    neg,
    symbols,
)

_FLIP = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "!=": "!="}
_CLOSE = Fraction(1, 10**45)


@dataclass(frozen=True, slots=True)
class End:
    expr: Expr
    value: Fraction | None
    """None for an infinite end."""
    sign: int
    """-1 and 1 for the infinities, else 0."""

    def compare(self, other: "End") -> int:
        if self.sign or other.sign or self.value is None or other.value is None:
            return (self.sign > other.sign) - (self.sign < other.sign)
        gap = self.value - other.value
        return 0 if abs(gap) <= _CLOSE * max(abs(self.value), abs(other.value)) else (1 if gap > 0 else -1)


@dataclass(frozen=True, slots=True)
class Piece:
    low: End
    low_closed: bool
    high: End
    high_closed: bool

    def is_empty(self) -> bool:
        order = self.low.compare(self.high)
        return order > 0 or (order == 0 and not (self.low_closed and self.high_closed))


class NoRegionError(ValueError):
    """The answer is not a set of reals with constant ends."""


def end(expr: Expr, work: Work) -> End:
    if expr == INFINITY:
        return End(expr, None, 1)
    if expr == neg(INFINITY):
        return End(expr, None, -1)
    value = real_value(expr, work)
    if value is None:
        raise NoRegionError
    return End(expr, value, 0)


LOWEST, HIGHEST = End(neg(INFINITY), None, -1), End(INFINITY, None, 1)
_LINE = Piece(LOWEST, False, HIGHEST, False)


def region(answer: Answer, work: Work) -> list[Piece]:
    """The merged pieces of an answer that is a set of reals. NoRegionError when it is none."""
    return _merged(_pieces(answer, work))


def variables(answer: Answer) -> frozenset[str]:
    """The names that inequalities constrain, which are one where the answer is a set of reals."""
    match answer:
        case Relation(sides, _):
            for side in sides:
                if isinstance(side, Scalar) and isinstance(side.expr, Call) and _is_name(side.expr):
                    function = len(side.expr.args) == 1 and isinstance(side.expr.args[0], Sym)
                    return frozenset(("y" if function and side.expr.name.startswith("fn:") else repr(side.expr),))
                names = symbols(side.expr) if isinstance(side, Scalar) else frozenset()
                if len(names) == 1:
                    return names
        case Union(parts, _) | Collection(_, parts) | Meet(parts):
            return frozenset[str]().union(*map(variables, parts))
    return frozenset()


def _pieces(answer: Answer, work: Work) -> list[Piece]:
    match answer:
        case Interval(low, high, low_closed, high_closed):
            return [Piece(end(low, work), low_closed, end(high, work), high_closed)]
        case Union(parts, removed):
            pieces = [piece for part in parts for piece in _pieces(part, work)]
            for part in removed:
                for hole in _merged(_pieces(part, work)):
                    pieces = [rest for piece in pieces for rest in _without(piece, hole)]
            return pieces
        case Meet(parts):
            pieces = [_LINE]
            for part in parts:
                found = _merged(_pieces(part, work))
                pieces = [both for one in pieces for two in found if not (both := _overlap(one, two)).is_empty()]
            return pieces
        case Collection("set", items):
            return [_at(item, work) for item in items]
        case Collection("list", items) if items and all(isinstance(item, Relation) for item in items):
            return _common(items, work)
        case Relation(sides, ops):
            return _solutions(sides, ops, work)
    raise NoRegionError


def _at(item: Answer, work: Work) -> Piece:
    if not isinstance(item, Scalar):
        raise NoRegionError
    point = end(item.expr, work)
    return Piece(point, True, point, True)


def _common(items: tuple[Answer, ...], work: Work) -> list[Piece]:
    """Inequalities side by side hold together; x = 1, x = 2 are two values instead."""
    names = variables(Collection("list", items))
    if len(names) != 1 or any(isinstance(item, Relation) and "=" in item.ops for item in items):
        raise NoRegionError
    pieces = [_LINE]
    for item in items:
        found = _merged(_pieces(item, work))
        pieces = [both for one in pieces for two in found if not (both := _overlap(one, two)).is_empty()]
    return pieces


def _overlap(one: Piece, two: Piece) -> Piece:
    low, low_closed = one.low, one.low_closed
    order = two.low.compare(low)
    if order > 0 or (order == 0 and not two.low_closed):
        low, low_closed = two.low, two.low_closed
    high, high_closed = one.high, one.high_closed
    order = two.high.compare(high)
    if order < 0 or (order == 0 and not two.high_closed):
        high, high_closed = two.high, two.high_closed
    return Piece(low, low_closed, high, high_closed)


def _without(piece: Piece, hole: Piece) -> list[Piece]:
    left = _overlap(piece, Piece(LOWEST, False, hole.low, not hole.low_closed))
    right = _overlap(piece, Piece(hole.high, not hole.high_closed, HIGHEST, False))
    return [rest for rest in (left, right) if not rest.is_empty()]


def _solutions(sides: tuple[Answer, ...], ops: tuple[str, ...], work: Work) -> list[Piece]:
    """a < x <= b, x > a, a > x, x != a for a bare name x (or f(x))."""
    middles = [
        at for at, side in enumerate(sides) if isinstance(side, Scalar) and (_is_name(side.expr) or symbols(side.expr))
    ]
    if len(middles) != 1 or len(sides) > 3 or (len(sides) == 3 and middles != [1]) or not set(ops) <= set(_FLIP):
        raise NoRegionError
    middle = sides[middles[0]]
    assert isinstance(middle, Scalar)
    inner = middle.expr
    squared = isinstance(inner, Pow) and inner.exponent == Num(Fraction(2))
    if isinstance(inner, Pow) and squared:
        inner = Call("abs", (inner.base,))
    slope, offset, absolute = _linear(inner, work)
    pieces = [_LINE]
    for at, side in enumerate(sides):
        if at == middles[0]:
            continue
        if not isinstance(side, Scalar):
            raise NoRegionError
        op = ops[at - 1] if at > middles[0] else _FLIP[ops[at]]
        bound = Pow(side.expr, Num(Fraction(1, 2))) if squared else side.expr
        solved = _solved(bound, op, slope, offset, absolute, work)
        pieces = [both for one in pieces for two in solved if not (both := _overlap(one, two)).is_empty()]
    return pieces


def _linear(expr: Expr, work: Work) -> tuple[Fraction, Fraction, bool]:
    """(a, b, False) of a x + b, (a, b, True) of |a x + b|, for one unknown x and rational a, b."""
    if _is_name(expr):
        return Fraction(1), Fraction(0), False
    if isinstance(expr, Call) and expr.name == "abs":
        slope, offset, inner = _linear(expr.args[0], work)
        if inner:
            raise NoRegionError
        return slope, offset, True
    names = symbols(expr)
    if len(names) != 1 or not is_polynomial(expr, next(iter(names))):
        raise NoRegionError
    try:
        values = [exact(expr, dict.fromkeys(names, Fraction(x)), work) for x in (0, 1, 2, 5, -7)]
    except (NotExactError, ZeroDivisionError) as error:
        raise NoRegionError from error
    if any(value[1] for value in values):
        raise NoRegionError
    offset, slope = values[0][0], values[1][0] - values[0][0]
    if not slope or any(value[0] != offset + slope * x for value, x in zip(values, (0, 1, 2, 5, -7), strict=True)):
        raise NoRegionError
    return slope, offset, False


def _solved(bound: Expr, op: str, slope: Fraction, offset: Fraction, absolute: bool, work: Work) -> list[Piece]:
    """Where slope x + offset, or its absolute value, stands in relation to the bound."""
    if not absolute:
        return _half(bound, op, slope, offset, work)
    level = end(bound, work)
    if level.value is None or level.value < 0 or op == "!=":
        raise NoRegionError
    above, below = _half(bound, op, slope, offset, work), _half(neg(bound), _FLIP[op], slope, offset, work)
    if op[0] == ">":
        return _merged([*above, *below])
    return [both for one in above for two in below if not (both := _overlap(one, two)).is_empty()]


def _half(bound: Expr, op: str, slope: Fraction, offset: Fraction, work: Work) -> list[Piece]:
    at = bound if (slope == 1 and offset == 0) or end(bound, work).sign else _solution(bound, slope, offset)
    return _cut(
        _LINE, op if slope > 0 else _FLIP[op], end(at if slope > 0 or not end(bound, work).sign else neg(at), work)
    )


def _solution(bound: Expr, slope: Fraction, offset: Fraction) -> Expr:
    return mul(add(bound, Num(-offset)), Num(1 / slope))


def _is_name(expr: Expr) -> bool:
    return isinstance(expr, Sym) or (isinstance(expr, Call) and expr.name.startswith(("fn:", "at:")))


def _cut(piece: Piece, op: str, at: End) -> list[Piece]:
    if op == "!=":
        return _without(piece, Piece(at, True, at, True))
    closed = op.endswith("=")
    if op[0] == "<":
        return [_overlap(piece, replace(_LINE, high=at, high_closed=closed))]
    return [_overlap(piece, replace(_LINE, low=at, low_closed=closed))]


def _merged(pieces: list[Piece]) -> list[Piece]:
    """Sorted, without empty pieces, touching ones joined."""
    pieces = [piece for piece in pieces if not piece.is_empty()]
    ordered: list[Piece] = []
    for piece in pieces:
        at = len(ordered)
        while at and _before(piece, ordered[at - 1]):
            at -= 1
        ordered.insert(at, piece)
    merged: list[Piece] = []
    for piece in ordered:
        if merged and _touches(merged[-1], piece):
            last = merged[-1]
            order = piece.high.compare(last.high)
            closed = piece.high_closed if order > 0 else last.high_closed or (order == 0 and piece.high_closed)
            merged[-1] = replace(last, high=piece.high if order > 0 else last.high, high_closed=closed)
        else:
            merged.append(piece)
    return merged


def _before(one: Piece, two: Piece) -> bool:
    order = one.low.compare(two.low)
    return order < 0 or (order == 0 and one.low_closed and not two.low_closed)


def _touches(one: Piece, two: Piece) -> bool:
    order = two.low.compare(one.high)
    return order < 0 or (order == 0 and (two.low_closed or one.high_closed))


def same_region(one: list[Piece], two: list[Piece], work: Work) -> bool:
    """The same pieces, ends open and closed alike."""
    return len(one) == len(two) and all(
        a.low_closed == b.low_closed and a.high_closed == b.high_closed
        and _same_end(a.low, b.low, work) and _same_end(a.high, b.high, work)
        for a, b in zip(one, two, strict=True)
    )  # fmt: skip


def _same_end(one: End, two: End, work: Work) -> bool:
    return one.sign == two.sign and (bool(one.sign) or same(one.expr, two.expr, work))
