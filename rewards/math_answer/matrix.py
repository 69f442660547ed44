"""Splitting tokens at the outermost level, and the one kind of answer that is a grid."""

from typing import TypeAlias

from rewards.math_answer.parse import Parser
from rewards.math_answer.tokens import NotMathError, Token
from rewards.math_answer.tree import MINUS_ONE, ONE, Answer, Expr, Matrix, Scalar, add, mul

Tokens = list[Token]
Value: TypeAlias = Matrix | Expr

MAX_ITEMS = 200
_MAX_PRODUCTS = 1_000
END = Token("end", "")
_MATRICES = frozenset(("pmatrix", "bmatrix", "matrix", "vmatrix", "Bmatrix", "array", "smallmatrix", "Vmatrix"))


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
        raise NotMathError("unbalanced")
    if len(pieces) > MAX_ITEMS:
        raise NotMathError("too many parts")
    return pieces


def has(tokens: Tokens, *marks: tuple[str, str]) -> bool:
    return len(split(tokens, *marks)) > 1


def closing(tokens: Tokens) -> int:
    """Where the bracket that opens the tokens closes; brackets of different kinds may pair, as in [0, 1)."""
    depth = 0
    for at, token in enumerate(tokens):
        depth += (token.kind == "open") - (token.kind == "close")
        if depth == 0:
            return at
    return -1


def matrix(tokens: Tokens) -> Answer | None:
    """\\begin{pmatrix} .. \\end{pmatrix}, and sums and products of such; None where there is none."""
    if not any(token.kind == "cmd" and token.text == "begin" for token in tokens):
        return None
    total: Value | None = None
    for sign, piece in _terms(tokens):
        term = _product(piece)
        if sign == MINUS_ONE:
            term = _times(MINUS_ONE, term)
        total = term if total is None else _plus(total, term)
    if total is None:
        raise NotMathError("no matrix")
    return total if isinstance(total, Matrix) else Scalar(total)


def _terms(tokens: Tokens) -> list[tuple[Expr, Tokens]]:
    """The summands at the outermost level, each with its sign."""
    terms: list[tuple[Expr, Tokens]] = []
    sign, depth = ONE, 0
    piece: Tokens = []
    for token in tokens:
        depth += token.kind == "open" or (token.kind == "cmd" and token.text == "begin")
        depth -= token.kind == "close" or (token.kind == "cmd" and token.text == "end")
        if depth == 0 and token.kind == "op" and token.text in ("+", "-"):
            if piece:
                terms.append((sign, piece))
                sign, piece = ONE, []
            if token.text == "-":
                sign = MINUS_ONE if sign == ONE else ONE
        else:
            piece.append(token)
    return [*terms, (sign, piece)]


def _product(tokens: Tokens) -> Value:
    """A row of matrices and numbers, one behind the other."""
    product: Value = ONE
    before: Tokens = []
    while tokens:
        if tokens[0].kind != "cmd" or tokens[0].text != "begin":
            before.append(tokens[0])
            tokens = tokens[1:]
            continue
        value, tokens = _block(tokens)
        bars = before[-1:] and before[-1].text == "|" and tokens[:1] and tokens[0].text == "|"
        if bars or (before and before[-1].text == "det"):
            tokens = tokens[1:] if bars else tokens
            product = _times(product, _times(_factor(before[:-1]), _determinant(value)))
        else:
            product = _times(product, _times(_factor(before), value))
        before = []
        while tokens and tokens[0].kind == "close" and tokens[0].text != "{":
            tokens = tokens[1:]
        product, tokens = _raised(product, tokens)
    return product if not before else _times(product, _factor(before))


def _block(tokens: Tokens) -> tuple[Value, Tokens]:
    """One environment and what follows it; \\begin{vmatrix} is its determinant."""
    name, body = _name(tokens[1:])
    if name not in _MATRICES:
        raise NotMathError("no matrix")
    if name == "array":
        body = body[body.index(next(token for token in body if token.kind == "close")) + 1 :]
    end = next((at for at, token in enumerate(body) if token.kind == "cmd" and token.text == "end"), -1)
    if end < 0 or any(token.kind == "cmd" and token.text == "begin" for token in body[:end]):
        raise NotMathError("no matrix")
    rows = [row for row in split(body[:end], ("op", "\\\\")) if row]
    cells = tuple(tuple(whole_expression(cell) for cell in split(row, ("op", "&"))) for row in rows)
    if len({len(row) for row in cells}) != 1:
        raise NotMathError("ragged")
    value = Matrix(cells)
    return (_determinant(value) if name == "vmatrix" else value), _name(body[end + 1 :])[1]


