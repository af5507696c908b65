"""Telegram's `result.json`: one chat, or an account with its list of chats.

Written by Telegram Desktop ("Machine-readable JSON"). `text` is a string or a
list of strings and entities; `from` is null for a deleted account; exports
before 2021 have neither `date_unixtime` nor `text_entities`, and ids that are
numbers. `date` is the wall clock of the computer that made the export.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
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
_FILES = frozenset({"file", "photo", "media_type"})
#: Members that add to the text of a message.
_BESIDE_TEXT = _FILES | {"poll", "location_information", "place_name", "contact_information"}
_ABOUT = ("name", "type", "id")
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
_NEVER = ("1970-01-01", "1969-12-31")
_UNNAMED = {"saved_messages": "Saved messages"}
#: `private_supergroup`, `public_channel`, …
_GROUPS = ("group", "channel")


@dataclass(frozen=True)
class Place:
    """A chat in the text. `at` is where its array of messages begins; `messages` is None if they are not counted."""

    at: int
    id: str
    title: str
    is_group: bool = False
    messages: int | None = None

    @property
    def group_title(self) -> str:
        """Return the name of a group; empty for two people, because such a chat is named after the other person."""
        return self.title if self.is_group else ""


class TelegramParser:
    """Reads Telegram Desktop's "Machine-readable JSON", of one chat or of an account."""

    platform = Platform.TELEGRAM
    name = "Telegram"
    clock: Clock = "local"
    has_date_order = False

    @property
    def json_format(self) -> JsonFormat:
        """Return how a chat or an account is recognised."""
        return JsonFormat(is_message, frozenset({"type", "messages"}), frozenset(LISTS))

    def find_chats(self, documents: list[Document], *, date_order: str | None) -> list[ChatInUpload]:
        """Return the chats of each document. Raise DamagedExport, and OnlySystemMessages if a list has no chats."""
        chats: list[ChatInUpload] = []
        for document in documents:
            text = document.text()
            try:
                single_chat = single(text)
                found = [single_chat] if single_chat else places(text)
            except MalformedJson as error:
                raise DamagedExport from error
            if not found:
                raise OnlySystemMessages
            chats += [self._chat(document, place) for place in found]
        return chats

    def _chat(self, document: Document, place: Place) -> ChatInUpload:
        def read() -> ParsedExport:
            # The text is read again, so that a list of many chats does not keep many texts in memory.
            return parse(document.text(), at=place.at, title=place.group_title)

        def describe() -> tuple[str, int]:
            return place.title, count_messages(read) if place.messages is None else place.messages

        return ChatInUpload(describe, read, place.id)


PARSER = TelegramParser()


def is_message(row: object) -> bool:
    """Return whether a decoded value has the members of a Telegram message."""
    return isinstance(row, dict) and "id" in row and (isinstance(row.get("date"), str) or "date_unixtime" in row)


def single(text: bytes) -> Place | None:
    """Return the chat if the text contains one, None for an account. Raise MalformedJson."""
    cursor = JsonCursor(text)
    about: dict[str, Any] = {}
    for key in cursor.members():
        if key == "messages" and cursor.starts_with(b"["):
            return _named(about, at=cursor.position)
        if key in LISTS:
            return None
        if key in _ABOUT:
            about[key] = cursor.value()
    return None


def places(text: bytes) -> list[Place]:
    """Return the chats of an account that contain messages by people. Raise MalformedJson."""
    found = []
    cursor = JsonCursor(text)
    for key in cursor.members():
        if key in LISTS and cursor.starts_with(b"{"):
            for inner in cursor.members():
                if inner == "list" and cursor.starts_with(b"["):
                    found += [place for _ in cursor.elements() if (place := _counted(cursor)) and place.messages]
    return found


def _counted(cursor: JsonCursor) -> Place | None:
    if not cursor.starts_with(b"{"):
        return None
    at = count = 0
    about: dict[str, Any] = {}
    for key in cursor.members():
        if key == "messages" and cursor.starts_with(b"["):
            at = cursor.position
            count = sum(_is_from_somebody(row) for window in cursor.windows() for row in window.rows)
        elif key in _ABOUT:
            about[key] = cursor.value()
    return _named(about, at=at, messages=count)


def _named(about: dict[str, Any], *, at: int, messages: int | None = None) -> Place:
    kind, number = text_of(about.get("type")), about.get("id")
    name = clean_title(text_of(about.get("name")))
    return Place(
        at,
        id=str(number) if isinstance(number, int) else "",
        title=name or _UNNAMED.get(kind, DELETED_ACCOUNT),
        is_group=bool(name) and kind.endswith(_GROUPS),
        messages=messages,
    )


def _is_from_somebody(row: Any) -> bool:
    return is_message(row) and (row.get("type") != "service" or text_of(row.get("action")) in CALLS)


def parse(text: bytes, *, at: int, title: str = "") -> ParsedExport:
    """Parse the chat whose messages begin at `at`. `title` is the name of a group.

    Raise OnlySystemMessages, DamagedExport or TooManyPeople while its batches are read.
    """
    export = ParsedExport(
        platform=PARSER.platform,
        dialect="telegram-json",
        date_order="ymd",
        ambiguous_dates=False,
        batches=iter(()),
        participants=[],
        title=title,
        clock=PARSER.clock,
    )
    export.batches = batches_of(export, _rows(JsonCursor(text, at), People(export.participants)))
    return export


