"""Each section reads its own conversations, from all of the chat's time and within its share of the tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest

from chats import indexing
from chats.importing import import_chat
from chats.models import Chat
from chats.search import Searcher
from insights import briefs, document, engines, retrieval, unlocking
from insights.definition import Definition
from insights.engines.base import Brief, Conversation, EngineUnavailable
from insights.models import Insight, InsightType
from relivchats.accounts.models import User
from tests.insights.briefs import PROVENANCE

pytestmark = pytest.mark.django_db

START = datetime.fromisoformat("2022-01-01T09:00")
SECTION: dict[str, Any] = {
    "key": "hills",
    "title": "Hills",
    "question": "Are there hills?",
    "queries": ["a walk in the mountains", "pahaad par chalte hain"],
    "terms": ["mountains", "pahaad"],
    "counted": "words of hills",
    "evidence": {"min": 0, "max": 3},
}
CATS = {**SECTION, "key": "cats", "queries": ["the cat sleeps"], "terms": ["cat"], "counted": "cats"}
OVERALL = {"scale": ["good", "poor"], "cuts": [5], "rubric": {"0-10": "Any."}}


def make_definition(*sections: dict[str, Any]) -> Definition:
    return Definition.parse({"section": list(sections), "overall": OVERALL})


@pytest.fixture
def make_indexed(person: User) -> Callable[[Iterable[tuple[timedelta, str]]], Chat]:
    def make(lines: Iterable[tuple[timedelta, str]]) -> Chat:
        """Return a searchable chat of two people who write in turns, each line the given time after the previous."""
        at, records = START, []
        for number, (wait, text) in enumerate(lines):
            at += wait
            records.append(f"{at:%d/%m/%Y, %H:%M} - {('Asha', 'Ravi')[number % 2]}: {text}\n")
        chat = import_chat(owner=person, upload="".join(records).encode())
        indexing.request(chat)
        indexing.index_chat(chat.pk)
        chat.refresh_from_db()
        return chat

    return make


MakeIndexed = Callable[[Iterable[tuple[timedelta, str]]], Chat]


def make_long_chat(months: int = 12) -> list[tuple[timedelta, str]]:
    """Return a chat in which every month has sixty dull messages and one conversation about the mountains."""
    lines: list[tuple[timedelta, str]] = []
    for month in range(months):
        for number in range(60):
            wait = timedelta(hours=5) if number % 10 == 0 else timedelta(minutes=2)
            lines.append((wait, f"invoice {month} {number} was sent to the office, please confirm the amount"))
        lines.append((timedelta(hours=8), f"shall we walk in the mountains in month {month}?"))
        lines.append((timedelta(minutes=1), "yes, pahaad par chalte hain"))
        lines.append((timedelta(days=20), "the invoice again"))
    return lines


def retrieve(chat: Chat, *sections: dict[str, Any], tokens: int) -> dict[str, tuple[Conversation, ...]]:
    return retrieval.retrieve_conversations(
        Searcher(chat), make_definition(*sections).sections, people=chat.participants, token_budget=tokens
    )


def texts(conversations: Iterable[Conversation]) -> list[str]:
    return [message.text for conversation in conversations for message in conversation.messages]


def test_a_section_finds_its_own_conversations_first(make_indexed: MakeIndexed) -> None:
    found = retrieve(make_indexed(make_long_chat()), SECTION, tokens=600)["hills"]
    assert "mountains" in texts(found[:1])[0]
    assert sum("mountains" in text for text in texts(found)) >= 4


def test_the_conversations_are_from_all_of_the_chats_time(make_indexed: MakeIndexed) -> None:
    """In one month every conversation is about the mountains, in each other month a single one."""
    crowd = [(timedelta(hours=8), f"a walk in the mountains, pahaad par chalte hain {number}") for number in range(40)]
    lines = [*make_long_chat(months=6), *crowd, *make_long_chat(months=6)]
    found = retrieve(make_indexed(lines), SECTION, tokens=200)["hills"]
    assert sum("in month" in text for text in texts(found)) >= 6


def test_messages_with_counted_terms_are_found_even_if_the_queries_find_others(make_indexed: MakeIndexed) -> None:
    other_queries = {**SECTION, "queries": ["confirm the amount of the invoice"]}
    found = retrieve(make_indexed(make_long_chat()), other_queries, tokens=300)["hills"]
    assert any("mountains" in text for text in texts(found))


def test_a_section_stays_within_its_share_of_the_tokens(make_indexed: MakeIndexed) -> None:
    chat = make_indexed(make_long_chat())
    small, large = (texts(retrieve(chat, SECTION, tokens=tokens)["hills"]) for tokens in (300, 3000))
    assert len(" ".join(small)) < 300 * 4.5
    assert len(large) > 3 * len(small)


def test_the_tokens_are_shared_among_the_sections_that_quote(make_indexed: MakeIndexed) -> None:
    silent = {**SECTION, "key": "silent", "evidence": {"min": 0, "max": 0}}
    found = retrieve(make_indexed(make_long_chat()), SECTION, CATS, silent, tokens=1200)
    assert found["silent"] == ()
    assert 0 < len(" ".join(texts(found["hills"]))) < 600 * 4.5


def test_every_section_reads_a_chat_that_fits_the_budget_whole_with_its_own_conversations_first(
    make_indexed: MakeIndexed,
) -> None:
    chat = make_indexed(
        [*make_long_chat(months=2), (timedelta(days=1), "the cat sleeps"), (timedelta(minutes=1), "aww")]
    )
    found = retrieve(chat, SECTION, CATS, tokens=20_000)
    for key in ("hills", "cats"):
        assert sorted(texts(found[key])) == sorted(
            text for _, text in [*make_long_chat(2), (0, "the cat sleeps"), (0, "aww")]
        )
    assert "mountains" in texts(found["hills"])[0]
    assert texts(found["cats"])[0] == "the cat sleeps"


def test_a_chat_is_shown_whole_exactly_if_its_tokens_fit_the_budget(make_indexed: MakeIndexed) -> None:
    chat = make_indexed(make_long_chat())
    tokens = sum(chunk.token_count for chunk in chat.chunks.all())
    assert chat.message_count > 400
    assert len(texts(retrieve(chat, SECTION, tokens=tokens)["hills"])) == chat.message_count
    assert len(texts(retrieve(chat, SECTION, tokens=tokens - 1)["hills"])) < chat.message_count


def test_neighbouring_chunks_of_a_conversation_are_joined(make_indexed: MakeIndexed) -> None:
    talk = [(timedelta(minutes=1), f"the mountains and the long walk number {number}") for number in range(80)]
    found = retrieve(make_indexed([*make_long_chat(), *talk]), SECTION, tokens=4000)["hills"]
    longest = max(found, key=lambda conversation: len(conversation.messages))
    assert sum("long walk number" in message.text for message in longest.messages) == 80


def test_only_text_messages_are_shown(make_indexed: MakeIndexed) -> None:
    chat = make_indexed([(timedelta(minutes=1), text) for text in ("the mountains", "<Media omitted>", "so high")])
    assert texts(retrieve(chat, SECTION, tokens=500)["hills"]) == ["the mountains", "so high"]


def test_nothing_after_the_brief_reads_the_database(
    chat: Chat, django_assert_num_queries: Callable[[int], Any]
) -> None:
    insight = make_insight(chat, "playfulness_romance")
    brief = briefs.build_brief(insight)
    engine = engines.get_engine()
    with django_assert_num_queries(0):
        finished = document.build_document(brief=brief, draft=engine.write(brief), provenance=PROVENANCE)
    assert finished["sufficiency"]["messages_total"] == chat.message_count


def test_a_brief_counts_the_messages_of_the_whole_chat(make_indexed: MakeIndexed) -> None:
    chat = make_indexed([*make_long_chat(), (timedelta(minutes=1), "haha"), (timedelta(minutes=1), "Haha 😂")])
    brief = build_brief(chat, "playfulness_romance")
    assert dict(zip(brief.people, brief.sections[0].mentions, strict=True)) == {"Asha": 1, "Ravi": 1}
    assert sum(brief.message_counts) == chat.message_count


def test_a_chat_that_is_not_searchable_yet_makes_the_engine_unavailable(
    person: User, make_chat: Callable[..., Chat]
) -> None:
    with pytest.raises(EngineUnavailable, match="chat_not_searchable"):
        build_brief(make_chat(person, searchable=False), "love_language")


def build_brief(chat: Chat, name: str) -> Brief:
    return briefs.build_brief(make_insight(chat, name))


def make_insight(chat: Chat, name: str) -> Insight:
    insight_type = InsightType.objects.get(pk=name)
    return Insight(chat=chat, insight_type=insight_type, type_version=insight_type.versions.latest("version"))


def test_the_brief_of_an_older_chat_is_counted_by_the_current_rules(person: User, make_indexed: MakeIndexed) -> None:
    chat = make_indexed((timedelta(minutes=1), "a walk in the mountains") for _ in range(60))
    unlocking.unlock(user=person, chat=chat, type_ids=["communication_basics"])
    earlier = chat.key.seal(b'{"user_stats": {}}', context=chat.context("statistics"))
    Chat.objects.update(statistics_version=0, sealed_statistics=earlier)
    brief = briefs.build_brief(Insight.objects.select_related("chat", "insight_type", "type_version").get())
    assert brief.message_counts == (30, 30)
    assert Chat.objects.get().statistics["total_messages"] == 60
