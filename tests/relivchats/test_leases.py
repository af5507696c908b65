"""The lease queue, on both models that use it: one worker at a time holds a row, and only that worker can end it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import OperationalError, connection, transaction
from django.db.models.functions import Now
from pytest_django.fixtures import Settings

from chats import indexing
from chats.models import Chat
from insights import dispatch
from relivchats import clock, leases
from relivchats.leases import Lease, LeaseQueue, LeaseRenewer
from tests.concurrency import BackgroundCall, call_at_once, is_a_lock_awaited
from tests.ops import rows
from tests.processes import PATIENCE_SECONDS, eventually


class Queue:
    """One of the two queues, with the same short names for its columns."""

    def __init__(self, queue: LeaseQueue[Any], make_due: Callable[[], UUID]) -> None:
        self.queue = queue
        self.make_due = make_due

    def set(self, row_id: UUID, **columns: Any) -> None:
        prefixed = {f"{self.queue.prefix}{name}": value for name, value in columns.items()}
        self.queue.model._default_manager.filter(pk=row_id).update(**prefixed)

    def get(self, row_id: UUID, column: str) -> Any:
        row = self.queue.model._default_manager.get(pk=row_id)
        return getattr(row, self.queue.status_column if column == "status" else f"{self.queue.prefix}{column}")

    def expire(self, row_id: UUID) -> None:
        self.set(row_id, lease_expires_at=Now() - timedelta(seconds=1))

    def claim(self, row_id: UUID) -> Lease:
        lease = self.queue.claim(row_id)
        assert lease is not None
        return lease

    def dispatch(self, *, limit: int = 10) -> int:
        return self.queue.dispatch(self.queue.due().order_by("pk"), limit=limit)

    def due_since(self, row_id: UUID) -> Any:
        return getattr(self.queue.model._default_manager.get(pk=row_id), self.queue.due_at)

    def remaining_seconds(self, row_id: UUID) -> float:
        with connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            (now,) = cursor.fetchone()
        return float((self.get(row_id, "lease_expires_at") - now).total_seconds())


def due_insight() -> UUID:
    return rows.job(types=1).insights.get().pk


def due_chat() -> UUID:
    chat = rows.chat(rows.person(), vector_status="pending")
    Chat.objects.filter(pk=chat.pk).update(index_requested_at=Now())
    return chat.pk


@pytest.fixture(params=["insights", "chats"])
def queue(request: pytest.FixtureRequest, db: None, monkeypatch: pytest.MonkeyPatch) -> Queue:
    # An unlock dispatches its insights in the background; these tests dispatch themselves.
    monkeypatch.setattr(dispatch, "dispatch_soon", lambda: None)
    if request.param == "insights":
        return Queue(dispatch.queue, due_insight)
    return Queue(indexing.queue, due_chat)


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[UUID]:
    """The ids that were published, in order."""
    ids: list[UUID] = []

    def publish(task: str, row_id: UUID) -> bool:
        ids.append(row_id)
        return True

    monkeypatch.setattr(leases, "publish", publish)
    return ids


class TestClaim:
    def test_a_due_row_is_leased_once_and_the_attempt_is_counted(self, queue: Queue) -> None:
        row_id = queue.make_due()
        lease = queue.claim(row_id)
        assert (lease.row_id, lease.attempt, queue.get(row_id, "status")) == (row_id, 1, queue.queue.leased)
        assert 80 < queue.remaining_seconds(row_id) <= 90
        assert queue.queue.claim(row_id) is None
        assert queue.get(row_id, "attempt") == 1

    def test_a_claim_leases_no_other_row(self, queue: Queue) -> None:
        claimed, other = queue.make_due(), queue.make_due()
        queue.claim(claimed)
        assert (queue.get(other, "status"), queue.get(other, "lease_token")) == (queue.queue.pending, None)

    def test_an_unknown_row_cannot_be_claimed(self, queue: Queue) -> None:
        assert queue.queue.claim(uuid4()) is None

    def test_a_finished_row_cannot_be_claimed(self, queue: Queue) -> None:
        row_id = queue.make_due()
        assert finish(queue, queue.claim(row_id))
        assert queue.queue.claim(row_id) is None

    def test_a_row_whose_lease_expired_can_be_claimed_by_another_worker(self, queue: Queue) -> None:
        first = queue.claim(queue.make_due())
        queue.expire(first.row_id)
        second = queue.claim(first.row_id)
        assert second.token != first.token
        assert second.attempt == 2

    def test_a_row_without_attempts_left_cannot_be_claimed(self, queue: Queue) -> None:
        row_id = queue.make_due()
        for _ in range(queue.queue.max_attempts):
            queue.claim(row_id)
            queue.expire(row_id)
        assert queue.queue.claim(row_id) is None

    @pytest.mark.django_db(transaction=True)
    def test_of_many_concurrent_claims_one_succeeds(self, transactional_db: None, queue: Queue) -> None:
        row_id = queue.make_due()
        results = call_at_once([lambda: queue.queue.claim(row_id)] * 8)
        assert [type(result) for result in results if result is not None] == [Lease]
        assert queue.get(row_id, "attempt") == 1


def finish(queue: Queue, lease: Lease) -> bool:
    """Finish the row with the columns that its table's constraints demand."""
    extra = {"finished_at": Now()} if queue.queue is dispatch.queue else {}
    return queue.queue.finish(lease, status="completed", **extra)


