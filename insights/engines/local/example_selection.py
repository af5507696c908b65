"""Examples for a section: short exchanges around messages that hold its terms, or a query of it nearly whole. Pure.

What is only near in meaning is not quoted: a section without such a message
has no example. No message is quoted twice in one insight, and what may speak of danger is
never quoted as an example of something else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from chats.statistics.languages import STOP_WORDS
from chats.word_index import phrase_offsets, split_words
from insights import safety
from insights.engines.base import Brief, CitedExchange, Conversation, RecurringWord, SectionBrief, ShownMessage

MOST_MESSAGES = 4
_ANSWER_WITHIN = timedelta(hours=1)
_LEADS_IN_WITHIN = timedelta(minutes=10)
_LONGEST_WORDS = 80
_PERIODS = 3
_LONGEST_TERM = 6
#: So much of a query's telling words make a message one that it asks for; a lone word does not.
_ASKED_FOR = 0.75
#: More than length, answer and place together: what is asked for to the letter comes first.
_ASKED_FOR_WORTH = 2.0
_LEAST_TELLING = 2


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A message worth quoting, its place in its conversation, and the group whose term it holds."""

    conversation: Conversation
    place: int
    group: str
    score: float

    @property
    def message(self) -> ShownMessage:
        return self.conversation.messages[self.place]


class ExampleSelector:
    """Picks the examples of one insight, section by section."""

    def __init__(self, brief: Brief) -> None:
        self._people = brief.people
        self._used: set[int] = set()
        shown = brief.shown().values()
        self._words = {message.number: tuple(split_words(message.text)) for message in shown}
        self._dangerous = (
            {message.number for message in shown if safety.speaks_of_danger(message.text)} if brief.concerns else set()
        )
        self._shown = brief.shown()
        instants = [message.sent_at for message in shown]
        self._span = (min(instants), max(instants)) if instants else None

    def pick(self, material: SectionBrief, *, leaders: Mapping[int, str]) -> tuple[CitedExchange, ...]:
        """At most the section's number of exchanges; a person's leading group is shown before others."""
        candidates = list(self._candidates(material, leaders))
        titles = {group.key: group.title for group in material.section.groups}
        picked: list[_Candidate] = []
        exchanges = list(self._returns(material))
        while candidates and len(exchanges) < material.section.evidence_max:
            best = max(candidates, key=lambda candidate: (self._worth(candidate, picked), -candidate.message.number))
            candidates.remove(best)
            messages = self._exchange(best)
            if not messages:
                continue
            picked.append(best)
            self._used.update(message.number for message in messages)
            exchanges.append(
                CitedExchange(
                    self._context(messages, titles.get(best.group, "")), tuple(message.number for message in messages)
                )
            )
        return tuple(exchanges)

    def _returns(self, material: SectionBrief) -> Iterator[CitedExchange]:
        """Words that keep coming back, each by its first message and a later one; one exchange is left to others."""
        for word in material.recurring[: max(material.section.evidence_max - 1, 0)]:
            messages = [self._shown[number] for number in (word.first, word.later) if number in self._shown]
            if len(messages) == 2 and all(map(self._quotable, messages)):
                self._used.update(message.number for message in messages)
                yield CitedExchange(_return(word, messages), tuple(message.number for message in messages))

    def _candidates(self, material: SectionBrief, leaders: Mapping[int, str]) -> Iterator[_Candidate]:
        terms, longer = _terms(material), _longer(material)
        queries = _queries(material)
        seen: set[int] = set()
        for rank, conversation in enumerate(material.conversations):
            for place, message in enumerate(conversation.messages):
                if message.number in seen or not self._quotable(message):
                    continue
                seen.add(message.number)
                text = self._words[message.number]
                held = _held(text, terms, longer)
                asked = _asked(text, queries) if held or not terms else 0.0
                if not held and asked >= _ASKED_FOR:
                    held = {""}
                if held:
                    group = leaders.get(message.person, "")
                    group = group if group in held else min(held)
                    score = self._score(conversation, place, rank, held, leaders)
                    score += _ASKED_FOR_WORTH * (asked >= _ASKED_FOR)
                    yield _Candidate(conversation, place, group, score)

    def _score(
        self, conversation: Conversation, place: int, rank: int, held: set[str], leaders: Mapping[int, str]
    ) -> float:
        message = conversation.messages[place]
        length = len(self._words[message.number])
        score = min(length, 12) / 12 + 0.3 * len(held) + 0.5 / (1 + rank)
        if length > _LONGEST_WORDS:
            score -= 1
        if length < 2:
            score -= 0.5
        if place + 1 < len(conversation.messages) and _answers(conversation.messages[place + 1], message):
            score += 0.5
        if leaders.get(message.person) in held:
            score += 1
        return score

    def _worth(self, candidate: _Candidate, picked: Sequence[_Candidate]) -> float:
        """The score, less for what is like those picked before: of one time, one group, one person."""
        worth = candidate.score
        for other in picked:
            worth -= 0.6 * (self._period(candidate) == self._period(other))
            worth -= 0.9 * (bool(candidate.group) and candidate.group == other.group)
            worth -= 0.3 * (candidate.message.person == other.message.person)
        return worth

    def _period(self, candidate: _Candidate) -> int:
        """Which part of the shown messages' time it is from."""
        first, last = self._span or (candidate.message.sent_at, candidate.message.sent_at)
        length = max(last - first, timedelta(seconds=1))
        return min(int(_PERIODS * ((candidate.message.sent_at - first) / length)), _PERIODS - 1)

    def _quotable(self, message: ShownMessage) -> bool:
        return message.number not in self._used and message.number not in self._dangerous

    def _exchange(self, candidate: _Candidate) -> list[ShownMessage]:
        """The message, what it answers, and up to two answers to it."""
        messages, place = candidate.conversation.messages, candidate.place
        if not self._quotable(messages[place]):
            return []
        found = [messages[place]]
        if place and self._quotable(messages[place - 1]):
            before = messages[place - 1]
            if before.person != messages[place].person and messages[place].sent_at - before.sent_at <= _LEADS_IN_WITHIN:
                found.insert(0, before)
        for answer in messages[place + 1 : place + 3]:
            if len(found) == MOST_MESSAGES or not self._quotable(answer) or not _answers(answer, messages[place]):
                break
            found.append(answer)
        return found

    def _context(self, messages: Sequence[ShownMessage], title: str) -> str:
        at = messages[0].sent_at
        day = f"{at.day} {at:%B %Y}"
        people = list(dict.fromkeys(self._people[message.person] for message in messages))
        told = f"{people[0]} writes" + (f" and {people[1]} answers" if len(people) > 1 else "")
        return f"{title}, {day}: {told}." if title else f"{day}: {told}."


