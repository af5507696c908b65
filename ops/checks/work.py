"""Checks of the work: chats to index, insights, jobs, and the coins reserved for them."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db.models import Count, Min, Q
from django.db.models.functions import Now

from billing.models import CoinReservation
from chats.models import Chat
from insights import stuck as stuck_work
from insights.engines import get_engine
from insights.models import Insight
from insights.recovery import WORKER_LOST
from ops import queues
from ops import unlocks as unlocks_state
from ops.checks.registry import health_check
from relivchats import durations
from relivchats.leases import STUCK_AFTER
from relivchats.staff.reports import Level, Line, count, format_count

#: The engine is considered down if this many insights failed within the window and none was completed.
_OUTAGE_WINDOW = timedelta(minutes=10)
_MIN_OUTAGE_FAILURES = 5


@health_check(
    "queue",
    needs=("database", "broker", "workers", "beat", "engine"),
    remedy="manage.py queue",
    page="/admin/insights/insight/?status__exact=pending",
    prepare=get_engine,
)
def queue() -> Line:
    """Return the number of due insights and of messages, and how long the oldest is due."""
    return queues.summary_line(queues.fetch_state())


@health_check(
    "deferred",
    needs=("database", "broker", "workers", "beat", "engine"),
    remedy="manage.py engine",
    page="/admin/insights/insight/?status__exact=pending",
)
def deferred() -> Line:
    """Return the insights that wait after an error, by its code, and for how long the oldest waits."""
    codes = queues.deferred()
    if not codes:
        return Line("deferred", Level.FINE, "no insight waits after an error", value=0)
    age = queues.deferred_insights().aggregate(age=Now() - Min("deferred_at"))["age"] or timedelta()
    reasons = ", ".join(f"{number} {code}" for code, number in codes[:5])
    total = sum(number for _, number in codes)
    text = f"{format_count(total, 'insight')} waiting after an error: {reasons}"
    text += f"; the oldest for {durations.format_short(age)}"
    limit, seconds = settings.HEALTH_QUEUE_AGE_WARNING_SECONDS, round(age.total_seconds())
    data = {"by_error": dict(codes), "oldest_seconds": seconds}
    if seconds > limit:
        # Without its worker an insight is due at once: it waits for another worker, whatever the engine does.
        remedy = "manage.py workers" if {code for code, _ in codes} == {WORKER_LOST} else "manage.py engine --check"
        return Line("deferred", Level.WARNING, text, remedy, data, seconds, f"{limit} s warns")
    return Line("deferred", Level.FINE, text, "", data, seconds, f"{limit} s warns")


@health_check(
    "vectors",
    needs=("database", "broker", "workers", "beat", "embeddings"),
    remedy="manage.py reindex --status",
    page="/admin/chats/chat/?indexing=failed",
)
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


@health_check(
    "reservations",
    needs=("database", "broker", "workers", "beat"),
    remedy="manage.py reservations --stuck",
    page="/admin/billing/coinreservation/?stuck=yes",
)
def reservations() -> Line:
    """Return the number of overdue reservations. It is expected to be zero."""
    overdue = count(CoinReservation.objects.overdue())
    data = {"overdue": overdue}
    if overdue:
        remedy = "manage.py reservations --stuck --release"
        return Line("reservations", Level.WARNING, f"{format_count(overdue)} overdue", remedy, data, is_cause=True)
    return Line("reservations", Level.FINE, "none overdue", data=data)


@health_check(
    "insights",
    needs=("database", "broker", "workers", "beat", "engine"),
    remedy="manage.py insights --failed",
    page="/admin/insights/insight/?stuck=failed",
)
def insights() -> Line:
    """Return the stuck insights, and those that ended in the last ten minutes by outcome."""
    has_failed = Q(status=Insight.Status.FAILED)
    recent = Insight.objects.filter(finished_at__gte=Now() - _OUTAGE_WINDOW).aggregate(
        completed=Count("pk", filter=Q(status=Insight.Status.COMPLETED)),
        failed=Count("pk", filter=has_failed),
        jobs=Count("job", filter=has_failed, distinct=True),
        users=Count("job__user", filter=has_failed, distinct=True),
    )
    stuck = count(stuck_work.stuck_insights())
    minutes = _OUTAGE_WINDOW.seconds // 60
    data = {**recent, "stuck": stuck}
    needed = (settings.HEALTH_OUTAGE_JOBS, settings.HEALTH_OUTAGE_USERS)
    threshold = f"{_MIN_OUTAGE_FAILURES} failed of {needed[0]} jobs and {needed[1]} users, none completed, is critical"
    # One completed insight shows that the engine works, however many failed for reasons of their own.
    if recent["failed"] >= _MIN_OUTAGE_FAILURES and not recent["completed"]:
        of = f"of {format_count(recent['jobs'], 'job')} and {format_count(recent['users'], 'user')}"
        text = f"{recent['failed']} failed in {minutes} minutes, {of}, and none succeeded: {_main_cause()}"
        # All insights of one job fail together, for example because of its chat. That is no outage.
        is_outage = recent["jobs"] >= needed[0] and recent["users"] >= needed[1]
        level = Level.CRITICAL if is_outage else Level.WARNING
        return Line("insights", level, text, "manage.py insights --failed", data, recent["failed"], threshold)
    if stuck:
        text = f"{format_count(stuck)} stuck in generating"
        return Line("insights", Level.WARNING, text, "manage.py jobs --recover", data, is_cause=True)
    text = f"none stuck; in {minutes} minutes {recent['completed']} completed, {recent['failed']} failed"
    return Line("insights", Level.FINE, text, "", data, recent["failed"], threshold)


def _main_cause() -> str:
    """Return the most frequent error code of the insights that failed within the window."""
    failed = Insight.objects.filter(finished_at__gte=Now() - _OUTAGE_WINDOW, status=Insight.Status.FAILED)
    codes = failed.values_list("error_code").annotate(number=Count("pk")).order_by("-number")
    return str(codes[0][0]) if codes else ""


@health_check(
    "jobs",
    needs=("database", "broker", "workers", "beat", "engine"),
    remedy="manage.py jobs --stuck",
    page="/admin/insights/generationjob/?stuck=yes",
)
def jobs() -> Line:
    """Return the number of stuck jobs."""
    stuck = count(stuck_work.stuck_jobs())
    if stuck:
        text, data = f"{format_count(stuck)} stuck", {"stuck": stuck}
        return Line("jobs", Level.WARNING, text, "manage.py jobs --recover", data, is_cause=True)
    return Line("jobs", Level.FINE, "none stuck", data={"stuck": 0})


@health_check(
    "unlocks", needs=("database", "engine", "queue"), remedy="manage.py unlocks", page="/admin/insights/unlockpause/"
)
def unlocks() -> Line:
    """Return whether insights can be unlocked: not while they are paused, no model is called, or the queue is long."""
    return unlocks_state.line()
