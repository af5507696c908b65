"""manage.py parse_export FILE: what an upload of this file would give, or why it would be refused."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
from django.core.management.base import BaseCommand, CommandParser

from chats import exports
from chats.exports.dates import ORDERS
from chats.exports.parsed import Batch, Kind, ParsedExport
from chats.exports.refusals import ExportRefused
from chats.statistics import Statistics
from relivchats.errors import DomainError


class UnreadableFile(ExportRefused):
    title = "This file cannot be opened"
    advice = "Check the path and that you may read it."


class Command(BaseCommand):
    help = "Reads an export without a database: dialect, messages and statistics, or the reason of its refusal."
    requires_system_checks = ()
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE", help="an export of WhatsApp, Telegram or Instagram")
        parser.add_argument("--json", action="store_true", help="one JSON object with every message")
        parser.add_argument("--chat", metavar="ID", help="which one, if the file holds several; a refusal lists them")
        parser.add_argument("--date-order", choices=ORDERS, help="overrides what the dates say")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            content = _content(options["file"])
            export = exports.read(content, date_order=options["date_order"], chat=options["chat"])
            for line in as_json(export) if options["json"] else summary(export):
                self.stdout.write(line)
        except DomainError as refusal:
            if options["json"]:
                self.stdout.write(orjson.dumps({"error": refusal.title, "code": refusal.code}).decode())
            else:
                self.stderr.write("\n".join([f"{refusal.title}.", *_choices(refusal)]))
            sys.exit(2)


def _choices(refusal: DomainError) -> list[str]:
    """The chats to choose from, on the operator's own screen as the summary's names are."""
    chats = refusal.extra.get("chats", [])
    return [f"  --chat {chat['id']}  {chat['title']}, {chat['messages']:,} messages" for chat in chats]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise UnreadableFile from error


def as_json(export: ParsedExport) -> Iterator[str]:
    """One object on one line. Nothing is given before the whole file is known to be readable."""
    counter = Statistics()
    messages = []
    for batch in export.batches:
        counter.add(batch)
        messages.append(orjson.dumps(_rows(batch, export.participants))[1:-1].decode())
    after = {
        "participants": export.participants,
        "n_messages": export.n_messages,
        "n_system": export.n_system,
        "statistics": counter.result(export.participants),
    }
    before = {
        "platform": export.platform,
        "dialect": export.dialect,
        "date_order": export.date_order,
        "ambiguous_dates": export.ambiguous_dates,
    }
    yield f'{_fields(before)},"messages":[{",".join(messages)}],{_fields(after)[1:]}}}'


def _fields(values: dict[str, Any]) -> str:
    return orjson.dumps(values).decode()[:-1]


def _rows(batch: Batch, participants: list[str]) -> list[dict[str, Any]]:
    return [
        {
            "timestamp": message.sent_at.isoformat(),
            "sender": message.sender,
            "text": message.text,
            "kind": message.kind.label,
        }
        for message in batch.messages(participants)
    ]


def summary(export: ParsedExport) -> Iterator[str]:
    """A few lines for a terminal. Names appear, as on the operator's own screen; no message does."""
    counter = Statistics()
    kinds = [0] * len(Kind)
    for batch in export.batches:
        counter.add(batch)
        for kind in batch.kinds:
            kinds[kind] += 1
    figures = counter.result(export.participants)
    unsure = " (the dates do not say; --date-order overrides)" if export.ambiguous_dates else ""
    yield f"Export        {export.platform}, {export.dialect}, dates {export.date_order}{unsure}"
    yield f"Messages      {export.n_messages:,} by {len(export.participants)} people, {export.n_system:,} system lines"
    yield f"From, to      {figures['first_message_at']} to {figures['last_message_at']}"
    yield f"Kinds         {', '.join(f'{kind.label} {kinds[kind]:,}' for kind in Kind if kinds[kind])}"
    yield f"Words         {figures['total_words']:,}"
    for name, person in list(figures["user_stats"].items())[:10]:
        yield f"  {name}: {person['message_count']:,} messages, {person['word_count']:,} words"
