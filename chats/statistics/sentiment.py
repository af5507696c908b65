"""Praise and blame: words and emoji from a list, turned round by a negation. The rules: docs/statistics.md.

Where a list comes from stands in `sentiment.toml`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chats.statistics.sparse_counts import Counted, Ints, PairCounter, begins
from chats.statistics.time_bins import month, months_of

NO_FEELING, POSITIVE, NEGATIVE, ENGLISH_NEGATION, HINDI_NEGATION = range(5)
LEAST_RATED = 20

_REACH_WORDS = 3
# What is tallied: a month, and in the last two bits what of it.
_PRAISE, _BLAME, _MESSAGE = range(3)
_BITS = 2


def _feelings() -> dict[str, int]:
    lists = tomllib.loads(Path(__file__).with_name("sentiment.toml").read_text(encoding="utf-8"))
    feelings: dict[str, int] = {}
    for language, words in lists.items():
        negation = ENGLISH_NEGATION if language == "english" else HINDI_NEGATION
        for field, feeling in (("positive", POSITIVE), ("negative", NEGATIVE), ("negations", negation)):
            feelings.update(dict.fromkeys(words.get(field, "").split(), feeling))
    return feelings


_FEELINGS = _feelings()


def of(term: str) -> int:
    """What a word or an emoji of any variation says."""
    return _FEELINGS.get(term.replace("\ufe0f", ""), NO_FEELING)


class Said(NamedTuple):
    """Praise and blame, and the messages that hold some."""

    positive: int
    negative: int
    messages: int


class SentimentCounts:
    """Counted by person and month."""

    def __init__(self) -> None:
        self.tally = PairCounter()

    def add(
        self, feelings: NDArray[np.uint8], are_words: NDArray[np.bool_], texts: Ints, *, people: Ints, seconds: Ints
    ) -> Ints:
        """What each word and emoji says and the text it stands in; people and seconds are those of the texts.

        Returns the places of the texts that say a feeling, in order, for `add_messages`.
        """
        feelings = feelings.copy()
        said = np.flatnonzero(feelings)
        words = said[are_words[said]]
        # Emoji between words do not count, and no negation reaches into the next text.
        order = words - np.searchsorted(np.flatnonzero(~are_words), words) + texts[words] * _REACH_WORDS
        feelings[words] = _turned(feelings[words], order)
        said = said[_are_rated(feelings[said])]
        places = texts[said]
        self._add(people[places], seconds[places], np.where(feelings[said] == POSITIVE, _PRAISE, _BLAME))
        return places[np.flatnonzero(np.diff(places, prepend=-1))]

    def add_messages(self, people: Ints, seconds: Ints) -> None:
        """Messages that say a feeling."""
        self._add(people, seconds, _MESSAGE)

    def _add(self, people: Ints, seconds: Ints, what: Ints | int) -> None:
        self.tally.add(people, months_of(seconds) << _BITS | what)


def _turned(feelings: NDArray[np.uint8], order: Ints) -> NDArray[np.uint8]:
    """What words say after negations; those that say nothing are left out, so `order` is their place among all."""

    def before(places: int, *, within: int) -> NDArray[np.uint8]:
        near = np.zeros_like(feelings)
        is_near = order[places:] - order[:-places] <= within
        near[places:] = np.where(is_near, feelings[:-places], NO_FEELING)
        return near

    turned = (before(1, within=1) == HINDI_NEGATION) & ~_are_rated(before(2, within=2))
    turned[:-1] |= (feelings[1:] == HINDI_NEGATION) & (np.diff(order) == 1)
    free = np.ones(len(feelings), bool)
    for places in range(1, _REACH_WORDS + 1):
        word = before(places, within=_REACH_WORDS)
        turned |= free & (word == ENGLISH_NEGATION)
        free &= ~_are_rated(word)
    return np.where(turned & _are_rated(feelings), POSITIVE + NEGATIVE - feelings, feelings)


def _are_rated(feelings: NDArray[np.uint8]) -> NDArray[np.bool_]:
    rated: NDArray[np.bool_] = (feelings == POSITIVE) | (feelings == NEGATIVE)
    return rated


def by_month(counted: Counted) -> Iterator[tuple[str, Said]]:
    months = counted.things >> _BITS
    numbers = months[begins(months)]
    places = np.searchsorted(numbers, months)
    for number, said in zip(numbers.tolist(), _said(counted, places, len(numbers)), strict=True):
        yield month(number), said


def in_all(counted: Counted) -> Said:
    (said,) = _said(counted, np.zeros_like(counted.things), 1)
    return said


def _said(counted: Counted, places: Ints, n_places: int) -> Iterator[Said]:
    what = counted.things & ((1 << _BITS) - 1)
    counts = np.bincount(places << _BITS | what, counted.counts, n_places << _BITS).astype(int)
    for praise, blame, messages, _ in counts.reshape(n_places, 1 << _BITS).tolist():
        yield Said(praise, blame, messages)


def figures(said: Said) -> dict[str, Any]:
    """Counts, and their balance from -1 to 1; none where too little was said."""
    rated = said.positive + said.negative
    return {
        "positive": said.positive,
        "negative": said.negative,
        "messages": said.messages,
        "balance": round((said.positive - said.negative) / rated, 2) if rated >= LEAST_RATED else None,
    }
