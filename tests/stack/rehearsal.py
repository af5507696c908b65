"""A stack whose failures are rehearsed: look at it as an operator does, and run the printed remedies as printed."""

from __future__ import annotations

import contextlib
import html
import http.client
import http.cookiejar
import json
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
import psycopg

from ops.demo.client import Client, Document, Problem
from relivchats.servers import APPLICATION_ROLE, HOST
from tests.processes import PATIENCE_SECONDS, REPOSITORY, eventually
from tests.stack.terminal import Up, environment, manage

#: Short limits, so that nobody waits for half a minute. They apply to the stack and to the commands of the operator.
#: The requests of a rehearsal on a busy machine are slow, which is true and not what is rehearsed.
LIMITS = {"HEALTH_LOCK_SECONDS": "1", "HEALTH_QUERY_SECONDS": "2", "HEALTH_P95_WARNING_MS": "60000"}
EXIT_STATUS = {"fine": 0, "warning": 1, "critical": 2, "unknown": 3}
#: Beat records the states of the checks, and the overview refreshes, at this interval.
INTERVAL_SECONDS = 15.0
SAMPLE = REPOSITORY / "ops" / "demo" / "sample.txt"
CUSTOMER = "customer@example.com"
#: One insight of the category, so that a few failures are no outage.
ONE_INSIGHT = {"insight_type_ids": ["friendship_trust_loyalty"]}
_OUT_OF_TIME = ("the machine is busy", "too large to audit here")
_EMAIL, _PASSWORD = "operator@example.com", "a rehearsed password"


