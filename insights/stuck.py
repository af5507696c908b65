"""Stuck and failed work, and what an open job or insight is waiting for."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import Case, CharField, F, Max, Min, OuterRef, Q, QuerySet, Subquery, Value, When
from django.db.models.expressions import Combinable
from django.db.models.fields import DateTimeField
from django.db.models.functions import Now

from chats.models import Chat
from insights.models import ChatReading, GenerationJob, Insight
from insights.reading.queue import current_reader, is_read_by
from relivchats import durations
from relivchats.leases import STUCK_AFTER


def stuck_insights() -> QuerySet[Insight]:
    """Return the insights whose lease expired more than STUCK_AFTER ago."""
    return Insight.objects.lease_expired().filter(lease_expires_at__lt=Now() - STUCK_AFTER)


def stuck_readings() -> QuerySet[ChatReading]:
    """Return the readings whose lease expired more than STUCK_AFTER ago."""
    return ChatReading.objects.lease_expired().filter(lease_expires_at__lt=Now() - STUCK_AFTER)


def stuck_jobs() -> QuerySet[GenerationJob]:
    """Return the open jobs that are overdue, unsettled, or have a stuck insight or reading, for over STUCK_AFTER."""
    jobs = GenerationJob.objects.open()
    overdue = jobs.overdue().filter(deadline_at__lt=Now() - STUCK_AFTER)
    unsettled = jobs.unsettled().filter(created_at__lt=Now() - STUCK_AFTER)
    # A job whose last insight finished just now is being settled in the same transaction, or by the next recovery.
    unsettled = unsettled.exclude(insights__finished_at__gte=Now() - STUCK_AFTER)
    # Subqueries, each with its own index. An OR over joins would scan the whole table.
    return jobs.filter(
        Q(pk__in=overdue.values("pk"))
        | Q(pk__in=unsettled.values("pk"))
        | Q(pk__in=stuck_insights().values("job"))
        | Q(chat__in=stuck_readings().values("chat"))
    )


def contradictory_jobs() -> QuerySet[GenerationJob]:
    """Return the finished jobs that have an open insight. Only SQL can make one; recovery corrects it."""
    finished = GenerationJob.objects.exclude(status__in=GenerationJob.OPEN)
    # Open insights are few, and have an index.
    return finished.filter(pk__in=Insight.objects.open().values("job"))


def failed_insights(rows: QuerySet[Insight] | None = None) -> QuerySet[Insight]:
    """Return the failed insights, all or those of `rows`, that can be retried and were not.

    Those of a deleted chat are excluded.
    """
    unlocked_again = Insight.objects.filter(chat=OuterRef("chat"), insight_type=OuterRef("insight_type")).exclude(
        status=Insight.Status.FAILED
    )
    rows = (Insight.objects.all() if rows is None else rows).filter(status=Insight.Status.FAILED, chat__isnull=False)
    # Not ~Exists(): Postgres expects one row of it, and sorts all failed insights for a page of fifty.
    return rows.alias(unlocked_again=Subquery(unlocked_again.values("pk")[:1])).filter(unlocked_again=None)


def annotate_jobs(jobs: QuerySet[GenerationJob]) -> QuerySet[GenerationJob]:
    """Annotate what `describe_job` reads, with subqueries: a list of any length takes one query."""

    def of_insights(status: Insight.Status, **instant: Any) -> Subquery:
        insights = Insight.objects.filter(job=OuterRef("pk"), status=status).order_by().values("job")
        return Subquery(insights.annotate(**instant).values(*instant), output_field=DateTimeField())

    return jobs.annotate(
        looked_at=Now(),
        vector_status=F("chat__vector_status"),
        reading_status=_reading_status(),
        next_due_at=of_insights(Insight.Status.PENDING, earliest=Min("next_attempt_at")),
        last_dispatched_at=of_insights(Insight.Status.PENDING, latest=Max("dispatched_at")),
        leased_until=of_insights(Insight.Status.GENERATING, latest=Max("lease_expires_at")),
    )


def annotate_insights(insights: QuerySet[Insight]) -> QuerySet[Insight]:
    """Annotate what `describe_insight` reads."""
    return insights.annotate(
        looked_at=Now(),
        vector_status=F("chat__vector_status"),
        reading_status=_reading_status(),
        deadline_at=F("job__deadline_at"),
    )


def _reading_status() -> Combinable:
    """Return the status of the reading that the chat needs: completed if it needs none."""
    reader = current_reader()
    completed = Value(ChatReading.Status.COMPLETED, CharField())
    if reader is None:
        return completed
    return Case(
        When(is_read_by(reader, chat="chat"), then=completed),
        When(chat__reading__status=ChatReading.Status.FAILED, then=F("chat__reading__status")),
        default=Value(ChatReading.Status.PENDING),
        output_field=CharField(),
    )


def describe_job(job: GenerationJob) -> str:
    """Return what an open job of `annotate_jobs` is waiting for, or an empty string if it is finished."""
    row = vars(job)
    return _describe(
        is_open=job.is_open,
        now=row["looked_at"],
        deadline_at=job.deadline_at,
        leased_until=row["leased_until"],
        due_at=row["next_due_at"],
        dispatched_at=row["last_dispatched_at"],
        vector_status=row["vector_status"],
        reading_status=row["reading_status"],
    )


def describe_insight(insight: Insight) -> str:
    """Return what an open insight of `annotate_insights` is waiting for, or an empty string if it is finished."""
    row = vars(insight)
    return _describe(
        is_open=insight.is_open,
        now=row["looked_at"],
        deadline_at=row["deadline_at"],
        leased_until=insight.lease_expires_at,
        due_at=insight.next_attempt_at,
        dispatched_at=insight.dispatched_at,
        vector_status=row["vector_status"],
        reading_status=row["reading_status"],
    )


def _describe(
    *,
    is_open: bool,
    now: datetime,
    deadline_at: datetime,
    leased_until: datetime | None,
    due_at: datetime | None,
    dispatched_at: datetime | None,
    vector_status: str | None,
    reading_status: str,
) -> str:
    """Return the first reason that applies, in the order in which an operator has to act on them."""
    if not is_open:
        return ""
    if deadline_at < now:
        return f"past its deadline for {durations.format_short(now - deadline_at)}"
    if leased_until is not None:
        if leased_until < now:
            return f"its worker stopped: the lease expired {durations.format_short(now - leased_until)} ago"
        return f"leased by a worker until {leased_until:%Y-%m-%d %H:%M:%S} UTC"
    if due_at is None:
        return "all insights are finished, but the job is not settled"
    if unprepared := _describe_chat(vector_status, reading_status):
        return unprepared
    if due_at > now:
        return f"due in {durations.format_short(due_at - now)}"
    if dispatched_at is not None and dispatched_at > now - STUCK_AFTER:
        return "dispatched, waiting for a worker"
    return f"due for {durations.format_short(now - due_at)}, waiting for a free lease"


def _describe_chat(vector_status: str | None, reading_status: str) -> str:
    """Return what an insight's chat lacks before the insight can be generated; empty if nothing."""
    if vector_status is None:
        return "its chat was deleted"
    if vector_status == Chat.VectorStatus.FAILED:
        return "indexing failed: reindex the chat"
    if vector_status != Chat.VectorStatus.COMPLETED:
        return "waiting for indexing"
    if reading_status == ChatReading.Status.FAILED:
        return "reading failed: retry the insights"
    return "" if reading_status == ChatReading.Status.COMPLETED else "waiting until the chat is read"
