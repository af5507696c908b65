"""What a language model would be sent about sample_chat.toml, a chat that was written for this purpose.

The calls are made by the same functions as those about real chats. Nothing is sent, and no chat is read.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from chats.exports.parsed import Batch, Details, Message, MessageKind
from chats.pseudonyms import Pseudonyms
from chats.statistics import StatisticsCounter
from chats.word_index import WordIndex, split_words
from insights import asking, briefs, claims, prompting, retrieval
from insights.claims import Claim
from insights.definition import Definition
from insights.engines import answers, question_steps
from insights.engines.base import Brief, ShownMessage
from insights.engines.client import ModelRequest
from insights.engines.model_engine import build_request, get_pseudonyms
from insights.episodes import READING_VERSION, Episode, MonthRead, Reading, Relationship, Tone, Window
from insights.models import InsightType
from insights.question_material import Search
from insights.rating import rate_section
from insights.reading import windows

_FILE: Mapping[str, Any] = tomllib.loads(Path(__file__).with_name("sample_chat.toml").read_text(encoding="utf-8"))
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 (the clock of an export has no zone)

#: More than the chat has, so that no message is cut.
_WINDOW_TOKENS = 8_000
_QUESTION = "What did we argue about, and who made up first?"
PEOPLE: tuple[str, ...] = tuple(_FILE["people"])


@dataclass(frozen=True, slots=True)
class SampleClaim:
    """A claim as a model could write it, before it belongs to a section."""

    sentence: str
    context: str
    numbers: tuple[int, ...]
    person: int | None


@dataclass(frozen=True, slots=True)
class SampleChat:
    """The chat, what was found in it, and claims about it. Messages are numbered from 1."""

    messages: tuple[ShownMessage, ...]
    episodes: tuple[Episode, ...]
    claims: tuple[SampleClaim, ...]


@cache
def load_chat() -> SampleChat:
    """Return the sample chat. Consecutive messages of a conversation are a minute apart."""
    messages: list[ShownMessage] = []
    episodes: list[Episode] = []
    sample_claims: list[SampleClaim] = []
    for conversation in _FILE["conversation"]:
        offset = len(messages)
        for minutes, entry in enumerate(conversation["messages"]):
            sent_at = conversation["starts_at"] + timedelta(minutes=minutes)
            forwarded = entry.get("forwarded", False)
            messages.append(ShownMessage(len(messages) + 1, sent_at, entry["of"], entry["text"], forwarded))
        for entry in conversation["episode"]:
            first, last = offset + entry["first"], offset + entry["last"]
            episodes.append(
                Episode(
                    kind=entry["kind"],
                    topic=entry["topic"],
                    first=first,
                    last=last,
                    roles={int(person): tuple(roles) for person, roles in entry["roles"].items()},
                    strength=entry["strength"],
                    tone=Tone.SINCERE,
                    subject=entry["subject"],
                    shows=tuple(offset + position for position in entry["shows"]),
                    started_at=messages[first - 1].sent_at,
                    ended_at=messages[last - 1].sent_at,
                )
            )
        for entry in conversation["claim"]:
            numbers = tuple(offset + position for position in entry["shows"])
            sample_claims.append(SampleClaim(entry["sentence"], entry["context"], numbers, entry.get("of")))
    return SampleChat(tuple(messages), tuple(episodes), tuple(sample_claims))


def build_window() -> Window:
    """Return the whole chat as one window."""
    numbers = [message.number for message in load_chat().messages]
    return windows.build_window(_get_messages(numbers).values(), people=PEOPLE, window_tokens=_WINDOW_TOKENS)


def build_brief(insight_type: InsightType, *, language: str = "en") -> Brief:
    """Return the brief of an insight about the chat, by the type's current definition. Raise InvalidData."""
    chat = load_chat()
    found = Reading(
        episodes=chat.episodes,
        dangers=(),
        relationship=Relationship.COUPLE,
        languages=("English", "Hinglish"),
        months={month: MonthRead(count, count) for month, count in _count_months(chat.messages).items()},
        messages_read=len(chat.messages),
        messages_total=len(chat.messages),
        windows_read=1,
        windows_failed=0,
        tokens_in=0,
        tokens_out=0,
        dropped=0,
        engine="",
        model="",
        version=READING_VERSION,
        up_to_message=len(chat.messages),
    )
    return briefs.build_read_brief(
        insight_type,
        definition=Definition.parse(insight_type.definition),
        language=language,
        people=PEOPLE,
        other_names={},
        statistics=_compute_statistics(),
        found=found,
        count_matches=_count_matches,
        retrieve=lambda sections: retrieval.retrieve_episodes(_get_messages, sections, people=PEOPLE),
    )


