"""A stack whose failures are rehearsed: look at it as an operator does, and run the printed remedies as printed."""

from __future__ import annotations

import contextlib
import html
import http.client
import http.cookiejar
import json
import re
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg

from relivchats.servers import APPLICATION_ROLE, HOST
from tests.processes import PATIENCE_SECONDS, REPOSITORY, eventually
from tests.stack.terminal import Up, environment, manage

#: Short limits, so that nobody waits for half a minute. They apply to the stack and to the commands of the operator.
LIMITS = {"HEALTH_LOCK_SECONDS": "1", "HEALTH_QUERY_SECONDS": "2"}
EXIT_STATUS = {"fine": 0, "warning": 1, "critical": 2, "unknown": 3}
#: Beat records the states of the checks, and the overview refreshes, at this interval.
INTERVAL_SECONDS = 15.0
#: Fine now, but their first value takes a while after a restart.
_SETTLING = {"canary"}
_EMAIL, _PASSWORD = "operator@example.com", "a rehearsed password"


class Rehearsal(Up):
    """`./dev up` with the views that an operator has of it: `health`, and the overview of the admin."""

    #: Whether the last rehearsal left everything fine.
    is_fine = False

    def __init__(self, directory: Path, **more: str) -> None:
        self.limits = {**LIMITS, **more}
        super().__init__(directory, port=None, **self.limits)
        jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        # A proxy of the environment would hide a server on this machine.
        self._browser = urllib.request.build_opener(urllib.request.ProxyHandler({}), jar)

    def manage(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command of manage.py on the data of the stack."""
        return manage(self.directory, *words, **{**self.limits, **more})

    def look(self) -> tuple[int, dict[str, Any]]:
        """Return the exit status of `health --json` and its document, which is all that it prints on stdout."""
        done = self.manage("health", "--json")
        assert "Traceback" not in done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == EXIT_STATUS[document["level"]]
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
            return re.search(rf"\b{re.escape(name.capitalize())}\b", last) is not None and words in last

        eventually(is_shown, because=lambda: last)

    def expect_fine(self) -> None:
        """Wait until every line is fine; recovery of what was late may take a moment."""
        last: list[dict[str, Any]] = []

        def fine() -> bool:
            status, document = self.look()
            last[:] = not_fine(document)
            return status == 0 or {line["name"] for line in last} <= _SETTLING

        eventually(fine, because=lambda: f"{last}")
        self.is_fine = True

    def _get(self, path: str) -> str:
        with self._browser.open(f"http://{HOST}:{self.port}{path}", timeout=PATIENCE_SECONDS) as response:
            return str(response.read().decode())


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
    process = psutil.Process(up.pid(part))
    family = [process, *process.children(recursive=True)]
    for each in family:
        each.suspend()
    return [each.pid for each in family]


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
