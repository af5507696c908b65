"""Examples for a section: short exchanges around messages that hold its terms. Pure.

No message is quoted twice in one insight, and what may speak of danger is
never quoted as an example of something else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from chats.words import words
from insights import safety
from insights.engines.base import Brief, CitedExchange, Conversation, SectionBrief, ShownMessage

MOST_MESSAGES = 4
_ANSWER_WITHIN = timedelta(hours=1)
_LEADS_IN_WITHIN = timedelta(minutes=10)
_LONGEST_WORDS = 80
_PERIODS = 3
_LONGEST_TERM = 6


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


class Quoter:
    """Picks the examples of one insight, section by section."""

    def __init__(self, brief: Brief) -> None:
        self._people = brief.people
        self._used: set[int] = set()
        shown = brief.shown().values()
        self._words = {message.number: tuple(words(message.text)) for message in shown}
        self._dangerous = {message.number for message in shown if safety.speaks_of_danger(message.text)}
        instants = [message.sent_at for message in shown]
        self._span = (min(instants), max(instants)) if instants else None

    def pick(self, material: SectionBrief, *, leaders: Mapping[int, str]) -> tuple[CitedExchange, ...]:
        """At most the section's number of exchanges; a person's leading group is shown before others."""
        candidates = list(self._candidates(material, leaders))
        titles = {group.key: group.title for group in material.section.groups}
        picked: list[_Candidate] = []
        exchanges: list[CitedExchange] = []
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

    def _candidates(self, material: SectionBrief, leaders: Mapping[int, str]) -> Iterator[_Candidate]:
        terms = _terms(material)
        seen: set[int] = set()
        for rank, conversation in enumerate(material.conversations):
            for place, message in enumerate(conversation.messages):
                if message.number in seen or not self._quotable(message):
                    continue
                seen.add(message.number)
                held = _held(self._words[message.number], terms) if terms else {""} if place == 0 else set()
                if held:
                    group = leaders.get(message.person, "")
                    group = group if group in held else min(held)
                    yield _Candidate(conversation, place, group, self._score(conversation, place, rank, held, leaders))

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
        return {tuple(words(term)): group.key for group in reversed(section.groups) for term in group.terms}
    return {tuple(words(term)): "" for term in section.terms}


def _held(text: Sequence[str], terms: Mapping[tuple[str, ...], str]) -> set[str]:
    """The groups whose terms stand in a text."""
    return {
        terms[phrase]
        for length in range(1, _LONGEST_TERM + 1)
        for start in range(len(text) - length + 1)
        if (phrase := tuple(text[start : start + length])) in terms
    }
