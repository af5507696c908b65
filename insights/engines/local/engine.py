"""An engine without a model: it rates by each section's signal, states what was counted, and quotes from retrieval.

It needs no key and no network, and it is deterministic: the same brief gives the same draft.

The score is ten times the weighted mean of the positions of the rated sections on their scales, from 0 (worst) to 1
(best). If a section rates people, its position is the mean of theirs. There is no score if less than half of the
weight could be rated, or if messages may speak of danger.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from insights.engines.base import (
    Brief,
    CitedExchange,
    Draft,
    PersonDraft,
    RecommendationDraft,
    SectionBrief,
    SectionDraft,
)
from insights.engines.local.example_selection import ExampleSelector
from insights.engines.local.findings import FindingWriter, write_note
from insights.engines.local.rating import SectionRating, rate_section, select_speakers
from insights.scales import NOT_ENOUGH_DATA

if TYPE_CHECKING:
    from insights.definition import Section

MAX_RECOMMENDATIONS = 3
MIN_RECOMMENDATIONS = 2
_MIN_RATED_WEIGHT = 0.5
#: From this position on, a section counts as a strength; below it, advice is useful.
_GOOD_POSITION = 0.75


class LocalInsightEngine:
    """Writes insights from counts alone, in English."""

    name = "local"
    model = "rules-1"
    prompt_version = ""
    languages: tuple[str, ...] = ("en",)

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
            evidence[section.key] = selector.select(entry, leaders=leaders)
            if len(evidence[section.key]) < section.evidence.min:
                # No message can be shown for the rating.
                people = dict.fromkeys(rating.people, NOT_ENOUGH_DATA)
                ratings[section.key] = replace(rating, rating=NOT_ENOUGH_DATA, people=people, position=None)
        writer = FindingWriter(brief)
        sections = {
            entry.section.key: _draft_section(
                brief, entry, ratings[entry.section.key], evidence[entry.section.key], writer
            )
            for entry in brief.sections
        }
        ranked = _rank_sections(brief, ratings)
        score = _compute_score(brief, ranked)
        return Draft(
            score=score,
            summary=_summarize(brief, ranked, score),
            sections=sections,
            recommendations=tuple(_recommend(brief, ratings, ranked)),
            language="en",
        )


#: Rated sections with their positions on scales that rank, the best first.
RankedSections = Sequence[tuple[float, "Section"]]


def _draft_section(
    brief: Brief,
    section_brief: SectionBrief,
    rating: SectionRating,
    evidence: tuple[CitedExchange, ...],
    writer: FindingWriter,
) -> SectionDraft:
    section = section_brief.section
    # A coverage signal compares people in its finding: notes on each person would repeat it.
    compares = section.signal is not None and section.signal.kind == "coverage"
    has_notes = section.groups and section.evidence.max and not compares
    people = rating.people or (select_speakers(brief) if has_notes else ())
    return SectionDraft(
        rating=rating.rating,
        finding=writer.write_finding(section_brief, rating),
        people=tuple(
            PersonDraft(
                person,
                rating.people.get(person),
                write_note(brief, section_brief, person, rating=rating.people.get(person)),
            )
            for person in people
        ),
        evidence=evidence,
    )


def _rank_sections(brief: Brief, ratings: Mapping[str, SectionRating]) -> RankedSections:
    positions = [(ratings[section.key].position, section) for section in brief.definition.sections]
    ranked = [(position, section) for position, section in positions if position is not None]
    return sorted(ranked, key=lambda entry: -entry[0])


def _compute_score(brief: Brief, ranked: RankedSections) -> int | None:
    weight = sum(section.weight for _, section in ranked)
    possible_weight = sum(
        section.weight for section in brief.definition.sections if section.signal is not None and section.signal.ordered
    )
    if not weight or weight < possible_weight * _MIN_RATED_WEIGHT:
        return None
    return math.floor(10 * sum(position * section.weight for position, section in ranked) / weight + 0.5)


def _summarize(brief: Brief, ranked: RankedSections, score: int | None) -> str:
    if score is None:
        return f"The {brief.messages_total:,} messages of this chat hold too little of this to give a score."
    weighted = [(position, section.title) for position, section in ranked if section.weight]
    best = [title for position, title in weighted[:2] if position >= _GOOD_POSITION]
    worst = [title for position, title in weighted[::-1][:2] if position < _GOOD_POSITION and title not in best]
    parts = [
        _get_rubric(brief, score),
        f"That is {score} of 10, by what {brief.messages_total:,} messages say in words.",
        f"It shows best under {' and '.join(best)}." if best else "",
        f"There is most room to grow under {' and '.join(worst)}." if worst else "",
    ]
    return " ".join(part for part in parts if part)


def _get_rubric(brief: Brief, score: int) -> str:
    """Return what the rubric says about the score. Its keys are such as `7` or `5-7`."""
    for scores, meaning in brief.definition.overall.rubric.items():
        low, _, high = scores.partition("-")
        if low.isdigit() and int(low) <= score <= int(high if high.isdigit() else low):
            return meaning
    return ""


def _recommend(
    brief: Brief, ratings: Mapping[str, SectionRating], ranked: RankedSections
) -> Sequence[RecommendationDraft]:
    """Return the advice of the lowest sections, and of others if fewer than MIN_RECOMMENDATIONS are low."""
    rated = [(position, section) for position, section in ranked[::-1] if section.advice]
    low = [section for position, section in rated if position < _GOOD_POSITION][:MAX_RECOMMENDATIONS]
    others = [section for _, section in rated if section not in low]
    unrated = [section for section in brief.definition.sections if section.advice and section not in [*low, *others]]
    selected = [*low, *[*others, *unrated][: max(MIN_RECOMMENDATIONS - len(low), 0)]]
    return [_draft_recommendation(section, ratings[section.key], select_speakers(brief)) for section in selected]


def _draft_recommendation(section: Section, rating: SectionRating, everyone: Sequence[int]) -> RecommendationDraft:
    """Return the section's advice for those who are rated lowest, or for everyone if the scale does not rank."""
    assert section.advice is not None
    ranks = {person: section.scale.index(member) for person, member in rating.people.items() if member in section.scale}
    ordered = section.signal is not None and section.signal.ordered
    lowest = [person for person, rank in ranks.items() if rank == max(ranks.values())] if ordered else []
    return RecommendationDraft(
        title=section.advice.title,
        people=tuple(lowest or everyone),
        suggestion=section.advice.suggestion,
        why=section.advice.why,
        example=section.advice.example,
    )
