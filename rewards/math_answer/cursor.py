"""Reading tokens one after the other."""

from rewards.math_answer.tokens import NotMathError, Token

MAX_DEPTH = 24
"""Of nested expressions: no answer is deeper, and the recursion stays small."""


class Cursor:
    """A place in a list of tokens that ends with one of kind `end`."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.at = 0
        self.depth = 0
        self.bars = 0
        """How many |..| are open: inside of one, the next bar closes."""

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
            raise NotMathError(f"{text} expected, not {token.text}")
