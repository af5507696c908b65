"""Sentences about counts: each function states one kind of count in plain words. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from insights.engines.base import Brief, RecurringWord, SectionBrief
from insights.figures import MIN_MATCHES, SectionCounts

if TYPE_CHECKING:
    from insights.definition import Section

_MAX_NAMES = 4
#: From this number on, a decimal place adds no information.
_WHOLE_FROM = 10


def _select_named(people: Sequence[int], *, by: Callable[[int], int]) -> list[int]:
    """Return the _MAX_NAMES people with the largest counts, in the order of the chat's people."""
    return sorted(sorted(people, key=by, reverse=True)[:_MAX_NAMES])


def list_values(brief: Brief, counts: SectionCounts, fact: str) -> str:
    """Return the people's values of a fact; empty if there are none."""
    label, unit = get_label_and_unit(counts.section_brief, fact)
    values = counts.section_brief.values_by_person(fact)
    named = _select_named(
        [person for person in counts.speakers if person in values], by=lambda person: counts.message_counts[person]
    )
    parts = [f"{brief.people[person]} {format_amount(values[person], unit)}" for person in named]
    return f"{label}: {join(parts)}." if parts else ""


def list_leaders(brief: Brief, counts: SectionCounts) -> str:
    """Return each person's group at the signal's rank, with its share of all the person's mentions."""
    rank = counts.signal.rank
    parts = []
    for person in _select_named(counts.speakers, by=lambda person: counts.message_counts[person]):
        if leader := counts.find_leader(person, rank=rank):
            ranked = dict(counts.rank_groups(person))
            share = f"{ranked[leader]} of {sum(ranked.values())} signs"
            title = lower_first(get_title(counts.section_brief.section, leader))
            parts.append(f"{title} for {brief.people[person]} ({share})")
    return f"{'First' if rank == 1 else 'Second'} comes {join(parts)}." if parts else ""


def describe_coverage(brief: Brief, counts: SectionCounts) -> list[str]:
    """Return the groups that everybody mentions and those that only some people mention."""
    by_everyone, by_some = [], []
    for group in counts.section_brief.section.groups:
        mentions = counts.section_brief.groups[group.key]
        people = [person for person in counts.speakers if mentions[person]]
        if len(people) == len(counts.speakers):
            by_everyone.append(group.title)
        elif people:
            by_some.append(f"{group.title} ({join(brief.people[person] for person in people)})")
    sentences = []
    if by_everyone:
        sentences.append(f"Raised by {'both' if len(counts.speakers) == 2 else 'everybody'}: {join(by_everyone)}.")
    if by_some:
        sentences.append(f"Raised from one side: {join(by_some)}.")
    return sentences


def list_groups(counts: SectionCounts) -> str:
    """Return the groups that are mentioned, the most frequent first."""
    section = counts.section_brief.section
    totals = [(group.title, counts.count_group(group.key)) for group in section.groups]
    mentioned = sorted((entry for entry in totals if entry[1]), key=lambda entry: -entry[1])
    if not mentioned:
        return f"No message with {section.terms_label} was counted."
    (first, count), *others = mentioned
    kinds = [f"{first} ({count_messages(count)})", *(f"{title} ({count})" for title, count in others)]
    return f"{upper_first(section.terms_label)}, by kind: {join(kinds)}."


def list_mentions(brief: Brief, counts: SectionCounts) -> str:
    """Return how many of each person's messages contain a term."""
    section = counts.section_brief.section
    if not counts.total_mentions:
        return f"No message with {section.terms_label} was counted."
    parts = [
        f"{counts.count_mentions(person)} of {brief.people[person]}'s {counts.message_counts[person]:,} messages"
        for person in _select_named(counts.speakers, by=counts.count_mentions)
    ]
    return f"{upper_first(section.terms_label)} appear in {join(parts)}."


def list_recurring_words(words: Iterable[RecurringWord]) -> str:
    """Return the words with the number of days and the months in which they were used."""
    parts = []
    for word in words:
        first, last = word.first_at, word.last_at
        months = f"{first:%B}{'' if first.year == last.year else f' {first.year}'} to {last:%B %Y}"
        parts.append(f"{word.word} (on {word.days} days, {months})")
    return f"Look for {join(parts)}. Jokes, names or places: you will know."


def describe_breadth(counts: SectionCounts) -> list[str]:
    """Return the groups with enough messages, the largest number first, and the others."""
    groups = counts.section_brief.section.groups
    totals = [(group.title, counts.count_group(group.key)) for group in groups]
    by_count = sorted(totals, key=lambda entry: -entry[1])
    min_count = counts.signal.min_count
    present = [f"{lower_first(title)} ({count})" for title, count in by_count if count >= min_count]
    absent = [lower_first(title) for title, count in totals if count < min_count]
    sentences = []
    if present:
        sentences.append(f"By messages: {join(present)}.")
    if absent:
        sentences.append(f"Hardly or not at all: {join(absent)}.")
    return sentences


