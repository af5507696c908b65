"""Sentences about counts: each function states one kind of count in plain words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from insights.engines.base import Brief, RecurringWord, SectionBrief
from insights.figures import MIN_MATCHES, SectionCounts
from insights.translation import Language

if TYPE_CHECKING:
    from insights.definition import Section

#: From this number on, a decimal place adds no information.
_WHOLE_FROM = 10


def _join_people(brief: Brief, counts: SectionCounts, parts: Sequence[str]) -> str:
    """Return what is said of each speaker and, in a large group, the number of the people who are not named."""
    others = sum(count > 0 for count in brief.message_counts) - len(counts.speakers)
    if not others:
        return brief.wording.join(parts)
    return brief.wording.say_plural(
        "{names} and {count} other", "{names} and {count} others", others, names=", ".join(parts)
    )


def list_values(brief: Brief, counts: SectionCounts, fact: str) -> str:
    """Return the people's values of a fact; empty if there are none."""
    wording = brief.wording
    label, unit = get_label_and_unit(counts.section_brief, fact)
    values = counts.section_brief.values_by_person(fact)
    parts = [
        f"{brief.people[person]} {format_amount(wording, values[person], unit)}"
        for person in counts.speakers
        if person in values
    ]
    if not parts:
        return ""
    return wording.say("{label}: {values}.", label=label, values=_join_people(brief, counts, parts))


def list_leaders(brief: Brief, counts: SectionCounts) -> str:
    """Return each person's group at the signal's rank, with its share of all the person's mentions."""
    wording, rank = brief.wording, counts.signal.rank
    parts = []
    for person in counts.speakers:
        if leader := counts.find_leader(person, rank=rank):
            ranked = dict(counts.rank_groups(person))
            title = wording.lower_first(get_title(counts.section_brief.section, leader))
            share = wording.say("{count} of {total} signs", count=ranked[leader], total=sum(ranked.values()))
            parts.append(
                wording.say("{title} for {name} ({share})", title=title, name=brief.people[person], share=share)
            )
    if not parts:
        return ""
    groups = _join_people(brief, counts, parts)
    return (
        wording.say("First comes {groups}.", groups=groups)
        if rank == 1
        else wording.say("Second comes {groups}.", groups=groups)
    )


def describe_coverage(brief: Brief, counts: SectionCounts) -> list[str]:
    """Return the groups that everybody mentions and those that only some people mention."""
    wording = brief.wording
    by_everyone, by_some = [], []
    for group in counts.section_brief.section.groups:
        mentions = counts.section_brief.groups[group.key]
        people = [person for person in counts.speakers if mentions[person]]
        if len(people) == len(counts.speakers):
            by_everyone.append(group.title)
        elif people:
            by_some.append(f"{group.title} ({wording.join(brief.people[person] for person in people)})")
    sentences = []
    if by_everyone and len(counts.speakers) == 2:
        sentences.append(wording.say("Raised by both: {groups}.", groups=wording.join(by_everyone)))
    elif by_everyone:
        sentences.append(wording.say("Raised by everybody: {groups}.", groups=wording.join(by_everyone)))
    if by_some:
        sentences.append(wording.say("Raised from one side: {groups}.", groups=wording.join(by_some)))
    return sentences


def list_groups(brief: Brief, counts: SectionCounts) -> str:
    """Return the groups that are mentioned, the most frequent first."""
    wording, section = brief.wording, counts.section_brief.section
    totals = [(group.title, counts.count_group(group.key)) for group in section.groups]
    mentioned = sorted((entry for entry in totals if entry[1]), key=lambda entry: -entry[1])
    if not mentioned:
        return say_none(wording, section.terms_label)
    (first, count), *others = mentioned
    kinds = [
        f"{first} ({count_messages(wording, count)})",
        *(f"{title} ({wording.format_number(count)})" for title, count in others),
    ]
    sentence = wording.say("{label}, by kind: {groups}.", label=section.terms_label, groups=wording.join(kinds))
    return upper_first(sentence)


def list_mentions(brief: Brief, counts: SectionCounts) -> str:
    """Return how many of each person's messages contain a term."""
    wording, section = brief.wording, counts.section_brief.section
    if not counts.total_mentions:
        return say_none(wording, section.terms_label)
    parts = [
        wording.say_plural(
            "{own} of {name}'s {count} messages",
            "{own} of {name}'s {count} messages",
            counts.message_counts[person],
            own=counts.count_mentions(person),
            name=brief.people[person],
        )
        for person in counts.speakers
    ]
    people = _join_people(brief, counts, parts)
    return upper_first(wording.say("{label} appear in {parts}.", label=section.terms_label, parts=people))


def say_none(wording: Language, label: str) -> str:
    """Return that no message with this was counted."""
    return upper_first(wording.say("No message with {label} was counted.", label=label))


def list_recurring_words(wording: Language, words: Iterable[RecurringWord]) -> str:
    """Return the words with the number of days and the months in which they were used."""
    parts = [
        wording.say_plural(
            "{word} (on {count} day, {months})",
            "{word} (on {count} days, {months})",
            word.days,
            word=word.word,
            months=wording.format_months(word.first_at, word.last_at),
        )
        for word in words
    ]
    return wording.say("Look for {words}. Jokes, names or places: you will know.", words=wording.join(parts))


