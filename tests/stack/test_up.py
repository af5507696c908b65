"""`./dev up` serves, restarts its processes, and leaves nothing behind, whatever is killed."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest

from relivchats import embedded, installation, stack
from relivchats.servers import HOST, free_port
from relivchats.supervisor import Child
from tests.fakes.chat_completions import MODEL, FakeChatCompletions
from tests.processes import PATIENCE_SECONDS, eventually
from tests.stack.terminal import PARTS, Up, manage, run


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One stack for the tests that leave it serving. Its directory is private, and its name has a space."""
    stack = Up(tmp_path_factory.mktemp("shared") / "the data").wait_until_ready()
    yield stack
    stack.stop()


def test_up_serves_when_it_says_ready(up: Up) -> None:
    eventually(up.serves)
    assert f"ready: http://127.0.0.1:{up.port}" in up.output
    assert all(Path(f"/proc/{up.pid(part)}").exists() for part in PARTS)


def test_up_offers_the_sandbox_where_nothing_else_is_set_up(up: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    with urlopen(f"http://127.0.0.1:{up.port}/api/credits/packages", timeout=PATIENCE_SECONDS) as response:
        assert b'"sandbox"' in response.read()
    for name in ("DATABASE_URL", "PAYMENTS_SANDBOX"):
        monkeypatch.delenv(name, raising=False)
    assert embedded.sandbox_setting() == {"PAYMENTS_SANDBOX": "auto"}
    for name in ("DATABASE_URL", "PAYMENTS_SANDBOX"):
        with monkeypatch.context() as decided:
            decided.setenv(name, "false")
            assert embedded.sandbox_setting() == {}


def test_keys_and_logs_are_private_to_their_owner(up: Up) -> None:
    for directory in ("keys", "logs"):
        assert stat.S_IMODE((up.directory / directory).stat().st_mode) == 0o700
    for key in (up.directory / "keys").iterdir():
        assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_no_command_line_shows_a_password(up: Up) -> None:
    secrets = [key.read_text() for key in (up.directory / "keys").iterdir()]
    lines = [" ".join(process.cmdline()) for process in up.processes()]
    assert len(lines) > len(PARTS)
    assert not [line for line in lines if any(secret in line for secret in secrets)]


def test_no_process_writes_a_core_file(up: Up) -> None:
    """It would contain texts and keys."""
    for part in ("web", "worker", "beat"):
        assert psutil.Process(up.pid(part)).rlimit(psutil.RLIMIT_CORE) == (0, 0), part


def test_a_second_up_on_the_same_directory_says_so_and_stops(up: Up) -> None:
    second = run(up.directory, "up", "--port", str(free_port()))
    assert second.returncode == 1
    assert second.stderr == f"RelivChats already runs on {up.directory} at http://127.0.0.1:{up.port}.\n"
    eventually(up.serves)


def test_manage_uses_the_servers_of_up_and_leaves_them_running(up: Up) -> None:
    before = [up.pid(part) for part in PARTS]
    done = manage(up.directory, "shell", "-c", "from ops.models import Heartbeat; print(Heartbeat.objects.count())")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) >= 2
    assert [up.pid(part) for part in PARTS] == before
    eventually(up.serves)


def test_manage_knows_that_up_offers_the_sandbox(up: Up) -> None:
    shown = (
        "from billing.payments import providers;"
        " print('sandbox' in [provider.name for provider in providers.configured()])"
    )
    for given, offered in [({}, "True"), ({"PAYMENTS_SANDBOX": "false"}, "False")]:
        done = manage(up.directory, "shell", "--no-imports", "-c", shown, **given)
        assert (done.stdout.strip(), done.stderr) == (offered, ""), done.stderr


def test_manage_on_other_data_names_the_data_that_is_served(up: Up, tmp_path: Path) -> None:
    failed = manage(tmp_path / "other", "payments", "--refund", "0190f5c4-0000-7000-8000-000000000000", "--reason", "x")
    assert failed.returncode != 0
    assert f"used the data in {tmp_path / 'other'}, but RelivChats runs on " in failed.stderr
    assert "RELIVCHATS_DATA=" in failed.stderr
    failed = manage(up.directory, "payments", "--refund", "0190f5c4-0000-7000-8000-000000000000", "--reason", "x")
    assert failed.returncode != 0
    assert "used the data" not in failed.stderr


