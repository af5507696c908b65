"""The bytes of an upload to the text of one chat: size, archive, encoding.

A file is judged by its content, never by its name or declared type. Nothing
is written to disk, nested archives stay closed, and an archive's bytes are
counted while they are inflated, since its directory can lie about sizes.
"""

from __future__ import annotations

import codecs
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

from chats.exports.dialect import sniff
from chats.exports.refusals import (
    DamagedArchive,
    EmptyExport,
    ExportRefused,
    ExportTooLarge,
    NoChatText,
    NoSuchChat,
    PasswordProtected,
    SeveralChats,
    UnpackedTooLarge,
)

UPLOAD_LIMIT_BYTES = 25 * 1024 * 1024
UNPACKED_LIMIT_BYTES = 200 * 1024 * 1024
ENTRIES_LIMIT = 10_000
RATIO_LIMIT = 200
# A short chat of equal lines packs well without being a bomb.
RATIO_COUNTS_FROM_BYTES = 1024 * 1024
SHAPE_LIMIT = 60

_HEAD_BYTES = 256 * 1024
_STEP_BYTES = 256 * 1024
_ARCHIVE_MARKS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_DIRECTORY_MARK = b"PK\x01\x02"
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_CONTROL_BYTES = bytes(code for code in range(32) if code not in b"\t\n\r\x1a\x1b\0")


def read_text(upload: bytes, *, chat: str | None = None, limit_bytes: int = UPLOAD_LIMIT_BYTES) -> bytes:
    """The chat's text in UTF-8 without BOM and NUL; of several, the one whose id is `chat`. Raises ExportRefused."""
    if not upload:
        raise EmptyExport
    if len(upload) > limit_bytes:
        raise ExportTooLarge(limit_bytes=limit_bytes, size_bytes=len(upload))
    text = _unpacked(upload, chat) if upload.startswith(_ARCHIVE_MARKS) else upload
    text = as_utf8(text)
    if not text[:_STEP_BYTES].strip() and not text.strip():
        raise EmptyExport
    return text


def header_shape(text_or_upload: bytes) -> str:
    """The first header-like line with digits as 9 and letters as a, at most 60 characters: no word can be read."""
    text = text_or_upload
    if text.startswith(_ARCHIVE_MARKS):
        try:
            text = _unpacked(text)
        except ExportRefused:
            return ""
    for line in as_utf8(text[:_HEAD_BYTES]).decode("utf-8", "replace").splitlines():
        if sum(map(str.isdigit, line[:24])) >= 4 and any(map(str.isdigit, line[:6])):
            return "".join(map(_shape, line[:SHAPE_LIMIT]))
    return ""


def _shape(char: str) -> str:
    category = unicodedata.category(char)
    if category[0] in "LM":
        return "a"
    if category[0] == "N":
        return "9"
    return " " if category == "Zs" else char if char.isascii() and char.isprintable() else "?"


# Archives


def _unpacked(upload: bytes, chat: str | None = None) -> bytes:
    if upload.count(_DIRECTORY_MARK) > ENTRIES_LIMIT:
        raise UnpackedTooLarge(entries_limit=ENTRIES_LIMIT)
    with _damage_named(), zipfile.ZipFile(BytesIO(upload)) as archive:
        budget = Budget(len(upload))
        entry = _chosen(archive, budget, chat)
        budget.restart()
        # Its value is the buffer itself: joined parts would take the memory twice.
        text = BytesIO()
        for part in _inflated(archive, entry, budget):
            text.write(part)
        return text.getvalue()


