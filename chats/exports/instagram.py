"""Instagram's `message_1.json`, `message_2.json`, …: the pages of one chat, newest message first.

From Meta's "Download your information" in JSON. Its texts are UTF-8 read as
Latin-1 before they were written (`Ã©` for é), string by string. Instants are
UTC milliseconds; nothing says which zone the people were in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
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
from chats.exports.json_stream import JsonCursor, MalformedJson, Window, decoded
from chats.exports.parsed import SYSTEM_SENDER, Clock, MessageKind, ParsedExport, Platform
from chats.exports.platforms import ChatInUpload, JsonFormat
from chats.exports.unpacking import Document, together

UNNAMED = "Instagram user"

_PAGE_NUMBER = re.compile(r"(\d{1,9})\.json$", re.IGNORECASE)

#: Instagram's own lines are not longer.
_OWN_LIMIT = 300
_MEDIA = {
    "photos": ("Photo", "photos"),
    "videos": ("Video", "videos"),
    "audio_files": ("Voice message", "voice messages"),
    "gifs": ("GIF", "GIFs"),
    "files": ("File", "files"),
}
#: Members that add to the text of a message.
_BESIDE_TEXT = frozenset({*_MEDIA, "sticker", "share"})
#: Placeholders after the actor's name. `_STANDS_FOR_BESIDE` applies only if something was shared.
_STANDS_FOR = frozenset(
    {" sent an attachment", " envió un archivo adjunto", " a envoyé une pièce jointe", " enviou um anexo"}
    | {" ha inviato un allegato", " hat einen Anhang gesendet", " heeft een bijlage verzonden", " bir ek gönderdi"}
    | {" mengirim lampiran"}
)
#: The same placeholders in the second person.
_OWN_STANDS_FOR = frozenset(
    {"Enviaste un archivo adjunto", "Has enviado un archivo adjunto", "Vous avez envoyé une pièce jointe"}
    | {"Você enviou um anexo", "Hai inviato un allegato", "Du hast einen Anhang gesendet", "Bir ek gönderdin"}
    | {"Je hebt een bijlage verzonden", "Anda mengirim lampiran"}
)
_STANDS_FOR_BESIDE = _STANDS_FOR | {" shared a story", " shared a post", " shared a reel"}
#: Notices about reactions, each a message of its own. An emoji contains no letter.
_SIGN = r"[\W\d_]{1,40}"
_TAP = re.compile(
    rf"(?:Liked a message|Reacted {_SIGN} to (?:your|a|their|his|her) message"
    rf"|Le gustó un mensaje|Reaccionó (?:con )?{_SIGN} a (?:tu|un|su) mensaje"
    rf"|A aimé un message|A réagi (?:avec )?{_SIGN} à (?:votre|ton|un|son) message"
    rf"|Curtiu uma mensagem|Reagiu (?:com )?{_SIGN} (?:à sua|a uma) mensagem"
    rf"|Ha messo [\"“«]Mi piace[\"”»] a un messaggio|Ha aggiunto la reazione {_SIGN} (?:al tuo|a un|al suo) messaggio"
    rf"|Gefällt eine Nachricht|Hat (?:mit )?{_SIGN} auf (?:deine|eine|seine|ihre) Nachricht reagiert"
    r"|Bir mesajı beğendi) ?"
)
_TAP_ENDS = ("message", "mensaje", "mensagem", "messaggio", "Nachricht", "reagiert", "beğendi")
_CALL_ENDS = re.compile(r"(?:Audio call|Video call|(?:The v|V)ideo chat) ended\.?")
#: Notices that follow the actor's name. People write such sentences about others, and use "I" for themselves.
_CALL_MISSED = re.compile(r" missed (?:an audio|a video|a|an|your)(?: audio| video)?(?: call| chat)\.?")
_EVENT = re.compile(
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
    def json_format(self) -> JsonFormat:
        """Return how a page is recognised."""
        return JsonFormat(is_message, frozenset({"participants", "messages"}))

    def find_chats(self, documents: list[Document], *, date_order: str | None) -> list[ChatInUpload]:
        """Return one chat for each folder: its documents are the pages of the chat."""
        pages: dict[str, list[Document]] = {}
        for document in documents:
            pages.setdefault(document.folder, []).append(document)
        return [self._chat(sorted(group, key=_page_number)) for group in pages.values()]

    def _chat(self, pages: list[Document]) -> ChatInUpload:
        def describe() -> tuple[str, int]:
            try:
                described = [about(page.text()) for page in pages]
            except MalformedJson:
                return UNNAMED, 0
            return described[0][0], sum(count for _, count in described)

        return ChatInUpload(describe, lambda: parse(together(pages)))


PARSER = InstagramParser()


def _page_number(page: Document) -> int:
    number = _PAGE_NUMBER.search(page.name)
    return int(number[1]) if number else 0


def is_message(row: object) -> bool:
    """Return whether a decoded value has the members of an Instagram message."""
    return isinstance(row, dict) and "sender_name" in row and "timestamp_ms" in row


def about(page: bytes) -> tuple[str, int]:
    """Return a page's title and its number of messages by people. Raise MalformedJson."""
    title, count = "", 0
    cursor = JsonCursor(page)
    for key in cursor.members():
        if key == "title":
            title = repaired(text_of(cursor.value()))
        elif key == "messages" and cursor.begins(b"["):
            count = sum(_is_from_somebody(row) for window in cursor.windows() for row in window.rows)
    return clean_title(title) or UNNAMED, count


def _is_from_somebody(row: object) -> bool:
    if not isinstance(row, dict) or _seconds(row) is None:
        return False
    return _content(row, _name(row))[0] is not MessageKind.SYSTEM


