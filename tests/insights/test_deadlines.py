"""The deadline of a job starts with its first insight, and its reservation lasts longer than any deadline."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from billing.models import CoinReservation
from chats.models import Chat
from insights import generation, recovery
from insights.models import ChatReading, GenerationJob
from relivchats import clock
from tests.concurrency import BackgroundCall, is_a_lock_awaited
from tests.ops import rows
from tests.processes import eventually

pytestmark = pytest.mark.django_db

PAST = Now() - timedelta(seconds=1)


@pytest.fixture(autouse=True)
def _timeouts(settings: Any) -> None:
    settings.INSIGHT_START_TIMEOUT = 100
    settings.INSIGHT_GENERATION_TIMEOUT = 1000
    settings.RESERVATION_MARGIN_SECONDS = 60


def seconds_left(job: GenerationJob) -> float:
    job.refresh_from_db()
    return (job.deadline_at - clock.now()).total_seconds()


def claim(job: GenerationJob) -> None:
    insight = job.insights.first()
    assert insight is not None
    assert generation.claim_insight(insight.pk) is not None


def lease(what: str, job: GenerationJob, *, until: Any) -> None:
    """Let a worker index or read the chat of a job."""
    token = uuid.uuid4()
    assert job.chat_id is not None
    if what == "indexing":
        Chat.objects.filter(pk=job.chat_id).update(
            vector_status="indexing", index_lease_token=token, index_lease_expires_at=until
        )
    else:
        ChatReading.objects.create(
            chat_id=job.chat_id,
            engine="x",
            model="x",
            version=1,
            status="reading",
            lease_token=token,
            lease_expires_at=until,
        )


def test_the_first_claim_moves_the_deadline_and_later_ones_do_not() -> None:
    job = rows.job(types=2)
    assert 90 < seconds_left(job) <= 100
    claim(job)
    assert 990 < seconds_left(job) <= 1000
    deadline_at = job.deadline_at
    second = job.insights.filter(status="pending").get()
    assert generation.claim_insight(second.pk) is not None
    job.refresh_from_db()
    assert job.deadline_at == deadline_at


@pytest.mark.parametrize("timeout", [1000, 100_000])
def test_a_reservation_expires_after_every_deadline_of_its_job(settings: Any, timeout: int) -> None:
    job = rows.job(types=1)
    # Just before recovery fails it, and perhaps with a longer timeout than when the coins were reserved.
    GenerationJob.objects.update(deadline_at=PAST)
    settings.INSIGHT_GENERATION_TIMEOUT = timeout
    claim(job)
    assert seconds_left(job) > 900
    margin = timedelta(seconds=settings.RESERVATION_MARGIN_SECONDS)
    assert job.reservation.expires_at >= job.deadline_at + margin


def test_a_job_that_would_be_past_its_deadline_is_not_claimed() -> None:
    late, running = rows.job(types=1), rows.job(types=2)
    claim(running)
    GenerationJob.objects.update(deadline_at=PAST)
    CoinReservation.objects.filter(job=late).update(expires_at=Now() + timedelta(seconds=60))
    for job in (late, running):
        insight = job.insights.filter(status="pending").get()
        assert generation.claim_insight(insight.pk) is None
        insight.refresh_from_db()
        assert (insight.status, insight.attempt) == ("pending", 0)
        assert recovery.recover_job(job.pk)


def test_a_greater_margin_takes_no_time_from_an_open_job(settings: Any) -> None:
    job = rows.job(types=1)
    settings.RESERVATION_MARGIN_SECONDS = 100_000
    claim(job)
    assert seconds_left(job) > 90


def test_a_job_that_does_not_start_in_time_fails_and_says_so() -> None:
    job = rows.job(types=1)
    GenerationJob.objects.update(deadline_at=PAST)
    assert recovery.recover_job(job.pk)
    job.refresh_from_db()
    assert (job.status, job.reservation.status) == ("failed", "released")
    insight = job.insights.get()
    assert insight.error_code == "deadline_passed"
    assert insight.error_message.startswith("No insight of the job was started before its deadline.")


@pytest.mark.parametrize("what", ["indexing", "reading"])
def test_a_job_whose_chat_is_being_prepared_at_its_deadline_goes_on(what: str) -> None:
    job, other = rows.job(types=1), rows.job(types=1)
    lease(what, job, until=Now() + timedelta(minutes=1))
    GenerationJob.objects.update(deadline_at=PAST)
    assert not recovery.recover_job(job.pk)
    assert seconds_left(job) > 900
    assert job.status == "queued"
    assert recovery.recover_job(other.pk), "the chat of another job is being prepared"


@pytest.mark.parametrize("what", ["indexing", "reading"])
def test_a_lease_of_a_lost_worker_does_not_keep_a_job(what: str) -> None:
    job = rows.job(types=1)
    lease(what, job, until=PAST)
    GenerationJob.objects.update(deadline_at=PAST)
    assert recovery.recover_job(job.pk)
    job.refresh_from_db()
    assert job.status == "failed"


def test_a_job_that_was_started_ends_at_its_deadline_even_while_its_chat_is_read() -> None:
    job = rows.job(types=1)
    claim(job)
    lease("reading", job, until=Now() + timedelta(minutes=1))
    GenerationJob.objects.update(deadline_at=PAST)
    assert recovery.recover_job(job.pk)


def test_preparing_a_chat_for_ever_does_not_keep_a_job_beyond_its_latest_deadline(settings: Any) -> None:
    job = rows.job(types=1)
    lease("reading", job, until=Now() + timedelta(minutes=1))
    GenerationJob.objects.update(deadline_at=PAST)
    CoinReservation.objects.update(expires_at=Now() + timedelta(seconds=settings.RESERVATION_MARGIN_SECONDS))
    assert recovery.recover_job(job.pk)
    job.refresh_from_db()
    assert job.reservation.status == "released"


@pytest.mark.django_db(transaction=True)
def test_a_job_that_is_claimed_while_recovery_waits_for_it_is_not_failed() -> None:
    job = rows.job(types=1)
    GenerationJob.objects.update(deadline_at=PAST)
    with transaction.atomic():
        claim(job)
        failing = BackgroundCall(lambda: recovery.recover().overdue_jobs)
        eventually(is_a_lock_awaited)
    assert failing.result() == 0
    assert GenerationJob.objects.filter(status="running", deadline_at__gt=F("started_at")).exists()
