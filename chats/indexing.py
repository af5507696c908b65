"""Indexing: split a chat into chunks and embed them, so that it can be searched.

An index belongs to its embedding engine: the model, the size of its vectors, and what is written before a text. If any
of them changes, all chats are indexed again, a few at a time (`request_outdated`).

Postgres is the queue (relivchats/leases.py): a chat that was requested and whose `vector_status` is pending is due. A
Celery message only wakes a worker.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from datetime import timedelta
from functools import partial
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Case, F, Max, OuterRef, PositiveIntegerField, Value, When
from django.db.models.expressions import Combinable
from django.db.models.functions import Greatest, Now

from chats import embedding, memory, points, vectors
from chats.bulk_copy import copy_rows
from chats.chunking import chunk_messages
from chats.embedding import EmbeddingEngine
from chats.masking import mask_texts
from chats.models import MAX_INDEX_ATTEMPTS, Chat, Chunk
from chats.signals import indexing_finished
from chats.transcript import TranscriptReader
from chats.vectors import Float16Vectors
from relivchats.crypto import CannotOpen
from relivchats.language_models.errors import EngineError, EngineRateLimited
from relivchats.leases import Lease, LeaseQueue, LeaseRenewer, take_turns
from relivchats.wakeups import CoalescingThread

logger = logging.getLogger(__name__)

#: Chats that are indexed at once, over all workers. The rest waits in Postgres, where it can be ordered fairly.
MAX_CONCURRENT = 10

#: Chunks that are embedded between two renewals of the lease: about a fifth of a second of work.
_CHUNKS_PER_STEP = 1_000
#: Chats that one round recovers; the next round takes the rest.
_BATCH = 200
#: Chats of another engine are requested while fewer than this many are due: those of people who wait come soon.
_MAX_OUTDATED_DUE = 20

#: After an attempt that the embedding engine failed, by its number. After any other, REDISPATCH_SECONDS.
_RETRY_AFTER_SECONDS = (30, 120)
#: After an error that an operator corrects.
_MISCONFIGURED_SECONDS = 60

queue = LeaseQueue(
    model=Chat,
    task="chats.tasks.index_chat",
    status_column="vector_status",
    prefix="index_",
    pending=Chat.VectorStatus.PENDING,
    leased=Chat.VectorStatus.INDEXING,
    due=Chat.objects.index_due,
    lease_expired=Chat.objects.index_lease_expired,
    due_at="index_not_before",
    max_attempts=MAX_INDEX_ATTEMPTS,
    # A chat that needs more memory than expected must not end one worker after another.
    counts_ended_workers=True,
)
# Calls of a provider wait for its quota, longer than a lease.
_renewer = LeaseRenewer(queue)


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


def due_since() -> Combinable:
    """Return since when a due chat has waited for a worker: since its request, or since it could be tried again."""
    # Postgres ignores a NULL.
    return Greatest("index_requested_at", "index_not_before")


def request(chat: Chat) -> bool:
    """Request indexing of the whole chat, with all attempts. Return False for one that is being indexed now.

    It is left alone then.
    """
    still_pending = When(vector_status=Chat.VectorStatus.PENDING, then=F("index_from_number"))
    requested = (
        Chat.objects.filter(pk=chat.pk)
        .exclude(vector_status=Chat.VectorStatus.INDEXING)
        .update(
            # A second request after a finished index replaces all of it: something may be wrong with what is there.
            index_from_number=Case(still_pending, default=None),
            vector_status=Chat.VectorStatus.PENDING,
            index_requested_at=Now(),
            index_dispatched_at=None,
            index_attempt=0,
            index_error_code="",
            index_not_before=None,
        )
    )
    transaction.on_commit(dispatch_soon)
    return bool(requested)


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
        index_not_before=None,
    )
    transaction.on_commit(dispatch_soon)


def request_outdated() -> int:
    """Request indexing of some chats that another embedding engine indexed. Return how many."""
    room = _MAX_OUTDATED_DUE - Chat.objects.index_due().order_by()[:_MAX_OUTDATED_DUE].count()
    outdated = Chat.objects.indexed_by_another_engine(embedding.get_engine().name)
    chats = list(outdated.order_by().only("pk")[: max(0, room)])
    for chat in chats:
        request(chat)
    return len(chats)


def dispatch() -> int:
    """Publish the ids of due chats, fairly between owners and at most as many as may be indexed at once.

    Return their number.
    """
    published = Chat.objects.filter(
        vector_status=Chat.VectorStatus.PENDING,
        index_requested_at__isnull=False,
        index_dispatched_at__gte=Now() - timedelta(seconds=settings.REDISPATCH_SECONDS),
    )
    leased = Chat.objects.filter(vector_status=Chat.VectorStatus.INDEXING, index_lease_expires_at__gte=Now())
    in_flight = Counter((published | leased).values_list("owner", flat=True))
    chats = take_turns(
        Chat.objects.index_due(),
        owner="owner",
        in_flight=in_flight,
        order=("index_requested_at", "pk"),
        served=Chat.objects.filter(owner=OuterRef("owner")).order_by().values("owner").values(latest=Max("indexed_at")),
        arrived="index_requested_at",
    )
    return queue.dispatch(chats, limit=MAX_CONCURRENT - in_flight.total())


dispatch_soon = CoalescingThread(dispatch, name="dispatch-indexing").run_soon


def retry_waiting() -> int:
    """Make the chats due now that wait after an error of the embedding engine. Return how many."""
    waiting = Chat.objects.filter(vector_status=Chat.VectorStatus.PENDING, index_not_before__gt=Now())
    retried = waiting.exclude(index_error_code="").update(index_not_before=Now(), index_dispatched_at=None)
    if retried:
        dispatch()
    return retried


def index_chat(chat_id: UUID) -> bool:
    """Chunk and embed a chat that is due. Return False if there was nothing to do or it failed."""
    lease = queue.claim(chat_id)
    if lease is None:
        return False
    engine = embedding.get_engine()
    try:
        chat = queue.held(lease).first()
        if chat is None:
            raise _LeaseLost
        build = _Build(chat, engine)
        try:
            # Until the vectors are stored: sealing copies them.
            with memory.budget().reserved(chat.line_count * memory.INDEXED_BYTES_PER_MESSAGE):
                with _renewer.renewing(lease):
                    build.run(lease)
                _store(build, lease)
        except EngineError as error:
            _release_or_fail_after(error, lease, build)
            return False
    except _LeaseLost:
        logger.warning("indexing lease lost", extra={"chat": str(chat_id)})
        return False
    except Exception as error:
        logger.exception("indexing failed", extra={"chat": str(chat_id), "attempt": lease.attempt})
        _release_or_fail(lease, error_code=_error_code(error))
        return False
    # After the commit: Postgres has the originals, and nobody waits for Qdrant.
    points.store_if_possible(chat_id)
    logger.info("chat indexed", extra={"chat": str(chat_id), "chunks": len(build.parts)})
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
        dispatch_soon()
    return recovered


class _Build:
    """The rows of a chat's chunks and the matrices of their vectors, one row per text, in the same order."""

    def __init__(self, chat: Chat, engine: EmbeddingEngine) -> None:
        self.chat = chat
        self.engine = engine
        self.engine_name = engine.name
        self.parts, self.matrices, self._conversation, self._first_number = _load_finished_part(chat, engine)
        self._kept = len(self.parts)

    def run(self, lease: Lease) -> None:
        """Chunk and embed what is missing. Raise EngineError or _LeaseLost; what was made before the error stays."""
        batches = TranscriptReader(self.chat).batches(first=self._first_number)
        chunks = chunk_messages(batches, text_bytes=self.engine.text_bytes)
        while step := list(islice(chunks, _CHUNKS_PER_STEP)):
            if not queue.renew(lease):
                raise _LeaseLost
            texts = mask_texts(self.engine, self.chat, [text for chunk in step for text in chunk.texts])
            if self.engine.leaves_machine:
                _close_connection()
            self.matrices.append(self.engine.embed(texts).astype(np.float16))
            self.parts += (
                ChunkRow(number, self._conversation + chunk.conversation, *chunk[1:4], len(chunk.texts), self.chat.pk)
                for number, chunk in enumerate(step, start=len(self.parts))
            )
        if not self.parts:
            # Every chat has messages, so this one was erased meanwhile.
            raise _LeaseLost

    @property
    def is_worth_keeping(self) -> bool:
        """Whether the next attempt can continue from what was made, and no complete index is lost for it."""
        replaces_complete = self.chat.is_searchable and self.chat.index_from_number is None
        return len(self.parts) > self._kept and not replaces_complete

    def store(self) -> None:
        """Replace the chat's chunks and vectors. Call it in a transaction that holds the chat's row."""
        Chunk.objects.filter(chat=self.chat.pk).delete()
        copy_rows("chunks", _CHUNK_TYPES, self.parts)
        vectors.store(self.chat, np.concatenate(self.matrices), engine=self.engine_name)


