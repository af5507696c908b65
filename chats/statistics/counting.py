"""The accumulator: batches in, figures out, every message looked at once."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import Any

from chats.exports.parsed import SYSTEM_SENDER, Batch, Kind
from chats.exports.phrases import PHRASES
from chats.statistics import links
from chats.statistics.person import (
    TOP_EMOJIS,
    TOP_WORDS,
    Person,
    busiest,
    merged,
    percent,
    ratio,
    response_times,
)
from chats.statistics.rhythm import WEEKDAYS, Conversation, day, moment, streaks, weekday

LINKS_LIMIT = 1_000
SITES_LIMIT = 10_000
TOP_SITES = 20
PEOPLE_LIMIT = 50
# A boundless vocabulary (keys mashed for days) loses its rare words beyond this; totals stay exact.
DISTINCT_TOKENS_LIMIT = 500_000

_TEXT, _MEDIA, _DELETED, _CALL, _SYSTEM = map(int, (Kind.TEXT, Kind.MEDIA, Kind.DELETED, Kind.CALL, Kind.SYSTEM))
_QUESTION_MARK = re.compile("[?\uff1f\u061f\u037e\u055e\u1367]")
_RARE_QUESTION_MARKS = "\uff1f\u061f\u037e\u055e\u1367"


def _questions(said: list[str], together: str) -> int:
    if any(mark in together for mark in _RARE_QUESTION_MARKS):
        return sum(1 for text in said if _QUESTION_MARK.search(text))
    return len([1 for text in said if "?" in text])


class Statistics:
    """Feed every batch in file order to `add`, then ask for `result` once. Shapes and units: docs/statistics.md."""

    def __init__(self) -> None:
        self._people: defaultdict[int, Person] = defaultdict(Person)
        self._conversation = Conversation()
        self._hours: Counter[int] = Counter()
        self._days: Counter[int] = Counter()
        self._links: list[tuple[str, int, int]] = []
        self._sites: Counter[str] = Counter()
        self._distinct_tokens = 0
        self._senderless_calls = 0
        self._first: int | None = None
        self._last: int | None = None

    def add(self, batch: Batch) -> None:
        self._conversation.add(batch.seconds, batch.senders)
        self._add_times(batch)
        self._add_texts(batch)

    def _add_times(self, batch: Batch) -> None:
        people = self._people
        hours = Counter(zip(batch.senders, [at // 3600 for at in batch.seconds], strict=True))
        for (sender, hour), count in hours.items():
            if sender == SYSTEM_SENDER:
                continue
            person = people[sender]
            person.messages += count
            person.hours[hour % 24] += count
            date = hour // 24
            self._days[date] += count
            self._hours[weekday(date) * 24 + hour % 24] += count
        sent = batch.seconds
        if SYSTEM_SENDER in batch.senders:
            sent = [at for at, sender in zip(sent, batch.senders, strict=True) if sender != SYSTEM_SENDER]
        if sent:
            first, last = min(sent), max(sent)
            self._first = first if self._first is None else min(first, self._first)
            self._last = last if self._last is None else max(last, self._last)

    def _add_texts(self, batch: Batch) -> None:
        texts, seconds = list(batch.texts), batch.seconds
        written = self._written(batch, texts)
        sizes = list(map(len, texts))
        for sender, positions in written.items():
            self._measure(self._people[sender], positions, texts, sizes, seconds)
        self._add_links(batch, texts)
        for sender, positions in written.items():
            said = [texts[position] for position in positions]
            together = "\n".join(said)
            person = self._people[sender]
            person.questions += _questions(said, together)
            self._distinct_tokens += person.vocabulary.add(together)
        for position in batch.edited:
            if batch.senders[position] != SYSTEM_SENDER:
                self._people[batch.senders[position]].edits += 1
        if self._distinct_tokens > DISTINCT_TOKENS_LIMIT:
            self._forget_rare_tokens()

    def _written(self, batch: Batch, texts: list[str]) -> dict[int, list[int]]:
        """Each person's positions with words of their own; media shrink to the caption below the placeholder."""
        written: defaultdict[int, list[int]] = defaultdict(list)
        for position, (sender, kind) in enumerate(zip(batch.senders, batch.kinds, strict=True)):
            if kind == _TEXT:
                written[sender].append(position)
                continue
            if kind == _SYSTEM:
                self._senderless_calls += PHRASES.is_call(texts[position])
                continue
            self._people[sender].kinds[kind] += 1
            if kind == _MEDIA:
                texts[position] = texts[position].partition("\n")[2]
                if texts[position]:
                    written[sender].append(position)
        return written

    @staticmethod
    def _measure(person: Person, positions: list[int], texts: list[str], sizes: list[int], seconds: list[int]) -> None:
        person.written += len(positions)
        person.chars += sum([sizes[position] for position in positions])
        longest = max(positions, key=sizes.__getitem__)
        if sizes[longest] > len(person.longest):
            person.longest, person.longest_at = texts[longest], seconds[longest]

    def _add_links(self, batch: Batch, texts: list[str]) -> None:
        """Count the links and take them out of the texts: no part of an address is a word or a question."""
        for position in links.candidates(texts):
            if batch.kinds[position] not in (_TEXT, _MEDIA):
                continue
            sender = batch.senders[position]
            texts[position], found = links.split(texts[position])
            self._people[sender].links += len(found)
            for link in found:
                self._sites[links.site(link)] += 1
                if len(self._links) < LINKS_LIMIT:
                    self._links.append((link, sender, batch.seconds[position]))
        if len(self._sites) > SITES_LIMIT:
            self._sites = Counter(dict(self._sites.most_common(SITES_LIMIT // 2)))

    def _forget_rare_tokens(self) -> None:
        least = 1
        while self._distinct_tokens > DISTINCT_TOKENS_LIMIT // 2:
            least *= 2
            for person in self._people.values():
                person.vocabulary.drop_below(least)
            self._distinct_tokens = sum(len(person.vocabulary.tokens) for person in self._people.values())

    def result(self, participants: list[str]) -> dict[str, Any]:
        """JSON-ready figures of everything added; `participants` are the export's, complete by now."""
        ranked = sorted(self._people.items(), key=lambda item: (-item[1].messages, item[0]))
        for sender, person in ranked:
            person.turns = self._conversation.of(sender)
        listed, rest = ranked[:PEOPLE_LIMIT], ranked[PEOPLE_LIMIT:]
        others = merged([person for _, person in rest])
        everyone = merged([*(person for _, person in listed), others])
        conversations = everyone.turns.starts
        return {
            **self._amounts(everyone),
            **self._calendar(everyone),
            "conversations_count": conversations,
            "conversation_starts": {
                participants[sender]: {
                    "count": person.turns.starts,
                    "share_percent": percent(person.turns.starts, conversations),
                }
                for sender, person in listed
            },
            **response_times(everyone.turns),
            **self._silences(),
            "links": [
                {"url": url, "user": participants[sender], "timestamp": moment(at)} for url, sender, at in self._links
            ],
            "top_sites": [
                {"site": site, "count": count}
                for site, count in sorted(self._sites.items(), key=lambda item: (-item[1], item[0]))
                if site
            ][:TOP_SITES],
            "user_stats": {participants[sender]: person.figures(conversations) for sender, person in listed},
            "others": {"people": len(rest), **others.figures(conversations)} if rest else None,
        }

    def _amounts(self, everyone: Person) -> dict[str, Any]:
        usage = everyone.vocabulary.usage()
        return {
            "total_messages": everyone.messages,
            "total_words": usage.total_words,
            "deleted_messages_count": everyone.kinds[_DELETED],
            "media_shared_count": everyone.kinds[_MEDIA],
            "links_shared_count": everyone.links,
            "calls_count": everyone.kinds[_CALL] + self._senderless_calls,
            "edited_messages_count": everyone.edits,
            "questions_count": everyone.questions,
            "top_words": usage.top_words(TOP_WORDS),
            "top_emojis": usage.top_emojis(TOP_EMOJIS),
        }

    def _calendar(self, everyone: Person) -> dict[str, Any]:
        days = sorted(self._days)
        by_hour = [[self._hours[row * 24 + hour] for hour in range(24)] for row in range(7)]
        by_weekday = [sum(row) for row in by_hour]
        months: Counter[str] = Counter()
        for number in days:
            months[day(number)[:7]] += self._days[number]
        total_days = days[-1] - days[0] + 1 if days else 0
        first = None if self._first is None else moment(self._first)
        last = None if self._last is None else moment(self._last)
        busiest_day = busiest(by_weekday)
        return {
            "date_range": {"start": first, "end": last},
            "first_message_at": first,
            "last_message_at": last,
            "total_days": total_days,
            "active_days": len(days),
            "messages_per_day_avg": ratio(everyone.messages, total_days),
            "messages_by_date": {day(number): self._days[number] for number in days},
            "messages_by_month": dict(months),
            "busiest_hour": busiest(everyone.hours),
            "busiest_day": None if busiest_day is None else WEEKDAYS[busiest_day],
            "hourly_distribution": everyone.hours,
            "daily_distribution": dict(zip(WEEKDAYS, by_weekday, strict=True)),
            "weekday_hour_distribution": dict(zip(WEEKDAYS, by_hour, strict=True)),
        }

    def _silences(self) -> dict[str, Any]:
        runs = list(streaks(sorted(self._days))) if self._days else []
        length, end = max(runs, key=lambda run: run[0], default=(0, 0))
        silence = self._conversation.silence
        return {
            "longest_streak_days": length,
            "longest_streak": {"start": day(end - length + 1), "end": day(end)} if runs else None,
            "current_streak_days": runs[-1][0] if runs else 0,
            "longest_silence_seconds": silence.seconds,
            "longest_silence": {"start": moment(silence.start), "end": moment(silence.end)}
            if silence.seconds
            else None,
        }
