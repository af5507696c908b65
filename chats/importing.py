"""Import an upload: parse, count and seal it, look for the same chat, and store it in one transaction."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from chats import data_keys, deduplication, keys, limits, merging
from chats.bulk_copy import copy_rows
from chats.counting import ChatFigures
from chats.models import Chat
from chats.parsing import ParsedUpload, ParseRequest
from chats.parsing_processes import parse_upload
from chats.people import default_title
from chats.sealed_export import SealedExport
from chats.transcript import BLOCK_TYPES, count_bytes
from chats.upload_handler import BytesUpload
from chats.upload_log import ImportResult, Outcome, UploadLog
from relivchats import idempotency
from relivchats.accounts.models import User
from relivchats.errors import DomainError, NotFound
from relivchats.limits import lock as lock_user

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
    do not say what to do, NotFound or NotThisChat if `options.extend` is not the chat of this export, and LimitReached
    if the owner may not store more. Every upload leaves one ChatUpload row; a refused or failed upload leaves nothing
    else.
    """
    size_bytes = len(upload) if isinstance(upload, bytes) else upload.size or 0
    log = UploadLog(owner=owner, request_id=request_id, size_bytes=size_bytes)
    try:
        keys.check_before_sealing()
        # Before the parsing, which is expensive. `_save` and `merge_export` check again with what is stored.
        limits.check_room(owner, new_chats=0 if options.extend else 1, new_bytes=1)
        target = None
        if options.extend:
            target = Chat.objects.owned_by(owner).filter(pk=options.extend).first()
            if target is None:
                raise NotFound("You have no chat with the id that `extend` names. GET /api/chats lists yours.")
        # An OversizedUpload raises here, so that the refusal is recorded like any other.
        parsed = _parse(upload if isinstance(upload, bytes) else upload.read(), options, target, log)
        if target:
            result = merging.merge_export(target, parsed.sealed, log)
        else:
            result = _import_as_new_chat(owner, parsed, options, log)
    except DomainError as error:
        log.record_failure(
            Outcome.FAILED if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR else Outcome.REFUSED, error
        )
        raise
    except Exception as error:
        log.record_failure(Outcome.FAILED, error)
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


def _parse(content: bytes, options: ImportOptions, target: Chat | None, log: UploadLog) -> ParsedUpload:
    """Return the parsed upload, and pass to the log what is known about it. Raise ExportRefused and others."""
    request = ParseRequest(
        options.date_order,
        options.chat,
        options.time_zone,
        now=timezone.now(),
        limit_bytes=settings.UPLOAD_LIMIT_BYTES,
        known_date_order=target.date_order if target else None,
        # The messages of an extended chat are counted together.
        is_counted=target is None,
    )
    log.parsed, outcome = parse_upload(content, request)
    log.skip_stage()
    if isinstance(outcome, DomainError):
        raise outcome
    return outcome


def _import_as_new_chat(owner: User, parsed: ParsedUpload, options: ImportOptions, log: UploadLog) -> ImportResult:
    sealed, figures = parsed.sealed, parsed.figures
    assert figures is not None
    if not options.separate:
        if chat := deduplication.find_identical_chat(owner, sealed):
            log.record_unchanged(Outcome.IDENTICAL, chat=chat)
            return ImportResult(chat, Outcome.IDENTICAL, 0)
        deduplication.raise_if_duplicate(owner, sealed, first_day=figures.first_day, last_day=figures.last_day)
    log.end_stage("compare")

    chat = _build_chat(owner, sealed, figures, time_zone=options.time_zone)
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


def _build_chat(owner: User, sealed: SealedExport, figures: ChatFigures, *, time_zone: str) -> Chat:
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
        stored_bytes=count_bytes(sealed.blocks),
        participant_count=len(names),
        recorded_details=sorted(export.records),
        unreadable_count=export.n_unreadable,
        future_count=export.n_future,
        content_fingerprint=deduplication.content_fingerprints(owner, sealed)[0],
    )
    chat.key = key
    chat.wrapped_key = data_keys.wrap_new(key, chat_id=chat.pk, context=chat.context("key"))
    chat.sealed_title = key.seal((export.title or default_title(names)).encode(), context=chat.context("title"))
    chat.sealed_participants = key.seal(orjson.dumps(names), context=chat.context("participants"))
    for column, value in figures.columns(chat).items():
        setattr(chat, column, value)
    return chat


@transaction.atomic
def _save(chat: Chat, sealed: SealedExport, log: UploadLog) -> None:
    idempotency.keep_claim()
    lock_user(chat.owner)
    limits.check_room(chat.owner, new_chats=1, new_bytes=chat.stored_bytes)
    chat.save(force_insert=True)
    data_keys.keep(chat)
    copy_rows("transcript_blocks", BLOCK_TYPES, ((chat.pk, *block) for block in sealed.blocks))
    log.record_success(Outcome.ACCEPTED, chat=chat, added=chat.message_count)
