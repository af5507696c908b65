"""Counters in numpy arrays: a few named counts per person, and counts per pair of person and item."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

#: Pending pairs that trigger the first merge: 1 MB of keys.
_MIN_MERGE_PAIRS = 1 << 17
# A key holds the person in its upper bits and the item in its lower 32 bits.
_ITEM_BITS = 32
_ITEM_MASK = (1 << _ITEM_BITS) - 1


class CountTable:
    """Named counts per person: one row per name, one column per person. It grows as people appear."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self._row_of_name = {name: row for row, name in enumerate(names)}
        self._counts = np.zeros((len(names), 64), np.int64)

    def ensure_capacity(self, n_people: int) -> None:
        """Make room for at least `n_people` people."""
        capacity = self._counts.shape[1]
        if n_people > capacity:
            grown = np.zeros((len(self.names), max(n_people, 2 * capacity)), np.int64)
            grown[:, :capacity] = self._counts
            self._counts = grown

    def add(self, name: str, people: NDArray[Any], amounts: NDArray[Any] | int = 1) -> None:
        """Add to the named count of each of `people`; a person may be listed several times."""
        # `counts[people] += amounts` would count a repeated person once.
        np.add.at(self._counts[self._row_of_name[name]], people, amounts)

    def row(self, name: str) -> IntArray:
        """Return the named count by person. This is a view: assigning to it changes the table."""
        counts: IntArray = self._counts[self._row_of_name[name]]
        return counts

    def sum_by_bucket(self, bucket_of_person: IntArray, n_buckets: int) -> list[dict[str, int]]:
        """Return the sums of all named counts for each bucket."""
        sums = np.zeros((n_buckets, len(self.names)), np.int64)
        for row, counts in enumerate(self._counts):
            np.add.at(sums[:, row], bucket_of_person, counts[: len(bucket_of_person)])
        return [dict(zip(self.names, bucket, strict=True)) for bucket in sums.tolist()]


class SparseCounts(NamedTuple):
    """Parallel arrays with one position per pair that occurred, ordered by person, then item."""

    people: IntArray
    items: IntArray
    counts: IntArray

    def where(self, mask: BoolArray) -> SparseCounts:
        """Return the pairs that the mask selects."""
        return SparseCounts(self.people[mask], self.items[mask], self.counts[mask])

    def sum_by_bucket(self, bucket_of_person: IntArray) -> dict[int, SparseCounts]:
        """Return the counts of each bucket that has any; `people` then holds the bucket instead of the person."""
        keys = bucket_of_person[self.people] << _ITEM_BITS
        keys |= self.items
        keys, counts = sum_by_key(keys, self.counts)
        buckets, items = keys >> _ITEM_BITS, keys & _ITEM_MASK
        bounds = [*run_starts(buckets).tolist(), len(buckets)]
        return {
            int(buckets[start]): SparseCounts(buckets[start:end], items[start:end], counts[start:end])
            for start, end in pairwise(bounds)
        }


class SparseCounter:
    """Counts pairs of person and item, an integer below 2**32. Takes 16 bytes per distinct pair.

    Added pairs are kept unsorted and are merged once they outnumber the distinct
    pairs, so that all the sorting together stays close to linear.
    """

    def __init__(self) -> None:
        self._keys = np.zeros(0, np.int64)
        self._counts = np.zeros(0, np.int64)
        self._pending: list[IntArray] = []
        self._n_pending = 0

    def __len__(self) -> int:
        """Return an upper bound on the distinct pairs: pending pairs may repeat merged ones."""
        return len(self._keys) + self._n_pending

    def add(self, people: NDArray[Any], items: NDArray[Any]) -> None:
        """Count one occurrence at each position of the parallel arrays."""
        keys = (people.astype(np.int64) << _ITEM_BITS) | items
        self._pending.append(keys)
        self._n_pending += len(keys)
        if self._n_pending > max(_MIN_MERGE_PAIRS, len(self._keys)):
            self._merge_pending()

    def totals(self) -> SparseCounts:
        """Return the counts of all pairs added so far."""
        self._merge_pending()
        return SparseCounts(self._keys >> _ITEM_BITS, self._keys & _ITEM_MASK, self._counts)

    def replace(self, counts: SparseCounts) -> None:
        """Discard all counts and continue from these."""
        self._keys, self._counts = (counts.people << _ITEM_BITS) | counts.items, counts.counts
        self._pending, self._n_pending = [], 0

    def _merge_pending(self) -> None:
        if not self._pending:
            return
        keys, counts = np.unique(np.concatenate(self._pending), return_counts=True)
        self._pending, self._n_pending = [], 0
        # After the first merges nearly all pairs are known, so adding in place is the common case
        # and the insertion, which copies the arrays, is rare.
        positions = np.searchsorted(self._keys, keys)
        known = np.append(self._keys, -1)[positions] == keys
        self._counts[positions[known]] += counts[known]
        new = np.flatnonzero(~known)
        if len(new):
            self._keys = np.insert(self._keys, positions[new], keys[new])
            self._counts = np.insert(self._counts, positions[new], counts[new])


def sum_by_key(keys: IntArray, counts: IntArray) -> tuple[IntArray, IntArray]:
    """Return the distinct keys in ascending order and the sum of the counts of each."""
    if not len(keys):
        return keys, counts
    order = np.argsort(keys)
    keys = keys[order]
    starts = run_starts(keys)
    return keys[starts], np.add.reduceat(counts[order], starts)


def run_starts(values: IntArray) -> IntArray:
    """Return the positions where a run of equal values starts."""
    return np.flatnonzero(np.append(True, values[1:] != values[:-1])[: len(values)])
