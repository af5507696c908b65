"""When people write: conversations, turns, answers, silences, and the calendar."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import accumulate, pairwise
from typing import NamedTuple

from chats.exports.parsed import SYSTEM_SENDER, wall_clock

CONVERSATION_GAP_SECONDS = 6 * 3600
RESPONSE_LIMIT_SECONDS = 4 * 3600
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

_EPOCH = date(1970, 1, 1)
_EPOCH_WEEKDAY = 3
NOBODY = SYSTEM_SENDER


class Turns:
    """One person's share of the back and forth."""

    __slots__ = ("double_runs", "gaps", "runs", "starts")

    def __init__(self) -> None:
        self.runs = 0
        self.double_runs = 0
        self.starts = 0
        self.gaps: Counter[int] = Counter()

    def merge(self, other: Turns) -> None:
        self.runs += other.runs
        self.double_runs += other.double_runs
        self.starts += other.starts
        self.gaps.update(other.gaps)


class Silence(NamedTuple):
    seconds: int
    start: int
    end: int


class Conversation:
    """Who spoke after whom, message by message, across batches."""

    def __init__(self) -> None:
        self.turns: dict[int, Turns] = {}
        self.first: int | None = None
        self.last = 0
        self.silence = Silence(0, 0, 0)
        self._sender = NOBODY
        self._at = 0
        self._run = 0

    def of(self, sender: int) -> Turns:
        turns = self.turns.get(sender)
        if turns is None:
            turns = self.turns[sender] = Turns()
        return turns

    def add(self, seconds: list[int], senders: list[int]) -> None:
        before, at, run = self._sender, self._at, self._run
        for now, sender in zip(seconds, senders, strict=True):
            if sender == before:
                if now - at < CONVERSATION_GAP_SECONDS:
                    at = now
                    run += 1
                    if run == 2:
                        self.of(sender).double_runs += 1
                    continue
            elif sender == NOBODY:
                continue
            self._pause(before, at, sender, now)
            if sender == before:
                run += 1
                if run == 2:
                    self.of(sender).double_runs += 1
            else:
                run = 1
                self.of(sender).runs += 1
            before, at = sender, now
        self._sender, self._at, self._run = before, at, run

    def _pause(self, before: int, at: int, sender: int, now: int) -> None:
        """What a change of speaker, or a long gap, means: an answer, a new conversation, the longest silence."""
        gap = now - at
        if before == NOBODY or gap >= CONVERSATION_GAP_SECONDS:
            self.of(sender).starts += 1
        elif sender != before and 0 <= gap < RESPONSE_LIMIT_SECONDS:
            self.of(sender).gaps[gap] += 1
        if before != NOBODY and gap > self.silence.seconds:
            self.silence = Silence(gap, at, now)


def quantile(counts: Counter[int], share: float) -> int | None:
    """The smallest value that at least this share of the values does not exceed."""
    ordered = sorted(counts)
    target = share * counts.total()
    for value, seen in zip(ordered, accumulate(counts[value] for value in ordered), strict=True):
        if seen >= target:
            return value
    return None


def median(counts: Counter[int]) -> float | None:
    """The middle value, or the mean of the two in the middle."""
    total = counts.total()
    if not total:
        return None
    ordered = sorted(counts)
    sums = list(accumulate(counts[value] for value in ordered))
    low, high = (
        next(v for v, seen in zip(ordered, sums, strict=True) if seen > rank) for rank in ((total - 1) // 2, total // 2)
    )
    return (low + high) / 2


def mean(counts: Counter[int]) -> float | None:
    total = counts.total()
    return round(sum(value * count for value, count in counts.items()) / total, 1) if total else None


def day(number: int) -> str:
    """Days since 1970-01-01 to an ISO date."""
    return (_EPOCH + timedelta(days=number)).isoformat()


def weekday(number: int) -> int:
    """Days since 1970-01-01 to 0 (Monday) … 6."""
    return (number + _EPOCH_WEEKDAY) % 7


def moment(seconds: int) -> str:
    return wall_clock(seconds).isoformat()


def streaks(days: list[int]) -> Iterator[tuple[int, int]]:
    """Runs of consecutive days as (length, last day), from days in order."""
    length = 1
    for earlier, later in pairwise([*days, 10**9]):
        if later == earlier + 1:
            length += 1
            continue
        yield length, earlier
        length = 1
