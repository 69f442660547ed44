"""How measures are written: their titles, and which of them are shares."""

from collections.abc import Sequence


def title_of(name: str) -> str:
    """accuracy_sampled -> accuracy sampled, my_set/pass_at_4 -> my_set/pass@4; names of sets and rewards stay."""
    place, slash, measure = name.rpartition("/")
    own = measure if place.endswith("reward") else measure.replace("_at_", "@").replace("_", " ")
    return f"{place}{slash}{own}"


def is_share(name: str, values: Sequence[float]) -> bool:
    """Whether a measure is shown in percent."""
    last = name.rpartition("/")[2]
    known = last.startswith(("accuracy", "truncated", "pass_at_", "maj_at_"))
    return known or ("reward/" in name and all(abs(value) <= 1 for value in values))


def shown(value: float, share: bool) -> str:
    """0.688 as 68.8%, 27.53 as 27.5."""
    return f"{value:.1%}" if share else f"{value:.1f}"
