"""Counted numbers by name: how each is read from a chat's statistics, and what it is called.

A definition names facts; briefing puts their values in. A figure that the
statistics do not hold, such as the reply time of a person who never replied,
is left out: it is not zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Statistics = Mapping[str, Any]
Figure = float | int


@dataclass(frozen=True, slots=True)
class Measure:
    """`of_chat` reads the whole chat's figure, `of_person` one person's from their own statistics and the chat's."""

    label: str
    unit: str
    of_chat: Callable[[Statistics], Figure | None] | None = None
    of_person: Callable[[Statistics, Statistics], Figure | None] | None = None

    def people(self, statistics: Statistics, names: tuple[str, ...]) -> dict[int, Figure]:
        """Figures by the person's place in `names`; whoever has none is left out."""
        if self.of_person is None:
            return {}
        persons: Mapping[str, Statistics] = statistics.get("user_stats") or {}
        figures = {
            person: self.of_person(persons[name], statistics) for person, name in enumerate(names) if name in persons
        }
        return {person: figure for person, figure in figures.items() if figure is not None}

    def chat(self, statistics: Statistics) -> Figure | None:
        return self.of_chat(statistics) if self.of_chat else None


def _number(table: Statistics, key: str) -> Figure | None:
    value = table.get(key)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _own(key: str) -> Callable[[Statistics, Statistics], Figure | None]:
    return lambda person, chat: _number(person, key)


def _whole(key: str) -> Callable[[Statistics], Figure | None]:
    return lambda chat: _number(chat, key)


def _share(key: str, *, of: str) -> Callable[[Statistics, Statistics], Figure | None]:
    """One person's part of everybody's, in percent; none where nobody has any."""

    def share(person: Statistics, chat: Statistics) -> Figure | None:
        total = _number(chat, of)
        return round(100 * (_number(person, key) or 0) / total, 1) if total else None

    return share


def _per_hundred(key: str) -> Callable[[Statistics, Statistics], Figure | None]:
    def rate(person: Statistics, chat: Statistics) -> Figure | None:
        messages = _number(person, "message_count")
        return round(100 * (_number(person, key) or 0) / messages, 1) if messages else None

    return rate


FACTS: Mapping[str, Measure] = {
    "messages": Measure("Messages", "messages", _whole("total_messages"), _own("message_count")),
    "message_share": Measure(
        "Share of the messages", "percent", of_person=_share("message_count", of="total_messages")
    ),
    "word_share": Measure("Share of the words", "percent", of_person=_share("word_count", of="total_words")),
    "words_per_message": Measure("Words per message", "words", of_person=_own("avg_words_per_message")),
    "conversation_starts": Measure(
        "Conversations started", "conversations", of_person=_own("conversation_initiations")
    ),
    "conversation_start_share": Measure(
        "Share of the conversations started", "percent", of_person=_own("conversation_initiations_percent")
    ),
    "reply_median_seconds": Measure("Typical time to reply", "seconds", of_person=_own("median_response_time_seconds")),
    "reply_average_seconds": Measure("Average time to reply", "seconds", of_person=_own("avg_response_time_seconds")),
    "questions": Measure("Messages with a question", "messages", of_person=_own("questions_asked")),
    "question_share": Measure(
        "Share of the questions asked", "percent", of_person=_share("questions_asked", of="questions_count")
    ),
    "question_rate": Measure(
        "Questions per hundred messages", "per_hundred", of_person=_per_hundred("questions_asked")
    ),
    "double_texting": Measure("Turns of two messages or more", "percent", of_person=_own("double_texting_rate")),
    "media": Measure("Photos, videos and other media", "messages", of_person=_own("media_shared")),
    "media_rate": Measure("Media per hundred messages", "per_hundred", of_person=_per_hundred("media_shared")),
    "links": Measure("Links shared", "links", of_person=_own("links_shared")),
    "messages_per_day": Measure("Messages a day", "messages_per_day", of_chat=_whole("messages_per_day_avg")),
    "days": Measure("Days from first to last message", "days", of_chat=_whole("total_days")),
}
