"""Answers of language models: the JSON schemas that a model is given, and what its answers become.

One pydantic model per definition does both for a draft, so an answer that follows the schema is accepted. In the answer
for a window of a chat, an invalid entry is dropped and counted, and the others stay. The schemas keep to what
Gemini and OpenAI-compatible servers allow in structured output: every property is required, unknown properties are not
allowed, and there are no references, no bounds and no maximum lengths. `document.build_document` limits the number of
quoted exchanges afterwards, and checks people and message numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from insights.definition import Definition
from insights.engines.base import CitedExchange, Draft, PersonDraft, RecommendationDraft, SectionDraft, UnusableAnswer
from insights.episodes import (
    KINDS,
    MAX_SHOWN,
    MAX_SUBJECT_LENGTH,
    ROLES,
    TOPICS,
    Danger,
    Episode,
    Relationship,
    Tone,
    Window,
    WindowReading,
)
from insights.json_schema import flat_schema
from insights.safety import CONCERNS
from insights.scales import NOT_ENOUGH_DATA

#: People whom the schema of a reading lists. In a bigger group, any text is allowed and checked afterwards: an enum of
#: hundreds of people would exceed the providers' limits.
MAX_LISTED_PEOPLE = 30
_MAX_LANGUAGES = 5
_OTHER = "other"
_TONES = frozenset(map(str, Tone))

#: Control characters, line and paragraph separators, and marks that change the reading direction.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]+")
_LANGUAGE = re.compile(r"[A-Za-z][A-Za-z -]{1,29}")


class _AnswerPart(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Exchange(_AnswerPart):
    context: str
    numbers: list[int]


class _Recommendation(_AnswerPart):
    title: str
    people: list[int]
    suggestion: str
    why: str
    example: str


class _Answer(_AnswerPart):
    """The part of an answer that is the same for all definitions. People are indexes of `Brief.people`."""

    # No bounds: the server checks the score, and Gemini limits how many bounds a schema has.
    score: int | None
    summary: str
    recommendations: list[_Recommendation]
    sections: Any


def answer_schema(definition: Definition) -> dict[str, Any]:
    """Return the JSON schema of an answer: for each section a finding and, as defined, ratings and evidence."""
    return flat_schema(_answer_model(definition))


def parse_answer(answer: str | bytes, definition: Definition, *, tokens_in: int = 0, tokens_out: int = 0) -> Draft:
    """Return an answer in JSON as a draft. Raise UnusableAnswer if it does not follow the schema."""
    try:
        parsed = _answer_model(definition).model_validate_json(answer)
    except ValidationError:
        # Not chained: the text of a validation error contains values of the answer, and so text of the chat.
        raise UnusableAnswer("malformed_answer") from None
    sections = {}
    for index, section in enumerate(definition.sections):
        part = getattr(parsed.sections, f"section_{index}")
        sections[section.key] = SectionDraft(
            rating=getattr(part, "rating", None),
            finding=part.finding,
            people=tuple(PersonDraft(row.person, row.rating, row.note) for row in getattr(part, "people", ())),
            evidence=tuple(
                CitedExchange(exchange.context, tuple(exchange.numbers)) for exchange in getattr(part, "evidence", ())
            ),
        )
    recommendations = (
        RecommendationDraft(row.title, tuple(row.people), row.suggestion, row.why, row.example)
        for row in parsed.recommendations
    )
    return Draft(parsed.score, parsed.summary, sections, tuple(recommendations), tokens_in, tokens_out)


def _answer_model(definition: Definition) -> type[_Answer]:
    """Return the model of an answer. Fields are numbered, because a key can be a name that pydantic reserves."""
    parts: dict[str, Any] = {}
    for index, section in enumerate(definition.sections):
        fields: dict[str, Any] = {"finding": (str, ...)}
        if section.scale:
            rating: Any = Literal.__getitem__((*section.scale, NOT_ENOUGH_DATA))
            fields["rating"] = (rating, ...)
            # One enum per section costs little, and keeps a weak model from mixing up the scales.
            if section.per_person:
                person: Any = create_model(
                    "Person", __base__=_AnswerPart, person=(int, ...), rating=(rating, ...), note=(str, ...)
                )
                fields["people"] = (list[person], ...)
        if section.evidence.max:
            fields["evidence"] = (list[_Exchange], ...)
        part = create_model("Section", __base__=_AnswerPart, **fields)
        parts[f"section_{index}"] = (part, Field(alias=section.key))
    sections = create_model("Sections", __base__=_AnswerPart, **parts)
    return create_model("Answer", __base__=_Answer, sections=(sections, ...))


class _RolePart(_AnswerPart):
    person: str
    role: str


class _EpisodePart(_AnswerPart):
    kind: str
    topic: str
    first: int
    last: int
    roles: list[Any]
    strength: int
    tone: str
    subject: str
    shows: list[Any]


class _DangerPart(_AnswerPart):
    kind: str
    numbers: list[Any]
    person: str
    current: bool


class _ReadingAnswer(_AnswerPart):
    """The answer for a window, down to the lists. Their entries are validated one by one."""

    relationship: str
    languages: list[Any]
    episodes: list[Any]
    dangers: list[Any]


def reading_schema(people_count: int) -> dict[str, Any]:
    """Return the JSON schema of the answer for a window of a chat of so many people: P1, P2 and so on."""
    return flat_schema(_reading_model(min(people_count, MAX_LISTED_PEOPLE + 1)))


def parse_reading(
    answer: str | bytes,
    window: Window,
    *,
    people_count: int,
    tokens_in: int = 0,
    tokens_out: int = 0,
    model: str = "",
) -> WindowReading:
    """Return what an answer says about a window. Raise UnusableAnswer if it is not JSON of the expected shape.

    An episode or a danger is kept if its members are of the closed lists, its people are in the chat and its messages
    were shown. Messages that show an episode are within it and not forwarded. All else is dropped and counted.
    """
    try:
        parsed = _ReadingAnswer.model_validate_json(answer)
    except ValidationError:
        # Not chained: the text of a validation error contains values of the answer, and so text of the chat.
        raise UnusableAnswer("malformed_answer") from None
    checked = _WindowCheck(window, people_count)
    episodes = tuple(checked.episodes(parsed.episodes))
    dangers = tuple(checked.dangers(parsed.dangers))
    return WindowReading(
        episodes=episodes,
        dangers=dangers,
        relationship=checked.relationship(parsed.relationship),
        languages=checked.languages(parsed.languages),
        dropped=checked.dropped,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        model=model,
    )


class _WindowCheck:
    """Checks the entries of an answer against the window that it is about. `dropped` counts those that are invalid."""

    def __init__(self, window: Window, people_count: int) -> None:
        self.dropped = 0
        self._shown = {message.number: message for message in window.messages}
        self._forwarded = window.forwarded
        self._people = {f"P{index + 1}": index for index in range(people_count)}

    def episodes(self, entries: list[Any]) -> Iterator[Episode]:
        found: set[tuple[str, int, int, frozenset[int]]] = set()
        for entry in entries:
            episode = self._episode(entry)
            if episode is not None:
                identity = (episode.kind, episode.first, episode.last, frozenset(episode.roles))
                if identity not in found:
                    found.add(identity)
                    yield episode
                    continue
            self.dropped += 1

    def dangers(self, entries: list[Any]) -> Iterator[Danger]:
        found: set[Danger] = set()
        for entry in entries:
            danger = self._danger(entry)
            if danger is not None and danger not in found:
                found.add(danger)
                yield danger
            else:
                self.dropped += 1

    def relationship(self, name: str) -> Relationship:
        try:
            return Relationship(name)
        except ValueError:
            self.dropped += 1
            return Relationship.UNCLEAR

    def languages(self, names: list[Any]) -> tuple[str, ...]:
        valid = [name.strip() for name in names if isinstance(name, str) and _LANGUAGE.fullmatch(name.strip())]
        kept = list(dict.fromkeys(valid))[:_MAX_LANGUAGES]
        self.dropped += len(names) - len(kept)
        return tuple(kept)

    def _episode(self, entry: Any) -> Episode | None:
        """Return the episode, or None if it is invalid. Of a valid one, invalid roles and messages are left out."""
        try:
            part = _EpisodePart.model_validate(entry)
        except ValidationError:
            return None
        first, last = self._shown.get(part.first), self._shown.get(part.last)
        if part.kind not in KINDS or part.topic not in TOPICS or part.tone not in _TONES:
            return None
        if first is None or last is None or part.first > part.last or part.strength not in (1, 2, 3):
            return None
        roles = self._roles(part.roles)
        within = range(part.first, part.last + 1)
        numbers = [number for number in self._numbers(part.shows) if number in within]
        shows = [number for number in numbers if number not in self._forwarded][:MAX_SHOWN]
        if not shows or (part.roles and not roles):
            return None
        self.dropped += len(part.shows) - len(shows)
        return Episode(
            kind=part.kind,
            topic=part.topic,
            first=part.first,
            last=part.last,
            roles=roles,
            strength=part.strength,
            tone=Tone(part.tone),
            subject=" ".join(_CONTROL.sub(" ", part.subject).split())[:MAX_SUBJECT_LENGTH].rstrip(),
            shows=tuple(sorted(shows)),
            started_at=first.sent_at,
            ended_at=last.sent_at,
        )

    def _roles(self, entries: list[Any]) -> dict[int, tuple[str, ...]]:
        roles: dict[int, tuple[str, ...]] = {}
        for entry in entries:
            try:
                part = _RolePart.model_validate(entry)
            except ValidationError:
                part = None
            person = None if part is None else self._people.get(part.person)
            if part is None or person is None or part.role not in ROLES or part.role in roles.get(person, ()):
                self.dropped += 1
                continue
            roles[person] = (*roles.get(person, ()), part.role)
        return roles

    def _danger(self, entry: Any) -> Danger | None:
        try:
            part = _DangerPart.model_validate(entry)
        except ValidationError:
            return None
        numbers = self._numbers(part.numbers)
        if part.kind not in CONCERNS or (part.person != _OTHER and part.person not in self._people):
            return None
        if not numbers:
            return None
        self.dropped += len(part.numbers) - len(numbers)
        return Danger(part.kind, tuple(sorted(numbers)), self._people.get(part.person), part.current)

    def _numbers(self, numbers: list[Any]) -> list[int]:
        """Return the numbers of shown messages, each once. JSON has booleans, which are integers in Python."""
        return list(dict.fromkeys(n for n in numbers if isinstance(n, int) and n is not True and n in self._shown))


@cache
def _reading_model(people_count: int) -> type[BaseModel]:
    """Return the model of a complete answer: the shape of `_ReadingAnswer`, with every entry described."""
    listed = tuple(f"P{index + 1}" for index in range(people_count))
    is_listed = people_count <= MAX_LISTED_PEOPLE
    role: Any = create_model(
        "Role", __base__=_RolePart, person=(_one_of(listed) if is_listed else str, ...), role=(_one_of(ROLES), ...)
    )
    episode: Any = create_model(
        "Episode",
        __base__=_EpisodePart,
        kind=(_one_of(KINDS), ...),
        topic=(_one_of(TOPICS), ...),
        tone=(_one_of(Tone), ...),
        roles=(list[role], ...),
        shows=(list[int], ...),
    )
    danger: Any = create_model(
        "Danger",
        __base__=_DangerPart,
        kind=(_one_of(CONCERNS), ...),
        numbers=(list[int], ...),
        person=(_one_of((*listed, _OTHER)) if is_listed else str, ...),
    )
    return create_model(
        "Reading",
        __base__=_ReadingAnswer,
        relationship=(_one_of(Relationship), ...),
        languages=(list[str], ...),
        episodes=(list[episode], ...),
        dangers=(list[danger], ...),
    )


def _one_of(members: Iterable[str]) -> Any:
    return Literal.__getitem__(tuple(map(str, members)))
