"""Telegram's `result.json`: one chat, or an account with its list of chats.

Telegram Desktop writes it if the format is "Machine-readable JSON". `text` is a string, or a list of strings and
entities. `from` is null for a deleted account. Exports before 2021 lack `date_unixtime` and `text_entities`, and their
ids are numbers. `date` is the wall clock of the computer that made the export.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from chats.exports.batching import (
    People,
    Row,
    WallClock,
    batches_of,
    call,
    clean_title,
    is_possible,
    lines,
    media,
    text_of,
    whole_number,
)
from chats.exports.errors import DamagedExport, OnlySystemMessages
from chats.exports.json_stream import JsonCursor, MalformedJson
from chats.exports.parsed import SYSTEM_SENDER, Clock, MessageKind, ParsedExport, Platform
from chats.exports.platforms import ChatInUpload, JsonFormat, count_messages
from chats.exports.unpacking import Document

DELETED_ACCOUNT = "Deleted account"
_FILE_KEYS = frozenset({"file", "photo", "media_type"})
#: Members of a message that is more than its text.
_ATTACHMENT_KEYS = _FILE_KEYS | {"poll", "location_information", "place_name", "contact_information"}
#: Members of a chat that are small, and come before its messages.
_HEADER_KEYS = ("name", "type", "id")
#: Members of an account: its chats, and the chats that it has left.
LISTS = ("chats", "left_chats")

_MEDIA = {
    "voice_message": "Voice message",
    "video_message": "Video message",
    "video_file": "Video",
    "audio_file": "Audio",
    "animation": "GIF",
    "sticker": "Sticker",
}
CALLS = {"phone_call": "Phone call", "group_call": "Group call"}
_UNANSWERED = {"missed": "Missed phone call", "busy": "Declined phone call"}
_ACTIONS = {
    "create_group": "created the group {title}",
    "create_channel": "created the channel {title}",
    "edit_group_title": "named the group {title}",
    "edit_group_photo": "changed the group's photo",
    "delete_group_photo": "removed the group's photo",
    "invite_members": "added {members}",
    "remove_members": "removed {members}",
    "join_group_by_link": "joined the group by a link",
    "join_group_by_request": "joined the group on request",
    "invite_to_group_call": "invited {members} to a call",
    "pin_message": "pinned a message",
    "clear_history": "cleared the history",
    "take_screenshot": "took a screenshot",
    "set_messages_ttl": "changed when messages delete themselves",
    "joined_telegram": "joined Telegram",
}
# Exports before 2021 print the epoch if a message was not edited, in the time zone of the computer.
_EPOCH_DATES = ("1970-01-01", "1969-12-31")
# Only these and deleted accounts have no name.
_UNNAMED = {"saved_messages": "Saved messages"}
#: How the types of groups end: `private_supergroup`, `public_channel`, …
_GROUP_TYPES = ("group", "channel")


@dataclass(frozen=True)
class TelegramChat:
    """A chat in a document.

    `position` is where its array of messages begins in the text. `messages` is the number of messages by people, or
    None if they are not counted.
    """

    position: int
    id: str
    title: str
    is_group: bool = False
    messages: int | None = None

    @classmethod
    def from_header(cls, header: dict[str, Any], position: int, messages: int | None = None) -> TelegramChat:
        """Return the chat whose members before the messages are `header`."""
        kind, number = text_of(header.get("type")), header.get("id")
        name = clean_title(text_of(header.get("name")))
        return cls(
            position,
            id=str(number) if isinstance(number, int) else "",
            title=name or _UNNAMED.get(kind, DELETED_ACCOUNT),
            is_group=bool(name) and kind.endswith(_GROUP_TYPES),
            messages=messages,
        )

    def describe(self, document: Document) -> tuple[str, int]:
        """Return the title and the number of messages by people; the document is read if they are not counted."""
        if self.messages is None:
            return self.title, count_messages(partial(parse, document, self))
        return self.title, self.messages


class TelegramParser:
    """Reads Telegram Desktop's "Machine-readable JSON", of one chat or of an account."""

    platform = Platform.TELEGRAM
    name = "Telegram"
    clock: Clock = "local"
    has_date_order = False

    @property
    def json_formats(self) -> tuple[JsonFormat, ...]:
        """Return how a chat or an account is recognised."""
        return (JsonFormat(is_message, frozenset({"type", "messages"}), frozenset(LISTS)),)

    def find_chats(self, documents: list[Document], *, date_order: str | None) -> list[ChatInUpload]:
        """Return the chats of each document. Raise DamagedExport, and OnlySystemMessages if a list has no chats."""
        chats: list[ChatInUpload] = []
        for document in documents:
            text = document.text()
            try:
                single_chat = find_single_chat(text)
                found = [single_chat] if single_chat else find_listed_chats(text)
            except MalformedJson as error:
                raise DamagedExport from error
            if not found:
                raise OnlySystemMessages
            # Each chat keeps the document, not its text: a list of many chats must not keep many texts in memory.
            chats += [
                ChatInUpload(partial(chat.describe, document), partial(parse, document, chat), chat.id)
                for chat in found
            ]
        return chats


