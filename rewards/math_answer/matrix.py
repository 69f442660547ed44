"""Splitting tokens at the outermost level, and the one kind of answer that is a grid."""

from rewards.math_answer.parse import Parser
from rewards.math_answer.tokens import NotMathError, Token
from rewards.math_answer.tree import MINUS_ONE, ONE, Answer, Expr, Matrix, mul

Tokens = list[Token]

MAX_ITEMS = 200
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
        raise NotMathError("no matrix")
    if any(token.kind not in ("close",) and token.text != "^" for token in _name(body[ends[0] + 1 :])[1]):
        raise NotMathError("something behind a matrix")
    rows = [row for row in split(body[: ends[0]], ("op", "\\\\")) if row]
    cells = tuple(tuple(_cell(cell, factor) for cell in split(row, ("op", "&"))) for row in rows)
    if len({len(row) for row in cells}) != 1:
        raise NotMathError("ragged")
    return Matrix(cells, determinant=name == "vmatrix")


def _cell(tokens: Tokens, factor: Expr) -> Expr:
    value = whole_expression(tokens)
    return value if factor == ONE else mul(factor, value)


def _factor(tokens: Tokens) -> Expr:
    tokens = [token for token in tokens if token.kind != "open" or token.text == "{"]
    if not tokens:
        return ONE
    if len(tokens) == 1 and tokens[0].text == "-":
        return MINUS_ONE
    if tokens[-1].text == "*":
        tokens = tokens[:-1]
    return whole_expression(tokens)


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
