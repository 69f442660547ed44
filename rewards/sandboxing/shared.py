"""Lists, dictionaries and sets that both ends of a channel hold: one identity, and changes that follow.

Not a shared memory: each end has a copy under the same number, compares it with what it was before it writes a message,
and sends what changed.
"""

import collections
import operator
from collections.abc import Callable, Iterator

Data = list[object] | dict[object, object] | set[object] | bytearray | collections.deque[object]

_KINDS: dict[str, Callable[[], Data]] = {
    "list": list,
    "set": set,
    "bytearray": bytearray,
    "dict": dict,
    "OrderedDict": collections.OrderedDict,
    "Counter": collections.Counter,  # type: ignore[dict-item]
    "defaultdict": collections.defaultdict,
}
MUTABLE_TYPES: tuple[type, ...] = (
    list,
    set,
    bytearray,
    collections.deque,
    dict,
    collections.OrderedDict,
    collections.Counter,
    collections.defaultdict,
)
_FOLLOWED_CONTAINERS, _FOLLOWED_ITEMS = 2_000, 50_000
"""How much data is compared before each message; older data beyond it no longer follows changes."""


class SharedData:
    """The data that crossed one end of a channel, by number. One end gives even numbers, the other odd ones."""

    def __init__(self, *, even: bool) -> None:
        self._next = 0 if even else 1
        self._data: dict[int, Data] = {}
        self._numbers: dict[int, int] = {}
        self._snapshots: dict[int, list[object]] = {}

    def number_of(self, data: Data) -> int | None:
        """The number under which this very object crossed before."""
        return self._numbers.get(id(data))

    def at(self, number: int) -> Data:
        """The object of a number; KeyError if there is none."""
        return self._data[number]

    def add(self, data: Data) -> int:
        """A number for data that is about to cross for the first time."""
        number, self._next = self._next, self._next + 2
        self._remember(number, data)
        return number

    def accept(self, number: int, kind: str, longest: int | None) -> Data:
        """New empty data under a number that the other end gave; a deque holds `longest` items."""
        if number in self._data or number % 2 == self._next % 2:
            raise ValueError(f"number {number} is not free")
        data = collections.deque(maxlen=longest) if kind == "deque" else _KINDS[kind]()
        self._remember(number, data)
        return data

    def refill(self, number: int, items: list[object]) -> None:
        """Give data the items that it has at the other end."""
        data = self._data[number]
        _refill(data, items)
        if number in self._snapshots:
            self._snapshots[number] = flatten(data)

    def changes(self) -> Iterator[tuple[int, list[object]]]:
        """Numbers and items of what changed here since it last crossed."""
        for number, before in list(self._snapshots.items()):
            now = flatten(self._data[number])
            if len(now) != len(before) or not all(map(operator.is_, now, before)):
                self._snapshots[number] = now
                yield number, now

    def forget_oldest(self) -> None:
        """Stop following the oldest data once there is much of it."""
        total = sum(map(len, self._snapshots.values()))
        while self._snapshots and (len(self._snapshots) > _FOLLOWED_CONTAINERS or total > _FOLLOWED_ITEMS):
            total -= len(self._snapshots.pop(next(iter(self._snapshots))))

    def _remember(self, number: int, data: Data) -> None:
        self._data[number] = data  # kept, so that the id stays taken
        self._numbers[id(data)] = number
        self._snapshots[number] = flatten(data)


def flatten(data: Data) -> list[object]:
    """The items in order; of a dictionary keys and values in turn."""
    if isinstance(data, dict):
        return [each for pair in data.items() for each in pair]
    return list(data)


def _refill(data: Data, items: list[object]) -> None:
    if isinstance(data, dict):
        pairs = list(zip(items[::2], items[1::2], strict=True))
        data.clear()
        for key, value in pairs:
            data[key] = value
    elif isinstance(data, set):
        data.clear()
        data.update(items)
    elif isinstance(data, bytearray):
        data[:] = bytes(items)  # type: ignore[arg-type]
    else:
        data.clear()
        data.extend(items)
