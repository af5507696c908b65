"""Ratings of the local engine: a section's figure against the cuts of its signal. Pure.

Words are evidence of what they say, and their absence is evidence of nothing: people say the same in words that no list
has. So a rating rests on messages that were found, and a member of the scale that claims an absence is never given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean

from insights.engines.base import Brief, SectionBrief
from insights.engines.local.figures import FIGURES, MIN_MATCHES, SectionCounts, count_compared_mentions, select_speakers
from insights.scales import NOT_ENOUGH_DATA

#: With fewer mentions in all, a comparison of two sides or of groups gives the best member of the scale or no rating.
MIN_MENTIONS_TO_COMPARE = 12
#: The worst member of a scale on which much is bad takes as many mentions, even in a short chat.
MIN_MENTIONS_FOR_WORST = 4


@dataclass(frozen=True, slots=True)
class SectionRating:
    """A section's rating and, if the section rates people, each person's.

    `position` is the place on the scale from 1 (best) to 0 (worst). `insufficient_mentions` is the number of mentions
    if they were too few for the comparison.
    """

    rating: str | None = None
    people: Mapping[int, str] = field(default_factory=dict)
    position: float | None = None
    insufficient_mentions: int | None = None


def rate_section(brief: Brief, section_brief: SectionBrief) -> SectionRating:
    """Return the section's rating, which is empty for a section without a signal."""
    section = section_brief.section
    if section.signal is None:
        return SectionRating()
    counts = SectionCounts(section_brief, select_speakers(brief), brief.message_counts)
    people: dict[int, str]
    if section.signal.kind == "majority":
        leaders = {person: counts.find_leader(person, rank=section.signal.rank) for person in counts.speakers}
        people = {person: leader or NOT_ENOUGH_DATA for person, leader in leaders.items()}
        # The section itself has a rating only if everybody has the same leading group.
        shared = set(people.values()) or {NOT_ENOUGH_DATA}
        return SectionRating(shared.pop() if len(shared) == 1 else None, people)
    chat_figure, figures = FIGURES[section.signal.kind](counts)
    people = {}
    if section.per_person:
        people = {
            person: _place(counts, figures.get(person), mentions=counts.count_mentions(person))
            for person in counts.speakers
        }
    matches = counts.total_mentions
    if section.counts_recurring_words:
        matches = sum(word.days for word in section_brief.recurring_words)
    rating = _place(counts, chat_figure, mentions=matches)
    compared = count_compared_mentions(counts)
    # A few mentions can show that two sides are even, but not that one is worse.
    if compared is not None and compared < MIN_MENTIONS_TO_COMPARE and rating in section.scale[1:]:
        return SectionRating(NOT_ENOUGH_DATA, insufficient_mentions=compared)
    # The position of a section that rates people is the mean of theirs, not that of the chat's figure.
    rated = [member for member in people.values() if member in section.scale] or [rating]
    positions = [
        1 - section.scale.index(member) / (len(section.scale) - 1) for member in rated if member in section.scale
    ]
    return SectionRating(rating, people, fmean(positions) if positions else None)


def _place(counts: SectionCounts, figure: float | None, *, mentions: int) -> str:
    """Return the member of the scale for a figure, based on messages with a term if the signal counts them."""
    section = counts.section_brief.section
    if figure is None or (not counts.signal.fact and mentions < MIN_MATCHES):
        return NOT_ENOUGH_DATA
    scale = section.scale
    if counts.signal.kind == "match":
        return scale[int(figure)]
    member = counts.signal.rate(figure, scale)
    # One harsh message in a chat of twenty is a high rate and no pattern.
    much_is_bad = counts.signal.kind == "per_hundred" and counts.signal.rising
    if much_is_bad and member == scale[-1] and mentions < MIN_MENTIONS_FOR_WORST:
        member = scale[-2]
    # Harm can be counted. That there is little of it, and that it was made good, cannot.
    claims_no_harm = section.sensitive and member != scale[-1]
    claims_gaps = counts.signal.kind == "breadth" and member != scale[0]
    return NOT_ENOUGH_DATA if claims_no_harm or claims_gaps else member