def _close_connection() -> None:
    # Inside a transaction, as in tests, the connection is not this module's to close.
    if not connection.in_atomic_block:
        connection.close()


class _FinishedPart(NamedTuple):
    """What an earlier indexing made of the conversations that had ended, and where the next one begins."""

    parts: list[ChunkRow]
    matrices: list[Float16Vectors]
    conversation: int
    first_number: int


def _load_finished_part(chat: Chat, engine: EmbeddingEngine) -> _FinishedPart:
    """Return the part that can be kept. It is empty unless messages were added to a chat that this engine indexed."""
    nothing = _FinishedPart([], [], 0, 1)
    if chat.index_from_number is None:
        return nothing
    matrix = vectors.load_float16(chat, engine=engine.name)
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
def _store(build: _Build, lease: Lease) -> None:
    """Replace the chat's chunks and vectors. Raise _LeaseLost, and change nothing, if the lease was lost."""
    # First, because it locks the chat's row until the commit: a worker that took the chat over meanwhile matches no
    # row here, and one that comes later waits and finds the chat completed.
    finished = queue.finish(
        lease,
        status=Chat.VectorStatus.COMPLETED,
        index_error_code="",
        index_not_before=None,
        index_from_number=None,
        index_engine=build.engine_name,
        indexed_at=Now(),
        chunk_count=len(build.parts),
    )
    if not finished:
        raise _LeaseLost
    build.store()
    _announce_on_commit(build.chat.pk)


