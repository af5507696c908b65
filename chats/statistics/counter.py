"""The accumulator: batches in, figures out, every message looked at once."""

from __future__ import annotations

import re
from functools import reduce
from itertools import compress
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chats.exports.parsed import SYSTEM_SENDER, Batch, Kind
from chats.exports.phrases import PHRASES
from chats.statistics import languages
from chats.statistics.figures import Figures
from chats.statistics.participant_buckets import LONGEST_CHARS, Counts, Longest
from chats.statistics.sparse_counts import Ints
from chats.statistics.text_page import TextPage, pages
from chats.statistics.tokens import pieces

# A boundless vocabulary (keys mashed for days) loses its rare words beyond this; totals stay exact.
DISTINCT_TOKENS_LIMIT = 500_000

_QUESTION_MARK = re.compile("[?\uff1f\u061f\u037e\u055e\u1367]")
_RARE_QUESTION_MARKS = [mark.encode() for mark in "\uff1f\u061f\u037e\u055e\u1367"]

# Greek asks with a semicolon, at the end of a sentence; `;)` is a wink in it as well.
_GREEK_QUESTION = re.compile(";(?<=[\u0370-\u03ff\u1f00-\u1fff];);*(?!\\S)")
# All of its commonest letters begin with this byte.
_GREEK_LEAD = b"\xce"


class Heard(NamedTuple):
    """Of each text: whether it asks, the words that tell each language, whether it says a feeling."""

    asks: NDArray[np.bool_]
    votes: languages.Votes
    feels: NDArray[np.bool_]

    def joined(self, other: Heard) -> Heard:
        """Of the next piece of the same texts."""
        return Heard(self.asks | other.asks, self.votes.joined(other.votes), self.feels | other.feels)


class StatisticsCounter:
    """Feed every batch in file order to `add`, then ask for `result` once. Shapes and units: docs/statistics.md.

    A batch is never read a second time and nothing of it is kept but counts,
    the first links, and each person's longest message. Its words are looked at
    a page at a time, so that memory does not grow with the length of its texts.
    """

    def __init__(self) -> None:
        self._counts = Counts()

    def add(self, batch: Batch) -> None:
        seconds, people = np.array(batch.seconds, np.int64), np.array(batch.senders, np.int64)
        kinds = np.frombuffer(bytes(batch.kinds), np.uint8)
        self._counts.amounts.make_room(int(people.max(initial=-1)) + 1)
        sent = people != SYSTEM_SENDER
        self._add_kinds(people[sent], kinds[sent])
        self._counts.rhythm.add(seconds[sent], people[sent])
        edited = people[list(batch.edited)]
        self._counts.amounts.add("edits", edited[edited != SYSTEM_SENDER])
        self._counts.senderless_calls += sum(
            PHRASES.is_call(batch.texts[position]) for position in np.flatnonzero(~sent).tolist()
        )
        texts, own = self._own_words(batch, kinds)
        self._add_texts(texts, seconds[own], people[own])

    def _add_kinds(self, people: Ints, kinds: NDArray[np.uint8]) -> None:
        amounts = self._counts.amounts
        amounts.add("messages", people)
        for kind in np.flatnonzero(np.bincount(kinds)).tolist():
            amounts.add(Kind(kind).label, people[kinds == kind])

    @staticmethod
    def _own_words(batch: Batch, kinds: NDArray[np.uint8]) -> tuple[list[str], NDArray[np.bool_]]:
        """The texts with words of a person's own, and where they are; of media, the caption below the placeholder."""
        own, texts = kinds == Kind.TEXT, batch.texts
        media = np.flatnonzero(kinds == Kind.MEDIA).tolist()
        captions = {position: caption for position in media if (caption := texts[position].partition("\n")[2])}
        if captions:
            texts = list(texts)
            for position, caption in captions.items():
                texts[position] = caption
            own[list(captions)] = True
        return list(compress(texts, own.tolist())), own

    def _add_texts(self, texts: list[str], seconds: Ints, people: Ints) -> None:
        sizes = np.fromiter(map(len, texts), np.int64, len(texts))
        self._counts.amounts.add("written", people)
        self._counts.amounts.add("chars", people, sizes)
        for start, end in pages(sizes):
            page = slice(start, end)
            words = self._add_page(texts[page], seconds[page], people[page])
            self._keep_longest(texts[page], sizes[page], words, seconds[page], people[page])

    def _add_page(self, texts: list[str], seconds: Ints, people: Ints) -> Ints:
        """Some texts that are short together, or a single one of any length. Returns how many words each has."""
        parts = ([piece] for piece in pieces(texts[0])) if len(texts) == 1 else (texts,)
        heard = reduce(Heard.joined, (self._hear(part, seconds, people) for part in parts))
        amounts = self._counts.amounts
        amounts.add("questions", people[heard.asks])
        words = heard.votes.words()
        amounts.add("words", people, words)
        spoken = heard.votes.languages()
        self._counts.languages.add(people[spoken != languages.NO_WORD], spoken[spoken != languages.NO_WORD])
        self._counts.feelings.add_messages(people[heard.feels], seconds[heard.feels])
        return words

    def _hear(self, texts: list[str], seconds: Ints, people: Ints) -> Heard:
        """Count what may stand in a text many times, and tell what counts once a text."""
        amounts, vocabulary = self._counts.amounts, self._counts.vocabulary
        page = TextPage(texts)
        amounts.add("links", people[self._counts.links.take_out(page, seconds, people)])
        amounts.add("mentions", people[self._counts.mentions.count(page)])
        terms = vocabulary.read(page)
        told = vocabulary.told_by(terms.numbers)
        are_words = told != languages.NO_WORD
        vocabulary.uses.add(people[terms.texts], terms.numbers)
        felt = self._counts.feelings.add(
            vocabulary.feelings_of(terms.numbers), are_words, terms.texts, people=people, seconds=seconds
        )
        vocabulary.forget(DISTINCT_TOKENS_LIMIT)
        return Heard(
            _places(_questions(page), len(texts)),
            languages.Votes.of(told, terms.texts, len(texts)),
            _places(felt, len(texts)),
        )

    def _keep_longest(self, texts: list[str], sizes: Ints, words: Ints, seconds: Ints, people: Ints) -> None:
        longest = self._counts.amounts.of("longest")
        for position in np.flatnonzero(sizes > longest[people]).tolist():
            person, size = int(people[position]), int(sizes[position])
            if size > longest[person]:
                longest[person] = size
                shown = texts[position][:LONGEST_CHARS]
                self._counts.longest[person] = Longest(size, int(seconds[position]), int(words[position]), shown)

    def result(self, participants: list[str]) -> dict[str, Any]:
        """JSON-ready figures of everything added; `participants` are the export's, complete by now."""
        return Figures(self._counts, participants).whole()


def _questions(page: TextPage) -> Ints:
    """The places of the texts that ask."""
    # A single byte that is not there is found missing at once.
    if any(mark[0] in page.data and mark in page.data for mark in _RARE_QUESTION_MARKS):
        asking = np.array([place for place, text in enumerate(page.texts) if _QUESTION_MARK.search(text)], np.int64)
    else:
        asking = page.holding(b"?")
    if _GREEK_LEAD in page.data:
        ending = page.holding(b";").tolist()
        greek = [place for place in ending if _GREEK_QUESTION.search(page.texts[place])]
        asking = np.append(asking, np.array(greek, np.int64))
    return asking


def _places(places: Ints, n_texts: int) -> NDArray[np.bool_]:
    held = np.zeros(n_texts, bool)
    held[places] = True
    return held
