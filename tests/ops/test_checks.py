"""Each health check recognises its problem, and names the remedy."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.core.management import get_commands
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.db.models.functions import Now

from billing.models import Adjustment, Wallet
from chats.models import Chat
from insights.models import Insight, UnlockPause
from ops import checks
from ops.checks import database, ledger, machine, payments, processes, registry, work
from ops.models import Heartbeat
from relivchats.crypto import Keyring
from relivchats.staff.reports import Level, Line
from tests.ops import rows
from tests.processes import BrokerHandle

pytestmark = pytest.mark.django_db


def test_every_check_of_a_healthy_service_is_fine(broker: BrokerHandle) -> None:
    rows.everything_alive()
    lines = {check.name: check.run() for check in (*checks.ALL, *checks.VERBOSE) if check.name != "disk"}
    assert {name: line.text for name, line in lines.items() if line.level is not Level.FINE} == {}
    assert [line.name for line in lines.values()] == list(lines), "a line has the name of its check"


def test_the_servers_and_the_disk_are_checked_before_everything_that_needs_the_database() -> None:
    assert [check.name for check in checks.ALL[:3]] == ["database", "broker", "disk"]


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ValueError, match="'database' is already registered"):
        registry.health_check("database")(lambda: Line("database", Level.FINE, "a second one"))


def _pending_migration() -> None:
    (newest,) = MigrationLoader(connection).graph.leaf_nodes("ops")
    MigrationRecorder(connection).record_unapplied(*newest)


def _failed_chat() -> None:
    rows.chat(rows.person(), vector_status="failed")


def _abandoned_chat() -> None:
    chat = rows.chat(rows.person(), vector_status="pending")
    Chat.objects.filter(pk=chat.pk).update(
        vector_status="indexing", index_lease_token=chat.pk, index_lease_expires_at=Now() - rows.LONG
    )


def _five_failures() -> None:
    for _ in range(3):
        rows.failed_job()


def _due_too_long() -> None:
    job = rows.job()
    Insight.objects.filter(job=job).update(next_attempt_at=Now() - rows.LONG)


def _paused_unlocks() -> None:
    UnlockPause.objects.create(reason="test", paused_by="command")


def _wrong_balance() -> None:
    Wallet.objects.filter(pk=rows.person().wallet.pk).update(balance=7)


def _unmarked_worker() -> None:
    rows.heartbeat("worker", marked=False)


def _killed_worker() -> None:
    rows.heartbeat("worker")
    rows.heartbeat("worker", age=timedelta(minutes=5))


def _old_adjustment(days: int = 2) -> None:
    Adjustment.objects.filter(pk=rows.adjustment().pk).update(created_at=Now() - timedelta(days=days))


def _two_beats() -> None:
    rows.heartbeat("beat")
    rows.heartbeat("beat")


@pytest.mark.parametrize(
    ("cause", "check", "level"),
    [
        (_old_adjustment, payments.adjustments, Level.WARNING),
        pytest.param(_pending_migration, database.migrations, Level.WARNING, marks=pytest.mark.owner),
        (_failed_chat, work.vectors, Level.WARNING),
        (_abandoned_chat, work.vectors, Level.WARNING),
        (rows.orphaned_reservation, work.reservations, Level.WARNING),
        (rows.abandoned_insight, work.insights, Level.WARNING),
        (_five_failures, work.insights, Level.CRITICAL),
        (rows.overdue_job, work.jobs, Level.WARNING),
        (rows.abandoned_insight, work.jobs, Level.WARNING),
        (_due_too_long, work.queue, Level.WARNING),
        (_paused_unlocks, work.unlocks, Level.WARNING),
        (_wrong_balance, ledger.ledger, Level.CRITICAL),
        (lambda: None, processes.workers, Level.CRITICAL),
        (_unmarked_worker, processes.workers, Level.WARNING),
        (_killed_worker, processes.workers, Level.WARNING),
        (lambda: None, processes.beat, Level.CRITICAL),
        (_two_beats, processes.beat, Level.WARNING),
        (lambda: None, processes.canary, Level.WARNING),
        (lambda: None, processes.web, Level.CRITICAL),
        (lambda: rows.heartbeat("web", age=timedelta(minutes=5)), processes.web, Level.CRITICAL),
        (lambda: rows.heartbeat("canary", age=rows.LONG), processes.canary, Level.CRITICAL),
    ],
)
def test_a_problem_is_reported_with_its_level_and_an_existing_command_as_its_remedy(
    cause: Callable[[], object], check: Callable[[], Line], level: Level, broker: BrokerHandle
) -> None:
    cause()
    line = check()
    assert line.level is level, line.text
    assert line.remedy
    if line.remedy.startswith("manage.py"):
        assert line.remedy.split()[1].strip(";,") in get_commands()


def test_an_adjustment_can_wait_a_day_and_can_only_be_refused_after_seven() -> None:
    rows.adjustment()
    assert (payments.adjustments().level, payments.adjustments().data["waiting"]) == (Level.FINE, 1)
    _old_adjustment(days=8)
    assert "can only be refused" in payments.adjustments().text
    assert "approve" not in payments.adjustments().remedy


def test_an_insight_with_a_valid_lease_is_not_stuck() -> None:
    rows.abandoned_insight(late=-rows.LONG)
    assert work.insights().level is work.jobs().level is Level.FINE


def test_an_insight_that_recovery_will_free_within_seconds_is_not_stuck() -> None:
    """Recovery runs every 15 s, so a lease that has just expired needs no operator."""
    rows.abandoned_insight(late=timedelta(seconds=20))
    assert work.insights().level is work.jobs().level is Level.FINE


def test_six_failed_insights_of_one_person_are_no_outage_and_their_cause_is_named() -> None:
    owner = rows.person()
    for _ in range(3):
        rows.failed_job(owner=owner, code="quota_exhausted")
    line = work.insights()
    assert line.level is Level.WARNING
    assert "6 failed in 10 minutes, of 3 jobs and 1 users" in line.text
    assert line.text.endswith("quota_exhausted")


def test_four_failures_are_not_an_outage() -> None:
    rows.failed_job()
    rows.failed_job()
    assert work.insights().level is Level.FINE


def test_insights_that_wait_for_indexing_are_not_due(broker: BrokerHandle) -> None:
    job = rows.job(vector_status="pending")
    Insight.objects.filter(job=job).update(next_attempt_at=Now() - rows.LONG)
    line = work.queue()
    assert line.level is Level.FINE
    assert line.data["waiting_for_index"] == job.total_insights


def test_a_lost_key_is_critical(settings: object) -> None:
    rows.chat(rows.person())
    assert database.keys().level is Level.FINE
    settings.ENCRYPTION_KEYS = Keyring.new_text()  # type: ignore[attr-defined]
    line = database.keys()
    assert line.level is Level.CRITICAL
    assert "ENCRYPTION_KEYS" in line.remedy


@pytest.mark.parametrize(
    ("warning", "critical", "level"), [(101, 101, Level.FINE), (0, 101, Level.WARNING), (0, 0, Level.CRITICAL)]
)
def test_thresholds_are_settings(settings: object, warning: int, critical: int, level: Level) -> None:
    for name in ("DISK", "CONNECTIONS"):
        setattr(settings, f"HEALTH_{name}_WARNING_PERCENT", warning)
        setattr(settings, f"HEALTH_{name}_CRITICAL_PERCENT", critical)
    assert machine.disk().level is database.connections().level is level


def test_a_worker_without_celery_worker_true_is_named() -> None:
    rows.heartbeat("worker", marked=False, name="worker@db-eater:41")
    line = processes.workers()
    assert "worker@db-eater:41" in line.text
    assert "CELERY_WORKER=true" in line.remedy


def test_a_silent_process_does_not_count_as_alive() -> None:
    Heartbeat.objects.create(name="worker@gone:1", kind="worker", marked_as_worker=True)
    assert processes.workers().level is Level.FINE
    Heartbeat.objects.update(beat_at=Now() - timedelta(seconds=31))
    assert processes.workers().level is Level.CRITICAL
