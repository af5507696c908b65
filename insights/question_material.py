"""The messages that a question is answered from: searches by meaning, words, person, time and kind of episode."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from chats.search import Searcher
from insights import retrieval, safety
from insights.engines.base import Conversation, ShownMessage
from insights.episodes import Episode, Reading
from insights.retrieval import Span
from insights.tokens import count_line_tokens

_MAX_HITS = 200
#: Hits whose neighbours of one conversation are joined.
_MAX_JOINED_HITS = 24
_MAX_EPISODES = 60


@dataclass(frozen=True, slots=True)
class Search:
    """What to look for. Empty fields do not restrict. `person` is an index; days are those of the chat's clock."""

    words: str = ""
    person: int | None = None
    first_day: date | None = None
    last_day: date | None = None
    kind: str | None = None


class Material:
    """Collects the messages that searches find in one chat, within a limit of tokens."""

    def __init__(self, searcher: Searcher, *, people: Sequence[str], reading: Reading | None) -> None:
        self._searcher = searcher
        self._people = people
        self._first_numbers = [chunk.first_number for chunk in searcher.chunks]
        self._episodes = reading.episodes if reading else ()
        self._dangers = frozenset(
            number for danger in (reading.dangers if reading else ()) for number in danger.numbers
        )
        #: All messages that were found, by number.
        self.shown: dict[int, ShownMessage] = {}
        #: Those that may speak of danger: they are not quoted.
        self.concerning: set[int] = set()

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of episodes that can be searched for: those that were found in the chat."""
        return frozenset(episode.kind for episode in self._episodes)

    @property
    def first_and_last_day(self) -> tuple[date, date]:
        """The days of the first and of the last message of the chat."""
        return self._searcher.chat.first_message_on, self._searcher.chat.last_message_on

    def find(self, search: Search, *, token_budget: int) -> list[Span]:
        """Add what a search finds, the best first, and return the numbers of the messages in spans.

        What was shown before costs no tokens. A first span that is too long is cut.
        """
        among = self._searcher.find_chunks(person=search.person, first_day=search.first_day, last_day=search.last_day)
        spans = self._find_episodes(search, among) if search.kind else self._find_chunks(search, among)
        found: list[Span] = []
        for span in spans:
            new = [number for number in span if number not in self.shown]
            messages = retrieval.load_messages(self._searcher.get, new, people=self._people)
            cost = 0
            fitting: dict[int, ShownMessage] = {}
            for number, message in sorted(messages.items()):
                cost += count_line_tokens(message.text)
                if cost <= token_budget:
                    fitting[number] = message
            if cost > token_budget:
                if found:
                    continue
                messages, cost = fitting, token_budget
            token_budget -= cost
            found.append(span)
            self.shown |= messages
            self.concerning.update(
                number
                for number, message in messages.items()
                if number in self._dangers or safety.mentions_danger(message.text)
            )
        return found

    def list_conversations(self, spans: Iterable[Span]) -> list[Conversation]:
        """Return the shown messages of the spans, in the order of the spans. Messages of danger are left out."""
        conversations = [
            Conversation(tuple(self.shown[n] for n in span if n in self.shown and n not in self.concerning))
            for span in spans
        ]
        return [conversation for conversation in conversations if conversation.messages]

    def _find_chunks(self, search: Search, among: Sequence[int]) -> list[Span]:
        chunks = self._searcher.chunks
        if not search.words:
            return retrieval.join_chunks(chunks, [chunks[number] for number in _spread(among)])
        hits = self._searcher.search([search.words], limit=_MAX_JOINED_HITS, among=among)
        found = [hit.chunk.number for hit in hits]
        if len(among) < len(chunks):
            # Of a person or a short time, all is worth reading: it can say the same in other words.
            found += [number for number in _spread(among) if number not in found]
        return retrieval.join_chunks(chunks, [chunks[number] for number in found])

    def _find_episodes(self, search: Search, among: Sequence[int]) -> list[Span]:
        allowed = set(among)
        ranked = retrieval.rank_episodes(
            [
                episode
                for episode in self._episodes
                if episode.kind == search.kind and not allowed.isdisjoint(self._list_chunks(episode))
            ]
        )
        if search.words:
            hits = self._searcher.search([search.words], limit=_MAX_HITS, among=among)
            ranks = {hit.chunk.number: rank for rank, hit in enumerate(hits)}
            ranked.sort(key=lambda each: min(ranks.get(number, _MAX_HITS) for number in self._list_chunks(each)))
        return [retrieval.cut_episode(episode) for episode in ranked[:_MAX_EPISODES]]

    def _list_chunks(self, episode: Episode) -> range:
        """Return the numbers of the chunks that an episode is in."""
        first = bisect_right(self._first_numbers, episode.first) - 1
        return range(max(0, first), max(bisect_right(self._first_numbers, episode.last), first + 1))


def _spread(numbers: Sequence[int]) -> list[int]:
    """Return at most _MAX_JOINED_HITS of the numbers, evenly spread."""
    step = max(1, len(numbers) / _MAX_JOINED_HITS)
    return [numbers[int(index * step)] for index in range(min(len(numbers), _MAX_JOINED_HITS))]
