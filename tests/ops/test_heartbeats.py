"""A process has a heartbeat while it runs, removes it when it stops, and is noticed when it is killed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from celery.beat import Scheduler
from django.db import connection
from django.db.models.functions import Now
from django_celery_results.models import TaskResult

from ops import heartbeats, queues, tasks
from ops.models import Heartbeat
from relivchats import clock
from relivchats.celery import app
from tests.conftest import StartCelery
from tests.ops import rows
from tests.processes import ServerHandle, eventually


@pytest.mark.django_db(transaction=True)
def test_a_worker_has_a_heartbeat_runs_the_canary_and_removes_its_row_when_it_stops(worker: StartCelery) -> None:
    process = worker()
    row = Heartbeat.objects.get(kind="worker")
    assert (row.pid, row.marked_as_worker) == (process.pid, True)
    tasks.canary.delay()
    eventually(Heartbeat.objects.filter(kind="canary").exists)
    process.stop()
    assert not Heartbeat.objects.filter(kind="worker").exists()


@pytest.mark.django_db(transaction=True)
def test_the_row_of_a_killed_worker_is_removed_by_the_next_worker_on_its_host(worker: StartCelery) -> None:
    killed = worker()
    killed.kill()
    assert Heartbeat.objects.get(kind="worker").pid == killed.pid
    successor = worker(CELERY_WORKER="false")
    row = Heartbeat.objects.get(kind="worker")
    assert (row.pid, row.marked_as_worker) == (successor.pid, False)


@pytest.mark.django_db(transaction=True)
def test_beat_has_a_heartbeat_and_removes_its_row_when_it_stops(beat: StartCelery) -> None:
    process = beat()
    assert Heartbeat.objects.get(kind="beat").pid == process.pid
    process.stop()
    assert not Heartbeat.objects.filter(kind="beat").exists()


@pytest.fixture
def heartbeat_thread() -> Iterator[heartbeats.HeartbeatThread]:
    thread = heartbeats.HeartbeatThread(Heartbeat.Kind.WORKER, interval_seconds=0.05)
    thread.start()
    yield thread
    thread.stop()


@pytest.mark.django_db(transaction=True)
def test_a_heartbeat_continues_after_an_outage_of_the_database(
    heartbeat_thread: heartbeats.HeartbeatThread, postgres: ServerHandle
) -> None:
    eventually(Heartbeat.objects.exists)
    postgres.kill()
    connection.close()
    restarted_at = clock.now()
    eventually(Heartbeat.objects.filter(beat_at__gt=restarted_at).exists)


@pytest.mark.django_db(transaction=True)
def test_a_heartbeat_thread_holds_no_connection_while_it_waits() -> None:
    thread = heartbeats.HeartbeatThread(Heartbeat.Kind.WORKER, interval_seconds=3600)
    thread.start()
    eventually(Heartbeat.objects.exists)
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"

    def alone() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(others)
            return bool(cursor.fetchone() == (0,))

    eventually(alone)
    thread.stop()
    assert not Heartbeat.objects.exists()
    assert "heartbeat of worker" not in {running.name for running in threading.enumerate()}


@pytest.mark.django_db
def test_a_later_heartbeat_keeps_the_start_time() -> None:
    heartbeats.write_heartbeat(name="worker@here:1", kind=Heartbeat.Kind.WORKER)
    Heartbeat.objects.update(started_at=Now() - rows.LONG, beat_at=Now() - rows.LONG)
    heartbeats.write_heartbeat(name="worker@here:1", kind=Heartbeat.Kind.WORKER)
    row = Heartbeat.objects.get()
    assert row.beat_at - row.started_at > timedelta(minutes=59)


@pytest.mark.django_db
def test_pruning_removes_the_heartbeats_of_an_hour_ago_but_never_those_of_tasks() -> None:
    rows.heartbeat("worker", age=timedelta(minutes=50), name="recent")
    rows.heartbeat("worker", age=timedelta(minutes=70), name="old")
    rows.heartbeat("canary", age=timedelta(days=2), name="canary")
    tasks.prune()
    assert set(Heartbeat.objects.values_list("name", flat=True)) == {"recent", "canary", "retention"}


def test_beat_schedules_the_cleanup_of_task_results_on_a_queue_that_workers_consume() -> None:
    scheduler = Scheduler(app=app, lazy=True)
    scheduler.install_default_entries(scheduler.data)
    entry = scheduler.data["celery.backend_cleanup"]
    assert entry.task == "celery.backend_cleanup"
    assert entry.options.get("queue", app.conf.task_default_queue) in queues.NAMES


@pytest.mark.django_db
def test_the_cleanup_removes_task_results_that_are_older_than_a_week() -> None:
    for number in range(5):
        TaskResult.objects.create(task_id=str(number))
    TaskResult.objects.filter(task_id__in="012").update(date_done=Now() - timedelta(days=8))
    TaskResult.objects.filter(task_id="3").update(date_done=Now() - timedelta(days=6))
    app.tasks["celery.backend_cleanup"]()
    assert set(TaskResult.objects.values_list("task_id", flat=True)) == {"3", "4"}
