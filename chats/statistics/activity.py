"""When people write: conversations, turns, answers, silences, and the calendar."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chats.exports.parsed import SYSTEM_SENDER
from chats.statistics.sparse_counts import Counted, Ints, PairCounter, PersonCounters, begins, summed
from chats.statistics.time_bins import Hours, hours_of, month, monthly_hours_of, months_of

CONVERSATION_GAP_SECONDS = 6 * 3600
RESPONSE_LIMIT_SECONDS = 4 * 3600

# An answer is one number: its month, and how long it took.
_GAP_BITS = 14
_GAP = (1 << _GAP_BITS) - 1


class Silence(NamedTuple):
    seconds: int
    start: int
    end: int


class Activity:
    """Who wrote when, and who after whom; fed with what people sent, in the order of the file."""

    def __init__(self) -> None:
        self.turns = PersonCounters("runs", "double_runs", "starts", "ends")
        self.monthly_hours = PairCounter()
        self._hours = PairCounter()
        self.gaps = PairCounter()
        self.first: int | None = None
        self.last: int | None = None
        self.silence = Silence(0, 0, 0)
        self._sender = SYSTEM_SENDER
        self._at = 0
        self._began_run = False

    def add(self, seconds: Ints, people: NDArray[Any]) -> None:
        if not len(seconds):
            return
        first, last = int(seconds.min()), int(seconds.max())
        self.first = first if self.first is None else min(first, self.first)
        self.last = last if self.last is None else max(last, self.last)
        self.monthly_hours.add(people, monthly_hours_of(seconds))
        self._hours.add(np.zeros_like(seconds), hours_of(seconds))
        self.turns.make_room(int(people.max()) + 1)
        self._add_turns(seconds, people)

    def hours(self) -> Hours:
        """Everybody's."""
        return Hours.of(self._hours.counted())

    def _add_turns(self, seconds: Ints, people: NDArray[Any]) -> None:
        before = np.concatenate([[self._sender], people[:-1]])
        earlier = np.concatenate([[self._at], seconds[:-1]])
        gaps = seconds - earlier
        somebody = before != SYSTEM_SENDER
        begins_run = people != before
        silent = (gaps >= CONVERSATION_GAP_SECONDS) & somebody
        self.turns.add("runs", people[begins_run])
        second = ~begins_run & np.concatenate([[self._began_run], begins_run[:-1]])
        self.turns.add("double_runs", people[second])
        self.turns.add("starts", people[silent | ~somebody])
        self.turns.add("ends", before[silent])
        answered = begins_run & somebody & (gaps >= 0) & (gaps < RESPONSE_LIMIT_SECONDS)
        self.gaps.add(people[answered], months_of(seconds[answered]) << _GAP_BITS | gaps[answered])
        longest = int(np.where(somebody, gaps, 0).argmax())
        if somebody[longest] and gaps[longest] > self.silence.seconds:
            self.silence = Silence(int(gaps[longest]), int(earlier[longest]), int(seconds[longest]))
        self._sender, self._at, self._began_run = int(people[-1]), int(seconds[-1]), bool(begins_run[-1])


class Answers:
    """How long answers took, by group: the distinct seconds of each in order, and how often each was needed."""

    def __init__(self, groups: Ints, seconds: Ints, counts: Ints) -> None:
        """`groups` holds the group of each of the seconds, in order."""
        self._starts = begins(groups)
        self.groups = groups[self._starts]
        self._seconds = seconds
        self._counts = counts
        self._up_to = np.cumsum(counts)
        self.totals: Ints = np.add.reduceat(counts, self._starts)

    def between(self, start: int, end: int) -> int:
        """Of all groups."""
        return int(self._counts[(self._seconds >= start) & (self._seconds < end)].sum())

    def means(self) -> list[float]:
        sums = np.add.reduceat(self._seconds * self._counts, self._starts)
        return [round(mean, 1) for mean in (sums / self.totals).tolist()]

    def medians(self) -> list[float]:
        """The middle value of each group, or the mean of the two in the middle."""
        middle: list[float] = ((self._ranked((self.totals - 1) // 2) + self._ranked(self.totals // 2)) / 2).tolist()
        return middle

    def quantiles(self, *, tenths: int) -> list[int]:
        """The smallest value of each group that at least so many tenths of its values do not exceed."""
        values: list[int] = self._ranked(-(-self.totals * tenths // 10) - 1).tolist()
        return values

    def _ranked(self, ranks: Ints) -> Ints:
        """The value of each group at a place, from 0, among all its values in order."""
        before = (self._up_to - self._counts)[self._starts]
        return self._seconds[np.searchsorted(self._up_to, before + ranks, side="right")]


def answers(counted: Counted) -> Answers:
    """All in one group; in none if there are no answers."""
    seconds, counts = summed(counted.things & _GAP, counted.counts)
    return Answers(np.zeros_like(seconds), seconds, counts)


def answers_by_month(counted: Counted) -> tuple[list[str], Answers]:
    """A group for each of the months that have answers."""
    own = Answers(counted.things >> _GAP_BITS, counted.things & _GAP, counted.counts)
    return [month(number) for number in own.groups.tolist()], own
