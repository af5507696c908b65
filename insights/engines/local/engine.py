"""An engine without a model: it rates by each section's signal, states what was counted, and quotes from retrieval.

It needs no key and no network, and it is deterministic: the same brief gives the same draft.

The score is ten times the weighted mean of the positions of the rated sections on their scales, from 0 (worst) to 1
(best). If a section rates people, its position is the mean of theirs. There is no score if less than half of the
weight could be rated, or if messages may speak of danger.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from insights import advice
from insights.engines.base import (
    Brief,
    CitedExchange,
    Draft,
    PersonDraft,
    SectionDraft,
)
from insights.engines.local.example_selection import ExampleSelector
from insights.engines.local.findings import FindingWriter, write_note
from insights.figures import select_speakers
from insights.rating import (
    GOOD_POSITION,
    RankedSections,
    SectionRating,
    compute_score,
    rank_sections,
    rate_section,
)
from insights.scales import NOT_ENOUGH_DATA
from insights.translation import LANGUAGES


class LocalInsightEngine:
    """Writes insights from counts alone."""

    name = "local"
    model = "rules-2"
    prompt_version = ""
    languages: tuple[str, ...] = tuple(LANGUAGES)
    method: Literal["counted", "read"] = "counted"
    #: Those of the catalogue's terms.
    chat_languages: frozenset[str] | None = frozenset({"english", "hinglish", "hindi"})

    def write(self, brief: Brief) -> Draft:
        """Return a draft. Never fails."""
        ratings = {entry.section.key: rate_section(brief, entry) for entry in brief.sections}
        selector = ExampleSelector(brief)
        evidence: dict[str, tuple[CitedExchange, ...]] = {}
        # A message is quoted once, so sections that require examples select theirs first.
        for entry in sorted(brief.sections, key=lambda entry: -entry.section.evidence.min):
            section, rating = entry.section, ratings[entry.section.key]
            groups = {group.key for group in section.groups}
            leaders = {person: member for person, member in rating.people.items() if member in groups}
            # An example that only resembles a query shows nothing of a question that no words answer.
            is_searched = section.terms or not section.needs_reading
            evidence[section.key] = selector.select(entry, leaders=leaders) if is_searched else ()
            if len(evidence[section.key]) < section.evidence.min:
                # No message can be shown for the rating.
                unrated = dict.fromkeys(rating.people, NOT_ENOUGH_DATA)
                ratings[section.key] = replace(rating, rating=NOT_ENOUGH_DATA, people=unrated, position=None)
        writer = FindingWriter(brief)
        sections = {}
        for entry in brief.sections:
            section, rating = entry.section, ratings[entry.section.key]
            # A coverage signal compares people in its finding; notes on each person would repeat it.
            compares = section.signal is not None and section.signal.kind == "coverage"
            has_notes = section.groups and section.evidence.max and not compares
            people = rating.people or (select_speakers(brief) if has_notes else ())
            notes = []
            for person in people:
                member = rating.people.get(person)
                notes.append(PersonDraft(person, member, write_note(brief, entry, person, rating=member)))
            finding = writer.write_finding(entry, rating)
            sections[section.key] = SectionDraft(rating.rating, finding, tuple(notes), evidence[section.key])
        ranked = rank_sections(brief, ratings)
        score = compute_score(brief, ranked)
        return Draft(
            score=score,
            summary=_summarize(brief, ranked, ratings, score),
            sections=sections,
            recommendations=tuple(advice.recommend(brief, ratings, ranked)),
        )


def _summarize(brief: Brief, ranked: RankedSections, ratings: Mapping[str, SectionRating], score: int | None) -> str:
    """Return how much could be rated, and what the best and the worst rated sections say. Nothing else is claimed."""
    weighted = [(position, section) for position, section in ranked if section.weight]
    n_unread = sum(section.needs_reading for section in brief.definition.sections)
    n_questions = n_unread + sum(
        section.signal is not None and section.signal.ordered and not section.needs_reading
        for section in brief.definition.sections
    )
    wording, n_rated = brief.wording, len(ranked)
    parts = [
        wording.say_plural(
            "Words and times of {count} message were counted, not read.",
            "Words and times of {count} messages were counted, not read.",
            brief.messages_total,
        )
    ]
    if n_questions == 1 and not ranked:
        parts.append(wording.say("They do not answer the one question that counting can answer, so there is no score."))
    elif n_questions == 1 and score is None:
        parts.append(wording.say("They answer the one question that counting can answer: too few for a score."))
    elif n_questions == 1:
        parts.append(wording.say("They answer the one question that counting can answer."))
    elif not ranked:
        parts.append(wording.say("They answer none of {total} questions: too few for a score.", total=n_questions))
    elif score is None:
        parts.append(
            wording.say_plural(
                "They answer {count} of {total} questions: too few for a score.",
                "They answer {count} of {total} questions: too few for a score.",
                n_rated,
                total=n_questions,
            )
        )
    else:
        parts.append(
            wording.say_plural(
                "They answer {count} of {total} questions.",
                "They answer {count} of {total} questions.",
                n_rated,
                total=n_questions,
            )
        )
    if n_unread:
        parts.append(
            wording.say_plural(
                "{count} of them cannot be judged without an engine that reads the chat.",
                "{count} of them cannot be judged without an engine that reads the chat.",
                n_unread,
            )
        )
    best = [section for position, section in weighted[:2] if position >= GOOD_POSITION]
    worst = [section for position, section in weighted[::-1][:2] if position < GOOD_POSITION]
    for section in [*best, *(section for section in worst if section not in best)]:
        # A section that rates people only has no sentence of its own.
        if sentence := section.sentences.get(ratings[section.key].rating or "", ""):
            parts.append(sentence)
    return " ".join(parts)
