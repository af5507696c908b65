"""What stands out in the history of a chat, counted from the times and senders of its messages alone.

Most days of a chat have few messages and some have very many, and so it is with the pauses between conversations. Both
are compared on a scale of logarithms: a value stands out if it lies beyond the upper fence of a box plot, the third
quartile and 1.5 times the distance between the quartiles (J. W. Tukey, Exploratory Data Analysis, 1977, section 2D).
"""

from __future__ import annotations

from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from chats.exports.parsed import SYSTEM_SENDER, Batch, MessageKind
from chats.statistics.activity import CONVERSATION_GAP_SECONDS, UNKNOWN_OFFSET
from chats.statistics.sparse_counts import IntArray, run_starts

DAY_SECONDS = 86_400
#: With fewer days or pauses, nothing is typical.
MIN_ACTIVE_DAYS, MIN_PAUSES = 14, 10
#: A burst is beyond the fence, and has this many messages and times the messages of the median day.
MIN_BURST_MESSAGES, MIN_BURST_RATIO = 20, 3
#: A silence is beyond the fence, and at least this long; without a typical pause, a week. Otherwise the longest is one.
MIN_SILENCE_SECONDS, MIN_UNUSUAL_SILENCE_SECONDS = 2 * DAY_SECONDS, 7 * DAY_SECONDS
MIN_STREAK_DAYS = 7
#: A night is from midnight to 05:00.
NIGHT_END_HOUR, MIN_NIGHT_MESSAGES = 5, 20
#: Entries of a kind. The largest bursts, the longest silences and the most active new people are kept.
MAX_BURSTS, MAX_SILENCES, MAX_NEWCOMERS = 12, 12, 12
#: Who first writes this long after the beginning of a group has joined the conversation.
MIN_NEWCOMER_SECONDS = 7 * DAY_SECONDS
ROUND_NUMBERS = (1_000, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000)


class MomentKind(StrEnum):
    """What stands out. `Moment.value` is of the unit that is given here."""

    #: The chat's first and last message; value: none.
    FIRST_MESSAGE = "first_message"
    LAST_MESSAGE = "last_message"
    #: Days with far more messages than others; value: messages.
    BURST = "burst"
    #: Far longer pauses than others, or the longest one; value: seconds. The numbers are the messages before and after.
    SILENCE = "silence"
    #: The day with the most messages; value: messages.
    RECORD_DAY = "record_day"
    #: The night with the most messages between midnight and five, of two people or more; value: messages.
    NIGHT = "night"
    #: The longest run of days with messages; value: days.
    STREAK = "streak"
    #: A round number of messages; value: messages.
    ROUND_NUMBER = "round_number"
    #: The first call, the first photo or other media; value: none.
    FIRST_CALL = "first_call"
    FIRST_MEDIA = "first_media"
    #: The first message of a person who joined a group; value: messages of this person.
    NEWCOMER = "newcomer"


class Moment(NamedTuple):
    """Something that stands out, from `start` to `end` in wall-clock seconds.

    `numbers` are the messages that it begins and ends with, one if they are the same. `people` are indexes of senders.
    `typical` is the median of the days to which a burst or a record day is compared, otherwise None.
    """

    kind: MomentKind
    start: int
    end: int
    numbers: tuple[int, ...]
    people: tuple[int, ...] = ()
    value: int = 0
    typical: float | None = None


