"""Parse the text of a WhatsApp export: detect the dialect, then split the bytes with the one pattern of it.

A window of the file at a time is split into flat columns, which are mapped
through caches of the few distinct dates, times and names it holds: a million
messages cost neither a million objects nor a second copy of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from operator import add

from chats.exports.bidi import MARK, without_marks
from chats.exports.dates import MAX_DATES, DateOrder, DaySeconds, TimeSeconds, decide_order
from chats.exports.dialect import SAMPLE_BYTES, Dialect, detect_dialect
from chats.exports.errors import NotAChatExport, OnlySystemMessages
from chats.exports.group_subjects import GroupSubjects, may_hold_subject
from chats.exports.parsed import NAME_LIMIT, SYSTEM_SENDER, Batch, Clock, MessageKind, ParsedExport, Platform
from chats.exports.phrases import PHRASES
from chats.exports.platforms import ChatInUpload, count_messages
from chats.exports.senders import SenderNumbers, clean_name
from chats.exports.unpacking import Document, rank

BATCH_MESSAGES = 5_000
WINDOW_BYTES = 512 * 1024
# A window is longer where one message is, or where no date is possible: then a split would be many times its size.
_SPLIT_LIMIT_BYTES = 4 * WINDOW_BYTES

_COLUMNS = 5  # opening, date, time, sender, body
_BRACKET = b"["
_FILE_NAME = re.compile(r"whatsapp chat (?:with|-) |\.txt$", re.IGNORECASE)


class WhatsAppParser:
    """Reads the text that "Export chat" makes."""

    platform = Platform.WHATSAPP
    name = "WhatsApp"
    clock: Clock = "local"
    has_date_order = True
    json_format = None

    def find_chats(self, documents: list[Document], *, date_order: str | None) -> list[ChatInUpload]:
        """Return the texts with the most likely names: `_chat.txt`, or else `WhatsApp Chat with ….txt`, or else all."""
        best = min(map(rank, documents))
        return [self._chat(document, date_order) for document in documents if rank(document) == best]

    def _chat(self, document: Document, date_order: str | None) -> ChatInUpload:
        def read() -> ParsedExport:
            return parse(document.text(), date_order=date_order)

        # An iPhone names every chat's file `_chat.txt`, and the archive's folder after the chat.
        folder = document.folder.rpartition("/")[2]
        title = _FILE_NAME.sub("", folder if folder and document.name.lower() == "_chat.txt" else document.name)
        return ChatInUpload(lambda: (title, count_messages(read)), read)


PARSER = WhatsAppParser()


def parse(text: bytes, *, date_order: str | None = None) -> ParsedExport:
    """Parse UTF-8 text. `date_order` (dmy, mdy, ymd) applies unless the dates of the file prove another order.

    Raises NotAChatExport at once, or when the batches end if no header held a possible date;
    OnlySystemMessages when they end and no person wrote anything; TooManyPeople while they are read.
    """
    dialect = detect_dialect(text)
    if dialect is None:
        raise NotAChatExport
    if dialect.newline == b"\n" and b"\r" in text:
        text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    orders = {bracket: _order(text, family, date_order) for bracket, family in dialect.families.items()}
    resolved = _resolve_orders(orders)
    export = ParsedExport(
        platform=PARSER.platform,
        dialect=dialect.name,
        date_order=next(iter(resolved.values())),
        ambiguous_dates=any(order.ambiguous for order in orders.values()),
        batches=iter(()),
        participants=[],
        clock=PARSER.clock,
    )
    export.batches = _Reader(text, dialect, resolved, export).batches()
    return export


def _resolve_orders(orders: dict[bool, DateOrder]) -> dict[bool, str]:
    """Return the order of headers with and without a bracket; one phone resolves a doubt about the other."""
    known = [order.order for order in orders.values() if not order.ambiguous and order.order != "ymd"]
    guessed = [order.order for order in orders.values() if order.ambiguous]
    return {bracket: (known or guessed)[0] if order.ambiguous else order.order for bracket, order in orders.items()}


def _order(text: bytes, dialect: Dialect, wanted: str | None) -> DateOrder:
    sample = _printed_dates(dialect.newline + text[:SAMPLE_BYTES], dialect)
    american = dialect.american(sample[0]) if sample else False
    return decide_order(
        sample,
        lambda: sample[:1] + _printed_dates(text, dialect),
        orders=dialect.orders,
        wanted=wanted,
        american=american,
    )


def _printed_dates(text: bytes, dialect: Dialect) -> list[bytes]:
    """Return the first MAX_DATES dates in file order, consecutive equal ones once."""
    dates: list[bytes] = []
    last, group = b"", dialect.date_group
    for match in dialect.pattern.finditer(text):
        printed = match[group]
        if printed != last:
            dates.append(printed)
            last = printed
            if len(dates) == MAX_DATES:
                break
    return dates


@dataclass
class _Records:
    """Records in file order. `openings` are the marks and bracket of each header; a sender can be None."""

    openings: list[bytes] = field(default_factory=list)
    seconds: list[int] = field(default_factory=list)
    senders: list[bytes | None] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def extend(self, other: _Records) -> None:
        self.openings += other.openings
        self.seconds += other.seconds
        self.senders += other.senders
        self.bodies += other.bodies

    def take(self, count: int) -> _Records:
        taken = _Records(self.openings[:count], self.seconds[:count], self.senders[:count], self.bodies[:count])
        del self.openings[:count], self.seconds[:count], self.senders[:count], self.bodies[:count]
        return taken


def _group_name(columns: _Records) -> str:
    """Return the group's name, under which an iPhone prints the first notice of a chat; empty without a notice."""
    for opening, sender, body in zip(columns.openings, columns.senders, columns.bodies, strict=True):
        if not opening.endswith(_BRACKET):
            break
        if PHRASES.classify(body).kind is MessageKind.SYSTEM:
            name = clean_name(sender)
            return name if len(name) <= NAME_LIMIT else ""
        if opening != _BRACKET or not body.startswith(MARK):
            break
    return ""


