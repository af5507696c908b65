"""The messages of Telegram's JSON export: their kinds, texts and details.

The members are those that Telegram Desktop writes (`SerializeMessage` in export_output_json.cpp). Texts contain only
the words of the sender, so that others are not counted as theirs.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Any

from chats.exports.batching import (
    People,
    Row,
    WallClock,
    call,
    duration,
    is_possible,
    lines,
    media,
    text_of,
    whole_number,
)
from chats.exports.json_stream import MalformedJson, decode
from chats.exports.parsed import NO_DETAILS, SYSTEM_SENDER, Details, MediaKind, MessageKind, Reaction

DELETED_ACCOUNT = "Deleted account"
CALLS = {"phone_call": "Phone call", "group_call": "Group call", "conference_call": "Conference call"}

_FILE_KEYS = frozenset({"file", "photo", "media_type"})
#: Members of a message that is more than its text.
_ATTACHMENT_KEYS = _FILE_KEYS | {"poll", "location_information", "place_name", "contact_information", "rich_message"}
_DETAIL_KEYS = (
    _FILE_KEYS
    | {"forwarded_from", "reply_to_message_id", "reactions", "duration_seconds", "duration"}
    | {"rich_message"}
)
_EDIT_KEYS = frozenset({"edited", "edited_unixtime"})
#: Messages about these can have no words of their own. They are no media.
_WORDLESS_KEYS = frozenset({"giveaway_information", "giveaway_results", "invoice_information", "paid_stars_amount"})

_MEDIA = {
    "voice_message": ("Voice message", MediaKind.VOICE),
    "video_message": ("Video message", MediaKind.VIDEO),
    "video_file": ("Video", MediaKind.VIDEO),
    "audio_file": ("Audio", MediaKind.AUDIO),
    "animation": ("GIF", MediaKind.GIF),
    "sticker": ("Sticker", MediaKind.STICKER),
}
_TIMED = (MediaKind.VOICE, MediaKind.VIDEO, MediaKind.AUDIO)
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
    "migrate_to_supergroup": "made the group a supergroup",
    "migrate_from_group": "made the group {title} a supergroup",
    "invite_to_group_call": "invited {members} to a call",
    "group_call_scheduled": "scheduled a call",
    "pin_message": "pinned a message",
    "clear_history": "cleared the history",
    "take_screenshot": "took a screenshot",
    "set_messages_ttl": "changed when messages delete themselves",
    "edit_chat_theme": "changed the theme",
    "set_chat_wallpaper": "changed the background",
    "set_same_chat_wallpaper": "took over the background",
    "suggest_profile_photo": "suggested a profile photo",
    "joined_telegram": "joined Telegram",
    "topic_created": "created the topic {title}",
    "topic_edit": "changed the topic",
    "score_in_game": "scored in a game",
    "boost_apply": "boosted the group",
    "send_star_gift": "sent a gift",
    "send_stars_gift": "sent a gift",
    "send_ton_gift": "sent a gift",
    "send_premium_gift": "sent a gift",
    "todo_completions": "changed which tasks are done",
    "todo_append_tasks": "added tasks",
    "send_payment": "sent a payment",
    "refunded_payment": "refunded a payment",
    "proximity_reached": "came close",
    "giveaway_launch": "started a giveaway",
    "giveaway_results": "ended a giveaway",
}
# Exports before 2021 print the epoch if a message was not edited, in the time zone of the computer.
_EPOCH_DATES = ("1970-01-01", "1969-12-31")
#: Members of the blocks of a rich message that contain the sender's words. Quoted posts do not.
_RICH_TEXTS = ("title", "author", "text")
_RICH_LISTS = ("blocks", "items", "rows")
_QUOTED_BLOCKS = ("embed_post", "related_articles", "channel")
_RICH_MEDIA = {"photo": MediaKind.PHOTO, "video": MediaKind.VIDEO, "audio": MediaKind.AUDIO, "file": MediaKind.DOCUMENT}
#: Lists in lists. Deeper ones are cut off.
_RICH_DEPTH = 40
#: Time zones are up to 14 hours from UTC, in quarters of an hour.
_MAX_OFFSET, _OFFSET_STEP = 14 * 3600, 15 * 60


class SentMessages:
    """Map of Telegram's id of a message → its number and sender, in 12 bytes for each message.

    Ids ascend, except where a group was moved. Those are kept in a dictionary.
    """

    def __init__(self) -> None:
        # Both have an item for each message. A message without an id of its own repeats the id before it.
        self._ids = array("q")
        self._senders = array("i")
        self._unordered: dict[int, int] = {}
        self._last = -(2**63)

    def add(self, message_id: object, sender: int) -> None:
        """Record the next message. An id that is not an integer cannot be replied to."""
        if type(message_id) is int:
            if self._last < message_id < 2**63:
                self._last = message_id
            else:
                self._unordered.setdefault(message_id, len(self._ids))
        self._ids.append(self._last)
        self._senders.append(sender)

    def find(self, message_id: object) -> tuple[int, int]:
        """Return number and sender; 0 and SYSTEM_SENDER for a message that has not been recorded."""
        if type(message_id) is not int:
            return 0, SYSTEM_SENDER
        position = bisect_left(self._ids, message_id)
        if position == len(self._ids) or self._ids[position] != message_id:
            if message_id not in self._unordered:
                return 0, SYSTEM_SENDER
            position = self._unordered[message_id]
        return position + 1, self._senders[position]


class MessageReader:
    """Converts decoded messages of one chat to rows, in file order.

    Posts of a channel can lack the sender. Then it is the author who signed, or the chat: its name and account.
    """

    def __init__(self, people: People, *, chat_name: str, chat_account: str) -> None:
        self.people = people
        self.chat_name = chat_name
        self.chat_account = chat_account
        #: The number of values without a possible time so far.
        self.unreadable = 0
        self._clock = _Clock()
        self._sent = SentMessages()

    def rows(self, messages: Iterable[object]) -> Iterator[Row]:
        """Yield a row for each message that has a time, and count the others in `unreadable`."""
        clock, people, sent = self._clock, self.people, self._sent
        for message in messages:
            if not isinstance(message, dict) or (seconds := clock.seconds(message)) is None:
                # A message that the version of Telegram Desktop did not know is written without anything.
                if not isinstance(message, dict) or message.get("type") != "unsupported":
                    self.unreadable += 1
                continue
            if message.get("type") == "service":
                sender, kind, text = self._service(message)
            else:
                # Nearly all messages are from an account that is known already.
                account = message.get("from_id")
                known = people.get(account) if type(account) is str else None
                sender = self._sender(message) if known is None else known
                kind, text = content(message)
            edited = not _EDIT_KEYS.isdisjoint(message) and _is_edited(message)
            details = NO_DETAILS if _DETAIL_KEYS.isdisjoint(message) else self._details(message, kind)
            sent.add(message.get("id"), sender)
            yield Row(seconds, sender, kind, text, edited, details, clock.offset(seconds, message))

    def _sender(self, message: dict[str, Any]) -> int:
        name, account = message.get("from"), _account(message.get("from_id"))
        if isinstance(name, str) and name.strip():
            return self.people.number(name, account)
        if account is not None or "from" in message:
            return self.people.number(DELETED_ACCOUNT, account)
        if author := text_of(message.get("author")).strip():
            return self.people.number(author)
        return self.people.number(self.chat_name, self.chat_account)

    def _service(self, message: dict[str, Any]) -> tuple[int, MessageKind, str]:
        action = text_of(message.get("action"))
        name, account = message.get("actor"), _account(message.get("actor_id"))
        if name is None and account is None:
            name, account = message.get("from"), _account(message.get("from_id"))
        actor = text_of(name).strip() or (DELETED_ACCOUNT if account is not None else "")
        if action in CALLS and actor:
            return self.people.number(actor, account), MessageKind.CALL, _call(action, message)
        sentence = text_of(message.get("information_text")) or action.replace("_", " ")
        if action in _ACTIONS:
            members = message.get("members")
            # A member whose account is deleted is null.
            names = [text_of(name) or DELETED_ACCOUNT for name in members] if isinstance(members, list) else []
            title = text_of(message.get("title"))
            sentence = _ACTIONS[action].format(title=title, members=", ".join(names) or "somebody")
        sentence = f"{actor} {sentence}" if actor else sentence[:1].upper() + sentence[1:]
        return SYSTEM_SENDER, MessageKind.SYSTEM, sentence.strip()

    def _details(self, message: dict[str, Any], kind: MessageKind) -> Details:
        seconds = duration(message.get("duration_seconds", message.get("duration")))
        media_kind = media_kind_of(message) if kind is MessageKind.MEDIA else None
        if kind is not MessageKind.CALL and media_kind not in _TIMED:
            seconds = None
        reply_to, reply_to_sender = None, SYSTEM_SENDER
        # A reply to a message of another chat names that chat, and its ids are other ones.
        if "reply_to_message_id" in message and "reply_to_peer_id" not in message:
            reply_to, reply_to_sender = self._sent.find(message["reply_to_message_id"])
        elif "reply_to_message_id" in message:
            reply_to = 0
        reactions = message.get("reactions")
        details = Details(
            media_kind,
            seconds,
            "forwarded_from" in message,
            reply_to,
            reply_to_sender,
            self._reactions(reactions) if isinstance(reactions, list) else (),
        )
        # Batches recognise the shared object.
        return details if details != NO_DETAILS else NO_DETAILS

    def _reactions(self, reactions: list[object]) -> tuple[Reaction, ...]:
        found: dict[str, Reaction] = {}
        for reaction in reactions:
            if not isinstance(reaction, dict):
                continue
            # The export names no emoji for a custom one, only its file.
            emoji = "⭐" if reaction.get("type") == "paid" else text_of(reaction.get("emoji"))[:16] or "custom"
            recent = reaction.get("recent")
            people = [
                self.people.reacting(text_of(one.get("from")) or DELETED_ACCOUNT, _account(one.get("from_id")))
                for one in (recent if isinstance(recent, list) else ())
                if isinstance(one, dict)
            ]
            count = whole_number(reaction.get("count"))
            total = max(count if count is not None and 0 < count < 2**31 else 1, len(people))
            earlier = found.get(emoji, Reaction(emoji, 0))
            found[emoji] = Reaction(emoji, earlier.total + total, earlier.people + tuple(people))
        return tuple(found.values())


def _is_edited(message: dict[str, Any]) -> bool:
    edited_at = message.get("edited")
    if isinstance(edited_at, str) and not edited_at.startswith(_EPOCH_DATES):
        return True
    return bool(whole_number(message.get("edited_unixtime")))


def _account(value: object) -> str | int | None:
    # Exports before 2021 have numbers as ids, later ones strings such as `user123`.
    return value if isinstance(value, (str, int)) else None


class _Clock:
    """Wall-clock seconds of messages. If only the instant is given, the offset of the previous message applies."""

    def __init__(self) -> None:
        self._printed = WallClock()
        self._last: dict[str, Any] = {}
        self._known_offset: int | None = None

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

    def offset(self, seconds: int, message: dict[str, Any]) -> int | None:
        """Return by how many seconds the printed time is ahead of the instant; None if it is not a time zone's."""
        instant = message.get("date_unixtime")
        if type(instant) is not str or not instant.isdecimal() or len(instant) > 20 or self._last is not message:
            return None
        offset = seconds - int(instant)
        if offset == self._known_offset:
            return offset
        if not is_utc_offset(offset):
            return None
        self._known_offset = offset
        return offset


