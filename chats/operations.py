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
from relivchats.key_store import StoreUnavailable
from relivchats.staff.bulk_actions import (
    BATCH_SIZE,
    ActionContext,
    BatchResult,
    ProgressDisplay,
    batch_report,
    run_batch,
)
from relivchats.staff.reports import Level, Line, Report, Table
from relivchats.terminal import plural


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
        f"{difference.points} of {difference.expected_points} vectors of {plural(difference.chats, 'chat')};"
        f" {plural(difference.orphan_count, 'erased chat')} to remove"
    )
    if difference.incomplete:
        text += f"; {plural(len(difference.incomplete), 'chat lacks', 'chats lack')} some"
        return Line("qdrant", Level.WARNING, text, "manage.py reindex --qdrant")
    return Line("qdrant", Level.FINE, text)


def keys_report() -> Report:
    """Return the keys of the keyring, with the chats that need each, the state of the key store, and what to do."""
    try:
        found = keys.survey()
    except StoreUnavailable as error:
        return Report("Keys", (_unavailable_line(error),))
    sample = keys.sample()
    missing = [use for use in found.uses if not use.is_known]
    unused = [use.name for use in found.uses if not use.chats and not use.is_current]
    old = sum(use.chats for use in found.uses if use.is_known and not use.is_current)
    if missing:
        needing = plural(sum(use.chats for use in missing), "chat needs", "chats need")
        text = f"{needing} a key that ENCRYPTION_KEYS does not have"
        line = Line("keys", Level.CRITICAL, text, "restore the missing key in ENCRYPTION_KEYS, then restart")
    elif sample.unreadable:
        # The survey reads names, and another key can have the same name.
        text = f"ENCRYPTION_KEYS does not open {len(sample.unreadable)} of {sample.size} chats"
        text += f", such as {sample.unreadable[0]}: it has other keys of these names, or the chats are damaged"
        line = Line("keys", Level.CRITICAL, text, "restore the right key in ENCRYPTION_KEYS, then restart")
    elif old:
        text = f"{plural(old, 'chat needs', 'chats need')} an old key"
        line = Line("keys", Level.WARNING, text, "manage.py keys --rotate")
    elif unused:
        # Responses to requests with an Idempotency-Key are sealed for a day, by the key that was current.
        text = f"no chat needs {', '.join(unused)}: remove it from ENCRYPTION_KEYS a day after the rotation"
        line = Line("keys", Level.FINE, text)
    else:
        line = Line("keys", Level.FINE, "all chats need the current key only")
    states = {(True, True): "current", (True, False): "old", (False, False): "missing"}
    rows = tuple((use.name, states[use.is_known, use.is_current], use.chats) for use in found.uses)
    return Report("Keys", (line, _store_line(found)), Table(("key", "state", "chats"), rows))


def _store_line(found: keys.Survey) -> Line:
    name = "key store"
    if not found.has_store:
        return Line(name, Level.FINE, "none, so backups open with ENCRYPTION_KEYS until they expire: docs/security.md")
    if found.closed_file:
        text = f"the files of {plural(len(found.closed_file), 'chat')} cannot be read, such as {found.closed_file[0]}"
        return Line(name, Level.CRITICAL, text, "let the user of the processes read them: docs/operations.md, Backups")
    if found.without_file:
        text = f"{len(found.without_file)} of {found.in_store} chats lack their file, such as {found.without_file[0]}"
        if found.is_lost:
            return Line(name, Level.CRITICAL, text, "restore the files from a copy: docs/operations.md, Backups")
        remedy = "manage.py keys --erase-unreadable  # or restore the files: docs/operations.md, Backups"
        return Line(name, Level.CRITICAL, text, remedy)
    if found.outside:
        text = f"{plural(found.outside, 'chat is', 'chats are')} not in it yet"
        return Line(name, Level.WARNING, text, "manage.py keys --rotate")
    if found.unused_files:
        unused = plural(len(found.unused_files), "file belongs", "files belong")
        text = f"{unused} to no chat: this is an older copy of the database"
        return Line(name, Level.WARNING, text, "manage.py keys --remove-unused  # if no newer copy will be restored")
    return Line(name, Level.FINE, f"it has a file for each of {plural(found.in_store, 'chat')}")


def _unavailable_line(error: StoreUnavailable) -> Line:
    return Line("key store", Level.CRITICAL, str(error), "mount the directory that KEY_STORE_DIR names, then restart")


def rotate_keys_report(progress: ProgressDisplay) -> Report:
    """Wrap the keys of all chats by the current key, move them into the key store, and return what was done."""
    try:
        found = keys.survey()
        old = sum(use.chats for use in found.uses if not use.is_current)
        with progress("Rotating", total=old + found.outside * found.has_store) as update:
            done = keys.rotate(progress=update)
    except StoreUnavailable as error:
        return Report("Keys", (_unavailable_line(error),))
    after = keys_report()
    where = " in the key store" * found.has_store
    text = f"{plural(done.rotated, 'key is', 'keys are')} wrapped by {keyring().current} now{where}"
    # One that leaves keys behind is no success: its report says what is wrong with them.
    return replace(after, lines=(Line("rotated", Level.FINE, text), *after.lines), has_changed=not done.unreadable)


def remove_unused_keys_report(*, confirmed: int | None) -> Report:
    """Destroy the files of the key store that belong to no chat, and return their number and the keys in use.

    Raise Conflict if these are most files, unless `confirmed` is their number.
    """
    try:
        removed = keys.remove_unused(confirmed=confirmed)
    except StoreUnavailable as error:
        return Report("Keys", (_unavailable_line(error),))
    after = keys_report()
    line = Line("removed", Level.FINE, plural(removed, "file"))
    return replace(after, lines=(line, *after.lines), has_changed=True)


def erase_unreadable_report(*, context: ActionContext | None) -> Report:
    """Return the chats whose file is not in the key store; with a context, erase them, each with an audit entry.

    Raise Conflict if most chats lack their file.
    """
    title = "Chats without a file in the key store"
    try:
        found = keys.survey()
    except StoreUnavailable as error:
        return Report(title, (_unavailable_line(error),))
    number = len(found.without_file)
    if not number:
        return Report(title, (Line("chats", Level.FINE, "none: nothing to erase"),))
    if found.is_lost:
        raise Conflict(
            f"{number} of {found.in_store} chats lack their file: the key store was lost. Nothing was erased. Restore"
            " it from a copy: docs/operations.md, Backups."
        )
    if context is None:
        listed = Chat.objects.filter(pk__in=found.without_file[:BATCH_SIZE]).order_by("pk")
        table = Table(("chat", "owner", "uploaded"), tuple(listed.values_list("pk", "owner_id", "created_at")))
        line = Line(
            "chats",
            Level.WARNING,
            f"{number} of {found.in_store} can no longer be opened; nothing was erased yet",
            "manage.py keys --erase-unreadable --reason TEXT --yes  # if no copy of the key store has their files",
        )
        return Report(f"{title} (preview)", (line,), table, {"chats": number})
    chats = Chat.objects.filter(pk__in=found.without_file).only("pk")
    batch = run_batch("erase unreadable chat", chats, keys.erase_without_file, context=context)
    return batch_report("Erased", batch, remedy="manage.py keys")


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
        requested = indexing.request(chat)
        return f"requested; it was {chat.vector_status}" if requested else "unchanged: it is being indexed now"

    return run_batch("reindex chat", chats.only("id", "vector_status"), request, context=context)