def parse(pages: list[bytes]) -> ParsedExport:
    """Parse the pages of one chat, newest first. Raise OnlySystemMessages or DamagedExport while batches are read."""
    export = ParsedExport(
        platform=PARSER.platform,
        dialect="instagram-json",
        date_order="ymd",
        ambiguous_dates=False,
        batches=iter(()),
        participants=[],
        title=_group_title(min(pages, key=len)),
        clock=PARSER.clock,
    )
    export.batches = batches_of(export, _rows(pages, People(export.participants)))
    return export


def _group_title(page: bytes) -> str:
    """Return the title, which every page has; empty for two people, because it is then the other person's name."""
    title, people = "", 0
    cursor = JsonCursor(page)
    try:
        for key in cursor.members():
            if key == "title":
                title = repaired(text_of(cursor.value()))
            elif key == "participants" and cursor.begins(b"["):
                people = len(cursor.value())
    except MalformedJson:
        return ""
    return clean_title(title) if people > 2 else ""


def _rows(pages: list[bytes], people: People) -> Iterator[Row]:
    for page in reversed(pages):
        for message in _oldest_first(page):
            if isinstance(message, dict):
                row = _row(message, people)
                if row is not None:
                    yield row


def _oldest_first(page: bytes) -> Iterator[Any]:
    """Yield the messages of a page from old to new, reversed unless their times already ascend."""
    for cursor in _messages(page):
        ends: list[tuple[int, int]] = []
        first: int | None = None
        last = 0
        for window in cursor.windows():
            ends.append((window.start, window.end))
            for seconds in _instants(window):
                first, last = seconds if first is None else first, seconds
        forward = first is not None and first < last
        for start, end in ends if forward else reversed(ends):
            rows = decoded(b"[" + page[start:end] + b"]")
            yield from rows if forward else reversed(rows)


def _messages(page: bytes) -> Iterator[JsonCursor]:
    cursor = JsonCursor(page)
    for key in cursor.members():
        if key == "messages" and cursor.begins(b"["):
            yield cursor
            return


def _instants(window: Window) -> Iterable[int]:
    """Return the seconds of the first and the last message of the window."""
    ends = (window.rows[0], window.rows[-1]) if window.rows else ()
    return [seconds for row in ends if isinstance(row, dict) and (seconds := _seconds(row)) is not None]


def _seconds(message: dict[str, Any]) -> int | None:
    milliseconds = whole_number(message.get("timestamp_ms"))
    if milliseconds is None:
        return None
    seconds = milliseconds // 1000
    return seconds if is_possible(seconds) else None


def _row(message: dict[str, Any], people: People) -> Row | None:
    seconds = _seconds(message)
    if seconds is None:
        return None
    name = _name(message)
    kind, text = _content(message, name)
    sender = SYSTEM_SENDER if kind is MessageKind.SYSTEM else people.number(name)
    return seconds, sender, int(kind), text, False


def _name(message: dict[str, Any]) -> str:
    return repaired(text_of(message.get("sender_name"))).strip() or UNNAMED


def _content(message: dict[str, Any], name: str) -> tuple[MessageKind, str]:
    said = repaired(text_of(message.get("content")))
    if message.get("is_unsent") is True:
        return MessageKind.DELETED, "This message was unsent"
    kind = _own_words(said, name) if said and len(said) <= _OWN_LIMIT else None
    if "call_duration" in message and kind is not MessageKind.SYSTEM:
        return MessageKind.CALL, call(said.rstrip(".") or "Call", message["call_duration"])
    if kind is not None:
        return kind, said
    is_text = _BESIDE_TEXT.isdisjoint(message)
    words = "" if _stands_for(said, name, _STANDS_FOR if is_text else _STANDS_FOR_BESIDE) else said
    if words and is_text:
        return MessageKind.TEXT, words
    for field, (one, many) in _MEDIA.items():
        files = message.get(field)
        if isinstance(files, list) and files:
            return media(one if len(files) == 1 else f"{len(files)} {many}", words)
    if "sticker" in message:
        return media("Sticker", words)
    share = message.get("share")
    link = repaired(text_of(share.get("link"))) if isinstance(share, dict) else ""
    if words or link:
        return MessageKind.TEXT, lines(words, link if link not in words else "")
    return media("Attachment" if said else "Message without text")


def _own_words(said: str, name: str) -> MessageKind | None:
    """Return the kind of a line that Instagram wrote itself; None if the person wrote it."""
    if said.removesuffix(" ").endswith(_TAP_ENDS) and _TAP.fullmatch(said):
        return MessageKind.SYSTEM
    if said.endswith(("ended", "ended.")) and _CALL_ENDS.fullmatch(said):
        return MessageKind.CALL
    for actor in (name, "You"):
        if said.startswith(actor):
            if _CALL_MISSED.fullmatch(said, len(actor)):
                return MessageKind.CALL
            if _EVENT.fullmatch(said, len(actor)):
                # A call counts once, where it ends or is missed, so its start is a system line.
                return MessageKind.SYSTEM
    return None


def _stands_for(said: str, name: str, sentences: frozenset[str]) -> bool:
    """Return whether the text is Instagram's notice that the sender sent or shared something."""
    if said.removesuffix(".") in _OWN_STANDS_FOR:
        return True
    actors = (actor for actor in (name, "You") if said.startswith(actor))
    return any(said[len(actor) :].removesuffix(".") in sentences for actor in actors)


def repaired(text: str) -> str:
    """Return UTF-8 that was decoded as Latin-1 correctly decoded; other text unchanged."""
    if text.isascii():
        return text
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text
