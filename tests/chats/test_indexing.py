from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection, connections, transaction
from django.db.models.functions import Now
from pytest_django import DjangoCaptureOnCommitCallbacks
from pytest_django.fixtures import Settings

from chats import embedding, indexing, tasks
from chats.embedding import Vectors
from chats.erasure import erase
from chats.models import Chat, TranscriptBlock, VectorMatrix
from chats.signals import indexing_finished
from relivchats.crypto import CannotOpen
from tests.chats import samples
from tests.conftest import StartCelery
from tests.processes import PATIENCE_SECONDS, BrokerHandle, eventually


@pytest.fixture
def settled() -> Iterator[list[UUID]]:
    """Ids of chats that were announced as settled."""
    heard: list[UUID] = []

    def listen(*, chat_id: UUID, **_: Any) -> None:
        heard.append(chat_id)

    indexing_finished.connect(listen)
    yield heard
    indexing_finished.disconnect(listen)


def asked() -> Chat:
    chat = samples.stored()
    indexing.request(chat)
    return chat


def due(n: int) -> list[Chat]:
    """Chats that were asked for and whose wake-up calls are still to be published."""
    chats = [samples.stored() for _ in range(n)]
    Chat.objects.update(index_requested_at=Now())
    return chats


def abandon(chat: Chat, *, attempt: int = 1) -> UUID:
    """As a process leaves the chat that was killed while it indexed it, a second after its lease ran out."""
    token = uuid4()
    Chat.objects.filter(pk=chat.pk).update(
        vector_status="indexing",
        index_lease_token=token,
        index_lease_expires_at=Now() - timedelta(seconds=1),
        index_attempt=attempt,
    )
    return token


def spoil(chat: Chat) -> None:
    TranscriptBlock.objects.filter(chat=chat).update(sealed=b"does not open")


@pytest.mark.django_db
class TestIndexing:
    def test_a_chat_that_was_asked_for_becomes_searchable(
        self, settled: list[UUID], django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
    ) -> None:
        chat = asked()
        with django_capture_on_commit_callbacks(execute=True):
            assert indexing.index_chat(chat.pk)
        chat.refresh_from_db()
        assert (chat.vector_status, chat.index_error_code, chat.index_attempt) == ("completed", "", 1)
        assert chat.indexed_at
        assert chat.chunk_count == chat.chunks.count() == 3
        assert settled == [chat.pk]

    def test_a_chat_nobody_asked_for_is_left_alone(self) -> None:
        chat = samples.stored()
        assert not indexing.index_chat(chat.pk)
        assert indexing.dispatch() == 0
        chat.refresh_from_db()
        assert (chat.vector_status, chat.index_attempt) == ("pending", 0)

    def test_a_late_or_doubled_message_does_nothing(self) -> None:
        chat = asked()
        assert indexing.index_chat(chat.pk)
        at = Chat.objects.get(pk=chat.pk).indexed_at
        assert not indexing.index_chat(chat.pk)
        assert not indexing.index_chat(uuid4())
        tasks.index_chat(str(chat.pk))
        assert Chat.objects.get(pk=chat.pk).indexed_at == at

    def test_asking_again_indexes_again(self) -> None:
        chat = asked()
        indexing.index_chat(chat.pk)
        indexing.request(chat)
        assert indexing.index_chat(chat.pk)
        assert chat.chunks.count() == 3
        assert VectorMatrix.objects.filter(chat=chat).count() == 1

    def test_chunks_cover_every_message_of_a_person_in_order(self) -> None:
        chat = asked()
        indexing.index_chat(chat.pk)
        ranges = list(
            chat.chunks.order_by("number").values_list("number", "conversation", "first_number", "last_number")
        )
        assert ranges == [(0, 0, 1, 2), (1, 1, 3, 4), (2, 2, 5, 6)]

    def test_three_failures_are_the_end_until_asked_again(
        self,
        settled: list[UUID],
        caplog: pytest.LogCaptureFixture,
        django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    ) -> None:
        chat = asked()
        spoil(chat)
        states = []
        with django_capture_on_commit_callbacks(execute=True), caplog.at_level(logging.ERROR):
            for _ in range(4):
                assert not indexing.index_chat(chat.pk)
                chat.refresh_from_db()
                states.append((chat.vector_status, chat.index_attempt, chat.index_error_code))
        code = "key_unavailable"
        assert states == [("pending", 1, code), ("pending", 2, code), ("failed", 3, code), ("failed", 3, code)]
        assert "failed after 3 attempts" in caplog.messages
        assert settled == [chat.pk]
        indexing.request(chat)
        chat.refresh_from_db()
        assert (chat.vector_status, chat.index_attempt, chat.index_error_code) == ("pending", 0, "")

    def test_the_index_says_nothing_in_clear(self) -> None:
        chat = asked()
        indexing.index_chat(chat.pk)
        stored = VectorMatrix.objects.get(chat=chat)
        with pytest.raises(CannotOpen):
            chat.key.open(stored.sealed, context=chat.context("title"))