class TestEnd:
    def test_the_holder_finishes_its_row_once(self, queue: Queue) -> None:
        lease = queue.claim(queue.make_due())
        assert finish(queue, lease)
        assert not finish(queue, lease)
        assert queue.get(lease.row_id, "status") == "completed"
        assert queue.get(lease.row_id, "lease_token") is queue.get(lease.row_id, "lease_expires_at") is None

    def test_a_released_row_is_due_again_and_keeps_its_attempts(self, queue: Queue) -> None:
        lease = queue.claim(queue.make_due())
        assert queue.queue.release(lease)
        assert not queue.queue.release(lease)
        assert queue.claim(lease.row_id).attempt == 2

    def test_a_worker_whose_row_was_taken_over_changes_nothing(self, queue: Queue) -> None:
        stale = queue.claim(queue.make_due())
        queue.expire(stale.row_id)
        fresh = queue.claim(stale.row_id)
        before = queue.get(stale.row_id, "lease_expires_at")
        assert not finish(queue, stale)
        assert not queue.queue.release(stale)
        assert not queue.queue.renew(stale)
        queue.queue.renew_all([stale])
        assert (queue.get(stale.row_id, "lease_token"), queue.get(stale.row_id, "lease_expires_at")) == (
            fresh.token,
            before,
        )

    def test_a_slow_worker_whose_row_nobody_took_over_may_still_finish(self, queue: Queue) -> None:
        lease = queue.claim(queue.make_due())
        queue.expire(lease.row_id)
        assert finish(queue, lease)


