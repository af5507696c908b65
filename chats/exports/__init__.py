"""One door: the bytes of an upload to a parsed export."""

from __future__ import annotations

from chats.exports import intake, whatsapp
from chats.exports.parsed import ParsedExport


def read(upload: bytes, *, date_order: str | None = None, limit_bytes: int = intake.UPLOAD_LIMIT_BYTES) -> ParsedExport:
    """Find the chat's text in an upload and read it. Raises ExportRefused, also while the batches are read."""
    return whatsapp.parse(intake.read_text(upload, limit_bytes=limit_bytes), date_order=date_order)
