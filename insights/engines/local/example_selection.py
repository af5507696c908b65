"""Selects the examples of a section: short exchanges around messages that contain a term, or nearly a whole query.

A message that is only similar in meaning is not an example: a section without a literal match has none. No message is
quoted twice in one insight, and none that may speak of danger is quoted as an example of something else. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from chats.statistics.languages import STOP_WORDS
from chats.word_index import find_offsets, is_denied, split_words
from insights import safety
from insights.engines.base import Brief, CitedExchange, Conversation, SectionBrief, ShownMessage

if TYPE_CHECKING:
    from insights.definition import Section

MAX_MESSAGES = 4
_MAX_ANSWER_DELAY = timedelta(hours=1)
_MAX_LEAD_IN_DELAY = timedelta(minutes=10)
_MAX_WORDS = 80
_PERIODS = 3
_MAX_TERM_WORDS = 6
#: A message matches a query if it contains at least this share of the query's content words. One word is no match.
_QUERY_MATCH = 0.75
_MIN_CONTENT_WORDS = 2
#: More than length, answer and rank can add up to: a message that matches a query comes first.
_QUERY_MATCH_SCORE = 2.0

Phrase = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A message worth quoting, its index in its conversation, and the group whose term it contains."""

    conversation: Conversation
    index: int
    group: str
    score: float

    @property
    def message(self) -> ShownMessage:
        return self.conversation.messages[self.index]


class _Matcher:
    """Finds the terms and queries of a section in a text that is split into words."""

    def __init__(self, section: Section) -> None:
        #: each term's group; empty in a section without groups
        self.terms: dict[Phrase, str] = {}
        if not section.groups:
            self.terms = {tuple(split_words(term)): "" for term in section.terms}
        # Reversed: a term of two groups belongs to the first.
        for group in reversed(section.groups):
            self.terms.update({tuple(split_words(term)): group.key for term in group.terms})
        self._excluded = [tuple(split_words(phrase)) for phrase in section.unless]
        queries = (frozenset(split_words(query)) - STOP_WORDS for query in section.queries)
        self._queries = [query for query in queries if len(query) >= _MIN_CONTENT_WORDS]

    def find_groups(self, text: Sequence[str]) -> set[str]:
        """Return the groups with a term in the text that is meant and is not part of an excluded phrase."""
        groups = set()
        for length in range(1, _MAX_TERM_WORDS + 1):
            for start in range(len(text) - length + 1):
                phrase = tuple(text[start : start + length])
                if phrase not in self.terms:
                    continue
                # The occurrence is excluded if a longer phrase of `unless` covers it here.
                excluded = any(
                    start >= offset and tuple(text[start - offset : start - offset + len(longer)]) == longer
                    for longer in self._excluded
                    for offset in find_offsets(phrase, longer)
                )
                if not excluded and not is_denied(text, start, start + length):
                    groups.add(self.terms[phrase])
        return groups

    def matches_query(self, text: Sequence[str]) -> bool:
        """Return whether the text contains most of a query's content words."""
        words = set(text)
        return any(len(query & words) / len(query) >= _QUERY_MATCH for query in self._queries)


