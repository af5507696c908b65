"""Hybrid search, counting of matches, and the searcher cache."""

from __future__ import annotations

import gc
import weakref

import pytest
from pytest_django import DjangoAssertNumQueries

from chats import indexing, search
from chats.models import Chat
from tests.chats import samples
from tests.processes import eventually

pytestmark = pytest.mark.django_db


def indexed(lines: list[samples.Line]) -> Chat:
    chat = samples.stored(lines)
    indexing.request(chat)
    assert indexing.index_chat(chat.pk)
    return Chat.objects.get(pk=chat.pk)


@pytest.fixture
def talk() -> Chat:
    return indexed(samples.TALK)


def best(chat: Chat, *queries: str) -> int:
    """Return the first message number of the best hit."""
    return search.get_searcher(chat).search(queries, limit=1)[0].chunk.first_number


def test_a_chat_that_is_erased_while_its_messages_are_loaded_is_not_searchable(talk: Chat) -> None:
    talk.blocks.all().delete()
    with pytest.raises(search.NotSearchable):
        search.get_searcher(talk)


def test_a_search_finds_messages_with_a_similar_meaning(talk: Chat) -> None:
    assert best(talk, "planning a vacation by plane") == 3
    assert best(talk, "health checkup at the hospital") == 5


def test_a_search_finds_messages_with_the_same_word(talk: Chat) -> None:
    assert best(talk, "Goa") == 3
    assert best(talk, "गर्व") == 5
    assert best(talk, "❤️") == 5


def test_a_chunk_without_text_does_not_shift_the_other_chunks() -> None:
    chat = indexed([(0, "Asha", "<Media omitted>"), *[(600, who, text) for _, who, text in samples.TALK]])
    assert chat.chunk_count == 7
    assert best(chat, "Goa") == 4
    assert best(chat, "medical checkup, hospital") == 7


def test_a_chunk_matches_if_any_of_the_queries_does(talk: Chat) -> None:
    hits = search.get_searcher(talk).search(["blood pressure", "coffee"], limit=3)
    assert {hit.chunk.first_number for hit in hits[:2]} == {1, 5}
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert len(search.get_searcher(talk).search(["blood pressure", "coffee"], limit=1)) == 1


@pytest.mark.parametrize("queries", [[], [""], ["  "], ["zzzz qqqq"]])
def test_a_search_without_words_is_not_an_error(talk: Chat, queries: list[str]) -> None:
    assert len(search.get_searcher(talk).search(queries, limit=5)) <= 3


def test_the_messages_of_a_hit_can_be_read(talk: Chat) -> None:
    searcher = search.Searcher(talk)
    (hit,) = searcher.search(["flight"], limit=1)
    texts = [message.text for message in searcher.messages(hit.chunk.first_number, hit.chunk.last_number)]
    assert texts == ["we should buy tickets for the flight to Goa", "window seat please, and a hotel near the beach"]


def test_matches_are_counted_by_person_and_once_per_message() -> None:
    chat = indexed(
        [
            (0, "Asha", "love love LOVE"),
            (1, "Ravi", "lovely glove"),
            (1, "Asha", "I miss you, and I love you"),
            (1, "Ravi", "miss\nyou ❤️"),
            (1, "Ravi", "मुझे तुमसे प्यार है"),
            (1, "Asha", "<Media omitted>\nwith love"),
        ]
    )
    searcher = search.Searcher(chat)
    assert searcher.count_matches(["love"]) == [2, 0]
    assert searcher.count_matches(["love", "miss you"]) == [2, 1]
    assert searcher.count_matches(["प्यार", "❤️"]) == [0, 2]
    assert searcher.count_matches(["media", "omitted"]) == [0, 0]
    assert searcher.count_matches([]) == searcher.count_matches(["", "..."]) == [0, 0]
    assert searcher.find_matches(["love", "miss you"]) == [1, 3, 4]
    assert searcher.count_matches(["love"], ["i love you"]) == [1, 0]
    uses = searcher.find_word_uses(min_uses=2, max_uses=5, predicate=lambda word: word == "love")
    assert (uses.words, uses.number.tolist(), uses.sender.tolist()) == (["love"], [1, 1, 1, 3], [0, 0, 0, 0])


def test_searching_a_chat_that_is_not_indexed_is_refused() -> None:
    chat = samples.stored()
    with pytest.raises(search.NotSearchable):
        search.get_searcher(chat).search(["anything"], limit=3)


def test_a_searcher_is_cached_until_the_chat_is_indexed_again(
    talk: Chat, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    cached, same = search.get_searcher(talk), Chat.objects.get(pk=talk.pk)
    with django_assert_num_queries(0):
        assert search.get_searcher(same) is cached
    indexing.request(talk)
    indexing.index_chat(talk.pk)
    assert search.get_searcher(Chat.objects.get(pk=talk.pk)) is not cached


def is_alive(reference: weakref.ref[search.Searcher]) -> bool:
    gc.collect()
    return reference() is not None


def test_at_most_two_searchers_are_cached(talk: Chat) -> None:
    reference = weakref.ref(search.get_searcher(talk))
    search.get_searcher(indexed(samples.TALK))
    assert is_alive(reference)
    search.get_searcher(indexed(samples.TALK))
    assert not is_alive(reference)


def test_an_unused_searcher_leaves_the_cache(talk: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_CACHE_SECONDS", 0.05)
    reference = weakref.ref(search.get_searcher(talk))
    eventually(lambda: not is_alive(reference))
