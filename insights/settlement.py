"""How insights finish and jobs close. The transaction that finishes a job's last open insight also settles its coins.

Lock order, everywhere in the code base: chat, user, job, insight, reservation, wallet, reading. A transaction that
needs several rows locks them in this order, and several jobs by ascending id, so two transactions never wait for each
other. A question (questions.py) is locked where an insight is.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from uuid import UUID

from django.db import transaction
from django.db.models import Count, OuterRef, Q, Subquery, Sum, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce, Now, NullIf

from billing import ledger
from insights.dispatch import queue
from insights.models import ChatReading, GenerationJob, Insight
from relivchats.leases import Lease

logger = logging.getLogger(__name__)

#: The error code of insights whose job ran past its deadline and that had no error before.
DEADLINE_PASSED = "deadline_passed"


@transaction.atomic
def complete(lease: Lease, *, sealed_document: bytes, up_to_message: int | None = None, voided: bool = False) -> bool:
    """Deliver an insight. Return False, and discard the document, if the lease was lost.

    A voided insight is delivered, and its price is released when the job closes.
    """
    job = _lock_job(lease)
    # Compares the token: a worker that was frozen past its lease finds another token or a finished insight.
    delivered = queue.finish(
        lease,
        status=Insight.Status.COMPLETED,
        finished_at=Now(),
        sealed_document=sealed_document,
        up_to_message=up_to_message,
        voided=voided,
    )
    if delivered:
        _close_if_finished(job)
    return delivered


@transaction.atomic
def fail(lease: Lease, *, error_code: str) -> bool:
    """Fail an insight for good; its price is released when the job closes. Return False if the lease was lost."""
    job = _lock_job(lease)
    # Operators search the log for this text.
    message = f"failed after {lease.attempt} attempts"
    failed = queue.finish(
        lease,
        status=Insight.Status.FAILED,
        finished_at=Now(),
        error_code=error_code,
        error_message=f"{message}: {error_code}",
    )
    if failed:
        ids = {"job": str(job.pk), "user": str(job.user_id), "chat": str(job.chat_id), "insight": str(lease.row_id)}
        logger.error(message, extra={**ids, "error_code": error_code})
        _close_if_finished(job)
    return failed


@transaction.atomic
def fail_open_insights(
    job_id: UUID, *, error_code: str, error_message: str | Combinable, only: Iterable[UUID] | None = None
) -> bool:
    """Fail a job's open insights, or only those in `only`, leased or not. Return False if there were none.

    If the job's time is over, an insight keeps the last error of the engine, or of the reading that it waited for: that
    is the cause, by which operators group what failed.
    """
    cause: str | Combinable = error_code
    if error_code == DEADLINE_PASSED:
        reading = ChatReading.objects.filter(chat=OuterRef("chat")).values("error_code")
        cause = Coalesce(NullIf("error_code", Value("")), NullIf(Subquery(reading), Value("")), Value(error_code))
    job = GenerationJob.objects.select_for_update().get(pk=job_id)
    open_insights = job.insights.open()
    if only is not None:
        open_insights = open_insights.filter(pk__in=list(only))
    # Without their tokens, the workers that are still generating them cannot finish them any more.
    failed = open_insights.update(
        status=Insight.Status.FAILED,
        lease_token=None,
        lease_expires_at=None,
        finished_at=Now(),
        error_code=cause,
        error_message=error_message,
    )
    if failed:
        _close_if_finished(job)
    return bool(failed)


@transaction.atomic
def settle(job_id: UUID) -> bool:
    """Close a job without open insights and settle its coins. Return False if it is closed or has open insights."""
    # Without the lock, counts from before a worker finished the last insight could overwrite those of the closed job.
    return _close_if_finished(GenerationJob.objects.select_for_update().get(pk=job_id))


def _lock_job(lease: Lease) -> GenerationJob:
    # Before the insight: two workers that finish the last two insights of a job at once take turns here. Without the
    # lock, each would count the other's insight as open, and nobody would close the job.
    return GenerationJob.objects.select_for_update(of=("self",)).get(insights=lease.row_id)


def _close_if_finished(job: GenerationJob) -> bool:
    """Update the counters of a locked job. If it is open without an open insight, settle, close it and return True.

    This is the only place that closes a job.
    """
    completed = Q(status=Insight.Status.COMPLETED)
    counts = job.insights.aggregate(
        open=Count("pk", filter=Q(status__in=Insight.OPEN)),
        completed=Count("pk", filter=completed),
        failed=Count("pk", filter=Q(status=Insight.Status.FAILED)),
        coins=Sum("price", filter=completed & Q(voided=False), default=0),
    )
    job.completed_insights, job.failed_insights = counts["completed"], counts["failed"]
    if not job.is_open:
        # Its coins have moved. Insights that SQL made open again have ended since, so only the counters change.
        job.save(update_fields=["completed_insights", "failed_insights"])
        return False
    if counts["open"]:
        job.save(update_fields=["completed_insights", "failed_insights"])
        return False
    if counts["coins"]:
        ledger.capture(reservation=job.reservation, coins=counts["coins"])
    else:
        ledger.release(reservation=job.reservation, reason="nothing was delivered")
    if not job.failed_insights:
        job.status = GenerationJob.Status.COMPLETED
    elif job.completed_insights:
        job.status = GenerationJob.Status.PARTIAL_FAILURE
    else:
        job.status = GenerationJob.Status.FAILED
    # update(), not save(): finished_at comes from the database's clock.
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
