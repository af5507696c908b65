"""What puts things right after a crash, a lost message or a lost broker. Every step re-checks what it changes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from billing import ledger
from billing.models import CoinReservation, ReservationQuerySet
from chats import indexing
from chats.models import Chat
from insights import dispatch, settlement
from insights.models import GenerationJob, Insight
from relivchats.errors import DomainError

logger = logging.getLogger(__name__)

#: Rows that one round handles of each kind; the next round takes the rest.
BATCH = 200


@dataclass(frozen=True)
class Recovered:
    """How many of each were put right."""

    leases: int = 0
    unindexable: int = 0
    overdue_jobs: int = 0
    finished_jobs: int = 0
    reservations: int = 0
    indexing: int = 0
    dispatched: int = 0

    def __str__(self) -> str:
        return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in asdict(self).items())

    @property
    def anything(self) -> bool:
        return any(count for name, count in asdict(self).items() if name != "dispatched")


def recover() -> Recovered:
    """One round over everything that can be stuck. Safe at any time, from any number of processes."""
    done = Recovered(
        leases=_each(Insight.objects.lease_expired().values_list("pk", flat=True), recover_insight),
        indexing=indexing.recover(),
        unindexable=_each(_jobs_of_unindexable_chats(), _fail_unindexable),
        overdue_jobs=_each(GenerationJob.objects.overdue().values_list("pk", flat=True), _fail_overdue),
        finished_jobs=_each(GenerationJob.objects.unsettled().values_list("pk", flat=True), settlement.settle),
        reservations=_each(orphaned_reservations().values_list("pk", flat=True), release_orphaned_reservation),
        dispatched=dispatch.dispatch(),
    )
    if done.anything:
        logger.warning("recovered", extra=asdict(done))
    return done


def recover_job(job_id: UUID) -> bool:
    """Put one job right: free its dead leases, close it if it is past its deadline or has nothing open."""
    abandoned = Insight.objects.lease_expired().filter(job=job_id).values_list("pk", flat=True)
    changed = [recover_insight(insight_id) for insight_id in abandoned]
    if GenerationJob.objects.overdue().filter(pk=job_id).exists():
        changed.append(_fail_overdue(job_id))
    changed.append(settlement.settle(job_id) if not Insight.objects.open().filter(job=job_id).exists() else False)
    dispatch.dispatch_soon()
    return any(changed)


def _each(ids: QuerySet[Any, UUID], step: Callable[[UUID], bool]) -> int:
    """How many of the rows the step put right. One that cannot be is logged, and the others go on."""
    return sum(_tried(step, pk) for pk in list(ids[:BATCH]))


def _tried(step: Callable[[UUID], bool], pk: UUID) -> bool:
    try:
        return step(pk)
    except (DomainError, DatabaseError) as error:
        logger.error("recovery failed", extra={"step": step.__name__, "row": str(pk), "error": type(error).__name__})
        return False


@transaction.atomic
def recover_insight(insight_id: UUID) -> bool:
    """An insight whose worker stopped renewing its lease: due again, or failed after its last attempt."""
    GenerationJob.objects.select_for_update(of=("self",)).filter(insights=insight_id).first()
    insight = Insight.objects.lease_expired().filter(pk=insight_id).first()
    if insight is None or insight.lease_token is None:
        return False
    if insight.attempt >= settings.INSIGHT_MAX_ATTEMPTS:
        tries = f"failed after {insight.attempt} attempts"
        logger.error(tries, extra={"insight": str(insight_id), "error_code": "worker_lost"})
        return settlement.fail(
            insight_id=insight_id,
            token=insight.lease_token,
            error_code="worker_lost",
            error_message=f"{tries}: worker_lost",
        )
    return bool(
        Insight.objects.lease_expired()
        .filter(pk=insight_id, lease_token=insight.lease_token)
        .update(
            status=Insight.Status.PENDING,
            lease_token=None,
            lease_expires_at=None,
            dispatched_at=None,
            next_attempt_at=Now(),
            error_code="worker_lost",
        )
    )


def fail_unindexable(chat_id: UUID) -> None:
    """End what waits for a chat that could not be made searchable."""
    for job_id in _jobs_of_unindexable_chats().filter(chat=chat_id):
        _fail_unindexable(job_id)


def _jobs_of_unindexable_chats() -> QuerySet[GenerationJob, UUID]:
    return (
        GenerationJob.objects.open()
        .filter(chat__vector_status=Chat.VectorStatus.FAILED, insights__status=Insight.Status.PENDING)
        .values_list("pk", flat=True)
        .distinct()
    )


@transaction.atomic
def _fail_unindexable(job_id: UUID) -> bool:
    job = GenerationJob.objects.select_for_update().get(pk=job_id)
    if job.chat is None or job.chat.vector_status != Chat.VectorStatus.FAILED:
        return False
    waiting = Insight.objects.filter(job=job_id, status=Insight.Status.PENDING).values_list("pk", flat=True)
    return settlement.fail_open_insights(
        job_id, only=waiting, error_code="indexing_failed", error_message="The chat could not be made searchable."
    )


@transaction.atomic
def _fail_overdue(job_id: UUID) -> bool:
    GenerationJob.objects.select_for_update().get(pk=job_id)
    if not GenerationJob.objects.overdue().filter(pk=job_id).exists():
        return False
    return settlement.fail_open_insights(
        job_id, error_code="deadline_passed", error_message="The job ran past its deadline."
    ) or settlement.settle(job_id)


def orphaned_reservations() -> ReservationQuerySet:
    """Active reservations that no open job will settle."""
    return CoinReservation.objects.active().exclude(job__status__in=GenerationJob.OPEN)


@transaction.atomic
def release_orphaned_reservation(reservation_id: UUID) -> bool:
    """Give back the coins of a reservation without an open job. Returns whether they were still held."""
    job = GenerationJob.objects.select_for_update().filter(reservation=reservation_id).first()
    if job is not None and job.is_open:
        return False
    reservation = CoinReservation.objects.select_for_update().get(pk=reservation_id)
    if reservation.status != CoinReservation.Status.ACTIVE:
        return False
    ledger.release(reservation=reservation, reason="no open job")
    return True