class TestRenewal:
    def test_renewing_all_leases_of_a_process_does_not_renew_those_of_another(self, queue: Queue) -> None:
        own, other = queue.claim(queue.make_due()), queue.claim(queue.make_due())
        for lease in (own, other):
            queue.expire(lease.row_id)
        queue.queue.renew_all([own])
        assert queue.remaining_seconds(own.row_id) > 80
        assert queue.remaining_seconds(other.row_id) < 0

    def test_a_renewed_lease_lasts_its_full_length_again(self, queue: Queue) -> None:
        lease = queue.claim(queue.make_due())
        queue.expire(lease.row_id)
        assert queue.queue.renew(lease)
        assert 80 < queue.remaining_seconds(lease.row_id) <= 90

    @pytest.mark.django_db(transaction=True)
    def test_a_locked_row_does_not_delay_the_renewal_of_the_others(self, transactional_db: None, queue: Queue) -> None:
        locked, other = queue.claim(queue.make_due()), queue.claim(queue.make_due())
        for lease in (locked, other):
            queue.expire(lease.row_id)
        with transaction.atomic():
            queue.queue.model._default_manager.select_for_update(of=("self",)).get(pk=locked.row_id)
            BackgroundCall(lambda: queue.queue.renew_all([locked, other])).result()
        assert queue.remaining_seconds(other.row_id) > 80
        assert queue.remaining_seconds(locked.row_id) < 0

    @pytest.mark.django_db(transaction=True)
    def test_a_lease_is_renewed_until_its_block_ends(
        self, transactional_db: None, queue: Queue, settings: Settings
    ) -> None:
        settings.INSIGHT_LEASE_SECONDS = 1
        lease, renewer = queue.claim(queue.make_due()), LeaseRenewer(queue.queue)
        with renewer.renewing(lease):
            for _ in range(2):
                before = queue.get(lease.row_id, "lease_expires_at")
                eventually(lambda before=before: queue.get(lease.row_id, "lease_expires_at") > before)  # type: ignore[misc]
        eventually(lambda: queue.remaining_seconds(lease.row_id) < 0)

    @pytest.mark.django_db(transaction=True)
    def test_renewal_continues_after_a_database_error(
        self, transactional_db: None, queue: Queue, settings: Settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        settings.INSIGHT_LEASE_SECONDS = 1
        lease, failing = queue.claim(queue.make_due()), FailingOnce(queue.queue)
        with LeaseRenewer(failing).renewing(lease):
            assert failing.renewed.wait(PATIENCE_SECONDS)
        assert "leases not renewed" in caplog.messages

    def test_one_thread_renews_all_leases_of_a_process_and_ends_with_the_last(self, settings: Settings) -> None:
        settings.INSIGHT_LEASE_SECONDS = 1
        queue: Any = SimpleNamespace(lease_seconds=settings.INSIGHT_LEASE_SECONDS, renew_all=lambda leases: None)
        renewer = LeaseRenewer(queue)
        before = set(threading.enumerate())
        with renewer.renewing(Lease(uuid4(), uuid4(), 1)), renewer.renewing(Lease(uuid4(), uuid4(), 1)):
            (thread,) = set(threading.enumerate()) - before
        eventually(lambda: not thread.is_alive())


class TestGivingBack:
    def test_the_rows_of_a_process_that_ends_are_due_again_and_those_of_others_are_not(self, queue: Queue) -> None:
        own, other, finished = (queue.claim(queue.make_due()) for _ in range(3))
        assert finish(queue, finished)
        renewer = LeaseRenewer(queue.queue)
        before = clock.now()
        with renewer.renewing(own), renewer.renewing(finished):
            assert leases.give_back_all(uses_attempt=False) == 1
        assert queue.get(own.row_id, "status") == queue.queue.pending
        assert queue.get(own.row_id, "dispatched_at") is None
        assert queue.due_since(own.row_id) > before, "it has not waited for a worker until now"
        # An indexing that ended with its worker counts: the chat may need too much memory.
        assert queue.get(own.row_id, "attempt") == int(queue.queue.counts_ended_workers)
        assert not queue.queue.renew(own)
        assert queue.queue.renew(other)
        assert queue.get(finished.row_id, "status") not in (queue.queue.pending, queue.queue.leased)
        assert queue.queue.claim(own.row_id)

    @pytest.mark.parametrize("uses_attempt", [False, True])
    def test_a_row_given_back_in_every_attempt_is_claimed_again_or_left_to_recovery(
        self, queue: Queue, uses_attempt: bool
    ) -> None:
        row_id, counts = queue.make_due(), uses_attempt or queue.queue.counts_ended_workers
        for attempt in range(1, queue.queue.max_attempts + 2):
            lease = queue.queue.claim(row_id)
            if lease is None:
                break
            with LeaseRenewer(queue.queue).renewing(lease):
                assert leases.give_back_all(uses_attempt=uses_attempt) == 1
            assert queue.get(row_id, "status") == queue.queue.pending or queue.queue.lock_expired(row_id) == lease
            assert lease.attempt == (attempt if counts else 1)
        assert (lease is None) is counts
        is_due = queue.queue.due().filter(pk=row_id).exists()
        assert is_due is not counts

    @pytest.mark.django_db(transaction=True)
    def test_a_locked_row_does_not_delay_the_others(self, transactional_db: None, queue: Queue) -> None:
        locked, other = queue.claim(queue.make_due()), queue.claim(queue.make_due())
        with transaction.atomic():
            queue.queue.model._default_manager.select_for_update(of=("self",)).get(pk=locked.row_id)
            assert BackgroundCall(lambda: queue.queue.give_back([locked, other])).result() == 1
        assert queue.queue.renew(locked)
        assert not queue.queue.renew(other)


class FailingOnce:
    """A queue whose first renewal fails, as if the database had just restarted."""

    def __init__(self, queue: LeaseQueue[Any]) -> None:
        self._queue = queue
        self._failed = False
        self.renewed = threading.Event()

    @property
    def lease_seconds(self) -> float:
        return self._queue.lease_seconds

    def renew_all(self, leases: Collection[Lease]) -> None:
        if not self._failed:
            self._failed = True
            raise OperationalError
        self._queue.renew_all(leases)
        self.renewed.set()


class TestRecovery:
    def test_only_an_expired_lease_is_locked_for_recovery(self, queue: Queue) -> None:
        lease = queue.claim(queue.make_due())
        assert queue.queue.lock_expired(lease.row_id) is None
        queue.expire(lease.row_id)
        other = queue.claim(queue.make_due())
        queue.expire(other.row_id)
        assert queue.queue.lock_expired(lease.row_id) == lease
        assert queue.queue.release(lease)
        assert queue.queue.lock_expired(lease.row_id) is None

    @pytest.mark.django_db(transaction=True)
    def test_a_worker_that_renews_during_its_recovery_has_lost_the_lease(
        self, transactional_db: None, queue: Queue
    ) -> None:
        lease = queue.claim(queue.make_due())
        queue.expire(lease.row_id)
        with transaction.atomic():
            assert queue.queue.lock_expired(lease.row_id) == lease
            renewal = BackgroundCall(lambda: queue.queue.renew(lease))
            eventually(is_a_lock_awaited)
            assert queue.queue.release(lease)
        assert renewal.result() is False
        assert queue.get(lease.row_id, "status") == queue.queue.pending


class TestDispatch:
    def test_due_rows_are_published_in_order_up_to_the_limit(self, queue: Queue, published: list[UUID]) -> None:
        ids = sorted(queue.make_due() for _ in range(3))
        assert queue.dispatch(limit=2) == 2
        assert published == ids[:2]
        assert queue.get(ids[2], "dispatched_at") is None, "a row that was not published is not marked"
        assert queue.dispatch(limit=0) == queue.dispatch(limit=-1) == 0

    def test_published_rows_do_not_count_toward_the_limit(self, queue: Queue, published: list[UUID]) -> None:
        ids = sorted(queue.make_due() for _ in range(3))
        assert (queue.dispatch(limit=2), queue.dispatch(limit=2)) == (2, 1)
        assert published == ids

    def test_a_row_is_published_again_only_when_no_worker_answered_in_time(
        self, queue: Queue, published: list[UUID], settings: Settings
    ) -> None:
        row_id = queue.make_due()
        assert (queue.dispatch(), queue.dispatch()) == (1, 0)
        queue.set(row_id, dispatched_at=Now() - timedelta(seconds=settings.REDISPATCH_SECONDS + 1))
        assert queue.dispatch() == 1
        assert published == [row_id, row_id]

    def test_a_row_that_was_claimed_meanwhile_is_not_published(self, queue: Queue, published: list[UUID]) -> None:
        row_id = queue.make_due()
        queue.claim(row_id)
        every_row = queue.queue.model._default_manager.filter(pk=row_id)
        assert queue.queue.dispatch(every_row, limit=10) == 0

    def test_a_row_that_another_dispatcher_published_meanwhile_is_not_published(
        self, queue: Queue, published: list[UUID]
    ) -> None:
        row_id = queue.make_due()

        def publish_before_the_lock(execute: Callable[..., Any], sql: str, *arguments: Any) -> Any:
            if "SKIP LOCKED" in sql:
                queue.set(row_id, dispatched_at=Now())
            return execute(sql, *arguments)

        with connection.execute_wrapper(publish_before_the_lock):
            assert queue.dispatch() == 0
        assert published == []

    def test_what_the_broker_did_not_take_is_published_in_the_next_round(
        self, queue: Queue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ids = sorted(queue.make_due() for _ in range(3))
        monkeypatch.setattr(leases, "publish", lambda task, row_id: row_id == ids[0])
        assert queue.dispatch() == 1
        assert [queue.get(row_id, "dispatched_at") is None for row_id in ids] == [False, True, True]
        monkeypatch.setattr(leases, "publish", lambda task, row_id: True)
        assert queue.dispatch() == 2

    def test_a_row_that_was_claimed_before_the_broker_failed_stays_marked(
        self, queue: Queue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        row_id = queue.make_due()

        def claim_and_fail(task: str, row_id: UUID) -> bool:
            queue.claim(row_id)
            return False

        monkeypatch.setattr(leases, "publish", claim_and_fail)
        assert queue.dispatch() == 0
        assert queue.get(row_id, "dispatched_at") is not None

    @pytest.mark.django_db(transaction=True)
    def test_concurrent_dispatchers_publish_a_row_once(
        self, transactional_db: None, queue: Queue, published: list[UUID]
    ) -> None:
        ids = sorted(queue.make_due() for _ in range(6))
        assert sum(call_at_once([queue.dispatch] * 4)) == 6
        assert sorted(published) == ids