def is_utc_offset(seconds: int) -> bool:
    """Return whether a time zone can be ahead of UTC by this many seconds."""
    return -_MAX_OFFSET <= seconds <= _MAX_OFFSET and seconds % _OFFSET_STEP == 0


def is_by_person(message: dict[str, Any]) -> bool:
    """Return whether a person wrote the message. A call is a service message, but a person makes it."""
    if message.get("type") != "service":
        return True
    return text_of(message.get("action")) in CALLS and any(key in message for key in ("actor", "actor_id", "from"))


def _call(action: str, message: dict[str, Any]) -> str:
    if action == "conference_call" and message.get("is_missed") is True:
        return "Missed conference call"
    unanswered = _UNANSWERED.get(text_of(message.get("discard_reason"))) if action == "phone_call" else None
    return unanswered or call(CALLS[action], message.get("duration_seconds", message.get("duration")))


def content(message: dict[str, Any]) -> tuple[MessageKind, str]:
    """Return the kind and the text of a message by a person."""
    text = message.get("text")
    # Most messages are only a string, and one set operation excludes all other cases.
    if isinstance(text, str) and text and _ATTACHMENT_KEYS.isdisjoint(message):
        return MessageKind.TEXT, text
    text = joined(text)
    if not _FILE_KEYS.isdisjoint(message):
        # The values of `file` and `photo` are a path, or the reason why there is no file: not part of the chat.
        name, _ = _MEDIA.get(text_of(message.get("media_type")), ("Photo" if "photo" in message else "File", None))
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
    words = lines(_rich_text(message.get("rich_message")), _todo_list(message.get("todo_list")), _invoice(message))
    text = lines(text or joined(message.get("text_entities")), words)
    if text or not _WORDLESS_KEYS.isdisjoint(message):
        return MessageKind.TEXT, text
    if rich_kind := _rich_media(message.get("rich_message")):
        return media(rich_kind.title())
    title = text_of(message.get("game_title"))
    return media(f"Game: {title}" if title else "Message without text")


