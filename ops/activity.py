"""What the threads of this worker do now, for its heartbeat, and the schedule of beat."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from celery import signals
from django.conf import settings
from django.db.models.functions import Now

from ops.models import ScheduleEntry
from relivchats import durations, leases
from relivchats.celery import app

#: More than a worker has threads.
MAX_LISTED = 100

_running: dict[int, dict[str, str]] = {}


def version() -> str:
    """Return the release that this process runs."""
    return str(settings.SPECTACULAR_SETTINGS["VERSION"])[:40]


def connect_signals() -> None:
    """Remember which task each thread runs."""

    def on_start(task_id: str = "", task: Any = None, args: Any = (), **_: Any) -> None:
        # Arguments of tasks are ids only.
        row = {"task": task.name, "id": str(args[0])[:64] if args else "", "since": datetime.now(UTC).isoformat()}
        _running[threading.get_ident()] = row

    def on_end(**_: Any) -> None:
        _running.pop(threading.get_ident(), None)

    signals.task_prerun.connect(on_start, weak=False)
    signals.task_postrun.connect(on_end, weak=False)


def current() -> list[dict[str, str]]:
    """Return what the busy threads do, the oldest first: the task, the id of its row, and since when."""
    # A copy in one step: the threads change it meanwhile.
    rows = tuple(_running.values())
    return sorted(rows, key=lambda row: row["since"])[:MAX_LISTED]


def held_leases() -> int:
    """Return the number of leases that this process renews."""
    return leases.count_held()


def registered_tasks() -> list[str]:
    """Return the names of the tasks of this release."""
    app.loader.import_default_modules()
    return sorted(name for name in app.tasks if not name.startswith("celery."))


def write_schedule(schedule: Mapping[str, Any]) -> None:
    """Store the entries of beat's scheduler with their last and next runs, and remove those it no longer has."""
    now = datetime.now(UTC)
    rows = []
    for name, entry in list(schedule.items()):
        left = entry.schedule.remaining_estimate(entry.last_run_at)
        rows.append(
            ScheduleEntry(
                name=name,
                task=entry.task,
                schedule=describe(entry.schedule),
                runs=entry.total_run_count,
                last_run_at=entry.last_run_at if entry.total_run_count else None,
                next_run_at=max(now, now + left),
                written_at=Now(),
            )
        )
    ScheduleEntry.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["name"],
        update_fields=["task", "schedule", "runs", "last_run_at", "next_run_at", "written_at"],
    )
    ScheduleEntry.objects.exclude(name__in=[row.name for row in rows]).delete()


def describe(schedule: Any) -> str:
    """Return such as `every 10 s`, `every 5 min` or `40 3 * * * (cron, UTC)`."""
    if hasattr(schedule, "hour"):
        return f"{schedule._orig_minute} {schedule._orig_hour} * * * (cron, UTC)"
    return f"every {durations.format_short(schedule.run_every)}"
