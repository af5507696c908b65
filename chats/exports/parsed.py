"""The result of every parser: messages in columns, in file order, one batch at a time.

A batch contains parallel lists instead of message objects: parsing, counting and sealing a million messages must not
create a million objects.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
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


class Message(NamedTuple):
    """One message. `sent_at` is naive: the export's clock."""

    number: int
    sent_at: datetime
    sender: str | None
    kind: MessageKind
    text: str
    edited: bool = False


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
    """

    first_number: int
    seconds: list[int]
    senders: list[int]
    kinds: list[int]
    texts: list[str]
    edited: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self.seconds)

    def messages(self, participants: list[str]) -> Iterator[Message]:
        """Yield the messages with the names of their senders."""
        rows = zip(self.seconds, self.senders, self.kinds, self.texts, strict=True)
        for position, (seconds, sender, kind, text) in enumerate(rows):
            name = None if sender == SYSTEM_SENDER else participants[sender]
            yield Message(
                self.first_number + position,
                wall_clock(seconds),
                name,
                MessageKind(kind),
                text,
                position in self.edited,
            )


@dataclass
class ParsedExport:
    """An export whose dialect is known. Its messages are read while `batches` is consumed, once.

    `participants`, in order of first appearance, and `title`, the name of a group, are complete when the batches are
    exhausted. `n_messages` counts the messages of people, `n_system` the system lines; message numbers include both.

    `clock` is "local" if `seconds` are the wall clock (WhatsApp, Telegram), or "utc" if they are instants
    (Instagram), which are shown in the chat's time zone, UTC until its owner sets one.
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
