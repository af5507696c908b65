"""docker-compose.yml whose failures are rehearsed: an operator types only what docker-compose and docker understand."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from relivchats.crypto import Keyring
from relivchats.servers import free_port
from tests.fakes.containers import OWNER
from tests.plugin import NO_RATE_LIMITS
from tests.processes import PATIENCE_SECONDS, REPOSITORY
from tests.stack.rehearsal import EXIT_STATUS, INTERVAL_SECONDS, LIMITS, Operator, line_of, not_fine

STAND_IN = REPOSITORY / "tests" / "fakes" / "bin" / "machine"
#: Set it to run the rehearsals with the Docker of this machine, with an image `relivchats` of this revision.
WITH_DOCKER = bool(os.environ.get("RELIVCHATS_TEST_DOCKER"))
API = "relivchats-api"
#: A process that writes no heartbeat for so long is silent.
SILENT_SECONDS = 25


class Composed(Operator):
    """The services of docker-compose.yml with Qdrant, in a directory with a file .env.

    Recovery runs only if an operator starts it. Otherwise beat would repair within seconds what a remedy is to repair.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.directory, self.port = directory, 8000 if WITH_DOCKER else free_port()
        directory.mkdir()
        shutil.copy(REPOSITORY / "docker-compose.yml", directory)
        self.write_settings(
            {
                **{name: secrets.token_hex(16) for name in ("POSTGRES_PASSWORD", "APPLICATION_PASSWORD")},
                **{name: secrets.token_hex(25) for name in ("REDIS_PASSWORD", "SECRET_KEY")},
                "ENCRYPTION_KEYS": Keyring.new_text(),
                "ALLOWED_HOSTS": "localhost,127.0.0.1",
                "HTTPS_ONLY": "false",
                "QDRANT_URL": "http://qdrant:6333",
                "RECOVERY_SECONDS": "3600",
                # Two heartbeats, or tasks of the canary, and some seconds: one that is late is not what is rehearsed.
                "HEALTH_HEARTBEAT_SECONDS": str(SILENT_SECONDS),
                **LIMITS,
                **NO_RATE_LIMITS,
            }
        )
        if WITH_DOCKER:
            # The end of the rehearsals removes them.
            assert not self.run("docker volume ls -q --filter name=relivchats_"), "somebody uses the project relivchats"
        self.run("docker-compose --profile qdrant up -d")

    def write_settings(self, values: Mapping[str, str]) -> None:
        """Write the file .env."""
        (self.directory / ".env").write_text("".join(f"{name}={value}\n" for name, value in values.items()))

    def manage(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command of manage.py in the container of the API."""
        given = [word for name, value in more.items() for word in ("-e", f"{name}={value}")]
        return self._call(["docker-compose", "exec", "-T", *given, API, "python", "manage.py", *words])

    def run(self, remedy: str, *, statuses: Sequence[int] = (0,), **more: str) -> str:
        """Run a remedy in a shell, as an operator pastes it. Return what it printed."""
        done = self._call(["sh", "-c", remedy], **more)
        assert done.returncode in statuses, (remedy, done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stdout

    def follow(self, remedy: str, *, statuses: Sequence[int] = (0,)) -> list[str]:
        """Run a remedy as `run` does. Return the remedies that it printed in turn."""
        printed = self.run(remedy, statuses=statuses)
        return [line.partition("→ ")[2] for line in printed.splitlines() if "→ " in line]

    def report(self, name: str, level: str, words: str, *, within_seconds: float = INTERVAL_SECONDS) -> dict[str, Any]:
        """Wait until `health` reports a finding as a cause, with its exit status. Return its line."""
        status, document = self.wait_for(name, level, words, within_seconds=within_seconds)
        line = line_of(document, name)
        assert (status, line["cause"]) == (EXIT_STATUS[level], ""), not_fine(document)
        assert line["remedy"]
        return line

    def look_from_a_new_container(self) -> tuple[int, dict[str, Any]]:
        """Return the exit status of `health --json` and its document while the API does not run."""
        done = self._call(
            ["docker-compose", "run", "--rm", "-T", "--no-deps", API, "python", "manage.py", "health", "--json"]
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, json.loads(done.stdout)

    def sql(self, statement: str) -> list[str]:
        """Run a statement as the owner of the tables, as somebody with psql does. Return the rows as text."""
        command = ["docker-compose", "exec", "-T", "postgres", "psql", "-U", "relivchats", "-qtA", "-c", statement]
        done = self._call(command)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    @contextlib.contextmanager
    def session(self, service: str, *words: str, stdin: str = "") -> Iterator[subprocess.Popen[str]]:
        """Run a command in a container for the block, and give it a text to read, without an end."""
        process = subprocess.Popen(
            ["docker-compose", "exec", "-T", service, *words],
            cwd=self.directory,
            env=self._environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdin
        try:
            process.stdin.write(stdin)
            process.stdin.flush()
            yield process
        finally:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            process.kill()
            process.wait(PATIENCE_SECONDS)

    def signal(self, service: str, pattern: str, name: str) -> None:
        """Send a signal to the processes in a container whose command line matches."""
        self.run(f"docker-compose exec -T {service} pkill -{name} -f '{pattern}'")

    def state(self, service: str) -> str:
        """Return what `docker-compose ps` says about a service."""
        return self.run(f"docker-compose ps {service}")

    def stop(self) -> None:
        """Remove everything."""
        self._call(["docker-compose", "--profile", "qdrant", "kill"])
        self._call(["docker-compose", "--profile", "qdrant", "down", "-v", "-t", "1"])

    def _call(self, words: Sequence[str], **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words,
            cwd=self.directory,
            env={**self._environment(), **more},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    def _environment(self) -> dict[str, str]:
        """Return the environment of an operator's shell: without the variables that the test run sets."""
        if WITH_DOCKER:
            return dict(os.environ)
        path = os.pathsep.join([str(STAND_IN), str(Path(sys.executable).parent), os.environ["PATH"]])
        return {"PATH": path, "HOME": os.environ["HOME"], "PUBLISHED_PORT": str(self.port), OWNER: str(os.getpid())}
