"""Rehearsed failures of `./dev up`: the cause is named, the printed remedy is run as printed, and health is fine."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import psutil
import psycopg
import pytest

from relivchats.servers import APPLICATION_ROLE
from relivchats.supervisor import Child
from tests.processes import PATIENCE_SECONDS, REPOSITORY, eventually
from tests.stack.terminal import Up, environment, manage

pytestmark = pytest.mark.slow

#: Fine now, but their first value takes a while after a restart.
_SETTLING = {"canary"}


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One stack for all rehearsals: each leaves it healthy. Short limits, so that nobody waits for half a minute."""
    stack = Up(tmp_path_factory.mktemp("rehearsal") / "data", HEALTH_LOCK_SECONDS="1", HEALTH_QUERY_SECONDS="2")
    stack.wait_until_ready()
    yield stack
    stack.stop()


def look(up: Up) -> tuple[int, dict[str, Any]]:
    """Return the exit status of `health --json` and its document, which is all that it prints on stdout."""
    limits = {"HEALTH_LOCK_SECONDS": "1", "HEALTH_QUERY_SECONDS": "2"}
    done = manage(up.directory, "health", "--json", **limits)
    assert "Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout)


def line_of(document: dict[str, Any], name: str) -> dict[str, Any]:
    (line,) = [line for line in document["lines"] if line["name"] == name]
    return dict(line)


