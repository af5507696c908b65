from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction
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
from tests.concurrency import BackgroundCall, call_at_once
from tests.conftest import StartCelery
from tests.processes import BrokerHandle, eventually


@pytest.fixture
def finished() -> Iterator[list[UUID]]:
    """The ids of the chats whose indexing was announced as finished, in order."""
    ids: list[UUID] = []

    def receive(*, chat_id: UUID, **_: Any) -> None:
        ids.append(chat_id)

    indexing_finished.connect(receive)
    yield ids
    indexing_finished.disconnect(receive)


def requested() -> Chat:
    chat = samples.stored()
    indexing.request(chat)
    return chat


def due(n: int) -> list[Chat]:
    """Store chats whose indexing was requested and not dispatched."""
    chats = [samples.stored() for _ in range(n)]
    Chat.objects.update(index_requested_at=Now())
    return chats


def abandon(chat: Chat, *, attempt: int = 1) -> UUID:
    """Leave the chat as a process that was killed while indexing it does, a second after the lease expired."""
    token = uuid4()
    Chat.objects.filter(pk=chat.pk).update(
        vector_status="indexing",
        index_lease_token=token,
        index_lease_expires_at=Now() - timedelta(seconds=1),
        index_attempt=attempt,
    )
    return token


def corrupt_transcript(chat: Chat) -> None:
    TranscriptBlock.objects.filter(chat=chat).update(sealed=b"does not open")


@pytest.mark.django_db
class TestIndexing:
    def test_a_requested_chat_becomes_searchable(
        self, finished: list[UUID], django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
    ) -> None:
        chat = requested()
        with django_capture_on_commit_callbacks(execute=True):
            assert indexing.index_chat(chat.pk)
        chat.refresh_from_db()
        assert (chat.vector_status, chat.index_error_code, chat.index_attempt) == ("completed", "", 1)
        assert chat.indexed_at
        assert chat.chunk_count == chat.chunks.count() == 3
        assert finished == [chat.pk]

    def test_a_chat_that_was_not_requested_is_not_indexed(self) -> None:
        chat = samples.stored()
        assert not indexing.index_chat(chat.pk)
        assert indexing.dispatch() == 0
        chat.refresh_from_db()
        assert (chat.vector_status, chat.index_attempt) == ("pending", 0)

    def test_a_late_or_duplicate_message_does_nothing(self) -> None:
        chat = requested()
        assert indexing.index_chat(chat.pk)
        at = Chat.objects.get(pk=chat.pk).indexed_at
        assert not indexing.index_chat(chat.pk)
        assert not indexing.index_chat(uuid4())
        tasks.index_chat(str(chat.pk))
        assert Chat.objects.get(pk=chat.pk).indexed_at == at

    def test_a_second_request_indexes_again(self) -> None:
        chat = requested()
        indexing.index_chat(chat.pk)
        indexing.request(chat)
        assert indexing.index_chat(chat.pk)
        assert chat.chunks.count() == 3
        assert VectorMatrix.objects.filter(chat=chat).count() == 1

    def test_chunks_cover_every_message_of_a_participant_in_order(self) -> None:
        chat = requested()
        indexing.index_chat(chat.pk)
        ranges = list(
            chat.chunks.order_by("number").values_list("number", "conversation", "first_number", "last_number")
        )
        assert ranges == [(0, 0, 1, 2), (1, 1, 3, 4), (2, 2, 5, 6)]

    def test_after_three_failures_nothing_happens_until_the_next_request(
        self,
        finished: list[UUID],
        caplog: pytest.LogCaptureFixture,
        django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    ) -> None:
        chat = requested()
        corrupt_transcript(chat)
        states = []
        with django_capture_on_commit_callbacks(execute=True), caplog.at_level(logging.ERROR):
            for _ in range(4):
                assert not indexing.index_chat(chat.pk)
                chat.refresh_from_db()
                states.append((chat.vector_status, chat.index_attempt, chat.index_error_code))
        code = "key_unavailable"
        assert states == [("pending", 1, code), ("pending", 2, code), ("failed", 3, code), ("failed", 3, code)]
        assert "failed after 3 attempts" in caplog.messages
        assert finished == [chat.pk]
        indexing.request(chat)
        chat.refresh_from_db()
        assert (chat.vector_status, chat.index_attempt, chat.index_error_code) == ("pending", 0, "")

    def test_the_index_is_stored_sealed(self) -> None:
        chat = requested()
        indexing.index_chat(chat.pk)
        stored = VectorMatrix.objects.get(chat=chat)
        with pytest.raises(CannotOpen):
            chat.key.open(stored.sealed, context=chat.context("title"))


@pytest.mark.django_db
class TestRecovery:
    def test_an_expired_lease_makes_the_chat_due_again(self) -> None:
        chat = requested()
        abandon(chat)
        assert indexing.recover() == 1
        chat.refresh_from_db()
        assert (chat.vector_status, chat.index_error_code) == ("pending", "worker_lost")
        assert indexing.index_chat(chat.pk)

    def test_an_expired_lease_at_the_last_attempt_fails_the_chat(
        self, finished: list[UUID], django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
    ) -> None:
        chat = requested()
        abandon(chat, attempt=3)
        with django_capture_on_commit_callbacks(execute=True):
            assert indexing.recover() == 1
        chat.refresh_from_db()
        assert (chat.vector_status, chat.index_error_code) == ("failed", "worker_lost")
        assert finished == [chat.pk]

    def test_an_active_lease_is_not_touched(self) -> None:
        chat = requested()
        abandon(chat)
        Chat.objects.filter(pk=chat.pk).update(index_lease_expires_at=Now() + timedelta(seconds=60))
        assert indexing.recover() == 0
        indexing.request(chat)
        assert not indexing.index_chat(chat.pk)


