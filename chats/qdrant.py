"""The vectors of chats in Qdrant: one collection per embedding engine, one tenant per chat.

Qdrant holds copies. The sealed matrices in Postgres are complete, so whatever is lost here is stored again from them,
without a call of the embedding engine (chats/points.py). Points have no texts: their payload is the chat's id and the
number of the chunk.

The id of a point contains the version of the chat's matrix and the row in it. A search that meets an id of another
version knows that its points are not those of the index it searches.

qdrant-client takes 3 s and 90 MB to import: only the functions that search and change points import it, and no function
does if QDRANT_URL is not set. Those that `health` calls, which has two seconds, do without it.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlsplit
from uuid import UUID

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from chats.embedding import Vectors

if TYPE_CHECKING:
    from qdrant_client import QdrantClient, models

COLLECTION_PREFIX = "relivchats-"
#: A search waits so long, then the sealed matrix is searched. A write waits until the points are stored.
SEARCH_TIMEOUT_SECONDS, WRITE_TIMEOUT_SECONDS = 5, 30
#: After a failure, searches of this process do without Qdrant for so long.
PAUSE_SECONDS = 15.0
#: Numbers of one request: a thousand vectors of 128 dimensions, two megabytes of JSON.
_MAX_BATCH_NUMBERS = 128_000
#: Chats that are counted in one request. Beyond it, the smallest are not compared with Postgres.
MAX_CHATS = 100_000
_CONNECTIONS = 64


class QdrantUnavailable(Exception):
    """Qdrant did not do what was asked. `code` says why; it contains nothing of a request or a response."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class MatrixVersion(NamedTuple):
    """One stored matrix of a chat: the points of no other have ids with its key."""

    chat_id: UUID
    engine: str
    key: int
    row_count: int

    @classmethod
    def of(cls, *, chat_id: UUID, engine: str, matrix_id: int, created_at: datetime, row_count: int) -> MatrixVersion:
        """Return the version of a row of `vector_matrices`. A restored database may use its id again later."""
        digest = hashlib.sha256(f"{chat_id}:{matrix_id}:{created_at.timestamp():.6f}".encode()).digest()
        return cls(chat_id, engine, int.from_bytes(digest[:8]), row_count)

    def point_id(self, row: int) -> str:
        """Return the id of a row's point."""
        return str(UUID(int=self.key << 64 | row))

    def row_of(self, point_id: str) -> int | None:
        """Return the row of a point, or None if the point belongs to another version."""
        key, row = divmod(UUID(point_id).int, 1 << 64)
        return row if key == self.key and row < self.row_count else None


class Found(NamedTuple):
    """The closest rows to one query, best first: parallel arrays."""

    rows: NDArray[np.int64]
    scores: Vectors


def is_configured() -> bool:
    """Return whether QDRANT_URL is set."""
    return bool(settings.QDRANT_URL)


def client_version() -> str:
    """Return the version of qdrant-client. Its server must have the same minor version."""
    return installed_version("qdrant-client")


def collection_of(engine: str) -> str:
    """Return the name of the collection of an embedding engine; it contains the model, the size and the prefix."""
    return f"{COLLECTION_PREFIX}{engine}"


def engine_of(collection: str) -> str:
    """Return the embedding engine of a collection."""
    return collection.removeprefix(COLLECTION_PREFIX)


def server_version(*, timeout_seconds: int) -> str:
    """Return the server's version, such as `1.20.1`. Raise QdrantUnavailable."""
    return str(_read("GET", "/", field="version", timeout_seconds=timeout_seconds))


