"""The page of the processes: their states as `manage.py workers` and the checks judge them, and their remedies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest

from ops import workers
from ops.console.sections import Section
from ops.models import Heartbeat
from relivchats.staff.markup import link, status_label

COLOURS = {
    "alive": "success",
    "starting": "info",
    **dict.fromkeys(("silent", "frozen", "hangs", "killed"), "danger"),
}


def sections(request: HttpRequest) -> list[Section]:
    """Return the processes, and the tasks that they know."""
    columns = {"process": _name, "state": lambda row: status_label(row["state"], COLOURS[row["state"]])}
    return [
        Section(workers.report(), "No process has written a heartbeat yet.", columns),
        Section(workers.tasks_report(), "This release has no tasks."),
    ]


def _name(row: Mapping[str, Any]) -> str:
    # A process that is starting has no row yet.
    has_row = row["runs for"] is not None
    return link(Heartbeat, row["process"], text=row["process"]) if has_row else row["process"]