class TimelineCounter:
    """Finds what stands out: call `add` with every batch in file order, then `result`."""

    def __init__(self) -> None:
        self._parts: list[tuple[IntArray, ...]] = []

    def add(self, batch: Batch) -> None:
        """Add the messages of one batch as they are shown: people for senders, and wall-clock time."""
        numbers = (
            np.arange(batch.first_number, batch.first_number + len(batch), dtype=np.int64)
            if batch.numbers is None
            else np.array(batch.numbers, np.int64)
        )
        offsets = np.full(len(batch), UNKNOWN_OFFSET, np.int64)
        if batch.utc_offsets is not None:
            offsets[:] = [UNKNOWN_OFFSET if offset is None else offset for offset in batch.utc_offsets]
        people, seconds = np.array(batch.senders, np.int64), np.array(batch.seconds, np.int64)
        kinds = np.frombuffer(bytes(batch.kinds), np.uint8).astype(np.int64)
        is_sent = people != SYSTEM_SENDER
        self._parts.append(tuple(column[is_sent] for column in (numbers, seconds, people, kinds, offsets)))

    def result(self) -> list[Moment]:
        """Return what stands out, in the order of time. Empty without a message of a person."""
        if not any(len(part[0]) for part in self._parts):
            return []
        numbers, seconds, people, kinds, offsets = map(np.concatenate, zip(*self._parts, strict=True))
        history = _History(numbers, seconds, people, kinds, offsets)
        moments = [
            *history.ends(),
            *history.busy_days(),
            *history.silences(),
            *history.longest_night(),
            *history.longest_streak(),
            *history.round_numbers(),
            *history.firsts(),
        ]
        return sorted(moments, key=lambda moment: (moment.start, moment.numbers, moment.kind))


