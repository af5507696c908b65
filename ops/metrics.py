"""The six key metrics over a window, with their targets, the window before, and a series for a chart.

`fetch(window)` returns them in order. `report(window)` is `manage.py metrics`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from operator import add
from typing import Any

from django.conf import settings
from django.db import connection

from ops import requests
from relivchats.durations import format_short
from relivchats.staff.reports import Level, Line, Report, Table
from relivchats.terminal import plural

#: Parts of a window in a chart.
POINTS = 24
#: With fewer uploads, insights or requests, one failure would miss a target.
MIN_JUDGED = 10
TOO_FEW = "too few to judge"

#: As Django's Now(): in a transaction, now() is its start.
_NOW = "statement_timestamp()"
#: The numbers that a query of a share selects at most.
_MAX_COLUMNS = 6
_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Definition:
    """What a metric means. `target` is a limit that the value stays above or below; None means none."""

    name: str
    meaning: str
    unit: str
    target: float | None
    is_above: bool
    remedy: str

    @property
    def target_text(self) -> str:
        """Return the target, such as `> 99 %`, or an empty string."""
        return f"{'>' if self.is_above else '<'} {self.target:g} {self.unit}" if self.target is not None else ""

    def is_met(self, value: float) -> bool:
        """Return whether a value is on the right side of the target. The target itself is not."""
        if self.target is None:
            return True
        return value > self.target if self.is_above else value < self.target


@dataclass(frozen=True)
class Metric:
    """A metric over a window. `number` is how many uploads, insights, … it was computed from; None is no value.

    `remedy` is what to run if the target is missed.
    """

    definition: Definition
    value: float | None
    before: float | None
    number: int
    series: tuple[float | None, ...]
    detail: str = ""
    remedy: str = ""

    @property
    def is_judged(self) -> bool:
        """Whether there is a target, and a value of enough to compare it with."""
        return self.definition.target is not None and self.value is not None and self.number >= MIN_JUDGED

    @property
    def level(self) -> Level:
        """Return a warning if the target is missed, unless there is too little to judge."""
        if self.value is None or not self.is_judged or self.definition.is_met(self.value):
            return Level.FINE
        return Level.WARNING

    @property
    def text(self) -> str:
        """Return the value, its target and the window before, as one line."""
        parts = [self.format(self.value)]
        if self.definition.target_text:
            parts.append(f"target {self.definition.target_text}")
        if self.definition.target_text and self.value is not None and not self.is_judged:
            parts.append(TOO_FEW)
        parts.append(f"before {self.format(self.before)}")
        if self.detail:
            parts.append(self.detail)
        return ", ".join(parts)

    def format(self, value: float | None) -> str:
        """Return a value of this metric with its unit."""
        return "none" if value is None else f"{value:.4g} {self.definition.unit}"

    def as_json(self) -> dict[str, Any]:
        """Return the metric for JSON, as `load` reads it."""
        return {
            "name": self.definition.name,
            "meaning": self.definition.meaning,
            "unit": self.definition.unit,
            "target": self.definition.target_text,
            "value": self.value,
            "before": self.before,
            "number": self.number,
            "level": self.level,
            "series": self.series,
            "detail": self.detail,
            "remedy": self.remedy,
        }


UPLOAD_SUCCESS = Definition(
    "upload success",
    "accepted uploads, without files that are no export, of these and those that failed for our reasons",
    "%",
    99,
    is_above=True,
    remedy="manage.py errors --since 24h --grep upload",
)
UNLOCK_CONVERSION = Definition("unlock conversion", "new chats with an unlock", "%", None, is_above=True, remedy="")
INSIGHT_SUCCESS = Definition(
    "insight success",
    "completed insights of those that ended",
    "%",
    95,
    is_above=True,
    remedy="manage.py insights --failed",
)
TIME_PER_INSIGHT = Definition(
    "time per insight", "mean from the first claim to the completion", "s", 90, is_above=False, remedy="manage.py queue"
)
REFUND_RATE = Definition(
    "refund rate",
    "coins released because an insight failed, and coins of refunded orders, of reserved coins",
    "%",
    5,
    is_above=False,
    remedy="manage.py insights --failed",
)
API_P95 = Definition(
    "API p95",
    "duration that 95 % of the requests to the API do not exceed",
    "ms",
    # Of the check `latency` too: both judge by this definition.
    settings.HEALTH_P95_WARNING_MS,
    is_above=False,
    remedy="manage.py metrics --routes",
)

DEFINITIONS = {
    each.name: each
    for each in (UPLOAD_SUCCESS, UNLOCK_CONVERSION, INSIGHT_SUCCESS, TIME_PER_INSIGHT, REFUND_RATE, API_P95)
}

#: Each selects the part of the window, counted back from now, a numerator, a denominator, and numbers for the detail.
#: {created} and the like are the condition that this time is in the window or in the one before.
_UPLOADS = """
    SELECT {part}, count(*) FILTER (WHERE outcome NOT IN ('refused', 'failed')),
        count(*) FILTER (WHERE outcome <> 'refused'), count(*) FILTER (WHERE outcome = 'refused')
    FROM (SELECT outcome, created_at AS at FROM chat_uploads WHERE {created}) AS uploads
    GROUP BY 1
