"""What every parser returns: an export's messages in columns, in file order, a batch at a time.

A batch holds parallel lists rather than message objects: a million messages
must pass through parsing, counting and sealing without a million objects.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import Literal, NamedTuple

SYSTEM_SENDER = -1
#: The largest groups have 200,000 members, of whom few write; beyond, a file was made to hurt.
PEOPLE_LIMIT = 250_000
#: Characters. Messengers allow far fewer, but phone books do not.
NAME_LIMIT = 255

#: What an export's seconds count: the wall clock as printed, or instants whose wall clock the export does not say.
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
        return self.name.lower()


class Message(NamedTuple):
    """One message as a reader sees it. `sent_at` is naive: what the export's clock says."""

    number: int
    sent_at: datetime
    sender: str | None
    kind: MessageKind
    text: str
    edited: bool = False


def wall_clock(seconds: int) -> datetime:
    """Seconds of the wall clock since 1970-01-01 00:00, read as if in UTC, to a naive datetime."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)


def writable(text: str) -> str:
    """Text without NUL that UTF-8 can write: surrogate pairs joined, a lone half replaced. JSON may hold them all."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text.replace("\0", "")


@dataclass(slots=True)
class Batch:
    """Consecutive messages in columns of one length; `first_number` is the number of the first (from 1).

    `seconds` are seconds since 1970-01-01 of the export's `clock`; `senders` index
    `ParsedExport.participants`, SYSTEM_SENDER for system lines; `kinds` are
    `MessageKind` values, SYSTEM exactly where nobody sent the line; `edited` holds
    positions within the batch. Texts are `writable` and as printed, without the
    invisible marks around WhatsApp's own words; a caption stands below its placeholder.
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
    """An export whose dialect is known and whose messages are read while `batches` is consumed, once.

    `participants` grows as the batches are read and is complete, in order of
    first appearance, when they are exhausted. So is `title`, a group's name if
    the export says it. `n_messages` counts what people
    sent, `n_system` the system lines; message numbers run over both.

    `clock` says how `seconds` are read: "local" as the wall clock (WhatsApp and
    Telegram print it), "utc" as instants (Instagram), which whoever shows them
    converts to the chat's time zone: UTC until its owner sets one.
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
