"""Read the bytes of an upload as a parsed export."""

from __future__ import annotations

from chats.exports import detection, unpacking
from chats.exports.parsed import ParsedExport


def read(
    upload: bytes,
    *,
    date_order: str | None = None,
    chat: str | None = None,
    limit_bytes: int = unpacking.UPLOAD_LIMIT_BYTES,
) -> ParsedExport:
    """Return the chat in an upload. Raise ExportRefused, also while its batches are read.

    If the upload contains several chats, SeveralChats lists them with their ids; pass one of them as `chat`.
    """
    documents = unpacking.unpack(upload, limit_bytes=limit_bytes)
    return detection.select_chat(documents, wanted=chat, date_order=date_order)
