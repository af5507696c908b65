"""Rehearsed failures of Postgres and the broker: named, shown on the overview, and fixed by the printed remedy."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator

import pytest
import redis

from relivchats.servers import HOST
from tests.processes import eventually
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


def test_a_full_broker_is_reported_the_worker_survives_it_and_what_waited_is_delivered(rehearsal: Rehearsal) -> None:
    with frozen_worker(rehearsal) as worker:
        client, job = rehearsal.unlock()
        with broker(rehearsal) as server:
            server.config_set("maxmemory", "1mb")
    status, document = rehearsal.wait_for("broker", "critical", "is full: ")
    assert status == 2
    assert "nothing is lost" in line_of(document, "broker")["text"]
    rehearsal.expect_on_overview("broker", "it takes no more messages")
    # Unlocks go on.
    other_client, other_job = rehearsal.unlock()
    assert rehearsal.pid("worker") == worker
    run_literally(line_of(document, "broker")["remedy"])
    rehearsal.expect_delivered(client, job)
    rehearsal.expect_delivered(other_client, other_job)
    rehearsal.expect_fine()


def test_after_a_flush_of_the_broker_what_waited_is_delivered_without_an_operator(rehearsal: Rehearsal) -> None:
    with frozen_worker(rehearsal):
        client, job = rehearsal.unlock()
        with broker(rehearsal) as server:
            eventually(lambda: server.llen("indexing") + server.llen("insights") > 0)
            server.flushall()
    rehearsal.expect_delivered(client, job)
    rehearsal.expect_fine()


@contextlib.contextmanager
def frozen_worker(rehearsal: Rehearsal) -> Iterator[int]:
    """Stop the worker for the block, so that messages wait. Yield its process id."""
    pid = rehearsal.pid("worker")
    os.kill(pid, signal.SIGSTOP)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGCONT)


def broker(rehearsal: Rehearsal) -> redis.Redis:
    port = int((rehearsal.directory / "run" / "valkey.port").read_text())
    password = (rehearsal.directory / "keys" / "valkey.password").read_text()
    return redis.Redis(host=HOST, port=port, password=password)
