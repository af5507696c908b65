"""Convert the rows of a JSON parser to batches of columns, and the values that such parsers share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, datetime
from math import isfinite
from typing import NamedTuple

from chats.exports.bidi import BIDI_MARKS
from chats.exports.errors import DamagedExport, NoMessages, OnlySystemMessages, TooManyPeople
from chats.exports.json_stream import MalformedJson
from chats.exports.parsed import (
    NAME_LIMIT,
    NO_DETAILS,
    PEOPLE_LIMIT,
    SYSTEM_SENDER,
    Batch,
    Details,
    MessageKind,
    ParsedExport,
    writable,
)

BATCH_MESSAGES = 5_000
#: A batch also ends with the message that exceeds this: 5,000 messages can be as long as the whole export.
BATCH_CHARS = 4_000_000

_EPOCH = date(1970, 1, 1).toordinal()
#: No messenger is older than 1990. Later times come from a wrong clock.
FIRST_SECOND, LAST_SECOND = ((date(year, 1, 1).toordinal() - _EPOCH) * 86_400 for year in (1990, 2100))


class Row(NamedTuple):
    """One message of a JSON export. `sender` is the number of a participant, or SYSTEM_SENDER."""

    seconds: int
    sender: int
    kind: int
    text: str
    edited: bool = False
    details: Details = NO_DETAILS
    utc_offset: int | None = None


def batches_of(export: ParsedExport, rows: Iterable[Row]) -> Iterator[Batch]:
    """Yield the rows in batches, and count them in the export.

    Raise DamagedExport, NoMessages, OnlySystemMessages or TooManyPeople.
    """
    remaining = iter(rows)
    number = 1
    while chunk := _next_chunk(remaining):
        seconds, senders, kinds, texts, edited, all_details, offsets = map(list, zip(*chunk, strict=True))
        n_system = senders.count(SYSTEM_SENDER)
        export.n_system += n_system
        export.n_messages += len(chunk) - n_system
        if len(export.participants) > PEOPLE_LIMIT:
            raise TooManyPeople
        positions = frozenset(position for position, is_edited in enumerate(edited) if is_edited)
        details = {position: each for position, each in enumerate(all_details) if each is not NO_DETAILS}
        utc_offsets = offsets if any(offset is not None for offset in offsets) else None
        yield Batch(number, seconds, senders, kinds, _writable(texts), positions, details, utc_offsets)
        number += len(chunk)
    if not export.n_messages:
        if export.n_unreadable:
            raise DamagedExport
        raise OnlySystemMessages if export.n_system else NoMessages


def _next_chunk(rows: Iterator[Row]) -> list[Row]:
    chunk: list[Row] = []
    left_chars = BATCH_CHARS
    try:
        for row in rows:
            chunk.append(row)
            left_chars -= len(row.text)
            if left_chars <= 0 or len(chunk) == BATCH_MESSAGES:
                break
    except MalformedJson as error:
        raise DamagedExport from error
    return chunk


class People(dict[object, int]):
    """Map of account (or name) → participant's number. Two accounts with one name remain two people."""

    def __init__(self, participants: list[str]) -> None:
        super().__init__()
        self.participants = participants
        self._times_named: dict[str, int] = {}
        #: The names of accounts that have only reacted.
        self._reserved: dict[object, str] = {}

    def number(self, name: str, account: object = None) -> int:
        """Return the number of a person, who becomes a participant when first seen."""
        key = name if account is None else account
        number = self.get(key)
        if number is None:
            self[key] = number = len(self.participants)
            self.participants.append(self._reserved.pop(key, "") or self._unique(name))
        return number

    def reacting(self, name: str, account: object = None) -> str:
        """Return the name of a person who reacts, who need not be a participant.

        An account keeps the name when it becomes a participant. Without an account, people of one name are one person.
        """
        number = self.get(name if account is None else account)
        if number is not None:
            return self.participants[number]
        if account is None:
            return clean_title(name) or "Unknown"
        if account not in self._reserved:
            self._reserved[account] = self._unique(name)
        return self._reserved[account]

    def _unique(self, name: str) -> str:
        """Return the name, numbered if another person has it."""
        name = unique = clean_title(name) or "Unknown"
        # A person can be named `Asha (2)`, so the numbered name is checked too. The counter of each name keeps many
        # people with one name from taking quadratic time.
        while unique in self._times_named:
            self._times_named[name] += 1
            unique = f"{name} ({self._times_named[name]})"
        self._times_named[unique] = 1
        return unique


