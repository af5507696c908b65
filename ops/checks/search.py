"""Checks of search: the engine that embeds texts, and Qdrant."""

from __future__ import annotations

import http.client
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from chats import points, qdrant
from chats.qdrant import QdrantUnavailable
from ops import embeddings as operators_view
from ops.checks.registry import health_check
from relivchats import installation
from relivchats.staff.reports import Level, Line, format_count
from relivchats.terminal import plural

#: Less than a check may take. Nothing of the product waits for Qdrant, so slow is as good as down.
_TIMEOUT_SECONDS = 1
#: Its first answer takes a millisecond.
_PROBE_SECONDS = 0.5
_DOWN = "is down: it does not accept connections"


@health_check("embeddings", needs=("database", "broker"), remedy="manage.py engine", page="/admin/chats/chat/")
def embeddings() -> Line:
    """Return the last known state of the engine that embeds texts. It calls no provider."""
    return operators_view.health_line()


@health_check(
    "qdrant", on_timeout=Level.WARNING, remedy=installation.restart("qdrant"), page="/admin/chats/vectormatrix/"
)
def qdrant_server() -> Line:
    """Return the server's version, and how its points differ from the vectors in Postgres."""
    if not qdrant.is_configured():
        return Line("qdrant", Level.FINE, "not used: the sealed vectors in Postgres are searched")
    if fault := _find_fault():
        text = f"{fault}; the sealed vectors in Postgres are searched"
        remedy = installation.start("qdrant") if fault == _DOWN else installation.restart("qdrant")
        return Line("qdrant", Level.WARNING, text, remedy, {"error_code": "no_answer"})
    try:
        server = qdrant.server_version(timeout_seconds=_TIMEOUT_SECONDS)
        difference = points.compare(timeout_seconds=_TIMEOUT_SECONDS)
    except QdrantUnavailable as error:
        text = f"{error.code}: the sealed vectors in Postgres are searched"
        return Line("qdrant", Level.WARNING, text, installation.restart("qdrant"), {"error_code": error.code})
    client = qdrant.client_version()
    data: dict[str, Any] = {
        "server": server,
        "client": client,
        "chats": difference.chats,
        "points": difference.points,
        "expected_points": difference.expected_points,
        "incomplete": len(difference.incomplete),
        "orphans": difference.orphan_count,
    }
    if server.split(".")[:2] != client.split(".")[:2]:
        text = f"the server is version {server}, the client {client}: their minor versions differ"
        return Line("qdrant", Level.WARNING, text, f"run qdrant/qdrant:v{client}", data)
    if difference.incomplete:
        text = f"{format_count(len(difference.incomplete), 'chat')} without all their vectors"
        return Line("qdrant", Level.WARNING, text, "manage.py reindex --qdrant", data)
    text = f"{server}, {plural(difference.points, 'vector')} of {plural(difference.chats, 'chat')}"
    if difference.orphan_count:
        # `synchronize` removes them within minutes.
        text += f", {format_count(difference.orphan_count, 'erased chat')} to remove"
    return Line("qdrant", Level.FINE, text, data=data)


def _find_fault() -> str:
    """Return why Qdrant gives no answer at all, or an empty string."""
    address = urlsplit(settings.QDRANT_URL)
    kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    server = kind(address.hostname or "", address.port, timeout=_PROBE_SECONDS)
    try:
        server.request("GET", address.path or "/")
        server.getresponse()
    except TimeoutError:
        return "is frozen: it accepts connections and does not answer"
    except (OSError, http.client.HTTPException):
        return _DOWN
    finally:
        server.close()
    return ""
