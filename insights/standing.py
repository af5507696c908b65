"""Where a job or an insight stands, in a few words: what it waits for, who holds it, what is wrong with it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db.models import Aggregate, Exists, F, Max, Min, OuterRef, Q, QuerySet, Subquery
from django.db.models.fields import DateTimeField
from django.db.models.functions import Now

from chats.models import Chat
from insights.models import GenerationJob, Insight
from relivchats import durations

#: Recovery comes by every 15 s: what is past its time for longer than this is stuck.
GRACE = timedelta(seconds=60)


def stuck_insights() -> QuerySet[Insight]:
    """Generating under a lease that ran out, and no recovery since."""
    return Insight.objects.abandoned().filter(lease_expires_at__lt=Now() - GRACE)


def stuck_jobs() -> QuerySet[GenerationJob]:
    """Open past the deadline, without an open insight, or with an abandoned one, and no recovery since."""
    jobs = GenerationJob.objects.open()
    past = jobs.overdue().filter(deadline_at__lt=Now() - GRACE)
    unsettled = jobs.finished_but_open().filter(created_at__lt=Now() - GRACE)
    unsettled = unsettled.exclude(insights__finished_at__gte=Now() - GRACE)
    abandoned = jobs.filter(pk__in=stuck_insights().values("job"))
    return jobs.filter(
        Q(pk__in=past.values("pk")) | Q(pk__in=unsettled.values("pk")) | Q(pk__in=abandoned.values("pk"))
    )


def failed_insights() -> QuerySet[Insight]:
    """Failed and not tried again since. Those of a deleted chat are left out: they cannot be."""
    again = Insight.objects.filter(chat=OuterRef("chat"), insight_type=OuterRef("insight_type")).exclude(
        status=Insight.Status.FAILED
    )
    return Insight.objects.failed().filter(~Exists(again), chat__isnull=False)


def with_job_standing(jobs: QuerySet[GenerationJob]) -> QuerySet[GenerationJob]:
    """Annotated with what `of_job` asks; constant in queries."""
    own = Insight.objects.filter(job=OuterRef("pk")).order_by().values("job")
    pending = own.filter(status=Insight.Status.PENDING)
    leased = own.filter(status=Insight.Status.GENERATING)
    return jobs.annotate(
        looked_at=Now(),
        vector_status=F("chat__vector_status"),
        next_due_at=_of(pending, Min("next_attempt_at")),
        dispatched_last_at=_of(pending, Max("dispatched_at")),
        leased_until=_of(leased, Max("lease_expires_at")),
    )


def with_insight_standing(insights: QuerySet[Insight]) -> QuerySet[Insight]:
    """Annotated with what `of_insight` asks."""
    return insights.annotate(looked_at=Now(), vector_status=F("chat__vector_status"), deadline_at=F("job__deadline_at"))


def _of(insights: QuerySet[Any, Any], instant: Aggregate) -> Subquery:
    return Subquery(insights.annotate(instant=instant).values("instant"), output_field=DateTimeField())


def of_job(job: GenerationJob) -> str:
    """For a row of `with_job_standing`."""
    row = vars(job)
    now: datetime = row["looked_at"]
    if not job.is_open:
        return ""
    if job.deadline_at < now:
        return f"past its deadline for {durations.format_short(now - job.deadline_at)}"
    if row["leased_until"] is not None:
        return _leased(row["leased_until"], now=now)
    if row["next_due_at"] is None:
        return "every insight ended, but the job is not settled"
    return _pending(
        now=now,
        due_at=row["next_due_at"],
        dispatched_at=row["dispatched_last_at"],
        vector_status=row["vector_status"],
    )


def of_insight(insight: Insight) -> str:
    """For a row of `with_insight_standing`."""
    row = vars(insight)
    now: datetime = row["looked_at"]
    if not insight.is_open:
        return ""
    if row["deadline_at"] < now:
        return f"past its deadline for {durations.format_short(now - row['deadline_at'])}"
    if insight.lease_expires_at is not None:
        return _leased(insight.lease_expires_at, now=now)
    return _pending(
        now=now,
        due_at=insight.next_attempt_at,
        dispatched_at=insight.dispatched_at,
        vector_status=row["vector_status"],
    )


def _leased(until: datetime, *, now: datetime) -> str:
    if until < now:
        return f"its worker stopped: the lease ran out {durations.format_short(now - until)} ago"
    return f"leased by a worker until {until:%H:%M:%S}"


def _pending(*, now: datetime, due_at: datetime, dispatched_at: datetime | None, vector_status: str | None) -> str:
    if vector_status is None:
        return "its chat was deleted"
    if vector_status == Chat.VectorStatus.FAILED:
        return "indexing failed: reindex the chat"
    if vector_status != Chat.VectorStatus.COMPLETED:
        return "waiting for indexing"
    if due_at > now:
        return f"due in {durations.format_short(due_at - now)}"
    if dispatched_at is not None and dispatched_at > now - GRACE:
        return "called, waiting for a worker"
    return f"due for {durations.format_short(now - due_at)}, waiting for a free place"
