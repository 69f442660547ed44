"""From a cleaned text to a typed answer: which kind it is, and its parts.

Splitting comes before reading: separators, relations, unions and brackets at the outermost level decide the kind, and what is
left between them goes to the expression parser. What has no kind is a text, which equals only the same text.
"""

import functools
import re
from fractions import Fraction

from rewards.math_parse import Parser, substitute
from rewards.math_text import NotMath, Token, clean, squeeze, tokenize
from rewards.math_tree import (
    INFINITY,
    MINUS_ONE,
    ONE,
    Answer,
    Call,
    Collection,
    Const,
    Expr,
    Interval,
    Matrix,
    Num,
    Ratio,
    Relation,
    Scalar,
    Sym,
    Text,
    Time,
    Union,
    calls,
    mul,
    neg,
    symbols,
)

MAX_ITEMS = 200
_END = Token("end", "")
_MATRICES = frozenset(("pmatrix", "bmatrix", "matrix", "vmatrix", "Bmatrix", "array", "smallmatrix", "Vmatrix"))
_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?\s*(?:\\?text)?\s*\{?\s*(?:([ap])\s*\.?\s*m\s*\.?)?\s*\}?", re.IGNORECASE)
_CURRENCY = {"$": "$", "\u20ac": "€", "\u00a3": "£", "\u00a5": "¥"}
_VAGUE = frozenset(("about", "approximately", "approx", "exactly", "answer", "the answer is", "answer:", "option", "choice", "is"))
_LETTER = re.compile(
    r"(?:\\?(?:text|textbf|mathrm|mathbf)\s*\{)?\s*(?:(?:option|choice|answer)\b:?\s*)?[(\[]?\s*([A-Z])\s*[)\]]?\s*\}?\s*[.:]?",
    re.IGNORECASE,
)
Tokens = list[Token]


@functools.lru_cache(maxsize=2_048)
def read(text: str) -> Answer:
    """The typed answer that an already cleaned text spells. Never raises: the last resort is `Text`."""
    time = _TIME.fullmatch(text.strip())
    if time and int(time[1]) < 25 and int(time[2]) < 60:
        return Time(int(time[1]), int(time[2]), int(time[3] or 0), (time[4] or "").lower() + ("m" if time[4] else ""))
    if _is_words(text):
        return plain_text(text)
    try:
        tokens = tokenize(text)[:-1]
        return _unwrapped(tokens) if tokens else plain_text(text)
    except (NotMath, ZeroDivisionError, RecursionError, IndexError):
        return plain_text(text)


def plain_text(text: str) -> Text:
    """Words without markup, case and closing punctuation. A lone letter keeps its case: x is not X."""
    words = re.sub(r"\\(?:text|textbf|textit|mathrm|mathbf|mbox|operatorname|textrm|emph|textsf|texttt)\s*(?=\{)", " ", text)
    words = re.sub(r"[{}$]|\\[ ,;!]", " ", words)
    words = " ".join(words.split()).strip(" .,;:!\"'`*")
    if words.startswith("(") and words.endswith(")") and words.count("(") == 1:
        words = words[1:-1].strip()
    return Text(words if len(words) == 1 else squeeze(words.replace("-", " ")).lower())


def letter(text: str) -> str:
    """The choice that a text names, as in (C), C., \\text{(C)}, option C; or nothing."""
    found = _LETTER.fullmatch(text.strip())
    if not found:
        return ""
    marked = any(mark in text for mark in "()[]") or len(text.strip()) > 3
    return found[1].upper() if marked or found[1].isupper() else ""


def _is_words(text: str) -> bool:
    """Letters and blanks that are prose rather than a product of symbols."""
    bare = text.strip()
    if not re.fullmatch(r"[A-Za-z][A-Za-z' .-]*", bare):
        return False
    words = bare.split()
    if len(words) > 1:
        return not all(len(word) == 1 and word.islower() for word in words) and not _reads_as_function(words)
    word = words[0]
    if word in ("pi", "theta", "alpha", "beta", "infinity", "inf", "oo"):
        return False
    if "-" in word or "." in word or "'" in word:
        return len(word) > 5
    if len(word) <= 1 or not word.islower():
        return len(word) > 1
    return not (len(word) == 2 and word not in _SHORT_WORDS) and not (len(word) == 3 and not set(word) & set("aeiou"))