class ExampleSelector:
    """Selects the examples of one insight, section by section."""

    def __init__(self, brief: Brief) -> None:
        self._people = brief.people
        self._wording = brief.wording
        self._shown = brief.shown_messages()
        self._quoted: set[int] = set()
        messages = self._shown.values()
        self._words = {message.number: tuple(split_words(message.text)) for message in messages}
        self._dangerous = (
            {message.number for message in messages if safety.mentions_danger(message.text)}
            if brief.concerns
            else set()
        )
        times = [message.sent_at for message in messages]
        self._span = (min(times), max(times)) if times else None

    def select(self, section_brief: SectionBrief, *, leaders: Mapping[int, str]) -> tuple[CitedExchange, ...]:
        """Return at most the section's number of exchanges. A person's leading group comes before others."""
        section = section_brief.section
        exchanges: list[CitedExchange] = []
        # Each recurring word is quoted with its first message and a later one. One exchange remains for other examples.
        for word in section_brief.recurring_words[: max(section.evidence.max - 1, 0)]:
            messages = [self._shown[number] for number in (word.first, word.later) if number in self._shown]
            if len(messages) == 2 and all(map(self._is_quotable, messages)):
                self._quoted.update(message.number for message in messages)
                first, later = (self._wording.format_date(message.sent_at) for message in messages)
                context = self._wording.say(
                    "“{word}”: first on {first}, and again on {later}.", word=word.word, first=first, later=later
                )
                exchanges.append(CitedExchange(context, tuple(message.number for message in messages)))
        candidates = list(self._find_candidates(section_brief, leaders))
        titles = {group.key: group.title for group in section.groups}
        selected: list[_Candidate] = []
        while candidates and len(exchanges) < section.evidence.max:
            # Scores depend on what is selected already, so each round compares all candidates again.
            best = max(
                candidates, key=lambda candidate: (self._score_variety(candidate, selected), -candidate.message.number)
            )
            candidates.remove(best)
            messages = self._get_exchange(best)
            # Quoted by now, as the context of another message.
            if not messages:
                continue
            selected.append(best)
            self._quoted.update(message.number for message in messages)
            people = list(dict.fromkeys(self._people[message.person] for message in messages))
            day = self._wording.format_date(messages[0].sent_at)
            context = (
                self._wording.say(
                    "{date}: {name} writes and {other} answers.", date=day, name=people[0], other=people[1]
                )
                if len(people) > 1
                else self._wording.say("{date}: {name} writes.", date=day, name=people[0])
            )
            if best.group:
                context = f"{titles[best.group]}, {context}"
            exchanges.append(CitedExchange(context, tuple(message.number for message in messages)))
        return tuple(exchanges)

    def _find_candidates(self, section_brief: SectionBrief, leaders: Mapping[int, str]) -> Iterator[_Candidate]:
        """Yield the messages that contain a term, or match a query if the section has no terms."""
        matcher = _Matcher(section_brief.section)
        seen: set[int] = set()
        for rank, conversation in enumerate(section_brief.conversations):
            for index, message in enumerate(conversation.messages):
                if message.number in seen or not self._is_quotable(message):
                    continue
                seen.add(message.number)
                text = self._words[message.number]
                groups = matcher.find_groups(text)
                # In a section with terms a message needs one: queries alone find too many unrelated messages.
                matches_query = bool(groups or not matcher.terms) and matcher.matches_query(text)
                if not groups and matches_query:
                    groups = {""}
                if groups:
                    leader = leaders.get(message.person)
                    group = leader if leader in groups else min(groups)
                    # A sentence of a dozen words is the best length; a later conversation is less relevant.
                    length = len(text)
                    score = min(length, 12) / 12 + 0.3 * len(groups) + 0.5 / (1 + rank)
                    if length > _MAX_WORDS:
                        score -= 1
                    if length < 2:
                        score -= 0.5
                    following = conversation.messages[index + 1 : index + 2]
                    if following and _is_answer(following[0], to=message):
                        score += 0.5
                    if leader in groups:
                        score += 1
                    yield _Candidate(conversation, index, group, score + _QUERY_MATCH_SCORE * matches_query)

    def _score_variety(self, candidate: _Candidate, selected: Sequence[_Candidate]) -> float:
        """Return the score, reduced for each selected candidate of the same period, group or person."""
        score = candidate.score
        for other in selected:
            score -= 0.6 * (self._get_period(candidate) == self._get_period(other))
            score -= 0.9 * (bool(candidate.group) and candidate.group == other.group)
            score -= 0.3 * (candidate.message.person == other.message.person)
        return score

    def _get_period(self, candidate: _Candidate) -> int:
        """Return which third of the shown messages' time the message is from."""
        # A chat of one instant has no length to divide by.
        first, last = self._span or (candidate.message.sent_at, candidate.message.sent_at)
        length = max(last - first, timedelta(seconds=1))
        return min(int(_PERIODS * ((candidate.message.sent_at - first) / length)), _PERIODS - 1)

    def _is_quotable(self, message: ShownMessage) -> bool:
        return message.number not in self._quoted and message.number not in self._dangerous

    def _get_exchange(self, candidate: _Candidate) -> list[ShownMessage]:
        """Return the message, the one that it answers, and up to two answers; empty if it is not quotable."""
        messages, index = candidate.conversation.messages, candidate.index
        message = messages[index]
        if not self._is_quotable(message):
            return []
        exchange = [message]
        if index and self._is_quotable(messages[index - 1]):
            before = messages[index - 1]
            if before.person != message.person and message.sent_at - before.sent_at <= _MAX_LEAD_IN_DELAY:
                exchange.insert(0, before)
        for answer in messages[index + 1 : index + 3]:
            if len(exchange) == MAX_MESSAGES or not self._is_quotable(answer) or not _is_answer(answer, to=message):
                break
            exchange.append(answer)
        return exchange


def _is_answer(message: ShownMessage, *, to: ShownMessage) -> bool:
    return message.person != to.person and message.sent_at - to.sent_at <= _MAX_ANSWER_DELAY
