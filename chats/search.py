"""Finding a chat's conversations by meaning and by words.

Both rankings are merged by reciprocal rank (Cormack, Clarke and Büttcher,
SIGIR 2009), words are weighed by BM25 (Robertson and Zaragoza, 2009).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from chats import embedding, vectors
from chats.chunking import written_text
from chats.exports.parsed import Message, MessageKind
from chats.models import Chat, Chunk
from chats.signals import chat_erasing
from chats.transcript import TranscriptReader
from chats.word_index import WordIndex, split_words
from relivchats.errors import Conflict

#: The paper's 60 levels the first ranks; with 10 the right chunk was oftener among the first five.
_RANK_OFFSET = 10
_BM25_K1, _BM25_B = 1.2, 0.75
#: Ranks below this add next to nothing.
_RANKED = 200
_DAY_SECONDS = 86_400
_KEEP_SEARCHERS = 2
_KEEP_SECONDS = 60.0


class NotSearchable(Conflict):
    code, title = "ERR_2005", "The chat is not searchable yet"


class ChunkRange(NamedTuple):
    """A chunk as retrieval knows it. `number` counts from 0; neighbours of one conversation follow each other."""

    number: int
    conversation: int
    first_number: int
    last_number: int
    token_count: int


class Hit(NamedTuple):
    """`score` orders the hits of one search and means nothing beyond it."""

    chunk: ChunkRange
    score: float


class WordUses(NamedTuple):
    """Uses of some words in text messages, in the chat's order: one place of each array is one use.

    `word` indexes `words`, `sender` the participants; `day` counts the days since 1970.
    """

    words: Sequence[str]
    word: NDArray[np.int64]
    number: NDArray[np.int64]
    sender: NDArray[np.int64]
    day: NDArray[np.int64]


class Searcher:
    """One indexed chat, opened for searching: its words and vectors in memory, its messages read when asked for."""

    def __init__(self, chat: Chat) -> None:
        """Raises NotSearchable before the chat is indexed by the engine in use."""
        engine = embedding.get_engine()
        matrix = vectors.load(chat, engine=engine.name)
        self.chunks, counts = _chunks(chat)
        self._chunk_of_row = np.repeat(np.arange(len(counts)), counts)
        # The two were read one after the other: in between the chat may have been indexed again, or erased.
        if matrix is None or len(matrix) != len(self._chunk_of_row):
            raise NotSearchable("Ask for it to be indexed, and try again when its vector status is completed.")
        self.chat = chat
        self._engine = engine
        self._matrix = matrix
        self._reading = threading.Lock()
        self._reader = TranscriptReader(chat)
        self._kinds: list[int] = []
        self._senders: list[int] = []
        self._words = WordIndex(self._texts())

    def search(self, queries: Sequence[str], *, limit: int) -> list[Hit]:
        """The chunks that fit any of the queries best, best first."""
        ranks = [_ranking(self._by_meaning(queries)), _ranking(self._by_words(queries))]
        scores: dict[int, float] = {}
        for ranking in ranks:
            for rank, number in enumerate(ranking, start=1):
                scores[number] = scores.get(number, 0.0) + 1 / (_RANK_OFFSET + rank)
        best = sorted(scores, key=lambda number: (-scores[number], number))[:limit]
        return [Hit(self.chunks[number], scores[number]) for number in best]

    def messages(self, first: int, last: int) -> list[Message]:
        with self._reading:
            return self._reader.messages(first, last)

    def get(self, numbers: Sequence[int]) -> dict[int, Message]:
        with self._reading:
            return self._reader.get(numbers)

    def count_matches(self, terms: Sequence[str], unless: Sequence[str] = ()) -> list[int]:
        """For each participant, how many of their text messages hold any of the terms: whole words, any case.

        A term that stands within a longer phrase of `unless` does not count there.
        """
        senders = self._sender_of_text[self._found(terms, unless)]
        counts: list[int] = np.bincount(senders, minlength=self.chat.participant_count).tolist()
        return counts

    def matches(self, terms: Sequence[str], unless: Sequence[str] = ()) -> list[int]:
        """The numbers of the text messages that `count_matches` counts, in order."""
        numbers: list[int] = (self._found(terms, unless) + 1).tolist()
        return numbers

    def word_uses(self, *, least: int, most: int, telling: Callable[[str], bool]) -> WordUses:
        """The uses of those words that stand in the chat so often and that are `telling`."""
        chosen = [word for word in self._words.used(least=least, most=most) if telling(word)]
        word, text = self._words.uses(chosen)
        written = self._sender_of_text[text] >= 0
        word, text = word[written], text[written]
        return WordUses(chosen, word, text + 1, self._sender_of_text[text].astype(np.int64), self._day_of_text[text])

    def _found(self, terms: Sequence[str], unless: Sequence[str] = ()) -> NDArray[np.int64]:
        """Places of the text messages that hold any of the terms; a place is a message's number less one."""
        longer = [split_words(phrase) for phrase in unless]
        texts = (self._words.occurrences(split_words(term), unless=longer) for term in terms)
        places = np.unique(np.concatenate([_NOWHERE, *texts]))
        found: NDArray[np.int64] = places[self._sender_of_text[places] >= 0]
        return found

    def _texts(self) -> Iterator[list[str]]:
        senders: list[NDArray[np.int32]] = []
        days: list[NDArray[np.int64]] = []
        for batch in self._reader.batches():
            kinds = np.array(batch.kinds)
            days.append(np.array(batch.seconds, np.int64) // _DAY_SECONDS)
            senders.append(np.where(kinds == MessageKind.TEXT, np.array(batch.senders), -1).astype(np.int32))
            yield [
                text if kind == MessageKind.TEXT else written_text(kind, text)
                for kind, text in zip(batch.kinds, batch.texts, strict=True)
            ]
        self._sender_of_text = np.concatenate(senders)
        self._day_of_text = np.concatenate(days)
        self._chunk_of_text = self._chunk_numbers(len(self._sender_of_text))

    def _chunk_numbers(self, n_texts: int) -> NDArray[np.int64]:
        firsts = np.array([chunk.first_number for chunk in self.chunks])
        return np.maximum(np.searchsorted(firsts, np.arange(1, n_texts + 1), side="right") - 1, 0)

    def _by_meaning(self, queries: Sequence[str]) -> NDArray[np.float32]:
        """Of every chunk the cosine between the closest of its texts and of the queries."""
        closest = np.full(len(self.chunks), -1.0, np.float32)
        np.maximum.at(closest, self._chunk_of_row, vectors.max_similarity(self._matrix, self._engine.embed(queries)))
        return closest

    def _by_words(self, queries: Sequence[str]) -> NDArray[np.float64]:
        """BM25 of every chunk for all the queries' words together."""
        lengths = np.bincount(self._chunk_of_text, weights=self._words.lengths, minlength=len(self.chunks))
        slowness = _BM25_K1 * (1 - _BM25_B + _BM25_B * lengths / max(lengths.mean(), 1.0))
        scores = np.zeros(len(self.chunks))
        for word in dict.fromkeys(word for query in queries for word in split_words(query)):
            often = np.bincount(self._chunk_of_text[self._words.occurrences([word])], minlength=len(self.chunks))
            holding = np.count_nonzero(often)
            rarity = np.log1p((len(self.chunks) - holding + 0.5) / (holding + 0.5))
            scores += rarity * often * (_BM25_K1 + 1) / (often + slowness)
        return scores


_NOWHERE = np.zeros(0, np.int64)


def _chunks(chat: Chat) -> tuple[list[ChunkRange], list[int]]:
    """The chunks in order, and how many rows of the matrix each has."""
    rows = list(Chunk.objects.filter(chat=chat.pk).order_by("number").values_list(*ChunkRange._fields, "vector_count"))
    return [ChunkRange(*row[:-1]) for row in rows], [row[-1] for row in rows]


def _ranking(scores: NDArray[np.floating]) -> list[int]:
    """Numbers of the best chunks in order, those without any score left out."""
    most = min(_RANKED, len(scores))
    best = np.argpartition(-scores, most - 1)[:most]
    best = best[scores[best] > 0]
    numbers: list[int] = best[np.lexsort((best, -scores[best]))].tolist()
    return numbers


class _Kept(NamedTuple):
    version: tuple[object, ...]
    searcher: Searcher


class _Shelf:
    """Searchers used a moment ago: the insights of one unlock search one chat at once, and opening it takes longest.

    Holds words of the chat in memory only, for at most two chats, until a
    minute after the last use or until the chat is erased.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[UUID, _Kept] = {}
        self._opening: dict[UUID, threading.Lock] = {}
        self._timer: threading.Timer | None = None

    def open(self, chat: Chat) -> Searcher:
        with self._lock:
            opening = self._opening.setdefault(chat.pk, threading.Lock())
        version = (chat.indexed_at, *chat.content_version)
        # Six insights that begin together open the chat once.
        with opening:
            kept = self._kept.get(chat.pk)
            if kept is None or kept.version != version:
                kept = _Kept(version, Searcher(chat))
            self._put(chat.pk, kept)
        return kept.searcher

    def drop(self, chat_id: UUID) -> None:
        with self._lock:
            self._kept.pop(chat_id, None)

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()
            self._opening.clear()

    def _put(self, chat_id: UUID, kept: _Kept) -> None:
        with self._lock:
            self._kept.pop(chat_id, None)
            self._kept[chat_id] = kept
            while len(self._kept) > _KEEP_SEARCHERS:
                self._kept.pop(next(iter(self._kept)))
            if self._timer is not None:
                self._timer.cancel()
            self._timer = threading.Timer(_KEEP_SECONDS, self.clear)
            self._timer.daemon = True
            self._timer.start()


_shelf = _Shelf()


def get_searcher(chat: Chat) -> Searcher:
    """The chat opened for searching, shared by all who search it in this process. Raises NotSearchable."""
    return _shelf.open(chat)


def _forget(*, chat: Chat, **_: object) -> None:
    _shelf.drop(chat.pk)


chat_erasing.connect(_forget, dispatch_uid="chats.search.forget")
