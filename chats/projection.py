"""How stored messages are shown: which sender is which person, and what the wall clock showed. Pure.

Messages stay stored as the export contains them. The owner of a chat decides which names belong to one person and, if
the export contains instants, in which time zone the chat took place. Both are applied each time messages are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from operator import add
from zoneinfo import ZoneInfo, available_timezones

from chats.exports.parsed import SYSTEM_SENDER, Batch, Details
from chats.people import People

#: UTC offsets change only at full quarters of an hour.
QUARTER_SECONDS = 900


@cache
def time_zones() -> frozenset[str]:
    """Return the names of the IANA time zone database on this machine."""
    return frozenset(available_timezones())


class _UtcOffsets(dict[int, int]):
    """A cache from the quarter of an hour since 1970 to the zone's offset from UTC in seconds."""

    def __init__(self, zone: ZoneInfo) -> None:
        super().__init__()
        self.zone = zone

    def __missing__(self, quarter: int) -> int:
        try:
            offset = datetime.fromtimestamp(quarter * QUARTER_SECONDS, self.zone).utcoffset()
        except (ValueError, OverflowError):  # The first and the last day of the calendar.
            offset = None
        self[quarter] = seconds = 0 if offset is None else round(offset.total_seconds())
        return seconds


@dataclass(frozen=True)
class Projection:
    """Maps stored messages to shown ones. None means unchanged.

    `person_of_sender` is indexed by stored sender; its last item is SYSTEM_SENDER, which is -1 and so maps to itself.
    `shown_names` maps the names that the export has for people who reacted.
    """

    person_of_sender: list[int] | None = None
    shown_names: Mapping[str, str] | None = None
    offsets: _UtcOffsets | None = None

    @classmethod
    def for_time_zone(cls, time_zone: str, *, clock: str) -> Projection:
        """Return the projection of an export before anybody named its people."""
        return cls(offsets=_UtcOffsets(ZoneInfo(time_zone)) if clock == "utc" and time_zone else None)

    @classmethod
    def for_people(cls, people: People, *, export_names: Sequence[str], clock: str, time_zone: str) -> Projection:
        """Return the projection of a chat whose owner assigned names to people."""
        shown_names = [people.names[person] for person in people.person_of_sender]
        return cls(
            None if people.has_one_name_each else [*people.person_of_sender, SYSTEM_SENDER],
            None if shown_names == list(export_names) else dict(zip(export_names, shown_names, strict=True)),
            cls.for_time_zone(time_zone, clock=clock).offsets,
        )

    def apply(self, batch: Batch) -> Batch:
        """Return the batch with people for senders and wall-clock time for `seconds`."""
        if self.person_of_sender is None and self.shown_names is None and self.offsets is None:
            return batch
        seconds, senders, utc_offsets = batch.seconds, batch.senders, batch.utc_offsets
        if self.offsets is not None:
            shown_offsets = [self.offsets[second // QUARTER_SECONDS] for second in seconds]
            seconds = list(map(add, seconds, shown_offsets))
            utc_offsets = [*shown_offsets]
        if self.person_of_sender is not None:
            senders = list(map(self.person_of_sender.__getitem__, senders))
        details = {position: self._shown(each) for position, each in batch.details.items()}
        return Batch(
            batch.first_number,
            seconds,
            senders,
            batch.kinds,
            batch.texts,
            batch.edited,
            details,
            utc_offsets,
            batch.numbers,
        )

    def _shown(self, details: Details) -> Details:
        if self.person_of_sender is not None and details.reply_to is not None:
            details = details._replace(reply_to_sender=self.person_of_sender[details.reply_to_sender])
        return details if self.shown_names is None else details.with_names(self.shown_names)
