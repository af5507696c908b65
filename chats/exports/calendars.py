"""12-hour markers, units, names of months, and calendars that count years differently.

The data is in calendars.toml, day_periods.toml and month_names.toml. The last two are read when a file needs them.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from chats.exports.bidi import BIDI_MARKS


def _load(name: str) -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))


_DATA = _load("calendars.toml")
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


def _day_periods(rows: list[dict[str, Any]]) -> tuple[DayPeriods, ...]:
    return tuple(
        DayPeriods(
            {marker: hour for half, hour in _FIRST_HOUR.items() for marker in row.get(half, ())},
            row.get("year_first", False),
        )
        for row in rows
    )


#: Markers that many phones print.
DAY_PERIODS = _day_periods(_DATA["markers"])
_FIRST_HOURS = {marker: hour for periods in DAY_PERIODS for marker, hour in periods.first_hours.items()}


@cache
def rare_day_periods() -> tuple[DayPeriods, ...]:
    """Return the sets of markers that few phones print, such as `in the morning`."""
    return _day_periods(_load("day_periods.toml")["markers"])


@cache
def _months() -> dict[str, int]:
    return {name: int(month) for month, names in _load("month_names.toml")["months"].items() for name in names}


#: Name of an era → the year before its first year.
ERAS: dict[str, int] = _DATA["eras"]
#: The first year of an era can be printed as a word: 令和元年.
FIRST_OF_AN_ERA = "元"
ERAS.update(dict.fromkeys(_DATA["hijri_eras"], 0) | ERAS)
ERA_NAMES = "|".join(map(re.escape, sorted(ERAS, key=len, reverse=True)))
_ERA_YEAR = re.compile(rf"({ERA_NAMES})\.? ?(\d+|{FIRST_OF_AN_ERA})|(\d+) ({ERA_NAMES})")
_ERA_AFTER_YEAR_FIRST = re.compile(rf"^(\d{{3,4}})(\D+\d+\D+\d+) ({ERA_NAMES})$")
# An English or Indonesian phone can print the Hijri era as H, which is also that of Heisei.
_HIJRI_ERAS = frozenset(_DATA["hijri_eras"])
_LAST_HEISEI_YEAR = 31
#: The name of a month in a date, without the words and endings around it.
MONTH_NAME = r"[^\W\d_][^\d\s,،:()\[\]/\-]{1,24}"
_MONTH_NAME = re.compile(MONTH_NAME)

# The Persian calendar counts from 622. Until 2050, no other calendar that phones print has these years.
_PERSIAN_YEARS = range(1350, 1430)
# The Hijri year 1430 began in December 2008. 1500 is the last year in the tables of Umm al-Qura, which phones use too.
_HIJRI_YEARS = range(1430, 1501)
_PERSIAN_BEGAN = date(2024, 3, 20).toordinal() - (365 * 1402 + (8 * 1403 + 21) // 33)
# The Buddhist calendar of Thailand is 543 years ahead. Phones often print it without a label.
_BUDDHIST_FROM, _BUDDHIST_OFFSET = 2400, 543
# 2552 was 2009, the year in which WhatsApp began; no message is from 2052 yet.
_SHORT_BUDDHIST_FROM = 52


def find_marker(printed: str) -> str:
    """Return the 12-hour marker of a printed time as a key of FIRST_HOURS; other or empty text if it has none."""
    return _NO_MARKER.sub("", printed.translate(BIDI_MARKS)).lower()


def find_first_hour(printed: str) -> int | None:
    """Return the first of the twelve hours that the marker of a printed time stands for; None without a marker."""
    marker = find_marker(printed)
    if not marker or marker in _FIRST_HOURS:
        return _FIRST_HOURS.get(marker)
    return next((row.first_hours[marker] for row in rare_day_periods() if marker in row.first_hours), None)


def month_number(name: str) -> int | None:
    """Return the number of a month's name or its abbreviation; None for any other word."""
    months, word = _months(), name.lower().replace(".", "")
    # Hebrew writes "in" as the first letter of the month.
    return months.get(word) or months.get(word.removeprefix("ב"))


def without_eras(printed: str) -> str:
    """Return the date with years that need no era: `令和6年2月13日` becomes `2024年2月13日`."""

    def year_of_calendar(match: re.Match[str]) -> str:
        era, printed_year = match[1] or match[4], match[2] or match[3]
        year = 1 if printed_year == FIRST_OF_AN_ERA else int(printed_year)
        if era in _HIJRI_ERAS and (era != "H" or year > _LAST_HEISEI_YEAR):
            return str(year + 1400 if year < 100 else year)
        return str(ERAS[era] + year)

    # An era at the end belongs to the year, also if the year comes first.
    return _ERA_YEAR.sub(year_of_calendar, _ERA_AFTER_YEAR_FIRST.sub(r"\3 \1\2", printed))


def without_month_names(printed: str) -> str:
    """Return the date with the month as a number and without other words: `9 Nov 2013` becomes `9 11 2013`."""
    return _MONTH_NAME.sub(lambda name: str(month_number(name[0]) or ""), printed)


class ShortYears(NamedTuple):
    """The years of two digits: what is added to those up to 51, and to those from 52."""

    low: int
    high: int


#: 24 is 2024, and 67 is 2567 of the Buddhist calendar.
GREGORIAN_OR_BUDDHIST = ShortYears(2000, 2500)
#: 45 is 1445 of the Hijri calendar, and 98 is 1398 of the Persian one. Few phones print them without the century.
HIJRI_OR_PERSIAN = ShortYears(1400, 1300)


def full_year(printed: int, short_years: ShortYears) -> int:
    """Return the year of a printed year, which can have two digits."""
    if printed > 99:
        return printed
    return printed + (short_years.high if printed >= _SHORT_BUDDHIST_FROM else short_years.low)


def day_number(year: int, month: int, day: int) -> int:
    """Return the proleptic ordinal of a Gregorian, Buddhist, Persian or Hijri date. Raise ValueError if impossible."""
    if year in _PERSIAN_YEARS:
        return _persian(year, month, day)
    if year in _HIJRI_YEARS:
        # Few files need the tables, which take longer to load than a small file takes to parse.
        from hijridate import Hijri

        return Hijri(year, month, day).to_gregorian().toordinal()
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
