"""Import an upload: parse, count and seal it, look for the same chat, and store it in one transaction."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from chats import deduplication, exports, merging
from chats.bulk_copy import copy_rows
from chats.counting import ChatCounter
from chats.exports.parsed import ParsedExport
from chats.models import Chat
from chats.people import default_title
from chats.projection import Projection
from chats.sealed_export import ExportSealer, SealedExport
from chats.transcript import BLOCK_TYPES
from chats.upload_handler import BytesUpload
from chats.upload_log import ImportResult, Outcome, UploadLog
from relivchats.accounts.models import User
from relivchats.crypto import keyring
from relivchats.errors import DomainError, NotFound

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImportOptions:
    """What the caller can choose for an upload.

    `date_order` (dmy, mdy or ymd) reads dates that are ambiguous, `chat` is the id of one chat of several in the file,
    and `time_zone` is an IANA name. `extend` is the id of the chat to add new messages to. `separate` imports the
    upload as another chat even if its owner has most of the messages already.
    """

    date_order: str | None = None
    chat: str | None = None
    time_zone: str = ""
    extend: UUID | None = None
    separate: bool = False


def import_chat(*, owner: User, upload: bytes | BytesUpload, request_id: str = "", **options: Any) -> Chat:
    """Import an upload as a new chat, whatever chats its owner has, and return the chat.

    `options` are fields of ImportOptions. Raise what `import_upload` raises.
    """
    separate = ImportOptions(**{"separate": True, **options})
    return import_upload(owner=owner, upload=upload, options=separate, request_id=request_id).chat


def import_upload(
    *, owner: User, upload: bytes | BytesUpload, options: ImportOptions = ImportOptions(), request_id: str = ""
) -> ImportResult:
    """Import an upload as a new chat or into an existing one, and return the result.

    Raise ExportRefused if the file cannot be read, ChatRecognised if the owner has most of the messages and `options`
    do not say what to do, and NotFound or NotThisChat if `options.extend` is not the chat of this export. Every upload
    leaves one ChatUpload row; a refused or failed upload leaves nothing else.
    """
    size_bytes = len(upload) if isinstance(upload, bytes) else upload.size or 0
    log = UploadLog(owner=owner, request_id=request_id, size_bytes=size_bytes)
    content = b""
    try:
        target = None
        if options.extend:
            target = Chat.objects.owned_by(owner).filter(pk=options.extend).first()
            if target is None:
                raise NotFound("You have no chat with the id that `extend` names. GET /api/chats lists yours.")
        # An OversizedUpload raises here, so that the refusal is recorded like any other.
        content = upload if isinstance(upload, bytes) else upload.read()
        export = _open_export(content, options, target)
        log.platform, log.dialect = export.platform, export.dialect
        log.end_stage("read")
        result = _import_into(target, export, log) if target else _import_as_new_chat(owner, export, options, log)
    except DomainError as error:
        log.record_failure(Outcome.REFUSED, error=error, content=content)
        raise
    except Exception as error:
        log.record_failure(Outcome.FAILED, error=error, content=content)
        raise
    logger.info(
        "chat imported",
        extra={
            "chat": str(result.chat.pk),
            "outcome": result.outcome.value,
            "messages": result.added,
            "milliseconds": log.milliseconds,
        },
    )
    return result


def _open_export(content: bytes, options: ImportOptions, target: Chat | None) -> ParsedExport:
    read = partial(
        exports.read, content, chat=options.chat, now=timezone.now(), limit_bytes=settings.UPLOAD_LIMIT_BYTES
    )
    export = read(date_order=options.date_order)
    if target and export.ambiguous_dates and export.date_order != target.date_order:
        # The dates of this file are ambiguous, and those of the chat that it extends are known.
        return read(date_order=target.date_order)
    return export


def _import_into(target: Chat, export: ParsedExport, log: UploadLog) -> ImportResult:
    sealer = ExportSealer(export)
    for batch in export.batches:
        log.end_stage("parse")
        sealer.add(batch)
        log.end_stage("seal")
    log.end_stage("parse")
    sealed = sealer.finish()
    log.end_stage("seal")
    return merging.merge_export(target, sealed, log)


def _import_as_new_chat(owner: User, export: ParsedExport, options: ImportOptions, log: UploadLog) -> ImportResult:
    sealer = ExportSealer(export)
    counter = ChatCounter(Projection.for_time_zone(options.time_zone, clock=export.clock))
    # One pass: each batch is parsed, sealed and counted before the next one is parsed, so that a million messages are
    # never in memory at once. The sealed blocks of a million messages take 15 MB.
    for batch in export.batches:
        log.end_stage("parse")
        sealer.add(batch)
        log.end_stage("seal")
        counter.add(batch)
        log.end_stage("count")
    log.end_stage("parse")
    sealed = sealer.finish()
    log.end_stage("seal")

    if not options.separate:
        if chat := deduplication.find_identical_chat(owner, sealed):
            log.record_unchanged(Outcome.IDENTICAL, chat=chat)
            return ImportResult(chat, Outcome.IDENTICAL, 0)
        deduplication.raise_if_duplicate(owner, sealed, first_day=counter.first_day, last_day=counter.last_day)
    log.end_stage("compare")

    chat = _build_chat(owner, sealed, counter, time_zone=options.time_zone)
    log.end_stage("count")
    try:
        _save(chat, sealed, log)
    except IntegrityError:
        # Another upload of the same content was committed after the check above: the constraint
        # one_chat_per_owner_and_content rejected this one.
        existing = deduplication.find_identical_chat(owner, sealed)
        if existing is None:
            raise
        if not options.separate:
            log.record_unchanged(Outcome.IDENTICAL, chat=existing)
            return ImportResult(existing, Outcome.IDENTICAL, 0)
        # A second chat of the same content has no fingerprint, so later uploads resolve to the first one.
        chat.content_fingerprint = None
        _save(chat, sealed, log)
    return ImportResult(chat, Outcome.ACCEPTED, chat.message_count)


def _build_chat(owner: User, sealed: SealedExport, counter: ChatCounter, *, time_zone: str) -> Chat:
    """Return the chat of a sealed export, not yet saved."""
    export, names, key = sealed.export, sealed.participants, sealed.key
    chat = Chat(
        id=sealed.chat_id,
        owner=owner,
        platform=export.platform,
        dialect=export.dialect,
        date_order=export.date_order,
        ambiguous_dates=export.ambiguous_dates,
        clock=export.clock,
        time_zone=time_zone,
        message_count=export.n_messages,
        line_count=sealed.line_count,
        participant_count=len(names),
        recorded_details=sorted(export.records),
        unreadable_count=export.n_unreadable,
        future_count=export.n_future,
        content_fingerprint=deduplication.content_fingerprints(owner, sealed)[0],
    )
    chat.key = key
    chat.wrapped_key = keyring().wrap(key, context=chat.context("key"))
    chat.sealed_title = key.seal((export.title or default_title(names)).encode(), context=chat.context("title"))
    chat.sealed_participants = key.seal(orjson.dumps(names), context=chat.context("participants"))
    for column, value in counter.columns(chat, names).items():
        setattr(chat, column, value)
    return chat


@transaction.atomic
def _save(chat: Chat, sealed: SealedExport, log: UploadLog) -> None:
    chat.save(force_insert=True)
    copy_rows("transcript_blocks", BLOCK_TYPES, ((chat.pk, *block) for block in sealed.blocks))
    log.record_success(Outcome.ACCEPTED, chat=chat, added=chat.message_count)
