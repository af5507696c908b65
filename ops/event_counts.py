"""Unlocks and errors by the hour, counted from their rows: true at once, while samples are of the minute before."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from django.db import connection

#: The table, the time of a row, how many its rows are, and a condition. Each has an index that begins with the time.
_ROWS = {
    "unlocks": ("insight_generation_jobs", "created_at", "count(*)", "true"),
    "errors": ("error_events", "at", "sum(times)", "level IN ('ERROR', 'CRITICAL')"),
}


def per_hour(what: Literal["unlocks", "errors"], window: timedelta, *, points: int) -> list[float]:
    """Return the number per hour in each of `points` equal parts of a window that ends now, the oldest first."""
    table, at, number, condition = _ROWS[what]
    seconds = window.total_seconds()
    with connection.cursor() as cursor:
        # As Django's Now(): in a transaction, now() is its start.
        cursor.execute(
            f"""
            SELECT floor(date_part('epoch', statement_timestamp() - {at}) / %(part)s)::int, {number} FROM {table}
            WHERE {condition} AND {at} > statement_timestamp() - make_interval(secs => %(window)s)
                AND {at} <= statement_timestamp()
            GROUP BY 1
            """,  # noqa: S608 - constants of this module
            {"part": seconds / points, "window": seconds},
        )
        numbers = dict(cursor.fetchall())
    return [numbers.get(part, 0) * 3600 * points / seconds for part in reversed(range(points))]
