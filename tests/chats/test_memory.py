"""The chats that a process searches and indexes at the same time take a limited memory."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor

import pytest
from pytest_django.fixtures import Settings

from chats import indexing, memory, search
from chats.memory import ChatTooLarge, MemoryBudget, MemoryBusy
from chats.models import Chat
from tests.chats import samples
from tests.processes import PATIENCE_SECONDS


def fits(budget: MemoryBudget, size_bytes: int) -> bool:
    try:
        with budget.reserved(size_bytes):
            return True
    except MemoryBusy:
        return False


def test_reservations_exceed_no_limit_and_leave_a_quarter_to_small_chats() -> None:
    budget = MemoryBudget(100, small_bytes=10, wait_seconds=0)
    budget.reserve(40)
    budget.reserve(35)
    assert not fits(budget, 10)
    budget.reserve(9)
    budget.reserve(9)
    assert not fits(budget, 9)
    assert fits(budget, 7)
    budget.release(40)
    assert fits(budget, 40)
    assert not fits(budget, 41)


def test_a_chat_beyond_the_limit_is_worked_on_alone() -> None:
    budget = MemoryBudget(100, small_bytes=10, wait_seconds=0)
    with budget.reserved(500):
        assert not fits(budget, 10)
    with budget.reserved(10):
        assert not fits(budget, 500)


def test_a_chat_that_no_worker_has_the_memory_for_is_refused() -> None:
    budget = MemoryBudget(100, max_bytes=500, small_bytes=10, wait_seconds=0)
    with budget.reserved(500):
        pass
    with pytest.raises(ChatTooLarge) as caught:
        budget.reserve(501)
    assert not caught.value.may_retry
    assert fits(budget, 500)


def test_a_reservation_waits_for_room() -> None:
    # Longer than the test waits: at its end, it would find the room without being notified.
    budget = MemoryBudget(100, small_bytes=10, wait_seconds=2 * PATIENCE_SECONDS)
    with ThreadPoolExecutor(1) as threads:
        with budget.reserved(75):
            waiting = threads.submit(budget.reserve, 75)
            assert not waiting.done()
        waiting.result(PATIENCE_SECONDS)


def test_what_is_cached_is_dropped_only_if_there_is_no_room() -> None:
    budget = MemoryBudget(100, small_bytes=10, wait_seconds=0)
    budget.reserve(40, make_room=pytest.fail)
    budget.reserve(40, make_room=lambda: budget.release(40))


def test_without_a_limit_for_workers_no_chat_is_too_large(settings: Settings) -> None:
    settings.WORKER_MEMORY_MB = 0
    memory.budget.__wrapped__().reserve(10**15)
    settings.WORKER_MEMORY_MB = 1024
    with pytest.raises(ChatTooLarge):
        memory.budget.__wrapped__().reserve(10**15)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> MemoryBudget:
    """A budget that has room for one chat of the samples."""
    size_bytes = len(samples.TALK) * max(memory.SEARCHED_BYTES_PER_MESSAGE, memory.INDEXED_BYTES_PER_MESSAGE)
    budget = MemoryBudget(size_bytes, small_bytes=1, wait_seconds=0)
    monkeypatch.setattr(memory, "budget", lambda: budget)
    search._cache.clear()
    return budget


def indexed() -> Chat:
    chat = samples.stored()
    indexing.request(chat)
    assert indexing.index_chat(chat.pk)
    return Chat.objects.get(pk=chat.pk)


@pytest.mark.django_db
def test_chats_are_opened_for_search_as_far_as_the_memory_allows(narrow: MemoryBudget) -> None:
    first, second = indexed(), indexed()
    used = search.get_searcher(first)
    with pytest.raises(MemoryBusy) as caught:
        search.get_searcher(second)
    assert not caught.value.uses_attempt
    # In use, so it is shared although its place in the cache was needed.
    assert search.get_searcher(first) is used
    del used
    gc.collect()
    # Only cached: it makes room.
    assert search.get_searcher(second).chat == second
    gc.collect()
    assert search.get_searcher(first).chat == first


@pytest.mark.django_db
def test_indexing_without_memory_is_done_later_and_uses_no_attempt(narrow: MemoryBudget) -> None:
    chat = samples.stored()
    indexing.request(chat)
    with narrow.reserved(memory.SEARCHED_BYTES_PER_MESSAGE * len(samples.TALK)):
        assert not indexing.index_chat(chat.pk)
    chat.refresh_from_db()
    assert (chat.vector_status, chat.index_attempt, chat.index_error_code) == ("pending", 0, "memory_busy")
    assert chat.index_not_before is not None
    Chat.objects.update(index_not_before=None)
    assert indexing.index_chat(chat.pk)
