"""In which script a completion is written: keeps a policy from mixing languages.

Scripts, not languages: English and French are both Latin, and Japanese needs Han, Hiragana and Katakana.

Letters and marks count by their Unicode script, so that a Cyrillic `а` in a Latin word is what it is. Those of no
script of their own do not count: combining accents, `ー`, mathematical letters such as `𝐱`. Nor do digits, signs and
emoji. Three things count as foreign whatever is allowed: invisible characters (zero-width space, BOM, tags, direction
overrides; not the joiners and marks that scripts need), characters without meaning (unassigned, private, surrogates),
and marks beyond the fourth in a row.
"""

from collections.abc import Sequence

from grpo_lightning.types import Record

LETTER = r"[\p{L}\p{M}--[\p{Script=Common}\p{Script=Inherited}]]"
NEEDED = r"\u00AD\u200C\u200D\u200E\u200F\u061C"
"""Soft hyphen, the joiners of Persian, Indic scripts and emoji, the marks of right-to-left text."""
HIDDEN = rf"[[\p{{Cf}}\p{{Co}}\p{{Cn}}\p{{Cs}}]--[{NEEDED}]]"
STACKED = r"(?<=\p{M}{4})\p{M}"


class Script:
    """The share of letters that belong to the allowed scripts; 0 for a text without letters.

    Args:
        scripts: Names of Unicode scripts, like `Latin`, `Han`, `Cyrillic`.

    """

    def __init__(self, scripts: Sequence[str] = ("Latin",)) -> None:
        import regex  # type: ignore[import-untyped]

        if isinstance(scripts, str) or not scripts:
            raise ValueError(f"Script.scripts: {scripts!r} is refused; give a list with at least one script")
        for script in scripts:
            try:
                regex.compile(rf"\p{{Script={script}}}" if script.replace("_", "").isalpha() else "(")
            except regex.error:
                raise ValueError(f"Script.scripts: {script!r} is no Unicode script; one is 'Latin'") from None
            if script.casefold() in ("common", "zyyy", "inherited", "zinh", "qaai", "unknown", "zzzz"):
                raise ValueError(f"Script.scripts: {script!r} has no letters that count; one that has is 'Latin'")
        self.scripts = tuple(scripts)

    def __call__(self, records: Sequence[Record]) -> list[float]:
        return [self.share(record.completion) for record in records]

    def share(self, text: str) -> float:
        """The share of one text."""
        allowed = "".join(rf"\p{{Script={script}}}" for script in self.scripts)
        letters, ours = _count(LETTER, text), _count(rf"[{LETTER}&&[{allowed}]]", text)
        foreign = _count(HIDDEN, text) + _count(STACKED, text)
        return ours / (letters + foreign) if letters else 0.0


def _count(pattern: str, text: str) -> int:
    """How many characters match; the pattern takes one."""
    import regex

    return len(regex.findall(pattern, text, flags=regex.VERSION1))