def store(version: MatrixVersion, matrix: NDArray[np.floating], chunk_of_row: NDArray[np.int64]) -> None:
    """Replace all points of the chat in the engine's collection, which is created if it is missing.

    Return when the points can be searched. Raise QdrantUnavailable.
    """
    name = collection_of(version.engine)
    dimensions = matrix.shape[1]
    with _errors():
        from qdrant_client import models

        client = _client(WRITE_TIMEOUT_SECONDS)
        _ensure_collection(client, name, dimensions=dimensions)
        client.delete(name, models.FilterSelector(filter=_of_chat(version.chat_id)), wait=True)
        step = max(1, _MAX_BATCH_NUMBERS // dimensions)
        for start in range(0, len(matrix), step):
            rows = range(start, min(start + step, len(matrix)))
            batch = models.Batch(
                ids=[version.point_id(row) for row in rows],
                vectors=matrix[rows.start : rows.stop].astype(np.float32).tolist(),
                payloads=[{"chat_id": str(version.chat_id), "chunk": int(chunk_of_row[row])} for row in rows],
            )
            client.upsert(name, batch, wait=True)


def search(version: MatrixVersion, queries: Vectors, *, limit: int) -> list[Found] | None:
    """Return the `limit` rows that are closest to each query, by exact search, among the points of the chat.

    Return None if points of another version are met. Raise QdrantUnavailable.
    """
    with _errors():
        from qdrant_client import models

        answers = _client(SEARCH_TIMEOUT_SECONDS).query_batch_points(
            collection_of(version.engine),
            [
                models.QueryRequest(
                    query=query,
                    filter=_of_chat(version.chat_id),
                    # One chat is small, and an approximate search would find other chunks than the sealed matrix.
                    params=models.SearchParams(exact=True),
                    limit=limit,
                    with_payload=False,
                    with_vector=False,
                )
                for query in queries.tolist()
            ],
        )
        found = []
        for answer in answers:
            rows = [version.row_of(str(point.id)) for point in answer.points]
            if None in rows:
                return None
            scores = np.array([point.score for point in answer.points], np.float32)
            found.append(Found(np.array(rows, np.int64).reshape(-1), scores))
        return found


def count(version: MatrixVersion) -> int:
    """Return the number of the chat's points. Raise QdrantUnavailable."""
    with _errors():
        name = collection_of(version.engine)
        return int(_client(SEARCH_TIMEOUT_SECONDS).count(name, _of_chat(version.chat_id), exact=True).count)


def remove(chat_id: UUID) -> None:
    """Delete the points of a chat from all collections. Raise QdrantUnavailable."""
    for name in list_collections():
        remove_from(name, chat_id)


def remove_from(collection: str, chat_id: UUID) -> None:
    """Delete the points of a chat from one collection. Raise QdrantUnavailable."""
    with _errors():
        from qdrant_client import models

        selector = models.FilterSelector(filter=_of_chat(chat_id))
        _client(WRITE_TIMEOUT_SECONDS).delete(collection, selector, wait=True)


def list_collections(*, timeout_seconds: int = WRITE_TIMEOUT_SECONDS) -> list[str]:
    """Return the names of this product's collections. Raise QdrantUnavailable."""
    result = _read("GET", "/collections", field="result", timeout_seconds=timeout_seconds)
    with _malformed_responses():
        names = [str(each["name"]) for each in result["collections"]]
    return sorted(name for name in names if name.startswith(COLLECTION_PREFIX))


def drop_collection(collection: str) -> None:
    """Delete a collection. Raise QdrantUnavailable."""
    with _errors():
        _client(WRITE_TIMEOUT_SECONDS).delete_collection(collection)


def count_by_chat(collection: str, *, timeout_seconds: int = WRITE_TIMEOUT_SECONDS) -> dict[UUID, int]:
    """Return the number of points of each chat in a collection. Raise QdrantUnavailable."""
    path = f"/collections/{quote(collection, safe='')}/facet"
    body = {"key": "chat_id", "limit": MAX_CHATS, "exact": True}
    result = _read("POST", path, field="result", timeout_seconds=timeout_seconds, body=body)
    with _malformed_responses():
        # The index keeps the ids of deleted points for a while.
        return {UUID(str(hit["value"])): int(hit["count"]) for hit in result["hits"] if hit["count"]}


def is_paused() -> bool:
    """Return whether a search should not try, because Qdrant did not answer a moment ago."""
    return time.monotonic() < _pause.until


def pause() -> None:
    """Let the searches of this process do without Qdrant for PAUSE_SECONDS."""
    _pause.until = time.monotonic() + PAUSE_SECONDS


def resume() -> None:
    """End a pause, and forget connections and collections."""
    _pause.until = 0.0
    with _lock:
        _ensured.clear()
        _clients.clear()


class _Pause:
    until = 0.0


_pause = _Pause()
_lock = threading.Lock()
_clients: dict[tuple[int, str, str, int], QdrantClient] = {}
#: The collections that this process has found or created, by the server's address.
_ensured: set[tuple[str, str]] = set()


def _client(timeout_seconds: int) -> QdrantClient:
    """Return this process's client with this time limit. A forked process does not use its parent's connections."""
    key = (os.getpid(), settings.QDRANT_URL, settings.QDRANT_API_KEY, timeout_seconds)
    with _lock:
        if key not in _clients:
            import httpx
            from qdrant_client import QdrantClient

            with warnings.catch_warnings():
                # About a key that is sent without TLS, as within the network of Compose.
                warnings.simplefilter("ignore")
                _clients[key] = QdrantClient(
                    url=settings.QDRANT_URL,
                    api_key=settings.QDRANT_API_KEY or None,
                    timeout=timeout_seconds,
                    # Otherwise the constructor starts a thread that calls the server. `health` compares the versions.
                    check_compatibility=False,
                    trust_env=False,
                    follow_redirects=False,
                    limits=httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS),
                )
        return _clients[key]


