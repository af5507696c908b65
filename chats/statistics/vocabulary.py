"""The vocabulary of a chat: an integer id for each word and emoji, and how often each person used it.

Counting takes two steps. A page of texts is split at spaces and ASCII punctuation as bytes, thousands of texts at once.
Only the distinct tokens are then parsed by Unicode's rules. From there on, words are ids in arrays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Set
from functools import cache
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from chats.statistics.languages import NO_WORD, classify_word
from chats.statistics.sentiment import classify_sentiment
from chats.statistics.sparse_counts import IntArray, SparseCounter, SparseCounts
from chats.statistics.text_page import SEPARATOR, TextPage
from chats.statistics.token_cache import TokenCache
from chats.statistics.tokens import parse_token

K = TypeVar("K", str, tuple[str, str])

#: The longest word that is listed. It is no limit for any language, and it bounds the size of the result.
MAX_LISTED_CHARS = 100

# The ASCII bytes of tokens. A double quotation mark can be part of a word only in Hebrew, and `#` and `*` only of a
# keycap. Pages without Hebrew and keycaps are split there, which saves distinct tokens.
_TOKEN_BYTES = b"abcdefghijklmnopqrstuvwxyz0123456789'`"
_HEBREW_LEAD_BYTE, _HEBREW_BYTES = b"\xd7", b'"'
_KEYCAP_MARK, _KEYCAP_BYTES = "\u20e3".encode(), b"#*"
#: Bytes of cached tokens. Chinese and Japanese sentences are tokens too, and nearly all of them occur once.
_MAX_CACHED_BYTES = 1 << 24


class TermSequence(NamedTuple):
    """The words and emoji of some texts in order: the id of each and the position of its text."""

    ids: IntArray
    texts: IntArray


class Vocabulary:
    """Assigns ids to terms, which are words and emoji, and counts their uses by person."""

    def __init__(self) -> None:
        self.terms: list[str] = []
        self.uses = SparseCounter()
        self._id_of_term: dict[str, int] = {}
        # By id. Bytearrays grow like lists and can be read as numpy arrays without a copy.
        self._languages = bytearray()
        self._sentiments = bytearray()
        self._tokens = TokenCache(self._add_token)

    def tokenize(self, page: TextPage) -> TermSequence:
        """Return the terms of all texts of a page; new terms are added to the vocabulary."""
        more_bytes = _HEBREW_BYTES if _HEBREW_LEAD_BYTE in page.data else b""
        if _KEYCAP_MARK in page.data:
            more_bytes += _KEYCAP_BYTES
        ids = self._tokens.expand(self._tokens.codes(page.data.translate(_split_table(more_bytes))))
        is_separator = ids == TokenCache.SEPARATOR_CODE
        is_term = np.flatnonzero(~is_separator)
        return TermSequence(ids[is_term], np.cumsum(is_separator)[is_term])

    def languages(self, ids: IntArray) -> NDArray[np.uint8]:
        """Return the label of the language or script of each term; NO_WORD for emoji."""
        return np.frombuffer(self._languages, np.uint8)[ids]

    def sentiments(self, ids: IntArray) -> NDArray[np.uint8]:
        """Return the sentiment code of each term."""
        return np.frombuffer(self._sentiments, np.uint8)[ids]

    def count_by_term(self, uses: SparseCounts) -> dict[str, int]:
        """Return counts by id as counts by term."""
        return dict(zip(map(self.terms.__getitem__, uses.items.tolist()), uses.counts.tolist(), strict=True))

    def prune(self, max_terms: int) -> None:
        """If there are more than about `max_terms` pairs of person and term, drop the rarest.

        The token cache is emptied when it holds too many tokens or bytes.
        """
        if len(self._tokens) > max_terms or self._tokens.cached_bytes > _MAX_CACHED_BYTES:
            self._tokens.reset()
        if max(len(self.uses), len(self.terms)) <= max_terms:
            return
        uses = self.uses.totals()
        min_uses = 1
        # Half of the limit leaves room, so that the next page does not prune again.
        while len(uses.counts) > max_terms // 2 or (min_uses == 1 and len(self.terms) > max_terms):
            min_uses *= 2
            uses = uses.where(uses.counts >= min_uses)
        kept, ids = np.unique(uses.items, return_inverse=True)
        self.terms = [self.terms[term] for term in kept.tolist()]
        self._languages = bytearray(self.languages(kept).tobytes())
        self._sentiments = bytearray(self.sentiments(kept).tobytes())
        self._id_of_term = {term: number for number, term in enumerate(self.terms)}
        # Cached tokens refer to the old ids.
        self._tokens.reset()
        self.uses.replace(SparseCounts(uses.people, ids.astype(np.int64), uses.counts))

    def _add_token(self, token: bytes) -> list[int]:
        """Return the ids of the terms of a token."""
        words, emoji = parse_token(token)
        ids = [self._add_term(word, is_emoji=False) for word in words]
        return ids + [self._add_term(sign, is_emoji=True) for sign in emoji]

    def _add_term(self, term: str, *, is_emoji: bool) -> int:
        term_id = self._id_of_term.setdefault(term, len(self.terms))
        if term_id == len(self.terms):
            self.terms.append(term)
            self._languages.append(NO_WORD if is_emoji else classify_word(term))
            self._sentiments.append(classify_sentiment(term))
        return term_id


@cache
def _split_table(more_bytes: bytes) -> bytes:
    """Return a `bytes.translate` table: lower case, and a space for ASCII characters that are no part of a token."""
    kept = frozenset(SEPARATOR + _TOKEN_BYTES + more_bytes) | frozenset(range(0x80, 0x100))
    return bytes(code if code in kept else 32 for code in bytes(range(256)).lower())


def is_content_word(word: str, stop_words: Set[str]) -> bool:
    """Return whether to list a word: no stop word, no single ASCII character, at most MAX_LISTED_CHARS long."""
    return len(word) <= MAX_LISTED_CHARS and word not in stop_words and (len(word) > 1 or not word.isascii())


def merge_variants(emoji: Mapping[str, int]) -> dict[str, int]:
    """Sum the counts of each emoji with and without variation selector, under the more frequent form."""
    frequent_form: dict[str, str] = {}
    totals: Counter[str] = Counter()
    for sign, uses in most_common(emoji, None):
        totals[frequent_form.setdefault(sign.replace("\ufe0f", ""), sign)] += uses
    return totals


def most_common(counts: Mapping[K, int], limit: int | None) -> list[tuple[K, int]]:
    """Return the largest counts first. Equal counts are in alphabetical order, so that the result is reproducible."""
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:limit]