class Operator(ABC):
    """The views that an operator has of a stack, `health` and the overview of the admin, and a customer."""

    port: int
    #: Whether the last rehearsal left everything fine.
    is_fine = False

    def __init__(self) -> None:
        jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        # A proxy of the environment would hide a server on this machine.
        self._browser = urllib.request.build_opener(urllib.request.ProxyHandler({}), jar)

    @abstractmethod
    def manage(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command of manage.py on the data of the stack."""

    def look(self) -> tuple[int, dict[str, Any]]:
        """Return the exit status of `health --json` and its document: nothing else is on stdout.

        A check that a busy machine gave no time says so, and to run `health` again.
        """
        for _ in range(5):
            done = self.manage("health", "--json")
            assert "Traceback" not in done.stderr
            document: dict[str, Any] = json.loads(done.stdout)
            assert done.returncode == EXIT_STATUS[document["level"]]
            if not any(words in line["text"] for line in document["lines"] for words in _OUT_OF_TIME):
                break
        return done.returncode, document

    def wait_for(
        self, name: str, level: str, words: str = "", *, within_seconds: float = INTERVAL_SECONDS
    ) -> tuple[int, dict[str, Any]]:
        """Wait until the line has the level and the words. Return the exit status and the document.

        Fail if the first `health` that starts after `within_seconds` does not report it.
        """
        started = time.monotonic()
        while True:
            is_last = time.monotonic() - started >= within_seconds
            status, document = self.look()
            line = line_of(document, name)
            if line["level"] == level and words in line["text"]:
                return status, document
            assert not is_last, not_fine(document)

    def log_in(self) -> None:
        """Create an account of staff and log in, while everything is fine."""
        password = {"DJANGO_SUPERUSER_PASSWORD": _PASSWORD}
        done = self.manage("createsuperuser", "--noinput", "--email", _EMAIL, **password)
        assert done.returncode == 0, done.stderr
        page = self._get("/admin/login/")
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
        assert token, page
        fields = {"username": _EMAIL, "password": _PASSWORD, "csrfmiddlewaretoken": token[1], "next": "/admin/"}
        with self._browser.open(
            f"http://{HOST}:{self.port}/admin/login/", urllib.parse.urlencode(fields).encode(), timeout=PATIENCE_SECONDS
        ) as response:
            assert 'name="password"' not in response.read().decode()

    def overview(self) -> str:
        """Return the text of the overview of the admin, as staff see it. It is up to ten seconds old."""
        page = self._get("/admin/")
        assert 'name="password"' not in page
        return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())

    def expect_on_overview(self, name: str, words: str) -> None:
        """Wait until the overview shows a finding with this name and these words."""
        last = ""

        def is_shown() -> bool:
            nonlocal last
            with contextlib.suppress(OSError, http.client.HTTPException):
                last = self.overview()
            return re.search(rf"\b{re.escape(name.capitalize())}\b", last) is not None and _spoken(words) in _spoken(
                last
            )

        eventually(is_shown, because=lambda: last)

    def expect_fine(self) -> None:
        """Wait until every line is fine; recovery of what was late may take a moment."""
        last: list[dict[str, Any]] = []

        def fine() -> bool:
            status, document = self.look()
            last[:] = not_fine(document)
            return status == 0

        eventually(fine, because=lambda: f"{last}")
        self.is_fine = True

    @cached_property
    def customer(self) -> Client:
        """The API as a customer with enough coins uses it."""
        token = self.manage("token", CUSTOMER).stdout.strip()
        assert self.manage("coins", CUSTOMER, "+1900", "--reason", "rehearsals").returncode == 0
        return Client(f"http://{HOST}:{self.port}", token)

    def unlock_chat(self, *, category: str = "") -> Document:
        """Upload a new chat, unlock one insight or the six of the category `romantic`, and return the job."""
        sample = "sample.txt" if category else "sample-friendship.txt"
        chat = self.customer.upload((SAMPLE.parent / sample).read_bytes(), separate="true")
        what: dict[str, Any] = {"category_id": category} if category else ONE_INSIGHT
        return self.customer.unlock(chat_id=chat["id"], **what)

    def expect_job(self, job: Document, status: str) -> None:
        """Wait until the job has this status."""
        found: dict[str, Any] = {}

        def has_status() -> bool:
            found.update(self.customer.job(job["job_id"]))
            return bool(found["status"] == status)

        eventually(has_status, because=lambda: f"{found}")

    def unlock(self) -> tuple[Client, str]:
        """Upload a chat as a new customer and unlock some of its insights. Return the client and the job's id."""
        email = f"{uuid.uuid4().hex}@example.com"
        token = self.manage("token", email).stdout.strip()
        given = self.manage("coins", email, "+500", "--reason", "a rehearsal")
        assert given.returncode == 0, given.stderr
        client = Client(f"http://{HOST}:{self.port}", token)

        def is_served() -> bool:
            # After a restart of Postgres, requests are refused until the web server has connected again.
            with contextlib.suppress(Problem):
                return bool(client.balance())
            return False

        eventually(is_served)
        chat = client.upload(SAMPLE.read_bytes())
        return client, str(client.unlock(chat_id=chat["id"], category_id="romantic")["job_id"])

    def expect_delivered(self, client: Client, job: str) -> None:
        """Wait until all insights of a job are delivered and none of its coins is reserved any more."""
        status: dict[str, Any] = {}

        def is_delivered() -> bool:
            status.update(client.job(job))
            return bool(status["status"] == "completed")

        eventually(is_delivered, because=lambda: f"{status}")
        assert {insight["status"] for insight in status["insights"]} == {"completed"}
        assert client.balance()["reserved"] == 0

    def submit(self, path: str, fields: Mapping[str, str], *, to: str = "") -> str:
        """Fill in the form of a page and submit it, to another address if given. Return the page that follows."""
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', self._get(path))
        assert token, path
        sent = urllib.parse.urlencode({**fields, "csrfmiddlewaretoken": token[1]}).encode()
        address = f"http://{HOST}:{self.port}{to or path}"
        with self._browser.open(address, sent, timeout=PATIENCE_SECONDS) as response:
            return str(response.read().decode())

    def _get(self, path: str) -> str:
        try:
            with self._browser.open(f"http://{HOST}:{self.port}{path}", timeout=PATIENCE_SECONDS) as response:
                return str(response.read().decode())
        except urllib.error.HTTPError as error:
            # While the database does not answer, the overview has the status 503.
            return str(error.read().decode())


class Rehearsal(Operator, Up):
    """`./dev up` whose failures are rehearsed."""

    def __init__(self, directory: Path, **more: str) -> None:
        self.limits = {**LIMITS, **more}
        Up.__init__(self, directory, port=None, **self.limits)
        Operator.__init__(self)

    def manage(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command of manage.py on the data of the stack."""
        return manage(self.directory, *words, **{**self.limits, **more})

    def start_again(self, remedy: str) -> None:
        """Run the remedy of a stack that does not run, as an operator pastes it, and wait until it is ready."""
        assert self.process.poll() is not None
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                ["sh", "-c", remedy],
                cwd=REPOSITORY,
                env=environment(REPOSITORY / "var", **self.limits),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self.wait_until_ready()
        assert f"ready: http://127.0.0.1:{self.port} " in self.output

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal to `up`, which may be the child of a shell, and return the exit status."""
        if self.process.poll() is None:
            pid = int((self.directory / "run" / "up").read_text())
            os.kill(pid, number)
            # A failed rehearsal may have left it frozen.
            os.kill(pid, signal.SIGCONT)
        return self.process.wait(PATIENCE_SECONDS)


class _Data(Operator):
    """The commands of a directory on which nothing else has to run."""

    def __init__(self, directory: Path, **limits: str) -> None:
        super().__init__()
        self._directory, self._limits = directory, limits

    def manage(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return manage(self._directory, *words, **{**self._limits, **more})


def look(directory: Path, **limits: str) -> tuple[int, dict[str, Any]]:
    """Return the exit status of `health --json` on this data and its document."""
    return _Data(directory, **limits).look()


def _spoken(text: str) -> str:
    """Return a text in small letters without punctuation: the overview shows one as a heading and a sentence."""
    return " ".join(re.sub(r"[,;:.](?=\s|$)", "", text).lower().split())


def line_of(document: dict[str, Any], name: str) -> dict[str, Any]:
    (line,) = [line for line in document["lines"] if line["name"] == name]
    return dict(line)


def not_fine(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [line for line in document["lines"] if line["level"] != "fine"]


def run_literally(remedy: str) -> str:
    """Run a remedy in a shell, as an operator pastes it. Return what it printed."""
    done = subprocess.run(
        ["sh", "-c", remedy],
        cwd=REPOSITORY,
        env=environment(REPOSITORY / "var"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, (remedy, done.stdout, done.stderr)
    return done.stdout


def freeze(up: Up, part: str) -> list[int]:
    """Stop a part with all processes that it started. Return their ids."""
    found = family(up, part)
    for each in found:
        each.suspend()
    return [each.pid for each in found]


def family(up: Up, part: str) -> list[psutil.Process]:
    """Return the process of a part with all processes that it started."""
    process = psutil.Process(up.pid(part))
    return [process, *process.children(recursive=True)]


@contextlib.contextmanager
def connected(up: Up, *, name: str, number: int = 1, owner: bool = False) -> Iterator[list[psycopg.Connection]]:
    """Connect to the database of the stack as a client called `name`, up to `number` times."""
    port = int((up.directory / "run" / "postgres.port").read_text())
    role, key = ("relivchats", "postgres.password") if owner else (APPLICATION_ROLE, "postgres-application.password")
    password = (up.directory / "keys" / key).read_text()
    url = f"postgresql://{role}:{password}@127.0.0.1:{port}/relivchats"
    sessions: list[psycopg.Connection] = []
    try:
        with contextlib.suppress(psycopg.OperationalError):
            while len(sessions) < number:
                sessions.append(psycopg.connect(url, application_name=name))
        yield sessions
    finally:
        for session in sessions:
            with contextlib.suppress(psycopg.Error):
                session.close()
