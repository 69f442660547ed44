"""From a cleaned text to a typed answer: which kind it is, and its parts.

Splitting comes before reading: separators, relations, unions and brackets at the outermost level decide the kind, and
what is left between them goes to the expression parser. What has no kind is a text, which equals only the same text.
"""

import functools
import re
from itertools import pairwise

from rewards.math_answer.labels import event, is_label, leads
from rewards.math_answer.matrix import END, Tokens, closing, has, matrix, split, whole_expression
from rewards.math_answer.parse import Parser
from rewards.math_answer.quantities import compound
from rewards.math_answer.stops import changes
from rewards.math_answer.systems import system
from rewards.math_answer.text import clean, squeeze
from rewards.math_answer.tokens import NotMathError, tokenize
from rewards.math_answer.tree import (
    INFINITY,
    MINUS_ONE,
    ONE,
    ZERO,
    Answer,
    Call,
    Collection,
    Expr,
    Interval,
    Meet,
    Ratio,
    Relation,
    Scalar,
    Sym,
    Text,
    Time,
    Union,
    neg,
    substitute,
    symbols,
)
from rewards.math_answer.units import read_unit
from rewards.math_answer.words import is_words, named, plain_text, spelled_out

_TIME = re.compile(
    r"(\d{1,2}):(\d{2})(?::(\d{2}))?\s*(?:\\?text)?\s*\{?\s*(?:([ap])\s*\.?\s*m\s*\.?)?\s*\}?", re.IGNORECASE
)
_FULL_HOUR = re.compile(r"(\d{1,2}) ?(?:\\text)? ?\{? ?([ap])\.? ?m\.? ?\}?", re.IGNORECASE)
_CURRENCY = {"$": "$", "\u20ac": "€", "\u00a3": "£", "\u00a5": "¥"}
_REALS = {
    "\\R": Interval(neg(INFINITY), INFINITY, False, False),
    "\\R^+": Interval(ZERO, INFINITY, False, False),
    "\\R_+": Interval(ZERO, INFINITY, False, False),
    "\\R^-": Interval(neg(INFINITY), ZERO, False, False),
}
_OF_SETS = frozenset(("cup", "cap", "setminus"))
_OF_UNITS = frozenset(("/", "^", "*", "{", "}", "-", "(", ")", "."))
"""Signs within a unit, beside its words and small powers."""
_ORDINALS = frozenset(("st", "nd", "rd", "th"))
_NO_BRACES = str.maketrans("", "", "{}")


@functools.lru_cache(maxsize=2_048)
def read(text: str) -> Answer:
    """The typed answer that an already cleaned text spells. Never raises: the last resort is `Text`."""
    time = _TIME.fullmatch(text.strip())
    if time and int(time[1]) < 25 and int(time[2]) < 60:
        return Time(int(time[1]), int(time[2]), int(time[3] or 0), (time[4] or "").lower() + ("m" if time[4] else ""))
    hour = _FULL_HOUR.fullmatch(text)
    if hour and int(hour[1]) < 13:
        return Time(int(hour[1]), 0, 0, hour[2].lower() + "m")
    text = spelled_out(text) or text
    if is_words(text) or named(text):
        return plain_text(named(text) or text)
    try:
        tokens = tokenize(text)[:-1]
        return _unwrapped(tokens) if tokens else plain_text(text)
    except (NotMathError, ZeroDivisionError, RecursionError, IndexError):
        return plain_text(text)


_COMMA, _SEMICOLON = ("op", ","), ("op", ";")
_AND, _OR = (("sep", "and"), ("op", "and")), (("sep", "or"), ("op", "or"))
_CUP = ("op", "cup")


def _unwrapped(tokens: Tokens) -> Answer:
    """Without braces around the whole, which group but mean nothing; inside them a comma still separates."""
    while tokens and tokens[0].text == tokens[-1].text == "{" and closing(tokens) == len(tokens) - 1:
        tokens = tokens[1:-1]
    return answer(tokens)