@pytest.mark.parametrize("part", PARTS)
def test_a_killed_process_is_started_again_in_one_line(up: Up, part: str) -> None:
    first = up.pid(part)
    os.kill(first, signal.SIGKILL)
    eventually(lambda: f"{part} died" in up.output)
    eventually(lambda: up.pid(part) != first and up.serves())
    assert up.output.count(f"{part} died") == 1


def test_a_killed_keeper_is_replaced(up: Up) -> None:
    keeper = up.directory / "run" / "postgres.keeper"
    first = int(keeper.read_text().split()[0])
    os.kill(first, signal.SIGKILL)
    eventually(lambda: keeper.read_text().endswith("ready") and int(keeper.read_text().split()[0]) != first)
    eventually(up.serves)


def test_two_stacks_run_side_by_side_and_one_dies_without_the_other(up: Up, tmp_path: Path) -> None:
    other = Up(tmp_path / "other").wait_until_ready()
    eventually(other.serves)
    assert not {up.pid(part) for part in PARTS} & {other.pid(part) for part in PARTS}
    other.kill()
    eventually(lambda: other.processes() == [], because=lambda: f"left: {other.processes()}")
    eventually(up.serves)


def test_ctrl_c_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    started = Up(tmp_path / "data")
    eventually(lambda: "Starting" in started.output)
    assert started.stop(signal.SIGINT) == 0
    assert started.output.splitlines()[1:] == ["Stopped."]
    assert started.processes() == []


