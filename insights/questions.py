"""Questions of owners about their chats: ask, dispatch, recover and delete. Workers answer them (answering.py).

A question is a row; the worker that claims it has one attempt, until the row's deadline. The transaction that finishes
the row also captures or releases its coins. Recovery fails what nobody will answer.

Lock order: chat, job, question, reservation, wallet. settlement.py has the order of all rows.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils.crypto import salted_hmac

from billing import ledger
from chats import indexing
from chats.models import Chat
from chats.vector_index import NotSearchable
from insights import availability
from insights.question_models import ChatQuestion
from relivchats import clock
from relivchats.accounts.models import IdempotencyKey, User
from relivchats.errors import DomainError, NotFound
from relivchats.following import Progress
from relivchats.leases import LeaseQueue, LeaseRenewer
from relivchats.wakeups import CoalescingThread

logger = logging.getLogger(__name__)

MAX_QUESTION_LENGTH = 500
#: When to ask again while a chat is being indexed, and after an error that names no time.
INDEXING_RETRY_SECONDS = 5
RETRY_SECONDS = 30
#: Questions that are answered at once, over all workers.
MAX_CONCURRENT = 4
#: The name of questions for requests that follow them (relivchats/following.py).
SOURCE = "questions"
NOT_SEARCHABLE = "chat_not_searchable"

queue = LeaseQueue(
    model=ChatQuestion,
    task="insights.tasks.answer_question",
    status_column="status",
    pending=ChatQuestion.Status.PENDING,
    leased=ChatQuestion.Status.ANSWERING,
    due=ChatQuestion.objects.due,
    lease_expired=ChatQuestion.objects.lease_expired,
    # Somebody waits for the answer: a second attempt would come too late.
    max_attempts=1,
)
lease_renewer = LeaseRenewer(queue)


class QuestionsUnavailable(DomainError):
    """No question can be answered now (503). `reason` is a code. Nothing was charged."""

    code, status, title = "ERR_4000", 503, "Questions cannot be answered now"


class QuestionRefused(DomainError):
    """The language model does not answer this question (422). Nothing was charged."""

    code, status, title = "ERR_1001", 422, "The model does not answer this question"


@transaction.atomic
def ask(
    *,
    user: User,
    chat: Chat,
    text: str,
    language: str = "en",
    conversation: UUID | None = None,
    idempotency_key: str = "",
) -> ChatQuestion:
    """Store a question for a worker, and reserve its coins. The same key about the same chat returns the same question.

    Raise NotSearchable, after requesting the index; QuestionsUnavailable; NotFound for a deleted chat or an unknown
    conversation; InsufficientCoins.
    """
    locked = Chat.objects.select_for_update(no_key=True).owned_by(user).filter(pk=chat.pk).first()
    if locked is None:
        raise NotFound("There is no such chat. It may have been deleted.")
    if conversation is not None and not locked.questions.filter(conversation=conversation).exists():
        raise NotFound("There is no such conversation in this chat. Leave it out to start one.")
    question_id = _derive_id(user, chat, idempotency_key) if idempotency_key else uuid4()
    if earlier := locked.questions.select_related("chat").filter(pk=question_id).first():
        # A request that failed leaves its key unused, and an old key may be used for another one.
        if earlier.status != ChatQuestion.Status.FAILED and earlier.created_at > clock.now() - IdempotencyKey.RETENTION:
            return earlier
        question_id = uuid4()
    deadline_at = clock.now() + timedelta(seconds=settings.ASK_TIMEOUT_SECONDS)
    question = ChatQuestion(
        id=question_id,
        chat=locked,
        conversation=conversation or uuid4(),
        language=language,
        price=settings.ASK_PRICE_COINS,
        deadline_at=deadline_at,
    )
    question.sealed_question = question.seal_question(text)
    if question.price:
        question.reservation = ledger.reserve(
            wallet=ledger.open_wallet(user=user),
            coins=question.price,
            idempotency_key=f"question:{question.pk}",
            expires_at=deadline_at + timedelta(seconds=settings.RESERVATION_MARGIN_SECONDS),
            reason="question",
        )
    question.save(force_insert=True)
    transaction.on_commit(dispatch_soon)
    return question


def _derive_id(user: User, chat: Chat, idempotency_key: str) -> UUID:
    # A keyed hash: a client's key can contain anything, and ids are in logs and messages.
    digest = salted_hmac("question", f"{user.pk} {chat.pk} {idempotency_key}", algorithm="sha256").digest()
    return UUID(bytes=digest[:16], version=4)


def require_answerable(chat: Chat) -> None:
    """Return if a question about the chat can be answered now.

    Raise NotSearchable, after requesting the index, or QuestionsUnavailable.
    """
    if not chat.is_searchable:
        is_requested = chat.vector_status == Chat.VectorStatus.PENDING and chat.index_requested_at
        if not is_requested and chat.vector_status != Chat.VectorStatus.INDEXING:
            indexing.request(chat)
        raise _not_searchable()
    if unavailability := availability.find_unavailability(for_question=True):
        raise QuestionsUnavailable(
            "Questions cannot be answered at the moment. Nothing was charged; please try again later.",
            reason=unavailability.reason,
            retry_after_seconds=unavailability.retry_after_seconds,
        )


def raise_failure(question: ChatQuestion) -> None:
    """Raise what a failed question is answered with: NotSearchable, QuestionRefused or QuestionsUnavailable."""
    if question.error_code == NOT_SEARCHABLE:
        raise _not_searchable()
    if question.error_code.startswith(("blocked_", "engine_refused")):
        raise QuestionRefused("The language model does not answer this. Please ask in other words; it costs nothing.")
    raise QuestionsUnavailable(
        "Your question could not be answered in time. Nothing was charged; please ask again.",
        reason=question.error_code,
        retry_after_seconds=question.retry_after_seconds or RETRY_SECONDS,
    )


def _not_searchable() -> NotSearchable:
    return NotSearchable(
        "This chat is being prepared for questions, which takes a few seconds. Please ask again then.",
        retry_after_seconds=INDEXING_RETRY_SECONDS,
    )


def dispatch() -> int:
    """Publish the ids of due questions, the oldest first, at most as many as may be answered at once."""
    in_flight = ChatQuestion.objects.filter(
        status=ChatQuestion.Status.PENDING, dispatched_at__gte=Now() - timedelta(seconds=settings.REDISPATCH_SECONDS)
    ) | ChatQuestion.objects.filter(status=ChatQuestion.Status.ANSWERING)
    due = ChatQuestion.objects.due().order_by("created_at", "pk")
    return queue.dispatch(due, limit=MAX_CONCURRENT - in_flight.count())


dispatch_soon = CoalescingThread(dispatch, name="dispatch-questions").run_soon


def fail(row: ChatQuestion, *, error_code: str, **columns: Any) -> None:
    """Fail a locked open question and release its coins."""
    if row.reservation is not None:
        ledger.release(reservation=row.reservation, reason="not answered")
    close(row, status=ChatQuestion.Status.FAILED, error_code=error_code, **columns)
    logger.warning("question failed", extra={"question": str(row.pk), "error_code": error_code})


def close(row: ChatQuestion, **columns: Any) -> None:
    """Finish a locked open question."""
    # update(), not save(): finished_at comes from the database's clock.
    ChatQuestion.objects.filter(pk=row.pk).update(
        step=ChatQuestion.Step.DONE, lease_token=None, lease_expires_at=None, finished_at=Now(), **columns
    )


@transaction.atomic
def fail_lost(question_id: UUID) -> bool:
    """Fail a question that nobody will answer, and release its coins. Return False if it is not lost."""
    row = lock(ChatQuestion.objects.lost().filter(pk=question_id)).first()
    if row is None:
        return False
    code = "deadline_passed" if row.status == ChatQuestion.Status.PENDING else "worker_lost"
    fail(row, error_code=code)
    return True


@transaction.atomic
def delete(rows: QuerySet[ChatQuestion]) -> int:
    """Delete questions with their answers; open ones cost nothing. Return their number."""
    return delete_locked(list(lock(rows)))


def delete_locked(rows: Sequence[ChatQuestion]) -> int:
    """Delete questions that this transaction has locked. Return their number."""
    for row in rows:
        if row.is_open:
            fail(row, error_code="deleted")
    ChatQuestion.objects.filter(pk__in=[row.pk for row in rows]).delete()
    return len(rows)


def lock(rows: QuerySet[ChatQuestion]) -> QuerySet[ChatQuestion]:
    """Return the questions, which are locked when they are read, with their reservations."""
    # Of a worker and recovery or a deletion, the first one settles the coins.
    return rows.select_for_update(of=("self",)).select_related("reservation").order_by("pk")


def list_progress(question_ids: Collection[UUID]) -> dict[UUID, Progress]:
    """Return what those who wait for questions are shown, by question."""
    rows = ChatQuestion.objects.filter(pk__in=question_ids).values_list("pk", "status", "step", "messages_read")
    return {
        pk: Progress({"step": step, "messages_read": messages_read}, is_finished=status not in ChatQuestion.OPEN)
        for pk, status, step, messages_read in rows
    }
