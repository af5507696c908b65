"""What stands beside the numbers of a date or time, and calendars that count their years otherwise: calendars.toml."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from chats.exports.bidi import BIDI_MARKS

_DATA = tomllib.loads(Path(__file__).with_name("calendars.toml").read_text(encoding="utf-8"))
_FIRST_HOUR = {"morning": 0, "afternoon": 12, "noon": 10, "night": 18}
# `21 h 05 min 09 s`, `9:05 ч. PM`
UNIT = r"h|min|s|ч\.|น\.|Uhr"
_NO_MARKER = re.compile(rf"\d+(?:\s?(?:{UNIT})(?!\w))?|[\s.:()\u200c]+")


@dataclass(frozen=True, eq=False)
class Clock:
    """The 12-hour markers that stand in one file, each with the first of its twelve hours."""

    first_hours: dict[str, int]
    # Whoever has them prints the year first.
    year_first: bool


CLOCKS = tuple(
    Clock(
        {marker: hour for half, hour in _FIRST_HOUR.items() for marker in row.get(half, ())},
        row.get("year_first", False),
    )
    for row in _DATA["markers"]
)
FIRST_HOURS = {marker: hour for clock in CLOCKS for marker, hour in clock.first_hours.items()}
CLOCK_OF = {marker: clock for clock in CLOCKS for marker in clock.first_hours}

#: An era's name to the year before its first.
ERAS: dict[str, int] = _DATA["eras"]
#: The first year of an era may be printed as a word: 令和元年.
FIRST_OF_AN_ERA = "元"
ERA_NAMES = "|".join(map(re.escape, sorted(ERAS, key=len, reverse=True)))
_ERA_YEAR = re.compile(rf"({ERA_NAMES})\.? ?(\d+|{FIRST_OF_AN_ERA})|(\d+) ({ERA_NAMES})")

# Iran counts from 622. The years of no other calendar that a phone prints come near these.
_PERSIAN_YEARS = range(1350, 1460)
_PERSIAN_BEGAN = date(2024, 3, 20).toordinal() - (365 * 1402 + (8 * 1403 + 21) // 33)
# Thai calendars count from the Buddha, with or without saying so.
_BUDDHIST_FROM, _BUDDHIST_OFFSET = 2400, 543
# 2552 was 2009, when WhatsApp began; nobody has seen a message of 2052 yet.
_SHORT_BUDDHIST_FROM = 52


def marker_of(printed: str) -> str:
    """The 12-hour marker of a printed time as `FIRST_HOURS` spells it; another word, or nothing, if it has none."""
    return _NO_MARKER.sub("", printed.translate(BIDI_MARKS)).lower()


def without_eras(printed: str) -> str:
    """`令和6年2月13日` as `2024年2月13日`."""
    return _ERA_YEAR.sub(_counted_from_christ, printed)


def _counted_from_christ(found: re.Match[str]) -> str:
    year = found[2] or found[3]
    return str(ERAS[found[1] or found[4]] + (1 if year == FIRST_OF_AN_ERA else int(year)))


def full_year(printed: int) -> int:
    """The year that two digits mean: 24 is 2024, 67 is 2567 of the Buddhist calendar."""
    if printed > 99:
        return printed
    return printed + (2500 if printed >= _SHORT_BUDDHIST_FROM else 2000)


def day_number(year: int, month: int, day: int) -> int:
    """Proleptic Gregorian ordinal of a date that may be Buddhist or Persian. Raises ValueError if there is none."""
    if year in _PERSIAN_YEARS:
        return _persian(year, month, day)
    if year > _BUDDHIST_FROM:
        year -= _BUDDHIST_OFFSET
    return date(year, month, day).toordinal()


def _persian(year: int, month: int, day: int) -> int:
    """Leap years by the 33-year rule, which holds for the years 1178 to 1633."""
    leap = (25 * year + 11) % 33 < 8
    length = 31 if month <= 6 else 30 if month < 12 or leap else 29
    if not (1 <= month <= 12 and 1 <= day <= length):
        raise ValueError
    before = 31 * (month - 1) - max(0, month - 7)
    return _PERSIAN_BEGAN + 365 * (year - 1) + (8 * year + 21) // 33 + before + day - 1
