"""Findings of the local engine in plain words: what was counted, never more. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from insights.definition import Section
from insights.engines.base import Brief, RecurringWord, SectionBrief
from insights.engines.local.rating import Counts, Reading, speakers
from insights.scales import NOT_ENOUGH_DATA

_MOST_NAMES = 4
_TOO_LITTLE = "There is too little in this chat to rate this."
#: From here on a tenth tells nothing more.
_WHOLE_FROM = 10


class Told:
    """What an insight has said so far: no sentence of counts stands in two sections."""

    def __init__(self) -> None:
        self._sentences: set[str] = set()

    def has(self, sentence: str) -> bool:
        return sentence in self._sentences

    def new(self, sentence: str) -> bool:
        new = sentence not in self._sentences
        self._sentences.add(sentence)
        return new


def finding(brief: Brief, material: SectionBrief, reading: Reading, *, told: Told) -> str:
    counts = Counts(material, speakers(brief), brief.written)
    says = _says(material.section, reading)
    if material.recurring:
        says = f"{says} {_recurring(material)}".strip()
    counted = [] if says and _nothing(counts) else _told(brief, counts, told)
    new = [sentence for sentence in counted if told.new(sentence)]
    if reading.thin is not None:
        new.append(f"With {reading.thin:,} in all, that is too few to weigh one side against the other.")
    return " ".join([*([says] if says else []), *new])


def _recurring(material: SectionBrief) -> str:
    words = [f"{word.word} (on {word.days} days, {_months(word)})" for word in material.recurring]
    return f"Look for {_listed(words)}. Jokes, names or places: you will know."


def _months(word: RecurringWord) -> str:
    first, last = word.first_at, word.last_at
    return f"{first:%B}{'' if first.year == last.year else f' {first.year}'} to {last:%B %Y}"


def _nothing(counts: Counts) -> bool:
    """Whether the rating's own sentence has said it all: nothing was counted."""
    signal = counts.material.section.signal
    return not (signal and signal.fact) and not any(counts.mentions(person) for person in counts.speakers)


def _told(brief: Brief, counts: Counts, told: Told) -> list[str]:
    """What was counted, in the words that fit the section's signal."""
    section = counts.material.section
    kind = section.signal.kind if section.signal else ""
    if section.signal and section.signal.fact:
        return [_figures(brief, counts, section.signal.fact)]
    if kind in ("match", "lead") or (section.signal and section.signal.rank > 1):
        return [_leaders(brief, counts)]
    if kind == "breadth":
        return _breadth(counts, told)
    if kind == "coverage":
        return _coverage(brief, counts)
    if section.groups and kind != "share_gap":
        return [_groups(counts)]
    return [_mentions(brief, counts)] if section.terms else []


def note(brief: Brief, material: SectionBrief, person: int, *, rating: str | None) -> str:
    """What was counted of one person, and why there is no rating where there is none."""
    counts = Counts(material, speakers(brief), brief.written)
    parts = [_own(brief, counts, person)]
    if rating == NOT_ENOUGH_DATA:
        parts.append(_why_not(brief, counts, person))
    return " ".join(part for part in parts if part)


def _own(brief: Brief, counts: Counts, person: int) -> str:
    material, section = counts.material, counts.material.section
    if section.signal and section.signal.fact:
        figures = material.figures(section.signal.fact)
        unit = next((fact.unit for fact in material.facts if fact.name == section.signal.fact), "")
        return f"{_label(material, section.signal.fact)}: {amount(figures[person], unit)}." if person in figures else ""
    if not section.terms:
        return ""
    own = counts.mentions(person)
    ranked = [(key, count) for key, count in counts.ranked(person) if count]
    if section.signal and (section.signal.kind == "lead" or section.signal.rank > 1):
        return _rank(counts, person)
    if not own:
        return f"None in {_messages(brief.written[person])}."
    kinds = _listed(f"{_lower(_title(section, key))} ({count})" for key, count in ranked[:3])
    return f"In {own} of {_messages(brief.written[person])}{': ' + kinds if ranked else ''}."


def _rank(counts: Counts, person: int) -> str:
    """The group that stands at the signal's rank, with its part of all the person's mentions."""
    leader = counts.leader(person, rank=counts.signal.rank)
    if leader is None:
        return ""
    ranked = dict(counts.ranked(person))
    title = "" if counts.signal.kind == "majority" else f"{_title(counts.material.section, leader)}: "
    return f"{title}{ranked[leader]} of {sum(ranked.values())} signs."


def _why_not(brief: Brief, counts: Counts, person: int) -> str:
    signal = counts.signal
    if signal.fact:
        return "There was nothing to measure."
    if signal.kind == "per_hundred":
        return f"A rating takes at least {_messages(signal.least)}."
    if signal.kind not in ("majority", "lead"):
        return ""
    ranked = counts.ranked(person)
    if (total := sum(count for _, count in ranked)) < signal.least:
        return f"{total} {'sign is' if total == 1 else 'signs are'} too few to name one."
    if counts.leader(person, rank=signal.rank) is None:
        return "Two or more kinds come equally often."
    return "No message could be shown for it."


def amount(value: float, unit: str) -> str:
    if unit == "seconds":
        return _duration(value)
    number = f"{value:,.0f}" if value >= _WHOLE_FROM else f"{value:,.1f}".removesuffix(".0")
    return f"{number} percent" if unit == "percent" else number


def _says(section: Section, reading: Reading) -> str:
    if reading.rating is None or reading.thin is not None:
        return ""
    too_few = f"{_capital(section.counted)} are too few here to rate." if section.counted else _TOO_LITTLE
    return section.says.get(reading.rating) or (too_few if reading.rating == NOT_ENOUGH_DATA else "")


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


def _breadth(counts: Counts, told: Told) -> list[str]:
    groups = counts.material.section.groups
    heard = [(group.title, counts.group(group.key)) for group in groups]
    least = counts.signal.least
    present = [f"{title} ({count})" for title, count in sorted(heard, key=lambda entry: -entry[1]) if count >= least]
    absent = [title for title, count in heard if count < least]
    parts = [f"By messages: {_listed(map(_lower, present))}." if present else ""]
    parts += [f"Hardly or not at all: {_listed(map(_lower, absent))}." if absent else ""]
    if any(map(told.has, parts)):
        fewest, count = min(heard, key=lambda entry: entry[1])
        return [f"The least is said of {_lower(fewest)}, {_messages(count) if count else 'no message at all'}."]
    return [part for part in parts if part]


def _coverage(brief: Brief, counts: Counts) -> list[str]:
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
    return [part for part in parts if part]


def _leaders(brief: Brief, counts: Counts) -> str:
    """Each person's group at the signal's rank, with its part of all the groups' mentions."""
    rank = counts.signal.rank
    told = []
    for person in counts.speakers[:_MOST_NAMES]:
        if leader := counts.leader(person, rank=rank):
            ranked = dict(counts.ranked(person))
            part = f"{ranked[leader]} of {sum(ranked.values())} signs"
            told.append(f"{_lower(_title(counts.material.section, leader))} for {brief.people[person]} ({part})")
    return f"{'First' if rank == 1 else 'Second'} comes {_listed(told)}." if told else ""


def _label(material: SectionBrief, fact: str) -> str:
    return next((row.label for row in material.facts if row.name == fact), "")


def _title(section: Section, key: str) -> str:
    return next(group.title for group in section.groups if group.key == key)


def _messages(count: int) -> str:
    return "1 message" if count == 1 else f"{count:,} messages"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _lower(title: str) -> str:
    return title[:1].lower() + title[1:] if title[1:2].islower() else title


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
