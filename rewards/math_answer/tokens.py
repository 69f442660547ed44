"""Tokens of a cleaned text: one linear pass, and the first half of the closed grammar.

A character or command outside of it raises NotMathError, and the answer stays text.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from rewards.math_answer.stops import multiplier
from rewards.math_answer.text import MAX_CHARS, match_brace
from rewards.math_answer.units import ONE_LETTER_UNITS, UNITS

MAX_TOKENS = 2_000


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    """`num`, `sym`, `cmd`, `text`, `op`, `open`, `close`, `rel`, `sep`, `base`, or `end` after the last."""
    text: str
    value: Fraction | None = None
    digits: int = 0
    spaced: bool = False
    """Whether a blank stood in front."""
    places: int = 0
    """Of a decimal: the digits behind its point, less its power of ten."""


class NotMathError(ValueError):
    """The text is outside of the grammar, or past its limits."""


_FUNCTIONS_WORDS = (
    "sin cos tan cot sec csc sinh cosh tanh arcsin arccos arctan ln log lg exp max min gcd lcm det floor ceil "
    "abs sqrt asin acos atan arccot arcsec arccsc sgn coth cis"
)
_SPLIT = frozenset(_FUNCTIONS_WORDS.split())
_MORE = "arcsinh arccosh arctanh arsinh arcosh artanh asinh acosh atanh sech csch tg ctg arctg arcctg Re Im arg Arg"
FUNCTIONS = _SPLIT | frozenset(_MORE.split())
_WORD_COMMANDS = {
    "pi": "pi", "theta": "theta", "alpha": "alpha", "beta": "beta", "inf": "infty", "infinity": "infty",
    "infty": "infty",
    "oo": "infty", "sqrt": "sqrt", "cbrt": "cbrt", "lambda": "lambda",
}  # fmt: skip
_RELATIONS = {
    "=": "=", "<": "<", ">": ">", "lt": "<", "gt": ">", "le": "<=", "leq": "<=", "leqslant": "<=", "ge": ">=",
    "geq": ">=",
    "geqslant": ">=", "ne": "!=", "neq": "!=", "approx": "~", "simeq": "~", "sim": "~", "equiv": "==", "in": "in",
    "<=": "<=", ">=": ">=", "!=": "!=", "==": "=", "=<": "<=", "cong": "==", "leqq": "<=", "geqq": ">=", "doteq": "~",
    "not=": "!=", ":=": "=", "Rightarrow": "=>", "implies": "=>", "to": "->", "rightarrow": "->",
    "notin": "notin", "mapsto": "->",
    "longrightarrow": "->", "Longrightarrow": "=>", "Leftrightarrow": "<=>", "iff": "<=>",
}  # fmt: skip
_OPERATORS = {
    "cdot": "*", "times": "*", "ast": "*", "div": "/", "pm": "pm", "mp": "mp", "ldots": "...", "dots": "...",
    "cdots": "...",
    "bigcup": "cup", "bigcap": "cap",
    "cup": "cup", "cap": "cap", "setminus": "setminus", "backslash": "setminus", "%": "%", "mid": "|", "vert": "|",
    "lvert": "|", "rvert": "|", "colon": ":", "bullet": "*", "cdotp": "*", "dotsc": "...", "lor": "or", "vee": "or",
    "land": "and", "wedge": "and",
    "smallsetminus": "setminus", "dotsb": "...", "bmod": "mod", "mod": "mod", "Vert": "|", "lVert": "|", "rVert": "|",
}  # fmt: skip
_FENCES = {
    "{": ("open", "set"), "}": ("close", "set"), "lbrace": ("open", "set"), "rbrace": ("close", "set"),
    "langle": ("open", "("), "rangle": ("close", "("),
    "lfloor": ("open", "floor"), "rfloor": ("close", "floor"), "lceil": ("open", "ceil"), "rceil": ("close", "ceil"),
    "(": ("open", "("), ")": ("close", "("), "[": ("open", "["), "]": ("close", "["), "lbrack": ("open", "["),
    "rbrack": ("close", "["),
}  # fmt: skip
_BRACKETS = {"(": ("open", "("), ")": ("close", "("), "[": ("open", "["), "]": ("close", "["),
             "{": ("open", "{"), "}": ("close", "{")}  # fmt: skip
_TEXT = frozenset(
    ("text", "textbf", "textit", "textrm", "mbox", "textnormal", "textsf", "emph", "hbox", "texttt", "textup")
)
_FONTS = "mathrm mathbf operatorname mathit mathcal boldsymbol bm rm bf mathsf vec overrightarrow hat mathbb underline"
_FONT = frozenset(_FONTS.split())
_SYNONYMS = {"dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "dbinom": "binom", "tbinom": "binom", "varphi": "phi",
             "varepsilon": "epsilon", "vartheta": "theta", "degree": "circ", "varnothing": "emptyset",
             "bar": "overline", "sfrac": "frac", "nicefrac": "frac",
             "surd": "sqrt"}  # fmt: skip
_SCAN = re.compile(
    r"""(?P<space>\s+)
    |(?P<base>(?:\d[0-9A-Z]{0,400}(?:\.[0-9A-Z]{1,400})?|[A-F][0-9A-F]{1,63})
        _(?:\{\s*(?:\d{1,2}|[a-z]{3,7}|\\text\{\s*[a-z]{3,7}\s*\})\s*\}|\d{1,2}))
    |(?P<radix>0[xX][0-9a-fA-F]{1,400}|0b[01]{1,1000}(?![0-9a-zA-Z]))
    |(?P<num>(?:\d{1,3}(?:[ ]\d{3})+(?!\d)|\d{1,3}(?:,\d{3})+(?!\d|,\d)|\d+)
        (?:\.\d+|\.(?!\.))?(?:[eE][+-]?\d{1,6}(?![a-zA-Z\d]))?|\.\d+)
    |(?P<cmd>\\(?:[a-zA-Z]+\*?|.))
    |(?P<dots>\.\.\.?)
    |(?P<rel><=|>=|=<|!=|==|:=|=|<|>)
    |(?P<word>[a-zA-Z]+)
    |(?P<bracket>[()\[\]{}])
    |(?P<op>\*\*|[-+*/^_!|,;:&'%$?\u20ac\u00a3\u00a5.])""",
    re.VERBOSE | re.DOTALL,
)


def tokenize(text: str) -> list[Token]:
    """The tokens of a cleaned text, closed by one of kind `end`; NotMathError for what is outside the grammar."""
    if len(text) > MAX_CHARS:
        raise NotMathError("too long")
    tokens: list[Token] = []
    at, spaced, depth = 0, False, 0
    while at < len(text):
        found = _SCAN.match(text, at)
        if not found or len(tokens) > MAX_TOKENS:
            raise NotMathError("outside of the grammar")
        at, group, piece = found.end(), found.lastgroup or "", found[0]
        if group == "space":
            spaced = True
            continue
        if group == "word" and tokens and piece in UNITS and _follows_value(tokens[-1], piece):
            tokens.append(Token("text", piece))
            spaced = False
            continue
        if group == "num" and "," in piece and (depth or text[found.start() - 1 : found.start()] == ","):
            piece = piece[: piece.index(",")]
            at = found.start() + len(piece)
        if group == "num" and " " in piece and tokens and tokens[-1].text in ("_", "^"):
            # \\log_2 125 has the base 2.
            piece = piece[: piece.index(" ")]
            at = found.start() + len(piece)
        if group == "cmd" and piece.rstrip("*")[1:] in _TEXT | _FONT:
            new, at = _worded(piece.rstrip("*")[1:], text, at)
            if piece != "\\operatorname":
                new = _function_or_unit(new, tokens, text[at : at + 8].lstrip())
        else:
            new = _TOKENS[group](piece)
        new = _beside(tokens, new)
        depth += sum((token.kind == "open") - (token.kind == "close") for token in new if token.text != "{")
        tokens += [Token(t.kind, t.text, t.value, t.digits, spaced and not i, t.places) for i, t in enumerate(new)]
        spaced = False
    return [*_with_times(tokens), Token("end", "")]


def _beside(tokens: list[Token], new: list[Token]) -> list[Token]:
    """Words behind a value: `million` multiplies it; one letter is a symbol unless it is a unit that follows one."""
    if len(new) != 1 or new[0].kind != "text":
        return new
    text = new[0].text
    behind = bool(tokens) and (tokens[-1].kind in ("num", "base", "sym", "close", "text") or tokens[-1].text == "pi")
    if behind and tokens[-1].kind != "text" and (factor := multiplier(text)):
        times = [Token("op", "*"), Token("num", str(factor[0]), factor[0])]
        return [*times, *([Token("text", factor[1])] if factor[1] else [])]
    if len(text) == 1 and text.isalpha() and not (behind and text in ONE_LETTER_UNITS):
        return [Token("sym", text)]
    return new


def _function_or_unit(new: list[Token], before: list[Token], behind: str) -> list[Token]:
    """\\text{sin} is a function; \\text{min} and \\mathrm{sec} are units behind a value, unless an argument follows."""
    if len(new) != 1 or new[0].kind not in ("text", "cmd") or new[0].text not in FUNCTIONS:
        return new
    last = before[-1].text if before else ""
    unit = last in ("pi", "/") or (bool(before) and before[-1].kind in ("num", "close", "text", "sym"))
    if new[0].text not in UNITS or not unit or re.match(r"[(a-zA-Z|]|\\[{a-z]", behind):
        return [Token("cmd", new[0].text)]
    return [Token("text", new[0].text)]


def _follows_value(token: Token, word: str) -> bool:
    """Whether a unit may stand here; behind words, as in `2 sq m`, one letter is enough."""
    return token.kind == "text" or (len(word) > 1 and (token.kind in ("num", "close") or token.text == "pi"))


def _with_times(tokens: list[Token]) -> list[Token]:
    """The letter x between two numerals is a multiplication sign, 3 x 10^8; U between brackets unites."""
    return [
        Token("op", "*")
        if token.kind == "sym" and token.text == "x" and 0 < at < len(tokens) - 1
        and tokens[at - 1].kind == tokens[at + 1].kind == "num"
        else Token("op", "cup")
        if token.kind == "sym" and token.text == "U" and 0 < at < len(tokens) - 1
        and (tokens[at - 1].kind, tokens[at + 1].kind) == ("close", "open")
        else token
        for at, token in enumerate(tokens)
    ]  # fmt: skip


def _worded(name: str, text: str, at: int) -> tuple[list[Token], int]:
    """What \\text{..}, \\mathrm{..} and their kind hold."""
    start = at
    while start < len(text) and text[start].isspace():
        start += 1
    if start >= len(text) or text[start] != "{":
        return [], at
    end = match_brace(text, start + 1)
    if end < 0:
        raise NotMathError("unbalanced")
    content = text[start + 1 : end].strip()
    if name == "mathbb":
        return [Token("sym", "\\" + content)], end + 1
    if name in _FONT and content in FUNCTIONS:
        return [Token("cmd", content)], end + 1
    if name == "mathrm" and content in ONE_LETTER_UNITS:
        return [Token("text", content)], end + 1
    if len(content) == 1 and content.isalpha() and name in _FONT | {"textit"}:
        return [Token("sym", content)], end + 1
    if name in _FONT and not re.fullmatch(r"[a-zA-Z]{2,}(?:[ ./][a-zA-Z]+)*", content):
        return tokenize(content)[:-1], end + 1
    return _texted(content), end + 1


def _texted(content: str) -> list[Token]:
    content = content.replace("\\$", "$") if content == "\\$" else content.replace("$", "").strip()
    core = content.strip(" ,;").lower()
    if core in ("and", "or", ""):
        return [Token("sep", core or ",")] if core or "," in content else []
    if re.fullmatch(r"[-+]?[\d.,/]+\s*%?", content):
        return tokenize(content)[:-1]
    if core in ("percent", "pct"):
        return [Token("op", "%")]
    if modulus := re.fullmatch(r"(?:\\text\{)?\(? ?mod (\d{1,40}) ?\)?\}?", content):
        return [Token("text", f"mod {modulus[1]}")]
    if content in _WORD_COMMANDS or content[0] in "^!$" or content in "+-":
        return tokenize(content)[:-1]
    return [Token("text", content)]


def _number(piece: str) -> list[Token]:
    mantissa, mark, exponent = piece.replace(",", "").replace(" ", "").replace("E", "e").partition("e")
    if len(mantissa) > 4_000 or (mark and abs(int(exponent)) > 4_000):
        raise NotMathError("too many digits")
    value = Fraction(mantissa.rstrip(".") or "0") * Fraction(10) ** int(exponent or 0)
    if "." not in mantissa.rstrip("."):
        return [Token("num", mantissa, value)]
    written = mantissa.replace(".", "").lstrip("0")
    places = len(mantissa.partition(".")[2]) - int(exponent or 0)
    return [Token("num", mantissa, value, max(1, len(written)), places=places)]


_WORD_BASES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
               "eleven": 11, "twelve": 12, "sixteen": 16}  # fmt: skip


