"""What operators and staff do to chats: the index status, and reindexing. Commands and admin actions call this."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from django.db.models import Count, QuerySet

from chats import embedding, indexing, keys, points, qdrant
from chats.models import Chat
from chats.qdrant import QdrantUnavailable
from relivchats.crypto import keyring
from relivchats.errors import Conflict, NotFound
from relivchats.staff.bulk_actions import (
    BATCH_SIZE,
    ActionContext,
    BatchResult,
    ProgressDisplay,
    batch_report,
    run_batch,
)
from relivchats.staff.reports import Level, Line, Report, Table


def index_status_report() -> Report:
    """Return the number of chats by `vector_status`, with a warning if indexing failed for any."""
    counts = dict(Chat.objects.order_by().values_list("vector_status").annotate(Count("pk")))
    rows = tuple((status.value, counts.get(status.value, 0)) for status in Chat.VectorStatus)
    failed = counts.get(Chat.VectorStatus.FAILED, 0)
    line = Line("vectors", Level.FINE, "no chat failed to index")
    if failed:
        line = Line("vectors", Level.WARNING, f"{failed} failed to index", "manage.py reindex --failed")
    lines = (line, _qdrant_line()) if qdrant.is_configured() else (line,)
    return Report("Indexing", lines, Table(("vector_status", "chats"), rows))


def _qdrant_line() -> Line:
    try:
        difference = points.compare()
    except QdrantUnavailable as error:
        return Line("qdrant", Level.WARNING, f"{error.code}: the sealed vectors are searched", "manage.py health")
    text = (
        f"{difference.points} of {difference.expected_points} vectors of {difference.chats} chats;"
        f" {difference.orphan_count} erased chats to remove"
    )
    if difference.incomplete:
        text += f"; {len(difference.incomplete)} chats lack some"
        return Line("qdrant", Level.WARNING, text, "manage.py reindex --qdrant")
    return Line("qdrant", Level.FINE, text)


def keys_report() -> Report:
    """Return the keys that wrap data keys, with the chats that need each, and what to do about it."""
    uses = keys.list_uses()
    missing = [use for use in uses if not use.is_known]
    unused = [use.name for use in uses if not use.chats and not use.is_current]
    old = sum(use.chats for use in uses if use.is_known and not use.is_current)
    if missing:
        text = f"{sum(use.chats for use in missing)} chats need a key that ENCRYPTION_KEYS does not have"
        line = Line("keys", Level.CRITICAL, text, "restore the missing key in ENCRYPTION_KEYS, then restart")
    elif old:
        line = Line("keys", Level.WARNING, f"{old} chats need an old key", "manage.py keys --rotate")
    elif unused:
        # Responses to requests with an Idempotency-Key are sealed for a day, by the key that was current.
        text = f"no chat needs {', '.join(unused)}: remove it from ENCRYPTION_KEYS a day after the rotation"
        line = Line("keys", Level.FINE, text)
    else:
        line = Line("keys", Level.FINE, "all data keys are wrapped by the current key")
    states = {(True, True): "current", (True, False): "old", (False, False): "missing"}
    rows = tuple((use.name, states[use.is_known, use.is_current], use.chats) for use in uses)
    return Report("Keys", (line,), Table(("key", "state", "chats"), rows))


def rotate_keys_report(progress: ProgressDisplay) -> Report:
    """Wrap all data keys by the current key, and return what was done and the keys that remain in use."""
    total = sum(use.chats for use in keys.list_uses() if not use.is_current)
    with progress("Rotating", total=total) as update:
        done = keys.rotate(progress=update)
    after = keys_report()
    rotated = Line("rotated", Level.FINE, f"{done.rotated} data keys are wrapped by {keyring().current} now")
    return replace(after, lines=(rotated, *after.lines))


def chats_with_vectors() -> QuerySet[Chat]:
    """Return the chats that the embedding engine in use has indexed."""
    return Chat.objects.filter(index_engine=embedding.get_engine().name, vectors__isnull=False)


def store_in_qdrant_report(chats: QuerySet[Chat], *, dry_run: bool, context: ActionContext) -> Report:
    """Store the vectors of `chats` in Qdrant again, from their sealed copies, and return the results.

    No text is embedded. Raise Conflict if Qdrant is not in use.
    """
    if not qdrant.is_configured():
        raise Conflict("QDRANT_URL is not set: the sealed vectors in Postgres are searched.")
    if dry_run:
        number = chats.count()
        return Report("Would be stored", (Line("chats", Level.FINE, str(number)),), data={"chats": number})

    def store(chat: Chat) -> str:
        try:
            return "stored" if points.store(chat.pk) else "nothing to store"
        except QdrantUnavailable as error:
            raise Conflict(f"Qdrant did not store it: {error.code}") from None

    batch = run_batch("store vectors", chats.only("id"), store, context=context)
    return batch_report("Stored", batch, remedy="manage.py health")


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
