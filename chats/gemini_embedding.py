"""Embeds texts with Gemini. The setting EMBEDDING_ENGINE=gemini selects it.

The model gemini-embedding-2 ignores `task_type`: the task is written before each text. A list of strings would give one
vector for all of them, so each text is a content of its own. A vector of less than the model's full size does not have
length 1, and is normalised here. All calls pass the quota gate of the model.
"""

from __future__ import annotations

import itertools
import math
import re
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from django.conf import settings

from chats.embedding import MAX_TEXT_CHARS, Vectors
from relivchats.language_models import quota
from relivchats.language_models.errors import EngineUnavailable
from relivchats.language_models.gemini import GeminiConnection

if TYPE_CHECKING:
    from google import genai
    from google.genai import types

#: What is written before a text. A change of either needs a new PREFIX_VERSION, so that all chats are indexed again.
DOCUMENT_PREFIX = "title: none | text: "
QUERY_PREFIX = "task: search result | query: "
PREFIX_VERSION = 1

#: The API accepts 100 texts in a call. The tokens keep a call well below the limit of a minute.
MAX_BATCH_TEXTS, MAX_BATCH_TOKENS = 100, 20_000
#: Calls of one process at the same time.
PARALLEL_CALLS = 4
BYTES_PER_TOKEN = 3.5
#: How long a call may wait for the quota. After that an indexing is rescheduled; somebody waits for a query.
MAX_DOCUMENT_WAIT_SECONDS, MAX_QUERY_WAIT_SECONDS = 60.0, 10.0
#: The queries of the catalogue are the same for every chat.
MAX_CACHED_QUERIES = 2_000


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """One call: texts with their prefix."""

    model: str
    texts: tuple[str, ...]
    timeout_seconds: float

    def estimate_tokens(self) -> int:
        """Return about how many tokens the texts have."""
        return sum(map(_estimate_tokens, self.texts))


@dataclass(frozen=True, slots=True)
class EmbeddingAnswer:
    """The vectors of a call's texts, of length 1. `tokens_in` is 0 if the provider does not count them."""

    vectors: Vectors
    tokens_in: int
    tokens_out: int = 0


