"""Recovery from crashes, lost messages and lost brokers. Every step checks again what it changes, under its lock."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist
from django.db import DatabaseError, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce, Concat, Now, NullIf

from billing import ledger
from billing.models import CoinReservation, ReservationQuerySet
from chats import indexing
from chats.models import Chat
from insights import deadlines, questions, reading, settlement
from insights.dispatch import dispatch, dispatch_soon, queue
from insights.models import ChatReading, GenerationJob, Insight
from insights.question_models import ChatQuestion
from insights.reading import queue as readings
from insights.stuck import contradictory_jobs
from relivchats.errors import DomainError

logger = logging.getLogger(__name__)

#: Rows of each kind that one round recovers; the next round takes the rest.
BATCH = 200

#: The error of an insight or a reading whose worker stopped renewing its lease. It is due again at once.
WORKER_LOST = "worker_lost"


@dataclass(frozen=True)
class RecoveryCounts:
    """How many rows of each kind one round recovered."""

    leases: int = 0
    unindexable: int = 0
    readings: int = 0
    unreadable: int = 0
    overdue_jobs: int = 0
    finished_jobs: int = 0
    contradictory_jobs: int = 0
    questions: int = 0
    reservations: int = 0
    indexing: int = 0
    dispatched: int = 0

    def __str__(self) -> str:
        return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in asdict(self).items())

    @property
    def any_recovered(self) -> bool:
        """Whether anything was stuck. Dispatching is normal work and does not count."""
        return any(count for name, count in asdict(self).items() if name != "dispatched")


def recover() -> RecoveryCounts:
    """Recover everything that can be stuck, once. Safe at any time, from any number of processes at once."""
    # Leases first: a job that is past its deadline or finished then closes in the same round.
    counts = RecoveryCounts(
        leases=_count_recovered(recover_insight, Insight.objects.lease_expired()),
        indexing=indexing.recover(),
        unindexable=_count_recovered(_fail_unindexable_job, _unindexable_jobs()),
        readings=_count_recovered(recover_reading, ChatReading.objects.lease_expired()) + request_readings(),
        unreadable=_count_recovered(_fail_unreadable_job, _unreadable_jobs()),
        overdue_jobs=_count_recovered(_fail_overdue_job, GenerationJob.objects.overdue()),
        finished_jobs=_count_recovered(settlement.settle, GenerationJob.objects.unsettled()),
        contradictory_jobs=_count_recovered(_fail_insights_of_finished_job, contradictory_jobs()),
        questions=_count_recovered(questions.fail_lost, ChatQuestion.objects.lost()),
        reservations=_count_recovered(release_orphaned_reservation, orphaned_reservations()),
        dispatched=dispatch(),
    )
    if counts.any_recovered:
        logger.warning("recovered", extra=asdict(counts))
    return counts


def retry_waiting() -> int:
    """Make the insights and readings due now that wait after an error of the engine. Return how many.

    An operator has raised the quota or corrected the key: nothing has to wait until the time that the provider named.
    """
    waiting = Q(next_attempt_at__gt=Now()) & ~Q(error_code="")
    due_now: dict[str, Any] = {"next_attempt_at": Now(), "dispatched_at": None}
    retried = ChatReading.objects.filter(waiting, status=ChatReading.Status.PENDING).update(**due_now)
    retried += Insight.objects.filter(waiting, status=Insight.Status.PENDING).update(**due_now)
    if retried:
        readings.dispatch()
        dispatch()
    return retried


def recover_job(job_id: UUID) -> bool:
    """Recover one job: its expired leases, its deadline, its settlement. Return whether anything was stuck."""
    expired = Insight.objects.lease_expired().filter(job=job_id).values_list("pk", flat=True)
    changed = [recover_insight(insight_id) for insight_id in expired]
    changed += [_fail_overdue_job(job_id), settlement.settle(job_id)]
    dispatch_soon()
    return any(changed)


def _count_recovered(step: Callable[[UUID], bool], rows: QuerySet[Any]) -> int:
    """Call `step` with the id of each row, and return how many rows it changed. A row that fails is only logged."""
    recovered = 0
    for row_id in list(rows.values_list("pk", flat=True)[:BATCH]):
        try:
            recovered += step(row_id)
        except (DomainError, DatabaseError, ObjectDoesNotExist) as error:
            # One bad row, such as a reservation that was released by hand or a job that was deleted, must not stop the
            # recovery of all others.
            extra = {"step": step.__name__, "row": str(row_id), "error": type(error).__name__}
            logger.error("recovery failed", extra=extra)
    return recovered


@transaction.atomic
def recover_insight(insight_id: UUID) -> bool:
    """Make an insight with an expired lease due again, or fail it after its last attempt.

    Return False if the lease has not expired. The worker may be alive but slow: until the row is locked here, it can
    still renew the lease or finish the insight.
    """
    # The job before the insight, as everywhere: the lock order is in settlement.py.
    GenerationJob.objects.select_for_update(of=("self",)).filter(insights=insight_id).first()
    lease = queue.lock_expired(insight_id)
    if lease is None:
        return False
    if lease.attempt >= settings.INSIGHT_MAX_ATTEMPTS:
        return settlement.fail(lease, error_code=WORKER_LOST)
    return queue.release(lease, next_attempt_at=Now(), dispatched_at=None, error_code=WORKER_LOST)


def fail_unindexable(chat_id: UUID) -> None:
    """Fail the insights that wait for a chat whose indexing failed."""
    for job_id in _unindexable_jobs().filter(chat=chat_id).values_list("pk", flat=True):
        _fail_unindexable_job(job_id)


def _unindexable_jobs() -> QuerySet[GenerationJob]:
    return (
        GenerationJob.objects.open()
        .filter(chat__vector_status=Chat.VectorStatus.FAILED, insights__status=Insight.Status.PENDING)
        .distinct()
    )


@transaction.atomic
def _fail_unindexable_job(job_id: UUID) -> bool:
    # The chat is read after the job is locked: indexing may have been requested again meanwhile.
    job = GenerationJob.objects.select_for_update().get(pk=job_id)
    if job.chat is None or job.chat.vector_status != Chat.VectorStatus.FAILED:
        return False
    # Only what is pending: an insight that is being generated has been searched before and can still be delivered.
    waiting = job.insights.filter(status=Insight.Status.PENDING).values_list("pk", flat=True)
    return settlement.fail_open_insights(
        job_id, only=waiting, error_code="indexing_failed", error_message="The chat could not be made searchable."
    )


@transaction.atomic
def recover_reading(reading_id: UUID) -> bool:
    """Make a reading with an expired lease due again, or fail it after its last attempt. See `recover_insight`."""
    lease = readings.queue.lock_expired(reading_id)
    if lease is None:
        return False
    if lease.attempt < settings.INSIGHT_MAX_ATTEMPTS:
        return readings.queue.release(lease, next_attempt_at=Now(), dispatched_at=None, error_code=WORKER_LOST)
    # Operators search the log for this text.
    logger.error(
        f"failed after {lease.attempt} attempts", extra={"reading": str(reading_id), "error_code": WORKER_LOST}
    )
    return readings.queue.finish(lease, status=ChatReading.Status.FAILED, finished_at=Now(), error_code=WORKER_LOST)


def request_readings(chat_id: UUID | None = None) -> int:
    """Request the readings that insights wait for and that nothing has requested: of one chat, or of all.

    They are missing after messages were added to a chat, or after another engine was configured.
    """
    chats = readings.unrequested_chats()
    if chat_id is not None:
        chats = chats.filter(pk=chat_id)
    return _count_recovered(_request_reading, chats)


def _request_reading(chat_id: UUID) -> bool:
    # Messages that are added after this row was read are requested by the next round.
    reading.request(Chat.objects.get(pk=chat_id))
    return True


def continue_after_reading(chat_id: UUID) -> None:
    """Dispatch the insights that wait for this chat, fail them if its reading failed, or read what was added."""
    for job_id in _unreadable_jobs().filter(chat=chat_id).values_list("pk", flat=True):
        _fail_unreadable_job(job_id)
    request_readings(chat_id)
    dispatch_soon()


def _unreadable_jobs() -> QuerySet[GenerationJob]:
    reader = readings.current_reader()
    if reader is None:
        return GenerationJob.objects.none()
    failed = ChatReading.objects.filter(status=ChatReading.Status.FAILED, **reader._asdict())
    return GenerationJob.objects.open().filter(chat__reading__in=failed)


@transaction.atomic
def _fail_unreadable_job(job_id: UUID) -> bool:
    # Read after the job is locked: the chat may have been requested to be read again meanwhile.
    job = GenerationJob.objects.select_for_update().get(pk=job_id)
    if not _unreadable_jobs().filter(pk=job_id).exists():
        return False
    # Only what is pending: an insight that is being generated has an earlier reading and can still be delivered.
    waiting = job.insights.filter(status=Insight.Status.PENDING).values_list("pk", flat=True)
    return settlement.fail_open_insights(
        job_id, only=waiting, error_code="reading_failed", error_message="The chat could not be read."
    )


@transaction.atomic
def _fail_overdue_job(job_id: UUID) -> bool:
    # Read again under the lock: the first claim moves the deadline.
    job = GenerationJob.objects.select_for_update(of=("self",)).overdue().filter(pk=job_id).first()
    if job is None or _move_deadline_of_prepared(job):
        return False
    # Why it took so long is what an operator needs: the last error of the insight, or of the reading that it waits for.
    reading = ChatReading.objects.filter(chat=OuterRef("chat")).values("error_code")
    last_error = Coalesce(NullIf("error_code", Value("")), NullIf(Subquery(reading), Value("")), Value("no error"))
    not_started = "No insight of the job was started before its deadline."
    cause = not_started if job.status == GenerationJob.Status.QUEUED else "The job ran past its deadline."
    message = Concat(Value(f"{cause} Last error: "), last_error)
    return settlement.fail_open_insights(
        job_id, error_code="deadline_passed", error_message=message
    ) or settlement.settle(job_id)


def _fail_insights_of_finished_job(job_id: UUID) -> bool:
    # No worker claims them, and each would be published again and again. A finished job never opens again, and the
    # settlement moves no coins of one.
    return settlement.fail_open_insights(
        job_id, error_code="job_finished", error_message="The job was finished before this insight."
    )


def _move_deadline_of_prepared(job: GenerationJob) -> bool:
    """Move the deadline of a locked job that waits until its chat is indexed or read, if a worker does that now.

    Return False if none does, or if the deadline is the latest already.
    """
    if job.status != GenerationJob.Status.QUEUED or job.chat_id is None:
        return False
    is_indexed = Q(vector_status=Chat.VectorStatus.INDEXING, index_lease_expires_at__gte=Now())
    is_read = Q(reading__status=ChatReading.Status.READING, reading__lease_expires_at__gte=Now())
    if not Chat.objects.filter(is_indexed | is_read, pk=job.chat_id).exists():
        return False
    GenerationJob.objects.filter(pk=job.pk).update(deadline_at=deadlines.deadline_from_now())
    return not GenerationJob.objects.overdue().filter(pk=job.pk).exists()


def orphaned_reservations() -> ReservationQuerySet:
    """Return the active reservations that no open job or question will settle."""
    for_questions = ChatQuestion.objects.open().filter(reservation=OuterRef("pk"))
    return CoinReservation.objects.active().exclude(job__status__in=GenerationJob.OPEN).exclude(Exists(for_questions))


def recover_reservation(reservation_id: UUID) -> None:
    """Settle the reservation's job or question if it is past its deadline; release the coins if neither is open."""
    for question_id in ChatQuestion.objects.lost().filter(reservation=reservation_id).values_list("pk", flat=True):
        questions.fail_lost(question_id)
    job = GenerationJob.objects.filter(reservation=reservation_id).first()
    if job is not None and job.is_open:
        recover_job(job.pk)
    else:
        release_orphaned_reservation(reservation_id)


@transaction.atomic
def release_orphaned_reservation(reservation_id: UUID) -> bool:
    """Release a reservation without an open job or question. Return False if it has one or is not active any more."""
    # A closed job or question never opens again and needs no lock. The reservation does: of two releases, one counts.
    orphaned = orphaned_reservations().select_for_update(of=("self",))
    reservation = orphaned.filter(pk=reservation_id).first()
    if reservation is None:
        return False
    ledger.release(reservation=reservation, reason="no open job")
    return True
