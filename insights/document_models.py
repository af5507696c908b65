"""The document of an insight: the shape that all types share, as stored, validated and described by the API.

`validate` also checks a document against the definition of its type. Documents are stored as JSON and returned to
their owner as they are: reading one does not validate it, so documents of earlier versions stay readable.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, Strict, StrictStr, ValidationInfo, field_validator, model_validator

from insights.definition import Definition
from insights.scales import NOT_ENOUGH_DATA
from insights.validation import ClosedModel, Count, NonBlank, Phrases, custom_error, error_at, parse

SCHEMA_VERSION = 1

_LABEL = "The rating in the language of the document; null without a rating, and in documents of earlier versions."
_NOT_A_MEMBER = "is not a member of the scale"


class DocumentOverall(ClosedModel):
    """The score and rating of the whole insight."""

    score: Annotated[int, Strict(), Field(ge=0, le=10)] | None
    rating: StrictStr = Field(description="A member of the type's scale, or `not_enough_data`.")
    rating_label: StrictStr | None = Field(default=None, description=_LABEL)
    summary: StrictStr

    @field_validator("rating")
    @classmethod
    def _follows_from_score(cls, rating: str, info: ValidationInfo) -> str:
        if "score" in info.data and rating != _definition(info).overall.rate(info.data["score"]):
            raise custom_error("must be the rating of the score")
        return rating


class PersonRating(ClosedModel):
    """A section's rating of one person, with a note in words."""

    name: StrictStr
    rating: StrictStr | None
    rating_label: StrictStr | None = Field(default=None, description=_LABEL)
    note: StrictStr


class CountedFact(ClosedModel):
    """A counted number, never written by a model: of words and times, or of episodes that a model found."""

    label: NonBlank
    person: StrictStr | None = Field(description="Null for the whole chat.")
    value: Annotated[float, Strict()] = Field(description="A number; counted, never written by a model.")
    unit: NonBlank
    source: Literal["counted", "read"] = Field(
        default="counted", description="Whether it counts words and times, or what a model read in the chat."
    )


class QuotedMessage(ClosedModel):
    """A message of the chat, as it is written there."""

    number: Count = Field(description="The message's number in the chat.")
    sender: StrictStr
    sent_at: StrictStr = Field(description="The wall clock of the export, without a zone.")
    text: StrictStr


class QuotedExchange(ClosedModel):
    """Messages that are quoted together, in the order of the chat."""

    context: StrictStr
    messages: tuple[QuotedMessage, ...] = Field(min_length=1)

    @field_validator("messages")
    @classmethod
    def _in_order(cls, messages: tuple[QuotedMessage, ...]) -> tuple[QuotedMessage, ...]:
        numbers = [message.number for message in messages]
        if numbers != sorted(set(numbers)):
            raise custom_error("must be in the order of the chat, none twice")
        return messages


class DocumentSection(ClosedModel):
    """The answer to one question of the insight type."""

    key: StrictStr
    title: StrictStr
    rating: StrictStr | None = Field(
        description="A member of the section's scale, `not_enough_data`, or null where it has no scale."
    )
    rating_label: StrictStr | None = Field(default=None, description=_LABEL)
    finding: StrictStr
    people: tuple[PersonRating, ...]
    facts: tuple[CountedFact, ...]
    evidence: tuple[QuotedExchange, ...]

    @model_validator(mode="after")
    def _follows_definition(self, info: ValidationInfo) -> Self:
        try:
            section = _definition(info).section(self.key)
        except KeyError:
            raise error_at("key", message="is not a section of the type") from None
        if self.rating is not None and self.rating not in section.allowed_ratings:
            raise error_at("rating", message=_NOT_A_MEMBER)
        for index, person in enumerate(self.people):
            if person.rating is not None and person.rating not in section.allowed_ratings:
                raise error_at("people", index, "rating", message=_NOT_A_MEMBER)
        if len({person.name for person in self.people}) < len(self.people):
            raise error_at("people", message="must name each person once")
        if len(self.evidence) > section.evidence.max:
            raise error_at("evidence", message=f"at most {section.evidence.max}")
        if self.rating not in (None, NOT_ENOUGH_DATA) and len(self.evidence) < section.evidence.min:
            raise error_at("evidence", message=f"at least {section.evidence.min} for a rating")
        return self


