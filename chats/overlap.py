"""Compare two exports of one chat line by line. Pure.

Two exports of a chat always differ. The newer one may begin in the middle (WhatsApp exports the last 40,000 messages,
or 10,000 with media), show a deleted message as deleted, print other names after contacts were renamed, or name a file
where the older one says that it was omitted; an iPhone prints seconds and Android does not. A line is therefore
identified by its minute and its text, or by its minute and kind if the text is not the sender's own. Equal lines are
numbered in file order.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chats.exports.parsed import SYSTEM_SENDER, Batch, MessageKind

#: This many common messages are no coincidence. With fewer, most messages of both exports must agree, and a name.
MIN_CONCLUSIVE_MESSAGES = 10

_TEXT, _DELETED = int(MessageKind.TEXT), int(MessageKind.DELETED)
#: 2**64 divided by the golden ratio. It is odd, so its multiples are distinct in 64 bits.
_HASH_STEP = np.uint64(0x9E3779B97F4A7C15)

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class LineIndex:
    """The lines of one export in file order, one array item each: key, minute since 1970, sender, and whether the line
    was deleted or edited.

    Keys are valid in this process only, because Python's string hashes differ in each process.
    """

    keys: NDArray[np.uint64]
    minutes: NDArray[np.int64]
    senders: NDArray[np.int32]
    is_changed: Mask

    @classmethod
    def from_batches(cls, batches: Iterable[Batch]) -> LineIndex:
        """Return the index of all lines. It is empty if the chat was erased while it was read."""
        all_keys, all_minutes = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        all_senders, all_changed = [np.empty(0, np.int32)], [np.empty(0, np.bool_)]
        for batch in batches:
            minutes = [second // 60 for second in batch.seconds]
            contents: list[str] | list[str | int] = batch.texts
            if any(batch.kinds):
                pairs = zip(batch.texts, batch.kinds, strict=True)
                contents = [text if kind == _TEXT else kind for text, kind in pairs]
            is_changed = np.array(batch.kinds) == _DELETED
            is_changed[list(batch.edited)] = True
            all_keys.append(np.fromiter(map(hash, zip(minutes, contents, strict=True)), np.int64, len(batch)))
            all_minutes.append(np.array(minutes, np.int64))
            all_senders.append(np.array(batch.senders, np.int32))
            all_changed.append(is_changed)
        return cls(
            _number_equal_keys(np.concatenate(all_keys)),
            np.concatenate(all_minutes),
            np.concatenate(all_senders),
            np.concatenate(all_changed),
        )

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def is_sent(self) -> Mask:
        """Return which lines were sent by people; the others are system lines."""
        is_sent: Mask = self.senders != SYSTEM_SENDER
        return is_sent

    def count_sent_between(self, start: np.int64, end: np.int64) -> int:
        """Return the number of messages from minute `start` to minute `end`, inclusive."""
        return int(np.count_nonzero(self.is_sent & (self.minutes >= start) & (self.minutes <= end)))


def _number_equal_keys(keys: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return the keys with the second, third, … of equal keys made distinct."""
    if not len(keys):
        return keys.view(np.uint64)
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    positions = np.arange(len(keys))
    starts = np.maximum.accumulate(np.where(np.r_[True, ordered[1:] != ordered[:-1]], positions, 0))
    numbered = np.empty(len(keys), np.uint64)
    numbered[order] = ordered.view(np.uint64) + (positions - starts).astype(np.uint64) * _HASH_STEP
    return numbered


@dataclass(frozen=True)
class SenderMatches:
    """For each sender, who wrote the majority of their common messages in the other export."""

    newer_to_stored: dict[int, int]
    stored_to_newer: dict[int, int]

    def find_stored(self, newer: int) -> int | None:
        """Return the stored sender who is this sender of the newer export: each wrote most of the other's messages."""
        stored = self.newer_to_stored.get(newer)
        return None if stored is None or self.stored_to_newer.get(stored) != newer else stored

    def can_be_same(self, newer: int, stored: int) -> bool:
        """Return whether no common message contradicts that the two are one person."""
        if stored in self.stored_to_newer:
            return self.stored_to_newer[stored] == newer
        return self.find_stored(newer) is None


