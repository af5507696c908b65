"""Builds the brief for an engine. The only part of writing an insight that reads the chat from the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, cast

from chats import counting, search
from chats.models import Chat
from chats.transcript import TranscriptReader
from insights import engines, episode_counts, reading, recurring_words, retrieval, safety
from insights.definition import Definition, Section
from insights.engines.base import (
    Brief,
    Conversation,
    EngineUnavailable,
    Fact,
    ReadingEngine,
    RecurringWord,
    SectionBrief,
)
from insights.episodes import KINDS, Episode, Reading
from insights.facts import FACTS
from insights.figures import MAX_PEOPLE
from insights.models import Insight, InsightType
from insights.translation import Language, get_language
from insights.validation import translate_shown

#: At most so many messages with a word of danger are read to check whether they mean it: 3 s of a chat of 100,000.
MAX_CONCERNS = 20_000


#: Takes terms and the phrases of `unless`. Returns, for each person, the number of their messages that contain a term
#: outside these phrases.
CountMatches = Callable[[Sequence[str], Sequence[str]], Sequence[int]]


def build_brief(insight: Insight) -> Brief:
    """Return the brief of an insight. Raise EngineUnavailable if the chat is deleted, or not searchable or read yet."""
    chat = insight.chat
    if chat is None:
        raise EngineUnavailable("chat_deleted")
    wording = get_language(insight.language)
    definition = translate_shown(Definition.parse(insight.type_version.definition), wording.translate)
    engine = engines.get_engine()
    if engine.method == "read":
        counting.update_statistics(chat)
        return _build_read_brief(insight, chat, definition, token_budget=cast(ReadingEngine, engine).write_tokens)
    try:
        searcher = search.get_searcher(chat)
    except search.NotSearchable as error:
        raise EngineUnavailable("chat_not_searchable") from error
    counting.update_statistics(chat)
    people = tuple(chat.participants)
    statistics = chat.statistics
    words: tuple[RecurringWord, ...] = ()
    if any(section.counts_recurring_words for section in definition.sections):
        words = recurring_words.find_recurring_words(searcher, people=people)
    conversations = retrieval.retrieve_conversations(
        searcher, definition.sections, people=people, recurring_words=words
    )
    # Matching words are only candidates; the messages are read to see which of them mean it.
    dangerous = searcher.find_words(safety.is_searched)[:MAX_CONCERNS]
    concerns = {
        number: kinds
        for number, message in searcher.get(dangerous).items()
        if (kinds := safety.find_concerns(message.text))
    }
    counts = Counter(kind for kinds in concerns.values() for kind in kinds)
    return Brief(
        title=wording.translate(insight.insight_type.title),
        purpose=wording.translate(insight.insight_type.purpose),
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
            wording=wording,
            recurring_words=words,
        ),
        statistics=statistics,
        messages_total=chat.message_count,
        concerns=dict(counts),
        concerning=frozenset(concerns),
    )


def _build_read_brief(insight: Insight, chat: Chat, definition: Definition, *, token_budget: int) -> Brief:
    """Return the brief for an engine that has read the chat."""
    found = reading.load(chat)
    if found is None:
        raise EngineUnavailable("chat_not_read")
    people, statistics = tuple(chat.participants), chat.statistics

    def count_matches(terms: Sequence[str], unless: Sequence[str]) -> Sequence[int]:
        """Count words for a section that no episodes answer. Few types have one, and loading the words is slow."""
        try:
            return search.get_searcher(chat).count_matches(terms, unless)
        except search.NotSearchable as error:
            raise EngineUnavailable("chat_not_searchable") from error

    return build_read_brief(
        insight.insight_type,
        definition=definition,
        language=insight.language,
        people=people,
        other_names=chat.person_of_name,
        statistics=statistics,
        found=found,
        count_matches=count_matches,
        retrieve=lambda sections: retrieval.retrieve_episodes(
            TranscriptReader(chat).get, sections, people=people, token_budget=token_budget
        ),
    )


def build_read_brief(
    insight_type: InsightType,
    *,
    definition: Definition,
    language: str,
    people: tuple[str, ...],
    other_names: Mapping[str, int],
    statistics: Mapping[str, Any],
    found: Reading,
    count_matches: CountMatches,
    retrieve: Callable[[Sequence[SectionBrief]], Mapping[str, tuple[Conversation, ...]]],
) -> Brief:
    """Return the brief of a chat that was read: episodes, and the conversations of the best of them. Pure.

    `definition` is in this language.
    """
    wording = get_language(language)
    # Only what happens now to somebody in the chat withholds anything; other such messages are just not quoted.
    dangers = Counter(danger.kind for danger in found.dangers if danger.withholds)
    brief = Brief(
        title=wording.translate(insight_type.title),
        purpose=wording.translate(insight_type.purpose),
        definition=definition,
        language=language,
        people=people,
        message_counts=tuple(round(count * found.sample_share) for count in count_messages(statistics, people)),
        sections=build_sections(
            definition,
            count_matches=count_matches,
            conversations={section.key: () for section in definition.sections},
            people=people,
            statistics=statistics,
            wording=wording,
            reads=True,
        ),
        statistics=statistics,
        messages_total=found.messages_total,
        concerns=dict(dangers),
        concerning=frozenset(number for danger in found.dangers for number in danger.numbers),
        reading=found,
        other_names=other_names,
    )
    brief = count_episodes(brief, found.episodes)
    conversations = retrieve(brief.sections)
    return replace(
        brief,
        sections=tuple(
            replace(entry, conversations=conversations[entry.section.key]) if entry.episodes is not None else entry
            for entry in brief.sections
        ),
    )


def count_episodes(brief: Brief, episodes: Collection[Episode]) -> Brief:
    """Return the brief with the sections' episodes, and what is counted in them, taken from these episodes. Pure."""
    return replace(brief, sections=tuple(_count_section(brief, entry, episodes) for entry in brief.sections))