def answer(tokens: Tokens) -> Answer:
    """The whole grammar above expressions."""
    tokens = _trimmed(tokens)
    if not tokens:
        raise NotMathError("nothing there")
    if _semicolon_groups(tokens):
        groups = [answer(piece) for piece in split(tokens, _SEMICOLON)]
        return Collection("list", tuple(_as_tuple(group) for group in groups))
    pieces = [piece for piece in split(tokens, _COMMA, _SEMICOLON, *_AND, *_OR, ("sep", ",")) if piece]
    if len(pieces) == 2 and [token.text for token in pieces[1][-2:]] == ["in", "\\Z"]:
        return answer(pieces[0])
    if len(pieces) > 1:
        return _several(tokens, pieces)
    if len(pieces) == 1 and len(pieces[0]) < len(tokens):
        return answer(pieces[0])
    return _single(tokens)


def _semicolon_groups(tokens: Tokens) -> bool:
    return has(tokens, _SEMICOLON) and has(tokens, _COMMA)


def _as_tuple(group: Answer) -> Answer:
    return Collection("tuple", group.items) if isinstance(group, Collection) and group.kind == "list" else group


def _trimmed(tokens: Tokens) -> Tokens:
    """Without closing punctuation and without words like `approximately` in front."""
    while tokens and tokens[-1].kind == "op" and tokens[-1].text in (",", ";", ".", ":"):
        tokens = tokens[:-1]
    while tokens and ((tokens[0].kind == "text" and leads(tokens[0].text)) or tokens[0].text in ("?", ":")):
        tokens = tokens[1:]
    return tokens


def _several(tokens: Tokens, pieces: list[Tokens]) -> Answer:
    """A list, unless all parts are inequalities: `or` unites those, `and` and a comma keep them side by side."""
    items = [_as_one_set(piece, answer(piece)) for piece in pieces]
    if any(isinstance(item, Text) for item in items) and not all(isinstance(item, Text | Scalar) for item in items):
        raise NotMathError("words among values")
    values = [item for item in items if isinstance(item, Scalar)]
    if has(tokens, ("op", "and"), ("op", "or")) and any(symbols(value.expr) for value in values):
        raise NotMathError("a logical formula")
    if len(values) == len(items) and (whole := compound(values)):
        return whole
    separate = has(tokens, *_AND) and all(isinstance(item, Interval) and not _is_pair(item) for item in items)
    if separate:
        return Union(tuple(items))
    unites = has(tokens, *_OR) and not has(tokens, *_AND)
    if (
        unites
        and all(map(_is_range, items))
        and not all(isinstance(item, Interval) and _is_pair(item) for item in items)
    ):
        return Union(tuple(items))
    items = _congruent(items)
    # a, b = 1, 2 and x = 1, 2, 3: the label is said once for all.
    first = items[0]
    labelled = isinstance(first, Relation) and first.ops == ("=",) and is_label(first.sides[0])
    if labelled and isinstance(first, Relation) and all(isinstance(item, Scalar) for item in items[1:]):
        items = [Relation((first.sides[0], value), ("=",)) for value in (first.sides[1], *items[1:])]
    return Collection("list", tuple(part for item in items for part in _flattened(item)))


def _as_one_set(piece: Tokens, item: Answer) -> Answer:
    """{x : x > 3} beside another such set is a set of its own, and no condition."""
    return Union((item,)) if piece[0].text == "set" and isinstance(item, Relation) else item


def _congruent(items: list[Answer]) -> list[Answer]:
    """n = 1, 3 (mod 4): the modulus is said once for all."""
    match items[0], items[-1]:
        case Relation((label, Scalar(_, "") as value), ("==",)), Scalar(_, unit) if unit.startswith("mod "):
            rest = [value, *items[1:]]
            if all(isinstance(item, Scalar) and item.unit in ("", unit) for item in rest):
                values = [Scalar(item.expr, unit) for item in rest if isinstance(item, Scalar)]
                return [Relation((label, value), ("=",)) for value in values]
    return items


