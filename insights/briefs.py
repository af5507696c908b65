"""Gathers what an engine may know of a chat. The only part of writing an insight that reads the database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Protocol

from chats import search
from chats.search import Searcher
from insights import recurring_words, retrieval, safety
from insights.definition import Definition, Section
from insights.engines.base import Brief, Conversation, EngineUnavailable, Fact, RecurringWord, SectionBrief
from insights.facts import FACTS
from insights.models import Insight

#: Messages that hold a phrase of danger and are read to see whether they mean it: more of them change nothing.
MOST_CONCERNS = 1_000


class CountMatches(Protocol):
    """For each person, how many of their messages hold one of the terms, not within a phrase of `unless`."""

    def __call__(self, terms: Sequence[str], unless: Sequence[str]) -> Sequence[int]: ...


#: In a big group the figures of those who wrote most stand for it.
MOST_PEOPLE = 8


def build_brief(insight: Insight) -> Brief:
    """Return the material of an insight. Raise EngineUnavailable if the chat is deleted or not searchable yet."""
    chat = insight.chat
    if chat is None:
        raise EngineUnavailable("chat_deleted")
    try:
        searcher = search.get_searcher(chat)
    except search.NotSearchable as error:
        raise EngineUnavailable("chat_not_searchable") from error
    definition = Definition.parse(insight.type_version.definition)
    people = tuple(chat.participants)
    statistics = chat.statistics
    words = _recurring(searcher, definition, people=people)
    return Brief(
        title=insight.insight_type.title,
        purpose=insight.insight_type.purpose,
        definition=definition,
        language=insight.language,
        people=people,
        written=count_messages(statistics, people),
        sections=build_sections(
            definition,
            count=searcher.count_matches,
            conversations=retrieval.retrieve(searcher, definition.sections, people=people, recurring=words),
            people=people,
            statistics=statistics,
            recurring=words,
        ),
        statistics=statistics,
        messages_total=chat.message_count,
        concerns=_concerns(searcher),
    )


def count_messages(statistics: Mapping[str, Any], people: Sequence[str]) -> tuple[int, ...]:
    """Each person's messages; 0 for those of a big group whom the statistics do not name."""
    persons = statistics["user_stats"]
    return tuple(persons[name]["message_count"] if name in persons else 0 for name in people)


def _concerns(searcher: Searcher) -> dict[str, int]:
    """Messages that may speak of danger, by kind, where there are any."""
    numbers = searcher.matches(safety.PHRASES)[:MOST_CONCERNS]
    return safety.concerns(message.text for message in searcher.get(numbers).values())


def _recurring(searcher: Searcher, definition: Definition, *, people: Sequence[str]) -> tuple[RecurringWord, ...]:
    asked = any(section.signal and section.signal.kind == "recurring_words" for section in definition.sections)
    return recurring_words.find_recurring_words(searcher, people=people) if asked else ()


def build_sections(
    definition: Definition,
    *,
    count: CountMatches,
    conversations: Mapping[str, tuple[Conversation, ...]],
    people: tuple[str, ...],
    statistics: Mapping[str, Any],
    recurring: tuple[RecurringWord, ...] = (),
) -> tuple[SectionBrief, ...]:
    """Each section's material: facts from the statistics, mentions from `count`. Pure."""
    sizes = count_messages(statistics, people)
    shown = sorted(range(len(people)), key=lambda person: -sizes[person])[:MOST_PEOPLE]
    mentions = cache(lambda terms, unless: tuple(count(terms, unless)))
    briefs = []
    told: set[tuple[str, ...]] = set()
    for section in definition.sections:
        counts = mentions(section.terms, section.unless) if section.terms else ()
        groups = {group.key: mentions(group.terms, section.unless) for group in section.groups}
        facts = list(_figures(section, people, statistics))
        own = recurring if section.signal and section.signal.kind == "recurring_words" else ()
        facts += [Fact("recurring_words", f"Days with “{word.word}”", None, word.days, "days") for word in own]
        # Sections that share their words share the counts too: the first of them shows them.
        if section.terms and section.terms not in told:
            told.add(section.terms)
            facts += _mentions(section, counts, groups)
        briefs.append(
            SectionBrief(
                section=section,
                facts=tuple(fact for fact in facts if fact.person is None or fact.person in shown),
                conversations=conversations[section.key],
                mentions=counts,
                groups=groups,
                recurring=own,
            )
        )
    return tuple(briefs)


def _figures(section: Section, people: tuple[str, ...], statistics: Mapping[str, Any]) -> Iterator[Fact]:
    for name in section.facts:
        measure = FACTS[name]
        figure = measure.chat(statistics)
        if figure is not None:
            yield Fact(name, measure.label, None, figure, measure.unit)
        for person, own in measure.people(statistics, people).items():
            yield Fact(name, measure.label, person, own, measure.unit)


def _mentions(section: Section, counts: Sequence[int], groups: Mapping[str, Sequence[int]]) -> Iterator[Fact]:
    if not section.groups:
        label = section.counted[:1].upper() + section.counted[1:]
        for person, count in enumerate(counts):
            yield Fact("mentions", label, person, count, "messages")
    for group in section.groups:
        for person, count in enumerate(groups[group.key]):
            yield Fact(f"mentions.{group.key}", group.title, person, count, "messages")
