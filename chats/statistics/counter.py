"""The statistics counter, which reads an export batch by batch."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from itertools import compress
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chats.exports.parsed import SYSTEM_SENDER, Batch, Details, MediaKind, MessageKind
from chats.exports.phrases import PHRASES
from chats.statistics.activity import UNKNOWN_OFFSET
from chats.statistics.figures import FiguresBuilder
from chats.statistics.languages import NO_WORD, LanguageVotes
from chats.statistics.participant_buckets import ChatCounts, LongestMessage
from chats.statistics.sparse_counts import BoolArray, IntArray
from chats.statistics.text_page import TextPage, split_pages
from chats.statistics.tokens import split_text

#: Pairs of person and word that are kept. Beyond it, words of random keys for example, rare words are dropped; totals
#: stay exact.
MAX_TERMS = 500_000
#: Characters of a longest message that the figures quote.
MAX_EXCERPT_CHARS = 500

# The ends of file names. If a document was not exported, its placeholder does not contain its name.
_DOCUMENT_EXTENSION = re.compile(
    r"7z|apk|csv|do[ct][mx]?|epub|html?|ics|json|od[pst]|pdf|p[op][st][mx]?|rar|rtf|txt|vcf|xl[st][bmx]?|xml|zip",
    re.IGNORECASE,
)
_NOT_IN_FILE_NAMES = re.compile(r'[/\\:*?"<>|]')
_NO_DETAILS = Details()

_QUESTION_MARK = re.compile("[?\uff1f\u061f\u037e\u055e\u1367]")
_RARE_QUESTION_MARKS = [mark.encode() for mark in "\uff1f\u061f\u037e\u055e\u1367"]
# The Greek question mark is a semicolon at the end of a sentence; `;)` is a wink in Greek as well.
_GREEK_QUESTION = re.compile(";(?<=[\u0370-\u03ff\u1f00-\u1fff];);*(?!\\S)")
# The first byte of the most common Greek letters in UTF-8.
_GREEK_LEAD_BYTE = b"\xce"


class TextFeatures(NamedTuple):
    """Features of each text that count once per text, however often they occur in it."""

    is_question: BoolArray
    votes: LanguageVotes
    has_sentiment: BoolArray

    def merge(self, other: TextFeatures) -> TextFeatures:
        """Return the features of texts of which `self` and `other` describe consecutive parts."""
        return TextFeatures(
            self.is_question | other.is_question,
            self.votes.merge(other.votes),
            self.has_sentiment | other.has_sentiment,
        )


class StatisticsCounter:
    """Counts an export: call `add` with every batch in file order, then `result` once. Units: docs/statistics.md.

    Only counts, the first links and each person's longest message are kept. Texts are processed a page at a time, so
    memory does not grow with the length of the export.
    """

    def __init__(self) -> None:
        self._counts = ChatCounts()

    def add(self, batch: Batch) -> None:
        """Count the messages of one batch."""
        seconds, people = np.array(batch.seconds, np.int64), np.array(batch.senders, np.int64)
        kinds = np.frombuffer(bytes(batch.kinds), np.uint8)
        totals = self._counts.totals
        totals.ensure_capacity(int(people.max(initial=-1)) + 1)
        is_sent = people != SYSTEM_SENDER
        sent_people, sent_kinds = people[is_sent], kinds[is_sent]
        totals.add("messages", sent_people)
        for kind in np.flatnonzero(np.bincount(sent_kinds)).tolist():
            totals.add(MessageKind(kind).label, sent_people[sent_kinds == kind])
        edited = people[list(batch.edited)]
        totals.add("edits", edited[edited != SYSTEM_SENDER])
        self._counts.details.add(batch)
        utc_offsets = None
        if batch.utc_offsets is not None:
            known = [UNKNOWN_OFFSET if offset is None else offset for offset in batch.utc_offsets]
            utc_offsets = np.array(known, np.int64)[is_sent]
        self._counts.activity.add(seconds[is_sent], sent_people, utc_offsets)
        # Android writes a missed call as a system line without a sender.
        self._counts.senderless_calls += sum(
            PHRASES.is_call(batch.texts[position]) for position in np.flatnonzero(~is_sent).tolist()
        )

        texts, has_own_words = _own_words(batch, kinds)
        seconds, people = seconds[has_own_words], people[has_own_words]
        sizes = np.fromiter(map(len, texts), np.int64, len(texts))
        totals.add("texts", people)
        totals.add("chars", people, sizes)
        for start, end in split_pages(sizes):
            self._add_page(texts[start:end], sizes[start:end], seconds[start:end], people[start:end])

    def result(self, participants: list[str], *, recorded: Collection[str] = ()) -> dict[str, Any]:
        """Return the figures of all batches, ready for JSON. `participants` are the export's names, by person.

        `recorded` are the details that the export contains for all its messages; figures about others are None.
        """
        return FiguresBuilder(self._counts, participants, recorded).build()

    def _add_page(self, texts: list[str], sizes: IntArray, seconds: IntArray, people: IntArray) -> None:
        """Count texts that are short together, or a single text of any length."""
        # A copy, because counting removes the links and the longest message keeps them.
        parts: Iterable[list[str]] = ([part] for part in split_text(texts[0])) if len(texts) == 1 else [texts[:]]
        features: TextFeatures | None = None
        for part in parts:
            part_features = self._count_terms(part, seconds, people)
            features = part_features if features is None else features.merge(part_features)
        assert features is not None
        totals = self._counts.totals
        totals.add("questions", people[features.is_question])
        words = features.votes.count_words()
        totals.add("words", people, words)
        languages = features.votes.choose_languages()
        has_language = languages != NO_WORD
        self._counts.languages.add(people[has_language], languages[has_language])
        self._counts.sentiment.add_messages(people[features.has_sentiment], seconds[features.has_sentiment])

        longest_chars = totals.row("longest_chars")
        # The mask is computed once; of several longer texts of a person on this page, the loop keeps the first longest.
        for position in np.flatnonzero(sizes > longest_chars[people]).tolist():
            person, size = int(people[position]), int(sizes[position])
            if size > longest_chars[person]:
                longest_chars[person] = size
                excerpt = texts[position][:MAX_EXCERPT_CHARS]
                self._counts.longest[person] = LongestMessage(
                    size, int(seconds[position]), int(words[position]), excerpt
                )

    def _count_terms(self, texts: list[str], seconds: IntArray, people: IntArray) -> TextFeatures:
        """Count links, mentions, words and emoji, and return the features of each text.

        Links are removed from `texts` in place.
        """
        totals, vocabulary = self._counts.totals, self._counts.vocabulary
        page = TextPage(texts)
        totals.add("links", people[self._counts.links.extract(page, seconds, people)])
        totals.add("mentions", people[self._counts.mentions.add(page)])
        terms = vocabulary.tokenize(page)
        vocabulary.uses.add(people[terms.texts], terms.ids)
        languages = vocabulary.languages(terms.ids)
        texts_with_sentiment = self._counts.sentiment.add_terms(
            vocabulary.sentiments(terms.ids), languages != NO_WORD, terms.texts, people=people, seconds=seconds
        )
        # After the last use of the ids, which pruning changes.
        vocabulary.prune(MAX_TERMS)
        return TextFeatures(
            _mask(_find_questions(page), len(texts)),
            LanguageVotes.from_labels(languages, terms.texts, len(texts)),
            _mask(texts_with_sentiment, len(texts)),
        )


def _own_words(batch: Batch, kinds: NDArray[np.uint8]) -> tuple[list[str], BoolArray]:
    """Return what people wrote, including captions below a media placeholder, and a mask of these messages."""
    has_own_words, texts = kinds == MessageKind.TEXT, batch.texts
    captions = {
        position: caption
        for position in np.flatnonzero(kinds == MessageKind.MEDIA).tolist()
        if (caption := _own_caption(texts[position], batch.details.get(position, _NO_DETAILS).media))
    }
    if captions:
        texts = list(texts)
        for position, caption in captions.items():
            texts[position] = caption
        has_own_words[list(captions)] = True
    # The words of a forwarded message are somebody else's.
    has_own_words[[position for position, details in batch.details.items() if details.is_forwarded]] = False
    return list(compress(texts, has_own_words.tolist())), has_own_words


def _own_caption(text: str, media: MediaKind | None) -> str:
    """Return the caption below a placeholder. WhatsApp begins the caption of some documents with their file name."""
    placeholder, _, caption = text.partition("\n")
    first_line, _, rest = caption.partition("\n")
    return rest if _is_file_name(first_line, placeholder, media) else caption


def _is_file_name(line: str, placeholder: str, media: MediaKind | None) -> bool:
    """Return whether a line is the name of the file that the placeholder stands for.

    The placeholder contains the same name, the name that the phone gave to the document, or nothing about the file.
    """
    stem, _, extension = line.rpartition(".")
    if not stem or _NOT_IN_FILE_NAMES.search(line):
        return False
    if line in placeholder:
        return extension.isalnum()
    if not _DOCUMENT_EXTENSION.fullmatch(extension):
        return False
    return media is None or (media is MediaKind.DOCUMENT and f".{extension}".lower() in placeholder.lower())


def _find_questions(page: TextPage) -> IntArray:
    """Return the positions of the texts that contain a question mark of any script."""
    # Searching for a single byte is several times faster, and nearly all pages lack even the first byte of these marks.
    if any(mark[0] in page.data and mark in page.data for mark in _RARE_QUESTION_MARKS):
        positions = np.array([at for at, text in enumerate(page.texts) if _QUESTION_MARK.search(text)], np.int64)
    else:
        positions = page.find(b"?")
    if _GREEK_LEAD_BYTE in page.data:
        greek = [at for at in page.find(b";").tolist() if _GREEK_QUESTION.search(page.texts[at])]
        positions = np.append(positions, np.array(greek, np.int64))
    return positions


def _mask(positions: IntArray, length: int) -> BoolArray:
    mask = np.zeros(length, bool)
    mask[positions] = True
    return mask
