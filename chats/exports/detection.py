"""The chats in an upload's texts, whichever platform wrote them, and the one that is wanted."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chats.exports import instagram, telegram, whatsapp
from chats.exports.dialect import detect_dialect
from chats.exports.errors import (
    DamagedExport,
    ExportRefused,
    NoSuchChat,
    NotAChatExport,
    OnlySystemMessages,
    OtherJson,
    SeveralChats,
)
from chats.exports.json_stream import JsonCursor, MalformedJson
from chats.exports.parsed import ParsedExport
from chats.exports.unpacking import Document, rank, together

#: Of those a list shows; whoever has more chats looks for the one by its messages.
LISTED_LIMIT = 1_000
TITLE_LIMIT = 120

_PAGE_NUMBER = re.compile(r"(\d{1,9})\.json$", re.IGNORECASE)
_WHATSAPP_NAME = re.compile(r"whatsapp chat (?:with|-) |\.txt$", re.IGNORECASE)


@dataclass(frozen=True)
class FoundChat:
    """A chat that could be read; `about` gives its title and number of messages, and may take a while."""

    about: Callable[[], tuple[str, int]]
    read: Callable[[], ParsedExport]
    #: the platform's own, if it has one
    id: str = ""


#: Title, messages, chat, id.
_Counted = tuple[str, int, FoundChat, str]


def select_chat(documents: list[Document], *, wanted: str | None, date_order: str | None) -> ParsedExport:
    """The only chat in which somebody wrote, or the wanted one of several. Raises ExportRefused."""
    found = _found(documents, date_order)
    if not found:
        raise OtherJson if any(document.is_json for document in documents) else NotAChatExport
    if len(found) == 1 and wanted is None:
        return found[0].read()
    ids = _ids(found)
    if wanted in ids:
        return found[ids.index(wanted)].read()
    counted = [(*chat.about(), chat, name) for chat, name in zip(found, ids, strict=True)]
    written = [entry for entry in counted if entry[1]] or counted[:1]
    if len(written) == 1 and wanted is None:
        return written[0][2].read()
    listed = _listed(written)
    raise SeveralChats(chats=listed) if wanted is None else NoSuchChat(chats=listed)


def _ids(found: list[FoundChat]) -> list[str]:
    """The platform's own ids where there are such and each is one chat's, else numbers from 1."""
    own = [chat.id for chat in found]
    return own if all(own) and len(set(own)) == len(own) else [str(number + 1) for number in range(len(found))]


def _listed(written: list[_Counted]) -> list[dict[str, Any]]:
    """The busiest first."""
    busiest = sorted(written, key=lambda entry: -entry[1])[:LISTED_LIMIT]
    return [{"id": name, "title": title[:TITLE_LIMIT], "messages": messages} for title, messages, _, name in busiest]


def _found(documents: list[Document], date_order: str | None) -> list[FoundChat]:
    if len(documents) == 1 and not documents[0].is_json:
        return [_whatsapp(documents[0], date_order)]
    chats = [document for document in documents if not document.is_json and detect_dialect(document.head)]
    best = min(map(rank, chats), default=0)
    found = [_whatsapp(document, date_order) for document in chats if rank(document) == best]
    pages: dict[str, list[Document]] = {}
    for document in documents:
        kind = _platform(document) if document.is_json else ""
        if kind == "telegram":
            found += _telegram(document)
        elif kind == "instagram":
            pages.setdefault(document.folder, []).append(document)
    return found + list(map(_instagram, pages.values()))


def _whatsapp(document: Document, date_order: str | None) -> FoundChat:
    def read() -> ParsedExport:
        return whatsapp.parse(document.text(), date_order=date_order)

    def about() -> tuple[str, int]:
        return _whatsapp_title(document), _counted(read)

    return FoundChat(about, read)


def _whatsapp_title(document: Document) -> str:
    """Whom the file is named after, or its folder, since iPhones name every chat's file alike."""
    folder = document.folder.rpartition("/")[2]
    return _WHATSAPP_NAME.sub("", folder if folder and document.name.lower() == "_chat.txt" else document.name)


def _counted(read: Callable[[], ParsedExport]) -> int:
    """Zero for what would be refused."""
    try:
        export = read()
        for _ in export.batches:
            pass
    except ExportRefused:
        return 0
    return export.n_messages


def _platform(document: Document) -> str:
    """Who wrote the JSON: told from its beginning if that says it, else from the whole; empty for other JSON."""
    try:
        return _platform_of(document.head)
    except MalformedJson:
        pass
    try:
        return _platform_of(document.text(), is_whole=True)
    except MalformedJson:
        return ""


def _platform_of(text: bytes, *, is_whole: bool = False) -> str:
    """A whole text that breaks off in its first message is told by what stands before it. Raises MalformedJson."""
    cursor = JsonCursor(text)
    seen: set[str] = set()
    for key in cursor.members():
        seen.add(key)
        if key == "messages" and cursor.begins(b"["):
            try:
                for window in cursor.windows():
                    if any(map(telegram.is_message, window.rows)):
                        return "telegram"
                    if any(map(instagram.is_message, window.rows)):
                        return "instagram"
            except MalformedJson:
                if not is_whole:
                    raise
                break
        elif key in telegram.LISTS and cursor.begins(b"{"):
            return "telegram"
    return "instagram" if seen >= {"participants", "messages"} else "telegram" if seen >= {"type", "messages"} else ""


def _telegram(document: Document) -> list[FoundChat]:
    text = document.text()
    try:
        single = telegram.single(text)
        places = [single] if single else telegram.places(text)
    except MalformedJson as error:
        raise DamagedExport from error
    if not places:
        raise OnlySystemMessages
    return [_telegram_chat(document, place) for place in places]


def _telegram_chat(document: Document, place: telegram.Place) -> FoundChat:
    """Reads the text anew, since a list of many chats must not hold many texts."""

    def read() -> ParsedExport:
        return telegram.parse(document.text(), at=place.at, title=place.group_title)

    def about() -> tuple[str, int]:
        return place.title, _counted(read) if place.messages is None else place.messages

    return FoundChat(about, read, place.id)


def _instagram(pages: list[Document]) -> FoundChat:
    ordered = sorted(pages, key=_page_number)

    def about() -> tuple[str, int]:
        try:
            of_pages = [instagram.about(page.text()) for page in ordered]
        except MalformedJson:
            return instagram.UNNAMED, 0
        return of_pages[0][0], sum(count for _, count in of_pages)

    return FoundChat(about, lambda: instagram.parse(together(ordered)))


def _page_number(page: Document) -> int:
    number = _PAGE_NUMBER.search(page.name)
    return int(number[1]) if number else 0
