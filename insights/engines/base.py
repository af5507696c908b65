"""What an engine is given, what it gives back, and the ways in which it may fail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from insights.definition import Definition, Section


@dataclass(frozen=True, slots=True)
class ShownMessage:
    """A text message that the engine may cite. `person` indexes `Brief.people`; `sent_at` is wall-clock time."""

    number: int
    sent_at: datetime
    person: int
    text: str


@dataclass(frozen=True, slots=True)
class Conversation:
    messages: tuple[ShownMessage, ...]


@dataclass(frozen=True, slots=True)
class Fact:
    """A counted number. `person` is None for the whole chat; `unit` is such as `percent`, `seconds`, `messages`.

    `name` is one of `insights.facts.FACTS`, or `mentions` and `mentions.<group>` for counted mentions.
    """

    name: str
    label: str
    person: int | None
    value: float | int
    unit: str


@dataclass(frozen=True, slots=True)
class RecurringWord:
    """A word or name that is no ordinary word and that people keep coming back to, as they write it.

    `first` and `later` are numbers of messages that hold it: the first of the
    chat, and one from its second half.
    """

    word: str
    days: int
    first: int
    later: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class SectionBrief:
    """One section's material.

    `mentions` counts, per person, the text messages of the whole chat that hold
    one of the section's terms; `groups` the same for each of its groups, by key.
    Both are empty where the section has no terms. `recurring` is filled where
    the section's signal asks for it.
    """

    section: Section
    facts: tuple[Fact, ...]
    conversations: tuple[Conversation, ...]
    mentions: tuple[int, ...] = ()
    groups: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    recurring: tuple[RecurringWord, ...] = ()

    def figures(self, fact: str) -> dict[int, float]:
        """A fact's values by person."""
        return {row.person: row.value for row in self.facts if row.name == fact and row.person is not None}

    def figure(self, fact: str) -> float | None:
        """A fact's value for the whole chat."""
        return next((row.value for row in self.facts if row.name == fact and row.person is None), None)


@dataclass(frozen=True, slots=True)
class Brief:
    """Everything an engine may know of a chat: the server's facts and the messages it was shown, no more.

    `written` counts each person's messages. `concerns` counts the messages of
    the whole chat that may speak of violence, coercion or self-harm, by kind
    (insights/safety.py): where there are any, no score is given.
    """

    title: str
    purpose: str
    definition: Definition
    language: str
    people: tuple[str, ...]
    written: tuple[int, ...]
    sections: tuple[SectionBrief, ...]
    statistics: Mapping[str, Any]
    messages_total: int
    concerns: Mapping[str, int] = field(default_factory=dict)

    def shown(self) -> dict[int, ShownMessage]:
        return {
            message.number: message
            for section in self.sections
            for conversation in section.conversations
            for message in conversation.messages
        }


@dataclass(frozen=True, slots=True)
class CitedExchange:
    """Messages quoted together, by number only: text, speaker and time come from the transcript."""

    context: str
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PersonDraft:
    person: int
    rating: str | None
    note: str


@dataclass(frozen=True, slots=True)
class SectionDraft:
    rating: str | None
    finding: str
    people: tuple[PersonDraft, ...] = ()
    evidence: tuple[CitedExchange, ...] = ()


@dataclass(frozen=True, slots=True)
class RecommendationDraft:
    title: str
    people: tuple[int, ...]
    suggestion: str
    why: str
    example: str


@dataclass(frozen=True, slots=True)
class Draft:
    """An engine's answer before its citations are checked.

    `sections` is keyed by the section's key; `language` is that of the
    findings where it is not the one that was asked for.
    """

    score: int | None
    rating: str
    summary: str
    sections: Mapping[str, SectionDraft]
    recommendations: tuple[RecommendationDraft, ...]
    tokens_in: int = 0
    tokens_out: int = 0
    language: str = ""


class Engine(Protocol):
    """Writes insights. One object serves all threads of a process."""

    name: str
    model: str
    prompt_version: str
    #: Codes of the languages it writes findings in; the first is the usual one.
    languages: tuple[str, ...]

    def write(self, brief: Brief) -> Draft:
        """Raises EngineError, whose kind decides what happens next."""
        ...


class EngineError(Exception):
    """`code` goes into the insight's row and the logs; it never holds chat text."""

    code = "engine_error"
    #: whether this try counts against the attempts
    uses_attempt = True
    #: whether another try may succeed
    may_retry = True

    def __init__(self, code: str = "") -> None:
        self.code = code or self.code
        super().__init__(self.code)


class EngineRateLimited(EngineError):
    """Too many calls in a minute: the provider says when to come back."""

    code = "rate_limited"
    uses_attempt = False

    def __init__(self, *, retry_after_seconds: float) -> None:
        super().__init__()
        self.retry_after_seconds = retry_after_seconds


class EngineUnavailable(EngineError):
    """The provider did not answer, or answered with a fault of its own."""

    code = "engine_unavailable"


class UnusableAnswer(EngineError):
    """An answer came, but it is malformed or too little of its evidence stands in the chat."""

    code = "unusable_answer"


class EngineRefused(EngineError):
    """The provider will not answer this request; asking again changes nothing."""

    code = "engine_refused"
    may_retry = False
