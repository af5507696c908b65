"""The engine that embeds texts as operators see it: where texts go, its quota, a check by a real call, and health."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db.models import Q

from chats import embedding
from chats.gemini_embedding import EmbeddingRequest, GeminiEmbeddingEngine, embedding_limits
from chats.models import Chat
from insights.engines.state import advice_for, remedy_for
from relivchats.language_models import quota
from relivchats.language_models.errors import EngineError
from relivchats.staff.reports import Level, Line, count, format_count

#: A check does not wait longer than this for the quota.
_MAX_QUOTA_WAIT_SECONDS = 5


def health_line() -> Line:
    """Return the last known state: what is missing, the breaker, and the chats that wait because of it."""
    engine = embedding.get_engine()
    outdated = count(Chat.objects.indexed_by_another_engine(engine.name))
    data: dict[str, Any] = {"engine": engine.name, "outdated": outdated}
    if isinstance(engine, GeminiEmbeddingEngine):
        if missing := engine.missing_settings():
            text = f"{' and '.join(missing)} is not set: no chat is indexed or searched"
            return Line(
                "embeddings", Level.CRITICAL, text, "set it and restart web and workers (docs/engines.md)", data
            )
        waiting = count(Chat.objects.filter(~Q(index_error_code=""), vector_status=Chat.VectorStatus.PENDING))
        data["waiting"] = waiting
        breaker = quota.breaker_state(engine.model)
        if breaker.state != "closed":
            level = Level.WARNING if breaker.reason in quota.PASSING else Level.CRITICAL
            text = f"{engine.model}: {breaker.reason}; {format_count(waiting, 'chat')} to index"
            return Line("embeddings", level, text, remedy_for(breaker.reason), data, is_cause=True)
    if outdated:
        text = f"{engine.name}; {format_count(outdated, 'chat')} of another engine to index again"
        return Line("embeddings", Level.FINE, text, data=data)
    return Line("embeddings", Level.FINE, engine.name, data=data)


def state_lines() -> tuple[Line, ...]:
    """Return the engine, and where texts go. Call no provider."""
    engine = embedding.get_engine()
    if not isinstance(engine, GeminiEmbeddingEngine):
        return (Line("embeddings", Level.FINE, f"{engine.name}: on this machine"),)
    if missing := engine.missing_settings():
        remedy = f"set {' and '.join(missing)}"
        return (Line("embeddings", Level.CRITICAL, f"{' and '.join(missing)} is not set (docs/engines.md)", remedy),)
    masked = "with" if settings.PSEUDONYMS else "without"
    host = urlsplit(engine.address).hostname
    text = f"{engine.model}, {engine.dimensions} dimensions; texts are sent to {host}, {masked} pseudonyms"
    used = quota.observed(engine.model)
    limits = embedding_limits()
    text += f"; in a minute {used.requests} of {limits.requests or 'any number of'} requests"
    return (Line("embeddings", Level.FINE, text, data={"engine": engine.name, "host": host}),)


def check_lines() -> tuple[Line, ...]:
    """Embed one word and return how the model answered; nothing for an engine on this machine."""
    engine = embedding.get_engine()
    if not isinstance(engine, GeminiEmbeddingEngine) or engine.missing_settings():
        return ()
    request = EmbeddingRequest(engine.model, ("ready",), settings.MODEL_TIMEOUT_SECONDS)
    started = time.monotonic()
    try:
        quota.call(
            request,
            send=engine.send,
            estimated_tokens=request.estimate_tokens(),
            give_up_at=time.monotonic() + _MAX_QUOTA_WAIT_SECONDS,
            probe=True,
            limits=embedding_limits(),
        )
    except EngineError as error:
        data = {"model": engine.model, "error_code": error.code}
        return (Line("embeddings", Level.CRITICAL, f"{engine.model}: {error.code}", advice_for(error.code), data),)
    milliseconds = round((time.monotonic() - started) * 1000)
    return (Line("embeddings", Level.FINE, f"{engine.model} answered in {milliseconds} ms"),)