def _raised(value: Value, tokens: Tokens) -> tuple[Value, Tokens]:
    """A transpose, if one is written; other powers are outside of the grammar."""
    if not tokens or tokens[0].text != "^":
        return value, tokens
    braced = len(tokens) > 1 and tokens[1].text == "{"
    mark = tokens[2 if braced else 1] if len(tokens) > (2 if braced else 1) else END
    if mark.text not in ("T", "top", "t") or not isinstance(value, Matrix):
        raise NotMathError("no transpose")
    return Matrix(tuple(zip(*value.rows, strict=True))), tokens[4 if braced else 2 :]


def _plus(a: Value, b: Value) -> Value:
    if not isinstance(a, Matrix) and not isinstance(b, Matrix):
        return add(a, b)
    if not isinstance(a, Matrix) or not isinstance(b, Matrix) or _shape(a) != _shape(b):
        raise NotMathError("matrices of different shapes")
    return Matrix(tuple(
        tuple(add(x, y) for x, y in zip(row, other, strict=True)) for row, other in zip(a.rows, b.rows, strict=True)
    ))  # fmt: skip


def _times(a: Value, b: Value) -> Value:
    if not isinstance(a, Matrix):
        if not isinstance(b, Matrix):
            return b if a == ONE else mul(a, b)
        return b if a == ONE else Matrix(tuple(tuple(mul(a, cell) for cell in row) for row in b.rows))
    if not isinstance(b, Matrix):
        return _times(b, a)
    if len(a.rows[0]) != len(b.rows) or len(a.rows) * len(b.rows) * len(b.rows[0]) > _MAX_PRODUCTS:
        raise NotMathError("matrices that cannot be multiplied")
    columns = list(zip(*b.rows, strict=True))
    return Matrix(tuple(
        tuple(add(*(mul(x, y) for x, y in zip(row, column, strict=True))) for column in columns) for row in a.rows
    ))  # fmt: skip


def _shape(matrix: Matrix) -> tuple[int, int]:
    return len(matrix.rows), len(matrix.rows[0])


def _determinant(value: Value) -> Expr:
    """By the first row; up to four rows, which is what is ever written out."""
    if not isinstance(value, Matrix):
        raise NotMathError("a determinant of a number")
    rows = value.rows
    if len(rows) != len(rows[0]) or len(rows) > 4:
        raise NotMathError("no determinant")
    if len(rows) == 1:
        return rows[0][0]
    parts = []
    for at, cell in enumerate(rows[0]):
        minor = _determinant(Matrix(tuple((*row[:at], *row[at + 1 :]) for row in rows[1:])))
        parts.append(mul(cell, minor) if at % 2 == 0 else mul(MINUS_ONE, cell, minor))
    return add(*parts)


def _factor(tokens: Tokens) -> Expr:
    tokens = [token for token in tokens if token.kind != "open" or token.text == "{"]
    while tokens and tokens[-1].text == "*":
        tokens = tokens[:-1]
    while tokens and tokens[0].text == "*":
        tokens = tokens[1:]
    return whole_expression(tokens) if tokens else ONE


def _name(tokens: Tokens) -> tuple[str, Tokens]:
    """The {name} that begins the tokens, and what follows it."""
    if not tokens or tokens[0].text != "{" or tokens[0].kind != "open":
        raise NotMathError("a name in braces expected")
    end = closing(tokens)
    return "".join(token.text for token in tokens[1:end]), tokens[end + 1 :]


def whole_expression(tokens: Tokens) -> Expr:
    parser = Parser([*tokens, END])
    expr = parser.whole()
    if parser.token.kind != "end":
        raise NotMathError("something is left")
    return expr