_SHORT_WORDS = frozenset("no on or is at am an as by do go he if in it me my of so to up us we be".split())


def _reads_as_function(words: list[str]) -> bool:
    return words[0] in ("sin", "cos", "tan", "ln", "log", "sec", "csc", "cot", "sqrt") and all(len(w) <= 5 for w in words[1:])


def split(tokens: Tokens, *marks: tuple[str, str]) -> list[Tokens]:
    """The pieces between marks (kind, text) that stand outside of all brackets and environments."""
    pieces: list[Tokens] = [[]]
    depth = 0
    for token in tokens:
        if token.kind == "open" or (token.kind == "cmd" and token.text == "begin"):
            depth += 1
        elif token.kind == "close" or (token.kind == "cmd" and token.text == "end"):
            depth -= 1
        if depth == 0 and (token.kind, token.text) in marks:
            pieces.append([])
        else:
            pieces[-1].append(token)
    if depth:
        raise NotMath("unbalanced")
    if len(pieces) > MAX_ITEMS:
        raise NotMath("too many parts")
    return pieces


def has(tokens: Tokens, *marks: tuple[str, str]) -> bool:
    return len(split(tokens, *marks)) > 1


_COMMA, _SEMICOLON = ("op", ","), ("op", ";")
_AND, _OR = (("sep", "and"), ("op", "and")), (("sep", "or"), ("op", "or"))
_CUP = ("op", "cup")


def _unwrapped(tokens: Tokens) -> Answer:
    """Without braces around the whole, which group but mean nothing; inside them a comma still separates."""
    while tokens and tokens[0].kind == "open" and tokens[0].text == "{" and _closing(tokens) == len(tokens) - 1:
        tokens = tokens[1:-1]
    return answer(tokens)


def answer(tokens: Tokens) -> Answer:
    """The whole grammar above expressions."""
    tokens = _trimmed(tokens)
    if not tokens:
        raise NotMath("nothing there")
    if _semicolon_groups(tokens):
        groups = [answer(piece) for piece in split(tokens, _SEMICOLON)]
        return Collection("list", tuple(_as_tuple(group) for group in groups))
    pieces = [piece for piece in split(tokens, _COMMA, _SEMICOLON, *_AND, *_OR, ("sep", ",")) if piece]
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
    while tokens and ((tokens[0].kind == "text" and tokens[0].text.lower().strip(" :") in _VAGUE) or tokens[0].text in ("?", ":")):
        tokens = tokens[1:]
    return tokens


def _several(tokens: Tokens, pieces: list[Tokens]) -> Answer:
    """A list, unless all parts are inequalities: `or` unites those, `and` and a comma keep them side by side."""
    items = [answer(piece) for piece in pieces]
    if any(isinstance(item, Text) for item in items) and not all(isinstance(item, Text | Scalar) for item in items):
        raise NotMath("words among values")
    unites = has(tokens, *_OR) and not has(tokens, *_AND)
    if unites and all(isinstance(item, Interval | Union) or (isinstance(item, Relation) and _is_order(item)) for item in items):
        return Union(tuple(items))
    # a, b = 1, 2 and x = 1, 2, 3: the label is said once for all.
    first = items[0]
    if isinstance(first, Relation) and first.ops == ("=",) and all(isinstance(item, Scalar) for item in items[1:]):
        items = [first.sides[1], *items[1:]]
    return Collection("list", tuple(part for item in items for part in _flattened(item)))


def _flattened(item: Answer) -> tuple[Answer, ...]:
    """The two values of a +- as two items of a list."""
    return item.items if isinstance(item, Collection) and item.kind == "list" else (item,)


def _is_order(item: Relation) -> bool:
    return all(op in ("<", ">", "<=", ">=", "!=") for op in item.ops)


