"""A rehearsal with what failures of data and of providers need: a model, Qdrant, a customer, and SQL as the owner."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ops.demo.client import Document
from relivchats.servers import HOST
from tests.fakes.gemini import FakeGemini
from tests.fakes.model_server import Asked, Reply
from tests.fakes.qdrant import FakeQdrant
from tests.plugin import NO_RATE_LIMITS
from tests.processes import PATIENCE_SECONDS, REPOSITORY, eventually
from tests.soak import language_model
from tests.stack.rehearsal import EXIT_STATUS, INTERVAL_SECONDS, Rehearsal, connected, line_of, not_fine
from tests.stack.terminal import environment


class Model(FakeGemini):
    """Gemini over HTTP. It answers, or sends `refusal`; writing waits while `writing` is not set, reading likewise."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.refusal: Reply | None = None
        self.embedding_reply = lambda texts: self.embedding_refusal
        self.embedding_refusal: Reply | None = None
        self.reading, self.writing = threading.Event(), threading.Event()
        self.work()

    def work(self) -> None:
        """Answer everything from now on."""
        self.refusal = self.embedding_refusal = None
        self.reading.set()
        self.writing.set()

    def _answer(self, asked: Asked) -> Any:
        if self.refusal:
            return self.refusal
        properties = asked.schema["properties"]
        if "word" in properties:
            return {"word": "ready"}
        if "episodes" in properties:
            self.reading.wait(PATIENCE_SECONDS)
        elif "sections" in properties:
            self.writing.wait(PATIENCE_SECONDS)
        return language_model.answer(asked)


class Installed(Rehearsal):
    """`./dev up` with a model, Qdrant and a customer.

    Recovery runs only if an operator starts it. Otherwise beat would repair within seconds what a remedy is to repair.
    """

    def __init__(self, directory: Path) -> None:
        self._reported: set[str] = set()
        self._servers = ExitStack()
        self.model = self._servers.enter_context(Model().serving())
        #: Closing it ends Qdrant.
        self.qdrant_server = ExitStack()
        self.qdrant = self._servers.enter_context(self.qdrant_server).enter_context(FakeQdrant().serving())
        providers = {**self.model.settings(), "INSIGHT_ENGINE": "gemini", "EMBEDDING_ENGINE": "gemini"}
        super().__init__(directory, **NO_RATE_LIMITS, **providers, **self.qdrant.settings(), RECOVERY_SECONDS="3600")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop the stack as `Up.stop` does, and its providers."""
        self.model.work()
        with self._servers:
            return super().stop(number)

    def order(self) -> Document:
        """Order the first package of the sandbox, and return the order with the address of its checkout page."""
        request = urllib.request.Request(
            f"http://{HOST}:{self.port}/api/payments/orders",
            json.dumps({"package_id": "starter", "provider": "sandbox"}).encode(),
            {"Authorization": f"Bearer {self.customer.token}", "Content-Type": "application/json"},
        )
        with self._browser.open(request, timeout=PATIENCE_SECONDS) as response:
            order: Document = json.load(response)
            return order

    @contextmanager
    def elsewhere(self, port: int, environment: Mapping[str, str]) -> Iterator[None]:
        """For the block, work on another machine: with its web process, and with this environment of its shell."""
        here = self.port, self.limits
        self.port, self.limits = port, {**self.limits, **environment}
        try:
            yield
        finally:
            self.port, self.limits = here

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a statement as the owner of the tables, as somebody with psql does. Return its rows."""
        with connected(self, name="psql", owner=True) as (session,):
            cursor = session.execute(statement, values)
            found = cursor.fetchall() if cursor.description else []
            session.commit()
            return found

    def wait_for(
        self, name: str, level: str, words: str = "", *, within_seconds: float = INTERVAL_SECONDS, cause: str = ""
    ) -> tuple[int, dict[str, Any]]:
        """Wait as `Rehearsal.wait_for`, also for the cause of the line.

        A report in which a check had no time to answer, because the machine is busy, is no failure.
        """
        started = time.monotonic()
        while True:
            is_late = time.monotonic() - started >= within_seconds
            status, document = self.look()
            line = line_of(document, name)
            if line["level"] == level and words in line["text"] and line["cause"] == cause:
                return status, document
            assert not is_late or any(map(_had_no_time, document["lines"])), not_fine(document)
            assert time.monotonic() - started < PATIENCE_SECONDS, not_fine(document)

    def expect_fine(self) -> None:
        """Wait until every line is fine. On a busy machine, some checks never have time to answer: those that reported
        a finding must have been fine since, and the others not known to be otherwise for a while."""
        fine: set[str] = set()
        last: list[dict[str, Any]] = []
        started = time.monotonic()

        def is_fine() -> bool:
            _, document = self.look()
            fine.update(line["name"] for line in document["lines"] if line["level"] == "fine")
            patient = time.monotonic() - started < 2 * INTERVAL_SECONDS
            unanswered = {line["name"] for line in document["lines"] if _had_no_time(line)}
            excused = unanswered & (fine if patient else fine | unanswered - self._reported)
            last[:] = [line for line in not_fine(document) if line["name"] not in excused]
            return not last

        eventually(is_fine, because=lambda: f"{last}")
        self._reported.clear()
        self.is_fine = True

    def report(self, name: str, level: str, words: str, *, cause: str = "") -> dict[str, Any]:
        """Wait until `health` and the overview report a finding, with its exit status. Return its line."""
        self._reported.add(name)
        status, document = self.wait_for(name, level, words, cause=cause)
        # A check that had no time to answer is unknown, which is worse than a warning.
        assert status == EXIT_STATUS[level] or any(map(_had_no_time, document["lines"]))
        line = line_of(document, name)
        assert bool(line["remedy"]) != bool(cause)
        self.expect_on_overview(name, words)
        return line

    def follow(self, remedy: str, *, statuses: Sequence[int] = (0,), **more: str) -> list[str]:
        """Run a remedy in a shell, as an operator pastes it. Return the remedies that it printed in turn."""
        return [
            line.partition("→ ")[2] for line in self.run(remedy, statuses=statuses, **more).splitlines() if "→ " in line
        ]

    def run(self, remedy: str, *, statuses: Sequence[int] = (0,), **more: str) -> str:
        """Run a remedy in a shell, as an operator pastes it. Return what it printed."""
        done = subprocess.run(
            ["sh", "-c", remedy],
            cwd=REPOSITORY,
            env=environment(REPOSITORY / "var", **{**self.limits, **more}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode in statuses, (remedy, done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stdout


def _had_no_time(line: dict[str, Any]) -> bool:
    return any(
        words in line["text"] for words in ("did not finish within", "too large to audit here", "a query takes too")
    )
