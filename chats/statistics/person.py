"""What one person did in a chat."""

from __future__ import annotations

from typing import Any

from chats.exports.parsed import Kind
from chats.statistics.rhythm import Turns, mean, median, moment, quantile
from chats.statistics.words import Vocabulary

TOP_WORDS, TOP_EMOJIS = 50, 40
LONGEST_CHARS = 500


class Person:
    """`written` counts the messages with words of the person's own: texts and captions."""

    __slots__ = (
        "chars", "edits", "hours", "kinds", "links", "longest", "longest_at", "messages", "questions", "turns",
        "vocabulary", "written",
    )  # fmt: skip

    def __init__(self) -> None:
        self.messages = 0
        self.written = 0
        self.chars = 0
        self.questions = 0
        self.links = 0
        self.edits = 0
        self.kinds = [0] * len(Kind)
        self.hours = [0] * 24
        self.longest = ""
        self.longest_at = 0
        self.turns = Turns()
        self.vocabulary = Vocabulary()

    def merge(self, other: Person) -> None:
        self.messages += other.messages
        self.written += other.written
        self.chars += other.chars
        self.questions += other.questions
        self.links += other.links
        self.edits += other.edits
        self.kinds = [mine + theirs for mine, theirs in zip(self.kinds, other.kinds, strict=True)]
        self.hours = [mine + theirs for mine, theirs in zip(self.hours, other.hours, strict=True)]
        if len(other.longest) > len(self.longest):
            self.longest, self.longest_at = other.longest, other.longest_at
        self.turns.merge(other.turns)
        self.vocabulary.merge(other.vocabulary)

    def figures(self, conversations: int) -> dict[str, Any]:
        usage = self.vocabulary.usage()
        turns = self.turns
        return {
            "message_count": self.messages,
            "word_count": usage.total_words,
            "avg_words_per_message": ratio(usage.total_words, self.written),
            "avg_message_length_chars": ratio(self.chars, self.written),
            "deleted_messages": self.kinds[Kind.DELETED],
            "media_shared": self.kinds[Kind.MEDIA],
            "links_shared": self.links,
            "calls": self.kinds[Kind.CALL],
            "edited_messages": self.edits,
            "conversation_initiations": turns.starts,
            "conversation_initiations_percent": percent(turns.starts, conversations),
            "double_texting_rate": percent(turns.double_runs, turns.runs),
            "questions_asked": self.questions,
            **response_times(turns),
            "top_words": usage.top_words(TOP_WORDS),
            "top_emojis": usage.top_emojis(TOP_EMOJIS),
            "busiest_hour": busiest(self.hours),
            "hourly_distribution": self.hours,
            "longest_message": self._longest(),
        }

    def _longest(self) -> dict[str, Any] | None:
        if not self.longest:
            return None
        vocabulary = Vocabulary()
        vocabulary.add(self.longest)
        return {
            "word_count": vocabulary.usage().total_words,
            "char_count": len(self.longest),
            "timestamp": moment(self.longest_at),
            "message": self.longest[:LONGEST_CHARS],
        }


def merged(people: list[Person]) -> Person:
    together = Person()
    for person in people:
        together.merge(person)
    return together


def response_times(turns: Turns) -> dict[str, Any]:
    return {
        "responses": turns.gaps.total(),
        "avg_response_time_seconds": mean(turns.gaps),
        "median_response_time_seconds": median(turns.gaps),
        "p90_response_time_seconds": quantile(turns.gaps, 0.9),
    }


def busiest(counts: list[int]) -> int | None:
    """The position of the largest count, the earliest of equals."""
    return counts.index(max(counts)) if any(counts) else None


def ratio(amount: int, of: int) -> float:
    return round(amount / of, 2) if of else 0.0


def percent(amount: int, of: int) -> float:
    return round(100 * amount / of, 1) if of else 0.0
