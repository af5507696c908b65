"""Which platform wrote each document of an upload, and which of its chats to read."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from chats.exports.errors import NoSuchChat, NotAChatExport, OtherJson, SeveralChats
from chats.exports.json_stream import JsonCursor, MalformedJson
from chats.exports.parsed import ParsedExport
from chats.exports.platforms import ChatInUpload, JsonFormat
from chats.exports.registry import PARSERS
from chats.exports.unpacking import Document

#: Of a longer list, the chats with the most messages are shown.
LISTED_LIMIT = 1_000
TITLE_LIMIT = 120

#: A document with the members of two formats has that with more of them.
_JSON_FORMATS = sorted(
    {json_format for parser in PARSERS for json_format in parser.json_formats}, key=lambda each: -len(each.members)
)


def select_chat(
    documents: list[Document], *, wanted: str | None, date_order: str | None, now: datetime | None
) -> ParsedExport:
    """Return the only chat with messages by people, or the one whose id is `wanted`. Raise ExportRefused."""
    chats = _find_chats(documents, date_order, now)
    if not chats:
        raise OtherJson if any(document.is_json for document in documents) else NotAChatExport
    if len(chats) == 1 and wanted is None:
        return chats[0].read()
    ids = [chat.id for chat in chats]
    # Only Telegram has ids, and two documents can contain one chat: then chats are numbered.
    if not all(ids) or len(set(ids)) < len(ids):
        ids = [str(number) for number in range(1, len(chats) + 1)]
    # A chat without messages is chosen by its id only, so its refusal names the cause.
    if wanted in ids:
        return chats[ids.index(wanted)].read()
    described = [(*chat.describe(), chat, chat_id) for chat, chat_id in zip(chats, ids, strict=True)]
    written = [entry for entry in described if entry[1]] or described[:1]
    if len(written) == 1 and wanted is None:
        return written[0][2].read()
    longest = sorted(written, key=lambda entry: -entry[1])[:LISTED_LIMIT]
    listed: list[dict[str, Any]] = [
        {"id": chat_id, "title": title[:TITLE_LIMIT], "messages": messages} for title, messages, _, chat_id in longest
    ]
    raise SeveralChats(chats=listed) if wanted is None else NoSuchChat(chats=listed)


def _find_chats(documents: list[Document], date_order: str | None, now: datetime | None) -> list[ChatInUpload]:
    """Return the chats of all platforms. Each parser receives the documents of its formats in one call."""
    json_formats = [_recognise_json(document) if document.is_json else None for document in documents]
    # A text that is uploaded by itself is always parsed: the error says why it is not a chat.
    texts = [
        document
        for document in documents
        if not (document.is_json or document.is_page) and (len(documents) == 1 or document.is_likely_a_chat)
    ]
    chats: list[ChatInUpload] = []
    for parser in PARSERS:
        own = texts
        if parser.json_formats:
            own = [
                document
                for document, found in zip(documents, json_formats, strict=True)
                if found in parser.json_formats or (document.is_page and parser.reads_pages)
            ]
        if own:
            chats += parser.find_chats(own, date_order=date_order, now=now)
    return chats


def _recognise_json(document: Document) -> JsonFormat | None:
    """Return the format of a JSON document, or None for other JSON."""
    try:
        # The head usually contains a message. It is cut off, so that it seems malformed if it contains none.
        return _recognise_members(document.head)
    except MalformedJson:
        pass
    text = document.text()
    try:
        return _recognise_members(text, is_whole=True)
    except MalformedJson:
        damaged = (each for each in _JSON_FORMATS if each.beginning and each.beginning.search(text))
        return next(damaged, None)


def _recognise_members(text: bytes, *, is_whole: bool = False) -> JsonFormat | None:
    """Return the format that a message or the members identify.

    Raise MalformedJson, unless a whole text breaks off within its messages: then the members before them decide.
    """
    cursor = JsonCursor(text)
    seen: set[str] = set()
    for key in cursor.members():
        seen.add(key)
        if key == "messages" and cursor.starts_with(b"["):
            try:
                for window in cursor.windows():
                    for json_format in _JSON_FORMATS:
                        if any(map(json_format.is_message, window.rows)):
                            return json_format
            except MalformedJson:
                if not is_whole:
                    raise
                break
        elif cursor.starts_with(b"{"):
            for json_format in _JSON_FORMATS:
                if key in json_format.list_members:
                    return json_format
    return next((json_format for json_format in _JSON_FORMATS if seen >= json_format.members), None)