"""
# A chat is older than its unlocks, so those of new chats are in the same window. One join, because a subquery for each
# of 70,000 chats took three times as long.
_CONVERSION = """
    SELECT {part}, count(unlocked), count(*), 0
    FROM (
        SELECT chats.created_at AS at, unlocks.chat_id AS unlocked
        FROM (SELECT id, created_at FROM chats WHERE {created}) AS chats LEFT JOIN (
            SELECT DISTINCT chat_id FROM insight_generation_jobs WHERE {created}
        ) AS unlocks ON unlocks.chat_id = chats.id
    ) AS new
    GROUP BY 1
"""
# Of three metrics, because a day can have 200,000 insights: the shares, the coins of those that failed, and the number
# and the sum of the durations of those that completed.
_INSIGHTS = """
    SELECT {part}, count(*) FILTER (WHERE status = 'completed'), count(*), count(*) FILTER (WHERE status = 'failed'),
        COALESCE(sum(price) FILTER (WHERE status = 'failed'), 0),
        count(started_at) FILTER (WHERE status = 'completed'),
        COALESCE(sum(date_part('epoch', at - started_at)) FILTER (WHERE status = 'completed'), 0)
    FROM (SELECT status, price, started_at, finished_at AS at FROM insights WHERE {finished}) AS ended
    GROUP BY 1
"""
_P95 = """
    SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY date_part('epoch', finished_at - started_at))
    FROM insights WHERE {finished_now} AND status = 'completed' AND started_at IS NOT NULL
"""
# Two ranges of time, and no join: a subquery for each reservation took more than a minute with 2,000,000 insights.
_REFUNDS = """
    SELECT {part}, sum(refunded), sum(reserved), count(*) FILTER (WHERE reserved > 0), 0, sum(refunded), sum(owed)
    FROM (
        SELECT resolved_at AS at, coins AS reserved, 0 AS refunded, 0 AS owed FROM coin_reservations WHERE {resolved}
        UNION ALL
        SELECT created_at, 0, coins,
            CASE WHEN status IN ('processing', 'completed') THEN coins - taken_coins ELSE 0 END
        FROM payment_refunds WHERE {created} AND status <> 'failed'
    ) AS coins
    GROUP BY 1
