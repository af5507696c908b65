"""Checks of the work: chats to index, insights, jobs, and the coins reserved for them."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Count, Q
from django.db.models.functions import Now

from billing.models import CoinReservation
from chats.models import Chat
from insights import operations
from insights import stuck as stuck_work
from insights.models import Insight
from ops import queues
from ops.checks.registry import health_check
from relivchats.leases import STUCK_AFTER
from relivchats.staff.reports import Level, Line, count, format_count

#: The engine is considered down if this many insights failed within the window and none was completed.
_OUTAGE_WINDOW = timedelta(minutes=10)
_MIN_OUTAGE_FAILURES = 5


@health_check("queue", remedy="manage.py queue")
def queue() -> Line:
    """Return the number of due insights and of messages, and how long the oldest is due."""
    return queues.summary_line(queues.fetch_state())


@health_check("vectors", remedy="manage.py reindex --status")
def vectors() -> Line:
    """Return the chats whose indexing failed, or was left by a worker that stopped."""
    failed = count(Chat.objects.filter(vector_status=Chat.VectorStatus.FAILED))
    # With a grace period, because recovery runs every 15 s and frees expired leases by itself.
    abandoned = count(Chat.objects.index_lease_expired().filter(index_lease_expires_at__lt=Now() - STUCK_AFTER))
    data = {"failed": failed, "abandoned": abandoned}
    if abandoned:
        text = f"{format_count(abandoned)} left by a worker that stopped"
        return Line("vectors", Level.WARNING, text, "manage.py jobs --recover", data)
    if failed:
        return Line(
            "vectors", Level.WARNING, f"{format_count(failed)} failed to index", "manage.py reindex --failed", data
        )
    return Line("vectors", Level.FINE, "no chat failed to index", data=data)


@health_check("reservations", remedy="manage.py reservations --stuck")
def reservations() -> Line:
    """Return the number of overdue reservations. It is expected to be zero."""
    overdue = count(CoinReservation.objects.overdue())
    data = {"overdue": overdue}
    if overdue:
        remedy = "manage.py reservations --stuck --release"
        return Line("reservations", Level.WARNING, f"{format_count(overdue)} overdue", remedy, data)
    return Line("reservations", Level.FINE, "none overdue", data=data)


@health_check("insights", remedy="manage.py insights --failed")
def insights() -> Line:
    """Return the stuck insights, and those that ended in the last ten minutes by outcome."""
    recent = Insight.objects.filter(finished_at__gte=Now() - _OUTAGE_WINDOW).aggregate(
        completed=Count("pk", filter=Q(status=Insight.Status.COMPLETED)),
        failed=Count("pk", filter=Q(status=Insight.Status.FAILED)),
    )
    stuck = count(stuck_work.stuck_insights())
    minutes = _OUTAGE_WINDOW.seconds // 60
    data = {**recent, "stuck": stuck}
    # One completed insight shows that the engine works, however many failed for reasons of their own.
    if recent["failed"] >= _MIN_OUTAGE_FAILURES and not recent["completed"]:
        text = f"{recent['failed']} failed in {minutes} minutes and none succeeded"
        return Line("insights", Level.CRITICAL, text, "manage.py insights --failed", data)
    if stuck:
        return Line(
            "insights", Level.WARNING, f"{format_count(stuck)} stuck in generating", "manage.py jobs --recover", data
        )
    text = f"none stuck; in {minutes} minutes {recent['completed']} completed, {recent['failed']} failed"
    return Line("insights", Level.FINE, text, data=data)


@health_check("jobs", remedy="manage.py jobs --stuck")
def jobs() -> Line:
    """Return the number of stuck jobs."""
    stuck = count(stuck_work.stuck_jobs())
    if stuck:
        return Line("jobs", Level.WARNING, f"{format_count(stuck)} stuck", "manage.py jobs --recover", {"stuck": stuck})
    return Line("jobs", Level.FINE, "none stuck", data={"stuck": 0})


@health_check("unlocks", remedy="manage.py unlocks")
def unlocks() -> Line:
    """Return whether insights can be unlocked: not while staff paused unlocks or the engine's models are not called."""
    return operations.unlocks_line()
