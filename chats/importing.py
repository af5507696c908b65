"""An upload to a chat: read, counted and sealed first, compared with what is here, then written in one transaction."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from django.conf import settings
from django.db import IntegrityError, transaction

from chats import deduplication, exports, merging
from chats.bulk_copy import copy_rows
from chats.exports.parsed import Batch, ParsedExport
from chats.models import Chat, ChatUpload
from chats.people import People, default_title
from chats.projection import Projection
from chats.sealed_export import SealedExport, Span
from chats.statistics import StatisticsCounter
from chats.transcript import BLOCK_TYPES
from chats.upload_handler import BytesUpload
from chats.upload_log import UploadLog
from relivchats.accounts.models import User
from relivchats.crypto import keyring
from relivchats.errors import DomainError, NotFound

logger = logging.getLogger(__name__)

Outcome = ChatUpload.Outcome


@dataclass(frozen=True)
class ImportOptions:
    """What a person says beside the file.

    `date_order` overrules the dates' own order, `chat` chooses one of several in the file,
    `time_zone` is where the wall clock hung. `extend` names the chat to which the new messages are
    added; `separate` makes another chat of it though much of it is here already.
    """

    date_order: str | None = None
    chat: str | None = None
    time_zone: str = ""
    extend: UUID | None = None
    separate: bool = False


class ImportResult(NamedTuple):
    """`added` messages the upload brought; `older_left_out` are older than the chat's last, so they were not added."""

    chat: Chat
    outcome: Outcome
    added: int
    older_left_out: int = 0


def import_chat(*, owner: User, upload: bytes | BytesUpload, request_id: str = "", **options: Any) -> Chat:
    """A chat of its own of an upload, whatever else is here; the options as keywords. Raises as `receive` does."""
    chosen = ImportOptions(**{"separate": True, **options})
    return import_upload(owner=owner, upload=upload, options=chosen, request_id=request_id).chat


def import_upload(
    *, owner: User, upload: bytes | BytesUpload, options: ImportOptions = ImportOptions(), request_id: str = ""
) -> ImportResult:
    """The chat in an upload, stored; the very same content again gives the chat that it became.

    Raises ExportRefused; ChatRecognised when a chat of the owner has most of it, unless the options say
    what to do; NotFound and NotThisChat when `extend` names no such chat of the owner.
    Whatever comes of it, one ChatUpload row tells; a refused or failed upload leaves nothing else.
    An uploaded file is read here, so that one too large to be read leaves its row as well.
    """
    receipt = UploadLog(owner=owner, request_id=request_id, size_bytes=_size(upload))
    content = b""
    try:
        target = _own(owner, options.extend) if options.extend else None
        content = upload if isinstance(upload, bytes) else upload.read()
        export = _read(content, options, target)
        receipt.platform, receipt.dialect = export.platform, export.dialect
        receipt.lap("read")
        imported = _extended(target, export, receipt) if target else _new(owner, export, options, receipt)
    except DomainError as error:
        receipt.refuse(Outcome.REFUSED, error=error, content=content)
        raise
    except Exception as error:
        receipt.refuse(Outcome.FAILED, error=error, content=content)
        raise
    logger.info(
        "chat imported",
        extra={
            "chat": str(imported.chat.pk),
            "outcome": imported.outcome.value,
            "messages": imported.added,
            "milliseconds": receipt.milliseconds,
        },
    )
    return imported


def last_import(chat: Chat) -> ImportResult:
    """What the last upload of the chat came to, from its record."""
    row = chat.uploads.filter(outcome__in=ChatUpload.KEPT).latest("pk")
    return ImportResult(chat, Outcome(row.outcome), row.message_count, row.older_left_out)


def _size(upload: bytes | BytesUpload) -> int:
    return len(upload) if isinstance(upload, bytes) else upload.size or 0


def _own(owner: User, chat_id: UUID) -> Chat:
    chat = Chat.objects.owned_by(owner).filter(pk=chat_id).first()
    if chat is None:
        raise NotFound("You have no chat with the id that `extend` names. GET /api/chats lists yours.")
    return chat


def _read(content: bytes, options: ImportOptions, target: Chat | None) -> ParsedExport:
    def read(date_order: str | None) -> ParsedExport:
        return exports.read(content, date_order=date_order, chat=options.chat, limit_bytes=settings.UPLOAD_LIMIT_BYTES)

    export = read(options.date_order)
    if target and export.ambiguous_dates and export.date_order != target.date_order:
        # The file does not say, and the chat it belongs to does.
        return read(target.date_order)
    return export


# A chat that is here


