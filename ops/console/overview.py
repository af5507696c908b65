"""The overview: the verdict and its cause, what waits for a person, the six metrics, charts and all checks."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil
from django.http import HttpRequest
from django.utils.safestring import SafeString

from ops import event_counts, health, metrics, samples, snapshots
from ops.causes import find_root
from ops.console import attention, charts
from ops.console.cached import Cached
from ops.console.sections import WINDOWS, chosen_window, window_title
from relivchats.durations import format_short
from relivchats.staff.bounded import within
from relivchats.staff.reports import Level, Line, Report, fold

POINTS = {"24h": 24, "7d": 28, "30d": 30}
REFRESH_SECONDS = 15
#: Seconds for which metrics and charts are shared. With a refresh, what happened is shown within a minute.
_CACHE_SECONDS = 20
_QUERY_MILLISECONDS = 1500
#: Beat may take longer, for a month with millions of insights, but not as long as a query that health reports.
_RECORD_MILLISECONDS = 25_000
#: The age at which beat, which looks every 15 s, measures each window again. It takes seconds. A page says when it was.
INTERVALS = {"24h": timedelta(seconds=25), "7d": timedelta(minutes=10), "30d": timedelta(hours=1)}
#: Beat runs the checks every 15 s.
MAX_AGE = timedelta(seconds=30)
_COLOURS = {Level.FINE: "success", Level.WARNING: "warning", Level.UNKNOWN: "warning", Level.CRITICAL: "danger"}
_MARKS = {Level.FINE: "✓", Level.WARNING: "!", Level.UNKNOWN: "?", Level.CRITICAL: "!"}


@dataclass(frozen=True)
class MetricTile:
    """One of the six metrics, with the line of its window."""

    name: str
    meaning: str
    value: str
    unit: str
    target: str
    is_too_small: bool
    before: str
    colour: str
    svg: SafeString


def context(request: HttpRequest) -> dict[str, Any]:
    """Return what the template of the overview shows to this user."""
    window = chosen_window(request.GET.get("window", ""))
    report, checked_at = _find_report()
    tiles, found, measured_at = cache.get(window)
    return {
        **findings(report, checked_at=checked_at),
        "window": window,
        "window_title": window_title(window),
        "windows": list(WINDOWS),
        "refresh_seconds": REFRESH_SECONDS,
        "items": attention.items(request),
        "metrics": tiles,
        "charts": found,
        "measured_at": measured_at,
    }


def _find_report() -> tuple[Report, datetime | None]:
    """Return the report of this process, or that of beat until it is made, and when it was made.

    Checks take most of a second. Those of beat do not see what only this process has, such as other keys. What they
    found before this process started is not shown: they may have found that the one before it is frozen.
    """
    uptime = timedelta(seconds=max(0.0, time.time() - psutil.Process().create_time()))
    stored = snapshots.read_report(max_age=min(MAX_AGE, uptime))
    if stored is None:
        return health.latest(), health.checked_at()
    own = health.recent(max_age_seconds=REFRESH_SECONDS + 5)
    return (own, health.checked_at()) if own else stored


def findings(report: Report, *, checked_at: datetime | None) -> dict[str, Any]:
    """Return what the template of the overview shows of a report of `health`."""
    root = find_root(report.lines)
    failing = [line for line in report.lines if line.level is not Level.FINE]
    # The banner shows the root.
    listed = fold([line for line in failing if line is not root])
    order = sorted(listed, key=lambda line: (bool(line.cause), line.is_unfinished, -line.level.severity))
    # The headline is read in a second: what goes on is below it.
    headline, *details = _DETAILS.split(root.text, maxsplit=1) if root else ("",)
    return {
        "checked_at": checked_at,
        "level": report.level,
        "mark": _MARKS[report.level],
        "root": root,
        "headline": headline,
        "details": details[0] if details else "",
        "others": len(listed),
        "failing": [_with_colour(line) for line in order],
        "fine": [_with_colour(line) for line in report.lines if line.level is Level.FINE],
        "number_of_checks": len(report.lines),
    }


#: Where the details of a finding begin.
_DETAILS = re.compile(r"; |, (?=such as )")


def _with_colour(line: Line) -> dict[str, Any]:
    return {"line": line, "colour": _COLOURS[line.level]}


def record_due() -> None:
    """Store the metrics of each window whose time has come, for the pages of all processes."""
    for window, interval in INTERVALS.items():
        if snapshots.read(snapshots.name_of_metrics(window), max_age=interval) is None:
            found = within(
                lambda window=window: (_fetch_metrics(window), _fetch_counts(window)),  # type: ignore[misc]
                milliseconds=_RECORD_MILLISECONDS,
                key=("metrics", window),
            )
            if found is not None:
                measured, counts = found
                data = {"metrics": [metric.as_json() for metric in measured], "counts": counts}
                snapshots.write(snapshots.name_of_metrics(window), data)


#: The values of the charts that show no metric.
Counts = Mapping[str, Sequence[float | None]]


def _fetch_metrics(window: str) -> list[metrics.Metric]:
    return metrics.fetch(WINDOWS[window], points=POINTS[window])


def _fetch_counts(window: str) -> Counts:
    length, points = WINDOWS[window], POINTS[window]
    return {
        # Not sampled: somebody who has just unlocked an insight looks for it here.
        "unlocks": event_counts.per_hour("unlocks", length, points=points),
        "errors": event_counts.per_hour("errors", length, points=points),
        "queue": [value for _, value in samples.series("queue_oldest_seconds", length, points=points)],
    }


def _measure(window: str) -> tuple[list[MetricTile], list[charts.Chart], datetime]:
    """Return the metrics and charts that beat measured, or those of now if they are old, and when it was."""
    found, counts, measured_at = _read_measured(window) or (
        within(lambda: _fetch_metrics(window), milliseconds=_QUERY_MILLISECONDS) or [],
        within(lambda: _fetch_counts(window), milliseconds=_QUERY_MILLISECONDS) or {},
        datetime.now(UTC),
    )
    return [_tile(metric) for metric in found], _charts(window, found, counts, measured_at=measured_at), measured_at


def _read_measured(window: str) -> tuple[list[metrics.Metric], Counts, datetime] | None:
    stored = snapshots.read(snapshots.name_of_metrics(window), max_age=2 * INTERVALS[window])
    if stored is None:
        return None
    with snapshots.ignoring_other_shapes():
        return [metrics.load(each) for each in stored.data["metrics"]], stored.data["counts"], stored.taken_at
    return None


# The three windows are few, so all of them are kept.
cache = Cached(_measure, seconds=_CACHE_SECONDS)
clear_cache = cache.clear


def _tile(metric: metrics.Metric) -> MetricTile:
    definition = metric.definition
    colour = "warning" if metric.level is not Level.FINE else "success" if metric.is_judged else ""
    target = definition.target
    is_share = definition.unit == "%" and definition.is_above
    top = 100 if is_share else charts.ceiling([*metric.series, target])
    return MetricTile(
        definition.name,
        definition.meaning,
        "–" if metric.value is None else f"{metric.value:.4g}",
        definition.unit,
        definition.target_text,
        definition.target is not None and metric.value is not None and not metric.is_judged,
        metric.format(metric.before),
        colour,
        charts.line(
            metric.series,
            label=f"{definition.name}: {metric.text}",
            top=top,
            bottom=charts.floor_of_shares(metric.series, target=target) if is_share and target else 0,
            target=target,
            height=32,
            is_bridged=True,
        ),
    )


def _charts(
    window: str, found: Sequence[metrics.Metric], counts: Counts, *, measured_at: datetime
) -> list[charts.Chart]:
    begin = measured_at - WINDOWS[window]
    by_name = {metric.definition.name: metric for metric in found}

    def measured(name: str, title: str) -> charts.Chart:
        metric = by_name.get(name)
        series = metric.series if metric else ()
        unit = metric.definition.unit if metric else ""
        target = metric.definition.target if metric else None
        return _chart(title, series, unit=unit, window=window, begin=begin, target=target, is_bridged=True)

    def counted(name: str, title: str, *, unit: str = "") -> charts.Chart:
        return _chart(title, counts.get(name, ()), unit=unit, window=window, begin=begin)

    return [
        counted("unlocks", "Unlocks per hour"),
        measured("insight success", "Insight success"),
        measured("time per insight", "Time per insight"),
        counted("queue", "Oldest due insight", unit="s"),
        counted("errors", "Errors per hour"),
        measured("API p95", "API p95"),
    ]


def _chart(
    title: str,
    series: Sequence[float | None],
    *,
    unit: str,
    window: str,
    begin: datetime,
    target: float | None = None,
    is_bridged: bool = False,
) -> charts.Chart:
    known = [value for value in series if value is not None]
    is_share = unit == "%" and target is not None
    top = 100 if is_share else charts.ceiling([*series, target])
    bottom = charts.floor_of_shares(series, target=target) if is_share and target else 0
    length = WINDOWS[window]
    part = length / POINTS[window]
    now = series[-1] if series else None
    latest = f"last {format_short(part)}: {'no data' if now is None else _with_unit(now, unit)}" if known else "no data"
    svg = charts.line(
        series,
        label=f"{title}, {latest}",
        top=top,
        bottom=bottom,
        target=target,
        is_bridged=is_bridged,
        axis=charts.Axis(begin, begin + length - part, unit),
    )
    return charts.Chart(
        title,
        latest,
        svg,
        levels=tuple(_with_unit(level, unit) for level in (top, (top + bottom) / 2, bottom)),
        times=(f"{format_short(length)} ago", f"{length.days / 2:g} d ago" if length.days > 1 else "12 h ago", "now"),
        target=f"target {target:g} {unit}" if target and known else "",
    )


def _with_unit(value: float, unit: str) -> str:
    # Three digits of a large number would be in scientific notation.
    digits = f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
    return f"{digits} {unit}".rstrip()
