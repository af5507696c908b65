"""Which chats are searchable, and making them so again."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.db.models import Count, QuerySet

from chats import indexing
from chats.models import Chat
from ops import deeds
from ops.deeds import Deeds, Order
from ops.report import Level, Line, Report, Table
from relivchats.errors import NotFound


def status() -> Report:
    """How many chats stand where: the guide's own query."""
    counts = dict(Chat.objects.order_by().values_list("vector_status").annotate(Count("pk")))
    rows = tuple((status.value, counts.get(status.value, 0)) for status in Chat.VectorStatus)
    failed = counts.get(Chat.VectorStatus.FAILED, 0)
    line = Line("vectors", Level.FINE, "no chat failed to index")
    if failed:
        line = Line("vectors", Level.WARNING, f"{failed} failed to index", "manage.py reindex --failed")
    return Report("Indexing", (line,), Table(("vector_status", "chats"), rows))


def chosen(ids: Sequence[UUID]) -> QuerySet[Chat]:
    """Raises NotFound when one of them is not a chat: then none is touched."""
    chats = Chat.objects.filter(pk__in=ids)
    missing = set(ids) - set(chats.values_list("pk", flat=True))
    if missing:
        raise NotFound(f"There is no chat {', '.join(sorted(map(str, missing)))}. Nothing was asked for.")
    return chats


def failed() -> QuerySet[Chat]:
    return Chat.objects.filter(vector_status=Chat.VectorStatus.FAILED)


def every() -> QuerySet[Chat]:
    return Chat.objects.all()


def report(chats: QuerySet[Chat], *, dry_run: bool, order: Order) -> Report:
    if not dry_run:
        return deeds.report("Asked for", reindex_some(chats, order=order), mend="manage.py reindex --status")
    would = chats.order_by("pk").values_list("pk", "vector_status", "index_error_code")
    table = Table(("chat", "vector_status", "error"), tuple(would[: deeds.BATCH]))
    number = chats.count()
    return Report("Would be asked for", (Line("chats", Level.FINE, str(number)),), table, {"chats": number})


def reindex_some(chats: QuerySet[Chat], *, order: Order) -> Deeds:
    """Workers do it; a chat that is being indexed right now goes on."""
    return deeds.carry_out("reindex chat", chats.only("id", "vector_status"), _request, order=order)


def _request(chat: Chat) -> str:
    indexing.request(chat)
    return f"asked for; it was {chat.vector_status}"
