"""The string layer: spellings that never change a value.

Everything here is one linear pass. Wrappers, spacing commands, unicode and thousands separators go; meaning is left
to `parse` and `shape`.
"""

import re
import unicodedata

MAX_CHARS = 6_000
"""Of an answer that is parsed; a longer one is compared as a string only."""

_UNICODE = str.maketrans(
    {
        "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "×": r"\times ", "÷": r"\div ", "·": r"\cdot ",
        "⋅": r"\cdot ",
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

_THOUSANDS = re.compile(r"(?<=\d)\s*(?:\{\s*,\s*\}|,\s*\\!|\\text\{,\})\s*(?=\d{3})")
_INVISIBLE = re.compile(
    r"\\(?:left|right|[bB]igg?[lrm]?|displaystyle|textstyle|scriptstyle|limits|nolimits|boldmath)(?![a-zA-Z])\.?|\\!"
)
_SPACES = re.compile(
    r"(?<!\\)\\(?:[,;:> ]|(?:quad|qquad|enspace|thinspace|hfill|newline|phantom\{[^{}]*\})(?![a-zA-Z]))|~"
)
_BASED_GROUP = re.compile(r"(?:\(([0-9A-F.]{1,200})\)|\\(?:text|mathrm|mathtt)\{([0-9A-F]{1,200})\})_(?=[{\d])")
_SPELLED_BASE = re.compile(r"(?<![0-9A-F])([0-9A-F]{1,200}) ?(?:\\text\{ ?base ?\}|base)[ -]?(\d{1,2})(?!\d)")
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
    if "_" in text or "base" in text:
        text = _SPELLED_BASE.sub(r"\1_{\2}", _BASED_GROUP.sub(r"\1\2_", text))
    for word, pattern, replacement in _REWRITES:
        if word in text:
            text = pattern.sub(replacement, text)
    text = unwrap(" ".join(text.split()))
    turned = _TURNED.fullmatch(text) if text.startswith("]") or text.endswith("[") else None
    return f"{'(' if turned[1] == ']' else '['}{turned[2]}{')' if turned[3] == '[' else ']'}" if turned else text


_REWRITES = (
    (
        "\\frac{\\",
        re.compile(r"\\frac ?\{\\(?:text|mathrm) ?\{([^{}]*)\}\} ?\{\\(?:text|mathrm) ?\{([^{}]*)\}\}"),
        r"\\text{\1/\2}",
    ),
    ("to", re.compile(r"(?<=[\d}]) ?(?:\\text ?\{ ?to ?\}|\bto\b) ?(?=\d)"), ":"),
    ("mod", re.compile(r"\\pmod ?(\d+)|\(\\?b?mod ?\{?(\d+)\}?\)"), r"\\pmod{\1\2}"),
    ("mod", re.compile(r"^([^=<>\\]{1,40})\\pmod ?\{[^{}]*\}[.]?$"), r"\1"),
)
_TURNED = re.compile(r"([\[\]])([^\[\]]*[,;][^\[\]]*)([\[\]])")
_PAIRS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"), ("`", "`"))
_WRAPPER = re.compile(
    r"\\(?:boxed|fbox|text|textbf|textit|textrm|mathrm|mathbf|boldsymbol|bm|mbox|ensuremath|displaystyle)?\s*\{"
)


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
