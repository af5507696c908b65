"""Builds the brief for an engine. The only part of writing an insight that reads the chat from the database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from chats import counting, search
from insights import recurring_words, retrieval, safety
from insights.definition import Definition, Section
from insights.engines.base import Brief, Conversation, EngineUnavailable, Fact, RecurringWord, SectionBrief
from insights.facts import FACTS
from insights.models import Insight

#: At most so many messages with a phrase of danger are read to check whether they mean it; more do not change a brief.
MAX_CONCERNS = 1_000
#: In a big group, facts about people are limited to those who wrote most.
MAX_PEOPLE = 8


#: Takes terms and the phrases of `unless`. Returns, for each person, the number of their messages that contain a term
#: outside these phrases.
CountMatches = Callable[[Sequence[str], Sequence[str]], Sequence[int]]


def build_brief(insight: Insight) -> Brief:
    """Return the brief of an insight. Raise EngineUnavailable if the chat is deleted or not searchable yet."""
    chat = insight.chat
    if chat is None:
        raise EngineUnavailable("chat_deleted")
    try:
        searcher = search.get_searcher(chat)
    except search.NotSearchable as error:
        raise EngineUnavailable("chat_not_searchable") from error
    counting.update_statistics(chat)
    definition = Definition.parse(insight.type_version.definition)
    people = tuple(chat.participants)
    statistics = chat.statistics
    words: tuple[RecurringWord, ...] = ()
    if any(section.counts_recurring_words for section in definition.sections):
        words = recurring_words.find_recurring_words(searcher, people=people)
    conversations = retrieval.retrieve_conversations(
        searcher, definition.sections, people=people, recurring_words=words
    )
    # Matching words are only candidates; the messages are read to see which phrase is meant.
    dangerous = searcher.find_matches(safety.PHRASES, only_meant=False)[:MAX_CONCERNS]
    return Brief(
        title=insight.insight_type.title,
        purpose=insight.insight_type.purpose,
        definition=definition,
        language=insight.language,
        people=people,
        message_counts=count_messages(statistics, people),
        sections=build_sections(
            definition,
            count_matches=searcher.count_matches,
            conversations=conversations,
            people=people,
            statistics=statistics,
            recurring_words=words,
        ),
        statistics=statistics,
        messages_total=chat.message_count,
        concerns=safety.count_concerns(message.text for message in searcher.get(dangerous).values()),
    )


def count_messages(statistics: Mapping[str, Any], people: Sequence[str]) -> tuple[int, ...]:
    """Return each person's number of messages; 0 for members of a big group whom the statistics do not list."""
    by_name = statistics["user_stats"]
    return tuple(by_name[name]["message_count"] if name in by_name else 0 for name in people)


def build_sections(
    definition: Definition,
    *,
    count_matches: CountMatches,
    conversations: Mapping[str, tuple[Conversation, ...]],
    people: tuple[str, ...],
    statistics: Mapping[str, Any],
    recurring_words: tuple[RecurringWord, ...] = (),
) -> tuple[SectionBrief, ...]:
    """Return the material of each section: facts from the statistics, and counted mentions. Pure."""
    message_counts = count_messages(statistics, people)
    # A brief with the facts of 200 members would be mostly facts.
    main_people = sorted(range(len(people)), key=lambda person: -message_counts[person])[:MAX_PEOPLE]
    # Sections can share their terms; each list of terms is counted once.
    count_mentions = cache(lambda terms, unless: tuple(count_matches(terms, unless)))
    briefs = []
    shown_terms: set[tuple[str, ...]] = set()
    for section in definition.sections:
        mentions = count_mentions(section.terms, section.unless) if section.terms else ()
        groups = {group.key: count_mentions(group.terms, section.unless) for group in section.groups}
        words = recurring_words if section.counts_recurring_words else ()
        facts: list[Fact] = []
        for name in section.facts:
            measure = FACTS[name]
            chat_value = measure.read_chat(statistics)
            if chat_value is not None:
                facts.append(Fact(name, measure.label, None, chat_value, measure.unit))
            for person, value in measure.read_people(statistics, people).items():
                facts.append(Fact(name, measure.label, person, value, measure.unit))
        facts += [Fact("recurring_words", f"Days with “{word.word}”", None, word.days, "days") for word in words]
        # Sections that share their terms share the counts too: only the first of them shows them as facts.
        if section.terms and section.terms not in shown_terms:
            shown_terms.add(section.terms)
            facts += _list_mentions(section, mentions, groups)
        briefs.append(
            SectionBrief(
                section=section,
                facts=tuple(fact for fact in facts if fact.person is None or fact.person in main_people),
                conversations=conversations[section.key],
                mentions=mentions,
                groups=groups,
                recurring_words=words,
            )
        )
    return tuple(briefs)


def _list_mentions(section: Section, mentions: Sequence[int], groups: Mapping[str, Sequence[int]]) -> list[Fact]:
    """Return the mentions as facts: by group if the section has groups."""
    if section.groups:
        return [
            Fact(f"mentions.{group.key}", group.title, person, count, "messages")
            for group in section.groups
            for person, count in enumerate(groups[group.key])
        ]
    label = section.terms_label[:1].upper() + section.terms_label[1:]
    return [Fact("mentions", label, person, count, "messages") for person, count in enumerate(mentions)]
