"""Operators see who is connected to Postgres and who waits for whom, without values, and can end a session."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import psycopg
import pytest
from django.core.management import CommandError
from django.db import connection

from ops import database, samples, sessions, tables, tasks
from relivchats.staff.commands import EXIT_REFUSED
from relivchats.staff.models import AuditEntry
from tests.concurrency import BackgroundCall, is_a_lock_awaited
from tests.ops import rows
from tests.ops.test_commands import as_json, call
from tests.ops.test_samples import add
from tests.processes import database_url, eventually

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "swordfish"


@contextmanager
def another_session(*, name: str) -> Iterator[psycopg.Connection]:
    session = psycopg.connect(f"{database_url(connection.settings_dict['NAME'])}?application_name={name}")
    try:
        yield session
    finally:
        session.close()


def test_a_blocker_is_named_with_the_command_that_ends_it_and_no_value_is_shown() -> None:
    wallet = rows.person().wallet
    statement = f"UPDATE wallets SET balance = balance WHERE id = {wallet.pk} AND '{SECRET}' <> ''"
    with another_session(name="import") as holder, another_session(name="report") as waiter:
        holder.execute(statement)
        waiting = BackgroundCall(lambda: waiter.execute(statement))
        eventually(is_a_lock_awaited)
        pid = holder.info.backend_pid
        status, answer = as_json("database")
        blocker = next(line for line in answer["lines"] if line["name"] == "blocker")
        assert (status, f"pid {pid} (import)" in blocker["text"]) == (1, True)
        assert blocker["remedy"].endswith(f"database --kill {pid}")
        listed = {row["pid"]: row for row in answer["rows"]}
        assert listed[waiter.info.backend_pid]["waits for"] == str(pid)
        assert (
            next(line["text"] for line in answer["lines"] if line["name"] == "import") == "1: 1 idle in a transaction"
        )
        assert SECRET not in str(answer)
        assert as_json("database", "--long", "3600")[1]["rows"] == []
        _, killed = as_json("database", "--kill", str(pid), "--reason", "it blocks")
        assert killed["level"] == "fine"
        assert not isinstance(waiting.result(), Exception), "who waited goes on"
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.object_id, entry.reason) == ("close session", str(pid), "it blocks")


def test_a_statement_is_cancelled_and_its_session_stays() -> None:
    with another_session(name="report") as session:
        running = BackgroundCall(lambda: session.execute("SELECT pg_sleep(60)"))
        pid = session.info.backend_pid
        eventually(lambda: str(pid) in call("database")[1] and "pg_sleep" in call("database")[1])
        assert as_json("database", "--cancel", str(pid))[0] == 0
        assert isinstance(running.result(), psycopg.errors.QueryCanceled)
        session.rollback()
        assert session.execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(CommandError, match="There is no session"):
        call("database", "--cancel", "1")


def test_the_application_says_what_its_role_cannot_see_or_end() -> None:
    with connection.cursor() as cursor:
        blindness = database.find_blindness(cursor)
    assert blindness.startswith("relivchats_app can end its own sessions only")


def test_an_application_without_a_separate_owner_ends_its_own_sessions(settings: object) -> None:
    settings.DATABASE_OWNER = None  # type: ignore[attr-defined]
    assert any(line.name == "rights" for line in sessions.report().lines)
    with another_session(name="report") as session:
        assert database.signal(session.info.backend_pid, end=False)


@pytest.mark.owner
def test_tables_are_listed_with_their_size_growth_and_unused_indexes() -> None:
    for minutes, size in ((3, 1_000_000), (2, 2_000_000), (1, 3_000_000)):
        add(size, minutes_ago=minutes, name="database_bytes")
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE large AS SELECT number FROM generate_series(1, 100000) AS number")
        try:
            cursor.execute("CREATE INDEX large_number ON large (number)")
            cursor.execute("ANALYZE large")
            _, answer = as_json("database", "--tables")
        finally:
            cursor.execute("DROP TABLE large")
    lines = {line["name"]: line["text"] for line in answer["lines"]}
    # Other tables of the test database may lack a vacuum.
    assert {line["level"] for line in answer["lines"] if line["name"] in ("size", "unused index")} == {"fine"}
    assert "large_number on large" in lines["unused index"]
    assert "+1.4 GB a day" in lines["size"]
    assert "large" in {row["table"] for row in answer["rows"]}
    assert samples.slope_per_hour("database_bytes", timedelta(days=1)) == pytest.approx(60_000_000)


def test_a_large_table_that_is_read_as_a_whole_lacks_an_index_and_one_with_many_dead_rows_a_vacuum() -> None:
    def table(**columns: int) -> tables.TableSize:
        counts = {"rows": 50_000, "dead": 0, "scans": 200, "rows_scanned": 10_000_000, "index_scans": 5, **columns}
        return tables.TableSize(name="t", bytes=1, vacuumed_at=None, **counts)

    assert table().lacks_an_index
    for fine in ({"rows": 500}, {"scans": 5}, {"index_scans": 500}, {"rows_scanned": 2000}):
        assert not table(**fine).lacks_an_index
    assert table(dead=20_000).is_bloated
    assert not table(dead=5_000).is_bloated


def test_what_was_pruned_is_reported_by_table() -> None:
    assert as_json("database", "--retention")[0] == 1, "no run yet"
    rows.heartbeat("worker", age=timedelta(hours=2))
    add(1, minutes_ago=60 * 24 * 40)
    tasks.prune()
    status, answer = as_json("database", "--retention")
    deleted = {row["table"]: row["deleted last"] for row in answer["rows"]}
    assert (status, deleted["heartbeats"], deleted["samples"], deleted["error_events"]) == (0, 1, 1, 0)
    assert {row["table"]: row["deleted in a day"] for row in answer["rows"]} == deleted


def test_more_connections_than_the_application_may_have_are_said_to_use_reserved_slots() -> None:
    source = database.Source("psql", 12, 12)
    assert database.Connections(94, 94, (source,)).describe() == "94 of 94; 12 by psql"
    assert database.Connections(95, 94, (source,)).describe() == "94 of 94, and 1 in reserved slots; 12 by psql"


def test_idle_connections_of_a_source_that_does_not_exist_are_refused_with_those_that_do() -> None:
    with another_session(name="import"):
        with pytest.raises(CommandError, match=r"^There is no source nobody\. Connected are: .*import") as refusal:
            call("database", "--close-idle", "nobody")
        assert refusal.value.returncode == EXIT_REFUSED
    assert not AuditEntry.objects.exists()