def media_kind_of(message: dict[str, Any]) -> MediaKind | None:
    """Return what a media message contains; None for a game and what the export does not contain."""
    media_type = text_of(message.get("media_type"))
    if media_type in _MEDIA:
        return _MEDIA[media_type][1]
    if "photo" in message:
        return MediaKind.PHOTO
    return MediaKind.DOCUMENT if "file" in message else _rich_media(message.get("rich_message"))


def joined(text: object) -> str:
    """Return a text that is a string, or a list of strings and entities; empty for other values."""
    if not isinstance(text, list):
        return text_of(text)
    return "".join([_part(part) for part in text])


def _part(part: object) -> str:
    """Return a part of a text, with the link behind it: it is not printed, but the sender shared it."""
    if not isinstance(part, dict):
        return text_of(part)
    text = text_of(part.get("text"))
    if part.get("type") == "link" and text and "://" not in text:
        return f"http://{text}"
    return with_link(text, part.get("href")) if part.get("type") == "text_link" else text


def with_link(text: str, href: object) -> str:
    """Return the words and, in parentheses, the link behind them, unless the words are the link."""
    link = text_of(href)
    if not link.lower().startswith(("http://", "https://")):
        return text
    shown = text.strip().rstrip("/").lower()
    if shown == link.rstrip("/").lower():
        return text
    return link if shown == link.partition("://")[2].rstrip("/").lower() else f"{text} ({link})"


