"""Requests of the web tier, from the rows that its processes write every ten seconds.

`summarize(window)` returns requests, errors (statuses from 500), `error_share`, `p50_ms` and `p95_ms` of the API over a
window such as `timedelta(hours=1)`; `summarize(window, route=…)` of one route. `by_route(window)` returns the same for
each route, the busiest first. `series(window, points=…)` returns it for equal parts of the window, for charts.
`write(counts)` adds what one process counted, and `merge_old()` and `prune()` keep the table small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now

from ops.monitoring_models import RequestCount
from relivchats.request_counts import BOUNDS_MS, BUCKETS, Count, Key

#: Routes of the API. Health, the admin and static files are not what customers wait for.
API = "api/"

#: The charts of a longer window have hours. Two days of minutes, 230,000 rows, took half a second to sum.
MINUTES_KEPT_FOR = timedelta(hours=12)

_SUMS = ", ".join(f"coalesce(sum(buckets[{number}]), 0)::bigint" for number in range(1, BUCKETS + 1))
# Adds the arrays of an existing row and of a new one, element by element.
_ADDED = (
    "ARRAY(SELECT mine + its FROM unnest({table}.buckets, excluded.buckets)"
    " WITH ORDINALITY AS u(mine, its, n) ORDER BY n)"
)


@dataclass(frozen=True)
class Summary:
    """Requests of a window or a part of it. Durations are None without a request."""

    requests: int
    errors: int
    buckets: tuple[int, ...]

    @property
    def error_share(self) -> float:
        """Return the share of requests that ended with a status from 500, from 0 to 1."""
        return self.errors / self.requests if self.requests else 0.0

    @property
    def p50_ms(self) -> float | None:
        """Return the median duration."""
        return quantile_ms(self.buckets, 0.5)

    @property
    def p95_ms(self) -> float | None:
        """Return the duration that 95 % of the requests did not exceed."""
        return quantile_ms(self.buckets, 0.95)


@dataclass(frozen=True)
class RouteSummary(Summary):
    """The requests of one route."""

    route: str


@dataclass(frozen=True)
class PartSummary(Summary):
    """The requests of a part of a window that starts at `at`."""

    at: datetime


def quantile_ms(buckets: Sequence[int], share: float) -> float | None:
    """Return a quantile by linear interpolation within its bucket, as Prometheus' histogram_quantile does.

    Return None without requests, and the last bound for a quantile in the last bucket, which has none.
    """
    rank = share * sum(buckets)
    if not rank:
        return None
    below = 0
    for number, count in enumerate(buckets):
        if count and below + count >= rank:
            if number == len(BOUNDS_MS):
                break
            lower = BOUNDS_MS[number - 1] if number else 0
            return round(lower + (BOUNDS_MS[number] - lower) * (rank - below) / count, 1)
        below += count
    return float(BOUNDS_MS[-1])


def summarize(window: timedelta, *, route: str = "", until: timedelta = timedelta()) -> Summary:
    """Return the requests of the API, or of one route, in a window that ended `until` ago.

    Windows consist of whole minutes, and after MINUTES_KEPT_FOR of whole hours.
    """
    (row,) = _select("", window=window, until=until, route=route)
    return Summary(*_numbers(row))


def by_route(window: timedelta) -> list[RouteSummary]:
    """Return the requests of each route in a window that ends now, the busiest first."""
    rows = _select("route", window=window)
    found = [RouteSummary(*_numbers(row[1:]), route=row[0]) for row in rows]
    return sorted(found, key=lambda summary: summary.requests, reverse=True)


def series(window: timedelta, *, points: int, route: str = "") -> list[PartSummary]:
    """Return the requests in each of `points` equal parts of a window that ends now; a part without any has zeros."""
    seconds = max(60, round(window.total_seconds() / points))
    rows = _select(f"floor(date_part('epoch', at) / {seconds})::bigint", window=window, route=route)
    found = {row[0]: _numbers(row[1:]) for row in rows}
    with connection.cursor() as cursor:
        cursor.execute("SELECT floor(extract(epoch FROM now()) / %s)::bigint", [seconds])
        last = cursor.fetchone()[0]
    empty = (0, 0, (0,) * BUCKETS)
    return [
        PartSummary(*found.get(number, empty), at=datetime.fromtimestamp(number * seconds, UTC))
        for number in range(last - points + 1, last + 1)
    ]


def _select(group: str, *, window: timedelta, until: timedelta = timedelta(), route: str = "") -> list[Any]:
    """Return rows of the group, the number of requests and of errors, and the sum of each bucket."""
    grouped = f"{group}, " if group else ""
    # One pass with an aggregate for each bucket: unnest() would make nineteen rows of each.
    query = f"""
        SELECT {grouped}coalesce(sum(requests), 0)::bigint,
            coalesce(sum(requests) FILTER (WHERE status >= 500), 0)::bigint, {_SUMS}
        FROM request_counts
        WHERE at >= now() - make_interval(secs => %s) AND at < now() - make_interval(secs => %s)
            AND (route = %s OR (%s AND starts_with(route, %s)))
        {f"GROUP BY {group}" if group else ""}
    """  # noqa: S608 - constants of this module
    with connection.cursor() as cursor:
        cursor.execute(query, [(window + until).total_seconds(), until.total_seconds(), route, not route, API])
        rows: list[Any] = cursor.fetchall()
    return rows


def _numbers(row: Sequence[Any]) -> tuple[int, int, tuple[int, ...]]:
    return row[0], row[1], tuple(row[2:])


@transaction.atomic
def write(counts: Mapping[Key, Count]) -> None:
    """Add counts to the rows of their minutes and to the totals."""
    # Sorted, so that two processes lock the rows in the same order.
    rows = [
        (datetime.fromtimestamp(key.minute * 60, UTC), *_values(key, count)) for key, count in sorted(counts.items())
    ]
    totals: dict[tuple[str, str, int], Count] = {}
    for key, count in sorted(counts.items()):
        totals.setdefault((key.route, key.method, key.status), Count()).add(count)
    total_rows = [_values(Key(0, *what), count) for what, count in sorted(totals.items())]
    with connection.cursor() as cursor:
        for table, prefix, unique, values in (
            ("request_counts", "at, ", "at, route, method, status", rows),
            ("request_totals", "", "route, method, status", total_rows),
        ):
            if not values:
                continue
            place = f"({', '.join(['%s'] * (len(values[0]) - 1))}, %s::bigint[])"
            cursor.execute(
                f"INSERT INTO {table} ({prefix}route, method, status, requests, milliseconds, buckets)"  # noqa: S608
                f" VALUES {', '.join([place] * len(values))} ON CONFLICT ({unique}) DO UPDATE SET"
                f" requests = {table}.requests + excluded.requests,"
                f" milliseconds = {table}.milliseconds + excluded.milliseconds,"
                f" buckets = {_ADDED.format(table=table)}",
                [value for row in values for value in row],
            )


def _values(key: Key, count: Count) -> tuple[Any, ...]:
    return key.route[:200], key.method, key.status, sum(count.buckets), round(count.milliseconds), count.buckets


@transaction.atomic
def merge_old() -> None:
    """Merge the minutes that are older than MINUTES_KEPT_FOR into hours, at most three days of them."""
    with connection.cursor() as cursor:
        # Beat may run twice.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('merge request counts'))")
        cursor.execute(
            f"""
            WITH moved AS (
                DELETE FROM request_counts
                WHERE at < date_trunc('hour', now() - make_interval(secs => %(kept)s)) AND at <> date_trunc('hour', at)
                    AND at < (SELECT min(at) + interval '3 days' FROM request_counts WHERE at <> date_trunc('hour', at))
                RETURNING *
            )
            INSERT INTO request_counts (at, route, method, status, requests, milliseconds, buckets)
            SELECT date_trunc('hour', at), route, method, status, sum(requests), sum(milliseconds), ARRAY[{_SUMS}]
            FROM moved GROUP BY 1, 2, 3, 4
            ON CONFLICT (at, route, method, status) DO UPDATE SET
                requests = request_counts.requests + excluded.requests,
                milliseconds = request_counts.milliseconds + excluded.milliseconds,
                buckets = {_ADDED.format(table="request_counts")}
            """,  # noqa: S608 - constants of this module
            {"kept": MINUTES_KEPT_FOR.total_seconds()},
        )


def prune() -> int:
    """Delete the counts that are older than MONITORING_DAYS, and return their number. The totals stay."""
    removed, _ = RequestCount.objects.filter(at__lt=Now() - timedelta(days=settings.MONITORING_DAYS)).delete()
    return removed
