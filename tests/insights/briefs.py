"""Briefs built in memory: a conversation that is written out in a test, counted, and shown to every section."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from itertools import accumulate
from typing import Any, NamedTuple

from chats.exports.parsed import Batch, MessageKind, wall_clock
from chats.statistics import StatisticsCounter
from chats.word_index import WordIndex, split_words
from insights import briefs, catalogue, safety
from insights.definition import Definition
from insights.engines.base import Brief, Conversation, RecurringWord, ShownMessage
from insights.translation import get_language
from insights.validation import translate_shown

PEOPLE = ("Asha", "Ravi")
PROVENANCE: dict[str, Any] = {
    "engine": "test",
    "model": "none",
    "method": "counted",
    "type_version": 1,
    "prompt_version": "",
    "tokens": {"in": 0, "out": 0},
    "milliseconds": 7,
}
CONVERSATION_GAP = timedelta(hours=6)

_START = datetime.fromisoformat("2024-01-01T09:00")
_EPOCH = datetime.fromisoformat("1970-01-01T00:00")


class Line(NamedTuple):
    """One message; `after` is the time since the previous one."""

    person: int
    text: str
    after: timedelta = timedelta(minutes=1)


@cache
def get_definition(name: str) -> Definition:
    return read_definitions()[name]


@cache
def read_definitions() -> dict[str, Definition]:
    """Return the definitions of all types of the catalogue, in its order."""
    return {
        values["id"]: Definition.parse(values["definition"])
        for path in sorted(catalogue.DIRECTORY.glob("*.toml"))
        for values in catalogue.read_file(path)[1]
    }


def make_brief(
    lines: Sequence[Line],
    *,
    definition: Definition,
    people: tuple[str, ...] = PEOPLE,
    recurring_words: tuple[RecurringWord, ...] = (),
    language: str = "en",
) -> Brief:
    """Return what briefs.build_brief would return for such a chat, with every message shown to every section."""
    wording = get_language(language)
    definition = translate_shown(definition, wording.translate)
    waits = [round(line.after.total_seconds()) for line in lines]
    start = int((_START - _EPOCH).total_seconds())
    seconds = [start + passed for passed in accumulate(waits)]
    counter = StatisticsCounter()
    counter.add(
        Batch(
            first_number=1,
            seconds=seconds,
            senders=[line.person for line in lines],
            kinds=[MessageKind.TEXT] * len(lines),
            texts=[line.text for line in lines],
        )
    )
    statistics = counter.result(list(people))
    conversations = _split_conversations(lines, seconds)
    return Brief(
        title="An insight",
        purpose="To be tested.",
        definition=definition,
        language=language,
        people=people,
        message_counts=briefs.count_messages(statistics, people),
        sections=briefs.build_sections(
            definition,
            wording=wording,
            count_matches=_make_counter(tuple(lines), people=len(people)),
            conversations={section.key: conversations for section in definition.sections},
            people=people,
            statistics=statistics,
            recurring_words=recurring_words,
        ),
        statistics=statistics,
        messages_total=len(lines),
        concerns=Counter(kind for line in lines for kind in _find_concerns(line.text)),
    )


_find_concerns = cache(safety.find_concerns)


def _split_conversations(lines: Sequence[Line], seconds: Sequence[int]) -> tuple[Conversation, ...]:
    conversations: list[list[ShownMessage]] = []
    for number, (line, at) in enumerate(zip(lines, seconds, strict=True), start=1):
        if not conversations or line.after >= CONVERSATION_GAP:
            conversations.append([])
        conversations[-1].append(ShownMessage(number, wall_clock(at), line.person, line.text))
    return tuple(Conversation(tuple(messages)) for messages in conversations)


# The briefs of many types and languages are about the same few chats.
@cache
def _make_counter(lines: tuple[Line, ...], *, people: int) -> briefs.CountMatches:
    """Return a function that counts as Searcher does, over a word index of the lines."""
    index = WordIndex([[line.text for line in lines]])

    @cache
    def count_once(terms: tuple[str, ...], unless: tuple[str, ...]) -> list[int]:
        longer = [split_words(phrase) for phrase in unless]
        found = (index.find(split_words(term), unless=longer, only_meant=True).tolist() for term in terms)
        matches = {text for texts in found for text in texts}
        return [sum(lines[text].person == person for text in matches) for person in range(people)]

    def count(terms: Sequence[str], unless: Sequence[str] = ()) -> list[int]:
        return list(count_once(tuple(terms), tuple(unless)))

    return count
