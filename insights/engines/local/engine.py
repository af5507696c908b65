"""An engine without a model: rates by each section's signal, words what was counted, quotes from retrieval.

It needs no key and no network and is deterministic: one brief, one draft.

The score: each rated section that ranks stands at a place from 0 (worst
member of its scale) to 1 (best), the mean of its people's where it rates
people. The score is ten times the mean of the places, weighed by the
sections' weights. It is left out where less than half of the weight could be
rated, or where messages may speak of danger.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from insights.definition import Section
from insights.engines.base import (
    Brief,
    CitedExchange,
    Draft,
    PersonDraft,
    RecommendationDraft,
    SectionBrief,
    SectionDraft,
)
from insights.engines.local import findings
from insights.engines.local.example_selection import ExampleSelector
from insights.engines.local.findings import Told
from insights.engines.local.rating import Reading, read, speakers
from insights.scales import NOT_ENOUGH_DATA

MOST_RECOMMENDATIONS = 3
LEAST_RECOMMENDATIONS = 2
_LEAST_RATED = 0.5
_WELL = 0.75


class LocalInsightEngine:
    name = "local"
    model = "rules-1"
    prompt_version = ""
    languages: tuple[str, ...] = ("en",)

    def write(self, brief: Brief) -> Draft:
        readings = {material.section.key: read(brief, material) for material in brief.sections}
        selector = ExampleSelector(brief)
        evidence: dict[str, tuple[CitedExchange, ...]] = {}
        # Sections that need examples choose theirs first.
        for material in sorted(brief.sections, key=lambda material: -material.section.evidence_min):
            key = material.section.key
            evidence[key] = selector.pick(material, leaders=_leaders(material.section, readings[key]))
            if len(evidence[key]) < material.section.evidence_min:
                readings[key] = _unproven(readings[key])
        told = Told()
        sections = {
            material.section.key: _section(
                brief, material, readings[material.section.key], evidence[material.section.key], told
            )
            for material in brief.sections
        }
        score = _score(brief, readings)
        return Draft(
            score=score,
            rating=brief.definition.overall.rate(score),
            summary=_summary(brief, readings, score),
            sections=sections,
            recommendations=tuple(_recommendations(brief, readings)),
            language="en",
        )


def _leaders(section: Section, reading: Reading) -> Mapping[int, str]:
    """The group that stands for each person, where the ratings are groups."""
    groups = {group.key for group in section.groups}
    return {person: rating for person, rating in reading.people.items() if rating in groups}


def _unproven(reading: Reading) -> Reading:
    """A rating that no message can be shown for is none."""
    return Reading(NOT_ENOUGH_DATA, dict.fromkeys(reading.people, NOT_ENOUGH_DATA), thin=reading.thin)


def _section(
    brief: Brief, material: SectionBrief, reading: Reading, evidence: tuple[CitedExchange, ...], told: Told
) -> SectionDraft:
    section = material.section
    # Where a section compares what another has told of each person, its finding says all.
    lists = section.groups and section.evidence_max and not (section.signal and section.signal.kind == "coverage")
    people = reading.people or (speakers(brief) if lists else ())
    return SectionDraft(
        rating=reading.rating,
        finding=findings.finding(brief, material, reading, told=told),
        people=tuple(
            PersonDraft(
                person,
                reading.people.get(person),
                findings.note(brief, material, person, rating=reading.people.get(person)),
            )
            for person in people
        ),
        evidence=evidence,
    )


def _ranked(brief: Brief, readings: Mapping[str, Reading]) -> list[tuple[float, Section]]:
    """Sections that could be rated on a scale that ranks, with their places, the best first."""
    placed = [
        (position, section)
        for section in brief.definition.sections
        if (position := readings[section.key].position) is not None
    ]
    return sorted(placed, key=lambda entry: -entry[0])


def _weighed(brief: Brief, readings: Mapping[str, Reading]) -> list[tuple[float, Section]]:
    return [(position, section) for position, section in _ranked(brief, readings) if section.weight]


def _score(brief: Brief, readings: Mapping[str, Reading]) -> int | None:
    rated = _weighed(brief, readings)
    weight = sum(section.weight for _, section in rated)
    possible = sum(
        section.weight for section in brief.definition.sections if section.signal is not None and section.signal.ordered
    )
    if not weight or weight < possible * _LEAST_RATED:
        return None
    return math.floor(10 * sum(position * section.weight for position, section in rated) / weight + 0.5)


def _summary(brief: Brief, readings: Mapping[str, Reading], score: int | None) -> str:
    if score is None:
        return f"The {brief.messages_total:,} messages of this chat hold too little of this to give a score."
    rated = _weighed(brief, readings)
    best = [section.title for position, section in rated[:2] if position >= _WELL]
    room = [section.title for position, section in rated[::-1][:2] if position < _WELL and section.title not in best]
    parts = [_rubric(brief, score), f"That is {score} of 10, by what {brief.messages_total:,} messages say in words."]
    parts += [f"It shows best under {' and '.join(best)}."] if best else []
    parts += [f"There is most room to grow under {' and '.join(room)}."] if room else []
    return " ".join(part for part in parts if part)


def _rubric(brief: Brief, score: int) -> str:
    for scores, meaning in brief.definition.overall.rubric.items():
        low, _, high = scores.partition("-")
        if low.isdigit() and int(low) <= score <= int(high if high.isdigit() else low):
            return meaning
    return ""


def _recommendations(brief: Brief, readings: Mapping[str, Reading]) -> Sequence[RecommendationDraft]:
    """From the lowest places, two at least, as far as the sections have advice."""
    rated = [(position, section) for position, section in _ranked(brief, readings)[::-1] if section.advice]
    low = [section for position, section in rated if position < _WELL][:MOST_RECOMMENDATIONS]
    others = [section for _, section in rated if section not in low]
    unrated = [section for section in brief.definition.sections if section.advice and section not in [*low, *others]]
    chosen = [*low, *[*others, *unrated][: max(LEAST_RECOMMENDATIONS - len(low), 0)]]
    return [_advice(section, readings[section.key], speakers(brief)) for section in chosen]


def _advice(section: Section, reading: Reading, everyone: Sequence[int]) -> RecommendationDraft:
    assert section.advice is not None
    places = {
        person: section.scale.index(rating) for person, rating in reading.people.items() if rating in section.scale
    }
    ordered = section.signal is not None and section.signal.ordered
    lowest = [person for person, place in places.items() if place == max(places.values())] if ordered else []
    return RecommendationDraft(
        title=section.advice.title,
        people=tuple(lowest or everyone),
        suggestion=section.advice.suggestion,
        why=section.advice.why,
        example=section.advice.example,
    )
