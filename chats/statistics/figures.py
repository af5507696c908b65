"""The figures of a chat, of its most active people, and of all others together, as JSON-ready values.

Each key is described in docs/statistics.md and in chats/statistics_schema.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

from chats.exports.parsed import Detail, MediaKind, MessageKind
from chats.statistics import sentiment, time_bins
from chats.statistics.activity import MAX_RESPONSE_SECONDS, Activity, response_times, response_times_by_month
from chats.statistics.keyness import score_words
from chats.statistics.languages import LABELS, NO_WORD, STOP_WORDS, STOP_WORDS_BY_LANGUAGE
from chats.statistics.participant_buckets import Bucket, ChatCounts, fill_buckets
from chats.statistics.sentiment import SentimentTotals
from chats.statistics.sparse_counts import SparseCounts
from chats.statistics.time_bins import WEEKDAYS, format_day, format_timestamp
from chats.statistics.vocabulary import is_content_word, merge_variants, most_common

MAX_LISTED_PEOPLE = 50
MAX_TOP_WORDS, MAX_TOP_EMOJIS, MAX_TOP_SITES, MAX_TOP_MENTIONS, MAX_DISTINCTIVE_WORDS = 50, 40, 20, 20, 20
MAX_TOP_REPLIES = 50
#: The share of texts above which the stop words of a language apply to the chat.
MIN_LANGUAGE_SHARE = 0.05
#: Positive and negative terms below which the balance says nothing.
MIN_POLAR_TERMS = 20
RESPONSE_BUCKETS_SECONDS = (0, 60, 5 * 60, 15 * 60, 3600, MAX_RESPONSE_SECONDS)

T = TypeVar("T")


class FiguresBuilder:
    """Builds the figures from the counts. `participants` holds the name of each person, by the number in the counts."""

    def __init__(self, counts: ChatCounts, participants: list[str], recorded: Collection[str]) -> None:
        self._counts = counts
        self._participants = participants
        self._recorded = recorded
        for table in (counts.totals, counts.activity.turns, counts.details.totals):
            table.ensure_capacity(len(participants))
        # The figures are listed by name, so people with the same name count as the first of them.
        first_with_name: dict[str, int] = {}
        same_name = np.array(
            [first_with_name.setdefault(name, person) for person, name in enumerate(participants)], np.int64
        )
        n_people = len(participants)
        messages = np.bincount(same_name, counts.totals.row("messages")[:n_people], n_people).astype(np.int64)
        active = np.flatnonzero(messages)
        ranked = active[np.argsort(-messages[active], kind="stable")].tolist()
        listed = ranked[:MAX_LISTED_PEOPLE]
        self._listed = [participants[person] for person in listed]
        self._n_others = len(ranked) - len(listed)
        # People without messages share the last bucket with the others and add nothing to it.
        buckets = np.full(n_people, len(listed), np.int64)
        buckets[listed] = np.arange(len(listed))
        *self._people, self._others = fill_buckets(counts, buckets[same_name], len(listed) + 1)
        (self._everyone,) = fill_buckets(counts, np.zeros_like(same_name), 1)
        self._mentions = counts.mentions.count_by_name(participants)

        languages = self._everyone.languages
        is_common = languages.counts >= languages.counts.sum() * MIN_LANGUAGE_SHARE
        common = [LABELS[label] for label in languages.items[is_common].tolist()]
        stop_words = STOP_WORDS.union(*(STOP_WORDS_BY_LANGUAGE.get(language, ()) for language in common))
        terms = counts.vocabulary.terms
        # By term id. Emoji are terms too, but no words.
        self._is_word = counts.vocabulary.languages(np.arange(len(terms))) != NO_WORD
        self._is_content_word = self._is_word & np.fromiter((is_content_word(term, stop_words) for term in terms), bool)
        content_words = self._content_words(self._everyone)
        self._uses_by_everyone = np.zeros(len(terms), np.int64)
        self._uses_by_everyone[content_words.items] = content_words.counts

    def build(self) -> dict[str, Any]:
        """Return all figures of the chat."""
        counts, everyone = self._counts, self._everyone
        totals, silence = everyone.totals, counts.activity.longest_silence
        people = dict(zip(self._listed, self._people, strict=True))
        sites: Counter[str] = Counter(counts.links.sites)
        # Links without a host.
        del sites[""]
        return {
            "total_messages": totals["messages"],
            "total_words": totals["words"],
            "deleted_messages_count": totals[MessageKind.DELETED.label],
            "media_shared_count": totals[MessageKind.MEDIA.label],
            "links_shared_count": totals["links"],
            "calls_count": totals[MessageKind.CALL.label] + counts.senderless_calls,
            "edited_messages_count": totals["edits"],
            "questions_count": totals["questions"],
            "mentions_count": totals["mentions"],
            "top_mentions": [
                {"name": name, "count": count} for name, count in most_common(self._mentions, MAX_TOP_MENTIONS)
            ],
            **self._top_terms(everyone),
            **_language_and_sentiment(everyone),
            **_calendar(counts.activity, everyone.month_hours),
            "conversations_count": totals["conversation_starts"],
            "conversation_starts": _shares_by_name(people, everyone, "conversation_starts"),
            "conversation_ends": _shares_by_name(people, everyone, "conversation_ends"),
            **_response_times(everyone.responses),
            "longest_silence_seconds": silence.seconds,
            "longest_silence": _span(silence.start, silence.end) if silence.seconds else None,
            "links": [
                {
                    "url": link.url,
                    "user": self._participants[link.person],
                    "timestamp": format_timestamp(link.sent_at),
                }
                for link in counts.links.first
            ],
            "top_sites": [{"site": site, "count": count} for site, count in most_common(sites, MAX_TOP_SITES)],
            **self._details(),
            "user_stats": {
                name: {**self._person(bucket), **self._counts_by_name([name])} for name, bucket in people.items()
            },
            "others": {
                "people": self._n_others,
                **self._person(self._others),
                **self._counts_by_name(set(self._participants).difference(self._listed)),
            }
            if self._n_others
            else None,
        }

    def _details(self) -> dict[str, Any]:
        """Return the figures of the chat about details; None for those that the export does not contain."""
        details, totals, name_of = self._counts.details, self._everyone.totals, self._participants.__getitem__
        replies: Counter[tuple[str, str]] = Counter()
        for (sender, answered), count in details.replies.items():
            replies[name_of(sender), name_of(answered)] += count
        return {
            "media_by_kind": self._media_by_kind(totals),
            **self._durations(totals),
            "forwarded_messages_count": self._if_recorded(Detail.FORWARDS, totals["forwards"]),
            "replies_count": self._if_recorded(Detail.REPLIES, totals["replies_sent"]),
            "top_replies": self._if_recorded(
                Detail.REPLIES,
                [
                    {"from": sender, "to": answered, "count": count}
                    for (sender, answered), count in most_common(replies, MAX_TOP_REPLIES)
                ],
            ),
            "reactions_count": self._if_recorded(Detail.REACTIONS, details.reactions.total()),
            "top_reactions": self._if_recorded(
                Detail.REACTIONS,
                [
                    {"emoji": emoji, "count": count}
                    for emoji, count in most_common(merge_variants(details.reactions), MAX_TOP_EMOJIS)
                ],
            ),
            "most_reacted_messages": self._if_recorded(
                Detail.REACTIONS,
                [
                    {
                        "number": -message.minus_number,
                        "user": name_of(message.person),
                        "timestamp": format_timestamp(message.sent_at),
                        "reactions": message.reactions,
                        "top_emoji": message.emoji,
                        "message": message.excerpt,
                    }
                    for message in sorted(details.top_reacted, reverse=True)
                ],
            ),
        }

    def _if_recorded(self, detail: Detail, figure: T) -> T | None:
        return figure if detail in self._recorded else None

    def _media_by_kind(self, totals: Mapping[str, int]) -> dict[str, int] | None:
        by_kind = {kind.value: totals[kind] for kind in MediaKind}
        by_kind["unspecified"] = totals[MessageKind.MEDIA.label] - sum(by_kind.values())
        return self._if_recorded(Detail.MEDIA_KINDS, by_kind)

    def _durations(self, totals: Mapping[str, int]) -> dict[str, int | None]:
        return {
            "call_seconds": self._if_recorded(Detail.CALL_DURATIONS, totals["call_seconds"]),
            "voice_seconds": self._if_recorded(Detail.VOICE_DURATIONS, totals["voice_seconds"]),
        }

    def _counts_by_name(self, names: Collection[str]) -> dict[str, int | None]:
        given = self._counts.details.reactions_given
        return {
            "times_mentioned": sum(self._mentions[name] for name in names),
            "reactions_given": self._if_recorded(Detail.REACTIONS, sum(given[name] for name in names)),
        }

    def _person(self, bucket: Bucket) -> dict[str, Any]:
        totals, all_totals, longest = bucket.totals, self._everyone.totals, bucket.longest
        by_hour = time_bins.count_by_hour_of_day(bucket.month_hours)
        return {
            "message_count": totals["messages"],
            "word_count": totals["words"],
            "avg_words_per_message": _ratio(totals["words"], totals["texts"]),
            "avg_message_length_chars": _ratio(totals["chars"], totals["texts"]),
            "deleted_messages": totals[MessageKind.DELETED.label],
            "media_shared": totals[MessageKind.MEDIA.label],
            "links_shared": totals["links"],
            "calls": totals[MessageKind.CALL.label],
            "edited_messages": totals["edits"],
            "conversation_initiations": totals["conversation_starts"],
            "conversation_initiations_percent": _percent(
                totals["conversation_starts"], all_totals["conversation_starts"]
            ),
            "conversation_endings": totals["conversation_ends"],
            "conversation_endings_percent": _percent(totals["conversation_ends"], all_totals["conversation_ends"]),
            "double_texting_rate": _percent(totals["multi_message_turns"], totals["turns"]),
            "questions_asked": totals["questions"],
            "mentions_written": totals["mentions"],
            "media_by_kind": self._media_by_kind(totals),
            **self._durations(totals),
            "forwarded_messages": self._if_recorded(Detail.FORWARDS, totals["forwards"]),
            "replies_sent": self._if_recorded(Detail.REPLIES, totals["replies_sent"]),
            "replies_received": self._if_recorded(Detail.REPLIES, totals["replies_received"]),
            "reactions_received": self._if_recorded(Detail.REACTIONS, totals["reactions_received"]),
            **_response_times(bucket.responses),
            **self._top_terms(bucket),
            "distinctive_words": self._distinctive_words(bucket),
            **_language_and_sentiment(bucket),
            "busiest_hour": _first_maximum(by_hour),
            "hourly_distribution": by_hour,
            "messages_by_month": time_bins.count_by_month(bucket.month_hours),
            "longest_message": None
            if longest is None
            else {
                "word_count": longest.words,
                "char_count": longest.chars,
                "timestamp": format_timestamp(longest.sent_at),
                "message": longest.excerpt,
            },
        }

    def _content_words(self, bucket: Bucket) -> SparseCounts:
        return bucket.terms.where(self._is_content_word[bucket.terms.items])

    def _top_terms(self, bucket: Bucket) -> dict[str, Any]:
        vocabulary = self._counts.vocabulary
        words = self._content_words(bucket)
        if len(words.counts) > MAX_TOP_WORDS:
            # Sorting needs only those used at least as often as the last one listed, ties included.
            min_count = np.partition(words.counts, -MAX_TOP_WORDS)[-MAX_TOP_WORDS]
            words = words.where(words.counts >= min_count)
        emoji = merge_variants(vocabulary.count_by_term(bucket.terms.where(~self._is_word[bucket.terms.items])))
        return {
            "top_words": [
                {"word": word, "count": uses}
                for word, uses in most_common(vocabulary.count_by_term(words), MAX_TOP_WORDS)
            ],
            "top_emojis": [{"emoji": sign, "count": uses} for sign, uses in most_common(emoji, MAX_TOP_EMOJIS)],
        }

    def _distinctive_words(self, bucket: Bucket) -> list[dict[str, Any]]:
        own = self._content_words(bucket)
        uses = dict(zip(own.items.tolist(), own.counts.tolist(), strict=True))
        terms = self._counts.vocabulary.terms
        ids, scores = score_words(own, self._uses_by_everyone)
        ranked = sorted(
            (-round(score, 2), terms[word], uses[word])
            for word, score in zip(ids.tolist(), scores.tolist(), strict=True)
        )
        return [
            {"word": word, "count": count, "score": -negative_score}
            for negative_score, word, count in ranked[:MAX_DISTINCTIVE_WORDS]
        ]


def _calendar(activity: Activity, month_hours: SparseCounts) -> dict[str, Any]:
    hours = activity.hours()
    by_day, by_weekday_and_hour = time_bins.count_by_day(hours), time_bins.count_by_weekday_and_hour(hours)
    by_hour, by_weekday = time_bins.count_by_hour_of_day(month_hours), [sum(row) for row in by_weekday_and_hour]
    days = list(by_day)
    total_days = days[-1] - days[0] + 1 if days else 0
    # A streak is (days, last day). `max` returns the earliest of the longest.
    streaks: list[tuple[int, int]] = []
    for day in days:
        continues = bool(streaks) and day == streaks[-1][1] + 1
        streaks.append((streaks.pop()[0] + 1 if continues else 1, day))
    streak_days, streak_end = max(streaks, key=lambda streak: streak[0], default=(0, 0))
    busiest_weekday = _first_maximum(by_weekday)
    date_range = _span(activity.first, activity.last)
    return {
        "date_range": date_range,
        "first_message_at": date_range["start"],
        "last_message_at": date_range["end"],
        "total_days": total_days,
        "active_days": len(days),
        "messages_per_day_avg": _ratio(sum(by_weekday), total_days),
        "messages_by_date": {format_day(day): count for day, count in by_day.items()},
        "messages_by_month": time_bins.count_by_month(month_hours),
        "busiest_hour": _first_maximum(by_hour),
        "busiest_day": None if busiest_weekday is None else WEEKDAYS[busiest_weekday],
        "hourly_distribution": by_hour,
        "daily_distribution": dict(zip(WEEKDAYS, by_weekday, strict=True)),
        "weekday_hour_distribution": dict(zip(WEEKDAYS, by_weekday_and_hour, strict=True)),
        "longest_streak_days": streak_days,
        "longest_streak": {"start": format_day(streak_end - streak_days + 1), "end": format_day(streak_end)}
        if streaks
        else None,
        "current_streak_days": streaks[-1][0] if streaks else 0,
    }


def _language_and_sentiment(bucket: Bucket) -> dict[str, Any]:
    labels, counts = bucket.languages.items.tolist(), bucket.languages.counts.tolist()
    texts_by_language = {LABELS[label]: count for label, count in zip(labels, counts, strict=True)}
    return {
        "language_mix": {name: _share(count, sum(counts)) for name, count in most_common(texts_by_language, None)},
        "sentiment": _sentiment(sentiment.sum_all(bucket.sentiment)),
        "sentiment_by_month": {month: _sentiment(totals) for month, totals in sentiment.sum_by_month(bucket.sentiment)},
    }


def _sentiment(totals: SentimentTotals) -> dict[str, Any]:
    polar = totals.positive + totals.negative
    return {
        "positive": totals.positive,
        "negative": totals.negative,
        "messages": totals.messages,
        "balance": round((totals.positive - totals.negative) / polar, 2) if polar >= MIN_POLAR_TERMS else None,
    }


def _response_times(responses: SparseCounts) -> dict[str, Any]:
    overall = response_times(responses)
    months, by_month = response_times_by_month(responses)
    return {
        "responses": int(overall.totals.sum()),
        "avg_response_time_seconds": _first(overall.means()),
        "median_response_time_seconds": _first(overall.medians()),
        "p90_response_time_seconds": _first(overall.quantiles(tenths=9)),
        "response_time_distribution": [
            {"from_seconds": start, "below_seconds": end, "count": overall.count_between(start, end)}
            for start, end in pairwise(RESPONSE_BUCKETS_SECONDS)
        ],
        "response_times_by_month": {
            month: {"responses": total, "median_response_time_seconds": median, "p90_response_time_seconds": p90}
            for month, total, median, p90 in zip(
                months, by_month.totals.tolist(), by_month.medians(), by_month.quantiles(tenths=9), strict=True
            )
        },
    }


def _shares_by_name(people: Mapping[str, Bucket], everyone: Bucket, name_of_count: str) -> dict[str, Any]:
    total = everyone.totals[name_of_count]
    return {name: _share(bucket.totals[name_of_count], total) for name, bucket in people.items()}


def _share(count: int, total: int) -> dict[str, Any]:
    return {"count": count, "share_percent": _percent(count, total)}


def _span(start: int | None, end: int | None) -> dict[str, str | None]:
    return {
        "start": None if start is None else format_timestamp(start),
        "end": None if end is None else format_timestamp(end),
    }


def _first(values: Sequence[float]) -> float | None:
    return values[0] if values else None


def _first_maximum(counts: list[int]) -> int | None:
    """Return the position of the largest count, the first of equals, or None if all are 0."""
    return counts.index(max(counts)) if any(counts) else None


def _ratio(amount: int, total: int) -> float:
    return round(amount / total, 2) if total else 0.0


def _percent(amount: int, total: int) -> float:
    return round(100 * amount / total, 1) if total else 0.0
