"""Whether two typed answers say the same, kind by kind. The gold answer comes first wherever the order matters.

There is no tolerance. What may differ is spelling: units left out, labels (x = 5 for 5), brackets of matrices, the
order of a list, a factor of an equation. The conventions are listed in `math_answer`.
"""

import re
from collections.abc import Callable, Sequence
from fractions import Fraction

from rewards.math_answer.exact import TooCostlyError, Work
from rewards.math_answer.labels import is_label, is_named, renamed_as, same_label, same_unknown
from rewards.math_answer.numeric import proportional, same
from rewards.math_answer.regions import NoRegionError, region, same_region, variables
from rewards.math_answer.scalars import scalars
from rewards.math_answer.tree import (
    Answer,
    Call,
    Collection,
    Expr,
    Interval,
    Matrix,
    Meet,
    Num,
    Ratio,
    Relation,
    Scalar,
    Sym,
    Text,
    Time,
    Union,
    add,
    divide,
    mul,
    neg,
    symbols,
)

MAX_UNORDERED = 60
_ORDER = frozenset(("<", ">", "<=", ">=", "!="))
_COORDINATES = (Scalar(Sym("x")), Scalar(Sym("y")), Scalar(Sym("z")))
_FLIP = {">": "<", ">=": "<="}


def equivalent(gold: Answer, given: Answer) -> bool:
    """Whether the given answer is the gold one. Never raises, and stops at a fixed amount of work."""
    try:
        return _equal(gold, given, Work())
    except (TooCostlyError, RecursionError, OverflowError, ValueError, ZeroDivisionError):
        return False


def _equal(gold: Answer, given: Answer, work: Work) -> bool:
    if gold == given:
        return True
    if isinstance(gold, Relation) and isinstance(given, Relation):
        return _relations(gold, given, work)
    if _is_region(gold) or _is_region(given):
        return _regions(gold, given, work)
    if isinstance(gold, Relation) or isinstance(given, Relation):
        return _labelled(gold, given, work)
    for kinds, compare in _PAIRS:
        if isinstance(gold, kinds[0]) and isinstance(given, kinds[1]):
            return compare(gold, given, work)
        if isinstance(gold, kinds[1]) and isinstance(given, kinds[0]):
            return compare(given, gold, work)
    return False


def _labelled(gold: Answer, given: Answer, work: Work) -> bool:
    """x = 5 is 5; x + y = 5 is not."""
    first = value_of(gold, work) if isinstance(gold, Relation) else gold
    second = value_of(given, work) if isinstance(given, Relation) else given
    return first is not None and second is not None and _equal(first, second, work)


def value_of(relation: Relation, work: Work) -> Answer | None:
    """What a relation gives to its label: 5 of x = 2 + 3 = 5, 1/3 of x = 1/3 ~ 0.33.

    None when it is an equation to solve, or a chain that contradicts itself.
    """
    sides, ops = list(relation.sides), list(relation.ops)
    if not set(ops) <= {"=", "~"}:
        return None
    if is_named(sides[0], sides[-1]):
        sides, ops = sides[1:], ops[1:]
        while len(sides) > 1 and is_label(sides[0]) and not is_label(sides[-1]):
            sides, ops = sides[1:], ops[1:]
    elif any(isinstance(side, Scalar) and symbols(side.expr) for side in sides):
        return None
    if "~" in ops:
        sides = sides[: ops.index("~") + 1]
    others = sides[:-1] if _letters(sides[-1]) else [side for side in sides[:-1] if not _is_formula(relation, side)]
    return sides[-1] if all(_equal(sides[-1], side, work) for side in others) else None


def _letters(side: Answer) -> frozenset[str]:
    return symbols(side.expr) if isinstance(side, Scalar) else frozenset()


def _is_formula(relation: Relation, side: Answer) -> bool:
    """The 2 pi r of C = 2 pi r = 10 pi, which says nothing against the value."""
    return bool(_letters(side)) and not _letters(side) & _letters(relation.sides[0])


def _relations(gold: Relation, given: Relation, work: Work) -> bool:
    if set(gold.ops) <= {"=", "~"} and set(given.ops) <= {"=", "~"}:
        return _equations(gold, given, work)
    if _is_region(gold) and _is_region(given):
        return _regions(gold, given, work)
    return _chains(gold, given, work)


