"""Each invariant of jobs, insights and coins finds its own violation and no other, in a full and a recent audit."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from django.db import connection

from billing import audit
from billing.audit import Horizon
from billing.models import CreditTransaction
from chats.models import Chat
from insights import generation, unlocking
from insights.models import GenerationJob
from relivchats import clock
from relivchats.accounts.models import User

pytestmark = pytest.mark.django_db


@dataclass(frozen=True)
class Fault:
    invariant: str
    name: str
    sql: str


FAULTS = [
    Fault(
        "6a",
        "an open job whose coins were released",
        "UPDATE coin_reservations SET status = 'released', resolved_at = now() WHERE id = '{open_reservation}';"
        "UPDATE wallets SET reserved = 0",
    ),
    Fault(
        "6b",
        "a finished job with a pending insight",
        "UPDATE insights SET status = 'pending', finished_at = NULL, price = 1 WHERE job_id = '{done}';"
        "UPDATE insight_generation_jobs SET completed_insights = 0 WHERE job_id = '{done}'",
    ),
    Fault("7", "more captured than delivered", "UPDATE insights SET price = price - 1 WHERE job_id = '{done}'"),
    Fault(
        "8b",
        "an expired lease that was not recovered",
        "UPDATE insights SET status = 'generating', lease_token = gen_random_uuid(), lease_expires_at ="
        " clock_timestamp() - interval '121 s' WHERE job_id = '{open}'",
    ),
    Fault(
        "10",
        "a counter above its insights",
        "UPDATE insight_generation_jobs SET total_insights = total_insights + 1 WHERE job_id = '{done}'",
    ),
    Fault(
        "10",
        "a completed insight that is not counted",
        "UPDATE insight_generation_jobs SET completed_insights = 0 WHERE job_id = '{done}'",
    ),
    Fault(
        "10",
        "a failed insight that did not fail",
        "UPDATE insight_generation_jobs SET failed_insights = 1 WHERE job_id = '{open}'",
    ),
]
#: Violations that a fault cannot avoid: an insight's price is part of the job's sum, and an insight that is pending
#: again was not delivered.
IMPLIED = {"7": {"10"}, "6b": {"7", "10"}}


@pytest.fixture
def horizon(db: None) -> Horizon:
    """A horizon before all rows of the test."""
    return Horizon(clock.now(), sum(CreditTransaction.objects.values_list("amount", flat=True)))


@pytest.fixture
def job_ids(horizon: Horizon, person: User, chat: Chat) -> dict[str, object]:
    """The ids of a delivered job and an open one."""
    done = unlocking.unlock(user=person, chat=chat, type_ids=["communication_basics"])
    generation.run(done.insights[0].pk)
    opened = unlocking.unlock(user=person, chat=chat, type_ids=["love_language"])
    assert GenerationJob.objects.get(pk=done.job.pk).status == "completed"
    assert audit.audit() == audit.audit(since=horizon) == []
    return {"done": done.job.pk, "open": opened.job.pk, "open_reservation": opened.job.reservation_id}


@pytest.mark.parametrize("since", [False, True], ids=["in full", "since"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.invariant}: {fault.name}")
def test_a_fault_is_found_by_its_invariant(
    fault: Fault, since: bool, horizon: Horizon, job_ids: dict[str, object]
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(fault.sql.format(**job_ids))
    violated = {finding.invariant.number for finding in audit.audit(since=horizon if since else None)}
    assert fault.invariant in violated
    assert violated <= {fault.invariant} | IMPLIED.get(fault.invariant, set())


def test_every_invariant_of_jobs_is_tested_with_a_fault() -> None:
    own = {"6a", "6b", "7", "8b", "10"}
    assert own <= {invariant.number for invariant in audit.registered()}
    assert own == {fault.invariant for fault in FAULTS}


def test_an_overdue_lease_may_be_two_minutes_late(job_ids: dict[str, object]) -> None:
    late = next(fault for fault in FAULTS if fault.invariant == "8b").sql.replace("121 s", "110 s")
    with connection.cursor() as cursor:
        cursor.execute(late.format(**job_ids))
    assert audit.audit() == []
