"""The interface of an engine: the brief it receives, the draft it returns, and the errors it raises.

No module here imports pydantic: the web process only needs an engine's languages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from insights.translation import Language, get_language
from relivchats.language_models.errors import (
    EngineError,
    EngineMisconfigured,
    EngineRateLimited,
    EngineRefused,
    EngineUnavailable,
    UnusableAnswer,
)

if TYPE_CHECKING:
    from insights.definition import Definition, Section, Signal
    from insights.episodes import Episode, Reading, Window, WindowReading

__all__ = [
    "Brief",
    "CitedExchange",
    "Conversation",
    "Draft",
    "Engine",
    "EngineError",
    "EngineMisconfigured",
    "EngineRateLimited",
    "EngineRefused",
    "EngineUnavailable",
    "Fact",
    "PersonDraft",
    "ReadingEngine",
    "RecommendationDraft",
    "RecurringWord",
    "SectionBrief",
    "SectionDraft",
    "ShownMessage",
    "UnusableAnswer",
]


@dataclass(frozen=True, slots=True)
class ShownMessage:
    """A text message that the engine may cite. `person` is an index of `Brief.people`; `sent_at` is wall-clock time.

    A forwarded message is shown for its context and never cited: its words are somebody else's.
    """

    number: int
    sent_at: datetime
    person: int
    text: str
    forwarded: bool = False


@dataclass(frozen=True, slots=True)
class Conversation:
    """Consecutive messages, or a part of them that retrieval selected."""

    messages: tuple[ShownMessage, ...]

    @property
    def numbers(self) -> frozenset[int]:
        """The numbers of the messages."""
        return frozenset(message.number for message in self.messages)


@dataclass(frozen=True, slots=True)
class Fact:
    """A counted number. `person` is None for the whole chat; `unit` is, for example, `percent` or `seconds`.

    `name` is one of `insights.facts.FACTS`, `mentions` and `mentions.<group>` for counted mentions, or `read.<kind>`
    for episodes. `source` says whether it was counted in words and times, or in what a model read.
    """

    name: str
    label: str
    person: int | None
    value: float | int
    unit: str
    source: Literal["counted", "read"] = "counted"


@dataclass(frozen=True, slots=True)
class RecurringWord:
    """A word or name that is not common and that people use again and again, as they write it.

    `first` is the number of the first message of the chat that contains it, `later` of one from the second half.
    """

    word: str
    days: int
    first: int
    later: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class SectionBrief:
    """The material of one section.

    `mentions` counts, per person, the text messages of the whole chat that contain one of the section's terms;
    `groups` has the same for each group, by key. Both are empty for a section without terms. `recurring_words` is
    filled if the section's signal uses them.

    `episodes` are those that the section asks for, in the order of the chat, or None if it is not answered by reading.
    Then `mentions` and `groups` count episodes instead of messages, and `total` and `group_totals` count each episode
    once, however many people have a part in it. Rates use `sample_mentions` and `sample_total`, which count only the
    sample of a chat that was read in part (`Reading.sample`).
    """

    section: Section
    facts: tuple[Fact, ...]
    conversations: tuple[Conversation, ...]
    mentions: tuple[int, ...] = ()
    groups: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    recurring_words: tuple[RecurringWord, ...] = ()
    episodes: tuple[Episode, ...] | None = None
    total: int = 0
    group_totals: Mapping[str, int] = field(default_factory=dict)
    sample_mentions: tuple[int, ...] | None = None
    sample_total: int | None = None

    @property
    def signal(self) -> Signal | None:
        """The signal that rates the section from this material."""
        reading = self.section.reading
        return reading.signal if self.episodes is not None and reading and reading.signal else self.section.signal

    @property
    def group_keys(self) -> tuple[str, ...]:
        """The keys of the groups that are counted."""
        if self.episodes is not None and self.section.reading:
            return tuple(group.key for group in self.section.reading.groups)
        return tuple(group.key for group in self.section.groups)

    @property
    def sentences(self) -> Mapping[str, str]:
        """A sentence for each rating."""
        if self.episodes is not None and self.section.reading:
            return {**self.section.sentences, **self.section.reading.sentences}
        return self.section.sentences

    def values_by_person(self, fact: str) -> dict[int, float]:
        """Return a fact's values by person."""
        return {row.person: row.value for row in self.facts if row.name == fact and row.person is not None}

    def chat_value(self, fact: str) -> float | None:
        """Return a fact's value for the whole chat, or None if it has none."""
        return next((row.value for row in self.facts if row.name == fact and row.person is None), None)