def _equations(gold: Relation, given: Relation, work: Work) -> bool:
    if is_label(gold.sides[0]) and is_label(given.sides[0]):
        first, second = value_of(gold, work), value_of(given, work)
        renamed = first is not None and second is not None and same_label(gold.sides[0], given.sides[0], first, second)
        if renamed and _equal(*renamed_as(gold.sides[0], given.sides[0], first, second), work):
            return True
    if len(gold.sides) != 2 or len(given.sides) != 2:
        return False
    one, two = _difference(gold), _difference(given)
    if one is None or two is None:
        return len(gold.sides) == len(given.sides) and all(
            _equal(a, b, work) for a, b in zip(gold.sides, given.sides, strict=True)
        )
    return proportional(one, two, work) != 0 or _ordered(gold.sides, given.sides, work)


def _difference(relation: Relation, at: int = 0) -> Expr | None:
    left, right = relation.sides[at : at + 2]
    if isinstance(left, Scalar) and isinstance(right, Scalar) and not (left.unit or right.unit):
        return add(left.expr, neg(right.expr))
    return None


def _chains(gold: Relation, given: Relation, work: Work) -> bool:
    """f(2) < f(1) < f(4), link by link, read from the small end; a link may be scaled by a positive factor."""
    one, two = _ascending(gold), _ascending(given)
    if len(one.ops) != len(two.ops):
        return False
    for at, (first, second) in enumerate(zip(one.ops, two.ops, strict=True)):
        left, right = _difference(one, at), _difference(two, at)
        if left is None or right is None:
            return False
        sign = proportional(left, right, work)
        if sign == 0 or (sign < 0 and first != "!=") or first != second:
            return False
    return True


def _ascending(relation: Relation) -> Relation:
    if set(relation.ops) <= set(_FLIP):
        return Relation(relation.sides[::-1], tuple(_FLIP[op] for op in relation.ops[::-1]))
    return relation


def _is_region(answer: Answer) -> bool:
    match answer:
        case Union() | Meet():
            return True
        case Relation(_, ops):
            return set(ops) <= _ORDER
        case Collection("list", items):
            return bool(items) and all(isinstance(item, Relation) and set(item.ops) <= _ORDER for item in items)
    return False


def _regions(gold: Answer, given: Answer, work: Work) -> bool:
    try:
        one, two = region(gold, work), region(given, work)
    except NoRegionError:
        return _symbolic_regions(gold, given, work)
    return len(variables(gold) | variables(given)) <= 1 and same_region(one, two, work)


def _symbolic_regions(gold: Answer, given: Answer, work: Work) -> bool:
    """With symbols as ends nothing can be merged: the same parts, in any order."""
    if isinstance(gold, Relation) and isinstance(given, Relation):
        return _chains(gold, given, work)
    if isinstance(gold, Union) and isinstance(given, Union):
        return _unordered(gold.parts, given.parts, work) and _unordered(gold.removed, given.removed, work)
    if isinstance(gold, Collection) and isinstance(given, Collection):
        return _unordered(gold.items, given.items, work)
    if isinstance(gold, Meet) and isinstance(given, Meet):
        return _unordered(gold.parts, given.parts, work)
    if isinstance(given, Relation):
        gold, given = given, gold
    return isinstance(gold, Relation) and isinstance(given, Interval) and _bounded(gold, given, work)


def _bounded(relation: Relation, interval: Interval, work: Work) -> bool:
    """a < x < b is (a, b) for any a and b."""
    chain = _ascending(relation)
    if len(chain.sides) != 3 or not isinstance(chain.sides[1], Scalar) or not isinstance(chain.sides[1].expr, Sym):
        return False
    low, _, high = chain.sides
    closed = tuple(op == "<=" for op in chain.ops)
    return (
        isinstance(low, Scalar) and isinstance(high, Scalar) and set(chain.ops) <= {"<", "<="}
        and closed == (interval.low_closed, interval.high_closed)
        and same(low.expr, interval.low, work) and same(high.expr, interval.high, work)
    )  # fmt: skip


def _unordered(gold: Sequence[Answer], given: Sequence[Answer], work: Work, *, named: bool = False) -> bool:
    """Each item has its own partner; with `named`, one whose label is the same where either is in words."""
    if len(gold) != len(given) or len(gold) > MAX_UNORDERED:
        return False
    left, rest = list(given), []
    for item in gold:
        # Twins go first, which spares most of the comparisons.
        if item in left:
            left.remove(item)
        else:
            rest.append(item)
    for item in rest:
        found = next(
            (
                at
                for at, other in enumerate(left)
                if _equal(item, other, work) and not (named and _renamed(item, other))
            ),
            None,
        )
        if found is None:
            return False
        left.pop(found)
    return True


