"""Ratings of the local engine: a counted figure of a section against its cuts. Pure.

Each signal kind has one function that computes its figure; `scales.SIGNAL_KINDS` describes the kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING

from insights.engines.base import Brief, SectionBrief
from insights.scales import NOT_ENOUGH_DATA

if TYPE_CHECKING:
    from insights.definition import Signal

#: With fewer mentions in all, a comparison of two sides or of groups gives the best member of the scale or no rating.
MIN_MENTIONS_TO_COMPARE = 12
#: The worst member of a scale on which much is bad takes as many mentions, even in a short chat.
MIN_MENTIONS_FOR_WORST = 4
#: In a big group, the people who wrote most are rated.
MAX_PEOPLE = 8


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


@dataclass(frozen=True, slots=True)
class SectionCounts:
    """A section's counts, restricted to the people who wrote."""

    section_brief: SectionBrief
    speakers: tuple[int, ...]
    message_counts: tuple[int, ...]

    @property
    def signal(self) -> Signal:
        """The section's signal; only for sections that have one."""
        assert self.section_brief.section.signal is not None
        return self.section_brief.section.signal

    @property
    def total_mentions(self) -> int:
        """Everybody's messages that contain a term."""
        return sum(map(self.count_mentions, self.speakers))

    def count_mentions(self, person: int) -> int:
        """Return the number of the person's messages that contain a term."""
        return self.section_brief.mentions[person] if self.section_brief.mentions else 0

    def rank_groups(self, person: int) -> list[tuple[str, int]]:
        """Return the groups' keys with the person's mentions, the largest number first."""
        groups = self.section_brief.section.groups
        counts = [(group.key, self.section_brief.groups[group.key][person]) for group in groups]
        return sorted(counts, key=lambda entry: -entry[1])

    def count_group(self, key: str) -> int:
        """Return everybody's mentions of a group."""
        return sum(self.section_brief.groups[key])

    def find_leader(self, person: int, *, rank: int = 1) -> str | None:
        """Return the group at this rank. None if the person has too few mentions, or if another group has as many."""
        ranked = [*self.rank_groups(person), ("", -1)]
        if sum(count for _, count in ranked[:-1]) < self.signal.min_count or len(ranked) <= rank:
            return None
        key, count = ranked[rank - 1]
        tied = count == ranked[rank][1] or (rank > 1 and ranked[rank - 2][1] == count)
        return key if count and not tied else None

    def values_by_speaker(self) -> dict[int, float]:
        """Return the values of the signal's fact."""
        assert self.signal.fact is not None
        values = self.section_brief.values_by_person(self.signal.fact)
        return {person: values[person] for person in self.speakers if person in values}

    def mentions_per_hundred(self) -> dict[int, float]:
        """Return the rates of the people who wrote enough messages for a rate."""
        return {
            person: 100 * self.count_mentions(person) / self.message_counts[person]
            for person in self.speakers
            if self.message_counts[person] >= self.signal.min_count
        }


def select_speakers(brief: Brief) -> tuple[int, ...]:
    """Return the people who wrote, in a big group the MAX_PEOPLE who wrote most."""
    people = [person for person, count in enumerate(brief.message_counts) if count]
    return tuple(sorted(sorted(people, key=lambda person: -brief.message_counts[person])[:MAX_PEOPLE]))


def rate_section(brief: Brief, section_brief: SectionBrief) -> SectionRating:
    """Return the section's rating, which is empty for a section without a signal."""
    section = section_brief.section
    if section.signal is None:
        return SectionRating()
    counts = SectionCounts(section_brief, select_speakers(brief), brief.message_counts)
    if section.signal.kind == "majority":
        return _rate_by_leaders(counts)
    chat_figure, figures = _FIGURES[section.signal.kind](counts)
    people = {}
    if section.per_person:
        people = {
            person: _place(counts, figures.get(person), mentions=counts.count_mentions(person))
            for person in counts.speakers
        }
    rating = _place(counts, chat_figure, mentions=counts.total_mentions)
    compared = _count_compared_mentions(counts)
    if compared is not None and compared < MIN_MENTIONS_TO_COMPARE and rating in section.scale[1:]:
        return SectionRating(NOT_ENOUGH_DATA, insufficient_mentions=compared)
    rated = [member for member in people.values() if member in section.scale] or [rating]
    positions = [
        1 - section.scale.index(member) / (len(section.scale) - 1) for member in rated if member in section.scale
    ]
    return SectionRating(rating, people, fmean(positions) if positions else None)


def _rate_by_leaders(counts: SectionCounts) -> SectionRating:
    """Rate each person by their leading group, and the section only if everybody has the same."""
    leaders = {person: counts.find_leader(person, rank=counts.signal.rank) for person in counts.speakers}
    people = {person: leader or NOT_ENOUGH_DATA for person, leader in leaders.items()}
    shared = set(people.values())
    if not shared:
        return SectionRating(NOT_ENOUGH_DATA, people)
    return SectionRating(shared.pop() if len(shared) == 1 else None, people)


