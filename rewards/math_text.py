"""The string layer: spellings that never change a value, and the tokens of what is left.

Everything here is one linear pass. Wrappers, spacing commands, unicode and thousands separators go; meaning is left to
`math_parse` and `math_shape`.
"""

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction

from rewards.math_units import UNITS

MAX_CHARS = 6_000
"""Of an answer that is parsed; a longer one is compared as a string only."""
MAX_TOKENS = 2_000

_UNICODE = str.maketrans(
    {
        "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "×": r"\times ", "÷": r"\div ", "·": r"\cdot ", "⋅": r"\cdot ",
        "∙": r"\cdot ", "∗": "*", "⁄": "/", "∕": "/", "√": r"\sqrt ", "∛": r"\sqrt[3]", "π": r"\pi ", "∞": r"\infty ",
        "≤": r"\le ", "⩽": r"\le ", "≥": r"\ge ", "⩾": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "≡": r"\equiv ",
        "∈": r"\in ", "∪": r"\cup ", "∩": r"\cap ", "∅": r"\emptyset ", "°": r"^\circ ", "º": r"^\circ ", "±": r"\pm ",
        "∓": r"\mp ", "′": "'", "’": "'", "∠": r"\angle ", "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "∖": r"\setminus ",
        "⟨": r"\langle ", "⟩": r"\rangle ", "→": r"\to ", "…": r"\ldots ", "⋯": r"\ldots ", "∣": "|", "：": ":",
        "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ", "δ": r"\delta ", "θ": r"\theta ", "λ": r"\lambda ",
        "μ": r"\mu ", "φ": r"\phi ", "ϕ": r"\phi ", "ω": r"\omega ", "σ": r"\sigma ", "ρ": r"\rho ", "τ": r"\tau ",
        "½": r"\frac{1}{2}", "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}",
        "⅕": r"\frac{1}{5}", "⅛": r"\frac{1}{8}", "⅜": r"\frac{3}{8}", "⅝": r"\frac{5}{8}", "⅞": r"\frac{7}{8}",
        "⅙": r"\frac{1}{6}", "⅖": r"\frac{2}{5}", "\u200b": "", "\ufeff": "",
    }
)  # fmt: skip
_RAISED = {**dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿⁱ", "0123456789+-ni", strict=True))}
_LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉ₙₓ", "0123456789nx", strict=True))
_RAISED_RUN = re.compile("[" + "".join(_RAISED) + "]+")
_LOWERED_RUN = re.compile("[" + "".join(_LOWERED) + "]+")

_THOUSANDS = re.compile(r"(?<=\d)\s*(?:\{\s*,\s*\}|,\s*\\!)\s*(?=\d{3})")
_INVISIBLE = re.compile(
    r"\\(?:left|right|[bB]igg?[lrm]?|displaystyle|textstyle|scriptstyle|limits|nolimits|boldmath)(?![a-zA-Z])\.?|\\!"
)
_SPACES = re.compile(r"\\(?:[,;:> ]|(?:quad|qquad|enspace|thinspace|hfill|newline|phantom\{[^{}]*\})(?![a-zA-Z]))|~")
_LOOSE_SPACE = re.compile(r"(?<![0-9A-Za-z])\s+|\s+(?![0-9A-Za-z])")


def squeeze(text: str) -> str:
    """Without the blanks that never carry meaning. A blank between digits or letters stays: 1 1/2 is not 11/2."""
    return _LOOSE_SPACE.sub("", text)


def clean(text: str) -> str:
    """The same answer in plain ASCII LaTeX, without wrappers around it, spacing commands, or a closing full stop."""
    if not text.isascii():
        text = _RAISED_RUN.sub(lambda run: "^{" + "".join(_RAISED[c] for c in run[0]) + "}", text)
        text = _LOWERED_RUN.sub(lambda run: "_{" + "".join(_LOWERED[c] for c in run[0]) + "}", text)
        text = unicodedata.normalize("NFKC", text.translate(_UNICODE))
    if "\\" in text or "{" in text:
        text = _SPACES.sub(" ", _INVISIBLE.sub("", _THOUSANDS.sub("", text)))
    elif "~" in text:
        text = text.replace("~", " ")
    return unwrap(text)


_PAIRS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"), ("`", "`"))
_WRAPPER = re.compile(r"\\(?:boxed|fbox|text|textbf|textit|textrm|mathrm|mathbf|boldsymbol|bm|mbox|ensuremath|displaystyle)?\s*\{")


def unwrap(text: str) -> str:
    """Without delimiters, braces and boxes that hold the whole of it, and without closing punctuation."""
    for _ in range(8):
        before = text
        text = text.strip()
        if text.endswith((".", ",", ";")) and not text.endswith(("..", r"\,", r"\;")):
            text = text[:-1].rstrip()
        for start, end in _PAIRS:
            if len(text) > len(start) + len(end) and text.startswith(start) and text.endswith(end):
                inner = text[len(start) : -len(end)]
                if start not in inner and not (start == "$" and inner.endswith("\\")):
                    text = inner
        text = _without_braces(text)
        if text == before:
            break
    return text


def _without_braces(text: str) -> str:
    start = 1 if text.startswith("{") else 0
    if not start and (found := _WRAPPER.match(text)):
        start = found.end()
    if start and match_brace(text, start) == len(text) - 1:
        return text[start:-1]
    return text


def match_brace(text: str, start: int) -> int:
    """Where the brace opened just before `start` closes, or -1. Escaped braces do not count."""
    depth, at = 1, start
    while at < len(text):
        char = text[at]
        if char == "\\":
            at += 1
        elif char == "{":
            depth += 1
        elif char == "}":
            depth -= 1
            if not depth:
                return at
        at += 1
    return -1


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    """`num`, `sym`, `cmd`, `text`, `op`, `open`, `close`, `rel`, `sep`, `base`, or `end` after the last."""
    text: str
    value: Fraction | None = None
    digits: int = 0
    spaced: bool = False
    """Whether a blank stood in front."""


class NotMath(ValueError):
    """The text is outside of the grammar, or past its limits."""


FUNCTIONS = frozenset(
    "sin cos tan cot sec csc sinh cosh tanh arcsin arccos arctan ln log lg exp max min gcd lcm det floor ceil abs "
    "sqrt asin acos atan arccot arcsec arccsc sgn coth".split()
)
_WORD_COMMANDS = {
    "pi": "pi", "theta": "theta", "alpha": "alpha", "beta": "beta", "inf": "infty", "infinity": "infty", "infty": "infty",
    "oo": "infty", "sqrt": "sqrt", "cbrt": "cbrt", "lambda": "lambda",
}  # fmt: skip
_RELATIONS = {
    "=": "=", "<": "<", ">": ">", "lt": "<", "gt": ">", "le": "<=", "leq": "<=", "leqslant": "<=", "ge": ">=", "geq": ">=",
    "geqslant": ">=", "ne": "!=", "neq": "!=", "approx": "~", "simeq": "~", "sim": "~", "equiv": "==", "in": "in",
    "<=": "<=", ">=": ">=", "!=": "!=", "==": "=", "=<": "<=", "cong": "==", "leqq": "<=", "geqq": ">=", "doteq": "~",
    "not=": "!=", ":=": "=", "Rightarrow": "=>", "implies": "=>", "to": "->", "rightarrow": "->",
}  # fmt: skip
_OPERATORS = {
    "cdot": "*", "times": "*", "ast": "*", "div": "/", "pm": "pm", "mp": "mp", "ldots": "...", "dots": "...", "cdots": "...",
    "cup": "cup", "cap": "cap", "setminus": "setminus", "backslash": "setminus", "%": "%", "mid": "|", "vert": "|",
    "lvert": "|", "rvert": "|", "colon": ":", "bullet": "*", "cdotp": "*", "dotsc": "...", "lor": "or", "vee": "or", "land": "and", "wedge": "and",
    "smallsetminus": "setminus", "dotsb": "...",
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
_TEXT = frozenset(("text", "textbf", "textit", "textrm", "mbox", "textnormal", "textsf", "emph", "hbox", "texttt", "textup"))
_FONT = frozenset(("mathrm", "mathbf", "operatorname", "mathit", "mathcal", "boldsymbol", "bm", "rm", "bf", "mathsf", "vec",
                   "overrightarrow", "hat", "mathbb", "underline"))  # fmt: skip
_SYNONYMS = {"dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "dbinom": "binom", "tbinom": "binom", "varphi": "phi",
             "varepsilon": "epsilon", "vartheta": "theta", "degree": "circ", "varnothing": "emptyset", "bar": "overline",
             "choose": "choose", "square": "square"}  # fmt: skip

_SCAN = re.compile(
    r"""(?P<space>\s+)
    |(?P<base>(?:\d[0-9A-Z]{0,400}(?:\.[0-9A-Z]{1,400})?|[A-F]{2,64})_(?:\{\s*(?:\d{1,2}|[a-z]{3,7}|\\text\{\s*[a-z]{3,7}\s*\})\s*\}|\d{1,2}))
    |(?P<radix>0[xX][0-9a-fA-F]{1,400}|0b[01]{1,1000}(?![0-9a-zA-Z]))
    |(?P<num>(?:\d{1,3}(?:[ ]\d{3})+(?!\d)|\d{1,3}(?:,\d{3})+(?!\d|,\d)|\d+)(?:\.\d+|\.(?!\.))?(?:[eE][+-]?\d{1,6}(?![a-zA-Z\d]))?|\.\d+)
    |(?P<cmd>\\(?:[a-zA-Z]+\*?|.))
    |(?P<dots>\.\.\.?)
    |(?P<rel><=|>=|=<|!=|==|:=|=|<|>)
    |(?P<word>[a-zA-Z]+)
    |(?P<bracket>[()\[\]{}])
    |(?P<op>\*\*|[-+*/^_!|,;:&'%$?\u20ac\u00a3\u00a5.])""",
    re.VERBOSE | re.DOTALL,
)


def tokenize(text: str) -> list[Token]:
    """The tokens of a cleaned text, closed by one of kind `end`; NotMath for characters or sizes outside the grammar."""
    if len(text) > MAX_CHARS:
        raise NotMath("too long")
    tokens: list[Token] = []
    at, spaced, depth = 0, False, 0
    while at < len(text):
        found = _SCAN.match(text, at)
        if not found or len(tokens) > MAX_TOKENS:
            raise NotMath("outside of the grammar")
        at, group, piece = found.end(), found.lastgroup or "", found[0]
        if group == "space":
            spaced = True
            continue
        if group == "word" and tokens and piece in UNITS and len(piece) > 1 and tokens[-1].kind in ("num", "close"):
            tokens.append(Token("text", piece))
            spaced = False
            continue
        if group == "num" and depth and "," in piece:
            piece = piece[: piece.index(",")]
            at = found.start() + len(piece)
        if group == "cmd" and piece.rstrip("*")[1:] in _TEXT | _FONT:
            new, at = _worded(piece.rstrip("*")[1:], text, at)
        else:
            new = _TOKENS[group](piece)
        depth += sum((token.kind == "open") - (token.kind == "close") for token in new if token.text != "{")
        tokens += [Token(t.kind, t.text, t.value, t.digits, spaced and not i) for i, t in enumerate(new)]
        spaced = False
    return [*tokens, Token("end", "")]


def _worded(name: str, text: str, at: int) -> tuple[list[Token], int]:
    """What \\text{..}, \\mathrm{..} and their kind hold."""
    start = at
    while start < len(text) and text[start].isspace():
        start += 1
    if start >= len(text) or text[start] != "{":
        return [], at
    end = match_brace(text, start + 1)
    if end < 0:
        raise NotMath("unbalanced")
    content = text[start + 1 : end].strip()
    if name == "mathbb":
        return [Token("sym", "\\" + content)], end + 1
    if name in _FONT and content in FUNCTIONS:
        return [Token("cmd", content)], end + 1
    if len(content) == 1 and content.isalpha() and name in _FONT | {"textit"}:
        return [Token("sym", content)], end + 1
    if name in _FONT and not re.fullmatch(r"[a-zA-Z]{2,}(?:[ ./][a-zA-Z]+)*", content):
        return tokenize(content)[:-1], end + 1
    return _texted(content), end + 1


def _texted(content: str) -> list[Token]:
    content = content.replace("$", "").strip()
    core = content.strip(" ,;").lower()
    if core in ("and", "or", ""):
        return [Token("sep", core or ",")] if core or "," in content else []
    if re.fullmatch(r"[-+]?[\d.,/]+\s*%?", content):
        return tokenize(content)[:-1]
    return [Token("text", content)]


def _number(piece: str) -> list[Token]:
    mantissa, mark, exponent = piece.replace(",", "").replace(" ", "").replace("E", "e").partition("e")
    if len(mantissa) > 4_000 or (mark and abs(int(exponent)) > 4_000):
        raise NotMath("too many digits")
    value = Fraction(mantissa.rstrip(".") or "0") * Fraction(10) ** int(exponent or 0)
    written = mantissa.replace(".", "").lstrip("0")
    return [Token("num", mantissa, value, max(1, len(written)) if "." in mantissa.rstrip(".") else 0)]


_WORD_BASES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
               "eleven": 11, "twelve": 12, "sixteen": 16}  # fmt: skip


def _based(piece: str) -> list[Token]:
    """A numeral with its base, 204_5 or 1A_{16}; a digit that the base lacks makes it a product, 2x_1."""
    numeral, _, mark = piece.rpartition("_")
    name = mark.replace("\\text", "").strip("{} ")
    base = int(name) if name.isdigit() else _WORD_BASES.get(name, 0)
    whole, _, rest = numeral.partition(".")
    places = [int(digit, 36) for digit in whole + rest]
    if not 2 <= base <= 36 or (not numeral[0].isdigit() and base != 16) or max(places) >= base:
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
    if name in ("not", "Big", "big", "hline", "%"):
        return []
    return [Token("cmd", name)]


def _word(piece: str) -> list[Token]:
    low = piece.lower()
    if low in ("and", "or"):
        return [Token("sep", low)]
    if low in ("percent", "pct"):
        return [Token("op", "%")]
    if low in ("union", "u") and (low == "union" or piece == "U"):
        return [Token("op", "cup")] if low == "union" else [Token("sym", "U")]
    if piece in _WORD_COMMANDS or piece in FUNCTIONS:
        return [Token("cmd", _WORD_COMMANDS.get(piece, piece))]
    for length in (6, 4, 3, 2):
        if piece[:length] in FUNCTIONS and 0 < len(piece) - length <= 2:
            return [Token("cmd", piece[:length]), *_word(piece[length:])]
    if piece.endswith("pi") and len(piece) <= 4:
        return [*(Token("sym", letter) for letter in piece[:-2]), Token("cmd", "pi")]
    if len(piece) >= 4 or piece in ("mod", "for", "the", "not", "are"):
        return [Token("text", piece)]
    return [Token("sym", letter) for letter in piece]


_TOKENS = {
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
