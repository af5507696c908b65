"""From counts to the figures that people read: of the chat, of the most active, and of the others together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chats.exports.parsed import Kind
from chats.statistics import keyness, sentiment, time_bins
from chats.statistics.activity import RESPONSE_LIMIT_SECONDS, Silence, answers, answers_by_month
from chats.statistics.languages import NAMES, NO_WORD, STOP_WORDS, stop_words
from chats.statistics.links import SentLinks
from chats.statistics.participant_buckets import Counts, Seat, seated
from chats.statistics.sparse_counts import Counted, Ints, chosen
from chats.statistics.time_bins import moment, percent, ratio
from chats.statistics.vocabulary import is_telling, merged_variants, most_common

PEOPLE_LIMIT = 50
TOP_SITES, TOP_MENTIONS, TOP_DISTINCTIVE = 20, 20, 20
# A language's stop words are left out of the top words where it makes up so much of the texts.
SPOKEN_SHARE = 0.05
TOP_WORDS, TOP_EMOJIS = 50, 40
RESPONSE_BUCKETS_SECONDS = (0, 60, 5 * 60, 15 * 60, 3600, RESPONSE_LIMIT_SECONDS)


class Figures:
    """The figures of a whole chat; `participants` are known by the numbers that the counts have for people."""

    def __init__(self, counts: Counts, participants: list[str]) -> None:
        self._counts = counts
        self._participants = participants
        counts.amounts.make_room(len(participants))
        counts.rhythm.turns.make_room(len(participants))
        one = _one_of_each_name(participants)
        messages = np.bincount(one, counts.amounts.of("messages")[: len(one)], len(one)).astype(np.int64)
        present = np.flatnonzero(messages)
        ranked = present[np.argsort(-messages[present], kind="stable")].tolist()
        self._listed: list[str] = [participants[person] for person in ranked[:PEOPLE_LIMIT]]
        self._n_others = len(ranked) - len(self._listed)
        # Whoever has no message sits with the others and brings nothing.
        seats = np.full(len(one), len(self._listed), np.int64)
        seats[ranked[:PEOPLE_LIMIT]] = np.arange(len(self._listed))
        *self._people, self._others = seated(counts, seats[one], len(self._listed) + 1)
        (self._everyone,) = seated(counts, np.zeros_like(one), 1)
        self._mentioned = counts.mentions.named(participants)
        self._stop_words = STOP_WORDS.union(*map(stop_words, _spoken(self._everyone)))
        self._words = self._telling_words()

    def whole(self) -> dict[str, Any]:
        everyone, rhythm = self._everyone, self._counts.rhythm
        people = dict(zip(self._listed, self._people, strict=True))
        return {
            **self._amounts(everyone),
            **time_bins.figures(rhythm.hours(), everyone.monthly_hours, first=rhythm.first, last=rhythm.last),
            "conversations_count": everyone.amounts["starts"],
            "conversation_starts": _shares(people, "starts", everyone),
            "conversation_ends": _shares(people, "ends", everyone),
            **_response_times(everyone.gaps),
            **_longest_silence(rhythm.silence),
            "links": [
                {"url": link.url, "user": self._participants[link.person], "timestamp": moment(link.at)}
                for link in self._counts.links.first
            ],
            "top_sites": _top_sites(self._counts.links),
            "user_stats": {
                name: {**self._person(seat), "times_mentioned": self._mentioned[name]} for name, seat in people.items()
            },
            "others": self._others_together() if self._n_others else None,
        }

    def _amounts(self, everyone: Seat) -> dict[str, Any]:
        amounts = everyone.amounts
        return {
            "total_messages": amounts["messages"],
            "total_words": amounts["words"],
            "deleted_messages_count": amounts[Kind.DELETED.label],
            "media_shared_count": amounts[Kind.MEDIA.label],
            "links_shared_count": amounts["links"],
            "calls_count": amounts[Kind.CALL.label] + self._counts.senderless_calls,
            "edited_messages_count": amounts["edits"],
            "questions_count": amounts["questions"],
            "mentions_count": amounts["mentions"],
            "top_mentions": [
                {"name": name, "count": count} for name, count in most_common(self._mentioned, TOP_MENTIONS)
            ],
            **self._favourites(everyone),
            **_language_and_feelings(everyone),
        }

    def _others_together(self) -> dict[str, Any]:
        others = set(self._participants).difference(self._listed)
        return {
            "people": self._n_others,
            **self._person(self._others),
            "times_mentioned": sum(self._mentioned[name] for name in others),
        }

    def _person(self, seat: Seat) -> dict[str, Any]:
        amounts, everyone = seat.amounts, self._everyone.amounts
        by_hour = time_bins.by_hour_of_day(seat.monthly_hours)
        return {
            "message_count": amounts["messages"],
            "word_count": amounts["words"],
            "avg_words_per_message": ratio(amounts["words"], amounts["written"]),
            "avg_message_length_chars": ratio(amounts["chars"], amounts["written"]),
            "deleted_messages": amounts[Kind.DELETED.label],
            "media_shared": amounts[Kind.MEDIA.label],
            "links_shared": amounts["links"],
            "calls": amounts[Kind.CALL.label],
            "edited_messages": amounts["edits"],
            "conversation_initiations": amounts["starts"],
            "conversation_initiations_percent": percent(amounts["starts"], everyone["starts"]),
            "conversation_endings": amounts["ends"],
            "conversation_endings_percent": percent(amounts["ends"], everyone["ends"]),
            "double_texting_rate": percent(amounts["double_runs"], amounts["runs"]),
            "questions_asked": amounts["questions"],
            "mentions_written": amounts["mentions"],
            **_response_times(seat.gaps),
            **self._favourites(seat),
            "distinctive_words": self._distinctive(seat),
            **_language_and_feelings(seat),
            "busiest_hour": time_bins.busiest(by_hour),
            "hourly_distribution": by_hour,
            "messages_by_month": time_bins.by_month(seat.monthly_hours),
            "longest_message": _longest_message(seat),
        }

    def _telling_words(self) -> NDArray[np.bool_]:
        """Which numbers of the vocabulary are words that may say something about the chat."""
        vocabulary = self._counts.vocabulary
        telling = np.fromiter((is_telling(word, self._stop_words) for word in vocabulary.names), bool)
        return telling & self._are_words(np.arange(len(telling)))

    def _are_words(self, numbers: Ints) -> NDArray[np.bool_]:
        are_words: NDArray[np.bool_] = self._counts.vocabulary.told_by(numbers) != NO_WORD
        return are_words

    def _favourites(self, seat: Seat) -> dict[str, Any]:
        vocabulary, telling = self._counts.vocabulary, chosen(seat.terms, self._words[seat.terms.things])
        emoji = chosen(seat.terms, ~self._are_words(seat.terms.things))
        words = vocabulary.named(_no_rarer_than(telling, TOP_WORDS))
        return {
            "top_words": [{"word": word, "count": uses} for word, uses in most_common(words, TOP_WORDS)],
            "top_emojis": [
                {"emoji": sign, "count": uses}
                for sign, uses in most_common(merged_variants(vocabulary.named(emoji)), TOP_EMOJIS)
            ],
        }

    def _distinctive(self, seat: Seat) -> list[dict[str, Any]]:
        everyone = np.zeros(len(self._words), np.int64)
        telling = chosen(self._everyone.terms, self._words[self._everyone.terms.things])
        everyone[telling.things] = telling.counts
        own = chosen(seat.terms, self._words[seat.terms.things])
        uses = dict(zip(own.things.tolist(), own.counts.tolist(), strict=True))
        numbers, scores = keyness.scores(own, everyone)
        names = self._counts.vocabulary.names
        found = [
            (-round(score, 2), names[number], uses[number])
            for number, score in zip(numbers.tolist(), scores.tolist(), strict=True)
        ]
        return [
            {"word": word, "count": count, "score": -score} for score, word, count in sorted(found)[:TOP_DISTINCTIVE]
        ]


def _no_rarer_than(terms: Counted, limit: int) -> Counted:
    """Those used as much as the one in the last place, or more."""
    if len(terms.counts) <= limit:
        return terms
    return chosen(terms, terms.counts >= np.partition(terms.counts, -limit)[-limit])


def _spoken(everyone: Seat) -> list[str]:
    """The languages of a part of the texts that counts."""
    total = everyone.languages.counts.sum()
    return [
        NAMES[number]
        for number in everyone.languages.things[everyone.languages.counts >= total * SPOKEN_SHARE].tolist()
    ]


def _language_and_feelings(seat: Seat) -> dict[str, Any]:
    spoken = dict(
        zip(map(NAMES.__getitem__, seat.languages.things.tolist()), seat.languages.counts.tolist(), strict=True)
    )
    total = sum(spoken.values())
    return {
        "language_mix": {
            name: {"count": count, "share_percent": percent(count, total)} for name, count in most_common(spoken, None)
        },
        "sentiment": sentiment.figures(sentiment.in_all(seat.feelings)),
        "sentiment_by_month": {month: sentiment.figures(said) for month, said in sentiment.by_month(seat.feelings)},
    }


def _one_of_each_name(participants: list[str]) -> Ints:
    """People of one name are one person here: the figures are told by name."""
    first: dict[str, int] = {}
    return np.array([first.setdefault(name, person) for person, name in enumerate(participants)], np.int64)


def _shares(people: Mapping[str, Seat], amount: str, everyone: Seat) -> dict[str, Any]:
    of = everyone.amounts[amount]
    return {
        name: {"count": seat.amounts[amount], "share_percent": percent(seat.amounts[amount], of)}
        for name, seat in people.items()
    }


def _response_times(gaps: Counted) -> dict[str, Any]:
    (months, own), whole = answers_by_month(gaps), answers(gaps)
    return {
        "responses": int(whole.totals.sum()),
        "avg_response_time_seconds": _only(whole.means()),
        "median_response_time_seconds": _only(whole.medians()),
        "p90_response_time_seconds": _only(whole.quantiles(tenths=9)),
        "response_time_distribution": [
            {"from_seconds": start, "below_seconds": end, "count": whole.between(start, end)}
            for start, end in pairwise(RESPONSE_BUCKETS_SECONDS)
        ],
        "response_times_by_month": {
            month: {"responses": total, "median_response_time_seconds": median, "p90_response_time_seconds": p90}
            for month, total, median, p90 in zip(
                months, own.totals.tolist(), own.medians(), own.quantiles(tenths=9), strict=True
            )
        },
    }


def _only(values: Sequence[float]) -> float | None:
    """Of everybody's answers, if there are any."""
    return values[0] if values else None


def _longest_silence(silence: Silence) -> dict[str, Any]:
    span = {"start": moment(silence.start), "end": moment(silence.end)} if silence.seconds else None
    return {"longest_silence_seconds": silence.seconds, "longest_silence": span}


def _longest_message(seat: Seat) -> dict[str, Any] | None:
    if seat.longest is None:
        return None
    return {
        "word_count": seat.longest.words,
        "char_count": seat.longest.chars,
        "timestamp": moment(seat.longest.at),
        "message": seat.longest.shown,
    }


def _top_sites(links: SentLinks) -> list[dict[str, Any]]:
    sites: Counter[str] = Counter(links.sites)
    del sites[""]
    return [{"site": site, "count": count} for site, count in most_common(sites, TOP_SITES)]
