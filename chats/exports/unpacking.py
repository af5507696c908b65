"""Extract the texts of an upload: size limits, archives, encodings.

A file is judged by its content, never by its name or declared type. Nothing
is written to disk, nested archives stay closed, and an archive's bytes are
counted while they are inflated, since its directory can lie about sizes.
"""

from __future__ import annotations

import codecs
import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO

from chats.exports.dialect import detect_dialect
from chats.exports.errors import (
    Backup,
    DamagedArchive,
    EmptyExport,
    ExportRefused,
    ExportTooLarge,
    FormattedText,
    NoChatText,
    NotText,
    OtherArchive,
    OtherJson,
    PasswordProtected,
    Pdf,
    Picture,
    Recording,
    UnpackedTooLarge,
    WebPage,
)

UPLOAD_LIMIT_BYTES = 25 * 1024 * 1024
UNPACKED_LIMIT_BYTES = 200 * 1024 * 1024
ENTRIES_LIMIT = 10_000
RATIO_LIMIT = 200
# A short chat of equal lines compresses well without being a zip bomb.
RATIO_COUNTS_FROM_BYTES = 1024 * 1024
#: Detecting, listing and reading chats may each unpack as many bytes as one text can have.
WORK_LIMIT_TEXTS = 4
SHAPE_LIMIT = 60

_HEAD_BYTES = 256 * 1024
_STEP_BYTES = 256 * 1024
#: Enough to distinguish a picture from a text.
_GLANCE_BYTES = 4 * 1024
_ARCHIVE_MARKS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_DIRECTORY_MARK = b"PK\x01\x02"
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_CONTROL_BYTES = bytes(code for code in range(32) if code not in b"\t\n\r\x1a\x1b\0")

_WEB_PAGE = re.compile(rb"\s*(?:<\?xml[^>]{0,200}>\s*)?<(?:!doctype html|html)\b", re.IGNORECASE)
_DATABASE = b"SQLite format 3\0"
# WhatsApp's encrypted backups contain the version of the app in their first bytes.
_BACKUP = re.compile(rb"2\.\d{1,2}\.\d{1,3}\.\d{1,3}")
# A JSON export is an object, and a WhatsApp chat can begin with a bracket.
_JSON_LIST = re.compile(rb"\s*+\[\s*+[{\"]")

#: First bytes of other formats that people upload, from the specifications of the formats. The first match counts.
_OTHER_KINDS = (
    (rb"\xff\xd8\xff|\x89PNG\r\n|GIF8[79]a|RIFF.{4}WEBP|\0\0\0.ftyp(?:hei|mif|avi)", Picture),
    (rb"\0\0\0.ftyp|RIFF.{4}|OggS\0|ID3[\2-\4]|\x1aE\xdf\xa3|#!AMR", Recording),
    (rb"%PDF-", Pdf),
    (rb"\{\\rtf|\xd0\xcf\x11\xe0\xa1\xb1", FormattedText),
    (rb"Rar!\x1a\x07|7z\xbc\xaf'\x1c|\x1f\x8b\x08|BZh[1-9]1AY&SY|\xfd7zXZ\0", OtherArchive),
)


@dataclass(frozen=True)
class Document:
    """A text in the upload: its path in an archive, its first bytes, and a function that reads all of it."""

    head: bytes
    #: Returns the whole text in UTF-8 without BOM and NUL. Raises ExportRefused.
    text: Callable[[], bytes]
    folder: str = ""
    name: str = ""

    @property
    def is_json(self) -> bool:
        """Return whether the text begins like a JSON object."""
        return self.head.lstrip()[:1] == b"{"

    @property
    def is_likely_a_chat(self) -> bool:
        """Return whether the text is JSON or a line of its head begins like a message."""
        return self.is_json or bool(detect_dialect(self.head))


def unpack(upload: bytes, *, limit_bytes: int = UPLOAD_LIMIT_BYTES) -> list[Document]:
    """Return the texts of an archive in its order, or the upload itself; at least one. Raise ExportRefused."""
    if not upload:
        raise EmptyExport
    if len(upload) > limit_bytes:
        raise ExportTooLarge(limit_bytes=limit_bytes, size_bytes=len(upload))
    if upload.startswith(_ARCHIVE_MARKS):
        return _Archive(upload).documents()
    _refuse_by_content(upload[:_GLANCE_BYTES])
    for beginning, refusal in _OTHER_KINDS:
        if re.match(beginning, upload, re.DOTALL):
            raise refusal
    text = as_utf8(upload)
    if not text[:_STEP_BYTES].strip() and not text.strip():
        raise EmptyExport
    is_list = bool(_JSON_LIST.match(text))
    if (is_list or _is_binary(upload[:_GLANCE_BYTES])) and not Document(text, bytes).is_likely_a_chat:
        raise OtherJson if is_list else NotText
    return [Document(text[:_HEAD_BYTES], lambda: text)]


