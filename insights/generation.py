"""One insight: claim it, write it with no database connection held, complete it or fail it."""

from __future__ import annotations

import logging
import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.db import Error, connection, transaction
from django.db.models import F
from django.db.models.functions import Coalesce, Now

from insights import briefs, dispatch, document, engines, settlement
from insights.engines.base import Draft, Engine, EngineError, EngineRateLimited
from insights.leases import keeper
from insights.models import GenerationJob, Insight, InsightAttempt

logger = logging.getLogger(__name__)

#: Seconds before the second, third, … try.
RETRY_AFTER_SECONDS = (15, 45, 135)

#: Seconds before the end of a try is recorded again, when the database refused it.
RECORD_AGAIN_SECONDS = (0.2, 2)

_CLAIMS_LOCK = 0x52656C6976  # an advisory lock: claims count the leases one at a time

_CLAIM = """
UPDATE insights SET
    status = 'generating', attempt = attempt + 1, lease_token = %(token)s,
    lease_expires_at = clock_timestamp() + make_interval(secs => %(lease)s),
    started_at = COALESCE(started_at, clock_timestamp())
WHERE id = %(id)s AND attempt < %(attempts)s
  AND ((status = 'pending' AND next_attempt_at <= clock_timestamp())
       OR (status = 'generating' AND lease_expires_at < clock_timestamp()))
  AND (SELECT count(*) FROM insights WHERE status = 'generating' AND lease_expires_at >= clock_timestamp())
      < %(places)s
RETURNING attempt
"""


@dataclass(frozen=True)
class Claim:
    insight_id: UUID
    token: UUID
    attempt: int


@dataclass(frozen=True)
class Written:
    """A sealed document, the draft it was made of, and the last message number that the chat had then."""

    sealed_document: bytes
    draft: Draft
    up_to_message: int


def run(insight_id: UUID) -> None:
    """Generate one insight, if it is due and there is a place. Called late or twice, it does nothing."""
    claim = claim_insight(insight_id)
    if claim is None:
        return
    engine = engines.get_engine()
    started = time.monotonic()
    with keeper.holding(claim.token):
        outcome = _written_or_failed(claim, engine)
        milliseconds = _since(started)
        if isinstance(outcome, Written):
            _record(partial(_deliver, claim, engine, outcome, milliseconds=milliseconds))
        else:
            _record(partial(_put_off_or_fail, claim, engine, outcome, milliseconds=milliseconds))
    dispatch.dispatch_soon()


def _written_or_failed(claim: Claim, engine: Engine) -> Written | EngineError:
    try:
        return _write(claim, engine)
    except EngineError as error:
        return error
    except Exception:
        # Whatever it was, the insight must not stay held until its lease runs out.
        logger.exception("an insight could not be written", extra={"insight": str(claim.insight_id)})
        return EngineError("internal_error")


def _record(end: Callable[[], None]) -> None:
    """Write down how a try ended. What is finished is not thrown away for one broken connection or deadlock."""
    for wait_seconds in RECORD_AGAIN_SECONDS:
        try:
            end()
        except Error as error:
            logger.warning("an insight's end was not recorded", extra={"error": type(error).__name__})
            _let_go_of_the_database()
            time.sleep(wait_seconds)
        else:
            return
    end()


@transaction.atomic
def claim_insight(insight_id: UUID) -> Claim | None:
    """Take the insight under a new lease, or None when it is not to be had now."""
    token = uuid.uuid4()
    with connection.cursor() as cursor:
        open_jobs = GenerationJob.objects.select_for_update(of=("self",)).open()
        job = open_jobs.filter(insights=insight_id).first()
        if job is None:
            return None
        # After the job: who counts the leases waits for nobody.
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_CLAIMS_LOCK])
        cursor.execute(
            _CLAIM,
            {
                "token": token,
                "id": insight_id,
                "lease": settings.INSIGHT_LEASE_SECONDS,
                "attempts": settings.INSIGHT_MAX_ATTEMPTS,
                "places": settings.MAX_CONCURRENT_INSIGHTS,
            },
        )
        row = cursor.fetchone()
    if row is None:
        # No place, or not its time: let the next round call it again at once.
        Insight.objects.filter(pk=insight_id, status=Insight.Status.PENDING).update(dispatched_at=None)
        return None
    if job.status == GenerationJob.Status.QUEUED:
        GenerationJob.objects.filter(pk=job.pk).update(
            status=GenerationJob.Status.RUNNING, started_at=Coalesce("started_at", Now())
        )
    return Claim(insight_id, token, attempt=row[0])


