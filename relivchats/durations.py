"""Short texts for durations in lists and reports."""

from __future__ import annotations

import re
from datetime import timedelta

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60))


def format_seconds(seconds: float) -> str:
    """Return `format_short` of a number of seconds."""
    return format_short(timedelta(seconds=seconds))


def format_short(duration: timedelta) -> str:
    """Return `12 s`, `3 min`, `5 h` or `2 d`: the largest unit that fits twice, rounded down. At least `0 s`."""
    seconds = max(0, int(duration.total_seconds()))
    for unit, size in _UNITS:
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def parse(text: str) -> timedelta:
    """Return the duration of a text such as `30s`, `15m`, `1h` or `7d`. Raise ValueError."""
    found = re.fullmatch(r"(\d{1,6})(s|m|min|h|d)", text.strip())
    if not found:
        raise ValueError(f"{text} is no duration: write 30m, 1h or 7d")
    seconds = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}[found[2]]
    return timedelta(seconds=int(found[1]) * seconds)
