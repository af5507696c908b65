"""manage.py parse_export FILE: show what an upload of this file would contain, or why it would be rejected."""

from __future__ import annotations

import sys
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import orjson
from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from chats import exports
from chats.counting import Period
from chats.exports.dates import ORDERS
from chats.exports.errors import ExportRefused
from chats.exports.parsed import NO_DETAILS, SYSTEM_SENDER, Batch, Message, MessageKind, ParsedExport, wall_clock
from chats.exports.registry import get_parser
from chats.projection import Projection, time_zones
from chats.statistics import StatisticsCounter
from chats.terminal_summary import summarize
from relivchats.errors import DomainError
from relivchats.staff.commands import CommandWithExample
from relivchats.terminal import Layout, plain, plural


class UnreadableFile(ExportRefused):
    """The file does not exist, or this user may not read it."""

    title = "This file cannot be opened"
    advice = "Check the path and that you may read it."


class Command(CommandWithExample):
    """Parse an export and print a summary or JSON; exit with status 2 if it is rejected."""

    help = (
        "Show what an upload of this file would contain, or why it would be rejected. Uses no database."
        " Example: manage.py parse_export 'WhatsApp Chat.txt'"
    )
    requires_system_checks = ()
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "file", type=Path, metavar="FILE", help="an export of WhatsApp, Telegram, Instagram or Messenger"
        )
        parser.add_argument("--json", action="store_true", help="one JSON object with every message")
        parser.add_argument("--date-order", choices=ORDERS, help="order of day, month and year if the file proves none")
        parser.add_argument("--chat", metavar="ID", help="the chat to read; an error lists them if needed")
        parser.add_argument(
            "--time-zone",
            metavar="ZONE",
            default="",
            help="for UTC times, such as Europe/Berlin",
        )
        parser.add_argument("--from", type=_day, metavar="DAY", help="the first day to read, such as 2024-01-31")
        parser.add_argument("--to", type=_day, metavar="DAY", help="the last day to read")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            projection = _projection(options["time_zone"])
            period = Period(options["from"] or date.min, options["to"] or date.max)
            if period.last < period.first:
                raise CommandError("--to is before --from.")
            try:
                content = options["file"].read_bytes()
            except (OSError, ValueError) as error:
                # A path with a null byte is a ValueError.
                raise UnreadableFile from error
            export = exports.read(content, date_order=options["date_order"], chat=options["chat"], now=timezone.now())
            messages = _PeriodReader(export, map(projection(export).apply, export.batches), period)
            output = (
                as_json(export, messages)
                if options["json"]
                else summary(export, messages, page=Layout.for_stream(self.stdout))
            )
            for line in output:
                self.stdout.write(line)
        except DomainError as refusal:
            if options["json"]:
                chosen = {name: refusal.extra[name] for name in ("chats",) if name in refusal.extra}
                self.stdout.write(orjson.dumps({"error": refusal.title, "code": refusal.code, **chosen}).decode())
            else:
                choices = [
                    f"  --chat {plain(chat['id'])}  {plain(chat['title'])}, {plural(chat['messages'], 'message')}"
                    for chat in refusal.extra.get("chats", [])
                ]
                self.stderr.write("\n".join([f"{refusal.title}.", *(choices or [plain(refusal.detail)])]))
            sys.exit(2)


def _projection(time_zone: str) -> Callable[[ParsedExport], Projection]:
    """Return a function that projects an export to the time zone, which applies only to UTC times."""
    if time_zone and time_zone not in time_zones():
        raise CommandError(f"There is no time zone {plain(time_zone)}. Give an IANA name, such as Europe/Berlin.")
    return lambda export: Projection.for_time_zone(time_zone, clock=export.clock)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError("Give a day such as 2024-01-31.") from None


