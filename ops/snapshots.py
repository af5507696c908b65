"""What beat computes for the pages of all web processes, so that no page waits for it. One row each.

A page says when it was computed. While beat does not run, rows get old, and pages compute it themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from django.db.models.functions import Now
from django.utils.dateparse import parse_datetime, parse_duration

from ops import activity
from ops.monitoring_models import Snapshot
from relivchats.staff.reports import Level, Line, Report

HEALTH, WAITING = "health", "waiting"


def name_of_metrics(window: str) -> str:
    """Return the name of the key metrics of a window, such as `24h`."""
    return f"metrics {window}"


def write(name: str, data: Any) -> None:
    """Store what was computed, with the database's time. It is stored as JSON, with times and durations as texts."""
    Snapshot.objects.bulk_create(
        [Snapshot(name=name, data=data, version=activity.version())],
        update_conflicts=True,
        unique_fields=["name"],
        update_fields=["data", "version", "taken_at"],
    )


def read(name: str, *, max_age: timedelta, of_any_release: bool = False) -> Snapshot | None:
    """Return what was computed last, unless it is older or of another release, which may have computed other things."""
    rows = Snapshot.objects.filter(name=name, taken_at__gte=Now() - max_age)
    return (rows if of_any_release else rows.filter(version=activity.version())).first()


def write_report(report: Report) -> None:
    """Store a report of `health`."""
    lines = [asdict(line) for line in report.lines]
    write(HEALTH, {"lines": lines, "data": report.data, "headline": report.headline})


def read_report(*, max_age: timedelta) -> tuple[Report, datetime] | None:
    """Return the report that `write_report` stored and when it was, unless it is older."""
    snapshot = read(HEALTH, max_age=max_age)
    if snapshot is None:
        return None
    with ignoring_other_shapes():
        lines = tuple(_load_line(line) for line in snapshot.data["lines"])
        return Report(
            "Health", lines, data=snapshot.data["data"], headline=snapshot.data["headline"]
        ), snapshot.taken_at
    return None


@contextmanager
def ignoring_other_shapes() -> Iterator[None]:
    """End the block if what was stored has another shape: by a beat of another commit with the same version."""
    with suppress(KeyError, TypeError, ValueError):
        yield


def _load_line(stored: Mapping[str, Any]) -> Line:
    fields = dict(stored)
    fields["level"] = Level(fields["level"])
    fields["since"] = fields["since"] and parse_datetime(fields["since"])
    for name in ("age", "bad_for"):
        fields[name] = fields[name] and parse_duration(fields[name])
    return Line(**fields)
