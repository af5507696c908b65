"""Indexing: split a chat into chunks and embed them, so that it can be searched.

Postgres is the queue (relivchats/leases.py): a chat that was requested and whose `vector_status` is pending is due. A
Celery message only wakes a worker.
"""

from __future__ import annotations

import logging
from functools import partial
from itertools import islice
from typing import NamedTuple
from uuid import UUID

import numpy as np
from django.db import transaction
from django.db.models import Case, F, PositiveIntegerField, Value, When
from django.db.models.functions import Now

from chats import embedding, vectors
from chats.bulk_copy import copy_rows
from chats.chunking import chunk_messages
from chats.models import Chat, Chunk
from chats.signals import indexing_finished
from chats.transcript import TranscriptReader
from chats.vectors import Float16Vectors
from relivchats.crypto import CannotOpen
from relivchats.leases import Lease, LeaseQueue
from relivchats.wakeups import CoalescingThread

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 3

#: Chunks that are embedded between two renewals of the lease: about a fifth of a second of work.
_CHUNKS_PER_STEP = 1_000
#: Chats that one round dispatches or recovers; the next round takes the rest.
_BATCH = 200

queue = LeaseQueue(
    model=Chat,
    task="chats.tasks.index_chat",
    status_column="vector_status",
    prefix="index_",
    pending=Chat.VectorStatus.PENDING,
    leased=Chat.VectorStatus.INDEXING,
    due=Chat.objects.index_due,
    lease_expired=Chat.objects.index_lease_expired,
    max_attempts=MAX_ATTEMPTS,
)


class ChunkRow(NamedTuple):
    """A row of `chunks`, in the order of its columns in COPY."""

    number: int
    conversation: int
    first_number: int
    last_number: int
    token_count: int
    vector_count: int
    chat_id: UUID


_CHUNK_TYPES = dict.fromkeys(ChunkRow._fields, "int4") | {"vector_count": "int2", "chat_id": "uuid"}


class _LeaseLost(Exception):
    """Another worker claimed the chat, or it was erased: the result is discarded."""


def request(chat: Chat) -> None:
    """Request indexing of the whole chat, with all attempts; a chat that is being indexed now is left alone."""
    still_pending = When(vector_status=Chat.VectorStatus.PENDING, then=F("index_from_number"))
    Chat.objects.filter(pk=chat.pk).exclude(vector_status=Chat.VectorStatus.INDEXING).update(
        # A second request after a finished index replaces all of it: something may be wrong with what is there.
        index_from_number=Case(still_pending, default=None),
        vector_status=Chat.VectorStatus.PENDING,
        index_requested_at=Now(),
        index_dispatched_at=None,
        index_attempt=0,
        index_error_code="",
    )
    transaction.on_commit(_dispatch_soon)


def request_from(chat_id: UUID, *, first_number: int) -> None:
    """Request indexing of the messages from this number on, if the chat was ever requested to be indexed.

    Call it inside the transaction that adds the messages. The chunks of conversations that ended before them are kept.
    Until the new index is finished, the old one is searched. If indexing is running, it starts again.
    """
    completed = When(vector_status=Chat.VectorStatus.COMPLETED, then=Value(first_number, PositiveIntegerField()))
    Chat.objects.filter(pk=chat_id, index_requested_at__isnull=False).update(
        index_from_number=Case(completed, default=F("index_from_number")),
        vector_status=Chat.VectorStatus.PENDING,
        index_requested_at=Now(),
        index_dispatched_at=None,
        # Takes the lease away: the worker that is indexing now has not read the new messages.
        index_lease_token=None,
        index_lease_expires_at=None,
        index_attempt=0,
        index_error_code="",
    )
    transaction.on_commit(_dispatch_soon)


def dispatch() -> int:
    """Publish the ids of due chats, the oldest request first, and return how many were published."""
    return queue.dispatch(Chat.objects.index_due().order_by("index_requested_at"), limit=_BATCH)


_dispatch_soon = CoalescingThread(dispatch, name="dispatch-indexing").run_soon


def index_chat(chat_id: UUID) -> bool:
    """Chunk and embed a chat that is due. Return False if there was nothing to do or it failed."""
    lease = queue.claim(chat_id)
    if lease is None:
        return False
    try:
        chat = queue.held(lease).first()
        if chat is None:
            raise _LeaseLost
        parts, matrix = _build(chat, lease)
        _store(chat, lease, parts, matrix)
    except _LeaseLost:
        logger.warning("indexing lease lost", extra={"chat": str(chat_id)})
        return False
    except Exception as error:
        logger.exception("indexing failed", extra={"chat": str(chat_id), "attempt": lease.attempt})
        _release_or_fail(lease, error_code=_error_code(error))
        return False
    logger.info("chat indexed", extra={"chat": str(chat_id), "chunks": len(parts)})
    return True


