"""Health answers in time even if a check hangs, and over HTTP gives strangers nothing but a level."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from io import StringIO

import psycopg
import pytest
from django.core.management import call_command
from django.db import InterfaceError, OperationalError, connection
from django.db.models import F
from django.db.models.functions import Now
from django.test import Client

from billing.models import Wallet
from ops import checks, health, ledger, views
from ops.checks import ledger as ledger_check
from ops.checks.registry import Check
from ops.models import CheckState, LedgerAudit
from relivchats import clock, installation
from relivchats.accounts import tokens
from relivchats.staff.reports import Level, Line, Report
from tests.ops import rows
from tests.processes import (
    PATIENCE_SECONDS,
    REPOSITORY,
    BrokerHandle,
    ServerHandle,
    eventually,
    owner_database_url,
    process_environment,
)

#: A server that hangs does so for at least fifteen seconds; a slow machine may delay a timeout of two seconds.
IN_TIME_SECONDS = 10.0


@pytest.fixture(autouse=True)
def _empty_cache() -> Iterator[None]:
    health.clear_cache()
    yield
    health.clear_cache()


def _run_all(*, timeout_seconds: float = health.TOTAL_SECONDS) -> tuple[dict[str, Line], float]:
    """Run all checks; return the lines by name, and the seconds that it took."""
    started = time.monotonic()
    lines = {line.name: line for line in health.run_checks(timeout_seconds=timeout_seconds)}
    return lines, time.monotonic() - started


def test_health_promises_two_seconds_and_readiness_one() -> None:
    assert health.CHECK_SECONDS < health.TOTAL_SECONDS < 2
    assert views.READY_SECONDS <= 1


@pytest.fixture
def hanging() -> Iterator[Check]:
    """A check that does not return before the test ends."""
    released = threading.Event()

    def hang() -> Line:
        released.wait()
        return Line("hangs", Level.FINE, "too late")

    yield Check("hangs", hang, remedy="look")
    released.set()
    for thread in _health_threads():
        thread.join(PATIENCE_SECONDS)


def _health_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "health"]


ANSWERING = Check("answers", lambda: Line("answers", Level.FINE, "here"))


def test_a_check_that_hangs_does_not_delay_the_others(hanging: Check) -> None:
    started = time.monotonic()
    late, answered = health.run_checks((hanging, ANSWERING), timeout_seconds=1)
    assert time.monotonic() - started < IN_TIME_SECONDS
    assert (late.level, late.remedy, answered.level) == (Level.UNKNOWN, "manage.py health", Level.FINE)
    assert "the machine is busy" in late.text


def test_checks_that_hang_hold_at_most_max_threads_however_often_health_runs(
    hanging: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "MAX_THREADS", 7)
    for _ in range(6):
        lines = health.run_checks([hanging] * health.WORKER_THREADS, timeout_seconds=0.05)
        assert {line.level for line in lines} == {Level.UNKNOWN}
    assert len(_health_threads()) == 7
    (line,) = health.run_checks([ANSWERING], timeout_seconds=0.05)
    assert line.level is Level.UNKNOWN, "no thread is left for it"


def test_checks_run_again_when_those_that_hung_have_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "MAX_THREADS", 2)
    released = threading.Event()

    def hang() -> Line:
        released.wait()
        return Line("hangs", Level.FINE, "too late")

    health.run_checks([Check("hangs", hang)] * 2, timeout_seconds=0.05)
    released.set()
    for thread in _health_threads():
        thread.join(PATIENCE_SECONDS)
    (line,) = health.run_checks([ANSWERING], timeout_seconds=PATIENCE_SECONDS)
    assert line.level is Level.FINE


def test_a_check_that_hangs_for_good_is_named_and_leaves_the_threads_to_the_others(
    hanging: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "MAX_THREADS", 5)
    health.run_checks((hanging, ANSWERING), timeout_seconds=1)
    monkeypatch.setattr(health, "HANGING_SECONDS", 0)
    for _ in range(10):
        late, answered = health.run_checks((hanging, ANSWERING), timeout_seconds=PATIENCE_SECONDS)
        assert late.text.startswith("has not returned for ")
        assert answered.level is Level.FINE
    assert (late.level, late.remedy) == (Level.UNKNOWN, health._HANGING_REMEDY)
    assert late.stops_others, "what needs it may follow from it"


def test_a_check_that_hung_runs_again_once_it_has_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "HANGING_SECONDS", 0)
    released = threading.Event()

    def hang() -> Line:
        released.wait()
        return Line("hangs", Level.FINE, "too late")

    check = Check("hangs", hang)
    health.run_checks([check], timeout_seconds=0.05)
    eventually(lambda: "hangs" in health._find_hanging())
    released.set()
    for thread in _health_threads():
        thread.join(PATIENCE_SECONDS)
    (line,) = health.run_checks([check], timeout_seconds=PATIENCE_SECONDS)
    assert line.level is Level.FINE


def test_a_check_that_has_just_started_in_another_run_does_not_hang(hanging: Check) -> None:
    health.run_checks([hanging], timeout_seconds=0.05)
    (line,) = health.run_checks([hanging], timeout_seconds=0.05)
    assert (line.is_unfinished, "the machine is busy" in line.text) == (True, True)


def test_the_check_of_a_server_that_hangs_finds_it_frozen_and_keeps_its_remedy(
    hanging: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "HANGING_SECONDS", 0)
    server = replace(hanging, on_timeout=Level.CRITICAL)
    health.run_checks([server], timeout_seconds=0.05)
    eventually(lambda: "hangs" in health._find_hanging())
    (line,) = health.run_checks([server], timeout_seconds=0.05)
    assert (line.level, line.remedy) == (Level.CRITICAL, "look")


def test_the_time_of_the_checks_starts_after_each_has_loaded_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[str] = []

    def fail() -> None:
        prepared.append("fails")
        raise ImportError

    def run() -> Line:
        return Line("runs", Level.FINE, ", ".join(prepared))

    selected = [Check("fails", run, prepare=fail), Check("runs", run, prepare=lambda: prepared.append("runs"))]
    monkeypatch.setattr(checks, "ALL", selected)
    monkeypatch.setattr(installation, "is_nothing_running", lambda: False)
    assert [line.text for line in health.report().lines] == ["fails, runs"] * 2


@pytest.mark.django_db(transaction=True)
def test_a_prepared_check_loads_no_module_while_its_time_runs(broker: BrokerHandle) -> None:
    """Loading pydantic and the engine took five times as long as all checks, so a busy machine ended none of them."""
    code = """
