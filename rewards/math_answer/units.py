"""Units: which words are units, and when two of them say the same.

A unit is compared only where both answers have one and both are known here; any other word behind a number is a label
(12 ways, 12 arrangements) and does not decide.
"""

import re
from fractions import Fraction

_RAW = """
length: m meter metre 1; cm centimeter centimetre 1/100; mm millimeter millimetre 1/1000; nm nanometer 1/1000000000
length: km kilometer kilometre 1000; in inch inches 127/5000; ft foot feet 381/1250; yd yard 1143/1250
length: mi mile 201168/125
mass: g gram 1; kg kilogram 1000; mg milligram 1/1000; ton tonne 1000000
mass: lb lbs pound 45359237/100000; oz ounce 45359237/1600000
time: s sec second 1; ms millisecond 1/1000; min minute 60; h hr hrs hour 3600; day 86400; week 604800
month: month 1
year: yr yrs year 1
angle: degree deg 1; arcminute 1/60; arcsecond 1/3600
radian: rad radian 1
money: cent 1/100; dollar usd $ 1
euro: euro eur € 1
sterling: £ gbp 1
yuan: yuan rmb 1
yen: yen ¥ 1
rupee: rupee rs 1
volume: l liter litre 1; ml milliliter millilitre 1/1000
gallon: gallon gal 1
percent: % 1
power: w watt 1; kw kilowatt 1000
energy: j joule 1; kj kilojoule 1000
force: n newton 1
voltage: v volt 1
current: a amp ampere 1
resistance: ohm 1
frequency: hz hertz 1; khz kilohertz 1000
pressure: pa pascal 1; kpa kilopascal 1000
celsius: °c celsius 1
fahrenheit: °f fahrenheit 1
amount: mol mole 1
cup: cup 1
"""
"""dimension: names factor; ... What has no fixed factor, like a month or a gallon, is a dimension of its own."""

Unit = tuple[frozenset[tuple[str, int]], Fraction]
"""Dimensions with their powers, and how many base units one is."""


def _table() -> dict[str, tuple[str, Fraction]]:
    table: dict[str, tuple[str, Fraction]] = {}
    for line in _RAW.strip().splitlines():
        dimension, _, entries = line.partition(": ")
        for entry in entries.split(";"):
            *names, factor = entry.split()
            table.update(dict.fromkeys(names, (dimension, Fraction(factor))))
    return table


_TABLE = _table()
_PLURALS = frozenset(name + "s" for name in _TABLE if len(name) > 2)
_POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
UNITS = frozenset(_TABLE) | _PLURALS | {"sq", "cu", "mph", "kph", "kmh", "mL", "Hz", "kHz", "kW", "kJ", "Pa", "kPa"}
ONE_LETTER_UNITS = frozenset("mgshlLJNVWA")
"""Letters that stand for a unit where a number precedes them; other letters are symbols."""
_PIECE = re.compile(r"([a-z$%€£¥°]+)\.?\s*(?:\^?\s*\{?\s*(-?\s?\d)\s*\}?)?")


def _known(name: str) -> tuple[str, Fraction] | None:
    return _TABLE.get(name) or (_TABLE.get(name[:-1]) if name.endswith("s") and len(name) > 3 else None)


def _spelled_out(text: str) -> str:
    text = text.lower().replace("squared", "^2").replace("cubed", "^3")
    return re.sub(r"\bkm/hr?\b|\bk(?:m)?ph\b", "km/h", re.sub(r"\bmph\b", "miles per hour", text))


def read_unit(text: str) -> Unit | None:
    """The unit that a text spells, or None when it is not known: `cm^2`, `square inches`, `miles per hour`."""
    top, *under = re.split(r"/|\bper\b", _spelled_out(text), maxsplit=1)
    dimensions: dict[str, int] = {}
    factor = Fraction(1)
    for part, sign in ((top, 1), *((lower, -1) for lower in under)):
        power = 1
        for name, exponent in _PIECE.findall(part):
            if name in _POWERS:
                power = _POWERS[name]
                continue
            known = _known(name)
            if known is None:
                return None
            times = sign * power * int(exponent.replace(" ", "") or 1)
            power = 1
            dimensions[known[0]] = dimensions.get(known[0], 0) + times
            factor *= known[1] ** times
    return frozenset(item for item in dimensions.items() if item[1]), factor
