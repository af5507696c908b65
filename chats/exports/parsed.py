"""The result of every parser: messages in columns, in file order, one batch at a time.

A batch contains parallel lists instead of message objects: parsing, counting and sealing a million messages must not
create a million objects.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from itertools import chain
from typing import Literal, NamedTuple

SYSTEM_SENDER = -1
#: The largest groups have 200,000 members, of whom few write. More senders mean a hostile file.
PEOPLE_LIMIT = 250_000
#: In characters. Messengers allow fewer, but phone books do not.
NAME_LIMIT = 255

#: What `seconds` count: the wall clock as printed (local), or instants (utc).
Clock = Literal["local", "utc"]


class Platform(StrEnum):
    """A messenger whose exports are read. The database stores the value, and the API shows it."""

    WHATSAPP = "whatsapp"
    TELEGRAM = "telegram"
    INSTAGRAM = "instagram"
    MESSENGER = "messenger"


class MessageKind(IntEnum):
    """What a message is. The database stores the numbers."""

    TEXT = 0
    MEDIA = 1
    DELETED = 2
    CALL = 3
    POLL = 4
    LOCATION = 5
    CONTACT = 6
    SYSTEM = 7

    @property
    def label(self) -> str:
        """Return the name that the API and the statistics use."""
        return self.name.lower()


class MediaKind(StrEnum):
    """What a media message contains. The blocks store the values, and the API shows them."""

    PHOTO = "photo"
    VIDEO = "video"
    VOICE = "voice"
    AUDIO = "audio"
    GIF = "gif"
    STICKER = "sticker"
    DOCUMENT = "document"


class Detail(StrEnum):
    """What an export can say about messages besides their texts. The database stores the values."""

    MEDIA_KINDS = "media_kinds"
    CALL_DURATIONS = "call_durations"
    VOICE_DURATIONS = "voice_durations"
    FORWARDS = "forwards"
    REPLIES = "replies"
    REACTIONS = "reactions"


class Reaction(NamedTuple):
    """An emoji, and the number of people who reacted with it.

    `people` are the names of those whom the export names, as in `ParsedExport.participants`: people can react who
    write nothing, or not yet.
    """

    emoji: str
    total: int
    people: tuple[str, ...] = ()


class Details(NamedTuple):
    """What an export says about a message besides its text. Most messages have no details.

    `duration_seconds` is that of a call, a video or a voice message. `reply_to` is the number of the message that this
    one answers, or 0 if the export does not contain that message, and `reply_to_sender` is its sender.
    """

    media: MediaKind | None = None
    duration_seconds: int | None = None
    is_forwarded: bool = False
    reply_to: int | None = None
    reply_to_sender: int = SYSTEM_SENDER
    reactions: tuple[Reaction, ...] = ()

    def with_names(self, names: Mapping[str, str]) -> Details:
        """Return the details with other names of the people who reacted; a name that is not in `names` stays."""
        if not self.reactions:
            return self
        reactions = [
            reaction._replace(people=tuple(names.get(name, name) for name in reaction.people))
            for reaction in self.reactions
        ]
        return self._replace(reactions=tuple(reactions))


NO_DETAILS = Details()


class Message(NamedTuple):
    """One message. `sent_at` is naive: the export's clock; `utc_offset` is by how many seconds it is ahead of UTC."""

    number: int
    sent_at: datetime
    sender: str | None
    kind: MessageKind
    text: str
    edited: bool = False
    details: Details = NO_DETAILS
    utc_offset: int | None = None


def wall_clock(seconds: int) -> datetime:
    """Return seconds of the wall clock since 1970-01-01 00:00 as a naive datetime."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)


def writable(text: str) -> str:
    """Return the text without NUL, with surrogate pairs joined and lone surrogates replaced; JSON can contain them."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text.replace("\0", "")


