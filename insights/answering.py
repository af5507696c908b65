"""Answer one question in a worker: claim it, answer it without a database connection, and settle its coins."""

from __future__ import annotations

import logging
import math
import time
from typing import Any
from uuid import UUID

from django.db import DatabaseError, connection, transaction
from django.db.models import DurationField, ExpressionWrapper, F
from django.db.models.functions import Now

from billing import ledger
from chats import indexing
from insights import asking, engines
from insights.asking import Answer, Exchange, Question
from insights.engines.base import EngineError, EngineRateLimited
from insights.question_models import ChatQuestion
from insights.questions import NOT_SEARCHABLE, close, dispatch_soon, fail, lease_renewer, queue
from relivchats.leases import Lease

logger = logging.getLogger(__name__)

#: Earlier questions of a conversation that the model is shown.
MAX_EARLIER = 3
#: How long before its deadline a question's last call ends, so that the answer is stored in time.
_MARGIN_SECONDS = 2


def run(question_id: UUID) -> None:
    """Answer one question if it is due. A late or duplicate call does nothing."""
    lease = queue.claim(question_id)
    if lease is None:
        return
    started = time.monotonic()
    with lease_renewer.renewing(lease):
        engine = engines.get_engine()
        result: Answer | EngineError
        try:
            row = ChatQuestion.objects.select_related("chat").annotate(left=_seconds_left()).get(pk=question_id)
            result = asking.answer_question(
                row.chat,
                _load_question(row),
                engine=engine,
                deadline=started + vars(row)["left"].total_seconds() - _MARGIN_SECONDS,
                report=_report_to(lease),
                release_connection=_close_connection,
            )
        except EngineError as error:
            result = error
        except Exception:
            # Any exception: otherwise the question would stay open until its deadline.
            logger.exception("question not answered", extra={"question": str(question_id)})
            result = EngineError("internal_error")
        used = {
            "engine": engine.name,
            "model": engine.model,
            "prompt_version": engine.prompt_version,
            "milliseconds": round((time.monotonic() - started) * 1000),
        }
        _finish(lease, result, used)
    dispatch_soon()


def _load_question(row: ChatQuestion) -> Question:
    earlier = row.chat.questions.filter(
        conversation=row.conversation, status=ChatQuestion.Status.ANSWERED, created_at__lt=row.created_at
    ).order_by("-created_at", "-pk")[:MAX_EARLIER]
    exchanges = []
    for each in reversed(earlier):
        # The chat that is loaded already holds the key; each question would load and unwrap it again.
        each.chat = row.chat
        document = each.open_answer() or {}
        sentences = [claim["sentence"] for claim in document.get("claims", ())]
        exchanges.append(Exchange(each.open_question(), " ".join(sentences) or "none"))
    return Question(row.open_question(), language=row.language, earlier=tuple(exchanges))


def _report_to(lease: Lease) -> asking.Report:
    """Return a function that records the step that a question is at, for those who wait."""

    def report(step: asking.Step, messages_read: int) -> None:
        queue.held(lease).update(step=step, messages_read=messages_read)

    return report


def _finish(lease: Lease, result: Answer | EngineError, used: dict[str, Any]) -> None:
    """Record the end of the only attempt, again if the database fails: the answer has cost model calls."""
    try:
        _settle(lease, result, used)
    except DatabaseError as error:
        logger.warning("answer not recorded", extra={"error": type(error).__name__})
        _close_connection()
        _settle(lease, result, used)


@transaction.atomic
def _settle(lease: Lease, result: Answer | EngineError, used: dict[str, Any]) -> None:
    """Finish a question and settle its coins in one transaction; do nothing if recovery or a deletion came first."""
    row = queue.held(lease).select_for_update(of=("self",)).select_related("chat", "reservation").first()
    if row is None:
        logger.info("late answer discarded", extra={"question": str(lease.row_id)})
        return
    if isinstance(result, EngineError):
        if result.code == NOT_SEARCHABLE:
            indexing.request(row.chat)
        seconds = result.retry_after_seconds if isinstance(result, EngineRateLimited) else 0
        fail(row, error_code=result.code, retry_after_seconds=math.ceil(seconds), **used)
        return
    if row.reservation is not None:
        if result.is_charged:
            ledger.capture(reservation=row.reservation, coins=row.price)
        else:
            ledger.release(reservation=row.reservation, reason="not answered")
    close(
        row,
        status=ChatQuestion.Status.ANSWERED,
        sealed_answer=row.seal_answer(result.document),
        outcome=result.document["outcome"],
        rounds=result.rounds,
        messages_read=result.messages_read,
        claims=len(result.document["claims"]),
        tokens_in=result.tokens_in,
        tokens_out=result.tokens_out,
        **used,
    )
    logger.info("question answered", extra={"question": str(row.pk), "outcome": result.document["outcome"]})


def _seconds_left() -> ExpressionWrapper[Any]:
    return ExpressionWrapper(F("deadline_at") - Now(), output_field=DurationField())


def _close_connection() -> None:
    # Inside a transaction, as in tests, the connection is not this module's to close.
    if not connection.in_atomic_block:
        connection.close()
