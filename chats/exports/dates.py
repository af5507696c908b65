"""The dates and times of an export: which part is the day, and printed strings to wall-clock seconds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from itertools import pairwise
from typing import NamedTuple

from chats.exports.bidi import BIDI_MARKS
from chats.exports.calendars import FIRST_HOURS, day_number, full_year, marker_of, without_eras

# Adding any time of day to it stays far below every date a messenger could print.
IMPOSSIBLE = -(2**60)
FIRST_YEAR, LAST_YEAR = 1990, 2099
ORDERS = ("dmy", "mdy", "ymd")
#: Of how many printed dates of a file anything is kept: more days than messengers have seen.
MAX_DATES = 20_000

# WhatsApp's first year: a two-digit part below it is no year.
_WHATSAPP_BEGAN = 2009
# A pasted line or two must not decide for a whole chat.
_ENOUGH_EVIDENCE = 3
# How much less a chat must move through time before its two-digit dates are read with the year first.
_MUCH_LESS = 4
_EPOCH = date(1970, 1, 1).toordinal()
_FIRST_DAY, _LAST_DAY = date(FIRST_YEAR, 1, 1).toordinal(), date(LAST_YEAR, 12, 31).toordinal()
_FIRST_EVIDENCE = date(_WHATSAPP_BEGAN, 1, 1).toordinal() - _EPOCH
_DAY_SECONDS = 86_400
_NUMBERS = re.compile(r"\d+")
_SECONDS = {b"%02d" % second: second for second in range(60)}

Parts = tuple[int, int, int]


class DateOrder(NamedTuple):
    """`ambiguous`: the file itself does not say, so a person may want to correct it."""

    order: str
    ambiguous: bool


def parts_of(printed: bytes) -> Parts:
    text = printed.decode()
    numbers = _NUMBERS.findall(without_eras(text.translate(BIDI_MARKS)) if _has_words(text) else text)
    first, second, third = map(int, numbers)
    return first, second, third


def _has_words(text: str) -> bool:
    return not text.isascii() or any(map(str.isalpha, text))


def ordinal(parts: Parts, order: str) -> int | None:
    """Days since 1970-01-01, or None for a date that no calendar has. Four digits in front are a year in any order."""
    if parts[0] > 99:
        order = "ymd"
    year, month, day = (parts[order.index(part)] for part in "ymd")
    try:
        days = day_number(full_year(year), month, day)
    except ValueError:
        return None
    return days - _EPOCH if _FIRST_DAY <= days <= _LAST_DAY else None


class _Reading:
    """Printed dates in file order, and the days that they are in each order."""

    def __init__(self, dates: list[bytes], orders: list[str]) -> None:
        self.dates = dates
        self.parts = {printed: parts_of(printed) for printed in set(dates)}
        self.days = {order: {date: ordinal(parts, order) for date, parts in self.parts.items()} for order in orders}
        self.impossible = {order: self._impossible(order) for order in orders}

    def _impossible(self, order: str) -> int:
        """How many distinct dates the order cannot be."""
        return sum(day is None or day < _FIRST_EVIDENCE for day in self.days[order].values())

    @property
    def year_last(self) -> str:
        return "dmy" if self.impossible["dmy"] <= self.impossible["mdy"] else "mdy"

    def is_plain(self) -> bool:
        """Whether enough speaks for one order, and nothing against it."""
        lowest, second, *_ = sorted(self.impossible.values())
        return lowest == 0 and second >= _ENOUGH_EVIDENCE

    def year_first(self, *, wanted: bool) -> bool:
        """Whether dates of two digits a part begin with the year: rare, so it needs a reason."""
        if "ymd" not in self.days:
            return False
        first, last = self.impossible["ymd"], self.impossible[self.year_last]
        if wanted or first > last:
            return first <= last
        if last - first >= _ENOUGH_EVIDENCE or (first < last and 2 * (last - first) >= len(self.parts)):
            return True
        if len(self.parts) < _ENOUGH_EVIDENCE:
            return False
        return _MUCH_LESS * self.travelled("ymd") < self.travelled(self.year_last)

    def travelled(self, order: str) -> int:
        """Days from each date to the next, in both directions: a wrong order leaps about."""
        return sum(abs(later - earlier) for earlier, later in pairwise(self._possible(order)))

    def steps_backward(self, order: str) -> int:
        return sum(later < earlier for earlier, later in pairwise(self._possible(order)))

    def _possible(self, order: str) -> Iterator[int]:
        days = self.days[order]
        return (day for printed in self.dates if (day := days[printed]) is not None)


def decide_order(
    sample: list[bytes],
    everything: Callable[[], list[bytes]],
    *,
    orders: Iterable[str],
    wanted: str | None,
    american: bool,
) -> DateOrder:
    """Which part is the day, from the printed dates in file order, neighbours distinct.

    `orders` are those that the printed form leaves open. The order under which
    the fewest dates are impossible is taken (so a part above 12 decides); else
    what the caller wants; else the order with the fewest steps backward in
    time; else the locale that `american` hints at; else the day comes first.
    `everything` gives the dates of the whole file, read only if the sample
    leaves a doubt.
    """
    candidates = [order for order in ORDERS if order in orders]
    if len(candidates) == 1:
        return DateOrder(candidates[0], ambiguous=False)
    reading = _Reading(sample, candidates)
    if not reading.is_plain():
        reading = _Reading(everything(), candidates)
    if reading.year_first(wanted=wanted == "ymd"):
        return DateOrder("ymd", ambiguous=False)
    if reading.impossible["dmy"] != reading.impossible["mdy"]:
        return DateOrder(reading.year_last, ambiguous=False)
    if wanted in ("dmy", "mdy"):
        return DateOrder(wanted, ambiguous=False)
    backward = {order: reading.steps_backward(order) for order in ("dmy", "mdy")}
    if backward["dmy"] != backward["mdy"]:
        return DateOrder(min(backward, key=backward.__getitem__), ambiguous=False)
    return DateOrder("mdy" if american else "dmy", ambiguous=True)


class DaySeconds(dict[bytes, int]):
    """Printed date to the seconds at its midnight; a chat has few distinct ones."""

    def __init__(self, order: str) -> None:
        self.order = order

    def __missing__(self, printed: bytes) -> int:
        days = ordinal(parts_of(printed), self.order)
        seconds = IMPOSSIBLE if days is None else days * _DAY_SECONDS
        # There are as many possible dates as a century has days; of the others only some are worth the memory.
        if days is not None or len(self) < MAX_DATES:
            self[printed] = seconds
        return seconds


class TimeSeconds(dict[bytes, int]):
    """Printed time, with or without a 12-hour marker, to seconds after midnight."""

    def __init__(self) -> None:
        super().__init__()
        # By `9:05` and ` PM`: with seconds, most of a day's 86,400 times are new.
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
    first_hour = FIRST_HOURS.get(marker_of(printed))
    # Some phones print a marker beside a 24-hour time.
    if first_hour is not None and hour <= 12:
        hour = (first_hour + (hour - first_hour) % 12) % 24
    return hour * 3600 + minute * 60 + second
