"""Processes that start, were replaced, or could not write because the database was away, are not reported as dead."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.db.models import DateTimeField, Value

from ops import workers
from ops.checks import processes
from ops.models import Heartbeat
from relivchats import installation
from relivchats.staff.reports import Level, Line
from tests.ops import rows
from tests.processes import eventually

pytestmark = pytest.mark.django_db

HERE = f"worker@{socket.gethostname()[:120]}"


@pytest.fixture
def supervised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """A process that `./dev up` started as its worker and that has no heartbeat yet."""
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("RELIVCHATS_DATA", str(tmp_path))
    monkeypatch.setattr(installation, "kind", lambda: installation.Kind.DEV)
    monkeypatch.setattr(installation, "is_up", lambda: True)
    process = subprocess.Popen([sys.executable, "-c", "input() # relivchats"], stdin=subprocess.PIPE)
    (tmp_path / "run" / "worker.pid").write_text(str(process.pid))
    yield process
    process.kill()
    process.wait()
    assert process.stdin
    process.stdin.close()


def _killed_before() -> str:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return rows.heartbeat("worker", age=timedelta(seconds=47), name=f"{HERE}:{ended.pid}").name


def test_a_worker_that_is_starting_is_waited_for_and_the_one_before_it_is_not_named(
    supervised: subprocess.Popen[bytes],
) -> None:
    killed = _killed_before()
    line = processes.workers()
    assert (line.level, line.remedy) == (Level.WARNING, workers.WAIT)
    assert f"{HERE}:{supervised.pid} is starting since " in line.text
    assert killed not in line.text
    assert line.stops_others


@pytest.mark.parametrize("state", ["silent", "frozen"])
def test_a_worker_that_is_starting_is_left_alone_although_another_one_failed(
    supervised: subprocess.Popen[bytes], state: str
) -> None:
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        other.send_signal(signal.SIGSTOP)
        eventually(lambda: workers.local_state(other.pid) == "frozen")
        name = f"{HERE}:{other.pid}" if state == "frozen" else "worker@elsewhere:7"
        rows.heartbeat("worker", age=timedelta(minutes=5), name=name)
        assert {each.state for each in workers.list_processes("worker")} == {"starting", state}
        line = processes.workers()
        assert (line.level, line.remedy) == (Level.WARNING, workers.WAIT)
    finally:
        other.kill()
        other.communicate()


def test_a_worker_that_is_frozen_while_it_starts_is_named_and_restarted(supervised: subprocess.Popen[bytes]) -> None:
    killed = _killed_before()
    supervised.send_signal(signal.SIGSTOP)
    eventually(lambda: workers.local_state(supervised.pid) == "frozen")
    line = processes.workers()
    assert (line.level, line.remedy) == (Level.CRITICAL, "manage.py workers --restart worker")
    assert f"{HERE}:{supervised.pid} is frozen" in line.text
    assert killed not in line.text


def test_a_start_that_takes_too_long_hangs(
    supervised: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "START_SECONDS", 0)
    line = processes.workers()
    assert (line.level, line.remedy) == (Level.CRITICAL, "manage.py workers --restart worker")
    assert f"{supervised.pid} hangs: no heartbeat for" in line.text


def _old_heartbeat(supervised: subprocess.Popen[bytes], *, database_up_for: timedelta) -> Line:
    """Return the line of a worker that wrote its heartbeat a minute ago, if the database started so long ago."""
    rows.heartbeat("worker", age=timedelta(minutes=1), name=f"{HERE}:{supervised.pid}")
    with connection.cursor() as cursor:
        cursor.execute("SELECT now()")
        now = cursor.fetchone()[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "DATABASE_STARTED_AT", Value(now - database_up_for, DateTimeField()))
        return processes.workers()


@pytest.mark.parametrize(("seconds", "level"), [(5, Level.FINE), (3600, Level.CRITICAL)])
def test_a_heartbeat_that_the_database_could_not_take_does_not_count_as_missing(
    supervised: subprocess.Popen[bytes], seconds: int, level: Level
) -> None:
    line = _old_heartbeat(supervised, database_up_for=timedelta(seconds=seconds))
    assert line.level is level, line.text


def test_a_restart_waits_until_the_new_process_has_a_heartbeat(
    supervised: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def is_alive(part: str) -> bool:
        asked.append(True)
        return len(asked) > 1

    monkeypatch.setattr(installation, "supervisors", lambda: {"up": os.getpid()})
    monkeypatch.setattr(workers, "_answers", is_alive)
    monkeypatch.setattr(workers, "_end", lambda *_, **__: (tmp_path / "run" / "worker.pid").write_text("1") or "ended")
    assert workers.restart("worker").level is Level.FINE
    assert len(asked) == 2
    monkeypatch.setattr(workers, "_answers", lambda part: False)
    (line,) = workers.restart("worker", timeout_seconds=0).lines
    assert (line.level, line.remedy) == (Level.WARNING, workers.WAIT)
    assert "is not alive yet" in line.text


def test_a_part_that_keeps_dying_stays_a_warning_after_a_restart_and_its_remedy_shows_its_log(
    supervised: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation, "supervisors", lambda: {"up": os.getpid()})
    monkeypatch.setattr(workers, "_answers", lambda part: True)
    monkeypatch.setattr(workers, "_end", lambda *_, **__: (tmp_path / "run" / "worker.pid").write_text("1") or "ended")
    (tmp_path / "run" / "worker.deaths").write_text(f"{time.time()}\n" * processes.MIN_DEATHS)
    line = processes.supervisor()
    assert (line.level, line.value) == (Level.WARNING, processes.MIN_DEATHS)
    assert line.remedy == "manage.py logs worker --lines 50"
    assert workers.restart("worker").level is Level.FINE
    assert processes.supervisor().level is Level.WARNING, "a new start is no correction"


def test_a_worker_answers_once_it_has_a_heartbeat(supervised: subprocess.Popen[bytes]) -> None:
    assert not Heartbeat.objects.exists()
    assert [each.state for each in workers.list_processes("worker")] == ["starting"]
    rows.heartbeat("worker", name=f"{HERE}:{supervised.pid}")
    assert [each.state for each in workers.list_processes("worker")] == ["alive"]
