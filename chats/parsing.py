"""Read an upload to its end: parse, seal and count it in one pass. No database, so it can run in a child process."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from chats import exports
from chats.counting import ChatCounter, ChatFigures
from chats.exports import detection  # noqa: F401 (loads the parsers before a child is forked)
from chats.exports.errors import ExportRefused, TooCostly
from chats.exports.parsed import ParsedExport
from chats.exports.unpacking import header_shape
from chats.projection import Projection
from chats.sealed_export import ExportSealer, SealedExport
from relivchats.error_events import ErrorEvent
from relivchats.errors import DomainError


class ParseRequest(NamedTuple):
    """How to read an upload. The first three are as in `importing.ImportOptions`.

    `known_date_order` is that of the chat to extend. Without `is_counted`, the messages are only sealed.
    """

    date_order: str | None
    chat: str | None
    time_zone: str
    now: datetime
    limit_bytes: int
    known_date_order: str | None = None
    is_counted: bool = True


class ParsedUpload(NamedTuple):
    """The sealed export and, if they were asked for, the figures of its messages."""

    sealed: SealedExport
    figures: ChatFigures | None


@dataclass
class ParseReport:
    """What is known about an upload so far, also if it is refused: for the log of uploads. `stages` are in seconds."""

    platform: str = ""
    dialect: str = ""
    header_shape: str = ""
    stages: dict[str, float] = field(default_factory=dict)
    stage_started: float = field(default_factory=time.perf_counter)

    def end_stage(self, stage: str) -> None:
        """Add the time since the previous stage ended to this stage."""
        now = time.perf_counter()
        self.stages[stage] = self.stages.get(stage, 0.0) + now - self.stage_started
        self.stage_started = now


class ChildLimits(NamedTuple):
    """What one upload may use: bytes beyond those of an idle child process, and seconds of processor time."""

    memory_bytes: int
    cpu_seconds: int


class ChildResult(NamedTuple):
    """What the work on one upload returned or raised: an error's class name if the error was unexpected.

    Unexpected errors are logged by the child. `events` are what it logged: the server writes them to the database.
    """

    report: ParseReport
    outcome: Any
    events: list[ErrorEvent]


def parse(content: bytes, request: ParseRequest, report: ParseReport) -> ParsedUpload:
    """Return the chat in an upload, and fill in the report. Raise ExportRefused."""
    try:
        return _parse(content, request, report)
    except MemoryError:
        raise TooCostly from None
    except Exception as error:
        # The shape of the first line shows which unknown formats are uploaded. Other refusals are not about the format.
        if isinstance(error, ExportRefused) or not isinstance(error, DomainError):
            with suppress(DomainError):
                report.header_shape = header_shape(content)
        raise


def _parse(content: bytes, request: ParseRequest, report: ParseReport) -> ParsedUpload:
    export = _open_export(content, request)
    report.platform, report.dialect = export.platform, export.dialect
    report.end_stage("read")
    sealer = ExportSealer(export)
    counter = ChatCounter(Projection.for_time_zone(request.time_zone, clock=export.clock))
    # One pass: each batch is parsed, sealed and counted before the next one is parsed, so that a million messages are
    # never in memory at once. The sealed blocks of a million messages take 15 MB.
    for batch in export.batches:
        report.end_stage("parse")
        sealer.add(batch)
        report.end_stage("seal")
        if request.is_counted:
            counter.add(batch)
            report.end_stage("count")
    report.end_stage("parse")
    sealed = sealer.finish()
    report.end_stage("seal")
    # It is exhausted, and an iterator of a parser cannot be sent to another process.
    export.batches = iter(())
    if not request.is_counted:
        return ParsedUpload(sealed, None)
    figures = counter.figures(sealed.participants, recorded=sorted(export.records))
    report.end_stage("count")
    return ParsedUpload(sealed, figures)


def _open_export(content: bytes, request: ParseRequest) -> ParsedExport:
    read = partial(exports.read, content, chat=request.chat, now=request.now, limit_bytes=request.limit_bytes)
    export = read(date_order=request.date_order)
    known = request.known_date_order
    if known and export.ambiguous_dates and export.date_order != known:
        # The dates of this file are ambiguous, and those of the chat that it extends are known.
        return read(date_order=known)
    return export
