"""How insights end and jobs close. The transaction that ends a job's last open insight also settles its coins.

Lock order: job, insight, reservation, wallet. `_settle` is the only place that closes a job.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from uuid import UUID

from django.db import transaction
from django.db.models import Count, Q, Sum
from django.db.models.functions import Now

from billing import ledger
from insights.models import GenerationJob, Insight, InsightQuerySet

logger = logging.getLogger(__name__)


@transaction.atomic
def complete(*, insight_id: UUID, token: UUID, sealed_document: bytes, up_to_message: int | None = None) -> bool:
    """Deliver an insight if this lease still holds it; otherwise the result is discarded (False)."""
    job = _lock_job(insight_id)
    return _end(
        job,
        Insight.objects.filter(pk=insight_id, lease_token=token, status=Insight.Status.GENERATING),
        status=Insight.Status.COMPLETED,
        sealed_document=sealed_document,
        up_to_message=up_to_message,
    )


@transaction.atomic
def fail(*, insight_id: UUID, token: UUID, error_code: str, error_message: str) -> bool:
    """Give an insight up if this lease still holds it. Its part of the coins goes back."""
    job = _lock_job(insight_id)
    return _end(
        job,
        Insight.objects.filter(pk=insight_id, lease_token=token, status=Insight.Status.GENERATING),
        status=Insight.Status.FAILED,
        error_code=error_code,
        error_message=error_message,
    )


@transaction.atomic
def fail_open_insights(
    job_id: UUID, *, error_code: str, error_message: str, only: Iterable[UUID] | None = None
) -> bool:
    """Give up a job's open insights, or only some of them, whoever holds them; then settle."""
    job = GenerationJob.objects.select_for_update().get(pk=job_id)
    still_open = job.insights.open()
    if only is not None:
        still_open = still_open.filter(pk__in=list(only))
    return _end(job, still_open, status=Insight.Status.FAILED, error_code=error_code, error_message=error_message)


@transaction.atomic
def settle(job_id: UUID) -> bool:
    """Close a job that has nothing open any more. Returns whether it was open until now."""
    return _settle(GenerationJob.objects.select_for_update().get(pk=job_id))


def _lock_job(insight_id: UUID) -> GenerationJob:
    return GenerationJob.objects.select_for_update(of=("self",)).get(insights=insight_id)


def _end(job: GenerationJob, insights: InsightQuerySet, **fields: object) -> bool:
    ended = insights.update(lease_token=None, lease_expires_at=None, finished_at=Now(), **fields)
    if ended:
        _settle(job)
    return bool(ended)


def _settle(job: GenerationJob) -> bool:
    """Bring the locked job's counters up to date and, when nothing is open, its coins and status too."""
    completed = Q(status=Insight.Status.COMPLETED)
    counts = job.insights.aggregate(
        open=Count("pk", filter=Q(status__in=Insight.OPEN)),
        completed=Count("pk", filter=completed),
        failed=Count("pk", filter=Q(status=Insight.Status.FAILED)),
        coins=Sum("price", filter=completed, default=0),
    )
    if not job.is_open:
        return False
    job.completed_insights, job.failed_insights = counts["completed"], counts["failed"]
    if counts["open"]:
        job.save(update_fields=["completed_insights", "failed_insights"])
        return False
    if counts["coins"]:
        ledger.capture(reservation=job.reservation, coins=counts["coins"])
    else:
        ledger.release(reservation=job.reservation, reason="nothing was delivered")
    job.status = _outcome(completed=job.completed_insights, failed=job.failed_insights)
    GenerationJob.objects.filter(pk=job.pk).update(
        status=job.status,
        completed_insights=job.completed_insights,
        failed_insights=job.failed_insights,
        finished_at=Now(),
    )
    logger.info(
        "job settled",
        extra={"job": str(job.pk), "status": job.status, "captured": counts["coins"], "failed": counts["failed"]},
    )
    return True


def _outcome(*, completed: int, failed: int) -> GenerationJob.Status:
    if not failed:
        return GenerationJob.Status.COMPLETED
    return GenerationJob.Status.PARTIAL_FAILURE if completed else GenerationJob.Status.FAILED
