"""The figures that signals compare with their cuts, one function for each kind of signal. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from insights.engines.base import Brief, SectionBrief

if TYPE_CHECKING:
    from insights.definition import Signal

#: Fewer messages with a term, or messages that show an episode, give no rating at all.
MIN_MATCHES = 3
#: A person's leading group takes as many episodes.
MIN_LEADING_EPISODES = 2
#: In a big group, the people who wrote most are rated, and facts about people are theirs.
MAX_PEOPLE = 8


@dataclass(frozen=True, slots=True)
class SectionCounts:
    """A section's counts, restricted to the people who wrote."""

    section_brief: SectionBrief
    speakers: tuple[int, ...]
    message_counts: tuple[int, ...]

    @property
    def signal(self) -> Signal:
        """The section's signal; only for sections that have one."""
        assert self.section_brief.signal is not None
        return self.section_brief.signal

    @property
    def was_read(self) -> bool:
        """Whether the counts are of episodes, and not of messages with a term."""
        return self.section_brief.episodes is not None

    @property
    def total_mentions(self) -> int:
        """Everybody's messages that contain a term, or the number of episodes."""
        return self.section_brief.total if self.was_read else sum(map(self.count_mentions, self.speakers))

    def count_mentions(self, person: int) -> int:
        """Return the number of the person's messages that contain a term, or of episodes in which they have a part."""
        return self.section_brief.mentions[person] if self.section_brief.mentions else 0

    def count_sample(self, person: int | None = None) -> int:
        """Return the mentions of the chat, or of one person, that belong to the messages of `message_counts`."""
        entry = self.section_brief
        if person is None:
            return self.total_mentions if entry.sample_total is None else entry.sample_total
        return self.count_mentions(person) if entry.sample_mentions is None else entry.sample_mentions[person]

    def count_support(self, person: int | None = None) -> int:
        """Return how many messages a rating of the chat, or of one person, is based on."""
        if self.section_brief.episodes is None:
            return self.total_mentions if person is None else self.count_mentions(person)
        return len(
            {
                number
                for episode in self.section_brief.episodes
                if person is None or person in episode.roles
                for number in episode.shows
            }
        )

    def rank_groups(self, person: int) -> list[tuple[str, int]]:
        """Return the groups' keys with the person's mentions, the largest number first."""
        counts = [(key, self.section_brief.groups[key][person]) for key in self.section_brief.group_keys]
        return sorted(counts, key=lambda entry: -entry[1])

    def count_group(self, key: str) -> int:
        """Return everybody's mentions of a group, or its number of episodes."""
        return self.section_brief.group_totals[key] if self.was_read else sum(self.section_brief.groups[key])

    def find_leader(self, person: int, *, rank: int = 1) -> str | None:
        """Return the group at this rank.

        None if the person has too few mentions of it or in all, or if another group has as many.
        """
        # The entry at the end lets the last group be compared with a next one.
        ranked = [*self.rank_groups(person), ("", -1)]
        if sum(count for _, count in ranked[:-1]) < self.signal.min_count or len(ranked) <= rank:
            return None
        key, count = ranked[rank - 1]
        tied = count == ranked[rank][1] or (rank > 1 and ranked[rank - 2][1] == count)
        enough = (
            count >= MIN_LEADING_EPISODES and self.count_support(person) >= MIN_MATCHES
            if self.was_read
            else count >= MIN_MATCHES
        )
        return key if enough and not tied else None

    def values_by_speaker(self) -> dict[int, float]:
        """Return the values of the signal's fact."""
        assert self.signal.fact is not None
        values = self.section_brief.values_by_person(self.signal.fact)
        return {person: values[person] for person in self.speakers if person in values}

    def mentions_per_hundred(self) -> dict[int, float]:
        """Return the rates of the people who wrote enough messages for a rate."""
        return {
            person: 100 * self.count_sample(person) / self.message_counts[person]
            for person in self.speakers
            if self.message_counts[person] >= self.signal.min_count
        }


