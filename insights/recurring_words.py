"""Words and names that only these people use and use again and again: inside jokes, pets, places, dishes.

A word qualifies if at least two people use it, each on two days or more, on four days or more in all, over a month or
longer. It must not be common (chats/common_words.py), a participant's name, or in every fiftieth message. Words
that are mostly capitalised come first, then those used on the most days. Counted from the word index; only messages
of the few best words are read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chats.common_words import is_common
from chats.exports.parsed import Message
from chats.search import Searcher, WordUses
from chats.statistics.languages import STOP_WORDS
from chats.word_index import split_words
from insights import safety
from insights.engines.base import RecurringWord

MAX_WORDS = 5
MIN_DAYS = 4
MIN_SPAN_DAYS = 30
MIN_DAYS_PER_PERSON = 2
#: A word in more than every fiftieth message is the topic of the chat.
_MESSAGES_PER_USE = 50
_MAX_CANDIDATES = 24
_MAX_READ_USES = 12
#: A longer message is no good quotation.
_MAX_QUOTED_WORDS = 40
#: A preceding capitalised word belongs to a name ("Captain Bhindi") if it is there this often, and in 2 of 5 uses.
_MIN_PAIR_USES = 3


class Candidate(NamedTuple):
    """A word that recurs, with the numbers of the messages that contain it."""

    word: str
    days: int
    numbers: tuple[int, ...]


def find_recurring_words(searcher: Searcher, *, people: Sequence[str]) -> tuple[RecurringWord, ...]:
    """Return the chat's recurring words, the most distinctive first."""
    names = {part for name in people for part in split_words(name)}
    uses = searcher.find_word_uses(
        min_uses=MIN_DAYS,
        # In a short chat every fiftieth message is fewer than the days that a word must have.
        max_uses=max(searcher.chat.line_count // _MESSAGES_PER_USE, 10 * MIN_DAYS),
        predicate=lambda word: word not in names and not is_common(word),
    )
    candidates = find_candidates(uses)
    numbers = {number for candidate in candidates for number in _sample(candidate.numbers)}
    return select_words(candidates, searcher.get(sorted(numbers)))


def find_candidates(uses: WordUses) -> list[Candidate]:
    """Return the words used on enough days, by enough people and for long enough, those of the most days first."""
    n_words = len(uses.words)
    if not n_words or not len(uses.word):
        return []
    # Days start at 0, so that a word and a day fit into one integer in _count_days.
    day = uses.day - uses.day.min()
    days = _count_days(uses.word, day, n_words)
    regular_people = np.zeros(n_words, np.int64)
    for sender in np.unique(uses.sender):
        own = uses.sender == sender
        regular_people += _count_days(uses.word[own], day[own], n_words) >= MIN_DAYS_PER_PERSON
    first, last = np.full(n_words, day.max() + 1), np.full(n_words, -1)
    np.minimum.at(first, uses.word, day)
    np.maximum.at(last, uses.word, day)
    recurring = np.flatnonzero((days >= MIN_DAYS) & (regular_people >= 2) & (last - first >= MIN_SPAN_DAYS))
    best = sorted(recurring.tolist(), key=lambda index: (-int(days[index]), uses.words[index]))
    return [
        Candidate(uses.words[index], int(days[index]), tuple(np.unique(uses.number[uses.word == index]).tolist()))
        for index in best[:_MAX_CANDIDATES]
    ]


def _count_days(word: NDArray[np.int64], day: NDArray[np.int64], n_words: int) -> NDArray[np.int64]:
    """Return the number of different days on which each word was used."""
    n_days = int(day.max(initial=0)) + 1
    pairs = np.unique(word * n_days + day)
    return np.bincount(pairs // n_days, minlength=n_words)


def _sample(numbers: Sequence[int]) -> Sequence[int]:
    """Return the first uses and the last uses."""
    half = _MAX_READ_USES // 2
    return numbers if len(numbers) <= _MAX_READ_USES else [*numbers[:half], *numbers[-half:]]


def select_words(candidates: Iterable[Candidate], read: Mapping[int, Message]) -> tuple[RecurringWord, ...]:
    """Return the most distinctive candidates, as they are written in the messages that were read. Pure."""
    names: list[RecurringWord] = []
    others: list[RecurringWord] = []
    for candidate in candidates:
        messages = {
            number: read[number]
            for number in _sample(candidate.numbers)
            if number in read and not safety.mentions_danger(read[number].text)
        }
        # A word is shown with two messages.
        if len(messages) < 2:
            continue
        word, is_name = _find_spelling(candidate.word, [message.text for message in messages.values()])
        numbers = list(messages)
        # A name of two words is not in every message with its second word; the quotation should show all of it.
        literal = [number for number in numbers if word.casefold() in messages[number].text.casefold()]
        first = (literal or numbers)[0]
        (names if is_name else others).append(
            RecurringWord(
                word=word,
                days=candidate.days,
                first=first,
                later=_select_later(messages, first=first, rest=literal[1:] or numbers[1:]),
                first_at=messages[numbers[0]].sent_at,
                last_at=messages[numbers[-1]].sent_at,
            )
        )
    return tuple([*names, *others][:MAX_WORDS])


def _select_later(messages: Mapping[int, Message], *, first: int, rest: Sequence[int]) -> int:
    """Return the most informative message of the later half, by another person if possible."""
    later_half = [number for number in rest[len(rest) // 2 :] if number != first]

    def rank(number: int) -> tuple[bool, int, int]:
        length = len(split_words(messages[number].text))
        by_another = messages[number].sender != messages[first].sender
        return by_another, length if length <= _MAX_QUOTED_WORDS else 0, number

    return max(later_half or [number for number in messages if number != first], key=rank)


def _find_spelling(word: str, texts: Sequence[str]) -> tuple[str, bool]:
    """Return the word as people write it, and whether it is a name: capitalised, or often after a capitalised word."""
    spellings, pairs = Counter[str](), Counter[str]()
    for text in texts:
        parts = text.split()
        stripped = [part.strip(".,!?…\"'“”‘’()*_~:;") for part in parts]
        for index, part in enumerate(stripped):
            if split_words(part) != [word]:
                continue
            spellings[part] += 1
            # Punctuation between two words ends a name.
            before = stripped[index - 1] if index and stripped[index - 1] == parts[index - 1] else ""
            is_shouted = before.isupper()
            is_small = len(before) < 3 or before.casefold() in STOP_WORDS
            if before[:1].isupper() and part[:1].isupper() and not is_shouted and not is_small:
                pairs[f"{before} {part}"] += 1
    if not spellings:
        return word, False
    # A word in capitals is shouted and is no spelling of a name.
    best = max(spellings, key=lambda spelling: (not spelling.isupper(), spellings[spelling], spelling))
    pair, n_pairs = max(pairs.items(), key=lambda entry: (entry[1], entry[0]), default=("", 0))
    if n_pairs >= _MIN_PAIR_USES and n_pairs * 5 >= len(texts) * 2:
        return pair, True
    n_capitalised = sum(count for spelling, count in spellings.items() if spelling[:1].isupper())
    return best, n_capitalised * 2 > spellings.total()
