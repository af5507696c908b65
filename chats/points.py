"""Keeps the points in Qdrant like the sealed matrices in Postgres, which are the originals.

Nothing waits for Qdrant: a chat is completely indexed when Postgres has its matrix, and erased when Postgres has no row
of it. The points follow. `synchronize` finds what was missed: chats without all their points, and points without a
chat. All of it is rebuilt from the sealed matrices, without a call of the embedding engine.

Two workers may store the points of a chat at the same time. Each replaces all of them, and afterwards compares what it
stored with Postgres; so the last one leaves the current version.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from django.db.models import F, Q
from django.db.models.functions import Now

from chats import embedding, qdrant, vectors
from chats.models import Chat, Chunk, VectorMatrix
from chats.qdrant import MatrixVersion, QdrantUnavailable
from relivchats.wakeups import CoalescingThread, publish

logger = logging.getLogger(__name__)

#: A chat whose points are being stored is not stored by another worker as well.
SETTLE_TIME = timedelta(minutes=5)
#: Chats that one round of `synchronize` stores; the next one takes the rest.
_BATCH = 200
#: A chat that is indexed again and again meanwhile is left to the next round.
_MAX_TRIES = 5


@dataclass(frozen=True)
class Comparison:
    """How Qdrant differs from Postgres.

    `orphans` are the chats in each collection that have no vectors of its engine in Postgres, `incomplete` the chats
    whose points are not all there. `expected_points` and `points` are those of the engine in use.
    """

    expected_points: int
    points: int
    chats: int
    incomplete: frozenset[UUID]
    orphans: Mapping[str, frozenset[UUID]] = field(default_factory=dict)
    unused_collections: tuple[str, ...] = ()

    @property
    def orphan_count(self) -> int:
        """The number of chats that have points but no vectors in Postgres, over all collections."""
        return sum(map(len, self.orphans.values()))


@dataclass(frozen=True)
class Synchronized:
    """What a round of `synchronize` did: chats stored and removed, and collections dropped."""

    stored: int = 0
    removed: int = 0
    dropped: int = 0


def current_version(chat_id: UUID) -> MatrixVersion | None:
    """Return the version of a chat's matrix of the embedding engine in use, or None if it has none."""
    engine = embedding.get_engine().name
    row = (
        VectorMatrix.objects.filter(chat=chat_id, engine=engine, chat__index_engine=engine)
        .values_list("pk", "created_at", "row_count")
        .first()
    )
    if row is None:
        return None
    return MatrixVersion.of(chat_id=chat_id, engine=engine, matrix_id=row[0], created_at=row[1], row_count=row[2])


def store(chat_id: UUID) -> bool:
    """Store the points of a chat, or remove them if it has no vectors. Return whether they are stored.

    Raise QdrantUnavailable.
    """
    for _ in range(_MAX_TRIES):
        version = current_version(chat_id)
        if version is None:
            qdrant.remove_from(qdrant.collection_of(embedding.get_engine().name), chat_id)
            # An index that was finished in between would have lost its points.
            if current_version(chat_id) is None:
                return False
            continue
        chat = Chat.objects.get(pk=chat_id)
        matrix = vectors.load_float16(chat, engine=version.engine)
        counts = Chunk.objects.filter(chat=chat_id).order_by("number").values_list("vector_count", flat=True)
        chunk_of_row = qdrant.chunks_of_rows(list(counts))
        # Of three queries; the chat may have been indexed again in between.
        if matrix is not None and len(matrix) == len(chunk_of_row) == version.row_count:
            qdrant.store(version, matrix, chunk_of_row)
            if current_version(chat_id) == version:
                return True
    return False


def store_if_possible(chat_id: UUID) -> bool:
    """Store the points of a chat if Qdrant is in use. Return False, with a warning in the log, if that fails."""
    if not qdrant.is_configured():
        return False
    try:
        return store(chat_id)
    except (QdrantUnavailable, Chat.DoesNotExist) as error:
        # A chat that was erased meanwhile, or `synchronize` does it later.
        logger.warning("points not stored", extra={"chat": str(chat_id), "error_code": _code(error)})
        return False


