"""The finished document of an insight: an engine's draft, checked, with the server's own facts and messages.

    schema_version
    overall:          score 0..10 or null, rating (of the scale, or not_enough_data), rating_label, summary
    sections[]:       key, title, rating or null, rating_label, finding,
                      people[]: name, rating or null, rating_label, note
                      facts[]: label, person or null, value, unit, source (counted or read)
                      evidence[]: context, messages[]: number, sender, sent_at, text
    recommendations[]: id, title, for[], suggestion, why, example
    sufficiency:      messages_read, messages_total, first_at, last_at, limits[], months[]: month, read, total
    provenance:       engine, model, method, type_version, prompt_version, tokens, milliseconds,
                      citations {given, kept, dropped}, verification {asked, confirmed, refuted, unsupported} or null,
                      reading {model, version, windows_read, windows_failed, dropped} or null
    language:         of all texts but the quoted messages

Numbers and quoted messages come from the server; ratings and wording come from the draft. `sent_at` is the wall clock
of the export, without a zone. `document_models` validates the result.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from insights import document_models, safety
from insights.definition import Section
from insights.engines.base import Brief, Draft, Fact, PersonDraft, RecommendationDraft, SectionDraft, UnusableAnswer
from insights.evidence import CheckedCitations, Exchange, check_citations, strip_unsupported_quotes
from insights.scales import NOT_ENOUGH_DATA
from insights.translation import mark
from insights.validation import InvalidData

#: A document that is based on fewer messages says that the chat is short.
SHORT_CHAT_MESSAGES = 200
#: Messages before and after one that speaks of danger that are not quoted.
NEAR_DANGER = 10
NOTHING_TO_SAY = mark("There is too little of this in the chat to say something, so this insight costs nothing.")
TOO_LITTLE = mark("Too few messages of this chat speak of this to rate it.")


def build_document(*, brief: Brief, draft: Draft, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document as JSON values. Raise UnusableAnswer if the draft is malformed or cites too little."""
    wording = brief.wording
    # A message that speaks of danger is an example of nothing, and neither is what is said right before and after it.
    near = {n for number in brief.concerning for n in range(number - NEAR_DANGER, number + NEAR_DANGER + 1)}
    shown = {n: message for n, message in brief.shown_messages().items() if n not in near}
    checked: dict[str, CheckedCitations] = {}
    sections: list[dict[str, Any]] = []
    for section_brief in brief.sections:
        section = section_brief.section
        section_draft = draft.sections.get(section.key)
        if section_draft is None:
            raise UnusableAnswer("section_missing")
        checked[section.key] = check_citations(
            section_draft.evidence, shown=shown, max_exchanges=section.evidence.max, names=brief.people
        )
        exchanges = checked[section.key].exchanges
        facts = draft.facts.get(section.key, section_brief.facts)
        sections.append(_build_section(brief, section, section_draft, facts, exchanges))
    citations = _count_citations(brief, draft, checked)
    quotable = list(brief.people)
    for section_citations in checked.values():
        quotable += [message.text for exchange in section_citations.exchanges for message in exchange.messages]
    score, summary = draft.score, strip_unsupported_quotes(draft.summary, quotable=quotable, names=brief.people)
    if brief.concerns:
        # The pointer to help comes first. Next to a danger, a grade for the whole would mislead.
        score = None
        summary = f"{safety.write_notice(wording)} {wording.say(safety.WITHHELD) if brief.withheld else summary}"
    rating = brief.definition.overall.rate(score)
    document: dict[str, Any] = {
        "schema_version": document_models.SCHEMA_VERSION,
        "overall": {"score": score, "rating": rating, "rating_label": wording.show_rating(rating), "summary": summary},
        "sections": sections,
        "recommendations": _build_recommendations(brief, draft),
        "sufficiency": _describe_sufficiency(brief, sections),
        "provenance": {
            **provenance,
            "citations": citations,
            "verification": dict(draft.verification) or None,
            "reading": _describe_reading(brief),
        },
        "language": brief.language,
    }
    if says_nothing(document) and not brief.concerns:
        document["overall"]["summary"] = f"{summary} {wording.say(NOTHING_TO_SAY)}".strip()
    try:
        document_models.validate(document, brief.definition)
    except InvalidData as error:
        raise UnusableAnswer("malformed_answer") from error
    return document


