"""Decide which part of a date is the day, and convert printed dates and times to wall-clock seconds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime
from itertools import pairwise
from typing import NamedTuple

from chats.exports.bidi import BIDI_MARKS
from chats.exports.calendars import (
    GREGORIAN_OR_BUDDHIST,
    HIJRI_OR_PERSIAN,
    ShortYears,
    day_number,
    find_first_hour,
    full_year,
    without_eras,
    without_month_names,
)

#: The seconds of an impossible date or time. A sum with it stays far below every date that a messenger can print.
IMPOSSIBLE = -(2**60)
FIRST_YEAR, LAST_YEAR = 1990, 2099
ORDERS = ("dmy", "mdy", "ymd")
#: The most distinct dates of a file that are kept: more days than messengers have existed.
MAX_DATES = 20_000

# WhatsApp's first year. A smaller two-digit part is not a year.
_WHATSAPP_FIRST_YEAR = 2009
# One or two pasted lines must not decide for a whole chat.
_MIN_EVIDENCE = 3
# Without impossible dates, the year comes first only if the chat then moves through this many times fewer days.
_TRAVEL_RATIO = 4
_EPOCH = date(1970, 1, 1).toordinal()
_FIRST_DAY, _LAST_DAY = date(FIRST_YEAR, 1, 1).toordinal(), date(LAST_YEAR, 12, 31).toordinal()
_FIRST_EVIDENCE = date(_WHATSAPP_FIRST_YEAR, 1, 1).toordinal() - _EPOCH
_DAY_SECONDS = 86_400
_CLOCKS_AHEAD_DAYS = 2
_NUMBERS = re.compile(r"\d+")
_SECONDS = {b"%02d" % second: second for second in range(60)}

Parts = tuple[int, int, int]


class DateOrder(NamedTuple):
    """`ambiguous` means that the file does not prove the order, so the owner may have to correct it."""

    order: str
    ambiguous: bool
    short_years: ShortYears = GREGORIAN_OR_BUDDHIST


def latest_second(now: datetime) -> int:
    """Return the last possible second of a wall clock, anywhere: clocks are up to 14 hours ahead, and can be wrong."""
    return int(now.timestamp()) + _CLOCKS_AHEAD_DAYS * _DAY_SECONDS


def date_parts(printed: bytes) -> Parts:
    """Return the three numbers of a printed date, with numbers instead of eras and names of months."""
    text = printed.decode()
    if not text.isascii() or any(map(str.isalpha, text)):
        text = without_eras(text.translate(BIDI_MARKS))
    numbers = _NUMBERS.findall(text)
    if len(numbers) == 2:
        numbers = _NUMBERS.findall(without_month_names(text))
    if len(numbers) != 3:
        # A word that is no month.
        return 0, 0, 0
    first, second, third = map(int, numbers)
    return first, second, third


def days_since_epoch(parts: Parts, order: str, short_years: ShortYears) -> int | None:
    """Return days since 1970-01-01, or None for an impossible date."""
    # More than two digits in front are the year, in any order.
    if parts[0] > 99:
        order = "ymd"
    year, month, day = (parts[order.index(part)] for part in "ymd")
    try:
        days = day_number(full_year(year, short_years), month, day)
    except ValueError:
        return None
    return days - _EPOCH if _FIRST_DAY <= days <= _LAST_DAY else None


class _DateEvidence:
    """Printed dates in file order, and their days since 1970-01-01 in each order."""

    def __init__(
        self, dates: list[bytes], orders: list[str], *, latest_day: int, short_years: ShortYears = GREGORIAN_OR_BUDDHIST
    ) -> None:
        self.dates = dates
        self.latest_day = latest_day
        self.short_years = short_years
        self.parts = {printed: date_parts(printed) for printed in set(dates)}
        self.days = {
            order: {printed: days_since_epoch(parts, order, short_years) for printed, parts in self.parts.items()}
            for order in orders
        }
        #: The number of distinct dates that are impossible in each order. No message is older than WhatsApp, or from
        #: the future.
        self.impossible = {
            order: sum(day is None or not _FIRST_EVIDENCE <= day <= latest_day for day in days.values())
            for order, days in self.days.items()
        }

    @property
    def year_last(self) -> str:
        """Return the order with the year at the end that makes fewer dates impossible."""
        return "dmy" if self.impossible["dmy"] <= self.impossible["mdy"] else "mdy"

    def is_plain(self) -> bool:
        """Return whether enough dates prove one order and none contradicts it."""
        lowest, second, *_ = sorted(self.impossible.values())
        return lowest == 0 and second >= _MIN_EVIDENCE

    def is_mostly_future(self) -> bool:
        """Return whether no order makes most dates possible, and one makes most dates later than the latest day."""
        if 2 * min(self.impossible.values()) <= len(self.parts):
            return False
        later = [sum(day is not None and day > self.latest_day for day in days.values()) for days in self.days.values()]
        return 2 * max(later) > len(self.parts)

    def year_first(self, *, wanted: bool) -> bool:
        """Return whether two-digit dates begin with the year. This is rare, so it needs evidence."""
        if "ymd" not in self.days:
            return False
        first, last = self.impossible["ymd"], self.impossible[self.year_last]
        if wanted or first > last:
            return first <= last
        if last - first >= _MIN_EVIDENCE or (first < last and 2 * (last - first) >= len(self.parts)):
            return True
        if len(self.parts) < _MIN_EVIDENCE:
            return False
        return _TRAVEL_RATIO * self.days_travelled("ymd") < self.days_travelled(self.year_last)

    def days_travelled(self, order: str) -> int:
        """Return the sum of days between consecutive dates; it is large in a wrong order."""
        return sum(abs(later - earlier) for earlier, later in pairwise(self._possible(order)))

    def steps_backward(self, order: str) -> int:
        """Return how often a date is before the date that precedes it in the file."""
        return sum(later < earlier for earlier, later in pairwise(self._possible(order)))

    def _possible(self, order: str) -> Iterator[int]:
        days = self.days[order]
        return (day for printed in self.dates if (day := days[printed]) is not None and day <= self.latest_day)


def decide_order(
    sample: list[bytes],
    everything: Callable[[], list[bytes]],
    *,
    orders: Iterable[str],
    wanted: str | None,
    american: bool,
    now: datetime | None = None,
) -> DateOrder:
    """Return the order of day, month and year. The dates are in file order; consecutive equal ones appear once.

    `orders` are the orders that the printed format allows. The criteria, in this sequence: the fewest impossible dates
    (so a part above 12 decides, or a date later than `now`), `wanted`, the fewest backward steps in time, and
    `american`, a hint at the locale. If none decides, the day comes first. `everything` returns the dates of the whole
    file; it is called only if the sample is not conclusive.

    If most dates are in the future, years of two digits are those of another calendar, provided that this helps.
    """
    candidates = [order for order in ORDERS if order in orders]
    if now is None and len(candidates) == 1:
        return DateOrder(candidates[0], ambiguous=False)
    latest_day = _LAST_DAY - _EPOCH if now is None else latest_second(now) // _DAY_SECONDS
    evidence = _DateEvidence(sample, candidates, latest_day=latest_day)
    if len(candidates) > 1 and not evidence.is_plain():
        evidence = _DateEvidence(everything(), candidates, latest_day=latest_day)
    if evidence.is_mostly_future():
        other = _DateEvidence(evidence.dates, candidates, latest_day=latest_day, short_years=HIJRI_OR_PERSIAN)
        if 2 * min(other.impossible.values()) < len(other.parts):
            evidence = other
    order, ambiguous = _decide(evidence, wanted=wanted, american=american)
    return DateOrder(order, ambiguous, evidence.short_years)


def _decide(evidence: _DateEvidence, *, wanted: str | None, american: bool) -> tuple[str, bool]:
    """Return the order, and whether it is ambiguous."""
    if len(evidence.days) == 1:
        return next(iter(evidence.days)), False
    if evidence.year_first(wanted=wanted == "ymd"):
        return "ymd", False
    if evidence.impossible["dmy"] != evidence.impossible["mdy"]:
        return evidence.year_last, False
    if wanted in ("dmy", "mdy"):
        return wanted, False
    backward = {order: evidence.steps_backward(order) for order in ("dmy", "mdy")}
    if backward["dmy"] != backward["mdy"]:
        return min(backward, key=backward.__getitem__), False
    return ("mdy" if american else "dmy"), True


class DaySeconds(dict[bytes, int]):
    """Cache of printed date → seconds at its midnight. A chat has few distinct dates."""

    def __init__(self, order: str, short_years: ShortYears) -> None:
        self.order, self.short_years = order, short_years

    def __missing__(self, printed: bytes) -> int:
        days = days_since_epoch(date_parts(printed), self.order, self.short_years)
        seconds = IMPOSSIBLE if days is None else days * _DAY_SECONDS
        # Possible dates are limited by the days of a century. Impossible ones are not, so only some are kept.
        if days is not None or len(self) < MAX_DATES:
            self[printed] = seconds
        return seconds


class TimeSeconds(dict[bytes, int]):
    """Cache of printed time, with or without a 12-hour marker → seconds after midnight."""

    def __init__(self) -> None:
        super().__init__()
        # The key is `9:05` and ` PM`, because with seconds most of the 86,400 times of a day are new.
        self._minutes: dict[tuple[bytes, bytes], int] = {}

    def __missing__(self, printed: bytes) -> int:
        minute, _, rest = printed.rpartition(b":")
        start, second = self._minutes.get((minute, rest[2:])), _SECONDS.get(rest[:2])
        if start is not None and second is not None:
            seconds = start + second
        else:
            seconds = _seconds(printed.decode())
            if second is not None and b":" in minute and seconds >= 0:
                self._minutes[minute, rest[2:]] = seconds - second
        if seconds >= 0:
            self[printed] = seconds
        return seconds


def _seconds(printed: str) -> int:
    hour, minute, second = (*map(int, _NUMBERS.findall(printed)), 0)[:3]
    if hour > 23 or minute > 59 or second > 59:
        return IMPOSSIBLE
    first_hour = find_first_hour(printed)
    # Some phones print a marker with a 24-hour time.
    if first_hour is not None and hour <= 12:
        hour = (first_hour + (hour - first_hour) % 12) % 24
    return hour * 3600 + minute * 60 + second
