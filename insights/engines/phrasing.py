"""Findings of the local engine in plain words: what was counted, never more. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from insights.definition import Section
from insights.engines.base import Brief, SectionBrief
from insights.engines.rating import Counts, Reading, speakers
from insights.scales import NOT_ENOUGH_DATA

_MOST_NAMES = 4
_TOO_LITTLE = "There is too little in this chat to rate this."


def finding(brief: Brief, material: SectionBrief, reading: Reading) -> str:
    counts = Counts(material, speakers(brief), brief.written)
    says = _says(material.section, reading.rating)
    told = "" if says and _nothing(counts) else _told(brief, counts)
    return f"{says} {told}".strip()


def _nothing(counts: Counts) -> bool:
    """Whether the rating's own sentence has said it all: nothing was counted."""
    signal = counts.material.section.signal
    return not (signal and signal.fact) and not any(counts.mentions(person) for person in counts.speakers)


def _told(brief: Brief, counts: Counts) -> str:
    """What was counted, in the words that fit the section's signal."""
    section = counts.material.section
    kind = section.signal.kind if section.signal else ""
    if section.signal and section.signal.fact:
        return _figures(brief, counts, section.signal.fact)
    if kind in ("match", "lead") or (section.signal and section.signal.rank > 1):
        return _leaders(brief, counts)
    if kind == "breadth":
        return _breadth(counts)
    if kind == "coverage":
        return _coverage(brief, counts)
    if section.groups and kind != "share_gap":
        return _groups(counts)
    return _mentions(brief, counts) if section.terms else ""


def note(brief: Brief, material: SectionBrief, person: int) -> str:
    """What was counted of one person."""
    section = material.section
    counts = Counts(material, speakers(brief), brief.written)
    if section.signal and section.signal.fact:
        figures = material.figures(section.signal.fact)
        unit = next((fact.unit for fact in material.facts if fact.name == section.signal.fact), "")
        return f"{_label(material, section.signal.fact)}: {amount(figures[person], unit)}." if person in figures else ""
    if not section.terms:
        return ""
    own = counts.mentions(person)
    if not section.groups:
        return f"{_capital(section.counted)} appear in {own} of {brief.written[person]} messages."
    ranked = [(key, count) for key, count in counts.ranked(person) if count]
    if not ranked:
        return f"{_capital(section.counted)} appear in none of {brief.written[person]} messages."
    kinds = _listed(f"{_title(section, key)} ({count})" for key, count in ranked[:3])
    return f"{_capital(section.counted)} appear in {own} of {brief.written[person]} messages, by kind: {kinds}."


def amount(value: float, unit: str) -> str:
    if unit == "seconds":
        return _duration(value)
    number = f"{value:,.1f}".removesuffix(".0")
    return f"{number} percent" if unit == "percent" else number


def _says(section: Section, rating: str | None) -> str:
    if rating is None:
        return ""
    return section.says.get(rating) or (_TOO_LITTLE if rating == NOT_ENOUGH_DATA else "")


def _figures(brief: Brief, counts: Counts, fact: str) -> str:
    material = counts.material
    unit = next((row.unit for row in material.facts if row.name == fact), "")
    figures = material.figures(fact)
    told = [
        f"{brief.people[person]} {amount(figures[person], unit)}" for person in counts.speakers if person in figures
    ]
    return f"{_label(material, fact)}: {_listed(told[:_MOST_NAMES])}." if told else ""


def _mentions(brief: Brief, counts: Counts) -> str:
    section = counts.material.section
    if not sum(counts.mentions(person) for person in counts.speakers):
        return f"No message with {section.counted} was counted."
    told = [
        f"{counts.mentions(person)} of {brief.people[person]}'s {counts.written[person]:,} messages"
        for person in counts.speakers[:_MOST_NAMES]
    ]
    return f"{_capital(section.counted)} appear in {_listed(told)}."


def _groups(counts: Counts) -> str:
    section = counts.material.section
    told = [(group.title, counts.group(group.key)) for group in section.groups]
    found = sorted((entry for entry in told if entry[1]), key=lambda entry: -entry[1])
    if not found:
        return f"No message with {section.counted} was counted."
    kinds = _listed(
        f"{title} ({_messages(count)})" if not place else f"{title} ({count})"
        for place, (title, count) in enumerate(found)
    )
    return f"{_capital(section.counted)}, by kind: {kinds}."


def _breadth(counts: Counts) -> str:
    groups = counts.material.section.groups
    heard = [(group.title, counts.group(group.key)) for group in groups]
    least = counts.signal.least
    present = [f"{title} ({count})" for title, count in sorted(heard, key=lambda entry: -entry[1]) if count >= least]
    absent = [title for title, count in heard if count < least]
    parts = [f"Messages counted: {_listed(present)}." if present else ""]
    parts += [f"In fewer than {_messages(least)}: {_listed(absent)}." if absent else ""]
    return " ".join(part for part in parts if part)


def _coverage(brief: Brief, counts: Counts) -> str:
    everyone, some = [], []
    for group in counts.material.section.groups:
        raised = [person for person in counts.speakers if counts.material.groups[group.key][person]]
        if len(raised) == len(counts.speakers):
            everyone.append(group.title)
        elif raised:
            some.append(f"{group.title} ({_listed(brief.people[person] for person in raised)})")
    parts = [
        f"Raised by {'both' if len(counts.speakers) == 2 else 'everybody'}: {_listed(everyone)}." if everyone else ""
    ]
    parts += [f"Raised from one side: {_listed(some)}." if some else ""]
    return " ".join(part for part in parts if part)


def _leaders(brief: Brief, counts: Counts) -> str:
    """Each person's group at the signal's rank, with its part of all the groups' mentions."""
    rank = counts.signal.rank
    told = []
    for person in counts.speakers[:_MOST_NAMES]:
        if leader := counts.leader(person, rank=rank):
            ranked = counts.ranked(person)
            own, total = dict(ranked)[leader], sum(count for _, count in ranked)
            told.append(f"{brief.people[person]}, {_title(counts.material.section, leader)} ({own} of {total})")
    place = "Most frequent" if rank == 1 else "Next most frequent"
    return f"{place}: {'; '.join(told)}." if told else ""


def _label(material: SectionBrief, fact: str) -> str:
    return next((row.label for row in material.facts if row.name == fact), "")


def _title(section: Section, key: str) -> str:
    return next(group.title for group in section.groups if group.key == key)


def _messages(count: int) -> str:
    return "1 message" if count == 1 else f"{count:,} messages"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _listed(parts: Iterable[str]) -> str:
    *most, last = list(parts) or [""]
    return f"{', '.join(most)} and {last}" if most else last


def _duration(seconds: float) -> str:
    """Seconds in the two units that tell most."""
    total = round(seconds)
    if total < 60:
        return "1 second" if total == 1 else f"{total} seconds"
    minutes = round(total / 60)
    if minutes < 60:
        return "1 minute" if minutes == 1 else f"{minutes} minutes"
    hours, rest = divmod(minutes, 60)
    told = "1 hour" if hours == 1 else f"{hours} hours"
    return f"{told} {rest} min" if rest else told
