"""Whole words of a chat, in any script, in arrays: which messages hold a word or a phrase. Pure.

Words are lower-case runs of letters, digits and their marks; every emoji is a
word of its own, without skin tone and variation. Whole texts are cut by two
passes over their bytes, and Unicode is asked only once for each distinct
word: 100,000 messages take about 0.3 s, a look-up well under a millisecond.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import chain

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int32]

_END = b"\0"
_KEPT = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789\0")
_PLAIN = bytes(byte if byte in _KEPT or byte >= 0x80 else 0x20 for byte in bytes(range(256)).lower())
# Quotation marks, dashes, danda and odd spaces would glue words together; rarer signs are parted word by word.
_SIGNS = [sign.encode() for sign in "\u2018\u2019\u201c\u201d\u2013\u2014\u2026\u0964\u00a0\u202f\u200e"]
_UNSEEN = frozenset("\u200b\u200c\u200d\u200e\u200f\ufe0e\ufe0f\u20e3")


def split_words(text: str) -> list[str]:
    """The words of one text, as the index knows them."""
    return [word for part in _cut(text) for word in _parted(part)]


def phrase_offsets(phrase: Sequence[str], longer: Sequence[str]) -> list[int]:
    """After how many words of a longer phrase the phrase begins in it, as often as it does."""
    size, sought = len(phrase), tuple(phrase)
    if not 0 < size < len(longer):
        return []
    return [turn for turn in range(len(longer) - size + 1) if tuple(longer[turn : turn + size]) == sought]


class WordIndex:
    """The words of consecutive texts; a text is known by its place, from 0."""

    def __init__(self, texts: Iterable[Sequence[str]]) -> None:
        """Reads texts in groups of any length, so that they need not all be in memory at once."""
        self._numbers: dict[str, int] = {}
        vocabulary = _Vocabulary(self._numbers)
        groups, starts, size = [], [np.zeros(1, np.int64)], 0
        for group in texts:
            ids, ends = vocabulary.read(group)
            groups.append(ids)
            starts.append(ends + size)
            size += len(ids)
        self._ids = np.concatenate(groups) if groups else np.zeros(0, np.int32)
        self._starts = np.concatenate(starts)
        self._by_word = np.argsort(self._ids, kind="stable").astype(np.int32)
        counts = np.bincount(self._ids, minlength=len(self._numbers))
        self._begins = np.concatenate([[0], np.cumsum(counts)])
        #: Words of each text.
        self.lengths = np.diff(self._starts)

    @property
    def text_count(self) -> int:
        return len(self._starts) - 1

    def occurrences(self, phrase: Sequence[str], *, unless: Iterable[Sequence[str]] = ()) -> NDArray[np.int64]:
        """The place of the text of each occurrence, in order; a text that holds the phrase twice is there twice.

        An occurrence within one of the longer phrases of `unless` is none.
        """
        begins, texts = self._within_texts(phrase)
        for longer in unless:
            for turn in phrase_offsets(phrase, longer):
                keep = ~np.isin(begins, self._within_texts(longer)[0] + turn)
                begins, texts = begins[keep], texts[keep]
        return texts

    def used(self, *, least: int, most: int) -> list[str]:
        """The words that stand in the texts so often."""
        counts = np.diff(self._begins)
        chosen = (counts >= least) & (counts <= most)
        return [word for word, number in self._numbers.items() if chosen[number]]

    def uses(self, chosen: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Every use of the chosen words, by their place in the texts: the word's place in `chosen`, and the text's."""
        turn = np.full(len(self._numbers), -1, np.int64)
        turn[[self._numbers[word] for word in chosen]] = np.arange(len(chosen))
        turns = turn[self._ids]
        texts = np.repeat(np.arange(self.text_count), self.lengths)
        return turns[turns >= 0], texts[turns >= 0]

    def _within_texts(self, phrase: Sequence[str]) -> tuple[Positions, NDArray[np.int64]]:
        """Where the phrase begins and in which text: it does not run on from one text into the next."""
        found = self._found(phrase)
        texts = np.searchsorted(self._starts, found, side="right") - 1
        if len(phrase) > 1:
            keep = found + len(phrase) <= self._starts[texts + 1]
            found, texts = found[keep], texts[keep]
        return found, texts

    def _found(self, phrase: Sequence[str]) -> Positions:
        """Where among all words the phrase begins, though it may run on into the next text."""
        numbers = [self._numbers.get(word) for word in phrase]
        if not numbers or None in numbers:
            return np.zeros(0, np.int32)
        places = [self._places(number) for number in numbers if number is not None]
        # From the rarest word outwards, every look is at a few places.
        rarest = min(range(len(places)), key=lambda turn: len(places[turn]))
        begins = places[rarest] - rarest
        begins = begins[(begins >= 0) & (begins + len(numbers) <= len(self._ids))]
        for turn, number in enumerate(numbers):
            if turn != rarest:
                begins = begins[self._ids[begins + turn] == number]
        return begins

    def _places(self, number: int) -> Positions:
        begins = self._begins
        return self._by_word[begins[number] : begins[number + 1]]