def _extended(target: Chat, export: ParsedExport, receipt: UploadLog) -> ImportResult:
    received = SealedExport.of(export, _parsed(export, receipt), each=lambda batch: None)
    receipt.lap("seal")
    extension = merging.merge_export(target, received, receipt)
    if not extension.added_lines:
        return _as_it_was(
            Outcome.UNCHANGED,
            extension.chat,
            receipt,
            older_left_out=extension.older_left_out,
            content_fingerprint=deduplication.fingerprints(target.owner, received)[0],
        )
    return ImportResult(extension.chat, Outcome.EXTENDED, extension.added, extension.older_left_out)


@transaction.atomic
def _as_it_was(
    outcome: Outcome,
    chat: Chat,
    receipt: UploadLog,
    *,
    older_left_out: int = 0,
    content_fingerprint: bytes | None = None,
) -> ImportResult:
    """The chat is locked, so that it is there when the record names it. Raises NotFound when it is not."""
    if Chat.objects.select_for_update(no_key=True).only("pk").filter(pk=chat.pk).first() is None:
        raise NotFound("The chat that has these messages was deleted just now. Send the file again, without `extend`.")
    receipt.accept(
        outcome, chat=chat, messages=0, older_left_out=older_left_out, content_fingerprint=content_fingerprint
    )
    return ImportResult(chat, outcome, 0, older_left_out)


def _parsed(export: ParsedExport, receipt: UploadLog) -> Iterator[Batch]:
    """The export's batches; what happens to each before the next is asked for is sealing."""
    for batch in export.batches:
        receipt.lap("parse")
        yield batch
        receipt.lap("seal")
    receipt.lap("parse")


# A new chat


@dataclass
class _Count:
    """Statistics and days of the messages as their owner sees them, taken in the one pass."""

    projection: Projection
    receipt: UploadLog
    statistics: StatisticsCounter = field(default_factory=StatisticsCounter)
    span: Span = field(default_factory=Span)

    def add(self, batch: Batch) -> None:
        read = self.projection.apply(batch)
        self.statistics.add(read)
        self.span.add(read)
        self.receipt.lap("count")


def _new(owner: User, export: ParsedExport, options: ImportOptions, receipt: UploadLog) -> ImportResult:
    """One pass over the messages: counted and sealed batch by batch, so that memory holds sealed blocks only."""
    nobody = People(names=[], person_of_sender=[])
    count = _Count(Projection.for_people(nobody, clock=export.clock, time_zone=options.time_zone), receipt)
    received = SealedExport.of(export, _parsed(export, receipt), each=count.add)
    receipt.lap("seal")
    if not options.separate:
        if known := deduplication.identical(owner, received):
            return _as_it_was(Outcome.IDENTICAL, known, receipt)
        deduplication.must_be_another(owner, received, count.span)
    receipt.lap("compare")
    chat = _chat(owner, received, count, options)
    receipt.lap("count")
    try:
        _store(chat, received, receipt)
    except IntegrityError:
        # Another upload of the same content was first.
        known = deduplication.identical(owner, received)
        if known is None:
            raise
        if not options.separate:
            return _as_it_was(Outcome.IDENTICAL, known, receipt)
        chat.content_fingerprint = None
        _store(chat, received, receipt)
    return ImportResult(chat, Outcome.ACCEPTED, chat.message_count)


def _chat(owner: User, received: SealedExport, count: _Count, options: ImportOptions) -> Chat:
    export, names = received.export, received.participants
    first, last = count.span.days
    chat = Chat(
        id=received.chat_id,
        owner=owner,
        platform=export.platform,
        dialect=export.dialect,
        date_order=export.date_order,
        ambiguous_dates=export.ambiguous_dates,
        clock=export.clock,
        time_zone=options.time_zone,
        message_count=export.n_messages,
        line_count=received.line_count,
        participant_count=len(names),
        first_message_on=first,
        last_message_on=last,
        content_fingerprint=deduplication.fingerprints(owner, received)[0],
    )
    key, counted = received.key, count.statistics.result(names)
    chat.wrapped_key = keyring().wrap(key, context=chat.context("key"))
    chat.sealed_title = key.seal((export.title or default_title(names)).encode(), context=chat.context("title"))
    chat.sealed_participants = key.seal(orjson.dumps(names), context=chat.context("participants"))
    chat.sealed_statistics = key.seal(orjson.dumps(counted), context=chat.context("statistics"))
    return chat


@transaction.atomic
def _store(chat: Chat, received: SealedExport, receipt: UploadLog) -> None:
    chat.save(force_insert=True)
    copy_rows("transcript_blocks", BLOCK_TYPES, ((chat.pk, *block) for block in received.blocks))
    receipt.accept(Outcome.ACCEPTED, chat=chat, messages=chat.message_count)
