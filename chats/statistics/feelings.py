"""Praise and blame: words and emoji from a list, turned round by a negation. The rules: docs/statistics.md.

Where a list comes from stands in `feelings.toml`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chats.statistics.calendar import month, months
from chats.statistics.tally import Counted, Ints, Tally, runs

NO_FEELING, POSITIVE, NEGATIVE, ENGLISH_NEGATION, HINDI_NEGATION = range(5)
LEAST_RATED = 20

_REACH_WORDS = 3
# What is tallied: a month, and in the last two bits what of it.
_MONTHS_SHIFT = 1 << 17
_PRAISE, _BLAME, _MESSAGE = range(3)
_BITS = 2


def _feelings() -> dict[str, int]:
    lists = tomllib.loads(Path(__file__).with_name("feelings.toml").read_text(encoding="utf-8"))
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


class Feelings:
    """Counted by person and month."""

    def __init__(self) -> None:
        self.tally = Tally()

    def add(
        self, feelings: NDArray[np.uint8], are_words: NDArray[np.bool_], texts: Ints, *, people: Ints, seconds: Ints
    ) -> Ints:
        """What each word and emoji says and the text it stands in; people and seconds are those of the texts.

        Returns the places of the texts that say a feeling, in order, for `add_messages`.
        """
        feelings = feelings.copy()
        feelings[are_words] = _turned(feelings[are_words], texts[are_words])
        month = _month(seconds)
        for feeling, what in ((POSITIVE, _PRAISE), (NEGATIVE, _BLAME)):
            rated = texts[feelings == feeling]
            self.tally.add(people[rated], month[rated] << _BITS | what)
        return np.unique(texts[(feelings == POSITIVE) | (feelings == NEGATIVE)])

    def add_messages(self, people: Ints, seconds: Ints) -> None:
        """Messages that say a feeling."""
        self.tally.add(people, _month(seconds) << _BITS | _MESSAGE)


def _month(seconds: Ints) -> Ints:
    return months(seconds // 86_400) + _MONTHS_SHIFT


def _turned(feelings: NDArray[np.uint8], texts: Ints) -> NDArray[np.uint8]:
    """The feelings of words, after negations."""
    # Words of no text around them spare every look beyond the ends.
    around = np.zeros(_REACH_WORDS, np.uint8)
    said = np.concatenate([around, feelings, around])
    text = np.concatenate([around.astype(np.int64) - 1, texts, around.astype(np.int64) - 2])
    rated = (said == POSITIVE) | (said == NEGATIVE)
    turned = np.zeros(len(said), bool)
    free = rated.copy()
    for reach in range(1, _REACH_WORDS + 1):
        same = text == np.roll(text, reach)
        turned |= free & same & (np.roll(said, reach) == ENGLISH_NEGATION)
        free &= ~np.roll(rated, reach)
    before = rated & (np.roll(said, -1) == HINDI_NEGATION) & (text == np.roll(text, -1))
    after = rated & (np.roll(said, 1) == HINDI_NEGATION) & (text == np.roll(text, 1))
    turned |= before | (after & ~np.roll(before, 2))
    said[turned] = POSITIVE + NEGATIVE - said[turned]
    return said[_REACH_WORDS : len(said) - _REACH_WORDS]


def by_month(counted: Counted) -> Iterator[tuple[str, Said]]:
    for number, start, end in runs((counted.things >> _BITS) - _MONTHS_SHIFT):
        yield month(number), _said(counted.things[start:end], counted.counts[start:end])


def in_all(counted: Counted) -> Said:
    return _said(counted.things, counted.counts)


def _said(things: Ints, counts: Ints) -> Said:
    return Said(*np.bincount(things & ((1 << _BITS) - 1), counts, 3).astype(int).tolist())


def figures(said: Said) -> dict[str, Any]:
    """Counts, and their balance from -1 to 1; none where too little was said."""
    rated = said.positive + said.negative
    return {
        "positive": said.positive,
        "negative": said.negative,
        "messages": said.messages,
        "balance": round((said.positive - said.negative) / rated, 2) if rated >= LEAST_RATED else None,
    }
