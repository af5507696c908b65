"""The lifecycle of an insight: claimed once, finished by the holder of the lease, settled in one transaction."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now

from billing import ledger
from billing.audit import audit
from billing.models import CoinReservation, CreditTransaction
from chats import erasure
from chats.models import Chat
from insights import dispatch, engines, generation, recovery, settlement, unlocking
from insights.engines.base import EngineError, EngineRateLimited, EngineRefused, EngineUnavailable
from insights.engines.local.engine import LocalInsightEngine
from insights.models import GenerationJob, Insight, InsightAttempt
from relivchats.accounts.models import User
from relivchats.leases import Lease
from tests.concurrency import call_at_once, is_a_lock_awaited
from tests.processes import PATIENCE_SECONDS, eventually

pytestmark = pytest.mark.django_db


@pytest.fixture
def job(person: User, chat: Chat) -> GenerationJob:
    return unlocking.unlock(user=person, chat=chat, category_id="romantic").job


@pytest.fixture
def insight(person: User, chat: Chat) -> Insight:
    """The only insight of its job, for 50 coins."""
    return unlocking.unlock(user=person, chat=chat, type_ids=["communication_basics"]).insights[0]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[EngineError], None]:
    """Make the engine raise this error."""

    def install(error: EngineError) -> None:
        def write(self: LocalInsightEngine, brief: object) -> Any:
            raise error

        monkeypatch.setattr(LocalInsightEngine, "write", write)

    return install


def wallet_figures(insight: Insight) -> tuple[int, int]:
    wallet = insight.job.reservation.wallet
    wallet.refresh_from_db()
    return wallet.balance, wallet.reserved


def expire_lease(insight: Insight) -> None:
    Insight.objects.filter(pk=insight.pk).update(lease_expires_at=Now() - timedelta(seconds=1))


def make_due(insight: Insight) -> None:
    Insight.objects.filter(pk=insight.pk).update(next_attempt_at=Now() - timedelta(seconds=1))


def test_every_insight_of_a_job_is_delivered_and_the_coins_are_captured_once(job: GenerationJob) -> None:
    for insight in job.insights.all():
        generation.run(insight.pk)
    job.refresh_from_db()
    assert (job.status, job.completed_insights, job.failed_insights) == ("completed", 6, 0)
    assert job.reservation.status == "captured"
    assert CreditTransaction.objects.get(type="insight_unlock").amount == -400
    for insight in job.insights.select_related("chat"):
        document = insight.open_document()
        assert document is not None
        assert document["sections"]
    assert audit() == []


def test_an_insight_whose_message_arrives_three_times_is_generated_once(insight: Insight) -> None:
    for _ in range(3):
        generation.run(insight.pk)
    assert InsightAttempt.objects.get(insight=insight).outcome == "completed"
    assert wallet_figures(insight) == (350, 0)


def test_a_claimed_insight_cannot_be_claimed_again(insight: Insight) -> None:
    assert generation.claim_insight(insight.pk) is not None
    assert generation.claim_insight(insight.pk) is None


def test_the_first_claim_starts_the_job(insight: Insight) -> None:
    generation.claim_insight(insight.pk)
    insight.job.refresh_from_db()
    assert insight.job.status == "running"
    assert insight.job.started_at is not None


def test_an_insight_that_is_not_due_cannot_be_claimed(insight: Insight) -> None:
    Insight.objects.filter(pk=insight.pk).update(next_attempt_at=Now() + timedelta(minutes=1))
    assert generation.claim_insight(insight.pk) is None


def test_no_more_leases_are_active_than_allowed(job: GenerationJob, settings: Any) -> None:
    settings.MAX_CONCURRENT_INSIGHTS = 2
    claims = [generation.claim_insight(insight.pk) for insight in job.insights.all()]
    assert sum(claim is not None for claim in claims) == 2


def test_without_free_leases_nothing_starts_and_a_failed_insight_can_be_retried(
    insight: Insight, settings: Any
) -> None:
    settings.MAX_CONCURRENT_INSIGHTS = 0
    assert (dispatch.dispatch(), generation.claim_insight(insight.pk)) == (0, None)
    GenerationJob.objects.update(deadline_at=Now() - timedelta(seconds=1))
    assert recovery.recover().overdue_jobs == 1
    insight.refresh_from_db()
    assert (insight.status, insight.error_code) == ("failed", "deadline_passed")
    assert wallet_figures(insight) == (400, 0)
    assert unlocking.retry(insight).coins == 50
    assert wallet_figures(insight) == (400, 50)


def test_a_stale_worker_cannot_overwrite_a_finished_insight(insight: Insight) -> None:
    stale = generation.claim_insight(insight.pk)
    assert stale is not None
    expire_lease(insight)
    fresh = generation.claim_insight(insight.pk)
    assert fresh is not None
    assert settlement.complete(fresh, sealed_document=b"fresh")
    assert not settlement.complete(stale, sealed_document=b"stale")
    assert not settlement.fail(stale, error_code="late")
    insight.refresh_from_db()
    assert (insight.status, bytes(insight.sealed_document or b"")) == ("completed", b"fresh")
    assert wallet_figures(insight) == (350, 0)
    assert audit() == []


def test_a_stale_worker_cannot_finish_while_another_one_generates(insight: Insight) -> None:
    stale = generation.claim_insight(insight.pk)
    assert stale is not None
    expire_lease(insight)
    assert generation.claim_insight(insight.pk) is not None
    assert not settlement.complete(stale, sealed_document=b"stale")


def test_an_unavailable_engine_is_called_three_times_and_then_the_coins_are_released(
    insight: Insight, failing: Callable[[EngineError], None], caplog: pytest.LogCaptureFixture
) -> None:
    failing(EngineUnavailable())
    for attempt, wait in ((1, 15), (2, 45)):
        generation.run(insight.pk)
        insight.refresh_from_db()
        assert (insight.status, insight.attempt) == ("pending", attempt)
        assert Insight.objects.filter(
            pk=insight.pk,
            next_attempt_at__gt=Now() + timedelta(seconds=wait - 14),
            next_attempt_at__lte=Now() + timedelta(seconds=wait),
        ).exists()
        make_due(insight)
    generation.run(insight.pk)
    insight.refresh_from_db()
    assert (insight.status, insight.error_code) == ("failed", "engine_unavailable")
    assert wallet_figures(insight) == (400, 0)
    assert "failed after 3 attempts" in caplog.text
    assert audit() == []


def test_a_refused_request_is_not_retried(insight: Insight, failing: Callable[[EngineError], None]) -> None:
    failing(EngineRefused())
    generation.run(insight.pk)
    insight.refresh_from_db()
    assert (insight.status, insight.attempt) == ("failed", 1)
    assert wallet_figures(insight) == (400, 0)


def test_a_rate_limit_uses_no_attempt_and_waits_as_long_as_the_provider_says(
    insight: Insight, failing: Callable[[EngineError], None]
) -> None:
    failing(EngineRateLimited(retry_after_seconds=40))
    for _ in range(5):
        generation.run(insight.pk)
        assert Insight.objects.filter(
            pk=insight.pk, status="pending", attempt=0, next_attempt_at__gt=Now() + timedelta(seconds=20)
        ).exists()
        make_due(insight)


def test_an_internal_error_releases_the_coins_and_does_not_stop_the_worker(
    insight: Insight, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(self: LocalInsightEngine, brief: object) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(LocalInsightEngine, "write", write)
    for _ in range(3):
        generation.run(insight.pk)
        make_due(insight)
    insight.refresh_from_db()
    assert (insight.status, insight.error_code) == ("failed", "internal_error")
    assert wallet_figures(insight) == (400, 0)


def test_a_partly_delivered_job_captures_only_the_delivered_part(job: GenerationJob) -> None:
    delivered, *others = job.insights.order_by("price")
    generation.run(delivered.pk)
    settlement.fail_open_insights(job.pk, error_code="test", error_message="")
    job.refresh_from_db()
    assert (job.status, job.completed_insights, job.failed_insights) == ("partial_failure", 1, len(others))
    assert job.reservation.captured_coins == delivered.price
    assert wallet_figures(delivered) == (400 - delivered.price, 0)
    assert audit() == []


def test_an_expired_lease_makes_the_insight_due_again(insight: Insight) -> None:
    generation.claim_insight(insight.pk)
    expire_lease(insight)
    assert recovery.recover().leases == 1
    insight.refresh_from_db()
    assert (insight.status, insight.lease_token) == ("pending", None)


def test_an_expired_lease_on_the_last_attempt_fails_the_insight(insight: Insight) -> None:
    for _ in range(3):
        generation.claim_insight(insight.pk)
        expire_lease(insight)
    assert generation.claim_insight(insight.pk) is None
    recovery.recover()
    insight.refresh_from_db()
    assert (insight.status, insight.error_code) == ("failed", "worker_lost")
    assert wallet_figures(insight) == (400, 0)
    assert audit() == []


def test_recovery_does_not_touch_an_active_lease(insight: Insight) -> None:
    claim = generation.claim_insight(insight.pk)
    assert claim is not None
    recovery.recover()
    insight.refresh_from_db()
    assert insight.lease_token == claim.token


def test_a_job_past_its_deadline_closes_and_captures_what_was_delivered(job: GenerationJob) -> None:
    delivered = job.insights.first()
    assert delivered is not None
    generation.run(delivered.pk)
    generation.claim_insight(job.insights.open()[0].pk)
    GenerationJob.objects.filter(pk=job.pk).update(deadline_at=Now() - timedelta(seconds=1))
    assert recovery.recover().overdue_jobs == 1
    job.refresh_from_db()
    assert (job.status, job.completed_insights) == ("partial_failure", 1)
    assert job.reservation.captured_coins == delivered.price
    assert audit() == []


def test_a_reservation_without_an_open_job_is_released(person: User, insight: Insight) -> None:
    reservation = insight.job.reservation
    GenerationJob.objects.filter(pk=insight.job_id).delete()
    assert recovery.recover().reservations == 1
    reservation.refresh_from_db()
    assert reservation.status == CoinReservation.Status.RELEASED


def test_an_open_jobs_reservation_is_never_released(insight: Insight) -> None:
    assert not recovery.release_orphaned_reservation(insight.job.reservation_id)
    assert recovery.recover().reservations == 0


def test_deleting_a_chat_closes_its_jobs_releases_the_coins_and_deletes_the_documents(
    job: GenerationJob, chat: Chat
) -> None:
    delivered = job.insights.first()
    assert delivered is not None
    generation.run(delivered.pk)
    late = generation.claim_insight(job.insights.open()[0].pk)
    assert late is not None
    erasure.erase(chat)
    assert not settlement.complete(late, sealed_document=b"late")
    job.refresh_from_db()
    assert (job.status, job.chat_id) == ("partial_failure", None)
    assert not Insight.objects.exclude(sealed_document=None).exists()
    assert audit() == []


def test_failed_indexing_fails_the_insights_and_releases_the_coins(
    person: User, make_chat: Callable[..., Chat]
) -> None:
    chat = make_chat(person, searchable=False)
    job = unlocking.unlock(user=person, chat=chat, category_id="romantic").job
    Chat.objects.filter(pk=chat.pk).update(vector_status="failed")
    assert recovery.recover().unindexable == 1
    job.refresh_from_db()
    assert (job.status, job.reservation.status) == ("failed", "released")
    assert audit() == []


def test_the_engine_is_called_without_a_database_connection(
    transactional_db: None,
    make_person: Callable[..., User],
    make_chat: Callable[..., Chat],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    person = make_person(coins=50)
    (insight,) = unlocking.unlock(user=person, chat=make_chat(person), type_ids=["communication_basics"]).insights
    seen = []
    write = LocalInsightEngine.write

    def watched(self: LocalInsightEngine, brief: Any) -> Any:
        seen.append(connection.connection)
        return write(self, brief)

    monkeypatch.setattr(LocalInsightEngine, "write", watched)
    generation.run(insight.pk)
    assert seen == [None]


def test_a_finished_insight_is_kept_when_the_connection_breaks_while_it_is_recorded(
    transactional_db: None,
    make_person: Callable[..., User],
    make_chat: Callable[..., Chat],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    person = make_person(coins=50)
    (insight,) = unlocking.unlock(user=person, chat=make_chat(person), type_ids=["communication_basics"]).insights
    complete = settlement.complete
    broken: list[bool] = []

    def break_once(lease: Lease, **arguments: Any) -> bool:
        if not broken:
            broken.append(True)
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return complete(lease, **arguments)

    monkeypatch.setattr(settlement, "complete", break_once)
    monkeypatch.setattr(generation, "RECORD_AGAIN_SECONDS", (0, 0))
    generation.run(insight.pk)
    insight.refresh_from_db()
    assert (insight.status, insight.attempt) == ("completed", 1)
    assert wallet_figures(insight) == (0, 0)
    assert audit() == []


class SettlementError(Exception):
    """The ledger fails in the middle of a settlement."""


@pytest.mark.parametrize("function", ["complete", "fail", "fail_open_insights"])
def test_an_insight_is_not_finished_if_its_coins_cannot_be_settled(
    function: str,
    transactional_db: None,
    make_person: Callable[..., User],
    make_chat: Callable[..., Chat],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    person = make_person(coins=50)
    (insight,) = unlocking.unlock(user=person, chat=make_chat(person), type_ids=["communication_basics"]).insights
    lease = generation.claim_insight(insight.pk)
    assert lease is not None

    def fail(**_: Any) -> None:
        raise SettlementError

    monkeypatch.setattr(ledger, "capture", fail)
    monkeypatch.setattr(ledger, "release", fail)
    calls: dict[str, Callable[[], bool]] = {
        "complete": lambda: settlement.complete(lease, sealed_document=b"sealed"),
        "fail": lambda: settlement.fail(lease, error_code="test"),
        "fail_open_insights": lambda: settlement.fail_open_insights(
            insight.job_id, error_code="test", error_message=""
        ),
    }
    with pytest.raises(SettlementError):
        calls[function]()
    insight.refresh_from_db()
    assert (insight.status, insight.lease_token) == ("generating", lease.token)
    assert wallet_figures(insight) == (50, 50)


def test_a_claim_that_waits_for_its_job_does_not_block_other_claims(
    transactional_db: None, make_person: Callable[..., User], make_chat: Callable[..., Chat]
) -> None:
    insights: list[Insight] = []
    for _ in range(2):
        person = make_person(coins=50)
        insights += unlocking.unlock(user=person, chat=make_chat(person), type_ids=["communication_basics"]).insights
    busy, other = insights

    def claim_the_busy_one() -> None:
        generation.claim_insight(busy.pk)
        connection.close()

    with transaction.atomic():
        GenerationJob.objects.select_for_update().get(pk=busy.job_id)
        waiting = threading.Thread(target=claim_the_busy_one)
        waiting.start()
        eventually(is_a_lock_awaited)
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '5s'")
        assert generation.claim_insight(other.pk) is not None
    waiting.join()
    busy.refresh_from_db()
    assert busy.status == "generating"


def test_recovery_continues_after_a_job_that_cannot_be_recovered(
    make_person: Callable[..., User], make_chat: Callable[..., Chat], caplog: pytest.LogCaptureFixture
) -> None:
    jobs = []
    for _ in range(2):
        person = make_person(coins=400)
        jobs.append(unlocking.unlock(user=person, chat=make_chat(person), category_id="romantic").job)
    odd, fine = jobs
    delivered = odd.insights.first()
    assert delivered is not None
    generation.run(delivered.pk)
    ledger.release(reservation=odd.reservation, reason="by hand, too early")
    GenerationJob.objects.update(deadline_at=Now() - timedelta(seconds=1))
    assert recovery.recover().overdue_jobs == 1
    fine.refresh_from_db()
    assert (fine.status, fine.reservation.status) == ("failed", "released")
    assert "recovery failed" in caplog.text


def test_deleting_a_chat_locks_all_its_jobs_before_any_wallet(
    transactional_db: None, make_person: Callable[..., User], make_chat: Callable[..., Chat]
) -> None:
    person = make_person(coins=150)
    chat = make_chat(person)
    first, second = (
        unlocking.unlock(user=person, chat=chat, type_ids=[type_id]).job
        for type_id in ("communication_basics", "emotional_intimacy")
    )

    def erase() -> None:
        erasure.erase(Chat.objects.get(pk=chat.pk))
        connection.close()

    # A worker finishes an insight of the job that the deletion locks last: it holds the job, then locks the wallet.
    last = max(first, second, key=lambda job: job.pk)
    with transaction.atomic():
        GenerationJob.objects.select_for_update().get(pk=last.pk)
        erasing = threading.Thread(target=erase)
        erasing.start()
        eventually(is_a_lock_awaited)
        settlement.fail_open_insights(last.pk, error_code="test", error_message="")
    erasing.join(PATIENCE_SECONDS)
    assert not GenerationJob.objects.open().exists()
    person.wallet.refresh_from_db()
    assert (person.wallet.balance, person.wallet.reserved) == (150, 0)
    assert audit() == []


def test_dispatch_waits_until_the_chat_is_searchable(person: User, make_chat: Callable[..., Chat]) -> None:
    chat = make_chat(person, searchable=False)
    unlocking.unlock(user=person, chat=chat, category_id="romantic")
    assert dispatch.dispatch() == 0
    Chat.objects.filter(pk=chat.pk).update(vector_status="completed")
    assert dispatch.dispatch() == 6


def test_dispatch_publishes_an_insight_again_only_when_its_message_counts_as_lost(
    job: GenerationJob, settings: Any
) -> None:
    assert dispatch.dispatch() == 6
    assert dispatch.dispatch() == 0
    job.insights.update(dispatched_at=Now() - timedelta(seconds=settings.REDISPATCH_SECONDS + 1))
    assert dispatch.dispatch() == 6


def test_dispatch_is_fair_between_users(
    make_person: Callable[..., User], make_chat: Callable[..., Chat], settings: Any
) -> None:
    settings.MAX_CONCURRENT_INSIGHTS = 4
    for _ in range(2):
        person = make_person(coins=400)
        unlocking.unlock(user=person, chat=make_chat(person), category_id="romantic")
    assert dispatch.dispatch() == 4
    dispatched = Insight.objects.exclude(dispatched_at=None).values_list("job", flat=True)
    assert sorted(list(dispatched).count(job) for job in set(dispatched)) == [2, 2]


def test_a_job_that_is_being_generated_leaves_the_next_lease_to_a_later_job(
    make_person: Callable[..., User], make_chat: Callable[..., Chat], settings: Any
) -> None:
    settings.MAX_CONCURRENT_INSIGHTS = 2
    jobs = []
    for _ in range(3):
        person = make_person(coins=400)
        jobs.append(unlocking.unlock(user=person, chat=make_chat(person), category_id="romantic").job)
        # The first job takes both leases before there is another one.
        dispatch.dispatch()
    order = []
    while published := Insight.objects.filter(status="pending").exclude(dispatched_at=None).order_by("dispatched_at"):
        insight = published[0]
        order.append(jobs.index(insight.job))
        lease = generation.claim_insight(insight.pk)
        assert lease is not None
        settlement.complete(lease, sealed_document=b"sealed")
        dispatch.dispatch()
    assert order[:2] == [0, 0]
    assert order[2:4] == [1, 2], "a lease that is free again goes to a job with nothing in progress"
    assert [order.count(job) for job in range(3)] == [6, 6, 6]


def test_a_free_lease_goes_to_the_job_with_fewer_insights_in_progress(
    make_person: Callable[..., User], make_chat: Callable[..., Chat], settings: Any
) -> None:
    settings.MAX_CONCURRENT_INSIGHTS = 4
    leases: list[Lease] = []

    def unlock() -> GenerationJob:
        person = make_person(coins=400)
        return unlocking.unlock(user=person, chat=make_chat(person), category_id="romantic").job

    def claim_published() -> None:
        dispatch.dispatch()
        for insight in Insight.objects.filter(status="pending").exclude(dispatched_at=None):
            lease = generation.claim_insight(insight.pk)
            assert lease is not None
            leases.append(lease)

    first = unlock()
    claim_published()
    assert len(leases) == 4
    second = unlock()
    for in_progress in ([3, 1], [2, 2]):
        # The latest insight of the second job started after all of the first one.
        settlement.complete(leases.pop(0), sealed_document=b"sealed")
        claim_published()
        assert [Insight.objects.leased().filter(job=job).count() for job in (first, second)] == in_progress


@pytest.mark.django_db(transaction=True)
def test_no_more_leases_are_active_than_allowed_over_all_workers(
    make_person: Callable[..., User], make_chat: Callable[..., Chat], settings: Any
) -> None:
    settings.MAX_CONCURRENT_INSIGHTS = 3
    for _ in range(2):
        person = make_person(coins=400)
        unlocking.unlock(user=person, chat=make_chat(person), category_id="romantic")
    claims = [partial(generation.claim_insight, pk) for pk in Insight.objects.values_list("pk", flat=True)]
    assert sum(claim is not None for claim in call_at_once(claims)) == 3


def test_dispatch_publishes_the_next_insight_when_one_is_finished(job: GenerationJob, settings: Any) -> None:
    settings.MAX_CONCURRENT_INSIGHTS = 1
    assert (dispatch.dispatch(), dispatch.dispatch()) == (1, 0)
    lease = generation.claim_insight(job.insights.exclude(dispatched_at=None).get().pk)
    assert lease is not None
    assert settlement.complete(lease, sealed_document=b"sealed")
    assert dispatch.dispatch() == 1


def test_one_engine_serves_a_process() -> None:
    assert engines.get_engine() is engines.get_engine()
