"""With real workers, broker and Postgres: whichever of them is killed, every insight is delivered and charged once."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from billing.audit import audit
from billing.models import CreditTransaction
from chats.models import Chat
from insights import dispatch, unlocking
from insights.models import GenerationJob, Insight, InsightAttempt
from insights.tasks import generate_insight
from relivchats.accounts.models import User
from tests.conftest import StartCelery
from tests.processes import BrokerHandle, ServerHandle, eventually

pytestmark = pytest.mark.django_db(transaction=True)

QUICK = {"INSIGHT_LEASE_SECONDS": "3", "REDISPATCH_SECONDS": "2"}


@pytest.fixture
def quick(settings: object) -> None:
    for name, value in QUICK.items():
        setattr(settings, name, int(value))


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """While this file exists, gated workers stop in the middle of generating."""
    gate = tmp_path / "gate"
    gate.touch()
    return gate


def waiting_at(gate: Path) -> set[int]:
    """Return the ids of the processes that have reached the gate."""
    waiting = gate.with_suffix(".waiting")
    return {int(line) for line in waiting.read_text().split()} if waiting.exists() else set()


def finished(job: GenerationJob) -> bool:
    return not GenerationJob.objects.open().filter(pk=job.pk).exists()


def sealed_documents() -> dict[UUID, bytes]:
    return {insight.pk: bytes(insight.sealed_document or b"") for insight in Insight.objects.all()}


def assert_delivered_and_charged_once(job: GenerationJob, *, coins: int = 400) -> None:
    job.refresh_from_db()
    assert (job.status, job.completed_insights) == ("completed", job.total_insights)
    assert list(CreditTransaction.objects.filter(type="insight_unlock").values_list("amount", flat=True)) == [-coins]
    job.reservation.wallet.refresh_from_db()
    assert (job.reservation.wallet.balance, job.reservation.wallet.reserved) == (0, 0)
    assert audit() == []


def test_a_worker_indexes_generates_and_settles_an_unlock(
    worker: StartCelery, beat: StartCelery, person: User, make_chat: Callable[..., Chat]
) -> None:
    worker()
    beat()
    job = unlocking.unlock(user=person, chat=make_chat(person, searchable=False), category_id="romantic").job
    eventually(lambda: finished(job))
    assert_delivered_and_charged_once(job)


def test_a_worker_killed_while_generating_delivers_every_insight_and_charges_once(
    worker: StartCelery, beat: StartCelery, quick: None, gate: Path, person: User, make_chat: Callable[..., Chat]
) -> None:
    chat = make_chat(person)
    killed = worker(app="tests.fakes.gated_worker", GATE=str(gate), **QUICK)
    job = unlocking.unlock(user=person, chat=chat, category_id="romantic").job
    eventually(lambda: killed.pid in waiting_at(gate))
    assert Insight.objects.filter(job=job, status="generating").exists()
    killed.kill()
    gate.unlink()
    eventually(lambda: not Insight.objects.leased().exists())
    worker(**QUICK)
    beat(**QUICK)
    eventually(lambda: finished(job))
    assert_delivered_and_charged_once(job)


def test_a_frozen_worker_that_continues_after_its_lease_changes_nothing(
    worker: StartCelery, beat: StartCelery, quick: None, gate: Path, person: User, make_chat: Callable[..., Chat]
) -> None:
    chat = make_chat(person)
    frozen = worker(app="tests.fakes.gated_worker", GATE=str(gate), **QUICK)
    job = unlocking.unlock(user=person, chat=chat, category_id="romantic").job
    eventually(lambda: frozen.pid in waiting_at(gate))
    frozen.pause()
    gate.unlink()
    eventually(lambda: not Insight.objects.leased().exists())
    worker(**QUICK)
    beat(**QUICK)
    eventually(lambda: finished(job))
    documents = sealed_documents()
    frozen.resume()
    eventually(lambda: InsightAttempt.objects.filter(outcome="discarded").exists())
    assert sealed_documents() == documents
    assert_delivered_and_charged_once(job)


def test_a_broker_flushed_in_the_middle_of_a_job_loses_nothing(
    worker: StartCelery,
    beat: StartCelery,
    broker: BrokerHandle,
    quick: None,
    person: User,
    make_chat: Callable[..., Chat],
) -> None:
    job = unlocking.unlock(user=person, chat=make_chat(person), category_id="romantic").job
    eventually(lambda: broker.waiting("insights") == 6)
    broker.flush()
    assert broker.waiting("insights") == 0
    worker(**QUICK)
    beat(**QUICK)
    eventually(lambda: finished(job))
    assert_delivered_and_charged_once(job)


def test_a_broker_killed_in_the_middle_of_a_job_loses_nothing(
    worker: StartCelery,
    beat: StartCelery,
    broker: BrokerHandle,
    quick: None,
    gate: Path,
    person: User,
    make_chat: Callable[..., Chat],
) -> None:
    chat = make_chat(person)
    gated = worker(app="tests.fakes.gated_worker", GATE=str(gate), **QUICK)
    beat(**QUICK)
    job = unlocking.unlock(user=person, chat=chat, category_id="romantic").job
    eventually(lambda: gated.pid in waiting_at(gate))
    broker.kill()
    gate.unlink()
    eventually(lambda: finished(job))
    assert_delivered_and_charged_once(job)


def test_a_worker_that_holds_messages_survives_a_killed_broker(
    worker: StartCelery,
    broker: BrokerHandle,
    quick: None,
    gate: Path,
    person: User,
    make_chat: Callable[..., Chat],
) -> None:
    chat, other = make_chat(person), make_chat(person)
    gated = worker(app="tests.fakes.gated_worker", GATE=str(gate), **QUICK)
    first = unlocking.unlock(user=person, chat=chat, type_ids=["communication_basics"]).job
    eventually(lambda: gated.pid in waiting_at(gate))
    broker.kill()
    gate.unlink()
    eventually(lambda: finished(first))
    second = unlocking.unlock(user=person, chat=other, type_ids=["communication_basics"]).job

    def look() -> bool:
        dispatch.dispatch()
        return finished(second)

    eventually(look)
    assert gated.alive
    assert "Unrecoverable error" not in gated.log.read_text()


def test_postgres_killed_in_the_middle_of_a_job_loses_nothing(
    worker: StartCelery,
    beat: StartCelery,
    postgres: ServerHandle,
    quick: None,
    gate: Path,
    person: User,
    make_chat: Callable[..., Chat],
) -> None:
    from django.db import connection

    chat = make_chat(person)
    gated = worker(app="tests.fakes.gated_worker", GATE=str(gate), **QUICK)
    beat(**QUICK)
    job = unlocking.unlock(user=person, chat=chat, category_id="romantic").job
    eventually(lambda: gated.pid in waiting_at(gate))
    postgres.kill()
    connection.close()
    gate.unlink()
    eventually(lambda: finished(job))
    assert_delivered_and_charged_once(job)


def test_three_messages_for_each_insight_generate_it_once(
    worker: StartCelery, person: User, make_chat: Callable[..., Chat]
) -> None:
    job = unlocking.unlock(user=person, chat=make_chat(person), category_id="romantic").job
    for insight_id in list(job.insights.values_list("pk", flat=True)) * 3:
        generate_insight.delay(str(insight_id))
    worker()
    eventually(lambda: finished(job))
    assert InsightAttempt.objects.count() == 6
    assert_delivered_and_charged_once(job)


@pytest.mark.parametrize("broken", ["down", "frozen"])
def test_an_unlock_answers_quickly_without_a_broker_and_is_delivered_later(
    broken: str,
    worker: StartCelery,
    beat: StartCelery,
    broker: BrokerHandle,
    quick: None,
    person: User,
    make_chat: Callable[..., Chat],
) -> None:
    chat = make_chat(person)
    with broker.down() if broken == "down" else broker.paused():
        started = time.monotonic()
        job = unlocking.unlock(user=person, chat=chat, category_id="romantic").job
        # Publishing in this thread would wait five seconds for the frozen broker.
        assert time.monotonic() - started < 4.5
    worker(**QUICK)
    beat(**QUICK)
    eventually(lambda: finished(job))
    assert_delivered_and_charged_once(job)
