"""An index of the words of a chat, in any script: which messages contain a word or a phrase. Pure.

Words are lower-case runs of letters, digits and their marks. Each emoji is a word by itself, without skin tone
and variation selector. Indexing 100,000 messages takes about 0.3 s, because texts are split as bytes in two
passes and only distinct parts are examined character by character; a lookup takes well under a millisecond.
"""

from __future__ import annotations

import tomllib
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WordPositions = NDArray[np.int32]
TextPositions = NDArray[np.int64]

_SEPARATOR = b"\0"
# `bytes.translate` table: lower case, and a space for every ASCII character that is no part of a word.
_WORD_BYTES = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789\0") | frozenset(range(0x80, 0x100))
_SPLIT_TABLE = bytes(byte if byte in _WORD_BYTES else 0x20 for byte in bytes(range(256)).lower())
# Common punctuation outside ASCII, replaced in whole texts: otherwise most parts that contain it would be distinct.
# Rarer punctuation is left to `_split_part`.
_COMMON_PUNCTUATION = [sign.encode() for sign in "\u2018\u2019\u201c\u201d\u2013\u2014\u2026\u0964\u00a0\u202f\u200e"]
_DENIALS = {
    kind: frozenset(words.split())
    for kind, words in tomllib.loads(Path(__file__).with_name("denials.toml").read_text(encoding="utf-8")).items()
}
_DENYING = _DENIALS["negations"] | _DENIALS["hindi_negations"] | _DENIALS["reports"]
#: Words before a term in which a negation or a report is looked for. A contraction takes two words.
_NEGATION_REACH, _REPORT_REACH = 4, 6
_IGNORED = frozenset("\u200b\u200c\u200d\u200e\u200f\ufe0e\ufe0f\u20e3")


def split_words(text: str) -> list[str]:
    """Return the words of a text, as the index stores them."""
    return [word for part in _split_bytes(text.replace("\0", " ")) for word in _split_part(part)]


def is_denied(words: Sequence[str], start: int, end: int) -> bool:
    """Return whether the words from `start` to before `end` are negated or reported: "I don't really love you".

    A negation denies what begins soon after it ("I don't think I love you"), and a Hindi negation what is right before
    or after it. What follows "said" or the like is somebody's report of other words.
    """
    before = words[max(0, start - _REPORT_REACH) : start]
    clause_starts = [position for position, word in enumerate(before) if word in _DENIALS["conjunctions"]]
    before = before[clause_starts[-1] :] if clause_starts else before
    if not _DENIALS["reports"].isdisjoint(before) or not _DENIALS["negations"].isdisjoint(before[-_NEGATION_REACH:]):
        return True
    return not _DENIALS["hindi_negations"].isdisjoint([*before[-1:], *words[end : end + 1]])


def find_offsets(phrase: Sequence[str], longer: Sequence[str]) -> list[int]:
    """Return the offsets, in words, at which a phrase occurs within a longer one."""
    size, target = len(phrase), tuple(phrase)
    if not 0 < size < len(longer):
        return []
    return [offset for offset in range(len(longer) - size + 1) if tuple(longer[offset : offset + size]) == target]


