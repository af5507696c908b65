"""Does a document keep the shape that its definition promises? Says where it does not."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from insights.definition import Definition, Section
from insights.scales import NOT_ENOUGH_DATA
from insights.tables import Table

SCHEMA_VERSION = 1


def validate(document: Any, definition: Definition) -> None:
    """Raises ValueError that names the place at fault."""
    table = Table(document, place="document")
    table.only(
        ["schema_version", "overall", "sections", "recommendations", "sufficiency", "provenance", "language"],
        all_of_them=True,
    )
    if table.integer("schema_version", default=0, least=0) != SCHEMA_VERSION:
        raise table.wrong("schema_version", f"must be {SCHEMA_VERSION}")
    _overall(table.table("overall"), definition)
    _sections(table, definition)
    _recommendations(table)
    _sufficiency(table.table("sufficiency"))
    citations = table.table("provenance").table("citations")
    if citations.whole("given") != citations.whole("kept") + citations.whole("dropped"):
        raise citations.wrong("given", "must be what was kept and what was dropped")
    table.text("language")


def _overall(table: Table, definition: Definition) -> None:
    table.only(["score", "rating", "summary"], all_of_them=True)
    score = table.value("score")
    if score is not None and table.whole("score") > 10:
        raise table.wrong("score", "must be 0 to 10, or null")
    if table.string("rating") != definition.overall.rate(score):
        raise table.wrong("rating", "must be what the score stands for")
    table.string("summary")


def _sections(table: Table, definition: Definition) -> None:
    sections = table.tables("sections")
    if [section.string("key") for section in sections] != [section.key for section in definition.sections]:
        raise table.wrong("sections", "must be those of the definition, in its order")
    for written, section in zip(sections, definition.sections, strict=True):
        _section(written, section)


def _section(table: Table, section: Section) -> None:
    table.only(["key", "title", "rating", "finding", "people", "facts", "evidence"], all_of_them=True)
    table.string("title")
    table.string("finding")
    _rating(table, section.ratings)
    evidence = table.tables("evidence")
    if len(evidence) > section.evidence_max:
        raise table.wrong("evidence", f"at most {section.evidence_max}")
    rated = table.value("rating") not in (None, NOT_ENOUGH_DATA)
    if rated and len(evidence) < section.evidence_min:
        raise table.wrong("evidence", f"at least {section.evidence_min} for a rating")
    for exchange in evidence:
        _exchange(exchange)
    names = [_person(person, section) for person in table.tables("people")]
    if len(set(names)) < len(names):
        raise table.wrong("people", "somebody stands twice")
    for fact in table.tables("facts"):
        _fact(fact)


def _rating(table: Table, ratings: Collection[str]) -> None:
    rating = table.value("rating")
    if rating is not None and rating not in ratings:
        raise table.wrong("rating", "is not a member of the scale")


def _person(table: Table, section: Section) -> str:
    table.only(["name", "rating", "note"], all_of_them=True)
    _rating(table, section.ratings)
    table.string("note")
    return table.string("name")


def _fact(table: Table) -> None:
    table.only(["label", "person", "value", "unit"], all_of_them=True)
    table.text("label")
    table.text("unit")
    if table.value("person") is not None:
        table.string("person")
    if not isinstance(table.value("value"), (int, float)):
        raise table.wrong("value", "must be a number")


def _exchange(table: Table) -> None:
    table.only(["context", "messages"], all_of_them=True)
    table.string("context")
    messages = table.tables("messages")
    if not messages:
        raise table.wrong("messages", "at least one")
    numbers = []
    for message in messages:
        message.only(["number", "sender", "sent_at", "text"], all_of_them=True)
        numbers.append(message.whole("number"))
        for key in ("sender", "sent_at", "text"):
            message.string(key)
    if numbers != sorted(set(numbers)):
        raise table.wrong("messages", "must stand in the transcript's order, none twice")


def _recommendations(table: Table) -> None:
    recommendations = table.tables("recommendations")
    for recommendation in recommendations:
        recommendation.only(["id", "title", "for", "suggestion", "why", "example"], all_of_them=True)
        for key in ("id", "title", "suggestion", "why", "example"):
            recommendation.string(key)
        if not isinstance(recommendation.value("for"), list):
            raise recommendation.wrong("for", "must be a list of names")
    ids = [recommendation.string("id") for recommendation in recommendations]
    if len(set(ids)) < len(ids):
        raise table.wrong("recommendations", "two have one id")


def _sufficiency(table: Table) -> None:
    table.only(["messages_read", "messages_total", "first_at", "last_at", "limits"], all_of_them=True)
    table.whole("messages_read")
    table.whole("messages_total")
    table.texts("limits")
