"""Hybrid search over a chat's chunks: by vectors and by words.

Words are scored by BM25 (Robertson and Zaragoza, 2009), and both rankings are merged by reciprocal rank fusion
(Cormack, Clarke and Büttcher, SIGIR 2009).
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import date
from typing import Literal, NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from chats import embedding, memory
from chats.chunking import written_text
from chats.exports.parsed import Message, MessageKind
from chats.masking import mask_texts
from chats.models import Chat, Chunk
from chats.signals import chat_erasing
from chats.transcript import TranscriptReader
from chats.vector_index import NotSearchable, VectorIndex
from chats.word_index import WordIndex, split_words
from relivchats import memory_limit

__all__ = ["ChunkRange", "Hit", "NotSearchable", "Searcher", "WordUses", "get_searcher"]

#: The paper's constant of 60 flattens the first ranks. With 10, the right chunk was more often among the first five
#: (tests/benchmarks/retrieval.py).
_RANK_OFFSET = 10
_SCORE_DECIMALS = 5
_BM25_K1, _BM25_B = 1.2, 0.75
#: Ranks beyond this add next to nothing to a score.
_MAX_RANK = 200
_DAY_SECONDS = 86_400
_EPOCH = date(1970, 1, 1)
_MAX_CACHED_SEARCHERS = 2
_CACHE_SECONDS = 60.0
_NO_POSITIONS = np.zeros(0, np.int64)


class ChunkRange(NamedTuple):
    """A chunk as retrieval uses it. `number` counts from 0; adjacent numbers of one conversation are consecutive."""

    number: int
    conversation: int
    first_number: int
    last_number: int
    token_count: int


class Hit(NamedTuple):
    """A chunk and its score, which is comparable only within one search."""

    chunk: ChunkRange
    score: float


class WordUses(NamedTuple):
    """Uses of some words in text messages, in message order: parallel arrays with one position per use.

    `word` indexes `words`, `number` is the message's, `sender` indexes the participants, and `day` counts days since
    1970.
    """

    words: Sequence[str]
    word: NDArray[np.int64]
    number: NDArray[np.int64]
    sender: NDArray[np.int64]
    day: NDArray[np.int64]


class Searcher:
    """Searches one indexed chat. Its words and vectors are in memory; its messages are read on demand."""

    def __init__(self, chat: Chat) -> None:
        """Load the chat's index. Raise NotSearchable unless it was built by the embedding engine in use."""
        engine = embedding.get_engine()
        if not chat.is_searchable:
            raise NotSearchable()
        self._index = VectorIndex(chat, engine)
        chunk_rows = Chunk.objects.filter(chat=chat.pk).order_by("number")
        rows = list(chunk_rows.values_list(*ChunkRange._fields, "vector_count"))
        self.chunks = [ChunkRange(*row[:-1]) for row in rows]
        # A chunk has several vectors, one for each of its texts.
        self._chunk_of_vector = np.repeat(np.arange(len(rows)), [row[-1] for row in rows])
        # Vectors and chunks are read by two queries. In between, the chat can be indexed again or erased.
        if self._index.row_count != len(self._chunk_of_vector):
            raise NotSearchable()
        self.chat = chat
        #: What the cache compares: a chat that has changed is loaded again.
        self.version: tuple[object, ...] = ()
        self._engine = engine
        # The reader keeps decrypted blocks and is not thread-safe.
        self._reader_lock = threading.Lock()
        self._reader = TranscriptReader(chat)

        senders: list[NDArray[np.int32]] = []
        days: list[NDArray[np.int64]] = []

        # A generator, so that the texts of a batch are freed once they are indexed.
        def read_texts() -> Iterator[list[str]]:
            for batch in self._reader.batches():
                days.append(np.array(batch.seconds, np.int64) // _DAY_SECONDS)
                is_text = np.array(batch.kinds) == MessageKind.TEXT
                # Forwarded words are somebody else's.
                is_text[[position for position, each in batch.details.items() if each.is_forwarded]] = False
                senders.append(np.where(is_text, np.array(batch.senders), -1).astype(np.int32))
                yield [
                    text if kind == MessageKind.TEXT else written_text(kind, text)
                    for kind, text in zip(batch.kinds, batch.texts, strict=True)
                ]

        self._words = WordIndex(read_texts())
        if not senders:
            # The chat was erased after its vectors were read.
            raise NotSearchable()
        # By text, which is a message's number less one. Captions are searched but count for nobody: their sender is -1.
        self._sender_of_text = np.concatenate(senders)
        self._day_of_text = np.concatenate(days)
        first_numbers = np.array([chunk.first_number for chunk in self.chunks])
        numbers = np.arange(1, len(self._sender_of_text) + 1)
        self._chunk_of_text = np.maximum(np.searchsorted(first_numbers, numbers, side="right") - 1, 0)

    def search(
        self,
        queries: Sequence[str],
        *,
        limit: int,
        by: Literal["both", "words", "vectors"] = "both",
        among: Collection[int] | None = None,
    ) -> list[Hit]:
        """Return the chunks that match any of the queries best, best first.

        `by` limits the search to words, or to meanings; `among` to the chunks of these numbers.

        Raise EngineError if the embedding engine does not answer.
        """
        is_searched = np.full(len(self.chunks), among is None)
        is_searched[list(among or ())] = True
        scores: dict[int, float] = {}
        rankings = []
        if by != "words":
            # Limited after they are ranked: Qdrant knows the similarity of the best chunks of the whole chat only.
            rankings.append([number for number in _rank(self._score_by_vectors(queries)) if is_searched[number]])
        if by != "vectors":
            rankings.append(_rank(np.where(is_searched, self._score_by_words(queries), 0)))
        for ranking in rankings:
            for rank, number in enumerate(ranking, start=1):
                scores[number] = scores.get(number, 0.0) + 1 / (_RANK_OFFSET + rank)
        best = sorted(scores, key=lambda number: (-scores[number], number))[:limit]
        return [Hit(self.chunks[number], scores[number]) for number in best]

    @property
    def is_in_qdrant(self) -> bool:
        """Whether its vectors are searched in Qdrant while that answers."""
        return self._index.is_in_qdrant

    def find_chunks(
        self, *, person: int | None = None, first_day: date | None = None, last_day: date | None = None
    ) -> list[int]:
        """Return the numbers of the chunks with a text message of this person within these days, in order."""
        days = self._day_of_text
        matches = self._sender_of_text >= 0 if person is None else self._sender_of_text == person
        if first_day is not None:
            matches &= days >= (first_day - _EPOCH).days
        if last_day is not None:
            matches &= days <= (last_day - _EPOCH).days
        numbers: list[int] = np.unique(self._chunk_of_text[matches]).tolist()
        return numbers

    def messages(self, first: int, last: int) -> list[Message]:
        """Return the messages from one number to another, both included."""
        with self._reader_lock:
            return self._reader.messages(first, last)

    def get(self, numbers: Sequence[int]) -> dict[int, Message]:
        """Return messages by number."""
        with self._reader_lock:
            return self._reader.get(numbers)

    def count_matches(self, terms: Sequence[str], unless: Sequence[str] = ()) -> list[int]:
        """Return how many text messages of each participant contain any of the terms as whole words, in any case.

        An occurrence within one of the longer phrases of `unless` does not count, and neither does one that is negated
        or reported. Forwarded messages count for nobody.
        """
        senders = self._sender_of_text[self._find_texts(terms, unless, only_meant=True)]
        counts: list[int] = np.bincount(senders, minlength=self.chat.participant_count).tolist()
        return counts

    def find_matches(self, terms: Sequence[str], unless: Sequence[str] = (), *, only_meant: bool = True) -> list[int]:
        """Return the numbers of the messages that `count_matches` counts, in order.

        Without `only_meant`, negated and reported terms are found as well.
        """
        numbers: list[int] = (self._find_texts(terms, unless, only_meant=only_meant) + 1).tolist()
        return numbers

    def find_words(self, predicate: Callable[[str], bool]) -> list[int]:
        """Return the numbers of the messages that contain a word that satisfies the predicate, in order."""
        words = [word for word in self._words.list_words() if predicate(word)]
        _, texts = self._words.find_uses(words)
        numbers: list[int] = (np.unique(texts[self._sender_of_text[texts] >= 0]) + 1).tolist()
        return numbers

    def find_word_uses(self, *, min_uses: int, max_uses: int, predicate: Callable[[str], bool]) -> WordUses:
        """Return the uses of the words that satisfy the predicate and occur in the chat within the limits."""
        words = [word for word in self._words.list_words(min_uses=min_uses, max_uses=max_uses) if predicate(word)]
        word, text = self._words.find_uses(words)
        is_counted = self._sender_of_text[text] >= 0
        word, text = word[is_counted], text[is_counted]
        return WordUses(words, word, text + 1, self._sender_of_text[text].astype(np.int64), self._day_of_text[text])

    def _find_texts(self, terms: Sequence[str], unless: Sequence[str], *, only_meant: bool) -> NDArray[np.int64]:
        longer = [split_words(phrase) for phrase in unless]
        occurrences = (self._words.find(split_words(term), unless=longer, only_meant=only_meant) for term in terms)
        texts = np.unique(np.concatenate([_NO_POSITIONS, *occurrences]))
        found: NDArray[np.int64] = texts[self._sender_of_text[texts] >= 0]
        return found

    def _score_by_vectors(self, queries: Sequence[str]) -> NDArray[np.float32]:
        """Return for each chunk the highest cosine similarity of any of its vectors to any query.

        A chunk that is not among the best _MAX_RANK may have -1.
        """
        masked = mask_texts(self._engine, self.chat, queries)
        best = np.full(len(self.chunks), -1.0, np.float32)
        if not queries:
            return best
        found = self._index.find(self._engine.embed_queries(masked), self._chunk_of_vector, max_chunks=_MAX_RANK)
        np.maximum.at(best, self._chunk_of_vector[found.rows], found.scores)
        # The engines of numpy and of Qdrant add in different orders. What differs by less is equal, and the earlier
        # chunk comes first.
        return np.round(best, _SCORE_DECIMALS)

    def _score_by_words(self, queries: Sequence[str]) -> NDArray[np.float64]:
        """Return the BM25 score of each chunk for the words of all queries together."""
        n_chunks = len(self.chunks)
        lengths = np.bincount(self._chunk_of_text, weights=self._words.lengths, minlength=n_chunks)
        saturation = _BM25_K1 * (1 - _BM25_B + _BM25_B * lengths / max(lengths.mean(), 1.0))
        scores = np.zeros(n_chunks)
        for word in dict.fromkeys(word for query in queries for word in split_words(query)):
            frequency = np.bincount(self._chunk_of_text[self._words.find([word])], minlength=n_chunks)
            n_containing = np.count_nonzero(frequency)
            inverse_frequency = np.log1p((n_chunks - n_containing + 0.5) / (n_containing + 0.5))
            scores += inverse_frequency * frequency * (_BM25_K1 + 1) / (frequency + saturation)
        return scores


def _rank(scores: NDArray[np.floating]) -> list[int]:
    """Return the numbers of at most _MAX_RANK chunks with positive scores, best first."""
    limit = min(_MAX_RANK, len(scores))
    best = np.argpartition(-scores, limit - 1)[:limit]
    best = best[scores[best] > 0]
    numbers: list[int] = best[np.lexsort((best, -scores[best]))].tolist()
    return numbers


class _SearcherCache:
    """Caches recently used searchers: the insights of one unlock search the same chat at once, and loading it is slow.

    A searcher holds the words of a chat in memory. At most two are cached, until a minute after the last use, until
    the chat is erased, or until another chat needs the memory. One that is in use is shared although it is not cached
    any more. Its memory stays reserved until the last user has dropped it.
    """

    def __init__(self) -> None:
        # Reentrant, because the garbage collector may drop a searcher at any time.
        self._lock = threading.RLock()
        self._in_use: weakref.WeakValueDictionary[UUID, Searcher] = weakref.WeakValueDictionary()
        self._cached: dict[UUID, Searcher] = {}
        self._load_locks: dict[UUID, threading.Lock] = {}
        self._timer: threading.Timer | None = None

    def get(self, chat: Chat) -> Searcher:
        with self._lock:
            load_lock = self._load_locks.setdefault(chat.pk, threading.Lock())
        version = (chat.indexed_at, chat.is_searchable, *chat.content_version)
        # One lock per chat: of six insights that start together, one loads the chat and five wait for it.
        with load_lock:
            with self._lock:
                searcher = self._in_use.get(chat.pk)
            if searcher is None or searcher.version != version:
                # Outdated: its memory is needed for the new one.
                del searcher
                self.discard(chat.pk)
                searcher = self._load(chat, version)
            with self._lock:
                self._in_use[chat.pk] = searcher
                # Reinserted at the end, so that the first is the least recently used.
                self._cached.pop(chat.pk, None)
                self._cached[chat.pk] = searcher
                while len(self._cached) > _MAX_CACHED_SEARCHERS:
                    self._cached.pop(next(iter(self._cached)))
                if self._timer is not None:
                    self._timer.cancel()
                self._timer = threading.Timer(_CACHE_SECONDS, self.clear)
                self._timer.daemon = True
                self._timer.start()
        return searcher

    def _load(self, chat: Chat, version: tuple[object, ...]) -> Searcher:
        """Return a new searcher. Raise NotSearchable or MemoryBusy."""
        size_bytes, budget = chat.line_count * memory.SEARCHED_BYTES_PER_MESSAGE, memory.budget()
        budget.reserve(size_bytes, make_room=self.drop_cached)
        try:
            searcher = Searcher(chat)
        except BaseException:
            budget.release(size_bytes)
            raise
        weakref.finalize(searcher, budget.release, size_bytes)
        searcher.version = version
        return searcher

    def drop_cached(self) -> None:
        """Drop the searchers that nobody uses."""
        with self._lock:
            self._cached.clear()

    def discard(self, chat_id: UUID) -> None:
        with self._lock:
            self._cached.pop(chat_id, None)
            self._in_use.pop(chat_id, None)

    def clear(self) -> None:
        with self._lock:
            self._cached.clear()
            self._load_locks.clear()


_cache = _SearcherCache()
memory_limit.relievers.append(_cache.drop_cached)


def get_searcher(chat: Chat) -> Searcher:
    """Return a searcher of the chat, shared with all its users in this process. Raise NotSearchable or MemoryBusy."""
    return _cache.get(chat)


def _discard_erased(*, chat: Chat, **_: object) -> None:
    _cache.discard(chat.pk)


chat_erasing.connect(_discard_erased, dispatch_uid="chats.search.discard_erased")
