"""What is sampled once a minute, for charts and slopes: the length of the queue, memory by role, disk, insights, …

Beat samples the installation, so that samples continue without a worker or the broker. Each process adds its memory.
`series(name, …)` returns a chart, `latest()` the current values, `slope_per_hour(name, …)` how fast a value grows.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Sum
from django.db.models.functions import Now, TruncMinute

from billing.models import CoinReservation
from chats.models import ChatUpload
from insights.models import GenerationJob, Insight
from ops import errors, queues
from ops.monitoring_models import ErrorEvent, Sample
from relivchats import embedded
from relivchats.staff.reports import count

MINUTES_KEPT_FOR = timedelta(days=2)
LATEST_WITHIN = timedelta(minutes=5)

#: The name of each sample and what it means. Those that end with _per_minute count what happened in the minute.
MEANINGS: Mapping[str, str] = {
    "queue_due": "insights that could be generated now",
    "queue_oldest_seconds": "how long the oldest of them is due",
    "queue_messages": "messages in the broker",
    "insights_generating": "insights that a worker has leased",
    "chats_indexing": "chats that a worker has leased",
    "chats_due": "chats that wait for indexing",
    "jobs_open": "unlocks that are not finished",
    "reservations_active": "reservations that are not settled",
    "unlocks_per_minute": "jobs that were created",
    "insights_completed_per_minute": "insights that were completed",
    "insights_failed_per_minute": "insights that failed",
    "uploads_per_minute": "uploads that were accepted",
    "uploads_failed_per_minute": "uploads that failed for our reasons",
    "quota_refusals_per_minute": "calls that the provider of a model refused",
    "errors_per_minute": "errors of all processes",
    "database_connections": "connections of the database server",
    "database_bytes": "the size of the database",
    "disk_used_percent": "the use of the disk with the data directory",
    "memory_used_percent": "the machine's use of memory",
    "memory_web_bytes": "memory of all web processes",
    "memory_worker_bytes": "memory of all workers",
    "memory_beat_bytes": "memory of beat",
}


def collect() -> dict[str, float]:
    """Return the samples of the installation. What the broker does not answer is left out."""
    state = queues.fetch_state()
    # The latest complete minute.
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT date_trunc('minute', now()) - interval '1 minute', pg_database_size(current_database()),
                (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')
            """
        )
        start, size, connections = cursor.fetchone()
    minute = (start, start + timedelta(minutes=1))
    finished = Insight.objects.filter(finished_at__range=minute)
    uploads = ChatUpload.objects.filter(created_at__range=minute)
    events = ErrorEvent.objects.filter(at__range=minute).exclude(level=errors.REFUSAL_LEVEL)
    found: dict[str, float] = {
        "queue_due": state.due,
        "queue_oldest_seconds": state.oldest_seconds,
        "insights_generating": state.generating,
        "chats_indexing": state.chats_indexing,
        "chats_due": state.chats_due,
        "jobs_open": count(GenerationJob.objects.open(), limit=queues.MAX_COUNTED),
        "reservations_active": count(CoinReservation.objects.active(), limit=queues.MAX_COUNTED),
        "unlocks_per_minute": GenerationJob.objects.filter(created_at__range=minute).count(),
        "insights_completed_per_minute": finished.filter(status=Insight.Status.COMPLETED).count(),
        "insights_failed_per_minute": finished.filter(status=Insight.Status.FAILED).count(),
        "uploads_per_minute": uploads.filter(outcome__in=ChatUpload.SUCCESSFUL).count(),
        "uploads_failed_per_minute": uploads.filter(outcome=ChatUpload.Outcome.FAILED).count(),
        "quota_refusals_per_minute": events.filter(event__contains="RESOURCE_EXHAUSTED").count(),
        "errors_per_minute": events.filter(level__in=("ERROR", "CRITICAL")).count(),
        "database_connections": connections,
        "database_bytes": size,
        "disk_used_percent": psutil.disk_usage(str(_existing_directory())).percent,
        "memory_used_percent": psutil.virtual_memory().percent,
    }
    if state.messages is not None:
        found["queue_messages"] = sum(state.messages.values())
    return found


def _existing_directory() -> Path:
    # It does not exist if the servers are not embedded; then its file system is that of a parent.
    path = embedded.data_directory()
    while not path.exists():
        path = path.parent
    return path


_INSERT = (
    "INSERT INTO samples (at, name, value) VALUES (date_trunc('minute', now()), %s, %s)"
    " ON CONFLICT (name, at) DO UPDATE SET value = "
)


