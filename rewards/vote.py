"""The most frequent answer, where answers may be written in several ways."""

from collections.abc import Callable, Sequence


def most_frequent(answers: Sequence[str | None], same: Callable[[str, str], bool]) -> int | None:
    """The place of the first answer of the largest class, the earliest of equally large ones; None if all are None.

    An answer joins the first class whose first answer it is the `same` as, so that answers are compared with one of
    each class only, and equal texts never.
    """
    places: list[int] = []
    votes: list[int] = []
    known: dict[str, int] = {}
    for place, answer in enumerate(answers):
        if answer is None:
            continue
        if answer not in known:
            firsts = ((number, answers[first]) for number, first in enumerate(places))
            found = next((n for n, first in firsts if first is not None and same(answer, first)), len(places))
            if found == len(places):
                places.append(place)
                votes.append(0)
            known[answer] = found
        votes[known[answer]] += 1
    return places[votes.index(max(votes))] if votes else None
