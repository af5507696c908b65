"""Run `./dev up` and other commands as a person does, on a data directory of the test."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil

from relivchats.servers import HOST, free_port
from tests.processes import PATIENCE_SECONDS, REPOSITORY, eventually

PARTS = ("postgres", "valkey", "web", "worker", "beat")


def environment(directory: Path, **more: str) -> dict[str, str]:
    """Return the environment of a new user: without the variables that the test run sets."""
    ours = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "ENCRYPTION_KEYS", "HTTPS_ONLY", "DJANGO_SETTINGS_MODULE")
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return {**kept, "RELIVCHATS_DATA": str(directory), **more}


def run(directory: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command of ./dev and return its result."""
    return subprocess.run(
        [sys.executable, "-m", "relivchats.stack", *words],
        cwd=REPOSITORY,
        env=environment(directory, **more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def manage(directory: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=REPOSITORY,
        env=environment(directory, **more),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


class Up:
    """A running `up`. `output` is what it has printed so far."""

    def __init__(self, directory: Path, *, port: int | None = None, **more: str) -> None:
        self.directory = directory
        self.port = port or free_port()
        self._output = directory.parent / f"{directory.name}.output"
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "relivchats.stack", "up", "--port", str(self.port)],
                cwd=REPOSITORY,
                env=environment(directory, **more),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    def wait_until_ready(self) -> Up:
        eventually(lambda: "ready: " in self.output or self.process.poll() is not None, because=lambda: self.output)
        assert self.process.poll() is None, self.output
        return self

    def pid(self, part: str) -> int:
        return int((self.directory / "run" / f"{part}.pid").read_text())

    def serves(self) -> bool:
        """Return whether the web server answers, with the database behind it."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=30)
        try:
            connection.request("GET", "/health/ready")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def kill(self) -> None:
        """Send SIGKILL to the supervisor."""
        self.process.kill()
        self.process.wait(PATIENCE_SECONDS)

    def crash(self, *, sparing: Sequence[psutil.Process]) -> None:
        """Send SIGKILL to all processes but these. Some end with a parent that was killed before them."""
        for process in self.processes():
            if process not in sparing:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        self.process.wait(PATIENCE_SECONDS)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)

    def processes(self) -> list[psutil.Process]:
        """Return all processes of this data directory, whatever their parent is now."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        directory = str(self.directory)
        try:
            return process.status() != psutil.STATUS_ZOMBIE and (
                process.cwd().startswith(directory)
                or directory in process.cmdline()
                or process.environ().get("RELIVCHATS_DATA") == directory
            )
        except psutil.Error:
            return False
