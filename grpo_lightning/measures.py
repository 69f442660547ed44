"""How measures are written: their titles, and which of them are shares."""

from collections.abc import Sequence


def title_of(name: str) -> str:
    """accuracy_sampled -> accuracy sampled, pass_at_4 -> pass@4."""
    return name.replace("_at_", "@").replace("_", " ")


def is_share(name: str, values: Sequence[float]) -> bool:
    """Whether a measure is shown in percent."""
    last = name.rpartition("/")[2]
    known = last.startswith(("accuracy", "truncated", "pass_at_", "maj_at_"))
    return known or ("reward/" in name and all(abs(value) <= 1 for value in values))


def shown(value: float, share: bool) -> str:
    """0.688 as 68.8%, 27.53 as 27.5."""
    return f"{value:.1%}" if share else f"{value:.1f}"
