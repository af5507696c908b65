"""Settlement and recovery lock a job before its insights and coins, and change no other job."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now

from billing import audit, ledger
from billing.models import CoinReservation, Wallet
from chats import erasure
from chats.models import Chat
from insights import dispatch, generation, recovery, settlement
from insights.models import ChatReading, GenerationJob, Insight, InsightAttempt
from insights.reading import queue as readings
from relivchats import clock
from relivchats.leases import Lease
from tests.concurrency import BackgroundCall, is_a_lock_awaited
from tests.ops import rows
from tests.processes import eventually

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_background_dispatch(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (dispatch, generation, recovery):
        monkeypatch.setattr(module, "dispatch_soon", lambda: None)


def claimed(job: GenerationJob) -> Lease:
    lease = generation.claim_insight(job.insights.order_by("pk")[0].pk)
    assert lease is not None
    return lease


def expire(lease: Lease) -> None:
    Insight.objects.filter(pk=lease.row_id).update(lease_expires_at=Now() - timedelta(seconds=1))


FUNCTIONS: dict[str, Callable[[GenerationJob, Lease], object]] = {
    "complete": lambda job, lease: settlement.complete(lease, sealed_document=b"sealed"),
    "fail": lambda job, lease: settlement.fail(lease, error_code="test"),
    "fail_open_insights": lambda job, lease: settlement.fail_open_insights(job.pk, error_code="test", error_message=""),
    "recover_insight": lambda job, lease: recovery.recover_insight(lease.row_id),
}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_job_is_locked_before_its_insights_and_coins(function: str, transactional_db: None) -> None:
    # The job with the greater id, so that a query that locks any job locks the other one.
    other, job = sorted((rows.job(types=1), rows.job(types=1)), key=lambda job: job.pk)
    lease = claimed(job)
    expire(lease)
    with transaction.atomic():
        GenerationJob.objects.select_for_update().get(pk=job.pk)
        call = BackgroundCall(lambda: FUNCTIONS[function](job, lease))
        eventually(is_a_lock_awaited)
        list(GenerationJob.objects.select_for_update(nowait=True).filter(pk=other.pk))
        list(Insight.objects.select_for_update(nowait=True))
        list(CoinReservation.objects.select_for_update(nowait=True))
        list(Wallet.objects.select_for_update(nowait=True))
    assert call.result() is True


def test_settling_a_job_waits_for_the_worker_that_finishes_it(transactional_db: None) -> None:
    job = rows.job(types=1)
    lease = claimed(job)
    with transaction.atomic():
        assert settlement.complete(lease, sealed_document=b"sealed")
        settling = BackgroundCall(lambda: settlement.settle(job.pk))
        eventually(is_a_lock_awaited)
    assert settling.result() is False
    job.refresh_from_db()
    assert (job.status, job.completed_insights) == ("completed", 1)


def test_a_lost_lease_logs_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    job = rows.job(types=1)
    stale = claimed(job)
    expire(stale)
    claimed(job)
    assert not settlement.fail(stale, error_code="late")
    assert "failed after" not in caplog.text


def test_failing_some_insights_of_a_job_leaves_the_others_open() -> None:
    failing, other = rows.job(types=2).insights.all()
    assert settlement.fail_open_insights(failing.job_id, only=[failing.pk], error_code="test", error_message="")
    other.refresh_from_db()
    assert other.status == "pending"


def test_closing_a_job_closes_no_other_job() -> None:
    job, other = rows.job(types=1), rows.job(types=1)
    settlement.fail_open_insights(job.pk, error_code="test", error_message="")
    other.refresh_from_db()
    assert (other.status, other.finished_at) == ("queued", None)


def test_the_first_claim_starts_only_its_own_job() -> None:
    job, other = rows.job(types=1), rows.job(types=1)
    claimed(job)
    other.refresh_from_db()
    assert (other.status, other.started_at) == ("queued", None)


def test_a_later_claim_does_not_change_when_the_job_started() -> None:
    first, second = rows.job(types=2).insights.all()
    assert generation.claim_insight(first.pk) is not None
    started_at = GenerationJob.objects.get().started_at
    assert generation.claim_insight(second.pk) is not None
    assert GenerationJob.objects.get().started_at == started_at


def test_a_claim_without_a_free_lease_does_not_start_the_job(settings: Any) -> None:
    settings.MAX_CONCURRENT_INSIGHTS = 0
    insight = rows.job(types=1).insights.get()
    assert generation.claim_insight(insight.pk) is None
    assert GenerationJob.objects.get().status == "queued"


def test_a_duplicate_message_changes_no_dispatch_time() -> None:
    insight, other = rows.job(types=2).insights.order_by("pk")
    Insight.objects.update(dispatched_at=Now())
    assert generation.claim_insight(insight.pk) is not None
    assert generation.claim_insight(insight.pk) is None
    assert Insight.objects.filter(pk__in=[insight.pk, other.pk], dispatched_at=None).count() == 0


class RecordError(Exception):
    """The row of an attempt cannot be saved."""


def test_an_attempt_ends_only_together_with_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    (insight,) = rows.job(types=1).insights.all()

    def fail(*_: Any, **__: Any) -> None:
        raise RecordError

    monkeypatch.setattr(InsightAttempt, "save", fail)
    with pytest.raises(RecordError):
        generation.run(insight.pk)
    insight.refresh_from_db()
    assert insight.status == "generating"


def test_an_insight_whose_chat_was_deleted_after_the_claim_logs_no_internal_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (insight,) = rows.job(types=1).insights.all()
    claim = generation.claim_insight

    def claim_then_erase(insight_id: Any) -> Lease | None:
        lease = claim(insight_id)
        assert insight.chat is not None
        erasure.erase(insight.chat)
        return lease

    monkeypatch.setattr(generation, "claim_insight", claim_then_erase)
    generation.run(insight.pk)
    assert "insight not generated" not in caplog.text
    attempt = InsightAttempt.objects.get()
    assert (attempt.error_code, attempt.outcome) == ("chat_deleted", "discarded")


SOON = timedelta(minutes=10)


def waiting_after(error_code: str, *, status: str = "pending") -> tuple[Insight, ChatReading]:
    """An insight and a reading that wait for another ten minutes, and whose earlier messages were sent."""
    job = rows.job(types=1)
    assert job.chat is not None
    insight = job.insights.get()
    outcome: dict[str, Any] = {} if status == "pending" else {"finished_at": Now(), "error_message": "test"}
    Insight.objects.filter(pk=insight.pk).update(
        status=status, error_code=error_code, next_attempt_at=Now() + SOON, dispatched_at=Now(), **outcome
    )
    reading = ChatReading.objects.create(
        chat=job.chat, engine="fake", model="fake", version=1, status=status, error_code=error_code
    )
    ChatReading.objects.filter(pk=reading.pk).update(next_attempt_at=Now() + SOON, dispatched_at=Now())
    return insight, reading


@pytest.fixture
def dispatched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was dispatched."""
    calls: list[str] = []
    monkeypatch.setattr(recovery, "dispatch", lambda: calls.append("insights"))
    monkeypatch.setattr(readings, "dispatch", lambda: calls.append("readings"))
    return calls


