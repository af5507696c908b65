"""Ratings: a section's figure against the cuts of its signal. Pure.

The figure is made of counted words, or of the episodes that a model found when it read the chat. No model rates: so an
answer that flatters, or obeys an instruction in the chat, changes no rating.

Words are evidence of what they say, and their absence is evidence of nothing: people say the same in words that no list
has. So a rating rests on messages that were found, and a member of the scale that claims an absence is given only if
the chat was read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING

from insights.engines.base import Brief, SectionBrief
from insights.figures import FIGURES, MIN_MATCHES, SectionCounts, count_compared_mentions, select_speakers
from insights.scales import NOT_ENOUGH_DATA

if TYPE_CHECKING:
    from insights.definition import Section

#: From this position on, a section counts as a strength; below it, advice is useful.
GOOD_POSITION = 0.75
_MIN_RATED_WEIGHT = 0.5

#: With fewer mentions in all, a comparison of two sides or of groups gives the best member of the scale or no rating.
MIN_MENTIONS_TO_COMPARE = 12
#: The worst member of a scale on which much is bad takes as many mentions, even in a short chat.
MIN_MENTIONS_FOR_WORST = 4
#: The same for episodes, of which a chat has fewer than of words.
MIN_EPISODES_TO_COMPARE = 4
MIN_EPISODES_FOR_WORST = 3
#: The share of a chat that must have been read to say that there is little of something.
MIN_READ_SHARE = 0.5


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


#: Rated sections with their positions on scales that rank, the best first.
RankedSections = Sequence[tuple[float, "Section"]]


def rank_sections(brief: Brief, ratings: Mapping[str, SectionRating]) -> RankedSections:
    """Return the sections that have a position, the best first; equal ones stay in the order of the definition."""
    positions = [(ratings[section.key].position, section) for section in brief.definition.sections]
    ranked = [(position, section) for position, section in positions if position is not None]
    return sorted(ranked, key=lambda entry: -entry[0])


def compute_score(brief: Brief, ranked: RankedSections) -> int | None:
    """Return ten times the weighted mean of the positions, or None if too little of the weight could be rated."""
    # A score from a small part of the questions would look as certain as one from all of them.
    weight = sum(section.weight for _, section in ranked)
    possible_weight = 0.0
    for entry in brief.sections:
        # Questions that take reading count too: without it, the others are only a part.
        signal = entry.signal or (entry.section.reading.signal if entry.section.reading else None)
        if signal is not None and signal.ordered:
            possible_weight += entry.section.weight
    if not weight or weight < possible_weight * _MIN_RATED_WEIGHT:
        return None
    # Rounded half up: `round` rounds half to even, so 6.5 would become 6 and 7.5 become 8.
    return math.floor(10 * sum(position * section.weight for position, section in ranked) / weight + 0.5)


def rate_section(brief: Brief, section_brief: SectionBrief) -> SectionRating:
    """Return the section's rating, which is empty for a section without a scale.

    A section that takes reading has none if the chat was not read.
    """
    section, signal = section_brief.section, section_brief.signal
    if signal is None:
        return SectionRating(NOT_ENOUGH_DATA if section.scale else None)
    counts = SectionCounts(section_brief, select_speakers(brief), brief.message_counts)
    people: dict[int, str]
    if signal.kind == "majority":
        leaders = {person: counts.find_leader(person, rank=signal.rank) for person in counts.speakers}
        people = {person: leader or NOT_ENOUGH_DATA for person, leader in leaders.items()}
        # The section itself has a rating only if everybody has the same leading group.
        shared = set(people.values()) or {NOT_ENOUGH_DATA}
        return SectionRating(shared.pop() if len(shared) == 1 else None, people)
    chat_figure, figures = FIGURES[signal.kind](counts)
    read_share = brief.reading.messages_read / brief.reading.messages_total if brief.reading else 0.0
    shows_absence = counts.was_read and read_share >= MIN_READ_SHARE
    people = {}
    if section.per_person:
        people = {
            person: _place(
                counts,
                figures.get(person),
                mentions=counts.count_mentions(person),
                support=counts.count_support(person),
                absence=shows_absence,
            )
            for person in counts.speakers
        }
    support = counts.count_support()
    if signal.kind == "recurring_words":
        support = sum(word.days for word in section_brief.recurring_words)
    rating = _place(counts, chat_figure, mentions=counts.total_mentions, support=support, absence=shows_absence)
    compared = count_compared_mentions(counts)
    min_compared = MIN_EPISODES_TO_COMPARE if counts.was_read and not signal.fact else MIN_MENTIONS_TO_COMPARE
    # A few mentions can show that two sides are even, but not that one is worse.
    if compared is not None and compared < min_compared and rating in section.scale[1:]:
        return SectionRating(NOT_ENOUGH_DATA, insufficient_mentions=compared)
    # The position of a section that rates people is the mean of theirs, not that of the chat's figure.
    rated = [member for member in people.values() if member in section.scale] or [rating]
    positions = [
        1 - section.scale.index(member) / (len(section.scale) - 1) for member in rated if member in section.scale
    ]
    return SectionRating(rating, people, fmean(positions) if positions else None)


def _place(counts: SectionCounts, figure: float | None, *, mentions: int, support: int, absence: bool) -> str:
    """Return the member of the scale for a figure, or not_enough_data.

    The figure counts `mentions` (words or episodes) and is based on `support` messages. `absence`: whether enough of
    the chat was read to say that there is little of something.
    """
    section, signal = counts.section_brief.section, counts.signal
    if figure is None or (not signal.fact and support < MIN_MATCHES):
        return NOT_ENOUGH_DATA
    scale = section.scale
    if signal.kind == "match":
        return scale[int(figure)]
    member = signal.rate(figure, scale)
    # One harsh message in a chat of twenty is a high rate and no pattern.
    much_is_bad = signal.kind == "per_hundred" and signal.rising
    min_for_worst = MIN_EPISODES_FOR_WORST if counts.was_read else MIN_MENTIONS_FOR_WORST
    if much_is_bad and member == scale[-1] and mentions < min_for_worst:
        member = scale[-2]
    # Harm can be counted in words. That there is little of it, and that it was made good, cannot.
    claims_no_harm = section.sensitive and member != scale[-1]
    claims_gaps = signal.kind == "breadth" and member != scale[0]
    return NOT_ENOUGH_DATA if not absence and (claims_no_harm or claims_gaps) else member