def _count_compared_mentions(counts: SectionCounts) -> int | None:
    """Return how many mentions a comparison is based on; None if nothing is compared, or if only shares are known."""
    kind, fact = counts.signal.kind, counts.signal.fact
    if kind == "share_gap" and fact:
        is_share = any(row.unit == "percent" for row in counts.section_brief.facts if row.name == fact)
        return None if is_share else int(sum(counts.values_by_speaker().values()))
    if kind in ("share_gap", "rate_gap"):
        return counts.total_mentions
    if kind == "ratio":
        return counts.count_group(counts.signal.over) + counts.count_group(counts.signal.under)
    return sum(map(sum, counts.section_brief.groups.values())) if kind == "coverage" else None


def _place(counts: SectionCounts, figure: float | None, *, mentions: int) -> str:
    """Return the member of the scale for a figure."""
    if figure is None:
        return NOT_ENOUGH_DATA
    scale = counts.section_brief.section.scale
    if counts.signal.kind == "match":
        return scale[int(figure)]
    member = counts.signal.rate(figure, scale)
    much_is_bad = counts.signal.kind == "per_hundred" and counts.signal.rising
    if much_is_bad and member == scale[-1] and mentions < MIN_MENTIONS_FOR_WORST:
        return scale[-2]
    return member


#: The figure of the whole chat, or None if there is too little, and the figures of people.
Figures = tuple[float | None, Mapping[int, float]]


def _share_gap(counts: SectionCounts) -> Figures:
    shares: Mapping[int, float]
    if counts.signal.fact:
        shares, min_total = counts.values_by_speaker(), 0
    else:
        shares = {person: counts.count_mentions(person) for person in counts.speakers}
        min_total = counts.signal.min_count
    total, people = sum(shares.values()), len(shares)
    if people < 2 or total < min_total or not total:
        return None, {}
    gap = (max(shares.values()) / total - 1 / people) * people / (people - 1)
    return round(gap, 6), {}


def _threshold(counts: SectionCounts) -> Figures:
    assert counts.signal.fact is not None
    values = counts.values_by_speaker()
    whole = counts.section_brief.chat_value(counts.signal.fact)
    if whole is None and values:
        whole = fmean(values.values())
    return whole, values


def _spread(counts: SectionCounts) -> Figures:
    return _largest_by_smallest(counts.values_by_speaker()), {}


def _per_hundred(counts: SectionCounts) -> Figures:
    messages = sum(counts.message_counts[person] for person in counts.speakers)
    whole = 100 * counts.total_mentions / messages if messages >= counts.signal.min_count else None
    return whole, counts.mentions_per_hundred()


def _rate_gap(counts: SectionCounts) -> Figures:
    return _largest_by_smallest(counts.mentions_per_hundred()), {}


def _largest_by_smallest(figures: Mapping[int, float]) -> float | None:
    """Return the largest figure divided by the smallest; infinity if only the smallest is 0."""
    if len(figures) < 2 or not max(figures.values()):
        return None
    return max(figures.values()) / min(figures.values()) if min(figures.values()) else float("inf")


def _recurring_words(counts: SectionCounts) -> Figures:
    return len(counts.section_brief.recurring_words), {}


def _presence(counts: SectionCounts) -> Figures:
    return counts.total_mentions, {}


def _lead(counts: SectionCounts) -> Figures:
    shares = {}
    for person in counts.speakers:
        ranked = [count for _, count in counts.rank_groups(person)]
        if sum(ranked) >= counts.signal.min_count:
            shares[person] = ranked[0] / sum(ranked)
    return (fmean(shares.values()) if shares else None), shares


def _ratio(counts: SectionCounts) -> Figures:
    over, under = counts.count_group(counts.signal.over), counts.count_group(counts.signal.under)
    return (over / under if under and over + under >= counts.signal.min_count else None), {}


def _breadth(counts: SectionCounts) -> Figures:
    groups = counts.section_brief.section.groups
    return sum(counts.count_group(group.key) >= counts.signal.min_count for group in groups) / len(groups), {}


def _coverage(counts: SectionCounts) -> Figures:
    mentioned = [by_person for by_person in counts.section_brief.groups.values() if sum(by_person)]
    if len(counts.speakers) < 2 or sum(map(sum, mentioned)) < counts.signal.min_count:
        return None, {}
    return sum(all(by_person[p] for p in counts.speakers) for by_person in mentioned) / len(mentioned), {}


def _match(counts: SectionCounts) -> Figures:
    """Return 0 for the same leading group, 1 if one person's first is another's second, 2 if they differ."""
    first = {person: counts.find_leader(person) for person in counts.speakers}
    if len(first) < 2 or None in first.values():
        return None, {}
    if len(set(first.values())) == 1:
        return 0, {}
    second = {person: counts.find_leader(person, rank=2) for person in counts.speakers}
    crossed = any(second[person] == first[other] for person in first for other in first if person != other)
    return (1 if crossed else 2), {}


_FIGURES: Mapping[str, Callable[[SectionCounts], Figures]] = {
    "share_gap": _share_gap,
    "threshold": _threshold,
    "spread": _spread,
    "per_hundred": _per_hundred,
    "rate_gap": _rate_gap,
    "presence": _presence,
    "recurring_words": _recurring_words,
    "lead": _lead,
    "ratio": _ratio,
    "breadth": _breadth,
    "coverage": _coverage,
    "match": _match,
}
