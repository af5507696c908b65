"""The catalogue's advice for what a chat lacks most. Pure.

No model writes advice: a suggestion to people says something about them, and nothing could be cited for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from insights.engines.base import Brief, RecommendationDraft
from insights.figures import select_speakers
from insights.rating import GOOD_POSITION, RankedSections, SectionRating

MAX_RECOMMENDATIONS = 3


def recommend(
    brief: Brief, ratings: Mapping[str, SectionRating], ranked: RankedSections
) -> Sequence[RecommendationDraft]:
    """Return the advice of the lowest sections, each for the people who are rated lowest.

    There is none for sections that are rated well or not at all, so a good chat has none.
    """
    signals = {entry.section.key: entry.signal for entry in brief.sections}
    speakers = select_speakers(brief)
    # The lowest first.
    low = [section for position, section in ranked[::-1] if section.advice and position < GOOD_POSITION]
    recommendations = []
    for section in low[:MAX_RECOMMENDATIONS]:
        advice, rating = section.advice, ratings[section.key]
        assert advice is not None
        rank = {p: section.scale.index(member) for p, member in rating.people.items() if member in section.scale}
        signal = signals[section.key]
        ordered = signal is not None and signal.ordered
        # Advice is for those who are rated lowest, or for everyone if somebody is not rated: it may be this person.
        is_ranking = ordered and rank.keys() >= set(speakers)
        lowest = [person for person in rank if rank[person] == max(rank.values())] if is_ranking else []
        people = tuple(lowest or speakers)
        recommendations.append(RecommendationDraft(advice.title, people, advice.suggestion, advice.why, advice.example))
    return recommendations
