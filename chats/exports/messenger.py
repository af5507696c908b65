"""Messenger's two exports: the pages of "Download your information", and the files of end-to-end encrypted chats.

The pages are those of `chats.exports.meta`. "Download secure storage data" writes the encrypted chats: one file for
each chat (`NAME_12.json`), in UTF-8 without the mistake of the pages, beside a folder with media. `participants` are
names, `threadName` ends with the number of the file, and `type` is text, link, media or placeholder.
"""

from __future__ import annotations

import re
from datetime import datetime
from functools import partial
from typing import Any

from chats.exports.batching import media, text_of
from chats.exports.meta import CLOCK, PAGE, SENT, UNAVAILABLE, UNSENT, ChatReader, Content, written
from chats.exports.meta_origin import pages_of
from chats.exports.meta_sentences import Sender, meta_sentences
from chats.exports.parsed import Detail, MediaKind, MessageKind, Platform
from chats.exports.platforms import ChatInUpload, JsonFormat
from chats.exports.unpacking import Document

_UNNAMED = "Facebook user"
_FILE_NUMBER = re.compile(r"_\d{1,9}$")
_EXTENSION = re.compile(r"\.([a-z0-9]{2,5})$", re.IGNORECASE)
_FILES = {
    "Photo": ("photos", MediaKind.PHOTO, "jpg jpeg png webp heic heif bmp"),
    "Video": ("videos", MediaKind.VIDEO, "mp4 mov m4v webm 3gp avi mkv"),
    "Voice message": ("voice messages", MediaKind.VOICE, "mp3 m4a aac ogg opus wav amr oga"),
    "GIF": ("GIFs", MediaKind.GIF, "gif"),
}
_BY_EXTENSION = {
    extension: (one, many, media_kind)
    for one, (many, media_kind, extensions) in _FILES.items()
    for extension in extensions.split()
}
#: Quotation marks inside a text are escaped, so a text cannot look like a member.
_ENCRYPTED_MEMBER = re.compile(rb'"(?:senderName|threadName)"\s*+:')
_DOCUMENT = ("File", "files", MediaKind.DOCUMENT)


def is_encrypted_message(row: object) -> bool:
    """Return whether a decoded value has the members of a message of an encrypted chat."""
    return isinstance(row, dict) and "senderName" in row and "timestamp" in row


ENCRYPTED = JsonFormat(is_encrypted_message, frozenset({"participants", "threadName", "messages"}))


class EncryptedReader(ChatReader):
    """Reads the file of an end-to-end encrypted chat."""

    records = frozenset({Detail.MEDIA_KINDS, Detail.REACTIONS})
    name_key = "senderName"
    time_key = "timestamp"
    title_key = "threadName"

    def text(self, value: object) -> str:
        """Return a string, which is written correctly."""
        return text_of(value)

    def title(self, value: str) -> str:
        """Return the title without the number of the file."""
        return _FILE_NUMBER.sub("", value)

    def content(self, message: dict[str, Any], by: Sender) -> Content:
        """Return what a message is. `by` is its sender."""
        text = text_of(message.get("text"))
        if message.get("isUnsent") is True:
            return Content(MessageKind.DELETED, UNSENT)
        kind, files = message.get("type"), message.get("media")
        has_other_members = bool(files) or kind in ("placeholder", "call")
        field = meta_sentences().field_of(text, by, has_other_members=has_other_members) if text else None
        if field in ("event", "poll", "reaction"):
            return Content(MessageKind.SYSTEM, text)
        # Most messages are only a text of a person.
        if text and field is None and not files and kind == "text" and text[-1] != ")":
            return Content(MessageKind.TEXT, text)
        if field == "call" or kind == "call":
            return Content(MessageKind.CALL, text.rstrip(".") or "Call")
        if isinstance(files, list) and files:
            one, many, media_kind = _file(files[0])
            words = "" if field in SENT else text
            return Content(*media(one if len(files) == 1 else f"{len(files)} {many}", words), media=media_kind)
        if kind == "placeholder" and field not in SENT:
            # Messenger writes a sentence in place of a message that it does not have.
            return Content(MessageKind.DELETED, text or UNAVAILABLE)
        return Content(*media("Attachment")) if kind == "media" and not text else written(text, field)


_PAGES = ChatReader(Platform.MESSENGER, dialect="messenger-json", unnamed=_UNNAMED)
_ENCRYPTED = EncryptedReader(Platform.MESSENGER, dialect="messenger-e2ee-json", unnamed=_UNNAMED)


class MessengerParser:
    """Reads the pages of "Download your information" and the files of encrypted chats."""

    platform = Platform.MESSENGER
    name = "Messenger"
    clock = CLOCK
    has_date_order = False
    reads_pages = False

    @property
    def json_formats(self) -> tuple[JsonFormat, ...]:
        """Return the form that Messenger shares with Instagram, and that of encrypted chats."""
        return (PAGE, ENCRYPTED)

    def find_chats(
        self, documents: list[Document], *, date_order: str | None, now: datetime | None
    ) -> list[ChatInUpload]:
        """Return one chat for each folder with pages of Messenger, and for each file of an encrypted chat."""
        encrypted: list[Document] = []
        pages: list[Document] = []
        for document in documents:
            (encrypted if _ENCRYPTED_MEMBER.search(document.head) else pages).append(document)
        return _PAGES.chats(pages_of(self.platform, pages)) + [
            ChatInUpload(partial(_ENCRYPTED.describe, [document]), partial(_ENCRYPTED.parse, [document]))
            for document in encrypted
        ]


PARSER = MessengerParser()


def _file(file: object) -> tuple[str, str, MediaKind | None]:
    """Return what a file is by its name: one, several, and the kind."""
    uri = text_of(file.get("uri")) if isinstance(file, dict) else ""
    extension = _EXTENSION.search(uri)
    # "Failed to download media" is written in place of the name.
    return _BY_EXTENSION.get(extension[1].lower(), _DOCUMENT) if extension else ("Attachment", "attachments", None)