def says_nothing(document: Mapping[str, Any]) -> bool:
    """Return whether a document rates nothing and, if the chat was read, quotes nothing: nobody pays for that."""
    sections = document["sections"]
    ratings = [row["rating"] for section in sections for row in (section, *section["people"])]
    rated = any(rating not in (None, NOT_ENOUGH_DATA) for rating in ratings)
    was_read = document["provenance"]["method"] == "read"
    return not rated and not (was_read and any(section["evidence"] for section in sections))


def _build_section(
    brief: Brief, section: Section, draft: SectionDraft, facts: Sequence[Fact], exchanges: Sequence[Exchange]
) -> dict[str, Any]:
    if section.key in brief.withheld:
        # Next to a sign of danger there must be no praise and no blame, whatever the engine wrote.
        draft = SectionDraft(rating=NOT_ENOUGH_DATA, finding=brief.wording.say(safety.FINDING))
        # Examples could be the dangerous messages themselves, or look like their cause.
        exchanges = ()
    supported = len(exchanges) >= section.evidence.min
    quotable = [*brief.people, *(message.text for exchange in exchanges for message in exchange.messages)]
    finding = draft.finding if supported or draft.rating == NOT_ENOUGH_DATA else brief.wording.say(TOO_LITTLE)

    def support_rating(rating: str | None) -> str | None:
        if not section.scale:
            return None
        return rating if supported or rating is None else NOT_ENOUGH_DATA

    def show_rating(rating: str | None) -> str | None:
        return None if rating is None else brief.wording.show_rating(rating)

    def build_person(person: PersonDraft) -> dict[str, Any]:
        rating = support_rating(person.rating)
        note = strip_unsupported_quotes(person.note, quotable=quotable, names=brief.people) if supported else ""
        name = _get_name(brief, person.person)
        return {"name": name, "rating": rating, "rating_label": show_rating(rating), "note": note}

    rating = support_rating(draft.rating)
    return {
        "key": section.key,
        "title": section.title,
        "rating": rating,
        "rating_label": show_rating(rating),
        "finding": strip_unsupported_quotes(finding, quotable=quotable, names=brief.people),
        "people": [build_person(person) for person in draft.people],
        "facts": [
            {
                "label": fact.label,
                "person": None if fact.person is None else _get_name(brief, fact.person),
                "value": fact.value,
                "unit": fact.unit,
                "source": fact.source,
            }
            for fact in facts
        ],
        "evidence": [
            {
                "context": exchange.context,
                "messages": [
                    {
                        "number": message.number,
                        "sender": _get_name(brief, message.person),
                        "sent_at": message.sent_at.isoformat(),
                        "text": message.text,
                    }
                    for message in exchange.messages
                ],
            }
            for exchange in exchanges
        ],
    }


def _get_name(brief: Brief, person: int) -> str:
    if not 0 <= person < len(brief.people):
        raise UnusableAnswer("unknown_person")
    return brief.people[person]


def _count_citations(brief: Brief, draft: Draft, checked: Mapping[str, CheckedCitations]) -> dict[str, int]:
    """Return the number of cited messages. Raise UnusableAnswer if too few of them were shown to the engine."""
    given = sum(citations.given for citations in checked.values())
    kept = sum(citations.kept for citations in checked.values())
    # An engine that invents most of its citations invents its findings too.
    if kept * 2 < given:
        raise UnusableAnswer("evidence_not_in_chat")
    rated = [
        section
        for section in brief.definition.sections
        if section.evidence.min and draft.sections[section.key].rating in section.scale
    ]
    # One section without evidence loses its rating; if all do, another attempt may cite better.
    if rated and all(len(checked[section.key].exchanges) < section.evidence.min for section in rated):
        raise UnusableAnswer("too_little_evidence")
    return {"given": given, "kept": kept, "dropped": given - kept}


