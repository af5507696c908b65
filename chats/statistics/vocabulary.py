"""Words and emoji of any script.

Counting happens in two steps, which makes it quick: texts are cut at spaces
and ASCII punctuation as bytes, and only the few distinct tokens that result
are then read with Unicode's eyes. From there on, words are numbers in arrays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Set
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chats.statistics import languages, sentiment
from chats.statistics.sparse_counts import Counted, Ints, PairCounter, chosen
from chats.statistics.text_page import END, TextPage
from chats.statistics.tokens import read

_LETTERS_AND_MARKS = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789'") | frozenset(range(0x80, 0x100))
_CUT = END + bytes(code if code in _LETTERS_AND_MARKS else 32 for code in bytes(range(256)).lower())[1:]

#: Of tokens whose reading is remembered. Chinese and Japanese sentences are tokens too, nearly all of them new.
_KEPT_BYTES = 1 << 24


#: Characters.
LONGEST_LISTED = 100


class Terms(NamedTuple):
    """The words and emoji of some texts, one after the other: each one's number, and the place of its text."""

    numbers: Ints
    texts: Ints


class Vocabulary:
    """Numbers for words and emoji, and how often each person used each; the rare ones of too many are forgotten."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._told = bytearray()
        self._feelings = bytearray()
        self._numbers: dict[str, int] = {}
        self._tokens = _Tokens(self._learn)
        self.uses = PairCounter()

    def read(self, page: TextPage) -> Terms:
        tokens = page.data.translate(_CUT).split()
        numbers = self._tokens.spread(np.fromiter(map(self._tokens.__getitem__, tokens), np.int64, len(tokens)))
        ends = numbers == _Tokens.END
        held = np.flatnonzero(~ends)
        return Terms(numbers[held], np.cumsum(ends)[held])

    def told_by(self, numbers: Ints) -> NDArray[np.uint8]:
        """The language or script that each word tells; `languages.NO_WORD` for emoji."""
        return np.frombuffer(self._told, np.uint8)[numbers]

    def feelings_of(self, numbers: Ints) -> NDArray[np.uint8]:
        return np.frombuffer(self._feelings, np.uint8)[numbers]

    def named(self, terms: Counted) -> dict[str, int]:
        return dict(zip(map(self.names.__getitem__, terms.things.tolist()), terms.counts.tolist(), strict=True))

    def _learn(self, token: bytes) -> list[int]:
        reading = read(token)
        return [self._number(word, emoji=False) for word in reading.words] + [
            self._number(sign, emoji=True) for sign in reading.emoji
        ]

    def _number(self, name: str, *, emoji: bool) -> int:
        number = self._numbers.setdefault(name, len(self.names))
        if number == len(self.names):
            self.names.append(name)
            self._told.append(languages.NO_WORD if emoji else languages.told_by(name))
            self._feelings.append(sentiment.of(name))
        return number

    def forget(self, limit: int) -> None:
        """Keep at most about `limit` words of a person each, those used most."""
        if len(self._tokens) > limit or self._tokens.kept_bytes > _KEPT_BYTES:
            self._tokens.forget()
        if max(len(self.uses), len(self.names)) <= limit:
            return
        uses = self.uses.counted()
        least = 1
        while len(uses.counts) > limit // 2 or (least == 1 and len(self.names) > limit):
            least *= 2
            kept = uses.counts >= least
            uses = chosen(uses, kept)
        self._renumber(uses)

    def _renumber(self, uses: Counted) -> None:
        """Know only the words that are still counted."""
        known, numbers = np.unique(uses.things, return_inverse=True)
        self.names = [self.names[number] for number in known.tolist()]
        self._told = bytearray(self.told_by(known).tobytes())
        self._feelings = bytearray(self.feelings_of(known).tobytes())
        self._numbers = {name: number for number, name in enumerate(self.names)}
        self._tokens.forget()
        self.uses.replace(Counted(uses.people, numbers.astype(np.int64), uses.counts))


class _Tokens(dict[bytes, int]):
    """The number of the one word that a token holds, or a negative number for its end, none or several."""

    END = -1

    def __init__(self, learn: Callable[[bytes], list[int]]) -> None:
        super().__init__({END: self.END})
        self._learn = learn
        self._several: list[list[int]] = []
        self.kept_bytes = 0

    def __missing__(self, token: bytes) -> int:
        held = self._learn(token)
        self.kept_bytes += len(token)
        if len(held) == 1:
            number = held[0]
        else:
            self._several.append(held)
            number = self.END - len(self._several)
        self[token] = number
        return number

    def spread(self, numbers: Ints) -> Ints:
        """Give each word of a token with several a place of its own."""
        many = np.flatnonzero(numbers < self.END)
        if not len(many):
            return numbers
        held = [self._several[self.END - 1 - number] for number in numbers[many].tolist()]
        times = np.ones(len(numbers), np.int64)
        times[many] = list(map(len, held))
        spread = np.repeat(numbers, times)
        spread[spread < self.END] = list(chain.from_iterable(held))
        return spread

    def forget(self) -> None:
        self.clear()
        self[END] = self.END
        self._several.clear()
        self.kept_bytes = 0


def is_telling(word: str, stop_words: Set[str]) -> bool:
    """Whether to list the word; one that goes on and on is no word of a language, and a list of them has no bound."""
    return len(word) <= LONGEST_LISTED and word not in stop_words and (len(word) > 1 or not word.isascii())


def merged_variants(emoji: Mapping[str, int]) -> dict[str, int]:
    """With and without the variation selector is one emoji, shown as it was written most."""
    shown: dict[str, str] = {}
    totals: Counter[str] = Counter()
    for sign, uses in most_common(emoji, None):
        plain = sign.replace("\ufe0f", "")
        totals[shown.setdefault(plain, sign)] += uses
    return totals


def most_common(counts: Mapping[str, int], limit: int | None) -> list[tuple[str, int]]:
    """Equal counts in the order of the alphabet, so that the same chat gives the same answer."""
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:limit]