class WordIndex:
    """The words of consecutive texts. A text is identified by its position, from 0."""

    def __init__(self, groups: Iterable[Sequence[str]]) -> None:
        """Index texts that arrive in groups of any length, so that they need not be in memory at once."""
        vocabulary = _Vocabulary()
        id_groups, start_groups, n_words = [], [np.zeros(1, np.int64)], 0
        for texts in groups:
            ids, ends = vocabulary.read(texts)
            id_groups.append(ids)
            start_groups.append(ends + n_words)
            n_words += len(ids)
        self._id_of_word = vocabulary.id_of_word
        # The id of each word in text order, and where each text starts in it.
        self._ids = np.concatenate(id_groups) if id_groups else np.zeros(0, np.int32)
        self._text_starts = np.concatenate(start_groups)
        # The inverted index: positions ordered by word id, and where each id starts in it.
        self._positions = np.argsort(self._ids, kind="stable").astype(np.int32)
        uses = np.bincount(self._ids, minlength=len(self._id_of_word))
        self._position_starts = np.concatenate([[0], np.cumsum(uses)])
        #: The number of words of each text.
        self.lengths = np.diff(self._text_starts)

    @property
    def text_count(self) -> int:
        """The number of indexed texts."""
        return len(self._text_starts) - 1

    def find(
        self, phrase: Sequence[str], *, unless: Iterable[Sequence[str]] = (), only_meant: bool = False
    ) -> TextPositions:
        """Return the position of the text of each occurrence, in order; two occurrences in a text give it twice.

        Occurrences within one of the longer phrases of `unless` are left out, and with `only_meant` those that
        `is_denied` finds.
        """
        starts, texts = self._find_in_texts(phrase)
        for longer in unless:
            for offset in find_offsets(phrase, longer):
                keep = ~np.isin(starts, self._find_in_texts(longer)[0] + offset)
                starts, texts = starts[keep], texts[keep]
        if only_meant:
            # Few texts have a word that can deny anything, so the check of single words is left to them.
            doubtful = np.flatnonzero(self._may_deny[texts])
            keep = np.ones(len(texts), bool)
            for occurrence, start, text in zip(doubtful, starts[doubtful], texts[doubtful], strict=True):
                first, last = self._text_starts[text : text + 2]
                # Only the words around: a text can be as long as a chat.
                first, last = max(first, start - _REPORT_REACH), min(last, start + len(phrase) + 1)
                words = [self._words[word_id] for word_id in self._ids[first:last]]
                keep[occurrence] = not is_denied(words, start - first, start - first + len(phrase))
            texts = texts[keep]
        return texts

    @cached_property
    def _words(self) -> list[str]:
        """All words by their ids."""
        return list(self._id_of_word)

    @cached_property
    def _may_deny(self) -> NDArray[np.bool_]:
        """Whether each text has a negation or a word of report."""
        ids = [self._id_of_word[word] for word in _DENYING if word in self._id_of_word]
        texts = np.repeat(np.arange(self.text_count), self.lengths)
        may_deny = np.zeros(self.text_count, bool)
        may_deny[texts[np.isin(self._ids, ids)]] = True
        return may_deny

    def list_words(self, *, min_uses: int = 0, max_uses: int | None = None) -> list[str]:
        """Return the words whose number of uses is within the limits, both included."""
        uses = np.diff(self._position_starts)
        within = (uses >= min_uses) & (max_uses is None or uses <= max_uses)
        return [word for word, word_id in self._id_of_word.items() if within[word_id]]

    def find_uses(self, words: Sequence[str]) -> tuple[NDArray[np.int64], TextPositions]:
        """Return all uses of the given indexed words in text order: the index into `words`, and the text, of each."""
        index_of_id = np.full(len(self._id_of_word), -1, np.int64)
        index_of_id[[self._id_of_word[word] for word in words]] = np.arange(len(words))
        indexes = index_of_id[self._ids]
        texts = np.repeat(np.arange(self.text_count), self.lengths)
        return indexes[indexes >= 0], texts[indexes >= 0]

    def _find_in_texts(self, phrase: Sequence[str]) -> tuple[WordPositions, TextPositions]:
        """Return the first word's position and the text of each occurrence."""
        ids = [self._id_of_word.get(word, -1) for word in phrase]
        if not ids or -1 in ids:
            return np.zeros(0, np.int32), np.zeros(0, np.int64)
        occurrences = [
            self._positions[self._position_starts[word_id] : self._position_starts[word_id + 1]] for word_id in ids
        ]
        # Starting from the rarest word, every further check looks at few positions.
        rarest = min(range(len(ids)), key=lambda offset: len(occurrences[offset]))
        starts = occurrences[rarest] - rarest
        starts = starts[(starts >= 0) & (starts + len(ids) <= len(self._ids))]
        for offset, word_id in enumerate(ids):
            if offset != rarest:
                starts = starts[self._ids[starts + offset] == word_id]
        texts = np.searchsorted(self._text_starts, starts, side="right") - 1
        # All texts are one sequence of words, so a match can run over the end of its text.
        if len(phrase) > 1:
            keep = starts + len(phrase) <= self._text_starts[texts + 1]
            starts, texts = starts[keep], texts[keep]
        return starts, texts


class _Vocabulary:
    """Assigns ids to words, and caches the words of each distinct part of a text."""

    def __init__(self) -> None:
        self.id_of_word: dict[str, int] = {}
        self._number_of_part: dict[bytes, int] = {_SEPARATOR: 0}
        self._ids_of_part: list[list[int]] = [[]]

    def read(self, texts: Sequence[str]) -> tuple[WordPositions, NDArray[np.int64]]:
        """Return the ids of the words of all texts in one sequence, and the end of each text in it."""
        if not texts:
            return np.zeros(0, np.int32), np.zeros(0, np.int64)
        joined = " \0 ".join(texts)
        if joined.count("\0") != len(texts) - 1:
            joined = " \0 ".join(text.replace("\0", " ") for text in texts)
        parts = _split_bytes(joined)
        # Sorted, so that ids do not depend on the hash seed.
        for part in sorted(set(parts).difference(self._number_of_part)):
            self._number_of_part[part] = len(self._ids_of_part)
            self._ids_of_part.append(
                [self.id_of_word.setdefault(word, len(self.id_of_word)) for word in _split_part(part)]
            )
        numbers = np.fromiter(map(self._number_of_part.__getitem__, parts), np.int32, len(parts))
        # Concatenate the ids of all parts without a loop over parts: gather from the flat list of the distinct parts.
        lengths = np.fromiter(map(len, self._ids_of_part), np.int64, len(self._ids_of_part))
        flat = np.fromiter(chain.from_iterable(self._ids_of_part), np.int32)
        sources = (np.cumsum(lengths) - lengths)[numbers]
        counts = lengths[numbers]
        targets = np.cumsum(counts) - counts
        gathered = np.repeat(sources - targets, counts) + np.arange(int(counts.sum()))
        ends = targets[numbers == self._number_of_part[_SEPARATOR]]
        return flat[gathered], np.append(ends, counts.sum())


def _split_bytes(text: str) -> list[bytes]:
    """Return the parts of a text: UTF-8 without white space and the usual punctuation, ASCII letters in lower case."""
    data = text.encode(errors="replace")
    if not text.isascii():
        for sign in _COMMON_PUNCTUATION:
            data = data.replace(sign, b" ")
    return data.translate(_SPLIT_TABLE).split()


def _split_part(part: bytes) -> list[str]:
    """Return the words of a part. A part in ASCII is one word."""
    if part.isascii():
        return [part.decode()]
    # NFC after case folding: a letter with a mark is one word however it was typed.
    text = unicodedata.normalize("NFC", part.decode(errors="replace").casefold())
    words, word = [], ""
    for char in text:
        if char in _IGNORED:
            continue
        category = unicodedata.category(char)[0]
        if category in "LMN":
            word += char
            continue
        if word:
            words.append(word)
            word = ""
        # Emoji and other symbols; the excluded range holds the skin tones.
        if category == "S" and not 0x1F3FB <= ord(char) <= 0x1F3FF:
            words.append(char)
    return [*words, word] if word else words
