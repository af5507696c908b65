"""The live pages: what the operators' commands report, each with its findings, their remedies and a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Model

from insights.models import DispatchPause, InsightAttempt
from ops import engine, errors, metrics, queues, sessions, tables, workers
from ops.models import Heartbeat
from ops.monitoring_models import ErrorEvent, RequestCount
from relivchats.staff.reports import Report

DAY = timedelta(hours=24)
MAX_GROUPS = 50


@dataclass(frozen=True)
class LivePage:
    """A page of the reports of some commands. `model` is what a reader needs the permission to view."""

    title: str
    icon: str
    model: type[Model]
    reports: tuple[Callable[[], Report], ...]


PAGES: Mapping[str, LivePage] = {
    "queue": LivePage("Queue and schedule", "queue", DispatchPause, (queues.report, queues.schedule_report)),
    "processes": LivePage("Processes now", "memory", Heartbeat, (workers.report, workers.tasks_report)),
    "database": LivePage("Database", "database", Heartbeat, (sessions.report, tables.report)),
    "errors": LivePage(
        "Errors by cause",
        "error",
        ErrorEvent,
        (lambda: errors.groups_report(errors.select(since=DAY), limit=MAX_GROUPS),),
    ),
    "requests": LivePage("Requests by route", "swap_vert", RequestCount, (lambda: metrics.routes_report(DAY),)),
    "model": LivePage("Model and quota", "neurology", InsightAttempt, (engine.report,)),
}
