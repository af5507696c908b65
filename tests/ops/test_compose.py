"""In containers, of a process in another one only its silence is known: what health says, and which rows stay."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now

from ops import database, heartbeats
from ops.checks import processes
from ops.models import Heartbeat
from relivchats import installation
from relivchats.installation import Kind
from relivchats.staff.reports import Level
from tests.ops import rows
from tests.processes import eventually, owner_database_url

pytestmark = pytest.mark.django_db

HOST = socket.gethostname()[:120]
LATE = timedelta(minutes=1)


@pytest.fixture
def compose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "kind", lambda: Kind.COMPOSE)


def test_a_silent_worker_is_replaced_also_if_its_container_was_removed(compose: None) -> None:
    rows.heartbeat("worker", age=LATE, name="worker@3f2a:7")
    line = processes.workers()
    assert (line.level, line.remedy) == (
        Level.CRITICAL,
        "docker-compose restart -t 10 celery_worker; docker-compose up -d celery_worker",
    )


@pytest.mark.parametrize("first", ["3f2a", "4e1b"])
def test_of_two_beats_the_one_that_started_last_is_stopped(compose: None, first: str) -> None:
    for container in ("3f2a", "4e1b"):
        rows.heartbeat("beat", name=f"beat@{container}:7")
    Heartbeat.objects.filter(name=f"beat@{first}:7").update(started_at=Now() - rows.LONG)
    (last,) = {"3f2a", "4e1b"} - {first}
    assert processes.beat().remedy == f"docker stop {last}"


@pytest.mark.parametrize(
    ("age", "is_listening", "level"),
    [
        (timedelta(), False, Level.WARNING),
        (timedelta(), True, Level.CRITICAL),
        (timedelta(minutes=3), False, Level.CRITICAL),
    ],
    ids=["starting", "frozen", "stuck"],
)
def test_a_web_server_that_starts_is_not_called_frozen(
    age: timedelta, is_listening: bool, level: Level, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows.heartbeat("web", name=f"web@{HOST}:{os.getpid()}")
    Heartbeat.objects.update(port=1, started_at=Now() - age)
    monkeypatch.setattr(processes, "connects", lambda port: is_listening)
    line = processes.web()
    assert line.level is level
    assert ("it is starting" in line.remedy) is (level is Level.WARNING)


RUNNING, REMOVED, UNKNOWN = "3f2a00000001", "3f2a00000002", "3f2a00000003"


@pytest.fixture
def name_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server as in containers: it knows the one that runs, not the removed one, and fails for another."""
    resolve = socket.getaddrinfo

    def answer(host: Any, *words: Any, **more: Any) -> Any:
        if host == REMOVED:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if host == UNKNOWN:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return resolve("127.0.0.1" if host == RUNNING else host, *words, **more)

    monkeypatch.setattr(socket, "getaddrinfo", answer)


def test_a_container_runs_if_the_name_server_has_its_id(compose: None, name_server: None) -> None:
    found = {host: installation.has_container(f"worker@{host}:7") for host in (RUNNING, REMOVED, UNKNOWN, "a-laptop")}
    assert found == {RUNNING: True, REMOVED: False, UNKNOWN: None, "a-laptop": None}


def test_without_containers_no_row_is_judged_by_the_name_server(name_server: None) -> None:
    assert installation.has_container(f"worker@{REMOVED}:7") is None


@pytest.fixture
def started(name_server: None) -> Iterator[str]:
    """Start a heartbeat, after rows of a killed process with its name and of other containers. Return its name."""
    thread = heartbeats.HeartbeatThread(Heartbeat.Kind.WORKER, interval_seconds=0.05)
    for name in (thread.name, f"worker@{RUNNING}:7", f"worker@{REMOVED}:7", f"worker@{UNKNOWN}:7"):
        rows.heartbeat("worker", age=LATE, name=name)
    rows.heartbeat("beat", age=LATE, name=f"beat@{REMOVED}:7")
    Heartbeat.objects.update(started_at=Now() - rows.LONG)
    thread.start()
    own = Heartbeat.objects.filter(name=thread.name)
    # What happens after the first heartbeat has happened before the second one.
    eventually(
        lambda: own.filter(beat_at__gt=F("started_at")).exists() and own.filter(beat_at__gt=Now() - LATE).exists()
    )
    yield thread.name
    thread.stop()


