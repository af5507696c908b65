"""Workers, beat, and the canary that goes the whole way between them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from django.conf import settings
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from ops.models import Heartbeat
from relivchats.staff.reports import Level, Line

_WORKER = "docker-compose up -d celery_worker, or ./dev up where nothing runs in containers"
_BEAT = "docker-compose up -d celery_beat, or ./dev up where nothing runs in containers"


def _alive(kind: Heartbeat.Kind) -> QuerySet[Heartbeat]:
    return Heartbeat.objects.of(kind).filter(beat_at__gte=Now() - timedelta(seconds=settings.HEALTH_HEARTBEAT_SECONDS))


def _silent(kind: Heartbeat.Kind) -> QuerySet[Heartbeat]:
    return Heartbeat.objects.of(kind).filter(beat_at__lt=Now() - timedelta(seconds=settings.HEALTH_HEARTBEAT_SECONDS))


def _names(rows: Iterable[Heartbeat]) -> str:
    return ", ".join(row.name for row in rows)


def workers() -> Line:
    alive = list(_alive(Heartbeat.Kind.WORKER)[:1000])
    silent = list(_silent(Heartbeat.Kind.WORKER)[:20])
    unmarked = [row for row in alive if not row.marked_as_worker]
    data = {"alive": len(alive), "silent": [row.name for row in silent], "unmarked": [row.name for row in unmarked]}
    if not alive:
        return Line("workers", Level.CRITICAL, "no worker is alive", _WORKER, data)
    if unmarked:
        remedy = "set CELERY_WORKER=true for it and restart it: docker-compose restart celery_worker"
        return Line("workers", Level.WARNING, f"without CELERY_WORKER=true: {_names(unmarked)}", remedy, data)
    if silent:
        text = f"{len(alive)} alive; killed or frozen: {_names(silent)}"
        return Line("workers", Level.WARNING, text, "docker-compose restart celery_worker", data)
    return Line("workers", Level.FINE, f"{len(alive)} alive, marked as workers", data=data)


def beat() -> Line:
    alive = list(_alive(Heartbeat.Kind.BEAT)[:20])
    data = {"alive": [row.name for row in alive]}
    if not alive:
        return Line("beat", Level.CRITICAL, "not alive: nothing is dispatched again or recovered", _BEAT, data)
    if len(alive) > 1:
        return Line(
            "beat", Level.WARNING, f"{len(alive)} run, one is enough: {_names(alive)}", "stop all but one", data
        )
    return Line("beat", Level.FINE, "alive", data=data)


def canary() -> Line:
    """Did a task come through lately? It is sent every 10 s."""
    remedy = "manage.py queue, then docker-compose restart celery_worker"
    row = Heartbeat.objects.of(Heartbeat.Kind.CANARY).annotate(age=Now() - F("beat_at")).first()
    if row is None:
        return Line("canary", Level.WARNING, "no task has come through yet; it takes 10 s after the start", remedy)
    seconds = round(vars(row)["age"].total_seconds())
    if seconds > settings.HEALTH_HEARTBEAT_SECONDS:
        return Line("canary", Level.CRITICAL, f"no task came through for {seconds} s", remedy, {"seconds": seconds})
    return Line("canary", Level.FINE, f"a task came through {seconds} s ago", data={"seconds": seconds})