def _flattened(item: Answer) -> tuple[Answer, ...]:
    """The two values of a +- as two items of a list."""
    return item.items if isinstance(item, Collection) and item.kind == "list" else (item,)


def _is_range(item: Answer) -> bool:
    return isinstance(item, Interval | Union | Meet) or (isinstance(item, Relation) and _is_order(item))


def _is_pair(item: Interval) -> bool:
    """(1, 2), which may as well be a point."""
    return not (item.low_closed or item.high_closed or INFINITY in (item.high, neg(item.low)))


def _is_order(item: Relation) -> bool:
    return all(op in ("<", ">", "<=", ">=", "!=") for op in item.ops)


def _single(tokens: Tokens) -> Answer:
    if rows := system(tokens, answer):
        return rows
    relations = [token.text for token in _outer(tokens) if token.kind == "rel"]
    if relations:
        return _relation(split(tokens, *{("rel", op) for op in relations}), relations)
    colons = split(tokens, ("op", ":"))
    if len(colons) > 1:
        return _ratio(colons)
    if has(tokens, _CUP):
        return Union(tuple(answer(piece) for piece in split(tokens, _CUP)))
    if has(tokens, ("op", "cap")):
        return Meet(tuple(answer(piece) for piece in split(tokens, ("op", "cap"))))
    if sets := _set_difference(tokens):
        return sets
    taken = split(tokens, ("op", "setminus"))
    if len(taken) == 2:
        return Union((answer(taken[0]),), (answer(taken[1]),))
    if tokens[0].kind == "cmd" and tokens[0].text == "emptyset" and len(tokens) == 1:
        return Collection("set", ())
    if tokens[0].text == "\\R" and (named := _REALS.get("".join(token.text for token in tokens).translate(_NO_BRACES))):
        return named
    return _bracketed(tokens) or matrix(tokens) or _scalar(tokens)


def _set_difference(tokens: Tokens) -> Answer | None:
    """(0, 2) - {1}: a minus sign in front of a set takes it away."""
    pieces = split(tokens, ("op", "-"))
    if len(pieces) != 2 or not pieces[0] or not pieces[1] or pieces[1][0].text != "set":
        return None
    return Union((answer(pieces[0]),), (answer(pieces[1]),))


def _outer(tokens: Tokens) -> Tokens:
    depth, found = 0, []
    for token in tokens:
        depth += (token.kind == "open") - (token.kind == "close")
        if token.kind == "cmd":
            depth += (token.text == "begin") - (token.text == "end")
        if depth == 0:
            found.append(token)
    return found


def _relation(pieces: list[Tokens], ops: list[str]) -> Answer:
    if any(not piece for piece in pieces[1:]):
        raise NotMathError("a relation needs a right side")
    if any(op in ("=>", "->") for op in ops):
        last = max(i for i, op in enumerate(ops) if op in ("=>", "->"))
        before = _side(pieces[last], first=True)
        if isinstance(before, Scalar) and not symbols(before.expr) and (last == 0 or ops[last - 1] in ("=>", "->")):
            raise NotMathError("a number leads nowhere")
        return answer(pieces[last + 1]) if last == len(ops) - 1 else _relation(pieces[last + 1 :], ops[last + 1 :])
    sides = [_side(piece, first=not i) for i, piece in enumerate(pieces)]
    if ops == ["in"] and is_label(sides[0]) and isinstance(sides[1], Interval | Union | Meet | Collection):
        return sides[1]
    if ops == ["notin"] and is_label(sides[0]) and isinstance(sides[1], Interval | Union | Meet | Collection):
        return Union((_REALS["\\R"],), (sides[1],))
    values = sides[-1]
    if isinstance(values, Scalar) and values.unit.startswith("mod "):
        ops = ["=" if op == "==" else op for op in ops]
    if ops == ["="] and is_label(sides[0]) and isinstance(values, Collection) and values.kind == "list":
        several = tuple(Relation((sides[0], value), ("=",)) for value in values.items)
        return Collection("list", several) if len(several) > 1 else Relation(tuple(sides), ("=",))
    return Relation(tuple(sides), tuple(ops))


