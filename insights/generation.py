"""Generate one insight: claim it, write it without a database connection, then complete, reschedule or fail it."""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import orjson
from django.conf import settings
from django.db import Error, connection, transaction
from django.db.models import F
from django.db.models.functions import Coalesce, Now

from insights import briefs, deadlines, document, engines, settlement
from insights.dispatch import dispatch_soon, lease_renewer, queue
from insights.engines.base import Draft, Engine, EngineError, EngineRateLimited, EngineRefused
from insights.models import GenerationJob, Insight, InsightAttempt
from relivchats import logs
from relivchats.leases import Lease

logger = logging.getLogger(__name__)

#: Seconds before the second, third, … attempt.
RETRY_AFTER_SECONDS = (15, 45, 135)

#: Seconds before the result of an attempt is recorded again after a database error.
RECORD_AGAIN_SECONDS = (0.2, 2)

#: The key of the advisory lock that claims take one at a time. Any constant that nothing else in the database uses.
_CLAIMS_LOCK = 0x52656C6976


@dataclass(frozen=True)
class GeneratedInsight:
    """A sealed document, the draft that it was made from, and the chat's last message number at that time.

    `voided`: ratings are withheld because somebody may be in danger, or there are none, so it is not charged.
    """

    sealed_document: bytes
    draft: Draft
    up_to_message: int
    voided: bool


def run(insight_id: UUID) -> None:
    """Generate one insight if it is due and a lease is free. A late or duplicate call does nothing."""
    with logs.bound(insight=insight_id):
        _run(insight_id)


def _run(insight_id: UUID) -> None:
    lease = claim_insight(insight_id)
    if lease is None:
        return
    engine = engines.get_engine()
    started = time.monotonic()
    with lease_renewer.renewing(lease):
        result: GeneratedInsight | EngineError
        try:
            result = _generate(lease, engine)
        except EngineError as error:
            result = error
        except Exception:
            # Any exception: otherwise the insight would stay leased until the lease expires.
            logger.exception("insight not generated")
            result = EngineError("internal_error")
        milliseconds = _milliseconds_since(started)
        for wait_seconds in RECORD_AGAIN_SECONDS:
            try:
                _record(lease, engine, result, milliseconds=milliseconds)
                break
            except Error as error:
                # A broken connection or a deadlock must not throw away a finished insight, which cost a model call.
                logger.warning("result not recorded", extra={"error": type(error).__name__})
                _close_connection()
                time.sleep(wait_seconds)
        else:
            _record(lease, engine, result, milliseconds=milliseconds)
    dispatch_soon()


@transaction.atomic
def claim_insight(insight_id: UUID) -> Lease | None:
    """Lease an insight and mark its job as running.

    Return None if the insight is not due, no lease is free or the job's time is over.
    """
    jobs = GenerationJob.objects.select_for_update(of=("self",)).open()
    # What a model writes after the deadline is discarded by recovery, and costs money.
    job = jobs.filter(deadlines.has_time_left(), insights=insight_id).first()
    if job is None:
        return None
    # One claim at a time: two that count the same free lease would both take it. After the lock of the job, so that the
    # holder of the advisory lock waits for no job, and a locked job delays only its own claims.
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_CLAIMS_LOCK])
    lease = None
    if Insight.objects.leased().count() < settings.MAX_CONCURRENT_INSIGHTS:
        lease = queue.claim(insight_id, started_at=Coalesce("started_at", Now()))
    if lease is None:
        # The message is used up. Let the next dispatch publish the insight as soon as it is due and a lease is free.
        Insight.objects.filter(pk=insight_id, status=Insight.Status.PENDING).update(dispatched_at=None)
        return None
    if job.status == GenerationJob.Status.QUEUED:
        GenerationJob.objects.filter(pk=job.pk).update(
            status=GenerationJob.Status.RUNNING, started_at=Now(), deadline_at=deadlines.deadline_from_now()
        )
    return lease


