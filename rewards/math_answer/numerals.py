"""Numerals longer than one token: mixed numbers and repeating decimals."""

from dataclasses import replace
from fractions import Fraction

from rewards.math_answer.cursor import Cursor
from rewards.math_answer.tokens import NotMathError, Token
from rewards.math_answer.tree import Num


def numeral(cursor: Cursor) -> Num:
    """The number at the cursor: 12, 0.5, 2\\frac13, 2 1/3, 0.1\\overline{6}, 0.1(6), 0.\\dot{1}\\dot{6}, 0.1666..."""
    token = cursor.take()
    value = token.value or Fraction(0)
    if "." in token.text:
        repeated = _repeating(cursor, token)
        if repeated is not None:
            return Num(repeated)
    if value.denominator == 1 and not token.digits and not _is_script(cursor):
        fraction = _mixed(cursor)
        if fraction is not None:
            return Num(value + fraction)
    return Num(value, token.digits, token.places)


def _is_script(cursor: Cursor) -> bool:
    """Whether the number just taken is a bare exponent or index: x^2\\frac12 is a product."""
    return cursor.at > 1 and cursor.tokens[cursor.at - 2].text in ("^", "_")


def _mixed(cursor: Cursor) -> Fraction | None:
    """The proper fraction behind an integer, if one follows at once; else the cursor stays."""
    start, saved = cursor.at, cursor.tokens[cursor.at : cursor.at + 2]
    found: list[Fraction | None] = []
    if cursor.token.kind == "cmd" and cursor.token.text == "frac":
        cursor.take()
        found = [_literal(cursor), _literal(cursor)]
    elif cursor.token.kind == "num" and cursor.token.spaced and cursor.peek().text == "/":
        found = [_literal(cursor, whole=True)]
        cursor.take()
        found.append(_literal(cursor, whole=True))
    match found:
        case [Fraction() as top, Fraction() as bottom] if 0 < top < bottom:
            return top / bottom
    cursor.at = start
    cursor.tokens[start : start + 2] = saved
    return None


def _literal(cursor: Cursor, *, whole: bool = False) -> Fraction | None:
    """A natural number in braces, or one digit without them, as \\frac takes it; `whole` takes all digits."""
    braced = cursor.token.kind == "open" and cursor.token.text == "{"
    token = cursor.peek() if braced else cursor.token
    if token.kind != "num" or not token.text.isdigit() or (braced and cursor.peek(2).kind != "close"):
        return None
    if not (braced or whole) and len(token.text) > 1:
        rest = token.text[1:]
        cursor.tokens[cursor.at] = replace(token, text=rest, value=Fraction(int(rest)), spaced=False)
        return Fraction(int(token.text[0]))
    cursor.at += 3 if braced else 1
    return token.value


def _repeating(cursor: Cursor, token: Token) -> Fraction | None:
    point = cursor.token
    if point.kind == "op" and point.text == "..." and token.digits:
        cursor.take()
        return _continued(token.text)
    if point.kind == "cmd" and point.text == "overline":
        cursor.take()
        if cursor.token.kind == "num":
            return _repeat(token.text, _first_digit(cursor))
        cursor.expect("open", "{")
        cycle = cursor.take().text
        cursor.expect("close", "{")
        return _repeat(token.text, cycle)
    if point.kind == "cmd" and point.text == "dot":
        return _dotted(cursor, token.text)
    digits, end = cursor.peek(), cursor.peek(2)
    if (point.kind, point.text, point.spaced) == ("open", "(", False) and digits.text.isdigit() and end.kind == "close":
        cursor.at += 3
        return _repeat(token.text, digits.text)
    return None


def _first_digit(cursor: Cursor) -> str:
    """The digit that a command without braces takes, if it is the only one."""
    token = cursor.take()
    if len(token.text) != 1:
        raise NotMathError("braces around the digits that repeat")
    return token.text


def _continued(written: str) -> Fraction:
    """0.333... and 0.1666... and 0.1212...: the shortest cycle that is written twice."""
    tail = written.partition(".")[2]
    for length in range(1, len(tail) // 2 + 1):
        if len(tail) > 2 and tail[-length:] == tail[-2 * length : -length]:
            return _repeat(written[:-length], tail[-length:])
    raise NotMathError("no cycle")


def _dotted(cursor: Cursor, written: str) -> Fraction:
    """0.\\dot{3}, or from the first dotted digit to the second."""
    cycle, dots = "", 0
    while dots < 2 and cursor.token.kind == "cmd" and cursor.token.text == "dot":
        cursor.take()
        braced = cursor.token.kind == "open"
        cycle += (cursor.peek() if braced else cursor.token).text
        cursor.at += 3 if braced else 1
        dots += 1
        if dots == 1 and cursor.token.kind == "num" and cursor.peek().text == "dot":
            cycle += cursor.take().text
    return _repeat(written, cycle)


def _repeat(prefix: str, cycle: str) -> Fraction:
    """`prefix` with the cycle repeated for ever behind it."""
    if not cycle.isdigit():
        raise NotMathError("what repeats is no digits")
    places = len(prefix.partition(".")[2])
    tail = Fraction(int(cycle), (10 ** len(cycle) - 1) * 10**places)
    return Fraction(prefix.rstrip(".") or "0") + tail
