"""Health answers in time whatever hangs, and over HTTP tells strangers nothing but a level."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now
from django.test import Client

from billing.models import Wallet
from ops import checks, health, ledger, views
from ops.checks import Check
from ops.models import LedgerAudit
from relivchats import clock
from relivchats.accounts import tokens
from relivchats.staff.reports import Level, Line
from tests.ops import rows
from tests.processes import PATIENCE_SECONDS, BrokerHandle, ServerHandle, database_url, eventually

#: What hangs would do so for fifteen seconds at least; a slow machine may wake us late.
IN_TIME_SECONDS = 10.0


@pytest.fixture(autouse=True)
def _no_earlier_answer() -> Iterator[None]:
    health.forget()
    yield
    health.forget()


def _asked(*, seconds: float = health.TOTAL_SECONDS) -> tuple[dict[str, Line], float]:
    started = time.monotonic()
    lines = {line.name: line for line in health.look(seconds=seconds)}
    return lines, time.monotonic() - started


def test_health_promises_two_seconds_and_readiness_one() -> None:
    assert health.CHECK_SECONDS < health.TOTAL_SECONDS < 2
    assert views.READY_SECONDS <= 1


def test_a_check_that_hangs_holds_up_no_other() -> None:
    never = threading.Event()

    def hang() -> Line:
        never.wait()
        return Line("hangs", Level.FINE, "at last")

    which = (Check("hangs", hang, remedy="look"), Check("answers", lambda: Line("answers", Level.FINE, "here")))
    started = time.monotonic()
    hanging, answering = health.look(which, seconds=1)
    never.set()
    assert time.monotonic() - started < IN_TIME_SECONDS
    assert (hanging.level, hanging.remedy, answering.level) == (Level.UNKNOWN, "look", Level.FINE)


def test_a_check_that_is_broken_says_so_and_takes_no_other_with_it() -> None:
    which = (
        Check("broken", lambda: Line("broken", Level.FINE, str(1 / 0))),
        Check("answers", lambda: Line("answers", Level.FINE, "here")),
    )
    assert [line.level for line in health.look(which, seconds=PATIENCE_SECONDS)] == [Level.UNKNOWN, Level.FINE]


@pytest.mark.django_db(transaction=True)
def test_health_leaves_no_connection_behind(broker: BrokerHandle) -> None:
    _asked()
    for lane in [thread for thread in threading.enumerate() if thread.name == "health"]:
        lane.join(PATIENCE_SECONDS)
    sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'relivchats health'"

    def left() -> int:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return int(cursor.fetchone()[0])

    # A server process ends a moment after its client has gone.
    eventually(lambda: not left())


@pytest.mark.django_db(transaction=True)
def test_a_frozen_database_is_told_in_time(broker: BrokerHandle, postgres: ServerHandle) -> None:
    with postgres.paused():
        lines, seconds = _asked(seconds=3)
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
def test_a_frozen_broker_is_told_in_time(broker: BrokerHandle) -> None:
    with broker.paused():
        lines, seconds = _asked(seconds=PATIENCE_SECONDS)
    assert seconds < PATIENCE_SECONDS / 2
    assert lines["broker"].level is Level.CRITICAL
    assert lines["database"].level is Level.FINE


@pytest.mark.django_db(transaction=True)
def test_a_ledger_too_slow_to_audit_is_told_from_its_latest_full_audit(broker: BrokerHandle) -> None:
    rows.person()
    with psycopg.connect(database_url(connection.settings_dict["NAME"])) as other:
        other.execute("LOCK TABLE credit_transactions IN ACCESS EXCLUSIVE MODE")
        lines, seconds = _asked(seconds=PATIENCE_SECONDS)
        assert lines["ledger"].level is Level.UNKNOWN
        assert seconds < IN_TIME_SECONDS
    ledger.full_audit()
    with psycopg.connect(database_url(connection.settings_dict["NAME"])) as other:
        other.execute("LOCK TABLE credit_transactions IN ACCESS EXCLUSIVE MODE")
        assert _asked(seconds=PATIENCE_SECONDS)[0]["ledger"].level is Level.FINE
        LedgerAudit.objects.update(broken=["1"])
        assert _asked(seconds=PATIENCE_SECONDS)[0]["ledger"].level is Level.CRITICAL


@pytest.mark.usefixtures("patient")
@pytest.mark.django_db
@pytest.mark.parametrize(
    ("milliseconds", "age", "level"),
    [(9000, 60, Level.FINE), (9000, 100_000, Level.CRITICAL), (200, 60, Level.CRITICAL)],
)
def test_a_ledger_known_to_be_large_is_not_asked_again_while_its_audit_is_fresh(
    milliseconds: int, age: int, level: Level
) -> None:
    """A ledger that is broken just now: only who asks sees it."""
    audited = LedgerAudit.objects.create(milliseconds=milliseconds)
    LedgerAudit.objects.filter(pk=audited.pk).update(ended_at=Now() - timedelta(seconds=age))
    Wallet.objects.filter(pk=rows.person().wallet.pk).update(balance=7)
    assert checks.ledger.clean().level is level


@pytest.mark.usefixtures("patient")
@pytest.mark.django_db
def test_of_a_large_ledger_health_reads_what_changed_since_the_latest_audit() -> None:
    wallet = rows.person().wallet
    LedgerAudit.objects.create(milliseconds=9000, settled_at=clock.now(), settled_coins=wallet.balance)
    assert checks.ledger.clean().level is Level.FINE
    assert "what changed since is clean" in checks.ledger.clean().text
    Wallet.objects.filter(pk=wallet.pk).update(balance=7)
    assert checks.ledger.clean().level is Level.CRITICAL


@pytest.mark.usefixtures("patient")
@pytest.mark.django_db
def test_what_the_latest_full_audit_found_stays_told_until_one_finds_it_mended() -> None:
    coins = rows.person().wallet.balance
    LedgerAudit.objects.create(milliseconds=9000, settled_at=clock.now(), settled_coins=coins)
    LedgerAudit.objects.create(milliseconds=9000, broken=["3"])
    LedgerAudit.objects.create(milliseconds=9, complete=False)
    assert checks.ledger.clean().level is Level.CRITICAL


@pytest.mark.usefixtures("patient")
@pytest.mark.django_db(transaction=True)
def test_audits_of_what_changed_go_on_from_one_another() -> None:
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
def test_all_invariants_together_get_a_second_no_more() -> None:
    started = time.monotonic()
    with psycopg.connect(database_url(connection.settings_dict["NAME"])) as other:
        other.execute("LOCK TABLE credit_transactions IN ACCESS EXCLUSIVE MODE")
        checks.ledger.clean()
    assert time.monotonic() - started < IN_TIME_SECONDS


@pytest.mark.usefixtures("patient")
@pytest.mark.django_db(transaction=True)
def test_health_exits_by_its_worst_line_and_prints_json(broker: BrokerHandle) -> None:
    printed = StringIO()
    with pytest.raises(SystemExit) as left:
        call_command("health", json=True, stdout=printed)
    assert left.value.code == 2, "no worker is alive"
    answer = json.loads(printed.getvalue())
    assert answer["level"] == "critical"
    assert [line["name"] for line in answer["lines"]] == [check.name for check in checks.ALL]
    assert all(line["remedy"] for line in answer["lines"] if line["level"] != "fine")


@pytest.mark.usefixtures("patient")
@pytest.mark.django_db(transaction=True)
def test_http_health_tells_strangers_a_level_and_staff_the_lines(broker: BrokerHandle, client: Client) -> None:
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
def test_http_health_fails_and_looks_at_most_every_ten_seconds(broker: BrokerHandle, client: Client) -> None:
    answer = client.get("/health")
    assert (answer.status_code, answer.json()) == (503, {"status": "fail"})
    rows.everything_alive()
    assert client.get("/health").status_code == 503, "the answer of a moment ago"
    health.forget()
    assert client.get("/health").status_code == 200


@pytest.mark.usefixtures("patient")
@pytest.mark.django_db(transaction=True)
def test_the_pool_page_holds_numbers_only(client: Client) -> None:
    answer = client.get("/health/db-pool")
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"status", "pool", "database"}
    assert 0 < body["database"]["used"] < body["database"]["allowed"]


def test_the_front_door_leads_to_the_api_s_pages(client: Client) -> None:
    assert client.get("/")["Location"] == "/api/docs"


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready", "/health/db-pool"])
def test_health_pages_are_read_only(client: Client, path: str) -> None:
    assert client.post(path).status_code == 405
