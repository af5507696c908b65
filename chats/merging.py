"""Add the new messages of a newer export to a chat. Messages that the chat has keep their numbers."""

from __future__ import annotations

import pickle

from django.db import transaction
from django.db.models import F, Sum
from django.db.models.functions import Length

from chats import deduplication, indexing, limits, merge_plan
from chats.bulk_copy import copy_rows
from chats.exports.errors import TooCostly
from chats.exports.registry import get_parser
from chats.merge_plan import PreparedMerge
from chats.models import Chat, ChatUpload, TranscriptBlock
from chats.parsing import ParseReport
from chats.parsing_processes import ParsingInterrupted, run_in_child
from chats.sealed_export import SealedExport
from chats.transcript import BLOCK_TYPES, count_bytes, load_blocks
from chats.upload_log import ImportResult, UploadLog
from relivchats.errors import Conflict, DomainError, NotFound
from relivchats.limits import lock as lock_user

MAX_ATTEMPTS = 3
#: A chat and an upload of together no more lines are compared in the thread: that takes less than a child.
SMALL_LINES = 20_000
#: A child that compares more is interrupted because of that, and will be again: 2.4 million lines took more than 80 s.
LARGE_LINES = 1_000_000
ADVICE = "Leave out `extend` to import the file as a separate chat."


class NotThisChat(Conflict):
    """The upload and the chat that it should extend have too few messages in common."""

    title = "This is not an export of that chat"


class MergeTooCostly(DomainError):
    """The comparison of the upload with the chat that it should extend exceeds a limit of memory or time (413)."""

    code, status, title = "ERR_3004", 413, "The chat and the file are too large together"


class ChatChanges(Conflict):
    """Other requests changed the chat during each attempt to change it."""

    title = "The chat is being changed"


def merge_export(chat: Chat, sealed: SealedExport, log: UploadLog) -> ImportResult:
    """Add the new messages of an upload to the chat, and record the upload.

    Raise NotThisChat if the upload is not an export of the chat, MergeTooCostly if they are too large together,
    NotFound if the chat is deleted meanwhile,
    LimitReached if its owner may not store more, and ChatChanges if other requests change it during every attempt.
    """
    if sealed.export.platform != chat.platform:
        uploaded, stored = get_parser(sealed.export.platform).name, get_parser(chat.platform).name
        raise NotThisChat(f"It comes from {uploaded}, and that chat from {stored}. {ADVICE}")
    # Reading, comparing and counting take seconds for a large chat, so they run without a lock. `_save` locks the chat
    # and stores nothing if the chat has changed; then everything is repeated with the chat as it is now.
    for _ in range(MAX_ATTEMPTS):
        prepared = _prepare(chat, sealed, log)
        if prepared is None:
            # An erased chat has no lines to compare: raise NotFound for it instead.
            raise NotThisChat(_explain_mismatch(_reload(chat), sealed))
        fingerprint = deduplication.content_fingerprints(chat.owner, sealed)[0]
        if not prepared.blocks:
            log.record_unchanged(
                ChatUpload.Outcome.UNCHANGED,
                chat=chat,
                older_left_out=prepared.older_messages,
                content_fingerprint=fingerprint,
            )
            return ImportResult(chat, ChatUpload.Outcome.UNCHANGED, 0, prepared.older_messages)
        if extended := _save(chat, prepared, log=log, content_fingerprint=fingerprint):
            return ImportResult(extended, ChatUpload.Outcome.EXTENDED, prepared.new_messages, prepared.older_messages)
        chat = _reload(chat)
    raise ChatChanges("Other requests are changing this chat. Send the file again in a moment.")


def _prepare(chat: Chat, sealed: SealedExport, log: UploadLog) -> PreparedMerge | None:
    """Compare the upload with the chat: in this thread if both are small, else in a process of its own."""
    stored = load_blocks(chat)
    if chat.line_count + sealed.line_count <= SMALL_LINES:
        report = ParseReport()
        prepared = merge_plan.prepare(chat, sealed, stored, report)
    else:
        # With its key, which it keeps once it was used: the child has no database.
        _ = chat.key
        report, outcome = run_in_child(pickle.dumps((chat, sealed, stored)), merge_plan.prepare_packed)
        is_large = chat.line_count + sealed.line_count > LARGE_LINES
        if isinstance(outcome, TooCostly) or (is_large and isinstance(outcome, ParsingInterrupted)):
            raise MergeTooCostly(
                "They take too much work to compare. To add less, export the chat for a shorter time that begins before"
                " its last message here. Or send the file with separate=true to import it as a separate chat."
            )
        if isinstance(outcome, DomainError):
            raise outcome
        prepared = outcome
    log.add_stages(report.stages)
    return prepared


def _reload(chat: Chat) -> Chat:
    current = Chat.objects.filter(pk=chat.pk).first()
    if current is None:
        raise NotFound(
            "The chat that `extend` names was just deleted. Leave out `extend` to import the file as a new chat."
        )
    return current


def _explain_mismatch(chat: Chat, sealed: SealedExport) -> str:
    if chat.date_order != sealed.export.date_order:
        return (
            f"Its dates are read as {sealed.export.date_order}, and that chat's as {chat.date_order}. If it is the"
            " same chat, send the file with separate=true and delete the one whose dates are wrong."
        )
    return f"Too few of its messages are in that chat. {ADVICE}"


@transaction.atomic
def _save(chat: Chat, prepared: PreparedMerge, *, log: UploadLog, content_fingerprint: bytes) -> Chat | None:
    """Store what was prepared and return the chat, or return None if it was changed or deleted since it was loaded."""
    # Two uploads of the same file can be here at once. The second waits for this lock, and then the chat has changed.
    if Chat.objects.select_for_update(no_key=True).unchanged_since(chat).only("pk").first() is None:
        return None
    replaced = TranscriptBlock.objects.filter(chat=chat.pk, first_number__gte=prepared.blocks[0].first_number)
    added_bytes = count_bytes(prepared.blocks) - replaced.aggregate(total=Sum(Length("sealed"), default=0))["total"]
    lock_user(chat.owner)
    limits.check_room(chat.owner, new_chats=0, new_bytes=added_bytes)
    replaced.delete()
    copy_rows("transcript_blocks", BLOCK_TYPES, ((chat.pk, *block) for block in prepared.blocks))
    Chat.objects.filter(pk=chat.pk).update(stored_bytes=F("stored_bytes") + added_bytes, **prepared.columns)
    indexing.request_from(chat.pk, first_number=chat.line_count + 1)
    log.record_success(
        ChatUpload.Outcome.EXTENDED,
        chat=chat,
        added=prepared.new_messages,
        older_left_out=prepared.older_messages,
        content_fingerprint=content_fingerprint,
    )
    # Loaded before the commit: once the row of the upload is stored, a concurrent deletion must not refuse the upload.
    return Chat.objects.get(pk=chat.pk)
