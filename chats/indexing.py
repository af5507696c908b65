"""Making a chat searchable: asked for, published, claimed with a lease, finished by compare-and-set.

Postgres is the queue: a chat whose `vector_status` is pending and which was
asked for is due. A Celery message only wakes a worker, so lost, late and
doubled messages cost nothing. An indexer that is killed stops renewing its
lease, and `recover` makes the chat due again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from itertools import islice
from typing import NamedTuple
from uuid import UUID, uuid4

import numpy as np
from django.conf import settings
from django.db import transaction
from django.db.models import Case, F, PositiveIntegerField, Q, Value, When
from django.db.models.expressions import Combinable
from django.db.models.functions import Now

from chats import embedding, vectors
from chats.bulk_copy import copy_rows
from chats.chunking import ChunkDraft, chunk_messages
from chats.models import Chat, Chunk
from chats.signals import indexing_finished
from chats.transcript import TranscriptReader
from chats.vectors import Float16Vectors
from relivchats.crypto import CannotOpen
from relivchats.wakeups import CoalescingThread, publish

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 3

#: Chunks that are embedded between two renewals of the lease: about a fifth of a second of work.
_STEP_CHUNKS = 1_000
_PUBLISHED_AT_ONCE = 200


class ChunkRow(NamedTuple):
    number: int
    conversation: int
    first_number: int
    last_number: int
    token_count: int
    vector_count: int
    chat_id: UUID


_CHUNK_TYPES = dict.fromkeys(ChunkRow._fields, "int4") | {"vector_count": "int2", "chat_id": "uuid"}


class _LeaseLost(Exception):
    """Another claimed the chat, or it was erased: what was made of it is thrown away."""


def request(chat: Chat) -> None:
    """Ask for the chat to be indexed, again if it is: pending, with all attempts before it. One under way goes on."""
    still_pending = When(vector_status=Chat.VectorStatus.PENDING, then=F("index_from_number"))
    Chat.objects.filter(pk=chat.pk).exclude(vector_status=Chat.VectorStatus.INDEXING).update(
        # Asked for again, all of it is made anew: something may be wrong with what is there.
        index_from_number=Case(still_pending, default=None),
        vector_status=Chat.VectorStatus.PENDING,
        index_requested_at=Now(),
        index_dispatched_at=None,
        index_attempt=0,
        index_error_code="",
    )
    transaction.on_commit(_dispatch_soon)


def request_rest(chat_id: UUID, *, first_number: int) -> None:
    """Messages from this number on were added: index them too, if the chat was ever asked for.

    Within the transaction that adds them. The chunks of conversations that ended before stay, and
    until it is done the older part is searched as it was. An indexing under way begins again.
    """
    completed = When(vector_status=Chat.VectorStatus.COMPLETED, then=Value(first_number, PositiveIntegerField()))
    Chat.objects.filter(pk=chat_id, index_requested_at__isnull=False).update(
        index_from_number=Case(completed, default=F("index_from_number")),
        vector_status=Chat.VectorStatus.PENDING,
        index_requested_at=Now(),
        index_dispatched_at=None,
        index_lease_token=None,
        index_lease_expires_at=None,
        index_attempt=0,
        index_error_code="",
    )
    transaction.on_commit(_dispatch_soon)


def dispatch() -> int:
    """Publish the ids of due chats; one that woke nobody is published again later. Returns how many.

    With the broker out of reach the rest waits for the next round, which beat asks for every few seconds.
    """
    chosen = _choose()
    published = 0
    for chat_id in chosen:
        if not publish("chats.tasks.index_chat", chat_id):
            Chat.objects.index_due().filter(pk__in=chosen[published:]).update(index_dispatched_at=None)
            break
        published += 1
    return published


_dispatch_soon = CoalescingThread(dispatch, name="dispatch-indexing").run_soon


@transaction.atomic
def _choose() -> list[UUID]:
    unanswered = Now() - timedelta(seconds=settings.REDISPATCH_SECONDS)
    due = (
        Chat.objects.index_due()
        .filter(Q(index_dispatched_at=None) | Q(index_dispatched_at__lt=unanswered))
        .order_by("index_requested_at")
        .select_for_update(skip_locked=True)
    )
    chosen = list(due.values_list("pk", flat=True)[:_PUBLISHED_AT_ONCE])
    Chat.objects.filter(pk__in=chosen).update(index_dispatched_at=Now())
    return chosen


def index_chat(chat_id: UUID) -> bool:
    """Chunk and embed a chat that is due. False when there was nothing to do, or it came to nothing."""
    token = uuid4()
    chat = _claim(chat_id, token)
    if chat is None:
        return False
    try:
        parts, matrix = _build(chat, token)
        _finish(chat, token, parts, matrix)
    except _LeaseLost:
        logger.warning("another took over the indexing", extra={"chat": str(chat_id)})
        return False
    except Exception as error:
        logger.exception("indexing failed", extra={"chat": str(chat_id), "attempt": chat.index_attempt})
        _free(chat_id, token, error_code=_code(error))
        return False
    logger.info("chat indexed", extra={"chat": str(chat_id), "chunks": len(parts)})
    return True


def recover() -> int:
    """Chats whose indexer stopped renewing its lease: due again, or failed after the last attempt. Returns how many."""
    abandoned = list(Chat.objects.index_lease_expired().values_list("pk", "index_lease_token")[:_PUBLISHED_AT_ONCE])
    freed = sum(_free(pk, token, error_code="worker_lost") for pk, token in abandoned if token is not None)
    if freed:
        _dispatch_soon()
    return freed


def _lease_end() -> Combinable:
    return Now() + timedelta(seconds=settings.INSIGHT_LEASE_SECONDS)


def _claim(chat_id: UUID, token: UUID) -> Chat | None:
    claimed = (
        Chat.objects.index_due()
        .filter(pk=chat_id)
        .update(
            vector_status=Chat.VectorStatus.INDEXING,
            index_lease_token=token,
            index_lease_expires_at=_lease_end(),
            index_attempt=F("index_attempt") + 1,
        )
    )
    return Chat.objects.filter(pk=chat_id, index_lease_token=token).first() if claimed else None


class _Finished(NamedTuple):
    """What an earlier indexing made of the conversations that had ended, and where the one after them begins."""

    parts: list[ChunkRow]
    rows: list[Float16Vectors]
    conversation: int
    first_number: int


def _build(chat: Chat, token: UUID) -> tuple[list[ChunkRow], Float16Vectors]:
    """Chunks without their texts, and the vectors of these as they are kept."""
    engine = embedding.get_engine()
    parts, rows, conversation, first_number = _finished_part(chat)
    for step in _steps(chunk_messages(TranscriptReader(chat).batches(first=first_number))):
        _renew(chat.pk, token)
        rows.append(engine.embed([text for piece in step for text in piece.texts]).astype(np.float16))
        parts += (
            ChunkRow(number, conversation + piece.conversation, *piece[1:4], len(piece.texts), chat.pk)
            for number, piece in enumerate(step, start=len(parts))
        )
    if not parts:
        # Every chat has messages: this one was erased meanwhile.
        raise _LeaseLost
    return parts, np.concatenate(rows)


def _finished_part(chat: Chat) -> _Finished:
    """Nothing of it unless messages were added to a chat that this engine indexed."""
    nothing = _Finished([], [], 0, 1)
    if chat.index_from_number is None:
        return nothing
    matrix = vectors.load_float16(chat, engine=embedding.get_engine().name)
    stored = Chunk.objects.filter(chat=chat.pk).order_by("number").values_list(*ChunkRow._fields)
    parts = [ChunkRow(*row) for row in stored]
    if matrix is None or not parts or sum(part.vector_count for part in parts) != len(matrix):
        return nothing
    # New messages may go on with the last conversation.
    last = parts[-1].conversation
    ended = [part for part in parts if part.conversation < last]
    vectors_ended = sum(part.vector_count for part in ended)
    return _Finished(ended, [matrix[:vectors_ended]], last, parts[len(ended)].first_number)


def _steps(parts: Iterator[ChunkDraft]) -> Iterator[list[ChunkDraft]]:
    while step := list(islice(parts, _STEP_CHUNKS)):
        yield step


def _renew(chat_id: UUID, token: UUID) -> None:
    if not Chat.objects.filter(pk=chat_id, index_lease_token=token).update(index_lease_expires_at=_lease_end()):
        raise _LeaseLost


@transaction.atomic
def _finish(chat: Chat, token: UUID, parts: list[ChunkRow], matrix: Float16Vectors) -> None:
    done = Chat.objects.filter(pk=chat.pk, index_lease_token=token).update(
        vector_status=Chat.VectorStatus.COMPLETED,
        index_lease_token=None,
        index_lease_expires_at=None,
        index_error_code="",
        index_from_number=None,
        indexed_at=Now(),
        chunk_count=len(parts),
    )
    if not done:
        raise _LeaseLost
    Chunk.objects.filter(chat=chat.pk).delete()
    copy_rows("chunks", _CHUNK_TYPES, parts)
    vectors.store(chat, matrix, engine=embedding.get_engine().name)
    _announce_on_commit(chat.pk)


@transaction.atomic
def _free(chat_id: UUID, token: UUID, *, error_code: str) -> bool:
    """End this lease, and only this one: due again, or failed after the last attempt."""
    held = Chat.objects.filter(pk=chat_id, index_lease_token=token)
    ended = {"index_lease_token": None, "index_lease_expires_at": None, "index_error_code": error_code}
    if held.filter(index_attempt__lt=MAX_ATTEMPTS).update(vector_status=Chat.VectorStatus.PENDING, **ended):
        return True
    if not held.update(vector_status=Chat.VectorStatus.FAILED, **ended):
        return False
    logger.error(f"failed after {MAX_ATTEMPTS} attempts", extra={"chat": str(chat_id), "error_code": error_code})
    _announce_on_commit(chat_id)
    return True


def _announce_on_commit(chat_id: UUID) -> None:
    transaction.on_commit(partial(indexing_finished.send_robust, sender=Chat, chat_id=chat_id))


def _code(error: Exception) -> str:
    if isinstance(error, CannotOpen):
        return "key_unavailable"
    return "out_of_memory" if isinstance(error, MemoryError) else "internal_error"
