"""Recovery of readings: it requests what is missing, and fails only the insights whose chat cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction
from django.db.models.functions import Now

from chats.models import Chat
from insights import dispatch, engines, generation, reading, recovery
from insights.models import ChatReading, GenerationJob, ReadWindow
from insights.reading import queue
from tests.concurrency import BackgroundCall, is_a_lock_awaited
from tests.fakes.reader import FakeReader
from tests.ops import rows
from tests.processes import eventually

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeReader:
    """The engine of this process, which reads chats. Nothing is dispatched in the background."""
    reader = FakeReader()
    monkeypatch.setattr(engines, "get_engine", lambda: reader)
    for module in (dispatch, generation, recovery, queue):
        monkeypatch.setattr(module, "dispatch_soon", lambda: None)

    def publish(task: str, row_id: UUID) -> bool:
        return True

    monkeypatch.setattr("relivchats.leases.publish", publish)
    return reader


def make_job(*, status: str | None = None, **columns: Any) -> GenerationJob:
    """Create a job of one insight. With a status, its chat has a reading by the engine."""
    job = rows.job(types=1)
    requested = ChatReading.objects.filter(chat=job.chat)
    if status is None:
        requested.delete()
    else:
        requested.update(status=status, error_code="test", **{"up_to_message": 5000, **columns})
    return job


def status_of(job: GenerationJob) -> str:
    status: str = job.insights.get().status
    return status


def test_a_failed_reading_fails_the_insights_that_wait_for_it_and_no_others() -> None:
    failed = make_job(status="failed")
    others = [make_job(status="pending"), make_job(status="completed"), make_job()]
    assert recovery.recover().unreadable == 1
    assert failed.insights.get().error_code == "reading_failed"
    assert [status_of(job) for job in others] == ["pending"] * 3


def test_after_a_reading_only_the_insights_of_its_chat_fail() -> None:
    job, other = make_job(status="failed"), make_job(status="failed")
    assert job.chat is not None
    recovery.continue_after_reading(job.chat.pk)
    assert (status_of(job), status_of(other)) == ("failed", "pending")


def test_after_a_reading_only_its_chat_is_requested_again() -> None:
    job, other = (make_job(status="completed", up_to_message=4000) for _ in range(2))
    assert job.chat is not None
    recovery.continue_after_reading(job.chat.pk)
    assert ChatReading.objects.get(chat=job.chat).status == "pending"
    assert ChatReading.objects.get(chat=other.chat).status == "completed"


@pytest.mark.parametrize("recover", [recovery.recover, recovery.continue_after_reading])
def test_what_another_model_could_not_read_is_requested_again(recover: Callable[..., object]) -> None:
    job = make_job(status="failed", model="another")
    assert job.chat is not None
    recover(*[job.chat.pk] if recover is recovery.continue_after_reading else [])
    assert status_of(job) == "pending"
    assert ChatReading.objects.get().model == "fake-reader"


@pytest.mark.parametrize(("line_count", "requested"), [(5000, 0), (5001, 1)])
def test_a_chat_with_new_messages_is_requested_if_an_insight_waits(line_count: int, requested: int) -> None:
    make_job(status="completed")
    Chat.objects.update(line_count=line_count)
    assert recovery.recover().readings == requested
    assert recovery.recover().readings == 0


def test_nothing_is_requested_before_a_chat_is_indexed_or_if_no_insight_waits() -> None:
    make_job()
    delivered = make_job()
    Chat.objects.exclude(jobs=delivered).update(vector_status="pending")
    delivered.insights.update(status="failed", finished_at=Now(), error_code="test")
    assert recovery.recover().readings == 0


def test_recovery_requests_nothing_for_an_engine_that_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job(status="failed")
    monkeypatch.undo()
    monkeypatch.setattr(dispatch, "dispatch_soon", lambda: None)
    assert not recovery.recover().any_recovered
    assert status_of(job) == "pending"


def test_an_insight_that_is_being_generated_survives_a_failed_reading() -> None:
    job = make_job(status="failed")
    assert generation.claim_insight(job.insights.get().pk)
    assert recovery.recover().unreadable == 0
    assert status_of(job) == "generating"


def test_insights_are_not_failed_if_their_chat_is_requested_again_meanwhile(transactional_db: None) -> None:
    job = make_job(status="failed")
    make_job(status="failed", model="another")
    with transaction.atomic():
        GenerationJob.objects.select_for_update().get(pk=job.pk)
        failing = BackgroundCall(lambda: recovery.recover().unreadable)
        eventually(is_a_lock_awaited)
        ChatReading.objects.update(status="pending", error_code="")
    assert failing.result() == 0
    assert status_of(job) == "pending"


def test_an_insight_that_is_claimed_before_its_job_fails_is_not_failed(transactional_db: None) -> None:
    job = make_job(status="failed")
    with transaction.atomic():
        assert generation.claim_insight(job.insights.get().pk)
        failing = BackgroundCall(lambda: recovery.recover().unreadable)
        eventually(is_a_lock_awaited)
    assert failing.result() == 0
    assert status_of(job) == "generating"


def test_of_two_failed_readings_one_that_is_requested_again_keeps_its_insights(transactional_db: None) -> None:
    job, other = make_job(status="failed"), make_job(status="failed")
    with transaction.atomic():
        list(GenerationJob.objects.select_for_update())
        failing = BackgroundCall(lambda: recovery.recover().unreadable)
        eventually(is_a_lock_awaited)
        ChatReading.objects.filter(chat=job.chat).update(status="pending", error_code="")
    assert failing.result() == 1
    assert (status_of(job), status_of(other)) == ("pending", "failed")


def test_a_lease_that_was_renewed_meanwhile_is_not_recovered() -> None:
    make_job(status="pending")
    lease = queue.queue.claim(ChatReading.objects.get().pk)
    assert lease is not None
    assert not recovery.recover_reading(lease.row_id)
    assert queue.queue.held(lease).exists()


def test_an_expired_lease_is_recovered_until_the_last_attempt() -> None:
    make_job(status="pending")
    row = ChatReading.objects.get()
    for attempt in (1, 2, 3):
        assert queue.queue.claim(row.pk)
        ChatReading.objects.update(lease_expires_at=Now() - timedelta(seconds=1))
        assert recovery.recover_reading(row.pk)
        row.refresh_from_db()
        assert (row.status, row.attempt) == ("pending" if attempt < 3 else "failed", attempt)


def test_a_request_leaves_a_reading_alone_that_is_due_being_read_or_complete() -> None:
    for status in ("pending", "completed"):
        job = make_job(status=status)
        assert job.chat is not None
        ChatReading.objects.filter(chat=job.chat).update(attempt=2)
        reading.request(job.chat)
        assert ChatReading.objects.get(chat=job.chat).attempt == 2
        assert ChatReading.objects.get(chat=job.chat).status == status
    lease = queue.queue.claim(ChatReading.objects.filter(status="pending")[0].pk)
    assert lease is not None
    reading.request(ChatReading.objects.get(pk=lease.row_id).chat)
    assert queue.queue.held(lease).exists()


def test_a_request_of_a_failed_reading_keeps_what_was_read() -> None:
    job = make_job(status="failed")
    row = ChatReading.objects.get()
    ReadWindow.objects.create(reading=row, first_number=1, last_number=9, status="read", sealed_result=b"sealed")
    ReadWindow.objects.create(reading=row, first_number=10, last_number=19, status="failed", error_code="test")
    assert job.chat is not None
    reading.request(job.chat)
    assert list(row.windows.values_list("status", "error_code")) == [("read", ""), ("pending", "")]
    row.refresh_from_db()
    assert (row.status, row.attempt, row.error_code) == ("pending", 0, "")


def test_a_reading_is_published_once_and_no_more_than_insights_may_be_generated(settings: Any) -> None:
    settings.MAX_CONCURRENT_INSIGHTS = 2
    for _ in range(3):
        make_job(status="pending", up_to_message=None)
    assert [queue.dispatch(), queue.dispatch()] == [2, 0]
    assert queue.queue.claim(ChatReading.objects.exclude(dispatched_at=None)[0].pk)
    assert queue.dispatch() == 0, "one is being read, one is published"
    settings.MAX_CONCURRENT_INSIGHTS = 3
    assert queue.dispatch() == 1
