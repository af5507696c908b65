"""Words and names that only these people use so and that keep coming back: inside jokes, pets, places, dishes.

A word counts when at least two people use it, each on two days or more, on
four days or more in all, over a month or longer, and it is neither an
ordinary word (`insights/ordinary.py`) nor a participant's name nor on
everybody's lips. Words that are mostly written with a capital come first,
then those of most days. Counted from the word index; only the messages of
the few best words are read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chats.exports.parsed import Message
from chats.search import Searcher, WordUses
from chats.statistics.languages import STOP_WORDS
from chats.word_index import split_words
from insights import safety
from insights.common_words import is_common
from insights.engines.base import RecurringWord

MOST_WORDS = 5
LEAST_DAYS = 4
LEAST_SPAN_DAYS = 30
LEAST_DAYS_EACH = 2
#: More often than in every fiftieth message, and it is simply what the chat is about.
_LARGEST_SHARE = 50
_READ_WORDS = 24
_READ_USES = 12
_LONGEST_WORDS = 40


class Candidate(NamedTuple):
    """A word that keeps coming back, with the numbers of the messages that hold it."""

    word: str
    days: int
    numbers: tuple[int, ...]


def find_recurring_words(searcher: Searcher, *, people: Sequence[str]) -> tuple[RecurringWord, ...]:
    """The chat's recurring words, the most telling first."""
    names = {part for name in people for part in split_words(name)}
    uses = searcher.word_uses(
        least=LEAST_DAYS,
        most=max(searcher.chat.line_count // _LARGEST_SHARE, 10 * LEAST_DAYS),
        telling=lambda word: word not in names and not is_common(word),
    )
    found = find_candidates(uses)[:_READ_WORDS]
    read = searcher.get(sorted({number for candidate in found for number in _sample(candidate.numbers)}))
    return select_words(found, read)


def find_candidates(uses: WordUses) -> list[Candidate]:
    """The words that come back on enough days, from enough people, for long enough: those of most days first."""
    n_words = len(uses.words)
    if not n_words or not len(uses.word):
        return []
    day = uses.day - uses.day.min()
    days = _distinct(uses.word, day, n_words)
    each = np.zeros(n_words, np.int64)
    for sender in np.unique(uses.sender):
        own = uses.sender == sender
        each += _distinct(uses.word[own], day[own], n_words) >= LEAST_DAYS_EACH
    first, last = np.full(n_words, day.max() + 1), np.full(n_words, -1)
    np.minimum.at(first, uses.word, day)
    np.maximum.at(last, uses.word, day)
    chosen = np.flatnonzero((days >= LEAST_DAYS) & (each >= 2) & (last - first >= LEAST_SPAN_DAYS))
    best = sorted(chosen.tolist(), key=lambda turn: (-int(days[turn]), uses.words[turn]))
    return [
        Candidate(uses.words[turn], int(days[turn]), tuple(np.unique(uses.number[uses.word == turn]).tolist()))
        for turn in best[:_READ_WORDS]
    ]


def _distinct(word: NDArray[np.int64], day: NDArray[np.int64], n_words: int) -> NDArray[np.int64]:
    """On how many days each word was used."""
    pairs = np.unique(word * (int(day.max(initial=0)) + 1) + day)
    return np.bincount(pairs // (int(day.max(initial=0)) + 1), minlength=n_words)


def _sample(numbers: Sequence[int]) -> Sequence[int]:
    """The first uses and the last ones."""
    half = _READ_USES // 2
    return numbers if len(numbers) <= _READ_USES else [*numbers[:half], *numbers[-half:]]


def select_words(found: Iterable[Candidate], read: Mapping[int, Message]) -> tuple[RecurringWord, ...]:
    """The most telling of the candidates, as they are written in the messages that were read. Pure."""
    told: list[tuple[bool, RecurringWord]] = []
    for candidate in found:
        messages = {
            number: read[number]
            for number in _sample(candidate.numbers)
            if number in read and not safety.speaks_of_danger(read[number].text)
        }
        if len(messages) < 2:
            continue
        word, capital = _written(candidate.word, [message.text for message in messages.values()])
        numbers = list(messages)
        held = [number for number in numbers if word.casefold() in messages[number].text.casefold()]
        first = (held or numbers)[0]
        told.append(
            (
                capital,
                RecurringWord(
                    word=word,
                    days=candidate.days,
                    first=first,
                    later=_later(messages, first=first, rest=held[1:] or numbers[1:]),
                    first_at=messages[numbers[0]].sent_at,
                    last_at=messages[numbers[-1]].sent_at,
                ),
            )
        )
    # A stable sort: within each kind they stay ordered by their days.
    told.sort(key=lambda entry: not entry[0])
    return tuple(word for _, word in told[:MOST_WORDS])


def _later(messages: Mapping[int, Message], *, first: int, rest: Sequence[int]) -> int:
    """Of the later half the message that tells most, by another person if it can be."""
    half = [number for number in rest[len(rest) // 2 :] if number != first]

    def worth(number: int) -> tuple[bool, int, int]:
        length = len(split_words(messages[number].text))
        return messages[number].sender != messages[first].sender, length if length <= _LONGEST_WORDS else 0, number

    return max(half or [number for number in messages if number != first], key=worth)


def _written(word: str, texts: Sequence[str]) -> tuple[str, bool]:
    """The word as people write it, with a companion it has often ("Captain Bhindi"), and whether it has a capital."""
    forms, pairs = Counter[str](), Counter[str]()
    for text in texts:
        parts = text.split()
        clean = [part.strip(".,!?…\"'“”‘’()*_~:;") for part in parts]
        for place, part in enumerate(clean):
            if split_words(part) != [word]:
                continue
            forms[part] += 1
            before = clean[place - 1] if place and clean[place - 1] == parts[place - 1] else ""
            if before[:1].isupper() and part[:1].isupper() and not _is_small(before):
                pairs[f"{before} {part}"] += 1
    if not forms:
        return word, False
    # All in capitals is shouting, not a name.
    form = max(forms, key=lambda form: (not form.isupper(), forms[form], form))
    pair, often = max(pairs.items(), key=lambda entry: (entry[1], entry[0]), default=("", 0))
    capitals = sum(count for form, count in forms.items() if form[:1].isupper())
    if often >= 3 and often * 5 >= len(texts) * 2:
        return pair, True
    return form, capitals * 2 > forms.total()


def _is_small(word: str) -> bool:
    """A word that stands before any other, or shouting."""
    return len(word) < 3 or word.isupper() or word.casefold() in STOP_WORDS
