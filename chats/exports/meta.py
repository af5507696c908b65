"""What Messenger and Instagram share: `message_1.json`, `message_2.json`, …, the pages of one chat, newest first.

Meta's "Download your information" writes them for both, with the same members, if the format is JSON. Texts are UTF-8
that was decoded as Latin-1 (`Ã©` for é), each string separately. Instants are UTC milliseconds, and the export does not
name a time zone.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

from chats.exports.batching import (
    People,
    Row,
    batches_of,
    call,
    clean_title,
    duration,
    is_possible,
    lines,
    media,
    text_of,
    whole_number,
)
from chats.exports.json_stream import JsonCursor, MalformedJson, decode
from chats.exports.meta_sentences import Owner, Sender, meta_sentences
from chats.exports.parsed import (
    NO_DETAILS,
    SYSTEM_SENDER,
    Clock,
    Detail,
    Details,
    MediaKind,
    MessageKind,
    ParsedExport,
    Platform,
    Reaction,
)
from chats.exports.platforms import ChatInUpload, JsonFormat
from chats.exports.unpacking import UNPACKED_LIMIT_BYTES, Document, read_pages

CLOCK: Clock = "utc"
UNSENT = "This message was unsent"
UNAVAILABLE = "This message is unavailable"

#: Messages can be edited for 15 minutes.
EDITABLE_SECONDS = 16 * 60
#: Texts that are compared with an edited one, newest first, and their first characters that count.
COMPARED_TEXTS = 6
COMPARED_CHARS = 100
#: From 0 to 1. Two different texts about one matter are below, corrected words above.
MIN_LIKENESS = 0.5
#: Rows that wait for a later edit.
WAITING_ROWS = 2_000
#: Emoji of reactions are shorter.
REACTION_LIMIT_CHARS = 32

_PAGE_NUMBER = re.compile(r"(\d{1,9})\.json$", re.IGNORECASE)
_FILES = {
    "photos": ("Photo", "photos", MediaKind.PHOTO),
    "videos": ("Video", "videos", MediaKind.VIDEO),
    "audio_files": ("Voice message", "voice messages", MediaKind.VOICE),
    "gifs": ("GIF", "GIFs", MediaKind.GIF),
    "files": ("File", "files", MediaKind.DOCUMENT),
}
#: Members of a message that is more than its text.
_ATTACHMENT_KEYS = frozenset({*_FILES, "sticker", "share"})
_OTHER_KEYS = _ATTACHMENT_KEYS | {"call_duration"}
_SPECIAL_KEYS = _OTHER_KEYS | {"type", "is_unsent"}
#: The sentences that stand for what was sent, by their field in meta_sentences.toml.
SENT: dict[str, tuple[str, MediaKind | None]] = {
    "attachment": ("Attachment", None),
    "photo": ("Photo", MediaKind.PHOTO),
    "video": ("Video", MediaKind.VIDEO),
    "voice": ("Voice message", MediaKind.VOICE),
    "gif": ("GIF", MediaKind.GIF),
    "sticker": ("Sticker", MediaKind.STICKER),
}
_SYSTEM = frozenset({"event", "poll", "reaction"})
#: Values of `type` before 2023 whose texts nobody wrote: people who join and leave, plans, payments.
_SYSTEM_TYPES = frozenset({"Subscribe", "Unsubscribe", "Plan", "Payment"})
#: Recent exports write this member in every message except those that were edited.
_NOT_EDITED_KEY = "is_unsent_image_by_messenger_kid_parent"
#: If one of them is true, Meta does not show the message.
_HIDDEN_KEYS = (_NOT_EDITED_KEY, "is_geoblocked_for_viewer", "is_taken_down")


class Content(NamedTuple):
    """What a message is, without its sender and reactions."""

    kind: MessageKind
    text: str
    edited: bool = False
    media: MediaKind | None = None
    duration_seconds: int | None = None


def is_page_message(row: object) -> bool:
    """Return whether a decoded value has the members of a message of a page."""
    return isinstance(row, dict) and "sender_name" in row and "timestamp_ms" in row


PAGE = JsonFormat(is_page_message, frozenset({"participants", "messages"}))


class ChatReader:
    """Reads the documents of one chat, whose messages are in the array `messages`.

    The members of documents and messages are those of pages; a format with other members overrides what differs.
    """

    records = frozenset({Detail.MEDIA_KINDS, Detail.CALL_DURATIONS, Detail.REACTIONS})
    name_key = "sender_name"
    time_key = "timestamp_ms"
    title_key = "title"

    def __init__(self, platform: Platform, *, dialect: str, unnamed: str) -> None:
        self.platform = platform
        self.dialect = dialect
        self.unnamed = unnamed

    def chats(self, documents: list[Document]) -> list[ChatInUpload]:
        """Return one chat for each folder: its documents are the pages of the chat."""
        folders: dict[str, list[Document]] = {}
        for document in documents:
            folders.setdefault(document.folder, []).append(document)
        # An archive lists its files in any order, and sorts message_10.json before message_2.json.
        for pages in folders.values():
            pages.sort(key=_page_number)
        return [ChatInUpload(partial(self.describe, pages), partial(self.parse, pages)) for pages in folders.values()]

    def describe(self, pages: list[Document]) -> tuple[str, int]:
        """Return a chat's title and its number of messages by people; 0 if it cannot be read.

        Earlier texts of edited messages count as well: to find them takes most of the time of parsing.
        """
        texts: list[bytes] = []
        left_bytes = UNPACKED_LIMIT_BYTES
        for page in pages:
            texts.append(page.text())
            left_bytes -= len(texts[-1])
            if left_bytes < 0:
                return self.unnamed, 0
        try:
            title = self._header(min(texts, key=len))[0]
            count = sum(map(self._count_by_people, texts))
        except MalformedJson:
            return self.unnamed, 0
        return title or self.unnamed, count

    def parse(self, pages: list[Document]) -> ParsedExport:
        """Parse the pages of one chat, newest first. Raise ExportRefused, also while batches are read."""
        texts = read_pages(pages)
        try:
            # Every page has the title. The shortest page is read, because its messages have to be skipped.
            title, people = self._header(min(texts, key=len))
        except MalformedJson:
            title, people = "", 0
        export = ParsedExport(
            platform=self.platform,
            dialect=self.dialect,
            date_order="ymd",
            ambiguous_dates=False,
            batches=iter(()),
            participants=[],
            # The title of a chat of two people is the other person's name.
            title=title if people > 2 else "",
            clock=CLOCK,
            records=self.records,
        )
        export.batches = batches_of(export, self._rows(texts, People(export.participants)))
        return export

    def _header(self, page: bytes) -> tuple[str, int]:
        """Return the title and the number of people. Raise MalformedJson."""
        title, people = "", 0
        cursor = JsonCursor(page)
        for key in cursor.members():
            if key == self.title_key:
                title = self.title(text_of(cursor.value()))
            elif key == "participants" and cursor.starts_with(b"["):
                people = len(cursor.value())
        return clean_title(title), people

    def _count_by_people(self, page: bytes) -> int:
        """Return the number of messages by people on a page. Raise MalformedJson."""
        senders = _Senders(self)
        cursor = JsonCursor(page)
        for key in cursor.members():
            if key == "messages" and cursor.starts_with(b"["):
                return sum(
                    isinstance(message, dict)
                    and self._seconds(message) is not None
                    and self.content(message, senders[text_of(message.get(self.name_key))]).kind
                    is not MessageKind.SYSTEM
                    for window in cursor.windows()
                    for message in window.rows
                )
        return 0

    def _rows(self, pages: list[bytes], people: People) -> Iterator[Row]:
        return without_originals(self._messages(pages, people))

    def _messages(self, pages: list[bytes], people: People) -> Iterator[tuple[Row, bool]]:
        """Yield each message, and whether it may be an edited one because it alone lacks a member."""
        senders = _Senders(self)
        has_marks = False
        for page in reversed(pages):
            for message in self._oldest_first(page):
                if not isinstance(message, dict) or (seconds := self._seconds(message)) is None:
                    continue
                by = senders[text_of(message.get(self.name_key))]
                kind, text, edited, media_kind, duration_seconds = self.content(message, by)
                sender = SYSTEM_SENDER if kind is MessageKind.SYSTEM else people.number(by.names[0])
                reactions = self._reactions(message, people) if message.get("reactions") else ()
                details = NO_DETAILS
                if reactions or media_kind or duration_seconds is not None:
                    details = Details(media=media_kind, duration_seconds=duration_seconds, reactions=reactions)
                is_marked = _NOT_EDITED_KEY not in message
                yield Row(seconds, sender, int(kind), text, edited, details), has_marks and is_marked
                has_marks = has_marks or not is_marked

    def _oldest_first(self, page: bytes) -> Iterator[Any]:
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
                if isinstance(row, dict) and (seconds := self._seconds(row)) is not None:
                    first, last = seconds if first is None else first, seconds
        # Equal times mean a page in the usual order, newest first.
        is_ascending = first is not None and first < last
        for start, end in spans if is_ascending else reversed(spans):
            rows = decode(b"[" + page[start:end] + b"]")
            yield from rows if is_ascending else reversed(rows)

    def _seconds(self, message: dict[str, Any]) -> int | None:
        milliseconds = whole_number(message.get(self.time_key))
        if milliseconds is None:
            return None
        seconds = milliseconds // 1000
        return seconds if is_possible(seconds) else None

    def _reactions(self, message: dict[str, Any], people: People) -> tuple[Reaction, ...]:
        """Return the emoji in order of their first use."""
        names: dict[str, list[str]] = {}
        reactions = message["reactions"]
        for reaction in reactions if isinstance(reactions, list) else ():
            if isinstance(reaction, dict):
                emoji = self.text(reaction.get("reaction")).strip()
                if emoji and len(emoji) <= REACTION_LIMIT_CHARS:
                    actor = self.text(reaction.get("actor")).strip() or self.unnamed
                    names.setdefault(emoji, []).append(people.reacting(actor))
        return tuple(Reaction(emoji, len(actors), tuple(actors)) for emoji, actors in names.items())

    def text(self, value: object) -> str:
        """Return a string as its writer typed it; empty for other values."""
        return repaired(text_of(value))

    def title(self, value: str) -> str:
        """Return the title of a chat from its member."""
        return repaired(value)

    def content(self, message: dict[str, Any], by: Sender) -> Content:
        """Return what a message is. `by` is its sender."""
        text = self.text(message.get("content"))
        is_plain = _SPECIAL_KEYS.isdisjoint(message)
        has_other_members = not is_plain and not _OTHER_KEYS.isdisjoint(message)
        field = meta_sentences().field_of(text, by, has_other_members=has_other_members) if text else None
        # Most messages are only a text of a person.
        if text and field is None and is_plain and text[-1] != ")":
            return Content(MessageKind.TEXT, text)
        if message.get("is_unsent") is True:
            return Content(MessageKind.DELETED, UNSENT)
        is_text = _ATTACHMENT_KEYS.isdisjoint(message)
        kind = message.get("type")
        if field in _SYSTEM and (is_text or "share" in message):
            return Content(MessageKind.SYSTEM, text)
        if "call_duration" in message or kind == "Call" or field == "call":
            return _call(text, message.get("call_duration"))
        if text and isinstance(kind, str) and kind in _SYSTEM_TYPES:
            return Content(MessageKind.SYSTEM, text)
        if is_text:
            if not text and any(message.get(key) is True for key in _HIDDEN_KEYS):
                return Content(MessageKind.DELETED, UNAVAILABLE)
            return written(text, field)
        return self._attached(message, text, field)

    def _attached(self, message: dict[str, Any], text: str, field: str | None) -> Content:
        """Return a message with a file, a sticker or a link. `text` is a sentence of Meta if `field` names it."""
        words = "" if field in SENT or field in _SYSTEM or field in ("shared", "location", "contact") else text
        for key, (one, many, media_kind) in _FILES.items():
            files = message.get(key)
            if isinstance(files, list) and files:
                return Content(*media(one if len(files) == 1 else f"{len(files)} {many}", words), media=media_kind)
        if "sticker" in message:
            return Content(*media("Sticker", words), media=MediaKind.STICKER)
        share = message.get("share")
        link = self.text(share.get("link")) if isinstance(share, dict) else ""
        if field == "location":
            return Content(MessageKind.LOCATION, lines("Location", link))
        if words or link:
            before, edited = meta_sentences().split_edited_note(words)
            words = before if edited else words
            return Content(MessageKind.TEXT, lines(words, link if link not in words else ""), edited)
        return Content(*media("Attachment" if text else "Message without text"))


class _Senders(dict[str, Sender]):
    """Map of the printed name → who may write sentences of Meta, for one chat."""

    def __init__(self, reader: ChatReader) -> None:
        super().__init__()
        self._reader = reader
        self._owner = Owner()

    def __missing__(self, printed: str) -> Sender:
        name = self._reader.text(printed).strip() or self._reader.unnamed
        self[printed] = sender = meta_sentences().sender(name, self._owner)
        return sender


def written(text: str, field: str | None) -> Content:
    """Return a message that has only a text, which is a sentence of Meta if `field` names it."""
    if field in SENT:
        placeholder, media_kind = SENT[field]
        return Content(*media(placeholder), media=media_kind)
    if field == "location":
        return Content(MessageKind.LOCATION, "Location")
    if field == "contact":
        return Content(MessageKind.CONTACT, "Contact")
    if field in ("unsent", "unavailable"):
        return Content(MessageKind.DELETED, text)
    if not text:
        return Content(*media("Message without text"))
    before, edited = meta_sentences().split_edited_note(text)
    return Content(MessageKind.TEXT, before if edited else text, edited)


def _call(text: str, seconds: object) -> Content:
    return Content(MessageKind.CALL, call(text.rstrip(".") or "Call", seconds), duration_seconds=duration(seconds))


def without_originals(messages: Iterable[tuple[Row, bool]]) -> Iterator[Row]:
    """Yield the rows without the texts that an edited row replaces: Meta exports both, each at its own time.

    A row with True is also an edited one if a note in any language ends its text and the text resembles an earlier one.
    """
    waiting: deque[Row] = deque()
    n_left = 0
    replaced: set[int] = set()
    # The numbers of each sender's last texts. Searching all waiting rows takes long if many people write.
    texts_of: dict[int, deque[int]] = {}
    trigrams = _Trigrams()
    text_kind = int(MessageKind.TEXT)
    for number, (row, may_be_edited) in enumerate(messages):
        while waiting and (len(waiting) == WAITING_ROWS or row.seconds - waiting[0].seconds > EDITABLE_SECONDS):
            earliest = waiting.popleft()
            if n_left in replaced:
                replaced.remove(n_left)
            else:
                yield earliest
            n_left += 1
        waiting.append(row)
        if row.kind != text_kind:
            continue
        if (texts := texts_of.get(row.sender)) is None:
            if len(texts_of) == 2 * WAITING_ROWS:
                texts_of = {sender: own for sender, own in texts_of.items() if own[-1] >= n_left}
            texts = texts_of[row.sender] = deque(maxlen=COMPARED_TEXTS)
        edited = row if row.edited else None
        if may_be_edited and not edited and row.text.endswith(")"):
            edited = row._replace(text=meta_sentences().split_edited_note(row.text)[0], edited=True)
        if edited:
            earlier = {each: waiting[each - n_left] for each in texts if each >= n_left}
            original = _find_original(edited.text, earlier, trigrams)
            if original is not None:
                texts.remove(original)
                replaced.add(original)
                details = earlier[original].details if row.details is NO_DETAILS else row.details
                waiting[-1] = edited._replace(details=details)
        texts.append(number)
    for position, row in enumerate(waiting, n_left):
        if position not in replaced:
            yield row


class _Trigrams(dict[str, frozenset[tuple[str, str, str]]]):
    """The sequences of three characters in the texts that were compared last."""

    def __missing__(self, text: str) -> frozenset[tuple[str, str, str]]:
        if len(self) == WAITING_ROWS:
            self.clear()
        # The marks at both ends make the shortest texts comparable.
        marked = f"\0\0{text[:COMPARED_CHARS].casefold()}\0"
        self[text] = trigrams = frozenset(zip(marked, marked[1:], marked[2:], strict=False))
        return trigrams

    def likeness(self, one: str, other: str) -> float:
        """Return from 0 to 1 how alike two texts are."""
        if one == other:
            return 1
        short, long = (one, other) if len(one) < len(other) else (other, one)
        # Words were added to a short text. A single character begins too many texts.
        if len(short) > 1 and long.startswith(short) and not long[len(short)].isalnum():
            return 0.9
        # Two letters of a short text were exchanged.
        if len(short) == len(long) < 20 and sorted(short) == sorted(long):
            return 0.8
        own, others = self[one], self[other]
        return 2 * len(own & others) / (len(own) + len(others))


def _find_original(text: str, earlier: dict[int, Row], trigrams: _Trigrams) -> int | None:
    """Return the number of the row that an edited text resembles most, the latest of several; None if none does."""
    best, likeness = None, 0.0
    for number in reversed(earlier):
        found = trigrams.likeness(earlier[number].text, text)
        if found >= MIN_LIKENESS and found > likeness:
            best, likeness = number, found
        if likeness == 1:
            break
    return best


def repaired(text: str) -> str:
    """Return text whose UTF-8 was decoded as Latin-1, decoded correctly; other text unchanged."""
    if text.isascii():
        return text
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        # A character above U+00FF, or bytes that are not UTF-8: the exporter wrote this string correctly.
        return text


def _page_number(page: Document) -> int:
    number = _PAGE_NUMBER.search(page.name)
    return int(number[1]) if number else 0