def _based(piece: str) -> list[Token]:
    """A numeral with its base, 204_5 or 1A_{16}; a digit that the base lacks makes it a product, 2x_1."""
    numeral, _, mark = piece.rpartition("_")
    name = mark.replace("\\text", "").strip("{} ")
    base = int(name) if name.isdigit() else _WORD_BASES.get(name, 0)
    whole, _, rest = numeral.partition(".")
    places = [int(digit, 36) for digit in whole + rest]
    if not 2 <= base <= 36 or (not numeral[0].isdigit() and not 10 < base <= 16) or max(places) >= base:
        return [*_loose(numeral), Token("op", "_"), *_loose(name)]
    value = 0
    for place in places:
        value = value * base + place
    return [Token("base", piece, Fraction(value, base ** len(rest)))]


def _loose(piece: str) -> list[Token]:
    digits = piece[: len(piece) - len(piece.lstrip("0123456789."))]
    return [*(_number(digits) if digits.strip(".") else []), *(Token("sym", letter) for letter in piece[len(digits) :])]


def _radix(piece: str) -> list[Token]:
    return [Token("base", piece, Fraction(int(piece[2:], 16 if piece[1] in "xX" else 2)))]


def _command(piece: str) -> list[Token]:
    name = piece[1:].rstrip("*") or piece[1:]
    name = _SYNONYMS.get(name, name)
    if name in _FENCES:
        return [Token(_FENCES[name][0], _FENCES[name][1])]
    if name in _RELATIONS:
        return [Token("rel", _RELATIONS[name])]
    if name in _OPERATORS:
        return [Token("op", _OPERATORS[name])]
    if name in "$&" or name == "pounds":
        return [Token("op", name if name in "$&" else "\u00a3")]
    if name == "\\":
        return [Token("op", "\\\\")]
    if name in "|":
        return [Token("op", "|")]
    if name in ("imath", "jmath"):
        return [Token("sym", name[0])]
    if name in ("Big", "big", "hline", "%"):
        return []
    return [Token("cmd", name)]


