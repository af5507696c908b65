"""Checks of the workers and beat, and of the canary task that passes through both."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from django.conf import settings
from django.db.models import F
from django.db.models.functions import Now

from ops.checks.registry import health_check
from ops.models import Heartbeat
from relivchats.staff.reports import Level, Line

_WORKER_REMEDY = "docker-compose up -d celery_worker, or ./dev up on a machine without containers"
_BEAT_REMEDY = "docker-compose up -d celery_beat, or ./dev up on a machine without containers"
_CANARY_REMEDY = "manage.py queue, then docker-compose restart celery_worker"

#: A report names at most so many processes of one kind.
_MAX_LISTED = 20


@health_check("workers")
def workers() -> Line:
    """Return the workers that are alive, silent, or run without CELERY_WORKER=true."""
    rows = Heartbeat.objects.filter(kind=Heartbeat.Kind.WORKER)
    limit = Now() - timedelta(seconds=settings.HEALTH_HEARTBEAT_SECONDS)
    # By the database's clock, which also wrote beat_at: the clocks of hosts differ by seconds.
    alive = list(rows.filter(beat_at__gte=limit)[:1000])
    silent = list(rows.filter(beat_at__lt=limit)[:_MAX_LISTED])
    unmarked = [row for row in alive if not row.marked_as_worker]
    data = {"alive": len(alive), "silent": [row.name for row in silent], "unmarked": [row.name for row in unmarked]}
    if not alive:
        return Line("workers", Level.CRITICAL, "no worker is alive", _WORKER_REMEDY, data)
    if unmarked:
        remedy = "set CELERY_WORKER=true for it and restart it: docker-compose restart celery_worker"
        return Line("workers", Level.WARNING, f"without CELERY_WORKER=true: {_names(unmarked)}", remedy, data)
    if silent:
        text = f"{len(alive)} alive; killed or frozen: {_names(silent)}"
        return Line("workers", Level.WARNING, text, "docker-compose restart celery_worker", data)
    return Line("workers", Level.FINE, f"{len(alive)} alive, marked as workers", data=data)


@health_check("beat")
def beat() -> Line:
    """Return whether exactly one beat is alive."""
    limit = Now() - timedelta(seconds=settings.HEALTH_HEARTBEAT_SECONDS)
    alive = list(Heartbeat.objects.filter(kind=Heartbeat.Kind.BEAT, beat_at__gte=limit)[:_MAX_LISTED])
    data = {"alive": [row.name for row in alive]}
    if not alive:
        text = "not alive: due work is not dispatched, and nothing is recovered"
        return Line("beat", Level.CRITICAL, text, _BEAT_REMEDY, data)
    if len(alive) > 1:
        # Every due task is sent twice then. Leases make that harmless, but it doubles the load.
        text = f"{len(alive)} run, one is enough: {_names(alive)}"
        return Line("beat", Level.WARNING, text, "stop all but one", data)
    return Line("beat", Level.FINE, "alive", data=data)


@health_check("canary")
def canary() -> Line:
    """Return how long ago the latest canary task ran. Beat sends one every 10 s."""
    row = Heartbeat.objects.filter(kind=Heartbeat.Kind.CANARY).annotate(age=Now() - F("beat_at")).first()
    if row is None:
        return Line("canary", Level.WARNING, "no task has run yet; the first one takes 10 s", _CANARY_REMEDY)
    seconds = round(row.age.total_seconds())
    if seconds > settings.HEALTH_HEARTBEAT_SECONDS:
        return Line("canary", Level.CRITICAL, f"no task ran for {seconds} s", _CANARY_REMEDY, {"seconds": seconds})
    return Line("canary", Level.FINE, f"a task ran {seconds} s ago", data={"seconds": seconds})


def _names(rows: Iterable[Heartbeat]) -> str:
    return ", ".join(row.name for row in rows)
