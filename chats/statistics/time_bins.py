"""Days, months, weekdays and hours: what an export's wall clock says."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chats.exports.parsed import wall_clock
from chats.statistics.sparse_counts import Counted, Ints, begins

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

_EPOCH = date(1970, 1, 1)
_EPOCH_WEEKDAY = 3
# Hours and months since 1970 as numbers from 0, whatever year a phone printed.
_HOURS_SHIFT, _MONTHS_SHIFT = 1 << 31, 1 << 17
_HOUR_BITS = 5


def hours_of(seconds: Ints) -> Ints:
    """Hours as a tally takes them."""
    return seconds // 3600 + _HOURS_SHIFT


def months_of(seconds: Ints) -> Ints:
    """Months as a tally takes them; `month` names them."""
    days = (seconds // 86_400).astype("datetime64[D]")
    return days.astype("datetime64[M]").astype(np.int64) + _MONTHS_SHIFT


def monthly_hours_of(seconds: Ints) -> Ints:
    """The month and the hour of the day as a tally takes them: for each person, there are far fewer than hours."""
    return months_of(seconds) << _HOUR_BITS | seconds // 3600 % 24


@cache
def month(number: int) -> str:
    """Such as `2024-02`."""
    years, months = divmod(number - _MONTHS_SHIFT, 12)
    return f"{1970 + years:04}-{months + 1:02}"


def by_hour_of_day(monthly_hours: Counted) -> list[int]:
    return _whole(np.bincount(monthly_hours.things & ((1 << _HOUR_BITS) - 1), monthly_hours.counts, 24))


def by_month(monthly_hours: Counted) -> dict[str, int]:
    sums = _sums(monthly_hours.things >> _HOUR_BITS, monthly_hours.counts)
    return {month(number): count for number, count in sums.items()}


class Hours(NamedTuple):
    """Messages by hour: `hours` counts from 1970-01-01 00:00, each hour once and in order."""

    hours: Ints
    counts: Ints

    @classmethod
    def of(cls, counted: Counted) -> Hours:
        return cls(counted.things - _HOURS_SHIFT, counted.counts)

    def by_weekday_and_hour(self) -> list[list[int]]:
        weekday = (self.hours // 24 + _EPOCH_WEEKDAY) % 7
        counts = np.bincount(weekday * 24 + self.hours % 24, self.counts, 7 * 24)
        return [_whole(row) for row in counts.reshape(7, 24)]

    def by_day(self) -> dict[int, int]:
        return _sums(self.hours // 24, self.counts)


def day(number: int) -> str:
    """Days since 1970-01-01 to an ISO date."""
    return (_EPOCH + timedelta(days=number)).isoformat()


def moment(seconds: int) -> str:
    return wall_clock(seconds).isoformat()


def streaks(days: list[int]) -> Iterator[tuple[int, int]]:
    """Runs of consecutive days as (length, last day), from days in order."""
    length = 1
    for earlier, later in pairwise([*days, 10**9]):
        if later == earlier + 1:
            length += 1
            continue
        yield length, earlier
        length = 1


def _sums(ordered: Ints, counts: Ints) -> dict[int, int]:
    """Each key, in order, with the sum of its counts."""
    starts = begins(ordered)
    return dict(zip(ordered[starts].tolist(), np.add.reduceat(counts, starts).tolist(), strict=True))


def _whole(counts: NDArray[Any]) -> list[int]:
    whole: list[int] = counts.astype(np.int64).tolist()
    return whole


def figures(hours: Hours, monthly_hours: Counted, *, first: int | None, last: int | None) -> dict[str, Any]:
    by_day, by_hour = hours.by_day(), hours.by_weekday_and_hour()
    hourly, by_weekday = by_hour_of_day(monthly_hours), [sum(row) for row in by_hour]
    days = list(by_day)
    total_days = days[-1] - days[0] + 1 if days else 0
    start, end = (None if at is None else moment(at) for at in (first, last))
    busiest_day = busiest(by_weekday)
    return {
        "date_range": {"start": start, "end": end},
        "first_message_at": start,
        "last_message_at": end,
        "total_days": total_days,
        "active_days": len(days),
        "messages_per_day_avg": ratio(sum(by_weekday), total_days),
        "messages_by_date": {day(number): count for number, count in by_day.items()},
        "messages_by_month": by_month(monthly_hours),
        "busiest_hour": busiest(hourly),
        "busiest_day": None if busiest_day is None else WEEKDAYS[busiest_day],
        "hourly_distribution": hourly,
        "daily_distribution": dict(zip(WEEKDAYS, by_weekday, strict=True)),
        "weekday_hour_distribution": dict(zip(WEEKDAYS, by_hour, strict=True)),
        **_streak_figures(days),
    }


def _streak_figures(days: list[int]) -> dict[str, Any]:
    runs = list(streaks(days)) if days else []
    length, end = max(runs, key=lambda run: run[0], default=(0, 0))
    return {
        "longest_streak_days": length,
        "longest_streak": {"start": day(end - length + 1), "end": day(end)} if runs else None,
        "current_streak_days": runs[-1][0] if runs else 0,
    }


def busiest(counts: list[int]) -> int | None:
    """The position of the largest count, the earliest of equals."""
    return counts.index(max(counts)) if any(counts) else None


def ratio(amount: int, of: int) -> float:
    return round(amount / of, 2) if of else 0.0


def percent(amount: int, of: int) -> float:
    return round(100 * amount / of, 1) if of else 0.0
