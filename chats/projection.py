"""How stored messages are read: whose they are, and what the clock showed. Pure.

Messages stay as the export gave them. A chat's owner says who is one person and, for an export
that knows only instants, where the wall clock hung; both apply at each reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from chats.exports.parsed import SYSTEM_SENDER, Batch
from chats.people import People

#: Offsets from UTC change at whole quarters of an hour.
_QUARTER_SECONDS = 900


@cache
def time_zones() -> frozenset[str]:
    """The names of the IANA time zone database that this machine has."""
    return frozenset(available_timezones())


class _Offsets(dict[int, int]):
    """Quarter of an hour since 1970 to the seconds by which the zone is ahead of UTC then."""

    def __init__(self, zone: ZoneInfo) -> None:
        super().__init__()
        self.zone = zone

    def __missing__(self, quarter: int) -> int:
        try:
            ahead = datetime.fromtimestamp(quarter * _QUARTER_SECONDS, self.zone).utcoffset()
        except (ValueError, OverflowError):  # the first and the last day of the calendar
            ahead = None
        self[quarter] = seconds = 0 if ahead is None else round(ahead.total_seconds())
        return seconds


@dataclass(frozen=True)
class Projection:
    """`senders` leads from a stored sender to a person, whose last place is for nobody; None changes nothing."""

    senders: list[int] | None = None
    offsets: _Offsets | None = None

    @classmethod
    def for_people(cls, people: People, *, clock: str, time_zone: str) -> Projection:
        return cls(
            None if people.has_one_name_each else [*people.person_of_sender, SYSTEM_SENDER],
            _Offsets(ZoneInfo(time_zone)) if clock == "utc" and time_zone else None,
        )

    def apply(self, batch: Batch) -> Batch:
        if self.senders is None and self.offsets is None:
            return batch
        seconds, senders = batch.seconds, batch.senders
        if self.offsets is not None:
            offsets = self.offsets
            seconds = [instant + offsets[instant // _QUARTER_SECONDS] for instant in seconds]
        if self.senders is not None:
            senders = list(map(self.senders.__getitem__, senders))
        return Batch(batch.first_number, seconds, senders, batch.kinds, batch.texts, batch.edited)
