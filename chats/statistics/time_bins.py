"""Bins for wall-clock times: days, months, weekdays and hours, counted as numbers and formatted at the end.

Times are seconds since 1970-01-01 00:00 on the export's own clock, without a zone.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chats.exports.parsed import wall_clock
from chats.statistics.sparse_counts import IntArray, SparseCounts, run_starts

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

_EPOCH = date(1970, 1, 1)
_EPOCH_WEEKDAY = 3
# Sparse counters take items from 0, and a phone with a wrong clock prints years before 1970.
_HOURS_OFFSET, _MONTHS_OFFSET = 1 << 31, 1 << 17
_HOUR_BITS = 5
_HOUR_MASK = (1 << _HOUR_BITS) - 1


def hour_bins(seconds: IntArray) -> IntArray:
    """Return the hour of each time as a bin for `count_by_day` and `count_by_weekday_and_hour`."""
    return seconds // 3600 + _HOURS_OFFSET


def month_bins(seconds: IntArray) -> IntArray:
    """Return the month of each time as a bin for `format_month`."""
    days = (seconds // 86_400).astype("datetime64[D]")
    return days.astype("datetime64[M]").astype(np.int64) + _MONTHS_OFFSET


def month_hour_bins(seconds: IntArray) -> IntArray:
    """Return the month and the hour of the day of each time, as a bin for `count_by_month` and `count_by_hour_of_day`.

    Counted per person, these bins are far fewer than hours: 24 a month instead of 720.
    """
    return month_bins(seconds) << _HOUR_BITS | seconds // 3600 % 24


def count_by_hour_of_day(month_hours: SparseCounts) -> list[int]:
    """Return 24 counts, from midnight."""
    return _to_ints(np.bincount(month_hours.items & _HOUR_MASK, month_hours.counts, 24))


def count_by_month(month_hours: SparseCounts) -> dict[str, int]:
    """Return the count of each month that has any, in order, by a key such as `2024-02`."""
    sums = _sum_runs(month_hours.items >> _HOUR_BITS, month_hours.counts)
    return {format_month(month): count for month, count in sums.items()}


def count_by_weekday_and_hour(hours: SparseCounts) -> list[list[int]]:
    """Return 24 counts for each weekday, from Monday."""
    since_epoch = hours.items - _HOURS_OFFSET
    weekday = (since_epoch // 24 + _EPOCH_WEEKDAY) % 7
    counts = np.bincount(weekday * 24 + since_epoch % 24, hours.counts, 7 * 24)
    return [_to_ints(row) for row in counts.reshape(7, 24)]


def count_by_day(hours: SparseCounts) -> dict[int, int]:
    """Return the count of each day that has any, in order, by days since 1970-01-01."""
    return _sum_runs((hours.items - _HOURS_OFFSET) // 24, hours.counts)


@cache
def format_month(month: int) -> str:
    """Return a bin of `month_bins` as `2024-02`."""
    years, months = divmod(month - _MONTHS_OFFSET, 12)
    return f"{1970 + years:04}-{months + 1:02}"


def format_day(days: int) -> str:
    """Return the ISO date of a number of days since 1970-01-01."""
    return (_EPOCH + timedelta(days=days)).isoformat()


def format_timestamp(seconds: int) -> str:
    """Return the ISO date and time of a wall-clock time, without a zone."""
    return wall_clock(seconds).isoformat()


def _sum_runs(bins: IntArray, counts: IntArray) -> dict[int, int]:
    starts = run_starts(bins)
    return dict(zip(bins[starts].tolist(), np.add.reduceat(counts, starts).tolist(), strict=True))


def _to_ints(counts: NDArray[Any]) -> list[int]:
    # bincount returns floats when it sums weights.
    ints: list[int] = counts.astype(np.int64).tolist()
    return ints