def wait_for(up: Up, name: str, level: str, words: str = "") -> tuple[int, dict[str, Any]]:
    """Wait until the line has the level and the words. Return the exit status and the document."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        status, document = look(up)
        line = line_of(document, name)
        if line["level"] == level and words in line["text"]:
            return status, document
        assert time.monotonic() < deadline, document


def run_literally(remedy: str) -> str:
    """Run a remedy in a shell, as an operator pastes it. Return what it printed."""
    done = subprocess.run(
        ["sh", "-c", remedy],
        cwd=REPOSITORY,
        env=environment(REPOSITORY / "var"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, (remedy, done.stdout, done.stderr)
    return done.stdout


def expect_fine(up: Up) -> None:
    """Wait until every line is fine; recovery of what was late may take a moment."""
    last: list[dict[str, Any]] = []

    def fine() -> bool:
        status, document = look(up)
        last[:] = [line for line in document["lines"] if line["level"] != "fine"]
        return status == 0 or {line["name"] for line in last} <= _SETTLING

    eventually(fine, because=lambda: f"{last}")


def freeze(up: Up, part: str) -> list[int]:
    """Stop a part with all processes that it started. Return their ids."""
    process = psutil.Process(up.pid(part))
    family = [process, *process.children(recursive=True)]
    for each in family:
        each.suspend()
    return [each.pid for each in family]


@pytest.mark.parametrize(
    ("part", "check", "words"),
    [
        ("worker", "workers", "is frozen"),
        ("beat", "beat", "is frozen"),
        ("web", "web", "is frozen"),
        ("valkey", "broker", "is frozen"),
        ("postgres", "database", "is frozen"),
    ],
)
def test_a_frozen_part_is_the_root_cause_and_its_remedy_replaces_it(up: Up, part: str, check: str, words: str) -> None:
    frozen = freeze(up, part)
    status, document = wait_for(up, check, "critical", words)
    assert status == 2
    line = line_of(document, check)
    assert line["cause"] == ""
    assert line["remedy"] == f"RELIVCHATS_DATA={shlex.quote(str(up.directory))} ./dev manage workers --restart {part}"
    if part != "web":
        # Beat's canary is not late yet, so only some lines follow at once.
        assert {each["cause"] for each in document["lines"]} <= {"", check}
    run_literally(line["remedy"])
    eventually(lambda: up.pid(part) not in frozen)
    expect_fine(up)


def test_two_beats_are_reported_and_the_remedy_stops_the_one_that_was_not_started_by_up(up: Up) -> None:
    first = up.pid("beat")
    second = Child(
        name="second-beat",
        command=[
            sys.executable,
            "-m",
            "celery",
            "-A",
            "relivchats",
            "beat",
            "--schedule",
            f"{up.directory}/run/second",
        ],
        run=up.directory / "run",
        log=up.directory / "logs" / "second-beat.log",
        environment=environment(up.directory),
        cwd=REPOSITORY,
        stop_signals=[(signal.SIGTERM, PATIENCE_SECONDS)],
    )
    second.command = [*second.command, "--pidfile="]
    second.start()
    try:
        status, document = wait_for(up, "beat", "warning", "2 run")
        assert status == 1
        run_literally(line_of(document, "beat")["remedy"])
        assert second.process
        second.process.wait(PATIENCE_SECONDS)
    finally:
        second.stop()
    expect_fine(up)
    assert up.pid("beat") == first


@contextlib.contextmanager
def connected(up: Up, *, name: str, number: int = 1, owner: bool = False) -> Iterator[list[psycopg.Connection]]:
    """Connect to the database of the stack as a client called `name`, up to `number` times."""
    port = int((up.directory / "run" / "postgres.port").read_text())
    role, key = ("relivchats", "postgres.password") if owner else (APPLICATION_ROLE, "postgres-application.password")
    password = (up.directory / "keys" / key).read_text()
    url = f"postgresql://{role}:{password}@127.0.0.1:{port}/relivchats"
    sessions = []
    try:
        with contextlib.suppress(psycopg.OperationalError):
            sessions += [psycopg.connect(url, application_name=name) for _ in range(1)]
            while len(sessions) < number:
                sessions.append(psycopg.connect(url, application_name=name))
        yield sessions
    finally:
        for session in sessions:
            with contextlib.suppress(psycopg.Error):
                session.close()


def test_at_the_connection_limit_the_holder_is_named_and_the_remedy_frees_its_connections(up: Up) -> None:
    with connected(up, name="a report; it's slow", number=200) as held:
        assert len(held) < 100
        status, document = wait_for(up, "database", "critical", "connection limit")
        line = line_of(document, "database")
        assert status == 2
        assert f"{len(held)} by a report; it's slow" in line["text"]
        assert document["headline"].startswith("root cause: database: Postgres is at its connection limit")
        waiting = [each for each in document["lines"] if each["cause"] == "database"]
        assert len(waiting) > 10
        assert not any(each["remedy"] for each in waiting)
        assert "idle connections of a report" in run_literally(line["remedy"])
        expect_fine(up)


def test_a_locked_table_is_the_root_cause_of_what_waits_for_it_and_the_remedy_ends_the_session(up: Up) -> None:
    with connected(up, name="psql", owner=True) as (session,):
        session.execute("LOCK TABLE coin_reservations")
        pid = session.info.backend_pid
        status, document = wait_for(up, "queries", "critical", "coin_reservations locked")
        assert status == 2
        line = line_of(document, "queries")
        assert f"pid {pid} (psql), idle in transaction" in line["text"]
        assert line_of(document, "reservations")["cause"] == "queries"
        run_literally(line["remedy"])
        expect_fine(up)


def test_a_long_statement_is_shown_by_its_shape_and_the_remedy_cancels_it(up: Up) -> None:
    with connected(up, name="psql") as (session,):
        session.autocommit = True
        running = session.pgconn
        running.send_query(b"SELECT pg_sleep(600), 'a private text'")
        _, document = wait_for(up, "queries", "warning", "SELECT pg_sleep(?), ?")
        assert "private" not in json.dumps(document)
        run_literally(line_of(document, "queries")["remedy"])
        expect_fine(up)


def test_a_restarted_postgres_is_fine_again_without_an_operator(up: Up) -> None:
    os.kill(up.pid("postgres"), signal.SIGKILL)
    status, document = look(up)
    assert status in (0, 2), document
    expect_fine(up)


def test_a_command_with_json_prints_nothing_else_on_stdout(up: Up) -> None:
    done = manage(up.directory, "jobs", "--recover", "--reason", "rehearsal", "--json")
    assert json.loads(done.stdout)["title"] == "Recovered"
    assert '"event": "recover"' in done.stderr


def test_when_nothing_runs_health_says_so_and_starts_nothing(up: Up) -> None:
    assert up.stop() == 0
    status, document = look(up)
    line = line_of(document, "installation")
    assert (status, line["text"]) == (2, "nothing is running here")
    assert line["remedy"].endswith("./dev up")
    assert up.processes() == []
