"""One door: the bytes of an upload to a parsed export."""

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
    """Find the chat in an upload and read it. Raises ExportRefused, also while the batches are read.

    An upload may hold several chats; then SeveralChats lists them with their
    ids, and `chat` is the id of the one to read.
    """
    documents = unpacking.unpack(upload, limit_bytes=limit_bytes)
    return detection.select_chat(documents, wanted=chat, date_order=date_order)