def _rows(cursor: JsonCursor, people: People) -> Iterator[Row]:
    clock = _Clock()
    for window in cursor.windows():
        for message in window.rows:
            if not isinstance(message, dict):
                continue
            seconds = clock.seconds(message)
            if seconds is None:
                continue
            if message.get("type") == "service":
                sender, kind, text = _service(message, people)
            else:
                sender = _number(people, message.get("from"), message.get("from_id"))
                kind, text = _content(message)
            yield seconds, sender, int(kind), text, _is_edited(message)


def _is_edited(message: dict[str, Any]) -> bool:
    """Return whether the message was edited. Exports before 2021 print the epoch if it was not."""
    edited = message.get("edited")
    return (isinstance(edited, str) and not edited.startswith(_NEVER)) or bool(
        whole_number(message.get("edited_unixtime"))
    )


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
        ahead = 0 if printed is None or known is None else printed - known
        return instant + ahead if is_possible(instant + ahead) else None


def _number(people: People, name: object, account: object) -> int:
    known = name if isinstance(name, str) and name.strip() else DELETED_ACCOUNT
    return people.number(known, account if isinstance(account, (str, int)) else None)


def _service(message: dict[str, Any], people: People) -> tuple[int, MessageKind, str]:
    actor, action = message.get("actor"), text_of(message.get("action"))
    if action in CALLS:
        seconds = message.get("duration_seconds", message.get("duration"))
        unanswered = _UNANSWERED.get(text_of(message.get("discard_reason"))) if action == "phone_call" else None
        sender = _number(people, actor, message.get("actor_id"))
        return sender, MessageKind.CALL, unanswered or call(CALLS[action], seconds)
    said = text_of(message.get("information_text")) or action.replace("_", " ")
    if action in _ACTIONS:
        said = _ACTIONS[action].format(title=text_of(message.get("title")), members=_members(message))
    return SYSTEM_SENDER, MessageKind.SYSTEM, f"{text_of(actor) or DELETED_ACCOUNT} {said}".strip()


def _members(message: dict[str, Any]) -> str:
    members = message.get("members")
    named = [text_of(name) or DELETED_ACCOUNT for name in members] if isinstance(members, list) else []
    return ", ".join(named) or "somebody"


def _content(message: dict[str, Any]) -> tuple[MessageKind, str]:
    text = message.get("text")
    if isinstance(text, str) and text and _BESIDE_TEXT.isdisjoint(message):
        return MessageKind.TEXT, text
    text = _text(text)
    if not _FILES.isdisjoint(message):
        return _media(message, text)
    if "poll" in message:
        return MessageKind.POLL, _poll(message["poll"])
    if "location_information" in message or "place_name" in message:
        return MessageKind.LOCATION, _location(message)
    if "contact_information" in message:
        return MessageKind.CONTACT, _contact(message["contact_information"])
    if text:
        return MessageKind.TEXT, text
    if entities := _text(message.get("text_entities")):
        return MessageKind.TEXT, entities
    title = text_of(message.get("game_title"))
    return media(f"Game: {title}" if title else "Message without text")


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return ""
    return "".join([part if isinstance(part, str) else _entity(part) for part in value])


def _entity(part: object) -> str:
    return text_of(part.get("text")) if isinstance(part, dict) else ""


def _media(message: dict[str, Any], caption: str) -> tuple[MessageKind, str]:
    """Return the kind of the file and the caption; its path or the reason for its absence is not part of the chat."""
    name = _MEDIA.get(text_of(message.get("media_type")), "Photo" if "photo" in message else "File")
    if name == "Sticker":
        name = f"Sticker {text_of(message.get('sticker_emoji'))[:16]}".strip()
    return media(name, caption)


def _poll(poll: object) -> str:
    if not isinstance(poll, dict):
        return "POLL:"
    answers = poll.get("answers")
    options = [f"OPTION: {_entity_text(answer)}" for answer in answers] if isinstance(answers, list) else []
    return "\n".join(["POLL:", _text(poll.get("question")), *options])


def _entity_text(answer: object) -> str:
    return _text(answer.get("text")) if isinstance(answer, dict) else ""


def _location(message: dict[str, Any]) -> str:
    place = message.get("location_information")
    coordinates = [place.get(name) for name in ("latitude", "longitude")] if isinstance(place, dict) else []
    where = ",".join(str(part) for part in coordinates if isinstance(part, int | float | str))
    named = ", ".join(filter(None, (text_of(message.get("place_name")), text_of(message.get("address")))))
    return lines("Location", named, f"https://maps.google.com/?q={where}" if len(where) > 1 else "")


def _contact(contact: object) -> str:
    fields = ("first_name", "last_name", "phone_number")
    known = [text_of(contact.get(field)) for field in fields] if isinstance(contact, dict) else []
    return f"Contact: {' '.join(filter(None, known))}".rstrip(": ")