def together(pages: list[Document]) -> list[bytes]:
    """Return the texts of a chat's pages. Raise UnpackedTooLarge if together they exceed the limit of one text."""
    texts: list[bytes] = []
    left_bytes = UNPACKED_LIMIT_BYTES
    for page in pages:
        texts.append(page.text())
        left_bytes -= len(texts[-1])
        if left_bytes < 0:
            raise UnpackedTooLarge(limit_bytes=UNPACKED_LIMIT_BYTES)
    return texts


def header_shape(text_or_upload: bytes) -> str:
    """Return the first line like a header with digits as 9 and letters as a, at most 60 characters; empty if none."""
    text = text_or_upload
    if text.startswith(_ARCHIVE_MARKS):
        try:
            text = min(_Archive(text).documents(), key=rank).head
        except ExportRefused:
            return ""
    for line in as_utf8(text[:_HEAD_BYTES]).decode("utf-8", "replace").splitlines():
        if sum(map(str.isdigit, line[:24])) >= 4 and any(map(str.isdigit, line[:6])):
            return "".join(map(_shape, line[:SHAPE_LIMIT]))
    return ""


def rank(document: Document) -> int:
    """Return 0 for `_chat.txt`, 1 for `WhatsApp Chat with ….txt`, 2 for any other name."""
    name = document.name.lower()
    return 0 if name == "_chat.txt" else 1 if name.startswith("whatsapp chat with ") else 2


def _shape(char: str) -> str:
    category = unicodedata.category(char)
    if category[0] in "LM":
        return "a"
    if category[0] == "N":
        return "9"
    return " " if category == "Zs" else char if char.isascii() and char.isprintable() else "?"


def _refuse_by_content(head: bytes) -> None:
    """Raise Backup or WebPage for files that people often upload instead of an export."""
    if head.startswith(_DATABASE) or (_is_binary(head) and _BACKUP.search(head[:512])):
        raise Backup
    if _WEB_PAGE.match(head.removeprefix(codecs.BOM_UTF8)):
        raise WebPage


@dataclass
class Budget:
    """Limits on the bytes that are unpacked: for one text, and for all reads of the archive together."""

    packed_bytes: int
    unpacked_bytes: int = 0
    work_bytes: int = 0

    def restart(self) -> None:
        """Start counting the bytes of another text."""
        self.unpacked_bytes = 0

    def spend(self, size_bytes: int) -> None:
        """Count unpacked bytes. Raise UnpackedTooLarge if they exceed a limit."""
        self.unpacked_bytes += size_bytes
        self.work_bytes += size_bytes
        if self.unpacked_bytes > UNPACKED_LIMIT_BYTES or self.work_bytes > WORK_LIMIT_TEXTS * UNPACKED_LIMIT_BYTES:
            raise UnpackedTooLarge(limit_bytes=UNPACKED_LIMIT_BYTES)
        max_bytes = max(RATIO_COUNTS_FROM_BYTES, RATIO_LIMIT * self.packed_bytes)
        if self.unpacked_bytes > max_bytes:
            raise UnpackedTooLarge(ratio_limit=RATIO_LIMIT)