class _Reader:
    def __init__(self, text: bytes, dialect: Dialect, orders: dict[bool, str], export: ParsedExport) -> None:
        self.text = text
        self.dialect = dialect
        self.date_group, self.time_group = dialect.date_group, dialect.time_group
        self.has_brackets = True in orders
        self.export = export
        days = {order: DaySeconds(order) for order in set(orders.values())}
        self.days = {bracket: days[order] for bracket, order in orders.items()}
        self.same_days = days.popitem()[1] if len(days) == 1 else None
        self.times = TimeSeconds()
        self.names = SenderNumbers(export.participants)
        self.subjects = GroupSubjects()
        self.group = ""

    def batches(self) -> Iterator[Batch]:
        waiting = _Records()
        number = 1
        for window in self._windows():
            waiting.extend(self._columns(window))
            while len(waiting.bodies) >= BATCH_MESSAGES:
                yield self._batch(waiting.take(BATCH_MESSAGES), number)
                number += BATCH_MESSAGES
        if waiting.bodies:
            yield self._batch(waiting, number)
        if not self.export.n_messages:
            raise OnlySystemMessages if self.export.n_system else NotAChatExport
        people = self.export.participants
        if len(people) > 2 and self.group not in people:
            self.export.title = self.group

    def _windows(self) -> Iterator[bytes]:
        """Yield the text in parts that begin at the newline before a header and contain whole records."""
        text, newline = self.text, self.dialect.newline
        end = len(text) - _count_trailing_line_ends(text)
        start = 0
        while start < end:
            stop = self._next_record(start + WINDOW_BYTES, end)
            yield text[start:stop] if start else newline + text[:stop]
            start = stop

    def _next_record(self, position: int, end: int) -> int:
        for match in self.dialect.pattern.finditer(self.text, position, end):
            if self._sent_at(match) > 0:
                return match.start()
        return end

    def _sent_at(self, match: re.Match[bytes]) -> int:
        days = self.days[match[1].endswith(_BRACKET)]
        return days[match[self.date_group]] + self.times[match[self.time_group]]

    def _columns(self, window: bytes) -> _Records:
        if len(window) > _SPLIT_LIMIT_BYTES:
            return self._columns_one_by_one(window)
        parts = self.dialect.pattern.split(window)
        dates, times = parts[self.date_group :: _COLUMNS], parts[self.time_group :: _COLUMNS]
        openings = parts[1::_COLUMNS]
        seconds = list(map(add, self._midnights(openings, dates), map(self.times.__getitem__, times)))
        if seconds and min(seconds) < 0:
            return self._columns_one_by_one(window)
        return _Records(openings, seconds, parts[4::_COLUMNS], parts[5::_COLUMNS])

    def _midnights(self, openings: list[bytes], dates: list[bytes]) -> Iterable[int]:
        if self.same_days is not None:
            return map(self.same_days.__getitem__, dates)
        return (self.days[opening.endswith(_BRACKET)][date] for opening, date in zip(openings, dates, strict=True))

    def _columns_one_by_one(self, window: bytes) -> _Records:
        """Return the records; a header with an impossible date belongs to the text of the message before it."""
        headers = [match for match in self.dialect.pattern.finditer(window) if self._sent_at(match) > 0]
        ends = [match.start() for match in headers[1:]] + [len(window)] * bool(headers)
        return _Records(
            [match[1] for match in headers],
            [self._sent_at(match) for match in headers],
            [match[4] for match in headers],
            [window[match.end() : end] for match, end in zip(headers, ends, strict=True)],
        )

    def _batch(self, columns: _Records, first_number: int) -> Batch:
        if self.dialect.newline == b"\r\n":
            columns.bodies = _with_bare_line_feeds(columns.bodies)
        bodies = columns.bodies
        kinds = [int(MessageKind.TEXT)] * len(bodies)
        edited = set()
        if first_number == 1:
            self.group = _group_name(columns)
        for position in PHRASES.notable(bodies):
            kinds[position], is_edited = self._read(columns, position)
            if is_edited:
                edited.add(position)
        if self.has_brackets:
            self._read_inner_marks(columns, kinds, edited)
        senders = self.names.assign(columns.senders, columns.bodies)
        n_system = senders.count(SYSTEM_SENDER)
        if n_system:
            self._restore_system_lines(senders, columns, kinds)
        self.export.n_system += n_system
        self.export.n_messages += len(bodies) - n_system
        return Batch(first_number, columns.seconds, senders, kinds, _decoded(bodies), frozenset(edited))

    def _read(self, columns: _Records, position: int) -> tuple[int, bool]:
        """Remove WhatsApp's marks from the body. Return its kind, and whether it was edited."""
        body, opening = columns.bodies[position], columns.openings[position]
        is_ios = opening.endswith(_BRACKET)
        kind, columns.bodies[position], edited = PHRASES.classify(body)
        if kind is MessageKind.TEXT and is_ios and body.startswith(MARK):
            # WhatsApp wrote it. A mark before the bracket means a placeholder in a language that phrases.toml lacks.
            kind = MessageKind.SYSTEM if opening == _BRACKET else MessageKind.MEDIA
        elif kind is MessageKind.SYSTEM and not is_ios:
            # Only iPhones print a sender for system lines, so a person typed this one.
            return int(MessageKind.TEXT), edited
        if kind is MessageKind.SYSTEM:
            columns.senders[position] = None
        return int(kind), edited

    def _read_inner_marks(self, columns: _Records, kinds: list[int], edited: set[int]) -> None:
        """Recognise what iPhones append to a message or to a group's subject that contains a colon."""
        rests: dict[int, bytes] = {}
        for position in [position for position, body in enumerate(columns.bodies) if MARK[0] in body]:
            body = columns.bodies[position]
            opening = columns.openings[position]
            if MARK not in body or kinds[position] != MessageKind.TEXT or not opening.endswith(_BRACKET):
                continue
            if (text := PHRASES.without_note(body)) is not None:
                columns.bodies[position] = text
                edited.add(position)
            elif (captioned := PHRASES.captioned(body)) is not None:
                kinds[position], columns.bodies[position] = int(captioned.kind), captioned.text
            elif opening == _BRACKET and may_hold_subject(body):
                rests[position] = body
        people = {
            printed
            for printed in map(columns.senders.__getitem__, rests)
            if self.names.get(printed, SYSTEM_SENDER) != SYSTEM_SENDER
        }
        for position, line in self.subjects.lines(columns.senders, rests, people):
            columns.senders[position], columns.bodies[position] = None, line
            kinds[position] = int(MessageKind.SYSTEM)

    @staticmethod
    def _restore_system_lines(senders: list[int], columns: _Records, kinds: list[int]) -> None:
        for position, sender in enumerate(senders):
            if sender == SYSTEM_SENDER:
                kinds[position] = int(MessageKind.SYSTEM)
                before = columns.senders[position]
                line = columns.bodies[position] if before is None else before + b": " + columns.bodies[position]
                columns.bodies[position] = without_marks(line)


def _count_trailing_line_ends(text: bytes) -> int:
    """Return the number of bytes of trailing line ends. Stripping the whole text would copy the file."""
    size = 64
    while True:
        tail = text[-size:]
        stripped = tail.rstrip(b"\r\n")
        if stripped or size >= len(text):
            return len(tail) - len(stripped)
        size *= 8


def _with_bare_line_feeds(bodies: list[bytes]) -> list[bytes]:
    """Replace CRLF inside messages: iPhones write bare line feeds there, except in pasted text."""
    if b"\r" not in b"".join(bodies):
        return bodies
    return [body.replace(b"\r\n", b"\n") for body in bodies]


def _decoded(bodies: list[bytes]) -> list[str]:
    try:
        return list(map(bytes.decode, bodies))
    except UnicodeDecodeError:
        return [body.decode("utf-8", "replace") for body in bodies]
