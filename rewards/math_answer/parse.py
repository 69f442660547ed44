"""Expressions by recursive descent over tokens: LaTeX and plain spelling, one grammar, nothing executed.

    expression = term {(+ | - | pm) term}
    term       = sign {(* | / | nothing) sign}        nothing: two factors side by side
    sign       = {+ | - | pm} power
    power      = atom {! | ' | % | degree} [^ exponent]

What it reads differently than you may expect: 1/2x is (1/2)x; 2\\frac13 and 2 1/3 are mixed numbers; f(x) is a
function, x(y) a product; \\sin 3x takes 3x; \\sin^{-1} is the arc sine; 1.2(34) and 0.333... repeat.
"""

from dataclasses import replace
from fractions import Fraction

from rewards.math_answer.commands import COMMANDS, function
from rewards.math_answer.cursor import MAX_DEPTH, Cursor
from rewards.math_answer.numerals import numeral
from rewards.math_answer.tokens import FUNCTIONS, NotMathError
from rewards.math_answer.tree import (
    IMAGINARY,
    INFINITY,
    MINUS_ONE,
    Call,
    Const,
    Expr,
    Mul,
    Num,
    Sym,
    add,
    divide,
    mul,
    neg,
    number,
    power,
)

_GREEK_WORDS = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi "
    "psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega ell hbar emptyset aleph star whole"
)
_GREEK = frozenset(_GREEK_WORDS.split())
_NAMES_OF_FUNCTIONS = frozenset("fghFGHPQYOC")


class Parser(Cursor):
    """One pass over tokens; NotMathError wherever they leave the grammar."""

    def whole(self) -> Expr:
        """What a group may hold: an expression, or two around \\over or \\choose."""
        expr = self.expression()
        if self.token.kind == "cmd" and self.token.text in ("over", "choose"):
            over, bottom = self.take().text == "over", self.expression()
            expr = divide(expr, bottom) if over else Call("binom", (expr, bottom))
        return expr

    def expression(self) -> Expr:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise NotMathError("nested too deep")
        terms = [self.term()]
        while self.is_op("+", "-", "pm", "mp"):
            sign = self.take().text
            terms.append(_signed(sign, self.term()))
        self.depth -= 1
        return add(*terms)

    def term(self) -> Expr:
        factors = [self.signed()]
        while True:
            if self.is_op("mod"):
                self.take()
                factors = [Call("mod", (mul(*factors), self.signed()))]
            elif self.is_op("*", "/"):
                divides = self.take().text == "/"
                factor = self.signed()
                factors.append(power(factor, MINUS_ONE) if divides else factor)
            elif self.starts_factor():
                if (
                    self.token.kind == "num"
                    and self.tokens[self.at - 1].kind == "num"
                    and self.tokens[self.at - 2].text != "^"
                ):
                    raise NotMathError("two numbers side by side")
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
                raise NotMathError("too many signs")
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
                double = self.is_op("!") and not self.token.spaced
                if double:
                    self.take()
                expr = Call("factorial2" if double else "factorial", (expr,))
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
        if isinstance(base, Sym) and self._is_star():
            return Sym(base.name + "*")
        return power(base, self.exponent())

    def _is_prime(self) -> bool:
        if self.token.kind == "cmd" and self.token.text == "prime":
            self.take()
            return True
        return False

    def _is_star(self) -> bool:
        """Whether the * of x^* follows; it is taken."""
        braced = self.token.kind == "open" and self.token.text == "{"
        star, behind = (self.peek(), self.peek(2)) if braced else (self.token, self.peek())
        if (star.kind, star.text) != ("op", "*") or behind.kind not in ("end", "close", "rel"):
            return False
        self.at += 3 if braced else 1
        return True

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
                raise NotMathError("nested too deep")
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
                raise NotMathError("a decimal needs braces here")
            self.tokens[self.at] = replace(token, text=rest, value=Fraction(int(rest)), spaced=False)
            return number(int(digit))
        return self.atom()

    def group(self, opener: str) -> Expr:
        bars, self.bars = self.bars, 0
        self.expect("open", opener)
        expr = self.whole()
        self.expect("close", opener)
        self.bars = bars
        return expr

    def atom(self) -> Expr:
        token = self.token
        match token.kind:
            case "num":
                return numeral(self)
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
        raise NotMathError(f"{token.text} begins nothing")

    def bracketed(self) -> Expr:
        kind = self.token.text
        if kind not in ("{", "(", "[", "floor", "ceil"):
            raise NotMathError("a set is no number")
        inner = self.group(kind)
        return Call(kind, (inner,)) if kind in ("floor", "ceil") else inner

    def absolute(self) -> Expr:
        self.take()
        self.bars += 1
        inner = self.expression()
        self.bars -= 1
        self.expect("op", "|")
        return Call("abs", (inner,))

    def symbol(self) -> Expr:
        name = self.take().text
        special = {"e": Const("e"), "i": IMAGINARY}.get(name)
        if special is not None and not self.is_op("_"):
            return special
        expr: Expr = Sym(name)
        if self.is_op("_"):
            self.take()
            expr = _indexed(name, self.argument(whole=True))
            if name == "C" and self.is_op("^"):
                return self.choices(expr)
        while self.is_op("'"):
            self.take()
            expr = Sym(f"{expr.name if isinstance(expr, Sym) else name}'")
        if name in _NAMES_OF_FUNCTIONS and self.is_op("^"):
            return self.inverse(expr, name)
        if name in _NAMES_OF_FUNCTIONS and self.token.kind == "open" and self.token.text == "(":
            return self.application(expr, name)
        return expr

    def inverse(self, head: Expr, name: str) -> Expr:
        """f^{-1}(x); any other power is left where it stands."""
        start = self.at
        self.take()
        if not self.circle() and not self._is_prime() and self.exponent() == MINUS_ONE and self.token.text == "(":
            return self.application(Sym(f"{name}^-1"), "f")
        self.at = start
        return head

    def choices(self, head: Expr) -> Expr:
        """C_10^3 chooses 3 of 10; C_1^2 is a square."""
        start, index = self.at, head.name[2:] if isinstance(head, Sym) else ""
        self.take()
        chosen = self.exponent()
        if (
            index.isdigit()
            and isinstance(chosen, Num)
            and chosen.value.denominator == 1
            and 0 <= chosen.value < int(index)
        ):
            return Call("binom", (number(int(index)), chosen))
        self.at = start
        return head

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

    def arguments(self, bracket: str = "(") -> tuple[Expr, ...]:
        bars, self.bars = self.bars, 0
        self.expect("open", bracket)
        found = [self.expression()]
        while self.is_op(","):
            self.take()
            found.append(self.expression())
        self.expect("close", bracket)
        self.bars = bars
        return tuple(found)

    def command(self) -> Expr:
        name = self.take().text
        if name in ("pi", "infty"):
            return Const("pi") if name == "pi" else INFINITY
        if name in FUNCTIONS and name != "sqrt":
            return function(self, name)
        if name in _GREEK:
            if self.is_op("_"):
                self.take()
                return _indexed("\\" + name, self.argument(whole=True))
            return Sym("\\" + name)
        method = COMMANDS.get(name)
        if method is None:
            raise NotMathError(f"\\{name}")
        return method(self)


def _starts(command: str) -> bool:
    return command in FUNCTIONS or command in _GREEK or command in COMMANDS or command in ("pi", "infty")


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
