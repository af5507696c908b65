"""Answers of language models: the JSON schemas that a model is given, and what its answers become.

There are three kinds of calls: reading a window, writing an insight, and verifying claims. An answer of another shape
is refused; within a list, an invalid entry is dropped and counted, and the others stay. The schemas keep to what Gemini
and OpenAI-compatible servers allow in structured output: every property is required, unknown properties are not
allowed, and there are no references, no bounds and no maximum lengths.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from insights.claims import Claim, Verdict
from insights.definition import Definition
from insights.engines.base import UnusableAnswer
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

#: People whom the schema of a reading lists. In a bigger group, any text is allowed and checked afterwards: an enum of
#: hundreds of people would exceed the providers' limits.
MAX_LISTED_PEOPLE = 30
_MAX_LANGUAGES = 5
_OTHER = "other"
_EVERYBODY = "all"
#: A longer text is cut after a sentence: the document shows findings, not essays.
MAX_SENTENCE_LENGTH = 400
_TONES = frozenset(map(str, Tone))

#: Control characters, line and paragraph separators, and marks that change the reading direction.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]+")
_SENTENCE_END = re.compile(r"[.!?…।][\"”’'»)]*(?= )")
_LANGUAGE = re.compile(r"[A-Za-z][A-Za-z -]{1,29}")


class AnswerPart(BaseModel):
    """A part of an answer: no unknown fields, and no conversion of types."""

    model_config = ConfigDict(extra="forbid", strict=True)


class _ClaimPart(AnswerPart):
    sentence: str
    context: str
    numbers: list[Any]
    person: str


class _SectionPart(AnswerPart):
    can_judge: bool
    claims: list[Any]


class _WritingAnswer(AnswerPart):
    """The answer for an insight, down to the lists. Their entries are validated one by one."""

    can_judge: bool
    sections: dict[str, Any]


class _VerdictPart(AnswerPart):
    claim: int
    shown: bool
    right_person: bool
    sincere: bool


class _VerificationAnswer(AnswerPart):
    verdicts: list[Any]


@dataclass(frozen=True, slots=True)
class WrittenInsight:
    """What a model writes about a chat, before its claims are checked. People are indexes.

    `declined` are the sections that it cannot judge. `dropped` counts the invalid entries of the answer.
    """

    can_judge: bool
    claims: tuple[Claim, ...]
    declined: frozenset[str]
    dropped: int


def writing_schema(definition: Definition, people_count: int) -> dict[str, Any]:
    """Return the JSON schema of an answer about a type: claims for each section that quotes."""
    quoting = tuple(section.key for section in definition.sections if section.evidence.max)
    return _build_writing_schema(quoting, people_count)


# Building the models takes 20 ms, as much as everything else that an insight needs from this process.
@lru_cache(maxsize=256)
def _build_writing_schema(quoting: tuple[str, ...], people_count: int) -> dict[str, Any]:
    people = tuple(f"P{index + 1}" for index in range(people_count))
    is_listed = people_count <= MAX_LISTED_PEOPLE
    claim: Any = create_model(
        "Claim",
        __base__=_ClaimPart,
        numbers=(list[int], ...),
        person=(one_of((*people, _EVERYBODY)) if is_listed else str, ...),
    )
    section: Any = create_model("Section", __base__=_SectionPart, claims=(list[claim], ...))
    # Fields are numbered, because a key can be a name that pydantic reserves.
    fields: dict[str, Any] = {f"section_{n}": (section, Field(alias=key)) for n, key in enumerate(quoting)}
    return flat_schema(
        create_model(
            "Writing",
            __base__=_WritingAnswer,
            sections=(create_model("Sections", __base__=AnswerPart, **fields), ...),
        )
    )


def parse_writing(answer: str | bytes, definition: Definition, *, people_count: int) -> WrittenInsight:
    """Return what an answer says. Raise UnusableAnswer if it is not JSON of the expected shape.

    Entries of another shape, about a section that the type does not have, or about a person who is not in the chat are
    dropped and counted.
    """
    try:
        parsed = _WritingAnswer.model_validate_json(answer)
    except ValidationError:
        # Not chained: the text of a validation error contains values of the answer, and so text of the chat.
        raise UnusableAnswer("malformed_answer") from None
    people = {f"P{index + 1}": index for index in range(people_count)}
    keys = {section.key for section in definition.sections}
    claims: list[Claim] = []
    declined: set[str] = set()
    dropped = len(parsed.sections.keys() - keys)
    for key in [section.key for section in definition.sections if section.key in parsed.sections]:
        part = validate_part(_SectionPart, parsed.sections[key])
        if part is None:
            dropped += 1
            continue
        if not part.can_judge:
            declined.add(key)
        for entry in part.claims:
            claim = validate_part(_ClaimPart, entry)
            if claim is None or (claim.person != _EVERYBODY and claim.person not in people):
                dropped += 1
                continue
            numbers = tuple(n for n in claim.numbers if isinstance(n, int) and not isinstance(n, bool))
            sentence, context = clean_sentence(claim.sentence), clean_sentence(claim.context)
            claims.append(Claim(key, sentence, context, numbers, people.get(claim.person)))
    return WrittenInsight(parsed.can_judge, tuple(claims), frozenset(declined), dropped)


@cache
def verification_schema() -> dict[str, Any]:
    """Return the JSON schema of the verdicts on claims, which are numbered from 1."""
    return flat_schema(create_model("Verification", __base__=_VerificationAnswer, verdicts=(list[_VerdictPart], ...)))


def parse_verdicts(answer: str | bytes, *, count: int) -> dict[int, Verdict]:
    """Return the verdicts by the index of the claim, which the answer numbers from 1. Raise UnusableAnswer.

    Of two verdicts on one claim, the stricter one holds. Entries of another shape, or about no claim, are dropped.
    """
    try:
        parsed = _VerificationAnswer.model_validate_json(answer)
    except ValidationError:
        raise UnusableAnswer("malformed_answer") from None
    verdicts: dict[int, Verdict] = {}
    for entry in parsed.verdicts:
        row = validate_part(_VerdictPart, entry)
        if row is None or not 1 <= row.claim <= count:
            continue
        before = verdicts.get(row.claim - 1, Verdict(True, True, True))
        verdicts[row.claim - 1] = Verdict(
            before.shown and row.shown, before.right_person and row.right_person, before.sincere and row.sincere
        )
    return verdicts


_Part = TypeVar("_Part", bound=AnswerPart)


def validate_part(model: type[_Part], entry: Any) -> _Part | None:
    """Return the entry as the model, or None if it has another shape."""
    try:
        return model.model_validate(entry)
    except ValidationError:
        return None


def clean_sentence(text: str) -> str:
    """Return a model's text without control characters, as one line of whole sentences.

    A sentence that exceeds MAX_SENTENCE_LENGTH characters is left out: a part of it can say something else.
    """
    line = " ".join(_CONTROL.sub(" ", text).split())
    if len(line) <= MAX_SENTENCE_LENGTH:
        return line
    ends = [match.end() for match in _SENTENCE_END.finditer(line, 0, MAX_SENTENCE_LENGTH + 1)]
    return line[: ends[-1]].rstrip() if ends else ""


class _RolePart(AnswerPart):
    person: str
    role: str


class _EpisodePart(AnswerPart):
    kind: str
    topic: str
    first: int
    last: int
    roles: list[Any]
    strength: int
    tone: str
    subject: str
    shows: list[Any]


class _DangerPart(AnswerPart):
    kind: str
    numbers: list[Any]
    person: str
    current: bool


class _ReadingAnswer(AnswerPart):
    """The answer for a window, down to the lists. Their entries are validated one by one."""

    relationship: str
    languages: list[Any]
    episodes: list[Any]
    dangers: list[Any]


def reading_schema(people_count: int) -> dict[str, Any]:
    """Return the JSON schema of the answer for a window of a chat of so many people: P1, P2 and so on."""
    # At least two: of one member, the schema would be a constant, which not all providers know.
    return flat_schema(_reading_model(min(max(people_count, 2), MAX_LISTED_PEOPLE + 1)))


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
        part = validate_part(_EpisodePart, entry)
        if part is None or part.kind not in KINDS or part.topic not in TOPICS or part.tone not in _TONES:
            return None
        first, last = self._shown.get(part.first), self._shown.get(part.last)
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
            part = validate_part(_RolePart, entry)
            person = None if part is None else self._people.get(part.person)
            if part is None or person is None or part.role not in ROLES or part.role in roles.get(person, ()):
                self.dropped += 1
                continue
            roles[person] = (*roles.get(person, ()), part.role)
        return roles

    def _danger(self, entry: Any) -> Danger | None:
        part = validate_part(_DangerPart, entry)
        if part is None or part.kind not in CONCERNS:
            return None
        numbers = self._numbers(part.numbers)
        if not numbers or (part.person != _OTHER and part.person not in self._people):
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
        "Role", __base__=_RolePart, person=(one_of(listed) if is_listed else str, ...), role=(one_of(ROLES), ...)
    )
    episode: Any = create_model(
        "Episode",
        __base__=_EpisodePart,
        kind=(one_of(KINDS), ...),
        topic=(one_of(TOPICS), ...),
        tone=(one_of(Tone), ...),
        roles=(list[role], ...),
        shows=(list[int], ...),
    )
    danger: Any = create_model(
        "Danger",
        __base__=_DangerPart,
        kind=(one_of(CONCERNS), ...),
        numbers=(list[int], ...),
        person=(one_of((*listed, _OTHER)) if is_listed else str, ...),
    )
    return create_model(
        "Reading",
        __base__=_ReadingAnswer,
        relationship=(one_of(Relationship), ...),
        languages=(list[str], ...),
        episodes=(list[episode], ...),
        dangers=(list[danger], ...),
    )


def one_of(members: Iterable[str]) -> Any:
    """Return the type of a field that is one of these texts."""
    return Literal.__getitem__(tuple(map(str, members)))
