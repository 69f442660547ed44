"""Expressions by recursive descent over tokens: LaTeX and plain spelling, one grammar, nothing executed.

    expression = term {(+ | - | pm) term}
    term       = sign {(* | / | nothing) sign}        nothing: two factors side by side
    sign       = {+ | - | pm} power
    power      = atom {! | ' | % | degree} [^ exponent]

What it reads differently than you may expect: 1/2x is (1/2)x; 2\\frac13 and 2 1/3 are mixed numbers; f(x) is a function, x(y)
a product; \\sin 3x takes 3x; \\sin^{-1} is the arc sine; 1.2(34) and 0.333... repeat.
"""

from dataclasses import replace
from fractions import Fraction

from rewards.math_text import FUNCTIONS, NotMath, Token
from rewards.math_tree import (
    INFINITY,
    MINUS_ONE,
    I,
    Add,
    Call,
    Const,
    Expr,
    Mul,
    Num,
    Pow,
    Sym,
    add,
    divide,
    mul,
    neg,
    power,
)

MAX_DEPTH = 24
_GREEK = frozenset(
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi psi omega "
    "Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega ell hbar emptyset aleph star".split()
)
_ALIASES = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "lg": "log10"}
_INVERSE = frozenset(("sin", "cos", "tan", "cot", "sec", "csc"))
_NAMES_OF_FUNCTIONS = frozenset("fghFGHPQYO")


def number(value: int) -> Num:
    return Num(Fraction(value))


