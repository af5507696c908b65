"""Processes say that they are alive, take their leave when they stop, and are missed when they are killed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now
from django_celery_results.models import TaskResult

from ops import heartbeats, results, tasks
from ops.models import Heartbeat
from relivchats import clock
from tests.conftest import StartCelery
from tests.ops import rows
from tests.processes import ServerHandle, eventually


@pytest.mark.django_db(transaction=True)
def test_a_worker_beats_proves_the_way_through_and_takes_its_leave(worker: StartCelery) -> None:
    process = worker()
    row = Heartbeat.objects.get(kind="worker")
    assert (row.pid, row.marked_as_worker) == (process.pid, True)
    tasks.canary.delay()
    eventually(Heartbeat.objects.of("canary").exists)
    process.stop()
    assert not Heartbeat.objects.of("worker").exists()


@pytest.mark.django_db(transaction=True)
def test_a_killed_worker_is_buried_by_its_successor(worker: StartCelery) -> None:
    killed = worker()
    killed.kill()
    assert Heartbeat.objects.get(kind="worker").pid == killed.pid
    successor = worker(CELERY_WORKER="false")
    row = Heartbeat.objects.get(kind="worker")
    assert (row.pid, row.marked_as_worker) == (successor.pid, False)


@pytest.mark.django_db(transaction=True)
def test_beat_beats_and_takes_its_leave(beat: StartCelery) -> None:
    process = beat()
    assert Heartbeat.objects.get(kind="beat").pid == process.pid
    process.stop()
    assert not Heartbeat.objects.of("beat").exists()


@pytest.fixture
def pulse() -> Iterator[heartbeats.Pulse]:
    running = heartbeats.Pulse(Heartbeat.Kind.WORKER, seconds=0.05)
    running.start()
    yield running
    running.stop()


@pytest.mark.django_db(transaction=True)
def test_a_heartbeat_outlives_an_outage_of_the_database(pulse: heartbeats.Pulse, postgres: ServerHandle) -> None:
    eventually(Heartbeat.objects.exists)
    postgres.kill()
    connection.close()
    healed_at = clock.now()
    eventually(Heartbeat.objects.filter(beat_at__gt=healed_at).exists)


@pytest.mark.django_db(transaction=True)
def test_a_heartbeat_holds_no_connection_between_beats() -> None:
    pulse = heartbeats.Pulse(Heartbeat.Kind.WORKER, seconds=3600)
    pulse.start()
    eventually(Heartbeat.objects.exists)
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"

    def alone() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(others)
            return bool(cursor.fetchone() == (0,))

    eventually(alone)
    pulse.stop()
    assert not Heartbeat.objects.exists()
    assert "heartbeat of worker" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.django_db
def test_beating_again_keeps_the_time_of_the_start() -> None:
    heartbeats.beat(name="worker@here:1", kind=Heartbeat.Kind.WORKER)
    Heartbeat.objects.update(started_at=Now() - rows.LONG, beat_at=Now() - rows.LONG)
    heartbeats.beat(name="worker@here:1", kind=Heartbeat.Kind.WORKER)
    row = Heartbeat.objects.get()
    assert row.beat_at - row.started_at > timedelta(minutes=59)


@pytest.mark.django_db
def test_pruning_removes_what_is_old_and_nothing_else() -> None:
    rows.heartbeat("worker", age=timedelta(minutes=50), name="lately")
    rows.heartbeat("worker", age=timedelta(minutes=70), name="long ago")
    rows.heartbeat("canary", age=timedelta(days=2), name="canary")
    for number in range(5):
        TaskResult.objects.create(task_id=str(number))
    TaskResult.objects.filter(task_id__in="012").update(date_done=Now() - timedelta(days=8))
    tasks.prune()
    assert set(Heartbeat.objects.values_list("name", flat=True)) == {"lately", "canary"}
    assert set(TaskResult.objects.values_list("task_id", flat=True)) == {"3", "4"}


@pytest.mark.django_db
def test_old_results_go_in_bounded_batches() -> None:
    for number in range(7):
        TaskResult.objects.create(task_id=str(number))
    TaskResult.objects.update(date_done=Now() - timedelta(days=8))
    assert results.prune(batch=2, batches=2) == 4
    assert results.prune(batch=2) == 3