PARSER = TelegramParser()


def is_message(row: object) -> bool:
    """Return whether a decoded value has the members of a Telegram message."""
    return isinstance(row, dict) and "id" in row and (isinstance(row.get("date"), str) or "date_unixtime" in row)


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


def _read_listed_chat(cursor: JsonCursor) -> TelegramChat:
    position = count = 0
    header: dict[str, Any] = {}
    for key in cursor.members():
        if key == "messages" and cursor.starts_with(b"["):
            position = cursor.position
            for window in cursor.windows():
                for row in window.rows:
                    if is_message(row):
                        # A call is a service message, but a person makes it.
                        count += row.get("type") != "service" or text_of(row.get("action")) in CALLS
        elif key in _HEADER_KEYS:
            header[key] = cursor.value()
    return TelegramChat.from_header(header, position, count)


def parse(document: Document, chat: TelegramChat) -> ParsedExport:
    """Parse a chat of the document. Raise ExportRefused, also while batches are read."""
    export = ParsedExport(
        platform=PARSER.platform,
        dialect="telegram-json",
        date_order="ymd",
        ambiguous_dates=False,
        batches=iter(()),
        participants=[],
        # A chat of two people is named after the other person, so its name is not a title.
        title=chat.title if chat.is_group else "",
        clock=PARSER.clock,
    )
    cursor = JsonCursor(document.text(), chat.position)
    export.batches = batches_of(export, _rows(cursor, People(export.participants)))
    return export


def _rows(cursor: JsonCursor, people: People) -> Iterator[Row]:
    clock = _Clock()
    for window in cursor.windows():
        for message in window.rows:
            if not isinstance(message, dict) or (seconds := clock.seconds(message)) is None:
                continue
            if message.get("type") == "service":
                sender, kind, text = _service(message, people)
            else:
                sender = _number(people, message.get("from"), message.get("from_id"))
                kind, text = _content(message)
            edited_at = message.get("edited")
            edited = isinstance(edited_at, str) and not edited_at.startswith(_EPOCH_DATES)
            edited = edited or bool(whole_number(message.get("edited_unixtime")))
            yield Row(seconds, sender, int(kind), text, edited)


class _Clock:
    """Wall-clock seconds of messages. If only the instant is given, the offset of the previous message applies."""

    def __init__(self) -> None:
        self._printed = WallClock()
        self._last: dict[str, Any] = {}

    def seconds(self, message: dict[str, Any]) -> int | None:
        seconds = self._printed.seconds(message.get("date"))
        if seconds is not None:
            self._last = message
            return seconds
        instant = whole_number(message.get("date_unixtime"))
        if instant is None:
            return None
        printed, known = self._printed.seconds(self._last.get("date")), whole_number(self._last.get("date_unixtime"))
        # Clock changes between the two messages are ignored: nothing in the export says when they happened.
        offset = 0 if printed is None or known is None else printed - known
        return instant + offset if is_possible(instant + offset) else None


