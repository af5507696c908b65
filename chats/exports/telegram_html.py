"""Telegram's HTML export: `messages.html`, `messages2.html`, …, the pages of one chat, each with 1,000 messages.

Telegram Desktop writes it if the format is "Human-readable HTML", the default. The classes of its elements are those of
`HtmlWriter` in export_output_html.cpp. All texts are escaped, so `<` always begins a tag, and each message begins with
the same one. A message that continues those of the same person ("joined") has no name. Service messages have no time.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from html import unescape

from chats.exports.batching import People, Row, WallClock, call, clean_title, duration, lines, media
from chats.exports.errors import UnpackedTooLarge
from chats.exports.parsed import (
    NO_DETAILS,
    SYSTEM_SENDER,
    Details,
    MediaKind,
    MessageKind,
    ParsedExport,
    Reaction,
    wall_clock,
)
from chats.exports.telegram_messages import DELETED_ACCOUNT, SentMessages, is_utc_offset, with_link
from chats.exports.unpacking import UNPACKED_LIMIT_BYTES, Document

_PAGE_NUMBER = re.compile(r"(\d{1,9})\.html?$", re.IGNORECASE)
_MESSAGE = re.compile(rb'<div class="message (default|service)([^"]{0,200})"(?: id="message(-?\d{1,18})")?')
_TITLE = re.compile(rb'<div class="page_header">.{0,2000}?<div class="text bold">([^<]*)<', re.DOTALL)
# Possessive: a tag that is not closed is not searched again for a shorter name.
_TOKEN = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*+)([^<>]*+)>|([^<]++)|<")
_ATTRIBUTE = re.compile(r'(?<![a-z-])([a-z-]+) ?= ?"([^"]*)"')
_CLASS = re.compile(r' class="[a-z0-9_ ]{1,80}"')
_VOID_TAGS = frozenset({"br", "img", "hr", "meta", "link", "input"})
#: The sender of messages that continue an unreadable one.
UNKNOWN = "Unknown"
#: Larger than any message that Telegram writes.
MESSAGE_LIMIT_BYTES = 1024 * 1024
#: Deeper elements are ignored. Telegram nests about twenty.
_DEPTH_LIMIT = 100

_DATE = re.compile(r"(\d\d)\.(\d\d)\.(\d{4}) (\d\d:\d\d:\d\d)(?: UTC(?:([+-])(\d\d):?(\d\d))?)?")
_DURATION = re.compile(r"(?:(\d{1,4}):)?(\d{1,2}):(\d\d)\b")
_SECONDS = re.compile(r"\((\d{1,9}) seconds\)")
_REPLY = re.compile(r"go_to_message(-?\d{1,18})")
_VIA = re.compile(r" via @\w+$")
_GROUP_CALL = re.compile(r"(.+) started voice chat(?: \((\d{1,9}) seconds\))?", re.DOTALL)
_COORDINATES = re.compile(r"[?&]q=(-?[\d.]+,-?[\d.]+)")
_UNANSWERED = {"Missed": "Missed phone call", "Cancelled": "Missed phone call", "Declined": "Declined phone call"}

#: What the text of an element is, by its class. The text of other elements is not read.
_ROLES = {
    "from_name": "from",
    "text": "text",
    "reply_to": "reply",
    "signature": "signature",
    "title": "title",
    "status": "status",
    "description": "description",
    "video_duration": "status",
    "question": "question",
    "answer": "answer",
    "emoji": "emoji",
    "count": "count",
}
#: Elements inside of those, or around others, whose text is not read.
_SILENT = frozenset({"date", "userpic_wrap", "media_wrap", "bot_buttons_table", "reactions", "userpics"})
_WRAPS = {
    "photo_wrap": MediaKind.PHOTO,
    "video_file_wrap": MediaKind.VIDEO,
    "animated_wrap": MediaKind.GIF,
    "sticker_wrap": MediaKind.STICKER,
}
_FILES = {
    "media_voice_message": MediaKind.VOICE,
    "media_video": MediaKind.VIDEO,
    "media_photo": MediaKind.PHOTO,
    "media_audio_file": MediaKind.AUDIO,
    "media_file": MediaKind.DOCUMENT,
}
_BY_TITLE = {"Sticker": MediaKind.STICKER, "Animation": MediaKind.GIF}
_PLACEHOLDERS = {
    MediaKind.VOICE: "Voice message",
    MediaKind.VIDEO: "Video",
    MediaKind.PHOTO: "Photo",
    MediaKind.AUDIO: "Audio",
    MediaKind.DOCUMENT: "File",
    MediaKind.STICKER: "Sticker",
    MediaKind.GIF: "GIF",
}
_TIMED = (MediaKind.VOICE, MediaKind.VIDEO, MediaKind.AUDIO)
_BLOCKS = frozenset(
    {"p", "div", "h1", "h2", "h3", "h4", "h5", "h6", "li", "tr", "pre", "blockquote", "figure", "figcaption", "cite"}
    | {"summary", "details", "section", "article", "table"}
)


def page_number(page: Document) -> int:
    """Return the number in the name of a page: 1 for `messages.html`, 2 for `messages2.html`."""
    number = _PAGE_NUMBER.search(page.name)
    return int(number[1]) if number else 1


def chat_title(head: bytes) -> str:
    """Return the name of the chat that the head of a page shows; empty if it shows none."""
    title = _TITLE.search(head[:8_000])
    return clean_title(unescape(title[1].decode("utf-8", "replace"))) if title else ""


def _attributes(printed: str) -> tuple[list[str], dict[str, str]]:
    """Return the classes and the attributes of a tag."""
    if _CLASS.fullmatch(printed):
        return _only_classes(printed), {}
    attributes = dict(_ATTRIBUTE.findall(printed))
    return attributes.get("class", "").split(), attributes


@lru_cache(maxsize=200)
def _only_classes(printed: str) -> list[str]:
    # Each message repeats the same tags. Other attributes can contain names, so they are not cached.
    return printed[8:-1].split()


@dataclass(slots=True)
class _Element:
    tag: str
    role: str
    href: str = ""
    #: The number of parts of its text before it began.
    start: int = 0


@dataclass
class _Reaction:
    emoji: str = ""
    count: str = ""
    pictures: int = 0
    is_custom: bool = False
    people: list[str] = field(default_factory=list)


class _ParsedMessage:
    """The texts of one message by their role, its media and its reactions."""

    def __init__(self, html: str) -> None:
        self.texts: dict[str, list[str]] = {}
        self.classes: set[str] = set()
        self.date = self.link = ""
        self.reply_to: int | None = None
        self.answers: list[list[str]] = []
        self.reactions: list[_Reaction] = []
        self._stack: list[_Element] = []
        self._open_tags: Counter[str] = Counter()
        for token in _TOKEN.finditer(html):
            slash, tag, printed, text = token.groups("")
            if not tag:
                # Most texts are the blanks between tags.
                if self._stack and self._stack[-1].role:
                    self._add_text(unescape(text or "<"))
            elif slash:
                self._close(tag.lower())
            else:
                self._open(tag.lower(), printed)

    def text(self, role: str) -> str:
        """Return the text of all elements with the role."""
        return "".join(self.texts.get(role, ())).strip()

    def _parts(self) -> list[str] | None:
        role = self._stack[-1].role if self._stack else ""
        if not role:
            return None
        if role == "answer":
            return self.answers[-1]
        return self.texts.setdefault(role, [])

    def _add_text(self, text: str) -> None:
        parts = self._parts()
        if parts is None:
            return
        if "rich_message" in self.classes and "\n" in text:
            # Between blocks, line ends and indentation are not part of the text.
            text = text.strip()
        role = self._stack[-1].role
        if role == "emoji" and self.reactions:
            self.reactions[-1].emoji += text.strip()
        elif role == "count" and self.reactions:
            self.reactions[-1].count += text.strip()
        elif text:
            parts.append(text)

    def _open(self, tag: str, printed: str) -> None:
        classes, attributes = _attributes(printed)
        self._note(tag, classes, attributes)
        if tag == "br":
            self._add_text("\n") if "rich_message" not in self.classes else self._break_line()
        if tag in _VOID_TAGS or printed.endswith("/") or len(self._stack) >= _DEPTH_LIMIT:
            return
        role = self._stack[-1].role if self._stack else ""
        for name in classes:
            if name in _SILENT:
                role = ""
            elif name in _ROLES and not (name == "text" and "bold" in classes):
                role = _ROLES[name]
                if role == "from" and "forwarded" in self.classes:
                    role = "forwarded_from"
            elif name == "details" and role == "answer":
                role = ""
            elif name == "body" and "details" in classes:
                role = "service"
        if role == "answer" and "answer" in classes:
            self.answers.append([])
        if "media_poll" in self.classes and classes == ["details"] and tag == "div":
            role = "poll_details"
        self._stack.append(_Element(tag, role, unescape(attributes.get("href", ""))))
        self._open_tags[tag] += 1
        if role == "text" and tag in _BLOCKS:
            self._break_line()
        parts = self._parts()
        self._stack[-1].start = len(parts) if parts is not None else 0

    def _note(self, tag: str, classes: list[str], attributes: dict[str, str]) -> None:
        """Remember what attributes say."""
        self.classes.update(classes)
        title = unescape(attributes.get("title", ""))
        if "date" in classes and not self.date:
            self.date = title
        href = unescape(attributes.get("href", ""))
        if "media" in classes and href:
            self.link = href
        if tag == "a" and self._stack and self._stack[-1].role == "reply" and (found := _REPLY.search(href)):
            self.reply_to = int(found[1])
        if "reaction" in classes:
            self.reactions.append(_Reaction())
        if self.reactions:
            reaction = self.reactions[-1]
            if "userpic" in classes:
                reaction.pictures += 1
            if "initials" in classes and title:
                reaction.people.append(title)
            if tag == "a" and self._stack and self._stack[-1].role == "emoji":
                reaction.is_custom = True

    def _close(self, tag: str) -> None:
        if not self._open_tags[tag]:
            return
        # An element that is not closed ends with the one around it.
        depth = len(self._stack) - 1
        while self._stack[depth].tag != tag:
            depth -= 1
        element = self._stack[depth]
        parts = self._parts()
        if tag == "a" and element.role == "text" and parts is not None:
            text = "".join(parts[element.start :])
            if element.href == text and "://" not in text and "." in text:
                parts[element.start :] = [f"http://{text}"]
            elif not text.startswith("@"):
                parts[element.start :] = [with_link(text, element.href)]
        if element.role == "text" and tag in _BLOCKS:
            self._break_line()
        self._open_tags.subtract(each.tag for each in self._stack[depth:])
        del self._stack[depth:]

    def _break_line(self) -> None:
        """End a line of a rich message. Other messages contain their line breaks."""
        parts = self.texts.get("text")
        if "rich_message" in self.classes and parts and not parts[-1].endswith("\n"):
            parts.append("\n")


class PageReader:
    """Converts the pages of one chat to rows. The sender and the time of a message can be those of an earlier one."""

    def __init__(self, export: ParsedExport, *, chat_name: str) -> None:
        self.export = export
        self.chat_name = chat_name
        self._people = People(export.participants)
        self._clock = WallClock()
        self._sent = SentMessages()
        #: Of the message before; None if it could not be read.
        self._sender: int | None = SYSTEM_SENDER
        self._seconds: int | None = None

    def rows(self, pages: list[Document]) -> Iterator[Row]:
        """Yield the messages. Raise UnpackedTooLarge if the pages together exceed the limit of one text."""
        left_bytes = UNPACKED_LIMIT_BYTES
        for page in pages:
            text = page.text()
            left_bytes -= len(text)
            if left_bytes < 0:
                raise UnpackedTooLarge(limit_bytes=UNPACKED_LIMIT_BYTES)
            yield from self._page_rows(text)
            if not text.rstrip().endswith(b"</html>"):
                # The page breaks off, usually within a message.
                self.export.n_unreadable += 1
        if len(self.export.participants) > 2:
            self.export.title = self.chat_name

    def _page_rows(self, text: bytes) -> Iterator[Row]:
        start = _MESSAGE.search(text)
        while start:
            following = _MESSAGE.search(text, start.end())
            end = following.start() if following else len(text)
            html = text[start.start() : end]
            is_joined = b"joined" in start[2]
            required = b"body details" if start[1] == b"service" else b'title="'
            if len(html) > MESSAGE_LIMIT_BYTES or required not in html:
                self.export.n_unreadable += 1
                if not is_joined:
                    self._sender = None
                start = following
                continue
            message = _ParsedMessage(html.decode("utf-8", "replace"))
            message_id = int(start[3] or 0)
            if start[1] == b"service":
                row = self._service_row(message, message_id)
            else:
                row = self._message_row(message, is_joined=is_joined)
            if row is not None:
                self._sent.add(message_id, row.sender)
                yield row
            start = following

    def _service_row(self, message: _ParsedMessage, message_id: int) -> Row | None:
        text = message.text("service")
        if message_id < 0 and (midnight := _midnight(text)) is not None:
            # The heading of a day. Messages within it are not earlier.
            if self._seconds is None or wall_clock(self._seconds).date() != wall_clock(midnight).date():
                self._seconds = midnight
            return None
        if self._seconds is None or not text:
            self.export.n_unreadable += 1
            return None
        if group_call := _GROUP_CALL.fullmatch(text):
            seconds = int(group_call[2]) if group_call[2] else None
            sender = self._people.number(_person(group_call[1]))
            details = Details(duration_seconds=duration(seconds))
            return Row(self._seconds, sender, int(MessageKind.CALL), call("Group call", seconds), False, details)
        return Row(self._seconds, SYSTEM_SENDER, int(MessageKind.SYSTEM), text)

    def _message_row(self, message: _ParsedMessage, *, is_joined: bool) -> Row | None:
        # Messages that continue this one need its sender even if its time cannot be read.
        if name := _person(message.text("from")):
            self._sender = self._people.number(name)
        elif not is_joined or self._sender == SYSTEM_SENDER:
            self._sender = self._people.number(message.text("signature") or self.chat_name)
        elif self._sender is None:
            self._sender = self._people.number(UNKNOWN)
        date = _DATE.fullmatch(message.date)
        seconds = self._clock.seconds("{2}-{1}-{0}T{3}".format(*date.groups())) if date else None
        if date is None or seconds is None:
            self.export.n_unreadable += 1
            return None
        self._seconds = seconds
        utc_offset = None
        if date[5] and int(date[7]) < 60:
            printed_offset = (int(date[6]) * 3600 + int(date[7]) * 60) * (-1 if date[5] == "-" else 1)
            utc_offset = printed_offset if is_utc_offset(printed_offset) else None
        kind, text, media_kind = _content(message)
        length = None
        if kind is MessageKind.CALL:
            printed = _SECONDS.search(message.text("status"))
            length = int(printed[1]) if printed else None
        elif media_kind in _TIMED and (clock := _DURATION.match(message.text("status"))):
            length = int(clock[1] or 0) * 3600 + int(clock[2]) * 60 + int(clock[3])
        reply_to, reply_to_sender = None, SYSTEM_SENDER
        if "reply_to" in message.classes:
            reply_to, reply_to_sender = self._sent.find(message.reply_to)
        details = Details(
            media_kind,
            duration(length),
            "forwarded" in message.classes,
            reply_to,
            reply_to_sender,
            self._reactions(message),
        )
        # Most messages have none, and batches recognise the shared object.
        details = details if details != NO_DETAILS else NO_DETAILS
        return Row(seconds, self._sender, int(kind), text, False, details, utc_offset)

    def _reactions(self, message: _ParsedMessage) -> tuple[Reaction, ...]:
        found: dict[str, Reaction] = {}
        for reaction in message.reactions:
            people = tuple(self._people.reacting(_person(name)) for name in reaction.people)
            # The number is printed only if there are more people than pictures.
            printed = reaction.count if reaction.count.isdecimal() and len(reaction.count) < 10 else ""
            total = int(printed or reaction.pictures or 1)
            emoji = "custom" if reaction.is_custom else reaction.emoji[:16] or "custom"
            earlier = found.get(emoji, Reaction(emoji, 0))
            found[emoji] = Reaction(emoji, earlier.total + total, earlier.people + people)
        return tuple(found.values())


def _midnight(text: str) -> int | None:
    """Return the wall-clock seconds at the beginning of a day such as `14 March 2024`; None for other texts."""
    try:
        day = datetime.strptime(text, "%d %B %Y").replace(tzinfo=UTC)
    except ValueError:
        return None
    return int(day.timestamp())


def _person(name: str) -> str:
    """Return a name without the bot through which the message was sent."""
    name = _VIA.sub("", name.strip())
    return DELETED_ACCOUNT if name in ("Deleted Account", "Deleted") else name


def _content(message: _ParsedMessage) -> tuple[MessageKind, str, MediaKind | None]:
    """Return the kind, the text and the kind of media, as `telegram_messages.content` does for the same message."""
    classes = message.classes
    text, title, status = message.text("text"), message.text("title"), message.text("status")
    if "media_call" in classes:
        word = status.partition(" (")[0]
        printed = _SECONDS.search(status)
        return MessageKind.CALL, _UNANSWERED.get(word) or call("Phone call", int(printed[1]) if printed else None), None
    if "media_poll" in classes:
        # The answers are printed as a list, `- yes`, with the number of votes beside them.
        answers = ["".join(parts).strip().removeprefix("- ").strip() for parts in message.answers]
        if message.text("poll_details") == "To-do List":
            return MessageKind.TEXT, lines(message.text("question"), *answers, text), None
        options = [f"OPTION: {answer}" for answer in answers]
        return MessageKind.POLL, "\n".join(["POLL:", message.text("question"), *options]), None
    if not classes.isdisjoint({"media_location", "media_live_location", "media_venue"}):
        where = _COORDINATES.search(message.link)
        address = ", ".join(filter(None, (title, message.text("description")))) if "media_venue" in classes else ""
        link = f"https://maps.google.com/?q={where[1]}" if where else ""
        return MessageKind.LOCATION, lines("Location", address, link), None
    if "media_contact" in classes and not text:
        details = " ".join(filter(None, (" ".join(title.split()), status.removesuffix(" - vCard"))))
        return MessageKind.CONTACT, f"Contact: {details}".rstrip(": "), None
    if "media_invoice" in classes:
        return MessageKind.TEXT, lines(text, title, message.text("description")), None
    media_kind = next((kind for name, kind in (_WRAPS | _FILES).items() if name in classes), None)
    media_kind = _BY_TITLE.get(title, media_kind) if "media" in classes else media_kind
    if media_kind and not (text and "rich_message" in classes):
        placeholder = "Video message" if title == "Video message" else _PLACEHOLDERS[media_kind]
        if media_kind is MediaKind.STICKER and not status[:1].isdigit():
            placeholder = f"Sticker {status.partition(',')[0][:16]}".strip()
        kind, words = media(placeholder, text)
        return kind, words, media_kind
    if text or "media_giveaway" in classes:
        return MessageKind.TEXT, text, None
    kind, words = media(f"Game: {title}" if "media_game" in classes and title else "Message without text")
    return kind, words, None
