"""Instagram's `message_1.json`, `message_2.json`, …: the pages of one chat, newest message first.

Meta's "Download your information" writes them if the format is JSON. Texts are UTF-8 that was decoded as Latin-1
(`Ã©` for é), each string separately. Instants are UTC milliseconds, and the export does not name a time zone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

from chats.exports.batching import (
    People,
    Row,
    batches_of,
    call,
    clean_title,
    is_possible,
    lines,
    media,
    text_of,
    whole_number,
)
from chats.exports.json_stream import JsonCursor, MalformedJson, decode
from chats.exports.parsed import SYSTEM_SENDER, Clock, MessageKind, ParsedExport, Platform
from chats.exports.platforms import ChatInUpload, JsonFormat
from chats.exports.unpacking import Document, read_pages

UNNAMED = "Instagram user"

_PAGE_NUMBER = re.compile(r"(\d{1,9})\.json$", re.IGNORECASE)

#: Instagram's own lines are shorter, so longer texts skip the patterns.
_NOTICE_LIMIT_CHARS = 300
_MEDIA = {
    "photos": ("Photo", "photos"),
    "videos": ("Video", "videos"),
    "audio_files": ("Voice message", "voice messages"),
    "gifs": ("GIF", "GIFs"),
    "files": ("File", "files"),
}
#: Members of a message that is more than its text.
_ATTACHMENT_KEYS = frozenset({*_MEDIA, "sticker", "share"})
#: Notices that Instagram writes instead of a text, after the sender's name.
_ATTACHMENT_NOTICES = frozenset(
    {" sent an attachment", " envió un archivo adjunto", " a envoyé une pièce jointe", " enviou um anexo"}
    | {" ha inviato un allegato", " hat einen Anhang gesendet", " heeft een bijlage verzonden", " bir ek gönderdi"}
    | {" mengirim lampiran"}
)
#: The same notices to the sender: whole sentences, because the verb changes with the person.
_OWN_ATTACHMENT_NOTICES = frozenset(
    {"Enviaste un archivo adjunto", "Has enviado un archivo adjunto", "Vous avez envoyé une pièce jointe"}
    | {"Você enviou um anexo", "Hai inviato un allegato", "Du hast einen Anhang gesendet", "Bir ek gönderdin"}
    | {"Je hebt een bijlage verzonden", "Anda mengirim lampiran"}
)
#: People write these about each other too, so they are notices only in a message with an attachment.
_SHARE_NOTICES = _ATTACHMENT_NOTICES | {" shared a story", " shared a post", " shared a reel"}
# An emoji contains no letter. That separates `Reacted ❤ to your message` from `Reacted badly to your message`.
_EMOJI = r"[\W\d_]{1,40}"
#: Notices about reactions. Each is a message of its own, and does not repeat the sender's name.
_REACTION_NOTICE = re.compile(
    rf"(?:Liked a message|Reacted {_EMOJI} to (?:your|a|their|his|her) message"
    rf"|Le gustó un mensaje|Reaccionó (?:con )?{_EMOJI} a (?:tu|un|su) mensaje"
    rf"|A aimé un message|A réagi (?:avec )?{_EMOJI} à (?:votre|ton|un|son) message"
    rf"|Curtiu uma mensagem|Reagiu (?:com )?{_EMOJI} (?:à sua|a uma) mensagem"
    rf"|Ha messo [\"“«]Mi piace[\"”»] a un messaggio|Ha aggiunto la reazione {_EMOJI} (?:al tuo|a un|al suo) messaggio"
    rf"|Gefällt eine Nachricht|Hat (?:mit )?{_EMOJI} auf (?:deine|eine|seine|ihre) Nachricht reagiert"
    r"|Bir mesajı beğendi) ?"
)
# `endswith` rejects ordinary texts in a fraction of the time that the pattern needs.
_REACTION_NOTICE_ENDS = ("message", "mensaje", "mensagem", "messaggio", "Nachricht", "reagiert", "beğendi")
_CALL_ENDED = re.compile(r"(?:Audio call|Video call|(?:The v|V)ideo chat) ended\.?")
#: Notices that follow the sender's name. People write such sentences about others, and use "I" for themselves.
_CALL_MISSED = re.compile(r" missed (?:an audio|a video|a|an|your)(?: audio| video)?(?: call| chat)\.?")
_EVENT_NOTICE = re.compile(
    r" (?:liked a message|started (?:an audio call|a video chat|a call)"
    r"|added .+ to the (?:group|chat)|removed .+ from the (?:group|chat)|left the (?:group|chat)|created the group"
    r"|joined the (?:group|chat|call|video chat)|named the group .+"
    r"|changed the (?:group (?:photo|name)|(?:chat )?theme|chat (?:photo|colou?rs?|name))(?: to .+)?"
    r"|set (?:the|your|their|his|her|a) (?:own )?(?:nickname|quick reaction|emoji).*|pinned a message"
    r"|turned (?:on|off) (?:vanish|disappearing).+|made .+ (?:an admin|a group admin)|removed the nickname.*)\.?",
    re.DOTALL,
)


class InstagramParser:
    """Reads the JSON of "Download your information", one or more pages for each chat."""

    platform = Platform.INSTAGRAM
    name = "Instagram"
    clock: Clock = "utc"
    has_date_order = False

    @property
    def json_formats(self) -> tuple[JsonFormat, ...]:
        """Return how a page is recognised."""
        return (JsonFormat(is_message, frozenset({"participants", "messages"})),)

    def find_chats(self, documents: list[Document], *, date_order: str | None) -> list[ChatInUpload]:
        """Return one chat for each folder: its documents are the pages of the chat."""
        folders: dict[str, list[Document]] = {}
        for document in documents:
            folders.setdefault(document.folder, []).append(document)
        # An archive lists its files in any order, and sorts message_10.json before message_2.json.
        for pages in folders.values():
            pages.sort(key=_page_number)
        return [ChatInUpload(partial(describe, pages), partial(parse, pages)) for pages in folders.values()]


PARSER = InstagramParser()


def _page_number(page: Document) -> int:
    number = _PAGE_NUMBER.search(page.name)
    return int(number[1]) if number else 0


def is_message(row: object) -> bool:
    """Return whether a decoded value has the members of an Instagram message."""
    return isinstance(row, dict) and "sender_name" in row and "timestamp_ms" in row


def describe(pages: list[Document]) -> tuple[str, int]:
    """Return a chat's title and its number of messages by people; 0 if a page is not well-formed."""
    titles: list[str] = []
    count = 0
    try:
        for page in pages:
            title = ""
            cursor = JsonCursor(page.text())
            for key in cursor.members():
                if key == "title":
                    title = repaired(text_of(cursor.value()))
                elif key == "messages" and cursor.starts_with(b"["):
                    for message in (row for window in cursor.windows() for row in window.rows):
                        if isinstance(message, dict) and _seconds(message) is not None:
                            count += _content(message, _name(message))[0] is not MessageKind.SYSTEM
            titles.append(clean_title(title) or UNNAMED)
    except MalformedJson:
        return UNNAMED, 0
    return titles[0], count