class _Vocabulary:
    """Numbers for words, and for each part of a text as it is printed the words that it holds."""

    def __init__(self, numbers: dict[str, int]) -> None:
        self._numbers = numbers
        self._parts: dict[bytes, int] = {}
        self._words: list[list[int]] = []

    def read(self, texts: Sequence[str]) -> tuple[Positions, NDArray[np.int64]]:
        """The numbers of the texts' words one after the other, and where each text ends among them."""
        if not texts:
            return np.zeros(0, np.int32), np.zeros(0, np.int64)
        parts = _bytes_of(texts).split()
        self._learn(set(parts).difference(self._parts))
        ids = np.fromiter(map(self._parts.__getitem__, parts), np.int32, len(parts))
        counts = np.fromiter(map(len, self._words), np.int64, len(self._words))[ids]
        starts = np.cumsum(counts) - counts
        flat = np.fromiter(chain.from_iterable(self._words), np.int32)
        begins = np.cumsum([0, *map(len, self._words)])[ids]
        taken = np.repeat(begins - starts, counts) + np.arange(int(counts.sum()))
        ends = starts[ids == self._parts[_END]]
        return flat[taken], np.append(ends, counts.sum())

    def _learn(self, parts: set[bytes]) -> None:
        for part in chain([_END] if _END not in self._parts else [], sorted(parts - {_END})):
            held = [self._numbers.setdefault(word, len(self._numbers)) for word in _parted(part)]
            self._parts[part] = len(self._words)
            self._words.append(held)


def _bytes_of(texts: Sequence[str]) -> bytes:
    """All texts cut into parts by white space, with a part of its own between two texts."""
    joined = " \0 ".join(texts)
    if joined.count("\0") != len(texts) - 1:
        joined = " \0 ".join(text.replace("\0", " ") for text in texts)
    return _cleaned(joined)


def _cut(text: str) -> list[bytes]:
    return _cleaned(text.replace("\0", " ")).split()


def _cleaned(text: str) -> bytes:
    packed = text.encode(errors="replace")
    if not text.isascii():
        packed = reduce(lambda left, sign: left.replace(sign, b" "), _SIGNS, packed)
    return packed.translate(_PLAIN)


def _parted(part: bytes) -> list[str]:
    """The words within a part that has no ASCII sign in it."""
    if part.isascii():
        return [part.decode()] if part != _END else []
    # Decomposed first and composed again, so that a letter with its mark is one word however it was typed.
    text = unicodedata.normalize("NFC", part.decode(errors="replace").casefold())
    found, word = [], ""
    for char in text:
        if char in _UNSEEN:
            continue
        group = unicodedata.category(char)[0]
        if group in "LMN":
            word += char
            continue
        if word:
            found.append(word)
            word = ""
        if group == "S" and not 0x1F3FB <= ord(char) <= 0x1F3FF:
            found.append(char)
    return [*found, word] if word else found
