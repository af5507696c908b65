"""Work that waits, failed or is stuck."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import Count, Q, QuerySet
from django.db.models.functions import Now

from billing.models import CoinReservation
from chats.models import Chat
from insights import stuck
from insights.models import Insight
from ops import queues
from relivchats.staff.reports import Level, Line

#: Counting stops here: more than this is all the same to an operator.
MOST = 1000

#: Five insights or more that ended in ten minutes without one success: the engine is down.
_WINDOW = timedelta(minutes=10)
_ENOUGH = 5


def count(rows: QuerySet[Any]) -> int:
    return rows.order_by()[: MOST + 1].count()


def words(number: int) -> str:
    return f"more than {MOST}" if number > MOST else str(number)


def queue() -> Line:
    return queues.line(queues.look())


def vectors() -> Line:
    failed = count(Chat.objects.filter(vector_status=Chat.VectorStatus.FAILED))
    abandoned = count(Chat.objects.index_lease_expired().filter(index_lease_expires_at__lt=Now() - stuck.GRACE))
    data = {"failed": failed, "abandoned": abandoned}
    if abandoned:
        return Line("vectors", Level.WARNING, f"{words(abandoned)} stopped half-way", "manage.py jobs --recover", data)
    if failed:
        return Line("vectors", Level.WARNING, f"{words(failed)} failed to index", "manage.py reindex --failed", data)
    return Line("vectors", Level.FINE, "no chat failed to index", data=data)


def reservations() -> Line:
    overdue = count(CoinReservation.objects.overdue())
    data = {"overdue": overdue}
    if overdue:
        remedy = "manage.py reservations --stuck --release"
        return Line("reservations", Level.WARNING, f"{words(overdue)} past their time", remedy, data)
    return Line("reservations", Level.FINE, "none past its time", data=data)


def insights() -> Line:
    recent = Insight.objects.filter(finished_at__gte=Now() - _WINDOW).aggregate(
        completed=Count("pk", filter=Q(status=Insight.Status.COMPLETED)),
        failed=Count("pk", filter=Q(status=Insight.Status.FAILED)),
    )
    number = count(stuck.stuck_insights())
    data = {**recent, "stuck": number}
    if recent["failed"] >= _ENOUGH and not recent["completed"]:
        text = f"{recent['failed']} failed in {_WINDOW.seconds // 60} minutes and none succeeded"
        return Line("insights", Level.CRITICAL, text, "manage.py insights --failed", data)
    if number:
        return Line("insights", Level.WARNING, f"{words(number)} stuck in generating", "manage.py jobs --recover", data)
    text = f"none stuck; in {_WINDOW.seconds // 60} minutes {recent['completed']} completed, {recent['failed']} failed"
    return Line("insights", Level.FINE, text, data=data)


def jobs() -> Line:
    number = count(stuck.stuck_jobs())
    if number:
        return Line("jobs", Level.WARNING, f"{words(number)} stuck", "manage.py jobs --recover", {"stuck": number})
    return Line("jobs", Level.FINE, "none stuck", data={"stuck": 0})