def describe_breadth(brief: Brief, counts: SectionCounts) -> list[str]:
    """Return the groups with enough messages, the largest number first, and the others."""
    wording = brief.wording
    groups = counts.section_brief.section.groups
    totals = [(wording.lower_first(group.title), counts.count_group(group.key)) for group in groups]
    by_count = sorted(totals, key=lambda entry: -entry[1])
    min_count = counts.signal.min_count
    present = [f"{title} ({wording.format_number(count)})" for title, count in by_count if count >= min_count]
    absent = [title for title, count in totals if count < min_count]
    sentences = []
    if present:
        sentences.append(wording.say("By messages: {groups}.", groups=wording.join(present)))
    if absent:
        sentences.append(wording.say("Hardly or not at all: {groups}.", groups=wording.join(absent)))
    return sentences


def name_rarest_group(brief: Brief, counts: SectionCounts) -> str:
    """Return the group that is mentioned least."""
    wording = brief.wording
    groups = counts.section_brief.section.groups
    rarest = min(groups, key=lambda group: counts.count_group(group.key))
    count, title = counts.count_group(rarest.key), wording.lower_first(rarest.title)
    if not count:
        return wording.say("The least is said of {group}, no message at all.", group=title)
    return wording.say(
        "The least is said of {group}, {messages}.", group=title, messages=count_messages(wording, count)
    )


def describe_person(brief: Brief, counts: SectionCounts, person: int) -> str:
    """Return what was counted for one person; empty if the section counts nothing."""
    wording, section = brief.wording, counts.section_brief.section
    signal = section.signal
    if signal and signal.fact:
        values = counts.section_brief.values_by_person(signal.fact)
        label, unit = get_label_and_unit(counts.section_brief, signal.fact)
        if person not in values:
            return ""
        return wording.say("{label}: {values}.", label=label, values=format_amount(wording, values[person], unit))
    if not section.terms:
        return ""
    ranked = counts.rank_groups(person)
    # These signals compare groups, so a share of signs says more than a number of messages.
    if signal and (signal.kind == "lead" or signal.rank > 1):
        leader = counts.find_leader(person, rank=signal.rank)
        if leader is None:
            return ""
        total = sum(count for _, count in ranked)
        signs = wording.say("{count} of {total} signs", count=dict(ranked)[leader], total=total)
        # A majority's rating names the group already.
        if signal.kind == "majority":
            return wording.say("{text}.", text=signs)
        return wording.say("{label}: {values}.", label=get_title(section, leader), values=signs)
    messages = count_messages(wording, brief.message_counts[person])
    own = counts.count_mentions(person)
    if not own:
        return wording.say("None in {messages}.", messages=messages)
    share = wording.say("In {own} of {messages}", own=own, messages=messages)
    mentioned = [(wording.lower_first(get_title(section, key)), count) for key, count in ranked if count]
    kinds = wording.join(f"{title} ({wording.format_number(count)})" for title, count in mentioned[:3])
    return wording.say("{label}: {values}.", label=share, values=kinds) if kinds else wording.say("{text}.", text=share)


def explain_missing_rating(brief: Brief, counts: SectionCounts, person: int) -> str:
    """Return why a person has no rating; empty if the signal's kind needs no explanation."""
    wording, signal = brief.wording, counts.signal
    if signal.fact:
        return wording.say("There was nothing to measure.")
    if signal.kind == "per_hundred":
        if counts.message_counts[person] < signal.min_count:
            messages = count_messages(wording, signal.min_count)
            return wording.say("A rating takes at least {messages}.", messages=messages)
        return "" if counts.count_mentions(person) >= MIN_MATCHES else wording.say("Too few for a rating.")
    if signal.kind not in ("majority", "lead"):
        return ""
    total = sum(count for _, count in counts.rank_groups(person))
    if total < signal.min_count:
        return wording.say_plural(
            "{count} sign is too few to name one.", "{count} signs are too few to name one.", total
        )
    if counts.find_leader(person, rank=signal.rank) is None:
        ranked = [count for _, count in counts.rank_groups(person)]
        if ranked[signal.rank - 1] < MIN_MATCHES:
            return wording.say("None of them comes often enough to name it.")
        return wording.say("Two or more kinds come equally often.")
    # The person has a leading group, so the rating was removed because no example was found.
    return wording.say("No message could be shown for it.")


def format_amount(wording: Language, value: float, unit: str) -> str:
    """Return a fact's value with its unit, if the unit is a time or a percentage."""
    if unit == "seconds":
        return format_duration(wording, value)
    number = wording.format_number(round(value) if value >= _WHOLE_FROM else round(value, 1))
    return wording.say("{number} percent", number=number) if unit == "percent" else number


def get_label_and_unit(section_brief: SectionBrief, fact: str) -> tuple[str, str]:
    """Return a fact's label and unit; empty if the brief does not have the fact."""
    return next(((row.label, row.unit) for row in section_brief.facts if row.name == fact), ("", ""))


def get_title(section: Section, key: str) -> str:
    """Return the title of the group with this key."""
    return next(group.title for group in section.groups if group.key == key)


def count_messages(wording: Language, count: int) -> str:
    """Return `1 message`, `2 messages` and so on."""
    return wording.say_plural("{count} message", "{count} messages", count)


def upper_first(text: str) -> str:
    """Return the text with a capital first letter and the rest unchanged."""
    return text[:1].upper() + text[1:]


def format_duration(wording: Language, seconds: float) -> str:
    """Return the duration in its largest unit; from one hour on, also in minutes."""
    total = round(seconds)
    if total < 60:
        return wording.say_plural("{count} second", "{count} seconds", total)
    minutes = round(total / 60)
    if minutes < 60:
        return wording.say_plural("{count} minute", "{count} minutes", minutes)
    hours, rest = divmod(minutes, 60)
    text = wording.say_plural("{count} hour", "{count} hours", hours)
    return wording.say("{hours} {minutes} min", hours=text, minutes=rest) if rest else text
