"""Short texts for durations in lists and reports."""

from __future__ import annotations

from datetime import timedelta

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60))


def format_short(duration: timedelta) -> str:
    """Return `12 s`, `3 min`, `5 h` or `2 d`: the largest unit that fits twice, rounded down. At least `0 s`."""
    seconds = max(0, int(duration.total_seconds()))
    for unit, size in _UNITS:
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
