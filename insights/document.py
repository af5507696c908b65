"""The document of an insight: one shape for all types, made of an engine's draft and the server's own facts.

    schema_version
    overall:          score 0..10 or null, rating (of the scale, or not_enough_data), summary
    sections[]:       key, title, rating or null, finding,
                      people[]: name, rating or null, note
                      facts[]: label, person or null, value, unit
                      evidence[]: context, messages[]: number, sender, sent_at, text
    recommendations[]: id, title, for[], suggestion, why, example
    sufficiency:      messages_read, messages_total, first_at, last_at, limits[]
    provenance:       engine, model, type_version, prompt_version, tokens, milliseconds,
                      citations {given, kept, dropped}
    language:         of the findings

Numbers and quoted messages are the server's; the draft brings ratings and
wording. `sent_at` is the wall clock of the export, without a zone.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from insights import safety
from insights.definition import Definition, Section
from insights.engines.base import Brief, Draft, Fact, PersonDraft, RecommendationDraft, SectionDraft, UnusableAnswer
from insights.evidence import Checked, Exchange, check, strip_unsupported_quotes
from insights.scales import NOT_ENOUGH_DATA
from insights.validation import SCHEMA_VERSION, validate

__all__ = ["NOT_ENOUGH_DATA", "SCHEMA_VERSION", "Definition", "Section", "complete", "validate"]

#: Fewer shown messages than this and the document says that the chat is short.
SHORT_CHAT_MESSAGES = 200
TOO_LITTLE = "Too few messages of this chat speak of this to rate it."


def complete(*, brief: Brief, draft: Draft, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The finished document. Raises UnusableAnswer where the draft is malformed or does not stand in the chat."""
    shown = brief.shown()
    checked: dict[str, Checked] = {}
    sections: list[dict[str, Any]] = []
    for material in brief.sections:
        section = material.section
        written = draft.sections.get(section.key)
        if written is None:
            raise UnusableAnswer("section_missing")
        checked[section.key] = check(written.evidence, shown=shown, most=section.evidence_max)
        sections.append(_section(brief, section, written, material.facts, checked[section.key].exchanges))
    citations = _citations(brief, draft, checked)
    document = {
        "schema_version": SCHEMA_VERSION,
        "overall": _overall(brief, draft, checked),
        "sections": sections,
        "recommendations": [
            _recommendation(brief, recommendation, number)
            for number, recommendation in enumerate(_advised(brief, draft), start=1)
        ],
        "sufficiency": _sufficiency(brief, sections),
        "provenance": {**provenance, "citations": citations},
        "language": draft.language or brief.language,
    }
    try:
        validate(document, brief.definition)
    except ValueError as error:
        raise UnusableAnswer("malformed_answer") from error
    return document


def _section(
    brief: Brief,
    section: Section,
    written: SectionDraft,
    facts: Sequence[Fact],
    exchanges: Sequence[Exchange],
) -> dict[str, Any]:
    if brief.concerns:
        # Beside a sign of danger no word of praise or blame stands, whatever the engine wrote.
        written = SectionDraft(rating=NOT_ENOUGH_DATA, finding=safety.FINDING)
        exchanges = () if section.sensitive else exchanges
    supported = len(exchanges) >= section.evidence_min
    quotable = [*brief.people, *(message.text for exchange in exchanges for message in exchange.messages)]
    finding = written.finding if supported or written.rating == NOT_ENOUGH_DATA else TOO_LITTLE
    return {
        "key": section.key,
        "title": section.title,
        "rating": _rating(section, written.rating, supported=supported),
        "finding": strip_unsupported_quotes(finding, quotable=quotable),
        "people": [_person(brief, section, person, supported, quotable) for person in written.people],
        "facts": [_fact(brief, fact) for fact in facts],
        "evidence": [_exchange(brief, exchange) for exchange in exchanges],
    }


def _rating(section: Section, rating: str | None, *, supported: bool) -> str | None:
    if not section.scale:
        return None
    return rating if supported or rating is None else NOT_ENOUGH_DATA