def _build_recommendations(brief: Brief, draft: Draft) -> list[dict[str, Any]]:
    """Return the engine's recommendations. Next to a sign of danger, the one to seek help comes first.

    It is the only one if sections are withheld: advice for a quarrel is no advice for violence.
    """
    recommendations: Sequence[RecommendationDraft] = draft.recommendations
    if brief.concerns:
        # It addresses nobody by name: one of them may be who others are afraid of.
        help_first = RecommendationDraft(
            people=(), **{key: brief.wording.say(text) for key, text in safety.RECOMMENDATION.items()}
        )
        recommendations = [help_first] if brief.withheld else [help_first, *recommendations]
    built = []
    for number, recommendation in enumerate(recommendations, start=1):
        # The id is the title in lower kebab case; the number keeps it unique when two titles are the same.
        title = unicodedata.normalize("NFKD", recommendation.title).encode("ascii", "ignore").decode().lower()
        slug = re.sub(r"[^a-z0-9]+", "-", title).strip("-")[:48].strip("-") or "recommendation"
        built.append(
            {
                "id": f"{slug}-{number}",
                "title": recommendation.title,
                "for": [_get_name(brief, person) for person in recommendation.people],
                "suggestion": recommendation.suggestion,
                "why": recommendation.why,
                "example": recommendation.example,
            }
        )
    return built


def _describe_sufficiency(brief: Brief, sections: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return how much of the chat the engine was shown, or has read, and, in sentences, what limits the insight."""
    wording = brief.wording
    shown = brief.shown_messages().values()
    times = [message.sent_at for message in shown]
    if brief.reading and brief.reading.episodes:
        times += [brief.reading.episodes[0].started_at, brief.reading.episodes[-1].ended_at]
    limits = []
    reading = brief.reading
    n_read = reading.messages_read if reading else len(shown)
    if brief.messages_total < SHORT_CHAT_MESSAGES:
        limits.append(
            wording.say_plural(
                "A short chat: {count} message says only so much.",
                "A short chat: {count} messages say only so much.",
                brief.messages_total,
            )
        )
    elif reading is not None:
        if n_read < brief.messages_total:
            limits.append(
                wording.say(
                    "{count} of {total} messages were read. What was counted in words and times covers all of them;"
                    " what was read covers those.",
                    count=n_read,
                    total=brief.messages_total,
                )
            )
    # Half of the messages is close enough to all of them.
    elif n_read * 2 < brief.messages_total:
        limits.append(
            wording.say(
                "Counts cover all {total} messages; {count} of them were searched for examples.",
                count=n_read,
                total=brief.messages_total,
            )
        )
    if brief.withheld:
        limits.append(wording.say("Some questions were not rated: some messages may speak of someone in danger."))
    elif unrated := [section["title"] for section in sections if section["rating"] == NOT_ENOUGH_DATA]:
        limits.append(wording.say("Not rated: {titles}.", titles=", ".join(unrated)))
    return {
        "messages_read": n_read,
        "messages_total": brief.messages_total,
        "first_at": min(times).isoformat() if times else None,
        "last_at": max(times).isoformat() if times else None,
        "limits": limits,
        "months": [
            {"month": month, "read": count.read, "total": count.total}
            for month, count in sorted(reading.months.items() if reading else ())
        ],
    }


def _describe_reading(brief: Brief) -> dict[str, Any] | None:
    """Return what read the chat, or None if nothing did."""
    reading = brief.reading
    if reading is None:
        return None
    return {
        "model": reading.model,
        "version": reading.version,
        "windows_read": reading.windows_read,
        "windows_failed": reading.windows_failed,
        "dropped": reading.dropped,
    }
