"""What was counted, gathered by seat: the most active people have one each, all others share the last."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from chats.exports.parsed import Kind
from chats.statistics.activity import Activity
from chats.statistics.links import SentLinks
from chats.statistics.mentions import Mentions
from chats.statistics.sentiment import SentimentCounts
from chats.statistics.sparse_counts import Counted, Ints, PairCounter, PersonCounters, grouped
from chats.statistics.vocabulary import Vocabulary

#: Of a longest message, what is shown.
LONGEST_CHARS = 500
_KINDS = [kind.label for kind in Kind if kind is not Kind.SYSTEM]
_NONE = np.zeros(0, np.int64)
_NOTHING = Counted(_NONE, _NONE, _NONE)


class Longest(NamedTuple):
    """A person's longest text: its characters, its second, its words, and its beginning."""

    chars: int
    at: int
    words: int
    shown: str


class Counts:
    """Everything that is counted while an export is read. `longest` is by person."""

    def __init__(self) -> None:
        self.amounts = PersonCounters(
            "messages", "written", "chars", "words", "questions", "links", "edits", "mentions", "longest", *_KINDS
        )
        self.rhythm = Activity()
        self.vocabulary = Vocabulary()
        self.links = SentLinks()
        self.mentions = Mentions()
        self.languages = PairCounter()
        self.feelings = SentimentCounts()
        self.longest: dict[int, Longest] = {}
        self.senderless_calls = 0


class Seat(NamedTuple):
    amounts: dict[str, int]
    monthly_hours: Counted
    gaps: Counted
    terms: Counted
    languages: Counted
    feelings: Counted
    longest: Longest | None


def seated(counts: Counts, seats: Ints, n_seats: int) -> list[Seat]:
    """Everybody's counts summed by seat; `seats` holds each person's, from 0."""
    amounts = [_summed(columns, seats, n_seats) for columns in (counts.amounts, counts.rhythm.turns)]
    rhythm = counts.rhythm
    tallies = (rhythm.monthly_hours, rhythm.gaps, counts.vocabulary.uses, counts.languages, counts.feelings.tally)
    hours, gaps, terms, spoken, felt = (grouped(tally.counted(), seats) for tally in tallies)
    longest = _longest(counts.longest.items(), seats)
    return [
        Seat(
            amounts=amounts[0][seat] | amounts[1][seat],
            monthly_hours=hours.get(seat, _NOTHING),
            gaps=gaps.get(seat, _NOTHING),
            terms=terms.get(seat, _NOTHING),
            languages=spoken.get(seat, _NOTHING),
            feelings=felt.get(seat, _NOTHING),
            longest=longest.get(seat),
        )
        for seat in range(n_seats)
    ]


def _summed(columns: PersonCounters, seats: Ints, n_seats: int) -> list[dict[str, int]]:
    sums = np.zeros((n_seats, len(columns.names)), np.int64)
    for place, name in enumerate(columns.names):
        np.add.at(sums[:, place], seats, columns.of(name)[: len(seats)])
    return [dict(zip(columns.names, row, strict=True)) for row in sums.tolist()]


def _longest(texts: Iterable[tuple[int, Longest]], seats: Ints) -> dict[int, Longest]:
    """Each seat's longest text, the earliest of equals."""
    found: dict[int, Longest] = {}
    for person, text in texts:
        seat = int(seats[person])
        best = found.get(seat)
        if best is None or (text.chars, -text.at) > (best.chars, -best.at):
            found[seat] = text
    return found
