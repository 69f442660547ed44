"""What is said of records that a reward could not score: enough to see what is wrong, without burying the log."""

import logging
import math
import time
from collections.abc import Callable

from grpo_lightning.pool import Outcome
from grpo_lightning.types import Record

log = logging.getLogger(__name__)

LOGGED_PER_MINUTE = 5
"""Failed records that one reward shows per minute: enough to see what is wrong, too few to bury the rest of the log."""

SHOWN_CHARACTERS = 200
"""A text of a failed record is cut here in messages."""


class FailureLog:
    """Warns of one reward's failures, a few in full per minute; how many more there were, the next warning says."""

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._clock = clock
        self._opened = -math.inf
        self._shown = 0
        self._hidden = 0

    def warn(self, record: Record, outcome: Outcome) -> None:
        if self._clock() - self._opened > 60.0:
            self._opened, self._shown = self._clock(), 0
        if self._shown == LOGGED_PER_MINUTE:
            self._hidden += 1
            return
        hidden = f" ({self._hidden} more since the last such line)" if self._hidden else ""
        log.warning("reward %r: %s: %s; %s%s", self._name, outcome.failure, outcome.cause, shown(record), hidden)
        self._shown, self._hidden = self._shown + 1, 0


def shown(record: Record) -> str:
    """The texts of a record, each on one line and cut."""
    texts = {"prompt": record.prompt, "completion": record.completion, "answer": record.answer}
    return ", ".join(f"{name} {_cut(text)}" for name, text in texts.items())


def _cut(text: str | None) -> str:
    if text is None or len(text) <= SHOWN_CHARACTERS:
        return repr(text)
    return f"{text[:SHOWN_CHARACTERS]!r}… ({len(text)} characters)"