def recover() -> int:
    """Make chats due again whose lease expired, or fail them after the last attempt. Return how many."""
    recovered = 0
    for chat_id in list(Chat.objects.index_lease_expired().values_list("pk", flat=True)[:_BATCH]):
        with transaction.atomic():
            lease = queue.lock_expired(chat_id)
            if lease is not None:
                recovered += _release_or_fail(lease, error_code="worker_lost")
    if recovered:
        _dispatch_soon()
    return recovered


def _build(chat: Chat, lease: Lease) -> tuple[list[ChunkRow], Float16Vectors]:
    """Return the rows of all chunks and the matrix of their vectors, one row per text, in the same order."""
    engine = embedding.get_engine()
    parts, matrices, conversation, first_number = _load_finished_part(chat)
    chunks = chunk_messages(TranscriptReader(chat).batches(first=first_number))
    while step := list(islice(chunks, _CHUNKS_PER_STEP)):
        if not queue.renew(lease):
            raise _LeaseLost
        matrices.append(engine.embed([text for chunk in step for text in chunk.texts]).astype(np.float16))
        parts += (
            ChunkRow(number, conversation + chunk.conversation, *chunk[1:4], len(chunk.texts), chat.pk)
            for number, chunk in enumerate(step, start=len(parts))
        )
    if not parts:
        # Every chat has messages, so this one was erased meanwhile.
        raise _LeaseLost
    return parts, np.concatenate(matrices)


class _FinishedPart(NamedTuple):
    """What an earlier indexing made of the conversations that had ended, and where the next one begins."""

    parts: list[ChunkRow]
    matrices: list[Float16Vectors]
    conversation: int
    first_number: int


def _load_finished_part(chat: Chat) -> _FinishedPart:
    """Return the part that can be kept. It is empty unless messages were added to a chat that this engine indexed."""
    nothing = _FinishedPart([], [], 0, 1)
    if chat.index_from_number is None:
        return nothing
    matrix = vectors.load_float16(chat, engine=embedding.get_engine().name)
    stored = Chunk.objects.filter(chat=chat.pk).order_by("number").values_list(*ChunkRow._fields)
    parts = [ChunkRow(*row) for row in stored]
    if matrix is None or not parts or sum(part.vector_count for part in parts) != len(matrix):
        return nothing
    # The last conversation is made again: the new messages may continue it.
    last = parts[-1].conversation
    ended = [part for part in parts if part.conversation < last]
    vectors_ended = sum(part.vector_count for part in ended)
    return _FinishedPart(ended, [matrix[:vectors_ended]], last, parts[len(ended)].first_number)


@transaction.atomic
def _store(chat: Chat, lease: Lease, parts: list[ChunkRow], matrix: Float16Vectors) -> None:
    """Replace the chat's chunks and vectors. Raise _LeaseLost, and change nothing, if the lease was lost."""
    # First, because it locks the chat's row until the commit: a worker that took the chat over meanwhile matches no
    # row here, and one that comes later waits and finds the chat completed.
    finished = queue.finish(
        lease,
        status=Chat.VectorStatus.COMPLETED,
        index_error_code="",
        index_from_number=None,
        indexed_at=Now(),
        chunk_count=len(parts),
    )
    if not finished:
        raise _LeaseLost
    Chunk.objects.filter(chat=chat.pk).delete()
    copy_rows("chunks", _CHUNK_TYPES, parts)
    vectors.store(chat, matrix, engine=embedding.get_engine().name)
    _announce_on_commit(chat.pk)


@transaction.atomic
def _release_or_fail(lease: Lease, *, error_code: str) -> bool:
    """Make the chat due again, or fail it after the last attempt. Return False if the lease was lost."""
    if lease.attempt < MAX_ATTEMPTS:
        # `index_dispatched_at` stays, so the next attempt follows REDISPATCH_SECONDS after the message of this one.
        return queue.release(lease, index_error_code=error_code)
    if not queue.finish(lease, status=Chat.VectorStatus.FAILED, index_error_code=error_code):
        return False
    # Operators search the log for this text.
    logger.error(f"failed after {MAX_ATTEMPTS} attempts", extra={"chat": str(lease.row_id), "error_code": error_code})
    _announce_on_commit(lease.row_id)
    return True


def _announce_on_commit(chat_id: UUID) -> None:
    # Robust: an error of a receiver must not reach the indexing, which is committed.
    transaction.on_commit(partial(indexing_finished.send_robust, sender=Chat, chat_id=chat_id))


def _error_code(error: Exception) -> str:
    if isinstance(error, CannotOpen):
        return "key_unavailable"
    return "out_of_memory" if isinstance(error, MemoryError) else "internal_error"