class Recommendation(ClosedModel):
    """Something that the people named in `for` could do."""

    id: StrictStr
    title: StrictStr
    people: tuple[StrictStr, ...] = Field(alias="for")
    suggestion: StrictStr
    why: StrictStr
    example: StrictStr


class MonthRead(ClosedModel):
    """How much of a month was read, in messages."""

    month: StrictStr = Field(description="Such as `2024-03`.")
    read: Count
    total: Count


class Sufficiency(ClosedModel):
    """How much of the chat the insight is based on."""

    messages_read: Count
    messages_total: Count
    first_at: StrictStr | None
    last_at: StrictStr | None
    limits: Phrases = Field(description="What to keep in mind, in sentences.")
    months: tuple[MonthRead, ...] = Field(default=(), description="Empty for an engine that counts.")


class Citations(ClosedModel):
    """Messages that the engine cited: `kept` were shown to it, `dropped` were not."""

    given: Count
    kept: Count
    dropped: Count

    @model_validator(mode="after")
    def _add_up(self) -> Self:
        if self.given != self.kept + self.dropped:
            raise error_at("given", message="must be the sum of kept and dropped")
        return self


class Verification(ClosedModel):
    """Claims of a model that were sent to it again with the messages that they cite.

    `unsupported` sentences were removed before: they cite nothing, or name or count what their messages lack.
    """

    asked: Count = 0
    confirmed: Count = 0
    refuted: Count = 0
    unsupported: Count = 0


class ReadingProvenance(ClosedModel):
    """What read the chat. `dropped` counts the invalid entries of its answers."""

    model: StrictStr
    version: Count
    windows_read: Count
    windows_failed: Count
    dropped: Count


class Provenance(ClosedModel):
    """What wrote the insight, and what that took."""

    engine: StrictStr
    model: StrictStr
    method: Literal["counted", "read"] = Field(
        default="counted", description="Whether the engine counted words and times, or read the messages."
    )
    type_version: Count
    prompt_version: StrictStr
    tokens: Mapping[StrictStr, Count]
    milliseconds: Count
    citations: Citations
    verification: Verification | None = None
    reading: ReadingProvenance | None = None


class Document(ClosedModel):
    """The document of an insight."""

    schema_version: Count
    overall: DocumentOverall
    sections: tuple[DocumentSection, ...]
    recommendations: tuple[Recommendation, ...]
    sufficiency: Sufficiency
    provenance: Provenance
    language: NonBlank

    @field_validator("schema_version")
    @classmethod
    def _is_current(cls, schema_version: int) -> int:
        if schema_version != SCHEMA_VERSION:
            raise custom_error(f"must be {SCHEMA_VERSION}")
        return schema_version

    @field_validator("sections")
    @classmethod
    def _follow_definition(
        cls, sections: tuple[DocumentSection, ...], info: ValidationInfo
    ) -> tuple[DocumentSection, ...]:
        if [section.key for section in sections] != [section.key for section in _definition(info).sections]:
            raise custom_error("must be those of the definition, in its order")
        return sections

    @field_validator("recommendations")
    @classmethod
    def _have_unique_ids(cls, recommendations: tuple[Recommendation, ...]) -> tuple[Recommendation, ...]:
        if len({recommendation.id for recommendation in recommendations}) < len(recommendations):
            raise custom_error("two have the same id")
        return recommendations


def validate(document: Any, definition: Definition) -> Document:
    """Return the document as a model. Raise InvalidData if it has another shape or contradicts the definition."""
    return parse(Document, document, source="document", context=definition, show_values=False)


def _definition(info: ValidationInfo) -> Definition:
    assert isinstance(info.context, Definition)
    return info.context