def _generate(lease: Lease, engine: Engine) -> GeneratedInsight:
    """Return the sealed document of a leased insight.

    Raise EngineError, or any error of reading, building or sealing.
    """
    insight = Insight.objects.select_related("chat", "insight_type__category", "type_version").get(pk=lease.row_id)
    chat = insight.chat
    logs.bind(job=insight.job_id, chat=insight.chat_id)
    if chat is None:
        raise EngineError("chat_deleted")
    logs.bind(user=chat.owner_id)
    brief = briefs.build_brief(insight)
    if brief.reading is not None and brief.reading.relationship in insight.insight_type.category.not_for:
        # Found only by reading; an unlock is refused before coins are held once the chat was read.
        raise EngineRefused("does_not_fit")
    key, context = chat.key, chat.context(f"insight:{insight.pk}")
    # A model call takes up to a minute. A connection held meanwhile would be one of the database's few.
    _close_connection()
    started = time.monotonic()
    draft = engine.write(brief)
    provenance = {
        "engine": engine.name,
        "model": engine.model,
        "method": engine.method,
        "type_version": insight.type_version.version,
        "prompt_version": engine.prompt_version,
        "tokens": {"in": draft.tokens_in, "out": draft.tokens_out, **draft.usage},
        "milliseconds": _milliseconds_since(started),
    }
    finished = document.build_document(brief=brief, draft=draft, provenance=provenance)
    # Nobody pays for an insight that withholds its ratings, or has none.
    voided = bool(brief.withheld) or document.says_nothing(finished)
    sealed = key.seal(orjson.dumps(finished), context=context)
    return GeneratedInsight(sealed, draft, up_to_message=chat.line_count, voided=voided)


@transaction.atomic
def _record(lease: Lease, engine: Engine, result: GeneratedInsight | EngineError, *, milliseconds: int) -> None:
    """Record the end of an attempt in one transaction: the insight, its job and coins, and the attempt's own row."""
    attempt = InsightAttempt(
        insight_id=lease.row_id,
        number=lease.attempt,
        engine=engine.name,
        model=engine.model,
        prompt_version=engine.prompt_version,
        milliseconds=milliseconds,
    )
    if isinstance(result, EngineError):
        attempt.error_code = result.code
        if not result.may_retry or (result.uses_attempt and lease.attempt >= settings.INSIGHT_MAX_ATTEMPTS):
            attempt.outcome = InsightAttempt.Outcome.FAILED
            lease_was_valid = settlement.fail(lease, error_code=result.code)
        else:
            attempt.outcome = InsightAttempt.Outcome.RETRY
            lease_was_valid = _reschedule(lease, result)
    else:
        lease_was_valid = settlement.complete(
            lease,
            sealed_document=result.sealed_document,
            up_to_message=result.up_to_message,
            voided=result.voided,
        )
        attempt.outcome = InsightAttempt.Outcome.COMPLETED
        attempt.tokens_in, attempt.tokens_out = result.draft.tokens_in, result.draft.tokens_out
        logger.info(
            "insight delivered" if lease_was_valid else "late result discarded",
            extra={"insight": str(lease.row_id), "attempt": lease.attempt, "milliseconds": milliseconds},
        )
    if not lease_was_valid:
        attempt.outcome = InsightAttempt.Outcome.DISCARDED
    attempt.save(force_insert=True)


def _reschedule(lease: Lease, error: EngineError) -> bool:
    """Make the insight due again after a delay. Return False if the lease was lost."""
    if isinstance(error, EngineRateLimited):
        # The jitter keeps the insights that the provider rejected together from returning together.
        wait_seconds = error.retry_after_seconds + random.uniform(0, 5)
    else:
        wait_seconds = RETRY_AFTER_SECONDS[min(lease.attempt, len(RETRY_AFTER_SECONDS)) - 1]
    logger.warning(
        "insight rescheduled",
        extra={"insight": str(lease.row_id), "error_code": error.code, "seconds": round(wait_seconds)},
    )
    return queue.release(
        lease,
        attempt=F("attempt") - (0 if error.uses_attempt else 1),
        next_attempt_at=Now() + timedelta(seconds=wait_seconds),
        dispatched_at=None,
        error_code=error.code,
    )


def _close_connection() -> None:
    # Inside a transaction, as in tests, the connection is not this module's to close.
    if not connection.in_atomic_block:
        connection.close()


def _milliseconds_since(started: float) -> int:
    """Return the milliseconds since `started`, a value of time.monotonic()."""
    return round((time.monotonic() - started) * 1000)