@pytest.mark.django_db
class TestRecovering:
    def test_a_dead_lease_makes_the_chat_due_again(self) -> None:
        chat = asked()
        abandon(chat)
        assert indexing.recover() == 1
        chat.refresh_from_db()
        assert (chat.vector_status, chat.index_error_code) == ("pending", "worker_lost")
        assert indexing.index_chat(chat.pk)

    def test_a_dead_lease_at_the_last_attempt_is_a_failure(
        self, settled: list[UUID], django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
    ) -> None:
        chat = asked()
        abandon(chat, attempt=3)
        with django_capture_on_commit_callbacks(execute=True):
            assert indexing.recover() == 1
        chat.refresh_from_db()
        assert (chat.vector_status, chat.index_error_code) == ("failed", "worker_lost")
        assert settled == [chat.pk]

    def test_a_live_lease_is_left_alone(self) -> None:
        chat = asked()
        abandon(chat)
        Chat.objects.filter(pk=chat.pk).update(index_lease_expires_at=Now() + timedelta(seconds=60))
        assert indexing.recover() == 0
        indexing.request(chat)
        assert not indexing.index_chat(chat.pk)


@pytest.mark.django_db(transaction=True)
class TestDispatching:
    def test_a_request_wakes_a_worker_at_once_and_only_once(self, broker: BrokerHandle) -> None:
        asked()
        eventually(lambda: broker.waiting("indexing") == 1)
        assert indexing.dispatch() == 0

    def test_a_message_that_woke_nobody_is_published_again(self, broker: BrokerHandle, settings: Settings) -> None:
        chat = asked()
        eventually(lambda: broker.waiting("indexing") == 1)
        later = Now() - timedelta(seconds=settings.REDISPATCH_SECONDS + 1)
        Chat.objects.filter(pk=chat.pk).update(index_dispatched_at=later)
        broker.flush()
        assert indexing.dispatch() == 1
        assert broker.waiting("indexing") == 1

    def test_without_a_broker_the_request_stands_and_is_published_later(self, broker: BrokerHandle) -> None:
        (chat,) = due(1)
        with broker.down():
            assert indexing.dispatch() == 0
        chat.refresh_from_db()
        assert (chat.vector_status, chat.index_dispatched_at) == ("pending", None)
        assert indexing.dispatch() == 1
        assert broker.waiting("indexing") == 1

    def test_chats_that_another_dispatcher_holds_are_passed_over(self, broker: BrokerHandle) -> None:
        chats = due(5)
        with transaction.atomic():
            held = Chat.objects.select_for_update().filter(pk__in=[chat.pk for chat in chats[:2]])
            assert len(held) == 2
            assert Background(indexing.dispatch).result() == 3
        assert indexing.dispatch() == 2

    def test_two_dispatchers_publish_a_chat_once(self, broker: BrokerHandle) -> None:
        due(10)
        assert sum(at_once(4, indexing.dispatch)) == 10
        assert broker.waiting("indexing") == 10