def _side(tokens: Tokens, *, first: bool) -> Answer:
    if not tokens and first:
        return Text("")
    if first and [token.kind for token in tokens] == ["sym", "open", "sym", "close"] and tokens[1].text == "(":
        return Scalar(Call(f"fn:{tokens[0].text}", (Sym(tokens[2].text),)))
    try:
        return _unwrapped(tokens)
    except NotMathError:
        if first:
            return event(tokens) or Text(squeeze(" ".join(token.text for token in tokens)).lower())
        raise


def _ratio(pieces: list[Tokens]) -> Answer:
    if len(pieces) == 2 and pieces[0] and pieces[0][0].kind == "text":
        label = Text(squeeze(" ".join(token.text for token in pieces[0])).lower())
        return Relation((label, answer(pieces[1])), ("=",))
    return Ratio(tuple(whole_expression(piece) for piece in pieces))


def _bracketed(tokens: Tokens) -> Answer | None:
    """A set, tuple, interval or list that is all there is."""
    first, last = tokens[0], tokens[-1]
    if first.kind != "open" or last.kind != "close" or closing(tokens) != len(tokens) - 1:
        return None
    inside = tokens[1:-1]
    if first.text == "set":
        return _set(inside)
    pieces = split(inside, _COMMA, _SEMICOLON)
    if first.text not in ("(", "[") or last.text not in ("(", "["):
        return None
    if len(pieces) < 2:
        return _lone(inside, first.text) if first.text == last.text else None
    return _pair_or_tuple(pieces, first.text == "[", last.text == "[")


def _lone(inside: Tokens, bracket: str) -> Answer | None:
    """(C), (x = 3) and ((1, 2)) are what they hold; (x - 2) is left to the expression parser."""
    if bracket == "[":
        return None
    inner = _bracketed(inside) if inside else None
    if inner is not None:
        return inner
    typed = any(token.kind in ("rel", "text") or token.text in _OF_SETS for token in _outer(inside))
    return answer(inside) if typed else None


def _pair_or_tuple(pieces: list[Tokens], closed_left: bool, closed_right: bool) -> Answer:
    items = [answer(piece) for piece in pieces]
    if len(items) == 2 and all(isinstance(item, Scalar) for item in items):
        low, high = (_with_degrees(item) for item in items if isinstance(item, Scalar))
        if not _has_sign(low) and not _has_sign(high):
            return Interval(low, high, closed_left, closed_right)
    if closed_left != closed_right:
        raise NotMathError("brackets differ")
    return Collection("bracket" if closed_left else "tuple", tuple(items))


def _with_degrees(item: Scalar) -> Expr:
    return Call("deg", (item.expr,)) if item.unit == "degree" else item.expr


def _set(inside: Tokens) -> Answer:
    """{1, 2, 3}, or {x : condition}, which is its condition."""
    for mark in (("op", "|"), ("op", ":")):
        parts = split(inside, mark)
        if len(parts) == 2 and any(token.kind == "rel" for token in parts[1]):
            return _builder(*parts)
    if not inside:
        return Collection("set", ())
    pieces = [piece for piece in split(inside, _COMMA, _SEMICOLON, *_AND) if piece]
    return Collection("set", tuple(part for piece in pieces for part in _flattened(answer(piece))))


def _builder(head: Tokens, condition: Tokens) -> Answer:
    """{x : condition}, also of a real x, is its condition; {2n : n in Z} and {n in Z : condition} are pairs."""
    real = [token.text for token in head[-2:]] == ["in", "\\R"]
    name = _side(head[:-2] if real else head, first=True)
    return answer(condition) if is_label(name) else Collection("tuple", (name, answer(condition)))


