"""The string layer: spellings that never change a value.

Everything here is one linear pass. Wrappers, spacing commands, unicode and thousands separators go; meaning is left
to `parse` and `shape`.
"""

import re
import unicodedata

from rewards.math_answer.conditions import without_condition

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
        "⅙": r"\frac{1}{6}", "⅖": r"\frac{2}{5}", "\u200b": "", "\ufeff": "", "″": "''", "”": "''", "“": "''",
        "₹": r"\text{rupees}", "¢": r"\text{ cents}",
        "⟦": "[", "⟧": "]", "ℚ": r"\mathbb{Q}", "ℕ": r"\mathbb{N}", "ℂ": r"\mathbb{C}", "∫": r"\int ", "∑": r"\sum ",
        "∏": r"\prod ", "∉": r"\notin ", "△": r"\triangle ", "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ",
        "⌉": r"\rceil ", "ε": r"\epsilon ", "Δ": r"\Delta ", "Ω": r"\Omega ", "ψ": r"\psi ", "η": r"\eta ",
        "∧": r"\wedge ",
        "∨": r"\vee ", "⇒": r"\Rightarrow ", "⊂": r"\subset ", "⊆": r"\subseteq ", "∂": r"\partial ", "ı": "i",
    }
)  # fmt: skip
_RAISED = {**dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿⁱ", "0123456789+-ni", strict=True))}
_LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉ₙₓ", "0123456789nx", strict=True))
_RAISED_RUN = re.compile("[" + "".join(_RAISED) + "]+")
_LOWERED_RUN = re.compile("[" + "".join(_LOWERED) + "]+")
_SMALL_FRACTION = re.compile(r"([⁰¹²³⁴⁵⁶⁷⁸⁹]{1,40})[⁄∕/]([₀₁₂₃₄₅₆₇₈₉]{1,40})")

_THOUSANDS = re.compile(r"(?<=\d)\s*(?:\{\s*,\s*\}|,\s*\\!|\\text\{,\})\s*(?=\d{3})")
_INVISIBLE = re.compile(
    r"\\(?:left|right|[bB]igg?[lrm]?|displaystyle|textstyle|scriptstyle|limits|nolimits|boldmath|large|Large|LARGE|huge|small|normalsize"
    r"|blacksquare|square|Box|checkmark|qed|nonumber)(?![a-zA-Z])\.?|\\!|\\(?:text)?color ?\{[^{}]*\}"
)
_SINGLE_ESCAPE = re.compile(r"(?<!\\)\\(?:\\\\)*(?!\\)|\\\\(?![a-zA-Z,;:!{}()\[\]%$])")
"""What a text whose every backslash was doubled, as in JSON, does not have."""
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
    if text.startswith(("$", "\\text", "\\(", "\\[")):
        text = unwrap(text)
    if not text.isascii():
        text = _SMALL_FRACTION.sub(
            lambda run: rf"\frac{{{unicodedata.normalize('NFKC', run[1])}}}{{{unicodedata.normalize('NFKC', run[2])}}}",
            text,
        )
        text = _RAISED_RUN.sub(lambda run: "^{" + "".join(_RAISED[c] for c in run[0]) + "}", text)
        text = _LOWERED_RUN.sub(lambda run: "_{" + "".join(_LOWERED[c] for c in run[0]) + "}", text)
        text = unicodedata.normalize("NFKC", text.translate(_UNICODE))
    if "\\\\" in text and not _SINGLE_ESCAPE.search(text):
        text = text.replace("\\\\", "\\")
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
    if _GROUPED.fullmatch(text):
        text = text.replace(",", "")
    text = without_condition(text)
    turned = _TURNED.fullmatch(text) if text.startswith("]") or text.endswith("[") else None
    return f"{'(' if turned[1] == ']' else '['}{turned[2]}{')' if turned[3] == '[' else ']'}" if turned else text


def _feet_and_inches(found: re.Match[str]) -> str:
    return rf"{found[1]} \text{{ feet }}" + (rf"{found[2]} \text{{ inches}}" if found[2] else "")


_UNIT_NAME = r"\\(?:text|mathrm|operatorname) ?\{ ?"
_REWRITES = (
    ("USD", re.compile(r"(?:\\text ?\{ ?)?\bUSD\b\.?(?: ?\})?"), r"\\$"),
    ("Rs", re.compile(r"^(?:\\text ?\{ ?)?Rs\.? ?\}? ?(?=\d)"), r"\\text{rupees}"),
    ("per", re.compile(r"\bper cent\b"), "percent"),
    ("noon", re.compile(r"(?<=\d) ?(?:\\text ?\{ ?)?noon(?: ?\})?"), " p.m."),
    ("midnight", re.compile(r"(?<=\d) ?(?:\\text ?\{ ?)?midnight(?: ?\})?"), " a.m."),
    ("C_", re.compile(r"(?:\{ ?\})?[_^](?:\{(\d{1,9})\}|(\d))C_(?:\{(\d{1,9})\}|(\d))"), r"\\binom{\1\2}{\3\4}"),
    (
        "^",
        re.compile(r"\^ ?\{? ?\\(?:top|intercal|mathsf ?\{T\}|mathrm ?\{T\}|text ?\{T\})(?![a-zA-Z])(?: ?\})?"),
        "^T",
    ),
    ("mathbf", re.compile(r"\\in ?\\mathbf ?\{ ?([RQZNC]) ?\}"), r"\\in \\mathbb{\1}"),
    ("prime", re.compile(r"(?<=\d) ?\^ ?(?:\\prime|\{ ?\\prime ?\})"), "'"),
    ("prime", re.compile(r"(?<=\d) ?\^ ?\{ ?\\prime ?\\prime ?\}"), "''"),
    ('"', re.compile(r'(?<=\d) ?"'), "''"),
    ("'", re.compile(r"^([\d.]{1,40}) ?' ?(?:([\d.]{1,40}) ?'')?$"), _feet_and_inches),
    ("''", re.compile(r"^([\d.]{1,40}|\d+ ?\\frac ?\{\d+\} ?\{\d+\}) ?''$"), r"\1 \\text{ inches}"),
    (
        "circ",
        re.compile(r"([\d.]{1,40}) ?\^\{? ?\\circ ?\}? ?([\d.]{1,40}) ?'(?!') ?(?:([\d.]{1,40}) ?'')?"),
        lambda found: rf"({found[1]}+{found[2]}/60+{found[3] or 0}/3600)^\circ ",
    ),
    (".", re.compile(r"^\d{1,3}(?:\.\d{3}){2,}$"), lambda found: found[0].replace(".", "")),
    ("nswer", re.compile(r"^\\text ?\{ ?(?:the )?(?:final )?answer(?: is:?|:) ?\}(?=.)", re.IGNORECASE), ""),
    ("nswer", re.compile(r"^(\\text ?\{)? ?(?:the )?(?:final )?answer(?: is:?|:) ?(?=.)", re.IGNORECASE), r"\1"),
    (
        "{",
        re.compile(r"(?<![a-zA-Z\\])([fghFGHPQ]|[a-zA-Z](?=\{ ?\([^(){}]{1,60}\) ?\} ?=))\{ ?\(([^(){}]{1,60})\) ?\}"),
        r"\1(\2)",
    ),
    ("{:", re.compile(r"(?<=\d)\\text ?\{ ?: ?\}(?=\d)"), ":"),
    ("R", re.compile(r"\\R(?![a-zA-Z])|^\\math(?:bf|rm) ?\{ ?R ?\}$"), r"\\mathbb{R}"),
    ("(", re.compile(r"^(-?\$?[\d.,]{1,40}) ?\(([a-zA-Z]{4,20}(?: [a-zA-Z]{1,20}){0,4})\)$"), r"\1 \\text{ \2}"),
    (
        "$",
        re.compile(r"(?<!\\)\$([^$\\]|[^$]{1,400}[^$\\])\$(?=\s*(?:,|;|and\b|or\b)(?:\s*(?:and|or)\b)?\s*\$|\.?$)"),
        r"\1",
    ),
    ("/_", re.compile(r"\^\{?(\d{1,40})\}?/_\{?(\d{1,40})\}?"), r"\\frac{\1}{\2}"),
    ("\\not", re.compile(r"\\not ?="), r"\\ne "),
    ("\\not", re.compile(r"\\not ?\\in(?![a-zA-Z])"), r"\\notin "),
    ("degree", re.compile(r"\^? ?\\degree(?![a-zA-Z])"), r"^\\circ "),
    (
        "^",
        re.compile(rf"(?<=[\d}}])\^(?:o(?![a-zA-Z])|\{{(?:{_UNIT_NAME})?o ?\}}{{1,2}}|{_UNIT_NAME}o ?\}})"),
        r"^\\circ ",
    ),
    (
        "circ",
        re.compile(rf"\^\{{? ?\\circ ?\}}? ?(?:{_UNIT_NAME})?(Celsius|Fahrenheit|[CF])(?![a-zA-Z])(?: ?\}})?"),
        lambda found: r"\text{ celsius}" if found[1][0] == "C" else r"\text{ fahrenheit}",
    ),
    ("base", re.compile(rf"(?<=[0-9A-F]) ?(?:{_UNIT_NAME})?\( ?base (\d{{1,2}}) ?\) ?\}}?"), r"_{\1}"),
    (
        "\\{",
        re.compile(
            r"^([^{}]*)\\\{ ?\\begin ?\{(array|aligned|matrix)\}(?: ?\{[lcr| ]{1,20}\})?(.*)\\end ?\{\2\} ?$", re.DOTALL
        ),
        r"\1\\begin{cases}\3\\end{cases}",
    ),
    (
        "\\frac{\\",
        re.compile(
            r"\\frac ?\{\\(?:text|mathrm) ?\{([^{}]*)\}((?:\^(?:\d|\{\d\}))?)\} ?"
            r"\{\\(?:text|mathrm) ?\{([^{}]*)\}((?:\^(?:\d|\{\d\}))?)\}"
        ),
        r"\\text{\1\2/\3\4}",
    ),
    ("to", re.compile(r"(?<=[\d}]) ?(?:\\text ?\{ ?to ?\}|\bto\b) ?(?=\d)"), ":"),
    (
        "mod",
        re.compile(r"\( ?\\(?:mathrm|text|operatorname) ?\{ ?mod ?\} ?\{? ?(\d{1,40}) ?\}? ?\)"),
        r"\\pmod{\1}",
    ),
    (
        "mod",
        re.compile(r"(\\equiv(?![a-zA-Z])[^\\=]{1,60})\\b?mod ?\{? ?(\d{1,40}) ?\}? ?$"),
        r"\1\\pmod{\2}",
    ),
    ("\\\\", re.compile(r"\\\\ ?\[ ?-?[\d.]{1,9} ?(?:pt|em|ex|mm|cm|in) ?\]"), r"\\\\ "),
    ("mod", re.compile(r"\\pmod ?(\d+)|\(\\?b?mod ?\{?(\d+)\}?\)"), r"\\pmod{\1\2}"),
    ("mod", re.compile(r"\\pmod ?\{ ?(\d{1,40}) ?\}"), r"\\text{mod \1}"),
)
_GROUPED = re.compile(r"-?\d{4,}(?:,\d{3})+")
"""What is left of 1{,}000,000, separated in two ways."""
_TURNED = re.compile(r"([\[\]])([^\[\]]*[,;][^\[\]]*)([\[\]])")
_PAIRS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"), ("*", "*"), ("`", "`"))
_WRAPPER = re.compile(
    r"\\(?:boxed|fbox|text|textbf|textit|textrm|mathrm|mathbf|boldsymbol|bm|mbox|ensuremath|displaystyle)?\s*\{"
)


def unwrap(text: str) -> str:
    """Without delimiters, braces and boxes that hold the whole of it, and without closing punctuation."""
    for _ in range(8):
        before = text
        text = text.strip()
        if text.endswith((".", ",", ";", "\\")) and not text.endswith(("..", r"\,", r"\;")):
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