def _single(tokens: Tokens) -> Answer:
    relations = [token.text for token in _outer(tokens) if token.kind == "rel"]
    if relations:
        return _relation(split(tokens, *{("rel", op) for op in relations}), relations)
    colons = split(tokens, ("op", ":"))
    if len(colons) > 1:
        return _ratio(colons)
    if has(tokens, _CUP):
        return Union(tuple(_interval_like(piece) for piece in split(tokens, _CUP)))
    taken = split(tokens, ("op", "setminus"))
    if len(taken) == 2:
        return Union((_interval_like(taken[0]),), (_interval_like(taken[1]),))
    if tokens[0].kind == "cmd" and tokens[0].text == "emptyset" and len(tokens) == 1:
        return Collection("set", ())
    return _bracketed(tokens) or _matrix(tokens) or _scalar(tokens)


def _outer(tokens: Tokens) -> Tokens:
    depth, found = 0, []
    for token in tokens:
        depth += (token.kind == "open") - (token.kind == "close")
        if depth == 0:
            found.append(token)
    return found


def _interval_like(tokens: Tokens) -> Answer:
    tokens = _trimmed(tokens)
    if len(tokens) == 1 and tokens[0].text == "\\R":
        return Interval(neg(INFINITY), INFINITY, False, False)
    return answer(tokens)


def _relation(pieces: list[Tokens], ops: list[str]) -> Answer:
    if any(not piece for piece in pieces[1:]):
        raise NotMath("a relation needs a right side")
    if any(op in ("=>", "->") for op in ops):
        last = max(i for i, op in enumerate(ops) if op in ("=>", "->"))
        return answer(pieces[last + 1]) if last == len(ops) - 1 else _relation(pieces[last + 1 :], ops[last + 1 :])
    sides = [_side(piece, first=not i) for i, piece in enumerate(pieces)]
    if ops == ["in"] and isinstance(sides[1], Interval | Union | Collection):
        return sides[1]
    values = sides[-1]
    if ops == ["="] and isinstance(values, Collection) and values.kind == "list":
        return values if len(values.items) > 1 else Relation(tuple(sides), ("=",))
    return Relation(tuple(sides), tuple(ops))


def _side(tokens: Tokens, *, first: bool) -> Answer:
    if not tokens and first:
        return Text("")
    try:
        return _unwrapped(tokens)
    except NotMath:
        if first:
            return Text(squeeze(" ".join(token.text for token in tokens)).lower())
        raise


def _ratio(pieces: list[Tokens]) -> Answer:
    if len(pieces) == 2 and pieces[0] and pieces[0][0].kind == "text":
        return answer(pieces[1])
    return Ratio(tuple(_expression(piece) for piece in pieces))


def _closing(tokens: Tokens) -> int:
    """Where the bracket that opens the tokens closes; brackets of different kinds may pair, as in [0, 1)."""
    depth = 0
    for at, token in enumerate(tokens):
        depth += (token.kind == "open") - (token.kind == "close")
        if depth == 0:
            return at
    return -1


def _bracketed(tokens: Tokens) -> Answer | None:
    """A set, tuple, interval or list that is all there is."""
    first, last = tokens[0], tokens[-1]
    if first.kind != "open" or last.kind != "close" or _closing(tokens) != len(tokens) - 1:
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
    return answer(inside) if any(token.kind in ("rel", "text") for token in _outer(inside)) else None


def _pair_or_tuple(pieces: list[Tokens], closed_left: bool, closed_right: bool) -> Answer:
    items = [answer(piece) for piece in pieces]
    if len(items) == 2 and all(isinstance(item, Scalar) for item in items):
        low, high = (item.expr for item in items if isinstance(item, Scalar))
        if not _has_sign(low) and not _has_sign(high):
            return Interval(low, high, closed_left, closed_right)
    if closed_left != closed_right:
        raise NotMath("brackets differ")
    return Collection("bracket" if closed_left else "tuple", tuple(items))


def _set(inside: Tokens) -> Answer:
    """{1, 2, 3}, or {x : condition}, which is its condition."""
    for mark in (("op", "|"), ("op", ":")):
        parts = split(inside, mark)
        if len(parts) == 2 and any(token.kind == "rel" for token in parts[1]):
            return answer(parts[1])
    if not inside:
        return Collection("set", ())
    pieces = [piece for piece in split(inside, _COMMA, _SEMICOLON, *_AND) if piece]
    return Collection("set", tuple(part for piece in pieces for part in _flattened(answer(piece))))


