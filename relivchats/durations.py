"""Lengths of time in few words, as lists and operators' lines show them."""

from __future__ import annotations

from datetime import timedelta

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60))


def format_short(span: timedelta) -> str:
    """`12 s`, `3 min`, `5 h`, `2 d`: the largest unit of which there are at least two, rounded down; never negative."""
    seconds = max(0, int(span.total_seconds()))
    for unit, size in _UNITS:
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
