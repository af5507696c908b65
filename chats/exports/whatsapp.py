"""Parse the text of a WhatsApp export: detect the dialect, then split the bytes with its pattern.

One window of the file at a time is split into flat columns. Caches convert the few distinct dates, times and names.
So a million messages create neither a million objects nor a second copy of the file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from operator import add

from chats.exports.bidi import ANY_OWN_MARK, LEFT_TO_RIGHT, OWN_MARKS, RIGHT_TO_LEFT, without_marks
from chats.exports.dates import MAX_DATES, DateOrder, DaySeconds, TimeSeconds, decide_order
from chats.exports.dialect import SAMPLE_BYTES, Dialect, detect_dialect
from chats.exports.errors import NotAChatExport, OnlySystemMessages
from chats.exports.file_names import extension_in, media_kind_of_file
from chats.exports.group_subjects import GroupSubjects
from chats.exports.marked import call_seconds, kind_of_marked, unknown_placeholder, without_note
from chats.exports.parsed import (
    NAME_LIMIT,
    SYSTEM_SENDER,
    Batch,
    Clock,
    Detail,
    Details,
    MediaKind,
    MessageKind,
    ParsedExport,
    Platform,
)
from chats.exports.phrases import PHRASES
from chats.exports.platforms import ChatInUpload, count_messages
from chats.exports.senders import SenderNumbers, clean_name
from chats.exports.unpacking import Document, rank

BATCH_MESSAGES = 5_000
WINDOW_BYTES = 512 * 1024
# A window is longer if one message is, or if it has no possible date. The parts of its split could take many times
# its size, so the records of a longer window are read one at a time.
_SPLIT_LIMIT_BYTES = 4 * WINDOW_BYTES

# A split returns the text before the first header, then for each record: opening, date, time, sender, body.
_COLUMNS = 5
_BRACKET = b"["
_MARKED_BRACKETS = tuple(mark + _BRACKET for mark in OWN_MARKS)
_OWN_MARK = re.compile(ANY_OWN_MARK)
# A file's name has at most 255 bytes.
_PLACEHOLDER_BYTES = 1_000
_DETAILS = {kind: Details(media=kind) for kind in MediaKind}
_FILE_NAME = re.compile(r"whatsapp chat (?:with|-) |\.txt$", re.IGNORECASE)


class WhatsAppParser:
    """The parser of the text that "Export chat" makes."""

    platform = Platform.WHATSAPP
    name = "WhatsApp"
    clock: Clock = "local"
    has_date_order = True
    reads_pages = False
    json_formats = ()

    def find_chats(
        self, documents: list[Document], *, date_order: str | None, now: datetime | None
    ) -> list[ChatInUpload]:
        """Return the texts with the most likely names: `_chat.txt`, or else `WhatsApp Chat with ….txt`, or else all."""
        best = min(map(rank, documents))
        return [self._chat(document, date_order, now) for document in documents if rank(document) == best]

    def _chat(self, document: Document, date_order: str | None, now: datetime | None) -> ChatInUpload:
        def read() -> ParsedExport:
            return parse(document.text(), date_order=date_order, now=now)

        # An iPhone names the file of every chat `_chat.txt`. The folder in the archive has the name of the chat.
        folder = document.folder.rpartition("/")[2]
        title = _FILE_NAME.sub("", folder if folder and document.name.lower() == "_chat.txt" else document.name)
        return ChatInUpload(lambda: (title, count_messages(read)), read)


PARSER = WhatsAppParser()


def parse(text: bytes, *, date_order: str | None = None, now: datetime | None = None) -> ParsedExport:
    """Parse UTF-8 text. `date_order` (dmy, mdy, ymd) applies unless the dates of the file prove another order.

    `now` is an aware time: an order or a calendar in which most dates are later is not used if another one fits.

    Raise NotAChatExport if no line begins like a message. While the batches are read, raise TooManyPeople, and at their
    end NotAChatExport if no header has a possible date, or OnlySystemMessages if no person wrote anything.
    """
    dialect = detect_dialect(text)
    if dialect is None:
        raise NotAChatExport
    if dialect.newline == b"\n" and b"\r" in text:
        # Headers after a bare CR, as old Macintosh editors write it, are headers too.
        text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    # The dates of each phone are decided separately. If one phone leaves a doubt, the order of the other applies.
    orders = {bracket: _decide_order(text, family, date_order, now) for bracket, family in dialect.families.items()}
    proven = [order.order for order in orders.values() if not order.ambiguous and order.order != "ymd"]
    guessed = [order.order for order in orders.values() if order.ambiguous]
    resolved = {
        bracket: order._replace(order=(proven or guessed)[0] if order.ambiguous else order.order)
        for bracket, order in orders.items()
    }
    export = ParsedExport(
        platform=PARSER.platform,
        dialect=dialect.name,
        date_order=next(iter(resolved.values())).order,
        ambiguous_dates=any(order.ambiguous for order in orders.values()),
        batches=iter(()),
        participants=[],
        clock=PARSER.clock,
        # Only iPhones print how long a call was.
        records=frozenset({Detail.MEDIA_KINDS, *([Detail.CALL_DURATIONS] if True in dialect.families else [])}),
    )
    export.batches = _BatchReader(text, dialect, resolved, export).batches()
    return export


def _decide_order(text: bytes, dialect: Dialect, wanted: str | None, now: datetime | None) -> DateOrder:
    """Return the order of the dates in headers of the dialect, from the beginning of the text if that is enough."""
    sample = _printed_dates(dialect.newline + text[:SAMPLE_BYTES], dialect)
    return decide_order(
        sample,
        # The pattern begins at a newline, so a header at the beginning of the text is only in the sample.
        lambda: sample[:1] + _printed_dates(text, dialect),
        orders=dialect.orders,
        wanted=wanted,
        american=bool(sample) and dialect.looks_american(sample[0]),
        now=now,
    )


def _printed_dates(text: bytes, dialect: Dialect) -> list[bytes]:
    """Return the first MAX_DATES dates in file order; consecutive equal ones appear once."""
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
    """Records in file order, in columns. `openings` are the marks and bracket before the date; a sender can be None."""

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

    def group_name(self) -> str:
        """Return the sender of an iPhone's first notice, which is the group's name; empty without a notice."""
        for opening, sender, body in zip(self.openings, self.senders, self.bodies, strict=True):
            if not opening.endswith(_BRACKET):
                break
            if PHRASES.classify(body).kind is MessageKind.SYSTEM:
                name = clean_name(sender)
                return name if len(name) <= NAME_LIMIT else ""
            # Only other notices, in languages that phrases.toml lacks, can come before it.
            if opening != _BRACKET or not body.startswith(OWN_MARKS):
                break
        return ""

    def own_marks(self) -> tuple[bytes, ...]:
        """Return the marks that WhatsApp wrote: before a bracket, or before its own words in a known language.

        A person's text can begin with the right-to-left mark too, which some keyboards type. So this mark counts unless
        WhatsApp wrote only the other one.
        """
        counts = Counter(
            opening[-len(_MARKED_BRACKETS[0]) : -1] for opening in self.openings if opening.endswith(_MARKED_BRACKETS)
        )
        for opening, body in zip(self.openings, self.bodies, strict=True):
            if (
                opening == _BRACKET
                and body.startswith(OWN_MARKS)
                and PHRASES.classify(body).kind is not MessageKind.TEXT
            ):
                counts[body[: len(LEFT_TO_RIGHT)]] += 1
        if 5 * counts[RIGHT_TO_LEFT] < counts[LEFT_TO_RIGHT]:
            return (LEFT_TO_RIGHT,)
        return OWN_MARKS

    def marks_headers_of_files(self) -> bool:
        """Return whether a mark before the bracket means that WhatsApp's words follow, as on nearly all iPhones."""
        marked = [
            _OWN_MARK.search(body)
            for opening, body in zip(self.openings, self.bodies, strict=True)
            if opening.endswith(_MARKED_BRACKETS)
        ]
        return 2 * marked.count(None) <= len(marked)


