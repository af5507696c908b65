"""What operators and staff do to chats: the index status, and reindexing. Commands and admin actions call this."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.db.models import Count, QuerySet

from chats import indexing
from chats.models import Chat
from relivchats.errors import NotFound
from relivchats.staff.bulk_actions import BATCH_SIZE, ActionContext, BatchResult, batch_report, run_batch
from relivchats.staff.reports import Level, Line, Report, Table


def index_status_report() -> Report:
    """Return the number of chats by `vector_status`, with a warning if indexing failed for any."""
    counts = dict(Chat.objects.order_by().values_list("vector_status").annotate(Count("pk")))
    rows = tuple((status.value, counts.get(status.value, 0)) for status in Chat.VectorStatus)
    failed = counts.get(Chat.VectorStatus.FAILED, 0)
    line = Line("vectors", Level.FINE, "no chat failed to index")
    if failed:
        line = Line("vectors", Level.WARNING, f"{failed} failed to index", "manage.py reindex --failed")
    return Report("Indexing", (line,), Table(("vector_status", "chats"), rows))


def chats_by_id(ids: Sequence[UUID]) -> QuerySet[Chat]:
    """Return the chats with these ids. Raise NotFound if any id is unknown, so that no chat is reindexed by mistake."""
    chats = Chat.objects.filter(pk__in=ids)
    missing = set(ids) - set(chats.values_list("pk", flat=True))
    if missing:
        raise NotFound(f"There is no chat {', '.join(sorted(map(str, missing)))}. Nothing was requested.")
    return chats


def chats_that_failed() -> QuerySet[Chat]:
    """Return the chats whose indexing failed."""
    return Chat.objects.filter(vector_status=Chat.VectorStatus.FAILED)


def reindex_report(chats: QuerySet[Chat], *, dry_run: bool, context: ActionContext) -> Report:
    """Request indexing of `chats` and return the results; with `dry_run`, only list them."""
    if not dry_run:
        return batch_report("Requested", reindex(chats, context=context), remedy="manage.py reindex --status")
    rows = chats.order_by("pk").values_list("pk", "vector_status", "index_error_code")
    table = Table(("chat", "vector_status", "error"), tuple(rows[:BATCH_SIZE]))
    number = chats.count()
    return Report("Would be requested", (Line("chats", Level.FINE, str(number)),), table, {"chats": number})


def reindex(chats: QuerySet[Chat], *, context: ActionContext) -> BatchResult:
    """Request indexing of each chat; workers do the work. A chat that is being indexed now is left alone."""

    def request(chat: Chat) -> str:
        indexing.request(chat)
        return f"requested; it was {chat.vector_status}"

    return run_batch("reindex chat", chats.only("id", "vector_status"), request, context=context)