def parse(pages: list[Document]) -> ParsedExport:
    """Parse the pages of one chat, newest first. Raise ExportRefused, also while batches are read."""
    texts = read_pages(pages)
    export = ParsedExport(
        platform=PARSER.platform,
        dialect="instagram-json",
        date_order="ymd",
        ambiguous_dates=False,
        batches=iter(()),
        participants=[],
        # Every page has the title. The shortest page is read, because its messages have to be skipped.
        title=_group_title(min(texts, key=len)),
        clock=PARSER.clock,
    )
    export.batches = batches_of(export, _rows(texts, People(export.participants)))
    return export


def _group_title(page: bytes) -> str:
    """Return the title; empty for two people, because it is then the other person's name."""
    title, people = "", 0
    cursor = JsonCursor(page)
    try:
        for key in cursor.members():
            if key == "title":
                title = repaired(text_of(cursor.value()))
            elif key == "participants" and cursor.starts_with(b"["):
                people = len(cursor.value())
    except MalformedJson:
        return ""
    return clean_title(title) if people > 2 else ""


def _rows(pages: list[bytes], people: People) -> Iterator[Row]:
    for page in reversed(pages):
        for message in _oldest_first(page):
            if not isinstance(message, dict) or (seconds := _seconds(message)) is None:
                continue
            name = _name(message)
            kind, text = _content(message, name)
            sender = SYSTEM_SENDER if kind is MessageKind.SYSTEM else people.number(name)
            yield Row(seconds, sender, int(kind), text)


