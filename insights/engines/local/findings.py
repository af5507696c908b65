"""Findings and notes of the local engine in plain words: what was counted, and nothing else. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from insights.engines.base import Brief, RecurringWord, SectionBrief
from insights.engines.local.rating import SectionCounts, SectionRating, select_speakers
from insights.scales import NOT_ENOUGH_DATA

if TYPE_CHECKING:
    from insights.definition import Section

_MAX_NAMES = 4
_TOO_LITTLE = "There is too little in this chat to rate this."
#: From this number on, a decimal place adds no information.
_WHOLE_FROM = 10


class FindingWriter:
    """Writes the findings of one insight. A sentence of counts is used once: sections can share their terms."""

    def __init__(self, brief: Brief) -> None:
        self._brief = brief
        self._used: set[str] = set()

    def write_finding(self, section_brief: SectionBrief, rating: SectionRating) -> str:
        """Return the rating in words and what it is based on."""
        counts = SectionCounts(section_brief, select_speakers(self._brief), self._brief.message_counts)
        rating_sentence = _get_rating_sentence(section_brief.section, rating)
        if section_brief.recurring_words:
            rating_sentence = f"{rating_sentence} {_list_recurring_words(section_brief.recurring_words)}".strip()
        # Where nothing was counted, the rating's own sentence says everything.
        counted = [] if rating_sentence and _is_nothing_counted(counts) else self._describe_counts(counts)
        new = [sentence for sentence in counted if sentence not in self._used]
        self._used.update(new)
        if rating.insufficient_mentions is not None:
            mentions = f"{rating.insufficient_mentions:,}"
            new.append(f"With {mentions} in all, that is too few to weigh one side against the other.")
        return " ".join([*([rating_sentence] if rating_sentence else []), *new])

    def _describe_counts(self, counts: SectionCounts) -> list[str]:
        """Return what was counted, in the form that suits the section's signal."""
        section = counts.section_brief.section
        signal = section.signal
        if signal and signal.fact:
            return [_list_values(self._brief, counts, signal.fact)]
        if signal and (signal.kind in ("match", "lead") or signal.rank > 1):
            return [_list_leaders(self._brief, counts)]
        if signal and signal.kind == "breadth":
            return self._describe_breadth(counts)
        if signal and signal.kind == "coverage":
            return _describe_coverage(self._brief, counts)
        if section.groups and not (signal and signal.kind == "share_gap"):
            return [_list_groups(counts)]
        return [_list_mentions(self._brief, counts)] if section.terms else []

    def _describe_breadth(self, counts: SectionCounts) -> list[str]:
        groups = counts.section_brief.section.groups
        totals = [(group.title, counts.count_group(group.key)) for group in groups]
        by_count = sorted(totals, key=lambda entry: -entry[1])
        min_count = counts.signal.min_count
        present = [f"{title} ({count})" for title, count in by_count if count >= min_count]
        absent = [title for title, count in totals if count < min_count]
        sentences = []
        if present:
            sentences.append(f"By messages: {_join(map(_lower_first, present))}.")
        if absent:
            sentences.append(f"Hardly or not at all: {_join(map(_lower_first, absent))}.")
        if any(sentence in self._used for sentence in sentences):
            rarest, count = min(totals, key=lambda entry: entry[1])
            messages = _count_messages(count) if count else "no message at all"
            return [f"The least is said of {_lower_first(rarest)}, {messages}."]
        return sentences


def write_note(brief: Brief, section_brief: SectionBrief, person: int, *, rating: str | None) -> str:
    """Return what was counted for one person and, if there is no rating, the reason."""
    counts = SectionCounts(section_brief, select_speakers(brief), brief.message_counts)
    parts = [_describe_person(brief, counts, person)]
    if rating == NOT_ENOUGH_DATA:
        parts.append(_explain_missing_rating(brief, counts, person))
    return " ".join(part for part in parts if part)


def _get_rating_sentence(section: Section, rating: SectionRating) -> str:
    if rating.rating is None or rating.insufficient_mentions is not None:
        return ""
    if sentence := section.sentences.get(rating.rating):
        return sentence
    if rating.rating != NOT_ENOUGH_DATA:
        return ""
    return f"{_upper_first(section.terms_label)} are too few here to rate." if section.terms_label else _TOO_LITTLE


def _list_recurring_words(words: Iterable[RecurringWord]) -> str:
    parts = []
    for word in words:
        first, last = word.first_at, word.last_at
        months = f"{first:%B}{'' if first.year == last.year else f' {first.year}'} to {last:%B %Y}"
        parts.append(f"{word.word} (on {word.days} days, {months})")
    return f"Look for {_join(parts)}. Jokes, names or places: you will know."


def _is_nothing_counted(counts: SectionCounts) -> bool:
    signal = counts.section_brief.section.signal
    return not (signal and signal.fact) and not counts.total_mentions


def _list_values(brief: Brief, counts: SectionCounts, fact: str) -> str:
    label, unit = _get_label_and_unit(counts.section_brief, fact)
    values = counts.section_brief.values_by_person(fact)
    parts = [
        f"{brief.people[person]} {format_amount(values[person], unit)}"
        for person in counts.speakers
        if person in values
    ]
    return f"{label}: {_join(parts[:_MAX_NAMES])}." if parts else ""