class _BatchReader:
    """Reads the text as batches, and completes the title, the participants and the counts of the export."""

    def __init__(self, text: bytes, dialect: Dialect, orders: dict[bool, DateOrder], export: ParsedExport) -> None:
        self.text = text
        self.dialect = dialect
        self.date_group, self.time_group = dialect.date_group, dialect.time_group
        self.has_brackets = True in orders
        self.is_legacy = dialect.family == "legacy"
        self.export = export
        formats = {bracket: (order.order, order.short_years) for bracket, order in orders.items()}
        days = {date_format: DaySeconds(*date_format) for date_format in set(formats.values())}
        self.days = {bracket: days[date_format] for bracket, date_format in formats.items()}
        # One lookup for all headers, unless the two phones of a file print dates in different orders.
        self.same_days = days.popitem()[1] if len(days) == 1 else None
        self.times = TimeSeconds()
        self.names = SenderNumbers(export.participants)
        self.own_marks: tuple[bytes, ...] = OWN_MARKS
        self.marked_brackets = _MARKED_BRACKETS
        self.subjects = GroupSubjects(OWN_MARKS)
        self.group_name = ""

    def batches(self) -> Iterator[Batch]:
        """Yield the batches. Raise TooManyPeople, and NotAChatExport or OnlySystemMessages after the last one."""
        waiting = _Records()
        number = 1
        for window in self.windows():
            waiting.extend(self.split(window))
            while len(waiting.bodies) >= BATCH_MESSAGES:
                yield self._batch(waiting.take(BATCH_MESSAGES), number)
                number += BATCH_MESSAGES
        if waiting.bodies:
            yield self._batch(waiting, number)
        if not self.export.n_messages:
            raise OnlySystemMessages if self.export.n_system else NotAChatExport
        people = self.export.participants
        if len(people) > 2 and self.group_name not in people:
            self.export.title = self.group_name

    def windows(self) -> Iterator[bytes]:
        """Yield the text in parts that begin at the newline before a header and contain whole records."""
        text, newline = self.text, self.dialect.newline
        # Line ends after the last message are not part of it. Stripping the whole text would copy the file, so only a
        # tail is stripped that contains more than line ends.
        size = 64
        while size < len(text) and not text[-size:].strip(b"\r\n"):
            size *= 8
        tail = text[-size:]
        end = len(text) - len(tail) + len(tail.rstrip(b"\r\n"))
        start = 0
        while start < end:
            headers = self.dialect.pattern.finditer(text, start + WINDOW_BYTES, end)
            stop = next((match.start() for match in headers if self._sent_at(match) > 0), end)
            yield text[start:stop] if start else newline + text[:stop]
            start = stop

    def split(self, window: bytes) -> _Records:
        """Return the records of a window. Text before the first header of the file is left out."""
        if len(window) > _SPLIT_LIMIT_BYTES:
            return self._split_one_by_one(window)
        parts = self.dialect.pattern.split(window)
        openings = parts[1::_COLUMNS]
        dates, times = parts[self.date_group :: _COLUMNS], parts[self.time_group :: _COLUMNS]
        if self.same_days is not None:
            midnights: Iterable[int] = map(self.same_days.__getitem__, dates)
        else:
            pairs = zip(openings, dates, strict=True)
            midnights = (self.days[opening.endswith(_BRACKET)][date] for opening, date in pairs)
        seconds = list(map(add, midnights, map(self.times.__getitem__, times)))
        if seconds and min(seconds) < 0:
            return self._split_one_by_one(window)
        return _Records(openings, seconds, parts[4::_COLUMNS], parts[5::_COLUMNS])

    def _split_one_by_one(self, window: bytes) -> _Records:
        """Return the records; a header with an impossible date belongs to the text of the message before it."""
        headers = [match for match in self.dialect.pattern.finditer(window) if self._sent_at(match) > 0]
        ends = [match.start() for match in headers[1:]] + [len(window)] * bool(headers)
        return _Records(
            [match[1] for match in headers],
            [self._sent_at(match) for match in headers],
            [match[4] for match in headers],
            [window[match.end() : end] for match, end in zip(headers, ends, strict=True)],
        )

    def _sent_at(self, match: re.Match[bytes]) -> int:
        """Return the seconds of a header; negative if its date or time is impossible."""
        days = self.days[match[1].endswith(_BRACKET)]
        return days[match[self.date_group]] + self.times[match[self.time_group]]

    def _batch(self, records: _Records, first_number: int) -> Batch:
        if self.dialect.newline == b"\r\n" and b"\r" in b"".join(records.bodies):
            # iPhones write bare line feeds inside messages, except in pasted text.
            records.bodies = [body.replace(b"\r\n", b"\n") for body in records.bodies]
        bodies = records.bodies
        if first_number == 1 and self.has_brackets:
            self.group_name = records.group_name()
            self.own_marks = records.own_marks()
            self.subjects = GroupSubjects(self.own_marks)
            if not records.marks_headers_of_files():
                self.marked_brackets = ()
        kinds = [int(MessageKind.TEXT)] * len(bodies)
        edited = set()
        details: dict[int, Details] = {}
        for position in PHRASES.notable(bodies):
            printed = bodies[position]
            kinds[position], is_edited, media = self._remove_marks(records, position)
            if is_edited:
                edited.add(position)
            if media is not None:
                details[position] = _DETAILS[media]
            elif kinds[position] == MessageKind.CALL and (seconds := call_seconds(printed)) is not None:
                details[position] = Details(duration_seconds=seconds)
        if self.has_brackets:
            self._recognise_inner_marks(records, kinds, edited, details)
        senders = self.names.assign(records.senders, bodies)
        n_system = senders.count(SYSTEM_SENDER)
        for position, sender in enumerate(senders if n_system else ()):
            if sender == SYSTEM_SENDER:
                kinds[position] = int(MessageKind.SYSTEM)
                details.pop(position, None)
                # What looks like a sender is the beginning of the line, up to its first colon.
                before = records.senders[position]
                line = bodies[position] if before is None else before + b": " + bodies[position]
                bodies[position] = without_marks(line)
        self.export.n_system += n_system
        self.export.n_messages += len(bodies) - n_system
        try:
            texts = list(map(bytes.decode, bodies))
        except UnicodeDecodeError:
            # `unpacking` passes valid UTF-8 only, but another caller of `parse` may not.
            texts = [body.decode("utf-8", "replace") for body in bodies]
        return Batch(first_number, records.seconds, senders, kinds, texts, frozenset(edited), details)

    def _remove_marks(self, records: _Records, position: int) -> tuple[int, bool, MediaKind | None]:
        """Remove WhatsApp's marks from a body. Return its kind, whether it was edited, and the kind of its file."""
        body, opening = records.bodies[position], records.openings[position]
        # The headers without brackets that are not Android's are those of old iPhones.
        is_ios = self.is_legacy or opening.endswith(_BRACKET)
        kind, records.bodies[position], edited, media = PHRASES.classify(body)
        if kind is MessageKind.TEXT and is_ios and not edited and body.startswith(self.own_marks):
            if text := without_note(records.bodies[position]):
                # Only people edit what they wrote. It begins with a copied number, or with the mark of a keyboard.
                records.bodies[position] = text
                return int(MessageKind.TEXT), True, None
            # WhatsApp wrote it in a language that phrases.toml lacks.
            kind = kind_of_marked(body, marked_header=opening.endswith(self.marked_brackets))
            if kind is not MessageKind.TEXT:
                records.bodies[position] = without_marks(body).strip()
            if kind is MessageKind.MEDIA:
                media = _media_kind(records.bodies[position])
        elif kind is MessageKind.SYSTEM and not is_ios:
            # Only iPhones print a sender for system lines, so a person typed this one.
            return int(MessageKind.TEXT), edited, None
        if kind is MessageKind.SYSTEM:
            records.senders[position] = None
        return int(kind), edited, media

    def _recognise_inner_marks(
        self, records: _Records, kinds: list[int], edited: set[int], details: dict[int, Details]
    ) -> None:
        """Recognise what iPhones append to a message or to a group's subject that contains a colon."""
        rests: dict[int, bytes] = {}
        # A search for one byte takes an eighth of the time of a search for the mark, and excludes most bodies.
        first_byte = LEFT_TO_RIGHT[0]
        for position in [position for position, body in enumerate(records.bodies) if first_byte in body]:
            body = records.bodies[position]
            opening = records.openings[position]
            if kinds[position] != MessageKind.TEXT or not opening.endswith(_BRACKET) or not _OWN_MARK.search(body):
                continue
            marked_header = opening.endswith(self.marked_brackets)
            if (captioned := PHRASES.captioned(body)) is not None:
                kinds[position], records.bodies[position] = int(captioned.kind), captioned.text
                if captioned.media is not None:
                    details[position] = _DETAILS[captioned.media]
            elif (text := without_note(body)) is not None:
                records.bodies[position] = text
                edited.add(position)
            elif (text := unknown_placeholder(body, marked_header=marked_header)) is not None:
                kinds[position], records.bodies[position] = int(MessageKind.MEDIA), text
                if (media := _media_kind(text)) is not None:
                    details[position] = _DETAILS[media]
            elif not marked_header and self.subjects.may_begin(body):
                rests[position] = body
        people = {
            printed
            for printed in map(records.senders.__getitem__, rests)
            if self.names.get(printed, SYSTEM_SENDER) != SYSTEM_SENDER
        }
        for position, line in self.subjects.lines(records.senders, rests, people):
            records.senders[position], records.bodies[position] = None, line
            kinds[position] = int(MessageKind.SYSTEM)


def _media_kind(text: bytes) -> MediaKind | None:
    """Return the kind of the file that a placeholder in unknown words names, if it names one."""
    line = text.partition(b"\n")[0][:_PLACEHOLDER_BYTES]
    return media_kind_of_file(line, extension_in(line))