@contextmanager
def _archive_errors_translated() -> Iterator[None]:
    """Raise DamagedArchive for everything that zipfile and zlib raise on a hostile archive, as found by fuzzing."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, LookupError) as error:
        raise DamagedArchive from error
    except (NotImplementedError, RuntimeError, OverflowError, MemoryError) as error:
        raise DamagedArchive from error


class _Archive:
    def __init__(self, upload: bytes) -> None:
        if upload.count(_DIRECTORY_MARK) > ENTRIES_LIMIT:
            raise UnpackedTooLarge(entries_limit=ENTRIES_LIMIT)
        self.budget = Budget(len(upload))
        with _archive_errors_translated():
            self.zip = zipfile.ZipFile(BytesIO(upload))

    def documents(self) -> list[Document]:
        """Return the texts. Raise PasswordProtected, WebPage, Backup, EmptyExport or NoChatText if there are none.

        Damaged entries are skipped. Raise DamagedArchive if one of them may be the chat.
        """
        entries = [entry for entry in self.zip.infolist() if _may_hold_text(entry)]
        locked = [entry for entry in entries if entry.flag_bits & 1]
        found: list[Document] = []
        damaged: list[Document] = []
        refusal: ExportRefused | None = None
        for entry in entries:
            if entry.flag_bits & 1:
                continue
            folder, _, name = entry.filename.replace("\\", "/").rpartition("/")
            document = Document(b"", _reading(self, entry), folder, name)
            try:
                with _archive_errors_translated():
                    head = self._head(entry)
            except DamagedArchive:
                damaged.append(document)
            except (WebPage, Backup, EmptyExport) as other:
                refusal = refusal or other
            else:
                found += [replace(document, head=head)] if head else []
        self.budget.restart()
        if damaged and _may_include_chat(damaged, found):
            raise DamagedArchive
        if found:
            return found
        raise PasswordProtected if locked else refusal or NoChatText

    def _head(self, entry: zipfile.ZipInfo) -> bytes:
        """Return the first bytes of a text in UTF-8, enough to recognise a chat, without unpacking the whole entry.

        Nothing of a file that is neither named like a text nor reads like a chat. Raises EmptyExport for an empty
        one that is named like a text, WebPage and Backup for such.
        """
        named_text = entry.filename.lower().endswith((".txt", ".json"))
        if entry.compress_type not in _METHODS and not named_text:
            return b""
        head = b""
        for part in self._inflated(entry, _GLANCE_BYTES):
            head += part
            if len(head) >= _HEAD_BYTES or (not named_text and _is_binary(head)):
                break
        _refuse_by_content(head[:_GLANCE_BYTES])
        if named_text and not head.strip(b"\0 \r\n\t\xef\xbb\xbf\xff\xfe"):
            raise EmptyExport
        if named_text:
            return as_utf8(head)
        head = b"" if _is_binary(head) else as_utf8(head)
        return head if Document(head, bytes).is_likely_a_chat else b""

    def text(self, entry: zipfile.ZipInfo) -> bytes:
        self.budget.restart()
        # getvalue() returns the buffer without a copy; joining parts would take twice the memory.
        whole = BytesIO()
        with _archive_errors_translated():
            for part in self._inflated(entry, _STEP_BYTES):
                whole.write(part)
        return as_utf8(whole.getvalue())

    def _inflated(self, entry: zipfile.ZipInfo, first_bytes: int) -> Iterator[bytes]:
        # Other methods can unpack any number of bytes in one read, and no messenger uses them.
        if entry.compress_type not in _METHODS:
            raise DamagedArchive
        size_bytes = first_bytes
        with self.zip.open(entry) as stream:
            while part := stream.read(size_bytes):
                self.budget.spend(len(part))
                yield part
                size_bytes = _STEP_BYTES


def _may_include_chat(damaged: list[Document], found: list[Document]) -> bool:
    """Return whether the chat, or a page of it, may be among the damaged entries."""
    chats = [document for document in found if document.is_likely_a_chat]
    folders = {chat.folder for chat in chats if chat.is_json}
    return not chats or any(
        rank(document) < min(map(rank, chats)) or (document.folder in folders and _is_page(document))
        for document in damaged
    )


def _is_page(document: Document) -> bool:
    return document.name.lower().endswith(".json")


def _reading(archive: _Archive, entry: zipfile.ZipInfo) -> Callable[[], bytes]:
    return lambda: archive.text(entry)


def _may_hold_text(entry: zipfile.ZipInfo) -> bool:
    """Return False for a directory, a link, or a resource fork that macOS adds for each file."""
    folders, _, name = entry.filename.replace("\\", "/").rpartition("/")
    return (
        bool(name)
        and not name.startswith("._")
        and "__MACOSX" not in folders.split("/")
        and not stat.S_ISLNK(entry.external_attr >> 16)
    )


def _is_binary(head: bytes) -> bool:
    """Return whether the bytes are an archive, or have control bytes that no wide encoding explains."""
    if head.startswith(_ARCHIVE_MARKS):
        return True
    return _wide_encoding(head) is None and any(byte in head[:_GLANCE_BYTES] for byte in _CONTROL_BYTES)


def as_utf8(text: bytes) -> bytes:
    """Return UTF-8 without BOM and NUL, from UTF-8, UTF-16, or cp1252 if all of it is valid."""
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
    """Yield the text decoded in steps: a whole chat with one emoji would take four bytes for each character."""
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    view = memoryview(text)
    for start in range(0, len(text), _STEP_BYTES):
        yield decoder.decode(view[start : start + _STEP_BYTES])
    yield decoder.decode(b"", final=True)