@transaction.atomic
def _release_or_fail_after(error: EngineError, lease: Lease, build: _Build) -> None:
    """Make the chat due again when the engine can be called again, or fail it. Raise _LeaseLost if the lease was lost.

    What was embedded so far is stored: it was paid for, and the next attempt continues after it.
    """
    extra = {"chat": str(lease.row_id), "attempt": lease.attempt, "error_code": error.code}
    if not error.may_retry or (error.uses_attempt and lease.attempt >= MAX_INDEX_ATTEMPTS):
        if not _fail(lease, error_code=error.code):
            raise _LeaseLost
        return
    if isinstance(error, EngineRateLimited):
        # The jitter keeps the chats that the provider rejected together from returning together.
        seconds = error.retry_after_seconds + random.uniform(0, 5)
    elif error.uses_attempt:
        seconds = _RETRY_AFTER_SECONDS[min(lease.attempt, len(_RETRY_AFTER_SECONDS)) - 1]
    else:
        seconds = _MISCONFIGURED_SECONDS
    updates: dict[str, Any] = {}
    if build.is_worth_keeping:
        # Any number: what is stored decides where the next attempt continues.
        updates["index_from_number"] = build.chat.index_from_number or 1
    released = queue.release(
        lease,
        index_attempt=F("index_attempt") - (0 if error.uses_attempt else 1),
        index_not_before=Now() + timedelta(seconds=seconds),
        index_dispatched_at=None,
        index_error_code=error.code,
        **updates,
    )
    if not released:
        raise _LeaseLost
    if updates:
        build.store()
    logger.warning("indexing rescheduled", extra={**extra, "seconds": round(seconds), "chunks": len(build.parts)})


@transaction.atomic
def _release_or_fail(lease: Lease, *, error_code: str) -> bool:
    """Make the chat due again, or fail it after the last attempt. Return False if the lease was lost."""
    if lease.attempt < MAX_INDEX_ATTEMPTS:
        # `index_dispatched_at` stays, so the next attempt follows REDISPATCH_SECONDS after the message of this one.
        return queue.release(lease, index_error_code=error_code, index_not_before=Now())
    return _fail(lease, error_code=error_code)


def _fail(lease: Lease, *, error_code: str) -> bool:
    """Fail the chat. Return False if the lease was lost."""
    if not queue.finish(lease, status=Chat.VectorStatus.FAILED, index_error_code=error_code, index_not_before=None):
        return False
    # Operators search the log for this text.
    logger.error(f"failed after {lease.attempt} attempts", extra={"chat": str(lease.row_id), "error_code": error_code})
    _announce_on_commit(lease.row_id)
    return True


def _announce_on_commit(chat_id: UUID) -> None:
    # Robust: an error of a receiver must not reach the indexing, which is committed.
    transaction.on_commit(partial(indexing_finished.send_robust, sender=Chat, chat_id=chat_id))


def _error_code(error: Exception) -> str:
    if isinstance(error, CannotOpen):
        return "key_unavailable"
    return "out_of_memory" if isinstance(error, MemoryError) else "internal_error"