def _count_section(brief: Brief, entry: SectionBrief, episodes: Collection[Episode]) -> SectionBrief:
    asks = entry.section.reading
    if asks is None:
        return entry
    matching = tuple(
        episode
        for episode in episodes
        if episode.kind in asks.kinds
        and episode.tone in asks.tones
        and (not asks.topics or episode.topic in asks.topics)
        # A message of danger is no example of anything.
        and brief.concerning.isdisjoint(episode.shows)
    )
    everybody = range(len(brief.people))

    def count_people(selected: Collection[Episode], roles: Collection[str]) -> tuple[int, ...]:
        """Return for each person the number of episodes in which they have one of the roles."""
        counts = Counter(
            person for episode in selected for person, own in episode.roles.items() if not set(own).isdisjoint(roles)
        )
        return tuple(counts[person] for person in everybody)

    groups, totals = {}, {}
    for group in asks.groups:
        members = [
            episode
            for episode in matching
            if (not group.kinds or episode.kind in group.kinds)
            and (not group.topics or episode.topic in group.topics)
            and (not group.roles or any(not set(own).isdisjoint(group.roles) for own in episode.roles.values()))
        ]
        groups[group.key] = count_people(members, group.roles or asks.roles)
        totals[group.key] = len(members)
    mentions = count_people(matching, asks.roles)
    reading = brief.reading
    sampled = [episode for episode in matching if reading is None or reading.is_in_sample(episode)]
    facts = [fact for fact in entry.facts if not fact.name.startswith(("read.", "others.read."))]
    by_kind = Counter(episode.kind for episode in matching)
    wording = brief.wording
    for kind in asks.kinds:
        if by_kind[kind]:
            title = wording.translate(KINDS[kind].title)
            facts.append(Fact(f"read.{kind}", title, None, by_kind[kind], "episodes", "read"))
    if len(asks.kinds) == 1:
        title = wording.translate(KINDS[asks.kinds[0]].title)
        facts += [
            Fact(f"read.{asks.kinds[0]}", title, person, count, "episodes", "read")
            for person, count in enumerate(mentions)
            if count
        ]
    facts += episode_counts.list_facts(matching, kinds=asks.kinds, wording=wording)
    facts = sum_others(facts, message_counts=brief.message_counts, wording=wording)
    if asks.by_month:
        facts += episode_counts.list_months(matching, kind=asks.kinds[0], wording=wording)
    return replace(
        entry,
        facts=tuple(facts),
        mentions=mentions,
        groups=groups,
        recurring_words=(),
        episodes=matching,
        total=len(matching),
        group_totals=totals,
        sample_mentions=count_people(sampled, asks.roles),
        sample_total=len(sampled),
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
    wording: Language,
    recurring_words: tuple[RecurringWord, ...] = (),
    reads: bool = False,
) -> tuple[SectionBrief, ...]:
    """Return the material of each section: facts from the statistics, and counted mentions. Pure.

    If the engine `reads`, words are counted only for sections that no episodes answer.
    """
    message_counts = count_messages(statistics, people)
    # Sections can share their terms; each list of terms is counted once.
    count_mentions = cache(lambda terms, unless: tuple(count_matches(terms, unless)))
    briefs = []
    shown_terms: set[tuple[str, ...]] = set()
    for section in definition.sections:
        counts_words = bool(section.terms) and not (reads and section.reading)
        mentions = count_mentions(section.terms, section.unless) if counts_words else ()
        groups = {g.key: count_mentions(g.terms, section.unless) for g in section.groups if counts_words}
        words = recurring_words if section.counts_recurring_words else ()
        facts: list[Fact] = []
        for name in section.facts:
            measure = FACTS[name]
            label = wording.translate(measure.label)
            chat_value = measure.read_chat(statistics)
            if chat_value is not None:
                facts.append(Fact(name, label, None, chat_value, measure.unit))
            for person, value in measure.read_people(statistics, people).items():
                facts.append(Fact(name, label, person, value, measure.unit))
        facts += [
            Fact("recurring_words", wording.say("Days with “{word}”", word=word.word), None, word.days, "days")
            for word in words
        ]
        # Sections that share their terms share the counts too: only the first of them shows them as facts.
        if counts_words and section.terms not in shown_terms:
            shown_terms.add(section.terms)
            facts += _list_mentions(section, mentions, groups)
        briefs.append(
            SectionBrief(
                section=section,
                facts=tuple(sum_others(facts, message_counts=message_counts, wording=wording)),
                conversations=conversations[section.key],
                mentions=mentions,
                groups=groups,
                recurring_words=words,
            )
        )
    return tuple(briefs)


def sum_others(facts: Sequence[Fact], *, message_counts: Sequence[int], wording: Language) -> list[Fact]:
    """Return the facts with those of the MAX_PEOPLE who wrote most, and the sums of the others' values. Pure.

    A brief with the facts of 200 members would be mostly facts. Averages and rates of others are left out: they do not
    add up.
    """
    main_people = sorted(range(len(message_counts)), key=lambda person: -message_counts[person])[:MAX_PEOPLE]
    kept: list[Fact] = []
    others: dict[str, list[Fact]] = {}
    for fact in facts:
        if fact.person is None or fact.person in main_people:
            kept.append(fact)
        elif fact.name not in FACTS or FACTS[fact.name].adds_up:
            others.setdefault(fact.name, []).append(fact)
    for name, rows in others.items():
        label = wording.say_plural("{label}, {count} other", "{label}, {count} others", len(rows), label=rows[0].label)
        value = round(sum(row.value for row in rows), 1)
        kept.append(replace(rows[0], name=f"others.{name}", label=label, person=None, value=value))
    return kept


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
