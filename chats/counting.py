"""Count the messages of a chat as their owner sees them: statistics, and the days of the first and last message."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import orjson

from chats.exports.parsed import Batch, MessageKind, wall_clock
from chats.projection import Projection
from chats.statistics import StatisticsCounter


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

    @property
    def first_day(self) -> date:
        """Return the day of the earliest message that a person sent. At least one must have been added."""
        assert self._first_second is not None
        return wall_clock(self._first_second).date()

    @property
    def last_day(self) -> date:
        """Return the day of the latest message that a person sent. At least one must have been added."""
        assert self._first_second is not None
        return wall_clock(self._last_second).date()

    def statistics_json(self, names: Sequence[str]) -> bytes:
        """Return the statistics as JSON; `names` are the names to show, by person. Call it once."""
        return orjson.dumps(self._statistics.result(list(names)))