def test_what_waits_after_an_error_is_due_at_once_when_an_operator_continues(dispatched: list[str]) -> None:
    waiting = waiting_after("quota_exhausted")
    assert recovery.retry_waiting() == 2
    for row in waiting:
        row.refresh_from_db()
        assert row.next_attempt_at <= clock.now()
        assert row.dispatched_at is None
    assert dispatched == ["readings", "insights"]


@pytest.mark.parametrize(("error_code", "status"), [("", "pending"), ("quota_exhausted", "failed")])
def test_what_waits_for_another_reason_or_has_ended_is_not_continued(
    error_code: str, status: str, dispatched: list[str]
) -> None:
    waiting = waiting_after(error_code, status=status)
    assert recovery.retry_waiting() == 0
    for row in waiting:
        row.refresh_from_db()
        assert row.next_attempt_at > clock.now()
    assert dispatched == []


def test_what_is_due_already_is_not_sent_again_by_continuing(dispatched: list[str]) -> None:
    insight, reading = waiting_after("quota_exhausted")
    for row in (insight, reading):
        type(row)._default_manager.filter(pk=row.pk).update(next_attempt_at=Now())
    assert recovery.retry_waiting() == 0
    insight.refresh_from_db()
    assert insight.dispatched_at is not None
    assert dispatched == []


