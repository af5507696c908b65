"""Selects the conversations that each section of an insight reads, from all of the chat's time.

A section's queries are searched by meaning and by words, and its terms lead to the chunks that contain most of them;
reciprocal rank fusion (Cormack et al., SIGIR 2009) merges the rankings. Each chunk that was selected from a period of
the chat lowers the scores of the others from that period, so that not everything comes from one month. Neighbouring
chunks of a conversation are joined.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import numpy as np

from chats.exports.parsed import Message, MessageKind
from chats.search import ChunkRange, Searcher
from insights.definition import Section
from insights.engines.base import Conversation, RecurringWord, SectionBrief, ShownMessage
from insights.episodes import Episode
from insights.tokens import count_message_tokens

#: Tokens for all sections together. About 2,000 messages of average length.
TOKEN_BUDGET = 24_000

_MAX_HITS = 60
#: The constant of reciprocal rank fusion, from the paper.
_RANK_OFFSET = 60
#: Periods of equal numbers of chunks, and the factor for each chunk selected from the same period before.
_PERIODS = 6
_PERIOD_PENALTY = 0.7

_MAX_EPISODE_MESSAGES = 24
_MAX_RANKED_EPISODES = 60

#: Consecutive message numbers.
Span = range
#: Returns messages by number.
GetMessages = Callable[[Sequence[int]], Mapping[int, Message]]


def retrieve_conversations(
    searcher: Searcher,
    sections: Sequence[Section],
    *,
    people: Sequence[str],
    token_budget: int = TOKEN_BUDGET,
    recurring_words: Sequence[RecurringWord] = (),
) -> dict[str, tuple[Conversation, ...]]:
    """Return conversations by the section's key, the best first. Conversations of two sections may share messages.

    Every section that quotes gets the whole of a chat that fits the budget, what suits it best first. A section that
    counts recurring words also gets the messages that they are quoted with.
    """
    quoting = [section for section in sections if section.queries and section.evidence.max]
    # Equal shares: a question with many matching messages must not crowd out the others.
    tokens = token_budget // max(len(quoting), 1)
    spans = {
        section.key: join_chunks(searcher.chunks, _select_chunks(searcher, section, tokens=tokens))
        for section in quoting
    }
    for section in sections:
        if section.counts_recurring_words and section.evidence.max:
            found = spans.setdefault(section.key, [])
            quoted = dict.fromkeys(number for word in recurring_words for number in (word.first, word.later))
            found += [range(n, n + 1) for n in quoted if not any(n in span for span in found)]
    if sum(chunk.token_count for chunk in searcher.chunks) <= token_budget:
        whole = join_chunks(searcher.chunks, searcher.chunks)
        spans = {key: [*found, *(span for span in whole if span not in found)] for key, found in spans.items()}
    # Sections share messages; each message is decrypted once.
    numbers = {number for found in spans.values() for span in found for number in span}
    shown = load_messages(searcher.get, numbers, people=people)
    conversations = {}
    for section in sections:
        parts = [tuple(shown[n] for n in span if n in shown) for span in spans.get(section.key, [])]
        conversations[section.key] = tuple(Conversation(messages) for messages in parts if messages)
    return conversations


def retrieve_episodes(
    get: GetMessages, sections: Sequence[SectionBrief], *, people: Sequence[str], token_budget: int = TOKEN_BUDGET
) -> dict[str, tuple[Conversation, ...]]:
    """Return the conversations of each section's best episodes, the best first, by the section's key."""
    quoting = [entry for entry in sections if entry.episodes and entry.section.evidence.max]
    ranked = {entry.section.key: rank_episodes(entry.episodes or ())[:_MAX_RANKED_EPISODES] for entry in quoting}
    # Decrypted once: an episode can answer several sections. Long episodes are cut around the messages that show them.
    spans = {
        (episode.first, episode.last): cut_episode(episode) for episodes in ranked.values() for episode in episodes
    }
    shown = load_messages(get, {number for span in spans.values() for number in span}, people=people)
    conversations: dict[str, tuple[Conversation, ...]] = {entry.section.key: () for entry in sections}
    remaining = token_budget
    for position, entry in enumerate(quoting):
        # What earlier sections left over goes to the later ones.
        tokens = remaining // (len(quoting) - position)
        selected: list[Conversation] = []
        for episode in ranked[entry.section.key]:
            span = spans[episode.first, episode.last]
            messages = tuple(shown[number] for number in span if number in shown)
            cost = count_message_tokens(messages)
            if messages and cost <= tokens:
                tokens -= cost
                remaining -= cost
                selected.append(Conversation(messages))
        conversations[entry.section.key] = tuple(selected)
    return conversations


def rank_episodes(episodes: Sequence[Episode]) -> list[Episode]:
    """Return the episodes, the best first: strong ones, and in turn of every kind, person and time of the chat."""
    if not episodes:
        return []
    first, last = episodes[0].first, episodes[-1].last
    seen: Counter[object] = Counter()
    ranked: list[Episode] = []
    waiting = list(episodes)

    def score(episode: Episode) -> tuple[float, int]:
        period = (episode.first - first) * _PERIODS // max(last - first, 1)
        features = (("kind", episode.kind), ("period", period), ("people", tuple(sorted(episode.roles))))
        return episode.strength * _PERIOD_PENALTY ** sum(seen[feature] for feature in features), -episode.first

    # Quadratic, so bounded: a section shows a few dozen of them.
    while waiting and len(ranked) < _MAX_RANKED_EPISODES:
        best = max(waiting, key=score)
        waiting.remove(best)
        period = (best.first - first) * _PERIODS // max(last - first, 1)
        seen.update([("kind", best.kind), ("period", period), ("people", tuple(sorted(best.roles)))])
        ranked.append(best)
    return [*ranked, *waiting]


def cut_episode(episode: Episode) -> Span:
    """Return the numbers of an episode's messages; of a long one, those around the messages that show it."""
    if episode.last - episode.first < _MAX_EPISODE_MESSAGES:
        return range(episode.first, episode.last + 1)
    center = (episode.shows[0] + episode.shows[-1]) // 2
    start = max(episode.first, center - _MAX_EPISODE_MESSAGES // 2)
    return range(start, min(episode.last, start + _MAX_EPISODE_MESSAGES) + 1)


def load_messages(get: GetMessages, numbers: Collection[int], *, people: Sequence[str]) -> dict[int, ShownMessage]:
    """Return the text messages with these numbers. Each message is decrypted once."""
    person = {name: index for index, name in enumerate(people)}
    return {
        number: ShownMessage(
            number, message.sent_at, person[message.sender], message.text, forwarded=message.details.is_forwarded
        )
        for number, message in get(sorted(numbers)).items()
        if message.kind == MessageKind.TEXT and message.sender in person and message.text.strip()
    }


def _select_chunks(searcher: Searcher, section: Section, *, tokens: int) -> list[ChunkRange]:
    """Return the section's chunks within its tokens, the best first."""
    rankings = [[hit.chunk.number for hit in searcher.search(section.queries, limit=_MAX_HITS)]]
    term_lists = [group.terms for group in section.groups] or [section.terms]
    rankings += [_rank_by_terms(searcher, terms, section.unless) for terms in term_lists if terms]
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, number in enumerate(ranking, start=1):
            scores[number] = scores.get(number, 0.0) + 1 / (_RANK_OFFSET + rank)
    period = {number: number * _PERIODS // len(searcher.chunks) for number in scores}
    n_selected: Counter[int] = Counter()
    selected: list[ChunkRange] = []
    while scores:
        # The smaller number wins a tie, so that the result is always the same.
        best = max(scores, key=lambda number: (scores[number] * _PERIOD_PENALTY ** n_selected[period[number]], -number))
        del scores[best]
        chunk = searcher.chunks[best]
        if chunk.token_count > tokens:
            # One chunk that is longer than the whole share is still better than none.
            if selected:
                continue
            tokens = chunk.token_count
        tokens -= chunk.token_count
        n_selected[period[best]] += 1
        selected.append(chunk)
    return selected


def _rank_by_terms(searcher: Searcher, terms: Sequence[str], unless: Sequence[str]) -> list[int]:
    """Return the numbers of the chunks with the most matching messages per token."""
    first_numbers = np.array([chunk.first_number for chunk in searcher.chunks])
    tokens = np.array([chunk.token_count for chunk in searcher.chunks])
    matching = np.searchsorted(first_numbers, searcher.find_matches(terms, unless), side="right") - 1
    # A density and not a count: long chunks contain more of everything.
    density = np.bincount(matching, minlength=len(first_numbers)) / tokens
    best = np.argsort(-density, kind="stable")[:_MAX_HITS]
    numbers: list[int] = best[density[best] > 0].tolist()
    return numbers


def join_chunks(chunks: Sequence[ChunkRange], selected: Iterable[ChunkRange]) -> list[Span]:
    """Return the message numbers of the selected chunks in their order.

    Selected chunks of one conversation that are neighbours, or have one chunk between them, become one span.
    """
    rank = {chunk.number: index for index, chunk in enumerate(selected)}
    runs: list[list[int]] = []
    for number in sorted(rank):
        before = runs[-1][-1] if runs else None
        # With one missing chunk in between, the gap is read too, because it is part of the same conversation.
        if before is not None and number - before <= 2 and chunks[number].conversation == chunks[before].conversation:
            runs[-1] += range(before + 1, number + 1)
        else:
            runs.append([number])
    runs.sort(key=lambda run: min(rank[number] for number in run if number in rank))
    return [range(chunks[run[0]].first_number, chunks[run[-1]].last_number + 1) for run in runs]
