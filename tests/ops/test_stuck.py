"""Lists say what a job or an insight waits for, or why it is stuck."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from chats.models import Chat
from insights import stuck
from insights.models import GenerationJob, Insight
from relivchats import durations
from tests.ops import rows

pytestmark = pytest.mark.django_db

#: Half a minute away from the next whole minute, so that a slow test shows the same number.
SOON = timedelta(minutes=5.5)


def descriptions(job: GenerationJob) -> set[str]:
    """Return the descriptions of the job and of its insights."""
    job_description = stuck.describe_job(stuck.annotate_jobs(GenerationJob.objects.all()).get(pk=job.pk))
    insights = stuck.annotate_insights(Insight.objects.filter(job=job))
    return {job_description, *(stuck.describe_insight(insight) for insight in insights)}


LEASED: dict[str, Any] = {"status": "generating", "lease_token": uuid.UUID(int=1)}


@pytest.mark.parametrize(
    ("chat", "job_fields", "insight", "expected"),
    [
        ({}, {}, {"dispatched_at": Now()}, "dispatched, waiting for a worker"),
        ({}, {}, {"next_attempt_at": Now() + SOON}, "due in 5 min"),
        ({}, {}, {"next_attempt_at": Now() - SOON}, "due for 5 min, waiting for a free lease"),
        ({"vector_status": "pending"}, {}, {}, "waiting for indexing"),
        ({"vector_status": "failed"}, {}, {}, "indexing failed: reindex the chat"),
        ({}, {}, {**LEASED, "lease_expires_at": Now() - SOON}, "its worker stopped: the lease expired 5 min ago"),
        ({}, {"deadline_at": Now() - SOON}, {}, "past its deadline for 5 min"),
    ],
)
def test_a_job_and_its_insights_say_what_they_wait_for(
    chat: dict[str, Any], job_fields: dict[str, Any], insight: dict[str, Any], expected: str
) -> None:
    job = rows.job()
    Chat.objects.filter(jobs=job).update(**chat)
    GenerationJob.objects.filter(pk=job.pk).update(**job_fields)
    Insight.objects.filter(job=job).update(**insight)
    assert descriptions(job) == {expected}


def test_a_leased_insight_says_when_the_lease_expires() -> None:
    job = rows.job()
    Insight.objects.filter(job=job).update(**LEASED, lease_expires_at=Now() + SOON)
    (description,) = descriptions(job)
    assert description.startswith("leased by a worker until ")


def test_a_finished_job_waits_for_nothing() -> None:
    assert descriptions(rows.failed_job()) == {""}


def test_a_job_that_was_not_settled_is_stuck_and_says_so() -> None:
    job = rows.job()
    Insight.objects.filter(job=job).update(status="failed", error_code="x", finished_at=Now() - rows.LONG)
    GenerationJob.objects.filter(pk=job.pk).update(created_at=Now() - rows.LONG)
    assert "all insights are finished, but the job is not settled" in descriptions(job)
    assert list(stuck.stuck_jobs()) == [job]


def test_a_job_of_a_deleted_chat_says_so() -> None:
    job = rows.job()
    Insight.objects.filter(job=job).update(chat=None)
    GenerationJob.objects.filter(pk=job.pk).update(chat=None)
    assert descriptions(job) == {"its chat was deleted"}


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-5, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h"), (172_800, "2 d")],
)
def test_a_duration_has_one_unit(seconds: int, expected: str) -> None:
    assert durations.format_short(timedelta(seconds=seconds)) == expected
