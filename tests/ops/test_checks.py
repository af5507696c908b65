"""Each health check recognises its problem, and names the remedy."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.core.management import call_command, get_commands
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import DateTimeField, F, Value, functions
from django.db.models.functions import Now, TruncMinute
from django.urls import resolve

from billing.models import Adjustment, CoinReservation, Wallet
from chats import data_keys, keys
from chats.key_models import KeyStoreIdentity
from chats.models import Chat
from insights import catalogue
from insights.models import ChatReading, Insight, InsightAttempt, InsightType, UnlockPause
from ops import backups, checks, metrics, workers
from ops.causes import find_causes
from ops.checks import api, database, ledger, machine, payments, processes, registry, upkeep, work
from ops.ledger import full_audit
from ops.models import Heartbeat, LedgerAudit
from ops.monitoring_models import RequestCount, Sample
from relivchats import clock, embedded, installation, roles
from relivchats.crypto import Keyring
from relivchats.key_store import StoreUnavailable
from relivchats.request_counts import BOUNDS_MS, BUCKETS
from relivchats.staff.models import AuditEntry
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


def _waiting_after_an_error() -> None:
    job = rows.job()
    Insight.objects.filter(job=job).update(error_code="quota_exhausted", created_at=Now() - timedelta(minutes=3))


def _failing_requests() -> None:
    _requests(route="api/chats", status=500, number=30)
    _requests(route="api/me", status=200, number=30)


def _slow_requests() -> None:
    _requests(route="api/chats", status=200, number=30, bucket=len(BOUNDS_MS) - 1)


def _requests(*, route: str, status: int, number: int, bucket: int = 0) -> None:
    buckets = [number if each == bucket else 0 for each in range(BUCKETS)]
    RequestCount.objects.create(
        at=TruncMinute(Now()),
        route=route,
        method="GET",
        status=status,
        requests=number,
        milliseconds=number,
        buckets=buckets,
    )


def _growing_worker() -> None:
    # Read once: there is one sample per minute, and the next one can begin meanwhile.
    this_minute = clock.now().replace(second=0, microsecond=0)
    for minute in range(50):
        at = this_minute - timedelta(minutes=minute + 1)
        Sample.objects.create(at=at, name="memory_worker_bytes", value=(1000 - 10 * minute) * 1024 * 1024)


def _never_pruned() -> None:
    rows.heartbeat("beat")
    Heartbeat.objects.update(started_at=Now() - timedelta(hours=4))


def _old_entry(action: str, object_id: str, *, days: int) -> None:
    created_at = Now() - timedelta(days=days)
    AuditEntry.objects.create(
        actor="test", action=action, object_id=object_id, done=True, outcome="", created_at=created_at
    )


def _old_backup() -> None:
    rows.chat(rows.person())
    _old_entry(backups.DUMPED, "a.dump", days=3)


def _old_key() -> None:
    _old_entry(keys.FIRST_USED, keys._current_id(), days=400)


def _started(*kinds: str, ago: timedelta) -> None:
    for kind in kinds:
        rows.heartbeat(kind)
    Heartbeat.objects.filter(kind__in=kinds).update(started_at=Now() - ago)


def _no_task_since_the_start() -> None:
    _started("beat", "worker", ago=timedelta(seconds=40))


@pytest.mark.parametrize(
    ("cause", "check", "level"),
    [
        (_waiting_after_an_error, work.deferred, Level.WARNING),
        (_failing_requests, api.errors, Level.WARNING),
        (_slow_requests, api.latency, Level.WARNING),
        (_growing_worker, upkeep.growth, Level.WARNING),
        (_never_pruned, upkeep.retention, Level.WARNING),
        (lambda: rows.heartbeat("retention", age=timedelta(hours=4)), upkeep.retention, Level.WARNING),
        (_old_backup, upkeep.backup, Level.WARNING),
        (_old_key, upkeep.rotation, Level.WARNING),
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
        (_no_task_since_the_start, processes.canary, Level.WARNING),
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


def _overdue_reservation() -> None:
    reservation = rows.orphaned_reservation()
    CoinReservation.objects.filter(pk=reservation.pk).update(expires_at=Now() - rows.LONG)


@pytest.mark.parametrize("is_audited_now", [True, False])
@pytest.mark.parametrize(
    ("late_work", "work_line"), [(rows.abandoned_insight, "insights"), (_overdue_reservation, "reservations")]
)
def test_late_work_alone_never_makes_the_ledger_the_root_cause(
    late_work: Callable[[], object], work_line: str, is_audited_now: bool
) -> None:
    late_work()
    by_name = {check.name: check for check in checks.ALL}

    def cause_of_ledger() -> str:
        line = ledger.ledger()
        if not is_audited_now:
            full_audit()
            line = ledger._latest_audit_line(LedgerAudit.objects.annotate(age=Now() - F("ended_at")).latest("pk"))
        assert line.level is Level.CRITICAL
        lines = [processes.beat(), work.reservations(), work.insights(), work.jobs(), line]
        return find_causes(lines, by_name)[-1].cause

    assert cause_of_ledger() == "beat"
    rows.heartbeat("beat")
    assert cause_of_ledger() == work_line
    _wrong_balance()
    assert cause_of_ledger() == "", "a wallet was changed, and no late work explains that"


def test_an_adjustment_can_wait_a_day_and_can_only_be_refused_after_seven() -> None:
    rows.adjustment()
    assert (payments.adjustments().level, payments.adjustments().data["waiting"]) == (Level.FINE, 1)
    _old_adjustment(days=8)
    assert "can only be refused" in payments.adjustments().text
    assert "approve" not in payments.adjustments().remedy


@pytest.mark.parametrize("earlier", [False, True])
def test_right_after_a_start_the_first_task_is_waited_for(earlier: bool) -> None:
    if earlier:
        rows.heartbeat("canary", age=timedelta(minutes=1))
    _started("worker", ago=rows.LONG)
    assert processes.canary().level is not Level.FINE, "nothing sends a task"
    _started("beat", ago=timedelta(seconds=5))
    line = processes.canary()
    assert (line.level, line.text) == (
        Level.FINE,
        "waiting for the first task: beat and a worker started 5 s ago",
    )
    Heartbeat.objects.filter(kind="beat").update(started_at=Now() - timedelta(seconds=31))
    assert processes.canary().level is (Level.CRITICAL if earlier else Level.WARNING)


def test_a_worker_that_starts_over_and_over_does_not_make_the_canary_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    rows.heartbeat("canary", age=timedelta(minutes=5))
    _started("beat", "worker", ago=timedelta(seconds=5))
    monkeypatch.setattr(workers, "DATABASE_STARTED_AT", Value(clock.now() - rows.LONG, DateTimeField()))
    line = processes.canary()
    assert (line.level, line.remedy) == (Level.WARNING, "manage.py workers")
    assert line.text == "no task ran for 300 s; waiting for the first task: beat and a worker started 5 s ago"
    monkeypatch.setattr(workers, "DATABASE_STARTED_AT", Now() - timedelta(seconds=20))
    assert processes.canary().level is Level.FINE, "while the database was away, no task could leave its heartbeat"


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
    assert "6 failed in 10 minutes, of 3 jobs and 1 user," in line.text
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


def test_a_keyring_file_that_is_missing_is_critical_while_the_processes_still_have_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(installation, "kind", lambda: installation.Kind.DEV)
    monkeypatch.delenv("ENCRYPTION_KEYS", raising=False)
    assert database.keys().level is Level.FINE
    monkeypatch.setattr(embedded, "is_keyring_missing", lambda: True)
    line = database.keys()
    assert (line.level, "nothing can start again" in line.text) == (Level.CRITICAL, True)
    assert str(embedded.keyring_file()) in line.remedy


@pytest.mark.parametrize(
    ("warning", "critical", "level"), [(101, 101, Level.FINE), (0, 101, Level.WARNING), (0, 0, Level.CRITICAL)]
)
def test_thresholds_are_settings(settings: object, warning: int, critical: int, level: Level) -> None:
    for name in ("DISK", "CONNECTIONS"):
        setattr(settings, f"HEALTH_{name}_WARNING_PERCENT", warning)
        setattr(settings, f"HEALTH_{name}_CRITICAL_PERCENT", critical)
    assert machine.disk().level is database.connections().level is level


def test_the_fullest_of_the_file_systems_decides_and_each_directory_is_named(
    monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path
) -> None:
    monkeypatch.setenv("RELIVCHATS_DATA", str(tmp_path))
    settings.EMBEDDED, settings.KEY_STORE_DIR = True, "/dev/shm/relivchats-keys"  # another file system of any Linux
    usages = {
        str(tmp_path): SimpleNamespace(percent=40.0, free=9 << 30),
        "/dev/shm": SimpleNamespace(percent=91.0, free=1 << 30),
    }
    monkeypatch.setattr(machine, "psutil", SimpleNamespace(disk_usage=usages.__getitem__))
    line = machine.disk()
    assert line.text == "key store: 91 % used, 1024 MiB free; data, logs, Postgres: 40 % used, 9216 MiB free"
    assert (line.level, line.value) == (Level.CRITICAL, 91.0)
    assert " /dev/shm " in line.remedy
    assert line.data["used_percent_by_directory"]["logs"] == 40.0


@pytest.mark.parametrize(
    ("data", "key_store", "level", "stops_others", "listed"),
    [
        ((40.0, 9 << 30), (5.0, 11 << 20), Level.FINE, False, ""),
        ((40.0, 9 << 30), (99.0, 11 << 20), Level.CRITICAL, False, "key store"),
        ((99.0, 11 << 20), (5.0, 11 << 20), Level.CRITICAL, True, "data"),
        ((99.0, 11 << 20), (99.5, 1 << 30), Level.CRITICAL, True, "data"),
        ((99.0, 1 << 30), (5.0, 9 << 30), Level.CRITICAL, False, "data"),
    ],
)
def test_only_a_disk_on_which_postgres_cannot_write_is_a_cause_and_its_files_are_listed(
    monkeypatch: pytest.MonkeyPatch,
    settings: Any,
    tmp_path: Path,
    data: tuple[float, int],
    key_store: tuple[float, int],
    level: Level,
    stops_others: bool,
    listed: str,
) -> None:
    monkeypatch.setenv("RELIVCHATS_DATA", str(tmp_path))
    settings.EMBEDDED, settings.KEY_STORE_DIR = True, "/dev/shm/relivchats-keys"  # another file system of any Linux
    usages = {
        path: SimpleNamespace(percent=percent, free=free)
        for path, (percent, free) in {str(tmp_path): data, "/dev/shm": key_store}.items()
    }
    monkeypatch.setattr(machine, "psutil", SimpleNamespace(disk_usage=usages.__getitem__))
    line = machine.disk()
    assert (line.level, line.stops_others) == (level, stops_others)
    directory = {"data": tmp_path, "key store": Path("/dev/shm")}.get(listed)
    assert line.remedy == (installation.list_files_by_size(directory) if directory else "")


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


def test_the_line_of_slow_and_of_failing_requests_names_the_route() -> None:
    _failing_requests()
    assert "50.0 % of 60 requests failed within an hour; most of api/chats: 30 of 30" in api.errors().text
    _slow_requests()
    assert "the slowest route is api/chats" in api.latency().text


@pytest.mark.parametrize(("slower", "level"), [(1, Level.FINE), (2, Level.WARNING), (3, Level.WARNING)])
def test_health_and_the_metric_judge_the_p95_alike(slower: int, level: Level) -> None:
    """Of 40 requests: 2 slower ones make it exactly 500 ms, which is not below the target."""
    at_500 = BOUNDS_MS.index(500)
    _requests(route="api/chats", status=200, number=40 - slower, bucket=at_500)
    _requests(route="api/coins", status=200, number=slower, bucket=at_500 + 1)
    (metric,) = (each for each in metrics.fetch(timedelta(hours=24)) if each.definition is metrics.API_P95)
    assert (metric.value == 500) is (slower == 2)
    assert metric.level is api.latency().level is level


def test_memory_that_grows_for_less_than_three_quarters_of_an_hour_is_not_judged() -> None:
    _growing_worker()
    Sample.objects.filter(value__lt=700 * 1024 * 1024).delete()
    assert upkeep.growth().level is Level.FINE


def test_insights_that_wait_after_an_error_are_counted_by_its_code() -> None:
    _waiting_after_an_error()
    assert "2 quota_exhausted; the oldest for 3 min" in work.deferred().text


def test_the_wait_after_an_error_begins_with_the_first_failed_attempt_and_not_with_the_insight() -> None:
    _waiting_after_an_error()
    insight = Insight.objects.first()
    assert insight is not None
    Insight.objects.exclude(pk=insight.pk).delete()
    for number, seconds in ((1, 45), (2, 5)):
        age = timedelta(seconds=seconds)
        InsightAttempt.objects.create(
            insight=insight, number=number, outcome="retry", milliseconds=1, created_at=Now() - age
        )
    assert "1 insight waiting after an error: 1 quota_exhausted; the oldest for 45 s" in work.deferred().text


def test_insights_of_a_lost_worker_wait_since_it_was_noticed_and_lead_to_the_workers() -> None:
    job = rows.job()
    old = Now() - timedelta(minutes=30)
    lost = job.insights.all()
    lost.update(error_code="worker_lost", created_at=old, next_attempt_at=Now() - timedelta(seconds=9))
    assert work.deferred().level is Level.FINE
    assert "the oldest for 9 s" in work.deferred().text
    lost.update(next_attempt_at=Now() - timedelta(minutes=3))
    assert (work.deferred().level, work.deferred().remedy) == (Level.WARNING, "manage.py workers")
    Insight.objects.filter(pk=lost.values("pk")[:1]).update(error_code="quota_exhausted")
    assert work.deferred().remedy == "manage.py engine --check"


def test_insights_whose_chat_waits_to_be_read_after_an_error_are_counted_by_its_code() -> None:
    job = rows.job()
    assert work.deferred().level is Level.FINE
    ChatReading.objects.create(
        chat_id=str(job.chat_id), engine="gemini", model="m", version=1, error_code="quota_exhausted"
    )
    assert work.deferred().data["by_error"] == {"quota_exhausted": job.total_insights}
    ChatReading.objects.update(error_code="")
    assert work.deferred().data == {}


def test_a_clock_that_differs_by_a_minute_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "time", SimpleNamespace(time=lambda: time.time() - 60))
    line = upkeep.clock()
    assert line.level is Level.WARNING
    assert "ahead of this machine" in line.text


def test_a_type_that_differs_from_the_files_is_reported_unless_staff_edited_it() -> None:
    first = InsightType.objects.order_by("pk")[0]
    loaded = first.loaded_digest
    InsightType.objects.filter(pk=first.pk).update(title="Changed by staff")
    assert upkeep.catalogue().level is Level.FINE
    first.refresh_from_db()
    # As an earlier release wrote it.
    InsightType.objects.filter(pk=first.pk).update(loaded_digest=_digest(first))
    assert loaded != _digest(first)
    assert first.pk in upkeep.catalogue().text
    call_command("load_catalogue", verbosity=0, stdout=StringIO())
    assert upkeep.catalogue().level is Level.FINE


def _digest(row: InsightType) -> str:
    return str(catalogue._compute_digest(row, catalogue._TYPE_FIELDS))


def test_a_backup_without_the_key_store_is_reported_until_both_are_copied(tmp_path: Path, settings: Any) -> None:
    settings.KEY_STORE_DIR = str(tmp_path / "store")
    assert upkeep.backup().text == "nothing to back up yet"
    KeyStoreIdentity.objects.get_or_create(id=1, defaults={"identity": "a store"})
    _old_backup()
    AuditEntry.objects.create(actor="test", action=backups.COPIED, object_id="a", done=True, outcome="")
    assert upkeep.backup().text == "the newest dump is 3 d old, the newest copy of the key store is 0 s old"
    AuditEntry.objects.create(actor="test", action=backups.DUMPED, object_id="b.dump", done=False, outcome="")
    assert upkeep.backup().level is Level.WARNING, "a backup that failed is none"
    _old_entry(backups.DUMPED, "c.dump", days=1)
    assert upkeep.backup().level is Level.FINE
    settings.HEALTH_BACKUP_HOURS = 0
    _old_entry(backups.DUMPED, "d.dump", days=9)
    assert upkeep.backup().text == "not watched"


def test_an_installation_with_chats_that_was_never_backed_up_is_reported(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    rows.chat(rows.person())
    assert (upkeep.backup().level, upkeep.backup().text.startswith("no dump yet")) == (Level.FINE, True)
    later = Value(timedelta(days=3)) + functions.Now()
    monkeypatch.setattr(backups, "Now", lambda: later)
    assert (upkeep.backup().level, upkeep.backup().text.startswith("no dump yet")) == (Level.WARNING, True)


@pytest.mark.parametrize(
    ("kind", "start"),
    [(installation.Kind.DEV, "./dev manage backup ~/"), (installation.Kind.COMPOSE, "docker-compose run --rm -v ~/")],
)
def test_the_remedy_of_an_old_backup_is_one_command_of_the_installation(
    monkeypatch: pytest.MonkeyPatch, settings: Any, kind: installation.Kind, start: str
) -> None:
    monkeypatch.setattr(installation, "kind", lambda: kind)
    settings.KEY_STORE_DIR = "/keys"
    typed = installation.as_typed(backups.remedy())
    assert start in typed
    assert typed.count("docker-compose") == (1 if kind is installation.Kind.COMPOSE else 0)
    assert " --keys " in typed


def test_the_age_of_a_key_is_that_of_its_first_use_and_a_new_key_of_its_name_is_young(settings: Any) -> None:
    assert "beat notes" in upkeep.rotation().text
    _old_key()
    keys.note_current()
    assert AuditEntry.objects.filter(action=keys.FIRST_USED).count() == 1
    assert upkeep.rotation().text.endswith("has been in use for 400 d")
    settings.ENCRYPTION_KEYS = Keyring.new_text()
    keys.note_current()
    assert upkeep.rotation().text == "k1 has been in use for 0 s"
    settings.HEALTH_KEY_AGE_DAYS = 0
    assert upkeep.rotation().level is Level.FINE


def test_large_logs_are_reported_with_the_largest(
    settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RELIVCHATS_DATA", str(tmp_path))
    (tmp_path / "logs").mkdir()
    assert upkeep.logs().level is Level.FINE
    with (tmp_path / "logs" / "web.log").open("wb") as log:
        log.truncate(2 * 1024 * 1024)
    settings.HEALTH_LOGS_WARNING_MB = 1
    line = upkeep.logs()
    assert (line.level, "2 MiB in web.log" in line.text) == (Level.WARNING, True)


@pytest.mark.parametrize(("days", "level"), [(60, Level.FINE), (20, Level.WARNING), (2, Level.CRITICAL)])
def test_a_certificate_is_reported_before_it_ends(settings: Any, tmp_path: Path, days: int, level: Level) -> None:
    path = tmp_path / "certificate.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "example.org")])
    now = datetime.now(UTC)
    built = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    built = built.serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=days))
    path.write_bytes(built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    settings.HEALTH_CERTIFICATES = [str(path)]
    assert upkeep.certificates().level is level
    settings.HEALTH_CERTIFICATES = [str(tmp_path / "missing.pem")]
    assert upkeep.certificates().level is Level.WARNING


@pytest.mark.parametrize("check", checks.ALL, ids=lambda check: check.name)
def test_the_page_of_a_check_exists(check: registry.Check) -> None:
    resolve(check.page.partition("?")[0])


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (installation.Kind.DEV, "cp -an COPY/. {}"),
        (installation.Kind.COMPOSE, "mount the directory that KEY_STORE_DIR names"),
    ],
)
def test_the_remedy_of_a_missing_key_store_is_that_of_the_installation(
    monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path, kind: installation.Kind, words: str
) -> None:
    def fail() -> None:
        raise StoreUnavailable("the key store is not usable")

    settings.KEY_STORE_DIR = str(tmp_path / "moved")
    monkeypatch.setattr(installation, "kind", lambda: kind)
    monkeypatch.setattr(data_keys, "open_store", fail)
    line = database.keys()
    assert (line.level, words.format(tmp_path / "moved") in line.remedy) == (Level.CRITICAL, True)


def _web_server(*, runs_for: timedelta) -> int:
    """Add the heartbeat of a web process of this machine, and return its port, on which nothing answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    row = rows.heartbeat("web", name=f"web@{socket.gethostname()[:120]}:{os.getpid()}")
    Heartbeat.objects.filter(pk=row.pk).update(pid=os.getpid(), port=port, started_at=Now() - runs_for)
    return port


@pytest.mark.parametrize(("minutes", "level"), [(0, Level.WARNING), (5, Level.CRITICAL)])
def test_a_web_server_that_does_not_answer_is_critical_unless_it_has_just_started(minutes: int, level: Level) -> None:
    port = _web_server(runs_for=timedelta(minutes=minutes))
    line = processes.web()
    assert (line.level, f"port {port}" in line.text) == (level, True)
    assert ("starting" in line.text) is (level is Level.WARNING)


def test_a_web_process_never_finds_that_it_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(roles.PORT_VARIABLE, str(_web_server(runs_for=timedelta(minutes=5))))
    assert processes.web().level is Level.FINE