def test_recovery_logs_nothing_if_nothing_was_stuck(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    rows.job(types=1)
    recovery.recover()
    assert "recovered" not in caplog.messages


def test_recovering_a_job_touches_no_other_job() -> None:
    job, other = rows.job(types=1), rows.job(types=1)
    lease = claimed(other)
    expire(lease)
    assert not recovery.recover_job(job.pk)
    assert Insight.objects.get(pk=lease.row_id).lease_token == lease.token


def test_recovering_a_job_before_its_deadline_fails_no_insight() -> None:
    job = rows.job(types=1)
    GenerationJob.objects.filter(pk=rows.job(types=1).pk).update(deadline_at=Now() - timedelta(seconds=1))
    assert not recovery.recover_job(job.pk)
    assert job.insights.get().status == "pending"


def test_an_insight_that_is_being_generated_survives_failed_indexing() -> None:
    job = rows.job(types=2)
    lease = claimed(job)
    Chat.objects.update(vector_status="failed")
    assert recovery.recover().unindexable == 1
    assert Insight.objects.get(pk=lease.row_id).status == "generating"
    assert job.insights.exclude(pk=lease.row_id).get().error_code == "indexing_failed"


def test_an_overdue_job_whose_insights_are_finished_is_settled_and_counted() -> None:
    job = rows.job(types=1)
    job.insights.update(status="completed", finished_at=Now())
    GenerationJob.objects.update(deadline_at=Now() - timedelta(seconds=1))
    assert recovery.recover().overdue_jobs == 1
    job.refresh_from_db()
    assert (job.status, job.reservation.status) == ("completed", "captured")


def test_an_insight_that_is_claimed_before_its_job_fails_is_not_failed(transactional_db: None) -> None:
    job = rows.job(types=1)
    Chat.objects.update(vector_status="failed")
    with transaction.atomic():
        claimed(job)
        failing = BackgroundCall(lambda: recovery.recover().unindexable)
        eventually(is_a_lock_awaited)
    assert failing.result() == 0
    assert job.insights.get().status == "generating"


def test_insights_are_not_failed_if_indexing_is_requested_again_meanwhile(transactional_db: None) -> None:
    job = rows.job(types=1)
    Chat.objects.update(vector_status="failed")
    with transaction.atomic():
        GenerationJob.objects.select_for_update().get(pk=job.pk)
        failing = BackgroundCall(lambda: recovery.recover().unindexable)
        eventually(is_a_lock_awaited)
        Chat.objects.update(vector_status="pending")
    assert failing.result() == 0
    assert job.insights.get().status == "pending"


def test_failed_indexing_fails_the_insights_of_no_other_chat() -> None:
    job, other = rows.job(types=1), rows.job(types=1)
    Chat.objects.update(vector_status="failed")
    assert job.chat is not None
    recovery.fail_unindexable(job.chat.pk)
    assert (job.insights.get().status, other.insights.get().status) == ("failed", "pending")


def test_recovery_locks_no_job_that_can_still_be_delivered(
    transactional_db: None, caplog: pytest.LogCaptureFixture
) -> None:
    failed, generated, searchable = rows.job(types=1), rows.job(types=1), rows.job(types=1)
    claimed(generated)
    Chat.objects.exclude(jobs=searchable).update(vector_status="failed")

    def recover() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '1s'")
        return recovery.recover().unindexable

    with transaction.atomic():
        list(GenerationJob.objects.select_for_update().exclude(pk=failed.pk))
        assert BackgroundCall(recover).result() == 1
    assert "recovery failed" not in caplog.messages


def test_a_lease_that_was_renewed_meanwhile_is_not_recovered() -> None:
    lease = claimed(rows.job(types=1))
    assert not recovery.recover_insight(lease.row_id)
    assert Insight.objects.get(pk=lease.row_id).lease_token == lease.token


def orphan() -> CoinReservation:
    """An active reservation whose job was deleted."""
    job = rows.job(types=1)
    GenerationJob.objects.filter(pk=job.pk).delete()
    return job.reservation


def test_an_orphaned_reservation_is_released_whatever_other_jobs_are_open() -> None:
    rows.job(types=1)
    reservation = orphan()
    recovery.recover_reservation(reservation.pk)
    reservation.refresh_from_db()
    assert reservation.status == "released"


def test_releasing_an_orphaned_reservation_releases_no_other() -> None:
    other, reservation = sorted((orphan(), orphan()), key=lambda reservation: reservation.pk)
    assert recovery.release_orphaned_reservation(reservation.pk)
    other.refresh_from_db()
    assert other.status == "active"


def test_a_resolved_reservation_is_not_released_again() -> None:
    reservation = orphan()
    ledger.release(reservation=reservation, reason="by hand")
    assert not recovery.release_orphaned_reservation(reservation.pk)


def test_an_orphaned_reservation_is_counted_once_by_two_recoveries(transactional_db: None) -> None:
    reservation = orphan()
    with transaction.atomic():
        assert recovery.release_orphaned_reservation(reservation.pk)
        other = BackgroundCall(lambda: recovery.release_orphaned_reservation(reservation.pk))
        eventually(is_a_lock_awaited)
    assert other.result() is False


def test_a_job_that_is_deleted_meanwhile_stops_no_other_recovery(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    deleted, other = (rows.job(types=1) for _ in range(2))
    GenerationJob.objects.update(deadline_at=Now() - timedelta(seconds=1))
    settle_job = recovery._fail_overdue_job

    def fail_overdue_job(job_id: Any) -> bool:
        if job_id == deleted.pk:
            raise GenerationJob.DoesNotExist
        return settle_job(job_id)

    monkeypatch.setattr(recovery, "_fail_overdue_job", fail_overdue_job)
    assert recovery.recover().overdue_jobs == 1
    assert "recovery failed" in caplog.messages
    other.refresh_from_db()
    assert other.status == "failed"


@pytest.mark.parametrize("is_leased", [True, False], ids=["leased", "pending"])
def test_open_insights_of_a_finished_job_fail_and_no_coins_move(is_leased: bool) -> None:
    job = rows.job(types=2)
    delivered, other = (generation.claim_insight(insight.pk) for insight in job.insights.order_by("pk"))
    assert delivered is not None
    assert other is not None
    assert settlement.complete(delivered, sealed_document=b"sealed")
    settlement.fail_open_insights(job.pk, error_code="test", error_message="")
    wallet = Wallet.objects.get(user=job.user)
    before = (wallet.balance, wallet.reserved, wallet.transactions.count())
    # As somebody would by SQL who wants the failed insight to be generated again.
    failed = job.insights.exclude(pk=delivered.row_id)
    failed.update(status="pending", finished_at=None)
    if is_leased:
        failed.update(status="generating", lease_token=other.token, lease_expires_at=Now() + timedelta(minutes=1))
    assert [finding.invariant.number for finding in audit.audit()] == ["6b", "10"]

    assert recovery.recover().contradictory_jobs == 1
    wallet.refresh_from_db()
    assert (wallet.balance, wallet.reserved, wallet.transactions.count()) == before
    assert [(insight.status, insight.error_code) for insight in failed] == [("failed", "job_finished")]
    assert not settlement.complete(other, sealed_document=b"sealed")
    assert not audit.audit()
    assert not recovery.recover().contradictory_jobs


def test_a_finished_job_whose_counters_are_wrong_gets_those_of_its_insights() -> None:
    job = rows.job(types=2)
    GenerationJob.objects.filter(pk=job.pk).update(status="failed", finished_at=Now())
    assert recovery.recover().contradictory_jobs == 1
    job.refresh_from_db()
    assert (job.status, job.completed_insights, job.failed_insights) == ("failed", 0, 2)
    assert not audit.audit()
