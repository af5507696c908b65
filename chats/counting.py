"""Count the messages of a chat as their owner sees them: statistics, and the days of the first and last message."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import date
from itertools import islice
from typing import Any, NamedTuple

import orjson

from chats.exports.parsed import Batch, MessageKind, wall_clock
from chats.models import Chat
from chats.projection import Projection
from chats.statistics import StatisticsCounter
from chats.transcript import TranscriptReader

#: Stored statistics of an earlier version are counted again when they are read. Increase it whenever the meaning of a
#: figure or its key changes.
STATISTICS_VERSION = 1

#: The figures whose change between two periods is shown.
COMPARED_FIGURES = (
    "total_messages",
    "total_words",
    "active_days",
    "messages_per_day_avg",
    "conversations_count",
    "median_response_time_seconds",
    "media_shared_count",
    "links_shared_count",
    "calls_count",
    "questions_count",
    "reactions_count",
)

_EPOCH = date(1970, 1, 1).toordinal()


class ChatFigures(NamedTuple):
    """The days of the earliest and the latest message that a person sent, and the statistics."""

    first_day: date
    last_day: date
    statistics: dict[str, Any]

    def columns(self, chat: Chat) -> dict[str, Any]:
        """Return the values of the chat's columns that hold these figures."""
        return {
            "first_message_on": self.first_day,
            "last_message_on": self.last_day,
            "sealed_statistics": chat.key.seal(orjson.dumps(self.statistics), context=chat.context("statistics")),
            "statistics_version": STATISTICS_VERSION,
        }


class ChatCounter:
    """Counts a chat in one pass: call `add` with every batch in order, then read the results."""

    def __init__(self, projection: Projection) -> None:
        self._projection = projection
        self._statistics = StatisticsCounter()
        self._first_second: int | None = None
        self._last_second = 0

    def add(self, batch: Batch) -> None:
        """Count the messages of one batch, given as they are stored."""
        batch = self._projection.apply(batch)
        self._statistics.add(batch)
        seconds = batch.seconds
        if MessageKind.SYSTEM in batch.kinds:
            pairs = zip(batch.seconds, batch.kinds, strict=True)
            seconds = [second for second, kind in pairs if kind != MessageKind.SYSTEM]
        if seconds:
            # Messages are in file order, which is not always the order of time.
            first, last = min(seconds), max(seconds)
            self._first_second = first if self._first_second is None else min(self._first_second, first)
            self._last_second = max(self._last_second, last)

    def figures(self, names: Sequence[str], *, recorded: Collection[str]) -> ChatFigures:
        """Return what was counted; `names` are the names to show, by person. Call it once.

        Figures about details that are not `recorded` for all messages are None. A person must have sent a message.
        """
        counted = self._statistics.result(list(names), recorded=recorded)
        assert self._first_second is not None
        return ChatFigures(wall_clock(self._first_second).date(), wall_clock(self._last_second).date(), counted)

    def columns(self, chat: Chat, names: Sequence[str], *, recorded: Collection[str] | None = None) -> dict[str, Any]:
        """Return the values of the chat's columns that hold what was counted."""
        return self.figures(names, recorded=chat.recorded_details if recorded is None else recorded).columns(chat)


class Period(NamedTuple):
    """Days of the chat's own clock, both included."""

    first: date
    last: date

    def previous(self) -> Period:
        """Return the period of the same number of days that ends on the day before."""
        days = (self.last - self.first).days + 1
        # At the beginning of the calendar there is no day before.
        last = max(1, self.first.toordinal() - 1)
        return Period(date.fromordinal(max(1, last - days + 1)), date.fromordinal(last))

    @property
    def seconds(self) -> tuple[int, int]:
        """Return when it starts and ends, in wall-clock seconds; the end is not included."""
        start, end = self.first.toordinal(), self.last.toordinal() + 1
        return (start - _EPOCH) * 86_400, (end - _EPOCH) * 86_400

    def days_of(self, chat: Period, total_messages: int) -> dict[str, Any]:
        """Return the figures about the days of this period of a chat: days without messages count, too."""
        first, last = max(self.first, chat.first), min(self.last, chat.last)
        days = max(0, (last - first).days + 1)
        return {"total_days": days, "messages_per_day_avg": round(total_messages / days, 2) if days else 0.0}

    def as_dict(self) -> dict[str, str]:
        """Return the days in ISO 8601, as the API shows them."""
        return {"from": self.first.isoformat(), "to": self.last.isoformat()}


def in_large_batches(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Yield the same messages in batches of about 5,000: counting a block of 500 by itself takes twice as long."""
    remaining = iter(batches)
    while parts := list(islice(remaining, 10)):
        yield Batch.joined(parts)


def update_statistics(chat: Chat) -> None:
    """Count the statistics of a chat again if they were counted by earlier rules."""
    if chat.statistics_version == STATISTICS_VERSION:
        return
    counter = ChatCounter(chat.projection)
    for batch in in_large_batches(TranscriptReader(chat, as_stored=True).batches()):
        counter.add(batch)
    columns = counter.columns(chat, chat.participants)
    # If the chat has changed since it was loaded, its statistics are current already, and nothing matches.
    Chat.objects.unchanged_since(chat).update(**columns)
    for column, value in columns.items():
        setattr(chat, column, value)
    chat.__dict__.pop("statistics", None)


def count_period(chat: Chat, period: Period) -> dict[str, Any]:
    """Return the statistics of the messages of a period. Only its blocks are opened."""
    counter = StatisticsCounter()
    for batch in in_large_batches(TranscriptReader(chat).batches_between(*period.seconds)):
        counter.add(batch)
    counted = counter.result(chat.participants, recorded=chat.recorded_details)
    return counted | period.days_of(Period(chat.first_message_on, chat.last_message_on), counted["total_messages"])


def describe_period(chat: Chat, period: Period | None, *, compared_with: Period | None) -> dict[str, Any]:
    """Return the statistics of a period, or of the whole chat, and of the period to compare it with."""
    counted = chat.statistics if period is None else count_period(chat, period)
    comparison = None
    if compared_with is not None:
        other = count_period(chat, compared_with)
        changes = {figure: _change(other[figure], counted[figure]) for figure in COMPARED_FIGURES}
        comparison = {"period": compared_with.as_dict(), "statistics": other, "changes": changes}
    return {**counted, "period": None if period is None else period.as_dict(), "comparison": comparison}


def _change(before: float | None, after: float | None) -> dict[str, float | None]:
    change = None if not before or after is None else round(100 * (after - before) / before, 1)
    return {"before": before, "after": after, "change_percent": change}
