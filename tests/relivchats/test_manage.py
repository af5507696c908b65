"""The command line ends with the status of its command, whatever its threads and the reader of its output do."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from relivchats.crypto import Keyring

ROOT = Path(__file__).resolve().parents[2]


def run_main(
    body: str, *, stdout: int = subprocess.PIPE, stderr: int = subprocess.PIPE
) -> subprocess.CompletedProcess[bytes]:
    """Run `manage.main` in a process, with `body` as the command."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    program = (
        f"import atexit, sys, threading, time\nimport manage\ndef run():\n{lines}manage.run = run\nmanage.main()\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment,
        timeout=120,
        check=False,
        stdout=stdout,
        stderr=stderr,
    )


@pytest.fixture
def closed_pipe() -> int:
    """A pipe that nobody reads any more."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


#: A thread that is inside pydantic, which is written in Rust, when the command ends: as the check of the catalogue is.
LATE = """
from pydantic import BaseModel, field_validator
class Late(BaseModel):
    x: int
    @field_validator("x")
    @classmethod
    def wait(cls, x):
        inside.set()
        time.sleep(0.05)
        return x
def validate():
    while True:
        Late(x=1)
inside = threading.Event()
threading.Thread(target=validate, daemon=True).start()
inside.wait()
atexit.register(print, "ended")
"""


@pytest.mark.parametrize(
    ("end", "status", "printed"),
    [("sys.exit(2)", 2, b""), ("sys.exit('a sentence')", 1, b"a sentence\n"), ("pass", 0, b"")],
)
def test_a_thread_that_is_late_changes_neither_the_status_nor_the_output(end: str, status: int, printed: bytes) -> None:
    done = run_main(f"{LATE}\nprint('report')\n{end}")
    assert (done.returncode, done.stdout, done.stderr) == (status, b"report\nended\n", printed)


def test_a_thread_that_is_late_hides_no_exception() -> None:
    done = run_main(f"{LATE}\nprint('report')\nraise RuntimeError('the cause')")
    assert (done.returncode, done.stdout) == (1, b"report\nended\n")
    assert b"RuntimeError: the cause" in done.stderr


def test_threads_of_an_idle_pool_end_while_another_is_late() -> None:
    pool = "from concurrent.futures import ThreadPoolExecutor\npool = ThreadPoolExecutor()\npool.submit(int).result()"
    done = run_main(f"{LATE}\n{pool}\nprint('report')")
    assert (done.returncode, done.stdout) == (0, b"report\nended\n")


def test_a_thread_that_is_late_changes_nothing_when_the_reader_has_read_enough(closed_pipe: int) -> None:
    done = run_main(f"{LATE}\nprint('report')", stdout=closed_pipe)
    assert (done.returncode, done.stderr) == (141, b"")


def test_closed_pipes_of_the_output_and_of_the_errors_are_not_an_error(closed_pipe: int) -> None:
    done = run_main("print('report')\nprint('a warning', file=sys.stderr)", stdout=closed_pipe, stderr=closed_pipe)
    assert done.returncode == 141
    assert run_main("print('a warning', file=sys.stderr)", stderr=closed_pipe).returncode == 141


def test_an_interrupted_command_prints_no_traceback() -> None:
    # A process that a shell started in the background ignores the signal, and so do its children.
    listen = "import os, signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)"
    done = run_main(f"{listen}\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)")
    assert (done.returncode, done.stderr) == (130, b"")


def test_a_server_that_accepts_connections_and_does_not_answer_is_named_in_a_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        environment = os.environ | {
            "DATABASE_URL": f"postgresql://a:b@127.0.0.1:{frozen.getsockname()[1]}/c",
            "REDIS_URL": "redis://127.0.0.1:1/0",
            "RELIVCHATS_DATA": str(tmp_path),
            "SECRET_KEY": "a" * 50,
            "ENCRYPTION_KEYS": Keyring.new_text(),
        }
        command = [sys.executable, "manage.py", "showmigrations"]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Postgres cannot be reached: ")
    assert "manage.py health names the cause" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [("spectacular", "--file", "/proc/nope/openapi.json"), ("spectacular", "--file=/proc/nope/openapi.json")],
    ids=["apart", "joined"],
)
def test_a_path_that_cannot_be_used_is_one_sentence_for_commands_of_libraries_too(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=ROOT, timeout=120, check=False, capture_output=True, text=True
    )
    assert done.returncode == os.EX_USAGE
    assert done.stderr.splitlines()[-1] == "/proc/nope/openapi.json cannot be used: No such file or directory."
    assert "Traceback" not in done.stderr
