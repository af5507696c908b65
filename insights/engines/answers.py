"""Answers of language models: the JSON schema that a model is given, and how its answer becomes a draft.

One pydantic model per definition does both, so an answer that follows the schema is accepted. The schema keeps to what
Gemini and OpenAI-compatible servers allow in structured output: every property is required, unknown properties are not
allowed, and there are no references, no bounds and no maximum lengths. `document.build_document` limits the number of
quoted exchanges afterwards, and checks people and message numbers.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from insights.definition import Definition
from insights.engines.base import CitedExchange, Draft, PersonDraft, RecommendationDraft, SectionDraft, UnusableAnswer
from insights.json_schema import flat_schema
from insights.scales import NOT_ENOUGH_DATA


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