def _person(
    brief: Brief, section: Section, person: PersonDraft, supported: bool, quotable: Sequence[str]
) -> dict[str, Any]:
    return {
        "name": _name(brief, person.person),
        "rating": _rating(section, person.rating, supported=supported),
        "note": strip_unsupported_quotes(person.note, quotable=quotable) if supported else "",
    }


def _name(brief: Brief, person: int) -> str:
    if not 0 <= person < len(brief.people):
        raise UnusableAnswer("unknown_person")
    return brief.people[person]


def _fact(brief: Brief, fact: Fact) -> dict[str, Any]:
    person = None if fact.person is None else _name(brief, fact.person)
    return {"label": fact.label, "person": person, "value": fact.value, "unit": fact.unit}


def _exchange(brief: Brief, exchange: Exchange) -> dict[str, Any]:
    messages = [
        {
            "number": message.number,
            "sender": _name(brief, message.person),
            "sent_at": message.sent_at.isoformat(),
            "text": message.text,
        }
        for message in exchange.messages
    ]
    return {"context": exchange.context, "messages": messages}


def _citations(brief: Brief, draft: Draft, checked: Mapping[str, Checked]) -> dict[str, int]:
    given = sum(section.given for section in checked.values())
    kept = sum(section.kept for section in checked.values())
    if kept * 2 < given:
        raise UnusableAnswer("evidence_not_in_chat")
    claimed = [
        section
        for section in brief.definition.sections
        if section.evidence_min and draft.sections[section.key].rating in section.scale
    ]
    if claimed and all(len(checked[section.key].exchanges) < section.evidence_min for section in claimed):
        raise UnusableAnswer("too_little_evidence")
    return {"given": given, "kept": kept, "dropped": given - kept}


def _overall(brief: Brief, draft: Draft, checked: Mapping[str, Checked]) -> dict[str, Any]:
    score = None if brief.concerns else draft.score
    quotable = [
        *brief.people,
        *(
            message.text
            for section in checked.values()
            for exchange in section.exchanges
            for message in exchange.messages
        ),
    ]
    summary = safety.NOTICE if brief.concerns else strip_unsupported_quotes(draft.summary, quotable=quotable)
    return {"score": score, "rating": brief.definition.overall.rate(score), "summary": summary}


def _advised(brief: Brief, draft: Draft) -> Sequence[RecommendationDraft]:
    """The engine's advice, or, with a sign of danger, where help is to be had and nothing else."""
    if not brief.concerns:
        return draft.recommendations
    people = sorted({person for person, count in enumerate(brief.written) if count})
    return [RecommendationDraft(people=tuple(people), **safety.RECOMMENDATION)]


def _recommendation(brief: Brief, recommendation: RecommendationDraft, number: int) -> dict[str, Any]:
    return {
        "id": f"{_slug(recommendation.title)}-{number}",
        "title": recommendation.title,
        "for": [_name(brief, person) for person in recommendation.people],
        "suggestion": recommendation.suggestion,
        "why": recommendation.why,
        "example": recommendation.example,
    }


def _slug(title: str) -> str:
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:48].strip("-") or "recommendation"


def _sufficiency(brief: Brief, sections: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    shown = brief.shown().values()
    instants = [message.sent_at for message in shown]
    limits = []
    if brief.messages_total < SHORT_CHAT_MESSAGES:
        limits.append(f"A short chat: {brief.messages_total} messages say only so much.")
    elif len(shown) * 2 < brief.messages_total:
        limits.append(
            f"Counts cover all {brief.messages_total} messages; {len(shown)} of them were picked to be read closely."
        )
    if brief.concerns:
        limits.append("Nothing was rated: some messages may speak of someone in danger.")
    elif thin := [section["title"] for section in sections if section["rating"] == NOT_ENOUGH_DATA]:
        limits.append(f"Too little was said to rate: {', '.join(thin)}.")
    return {
        "messages_read": len(shown),
        "messages_total": brief.messages_total,
        "first_at": min(instants).isoformat() if instants else None,
        "last_at": max(instants).isoformat() if instants else None,
        "limits": limits,
    }
