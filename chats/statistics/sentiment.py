"""Sentiment: positive and negative words and emoji from a lexicon, reversed by negations. Rules: docs/statistics.md.

`sentiment.toml` names the sources of the lexicon.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chats.statistics.sparse_counts import BoolArray, IntArray, SparseCounter, SparseCounts, run_starts
from chats.statistics.time_bins import format_month, month_bins

#: Sentiment codes. Positive and negative are the polar ones.
NEUTRAL, POSITIVE, NEGATIVE, ENGLISH_NEGATION, HINDI_NEGATION = range(5)

# Words after an English negation that it can reverse.
_NEGATION_REACH = 3
# A counted item is a month in the upper bits and one of these in the lower two.
_POSITIVE_TERM, _NEGATIVE_TERM, _MESSAGE = range(3)
_KIND_BITS = 2
_KIND_MASK = (1 << _KIND_BITS) - 1


def _load_lexicon() -> dict[str, int]:
    lists = tomllib.loads(Path(__file__).with_name("sentiment.toml").read_text(encoding="utf-8"))
    lexicon: dict[str, int] = {}
    for language, words in lists.items():
        negation = ENGLISH_NEGATION if language == "english" else HINDI_NEGATION
        for field, code in (("positive", POSITIVE), ("negative", NEGATIVE), ("negations", negation)):
            lexicon.update(dict.fromkeys(words.get(field, "").split(), code))
    return lexicon


_LEXICON = _load_lexicon()


def classify_sentiment(term: str) -> int:
    """Return the sentiment code of a word, or of an emoji with or without variation selectors."""
    return _LEXICON.get(term.replace("\ufe0f", ""), NEUTRAL)


class SentimentTotals(NamedTuple):
    """Positive and negative words and emoji, and the messages that contain any."""

    positive: int
    negative: int
    messages: int


class SentimentCounter:
    """Counts sentiment by person and month."""

    def __init__(self) -> None:
        self.counter = SparseCounter()

    def add_terms(
        self, codes: NDArray[np.uint8], is_word: BoolArray, texts: IntArray, *, people: IntArray, seconds: IntArray
    ) -> IntArray:
        """Count the polar terms of some texts. Return the positions of the texts that contain any, in order.

        `codes`, `is_word` and `texts` hold the sentiment code of each term, whether it is a word, and the position of
        its text; `people` and `seconds` hold the sender and the time of each text.
        """
        codes = codes.copy()
        relevant = np.flatnonzero(codes)
        words = relevant[is_word[relevant]]
        # Word positions without the emoji in between. The offset keeps a negation from reaching the next text.
        word_positions = words - np.searchsorted(np.flatnonzero(~is_word), words) + texts[words] * _NEGATION_REACH
        codes[words] = _apply_negations(codes[words], word_positions)
        polar = relevant[_is_polar(codes[relevant])]
        positions = texts[polar]
        kinds = np.where(codes[polar] == POSITIVE, _POSITIVE_TERM, _NEGATIVE_TERM)
        self._add(people[positions], seconds[positions], kinds)
        return positions[np.flatnonzero(np.diff(positions, prepend=-1))]

    def add_messages(self, people: IntArray, seconds: IntArray) -> None:
        """Count messages that contain polar terms, by their senders and times."""
        self._add(people, seconds, _MESSAGE)

    def _add(self, people: IntArray, seconds: IntArray, kinds: IntArray | int) -> None:
        self.counter.add(people, month_bins(seconds) << _KIND_BITS | kinds)


def sum_by_month(counts: SparseCounts) -> Iterator[tuple[str, SentimentTotals]]:
    """Yield the totals of each month that has any, in order, with the month as `2024-02`."""
    months = counts.items >> _KIND_BITS
    distinct = months[run_starts(months)]
    totals = _sum_groups(counts, np.searchsorted(distinct, months), len(distinct))
    for month, month_totals in zip(distinct.tolist(), totals, strict=True):
        yield format_month(month), month_totals


def sum_all(counts: SparseCounts) -> SentimentTotals:
    """Return the totals over all months."""
    (totals,) = _sum_groups(counts, np.zeros_like(counts.items), 1)
    return totals


def _apply_negations(codes: NDArray[np.uint8], positions: IntArray) -> NDArray[np.uint8]:
    """Return the codes of words after negation.

    `codes` leaves neutral words out, so `positions` holds the position of each word among all words. Instead of a loop
    over words, each step below compares every word with the one so many entries before it.
    """

    def entries_before(offset: int, *, within: int) -> NDArray[np.uint8]:
        """Return the code `offset` entries before each word, NEUTRAL if it is more than `within` words away."""
        shifted = np.zeros_like(codes)
        is_near = positions[offset:] - positions[:-offset] <= within
        shifted[offset:] = np.where(is_near, codes[:-offset], NEUTRAL)
        return shifted

    # A Hindi negation reverses the polar word right before it, or else the one right after it.
    negated = (entries_before(1, within=1) == HINDI_NEGATION) & ~_is_polar(entries_before(2, within=2))
    negated[:-1] |= (codes[1:] == HINDI_NEGATION) & (np.diff(positions) == 1)
    # An English negation reverses the first polar word within its reach; `is_first` drops out once another precedes.
    is_first = np.ones(len(codes), bool)
    for offset in range(1, _NEGATION_REACH + 1):
        before = entries_before(offset, within=_NEGATION_REACH)
        negated |= is_first & (before == ENGLISH_NEGATION)
        is_first &= ~_is_polar(before)
    return np.where(negated & _is_polar(codes), POSITIVE + NEGATIVE - codes, codes)


def _is_polar(codes: NDArray[np.uint8]) -> BoolArray:
    polar: BoolArray = (codes == POSITIVE) | (codes == NEGATIVE)
    return polar


def _sum_groups(counts: SparseCounts, groups: IntArray, n_groups: int) -> Iterator[SentimentTotals]:
    kinds = counts.items & _KIND_MASK
    sums = np.bincount(groups << _KIND_BITS | kinds, counts.counts, n_groups << _KIND_BITS).astype(int)
    for positive, negative, messages, _ in sums.reshape(n_groups, 1 << _KIND_BITS).tolist():
        yield SentimentTotals(positive, negative, messages)