@pytest.mark.django_db(transaction=True)
class TestDispatch:
    def test_a_request_publishes_one_message_at_once(self, broker: BrokerHandle) -> None:
        requested()
        eventually(lambda: broker.waiting("indexing") == 1)
        assert indexing.dispatch() == 0

    def test_an_unanswered_message_is_published_again(self, broker: BrokerHandle, settings: Settings) -> None:
        chat = requested()
        eventually(lambda: broker.waiting("indexing") == 1)
        later = Now() - timedelta(seconds=settings.REDISPATCH_SECONDS + 1)
        Chat.objects.filter(pk=chat.pk).update(index_dispatched_at=later)
        broker.flush()
        assert indexing.dispatch() == 1
        assert broker.waiting("indexing") == 1

    def test_without_a_broker_the_request_is_kept_and_published_later(self, broker: BrokerHandle) -> None:
        (chat,) = due(1)
        with broker.down():
            assert indexing.dispatch() == 0
        chat.refresh_from_db()
        assert (chat.vector_status, chat.index_dispatched_at) == ("pending", None)
        assert indexing.dispatch() == 1
        assert broker.waiting("indexing") == 1

    def test_chats_that_another_dispatcher_locks_are_skipped(self, broker: BrokerHandle) -> None:
        chats = due(5)
        with transaction.atomic():
            held = Chat.objects.select_for_update().filter(pk__in=[chat.pk for chat in chats[:2]])
            assert len(held) == 2
            assert BackgroundCall(indexing.dispatch).result() == 3
        assert indexing.dispatch() == 2

    def test_two_dispatchers_publish_a_chat_once(self, broker: BrokerHandle) -> None:
        due(10)
        assert sum(call_at_once([indexing.dispatch] * 4)) == 10
        assert broker.waiting("indexing") == 10


@pytest.mark.django_db(transaction=True)
class TestRaces:
    def test_of_many_concurrent_indexers_one_does_the_work(self) -> None:
        chat = requested()
        assert sorted(call_at_once([lambda: indexing.index_chat(chat.pk)] * 5)) == [False] * 4 + [True]
        chat.refresh_from_db()
        assert chat.index_attempt == 1

    def test_a_stale_indexer_cannot_overwrite_a_finished_index(self) -> None:
        chat = requested()
        with transcript_locked():
            stale = BackgroundCall(lambda: indexing.index_chat(chat.pk))
            eventually(lambda: Chat.objects.get(pk=chat.pk).vector_status == "indexing")
            Chat.objects.filter(pk=chat.pk).update(index_lease_expires_at=Now() - timedelta(seconds=1))
            assert indexing.recover() == 1
            assert indexing.index_chat(chat.pk)
            finished = Chat.objects.values().get(pk=chat.pk)
            chunks = list(chat.chunks.values_list("pk", flat=True))
        assert stale.result() is False
        assert Chat.objects.values().get(pk=chat.pk) == finished
        assert list(chat.chunks.values_list("pk", flat=True)) == chunks

    def test_a_lease_lost_at_the_last_moment_discards_the_result(self, monkeypatch: pytest.MonkeyPatch) -> None:
        chat = requested()

        class OvertakenEngine(embedding.LocalEmbeddingEngine):
            """While its only texts are embedded, the lease expires and another indexer finishes."""

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

    def test_a_lease_is_renewed_during_the_work(self, monkeypatch: pytest.MonkeyPatch) -> None:
        chat = requested()
        leases = []

        class SlowEngine(embedding.LocalEmbeddingEngine):
            """Each step uses up nearly all of the lease."""

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
        chat = requested()
        with transcript_locked():
            indexer = BackgroundCall(lambda: indexing.index_chat(chat.pk))
            eventually(lambda: Chat.objects.get(pk=chat.pk).vector_status == "indexing")
            erase(chat)
        assert indexer.result() is False
        assert not Chat.objects.exists()
        assert not VectorMatrix.objects.exists()
        assert not [record for record in caplog.records if record.levelno >= logging.ERROR]

    def test_a_worker_killed_while_it_indexes_loses_nothing(self, worker: StartCelery, broker: BrokerHandle) -> None:
        process, chat = worker(), samples.stored()
        with transcript_locked():
            BackgroundCall(lambda: indexing.request(chat)).result()
            eventually(lambda: Chat.objects.get(pk=chat.pk).vector_status == "indexing")
            process.kill()
        broker.flush()
        Chat.objects.filter(pk=chat.pk).update(index_lease_expires_at=Now() - timedelta(seconds=1))
        assert indexing.recover() == 1
        assert indexing.index_chat(chat.pk)
        chat.refresh_from_db()
        assert (chat.vector_status, chat.index_attempt) == ("completed", 2)


class transcript_locked:
    """Within the block, no other connection can read a transcript: an indexer waits after its claim."""

    def __enter__(self) -> None:
        self._transaction = transaction.atomic()
        self._transaction.__enter__()
        with connection.cursor() as cursor:
            cursor.execute("LOCK TABLE transcript_blocks IN ACCESS EXCLUSIVE MODE")

    def __exit__(self, *error: Any) -> None:
        self._transaction.__exit__(*error)
