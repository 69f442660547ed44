"""Answers in rows: systems of equations, aligned lines, and functions given by cases."""

from collections.abc import Callable

from rewards.math_answer.matrix import Tokens, closing, split
from rewards.math_answer.tokens import NotMathError
from rewards.math_answer.tree import Answer, Collection

_ROWS = frozenset(("cases", "dcases", "aligned", "align", "gathered", "split", "eqnarray", "gather"))
_CONDITIONS = frozenset(("if", "for", "when", "where", ",", "if and only if", "for all"))


def system(tokens: Tokens, answer: Callable[[Tokens], Answer]) -> Answer | None:
    """The rows of an environment: pairs of value and condition as a set, other rows as a list. None for anything else.

    `answer` reads the tokens of one row.
    """
    if len(tokens) < 4 or tokens[0].text != "begin" or tokens[0].kind != "cmd" or tokens[1].text != "{":
        return None
    close = closing(tokens[1:]) + 1
    name, body = "".join(token.text for token in tokens[2:close]), tokens[close + 1 :]
    if name not in _ROWS:
        return None
    end = next((at for at, token in enumerate(body) if token.kind == "cmd" and token.text == "end"), len(body))
    if any(token.text != name and token.text not in "{}" and token.kind == "cmd" for token in body[end + 1 :]):
        raise NotMathError("something behind the rows")
    rows = [split(row, ("op", "&")) for row in split(body[:end], ("op", "\\\\")) if row]
    if name in ("cases", "dcases"):
        rows = [[row[0], [*row[1], *row[2]]] if len(row) == 3 else row for row in rows]
    if name in ("cases", "dcases") and all(len(row) == 2 and _is_condition(row[1]) for row in rows):
        return Collection("set", tuple(_case(row, answer) for row in rows))
    items: list[Answer] = []
    for row in rows:
        item = answer([token for cell in row for token in cell])
        items += item.items if isinstance(item, Collection) and item.kind == "list" else (item,)
    return Collection("list", tuple(items)) if len(items) != 1 else items[0]


def _is_condition(tokens: Tokens) -> bool:
    """x > 0, `if x > 0`, `otherwise`; not the = 2 of aligned equations."""
    return bool(tokens) and tokens[0].kind != "rel" and any(token.kind in ("rel", "text") for token in tokens)


def _case(row: list[Tokens], answer: Callable[[Tokens], Answer]) -> Answer:
    condition = row[1]
    while len(condition) > 1 and condition[0].kind in ("text", "sep", "op") and _introduces(condition[0].text):
        condition = condition[1:]
    return Collection("tuple", (answer(row[0]), answer(condition)))


def _introduces(word: str) -> bool:
    return word.strip(" ,").lower() in _CONDITIONS or not word.strip(" ,")