@pytest.mark.django_db(transaction=True)
class TestRacing:
    def test_of_many_indexers_at_once_one_does_the_work(self) -> None:
        chat = asked()
        assert sorted(at_once(5, lambda: indexing.index_chat(chat.pk))) == [False] * 4 + [True]
        chat.refresh_from_db()
        assert chat.index_attempt == 1

    def test_a_stale_indexer_cannot_overwrite_a_finished_index(self) -> None:
        chat = asked()
        with transcript_withheld():
            stale = Background(lambda: indexing.index_chat(chat.pk))
            eventually(lambda: Chat.objects.get(pk=chat.pk).vector_status == "indexing")
            Chat.objects.filter(pk=chat.pk).update(index_lease_expires_at=Now() - timedelta(seconds=1))
            assert indexing.recover() == 1
            assert indexing.index_chat(chat.pk)
            finished = Chat.objects.values().get(pk=chat.pk)
            chunks = list(chat.chunks.values_list("pk", flat=True))
        assert stale.result() is False
        assert Chat.objects.values().get(pk=chat.pk) == finished
        assert list(chat.chunks.values_list("pk", flat=True)) == chunks

    def test_a_lease_lost_at_the_last_moment_is_noticed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        chat = asked()

        class OvertakenEngine(embedding.LocalEmbeddingEngine):
            """While its only texts are embedded, the lease runs out and another finishes."""

            def embed(self, texts: Sequence[str]) -> Vectors:
                monkeypatch.undo()
                Chat.objects.filter(pk=chat.pk).update(index_lease_expires_at=Now() - timedelta(seconds=1))
                assert indexing.recover() == 1
                assert indexing.index_chat(chat.pk)
                self.finished = Chat.objects.values().get(pk=chat.pk)
                return super().embed(texts)

        engine = OvertakenEngine()
        monkeypatch.setattr(embedding, "get_engine", lambda: engine)
        assert not indexing.index_chat(chat.pk)
        assert Chat.objects.values().get(pk=chat.pk) == engine.finished

    def test_a_lease_is_renewed_while_the_work_goes_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        chat = asked()
        leases = []

        class SlowEngine(embedding.LocalEmbeddingEngine):
            """Each of its steps uses up nearly all of the lease."""

            def embed(self, texts: Sequence[str]) -> Vectors:
                held = Chat.objects.filter(pk=chat.pk, index_lease_expires_at__gt=Now() + timedelta(seconds=10))
                leases.append(held.update(index_lease_expires_at=Now() + timedelta(seconds=9)))
                return super().embed(texts)

        engine = SlowEngine()
        monkeypatch.setattr(embedding, "get_engine", lambda: engine)
        monkeypatch.setattr(indexing, "_CHUNKS_PER_STEP", 1)
        assert indexing.index_chat(chat.pk)
        assert leases == [1, 1, 1]

    def test_a_chat_erased_while_it_is_indexed_leaves_nothing(self, caplog: pytest.LogCaptureFixture) -> None:
        chat = asked()
        with transcript_withheld():
            indexer = Background(lambda: indexing.index_chat(chat.pk))
            eventually(lambda: Chat.objects.get(pk=chat.pk).vector_status == "indexing")
            erase(chat)
        assert indexer.result() is False
        assert not Chat.objects.exists()
        assert not VectorMatrix.objects.exists()
        assert not [record for record in caplog.records if record.levelno >= logging.ERROR]

    def test_a_worker_killed_while_it_indexes_loses_nothing(self, worker: StartCelery, broker: BrokerHandle) -> None:
        process, chat = worker(), samples.stored()
        with transcript_withheld():
            Background(lambda: indexing.request(chat)).result()
            eventually(lambda: Chat.objects.get(pk=chat.pk).vector_status == "indexing")
            process.kill()
        broker.flush()
        Chat.objects.filter(pk=chat.pk).update(index_lease_expires_at=Now() - timedelta(seconds=1))
        assert indexing.recover() == 1
        assert indexing.index_chat(chat.pk)
        chat.refresh_from_db()
        assert (chat.vector_status, chat.index_attempt) == ("completed", 2)


class Background:
    """A call in a thread of its own."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._results: list[object] = []
        self._thread = threading.Thread(target=self._run, args=(work,))
        self._thread.start()

    def _run(self, work: Callable[[], object]) -> None:
        try:
            self._results.append(work())
        finally:
            connections.close_all()

    def result(self) -> object:
        self._thread.join(PATIENCE_SECONDS)
        assert self._results, "the call did not return"
        return self._results[0]


def at_once(n: int, work: Callable[[], Any]) -> list[Any]:
    barrier = threading.Barrier(n)

    def start() -> object:
        barrier.wait(PATIENCE_SECONDS)
        return work()

    return [call.result() for call in [Background(start) for _ in range(n)]]


class transcript_withheld:
    """For the block nobody but this connection reads a transcript: whoever indexes waits after its claim."""

    def __enter__(self) -> None:
        self._transaction = transaction.atomic()
        self._transaction.__enter__()
        with connection.cursor() as cursor:
            cursor.execute("LOCK TABLE transcript_blocks IN ACCESS EXCLUSIVE MODE")

    def __exit__(self, *error: Any) -> None:
        self._transaction.__exit__(*error)