class _PeriodReader:
    """Reads the messages of a period, and counts them in the export instead of all messages."""

    def __init__(self, export: ParsedExport, batches: Iterable[Batch], period: Period) -> None:
        self._export = export
        self._batches = batches
        self._period = period
        self._counter = StatisticsCounter()
        self._days: list[int] = []

    def __iter__(self) -> Iterator[Batch]:
        n_system = n_messages = 0
        for batch in self._batches:
            self._days += [min(batch.seconds) // 86_400, max(batch.seconds) // 86_400]
            part = batch.between(*self._period.seconds)
            self._counter.add(part)
            part_system = part.senders.count(SYSTEM_SENDER)
            n_system += part_system
            n_messages += len(part) - part_system
            yield part
        self._export.n_system, self._export.n_messages = n_system, n_messages

    def statistics(self) -> dict[str, Any]:
        """Return the statistics of the messages that were read."""
        counted = self._counter.result(self._export.participants, recorded=self._export.records)
        first, last = (wall_clock(day * 86_400).date() for day in (min(self._days), max(self._days)))
        whole = Period(first, last)
        if self._period.first <= first and last <= self._period.last:
            return counted
        return counted | self._period.days_of(whole, counted["total_messages"])


def as_json(export: ParsedExport, period: _PeriodReader) -> Iterator[str]:
    """Yield one object on one line, after the whole file has been read without an error."""
    messages = []
    for batch in period:
        rows = [
            {
                "timestamp": message.sent_at.isoformat(),
                "sender": message.sender,
                "text": message.text,
                "kind": message.kind.label,
                "edited": message.edited,
                **_details(message),
            }
            for message in batch.messages(export.participants)
        ]
        # Kept as JSON text, which needs less memory than the objects.
        messages.append(orjson.dumps(rows)[1:-1].decode())
    after = {
        "title": export.title,
        "participants": export.participants,
        "n_messages": export.n_messages,
        "n_system": export.n_system,
        "n_unreadable": export.n_unreadable,
        "n_future": export.n_future,
        "statistics": period.statistics(),
    }
    before = {
        "platform": export.platform,
        "dialect": export.dialect,
        "date_order": export.date_order,
        "ambiguous_dates": export.ambiguous_dates,
        "clock": export.clock,
        "recorded_details": sorted(export.records),
    }
    yield f'{_fields(before)},"messages":[{",".join(messages)}],{_fields(after)[1:]}}}'


def _fields(values: dict[str, Any]) -> str:
    return orjson.dumps(values).decode()[:-1]


def _details(message: Message) -> dict[str, Any]:
    """Return what is known about a message besides its text, under the names of the API."""
    details = message.details
    if details is NO_DETAILS:
        return {}
    reactions = [
        {"emoji": reaction.emoji, "count": reaction.total, "people": reaction.people} for reaction in details.reactions
    ]
    known = {
        "media_kind": details.media,
        "duration_seconds": details.duration_seconds,
        "forwarded": details.is_forwarded,
        "reply_to": details.reply_to,
        "reactions": reactions,
    }
    return {name: value for name, value in known.items() if value is not None and value is not False and value != []}


def summary(export: ParsedExport, period: _PeriodReader, *, page: Layout) -> Iterator[str]:
    """Yield bars and short lists for a terminal. They contain names and words, but no message."""
    kinds = [0] * len(MessageKind)
    for batch in period:
        for kind in batch.kinds:
            kinds[kind] += 1
    unsure = " (the file does not prove it: use --date-order to change it)" if export.ambiguous_dates else ""
    yield page.heading(f"{export.platform}, {export.dialect}")
    people = len(export.participants)
    who = plural(people, "person", "people")
    yield f"  {plural(export.n_messages, 'message')} by {who}, {plural(export.n_system, 'system line')}"
    yield f"  {', '.join(f'{kind.label} {kinds[kind]:,}' for kind in MessageKind if kinds[kind])}"
    if get_parser(export.platform).has_date_order:
        yield f"  dates {export.date_order}{unsure}"
    if export.n_unreadable:
        yield f"  {plural(export.n_unreadable, 'value')} could not be read"
    if export.n_future:
        yield f"  {plural(export.n_future, 'message')} dated later than today"
    # A period can have none.
    if export.n_messages:
        yield from summarize(period.statistics(), layout=page)
