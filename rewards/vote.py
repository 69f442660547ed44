"""The most frequent answer, where answers may be written in several ways."""

from collections import Counter
from collections.abc import Callable, Sequence


def most_frequent(answers: Sequence[str | None], same: Callable[[str, str], bool]) -> int | None:
    """The place of an answer of the largest class, the earliest given of equally large ones; None if none is given.

    In a class every text is the `same` as every other: of 28, 0.28 and 28%, which is either, no two unlike ones vote
    together. Texts join in the order of their own votes, each the first class that takes it, and stop once no class can
    overtake the largest, so that a few texts that are slow to compare do not hold up what the others agree on. A text
    that is not the same as itself, because there is nothing in it, is no answer.
    """
    given = Counter(answer for answer in answers if answer is not None)
    votes = Counter({text: count for text, count in given.items() if same(text, text)})
    classes: list[list[str]] = []
    sizes: list[int] = []
    left = votes.total()
    for text, count in votes.most_common():
        second, first = sorted([0, 0, *sizes])[-2:]
        if first > second + left:
            break
        takes = (n for n, others in enumerate(classes) if all(same(text, other) for other in others))
        home = next(takes, len(classes))
        if home == len(classes):
            classes.append([])
            sizes.append(0)
        classes[home].append(text)
        sizes[home] += count
        left -= count
    largest = [texts for texts, size in zip(classes, sizes, strict=True) if size == max(sizes)]
    winner = min(largest, key=lambda texts: min(map(answers.index, texts)), default=None)
    return None if winner is None else answers.index(winner[0])
