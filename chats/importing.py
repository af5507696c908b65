"""An upload to a chat: read, counted and sealed first, then written in one short transaction."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from uuid import uuid4

import orjson
from django.conf import settings
from django.db import DatabaseError, transaction

from chats import exports
from chats.copying import copy_rows
from chats.exports.intake import header_shape
from chats.exports.parsed import Batch, Kind, ParsedExport, wall_clock
from chats.exports.refusals import OnlySystemMessages
from chats.models import Chat, ChatUpload
from chats.statistics import Statistics
from chats.transcript import seal_batches, whole, whole_texts
from chats.uploads import BytesUpload
from relivchats.accounts.models import User
from relivchats.crypto import DataKey, keyring, new_data_key
from relivchats.errors import DomainError

logger = logging.getLogger(__name__)

Sealed = list[tuple[int, int, bytes]]


def import_chat(
    *, owner: User, upload: bytes | BytesUpload, request_id: str = "", date_order: str | None = None
) -> Chat:
    """The chat in an upload, stored. Raises ExportRefused.

    Whatever comes of it, one ChatUpload row tells; a refused or failed upload
    leaves nothing else. An uploaded file is read here, so that one too large
    to be read leaves its row as well.
    """
    receipt = _Receipt(owner=owner, request_id=request_id, size_bytes=_size(upload))
    content = b""
    try:
        content = upload if isinstance(upload, bytes) else upload.read()
        export = exports.read(content, date_order=date_order, limit_bytes=settings.UPLOAD_LIMIT_BYTES)
        receipt.platform, receipt.dialect = export.platform, export.dialect
        chat, blocks = _seal(owner, export)
        _write(chat, blocks, receipt)
    except DomainError as error:
        receipt.settle(ChatUpload.Outcome.REFUSED, error=error, content=content)
        raise
    except Exception as error:
        receipt.settle(ChatUpload.Outcome.FAILED, error=error, content=content)
        raise
    return chat


def _size(upload: bytes | BytesUpload) -> int:
    return len(upload) if isinstance(upload, bytes) else upload.size or 0


@dataclass
class _Receipt:
    """What the ChatUpload row will say."""

    owner: User
    request_id: str
    size_bytes: int
    platform: str = ""
    dialect: str = ""
    started: float = field(default_factory=time.perf_counter)

    def row(self, outcome: ChatUpload.Outcome, **columns: Any) -> ChatUpload:
        return ChatUpload(
            owner=self.owner,
            outcome=outcome,
            platform=self.platform,
            dialect=self.dialect,
            size_bytes=self.size_bytes,
            milliseconds=round((time.perf_counter() - self.started) * 1000),
            request_id=self.request_id[:64],
            **columns,
        )

    def settle(self, outcome: ChatUpload.Outcome, *, error: Exception, content: bytes) -> None:
        code, reason = getattr(error, "code", DomainError.code), type(error).__name__
        row = self.row(outcome, error_code=code, reason=reason[:64], header_shape=_shape(content))
        logger.warning(
            f"upload {outcome}",
            extra={"reason": reason, "bytes": self.size_bytes, "milliseconds": row.milliseconds},
        )
        # Without a database the caller still learns what happened first.
        with suppress(DatabaseError):
            row.save()


def _shape(content: bytes) -> str:
    try:
        return header_shape(content)[:80]
    except DomainError:
        return ""


@dataclass
class _Span:
    """The instants of the first and last message of a person, in wall-clock seconds."""

    first: int | None = None
    last: int = 0

    def add(self, batch: Batch) -> None:
        seconds = batch.seconds
        if Kind.SYSTEM in batch.kinds:
            pairs = zip(batch.seconds, batch.kinds, strict=True)
            seconds = [instant for instant, kind in pairs if kind != Kind.SYSTEM]
        if seconds:
            first, last = min(seconds), max(seconds)
            self.first = first if self.first is None else min(self.first, first)
            self.last = max(self.last, last)


def _seal(owner: User, export: ParsedExport) -> tuple[Chat, Sealed]:
    """One pass over the messages: counted and sealed batch by batch, so that memory holds sealed blocks only."""
    key, chat_id = new_data_key(), uuid4()
    statistics, span = Statistics(), _Span()
    blocks = list(seal_batches(key, f"chat:{chat_id}", _counted(export.batches, statistics, span)))
    if not export.n_messages or span.first is None:
        raise OnlySystemMessages
    participants = [whole(name) for name in export.participants]
    chat = Chat(
        id=chat_id,
        owner=owner,
        platform=export.platform,
        dialect=export.dialect,
        date_order=export.date_order,
        ambiguous_dates=export.ambiguous_dates,
        message_count=export.n_messages,
        line_count=blocks[-1][1],
        participant_count=len(participants),
        first_message_on=_day(span.first),
        last_message_on=_day(span.last),
    )
    _seal_columns(chat, key, participants, statistics.result(participants))
    return chat, blocks


def _seal_columns(chat: Chat, key: DataKey, participants: list[str], statistics: dict[str, Any]) -> None:
    chat.wrapped_key = keyring().wrap(key, context=chat.context("key"))
    chat.sealed_title = key.seal(_title(participants).encode(), context=chat.context("title"))
    chat.sealed_participants = key.seal(orjson.dumps(participants), context=chat.context("participants"))
    chat.sealed_statistics = key.seal(orjson.dumps(statistics), context=chat.context("statistics"))


def _counted(batches: Iterable[Batch], statistics: Statistics, span: _Span) -> Iterator[Batch]:
    for batch in batches:
        batch.texts = whole_texts(batch.texts)
        statistics.add(batch)
        span.add(batch)
        yield batch


def _title(participants: list[str]) -> str:
    if len(participants) > 2:
        return f"Group of {len(participants)}"
    return " & ".join(participants)


def _day(seconds: int) -> date:
    return wall_clock(seconds).date()


@transaction.atomic
def _write(chat: Chat, blocks: Sealed, receipt: _Receipt) -> None:
    chat.save(force_insert=True)
    copy_rows(
        "transcript_blocks",
        {"chat_id": "uuid", "first_number": "int4", "last_number": "int4", "sealed": "bytea"},
        ((chat.pk, first, last, sealed) for first, last, sealed in blocks),
    )
    row = receipt.row(ChatUpload.Outcome.ACCEPTED, chat=chat, message_count=chat.message_count)
    row.save()
    transaction.on_commit(
        lambda: logger.info(
            "chat imported",
            extra={"chat": str(chat.pk), "messages": chat.message_count, "milliseconds": row.milliseconds},
        )
    )
