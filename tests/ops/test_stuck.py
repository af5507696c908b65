"""What lists say of a job or an insight: who holds it, what it waits for, what is wrong with it."""

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

#: Half a minute from being told as another number of minutes.
SOON = timedelta(minutes=5.5)


def both(job: GenerationJob) -> set[str]:
    """What the job's own line says, and what its insights' lines say."""
    of_job = stuck.describe_job(stuck.annotate_jobs(GenerationJob.objects.all()).get(pk=job.pk))
    insights = stuck.annotate_insights(Insight.objects.filter(job=job))
    return {of_job, *(stuck.describe_insight(insight) for insight in insights)}


LEASED: dict[str, Any] = {"status": "generating", "lease_token": uuid.UUID(int=1)}


@pytest.mark.parametrize(
    ("chat", "job", "insight", "said"),
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
def test_a_job_and_its_insights_say_what_holds_them_up(
    chat: dict[str, Any], job: dict[str, Any], insight: dict[str, Any], said: str
) -> None:
    made = rows.job()
    Chat.objects.filter(jobs=made).update(**chat)
    GenerationJob.objects.filter(pk=made.pk).update(**job)
    Insight.objects.filter(job=made).update(**insight)
    assert both(made) == {said}


def test_a_lease_says_until_when() -> None:
    made = rows.job()
    Insight.objects.filter(job=made).update(**LEASED, lease_expires_at=Now() + SOON)
    (said,) = both(made)
    assert said.startswith("leased by a worker until ")


def test_what_is_finished_is_held_up_by_nothing() -> None:
    assert both(rows.failed_job()) == {""}


def test_a_job_that_nobody_settled_says_so() -> None:
    made = rows.job()
    Insight.objects.filter(job=made).update(status="failed", error_code="x", finished_at=Now() - rows.LONG)
    GenerationJob.objects.filter(pk=made.pk).update(created_at=Now() - rows.LONG)
    assert "all insights are finished, but the job is not settled" in both(made)
    assert list(stuck.stuck_jobs()) == [made]


def test_a_job_of_a_deleted_chat_says_so() -> None:
    made = rows.job()
    Insight.objects.filter(job=made).update(chat=None)
    GenerationJob.objects.filter(pk=made.pk).update(chat=None)
    assert both(made) == {"its chat was deleted"}


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-5, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h"), (172_800, "2 d")],
)
def test_spans_are_short(seconds: int, said: str) -> None:
    assert durations.format_short(timedelta(seconds=seconds)) == said