def _matrix(tokens: Tokens) -> Answer | None:
    """\\begin{pmatrix} .. \\end{pmatrix}, perhaps in brackets or behind a factor."""
    begins = [at for at, token in enumerate(tokens) if token.kind == "cmd" and token.text == "begin"]
    if len(begins) != 1:
        return None
    factor, body = _factor(tokens[: begins[0]]), tokens[begins[0] + 1 :]
    name, body = _name(body)
    if name == "array":
        body = body[body.index(next(token for token in body if token.kind == "close")) + 1 :]
    ends = [at for at, token in enumerate(body) if token.kind == "cmd" and token.text == "end"]
    if name not in _MATRICES or len(ends) != 1:
        raise NotMath("no matrix")
    if any(token.kind not in ("close",) and token.text != "^" for token in _name(body[ends[0] + 1 :])[1]):
        raise NotMath("something behind a matrix")
    rows = [row for row in split(body[: ends[0]], ("op", "\\\\")) if row]
    cells = tuple(tuple(_cell(cell, factor) for cell in split(row, ("op", "&"))) for row in rows)
    if len({len(row) for row in cells}) != 1:
        raise NotMath("ragged")
    return Matrix(cells, determinant=name == "vmatrix")


def _cell(tokens: Tokens, factor: Expr) -> Expr:
    value = _expression(tokens)
    return value if factor == ONE else mul(factor, value)


def _factor(tokens: Tokens) -> Expr:
    tokens = [token for token in tokens if token.kind != "open" or token.text == "{"]
    if not tokens:
        return ONE
    if len(tokens) == 1 and tokens[0].text == "-":
        return MINUS_ONE
    if tokens[-1].text == "*":
        tokens = tokens[:-1]
    return _expression(tokens)


def _name(tokens: Tokens) -> tuple[str, Tokens]:
    """The {name} that begins the tokens, and what follows it."""
    if not tokens or tokens[0].text != "{" or tokens[0].kind != "open":
        raise NotMath("a name in braces expected")
    end = _closing(tokens)
    return "".join(token.text for token in tokens[1:end]), tokens[end + 1 :]


def _expression(tokens: Tokens) -> Expr:
    parser = Parser([*tokens, _END])
    expr = parser.expression()
    if parser.token.kind != "end":
        raise NotMath("something is left")
    return expr


def _scalar(tokens: Tokens) -> Answer:
    """One value with its currency in front or unit behind; two values for a +-; a text."""
    texts = [token for token in tokens if token.kind == "text"]
    if len(texts) == len(tokens):
        return plain_text(" ".join(token.text for token in tokens))
    unit, tokens = _currency(tokens)
    parser = Parser([*tokens, _END])
    expr = parser.expression()
    rest = tokens[parser.at :]
    if rest:
        unit = _unit(rest) or unit
    if isinstance(expr, Call) and expr.name in ("deg", "pct") and not unit:
        return Scalar(expr.args[0], "degree" if expr.name == "deg" else "%")
    return _both_signs(Scalar(expr, unit))


def _currency(tokens: Tokens) -> tuple[str, Tokens]:
    signs = [token.text for token in tokens if token.kind == "op" and token.text in _CURRENCY]
    if not signs:
        return "", tokens
    rest = [token for token in tokens if not (token.kind == "op" and token.text in _CURRENCY)]
    if len(set(signs)) > 1 or not rest:
        raise NotMath("two currencies")
    percent = [token for token in rest if token.text == "%"]
    return "" if percent else _CURRENCY[signs[0]], rest


def _unit(tokens: Tokens) -> str:
    """What stands behind a value, as words; it must begin with one."""
    if tokens[0].kind == "op" and tokens[0].text in _CURRENCY:
        return tokens[0].text
    if tokens[0].kind != "text":
        raise NotMath("something is left")
    words = []
    for token in tokens:
        if token.kind in ("rel", "cmd", "base") or (token.kind == "num" and token.digits):
            raise NotMath("no unit")
        words.append(token.text)
    return " ".join(words)


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


__all__ = ["Const", "Fraction", "Num", "Sym", "answer", "calls", "letter", "parse", "plain_text", "read"]