class _History(NamedTuple):
    """The messages of people, in columns, in the order of the file."""

    numbers: IntArray
    seconds: IntArray
    people: IntArray
    kinds: IntArray
    offsets: IntArray

    def ends(self) -> list[Moment]:
        # A clock that was wrong can date a message before the first one of the file.
        first, last = int(self.seconds.argmin()), len(self.seconds) - 1 - int(self.seconds[::-1].argmax())
        moments = [self._at(MomentKind.FIRST_MESSAGE, first)]
        return moments if first == last else [*moments, self._at(MomentKind.LAST_MESSAGE, last)]

    def busy_days(self) -> list[Moment]:
        """Return the day with the most messages, and the bursts."""
        days, counts = np.unique(self.seconds // DAY_SECONDS, return_counts=True)
        if len(days) < 2:
            return []
        median = float(np.median(counts))
        record = int(counts.argmax())
        record_day = int(days[record])
        found = [self._between(MomentKind.RECORD_DAY, record_day, record_day, int(counts[record]), typical=median)]
        if len(days) < MIN_ACTIVE_DAYS:
            return found
        least = max(_upper_fence(counts), MIN_BURST_RATIO * median)
        is_busy = (counts > least) & (counts >= MIN_BURST_MESSAGES)
        bursts = []
        for start, end in _runs(days[is_busy]):
            # A burst of the record day alone is that entry.
            if not start == end == record_day:
                messages = int(counts[(days >= start) & (days <= end)].sum())
                bursts.append(self._between(MomentKind.BURST, start, end, messages, typical=median))
        bursts.sort(key=lambda burst: (-burst.value, burst.start))
        return found + bursts[:MAX_BURSTS]

    def silences(self) -> list[Moment]:
        """Return the longest pauses. Where offsets from UTC are known, a change of the clocks makes no difference."""
        gaps = np.diff(self.seconds)
        are_known = (self.offsets[1:] != UNKNOWN_OFFSET) & (self.offsets[:-1] != UNKNOWN_OFFSET)
        gaps = gaps - np.where(are_known, np.diff(self.offsets), 0)
        pauses = gaps[gaps >= CONVERSATION_GAP_SECONDS]
        least = float(MIN_UNUSUAL_SILENCE_SECONDS)
        if len(pauses) >= MIN_PAUSES:
            least = max(_upper_fence(pauses), MIN_SILENCE_SECONDS)
        if gaps.max(initial=0) < least:
            # If no pause is unusual, the longest one is shown.
            least = max(MIN_SILENCE_SECONDS, int(gaps.max(initial=0)))
        positions = np.flatnonzero(gaps >= least)
        # Stable, so that of equal ones the earliest are kept.
        longest = positions[np.argsort(-gaps[positions], kind="stable")][:MAX_SILENCES]
        return [
            Moment(
                MomentKind.SILENCE,
                int(self.seconds[before]),
                int(self.seconds[before + 1]),
                (int(self.numbers[before]), int(self.numbers[before + 1])),
                (int(self.people[before + 1]),),
                int(gaps[before]),
            )
            for before in longest.tolist()
        ]

    def longest_night(self) -> list[Moment]:
        """Return the night with the most messages, if two people or more wrote."""
        is_night = self.seconds // 3600 % 24 < NIGHT_END_HOUR
        nights, counts = np.unique(self.seconds[is_night] // DAY_SECONDS, return_counts=True)
        for position in np.argsort(-counts, kind="stable").tolist():
            if counts[position] < MIN_NIGHT_MESSAGES:
                break
            is_of_night = is_night & (self.seconds // DAY_SECONDS == nights[position])
            night = self._spanning(MomentKind.NIGHT, np.flatnonzero(is_of_night), int(counts[position]))
            if len(night.people) > 1:
                return [night]
        return []

    def longest_streak(self) -> list[Moment]:
        runs = _runs(np.unique(self.seconds // DAY_SECONDS))
        # `max` returns the earliest of the longest, as in the statistics.
        start, end = max(runs, key=lambda run: run[1] - run[0])
        days = end - start + 1
        return [self._between(MomentKind.STREAK, start, end, days)] if days >= MIN_STREAK_DAYS else []

    def round_numbers(self) -> list[Moment]:
        return [
            self._at(MomentKind.ROUND_NUMBER, number - 1, number)
            for number in ROUND_NUMBERS
            if number <= len(self.numbers)
        ]

    def firsts(self) -> list[Moment]:
        found = []
        for kind, moment in ((MessageKind.CALL, MomentKind.FIRST_CALL), (MessageKind.MEDIA, MomentKind.FIRST_MEDIA)):
            positions = np.flatnonzero(self.kinds == kind)
            if len(positions):
                found.append(self._at(moment, int(positions[0])))
        people, positions, counts = np.unique(self.people, return_index=True, return_counts=True)
        if len(people) < 3:
            return found
        is_late = self.seconds[positions] - self.seconds.min() >= MIN_NEWCOMER_SECONDS
        newcomers = [
            self._at(MomentKind.NEWCOMER, position, count)
            for position, count in zip(positions[is_late].tolist(), counts[is_late].tolist(), strict=True)
        ]
        newcomers.sort(key=lambda newcomer: (-newcomer.value, newcomer.numbers))
        return found + newcomers[:MAX_NEWCOMERS]

    def _at(self, kind: MomentKind, position: int, value: int = 0) -> Moment:
        at, number = int(self.seconds[position]), int(self.numbers[position])
        return Moment(kind, at, at, (number,), (int(self.people[position]),), value)

    def _between(self, kind: MomentKind, start: int, end: int, value: int, typical: float | None = None) -> Moment:
        """Return a moment of whole days, both included, as days since 1970-01-01."""
        is_within = (self.seconds >= start * DAY_SECONDS) & (self.seconds < (end + 1) * DAY_SECONDS)
        return self._spanning(kind, np.flatnonzero(is_within), value, typical)

    def _spanning(self, kind: MomentKind, positions: IntArray, value: int, typical: float | None = None) -> Moment:
        seconds = self.seconds[positions]
        first, last = positions[seconds.argmin()], positions[len(seconds) - 1 - seconds[::-1].argmax()]
        people, counts = np.unique(self.people[positions], return_counts=True)
        by_activity = people[np.argsort(-counts, kind="stable")]
        return Moment(
            kind,
            int(self.seconds[first]),
            int(self.seconds[last]),
            tuple(dict.fromkeys((int(self.numbers[first]), int(self.numbers[last])))),
            tuple(by_activity.tolist()),
            value,
            typical,
        )


def _upper_fence(values: IntArray) -> float:
    """Return the upper fence of positive values, on a scale of logarithms."""
    first, third = np.percentile(np.log(values), [25, 75])
    return float(np.exp(third + 1.5 * (third - first)))


def _runs(days: IntArray) -> list[tuple[int, int]]:
    """Return the first and the last day of each run of consecutive days. `days` are different and in order."""
    starts = [*run_starts(days - np.arange(len(days))).tolist(), len(days)]
    return [(int(days[start]), int(days[end - 1])) for start, end in pairwise(starts)]
