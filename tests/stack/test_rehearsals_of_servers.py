"""Rehearsed failures of Postgres and the broker: named, shown on the overview, and fixed by the printed remedy."""

from __future__ import annotations

import json
import os
import signal

import pytest

from tests.stack.rehearsal import Rehearsal, connected, line_of, run_literally

pytestmark = pytest.mark.slow


def test_at_the_connection_limit_the_holder_is_named_and_the_remedy_frees_its_connections(rehearsal: Rehearsal) -> None:
    with connected(rehearsal, name="a report; it's slow", number=200) as held:
        assert len(held) < 100
        status, document = rehearsal.wait_for("database", "critical", "connection limit")
        line = line_of(document, "database")
        assert status == 2
        assert f"{len(held)} by a report; it's slow" in line["text"]
        assert document["headline"].startswith("root cause: database: Postgres is at its connection limit")
        waiting = [each for each in document["lines"] if each["cause"] == "database"]
        assert len(waiting) > 10
        assert not any(each["remedy"] for each in waiting)
        assert "idle connections of a report" in run_literally(line["remedy"])
        rehearsal.expect_fine()


def test_a_locked_table_is_the_root_cause_of_what_waits_for_it_and_the_remedy_ends_the_session(
    rehearsal: Rehearsal,
) -> None:
    with connected(rehearsal, name="psql", owner=True) as (session,):
        session.execute("LOCK TABLE coin_reservations")
        pid = session.info.backend_pid
        status, document = rehearsal.wait_for("queries", "critical", "coin_reservations locked")
        assert status == 2
        line = line_of(document, "queries")
        assert f"pid {pid} (psql), idle in transaction" in line["text"]
        assert line_of(document, "reservations")["cause"] == "queries"
        rehearsal.expect_on_overview("queries", "it keeps coin_reservations locked")
        run_literally(line["remedy"])
        rehearsal.expect_fine()


def test_a_long_statement_is_shown_by_its_shape_and_the_remedy_cancels_it(rehearsal: Rehearsal) -> None:
    with connected(rehearsal, name="psql") as (session,):
        session.autocommit = True
        running = session.pgconn
        running.send_query(b"SELECT pg_sleep(600), 'a private text'")
        _, document = rehearsal.wait_for("queries", "warning", "SELECT pg_sleep(?), ?")
        assert "private" not in json.dumps(document)
        rehearsal.expect_on_overview("queries", "SELECT pg_sleep(?), ?")
        assert "private" not in rehearsal.overview()
        run_literally(line_of(document, "queries")["remedy"])
        rehearsal.expect_fine()


def test_a_restarted_postgres_is_fine_again_without_an_operator(rehearsal: Rehearsal) -> None:
    os.kill(rehearsal.pid("postgres"), signal.SIGKILL)
    status, document = rehearsal.look()
    assert status in (0, 2), document
    rehearsal.expect_fine()
