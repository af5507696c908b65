"""Counted numbers by name: how each is read from a chat's statistics, with its label and unit.

A definition names facts; the brief contains their values. A value that the statistics do not have, such as the reply
time of a person who never replied, is left out: it is not zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Statistics = Mapping[str, Any]
Value = float | int


@dataclass(frozen=True, slots=True)
class Measure:
    """`chat_value` reads the chat's value, `person_value` one person's from their own statistics and the chat's.

    `adds_up`: the sum of several people's values is their value together, which is not so for averages and rates.
    """

    label: str
    unit: str
    chat_value: Callable[[Statistics], Value | None] | None = None
    person_value: Callable[[Statistics, Statistics], Value | None] | None = None
    adds_up: bool = False

    def read_people(self, statistics: Statistics, names: tuple[str, ...]) -> dict[int, Value]:
        """Return the people's values by their index in `names`; people without a value are left out."""
        if self.person_value is None:
            return {}
        by_name: Mapping[str, Statistics] = statistics.get("user_stats") or {}
        values = {
            person: self.person_value(by_name[name], statistics) for person, name in enumerate(names) if name in by_name
        }
        return {person: value for person, value in values.items() if value is not None}

    def read_chat(self, statistics: Statistics) -> Value | None:
        """Return the whole chat's value, or None if there is none."""
        return self.chat_value(statistics) if self.chat_value else None


def _get_number(table: Statistics, key: str) -> Value | None:
    value = table.get(key)
    # bool is an int in Python, and no count.
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _person_value(key: str) -> Callable[[Statistics, Statistics], Value | None]:
    return lambda person, chat: _get_number(person, key)


def _chat_value(key: str) -> Callable[[Statistics], Value | None]:
    return lambda chat: _get_number(chat, key)


def _share(key: str, *, total_key: str) -> Callable[[Statistics, Statistics], Value | None]:
    """Read one person's part of the chat's total, in percent; None if the total is 0."""

    def read(person: Statistics, chat: Statistics) -> Value | None:
        total = _get_number(chat, total_key)
        return round(100 * (_get_number(person, key) or 0) / total, 1) if total else None

    return read


def _per_hundred(key: str) -> Callable[[Statistics, Statistics], Value | None]:
    """Read a count per hundred messages of the person; None if they wrote none."""

    def read(person: Statistics, chat: Statistics) -> Value | None:
        messages = _get_number(person, "message_count")
        return round(100 * (_get_number(person, key) or 0) / messages, 1) if messages else None

    return read


FACTS: Mapping[str, Measure] = {
    "messages": Measure(
        "Messages", "messages", _chat_value("total_messages"), _person_value("message_count"), adds_up=True
    ),
    "message_share": Measure(
        "Share of the messages",
        "percent",
        person_value=_share("message_count", total_key="total_messages"),
        adds_up=True,
    ),
    "word_share": Measure(
        "Share of the words", "percent", person_value=_share("word_count", total_key="total_words"), adds_up=True
    ),
    "words_per_message": Measure("Words per message", "words", person_value=_person_value("avg_words_per_message")),
    "conversation_starts": Measure(
        "Conversations started", "conversations", person_value=_person_value("conversation_initiations"), adds_up=True
    ),
    "conversation_start_share": Measure(
        "Share of the conversations started",
        "percent",
        person_value=_person_value("conversation_initiations_percent"),
        adds_up=True,
    ),
    "reply_median_seconds": Measure(
        "Typical time to reply", "seconds", person_value=_person_value("median_response_time_seconds")
    ),
    "reply_average_seconds": Measure(
        "Average time to reply", "seconds", person_value=_person_value("avg_response_time_seconds")
    ),
    "questions": Measure(
        "Messages with a question", "messages", person_value=_person_value("questions_asked"), adds_up=True
    ),
    "question_share": Measure(
        "Share of the questions asked",
        "percent",
        person_value=_share("questions_asked", total_key="questions_count"),
        adds_up=True,
    ),
    "question_rate": Measure(
        "Questions per hundred messages", "per_hundred", person_value=_per_hundred("questions_asked")
    ),
    "double_texting": Measure(
        "Turns of two messages or more", "percent", person_value=_person_value("double_texting_rate")
    ),
    "media": Measure(
        "Photos, videos and other media", "messages", person_value=_person_value("media_shared"), adds_up=True
    ),
    "media_rate": Measure("Media per hundred messages", "per_hundred", person_value=_per_hundred("media_shared")),
    "links": Measure("Links shared", "links", person_value=_person_value("links_shared"), adds_up=True),
    "messages_per_day": Measure("Messages a day", "messages_per_day", _chat_value("messages_per_day_avg")),
    "days": Measure("Days from first to last message", "days", _chat_value("total_days")),
}
