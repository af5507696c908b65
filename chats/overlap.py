"""What two exports of one chat have in common. Pure.

Two exports of a chat are never quite alike: the newer may begin in the middle (WhatsApp gives the
last 40,000 messages, or 10,000 with media), show a deleted message as deleted, print other names after
contacts were renamed, name a file where the older wrote that it was left out, and an iPhone's has
seconds where Android's has none. So a line is known by its minute and its text, or by its minute
and kind where the text is not a person's own; equal ones are told apart by their order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chats.exports.parsed import SYSTEM_SENDER, Batch, Kind

#: So many known messages are no chance. With fewer, most of both exports must agree, and a name.
SURELY_NO_CHANCE = 10

_TEXT, _DELETED = int(Kind.TEXT), int(Kind.DELETED)
#: Odd, so that multiples of it are distinct in 64 bits.
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Trace:
    """An export's lines in file order, a place each; `changed` ones were deleted or edited by somebody.

    Keys hold for this process only: Python's hashes of strings differ in each.
    """

    keys: NDArray[np.uint64]
    minutes: NDArray[np.int64]
    senders: NDArray[np.int32]
    changed: NDArray[np.bool_]

    @classmethod
    def of(cls, batches: Iterable[Batch]) -> Trace:
        parts = [_columns(batch) for batch in batches]
        if not parts:  # a chat that was erased while it was to be read
            nothing = np.empty(0, np.int64)
            return cls(nothing.view(np.uint64), nothing, nothing.astype(np.int32), nothing.astype(np.bool_))
        keys, minutes, senders, changed = (np.concatenate(column) for column in zip(*parts, strict=True))
        return cls(_told_apart(keys), minutes, senders, changed)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def written(self) -> NDArray[np.bool_]:
        """The lines of people."""
        lines: NDArray[np.bool_] = self.senders != SYSTEM_SENDER
        return lines


def _columns(batch: Batch) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32], NDArray[np.bool_]]:
    minutes = [instant // 60 for instant in batch.seconds]
    said: list[str] | list[str | int] = batch.texts
    if any(batch.kinds):
        said = [text if kind == _TEXT else kind for text, kind in zip(batch.texts, batch.kinds, strict=True)]
    keys = np.fromiter(map(hash, zip(minutes, said, strict=True)), np.int64, len(batch))
    changed = np.array(batch.kinds) == _DELETED
    changed[list(batch.edited)] = True
    return keys, np.array(minutes, np.int64), np.array(batch.senders, np.int32), changed


def _told_apart(keys: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The keys, with the second, third, … of equal ones made different."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    places = np.arange(len(keys))
    starts = np.maximum.accumulate(np.where(np.r_[True, ordered[1:] != ordered[:-1]], places, 0))
    apart = np.empty(len(keys), np.uint64)
    apart[order] = ordered.view(np.uint64) + (places - starts).astype(np.uint64) * _SPREAD
    return apart


@dataclass(frozen=True)
class Senders:
    """Who wrote most of the messages that both exports have.

    `before` leads from a sender of the newer export to that of the stored one, `after` the other way.
    """

    before: dict[int, int]
    after: dict[int, int]

    def same(self, sender: int) -> int | None:
        """The stored sender who is this one of the newer export: each wrote most of the other's messages."""
        before = self.before.get(sender)
        return None if before is None or self.after.get(before) != sender else before

    def agree(self, sender: int, stored: int) -> bool:
        """Whether no message speaks against the two being one."""
        if stored in self.after:
            return self.after[stored] == sender
        return self.same(sender) is None


@dataclass(frozen=True)
class Overlap:
    """`known` are the places of the newer export that stand in the stored one, `fresh` those to add to it.

    `older` are those that the stored one lacks from before its last: they have no number there, so they are left out.
    """

    stored: Trace
    newer: Trace
    known: NDArray[np.bool_]
    fresh: NDArray[np.bool_]
    older: NDArray[np.bool_]

    @classmethod
    def of(cls, *, stored: Trace, newer: Trace) -> Overlap:
        known = np.isin(newer.keys, stored.keys)
        after = np.zeros(len(newer), bool)
        if known.any():
            after[np.flatnonzero(known)[-1] + 1 :] = True
        lacking = ~known & ~_replaced(stored, newer, known, after)
        return cls(stored, newer, known, fresh=lacking & after, older=lacking & ~after)

    def is_of_one_chat(self, *, share_a_name: bool) -> bool:
        """Whether most messages agree from where both exports run side by side."""
        agreed = np.count_nonzero(self.known & self.newer.written)
        if not agreed:
            return False
        start = max(self.stored.minutes.min(), self.newer.minutes.min())
        end = min(self.stored.minutes.max(), self.newer.minutes.max())
        ours, theirs = (
            np.count_nonzero(trace.written & (trace.minutes >= start) & (trace.minutes <= end))
            for trace in (self.newer, self.stored)
        )
        if agreed * 2 <= ours:
            return False
        return bool(agreed >= SURELY_NO_CHANCE or (share_a_name and agreed * 2 > theirs))

    @property
    def fresh_messages(self) -> int:
        return int(np.count_nonzero(self.fresh & self.newer.written))

    @property
    def older_messages(self) -> int:
        return int(np.count_nonzero(self.older & self.newer.written))

    def senders(self) -> Senders:
        order = np.argsort(self.stored.keys)
        wanted = self.known & self.newer.written
        places = order[np.searchsorted(self.stored.keys, self.newer.keys[wanted], sorter=order)]
        pairs = zip(self.newer.senders[wanted].tolist(), self.stored.senders[places].tolist(), strict=True)
        counts = Counter(pair for pair in pairs if pair[1] != SYSTEM_SENDER)
        return Senders(
            before=_most(counts), after=_most({(stored, newer): count for (newer, stored), count in counts.items()})
        )


def _most(counts: Mapping[tuple[int, int], int]) -> dict[int, int]:
    """For each first of the pairs the second with more than half of its count, if one has."""
    totals: Counter[int] = Counter()
    for (first, _), count in counts.items():
        totals[first] += count
    return {first: second for (first, second), count in counts.items() if count * 2 > totals[first]}


def _replaced(stored: Trace, newer: Trace, known: NDArray[np.bool_], after: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The unknown lines that stand in the stored export in another form.

    In the file's order as many as the stored export has lines of that minute which the newer one lacks. `after`
    the last known line only those that were deleted or edited before or since; up to it any, such as one that
    mentions somebody by another name.
    """
    replaced = np.zeros(len(newer), bool)
    lost = ~np.isin(stored.keys, newer.keys)
    left = Counter(stored.minutes[lost].tolist())
    changed = Counter(stored.minutes[lost & stored.changed].tolist())
    for place in np.flatnonzero(~known & np.isin(newer.minutes, stored.minutes[lost])).tolist():
        minute = int(newer.minutes[place])
        if (left if newer.changed[place] or not after[place] else changed)[minute] > 0:
            left[minute] -= 1
            changed[minute] -= changed[minute] > 0
            replaced[place] = True
    return replaced