def _scalar(tokens: Tokens) -> Answer:
    """One value with its currency in front or unit behind; two values for a +-; a text."""
    texts = [token for token in tokens if token.kind == "text"]
    if len(texts) == len(tokens):
        return plain_text(" ".join(token.text for token in tokens))
    if texts and tokens[0].kind == "text" and tokens[0].text.lower().strip(" .") in ("rupees", "eur", "gbp", "inr"):
        tokens = [*tokens[1:], tokens[0]]
    unit, tokens = _currency(tokens)
    if len(texts) > 1 and (parts := _parts(tokens)) and (whole := compound(parts)):
        return whole
    parser = Parser([*tokens, END])
    expr = parser.whole()
    rest = parser.tokens[parser.at : -1]
    if rest:
        unit = _unit(rest) or unit
    if isinstance(expr, Call) and expr.name in ("deg", "pct") and not unit:
        return Scalar(expr.args[0], "degree" if expr.name == "deg" else "%")
    return _both_signs(Scalar(expr, unit))


def _parts(tokens: Tokens) -> list[Scalar]:
    """1 hour 30 minutes as its two values; [] where the tokens are no row of values with units."""
    parts: list[Scalar] = []
    start = 0
    for at, token in enumerate(tokens):
        if token.kind == "text":
            if at == start or any(before.kind != "num" for before in tokens[start:at]):
                return []
            parts.append(Scalar(whole_expression(tokens[start:at]), token.text))
            start = at + 1
    return parts if start == len(tokens) else []


def _currency(tokens: Tokens) -> tuple[str, Tokens]:
    signs = [token.text for token in tokens if token.kind == "op" and token.text in _CURRENCY]
    if not signs:
        return "", tokens
    rest = [token for token in tokens if not (token.kind == "op" and token.text in _CURRENCY)]
    if len(set(signs)) > 1 or not rest:
        raise NotMathError("two currencies")
    percent = [token for token in rest if token.text == "%"]
    return "" if percent else _CURRENCY[signs[0]], rest


def _unit(tokens: Tokens) -> str:
    """What stands behind a value, as words: one run of text with / and small powers, and nothing behind it."""
    if len(tokens) == 1 and tokens[0].kind == "op" and tokens[0].text in _CURRENCY:
        return tokens[0].text
    if tokens[0].kind != "text" or tokens[0].text.startswith("mod "):
        if len(tokens) == 1 and re.fullmatch(r"mod \d{1,40}", tokens[0].text):
            return tokens[0].text
        raise NotMathError("something is left")
    for before, token in pairwise(tokens):
        raised = before.text in ("^", "{", "-") and token.kind == "num" and len(token.text) == 1
        below = token.kind == "sym" and (before.text in ("/", "per", "*") or before.kind == "sym")
        if not (token.kind == "text" or raised or below or token.text in _OF_UNITS):
            raise NotMathError("no unit")
    words = " ".join(token.text for token in tokens)
    unknown = len(words) == 2 and words.isalpha() and words not in _ORDINALS and read_unit(words) is None
    if tokens[-1].text in ("^", "/", "*", "-") or unknown or changes(words):
        raise NotMathError("no unit")
    return words


def _has_sign(expr: Expr) -> bool:
    return bool(symbols(expr) & {"\\pm", "\\mp"})


def _both_signs(scalar: Scalar) -> Answer:
    if not _has_sign(scalar.expr):
        return scalar
    values = []
    for sign in (ONE, MINUS_ONE):
        expr = substitute(scalar.expr, "\\pm", sign)
        values.append(Scalar(substitute(expr, "\\mp", neg(sign)), scalar.unit))
    return Collection("list", tuple(values))


def parse(text: str) -> Answer:
    """The typed answer of a raw text."""
    return read(clean(text))
