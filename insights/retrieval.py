"""Which conversations of a chat an insight reads: for each section its own, over the whole of the chat's time.

A section's queries are searched by meaning and by words, and its terms point
to the chunks that hold most of them; the rankings are merged by reciprocal
rank. A chunk from a stretch of the chat that was already drawn from counts
less each time, so that not everything comes from one month. Neighbouring
chunks of a conversation are joined.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from chats.exports.parsed import Kind
from chats.search import ChunkRange, Searcher
from insights.definition import Section
from insights.engines.base import Conversation, RecurringWord, ShownMessage

#: For all sections together. About 2,000 messages of ordinary length.
TOKEN_BUDGET = 24_000
#: A chat of so few messages is shown whole to every section.
WHOLE_CHAT_MESSAGES = 400

_HITS = 60
_RANK_OFFSET = 60
_STRETCHES = 6
_DRAWN_BEFORE = 0.7

Span = range


def retrieve(
    searcher: Searcher,
    sections: Sequence[Section],
    *,
    people: Sequence[str],
    token_budget: int = TOKEN_BUDGET,
    recurring: Sequence[RecurringWord] = (),
) -> dict[str, tuple[Conversation, ...]]:
    """Conversations by the section's key, the best first. Conversations of two sections may share messages.

    A section that asks for recurring words is shown where they came up too.
    """
    asking = [section for section in sections if section.queries and section.evidence_max]
    share = token_budget // max(len(asking), 1)
    spans = {section.key: _joined(searcher.chunks, _pick(searcher, section, tokens=share)) for section in asking}
    for section in sections:
        if section.signal and section.signal.kind == "recurring_words" and section.evidence_max:
            spans.setdefault(section.key, []).extend(_around(recurring, spans.get(section.key, [])))
    if searcher.chat.line_count <= WHOLE_CHAT_MESSAGES:
        whole = _joined(searcher.chunks, searcher.chunks)
        spans = {key: [*own, *(span for span in whole if span not in own)] for key, own in spans.items()}
    shown = _read(searcher, (span for own in spans.values() for span in own), people=people)
    return {section.key: tuple(_conversations(spans.get(section.key, []), shown)) for section in sections}


def _pick(searcher: Searcher, section: Section, *, tokens: int) -> list[ChunkRange]:
    """The section's chunks within its tokens, best first."""
    scores = _scores(searcher, section)
    stretch = {number: number * _STRETCHES // len(searcher.chunks) for number in scores}
    drawn: Counter[int] = Counter()
    picked: list[ChunkRange] = []
    while scores:
        best = max(scores, key=lambda number: (scores[number] * _DRAWN_BEFORE ** drawn[stretch[number]], -number))
        del scores[best]
        chunk = searcher.chunks[best]
        if chunk.token_count > tokens:
            # One chunk longer than the whole share is still better than nothing.
            if picked:
                continue
            tokens = chunk.token_count
        tokens -= chunk.token_count
        drawn[stretch[best]] += 1
        picked.append(chunk)
    return picked


def _scores(searcher: Searcher, section: Section) -> dict[int, float]:
    rankings = [[hit.chunk.number for hit in searcher.search(section.queries, limit=_HITS)]]
    words = [group.terms for group in section.groups] or [section.terms]
    rankings += [_by_terms(searcher, terms, section.unless) for terms in words if terms]
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, number in enumerate(ranking, start=1):
            scores[number] = scores.get(number, 0.0) + 1 / (_RANK_OFFSET + rank)
    return scores


def _by_terms(searcher: Searcher, terms: Sequence[str], unless: Sequence[str]) -> list[int]:
    """Numbers of the chunks that hold most of the terms' messages for their length."""
    firsts = np.array([chunk.first_number for chunk in searcher.chunks])
    tokens = np.array([chunk.token_count for chunk in searcher.chunks])
    holding = np.searchsorted(firsts, searcher.matches(terms, unless), side="right") - 1
    density = np.bincount(holding, minlength=len(firsts)) / tokens
    best = np.argsort(-density, kind="stable")[:_HITS]
    numbers: list[int] = best[density[best] > 0].tolist()
    return numbers


def _around(recurring: Iterable[RecurringWord], spans: Sequence[Span]) -> list[Span]:
    """The messages that the words are quoted with, those that are not shown anyway."""
    numbers = dict.fromkeys(number for word in recurring for number in (word.first, word.later))
    return [range(number, number + 1) for number in numbers if not any(number in span for span in spans)]


def _joined(chunks: Sequence[ChunkRange], picked: Iterable[ChunkRange]) -> list[Span]:
    """Message numbers of the picked chunks in their order, with picked neighbours of one conversation made one."""
    picked = list(picked)
    order = {chunk.number: rank for rank, chunk in enumerate(picked)}
    runs: list[list[int]] = []
    for number in sorted(order):
        before = runs[-1][-1] if runs else None
        if before is not None and number - before <= 2 and chunks[number].conversation == chunks[before].conversation:
            runs[-1] += range(before + 1, number + 1)
        else:
            runs.append([number])
    runs.sort(key=lambda run: min(order[number] for number in run if number in order))
    return [range(chunks[run[0]].first_number, chunks[run[-1]].last_number + 1) for run in runs]


def _read(searcher: Searcher, spans: Iterable[Span], *, people: Sequence[str]) -> dict[int, ShownMessage]:
    """The text messages within the spans, each read once."""
    person = {name: place for place, name in enumerate(people)}
    messages = searcher.get(sorted({number for span in spans for number in span}))
    return {
        number: ShownMessage(number, message.sent_at, person[message.sender], message.text)
        for number, message in messages.items()
        if message.kind == Kind.TEXT and message.sender in person and message.text.strip()
    }


def _conversations(spans: Iterable[Span], shown: Mapping[int, ShownMessage]) -> Iterator[Conversation]:
    for span in spans:
        messages = tuple(shown[number] for number in span if number in shown)
        if messages:
            yield Conversation(messages)