@dataclass(slots=True)
class Batch:
    """Consecutive messages in columns of equal length; `first_number` is the number of the first one (from 1).

    `seconds` are seconds since 1970-01-01 of the export's `clock`. `senders` are indexes into
    `ParsedExport.participants`, or SYSTEM_SENDER. `kinds` are values of `MessageKind`, SYSTEM exactly for the lines
    without a sender. `edited` contains positions in the batch. Texts are encodable as UTF-8 and as printed, without
    the invisible marks around WhatsApp's own words; a caption is on the line after its placeholder.

    `details` are by position. `utc_offsets` are the seconds by which the clock of each message is ahead of UTC: None
    for a message, or for all of them, if the export does not contain it. `numbers` are given only if they are not
    consecutive.
    """

    first_number: int
    seconds: list[int]
    senders: list[int]
    kinds: list[int]
    texts: list[str]
    edited: frozenset[int] = frozenset()
    details: Mapping[int, Details] = field(default_factory=dict)
    utc_offsets: list[int | None] | None = None
    numbers: Sequence[int] | None = None

    def __len__(self) -> int:
        return len(self.seconds)

    def slice(self, start: int, stop: int) -> Batch:
        """Return the messages at the positions from `start` to before `stop`."""
        return Batch(
            self.first_number + start,
            self.seconds[start:stop],
            self.senders[start:stop],
            self.kinds[start:stop],
            self.texts[start:stop],
            frozenset(position - start for position in self.edited if start <= position < stop),
            {position - start: details for position, details in self.details.items() if start <= position < stop},
            None if self.utc_offsets is None else self.utc_offsets[start:stop],
        )

    def number_at(self, position: int) -> int:
        """Return the number of the message at a position."""
        return self.first_number + position if self.numbers is None else self.numbers[position]

    def between(self, start: int, end: int) -> Batch:
        """Return the messages with `start` <= seconds < `end`, which keep their numbers."""
        positions = [position for position, seconds in enumerate(self.seconds) if start <= seconds < end]
        if len(positions) == len(self):
            return self
        kept = {position: new for new, position in enumerate(positions)}
        return Batch(
            self.first_number,
            [self.seconds[position] for position in positions],
            [self.senders[position] for position in positions],
            [self.kinds[position] for position in positions],
            [self.texts[position] for position in positions],
            frozenset(kept[position] for position in self.edited if position in kept),
            {kept[position]: details for position, details in self.details.items() if position in kept},
            None if self.utc_offsets is None else [self.utc_offsets[position] for position in positions],
            [self.number_at(position) for position in positions],
        )

    @classmethod
    def joined(cls, parts: Sequence[Batch]) -> Batch:
        """Return the messages of one batch or more, in order, with their numbers."""
        length, edited, details, is_consecutive = 0, set[int](), dict[int, Details](), True
        for part in parts:
            is_consecutive &= part.numbers is None and part.first_number == parts[0].first_number + length
            edited.update(length + position for position in part.edited)
            details.update((length + position, each) for position, each in part.details.items())
            length += len(part)
        utc_offsets = numbers = None
        if any(part.utc_offsets is not None for part in parts):
            utc_offsets = list(chain.from_iterable(part.utc_offsets or [None] * len(part) for part in parts))
        if not is_consecutive:
            numbers = [part.number_at(position) for part in parts for position in range(len(part))]
        return cls(
            parts[0].first_number,
            list(chain.from_iterable(part.seconds for part in parts)),
            list(chain.from_iterable(part.senders for part in parts)),
            list(chain.from_iterable(part.kinds for part in parts)),
            list(chain.from_iterable(part.texts for part in parts)),
            frozenset(edited),
            details,
            utc_offsets,
            numbers,
        )

    def followed_by(self, other: Batch) -> Batch:
        """Return the messages of both. Raise ValueError if the other does not begin with the next number."""
        if other.first_number != self.first_number + len(self):
            raise ValueError(f"message {other.first_number} follows {self.first_number + len(self) - 1}")
        return Batch.joined([self, other])

    def messages(self, participants: list[str]) -> Iterator[Message]:
        """Yield the messages with the names of their senders."""
        rows = zip(self.seconds, self.senders, self.kinds, self.texts, strict=True)
        for position, (seconds, sender, kind, text) in enumerate(rows):
            name = None if sender == SYSTEM_SENDER else participants[sender]
            yield Message(
                self.number_at(position),
                wall_clock(seconds),
                name,
                MessageKind(kind),
                text,
                position in self.edited,
                self.details.get(position, NO_DETAILS),
                self.utc_offsets[position] if self.utc_offsets is not None else None,
            )


@dataclass
class ParsedExport:
    """An export whose dialect is known. Its messages are read while `batches` is consumed, once.

    `participants`, in order of first appearance, and `title`, the name of a group, are complete when the batches are
    exhausted. `n_messages` counts the messages of people, `n_system` the system lines; message numbers include both.

    `clock` is "local" if `seconds` are the wall clock (WhatsApp, Telegram), or "utc" if they are instants
    (Instagram, Messenger), which are shown in the chat's time zone, UTC until its owner sets one.

    `records` are the details that exports of this kind contain. `n_unreadable` counts values that were left out because
    the messenger wrote them wrongly, `n_future` messages that are dated later than now. Both are complete when the
    batches are exhausted.
    """

    platform: Platform
    dialect: str
    date_order: str
    ambiguous_dates: bool
    batches: Iterator[Batch]
    participants: list[str]
    title: str = ""
    n_messages: int = 0
    n_system: int = 0
    clock: Clock = "local"
    records: frozenset[Detail] = frozenset()
    n_unreadable: int = 0
    n_future: int = 0