def select_speakers(brief: Brief) -> tuple[int, ...]:
    """Return the people who wrote; in a large group, only the MAX_PEOPLE who wrote the most."""
    people = [person for person, count in enumerate(brief.message_counts) if count]
    # Sorted twice: those who wrote most are selected, and stay in the order of the chat's people.
    return tuple(sorted(sorted(people, key=lambda person: -brief.message_counts[person])[:MAX_PEOPLE]))


def count_compared_mentions(counts: SectionCounts) -> int | None:
    """Return how many mentions a comparison is based on; None if nothing is compared, or if only shares are known."""
    kind, fact = counts.signal.kind, counts.signal.fact
    if kind == "share_gap" and fact:
        # A share is given in percent: the number of events behind it is not in the brief.
        is_share = any(row.unit == "percent" for row in counts.section_brief.facts if row.name == fact)
        return None if is_share else int(sum(counts.values_by_speaker().values()))
    if kind in ("share_gap", "rate_gap"):
        return counts.total_mentions
    if kind in ("ratio", "share"):
        return counts.count_group(counts.signal.over) + counts.count_group(counts.signal.under)
    return sum(map(sum, counts.section_brief.groups.values())) if kind == "coverage" else None


#: The figure of the whole chat, or None if there is too little, and the figures of people.
Figures = tuple[float | None, Mapping[int, float]]


def compute_share_gap(counts: SectionCounts) -> Figures:
    """Return how far the largest share exceeds an even split: 0 if it is even, 1 if one person has everything."""
    shares: Mapping[int, float]
    if counts.signal.fact:
        shares, min_total = counts.values_by_speaker(), 0
    else:
        shares = {person: counts.count_mentions(person) for person in counts.speakers}
        min_total = counts.signal.min_count
    total, people = sum(shares.values()), len(shares)
    if people < 2 or total < min_total or not total:
        return None, {}
    # Scaled so that 1 is reached whatever the number of people.
    gap = (max(shares.values()) / total - 1 / people) * people / (people - 1)
    # Rounded, because an exact 0.1 may come out just above a cut of 0.1.
    return round(gap, 6), {}


def compute_threshold(counts: SectionCounts) -> Figures:
    """Return the fact's value for the chat, or the mean of the people's, and the people's values."""
    assert counts.signal.fact is not None
    values = counts.values_by_speaker()
    whole = counts.section_brief.chat_value(counts.signal.fact)
    # Most facts have no value for the chat, only for people.
    if whole is None and values:
        whole = fmean(values.values())
    return whole, values


def compute_spread(counts: SectionCounts) -> Figures:
    """Return the largest of the people's values of the fact, divided by the smallest."""
    return _largest_by_smallest(counts.values_by_speaker()), {}


def compute_per_hundred(counts: SectionCounts) -> Figures:
    """Return mentions per hundred messages, of the chat and of each person."""
    # Words are counted of the people who wrote most, and episodes of everybody.
    messages = sum(counts.message_counts[person] for person in counts.speakers)
    mentions = counts.count_sample()
    if counts.was_read and not counts.section_brief.section.per_person:
        messages = sum(counts.message_counts)
    elif counts.section_brief.section.per_person:
        # An episode that two people share counts for both, so that the chat's rate is the mean of theirs.
        mentions = sum(map(counts.count_sample, counts.speakers))
    whole = 100 * mentions / messages if messages >= counts.signal.min_count else None
    return whole, counts.mentions_per_hundred()


def compute_rate_gap(counts: SectionCounts) -> Figures:
    """Return the highest of the people's rates of mentions, divided by the lowest."""
    return _largest_by_smallest(counts.mentions_per_hundred()), {}


def _largest_by_smallest(figures: Mapping[int, float]) -> float | None:
    """Return the largest figure divided by the smallest; infinity if only the smallest is 0."""
    if len(figures) < 2 or not max(figures.values()):
        return None
    return max(figures.values()) / min(figures.values()) if min(figures.values()) else float("inf")


def compute_recurring_words(counts: SectionCounts) -> Figures:
    """Return the number of recurring words."""
    return len(counts.section_brief.recurring_words), {}