def remove_if_possible(chat_id: UUID) -> bool:
    """Remove the points of an erased chat. Return False, with a warning in the log, if Qdrant does not answer."""
    if not qdrant.is_configured():
        return False
    try:
        qdrant.remove(chat_id)
    except QdrantUnavailable as error:
        logger.warning("points not removed", extra={"chat": str(chat_id), "error_code": error.code})
        return False
    return True


def compare(*, timeout_seconds: int = qdrant.WRITE_TIMEOUT_SECONDS) -> Comparison:
    """Return how Qdrant differs from Postgres. Raise QdrantUnavailable."""
    engine = embedding.get_engine().name
    # Qdrant first: points are stored after the commit, so a chat that Postgres lacks afterwards was erased.
    collections = qdrant.list_collections(timeout_seconds=timeout_seconds)
    counts = {name: qdrant.count_by_chat(name, timeout_seconds=timeout_seconds) for name in collections}
    # Not those of an index that is not finished.
    complete = VectorMatrix.objects.filter(chat__index_engine=F("engine"))
    rows = complete.filter(Q(engine=engine) | Q(engine__in=[qdrant.engine_of(name) for name in collections]))
    expected: dict[str, dict[UUID, int]] = {}
    recent = set(rows.filter(created_at__gt=Now() - SETTLE_TIME).values_list("chat_id", flat=True))
    for chat_id, name, row_count in rows.values_list("chat_id", "engine", "row_count"):
        expected.setdefault(name, {})[chat_id] = row_count
    wanted, found = expected.get(engine, {}), counts.get(qdrant.collection_of(engine), {})
    return Comparison(
        expected_points=sum(wanted.values()),
        points=sum(found.values()),
        chats=len(wanted),
        incomplete=frozenset(
            chat_id for chat_id, number in wanted.items() if found.get(chat_id) != number and chat_id not in recent
        ),
        orphans={
            name: frozenset(counts[name].keys() - expected.get(qdrant.engine_of(name), {}).keys())
            for name in collections
        },
        unused_collections=tuple(
            name
            for name in collections
            if name != qdrant.collection_of(engine) and not expected.get(qdrant.engine_of(name))
        ),
    )


def synchronize() -> Synchronized:
    """Remove orphans, drop unused collections, and store what is missing. Beat calls this every few minutes.

    Raise QdrantUnavailable.
    """
    if not qdrant.is_configured():
        return Synchronized()
    difference = compare()
    removed = stored = 0
    for collection in difference.unused_collections:
        qdrant.drop_collection(collection)
    for collection, orphans in difference.orphans.items():
        if collection not in difference.unused_collections:
            for chat_id in orphans:
                qdrant.remove_from(collection, chat_id)
                removed += 1
    for chat_id in sorted(difference.incomplete)[:_BATCH]:
        stored += store_if_possible(chat_id)
    done = Synchronized(stored=stored, removed=removed, dropped=len(difference.unused_collections))
    if done != Synchronized():
        logger.info("points synchronized", extra={"stored": stored, "removed": removed, "dropped": done.dropped})
    return done


def synchronize_if_possible() -> Synchronized:
    """Synchronize, or do nothing, with a warning in the log, if Qdrant does not answer."""
    try:
        return synchronize()
    except QdrantUnavailable as error:
        logger.warning("points not synchronized", extra={"error_code": error.code})
        return Synchronized()


class _Wakeups:
    """Publishes tasks for chats in a background thread: neither an erasure nor a search waits for the broker."""

    def __init__(self, task: str) -> None:
        self._task = task
        self._lock = threading.Lock()
        self._waiting: set[UUID] = set()
        self._thread = CoalescingThread(self._publish, name=task)

    def request(self, chat_id: UUID) -> None:
        """Publish the task soon, once. A message that is lost is made up for by `synchronize`."""
        if not qdrant.is_configured():
            return
        with self._lock:
            self._waiting.add(chat_id)
        self._thread.run_soon()

    def _publish(self) -> None:
        with self._lock:
            chat_ids, self._waiting = self._waiting, set()
        for chat_id in chat_ids:
            if not publish(self._task, chat_id):
                return


request_storing = _Wakeups("chats.tasks.store_points").request
request_removal = _Wakeups("chats.tasks.remove_points").request


def _code(error: Exception) -> str:
    return error.code if isinstance(error, QdrantUnavailable) else "chat_deleted"