def test_ctrl_c_in_the_first_moments_prints_stopped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def pressed(**_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(stack, "up", pressed)
    monkeypatch.setattr(sys, "argv", ["./dev", "up"])
    assert stack.main() == 130
    assert capsys.readouterr().out == "Stopped.\n"


def test_a_full_disk_is_named_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(**_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(stack, "up", full)
    monkeypatch.setattr(sys, "argv", ["./dev", "up"])
    assert stack.main() == 1
    assert capsys.readouterr().err.startswith("The disk with ")


def test_a_process_runs_although_its_pid_file_cannot_be_written_and_has_one_as_soon_as_it_can(tmp_path: Path) -> None:
    child = Child(
        name="part",
        command=["sleep", "60"],
        run=tmp_path / "missing",
        log=tmp_path / "part.log",
        environment={"PATH": os.defpath},
        cwd=tmp_path,
        stop_signals=[(signal.SIGTERM, 10)],
    )
    child.start()
    try:
        assert child.process
        assert child.alive
        child.write_pid()
        assert not child.pid_file.exists()
        child.run.mkdir()
        child.write_pid()
        assert child.pid_file.read_text() == f"{child.process.pid}\n"
    finally:
        child.stop()


@pytest.mark.parametrize("part", PARTS)
def test_a_process_without_a_pid_file_is_found_and_gets_one(up: Up, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is no more than this for a process that was started meanwhile."""
    pid, run_directory = up.pid(part), up.directory / "run"
    monkeypatch.setenv("RELIVCHATS_DATA", str(up.directory))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.delenv("REDIS_URL", raising=False)
    # The supervisor waits 0.5 s at most, so it is stopped: the file must not come back before it is looked for.
    supervisor = installation.supervisors()["up" if part in ("web", "worker", "beat") else part]
    os.kill(supervisor, signal.SIGSTOP)
    try:
        (run_directory / f"{part}.pid").unlink()
        assert installation.pid_of(part) == pid
    finally:
        os.kill(supervisor, signal.SIGCONT)
    eventually((run_directory / f"{part}.pid").exists)
    assert up.pid(part) == pid


def test_a_taken_port_is_named_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as stranger:
        port = stranger.getsockname()[1]
        done = run(tmp_path / "data", "up", "--port", str(port))
    assert done.returncode == 1
    assert done.stderr == f"Port {port} is taken by another program. Choose another: --port {port + 1}\n"
    assert not (tmp_path / "data" / "run" / "postgres.keeper").exists()


@pytest.mark.parametrize("port", ["0", "65536", "-1", "abc"])
def test_an_invalid_port_is_refused_in_a_sentence(tmp_path: Path, port: str) -> None:
    done = run(tmp_path / "data", "up", f"--port={port}")
    assert done.returncode == 2
    assert done.stderr.endswith(f"{port} is no port: choose one from 1 to 65535\n")


def test_a_malformed_setting_is_named_before_anything_starts(tmp_path: Path) -> None:
    sentence = "INSIGHT_GENERATION_TIMEOUT is 5; it must be at least 10. See docs/settings.md.\n"
    done = run(tmp_path / "data", "up", f"--port={free_port()}", INSIGHT_GENERATION_TIMEOUT="5")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", sentence)
    done = manage(tmp_path / "data", "jobs", INSIGHT_GENERATION_TIMEOUT="5")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", sentence)
    done = manage(tmp_path / "data", "health", "--json", INSIGHT_GENERATION_TIMEOUT="5")
    (line,) = json.loads(done.stdout)["lines"]
    assert (done.returncode, line["name"], line["text"], done.stderr) == (2, "settings", sentence.strip(), "")
    assert not (tmp_path / "data" / "run" / "postgres.keeper").exists()


def test_another_cause_of_a_failed_start_is_not_reported_as_a_setting(tmp_path: Path) -> None:
    done = run(tmp_path / "data", "up", f"--port={free_port()}", DJANGO_SETTINGS_MODULE="absent")
    assert (done.returncode, done.stderr.splitlines()[0]) == (1, "RelivChats cannot be started:")
    assert "No module named 'absent'" in done.stderr


def test_a_demo_of_a_missing_file_reports_it_and_starts_nothing(tmp_path: Path) -> None:
    done = run(tmp_path / "data", "demo", "missing.txt", "--once")
    assert (done.returncode, done.stderr) == (2, "There is no file missing.txt. Check its path.\n")
    assert not (tmp_path / "data").exists()


def test_up_works_and_stops_cleanly_after_a_crash_that_left_a_process(up: Up) -> None:
    strays = psutil.Process(up.pid("web")).children()
    for stray in strays:
        stray.suspend()
    up.crash(sparing=strays)
    again = Up(up.directory, port=up.port).wait_until_ready()
    eventually(again.serves)
    assert again.stop() == 0
    assert again.processes() == []
    assert not list((up.directory / "run").glob("*.pid"))


@pytest.mark.slow
def test_a_process_that_keeps_dying_stops_everything_and_names_its_log(tmp_path: Path) -> None:
    done = run(tmp_path / "data", "up", "--port", str(free_port()), GRANIAN_BACKLOG="1")
    assert done.returncode == 1
    assert f"web died too often. The end of {tmp_path / 'data' / 'logs' / 'web.log'}:" in done.stderr
    assert "GRANIAN_BACKLOG" in done.stderr or "--backlog" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--engine", "gemini"), "GEMINI_API_KEY is not set"),
        (("--engine", "openai"), "--engine openai --base-url"),
        (("--engine", "openai", "--base-url", "localhost:11434"), "is no address"),
        (("--engine", "openai", "--base-url", "http://127.0.0.1:1/v1"), "lists no models"),
        (("--model", "llama"), "belong to --engine openai"),
    ],
)
def test_a_demo_with_an_incomplete_engine_says_what_is_missing_and_starts_nothing(
    tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    done = run(tmp_path / "data", "demo", "--once", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "data").exists()


def test_a_demo_uses_the_first_model_that_the_server_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_MODEL", "MODEL_TIMEOUT_SECONDS"):
        monkeypatch.delenv(name, raising=False)
    with FakeChatCompletions(lambda asked: "").serving() as server:
        base_url = f"{server.address}/v1"
        chosen = stack.demo_engine(engine="openai", base_url=base_url, model=None)
        assert (chosen["INSIGHT_ENGINE"], chosen["OPENAI_MODEL"]) == ("openai", MODEL)
        assert chosen["OPENAI_BASE_URL"] == base_url
        assert server.requests == ["GET /v1/models"]
        assert stack.demo_engine(engine="openai", base_url=base_url, model="other")["OPENAI_MODEL"] == "other"