@pytest.mark.django_db(transaction=True)
def test_a_process_with_the_name_of_a_killed_one_has_its_own_start_time(started: str) -> None:
    assert Heartbeat.objects.filter(name=started, started_at__gt=Now() - LATE).exists()
    assert Heartbeat.objects.filter(name=f"worker@{REMOVED}:7").exists(), "it is on another machine, not in a container"


@pytest.mark.django_db(transaction=True)
def test_a_process_removes_the_rows_of_its_kind_whose_containers_were_removed_and_no_frozen_one(
    compose: None, started: str
) -> None:
    names = {started, f"worker@{RUNNING}:7", f"worker@{UNKNOWN}:7", f"beat@{REMOVED}:7"}
    assert {*Heartbeat.objects.values_list("name", flat=True)} == names


def _connect(*, name: str) -> psycopg.Connection:
    return psycopg.connect(owner_database_url(str(connection.settings_dict["NAME"])), application_name=name)


def _statement_of(remedy: str) -> str:
    """Return the statement that a shell passes to psql."""
    command = remedy.replace("docker-compose exec postgres psql -U relivchats -c", "printf %s")
    assert command != remedy
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("name", ["", """o'neil "$HOME" `x` \\ !1"""], ids=["without a name", "quotes"])
def test_the_remedy_of_a_full_server_ends_the_connections_of_the_largest_source(compose: None, name: str) -> None:
    with contextlib.ExitStack() as crowd, _connect(name="psql") as operator:
        pids = {crowd.enter_context(_connect(name=name)).info.backend_pid for _ in range(40)}
        (largest, *_) = database.read_connections(operator.cursor()).sources
        assert largest.name == (name or operator.info.user)
        # Without a slot the command itself looks who it is.
        for remedy in (database.limit_remedy([largest]), database.limit_remedy(())):
            # Other tests may connect as this role.
            listed = _statement_of(remedy).replace("count(pg_terminate_backend(pid))", "array_agg(pid)")
            ((source, ending),) = operator.execute(listed.encode()).fetchall()
            assert (source, pids - {*ending}) == (largest.name, set())
        if name:
            assert operator.execute(_statement_of(database.limit_remedy([largest])).encode()).fetchall() == [(name, 40)]


def test_the_remedy_of_a_full_server_ends_neither_itself_nor_processes_of_the_server(compose: None) -> None:
    for name in ("", "psql"):
        with _connect(name=name) as operator, _connect(name=name) as client:
            source = database.Source(name or operator.info.user, 9, 9)
            statement = _statement_of(database.limit_remedy([source])).replace(
                "count(pg_terminate_backend(pid))", "array_agg(pid)"
            )
            ((_, ending),) = operator.execute(statement.encode()).fetchall()
            assert (client.info.backend_pid in ending, operator.info.backend_pid in ending) == (True, False)
    # A role that is no superuser does not see what the processes of the server are.
    for remedy, queries in ((database.limit_remedy([source]), 1), (database.limit_remedy(()), 2)):
        assert _statement_of(remedy).count("WHERE backend_type = 'client backend' AND ") == queries


def test_a_session_of_another_role_is_ended_by_the_superuser(compose: None) -> None:
    with psycopg.connect(owner_database_url(str(connection.settings_dict["NAME"]))) as session:
        session.execute("SELECT 1")
        with connection.cursor() as cursor:
            found = {each.pid: each for each in database.read_sessions(cursor)}
        pid = session.info.backend_pid
        command = f'docker-compose exec postgres psql -U relivchats -c "SELECT pg_terminate_backend({pid})"'
        assert found[pid].remedy == command
