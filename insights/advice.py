"""The catalogue's advice for what a chat lacks most. Pure.

No model writes advice: a suggestion to people says something about them, and nothing could be cited for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from insights.engines.base import Brief, RecommendationDraft
from insights.figures import select_speakers
from insights.rating import GOOD_POSITION, RankedSections, SectionRating

MAX_RECOMMENDATIONS = 3
MIN_RECOMMENDATIONS = 2


def recommend(
    brief: Brief, ratings: Mapping[str, SectionRating], ranked: RankedSections
) -> Sequence[RecommendationDraft]:
    """Return the advice of the lowest sections, and of others if fewer than MIN_RECOMMENDATIONS are low."""
    signals = {entry.section.key: entry.signal for entry in brief.sections}
    # The lowest first.
    rated = [(position, section) for position, section in ranked[::-1] if section.advice]
    low = [section for position, section in rated if position < GOOD_POSITION][:MAX_RECOMMENDATIONS]
    others = [section for _, section in rated if section not in low]
    unrated = [section for section in brief.definition.sections if section.advice and section not in [*low, *others]]
    selected = [*low, *[*others, *unrated][: max(MIN_RECOMMENDATIONS - len(low), 0)]]
    recommendations = []
    for section in selected:
        advice, rating = section.advice, ratings[section.key]
        assert advice is not None
        rank = {p: section.scale.index(member) for p, member in rating.people.items() if member in section.scale}
        signal = signals[section.key]
        ordered = signal is not None and signal.ordered
        # Advice is for those who are rated lowest; without a ranking it is for everyone.
        lowest = [person for person in rank if rank[person] == max(rank.values())] if ordered else []
        people = tuple(lowest or select_speakers(brief))
        recommendations.append(RecommendationDraft(advice.title, people, advice.suggestion, advice.why, advice.example))
    return recommendations