def _renamed(one: Answer, two: Answer) -> bool:
    """Whether the labels differ and one of them is in words: Alice = 5 is not Bob = 5."""
    if not (isinstance(one, Relation) and isinstance(two, Relation)):
        return False
    labels = (one.sides[0], two.sides[0])
    return labels[0] != labels[1] and any(isinstance(label, Text) for label in labels)


def _ordered(gold: Sequence[Answer], given: Sequence[Answer], work: Work) -> bool:
    return len(gold) == len(given) and all(_equal(a, b, work) for a, b in zip(gold, given, strict=True))


def _collections(gold: Collection, given: Collection, work: Work) -> bool:
    kinds = {gold.kind, given.kind}
    if kinds & {"tuple", "bracket"}:
        if "set" in kinds or _is_one_unknown(gold) or _is_one_unknown(given):
            return False
        return _ordered(_by_name(gold), _by_name(given), work)
    if "set" in kinds and _has_coordinates(gold) != _has_coordinates(given):
        return False
    if "set" in kinds:
        return _unordered(_distinct(gold.items, work), _distinct(given.items, work), work)
    if values := same_unknown(gold, given):
        return _unordered(*values, work)
    if _names_matter(gold) != _names_matter(given):
        return _ordered(_by_name(gold), _by_name(given), work)
    return _unordered(gold.items, given.items, work, named=_names_matter(gold))


def _by_name(collection: Collection) -> tuple[Answer, ...]:
    """y = 2, x = 1 in the order x, y in which a bare pair gives them; other names as they are written."""
    labels = [item.sides[0] if isinstance(item, Relation) else item for item in collection.items]
    if not all(label in _COORDINATES for label in labels) or len(set(labels)) < len(labels):
        return collection.items
    order = sorted(range(len(labels)), key=lambda at: _COORDINATES.index(labels[at]))
    return tuple(collection.items[at] for at in order)


def _distinct(items: Sequence[Answer], work: Work) -> list[Answer]:
    found: list[Answer] = []
    for item in items[:MAX_UNORDERED]:
        if not any(_equal(item, other, work) for other in found):
            found.append(item)
    return found


def _names_matter(collection: Collection) -> bool:
    """x = 1, y = 2 tells its items apart by name; without the names only their order does."""
    labels = {item.sides[0] for item in collection.items if isinstance(item, Relation)}
    return len(labels) > 1


def _has_coordinates(collection: Collection) -> bool:
    """x = 1, y = 2 is a point; x_1 = 1, x_2 = 2 are values of one unknown."""
    labels = {item.sides[0] for item in collection.items if isinstance(item, Relation)}
    return len(labels & set(_COORDINATES)) > 1


def _interval_items(interval: Interval) -> tuple[Scalar, Scalar]:
    return Scalar(interval.low), Scalar(interval.high)


def _point(place: Interval | Collection, scalar: Scalar, work: Work) -> bool:
    """P(1, 2) is the point (1, 2)."""
    if not isinstance(scalar.expr, Call) or not re.fullmatch("fn:[A-Z]'?", scalar.expr.name) or scalar.unit:
        return isinstance(place, Collection) and _one_item(place, scalar, work)
    named = tuple(Scalar(argument) for argument in scalar.expr.args)
    if isinstance(place, Interval):
        return not (place.low_closed or place.high_closed) and _ordered(_interval_items(place), named, work)
    return place.kind == "tuple" and _ordered(place.items, named, work)


def _intervals(gold: Interval, given: Interval, work: Work) -> bool:
    return (
        (gold.low_closed, gold.high_closed) == (given.low_closed, given.high_closed)
        and same(gold.low, given.low, work) and same(gold.high, given.high, work)
    )  # fmt: skip


def _is_one_unknown(collection: Collection) -> bool:
    """x = 1 or x = 2: values of one letter are no point."""
    labels = [item.sides[0] for item in collection.items if isinstance(item, Relation)]
    return len(labels) > 1 and len(set(labels)) == 1


def _interval_or_list(interval: Interval, collection: Collection, work: Work) -> bool:
    """(1, 3) is also a pair; a set never is."""
    if collection.kind == "set" or _is_one_unknown(collection) or interval.low_closed or interval.high_closed:
        return False
    return _ordered(_interval_items(interval), _by_name(collection), work)