def compute_presence(counts: SectionCounts) -> Figures:
    """Return the number of messages with a term."""
    return counts.total_mentions, {}


def compute_lead(counts: SectionCounts) -> Figures:
    """Return the leading group's share of a person's mentions; for the chat, the mean of the people's."""
    shares = {}
    for person in counts.speakers:
        ranked = [count for _, count in counts.rank_groups(person)]
        if sum(ranked) >= counts.signal.min_count:
            shares[person] = ranked[0] / sum(ranked)
    return (fmean(shares.values()) if shares else None), shares


def compute_ratio(counts: SectionCounts) -> Figures:
    """Return the mentions of one group for each mention of another; None without any of the other."""
    over, under = counts.count_group(counts.signal.over), counts.count_group(counts.signal.under)
    # Without any mention of `under` the ratio would be infinite, and nothing was compared.
    return (over / under if under and over + under >= counts.signal.min_count else None), {}


def compute_share(counts: SectionCounts) -> Figures:
    """Return the share of one group in the episodes of two, for the chat and for each person.

    Unlike a ratio, it exists without any episode of `under`: who keeps every promise is rated too. Therefore it takes
    episodes, whose absence says something.
    """
    signal, groups = counts.signal, counts.section_brief.groups

    def share(over: int, under: int) -> float | None:
        return over / (over + under) if over + under >= max(1, signal.min_count) else None

    by_person = {person: share(groups[signal.over][person], groups[signal.under][person]) for person in counts.speakers}
    whole = share(counts.count_group(signal.over), counts.count_group(signal.under))
    return whole, {person: value for person, value in by_person.items() if value is not None}


def compute_breadth(counts: SectionCounts) -> Figures:
    """Return the share of the groups that are mentioned often enough."""
    keys = counts.section_brief.group_keys
    return sum(counts.count_group(key) >= counts.signal.min_count for key in keys) / len(keys), {}


def compute_strength(counts: SectionCounts) -> Figures:
    """Return the mean strength of the episodes, from 1 to 3, and of those in which each person has a part.

    A figure takes `min_count` episodes: one harsh evening is no habit.
    """
    episodes = counts.section_brief.episodes or ()
    by_person = {
        person: [episode.strength for episode in episodes if person in episode.roles] for person in counts.speakers
    }
    min_count = counts.signal.min_count
    whole = fmean(episode.strength for episode in episodes) if len(episodes) >= min_count else None
    return whole, {person: fmean(rows) for person, rows in by_person.items() if len(rows) >= min_count}


def compute_coverage(counts: SectionCounts) -> Figures:
    """Return the share of the mentioned groups that everybody mentions."""
    mentioned = [by_person for by_person in counts.section_brief.groups.values() if sum(by_person)]
    if len(counts.speakers) < 2 or sum(map(sum, mentioned)) < counts.signal.min_count:
        return None, {}
    return sum(all(by_person[p] for p in counts.speakers) for by_person in mentioned) / len(mentioned), {}


def compute_match(counts: SectionCounts) -> Figures:
    """Return 0 for the same leading group, 1 if one person's first is another's second, 2 if they differ."""
    first = {person: counts.find_leader(person) for person in counts.speakers}
    # One person without a clear leader leaves nothing to compare.
    if len(first) < 2 or None in first.values():
        return None, {}
    if len(set(first.values())) == 1:
        return 0, {}
    second = {person: counts.find_leader(person, rank=2) for person in counts.speakers}
    crossed = any(second[person] == first[other] for person in first for other in first if person != other)
    return (1 if crossed else 2), {}


FIGURES: Mapping[str, Callable[[SectionCounts], Figures]] = {
    "share_gap": compute_share_gap,
    "threshold": compute_threshold,
    "spread": compute_spread,
    "per_hundred": compute_per_hundred,
    "rate_gap": compute_rate_gap,
    "presence": compute_presence,
    "recurring_words": compute_recurring_words,
    "lead": compute_lead,
    "ratio": compute_ratio,
    "share": compute_share,
    "breadth": compute_breadth,
    "coverage": compute_coverage,
    "match": compute_match,
    "strength": compute_strength,
}