def _oldest_first(page: bytes) -> Iterator[Any]:
    """Yield the messages of a page from old to new, reversed unless their times already ascend.

    The windows are decoded twice: a page can have 200 MB, and decoded messages need several times as much memory.
    """
    cursor = JsonCursor(page)
    for key in cursor.members():
        if key == "messages" and cursor.starts_with(b"["):
            break
    else:
        return
    spans: list[tuple[int, int]] = []
    first: int | None = None
    last = 0
    for window in cursor.windows():
        spans.append((window.start, window.end))
        for row in window.rows[:1] + window.rows[-1:]:
            if isinstance(row, dict) and (seconds := _seconds(row)) is not None:
                first, last = seconds if first is None else first, seconds
    # Equal times mean a page in the usual order, newest first.
    is_ascending = first is not None and first < last
    for start, end in spans if is_ascending else reversed(spans):
        rows = decode(b"[" + page[start:end] + b"]")
        yield from rows if is_ascending else reversed(rows)


def _seconds(message: dict[str, Any]) -> int | None:
    milliseconds = whole_number(message.get("timestamp_ms"))
    if milliseconds is None:
        return None
    seconds = milliseconds // 1000
    return seconds if is_possible(seconds) else None


def _name(message: dict[str, Any]) -> str:
    return repaired(text_of(message.get("sender_name"))).strip() or UNNAMED


def _content(message: dict[str, Any], name: str) -> tuple[MessageKind, str]:
    content = repaired(text_of(message.get("content")))
    if message.get("is_unsent") is True:
        return MessageKind.DELETED, "This message was unsent"
    kind = _notice_kind(content, name) if content and len(content) <= _NOTICE_LIMIT_CHARS else None
    if "call_duration" in message and kind is not MessageKind.SYSTEM:
        return MessageKind.CALL, call(content.rstrip(".") or "Call", message["call_duration"])
    if kind is not None:
        return kind, content
    is_text = _ATTACHMENT_KEYS.isdisjoint(message)
    words = "" if _is_placeholder(content, name, _ATTACHMENT_NOTICES if is_text else _SHARE_NOTICES) else content
    if words and is_text:
        return MessageKind.TEXT, words
    for key, (one, many) in _MEDIA.items():
        files = message.get(key)
        if isinstance(files, list) and files:
            return media(one if len(files) == 1 else f"{len(files)} {many}", words)
    if "sticker" in message:
        return media("Sticker", words)
    share = message.get("share")
    link = repaired(text_of(share.get("link"))) if isinstance(share, dict) else ""
    if words or link:
        return MessageKind.TEXT, lines(words, link if link not in words else "")
    return media("Attachment" if content else "Message without text")


def _notice_kind(content: str, name: str) -> MessageKind | None:
    """Return the kind of a line that Instagram wrote itself; None if the person wrote it."""
    if content.removesuffix(" ").endswith(_REACTION_NOTICE_ENDS) and _REACTION_NOTICE.fullmatch(content):
        return MessageKind.SYSTEM
    if content.endswith(("ended", "ended.")) and _CALL_ENDED.fullmatch(content):
        return MessageKind.CALL
    for sender in (name, "You"):
        if content.startswith(sender):
            if _CALL_MISSED.fullmatch(content, len(sender)):
                return MessageKind.CALL
            if _EVENT_NOTICE.fullmatch(content, len(sender)):
                # A call counts once, where it ends or is missed, so its start is a system line.
                return MessageKind.SYSTEM
    return None


def _is_placeholder(content: str, name: str, notices: frozenset[str]) -> bool:
    """Return whether the text is Instagram's notice that the sender sent or shared something."""
    sentence = content.removesuffix(".")
    if sentence in _OWN_ATTACHMENT_NOTICES:
        return True
    return any(sentence.startswith(sender) and sentence[len(sender) :] in notices for sender in (name, "You"))


def repaired(text: str) -> str:
    """Return text whose UTF-8 was decoded as Latin-1, decoded correctly; other text unchanged."""
    if text.isascii():
        return text
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        # A character above U+00FF, or bytes that are not UTF-8: the exporter wrote this string correctly.
        return text
