"""Counts in arrays: of a few things for each person, and of boundless things for each person."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

_FOLD_AT = 1 << 17
_THING_BITS = 32


class PersonCounters:
    """Named counts for each person; people come as they write."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self._places = {name: place for place, name in enumerate(names)}
        self._counts = np.zeros((len(names), 64), np.int64)

    def make_room(self, people: int) -> None:
        room = self._counts.shape[1]
        if people > room:
            grown = np.zeros((len(self.names), max(people, 2 * room)), np.int64)
            grown[:, :room] = self._counts
            self._counts = grown

    def add(self, name: str, people: NDArray[Any], amounts: NDArray[Any] | int = 1) -> None:
        np.add.at(self._counts[self._places[name]], people, amounts)

    def of(self, name: str) -> Ints:
        """One count of everybody; writing into it writes the count."""
        counts: Ints = self._counts[self._places[name]]
        return counts


class Counted(NamedTuple):
    """Parallel arrays in the order of people, then things."""

    people: Ints
    things: Ints
    counts: Ints


def chosen(counted: Counted, which: NDArray[np.bool_]) -> Counted:
    return Counted(counted.people[which], counted.things[which], counted.counts[which])


class PairCounter:
    """How often each person did each thing, a number below 2^32: 16 bytes for each pair that occurred.

    Pairs wait unsorted and are folded in when there are as many of them as of
    those folded before, so that the work stays close to linear.
    """

    def __init__(self) -> None:
        self._keys = np.zeros(0, np.int64)
        self._counts = np.zeros(0, np.int64)
        self._waiting: list[Ints] = []
        self._n_waiting = 0

    def add(self, people: NDArray[Any], things: NDArray[Any]) -> None:
        keys = (people.astype(np.int64) << _THING_BITS) | things
        self._waiting.append(keys)
        self._n_waiting += len(keys)
        if self._n_waiting > max(_FOLD_AT, len(self._keys)):
            self._fold()

    def counted(self) -> Counted:
        self._fold()
        return Counted(self._keys >> _THING_BITS, self._keys & ((1 << _THING_BITS) - 1), self._counts)

    def replace(self, counted: Counted) -> None:
        """Go on from other counts."""
        self._fold()
        self._keys, self._counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._merge((counted.people << _THING_BITS) | counted.things, counted.counts)

    def __len__(self) -> int:
        """Pairs, at most: those that wait may be among those folded."""
        return len(self._keys) + self._n_waiting

    def _fold(self) -> None:
        if self._waiting:
            keys, counts = np.unique(np.concatenate(self._waiting), return_counts=True)
            self._waiting, self._n_waiting = [], 0
            self._merge(keys, counts)

    def _merge(self, keys: Ints, counts: Ints) -> None:
        """Distinct keys in order; nearly all of them are known after a while."""
        places = np.searchsorted(self._keys, keys)
        known = np.append(self._keys, -1)[places] == keys
        self._counts[places[known]] += counts[known]
        new = np.flatnonzero(~known)
        if len(new):
            self._keys = np.insert(self._keys, places[new], keys[new])
            self._counts = np.insert(self._counts, places[new], counts[new])


def summed(keys: Ints, counts: Ints) -> tuple[Ints, Ints]:
    """Each key once, in order, with the sum of its counts."""
    if not len(keys):
        return keys, counts
    order = np.argsort(keys)
    keys = keys[order]
    starts = begins(keys)
    return keys[starts], np.add.reduceat(counts[order], starts)


def runs(ordered: Ints) -> Iterator[tuple[int, int, int]]:
    """Each value of an ordered array with where it starts and ends."""
    for start, end in pairwise([*begins(ordered).tolist(), len(ordered)]):
        yield int(ordered[start]), start, end


def begins(ordered: Ints) -> Ints:
    """Where each value of an ordered array begins."""
    return np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)])


def grouped(counted: Counted, groups: Ints) -> dict[int, Counted]:
    """The counts of each group of people; `groups` holds everybody's group, which is what `people` becomes."""
    keys = groups[counted.people] << _THING_BITS
    keys |= counted.things
    keys, counts = summed(keys, counted.counts)
    people, things = keys >> _THING_BITS, keys & ((1 << _THING_BITS) - 1)
    return {
        group: Counted(people[start:end], things[start:end], counts[start:end]) for group, start, end in runs(people)
    }
