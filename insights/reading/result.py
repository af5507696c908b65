"""What was found in a chat: the results of its windows, sealed for storage and combined for the writer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any

import orjson

from chats.models import Chat
from chats.pseudonyms import renumber_labels, restore_labels
from chats.transcript import TranscriptReader
from insights.episodes import (
    MAX_SHOWN,
    Danger,
    Episode,
    MonthRead,
    Reading,
    Relationship,
    Tone,
    Window,
    WindowReading,
)
from insights.models import ChatReading, ReadWindow
from insights.reading import unread
from insights.reading.queue import current_reader
from insights.reading.windows import count_months

#: A relationship holds if windows with this share of the messages agree on it.
MIN_AGREEMENT = 0.6
#: A language of a chat is one of windows with this share of its messages.
MIN_LANGUAGE_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class ReadPart:
    """The result of one window, and how many messages of each month the model was shown.

    `spans` are the message numbers of the window, and `sample` those of them that belong to the sample of a chat that
    is read in part, None if all is read. `sample_messages` is the number of its messages.
    """

    result: WindowReading
    months: Mapping[str, int]
    spans: Sequence[Sequence[int]] = ()
    sample: Sequence[Sequence[int]] | None = None
    sample_messages: int = 0

    @property
    def messages(self) -> int:
        """The number of messages that the model was shown."""
        return sum(self.months.values())


class _Senders:
    """Senders of the export for the people of a chat in a window: the owner may merge or separate people later."""

    def __init__(self, chat: Chat, shown: Window) -> None:
        self._of_person: dict[int, int] = {}
        for sender, person in enumerate(chat.people.person_of_sender):
            self._of_person.setdefault(person, sender)
        self._people = {message.number: message.person for message in shown.messages}
        self._of_message: Mapping[int, int] = {}
        if not chat.people.has_one_name_each:
            self._of_message = TranscriptReader(chat, as_stored=True).get_senders(self._people)

    def find(self, person: int, *numbers: Iterable[int]) -> list[int]:
        """Return the senders of the person's messages: in the first of the sets of numbers with any, or the window."""
        for candidates in (*numbers, self._people):
            senders = {
                self._of_message[number]
                for number in candidates
                if self._people.get(number) == person and number in self._of_message
            }
            if senders:
                return sorted(senders)
        return [self._of_person[person]]


def seal(chat: Chat, window: ReadWindow, result: WindowReading, *, shown: Window) -> bytes:
    """Return the result of a window and the counts of its messages, sealed under the chat's key."""
    senders = _Senders(chat, shown)
    n_people = len(chat.participants)

    def pack_episode(episode: Episode) -> dict[str, Any]:
        numbers = range(episode.first, episode.last + 1)
        roles = [
            # The messages that show it first: two names of one person can occur in one episode.
            [sender, list(roles)]
            for person, roles in episode.roles.items()
            for sender in senders.find(person, episode.shows, numbers)
        ]

        def find_named(person: int) -> int:
            return senders.find(person, episode.shows, numbers)[0]

        return {
            "kind": episode.kind,
            "topic": episode.topic,
            "first": episode.first,
            "last": episode.last,
            "roles": roles,
            "strength": episode.strength,
            "tone": episode.tone,
            # The label of a person becomes that of a sender.
            "subject": renumber_labels(episode.subject, find_named, n_people=n_people),
            "shows": episode.shows,
            "started_at": episode.started_at,
            "ended_at": episode.ended_at,
        }

    def pack_danger(danger: Danger) -> dict[str, Any]:
        person = None if danger.person is None else senders.find(danger.person, danger.numbers)[0]
        return {"kind": danger.kind, "numbers": danger.numbers, "person": person, "current": danger.current}

    packed = {
        "time_zone": chat.time_zone,
        "months": count_months(shown),
        "sample_messages": _count_sample(window, shown),
        "relationship": result.relationship,
        "languages": result.languages,
        "episodes": [pack_episode(episode) for episode in result.episodes],
        "dangers": [pack_danger(danger) for danger in result.dangers],
    }
    return chat.key.seal(orjson.dumps(packed), context=_context(chat, window))


def seal_shortened(chat: Chat, window: ReadWindow, *, remaining: Window) -> bytes:
    """Return the sealed result of a window whose last messages were removed, with the counts of those that remain."""
    packed = orjson.loads(chat.key.open(window.sealed_result or b"", context=_context(chat, window)))
    packed |= {"months": count_months(remaining), "sample_messages": _count_sample(window, remaining)}
    return chat.key.seal(orjson.dumps(packed), context=_context(chat, window))


def _count_sample(window: ReadWindow, shown: Window) -> int:
    """Return the number of shown messages that belong to the sample; all of them if all of the chat is read."""
    if window.sample_spans is None:
        return len(shown.messages)
    spans = window.sample_spans
    return sum(any(first <= message.number <= last for first, last in spans) for message in shown.messages)