@dataclass(frozen=True)
class Overlap:
    """The lines of a newer export, compared with a stored one.

    `is_known` marks lines that the stored export has, `is_new` lines to add after its end, `is_older` lines that it
    lacks before its end. Older lines cannot be added, because message numbers never change.
    """

    stored: LineIndex
    newer: LineIndex
    is_known: Mask
    is_new: Mask
    is_older: Mask

    @classmethod
    def compare(cls, *, stored: LineIndex, newer: LineIndex) -> Overlap:
        """Return the overlap of a stored export and a newer one."""
        is_known = np.isin(newer.keys, stored.keys)
        is_after_last_known = np.zeros(len(newer), bool)
        if is_known.any():
            is_after_last_known[np.flatnonzero(is_known)[-1] + 1 :] = True
        is_missing = ~is_known & ~_find_reworded(stored, newer, is_known, is_after_last_known)
        return cls(
            stored, newer, is_known, is_new=is_missing & is_after_last_known, is_older=is_missing & ~is_after_last_known
        )

    def is_same_chat(self, *, shares_a_name: bool) -> bool:
        """Return whether most messages agree in the time that both exports cover."""
        common = int(np.count_nonzero(self.is_known & self.newer.is_sent))
        if not common:
            return False
        start = max(self.stored.minutes.min(), self.newer.minutes.min())
        end = min(self.stored.minutes.max(), self.newer.minutes.max())
        if common * 2 <= self.newer.count_sent_between(start, end):
            return False
        if common >= MIN_CONCLUSIVE_MESSAGES:
            return True
        return shares_a_name and common * 2 > self.stored.count_sent_between(start, end)

    @property
    def new_messages(self) -> int:
        """Return the number of new messages, without system lines."""
        return int(np.count_nonzero(self.is_new & self.newer.is_sent))

    @property
    def older_messages(self) -> int:
        """Return the number of older messages that the stored export lacks, without system lines."""
        return int(np.count_nonzero(self.is_older & self.newer.is_sent))

    def stored_numbers(self, *, first_new: int) -> list[int]:
        """Return the number in the stored export of each line of the newer one; 0 for lines that it will not contain.

        New lines are numbered from `first_new` on.
        """
        numbers = np.zeros(len(self.newer), np.int64)
        numbers[self.is_known] = self._stored_lines(self.is_known) + 1
        numbers[self.is_new] = np.arange(first_new, first_new + np.count_nonzero(self.is_new))
        # A reworded line is one that the newer export lacks in its stored form: in file order within the minute.
        is_reworded = ~(self.is_known | self.is_new | self.is_older)
        is_lost = ~np.isin(self.stored.keys, self.newer.keys)
        is_lost &= np.isin(self.stored.minutes, self.newer.minutes[is_reworded])
        lost_by_minute: dict[int, deque[int]] = {}
        for line in np.flatnonzero(is_lost).tolist():
            lost_by_minute.setdefault(int(self.stored.minutes[line]), deque()).append(line)
        for line in np.flatnonzero(is_reworded).tolist():
            if lost := lost_by_minute.get(int(self.newer.minutes[line])):
                numbers[line] = lost.popleft() + 1
        return numbers.tolist()

    def _stored_lines(self, is_common: Mask) -> NDArray[np.int64]:
        """Return the positions in the stored export of lines that both exports have."""
        order = np.argsort(self.stored.keys)
        return order[np.searchsorted(self.stored.keys, self.newer.keys[is_common], sorter=order)]

    def match_senders(self) -> SenderMatches:
        """Return who is who, judged by the messages that both exports have."""
        is_common = self.is_known & self.newer.is_sent
        stored_lines = self._stored_lines(is_common)
        pairs = zip(self.newer.senders[is_common].tolist(), self.stored.senders[stored_lines].tolist(), strict=True)
        counts = Counter((newer, stored) for newer, stored in pairs if stored != SYSTEM_SENDER)
        swapped = {(stored, newer): count for (newer, stored), count in counts.items()}
        return SenderMatches(newer_to_stored=_majorities(counts), stored_to_newer=_majorities(swapped))


def _majorities(counts: Mapping[tuple[int, int], int]) -> dict[int, int]:
    """Return, for each first item of the pairs, the second item that has more than half of its count, if any."""
    totals: Counter[int] = Counter()
    for (first, _), count in counts.items():
        totals[first] += count
    return {first: second for (first, second), count in counts.items() if count * 2 > totals[first]}


def _find_reworded(stored: LineIndex, newer: LineIndex, is_known: Mask, is_after_last_known: Mask) -> Mask:
    """Return which unknown lines the stored export contains in another form.

    In each minute, as many unknown lines are reworded as the stored export has lines that the newer one lacks, in file
    order. After the last known line, one of the two forms must be deleted or edited. Before it any line qualifies, such
    as one that mentions a renamed contact.
    """
    is_reworded = np.zeros(len(newer), bool)
    is_lost = ~np.isin(stored.keys, newer.keys)
    lost_by_minute = Counter(stored.minutes[is_lost].tolist())
    changed_by_minute = Counter(stored.minutes[is_lost & stored.is_changed].tolist())
    for line in np.flatnonzero(~is_known & np.isin(newer.minutes, stored.minutes[is_lost])).tolist():
        minute = int(newer.minutes[line])
        any_form = newer.is_changed[line] or not is_after_last_known[line]
        if (lost_by_minute if any_form else changed_by_minute)[minute] > 0:
            lost_by_minute[minute] -= 1
            changed_by_minute[minute] -= changed_by_minute[minute] > 0
            is_reworded[line] = True
    return is_reworded