def _number(people: People, name: object, account: object) -> int:
    shown = name if isinstance(name, str) and name.strip() else DELETED_ACCOUNT
    # Exports before 2021 have numbers as ids, later ones strings such as `user123`.
    return people.number(shown, account if isinstance(account, (str, int)) else None)


def _service(message: dict[str, Any], people: People) -> tuple[int, MessageKind, str]:
    actor, action = message.get("actor"), text_of(message.get("action"))
    if action in CALLS:
        seconds = message.get("duration_seconds", message.get("duration"))
        unanswered = _UNANSWERED.get(text_of(message.get("discard_reason"))) if action == "phone_call" else None
        sender = _number(people, actor, message.get("actor_id"))
        return sender, MessageKind.CALL, unanswered or call(CALLS[action], seconds)
    sentence = text_of(message.get("information_text")) or action.replace("_", " ")
    if action in _ACTIONS:
        members = message.get("members")
        # A member whose account is deleted is null.
        names = [text_of(name) or DELETED_ACCOUNT for name in members] if isinstance(members, list) else []
        sentence = _ACTIONS[action].format(title=text_of(message.get("title")), members=", ".join(names) or "somebody")
    return SYSTEM_SENDER, MessageKind.SYSTEM, f"{text_of(actor) or DELETED_ACCOUNT} {sentence}".strip()


def _content(message: dict[str, Any]) -> tuple[MessageKind, str]:
    text = message.get("text")
    # Most messages are only a string, and one set operation excludes all other cases.
    if isinstance(text, str) and text and _ATTACHMENT_KEYS.isdisjoint(message):
        return MessageKind.TEXT, text
    text = _joined(text)
    if not _FILE_KEYS.isdisjoint(message):
        # The values of `file` and `photo` are a path, or the reason why there is no file: not part of the chat.
        name = _MEDIA.get(text_of(message.get("media_type")), "Photo" if "photo" in message else "File")
        if name == "Sticker":
            name = f"Sticker {text_of(message.get('sticker_emoji'))[:16]}".strip()
        return media(name, text)
    if "poll" in message:
        return MessageKind.POLL, _poll(message["poll"])
    if "location_information" in message or "place_name" in message:
        return MessageKind.LOCATION, _location(message)
    if "contact_information" in message:
        contact = message["contact_information"]
        keys = ("first_name", "last_name", "phone_number")
        details = [text_of(contact.get(key)) for key in keys] if isinstance(contact, dict) else []
        return MessageKind.CONTACT, f"Contact: {' '.join(filter(None, details))}".rstrip(": ")
    if text or (text := _joined(message.get("text_entities"))):
        return MessageKind.TEXT, text
    title = text_of(message.get("game_title"))
    return media(f"Game: {title}" if title else "Message without text")


def _joined(text: object) -> str:
    """Return a text that is a string, or a list of strings and entities; empty for other values."""
    if not isinstance(text, list):
        return text_of(text)
    return "".join([text_of(part.get("text") if isinstance(part, dict) else part) for part in text])


def _poll(poll: object) -> str:
    """Return a poll as WhatsApp exports print it, so that all platforms have one format."""
    if not isinstance(poll, dict):
        return "POLL:"
    answers = poll.get("answers")
    options = [
        f"OPTION: {_joined(answer.get('text')) if isinstance(answer, dict) else ''}"
        for answer in (answers if isinstance(answers, list) else ())
    ]
    return "\n".join(["POLL:", _joined(poll.get("question")), *options])


def _location(message: dict[str, Any]) -> str:
    place = message.get("location_information")
    coordinates = [place.get(key) for key in ("latitude", "longitude")] if isinstance(place, dict) else []
    where = ",".join(str(part) for part in coordinates if isinstance(part, int | float | str))
    address = ", ".join(filter(None, (text_of(message.get("place_name")), text_of(message.get("address")))))
    # Two empty strings leave only the comma.
    return lines("Location", address, f"https://maps.google.com/?q={where}" if len(where) > 1 else "")
