"""Real processes for tests: workers and beat on the test database, and the servers behind it to kill or freeze."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psutil
import redis
from django.conf import settings

from relivchats import embedded, serve
from relivchats.liveness import has_heartbeat
from relivchats.serve import QUEUES
from relivchats.servers import Server, connects, free_port
from relivchats.supervisor import Child, ProcessError, tail

REPOSITORY = Path(__file__).resolve().parent.parent
#: Long, because the machine may be slow and busy. Only a test that fails waits this long; tests/mutations.py expects
#: that, and sets less.
PATIENCE_SECONDS = float(os.environ.get("RELIVCHATS_TEST_PATIENCE", "120"))


def eventually(predicate: Callable[[], object], *, because: Callable[[], str] | None = None) -> None:
    """Wait until the predicate is true. Fail with the reason if it never is."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not predicate():
        if time.monotonic() > deadline:
            raise AssertionError(because() if because else f"not within {PATIENCE_SECONDS:g} s")
        time.sleep(0.02)


def database_url(name: str) -> str:
    """Return the address of a database of the test servers."""
    return urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}"))


def owner_database_url(name: str) -> str:
    """Return the address of a database of the test servers for the owner of its tables."""
    return urlunsplit(urlsplit(embedded.owner_url())._replace(path=f"/{name}"))


def process_environment(database: str) -> dict[str, str]:
    """Return the environment of a process on a database of the test servers, with the key store of the tests."""
    return {**os.environ, "DATABASE_URL": database_url(database), "KEY_STORE_DIR": settings.KEY_STORE_DIR}


class RunningProcess:
    """A worker or beat that a test started."""

    def __init__(self, child: Child, *, kind: str) -> None:
        self._child = child
        self._kind = kind
        child.start()
        assert child.process
        self.pid = child.process.pid
        self.log = child.log

    @property
    def alive(self) -> bool:
        return self._child.alive

    def wait_until_ready(self) -> None:
        """Wait for its first heartbeat in the database."""
        url = self._child.environment["DATABASE_URL"]
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not has_heartbeat(url, kind=self._kind, pid=self.pid):
            assert self.alive, f"{self._kind} stopped while starting:\n{tail(self.log, lines=30)}"
            assert time.monotonic() < deadline, f"{self._kind} is not ready:\n{tail(self.log, lines=30)}"
            time.sleep(0.05)

    def kill(self) -> None:
        """Send SIGKILL, which allows no clean-up."""
        self._signal(signal.SIGKILL)
        assert self._child.process
        self._child.process.wait(PATIENCE_SECONDS)

    def stop(self) -> None:
        """Send SIGTERM and wait: a worker finishes its tasks."""
        self._child.stop()

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)


def start_celery(
    kind: str, *, directory: Path, number: int, database: str, app: str, environment: dict[str, str]
) -> RunningProcess:
    """Start a `celery worker` or `celery beat`. The kernel kills it if the test run dies."""
    name = f"{kind}-{number}"
    options = {
        "worker": ["--pool", "threads", "--concurrency", "8", "-Q", QUEUES, "-n", f"{name}-{os.getpid()}@test"],
        "beat": ["--schedule", str(directory / f"{name}.schedule")],
    }
    values = process_environment(database) | {"PYTHONUNBUFFERED": "1"}
    child = Child(
        name=name,
        command=[sys.executable, "-m", "celery", "-A", app, kind, *options[kind]],
        run=directory,
        log=directory / f"{name}.log",
        environment=values | ({"CELERY_WORKER": "true"} if kind == "worker" else {}) | environment,
        cwd=REPOSITORY,
        stop_signals=[(signal.SIGCONT, 0), (signal.SIGTERM, PATIENCE_SECONDS)],
    )
    return RunningProcess(child, kind=kind)


@contextlib.contextmanager
def serving_web(directory: Path, *, database: str, **environment: str) -> Iterator[int]:
    """Run the web server on the test database, as `./dev up` does. Yield its port."""
    port = free_port()
    child = Child(
        name="web",
        command=[sys.executable, "-m", *serve.web(host="127.0.0.1", port=port, kill_timeout_seconds=5)],
        run=directory,
        log=directory / f"web-{port}.log",
        environment=process_environment(database) | {"PYTHONUNBUFFERED": "1"} | environment,
        cwd=REPOSITORY,
        stop_signals=[(signal.SIGTERM, PATIENCE_SECONDS)],
    )
    child.start()
    try:
        eventually(lambda: connects(port), because=lambda: tail(child.log, lines=30))
        yield port
    finally:
        child.stop()


@dataclass(frozen=True)
class ServerHandle:
    """Postgres or Valkey of the test run. If it dies, its keeper restarts it with the data on disk."""

    server: Server

    @property
    def pid(self) -> int:
        return int((self.server.run / f"{self.server.name}.pid").read_text())

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Kill it, and wait until it answers again."""
        with self.down(number):
            pass

    @contextlib.contextmanager
    def down(self, number: signal.Signals = signal.SIGKILL) -> Iterator[None]:
        """Keep it dead for the block: its keeper is frozen in the meantime."""
        keeper, _ = self.server.keeper_state()
        os.kill(keeper, signal.SIGSTOP)
        try:
            server = psutil.Process(self.pid)
            server.send_signal(number)
            eventually(lambda: server.status() == psutil.STATUS_ZOMBIE)
            yield
        finally:
            os.kill(keeper, signal.SIGCONT)
            eventually(lambda: not server.is_running())
            self.wait_until_ready()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Freeze it for the block: it accepts connections and answers nothing."""
        pid = self.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)
            self.wait_until_ready()

    def wait_until_ready(self) -> None:
        def ready() -> bool:
            # A keeper whose server died too often gives up, which is an error. A new one counts from zero.
            with contextlib.suppress(ProcessError):
                embedded.ensure([self.server])
            return self.server.answers()

        eventually(ready, because=lambda: f"{self.server.name} did not come back:\n{tail(self.server.log)}")


class BrokerHandle(ServerHandle):
    @property
    def client(self) -> redis.Redis:
        return redis.Redis.from_url(os.environ["REDIS_URL"])

    def flush(self) -> None:
        """Delete all messages."""
        with self.client as client:
            client.flushall()

    def waiting(self, queue: str) -> int:
        """Return the number of messages in a queue."""
        with self.client as client:
            return int(client.llen(queue))