def write(samples: Mapping[str, float]) -> None:
    """Store the samples of this minute. A second beat overwrites those of the first."""
    with connection.cursor() as cursor:
        cursor.executemany(_INSERT + "excluded.value", sorted(samples.items()))


def add_memory(role: str) -> None:
    """Add this process's memory to that of its role. Each process calls it once in a minute."""
    with connection.cursor() as cursor:
        size_bytes = psutil.Process().memory_info().rss
        cursor.execute(_INSERT + "samples.value + excluded.value", [f"memory_{role}_bytes", size_bytes])


def add_start(kind: str) -> None:
    """Count the start of a process: of web, worker or beat."""
    with connection.cursor() as cursor:
        cursor.execute(_INSERT + "samples.value + excluded.value", [f"{_STARTS}{kind}", 1])


def count_starts(*kinds: str) -> dict[str, int]:
    """Return how many processes of each kind started within 24 hours."""
    # Minutes are kept for longer than that: the mean of an hour would not tell how many there were.
    names = [f"{_STARTS}{kind}" for kind in kinds]
    rows = Sample.objects.filter(name__in=names, at__gte=Now() - timedelta(hours=24)).order_by()
    found = dict(rows.values_list("name").annotate(starts=Sum("value")))
    return {kind: round(found.get(name, 0)) for kind, name in zip(kinds, names, strict=True)}


_STARTS = "started_"


def latest() -> dict[str, float]:
    """Return the latest value of each sample that is at most five minutes old, without the current minute.

    In the current minute, some processes did not add their memory yet.
    """
    complete = Sample.objects.filter(at__gte=Now() - LATEST_WITHIN, at__lt=TruncMinute(Now()))
    return dict(complete.order_by("name", "-at").distinct("name").values_list("name", "value"))


def series(name: str, window: timedelta, *, points: int) -> list[tuple[datetime, float | None]]:
    """Return the mean in each of `points` equal parts of a window that ends now; None where nothing was sampled."""
    seconds = max(60, round(window.total_seconds() / points))
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT part, avg(value)
            FROM generate_series(
                floor(extract(epoch FROM now()) / %(seconds)s)::bigint - %(points)s + 1,
                floor(extract(epoch FROM now()) / %(seconds)s)::bigint
            ) AS part
            LEFT JOIN samples ON name = %(name)s AND at >= to_timestamp(part * %(seconds)s)
                AND at < to_timestamp((part + 1) * %(seconds)s)
            GROUP BY part ORDER BY part
            """,
            {"name": name, "seconds": seconds, "points": points},
        )
        rows = cursor.fetchall()
    return [(datetime.fromtimestamp(part * seconds, UTC), value) for part, value in rows]


def slope_per_hour(name: str, window: timedelta) -> float | None:
    """Return the growth of a sample in an hour, by linear regression over a window. None with less than two samples."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT regr_slope(value, extract(epoch FROM at)) * 3600 FROM samples"
            " WHERE name = %s AND at >= now() - make_interval(secs => %s) AND at < date_trunc('minute', now())",
            [name, window.total_seconds()],
        )
        (slope,) = cursor.fetchone()
    return None if slope is None else float(slope)


@transaction.atomic
def merge_old() -> None:
    """Replace the minutes that are older than two days by the mean of each hour."""
    with connection.cursor() as cursor:
        # Beat may run twice.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('merge samples'))")
        cursor.execute(
            """
            WITH hours AS (
                SELECT name, date_trunc('hour', at) AS hour, avg(value) AS mean FROM samples
                WHERE at < date_trunc('hour', now() - make_interval(secs => %s))
                GROUP BY 1, 2 HAVING max(at) > date_trunc('hour', min(at))
            ), minutes AS (
                DELETE FROM samples USING hours
                WHERE samples.name = hours.name AND samples.at > hour AND samples.at < hour + interval '1 hour'
            )
            INSERT INTO samples (at, name, value) SELECT hour, name, mean FROM hours
            ON CONFLICT (name, at) DO UPDATE SET value = excluded.value
            """,
            [MINUTES_KEPT_FOR.total_seconds()],
        )


def prune() -> int:
    """Delete the samples that are older than MONITORING_DAYS, and return their number."""
    removed, _ = Sample.objects.filter(at__lt=Now() - timedelta(days=settings.MONITORING_DAYS)).delete()
    return removed
