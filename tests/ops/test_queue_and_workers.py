"""Operators pause the dispatch of insights, and see the schedule of beat and what each process does."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from django.conf import settings
from django.core.management import CommandError
from django.db.models.functions import Now

from chats.embedding import get_engine
from chats.models import Chat
from insights import dispatch
from insights.models import DispatchPause, Insight
from ops import activity, heartbeats, queues
from ops.models import Heartbeat, ScheduleEntry
from relivchats.celery import app
from relivchats.staff.models import AuditEntry
from relivchats.staff.reports import Level
from tests.conftest import StartCelery
from tests.ops import rows
from tests.ops.test_commands import as_json, call
from tests.processes import BrokerHandle, eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("broker")]


def test_while_insights_are_paused_none_is_dispatched_and_the_reason_is_recorded(broker: BrokerHandle) -> None:
    with pytest.raises(CommandError, match="only for a reason"):
        call("queue", "--pause", "insights")
    # Not indexed yet, because a job that is unlocked is dispatched by a thread at once.
    rows.job(vector_status="pending")
    rows.job(vector_status="pending")
    status, answer = as_json("queue", "--pause", "insights", "--reason", "the provider is down")
    assert (status, answer["lines"][0]["level"]) == (0, "warning")
    assert "by command: 0 insights waiting" in answer["lines"][0]["text"]
    Chat.objects.update(vector_status="completed", indexed_at=Now(), index_engine=get_engine().name)
    assert dispatch.dispatch() == 0
    assert ": 4 insights waiting" in as_json("queue")[1]["lines"][0]["text"]
    assert not Insight.objects.exclude(dispatched_at=None).exists()
    with pytest.raises(CommandError, match="paused already"):
        call("queue", "--pause", "insights", "--reason", "again")
    assert queues.summary_line(queues.fetch_state()).remedy == "manage.py queue --resume insights"
    status, _ = as_json("queue", "--resume", "insights", "--reason", "it is back")
    assert (status, dispatch.dispatch()) == (0, 4)
    with pytest.raises(CommandError, match="not paused"):
        call("queue", "--resume", "insights")
    assert list(AuditEntry.objects.order_by("pk").values_list("action", "reason", "done")) == [
        ("pause insights", "the provider is down", True),
        ("resume insights", "it is back", True),
    ]
    pause = DispatchPause.objects.get()
    assert (pause.paused_by, pause.resumed_by) == ("command", "command")


def test_insights_that_wait_after_an_error_are_counted_by_the_error() -> None:
    job = rows.job()
    Insight.objects.filter(job=job).update(error_code="engine_unavailable")
    _, answer = as_json("queue")
    assert answer["deferred"] == {"engine_unavailable": 2}


def test_a_process_shows_its_version_memory_and_what_its_threads_do() -> None:
    activity._running[1] = {
        "task": "insights.tasks.generate_insight",
        "id": "abc",
        "since": "2024-01-01T00:00:00+00:00",
    }
    try:
        heartbeats.write_heartbeat(name="worker@elsewhere:1", kind=Heartbeat.Kind.WORKER, threads=18)
    finally:
        activity._running.clear()
    row = as_json("workers")[1]["rows"][0]
    assert (row["version"], row["busy"], row["leases"]) == (activity.version(), "1 of 18", 0)
    assert row["memory"].endswith("MB")
    assert row["does"].startswith("generate_insight abc for ")


def test_a_worker_reports_the_task_that_a_thread_runs(worker: StartCelery) -> None:
    worker()
    assert Heartbeat.objects.get(kind="worker").threads > 1
    for _ in range(2):
        app.send_task("ops.tasks.canary")
    eventually(Heartbeat.objects.filter(kind="canary").exists)


def test_the_signals_of_celery_record_what_a_thread_does() -> None:
    seen: list[list[dict[str, str]]] = []

    @app.task(name="tests.look")  # type: ignore[untyped-decorator]
    def look(object_id: str) -> None:
        seen.append(activity.current())

    look.apply(args=["an id"])
    assert [(row["task"], row["id"]) for row in seen[0]] == [("tests.look", "an id")]
    assert activity.current() == []
    del app.tasks["tests.look"]


def test_beat_writes_its_schedule_with_the_last_and_the_next_run(beat: StartCelery) -> None:
    beat()
    eventually(lambda: ScheduleEntry.objects.filter(name="canary").exists())
    status, answer = as_json("queue", "--schedule")
    entries = {row["entry"]: row for row in answer["rows"]}
    assert (status, entries["canary"]["schedule"]) == (0, "every 10 s")
    assert entries["audit-ledger-in-full"]["schedule"] == "40 3 * * * (cron, UTC)"
    assert all(row["next run"] for row in answer["rows"])
    known = {row["task"]: row for row in as_json("workers", "--tasks")[1]["rows"]}
    assert known["ops.tasks.canary"]["schedule"] == "every 10 s"
    assert known["insights.tasks.generate_insight"]["schedule"] is None
    ScheduleEntry.objects.update(next_run_at=Now() - timedelta(minutes=5))
    assert queues.schedule_report().level is Level.WARNING


def test_messages_of_periodic_tasks_that_wait_after_an_outage_are_no_long_queue(broker: BrokerHandle) -> None:
    state = replace(queues.fetch_state(), messages={"insights": 0, "indexing": 0, "upkeep": 5000})
    assert queues.summary_line(state).level is Level.FINE
    long = replace(state, messages={"insights": 5000, "indexing": 0, "upkeep": 0})
    assert queues.summary_line(long).text == "0 insights due; 5000 messages of work"


def test_every_message_of_a_periodic_task_expires_before_the_next_is_sent() -> None:
    for name, entry in settings.CELERY_BEAT_SCHEDULE.items():
        seconds = entry["schedule"] if isinstance(entry["schedule"], float) else 3600
        assert 0 < entry["options"]["expires"] <= seconds, name
