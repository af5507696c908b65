"""Briefs made in memory: a conversation written out, counted and shown whole."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from itertools import accumulate
from typing import NamedTuple

from chats.exports.parsed import Batch, Kind, wall_clock
from chats.statistics import StatisticsCounter
from chats.word_index import WordIndex, split_words
from insights import briefs, catalogue, safety
from insights.definition import Definition
from insights.engines.base import Brief, Conversation, RecurringWord, ShownMessage

PEOPLE = ("Asha", "Ravi")
_START = int((datetime.fromisoformat("2024-01-01T09:00") - datetime.fromisoformat("1970-01-01T00:00")).total_seconds())
CONVERSATION_GAP = timedelta(hours=6)


class Line(NamedTuple):
    """One message; `after` is the time since the one before."""

    person: int
    text: str
    after: timedelta = timedelta(minutes=1)


@cache
def definition(name: str) -> Definition:
    _, types = catalogue.read(catalogue.DIRECTORY / "romantic.toml")
    return next(Definition.parse(values["definition"]) for values in types if values["id"] == name)


def brief(
    lines: Sequence[Line],
    *,
    of: Definition,
    people: tuple[str, ...] = PEOPLE,
    recurring: tuple[RecurringWord, ...] = (),
) -> Brief:
    """What briefing would prepare of such a chat, every message shown to every section."""
    seconds = _seconds(lines)
    statistics = StatisticsCounter()
    statistics.add(
        Batch(1, seconds, [line.person for line in lines], [Kind.TEXT] * len(lines), [line.text for line in lines])
    )
    counted = statistics.result(list(people))
    count = _counter(lines, people=len(people))
    conversations = _conversations(lines, seconds)
    return Brief(
        title="An insight",
        purpose="To be tested.",
        definition=of,
        language="en",
        people=people,
        written=briefs.count_messages(counted, people),
        sections=briefs.build_sections(
            of,
            count=count,
            conversations={section.key: conversations for section in of.sections},
            people=people,
            statistics=counted,
            recurring=recurring,
        ),
        statistics=counted,
        messages_total=len(lines),
        concerns=safety.concerns(line.text for line in lines),
    )


def _seconds(lines: Sequence[Line]) -> list[int]:
    waits = [round(line.after.total_seconds()) for line in lines]
    return [_START + passed for passed in accumulate(waits)]


def _conversations(lines: Sequence[Line], seconds: Sequence[int]) -> tuple[Conversation, ...]:
    found: list[list[ShownMessage]] = []
    for number, (line, at) in enumerate(zip(lines, seconds, strict=True), start=1):
        if not found or line.after >= CONVERSATION_GAP:
            found.append([])
        found[-1].append(ShownMessage(number, wall_clock(at), line.person, line.text))
    return tuple(Conversation(tuple(messages)) for messages in found)


def _counter(lines: Sequence[Line], *, people: int) -> briefs.CountMatches:
    """Counts as Searcher does, over the chat's word index."""
    index = WordIndex([[line.text for line in lines]])

    def count(terms: Sequence[str], unless: Sequence[str] = ()) -> list[int]:
        longer = [split_words(phrase) for phrase in unless]
        found = {text for term in terms for text in index.occurrences(split_words(term), unless=longer).tolist()}
        return [sum(lines[text].person == person for text in found) for person in range(people)]

    return count