@contextmanager
def _damage_named() -> Iterator[None]:
    """What zipfile and zlib raise on a hostile archive: the list is what years of fuzzing found there."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, LookupError) as error:
        raise DamagedArchive from error
    except (NotImplementedError, RuntimeError, OverflowError, MemoryError) as error:
        raise DamagedArchive from error


class Budget:
    """What may still come out of an archive."""

    def __init__(self, packed_bytes: int) -> None:
        self.packed_bytes = packed_bytes
        self.unpacked_bytes = 0

    def restart(self) -> None:
        self.unpacked_bytes = 0

    def spend(self, size_bytes: int) -> None:
        self.unpacked_bytes += size_bytes
        if self.unpacked_bytes > UNPACKED_LIMIT_BYTES:
            raise UnpackedTooLarge(limit_bytes=UNPACKED_LIMIT_BYTES)
        most = max(RATIO_COUNTS_FROM_BYTES, RATIO_LIMIT * self.packed_bytes)
        if self.unpacked_bytes > most:
            raise UnpackedTooLarge(ratio_limit=RATIO_LIMIT)


def _chosen(archive: zipfile.ZipFile, budget: Budget, chat: str | None) -> zipfile.ZipInfo:
    """The wanted chat, else `_chat.txt`, else `WhatsApp Chat with ….txt`, else the only text that reads like a chat."""
    entries = [entry for entry in archive.infolist() if _may_be_text(entry)]
    if not entries:
        raise NoChatText
    if all(entry.flag_bits & 1 for entry in entries):
        raise PasswordProtected
    readable = [entry for entry in entries if not entry.flag_bits & 1]
    chats = [entry for entry in readable if sniff(_head(archive, entry, budget))]
    if not chats:
        if len(readable) < len(entries):
            raise PasswordProtected
        return min(readable, key=_rank)
    best = min(map(_rank, chats))
    first = [entry for entry in chats if _rank(entry) == best]
    numbered = {str(number): entry for number, entry in enumerate(first, start=1)}
    if len(first) == 1 and chat is None:
        return first[0]
    if chat in numbered:
        return numbered[chat]
    listed = [
        {"id": number, "title": _title(entry), "messages": _messages(archive, entry, budget)}
        for number, entry in numbered.items()
    ]
    raise SeveralChats(chats=listed) if chat is None else NoSuchChat(chats=listed)


def _title(entry: zipfile.ZipInfo) -> str:
    return entry.filename.replace("\\", "/").rpartition("/")[2].removesuffix(".txt")


def _messages(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, budget: Budget) -> int:
    text = as_utf8(b"".join(_inflated(archive, entry, budget)))
    dialect = sniff(text)
    return sum(1 for _ in dialect.pattern.finditer(dialect.newline + text)) if dialect else 0


def _may_be_text(entry: zipfile.ZipInfo) -> bool:
    folders, _, name = entry.filename.replace("\\", "/").rpartition("/")
    return (
        name.lower().endswith(".txt")
        and not name.startswith("._")
        and "__MACOSX" not in folders.split("/")
        and not stat.S_ISLNK(entry.external_attr >> 16)
    )


def _rank(entry: zipfile.ZipInfo) -> int:
    name = entry.filename.replace("\\", "/").rpartition("/")[2].lower()
    return 0 if name == "_chat.txt" else 1 if name.startswith("whatsapp chat with ") else 2


def _head(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, budget: Budget) -> bytes:
    """The beginning of an entry: enough to tell a chat, so that many texts do not cost many inflations."""
    head = b""
    for part in _inflated(archive, entry, budget):
        head += part
        if len(head) >= _HEAD_BYTES:
            break
    return as_utf8(head)


def _inflated(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, budget: Budget) -> Iterator[bytes]:
    # Other methods inflate without bound between two reads, and no messenger uses them.
    if entry.compress_type not in _METHODS:
        raise DamagedArchive
    with archive.open(entry) as stream:
        while part := stream.read(_STEP_BYTES):
            budget.spend(len(part))
            yield part


# Encodings


def as_utf8(text: bytes) -> bytes:
    """UTF-8 without BOM and NUL, from UTF-8, UTF-16 or, if all of it fits, cp1252; a bad byte is replaced alone."""
    encoding = _wide_encoding(text)
    if encoding:
        text = _recoded(text, encoding, "replace")
    text = text.removeprefix(codecs.BOM_UTF8)
    if not text.isascii():
        try:
            _check(text)
        except UnicodeDecodeError:
            text = _repaired(text)
    return text.replace(b"\0", b"") if b"\0" in text else text


def _wide_encoding(text: bytes) -> str | None:
    if text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    head = text[:1024]
    zeros = head.count(0)
    if zeros * 3 < len(head) or len(head) < 8:
        return None
    return "utf-16-le" if head[1::2].count(0) > head[0::2].count(0) else "utf-16-be"


def _repaired(text: bytes) -> bytes:
    sample = text[: 4 * _STEP_BYTES]
    bad = sample.decode("utf-8", "replace").count("\ufffd")
    good = sum(byte >= 0xC2 for byte in sample) - bad
    if bad > good and not any(byte in sample for byte in _CONTROL_BYTES):
        try:
            return _recoded(text, "cp1252", "strict")
        except UnicodeDecodeError:
            pass
    return _recoded(text, "utf-8", "replace")


def _recoded(text: bytes, encoding: str, errors: str) -> bytes:
    return b"".join(part.encode() for part in _steps(text, encoding, errors))


def _check(text: bytes) -> None:
    for _ in _steps(text, "utf-8", "strict"):
        pass


def _steps(text: bytes, encoding: str, errors: str) -> Iterator[str]:
    """Decoded a step at a time: a whole chat with one emoji would take four bytes a character."""
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    view = memoryview(text)
    for start in range(0, len(text), _STEP_BYTES):
        yield decoder.decode(view[start : start + _STEP_BYTES])
    yield decoder.decode(b"", final=True)