def _matrices(gold: Matrix, given: Matrix, work: Work) -> bool:
    return (
        len(gold.rows) == len(given.rows)
        and len(gold.rows[0]) == len(given.rows[0])
        and all(
            same(a, b, work)
            for row, other in zip(gold.rows, given.rows, strict=True)
            for a, b in zip(row, other, strict=True)
        )
    )


def _vector(matrix: Matrix, given: Answer, work: Work) -> bool:
    """A single row or column is also a tuple."""
    cells = [cell for row in matrix.rows for cell in row]
    if 1 not in (len(matrix.rows), len(matrix.rows[0])) or len(cells) < 2:
        return False
    if isinstance(given, Interval):
        items: tuple[Answer, ...] = _interval_items(given) if given.low_closed == given.high_closed else ()
    else:
        items = given.items if isinstance(given, Collection) and given.kind in ("tuple", "bracket") else ()
    return _ordered([Scalar(cell) for cell in cells], items, work)


def _one_cell(matrix: Matrix, scalar: Scalar, work: Work) -> bool:
    """A row times a column is a number."""
    return len(matrix.rows) == len(matrix.rows[0]) == 1 and scalars(Scalar(matrix.rows[0][0]), scalar, work)


def _rows(matrix: Matrix, given: Collection, work: Work) -> bool:
    """[[1, 2], [3, 4]] is the matrix of these rows."""
    rows = [
        _interval_items(item) if isinstance(item, Interval) and item.low_closed and item.high_closed
        else item.items if isinstance(item, Collection) and item.kind == "bracket" else ()
        for item in given.items
    ]  # fmt: skip
    own = [[Scalar(cell) for cell in row] for row in matrix.rows]
    return len(own) == len(rows) and all(_ordered(a, b, work) for a, b in zip(own, rows, strict=True))


def _vector_or_rows(matrix: Matrix, given: Collection, work: Work) -> bool:
    return _vector(matrix, given, work) or (given.kind == "bracket" and _rows(matrix, given, work))


def _ratios(gold: Ratio, given: Ratio, work: Work) -> bool:
    if len(gold.terms) != len(given.terms):
        return False
    first, second = gold.terms[0], given.terms[0]
    return all(same(mul(a, second), mul(b, first), work) for a, b in zip(gold.terms, given.terms, strict=True))


def _quotient(ratio: Ratio, scalar: Scalar, work: Work) -> bool:
    return len(ratio.terms) == 2 and not scalar.unit and same(divide(*ratio.terms), scalar.expr, work)


def _times(gold: Time, given: Time, work: Work) -> bool:
    """3:45 and 3:45 p.m. agree, 15:30 is 3:30 p.m."""
    if gold.half and given.half and gold.half != given.half:
        return False
    same_hour = gold.hour == given.hour or (_hour(gold) == _hour(given) and bool(gold.half or given.half))
    return same_hour and (gold.minute, gold.second) == (given.minute, given.second)


def _hour(time: Time) -> int:
    return time.hour % 12 + 12 * (time.half == "pm") if time.half else time.hour


def _time_or_ratio(time: Time, ratio: Ratio, work: Work) -> bool:
    """15:10 may be a ratio; 2:05 and 3:15 p.m. are times only."""
    if time.half or time.second or time.minute < 10:
        return False
    return _ratios(Ratio((Num(Fraction(time.hour)), Num(Fraction(time.minute)))), ratio, work)


def _one_item(collection: Collection, scalar: Scalar, work: Work) -> bool:
    return len(collection.items) == 1 and _equal(collection.items[0], scalar, work)


_PAIRS: tuple[tuple[tuple[type, type], Callable[..., bool]], ...] = (
    ((Scalar, Scalar), scalars),
    ((Interval, Interval), _intervals),
    ((Interval, Collection), _interval_or_list),
    ((Collection, Collection), _collections),
    ((Collection, Scalar), _point),
    ((Interval, Scalar), _point),
    ((Matrix, Matrix), _matrices),
    ((Matrix, Scalar), _one_cell),
    ((Matrix, Interval), _vector),
    ((Matrix, Collection), _vector_or_rows),
    ((Ratio, Ratio), _ratios),
    ((Ratio, Scalar), _quotient),
    ((Time, Time), _times),
    ((Time, Ratio), _time_or_ratio),
)