def _list_leaders(brief: Brief, counts: SectionCounts) -> str:
    """Return each person's group at the signal's rank, with its share of all the person's mentions."""
    rank = counts.signal.rank
    parts = []
    for person in counts.speakers[:_MAX_NAMES]:
        if leader := counts.find_leader(person, rank=rank):
            ranked = dict(counts.rank_groups(person))
            share = f"{ranked[leader]} of {sum(ranked.values())} signs"
            title = _lower_first(_get_title(counts.section_brief.section, leader))
            parts.append(f"{title} for {brief.people[person]} ({share})")
    return f"{'First' if rank == 1 else 'Second'} comes {_join(parts)}." if parts else ""


def _describe_coverage(brief: Brief, counts: SectionCounts) -> list[str]:
    """Return the groups that everybody mentions and those that only some people mention."""
    by_everyone, by_some = [], []
    for group in counts.section_brief.section.groups:
        mentions = counts.section_brief.groups[group.key]
        people = [person for person in counts.speakers if mentions[person]]
        if len(people) == len(counts.speakers):
            by_everyone.append(group.title)
        elif people:
            by_some.append(f"{group.title} ({_join(brief.people[person] for person in people)})")
    sentences = []
    if by_everyone:
        sentences.append(f"Raised by {'both' if len(counts.speakers) == 2 else 'everybody'}: {_join(by_everyone)}.")
    if by_some:
        sentences.append(f"Raised from one side: {_join(by_some)}.")
    return sentences


def _list_groups(counts: SectionCounts) -> str:
    section = counts.section_brief.section
    totals = [(group.title, counts.count_group(group.key)) for group in section.groups]
    mentioned = sorted((entry for entry in totals if entry[1]), key=lambda entry: -entry[1])
    if not mentioned:
        return f"No message with {section.terms_label} was counted."
    (first, count), *others = mentioned
    kinds = [f"{first} ({_count_messages(count)})", *(f"{title} ({count})" for title, count in others)]
    return f"{_upper_first(section.terms_label)}, by kind: {_join(kinds)}."


def _list_mentions(brief: Brief, counts: SectionCounts) -> str:
    section = counts.section_brief.section
    if not counts.total_mentions:
        return f"No message with {section.terms_label} was counted."
    parts = [
        f"{counts.count_mentions(person)} of {brief.people[person]}'s {counts.message_counts[person]:,} messages"
        for person in counts.speakers[:_MAX_NAMES]
    ]
    return f"{_upper_first(section.terms_label)} appear in {_join(parts)}."


def _describe_person(brief: Brief, counts: SectionCounts, person: int) -> str:
    section = counts.section_brief.section
    signal = section.signal
    if signal and signal.fact:
        values = counts.section_brief.values_by_person(signal.fact)
        label, unit = _get_label_and_unit(counts.section_brief, signal.fact)
        return f"{label}: {format_amount(values[person], unit)}." if person in values else ""
    if not section.terms:
        return ""
    ranked = counts.rank_groups(person)
    if signal and (signal.kind == "lead" or signal.rank > 1):
        leader = counts.find_leader(person, rank=signal.rank)
        if leader is None:
            return ""
        # A majority's rating names the group already.
        title = "" if signal.kind == "majority" else f"{_get_title(section, leader)}: "
        return f"{title}{dict(ranked)[leader]} of {sum(count for _, count in ranked)} signs."
    messages = _count_messages(brief.message_counts[person])
    own = counts.count_mentions(person)
    if not own:
        return f"None in {messages}."
    mentioned = [(key, count) for key, count in ranked if count]
    kinds = _join(f"{_lower_first(_get_title(section, key))} ({count})" for key, count in mentioned[:3])
    return f"In {own} of {messages}{': ' + kinds if mentioned else ''}."


def _explain_missing_rating(brief: Brief, counts: SectionCounts, person: int) -> str:
    signal = counts.signal
    if signal.fact:
        return "There was nothing to measure."
    if signal.kind == "per_hundred":
        return f"A rating takes at least {_count_messages(signal.min_count)}."
    if signal.kind not in ("majority", "lead"):
        return ""
    total = sum(count for _, count in counts.rank_groups(person))
    if total < signal.min_count:
        return f"{total} {'sign is' if total == 1 else 'signs are'} too few to name one."
    if counts.find_leader(person, rank=signal.rank) is None:
        return "Two or more kinds come equally often."
    return "No message could be shown for it."


def format_amount(value: float, unit: str) -> str:
    """Return a fact's value with its unit, if the unit is a time or a percentage."""
    if unit == "seconds":
        return _format_duration(value)
    number = f"{value:,.0f}" if value >= _WHOLE_FROM else f"{value:,.1f}".removesuffix(".0")
    return f"{number} percent" if unit == "percent" else number


def _format_duration(seconds: float) -> str:
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


def _get_label_and_unit(section_brief: SectionBrief, fact: str) -> tuple[str, str]:
    return next(((row.label, row.unit) for row in section_brief.facts if row.name == fact), ("", ""))


def _get_title(section: Section, key: str) -> str:
    return next(group.title for group in section.groups if group.key == key)


def _count_messages(count: int) -> str:
    return "1 message" if count == 1 else f"{count:,} messages"


def _upper_first(text: str) -> str:
    return text[:1].upper() + text[1:]


def _lower_first(title: str) -> str:
    """Return the title with a small first letter, unless it starts with an acronym."""
    return title[:1].lower() + title[1:] if title[1:2].islower() else title


def _join(parts: Iterable[str]) -> str:
    *others, last = list(parts) or [""]
    return f"{', '.join(others)} and {last}" if others else last