def _write(claim: Claim, engine: Engine) -> Written:
    insight = Insight.objects.select_related("chat", "insight_type", "type_version").get(pk=claim.insight_id)
    chat = insight.chat
    if chat is None:
        raise EngineError("chat_deleted")
    brief = briefs.build_brief(insight)
    key, context = chat.key, chat.context(f"insight:{insight.pk}")
    _let_go_of_the_database()
    started = time.monotonic()
    draft = engine.write(brief)
    provenance: dict[str, Any] = {
        "engine": engine.name,
        "model": engine.model,
        "type_version": insight.type_version.version,
        "prompt_version": engine.prompt_version,
        "tokens": {"in": draft.tokens_in, "out": draft.tokens_out},
        "milliseconds": _since(started),
    }
    finished = document.build_document(brief=brief, draft=draft, provenance=provenance)
    return Written(key.seal(orjson.dumps(finished), context=context), draft, up_to_message=chat.line_count)


def _let_go_of_the_database() -> None:
    if not connection.in_atomic_block:
        connection.close()


@transaction.atomic
def _deliver(claim: Claim, engine: Engine, written: Written, *, milliseconds: int) -> None:
    delivered = settlement.complete(
        insight_id=claim.insight_id,
        token=claim.token,
        sealed_document=written.sealed_document,
        up_to_message=written.up_to_message,
    )
    _note_attempt(
        claim,
        engine,
        milliseconds=milliseconds,
        outcome=InsightAttempt.Outcome.COMPLETED if delivered else InsightAttempt.Outcome.DISCARDED,
        tokens_in=written.draft.tokens_in,
        tokens_out=written.draft.tokens_out,
    )
    logger.info(
        "insight delivered" if delivered else "a late result was discarded",
        extra={"insight": str(claim.insight_id), "attempt": claim.attempt, "milliseconds": milliseconds},
    )


@transaction.atomic
def _put_off_or_fail(claim: Claim, engine: Engine, error: EngineError, *, milliseconds: int) -> None:
    last = error.uses_attempt and claim.attempt >= settings.INSIGHT_MAX_ATTEMPTS
    if last or not error.may_retry:
        held = _give_up(claim, error)
        outcome = InsightAttempt.Outcome.FAILED
    else:
        held = _put_off(claim, error)
        outcome = InsightAttempt.Outcome.RETRY
    _note_attempt(
        claim,
        engine,
        milliseconds=milliseconds,
        outcome=outcome if held else InsightAttempt.Outcome.DISCARDED,
        error_code=error.code,
    )


def _give_up(claim: Claim, error: EngineError) -> bool:
    tries = f"failed after {claim.attempt} attempts"
    logger.error(tries, extra={"insight": str(claim.insight_id), "error_code": error.code})
    return settlement.fail(
        insight_id=claim.insight_id, token=claim.token, error_code=error.code, error_message=f"{tries}: {error.code}"
    )


def _put_off(claim: Claim, error: EngineError) -> bool:
    if isinstance(error, EngineRateLimited):
        wait = error.retry_after_seconds + random.uniform(0, 5)
    else:
        wait = RETRY_AFTER_SECONDS[min(claim.attempt, len(RETRY_AFTER_SECONDS)) - 1]
    logger.warning(
        "insight put off",
        extra={"insight": str(claim.insight_id), "error_code": error.code, "seconds": round(wait)},
    )
    return bool(
        Insight.objects.filter(pk=claim.insight_id, lease_token=claim.token, status=Insight.Status.GENERATING).update(
            status=Insight.Status.PENDING,
            attempt=F("attempt") - (0 if error.uses_attempt else 1),
            next_attempt_at=Now() + timedelta(seconds=wait),
            lease_token=None,
            lease_expires_at=None,
            dispatched_at=None,
            error_code=error.code,
        )
    )


def _note_attempt(claim: Claim, engine: Engine, **fields: Any) -> None:
    InsightAttempt.objects.create(
        insight_id=claim.insight_id,
        number=claim.attempt,
        engine=engine.name,
        model=engine.model,
        prompt_version=engine.prompt_version,
        **fields,
    )


def _since(started: float) -> int:
    """Milliseconds since a reading of the monotonic clock."""
    return round((time.monotonic() - started) * 1000)