class Parser:
    """One pass over tokens; NotMath wherever they leave the grammar."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.at = 0
        self.depth = 0
        self.bars = 0

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def peek(self, ahead: int = 1) -> Token:
        return self.tokens[min(self.at + ahead, len(self.tokens) - 1)]

    def is_op(self, *names: str) -> bool:
        return self.token.kind == "op" and self.token.text in names

    def take(self) -> Token:
        token = self.tokens[self.at]
        if token.kind != "end":
            self.at += 1
        return token

    def expect(self, kind: str, text: str) -> None:
        token = self.take()
        if (token.kind, token.text) != (kind, text):
            raise NotMath(f"{text} expected, not {token.text}")

    def expression(self) -> Expr:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise NotMath("nested too deep")
        terms = [self.term()]
        while self.is_op("+", "-", "pm", "mp"):
            sign = self.take().text
            terms.append(_signed(sign, self.term()))
        self.depth -= 1
        return add(*terms)

    def term(self) -> Expr:
        factors = [self.signed()]
        while True:
            if self.is_op("*", "/"):
                divides = self.take().text == "/"
                factor = self.signed()
                factors.append(power(factor, MINUS_ONE) if divides else factor)
            elif self.starts_factor():
                if self.token.kind == "num" and self.tokens[self.at - 1].kind == "num":
                    raise NotMath("two numbers side by side")
                factors.append(self.power())
            else:
                return mul(*factors)

    def starts_factor(self) -> bool:
        token = self.token
        if token.kind == "open":
            return token.text in ("{", "(", "[", "floor", "ceil")
        if token.kind == "op":
            return token.text == "|" and not self.bars
        return token.kind in ("num", "sym", "base") or (token.kind == "cmd" and _starts(token.text))

    def signed(self) -> Expr:
        signs: list[str] = []
        while self.is_op("+", "-", "pm", "mp"):
            signs.append(self.take().text)
            if len(signs) > 40:
                raise NotMath("too many signs")
        expr = self.power()
        for sign in reversed(signs):
            expr = _signed(sign, expr)
        return expr

    def power(self) -> Expr:
        return self.postfix(self.atom())

    def postfix(self, expr: Expr) -> Expr:
        while self.token.kind == "op":
            if self.is_op("!"):
                self.take()
                expr = _factorial(expr)
            elif self.is_op("%"):
                self.take()
                expr = Call("pct", (expr,))
            elif self.is_op("'") and isinstance(expr, Sym):
                self.take()
                expr = Sym(expr.name + "'")
            elif self.is_op("^"):
                expr = self.raised(expr)
            else:
                break
        return expr

    def raised(self, base: Expr) -> Expr:
        self.take()
        if self.circle():
            return Call("deg", (base,))
        if isinstance(base, Sym) and self._is_prime():
            return Sym(base.name + "'")
        return power(base, self.exponent())

    def _is_prime(self) -> bool:
        if self.token.kind == "cmd" and self.token.text == "prime":
            self.take()
            return True
        return False

    def circle(self) -> bool:
        """Whether a degree sign follows; it is taken."""
        braced = self.token.kind == "open" and self.token.text == "{"
        inside = self.peek() if braced else self.token
        if inside.kind != "cmd" or inside.text != "circ":
            return False
        self.at += 3 if braced else 1
        return True

    def exponent(self) -> Expr:
        if self.is_op("-", "+", "pm"):
            return _signed(self.take().text, self.exponent())
        if self.token.kind == "num" and self.peek().kind == "op" and self.peek().text == "^":
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise NotMath("nested too deep")
            base = self.atom()
            self.take()
            return power(base, self.exponent())
        return self.argument(whole=True)

    def argument(self, *, whole: bool = False) -> Expr:
        """What a command takes: a group, or else one digit, symbol or command; `whole` takes a number entire."""
        token = self.token
        if token.kind == "open" and token.text == "{":
            return self.group("{")
        if token.kind == "num" and not whole and len(token.text) > 1:
            digit, rest = token.text[0], token.text[1:]
            if not token.text.isdigit():
                raise NotMath("a decimal needs braces here")
            self.tokens[self.at] = replace(token, text=rest, value=Fraction(int(rest)), spaced=False)
            return number(int(digit))
        return self.atom()

    def group(self, opener: str) -> Expr:
        bars, self.bars = self.bars, 0
        self.expect("open", opener)
        expr = self.expression()
        self.expect("close", opener)
        self.bars = bars
        return expr

    def atom(self) -> Expr:
        token = self.token
        match token.kind:
            case "num":
                return self.numeral()
            case "base":
                return Num(self.take().value or Fraction(0))
            case "sym":
                return self.symbol()
            case "cmd":
                return self.command()
            case "open":
                return self.bracketed()
        if self.is_op("|"):
            return self.absolute()
        raise NotMath(f"{token.text} begins nothing")

    def bracketed(self) -> Expr:
        kind = self.token.text
        if kind not in ("{", "(", "[", "floor", "ceil"):
            raise NotMath("a set is no number")
        inner = self.group(kind)
        return Call(kind, (inner,)) if kind in ("floor", "ceil") else inner

    def absolute(self) -> Expr:
        self.take()
        self.bars += 1
        inner = self.expression()
        self.bars -= 1
        self.expect("op", "|")
        return Call("abs", (inner,))

    def numeral(self) -> Expr:
        token = self.take()
        value = token.value or Fraction(0)
        if "." in token.text or token.text.isdigit():
            repeated = self.repeating(token)
            if repeated is not None:
                return Num(repeated)
        if value.denominator == 1 and not token.digits:
            fraction = self.mixed()
            if fraction is not None:
                return Num(value + fraction)
        return Num(value, token.digits)

    def mixed(self) -> Fraction | None:
        """The proper fraction behind an integer, if one follows at once."""
        start, saved = self.at, list(self.tokens[self.at : self.at + 3])
        top: Expr | None = None
        bottom: Expr | None = None
        try:
            if self.token.kind == "cmd" and self.token.text == "frac":
                self.take()
                top, bottom = self.argument(), self.argument()
            elif self.token.kind == "num" and self.token.spaced and self.peek().text == "/" and self.peek(2).kind == "num":
                top, bottom = Num(self.take().value or Fraction(0)), None
                self.take()
                bottom = Num(self.take().value or Fraction(0))
        except NotMath:
            top = None
        if isinstance(top, Num) and isinstance(bottom, Num) and 0 < top.value < bottom.value and not (top.digits or bottom.digits):
            return top.value / bottom.value
        self.at = start
        self.tokens[start : start + 3] = saved
        return None

    def repeating(self, token: Token) -> Fraction | None:
        """The value of 0.1\\overline{6}, 0.1(6), 0.\\dot{1}\\dot{6} or 0.1666..., when `token` begins one."""
        point = self.token
        if point.kind == "op" and point.text == "..." and token.digits:
            tail = token.text.partition(".")[2]
            for length in range(1, len(tail) // 2 + 1):
                if tail[-length:] == tail[-2 * length : -length] and (length > 1 or tail[-3:] == tail[-1] * 3 or len(tail) > 2):
                    self.take()
                    return _repeat(token.text[: len(token.text) - length], tail[-length:])
            raise NotMath("dots")
        if "." not in token.text:
            return None
        if point.kind == "cmd" and point.text in ("overline", "dot"):
            return self._marked(token, point.text)
        digits, end = self.peek(), self.peek(2)
        if point.kind == "open" and point.text == "(" and not point.spaced and digits.text.isdigit() and end.kind == "close":
            self.at += 3
            return _repeat(token.text, digits.text)
        return None

    def _marked(self, token: Token, mark: str) -> Fraction:
        cycle, marks = "", 0
        while True:
            if self.token.kind == "cmd" and self.token.text == mark:
                self.take()
                marks += 1
                self.expect("open", "{") if self.token.kind == "open" else None
                cycle += self.take().text
                self.expect("close", "{") if self.token.kind == "close" and self.token.text == "{" else None
            elif mark == "dot" and marks == 1 and self.token.kind == "num" and self._another(mark):
                cycle += self.take().text
            else:
                break
        if not cycle.isdigit():
            raise NotMath("what repeats is no digits")
        return _repeat(token.text, cycle)

    def _another(self, mark: str) -> bool:
        return self.peek().kind == "cmd" and self.peek().text == mark

    def symbol(self) -> Expr:
        name = self.take().text
        special = {"e": Const("e"), "i": I}.get(name)
        if special is not None and not self.is_op("_"):
            return special
        expr: Expr = Sym(name)
        if self.is_op("_"):
            self.take()
            expr = _indexed(name, self.argument(whole=True))
        while self.is_op("'"):
            self.take()
            expr = Sym(f"{expr.name if isinstance(expr, Sym) else name}'")
        if name in _NAMES_OF_FUNCTIONS and self.token.kind == "open" and self.token.text == "(":
            return self.application(expr, name)
        return expr

    def application(self, head: Expr, name: str) -> Expr:
        """f(..) is a function; another letter only before a plain argument, since h(a+b) is a product."""
        start = self.at
        arguments = self.arguments()
        simple = all(isinstance(a, Sym | Num) or (isinstance(a, Mul) and len(a.factors) == 2) for a in arguments)
        if name in "fO" or simple or len(arguments) > 1:
            label = head.name if isinstance(head, Sym) else name
            extra = head.args if isinstance(head, Call) else ()
            return Call("fn:" + label, (*extra, *arguments))
        self.at = start
        return head

    def arguments(self) -> tuple[Expr, ...]:
        bars, self.bars = self.bars, 0
        self.expect("open", "(")
        found = [self.expression()]
        while self.is_op(","):
            self.take()
            found.append(self.expression())
        self.expect("close", "(")
        self.bars = bars
        return tuple(found)

    def command(self) -> Expr:
        name = self.take().text
        if name in ("pi", "infty"):
            return Const("pi") if name == "pi" else INFINITY
        if name in FUNCTIONS and name != "sqrt":
            return self.function(name)
        if name in _GREEK:
            if self.is_op("_"):
                self.take()
                return _indexed("\\" + name, self.argument(whole=True))
            return Sym("\\" + name)
        method = _COMMANDS.get(name)
        if method is None:
            raise NotMath(f"\\{name}")
        return method(self)

    def function(self, name: str) -> Expr:
        """A named function with its base, its power and its argument."""
        name = _ALIASES.get(name, name)
        base: Expr | None = None
        exponent: Expr | None = None
        while self.is_op("_", "^"):
            if self.take().text == "_":
                base = self.argument(whole=True)
            elif self.circle():
                raise NotMath("degrees of a function")
            else:
                exponent = self.exponent()
        if exponent == MINUS_ONE and name in _INVERSE:
            name, exponent = "arc" + name, None
        arguments = self.arguments() if self._parenthesis() else (self.bare(),)
        if name == "log" and base is not None:
            arguments, name = (*arguments, base), "log_base"
        if name == "log10":
            arguments, name = (*arguments, number(10)), "log_base"
        call = power(Const("e"), arguments[0]) if name == "exp" else Call(name, arguments)
        return call if exponent is None else power(call, exponent)

    def _parenthesis(self) -> bool:
        return self.token.kind == "open" and self.token.text == "("

    def bare(self) -> Expr:
        """An argument without parentheses: 3x of `\\sin 3x`, up to the next function, bracket or sign."""
        if self.token.kind == "cmd" and self.token.text in FUNCTIONS and self.token.text != "sqrt":
            return self.power()
        factors = [self.signed()]
        while self.starts_factor() and self.token.kind in ("num", "sym", "cmd") and self.token.text not in FUNCTIONS - {"sqrt"}:
            factors.append(self.power())
        if self.is_op("/") and self.peek().kind == "num" and isinstance(factors[-1], Const | Num | Sym):
            self.take()
            factors.append(power(self.power(), MINUS_ONE))
        return mul(*factors)

    def _fraction(self) -> Expr:
        top = self.argument()
        return divide(top, self.argument())

    def _root(self) -> Expr:
        index: Expr | None = None
        if self.token.kind == "open" and self.token.text == "[":
            index = self.group("[")
        radicand = self.argument(whole=True)
        if index is None or index == number(2):
            return Pow(radicand, Num(Fraction(1, 2)))
        return Call("root", (radicand, index))

    def _cube_root(self) -> Expr:
        return Call("root", (self.argument(whole=True), number(3)))

    def _binomial(self) -> Expr:
        top = self.argument()
        return Call("binom", (top, self.argument()))

    def _overline(self) -> Expr:
        return Call("fn:overline", (self.argument(whole=True),))

    def _shape(self) -> Expr:
        return Call("fn:shape", (self.argument(whole=True),))

    def _sum(self) -> Expr:
        return self._bounded("sum")

    def _product(self) -> Expr:
        return self._bounded("prod")

    def _bounded(self, kind: str) -> Expr:
        """\\sum_{k=a}^{b} body, the index renamed so that its letter does not matter."""
        self.expect("op", "_")
        self.expect("open", "{")
        index = self.take()
        self.expect("rel", "=")
        low = self.expression()
        self.expect("close", "{")
        self.expect("op", "^")
        high = self.argument(whole=True)
        if index.kind != "sym":
            raise NotMath("an index is a letter")
        body = self.term()
        return Call(kind, (substitute(body, index.text, Sym("\\index")), low, high))


def substitute(expr: Expr, name: str, value: Expr) -> Expr:
    """The tree with a symbol replaced; `i` as an index is a symbol again."""
    match expr:
        case Sym(found) if found == name:
            return value
        case Const("i") if name == "i":
            return value
        case Add(parts):
            return add(*(substitute(part, name, value) for part in parts))
        case Mul(parts):
            return mul(*(substitute(part, name, value) for part in parts))
        case Pow(base, exponent):
            return power(substitute(base, name, value), substitute(exponent, name, value))
        case Call(function, parts):
            return Call(function, tuple(substitute(part, name, value) for part in parts))
    return expr


def _starts(command: str) -> bool:
    return command in FUNCTIONS or command in _GREEK or command in _COMMANDS or command in ("pi", "infty")


def _signed(sign: str, expr: Expr) -> Expr:
    if sign == "+":
        return expr
    if sign == "-":
        return neg(expr)
    return Mul((Sym("\\" + sign), expr))


def _indexed(name: str, index: Expr) -> Expr:
    if isinstance(index, Num) and index.value.denominator == 1:
        return Sym(f"{name}_{index.value.numerator}")
    return Call("at:" + name, (index,))


def _factorial(expr: Expr) -> Expr:
    return Call("factorial", (expr,))


def _repeat(prefix: str, cycle: str) -> Fraction:
    """prefix with the cycle repeated for ever behind it."""
    places = len(prefix.partition(".")[2])
    tail = Fraction(int(cycle), (10 ** len(cycle) - 1) * 10**places)
    return Fraction(prefix.rstrip(".") or "0") + tail


_COMMANDS = {
    "frac": Parser._fraction,
    "sqrt": Parser._root,
    "cbrt": Parser._cube_root,
    "binom": Parser._binomial,
    "overline": Parser._overline,
    "angle": Parser._shape,
    "triangle": Parser._shape,
    "sum": Parser._sum,
    "prod": Parser._product,
}
