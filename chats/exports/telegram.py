"""Telegram's `result.json`: one chat, or an account with its list of chats.

Telegram Desktop writes it if the format is "Machine-readable JSON". `text` is a string, or a list of strings and
entities. `from` is null for a deleted account. Exports before 2021 lack `date_unixtime` and `text_entities`, and their
ids are numbers. `date` is the wall clock of the computer that made the export. Not all of what it writes is JSON: a
damaged text is read message by message, and its chats are found by the members before their messages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any

from chats.exports.batching import People, Row, batches_of, clean_title, text_of
from chats.exports.damaged_json import DamagedArray, repair
from chats.exports.errors import DamagedExport, OnlySystemMessages
from chats.exports.json_stream import ENTRIES_LIMIT, STRING, JsonCursor, MalformedJson, decode
from chats.exports.parsed import Clock, Detail, ParsedExport, Platform
from chats.exports.platforms import ChatInUpload, JsonFormat, count_messages
from chats.exports.telegram_html import UNKNOWN, PageReader, chat_title, page_number
from chats.exports.telegram_messages import DELETED_ACCOUNT, MessageReader, is_by_person
from chats.exports.unpacking import Document

#: Members of a chat that are small, and come before its messages.
_HEADER_KEYS = ("name", "type", "id")
#: Members of an account: its chats, and the chats that it has left.
LISTS = ("chats", "left_chats")
_FIRST_KEY = b'"id"'
#: Where messages begin, and the members before them in a damaged text. No text of a message contains these: quotation
#: marks inside of it are escaped.
_MESSAGES = re.compile(rb'(?<!\\)"messages"\s*+:\s*+(?=\[)')
_HEADER_MEMBERS = {
    "name": re.compile(rb'"name"\s*+:\s*+(' + STRING + rb"|null)\s*+,"),
    "type": re.compile(rb'"type"\s*+:\s*+("[a-z_]{1,40}")\s*+,'),
    "id": re.compile(rb'"id"\s*+:\s*+(-?\d{1,20})\s*+,'),
}
_HEADER_BYTES = 4 * 1024
# Only these and deleted accounts have no name.
_UNNAMED = {"saved_messages": "Saved messages"}
#: How the types of groups end: `private_supergroup`, `public_channel`, …
_GROUP_TYPES = ("group", "channel")


@dataclass(frozen=True)
class TelegramChat:
    """A chat in a document.

    `position` is where its array of messages begins in the text. `end` is before the array of the next chat, or None if
    the text is not damaged. `messages` is the number of messages by people, or None if they are not counted. `name` and
    `account` are those of the chat as a sender.
    """

    position: int
    id: str
    title: str
    is_group: bool = False
    messages: int | None = None
    end: int | None = None
    name: str = ""
    account: str = ""

    @classmethod
    def from_header(
        cls, header: dict[str, Any], position: int, *, messages: int | None = None, end: int | None = None
    ) -> TelegramChat:
        """Return the chat whose members before the messages are `header`."""
        kind, number = text_of(header.get("type")), header.get("id")
        name = clean_title(text_of(header.get("name")))
        return cls(
            position,
            id=str(number) if isinstance(number, int) else "",
            title=name or _UNNAMED.get(kind, DELETED_ACCOUNT),
            is_group=bool(name) and kind.endswith(_GROUP_TYPES),
            messages=messages,
            end=end,
            name=name or _UNNAMED.get(kind, UNKNOWN),
            account=f"{'channel' if kind.endswith(_GROUP_TYPES) else 'user'}{number}",
        )

    def describe(self, document: Document) -> tuple[str, int]:
        """Return the title and the number of messages by people; the document is read if they are not counted."""
        if self.messages is not None:
            return self.title, self.messages
        try:
            # Without parsing: that takes three times as long.
            return self.title, _count_by_people(JsonCursor(document.text(), self.position))
        except MalformedJson:
            return self.title, count_messages(partial(parse, document, self))


class TelegramParser:
    """Reads what Telegram Desktop writes: JSON of one chat or of an account, and web pages of chats."""

    platform = Platform.TELEGRAM
    name = "Telegram"
    clock: Clock = "local"
    has_date_order = False
    reads_pages = True

    @property
    def json_formats(self) -> tuple[JsonFormat, ...]:
        """Return how a chat or an account is recognised."""
        return (_JSON_FORMAT,)

    def find_chats(
        self, documents: list[Document], *, date_order: str | None, now: datetime | None
    ) -> list[ChatInUpload]:
        """Return the chats of each document. Raise DamagedExport, and OnlySystemMessages if a list has no chats."""
        chats: list[ChatInUpload] = []
        folders: dict[str, list[Document]] = {}
        json_folders = [document.folder for document in documents if document.is_json]
        for document in documents:
            if document.is_page:
                # Telegram Desktop can write both formats. Then the JSON is beside the pages or above them.
                if not any(_contains(folder, document.folder) for folder in json_folders):
                    folders.setdefault(document.folder, []).append(document)
                continue
            text = document.text()
            try:
                single_chat = find_single_chat(text)
                found = [single_chat] if single_chat else find_listed_chats(text)
            except MalformedJson as error:
                found = find_chats_of_damaged_text(text)
                if not found:
                    raise DamagedExport from error
            if not found:
                raise OnlySystemMessages
            # Each chat keeps the document, not its text: a list of many chats must not keep many texts in memory.
            chats += [
                ChatInUpload(partial(chat.describe, document), partial(parse, document, chat), chat.id)
                for chat in found
            ]
        for pages in folders.values():
            # An archive lists its files in any order, and sorts messages10.html before messages2.html.
            pages.sort(key=page_number)
            chats.append(ChatInUpload(partial(describe_pages, pages), partial(parse_pages, pages)))
        return chats


PARSER = TelegramParser()


def _contains(folder: str, inner: str) -> bool:
    return not folder or inner == folder or inner.startswith(f"{folder}/")


def is_message(row: object) -> bool:
    """Return whether a decoded value has the members of a Telegram message."""
    return isinstance(row, dict) and "id" in row and (isinstance(row.get("date"), str) or "date_unixtime" in row)


#: A message or the members identify it. In a damaged text, the members directly before the messages do.
_JSON_FORMAT = JsonFormat(
    is_message,
    frozenset({"type", "messages"}),
    frozenset(LISTS),
    re.compile(rb'"type"\s*+:\s*+"[a-z_]{1,40}"\s*+,\s*+"id"\s*+:\s*+-?\d{1,20}\s*+,\s*+"messages"\s*+:\s*+\['),
)


def find_single_chat(text: bytes) -> TelegramChat | None:
    """Return the chat if the text contains one, None for an account. Raise MalformedJson."""
    cursor = JsonCursor(text)
    header: dict[str, Any] = {}
    for key in cursor.members():
        if key == "messages" and cursor.starts_with(b"["):
            return TelegramChat.from_header(header, cursor.position)
        if key in LISTS:
            return None
        if key in _HEADER_KEYS:
            header[key] = cursor.value()
    return None


def find_listed_chats(text: bytes) -> list[TelegramChat]:
    """Return the chats of an account that contain messages by people. Raise MalformedJson."""
    found: list[TelegramChat] = []
    cursor = JsonCursor(text)
    for key in cursor.members():
        if key in LISTS and cursor.starts_with(b"{"):
            for inner in cursor.members():
                if inner == "list" and cursor.starts_with(b"["):
                    for _ in cursor.elements():
                        if cursor.starts_with(b"{"):
                            found.append(_read_listed_chat(cursor))
    return [chat for chat in found if chat.messages]


def find_chats_of_damaged_text(text: bytes) -> list[TelegramChat]:
    """Return the chats with their number of readable messages by people; if there is one, it is not counted."""
    arrays = [array.span() for array in islice(_MESSAGES.finditer(text), ENTRIES_LIMIT)]
    headers: list[tuple[dict[str, Any], int]] = []
    after = 0
    for start, position in arrays:
        before = text[max(after, start - _HEADER_BYTES) : start]
        header: dict[str, Any] = {}
        header_bytes = 0
        for key, pattern in _HEADER_MEMBERS.items():
            if found := list(pattern.finditer(before))[-1:]:
                header[key] = _decode_repaired(found[0][1])
                header_bytes = max(header_bytes, len(before) - found[0].start())
        headers.append((header, start - header_bytes))
        after = position
    ends = [beginning for _, beginning in headers[1:]] + [len(text)]
    found_chats: list[TelegramChat] = []
    repairs = 0
    for (header, _), (_, position), end in zip(headers, arrays, ends, strict=True):
        count = None
        if len(arrays) > 1:
            count = 0
            messages = DamagedArray(text, position, end, _FIRST_KEY, repairs=repairs)
            try:
                for window in messages.windows():
                    count += sum(is_message(row) and is_by_person(row) for row in window.rows)
            except MalformedJson:
                continue
            finally:
                repairs = messages.repairs
        found_chats.append(TelegramChat.from_header(header, position, messages=count, end=end))
    return [chat for chat in found_chats if chat.messages != 0]


def _decode_repaired(piece: bytes) -> Any:
    try:
        return decode(repair(piece)[0])
    except MalformedJson:
        return None


def _read_listed_chat(cursor: JsonCursor) -> TelegramChat:
    position = count = 0
    header: dict[str, Any] = {}
    for key in cursor.members():
        if key == "messages" and cursor.starts_with(b"["):
            position = cursor.position
            count = _count_by_people(cursor)
        elif key in _HEADER_KEYS:
            header[key] = cursor.value()
    return TelegramChat.from_header(header, position, messages=count)


def _count_by_people(cursor: JsonCursor) -> int:
    """Return the number of messages by people in the array at the cursor. Raise MalformedJson."""
    return sum(is_message(row) and is_by_person(row) for window in cursor.windows() for row in window.rows)


def describe_pages(pages: list[Document]) -> tuple[str, int]:
    """Return the title of a chat in web pages, and its number of messages by people."""
    return chat_title(pages[0].head) or DELETED_ACCOUNT, count_messages(partial(parse_pages, pages))


def parse_pages(pages: list[Document]) -> ParsedExport:
    """Parse the pages of one chat, in order. Raise ExportRefused, also while batches are read."""
    export = _new_export("telegram-html")
    reader = PageReader(export, chat_name=chat_title(pages[0].head) or UNKNOWN)
    export.batches = batches_of(export, reader.rows(pages))
    return export


def parse(document: Document, chat: TelegramChat) -> ParsedExport:
    """Parse a chat of the document. Raise ExportRefused, also while batches are read."""
    # A chat of two people is named after the other person, so its name is not a title.
    export = _new_export("telegram-json", title=chat.title if chat.is_group else "")
    text = document.text()
    messages = DamagedArray(text, chat.position, len(text) if chat.end is None else chat.end, _FIRST_KEY)
    reader = MessageReader(People(export.participants), chat_name=chat.name, chat_account=chat.account)
    export.batches = batches_of(export, _rows(messages, reader, export))
    return export


def _new_export(dialect: str, *, title: str = "") -> ParsedExport:
    return ParsedExport(
        platform=PARSER.platform,
        dialect=dialect,
        date_order="ymd",
        ambiguous_dates=False,
        batches=iter(()),
        participants=[],
        title=title,
        clock=PARSER.clock,
        records=frozenset(Detail),
    )


def _rows(messages: DamagedArray, reader: MessageReader, export: ParsedExport) -> Iterator[Row]:
    for window in messages.windows():
        yield from reader.rows(window.rows)
    export.n_unreadable = messages.unreadable + reader.unreadable