def _todo_list(todo: object) -> str:
    """Return the title and the tasks of a to-do list, which are the sender's words."""
    if not isinstance(todo, dict):
        return ""
    tasks = todo.get("answers", todo.get("items"))
    texts = [joined(task.get("text")) for task in (tasks if isinstance(tasks, list) else ()) if isinstance(task, dict)]
    return lines(joined(todo.get("title")), *texts)


def _invoice(message: dict[str, Any]) -> str:
    """Return the title and the description of an invoice, which Telegram writes as JSON in a string."""
    invoice = message.get("invoice_information")
    if isinstance(invoice, str):
        try:
            invoice = decode(invoice.encode("utf-8", "replace"))
        except MalformedJson:
            return ""
    return (
        lines(text_of(invoice.get("title")), text_of(invoice.get("description"))) if isinstance(invoice, dict) else ""
    )


def _rich_text(message: object) -> str:
    """Return the words of a rich message: one line for each block, item of a list, or row of a table."""
    return _rich_blocks(message.get("blocks"), 0) if isinstance(message, dict) else ""


def _rich_blocks(blocks: object, depth: int) -> str:
    if not isinstance(blocks, list) or depth > _RICH_DEPTH:
        return ""
    return lines(*[_rich_block(block, depth + 1) for block in blocks if isinstance(block, dict)])


def _rich_block(block: dict[str, Any], depth: int) -> str:
    if block.get("type") in _QUOTED_BLOCKS:
        return ""
    parts = [_inline(block.get(key), depth) for key in _RICH_TEXTS if isinstance(block.get(key), dict)]
    parts.append(text_of(block.get("formula")))
    parts.append(_rich_blocks([block.get("block")], depth))
    parts += [_rich_blocks(block.get(key), depth) for key in _RICH_LISTS]
    if isinstance(cells := block.get("cells"), list):
        parts.append(" ".join([_inline(cell.get("text"), depth) for cell in cells if isinstance(cell, dict)]))
    if isinstance(caption := block.get("caption"), dict):
        # A quotation has a text as its caption, other blocks a text and a credit.
        texts = [caption] if "type" in caption else [caption.get("text"), caption.get("credit")]
        parts += [_inline(text, depth) for text in texts]
    return lines(*parts)


def _inline(text: object, depth: int) -> str:
    """Return a formatted text without its formatting: it is a string, a list of texts, or contains another text."""
    if depth > _RICH_DEPTH:
        return ""
    if isinstance(text, list):
        return "".join([_inline(part, depth + 1) for part in text])
    if not isinstance(text, dict):
        return text_of(text)
    return _part({**text, "text": _inline(text.get("text", text.get("source")), depth + 1)})


def _rich_media(message: object) -> MediaKind | None:
    """Return the kind of the first file in a rich message."""
    blocks = message.get("blocks") if isinstance(message, dict) else None
    kinds = [block.get("type") for block in (blocks if isinstance(blocks, list) else ()) if isinstance(block, dict)]
    return next((_RICH_MEDIA[kind] for kind in kinds if isinstance(kind, str) and kind in _RICH_MEDIA), None)


def _poll(poll: object) -> str:
    """Return a poll as WhatsApp exports print it, so that all platforms have one format."""
    if not isinstance(poll, dict):
        return "POLL:"
    answers = poll.get("answers")
    options = [
        f"OPTION: {joined(answer.get('text')) if isinstance(answer, dict) else ''}"
        for answer in (answers if isinstance(answers, list) else ())
    ]
    return "\n".join(["POLL:", joined(poll.get("question")), *options])


def _location(message: dict[str, Any]) -> str:
    place = message.get("location_information")
    coordinates = [place.get(key) for key in ("latitude", "longitude")] if isinstance(place, dict) else []
    where = ",".join(str(part) for part in coordinates if isinstance(part, int | float | str))
    address = ", ".join(filter(None, (text_of(message.get("place_name")), text_of(message.get("address")))))
    # Two empty strings leave only the comma.
    return lines("Location", address, f"https://maps.google.com/?q={where}" if len(where) > 1 else "")