def _answers(message: ShownMessage, before: ShownMessage) -> bool:
    return message.person != before.person and message.sent_at - before.sent_at <= _ANSWER_WITHIN


def _terms(material: SectionBrief) -> dict[tuple[str, ...], str]:
    """Each term as words, with its group's key, or nothing where the section has no groups."""
    section = material.section
    if section.groups:
        return {tuple(split_words(term)): group.key for group in reversed(section.groups) for term in group.terms}
    return {tuple(split_words(term)): "" for term in section.terms}


def _longer(material: SectionBrief) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(split_words(phrase)) for phrase in material.section.unless)


def _held(text: Sequence[str], terms: Mapping[tuple[str, ...], str], longer: Sequence[tuple[str, ...]]) -> set[str]:
    """The groups whose terms stand in a text outside the longer phrases."""
    held = set()
    for length in range(1, _LONGEST_TERM + 1):
        for start in range(len(text) - length + 1):
            phrase = tuple(text[start : start + length])
            if phrase in terms and not _inside(text, start, phrase, longer):
                held.add(terms[phrase])
    return held


def _inside(text: Sequence[str], start: int, phrase: tuple[str, ...], longer: Sequence[tuple[str, ...]]) -> bool:
    return any(
        start >= turn and tuple(text[start - turn : start - turn + len(other)]) == other
        for other in longer
        for turn in phrase_offsets(phrase, other)
    )


def _queries(material: SectionBrief) -> list[frozenset[str]]:
    """The telling words of each query that has some."""
    queries = (frozenset(split_words(query)) - STOP_WORDS for query in material.section.queries)
    return [query for query in queries if len(query) >= _LEAST_TELLING]


def _asked(text: Sequence[str], queries: Sequence[frozenset[str]]) -> float:
    """How much of a query's telling words the text holds, of the query that it fits best."""
    held = set(text)
    return max((len(query & held) / len(query) for query in queries), default=0.0)


def _return(word: RecurringWord, messages: Sequence[ShownMessage]) -> str:
    first, later = (f"{message.sent_at.day} {message.sent_at:%B %Y}" for message in messages)
    return f"“{word.word}”: first on {first}, and again on {later}."
