"""An operator runs a task of the schedule now, and the answer says what became of it."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.core.management import CommandError

from ops import schedule
from ops.models import Heartbeat, ScheduleEntry
from relivchats.staff.bulk_actions import ActionContext
from relivchats.staff.models import AuditEntry
from tests.conftest import StartCelery
from tests.ops import rows
from tests.ops.test_commands import as_json, call
from tests.processes import BrokerHandle

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("broker")]

CONTEXT = ActionContext(actor="user 1", reason="asked by finance")


def entry(name: str = "canary", *, task: str = "ops.tasks.canary") -> ScheduleEntry:
    return ScheduleEntry.objects.create(name=name, task=task, schedule="every 10 s")


def run(*names: str) -> list[tuple[bool, str]]:
    """Run the entries now, and return whether each was sent and its outcome."""
    batch = schedule.run_now(ScheduleEntry.objects.filter(name__in=names), context=CONTEXT)
    return [(result.done, result.outcome) for result in batch.listed]


def test_a_task_that_is_run_now_has_run_when_the_answer_says_so(worker: StartCelery) -> None:
    worker()
    entry()
    assert not Heartbeat.objects.filter(kind="canary").exists()
    ((done, outcome),) = run("canary")
    assert done
    assert outcome.startswith("sent; a worker ran it within ")
    assert Heartbeat.objects.filter(kind="canary").exists()
    audit = AuditEntry.objects.get()
    assert (audit.actor, audit.action, audit.object_id, audit.reason, audit.outcome) == (
        "user 1", "run task", "canary", "asked by finance", outcome,
    )  # fmt: skip


def test_a_task_that_fails_is_not_reported_as_a_success(worker: StartCelery, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without the id of an insight it raises.
    task = "insights.tasks.generate_insight"
    monkeypatch.setitem(settings.CELERY_BEAT_SCHEDULE, "broken", {"task": task, "options": {"expires": 60}})
    worker()
    entry("broken", task=task)
    ((_, outcome),) = run("broken")
    assert "it failed: TypeError in " in outcome


def test_a_task_that_no_worker_takes_is_reported_as_waiting(
    broker: BrokerHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "WATCH_SECONDS", 0)
    rows.heartbeat("worker")
    entry()
    assert run("canary") == [(True, "sent; it still waits for a worker, and is dropped 10 s after it was sent")]
    assert broker.waiting("upkeep") == 1


def test_nothing_is_sent_without_a_worker_or_for_an_entry_that_this_release_does_not_know(broker: BrokerHandle) -> None:
    entry()
    assert run("canary") == [(False, "No worker is alive. Nothing was sent; see manage.py workers.")]
    rows.heartbeat("worker")
    entry("old", task="ops.tasks.removed")
    entry("prune", task="ops.tasks.canary")
    refusal = (False, "This release has no such task in its schedule. Nothing was sent.")
    assert run("old", "prune") == [refusal, refusal]
    assert broker.waiting("upkeep") == 0
    assert AuditEntry.objects.filter(done=False).count() == 3


def test_while_the_broker_does_not_answer_the_task_is_not_called_sent(broker: BrokerHandle) -> None:
    rows.heartbeat("worker")
    entry()
    with broker.paused():
        assert run("canary") == [(False, "The broker did not answer, so the task was probably not sent.")]


def test_the_command_runs_an_entry_for_a_reason(broker: BrokerHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "WATCH_SECONDS", 0)
    rows.heartbeat("worker")
    entry()
    with pytest.raises(CommandError, match="only for a reason"):
        call("queue", "--run", "canary")
    with pytest.raises(CommandError, match="no entry nothing"):
        call("queue", "--run", "nothing", "--reason", "test")
    status, answer = as_json("queue", "--run", "canary", "--reason", "test")
    assert (status, answer["done"]) == (0, 1)
    assert broker.waiting("upkeep") == 1


def test_no_message_of_the_schedule_expires_while_it_is_watched() -> None:
    """One that has expired would be taken for one that was run."""
    for name, known in settings.CELERY_BEAT_SCHEDULE.items():
        assert known["options"]["expires"] > schedule.WATCH_SECONDS, name