def _word(piece: str) -> list[Token]:
    low = piece.lower()
    if low in ("and", "or"):
        return [Token("sep", low)]
    if low in ("percent", "pct"):
        return [Token("op", "%")]
    if piece == "mod":
        return [Token("op", "mod")]
    if low in ("union", "u") and (low == "union" or piece == "U"):
        return [Token("op", "cup")] if low == "union" else [Token("sym", "U")]
    if piece in _WORD_COMMANDS or piece in FUNCTIONS:
        return [Token("cmd", _WORD_COMMANDS.get(piece, piece))]
    for length in (6, 4, 3, 2):
        if piece[:length] in _SPLIT and 0 < len(piece) - length <= 2:
            return [Token("cmd", piece[:length]), *_word(piece[length:])]
    if piece.endswith("pi") and len(piece) <= 4:
        return [*(Token("sym", letter) for letter in piece[:-2]), Token("cmd", "pi")]
    if len(piece) >= 4 or piece in ("mod", "for", "the", "not", "are", "per"):
        return [Token("text", piece)]
    return [Token("sym", letter) for letter in piece]


_TOKENS: dict[str, Callable[[str], list[Token]]] = {
    "base": _based,
    "radix": _radix,
    "num": _number,
    "cmd": _command,
    "dots": lambda piece: [Token("op", "...")],
    "rel": lambda piece: [Token("rel", _RELATIONS[piece])],
    "word": _word,
    "bracket": lambda piece: [Token(*_BRACKETS[piece])],
    "op": lambda piece: [Token("op", "^" if piece == "**" else piece)],
}