"""


def fetch(window: timedelta, *, points: int = POINTS) -> list[Metric]:
    """Return the six metrics over a window that ends now, each with `points` values for a chart."""
    ended = _select(_INSIGHTS, window, points)
    return [
        _share(
            UPLOAD_SUCCESS,
            _select(_UPLOADS, window, points),
            points,
            lambda refused: f"{plural(refused, 'file')} refused as no export",
        ),
        _share(UNLOCK_CONVERSION, _select(_CONVERSION, window, points), points),
        _share(INSIGHT_SUCCESS, [row[:4] for row in ended], points, lambda failed: f"{failed} failed"),
        _time_per_insight(ended, window, points),
        _refund_rate(ended, window, points),
        _api_p95(window, points),
    ]


def load(document: Mapping[str, Any]) -> Metric:
    """Return the metric that `Metric.as_json` returned as this document."""
    return Metric(
        DEFINITIONS[document["name"]],
        document["value"],
        document["before"],
        document["number"],
        tuple(document["series"]),
        document["detail"],
        document["remedy"],
    )


#: Rows of the queries above: the part of the window, and numbers.
Rows = Sequence[tuple[Any, ...]]


def _share(definition: Definition, rows: Rows, points: int, detail: Callable[[int], str] = lambda _: "") -> Metric:
    """Return a percentage: the sum of the numerators by that of the denominators."""
    now, before, series = _shares(rows, points)
    text = detail(now[2]) if now[2] else ""
    return Metric(definition, _percent(*now[:2]), _percent(*before[:2]), now[1], series, text, definition.remedy)


def _refund_rate(ended: Rows, window: timedelta, points: int) -> Metric:
    """Return the refund rate with where its coins come from, which also decides the remedy."""
    released = [(part, coins, 0, 0, coins, 0, 0) for part, _, _, _, coins, *_ in ended]
    now, before, series = _shares([*_select(_REFUNDS, window, points), *released], points)
    coins, of, reservations, failed, refunded, owed = now[:6]
    detail = f"{plural(coins, 'coin')}: {failed} of failed insights, {refunded} of refunded orders" if coins else ""
    if owed:
        detail += f", {owed} of them spent before and owed"
    remedy = "manage.py payments" if refunded > failed else REFUND_RATE.remedy
    return Metric(REFUND_RATE, _percent(coins, of), _percent(*before[:2]), reservations, series, detail, remedy)


def _shares(rows: Rows, points: int) -> tuple[tuple[int, ...], tuple[int, ...], tuple[float | None, ...]]:
    """Return the sums of the columns over the window and over the one before, and the series of percentages."""
    parts: dict[int, tuple[int, ...]] = {}
    for part, *numbers in rows:
        parts[part] = tuple(map(add, parts.get(part, (0,) * len(numbers)), map(int, numbers)))

    def total(start: int) -> tuple[int, ...]:
        found = [parts[part] for part in range(start, start + points) if part in parts]
        return tuple(sum(column) for column in zip(*found, strict=True)) if found else (0,) * _MAX_COLUMNS

    series = tuple(_percent(*parts[part][:2]) if part in parts else None for part in reversed(range(points)))
    return total(0), total(points), series


def _percent(one: float, of: float) -> float | None:
    return round(100 * float(one) / float(of), 2) if of else None


def _time_per_insight(ended: Rows, window: timedelta, points: int) -> Metric:
    timed = {part: (number, seconds) for part, *_, number, seconds in ended}

    def mean(parts: range) -> float | None:
        number = sum(timed[part][0] for part in parts if part in timed)
        return round(sum(timed[part][1] for part in parts if part in timed) / number, 2) if number else None

    ((p95,),) = _select(_P95, window, points)
    return Metric(
        TIME_PER_INSIGHT,
        mean(range(points)),
        mean(range(points, 2 * points)),
        sum(timed[part][0] for part in range(points) if part in timed),
        tuple(mean(range(part, part + 1)) for part in reversed(range(points))),
        "" if p95 is None else f"p95 {p95:.1f} s",
        TIME_PER_INSIGHT.remedy,
    )


def _api_p95(window: timedelta, points: int) -> Metric:
    parts = requests.series(2 * window, points=2 * points)

    def summed(summaries: Sequence[requests.Summary]) -> tuple[int, ...]:
        return tuple(map(sum, zip(*(summary.buckets for summary in summaries), strict=True)))

    now, before = summed(parts[points:]), summed(parts[:points])
    return Metric(
        API_P95,
        requests.quantile_ms(now, 0.95),
        requests.quantile_ms(before, 0.95),
        sum(now),
        tuple(part.p95_ms for part in parts[points:]),
        plural(sum(now), "request"),
        API_P95.remedy,
    )


def _select(query: str, window: timedelta, points: int) -> list[tuple[Any, ...]]:
    """Return the rows of a query over the window and the one before. Part 0 is the latest part of the window."""
    # Constants of this module, and numbers.
    seconds = window.total_seconds()
    both = f"BETWEEN {_NOW} - make_interval(secs => {2 * seconds}) AND {_NOW}"
    text = query.format(
        # Not extract(), whose result is numeric: calculating with it takes most of the time.
        part=f"floor(date_part('epoch', {_NOW} - at) / {seconds / points})::int",
        created=f"created_at {both}",
        finished=f"finished_at {both}",
        finished_now=f"finished_at BETWEEN {_NOW} - make_interval(secs => {seconds}) AND {_NOW}",
        resolved=f"resolved_at {both}",
    )
    with connection.cursor() as cursor:
        cursor.execute(text)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


def sparkline(series: Sequence[float | None]) -> str:
    """Return a bar for each value, between the smallest and the largest; a space for none."""
    known = [value for value in series if value is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0
    return "".join(" " if value is None else _BARS[round((value - low) * scale)] for value in series)


def report(window: timedelta) -> Report:
    """Return a line for each metric, a warning if its target is missed."""
    lines = []
    metrics = fetch(window)
    for metric in metrics:
        definition, level = metric.definition, metric.level
        text = f"{metric.text}  {sparkline(metric.series)}".rstrip()
        remedy = metric.remedy if level is not Level.FINE else ""
        lines.append(Line(definition.name, level, text, remedy, metric.as_json()))
    return Report(
        f"Key metrics of the last {format_short(window)}", tuple(lines), data={"seconds": window.total_seconds()}
    )


def routes_report(window: timedelta) -> Report:
    """Return the requests, errors and durations of each route of the API as a table, the busiest first."""
    rows = tuple(
        (each.route, each.requests, each.errors, _percent(each.errors, each.requests), each.p50_ms, each.p95_ms)
        for each in requests.by_route(window)
    )
    columns = ("route", "requests", "errors", "errors %", "p50 ms", "p95 ms")
    return Report(f"Requests of the last {format_short(window)}", table=Table(columns, rows))
