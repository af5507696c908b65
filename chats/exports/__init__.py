"""Read the bytes of an upload as a parsed export."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from chats.exports.parsed import SYSTEM_SENDER, Batch, ParsedExport


def read(
    upload: bytes,
    *,
    date_order: str | None = None,
    chat: str | None = None,
    now: datetime | None = None,
    limit_bytes: int | None = None,
) -> ParsedExport:
    """Return the chat in an upload. Raise ExportRefused, also while its batches are read.

    If the upload contains several chats, SeveralChats lists them with their ids; pass one of them as `chat`.

    `now` is an aware time: dates are read so that they are not later, if possible, and later messages are counted in
    `n_future`. Without it, any date is possible.
    """
    # Imported here: the parsers take 0.1 s, and most processes only use the types in `parsed`.
    from chats.exports import dates, detection, unpacking

    documents = unpacking.unpack(upload, limit_bytes=limit_bytes or unpacking.UPLOAD_LIMIT_BYTES)
    export = detection.select_chat(documents, wanted=chat, date_order=date_order, now=now)
    if now is not None:
        export.batches = _count_future(export, export.batches, dates.latest_second(now))
    return export


def _count_future(export: ParsedExport, batches: Iterator[Batch], latest: int) -> Iterator[Batch]:
    for batch in batches:
        if max(batch.seconds) > latest:
            export.n_future += sum(
                seconds > latest and sender != SYSTEM_SENDER
                for seconds, sender in zip(batch.seconds, batch.senders, strict=True)
            )
        yield batch