def open_window(chat: Chat, window: ReadWindow) -> ReadPart:
    """Return the result of a window that was read. Raise CannotOpen."""
    packed = orjson.loads(chat.key.open(window.sealed_result or b"", context=_context(chat, window)))
    person_of_sender = chat.people.person_of_sender
    name_of_sender = [chat.participants[person] for person in person_of_sender]
    at: dict[int, datetime] = {}
    if packed["time_zone"] != chat.time_zone:
        # The owner chose another time zone since: times are those that the chat shows now.
        numbers = {number for row in packed["episodes"] for number in (row["first"], row["last"])}
        at = {number: message.sent_at for number, message in TranscriptReader(chat).get(numbers).items()}

    def unpack_episode(row: dict[str, Any]) -> Episode:
        roles: dict[int, tuple[str, ...]] = {}
        for sender, names in row["roles"]:
            person = person_of_sender[sender]
            roles[person] = tuple(dict.fromkeys((*roles.get(person, ()), *names)))
        return Episode(
            kind=row["kind"],
            topic=row["topic"],
            first=row["first"],
            last=row["last"],
            roles=roles,
            strength=row["strength"],
            tone=Tone(row["tone"]),
            subject=restore_labels(row["subject"], name_of_sender),
            shows=tuple(row["shows"]),
            started_at=at.get(row["first"]) or datetime.fromisoformat(row["started_at"]),
            ended_at=at.get(row["last"]) or datetime.fromisoformat(row["ended_at"]),
        )

    def unpack_danger(row: dict[str, Any]) -> Danger:
        person = None if row["person"] is None else person_of_sender[row["person"]]
        return Danger(row["kind"], tuple(row["numbers"]), person, row["current"])

    result = WindowReading(
        # A window that an extension shortened keeps what begins in the part that remains.
        episodes=tuple(unpack_episode(row) for row in packed["episodes"] if row["first"] <= window.last_number),
        dangers=tuple(unpack_danger(row) for row in packed["dangers"] if row["numbers"][0] <= window.last_number),
        relationship=Relationship(packed["relationship"]),
        languages=tuple(packed["languages"]),
        dropped=window.dropped_count,
        tokens_in=window.tokens_in,
        tokens_out=window.tokens_out,
        model=window.model,
    )
    return ReadPart(result, packed["months"], window.spans, window.sample_spans, packed["sample_messages"])


def _context(chat: Chat, window: ReadWindow) -> str:
    return chat.context(f"reading:{window.reading_id}:window:{window.first_number}")


def seal_totals(chat: Chat, reading: ChatReading, totals: Mapping[str, int]) -> bytes:
    """Return the numbers of text messages by month, sealed under the chat's key."""
    return chat.key.seal(orjson.dumps(totals), context=chat.context(f"reading:{reading.pk}:totals"))


def open_totals(chat: Chat, reading: ChatReading) -> dict[str, int]:
    """Return the numbers of text messages by month; empty before the windows are planned."""
    if reading.sealed_totals is None:
        return {}
    totals: dict[str, int] = orjson.loads(
        chat.key.open(reading.sealed_totals, context=chat.context(f"reading:{reading.pk}:totals"))
    )
    return totals


@dataclass(frozen=True, slots=True)
class Summary:
    """What is known of a chat once it was read: what its people are to each other, and the danger in unread messages.

    `listed` has the numbers of messages by kind of danger (insights/reading/unread.py).
    """

    relationship: Relationship = Relationship.UNCLEAR
    listed: Mapping[str, Sequence[int]] = field(default_factory=dict)


def summarize(chat: Chat, reading: ChatReading, *, window_tokens: int) -> bytes:
    """Return the summary of the windows that were read so far, sealed under the chat's key. Raise CannotOpen."""
    read = list(reading.windows.filter(status=ReadWindow.Status.READ).order_by("first_number"))
    summary = {
        "relationship": _agree_on_relationship([open_window(chat, window) for window in read]),
        "listed": unread.find_concerns(chat, read=(window.spans for window in read), window_tokens=window_tokens),
    }
    return chat.key.seal(orjson.dumps(summary), context=chat.context(f"reading:{reading.pk}:summary"))


def open_summary(chat: Chat, reading: ChatReading) -> Summary:
    """Return the summary of a reading that is complete. Raise CannotOpen."""
    if reading.sealed_summary is None:
        return Summary()
    packed = orjson.loads(chat.key.open(reading.sealed_summary, context=chat.context(f"reading:{reading.pk}:summary")))
    return Summary(Relationship(packed["relationship"]), packed["listed"])


def find_completed(chat: Chat) -> ChatReading | None:
    """Return the reading of the chat by the current engine, or None if it has not finished reading it."""
    reader = current_reader()
    if reader is None:
        return None
    completed = ChatReading.objects.filter(chat=chat.pk, status=ChatReading.Status.COMPLETED, **reader._asdict())
    return completed.first()


def load_relationship(chat: Chat) -> Relationship:
    """Return what the chat's people are to each other, UNCLEAR until it was read. Opens nothing else of the reading."""
    reading = find_completed(chat)
    return open_summary(chat, reading).relationship if reading is not None else Relationship.UNCLEAR


