"""Rehearsed failures of processes: the cause is named, the printed remedy is run as printed, and health is fine."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import sys

import psutil
import pytest

from ops.workers import local_state
from relivchats.supervisor import Child
from tests.processes import PATIENCE_SECONDS, REPOSITORY, eventually
from tests.stack.rehearsal import Rehearsal, family, freeze, line_of, run_literally
from tests.stack.terminal import environment

pytestmark = pytest.mark.slow


def test_a_worker_that_keeps_dying_is_reported_with_the_command_that_shows_why(rehearsal: Rehearsal) -> None:
    for _ in range(3):
        kill_and_wait(rehearsal, "worker")
    status, document = rehearsal.wait_for("supervisor", "warning", "worker died 3 times within 10 minutes")
    assert status == 1
    line = line_of(document, "supervisor")
    data = shlex.quote(str(rehearsal.directory))
    assert line["remedy"] == f"RELIVCHATS_DATA={data} ./dev manage logs worker --lines 50"
    rehearsal.expect_on_overview("supervisor", "worker died 3 times")
    assert run_literally(line["remedy"])
    assert rehearsal.manage("workers", "--restart", "worker").returncode == 0
    assert line_of(rehearsal.look()[1], "supervisor")["level"] == "warning", "a new start is no correction"
    # As if ten minutes had passed.
    (rehearsal.directory / "run" / "worker.deaths").unlink()
    rehearsal.expect_fine()


@pytest.mark.parametrize(
    ("part", "check"),
    [("worker", "workers"), ("beat", "beat"), ("web", "web"), ("valkey", "broker"), ("postgres", "database")],
)
def test_a_frozen_part_is_the_root_cause_and_its_remedy_replaces_it(
    rehearsal: Rehearsal, part: str, check: str
) -> None:
    frozen = freeze(rehearsal, part)
    status, document = rehearsal.wait_for(check, "critical", "is frozen")
    assert status == 2
    line = line_of(document, check)
    assert line["cause"] == ""
    data = shlex.quote(str(rehearsal.directory))
    assert line["remedy"] == f"RELIVCHATS_DATA={data} ./dev manage workers --restart {part}"
    if part != "web":
        # Beat's canary is not late yet, so only some lines follow at once.
        assert {each["cause"] for each in document["lines"]} <= {"", check}
    if part != "web":
        rehearsal.expect_on_overview(check, "is frozen")
    run_literally(line["remedy"])
    eventually(lambda: rehearsal.pid(part) not in frozen)
    rehearsal.expect_fine()


@pytest.mark.parametrize(
    ("part", "check", "number", "words"),
    [
        ("worker", "workers", signal.SIGKILL, "no worker is alive"),
        ("beat", "beat", signal.SIGTERM, "due work is not dispatched, and nothing is recovered"),
        ("web", "web", signal.SIGKILL, "no web process is alive"),
        ("valkey", "broker", signal.SIGKILL, "is down: it does not accept connections"),
        ("postgres", "database", signal.SIGKILL, "Postgres is down"),
    ],
)
def test_a_part_that_died_while_nothing_starts_it_again_is_reported_with_what_is_frozen(
    rehearsal: Rehearsal, part: str, check: str, number: signal.Signals, words: str
) -> None:
    keeper = {"valkey": "the keeper of valkey", "postgres": "the keeper of postgres"}.get(part)
    pid = int((rehearsal.directory / "run" / (f"{part}.keeper" if keeper else "up")).read_text().split()[0])
    os.kill(pid, signal.SIGSTOP)
    ended = family(rehearsal, part)
    for each in ended:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.send_signal(number)
    eventually(lambda: all(local_state(each.pid) == "killed" for each in ended))
    status, document = rehearsal.wait_for(check, "critical", words)
    assert status == 2
    assert line_of(document, check)["cause"] == "supervisor"
    line = line_of(document, "supervisor")
    assert line["text"] == f"{keeper or '`up`'} is frozen: what dies is not started again"
    assert document["headline"].startswith(f"root cause: supervisor: {line['text']}")
    if part != "web":
        rehearsal.expect_on_overview(check, words)
        rehearsal.expect_on_overview("supervisor", line["text"])
    assert line["remedy"] == f"kill -CONT {pid}"
    run_literally(line["remedy"])
    rehearsal.expect_fine()


def test_two_beats_are_reported_and_the_remedy_stops_the_one_that_was_not_started_by_up(rehearsal: Rehearsal) -> None:
    first = rehearsal.pid("beat")
    schedule = f"{rehearsal.directory}/run/second"
    second = Child(
        name="second-beat",
        command=[sys.executable, "-m", "celery", "-A", "relivchats", "beat", "--schedule", schedule, "--pidfile="],
        run=rehearsal.directory / "run",
        log=rehearsal.directory / "logs" / "second-beat.log",
        environment=environment(rehearsal.directory),
        cwd=REPOSITORY,
        stop_signals=[(signal.SIGTERM, PATIENCE_SECONDS)],
    )
    second.start()
    try:
        # Its start takes a while.
        status, document = rehearsal.wait_for("beat", "warning", "2 run", within_seconds=PATIENCE_SECONDS)
        assert status == 1
        rehearsal.expect_on_overview("beat", "2 run, one is enough")
        run_literally(line_of(document, "beat")["remedy"])
        assert second.process
        second.process.wait(PATIENCE_SECONDS)
    finally:
        second.stop()
    rehearsal.expect_fine()
    assert rehearsal.pid("beat") == first


def test_a_command_with_json_prints_nothing_else_on_stdout(rehearsal: Rehearsal) -> None:
    done = rehearsal.manage("jobs", "--recover", "--reason", "rehearsal", "--json")
    assert json.loads(done.stdout)["title"] == "Recovered"
    assert '"event": "recover"' in done.stderr
    rehearsal.is_fine = True


def test_when_nothing_runs_health_says_so_and_its_remedy_starts_it_on_the_same_port(rehearsal: Rehearsal) -> None:
    assert rehearsal.stop() == 0
    status, document = rehearsal.look()
    line = line_of(document, "installation")
    assert (status, line["text"]) == (2, "nothing is running here")
    assert rehearsal.processes() == [], "health starts nothing"
    assert line["remedy"].endswith(f"./dev up --port {rehearsal.port}")
    rehearsal.start_again(line["remedy"])
    rehearsal.expect_fine()


def test_when_a_part_died_too_often_everything_stops_and_health_says_why(rehearsal: Rehearsal) -> None:
    while rehearsal.process.poll() is None:
        kill_and_wait(rehearsal, "beat")
    assert "beat died too often. The end of " in rehearsal.output
    status, document = rehearsal.look()
    line = line_of(document, "installation")
    assert (status, line["text"]) == (2, "nothing is running here: beat died too often")
    rehearsal.start_again(line["remedy"])
    assert rehearsal.look()[1]["level"] != "critical"
    rehearsal.expect_fine()


def kill_and_wait(rehearsal: Rehearsal, part: str) -> None:
    """Kill a part, and wait until another process has its place or `up` has given up."""
    pid = rehearsal.pid(part)
    os.kill(pid, signal.SIGKILL)

    def is_replaced() -> bool:
        with contextlib.suppress(OSError, ValueError):
            return rehearsal.pid(part) != pid
        return rehearsal.process.poll() is not None

    eventually(lambda: is_replaced() or rehearsal.process.poll() is not None)
