"""Rehearsed failures of processes: the cause is named, the printed remedy is run as printed, and health is fine."""

from __future__ import annotations

import json
import shlex
import signal
import sys

import pytest

from relivchats.supervisor import Child
from tests.processes import PATIENCE_SECONDS, REPOSITORY, eventually
from tests.stack.rehearsal import Rehearsal, freeze, line_of, run_literally
from tests.stack.terminal import environment

pytestmark = pytest.mark.slow


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
def test_a_frozen_part_is_the_root_cause_and_its_remedy_replaces_it(
    rehearsal: Rehearsal, part: str, check: str, words: str
) -> None:
    frozen = freeze(rehearsal, part)
    status, document = rehearsal.wait_for(check, "critical", words)
    assert status == 2
    line = line_of(document, check)
    assert line["cause"] == ""
    data = shlex.quote(str(rehearsal.directory))
    assert line["remedy"] == f"RELIVCHATS_DATA={data} ./dev manage workers --restart {part}"
    if part != "web":
        # Beat's canary is not late yet, so only some lines follow at once.
        assert {each["cause"] for each in document["lines"]} <= {"", check}
    run_literally(line["remedy"])
    eventually(lambda: rehearsal.pid(part) not in frozen)
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


def test_when_nothing_runs_health_says_so_and_starts_nothing(rehearsal: Rehearsal) -> None:
    assert rehearsal.stop() == 0
    status, document = rehearsal.look()
    line = line_of(document, "installation")
    assert (status, line["text"]) == (2, "nothing is running here")
    assert line["remedy"].endswith("./dev up")
    assert rehearsal.processes() == []