import django, sys
django.setup()
from ops import checks
for check in checks.ALL:
    check.prepare()
before = set(sys.modules)
for check in checks.ALL:
    check.run()
names = {name.partition(".")[0] for name in set(sys.modules) - before if "migrations" not in name}
print(*sorted(names - sys.stdlib_module_names))
"""
    environment = process_environment(connection.settings_dict["NAME"])
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env={**environment, "DJANGO_SETTINGS_MODULE": "relivchats.settings"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == []


def test_a_thread_that_returns_too_late_starts_no_further_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "WORKER_THREADS", 1)
    released, started = threading.Event(), threading.Event()

    def hang() -> Line:
        released.wait()
        return Line("hangs", Level.FINE, "too late")

    def start() -> Line:
        started.set()
        return Line("starts", Level.FINE, "here")

    health.run_checks((Check("hangs", hang), Check("starts", start)), timeout_seconds=0.05)
    released.set()
    for thread in _health_threads():
        thread.join(PATIENCE_SECONDS)
    assert not started.is_set()


def test_a_check_that_raises_is_unknown_and_the_others_still_run() -> None:
    broken = Check("broken", lambda: Line("broken", Level.FINE, str(1 / 0)))
    lines = health.run_checks((broken, ANSWERING), timeout_seconds=PATIENCE_SECONDS)
    assert [line.level for line in lines] == [Level.UNKNOWN, Level.FINE]


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_a_database_that_does_not_answer_counts_like_a_check_that_hangs(error: type[Exception]) -> None:
    def fail() -> Line:
        raise error("connection to server at 10.0.0.7 failed")

    check = Check("database", fail, remedy="look", on_timeout=Level.CRITICAL)
    (line,) = health.run_checks([check], timeout_seconds=PATIENCE_SECONDS)
    assert (line.level, line.text, line.remedy) == (Level.CRITICAL, "the database does not answer", "look")


def test_a_query_that_waited_too_long_does_not_show_that_the_database_is_down() -> None:
    def wait() -> Line:
        raise OperationalError("canceling statement") from psycopg.errors.LockNotAvailable()

    check = Check("ledger", wait, remedy="look", on_timeout=Level.CRITICAL)
    (line,) = health.run_checks([check], timeout_seconds=PATIENCE_SECONDS)
    assert (line.level, line.remedy, line.data) == (Level.UNKNOWN, "manage.py database", {"waits": True})


def test_only_the_database_decides_about_the_checks_that_need_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # One thread runs them in order.
    monkeypatch.setattr(health, "WORKER_THREADS", 1)
    levels = {"broker": Level.CRITICAL, "database": Level.FINE, "ledger": Level.FINE}
    selected = [
        Check(name, partial(Line, name, level, ""), needs=("database",) if name == "ledger" else ())
        for name, level in levels.items()
    ]
    lines = health.run_checks(selected, timeout_seconds=PATIENCE_SECONDS)
    assert {line.name: line.level for line in lines} == levels


@pytest.mark.django_db(transaction=True)
def test_states_are_recorded_only_if_the_database_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [Line("database", Level.CRITICAL, "does not answer"), Line("workers", Level.FINE, "one")]
    monkeypatch.setattr(checks, "ALL", [Check(line.name, partial(Line, line.name, line.level, "")) for line in lines])
    assert [line.level for line in health.report(is_recorded=True).lines] == [Level.CRITICAL, Level.FINE]
    assert not CheckState.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_only_beat_records_states(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [Line("database", Level.FINE, "answers"), Line("keys", Level.CRITICAL, "another key")]
    monkeypatch.setattr(checks, "ALL", [Check(line.name, lambda line=line: line) for line in lines])  # type: ignore[misc]
    health.report()
    assert not CheckState.objects.exists()
    health.report(is_recorded=True)
    assert CheckState.objects.filter(name="keys", level="critical").exists()
    # What others find is new to the history, which they read.
    lines[1] = Line("keys", Level.WARNING, "an old key")
    monkeypatch.setattr(checks, "ALL", [Check(line.name, lambda line=line: line) for line in lines])  # type: ignore[misc]
    assert next(line for line in health.report().lines if line.name == "database").since


def test_while_nothing_runs_health_says_so_and_asks_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "is_nothing_running", lambda: True)
    report = health.report()
    assert (report.lines[0].text, report.lines[0].remedy) == ("nothing is running here", "./dev up")
    assert {line.name for line in report.lines} == {"installation", "disk"}


def test_requests_that_arrive_during_a_run_share_its_report(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []
    together = threading.Barrier(2)

    def report() -> Report:
        runs.append(1)
        with contextlib.suppress(threading.BrokenBarrierError):
            together.wait(timeout=0.2)
        return Report("Health")

    monkeypatch.setattr(health, "report", report)
    with ThreadPoolExecutor(2) as pool:
        first, second = (future.result() for future in [pool.submit(health.latest) for _ in range(2)])
    assert first is second
    assert len(runs) == 1


def test_a_report_is_used_until_it_is_too_old_or_the_cache_is_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "report", lambda: Report("Health"))
    monkeypatch.setattr(health, "CACHE_SECONDS", PATIENCE_SECONDS)
    first = health.latest()
    assert health.latest() is first
    health.clear_cache()
    second = health.latest()
    assert second is not None
    assert second is not first
    monkeypatch.setattr(health, "CACHE_SECONDS", 0)
    assert health.latest() is not second


def test_a_page_starts_a_run_of_the_checks_only_if_the_latest_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "report", lambda: Report("Health"))
    monkeypatch.setattr(health, "CACHE_SECONDS", PATIENCE_SECONDS)
    cache = health._ReportCache()

    def get_recent() -> Report | None:
        found = cache.get_recent(max_age_seconds=PATIENCE_SECONDS)
        for thread in threading.enumerate():
            if thread.name == "health for pages":
                thread.join()
        return found

    assert get_recent() is None
    first = get_recent()
    assert first is cache.get()
    runs: list[None] = []
    monkeypatch.setattr(cache, "get", lambda: runs.append(None))
    assert (get_recent(), runs) == (first, [])
    monkeypatch.setattr(health, "CACHE_SECONDS", 0)
    assert (get_recent(), runs) == (first, [None])


@pytest.mark.django_db(transaction=True)
def test_health_leaves_no_connection_behind(broker: BrokerHandle) -> None:
    _run_all()
    for thread in _health_threads():
        thread.join(PATIENCE_SECONDS)
    sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'relivchats health'"

    def remaining() -> int:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return int(cursor.fetchone()[0])

    # A server process ends a moment after its client has disconnected.
    eventually(lambda: not remaining())


@pytest.mark.django_db(transaction=True)
def test_a_frozen_database_is_reported_in_time(broker: BrokerHandle, postgres: ServerHandle) -> None:
    with postgres.paused():
        lines, seconds = _run_all(timeout_seconds=3)
        started = time.monotonic()
        ready = Client().get("/health/ready")
        ready_seconds = time.monotonic() - started
    assert seconds < IN_TIME_SECONDS
    assert lines["database"].level is Level.CRITICAL
    assert lines["broker"].level is lines["disk"].level is Level.FINE
    assert ready.status_code == 503
    assert ready_seconds < IN_TIME_SECONDS


@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_down_fails_readiness_but_not_liveness(broker: BrokerHandle, postgres: ServerHandle) -> None:
    staff = rows.person()
    staff.is_staff = True
    staff.save()
    signed_in, anybody = Client(), Client()
    signed_in.force_login(staff)
    connection.close()
    with postgres.down():
        for client in (signed_in, anybody):
            assert client.get("/health/live").status_code == 200
            assert client.get("/health/ready").status_code == 503
            assert client.get("/health/db-pool").status_code == 503
            summary = client.get("/health")
            assert (summary.status_code, summary.json()) == (503, {"status": "fail"})
            connection.close()


@pytest.mark.django_db(transaction=True)
def test_a_frozen_broker_is_reported_in_time(broker: BrokerHandle) -> None:
    with broker.paused():
        lines, seconds = _run_all(timeout_seconds=PATIENCE_SECONDS)
    assert seconds < PATIENCE_SECONDS / 2
    assert lines["broker"].level is Level.CRITICAL
    assert lines["database"].level is Level.FINE


@pytest.mark.django_db(transaction=True)
def test_for_a_ledger_too_slow_to_audit_the_latest_full_audit_is_reported(broker: BrokerHandle) -> None:
    rows.person()
    with psycopg.connect(owner_database_url(connection.settings_dict["NAME"])) as other:
        other.execute("LOCK TABLE credit_transactions IN ACCESS EXCLUSIVE MODE")
        lines, seconds = _run_all(timeout_seconds=PATIENCE_SECONDS)
        assert lines["ledger"].level is Level.UNKNOWN
        assert seconds < IN_TIME_SECONDS
    ledger.full_audit()
    with psycopg.connect(owner_database_url(connection.settings_dict["NAME"])) as other:
        other.execute("LOCK TABLE credit_transactions IN ACCESS EXCLUSIVE MODE")
        assert _run_all(timeout_seconds=PATIENCE_SECONDS)[0]["ledger"].level is Level.FINE
        LedgerAudit.objects.update(broken=["1"])
        assert _run_all(timeout_seconds=PATIENCE_SECONDS)[0]["ledger"].level is Level.CRITICAL


@pytest.mark.usefixtures("patient")
@pytest.mark.django_db
@pytest.mark.parametrize(
    ("milliseconds", "age", "level"),
    [(9000, 60, Level.FINE), (9000, 100_000, Level.CRITICAL), (200, 60, Level.CRITICAL)],
)
def test_a_large_ledger_is_not_audited_again_while_its_latest_audit_is_fresh(
    milliseconds: int, age: int, level: Level
) -> None:
    """The ledger is broken after the audit, so a critical line shows that it was audited again."""
    audited = LedgerAudit.objects.create(milliseconds=milliseconds)
    LedgerAudit.objects.filter(pk=audited.pk).update(ended_at=Now() - timedelta(seconds=age))
    Wallet.objects.filter(pk=rows.person().wallet.pk).update(balance=7)
    assert ledger_check.ledger().level is level


@pytest.mark.usefixtures("patient")
@pytest.mark.django_db
def test_of_a_large_ledger_health_audits_what_changed_since_the_latest_audit() -> None:
    wallet = rows.person().wallet
    LedgerAudit.objects.create(milliseconds=9000, settled_at=clock.now(), settled_coins=wallet.balance)
    assert ledger_check.ledger().level is Level.FINE
    assert "what changed since is clean" in ledger_check.ledger().text
    Wallet.objects.filter(pk=wallet.pk).update(balance=7)
    assert ledger_check.ledger().level is Level.CRITICAL


@pytest.mark.usefixtures("patient")
@pytest.mark.django_db
def test_a_broken_invariant_is_reported_until_a_full_audit_is_clean() -> None:
    coins = rows.person().wallet.balance
    LedgerAudit.objects.create(milliseconds=9000, settled_at=clock.now(), settled_coins=coins)
    LedgerAudit.objects.create(milliseconds=9000, broken=["3"])
    LedgerAudit.objects.create(milliseconds=9, complete=False)
    assert ledger_check.ledger().level is Level.CRITICAL


@pytest.mark.usefixtures("patient")
@pytest.mark.django_db(transaction=True)
def test_each_audit_of_what_changed_starts_where_the_previous_one_ended() -> None:
    ledger.recent_audit()
    rows.person()
    ledger.recent_audit()
    ledger.recent_audit()
    audits = list(LedgerAudit.objects.order_by("pk"))
    assert [audit.complete for audit in audits] == [True, False, False]
    assert all(audit.settled_at and audit.broken == [] for audit in audits)
    Wallet.objects.update(balance=F("balance") + 1)
    ledger.recent_audit()
    assert LedgerAudit.objects.order_by("-pk")[0].broken == ["1"]


@pytest.mark.django_db(transaction=True)
def test_all_invariants_together_take_at_most_a_second() -> None:
    started = time.monotonic()
    with psycopg.connect(owner_database_url(connection.settings_dict["NAME"])) as other:
        other.execute("LOCK TABLE credit_transactions IN ACCESS EXCLUSIVE MODE")
        ledger_check.ledger()
    assert time.monotonic() - started < IN_TIME_SECONDS


@pytest.mark.usefixtures("patient")
@pytest.mark.django_db(transaction=True)
def test_health_exits_with_its_most_severe_level_and_prints_json(broker: BrokerHandle) -> None:
    printed = StringIO()
    with pytest.raises(SystemExit) as exited:
        call_command("health", json=True, stdout=printed)
    assert exited.value.code == 2, "no worker is alive"
    answer = json.loads(printed.getvalue())
    assert answer["level"] == "critical"
    assert [line["name"] for line in answer["lines"]] == [check.name for check in checks.ALL]
    assert all(line["remedy"] or line["cause"] for line in answer["lines"] if line["level"] != "fine")


@pytest.mark.usefixtures("patient")
@pytest.mark.django_db(transaction=True)
def test_http_health_gives_strangers_a_level_and_staff_the_lines(broker: BrokerHandle, client: Client) -> None:
    rows.everything_alive()
    answer = client.get("/health")
    assert answer.status_code == 200
    assert answer["Content-Type"] == "application/health+json"
    assert set(answer.json()) == {"status"}
    staff, customer = rows.person(), rows.person()
    staff.is_staff = True
    staff.save()
    by_token = client.get("/health", headers={"Authorization": f"Bearer {tokens.issue(staff)}"})
    assert set(by_token.json()["checks"]) == {check.name for check in checks.ALL}
    client.force_login(staff)
    assert "checks" in client.get("/health").json()
    for stranger in (tokens.issue(customer), "rc_unknown"):
        other = Client().get("/health", headers={"Authorization": f"Bearer {stranger}"})
        assert (other.status_code, set(other.json())) == (200, {"status"})


@pytest.mark.usefixtures("patient")
@pytest.mark.django_db(transaction=True)
def test_http_health_fails_and_runs_the_checks_at_most_every_ten_seconds(broker: BrokerHandle, client: Client) -> None:
    answer = client.get("/health")
    assert (answer.status_code, answer.json()) == (503, {"status": "fail"})
    rows.everything_alive()
    assert client.get("/health").status_code == 503, "from the cache"
    health.clear_cache()
    assert client.get("/health").status_code == 200


@pytest.mark.usefixtures("patient")
@pytest.mark.django_db(transaction=True)
def test_the_pool_page_contains_only_numbers(client: Client) -> None:
    answer = client.get("/health/db-pool")
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"status", "pool", "database"}
    assert 0 < body["database"]["used"] < body["database"]["allowed"]


def test_the_root_redirects_to_the_documentation(client: Client) -> None:
    assert client.get("/")["Location"] == "/api/docs"


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready", "/health/db-pool"])
def test_health_pages_are_read_only(client: Client, path: str) -> None:
    assert client.post(path).status_code == 405