def load(chat: Chat) -> Reading | None:
    """Return what the current engine found in the chat, or None if it has not finished reading it."""
    reading = find_completed(chat)
    if reading is None:
        return None
    windows = list(reading.windows.order_by("first_number"))
    parts = [open_window(chat, window) for window in windows if window.status == ReadWindow.Status.READ]
    return combine(
        parts,
        reading=reading,
        totals=open_totals(chat, reading),
        windows_failed=sum(window.status == ReadWindow.Status.FAILED for window in windows),
        listed=open_summary(chat, reading).listed,
    )


def combine(
    parts: Sequence[ReadPart],
    *,
    reading: ChatReading,
    totals: Mapping[str, int],
    windows_failed: int,
    listed: Mapping[str, Sequence[int]] = MappingProxyType({}),
) -> Reading:
    """Return the reading that the results of the windows add up to. Pure.

    `listed` are the numbers of unread messages that may speak of danger, by kind.
    """
    dangers = [danger for part in parts for danger in part.result.dangers]
    dangers += [
        Danger(kind, (number,), None, current=True, is_listed=True)
        for kind, numbers in listed.items()
        for number in numbers
    ]
    read: Counter[str] = Counter()
    for part in parts:
        read.update(part.months)
    models = dict.fromkeys(part.result.model for part in parts if part.result.model)
    sample: tuple[tuple[int, int], ...] | None = None
    if any(part.sample is not None for part in parts):
        # What was read before the chat outgrew the budget is in the sample completely.
        spans = (span for part in parts for span in (part.spans if part.sample is None else part.sample))
        sample = tuple(sorted((first, last) for first, last in spans))
    return Reading(
        episodes=tuple(merge_episodes(episode for part in parts for episode in part.result.episodes)),
        dangers=tuple(dict.fromkeys(dangers)),
        relationship=_agree_on_relationship(parts),
        languages=_find_languages(parts),
        months={month: MonthRead(min(read[month], total), total) for month, total in sorted(totals.items())},
        messages_read=sum(read.values()),
        messages_total=sum(totals.values()),
        windows_read=len(parts),
        windows_failed=windows_failed,
        tokens_in=sum(part.result.tokens_in for part in parts),
        tokens_out=sum(part.result.tokens_out for part in parts),
        dropped=sum(part.result.dropped for part in parts),
        engine=reading.engine,
        # As the provider names it, if it does.
        model=", ".join(models) or reading.model,
        version=reading.version,
        up_to_message=reading.up_to_message or 0,
        sample=sample,
        sample_messages=None if sample is None else sum(part.sample_messages for part in parts),
    )


def merge_episodes(episodes: Iterable[Episode]) -> list[Episode]:
    """Return the episodes in order. Overlapping ones of the same kind, tone and people become one."""
    merged: dict[tuple[str, Tone, frozenset[int]], list[Episode]] = {}
    for episode in sorted(episodes, key=lambda each: (each.first, each.last)):
        same = merged.setdefault((episode.kind, episode.tone, frozenset(episode.roles)), [])
        if same and episode.first <= same[-1].last:
            same[-1] = _join(same[-1], episode)
        else:
            same.append(episode)
    joined = (episode for same in merged.values() for episode in same)
    return sorted(joined, key=lambda each: (each.first, each.last, each.kind))


def _join(earlier: Episode, later: Episode) -> Episode:
    longest = max(earlier, later, key=lambda each: each.last)
    strongest = max(earlier, later, key=lambda each: each.strength)
    shows = dict.fromkeys((*strongest.shows, *earlier.shows, *later.shows))
    return replace(
        strongest,
        first=earlier.first,
        last=longest.last,
        roles={
            person: tuple(dict.fromkeys((*earlier.roles[person], *later.roles[person]))) for person in earlier.roles
        },
        shows=tuple(sorted(list(shows)[:MAX_SHOWN])),
        started_at=earlier.started_at,
        ended_at=longest.ended_at,
    )


def _agree_on_relationship(parts: Sequence[ReadPart]) -> Relationship:
    """Return what most windows say, by their messages, or UNCLEAR if they do not agree."""
    weights: Counter[Relationship] = Counter()
    for part in parts:
        weights[part.result.relationship] += part.messages
    total = weights.total()
    relationship, weight = max(weights.items(), key=lambda item: item[1], default=(Relationship.UNCLEAR, 0))
    return relationship if weight >= MIN_AGREEMENT * total else Relationship.UNCLEAR


def _find_languages(parts: Sequence[ReadPart]) -> tuple[str, ...]:
    """Return the languages of the chat, the most frequent first."""
    weights: Counter[str] = Counter()
    for part in parts:
        for language in part.result.languages:
            weights[language] += part.messages
    total = sum(part.messages for part in parts)
    return tuple(language for language, weight in weights.most_common() if weight >= MIN_LANGUAGE_SHARE * total)
