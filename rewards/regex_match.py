"""A regular expression over the completion, with a time limit.

Uses the `regex` package, not `re`: model output makes a careless pattern backtrack for hours, and only `regex` can be
stopped. Its syntax is that of `re` and more: https://pypi.org/project/regex/.
"""

from collections.abc import Sequence

from grpo_lightning.types import Record

SECONDS = 0.5
"""What one search may take; a sound pattern takes milliseconds on the longest completion."""


def check_pattern(key: str, pattern: str, groups: int | None = None) -> None:
    """Refuses what is no pattern, or has another number of capturing groups; `key` names the setting."""
    import regex  # type: ignore[import-untyped]

    if not pattern:
        raise ValueError(f"{key}: an empty pattern is refused; it would match everything")
    try:
        found = regex.compile(pattern).groups
    except regex.error as error:
        raise ValueError(f"{key}: {pattern!r} is no regular expression: {error}") from None
    if groups is not None and found != groups:
        raise ValueError(f"{key}: {pattern!r} has {found} capturing groups; it must have {groups}")


def matches(key: str, pattern: str, text: str, whole: bool = False) -> bool:
    """Whether the pattern occurs in the text, or is the whole of it. Raises TimeoutError after SECONDS."""
    import regex

    try:
        return (regex.fullmatch if whole else regex.search)(pattern, text, timeout=SECONDS) is not None
    except TimeoutError:
        raise TimeoutError(_too_slow(key, pattern, text)) from None


def last_group(key: str, pattern: str, text: str) -> str | None:
    """What the pattern's one group holds where it matches last in the text. Raises TimeoutError after SECONDS."""
    import regex

    try:
        found: list[str] = regex.findall(pattern, text, timeout=SECONDS)
    except TimeoutError:
        raise TimeoutError(_too_slow(key, pattern, text)) from None
    return found[-1] if found else None


def _too_slow(key: str, pattern: str, text: str) -> str:
    return f"{key}: {pattern!r} took over {SECONDS} s on {len(text)} characters; avoid nested and adjacent repeats"


class Regex:
    """1 where the completion matches a pattern.

    A search that takes longer than half a second raises TimeoutError, so that it is counted and the pattern mended,
    and a completion that provokes it is scored by `fail`.

    Args:
        pattern: The regular expression. `(?s)` in front lets `.` match newlines, `(?i)` ignores case.
        whole: It must match the completion from end to end; false: somewhere in it.

    """

    def __init__(self, pattern: str, whole: bool = False) -> None:
        check_pattern("Regex.pattern", pattern)
        self.pattern, self.whole = pattern, whole

    def __call__(self, records: Sequence[Record]) -> list[float]:
        return [float(matches("Regex.pattern", self.pattern, record.completion, self.whole)) for record in records]
