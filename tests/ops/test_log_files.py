"""Logs stay small, operators see their last lines, and slow queries are logged without values."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from ops import log_files
from relivchats import embedded, installation, supervisor
from relivchats.supervisor import Child
from tests.canary import unique
from tests.processes import eventually

WRITER = """
import pathlib, time
print(*(f"line {number}" for number in range(1000)), sep="\\n", flush=True)
while not pathlib.Path("go").exists():
    time.sleep(0.01)
print("line 1000", flush=True)
time.sleep(60)
"""


def test_the_log_of_a_running_process_is_rotated_without_losing_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "LOG_LIMIT_BYTES", 1000)
    child = Child(
        name="writer",
        command=[sys.executable, "-c", WRITER],
        run=tmp_path,
        log=tmp_path / "writer.log",
        environment=dict(os.environ),
        cwd=tmp_path,
        stop_signals=[(signal.SIGKILL, 5)],
    )
    child.start()
    try:
        eventually(lambda: child.log.read_text().endswith("line 999\n"))
        child.rotate_log()
        assert child.log.stat().st_size == 0
        child.rotate_log()
        (tmp_path / "go").touch()
        eventually(lambda: child.log.read_bytes() == b"line 1000\n")
        assert [f"line {number}" for number in range(1001)] == log_files.last_lines(child.log, lines=2000)
    finally:
        child.stop()


def test_a_log_on_a_full_disk_is_emptied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(supervisor, "LOG_LIMIT_BYTES", 1)
    monkeypatch.setattr(shutil, "copyfileobj", fill)
    log = tmp_path / "web.log"
    log.write_text("old lines")
    Child("web", [], tmp_path, log, {}, tmp_path, []).rotate_log()
    assert [path.name for path in tmp_path.iterdir()] == ["web.log"]
    assert log.read_text() == ""


@pytest.fixture
def web_log() -> Path:
    """A log of the web server with a line of two hours ago and one of now, the first in the file rotated to."""
    log = embedded.data_directory() / "logs" / "web.log"
    old, new = datetime.now(UTC) - timedelta(hours=2), datetime.now(UTC)
    log.with_name("web.log.1").write_text(f'{{"at": "{old.isoformat()}", "event": "old"}}\n  of a traceback\n')
    log.write_text(f'{{"at": "{new.isoformat()}", "event": "new ERROR"}}\n')
    return log


def printed(*arguments: str) -> str:
    out = io.StringIO()
    call_command("logs", *arguments, stdout=out)
    return out.getvalue()


def test_the_last_lines_are_shown_and_filtered(web_log: Path) -> None:
    assert len(printed("web").splitlines()) == 3
    assert "new" in printed("web", "--lines", "1")
    assert "old" not in printed("web", "--since", "1h")
    assert "traceback" not in printed("web", "--since", "1h")
    assert "traceback" in printed("web", "--since", "3h")
    assert len(printed("web", "--grep", "error|traceback").splitlines()) == 2
    assert len(json.loads(printed("web", "--json"))["web"]) == 3
    assert "postgres  " in printed("web", "postgres")
    with pytest.raises(CommandError, match="none of web, worker"):
        printed("database")


def test_new_lines_are_followed_also_after_a_rotation(web_log: Path) -> None:
    lines = log_files.follow({"web": web_log}, grep="")
    with web_log.open("a") as log:
        log.write("first\nhalf of a line")
    assert next(lines) == ("web", "first")
    web_log.write_text("after the rotation\n")
    assert next(lines) == ("web", "after the rotation")


def test_in_containers_the_command_for_docker_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELIVCHATS_INSTALLATION", installation.Kind.COMPOSE)
    assert printed("worker", "--lines", "50", "--follow", "--grep", "failed after|ERROR") == (
        "docker-compose logs --tail=50 -f celery_worker | grep -iE 'failed after|ERROR'\n"
    )
    assert printed("--since", "1h").startswith(
        "docker-compose logs --tail=100 --since=60m relivchats-api celery_worker"
    )


@pytest.mark.django_db
def test_a_fast_query_is_not_logged(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings.SLOW_QUERY_MS = 10_000
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    assert not caplog.records


@pytest.mark.django_db
def test_a_slow_query_is_logged_with_its_shape_and_caller(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    secret = unique()
    settings.SLOW_QUERY_MS = 5
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT pg_sleep(0.02), '{secret}', %s", [secret])
    (record,) = caplog.records
    assert record.message == "slow query"
    assert record.__dict__["shape"] == "SELECT pg_sleep(?), ?, %s"
    assert record.__dict__["where"].startswith("tests.ops.test_log_files:test_a_slow_query")
    assert record.__dict__["milliseconds"] >= 20
    assert secret not in str(record.__dict__)
