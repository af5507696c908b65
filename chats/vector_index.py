"""The vectors of one indexed chat: in Qdrant if it has them all, else the sealed matrix, with the same results."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chats import points, qdrant, vectors
from chats.embedding import EmbeddingEngine, Vectors
from chats.models import Chat
from chats.qdrant import Found, MatrixVersion, QdrantUnavailable
from relivchats import clock
from relivchats.errors import Conflict

logger = logging.getLogger(__name__)

#: Rows that are asked for at first, per chunk that is wanted: a chunk has several rows.
_ROWS_PER_CHUNK = 4
#: The worker that indexed the chat may still be storing its points.
_STORING_TIME = timedelta(minutes=5)


class NotSearchable(Conflict):
    """The chat is not indexed by the embedding engine in use."""

    code, title = "ERR_2005", "The chat is not searchable yet"

    def __init__(self, detail: str = "", **extra: Any) -> None:
        default = "Ask for it to be indexed, and try again when its vector status is completed."
        super().__init__(detail or default, **extra)


class VectorIndex:
    """The vectors of one chat. All threads may share an instance."""

    def __init__(self, chat: Chat, engine: EmbeddingEngine) -> None:
        """Load the matrix, unless Qdrant has it. Raise NotSearchable if the engine stored none."""
        self._chat = chat
        self._engine = engine
        self._lock = threading.Lock()
        self._matrix: Vectors | None = None
        self._version: MatrixVersion | None = None
        if qdrant.is_configured():
            self._version = points.current_version(chat.pk)
            if self._version is None:
                raise NotSearchable
            self.row_count = self._version.row_count
            if not self._is_in_qdrant(self._version):
                self._version = None
        if self._version is None:
            self.row_count = len(self._load_matrix())

    @property
    def is_in_qdrant(self) -> bool:
        """Whether Qdrant had all vectors when this was loaded."""
        return self._version is not None

    def find(self, queries: Vectors, chunk_of_row: NDArray[np.int64], *, max_chunks: int) -> Found:
        """Return rows and their similarity to a query, with the closest row of each of the best `max_chunks` chunks."""
        if self._version is not None and not qdrant.is_paused():
            try:
                if found := self._find_in_qdrant(self._version, queries, chunk_of_row, max_chunks=max_chunks):
                    return found
            except QdrantUnavailable as error:
                qdrant.pause()
                logger.warning("searched without Qdrant", extra={"error_code": error.code})
            else:
                # The chat is indexed again, or its points were lost since this index was loaded.
                points.request_storing(self._chat.pk)
        matrix = self._load_matrix()
        return Found(np.arange(len(matrix)), vectors.max_similarity(matrix, queries))

    def _find_in_qdrant(
        self, version: MatrixVersion, queries: Vectors, chunk_of_row: NDArray[np.int64], *, max_chunks: int
    ) -> Found | None:
        """Return what `find` does, or None if the points are not those of this version."""
        if not self.row_count:
            return Found(np.zeros(0, np.int64), np.zeros(0, np.float32))
        limit = min(max_chunks * _ROWS_PER_CHUNK, self.row_count)
        n_chunks = min(max_chunks, len(np.unique(chunk_of_row)))
        while True:
            answers = qdrant.search(version, queries, limit=limit)
            if answers is None or any(len(answer.rows) < limit for answer in answers):
                return None
            # The best chunks of all queries together are among the best of each.
            if limit == self.row_count or all(
                len(np.unique(chunk_of_row[answer.rows])) >= n_chunks for answer in answers
            ):
                rows = np.concatenate([answer.rows for answer in answers])
                return Found(rows, np.concatenate([answer.scores for answer in answers]))
            limit = min(limit * 4, self.row_count)

    def _is_in_qdrant(self, version: MatrixVersion) -> bool:
        """Return whether Qdrant has all points. If it answers that it has not, they are stored again."""
        if qdrant.is_paused():
            return False
        try:
            is_complete = qdrant.count(version) == version.row_count
        except QdrantUnavailable as error:
            if error.code != "not_found":
                qdrant.pause()
                logger.warning("searched without Qdrant", extra={"error_code": error.code})
                return False
            is_complete = False
        indexed_at = self._chat.indexed_at
        if not is_complete and indexed_at is not None and indexed_at < clock.now() - _STORING_TIME:
            points.request_storing(self._chat.pk)
        return is_complete

    def _load_matrix(self) -> Vectors:
        with self._lock:
            if self._matrix is None:
                self._matrix = vectors.load(self._chat, engine=self._engine.name)
            if self._matrix is None:
                raise NotSearchable
            if self._version is not None and len(self._matrix) != self._version.row_count:
                # The chat was indexed again since this index was loaded.
                self._matrix = None
                raise NotSearchable
            return self._matrix
