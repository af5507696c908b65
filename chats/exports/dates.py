"""The dates and times of an export: which part is the day, and printed strings to wall-clock seconds."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from itertools import pairwise
from typing import NamedTuple

from chats.exports.phrases import PHRASES

# Adding any time of day to it stays far below every date a messenger could print.
IMPOSSIBLE = -(2**60)
FIRST_YEAR, LAST_YEAR = 1990, 2099
ORDERS = ("dmy", "mdy", "ymd")

# A pasted line or two must not decide for a whole chat.
_ENOUGH_EVIDENCE = 3
_EPOCH = date(1970, 1, 1).toordinal()
_DAY_SECONDS = 86_400
_NUMBERS = re.compile(r"\d+")
# Thai calendars count from the Buddha; no Gregorian year of a chat comes near it.
_BUDDHIST_FROM, _BUDDHIST_OFFSET = 2400, 543

Parts = tuple[int, int, int]


class DateOrder(NamedTuple):
    """`ambiguous`: the file itself does not say, so a person may want to correct it."""

    order: str
    ambiguous: bool


def parts_of(printed: bytes) -> Parts:
    first, second, third = (int(number) for number in _NUMBERS.findall(printed.decode()))
    return first, second, third


def ordinal(parts: Parts, order: str) -> int | None:
    """Days since 1970-01-01, or None for a date that no calendar has."""
    year, month, day = (parts[order.index(part)] for part in "ymd")
    if year < 100:
        year += 2000
    elif year > _BUDDHIST_FROM:
        year -= _BUDDHIST_OFFSET
    if not FIRST_YEAR <= year <= LAST_YEAR:
        return None
    try:
        return date(year, month, day).toordinal() - _EPOCH
    except ValueError:
        return None


def decide_order(
    sample: list[bytes], everything: Callable[[], list[bytes]], *, wanted: str | None, american: bool
) -> DateOrder:
    """Which part is the day, from the printed dates in file order, neighbours distinct.

    A four-digit or impossible first part is a year. Else a part above 12
    decides; else what the caller wants; else the order with the fewest steps
    backward in time; else the locale that `american` hints at; else the day
    comes first. `everything` gives the dates of the whole file, read only if
    the sample leaves a doubt.
    """
    parts = list(map(parts_of, sample))
    if any(first > 31 for first, _, _ in parts):
        return DateOrder("ymd", ambiguous=False)
    if wanted == "ymd" and all(ordinal(each, "ymd") is not None for each in map(parts_of, everything())):
        return DateOrder("ymd", ambiguous=False)
    day_first, month_first = _evidence(parts)
    if min(day_first, month_first) or max(day_first, month_first) < _ENOUGH_EVIDENCE:
        parts = list(map(parts_of, everything()))
        day_first, month_first = _evidence(parts)
    if day_first != month_first:
        return DateOrder("dmy" if day_first > month_first else "mdy", ambiguous=False)
    if wanted in ("dmy", "mdy"):
        return DateOrder(wanted, ambiguous=False)
    backward = {order: _steps_backward(parts, order) for order in ("dmy", "mdy")}
    if backward["dmy"] != backward["mdy"]:
        return DateOrder(min(backward, key=backward.__getitem__), ambiguous=False)
    return DateOrder("mdy" if american else "dmy", ambiguous=True)


def _evidence(dates: list[Parts]) -> tuple[int, int]:
    """How many distinct dates can only be day first, and how many only month first."""
    parts = set(dates)
    day_first = sum(first > 12 >= second for first, second, _ in parts)
    return day_first, sum(second > 12 >= first for first, second, _ in parts)


def _steps_backward(dates: list[Parts], order: str) -> int:
    days = [day for parts in dates if (day := ordinal(parts, order)) is not None]
    return sum(later < earlier for earlier, later in pairwise(days))


class DaySeconds(dict[bytes, int]):
    """Printed date to the seconds at its midnight; a chat has few distinct ones."""

    def __init__(self, order: str) -> None:
        self.order = order

    def __missing__(self, printed: bytes) -> int:
        days = ordinal(parts_of(printed), self.order)
        if days is None:
            return IMPOSSIBLE
        self[printed] = seconds = days * _DAY_SECONDS
        return seconds


class TimeSeconds(dict[bytes, int]):
    """Printed time, with or without a 12-hour marker, to seconds after midnight."""

    def __init__(self) -> None:
        super().__init__()
        self._minutes: dict[bytes, int] = {}
        self._rest: dict[bytes, int] = {}

    def __missing__(self, printed: bytes) -> int:
        seconds = self._by_halves(printed)
        if seconds is None:
            seconds = self._minutes_and_rest(printed)
        if seconds >= 0:
            self[printed] = seconds
        return seconds

    def _by_halves(self, printed: bytes) -> int | None:
        """`9:05` and `:11 PM` from two small caches: with seconds, most of a day's 86,400 times are new."""
        minutes, _, rest = printed.rpartition(b":")
        if minutes in self._minutes and rest in self._rest:
            return self._minutes[minutes] + self._rest[rest]
        return None

    def _minutes_and_rest(self, printed: bytes) -> int:
        text = printed.decode()
        hour, minute, second = (*(int(number) for number in _NUMBERS.findall(text)), 0)[:3]
        marker = "".join(char for char in text if char.isalpha()).lower()
        if hour > 23 or minute > 59 or second > 59:
            return IMPOSSIBLE
        if not marker:
            noon_seconds = 0
        elif hour > 12:
            # Some phones print a marker beside a 24-hour time.
            return hour * 3600 + minute * 60 + second
        else:
            hour, noon_seconds = hour % 12, 43_200 * PHRASES.afternoon_by_marker[marker]
        minutes, _, rest = printed.rpartition(b":")
        if minutes.count(b":") == 1:
            self._minutes[minutes] = hour * 3600 + minute * 60
            self._rest[rest] = noon_seconds + second
        return hour * 3600 + minute * 60 + noon_seconds + second
