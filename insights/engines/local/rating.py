"""Ratings of the local engine: counted figures against a section's cuts. `scales.SIGNALS` says what each reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import fmean

from insights.engines.base import Brief, SectionBrief
from insights.scales import NOT_ENOUGH_DATA, Signal

#: Fewer mentions in all do not weigh one side, or one thing, against another: only the best member is given then.
LEAST_TO_COMPARE = 12
#: The worst member of a scale on which much is bad takes as many mentions, however few messages there are.
LEAST_TO_BLAME = 4
#: So many people of a big group are rated one by one: those who wrote most.
MOST_PEOPLE = 8


@dataclass(frozen=True, slots=True)
class Reading:
    """A section's rating, each person's where the section rates people, and `position` from 1 (best) to 0.

    `thin` counts the mentions where they are too few for the comparison that would have been made.
    """

    rating: str | None = None
    people: Mapping[int, str] = field(default_factory=dict)
    position: float | None = None
    thin: int | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """A section's figures, of the people who wrote."""

    material: SectionBrief
    speakers: tuple[int, ...]
    written: tuple[int, ...]

    @property
    def signal(self) -> Signal:
        assert self.material.section.signal is not None
        return self.material.section.signal

    def mentions(self, person: int) -> int:
        return self.material.mentions[person] if self.material.mentions else 0

    def ranked(self, person: int) -> list[tuple[str, int]]:
        """Groups and their mentions by one person, most first."""
        counts = [(group.key, self.material.groups[group.key][person]) for group in self.material.section.groups]
        return sorted(counts, key=lambda entry: -entry[1])

    def group(self, key: str) -> int:
        """Everybody's mentions of a group."""
        return sum(self.material.groups[key])

    def leader(self, person: int, *, rank: int = 1) -> str | None:
        """The group that stands clearly at this rank, if the person's mentions are enough to say."""
        ranked = [*self.ranked(person), ("", -1)]
        if sum(count for _, count in ranked[:-1]) < self.signal.least or len(ranked) <= rank:
            return None
        key, count = ranked[rank - 1]
        level = count == ranked[rank][1] or (rank > 1 and ranked[rank - 2][1] == count)
        return key if count and not level else None


def speakers(brief: Brief) -> tuple[int, ...]:
    """The people who wrote, those who wrote most first when there are too many."""
    wrote = [person for person, count in enumerate(brief.written) if count]
    return tuple(sorted(sorted(wrote, key=lambda person: -brief.written[person])[:MOST_PEOPLE]))


def read(brief: Brief, material: SectionBrief) -> Reading:
    signal = material.section.signal
    if signal is None:
        return Reading()
    counts = Counts(material, speakers(brief), brief.written)
    return _led(counts) if signal.kind == "majority" else _placed(counts)


def _led(counts: Counts) -> Reading:
    """Each person's leading group; the section's own rating only where it is everybody's."""
    leaders = {person: counts.leader(person, rank=counts.signal.rank) for person in counts.speakers}
    people = {person: leader or NOT_ENOUGH_DATA for person, leader in leaders.items()}
    shared = set(people.values())
    return Reading(shared.pop() if len(shared) == 1 else None if shared else NOT_ENOUGH_DATA, people)


def _placed(counts: Counts) -> Reading:
    section = counts.material.section
    whole, each = _FIGURES[counts.signal.kind](counts)
    people = {}
    if section.per_person:
        people = {
            person: _place(counts, each.get(person), mentions=counts.mentions(person)) for person in counts.speakers
        }
    rating = _place(counts, whole, mentions=sum(map(counts.mentions, counts.speakers)))
    weighed = _weighed(counts)
    if weighed is not None and weighed < LEAST_TO_COMPARE and rating in section.scale[1:]:
        return Reading(NOT_ENOUGH_DATA, thin=weighed)
    rated = [member for member in people.values() if member in section.scale] or [rating]
    positions = [
        1 - section.scale.index(member) / (len(section.scale) - 1) for member in rated if member in section.scale
    ]
    return Reading(rating, people, fmean(positions) if positions else None)


def _weighed(counts: Counts) -> int | None:
    """How many mentions a comparison stands on; None where nothing is compared, or a share is all that is known."""
    kind, fact = counts.signal.kind, counts.signal.fact
    if kind == "share_gap" and fact:
        shares = any(row.unit == "percent" for row in counts.material.facts if row.name == fact)
        return None if shares else int(sum(_fact_figures(counts).values()))
    if kind in ("share_gap", "rate_gap"):
        return sum(map(counts.mentions, counts.speakers))
    if kind == "ratio":
        return counts.group(counts.signal.over) + counts.group(counts.signal.under)
    return sum(map(sum, counts.material.groups.values())) if kind == "coverage" else None


