"""Activity over time: hours, turns, conversations, response times and silences."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chats.exports.parsed import SYSTEM_SENDER
from chats.statistics.sparse_counts import CountTable, IntArray, SparseCounter, SparseCounts, run_starts, sum_by_key
from chats.statistics.time_bins import format_month, hour_bins, month_bins, month_hour_bins

CONVERSATION_GAP_SECONDS = 6 * 3600
MAX_RESPONSE_SECONDS = 4 * 3600

# A response is counted as one item: its month in the upper bits, its seconds (below 14,400) in the lower 14.
_SECONDS_BITS = 14
_SECONDS_MASK = (1 << _SECONDS_BITS) - 1


#: The UTC offset of a message whose offset is not known.
UNKNOWN_OFFSET = 1 << 31


class Silence(NamedTuple):
    """The time between two consecutive messages, in seconds, with the times of both."""

    seconds: int
    start: int
    end: int


class Activity:
    """Counts when people write and whom they answer. Takes sent messages in file order."""

    def __init__(self) -> None:
        self.turns = CountTable("turns", "multi_message_turns", "conversation_starts", "conversation_ends")
        self.month_hours = SparseCounter()
        self.responses = SparseCounter()
        self.first: int | None = None
        self.last: int | None = None
        self.longest_silence = Silence(0, 0, 0)
        # Counted for the chat as a whole, under person 0.
        self._hours = SparseCounter()
        # The last message of the previous batch.
        self._sender = SYSTEM_SENDER
        self._sent_at = 0
        self._utc_offset = UNKNOWN_OFFSET
        self._starts_turn = False

    def add(self, seconds: IntArray, people: NDArray[Any], utc_offsets: IntArray | None) -> None:
        """Count messages by their times and senders.

        `utc_offsets` are in seconds, or UNKNOWN_OFFSET. Where they are known, the time between two messages is exact
        even if the clocks changed in between.
        """
        if not len(seconds):
            return
        first, last = int(seconds.min()), int(seconds.max())
        self.first = first if self.first is None else min(first, self.first)
        self.last = last if self.last is None else max(last, self.last)
        self.month_hours.add(people, month_hour_bins(seconds))
        self._hours.add(np.zeros_like(seconds), hour_bins(seconds))
        self.turns.ensure_capacity(int(people.max()) + 1)

        previous_people = np.concatenate([[self._sender], people[:-1]])
        previous_seconds = np.concatenate([[self._sent_at], seconds[:-1]])
        has_previous = previous_people != SYSTEM_SENDER
        gaps = seconds - previous_seconds
        if utc_offsets is None:
            self._utc_offset = UNKNOWN_OFFSET
        else:
            previous_offsets = np.concatenate([[self._utc_offset], utc_offsets[:-1]])
            are_known = (utc_offsets != UNKNOWN_OFFSET) & (previous_offsets != UNKNOWN_OFFSET)
            gaps -= np.where(are_known, utc_offsets - previous_offsets, 0)
            self._utc_offset = int(utc_offsets[-1])

        starts_turn = people != previous_people
        self.turns.add("turns", people[starts_turn])
        # Only the second message of a turn counts, so that a turn of any length counts once.
        is_second = ~starts_turn & np.concatenate([[self._starts_turn], starts_turn[:-1]])
        self.turns.add("multi_message_turns", people[is_second])

        after_silence = (gaps >= CONVERSATION_GAP_SECONDS) & has_previous
        self.turns.add("conversation_starts", people[after_silence | ~has_previous])
        self.turns.add("conversation_ends", previous_people[after_silence])

        # A negative gap comes from a clock that was set back.
        is_response = starts_turn & has_previous & (gaps >= 0) & (gaps < MAX_RESPONSE_SECONDS)
        months = month_bins(seconds[is_response])
        self.responses.add(people[is_response], months << _SECONDS_BITS | gaps[is_response])

        longest = int(np.where(has_previous, gaps, 0).argmax())
        if has_previous[longest] and gaps[longest] > self.longest_silence.seconds:
            self.longest_silence = Silence(int(gaps[longest]), int(previous_seconds[longest]), int(seconds[longest]))
        self._sender, self._sent_at, self._starts_turn = int(people[-1]), int(seconds[-1]), bool(starts_turn[-1])

    def hours(self) -> SparseCounts:
        """Return the messages of all people by the bins of `hour_bins`."""
        return self._hours.totals()


class ResponseTimes:
    """The distribution of response times in each of several groups, all computed at once."""

    def __init__(self, groups: IntArray, seconds: IntArray, counts: IntArray) -> None:
        """Take parallel arrays ordered by group, then seconds; `counts` says how often each time occurred."""
        self._group_starts = run_starts(groups)
        self.groups = groups[self._group_starts]
        self._seconds = seconds
        self._counts = counts
        self._cumulative_counts = np.cumsum(counts)
        self.totals: IntArray = np.add.reduceat(counts, self._group_starts)

    def count_between(self, start_seconds: int, end_seconds: int) -> int:
        """Return the responses of all groups with start <= time < end."""
        return int(self._counts[(self._seconds >= start_seconds) & (self._seconds < end_seconds)].sum())

    def means(self) -> list[float]:
        """Return the mean of each group in seconds, to one decimal."""
        sums = np.add.reduceat(self._seconds * self._counts, self._group_starts)
        return [round(mean, 1) for mean in (sums / self.totals).tolist()]

    def medians(self) -> list[float]:
        """Return the middle value of each group, or the mean of the two middle values."""
        low, high = self._values_at((self.totals - 1) // 2), self._values_at(self.totals // 2)
        medians: list[float] = ((low + high) / 2).tolist()
        return medians

    def quantiles(self, *, tenths: int) -> list[int]:
        """Return the smallest value of each group that at least this many tenths of its values do not exceed."""
        # The division rounds up in integers.
        values: list[int] = self._values_at(-(-self.totals * tenths // 10) - 1).tolist()
        return values

    def _values_at(self, ranks: IntArray) -> IntArray:
        """Return the value of each group at a rank from 0, without expanding the counts."""
        counts_before = (self._cumulative_counts - self._counts)[self._group_starts]
        return self._seconds[np.searchsorted(self._cumulative_counts, counts_before + ranks, side="right")]


def response_times(responses: SparseCounts) -> ResponseTimes:
    """Return the distribution over all months: one group, or none without responses."""
    seconds, counts = sum_by_key(responses.items & _SECONDS_MASK, responses.counts)
    return ResponseTimes(np.zeros_like(seconds), seconds, counts)


def response_times_by_month(responses: SparseCounts) -> tuple[list[str], ResponseTimes]:
    """Return the months that have responses, such as `2024-02`, and the distribution with a group for each."""
    times = ResponseTimes(responses.items >> _SECONDS_BITS, responses.items & _SECONDS_MASK, responses.counts)
    return [format_month(month) for month in times.groups.tolist()], times
