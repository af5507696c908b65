"""What the soak test breaks: the embedded servers, and the web server, workers and beat as `./dev up` starts them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from relivchats import embedded, serve
from relivchats.liveness import has_heartbeat, is_ready
from relivchats.servers import HOST, free_port
from relivchats.supervisor import Child, tail
from tests.processes import REPOSITORY, BrokerHandle, ServerHandle, eventually

ASK_PRICE_COINS = 5
LEASE_SECONDS = 6
#: Settings of the soak test. Short leases and time limits: the test waits for them after every fault.
SETTINGS: Mapping[str, str] = {
    "INSIGHT_ENGINE": "gemini",
    "EMBEDDING_ENGINE": "gemini",
    "GEMINI_EMBEDDING_DIMENSIONS": "128",
    "MODEL_REQUESTS_PER_MINUTE": "6000",
    "MODEL_TOKENS_PER_MINUTE": "0",
    "EMBEDDING_REQUESTS_PER_MINUTE": "6000",
    "EMBEDDING_TOKENS_PER_MINUTE": "0",
    "MODEL_TIMEOUT_SECONDS": "6",
    "MAX_CONCURRENT_INSIGHTS": "4",
    "INSIGHT_LEASE_SECONDS": str(LEASE_SECONDS),
    "INSIGHT_START_TIMEOUT": "240",
    "INSIGHT_GENERATION_TIMEOUT": "240",
    "REDISPATCH_SECONDS": "5",
    "ASK_PRICE_COINS": str(ASK_PRICE_COINS),
    "ASK_TIMEOUT_SECONDS": "30",
    **dict.fromkeys(("REQUESTS_PER_MINUTE", "UPLOADS_PER_HOUR", "UNLOCKS_PER_MINUTE", "UNLOCKS_PER_HOUR"), "0"),
    **dict.fromkeys(("ASKS_PER_MINUTE", "ORDERS_PER_MINUTE"), "10000"),
    "PAYMENTS_SANDBOX": "true",
}
_WATCH_SECONDS = 0.1
#: As with a supervisor that waits a moment before it starts what died.
_RESTART_SECONDS = 1.0


@contextlib.contextmanager
def installation(settings: Mapping[str, str]) -> Iterator[Path]:
    """Run the embedded servers in a temporary directory with these settings, migrate, and set up Django."""
    directory = Path(tempfile.mkdtemp(prefix="relivchats-soak-"))
    # Postgres does not run as root, so another user must be able to pass through.
    directory.chmod(0o711)
    for name in ("DATABASE_URL", "REDIS_URL"):
        os.environ.pop(name, None)
    os.environ.update(
        RELIVCHATS_DATA=str(directory),
        RELIVCHATS_FSYNC="off",
        HTTPS_ONLY="false",
        DJANGO_SETTINGS_MODULE="relivchats.settings",
        LOG_LEVEL="INFO",
        PYTHONUNBUFFERED="1",
        **settings,
    )
    try:
        with embedded.running():
            # The handles of the servers read them there.
            os.environ.update(DATABASE_URL=embedded.database_url(), REDIS_URL=embedded.redis_url())
            import django
            from django.core.management import call_command

            django.setup()
            call_command("migrate", verbosity=0)
            yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


class Stack:
    """The processes of an installation. Those that die are started again, as by a supervisor."""

    def __init__(self, directory: Path, *, workers: int) -> None:
        self.directory = directory
        self.port = free_port()
        self.broker = BrokerHandle(embedded.valkey())
        self.postgres = ServerHandle(embedded.postgres())
        self.worker_names = [f"worker-{number}" for number in range(1, workers + 1)]
        self._children = {
            "web": self._child("web", serve.web(host=HOST, port=self.port, kill_timeout_seconds=5)),
            "beat": self._child("beat", serve.beat(schedule=str(directory / "run" / "beat.schedule"))),
            **{
                name: self._child(name, [*serve.worker(), "-n", f"{name}@soak"], CELERY_WORKER="true")
                for name in self.worker_names
            },
        }
        self._stopping = threading.Event()
        # The kernel kills a child when the thread that started it ends, so one thread starts them all.
        self._thread = threading.Thread(target=self._watch, name="stack")

    @property
    def address(self) -> str:
        """The base URL of the web server."""
        return f"http://{HOST}:{self.port}"

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Start the processes, run the block when they are ready, and stop them."""
        self._thread.start()
        try:
            eventually(lambda: all(map(self.is_ready, self._children)), because=self._tails)
            yield
        finally:
            self._stopping.set()
            self._thread.join()

    def pid(self, name: str) -> int:
        """Return the id of a process that runs, or 0."""
        process = self._children[name].process
        return process.pid if process and process.poll() is None else 0

    def signal(self, name: str, number: signal.Signals) -> int:
        """Send a signal to a process and all that it started. Return the id of the process, or 0 if it is down."""
        if pid := self.pid(name):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, number)
        return pid

    def is_ready(self, name: str, *, after: int = 0) -> bool:
        """Return whether a process works, and is another one than that with the id `after`."""
        pid = self.pid(name)
        if not pid or pid == after:
            return False
        if name == "web":
            return is_ready(HOST, self.port)
        return has_heartbeat(embedded.database_url(), kind=name.partition("-")[0], pid=pid)

    def _child(self, name: str, module: list[str], **environment: str) -> Child:
        return Child(
            name=name,
            command=[sys.executable, "-m", *module],
            run=self.directory / "run",
            log=self.directory / "logs" / f"{name}.log",
            environment={**os.environ, **environment},
            cwd=REPOSITORY,
            stop_signals=[(signal.SIGCONT, 0), (signal.SIGTERM, 15)],
            # The web server has processes of its own: SIGKILL would leave them behind.
            orphan_signal=signal.SIGTERM if name == "web" else signal.SIGKILL,
        )

    def _watch(self) -> None:
        due_at = dict.fromkeys(self._children, 0.0)
        while not self._stopping.wait(_WATCH_SECONDS):
            for name, child in self._children.items():
                if child.alive:
                    continue
                if child.process and not due_at[name]:
                    # Its own children outlive it.
                    child.end_session()
                    due_at[name] = time.monotonic() + _RESTART_SECONDS
                elif time.monotonic() >= due_at[name]:
                    due_at[name] = 0.0
                    child.start()
        for child in self._children.values():
            child.stop()

    def _tails(self) -> str:
        return "\n".join(f"{name}:\n{tail(child.log, lines=20)}" for name, child in self._children.items())
