"""Participant buckets: one for each of the most active people, and one that all others share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from chats.exports.parsed import MessageKind
from chats.statistics.activity import Activity
from chats.statistics.details import DetailCounter
from chats.statistics.links import LinkCounter
from chats.statistics.mentions import MentionCounter
from chats.statistics.sentiment import SentimentCounter
from chats.statistics.sparse_counts import CountTable, IntArray, SparseCounter, SparseCounts
from chats.statistics.vocabulary import Vocabulary

_EMPTY = np.zeros(0, np.int64)
_NO_COUNTS = SparseCounts(_EMPTY, _EMPTY, _EMPTY)


class LongestMessage(NamedTuple):
    """The longest text of a person, with its time in seconds and its beginning."""

    chars: int
    sent_at: int
    words: int
    excerpt: str


class ChatCounts:
    """Everything that is counted while an export is read, by person."""

    def __init__(self) -> None:
        # "texts" are messages with words of the sender's own, captions included.
        self.totals = CountTable(
            *("messages", "texts", "chars", "words", "questions", "links", "edits", "mentions", "longest_chars"),
            *(kind.label for kind in MessageKind if kind is not MessageKind.SYSTEM),
        )
        self.details = DetailCounter()
        self.activity = Activity()
        self.vocabulary = Vocabulary()
        self.links = LinkCounter()
        self.mentions = MentionCounter()
        self.languages = SparseCounter()
        self.sentiment = SentimentCounter()
        self.longest: dict[int, LongestMessage] = {}
        self.senderless_calls = 0


class Bucket(NamedTuple):
    """The counts of the people in one bucket. `totals` also holds the counts of their turns and details."""

    totals: dict[str, int]
    month_hours: SparseCounts
    responses: SparseCounts
    terms: SparseCounts
    languages: SparseCounts
    sentiment: SparseCounts
    longest: LongestMessage | None


def fill_buckets(counts: ChatCounts, bucket_of_person: IntArray, n_buckets: int) -> list[Bucket]:
    """Return the sums of all counts for each bucket; `bucket_of_person` holds the bucket of each person, from 0."""
    totals = counts.totals.sum_by_bucket(bucket_of_person, n_buckets)
    turns = counts.activity.turns.sum_by_bucket(bucket_of_person, n_buckets)
    details = counts.details.totals.sum_by_bucket(bucket_of_person, n_buckets)
    month_hours, responses, terms, languages, sentiment = (
        counter.totals().sum_by_bucket(bucket_of_person)
        for counter in (
            counts.activity.month_hours,
            counts.activity.responses,
            counts.vocabulary.uses,
            counts.languages,
            counts.sentiment.counter,
        )
    )
    longest: dict[int, LongestMessage] = {}
    for person, message in counts.longest.items():
        bucket = int(bucket_of_person[person])
        best = longest.get(bucket)
        # Of equally long messages, the earliest.
        if best is None or (message.chars, -message.sent_at) > (best.chars, -best.sent_at):
            longest[bucket] = message
    return [
        Bucket(
            totals=totals[bucket] | turns[bucket] | details[bucket],
            month_hours=month_hours.get(bucket, _NO_COUNTS),
            responses=responses.get(bucket, _NO_COUNTS),
            terms=terms.get(bucket, _NO_COUNTS),
            languages=languages.get(bucket, _NO_COUNTS),
            sentiment=sentiment.get(bucket, _NO_COUNTS),
            longest=longest.get(bucket),
        )
        for bucket in range(n_buckets)
    ]
