"""The tools of the crash tests: real workers, beat and servers."""

from __future__ import annotations

import pytest
from django.db import connection
from django.db.utils import OperationalError

from ops.models import Heartbeat
from ops.tasks import canary
from tests.conftest import StartCelery
from tests.processes import BrokerHandle, ServerHandle, eventually


def test_a_worker_of_the_tests_runs_tasks_on_the_test_database(worker: StartCelery) -> None:
    process = worker()
    canary.delay()
    eventually(Heartbeat.objects.filter(kind=Heartbeat.Kind.CANARY).exists)
    process.kill()
    assert not process.alive


def test_beat_of_the_tests_publishes_to_the_test_broker(beat: StartCelery, broker: BrokerHandle) -> None:
    beat()
    eventually(lambda: broker.waiting("upkeep") > 0)


def test_a_killed_broker_comes_back_with_its_messages(broker: BrokerHandle) -> None:
    canary.delay()
    eventually(lambda: broker.client.waitaof(1, 0, 1000) == [1, 0])
    first = broker.pid
    broker.kill()
    assert broker.pid != first
    assert broker.waiting("upkeep") == 1
    broker.flush()
    assert broker.waiting("upkeep") == 0


@pytest.mark.django_db(transaction=True)
def test_a_killed_postgres_comes_back_with_what_was_committed(postgres: ServerHandle) -> None:
    Heartbeat.objects.create(name="before", kind=Heartbeat.Kind.WORKER)
    with postgres.down(), pytest.raises(OperationalError):
        Heartbeat.objects.count()
    connection.close()
    assert Heartbeat.objects.get().name == "before"