def list_claims(brief: Brief) -> list[Claim]:
    """Return the chat's claims, each in the first section that shows its messages, and examples of episodes."""
    waiting = list(load_chat().claims)
    written: list[Claim] = []
    for entry in brief.sections:
        shown = {message.number for part in entry.conversations for message in part.messages}
        for claim in [claim for claim in waiting if entry.section.evidence.max and shown.issuperset(claim.numbers)]:
            waiting.remove(claim)
            written.append(Claim(entry.section.key, claim.sentence, claim.context, claim.numbers, claim.person))
    checked = claims.check_claims(brief, written)
    return checked + claims.list_examples(brief, checked)


def build_call(name: str, insight_type: InsightType) -> ModelRequest:
    """Return the call that sends a prompt of prompt_files.NAMES, without a model. A repair is that of a reading.

    Raise InvalidData if the type's definition is invalid.
    """
    pseudonyms = get_pseudonyms(PEOPLE, {})
    if name in ("read", "repair"):
        prompt = prompting.render_window(build_window(), people=PEOPLE, pseudonyms=pseudonyms)
        if name == "repair":
            prompt = prompting.render_repair(prompt)
        return build_request(prompt, model="", schema=answers.reading_schema(len(PEOPLE)))
    if name == "ask":
        return _build_question_call(pseudonyms)
    brief = build_brief(insight_type)
    if name == "verify":
        prompt = prompting.render_verification(brief, list_claims(brief), pseudonyms=pseudonyms)
        return build_request(prompt, model="", schema=answers.verification_schema())
    ratings = {entry.section.key: rate_section(brief, entry) for entry in brief.sections}
    prompt = prompting.render_insight(brief, ratings, pseudonyms=pseudonyms)
    return build_request(prompt, model="", schema=answers.writing_schema(brief.definition, len(PEOPLE)))


def _build_question_call(pseudonyms: Pseudonyms) -> ModelRequest:
    messages = load_chat().messages
    prompt = asking.render_question(
        asking.Question(_QUESTION),
        people=PEOPLE,
        shown={message.number: message for message in messages},
        kinds=(),
        days=(messages[0].sent_at.date(), messages[-1].sent_at.date()),
        searched=[(Search(words=_QUESTION), [range(messages[0].number, messages[-1].number + 1)])],
        may_search=True,
        pseudonyms=pseudonyms,
    )
    return build_request(prompt, model="", schema=question_steps.step_schema(len(PEOPLE), kinds=()))


def _count_months(messages: Sequence[ShownMessage]) -> dict[str, int]:
    months = [f"{message.sent_at:%Y-%m}" for message in messages]
    return {month: months.count(month) for month in dict.fromkeys(months)}


@cache
def _compute_statistics() -> Mapping[str, Any]:
    messages = load_chat().messages
    counter = StatisticsCounter()
    counter.add(
        Batch(
            first_number=1,
            seconds=[int((message.sent_at - _EPOCH).total_seconds()) for message in messages],
            senders=[message.person for message in messages],
            kinds=[MessageKind.TEXT] * len(messages),
            texts=[message.text for message in messages],
        )
    )
    return counter.result(list(PEOPLE))


def _count_matches(terms: Sequence[str], unless: Sequence[str]) -> Sequence[int]:
    """Count words as Searcher does."""
    messages = load_chat().messages
    index = WordIndex([[message.text for message in messages]])
    longer = [split_words(phrase) for phrase in unless]
    found = {text for term in terms for text in index.find(split_words(term), unless=longer, only_meant=True).tolist()}
    return [sum(messages[text].person == person for text in found) for person in range(len(PEOPLE))]


def _get_messages(numbers: Sequence[int]) -> Mapping[int, Message]:
    messages = load_chat().messages
    return {
        number: Message(
            number,
            messages[number - 1].sent_at,
            PEOPLE[messages[number - 1].person],
            MessageKind.TEXT,
            messages[number - 1].text,
            details=Details(is_forwarded=messages[number - 1].forwarded),
        )
        for number in numbers
        if 1 <= number <= len(messages)
    }