def _read(method: str, path: str, *, field: str, timeout_seconds: int, body: Mapping[str, Any] | None = None) -> Any:
    """Return a field of the document that the server answers, without qdrant-client. Raise QdrantUnavailable."""
    if not is_configured():
        raise QdrantUnavailable("not_configured")
    address = urlsplit(settings.QDRANT_URL)
    kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    server = kind(address.hostname or "", address.port, timeout=timeout_seconds)
    headers = {"Content-Type": "application/json"}
    if settings.QDRANT_API_KEY:
        headers["api-key"] = settings.QDRANT_API_KEY
    try:
        server.request(method, address.path.rstrip("/") + path, json.dumps(body) if body else None, headers)
        response = server.getresponse()
        content = response.read()
    except (OSError, http.client.HTTPException):
        raise QdrantUnavailable("no_answer") from None
    finally:
        server.close()
    if response.status != http.HTTPStatus.OK:
        raise QdrantUnavailable(_code_of(response.status))
    with _malformed_responses():
        return json.loads(content)[field]


@contextmanager
def _malformed_responses() -> Iterator[None]:
    """Raise QdrantUnavailable if a response is another document than the protocol's. Nothing of it is quoted."""
    try:
        yield
    except (ValueError, LookupError, TypeError, RecursionError):
        raise QdrantUnavailable("malformed_response") from None


def _ensure_collection(client: QdrantClient, name: str, *, dimensions: int) -> None:
    """Create the collection and the index of its tenants, unless this process knows that both exist."""
    from qdrant_client import models
    from qdrant_client.http.exceptions import UnexpectedResponse

    known = (settings.QDRANT_URL, name)
    if known in _ensured and client.collection_exists(name):
        return
    if not client.collection_exists(name):
        try:
            client.create_collection(
                name,
                # Not Cosine, which would normalise again what has length 1 but for the rounding to float16.
                vectors_config=models.VectorParams(size=dimensions, distance=models.Distance.DOT),
                # No graph over all chats, one per chat: 4.8 s instead of 300 s for 100,000 vectors.
                hnsw_config=models.HnswConfigDiff(m=0, payload_m=16),
            )
        except UnexpectedResponse as error:
            if error.status_code != 409:
                raise
            # Another worker has just created it.
    # Also for a collection that exists: its creator may have died before this.
    client.create_payload_index(
        name,
        "chat_id",
        models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True),
        wait=True,
    )
    _ensured.add(known)


def _of_chat(chat_id: UUID) -> models.Filter:
    from qdrant_client import models

    return models.Filter(must=[models.FieldCondition(key="chat_id", match=models.MatchValue(value=str(chat_id)))])


@contextmanager
def _errors() -> Iterator[None]:
    """Raise QdrantUnavailable for every error of the client. None is chained: their texts quote responses."""
    if not is_configured():
        raise QdrantUnavailable("not_configured")
    from qdrant_client.common.client_exceptions import QdrantException
    from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

    try:
        yield
    except UnexpectedResponse as error:
        raise QdrantUnavailable(_code_of(error.status_code)) from None
    except ResponseHandlingException as error:
        raise QdrantUnavailable("malformed_response" if isinstance(error.source, ValueError) else "no_answer") from None
    except QdrantException:
        # ResourceExhaustedResponse: a 429 with a Retry-After, or with one that is no number.
        raise QdrantUnavailable("rate_limited") from None
    except (ValueError, AssertionError):
        # A response without a result, or with another document than the protocol's.
        raise QdrantUnavailable("malformed_response") from None


def _code_of(status: int | None) -> str:
    if status in (401, 403):
        return "invalid_key"
    return {404: "not_found", 429: "rate_limited"}.get(status or 0, "server_error")


def chunks_of_rows(vector_counts: Sequence[int]) -> NDArray[np.int64]:
    """Return the number of the chunk of each row, for the number of rows of each chunk."""
    return np.repeat(np.arange(len(vector_counts)), vector_counts)
