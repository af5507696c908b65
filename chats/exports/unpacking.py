"""Extract the texts of an upload: size limits, archives, encodings.

The content of a file decides what it is, never its name or declared type. Nothing is written to disk, and nested
archives stay closed. The bytes of an archive are counted while they are inflated, because its directory can state wrong
sizes.
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
from functools import partial
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
#: An upload may unpack this many times the limit of one text: its chats are detected, listed and read in turn.
WORK_LIMIT_TEXTS = 4
SHAPE_LIMIT = 60

_HEAD_BYTES = 256 * 1024
_STEP_BYTES = 256 * 1024
#: Enough to distinguish a picture from a text.
_GLANCE_BYTES = 4 * 1024
_ARCHIVE_MARKS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_DIRECTORY_MARK = b"PK\x01\x02"
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# Except tab, line ends, NUL, Escape, and Ctrl-Z, with which old editors end a text.
_CONTROL_BYTES = bytes(code for code in range(32) if code not in b"\t\n\r\x1a\x1b\0")

_WEB_PAGE = re.compile(rb"\s*(?:<\?xml[^>]{0,200}>\s*)?<(?:!doctype html|html)\b", re.IGNORECASE)
#: What Telegram's page of a chat contains before its messages. Its other pages are lists.
_CHAT_PAGE = re.compile(rb'<div class="page_body chat_page">')
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
    #: Return the whole text in UTF-8 without BOM and NUL. Raise ExportRefused.
    text: Callable[[], bytes]
    folder: str = ""
    name: str = ""

    @property
    def is_json(self) -> bool:
        """Return whether the text begins like a JSON object."""
        return self.head.lstrip()[:1] == b"{"

    @property
    def is_page(self) -> bool:
        """Return whether the text is a web page of a chat, as Telegram writes it."""
        return _is_chat_page(self.head[:_GLANCE_BYTES])

    @property
    def is_likely_a_chat(self) -> bool:
        """Return whether the text is JSON, a page of a chat, or a line of its head begins like a message."""
        return self.is_json or self.is_page or bool(detect_dialect(self.head))


def unpack(upload: bytes, *, limit_bytes: int = UPLOAD_LIMIT_BYTES) -> list[Document]:
    """Return the texts of an archive in its order, or the upload itself; at least one. Raise ExportRefused."""
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


def max_unpacked_bytes(upload: bytes) -> int:
    """Return the largest size that a text of the upload can have once it is unpacked."""
    if upload.startswith(_ARCHIVE_MARKS):
        return max(RATIO_COUNTS_FROM_BYTES, RATIO_LIMIT * len(upload))
    return len(upload)


def read_pages(pages: list[Document]) -> list[bytes]:
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
    """Return the first line that is like a header, with digits as 9 and letters as a; empty if there is none.

    It has at most SHAPE_LIMIT characters, and no word of the chat.
    """
    text = text_or_upload
    if text.startswith(_ARCHIVE_MARKS):
        try:
            text = min(_Archive(text).documents(), key=rank).head
        except ExportRefused:
            return ""
    lines = as_utf8(text[:_HEAD_BYTES]).decode("utf-8", "replace").splitlines()
    # A date and a time have at least four digits, and an era or a marker before them is short.
    dated = (line for line in lines if sum(map(str.isdigit, line[:24])) >= 4 and any(map(str.isdigit, line[:6])))
    shape = ""
    for char in next(dated, "")[:SHAPE_LIMIT]:
        category = unicodedata.category(char)
        if category[0] in "LM":
            shape += "a"
        elif category[0] == "N":
            shape += "9"
        elif category == "Zs":
            shape += " "
        else:
            shape += char if char.isascii() and char.isprintable() else "?"
    return shape


def rank(document: Document) -> int:
    """Return 0 for `_chat.txt`, 1 for `WhatsApp Chat with ….txt`, 2 for any other name."""
    name = document.name.lower()
    return 0 if name == "_chat.txt" else 1 if name.startswith("whatsapp chat with ") else 2


def _refuse_by_content(head: bytes) -> None:
    """Raise Backup or WebPage for files that people often upload instead of an export."""
    if head.startswith(_DATABASE) or (_is_binary(head) and _BACKUP.search(head[:512])):
        raise Backup
    if _WEB_PAGE.match(head.removeprefix(codecs.BOM_UTF8)) and not _is_chat_page(head):
        raise WebPage


def _is_chat_page(head: bytes) -> bool:
    return bool(_WEB_PAGE.match(head.removeprefix(codecs.BOM_UTF8)) and _CHAT_PAGE.search(head))


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
    """Raise DamagedArchive for everything that zipfile and zlib raise on a hostile archive."""
    # Neither module documents its errors. This list is the result of fuzzing.
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, LookupError) as error:
        raise DamagedArchive from error
    except (NotImplementedError, RuntimeError, OverflowError) as error:
        raise DamagedArchive from error


class _Archive:
    """A zip file in memory, whose reads share one budget."""

    def __init__(self, upload: bytes) -> None:
        # zipfile reads the whole directory when it opens an archive, so its entries are counted before.
        if upload.count(_DIRECTORY_MARK) > ENTRIES_LIMIT:
            raise UnpackedTooLarge(entries_limit=ENTRIES_LIMIT)
        self.budget = Budget(len(upload))
        with _archive_errors_translated():
            self.zip = zipfile.ZipFile(BytesIO(upload))

    def documents(self) -> list[Document]:
        """Return the texts. Raise PasswordProtected, WebPage, Backup, EmptyExport or NoChatText if there are none.

        Damaged entries are skipped. Raise DamagedArchive if one of them may be the chat.
        """
        texts: list[Document] = []
        damaged: list[Document] = []
        is_locked = False
        refusal: ExportRefused | None = None
        for entry in self.zip.infolist():
            # Some programs on Windows write backslashes, although APPNOTE.TXT 4.4.17.1 demands slashes.
            folder, _, name = entry.filename.replace("\\", "/").rpartition("/")
            # macOS adds a resource fork to each file. A directory has no name, and a link has a path as its content.
            is_fork = name.startswith("._") or "__MACOSX" in folder.split("/")
            if not name or is_fork or stat.S_ISLNK(entry.external_attr >> 16):
                continue
            if entry.flag_bits & 1:
                is_locked = True
                continue
            document = Document(b"", partial(self.text, entry), folder, name)
            try:
                with _archive_errors_translated():
                    head = self.head(entry)
            except DamagedArchive:
                damaged.append(document)
            except (WebPage, Backup, EmptyExport) as other:
                refusal = refusal or other
            else:
                texts += [replace(document, head=head)] if head else []
        if damaged and _may_include_chat(damaged, texts):
            raise DamagedArchive
        if texts:
            return texts
        raise PasswordProtected if is_locked else refusal or NoChatText

    def head(self, entry: zipfile.ZipInfo) -> bytes:
        """Return the first bytes of a text in UTF-8, enough to recognise a chat, without unpacking the whole entry.

        The result is empty for a file that is neither named like a text nor begins like a chat. Raise EmptyExport,
        WebPage, Backup or DamagedArchive.
        """
        named_text = entry.filename.lower().endswith((".txt", ".json"))
        if entry.compress_type not in _METHODS and not named_text:
            return b""
        head = b""
        for part in self._inflated(entry, _GLANCE_BYTES):
            head += part
            # A long chat has more than a thousand pages, and the beginning of each identifies it.
            if len(head) >= _HEAD_BYTES or (not named_text and _is_binary(head)) or _is_chat_page(head):
                break
        _refuse_by_content(head[:_GLANCE_BYTES])
        if named_text and not head.strip(b"\0 \r\n\t\xef\xbb\xbf\xff\xfe"):
            raise EmptyExport
        if named_text:
            return as_utf8(head)
        head = b"" if _is_binary(head) else as_utf8(head)
        return head if Document(head, bytes).is_likely_a_chat else b""

    def text(self, entry: zipfile.ZipInfo) -> bytes:
        """Return the whole text in UTF-8. Raise UnpackedTooLarge or DamagedArchive."""
        # The heads of all entries together count as one text, and each text that is read as another.
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


def _may_include_chat(damaged: list[Document], texts: list[Document]) -> bool:
    """Return whether the chat, or a page of it, may be among the damaged entries."""
    chats = [document for document in texts if document.is_likely_a_chat]
    folders = {chat.folder for chat in chats if chat.is_json or chat.is_page}
    return not chats or any(
        rank(document) < min(map(rank, chats))
        or (document.folder in folders and document.name.lower().endswith((".json", ".html")))
        for document in damaged
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
            for _ in _steps(text, "utf-8", "strict"):
                pass
        except UnicodeDecodeError:
            text = _repair(text)
    return text.replace(b"\0", b"") if b"\0" in text else text


def _wide_encoding(text: bytes) -> str | None:
    """Return the name of the UTF-16 encoding of a text, or None. Without a BOM, a third of the bytes must be zero."""
    if text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    head = text[:1024]
    zeros = head.count(0)
    if zeros * 3 < len(head) or len(head) < 8:
        return None
    return "utf-16-le" if head[1::2].count(0) > head[0::2].count(0) else "utf-16-be"


def _repair(text: bytes) -> bytes:
    """Return UTF-8 from cp1252 if most bytes above ASCII are not UTF-8, or else with U+FFFD for each bad byte."""
    sample = text[: 4 * _STEP_BYTES]
    bad = sample.decode("utf-8", "replace").count("\ufffd")
    # A character that takes several bytes in UTF-8 begins with a byte from C2 on.
    good = sum(byte >= 0xC2 for byte in sample) - bad
    if bad > good and not any(byte in sample for byte in _CONTROL_BYTES):
        try:
            return _recoded(text, "cp1252", "strict")
        except UnicodeDecodeError:
            # Five bytes have no character in cp1252, so this is damaged UTF-8.
            pass
    return _recoded(text, "utf-8", "replace")


def _recoded(text: bytes, encoding: str, errors: str) -> bytes:
    return b"".join(part.encode() for part in _steps(text, encoding, errors))


def _steps(text: bytes, encoding: str, errors: str) -> Iterator[str]:
    """Yield the decoded text in steps."""
    # A string with one emoji takes four bytes for each character (PEP 393), so the whole text is never decoded at once.
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    view = memoryview(text)
    for start in range(0, len(text), _STEP_BYTES):
        yield decoder.decode(view[start : start + _STEP_BYTES])
    yield decoder.decode(b"", final=True)