def name_rarest_group(counts: SectionCounts) -> str:
    """Return the group that is mentioned least."""
    groups = counts.section_brief.section.groups
    rarest = min(groups, key=lambda group: counts.count_group(group.key))
    count = counts.count_group(rarest.key)
    return (
        f"The least is said of {lower_first(rarest.title)}, {count_messages(count) if count else 'no message at all'}."
    )


def describe_person(brief: Brief, counts: SectionCounts, person: int) -> str:
    """Return what was counted for one person; empty if the section counts nothing."""
    section = counts.section_brief.section
    signal = section.signal
    if signal and signal.fact:
        values = counts.section_brief.values_by_person(signal.fact)
        label, unit = get_label_and_unit(counts.section_brief, signal.fact)
        return f"{label}: {format_amount(values[person], unit)}." if person in values else ""
    if not section.terms:
        return ""
    ranked = counts.rank_groups(person)
    # These signals compare groups, so a share of signs says more than a number of messages.
    if signal and (signal.kind == "lead" or signal.rank > 1):
        leader = counts.find_leader(person, rank=signal.rank)
        if leader is None:
            return ""
        # A majority's rating names the group already.
        title = "" if signal.kind == "majority" else f"{get_title(section, leader)}: "
        return f"{title}{dict(ranked)[leader]} of {sum(count for _, count in ranked)} signs."
    messages = count_messages(brief.message_counts[person])
    own = counts.count_mentions(person)
    if not own:
        return f"None in {messages}."
    mentioned = [(key, count) for key, count in ranked if count]
    kinds = join(f"{lower_first(get_title(section, key))} ({count})" for key, count in mentioned[:3])
    return f"In {own} of {messages}{': ' + kinds if mentioned else ''}."


def explain_missing_rating(counts: SectionCounts, person: int) -> str:
    """Return why a person has no rating; empty if the signal's kind needs no explanation."""
    signal = counts.signal
    if signal.fact:
        return "There was nothing to measure."
    if signal.kind == "per_hundred":
        if counts.message_counts[person] < signal.min_count:
            return f"A rating takes at least {count_messages(signal.min_count)}."
        return "" if counts.count_mentions(person) >= MIN_MATCHES else "Too few for a rating."
    if signal.kind not in ("majority", "lead"):
        return ""
    total = sum(count for _, count in counts.rank_groups(person))
    if total < signal.min_count:
        return f"{total} {'sign is' if total == 1 else 'signs are'} too few to name one."
    if counts.find_leader(person, rank=signal.rank) is None:
        ranked = [count for _, count in counts.rank_groups(person)]
        too_few = ranked[signal.rank - 1] < MIN_MATCHES
        return "None of them comes often enough to name it." if too_few else "Two or more kinds come equally often."
    # The person has a leading group, so the rating was removed because no example was found.
    return "No message could be shown for it."


def format_amount(value: float, unit: str) -> str:
    """Return a fact's value with its unit, if the unit is a time or a percentage."""
    if unit == "seconds":
        return format_duration(value)
    number = f"{value:,.0f}" if value >= _WHOLE_FROM else f"{value:,.1f}".removesuffix(".0")
    return f"{number} percent" if unit == "percent" else number


def get_label_and_unit(section_brief: SectionBrief, fact: str) -> tuple[str, str]:
    """Return a fact's label and unit; empty if the brief does not have the fact."""
    return next(((row.label, row.unit) for row in section_brief.facts if row.name == fact), ("", ""))


def get_title(section: Section, key: str) -> str:
    """Return the title of the group with this key."""
    return next(group.title for group in section.groups if group.key == key)


def count_messages(count: int) -> str:
    """Return `1 message`, `2 messages` and so on."""
    return "1 message" if count == 1 else f"{count:,} messages"


def upper_first(text: str) -> str:
    """Return the text with a capital first letter and the rest unchanged."""
    return text[:1].upper() + text[1:]


def lower_first(title: str) -> str:
    """Return the title with a small first letter, unless it starts with an acronym."""
    return title[:1].lower() + title[1:] if title[1:2].islower() else title


def join(parts: Iterable[str]) -> str:
    """Return the parts with commas, and `and` before the last."""
    *others, last = list(parts) or [""]
    return f"{', '.join(others)} and {last}" if others else last


def format_duration(seconds: float) -> str:
    """Return the duration in its largest unit; from one hour on, also in minutes."""
    total = round(seconds)
    if total < 60:
        return "1 second" if total == 1 else f"{total} seconds"
    minutes = round(total / 60)
    if minutes < 60:
        return "1 minute" if minutes == 1 else f"{minutes} minutes"
    hours, rest = divmod(minutes, 60)
    text = "1 hour" if hours == 1 else f"{hours} hours"
    return f"{text} {rest} min" if rest else text