class GeminiEmbeddingEngine:
    """Embeds texts with Gemini. Thread-safe."""

    leaves_machine = True
    #: A whole chunk: the model reads sentences, and a short text costs the tokens of its prefix as well.
    text_bytes = 900

    def __init__(self) -> None:
        self._connection = GeminiConnection()
        self._queries: dict[tuple[str, str], Vectors] = {}
        self._queries_lock = threading.Lock()

    @property
    def model(self) -> str:
        """The model of the settings."""
        return str(settings.GEMINI_EMBEDDING_MODEL)

    @property
    def dimensions(self) -> int:
        """The size of a vector."""
        return int(settings.GEMINI_EMBEDDING_DIMENSIONS)

    @property
    def name(self) -> str:
        """What decides whether vectors can be compared: model, size, prefix version, and whether names are masked."""
        model = re.sub(r"[^A-Za-z0-9.]+", "-", self.model.removeprefix("models/"))
        names = "" if settings.PSEUDONYMS else "-names"
        return f"gemini-{model[:32]}-{self.dimensions}-p{PREFIX_VERSION}{names}"

    @property
    def address(self) -> str:
        """The URL below which all requests are sent."""
        return self._connection.address

    def missing_settings(self) -> tuple[str, ...]:
        """Return the names of required settings that are not set."""
        return self._connection.missing_settings()

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one row per text, of length 1, or all zeros for a text without words. Raise EngineError."""
        prefixed = [DOCUMENT_PREFIX + text[:MAX_TEXT_CHARS] if text.strip() else "" for text in texts]
        return self._embed(prefixed, group="documents", wait_seconds=MAX_DOCUMENT_WAIT_SECONDS)

    def embed_queries(self, queries: Sequence[str]) -> Vectors:
        """Return one row per query, as `embed` does. Queries that were embedded lately cost no call."""
        prefixed = [QUERY_PREFIX + query[:MAX_TEXT_CHARS] if query.strip() else "" for query in queries]
        with self._queries_lock:
            known = {text: self._queries[self.name, text] for text in prefixed if (self.name, text) in self._queries}
        missing = [text for text in dict.fromkeys(prefixed) if text not in known]
        rows = self._embed(missing, group="queries", wait_seconds=MAX_QUERY_WAIT_SECONDS)
        known |= zip(missing, rows, strict=True)
        with self._queries_lock:
            self._queries |= {(self.name, text): known[text] for text in missing}
            for oldest in list(itertools.islice(self._queries, max(0, len(self._queries) - MAX_CACHED_QUERIES))):
                del self._queries[oldest]
        return np.array([known[text] for text in prefixed], np.float32).reshape(len(queries), self.dimensions)

    def _embed(self, texts: Sequence[str], *, group: str, wait_seconds: float) -> Vectors:
        """Return one row per text; all zeros for an empty one."""
        rows = np.zeros((len(texts), self.dimensions), np.float32)
        positions = [position for position, text in enumerate(texts) if text]
        batches = list(_batches([texts[position] for position in positions]))
        call = partial(self._call, group=group, give_up_at=time.monotonic() + wait_seconds)
        if len(batches) < 2:
            found = list(map(call, batches))
        else:
            with ThreadPoolExecutor(PARALLEL_CALLS, thread_name_prefix="embed") as pool:
                calls = [pool.submit(call, batch) for batch in batches]
                try:
                    found = [each.result() for each in calls]
                except BaseException:
                    # What is not sent yet would be paid for, and discarded.
                    pool.shutdown(cancel_futures=True)
                    raise
        if positions:
            rows[positions] = np.concatenate(found)
        return rows

    def _call(self, texts: tuple[str, ...], *, group: str, give_up_at: float) -> Vectors:
        request = EmbeddingRequest(self.model, texts, settings.MODEL_TIMEOUT_SECONDS)
        answer = quota.call(
            request,
            send=self.send,
            estimated_tokens=request.estimate_tokens(),
            give_up_at=give_up_at,
            group=group,
            limits=embedding_limits(),
        )
        return answer.vectors

    def send(self, request: EmbeddingRequest) -> EmbeddingAnswer:
        """Return the vectors of the request's texts. Make exactly one request. Raise EngineError."""

        def embed(client: genai.Client) -> types.EmbedContentResponse:
            from google.genai import types

            return client.models.embed_content(
                model=request.model,
                # One content per text: of a list of strings, the model makes one vector.
                contents=[types.Content(parts=[types.Part(text=text)]) for text in request.texts],
                config=types.EmbedContentConfig(
                    output_dimensionality=self.dimensions,
                    http_options=types.HttpOptions(timeout=round(request.timeout_seconds * 1000)),
                ),
            )

        response = self._connection.call_parsed(embed, timeout_seconds=request.timeout_seconds)
        values = [embedding.values for embedding in response.embeddings or ()]
        if len(values) != len(request.texts) or any(len(row or ()) != self.dimensions for row in values):
            # Among others an error that was sent with status 200.
            raise EngineUnavailable("malformed_response")
        vectors = np.array(values, np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not np.all(np.isfinite(lengths)) or not np.all(lengths > 0):
            raise EngineUnavailable("malformed_response")
        usage = response.usage_metadata
        return EmbeddingAnswer(vectors / lengths, (usage and usage.prompt_token_count) or 0)


def embedding_limits() -> quota.Limits:
    """Return the limits of the settings for the embedding model."""
    return quota.Limits(settings.EMBEDDING_REQUESTS_PER_MINUTE, settings.EMBEDDING_TOKENS_PER_MINUTE)


def _batches(texts: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield the texts in order, in tuples within the limits of one call."""
    batch: list[str] = []
    tokens = 0
    for text in texts:
        added = _estimate_tokens(text)
        if batch and (len(batch) == MAX_BATCH_TEXTS or tokens + added > MAX_BATCH_TOKENS):
            yield tuple(batch)
            batch, tokens = [], 0
        batch.append(text)
        tokens += added
    if batch:
        yield tuple(batch)


def _estimate_tokens(text: str) -> int:
    return math.ceil(len(text.encode(errors="replace")) / BYTES_PER_TOKEN)