def _place(counts: Counts, figure: float | None, *, mentions: int) -> str:
    if figure is None:
        return NOT_ENOUGH_DATA
    scale = counts.material.section.scale
    if counts.signal.kind == "match":
        return scale[int(figure)]
    member = counts.signal.place(figure, scale)
    blames = counts.signal.kind == "per_hundred" and counts.signal.rising
    return scale[-2] if blames and member == scale[-1] and mentions < LEAST_TO_BLAME else member


Figures = tuple[float | None, Mapping[int, float]]


def _fact_figures(counts: Counts) -> dict[int, float]:
    figures = counts.material.figures(counts.signal.fact)
    return {person: figures[person] for person in counts.speakers if person in figures}


def _share_gap(counts: Counts) -> Figures:
    if counts.signal.fact:
        shares, least = _fact_figures(counts), 0.0
    else:
        shares, least = {person: counts.mentions(person) for person in counts.speakers}, counts.signal.least
    total, people = sum(shares.values()), len(shares)
    if people < 2 or total < least or not total:
        return None, {}
    gap = (max(shares.values()) / total - 1 / people) * people / (people - 1)
    return round(gap, 6), {}


def _threshold(counts: Counts) -> Figures:
    each = _fact_figures(counts)
    whole = counts.material.figure(counts.signal.fact)
    if whole is None and each:
        whole = fmean(each.values())
    return whole, each


def _spread(counts: Counts) -> Figures:
    return _times(_fact_figures(counts)), {}


def _per_hundred(counts: Counts) -> Figures:
    each = _rates(counts)
    written = sum(counts.written[person] for person in counts.speakers)
    mentioned = sum(counts.mentions(person) for person in counts.speakers)
    return (100 * mentioned / written if written >= counts.signal.least else None), each


def _rate_gap(counts: Counts) -> Figures:
    return _times(_rates(counts)), {}


def _rates(counts: Counts) -> dict[int, float]:
    return {
        person: 100 * counts.mentions(person) / counts.written[person]
        for person in counts.speakers
        if counts.written[person] >= counts.signal.least
    }


def _times(figures: Mapping[int, float]) -> float | None:
    """How many times the largest is the smallest."""
    if len(figures) < 2 or not max(figures.values()):
        return None
    return max(figures.values()) / min(figures.values()) if min(figures.values()) else float("inf")


def _recurring_words(counts: Counts) -> Figures:
    return len(counts.material.recurring), {}


def _presence(counts: Counts) -> Figures:
    return sum(counts.mentions(person) for person in counts.speakers), {}


def _lead(counts: Counts) -> Figures:
    each = {}
    for person in counts.speakers:
        ranked = [count for _, count in counts.ranked(person)]
        if sum(ranked) >= max(counts.signal.least, 1):
            each[person] = ranked[0] / sum(ranked)
    return (fmean(each.values()) if each else None), each


def _ratio(counts: Counts) -> Figures:
    over, under = counts.group(counts.signal.over), counts.group(counts.signal.under)
    return (over / under if under and over + under >= counts.signal.least else None), {}


def _breadth(counts: Counts) -> Figures:
    groups = counts.material.section.groups
    return sum(counts.group(group.key) >= counts.signal.least for group in groups) / len(groups), {}


def _coverage(counts: Counts) -> Figures:
    raised = [by for by in counts.material.groups.values() if sum(by)]
    if len(counts.speakers) < 2 or sum(map(sum, raised)) < max(counts.signal.least, 1):
        return None, {}
    return sum(all(by[person] for person in counts.speakers) for by in raised) / len(raised), {}


def _match(counts: Counts) -> Figures:
    """0 for the same leading group, 1 where one person's first is another's second, 2 where they differ."""
    first = {person: counts.leader(person) for person in counts.speakers}
    if len(first) < 2 or None in first.values():
        return None, {}
    if len(set(first.values())) == 1:
        return 0, {}
    second = {person: counts.leader(person, rank=2) for person in counts.speakers}
    crossed = any(second[person] == first[other] for person in first for other in first if person != other)
    return (1 if crossed else 2), {}


_FIGURES: Mapping[str, Callable[[Counts], Figures]] = {
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
