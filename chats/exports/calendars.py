"""12-hour markers, units, and calendars that count years differently; the data is in calendars.toml."""

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
# Everything in a printed time that is not its marker. A unit can be followed by one, as in the second example.
_NO_MARKER = re.compile(rf"\d+(?:\s?(?:{UNIT})(?!\w))?|[\s.:()\u200c]+")


@dataclass(frozen=True, eq=False)
class DayPeriods:
    """The 12-hour markers that a file can use together (CLDR: day periods), each with the first of its twelve hours."""

    first_hours: dict[str, int]
    # Locales with these markers print the year first.
    year_first: bool


DAY_PERIODS = tuple(
    DayPeriods(
        {marker: hour for half, hour in _FIRST_HOUR.items() for marker in row.get(half, ())},
        row.get("year_first", False),
    )
    for row in _DATA["markers"]
)
FIRST_HOURS = {marker: hour for periods in DAY_PERIODS for marker, hour in periods.first_hours.items()}
PERIODS_BY_MARKER = {marker: periods for periods in DAY_PERIODS for marker in periods.first_hours}

#: Name of an era → the year before its first year.
ERAS: dict[str, int] = _DATA["eras"]
#: The first year of an era can be printed as a word: 令和元年.
FIRST_OF_AN_ERA = "元"
ERA_NAMES = "|".join(map(re.escape, sorted(ERAS, key=len, reverse=True)))
_ERA_YEAR = re.compile(rf"({ERA_NAMES})\.? ?(\d+|{FIRST_OF_AN_ERA})|(\d+) ({ERA_NAMES})")

# The Persian calendar counts from 622. No other calendar that phones print has these years, which are 1971 to 2081.
_PERSIAN_YEARS = range(1350, 1460)
_PERSIAN_BEGAN = date(2024, 3, 20).toordinal() - (365 * 1402 + (8 * 1403 + 21) // 33)
# The Buddhist calendar of Thailand is 543 years ahead. Phones often print it without a label.
_BUDDHIST_FROM, _BUDDHIST_OFFSET = 2400, 543
# 2552 was 2009, the year in which WhatsApp began; no message is from 2052 yet.
_SHORT_BUDDHIST_FROM = 52


def find_marker(printed: str) -> str:
    """Return the 12-hour marker of a printed time as a key of FIRST_HOURS; other or empty text if it has none."""
    return _NO_MARKER.sub("", printed.translate(BIDI_MARKS)).lower()


def without_eras(printed: str) -> str:
    """Return the date with Gregorian years: `令和6年2月13日` becomes `2024年2月13日`."""

    def gregorian_year(match: re.Match[str]) -> str:
        era, year = match[1] or match[4], match[2] or match[3]
        return str(ERAS[era] + (1 if year == FIRST_OF_AN_ERA else int(year)))

    return _ERA_YEAR.sub(gregorian_year, printed)


def full_year(printed: int) -> int:
    """Return the year of a two-digit year: 24 is 2024, 67 is 2567 of the Buddhist calendar."""
    if printed > 99:
        return printed
    return printed + (2500 if printed >= _SHORT_BUDDHIST_FROM else 2000)


def day_number(year: int, month: int, day: int) -> int:
    """Return the proleptic ordinal of a Gregorian, Buddhist or Persian date. Raise ValueError if impossible."""
    if year in _PERSIAN_YEARS:
        return _persian(year, month, day)
    if year > _BUDDHIST_FROM:
        year -= _BUDDHIST_OFFSET
    return date(year, month, day).toordinal()


def _persian(year: int, month: int, day: int) -> int:
    """Return the ordinal of a Persian date. Raise ValueError if impossible."""
    # The 33-year rule for leap years agrees with the astronomical calendar from 1178 to 1633.
    leap = (25 * year + 11) % 33 < 8
    length = 31 if month <= 6 else 30 if month < 12 or leap else 29
    if not (1 <= month <= 12 and 1 <= day <= length):
        raise ValueError
    before = 31 * (month - 1) - max(0, month - 7)
    return _PERSIAN_BEGAN + 365 * (year - 1) + (8 * year + 21) // 33 + before + day - 1