def clean_title(name: str) -> str:
    """Return the name of a person or group without invisible marks; empty if nothing else remains."""
    return writable(name[:NAME_LIMIT].translate(BIDI_MARKS)).strip()


def _writable(texts: list[str]) -> list[str]:
    # One check of all texts costs less than one of each: nearly all batches pass.
    together = "".join(texts)
    if "\r" in together:
        texts = [text.replace("\r\n", "\n").replace("\r", "\n") for text in texts]
    try:
        together.encode()
    except UnicodeEncodeError:
        return list(map(writable, texts))
    return list(map(writable, texts)) if "\0" in together else texts


def is_possible(seconds: int) -> bool:
    """Return whether wall-clock seconds are between 1990 and 2099."""
    return FIRST_SECOND <= seconds < LAST_SECOND


class WallClock:
    """Convert `2024-03-14T09:05:00` to wall-clock seconds, with caches of the few distinct days and times."""

    def __init__(self) -> None:
        self._days: dict[str, int] = {}
        self._times: dict[str, int] = {}

    def seconds(self, printed: object) -> int | None:
        """Return wall-clock seconds; None if it is not a date, or not between 1990 and 2099."""
        if not isinstance(printed, str) or not 10 <= len(printed) <= 40:
            return None
        day, time = self._days.get(printed[:10]), self._times.get(printed[10:])
        if day is not None and time is not None:
            return day + time
        try:
            parsed = datetime.fromisoformat(printed)
        except ValueError:
            return None
        day = (parsed.toordinal() - _EPOCH) * 86_400
        time = parsed.hour * 3600 + parsed.minute * 60 + parsed.second
        if not is_possible(day):
            return None
        # `fromisoformat` accepts more forms, such as 20240314T0905. Their first ten characters are not a day.
        if len(printed) == 19 and printed[4] == printed[7] == "-" and printed[13] == printed[16] == ":":
            self._days[printed[:10]], self._times[printed[10:]] = day, time
        return day + time


def whole_number(value: object) -> int | None:
    """Return 5, 5.0 or "5" as an integer, because exporters differ; None for other values."""
    if type(value) is int:
        return value
    if isinstance(value, str) and len(value) <= 20 and value.isascii() and value.isdigit():
        return int(value)
    return int(value) if isinstance(value, float) and isfinite(value) else None


def text_of(value: object) -> str:
    """Return the value if it is a string, otherwise an empty string."""
    return value if isinstance(value, str) else ""


def lines(*parts: str) -> str:
    """Return the parts that are not empty, one on each line."""
    return "\n".join(filter(None, parts))


def media(placeholder: str, caption: str = "") -> tuple[MessageKind, str]:
    """Return a media message: the placeholder and, on the next line, the caption."""
    return MessageKind.MEDIA, lines(f"<{placeholder}>", caption)


def duration(value: object) -> int | None:
    """Return a number of seconds above 0; None for other values, and for those that no column of the database takes."""
    return value if type(value) is int and 0 < value < 2**31 else None


def call(name: str, value: object) -> str:
    """Return the text of a call, such as `Video call, 2 min 5 s`."""
    seconds = duration(value)
    if seconds is None:
        return name
    minutes, rest = divmod(seconds, 60)
    return ", ".join((name, " ".join(filter(None, (f"{minutes} min" * bool(minutes), f"{rest} s" * bool(rest))))))
