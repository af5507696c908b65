"""Each invariant between jobs, insights and coins finds its own fault and no other, in full and since a horizon."""

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
        "an open job whose coins were given back",
        "UPDATE coin_reservations SET status = 'released', resolved_at = now() WHERE id = '{open_reservation}';"
        "UPDATE wallets SET reserved = 0",
    ),
    Fault(
        "6b",
        "finished with something pending",
        "UPDATE insights SET status = 'pending', finished_at = NULL, price = 1 WHERE job_id = '{done}';"
        "UPDATE insight_generation_jobs SET completed_insights = 0 WHERE job_id = '{done}'",
    ),
    Fault("7", "more captured than delivered", "UPDATE insights SET price = price - 1 WHERE job_id = '{done}'"),
    Fault(
        "8b",
        "a lease that ran out and was not freed",
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
        "completed that are not counted",
        "UPDATE insight_generation_jobs SET completed_insights = 0 WHERE job_id = '{done}'",
    ),
    Fault(
        "10", "failed that did not", "UPDATE insight_generation_jobs SET failed_insights = 1 WHERE job_id = '{open}'"
    ),
]
#: What comes with a fault and cannot be parted from it: an insight's price stands in the job's sum too, and one that is
#: pending again was not delivered.
BESIDE = {"7": {"10"}, "6b": {"7", "10"}}


@pytest.fixture
def horizon(db: None) -> Horizon:
    """Before everything that the test makes."""
    return Horizon(clock.now(), sum(CreditTransaction.objects.values_list("amount", flat=True)))


@pytest.fixture
def places(horizon: Horizon, person: User, chat: Chat) -> dict[str, object]:
    """A job that was delivered, and one that is open."""
    done = unlocking.unlock(user=person, chat=chat, type_ids=["communication_basics"])
    generation.run(done.insights[0].pk)
    opened = unlocking.unlock(user=person, chat=chat, type_ids=["love_language"])
    assert GenerationJob.objects.get(pk=done.job.pk).status == "completed"
    assert audit.audit() == audit.audit(since=horizon) == []
    return {"done": done.job.pk, "open": opened.job.pk, "open_reservation": opened.job.reservation_id}


@pytest.mark.parametrize("since", [False, True], ids=["in full", "since"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.invariant}: {fault.name}")
def test_a_fault_is_found_by_its_invariant(
    fault: Fault, since: bool, horizon: Horizon, places: dict[str, object]
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(fault.sql.format(**places))
    found = {finding.invariant.number for finding in audit.audit(since=horizon if since else None)}
    assert fault.invariant in found
    assert found <= {fault.invariant} | BESIDE.get(fault.invariant, set())


def test_every_invariant_of_jobs_has_a_fault_that_it_finds() -> None:
    own = {"6a", "6b", "7", "8b", "10"}
    assert own <= {invariant.number for invariant in audit.registered()}
    assert own == {fault.invariant for fault in FAULTS}


def test_an_overdue_lease_may_be_two_minutes_late(places: dict[str, object]) -> None:
    late = next(fault for fault in FAULTS if fault.invariant == "8b").sql.replace("121 s", "110 s")
    with connection.cursor() as cursor:
        cursor.execute(late.format(**places))
    assert audit.audit() == []