@dataclass(frozen=True, slots=True)
class Brief:
    """Everything that an engine may know about a chat: the server's facts and the messages it is shown.

    `message_counts` has each person's number of messages; of a chat that was read in part, those of its sample.
    `concerns` counts the messages of the whole chat that speak of violence, coercion or self-harm, by kind
    (insights/safety.py), and `concerning` has their numbers: they are quoted nowhere. `reading` is what a model read;
    None for an engine that counts. `other_names` are further names of the people, by their index.
    """

    title: str
    purpose: str
    definition: Definition
    language: str
    people: tuple[str, ...]
    message_counts: tuple[int, ...]
    sections: tuple[SectionBrief, ...]
    statistics: Mapping[str, Any]
    messages_total: int
    concerns: Mapping[str, int] = field(default_factory=dict)
    concerning: frozenset[int] = frozenset()
    reading: Reading | None = None
    other_names: Mapping[str, int] = field(default_factory=dict)

    @property
    def wording(self) -> Language:
        """The language that the insight is written in."""
        return get_language(self.language)

    @property
    def withheld(self) -> frozenset[str]:
        """The keys of the sections that are not answered next to the danger that the chat speaks of."""
        return frozenset(
            section.key
            for section in self.definition.sections
            if self.concerns and (section.sensitive or self.concerns.keys() & set(section.withheld_for))
        )

    def shown_messages(self) -> dict[int, ShownMessage]:
        """Return the messages of all sections by number: those that a draft may cite."""
        return {
            message.number: message
            for section in self.sections
            for conversation in section.conversations
            for message in conversation.messages
        }


@dataclass(frozen=True, slots=True)
class CitedExchange:
    """Messages to quote together, by number only: text, sender and time come from the transcript."""

    context: str
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PersonDraft:
    """A section's rating of one person and a note on it."""

    person: int
    rating: str | None
    note: str


@dataclass(frozen=True, slots=True)
class SectionDraft:
    """A section's rating, finding and citations."""

    rating: str | None
    finding: str
    people: tuple[PersonDraft, ...] = ()
    evidence: tuple[CitedExchange, ...] = ()


@dataclass(frozen=True, slots=True)
class RecommendationDraft:
    """Something that the people, given as indexes, could do."""

    title: str
    people: tuple[int, ...]
    suggestion: str
    why: str
    example: str


@dataclass(frozen=True, slots=True)
class Draft:
    """An engine's answer before its citations are checked.

    `sections` is keyed by the section's key. `facts` replaces the facts of sections whose episodes were refuted.
    `usage` has further token counts by name, and `verification` counts the claims that were checked: `asked`,
    `confirmed`, `refuted`, and `unsupported` for sentences that were removed before.
    """

    score: int | None
    summary: str
    sections: Mapping[str, SectionDraft]
    recommendations: tuple[RecommendationDraft, ...]
    tokens_in: int = 0
    tokens_out: int = 0
    usage: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, tuple[Fact, ...]] = field(default_factory=dict)
    verification: Mapping[str, int] = field(default_factory=dict)


class Engine(Protocol):
    """Writes insights. All threads of a process share one instance."""

    name: str
    model: str
    prompt_version: str
    #: Codes of the languages in which it writes findings; the first is the default.
    languages: tuple[str, ...]
    #: How it knows what it writes: "counted" from words and times, or "read".
    method: Literal["counted", "read"]
    #: The languages of chats that it can judge, as `language_mix` names them; None for all.
    chat_languages: frozenset[str] | None

    def write(self, brief: Brief) -> Draft:
        """Return a draft. Raise EngineError; its attributes decide whether the insight is attempted again."""
        ...


class ReadingEngine(Engine, Protocol):
    """An engine that reads a chat once, window by window, before it writes insights. Its method is "read"."""

    reading_model: str
    #: Tokens of messages in one window, and windows that are read at the same time for one chat.
    window_tokens: int
    parallel_windows: int
    #: Tokens of conversations that one insight is written from.
    write_tokens: int

    def read(
        self, window: Window, *, people: Sequence[str], other_names: Mapping[str, int] = MappingProxyType({})
    ) -> WindowReading:
        """Return what the model found in a window. Raise EngineError. Called from several threads at once.

        `other_names` are further names of the people, by their index, that are replaced too.
        """
        ...
