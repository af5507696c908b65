"""The live pages: what the operators' commands report, each with its findings, their remedies and a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Model
from django.http import HttpRequest

from chats.models import ChatUpload
from insights.models import DispatchPause, InsightAttempt
from ops import metrics, sessions, tables
from ops.console import errors, model, processes, queue, uploads
from ops.console.sections import Section
from ops.models import Heartbeat
from ops.monitoring_models import ErrorEvent, RequestCount
from relivchats.staff.reports import Report

DAY = timedelta(hours=24)


@dataclass(frozen=True)
class LivePage:
    """A page of what some commands report. `model` is what a reader needs the permission to view.

    With `has_windows` the reader chooses one of `sections.WINDOWS`, the parameter `window`.
    """

    title: str
    icon: str
    model: type[Model]
    sections: Callable[[HttpRequest], list[Section]]
    has_windows: bool = False


def _reports(*reports: Callable[[], Report], empty: str = "There is nothing to show.") -> Any:
    return lambda request: [Section(report(), empty) for report in reports]


PAGES: Mapping[str, LivePage] = {
    "queue": LivePage("Queue and schedule", "queue", DispatchPause, queue.sections),
    "processes": LivePage("Processes now", "memory", Heartbeat, processes.sections),
    "uploads": LivePage("Failed uploads", "upload_file", ChatUpload, uploads.sections, has_windows=True),
    "database": LivePage("Database", "database", Heartbeat, _reports(sessions.report, tables.report)),
    "errors": LivePage("Errors by cause", "error", ErrorEvent, errors.sections, has_windows=True),
    "requests": LivePage(
        "Requests by route",
        "swap_vert",
        RequestCount,
        _reports(lambda: metrics.routes_report(DAY), empty="No request came within 24 hours."),
    ),
    "model": LivePage("Model and quota", "neurology", InsightAttempt, model.sections),
}
