"""RelivChats with all its processes in one terminal: `python -m relivchats.stack up|demo|env`. No Django."""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from relivchats import embedded, roles, serve
from relivchats.embedded import REPOSITORY
from relivchats.liveness import has_heartbeat, is_ready
from relivchats.servers import HOST, port_free
from relivchats.supervisor import Child, Interrupts, ProcessError, kill_leftovers, locked, tail, write_atomically

PORT = 8000
#: Exit status for an export that cannot be read, as of the command `demo`.
EXIT_UNREADABLE = 2
#: Exit status for a malformed setting, as of manage.py.
EXIT_MALFORMED_SETTING = 2
READY_TIMEOUT_SECONDS = 120.0
WATCH_SECONDS = 0.5
WATCH_WHILE_STARTING_SECONDS = 0.05
WARM_SHUTDOWN_SECONDS = 15.0
# Set in the environment of our processes, so that the next start finds them after a crash.
MARK = roles.ROLE_VARIABLE


class MalformedSetting(ProcessError):
    """An environment variable has a value that cannot be used."""


class Stack:
    """Web, worker and beat, with the servers that they need. The caller holds the lock of the data directory."""

    def __init__(self, *, directory: Path, port: int) -> None:
        self.directory = directory
        self.port = port
        self.interrupts = Interrupts()
        self.web = _child(
            directory,
            "web",
            serve.web(host=HOST, port=port, kill_timeout_seconds=5),
            patience_seconds=10,
            # It has processes of its own: SIGKILL would leave them behind.
            orphan_signal=signal.SIGTERM,
            **{roles.PORT_VARIABLE: str(port)},
        )
        self.worker = _child(
            directory, "worker", serve.worker(), patience_seconds=WARM_SHUTDOWN_SECONDS, CELERY_WORKER="true"
        )
        schedule = str(directory / "run" / "beat.schedule")
        self.beat = _child(directory, "beat", serve.beat(schedule=schedule), patience_seconds=5)
        self._due_at: dict[str, float] = {}
        self._server_pids: dict[str, str] = {}

    @property
    def address(self) -> str:
        """Return the base URL of the web server."""
        return f"http://{HOST}:{self.port}"

    @contextlib.contextmanager
    def started(self) -> Iterator[None]:
        """Start everything, run the block once it is ready or a stop was requested, then stop everything in order.

        Raise ProcessError if something cannot be started.
        """
        _print("Starting Postgres, the broker and RelivChats…")
        with embedded.running():
            self._server_pids = {server.name: _read_text(server.pid_file) for server in embedded.needed()}
            try:
                self._migrate()
                if not self.interrupts.stop:
                    for child in (self.web, self.worker, self.beat):
                        child.start()
                    self._await_ready()
                yield
            finally:
                self.address_file.unlink(missing_ok=True)
                # Workers stop last: they finish their tasks, while no new ones arrive.
                for child in (self.web, self.beat, self.worker):
                    child.stop()

    @property
    def address_file(self) -> Path:
        """Return the path of the file that contains the address while the stack runs."""
        return self.directory / "run" / "address"

    def watch(self, timeout_seconds: float = WATCH_SECONDS) -> bool:
        """Restart dead processes, then wait for the timeout or a signal. Return whether a stop was requested.

        Raise ProcessError if a process died too often.
        """
        if self.interrupts.stop:
            return True
        for child in (self.web, self.worker, self.beat):
            self._restart_if_dead(child)
            child.write_pid()
            child.rotate_log()
        self._watch_servers()
        return self.interrupts.wait(timeout_seconds)

    def serve(self) -> None:
        """Watch the processes until a stop is requested."""
        while not self.watch():
            pass

    def _migrate(self) -> None:
        log = self.directory / "logs" / "migrate.log"
        with log.open("wb") as output:
            done = subprocess.run(
                [sys.executable, str(REPOSITORY / "manage.py"), "migrate", "--noinput"],
                # In a session of its own Ctrl-C does not reach it, and a migration is not interrupted.
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=False,
            )
        if done.returncode:
            raise ProcessError(f"The database could not be brought up to date. The end of {log}:\n{tail(log)}")

    def _await_ready(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_SECONDS
        database_url = os.environ.get("DATABASE_URL") or embedded.database_url()
        while not (
            is_ready(HOST, self.port)
            and all(
                child.process is not None and has_heartbeat(database_url, kind=child.name, pid=child.process.pid)
                for child in (self.worker, self.beat)
            )
        ):
            if self.watch(WATCH_WHILE_STARTING_SECONDS):
                return
            if time.monotonic() > deadline:
                logs = self.directory / "logs"
                raise ProcessError(f"RelivChats is not ready after {READY_TIMEOUT_SECONDS:.0f} s: see {logs}.")
        write_atomically(self.address_file, self.address)

    def _restart_if_dead(self, child: Child) -> None:
        if child.alive:
            return
        due_at = self._due_at.get(child.name)
        if due_at is None:
            child.end_session()
            delay_seconds = child.restart_delay_seconds()
            if delay_seconds is None:
                raise ProcessError(f"{child.name} died too often. The end of {child.log}:\n{tail(child.log)}")
            how = "died and is started again" if delay_seconds else "is replaced"
            _print(f"{child.name} {how}; its log is {child.log}")
            self._due_at[child.name] = time.monotonic() + delay_seconds
        elif time.monotonic() >= due_at:
            del self._due_at[child.name]
            child.start()

    def _watch_servers(self) -> None:
        """Start a new keeper for one that was killed, and report restarted servers. Their keepers restart them."""
        for server in embedded.needed():
            if not server.has_keeper():
                pid, _ = server.keeper_state()
                # A keeper that gave up removes its pid; a killed one leaves it.
                if not pid:
                    raise ProcessError(f"{server.name} died too often. The end of {server.log}:\n{tail(server.log)}")
                embedded.ensure([server])
            if (pid_now := _read_text(server.pid_file)) and pid_now != self._server_pids[server.name]:
                _print(f"{server.name} died and was started again; its log is {server.log}")
                self._server_pids[server.name] = pid_now


def up(*, port: int) -> int:
    """Serve in the foreground until a stop is requested. Return the exit status. Raise ProcessError."""
    directory = embedded.prepare_directory()
    with locked(directory / "run" / "up", wait=False) as free:
        if not free:
            address = _read_text(directory / "run" / "address")
            _print_error(f"RelivChats already runs on {directory}{f' at {address}' if address else ''}.")
            return 1
        try:
            stack = _stack(directory, port)
            with stack.started():
                if not stack.interrupts.stop:
                    _print(f"ready: {stack.address}    (Ctrl-C stops it)")
                stack.serve()
        except ProcessError as error:
            # `health` says why nothing runs.
            with contextlib.suppress(OSError):
                write_atomically(
                    directory / "run" / "ended", str(error).splitlines()[0].partition(". ")[0].rstrip(".:")
                )
            raise
        _print("Stopped.")
    return 0


def demo(*, port: int, once: bool, arguments: Sequence[str], engine: Mapping[str, str]) -> int:
    """Start the stack and run the demo as its client; keep serving unless `once`. Return the exit status.

    `engine` are environment variables of the stack. If the stack runs already, use that one. Raise ProcessError.
    """
    directory = embedded.prepare_directory()
    os.environ.update(engine)
    with locked(directory / "run" / "up", wait=False) as free:
        if not free:
            if engine:
                raise ProcessError("RelivChats already runs, with the engine that it was started with. Stop it first.")
            address = _read_text(directory / "run" / "address")
            return subprocess.run(_demo_command(address, arguments), check=False).returncode
        stack = _stack(directory, port)
        with stack.started():
            status = _run_while_watching(stack, _demo_command(stack.address, arguments))
            # If Ctrl-C ended the demo, everything is about to stop.
            if status == 0 and not once and not stack.interrupts.stop:
                _print(f"Serving at {stack.address}    (Ctrl-C stops it)")
                stack.serve()
    return status


def demo_engine(*, engine: str | None, base_url: str | None, model: str | None) -> dict[str, str]:
    """Return the environment variables that select the engine of a demo. Raise MalformedSetting."""
    if not engine:
        if base_url or model:
            raise MalformedSetting("--base-url and --model belong to --engine openai.")
        return {}
    chosen = {"INSIGHT_ENGINE": engine}
    if engine == "gemini" and not os.environ.get("GEMINI_API_KEY"):
        raise MalformedSetting("GEMINI_API_KEY is not set. Export a key for Gemini's API: see docs/engines.md.")
    if engine == "openai":
        base_url = base_url or os.environ.get("OPENAI_BASE_URL")
        if not base_url:
            raise MalformedSetting("Name the server: --engine openai --base-url http://localhost:11434/v1")
        chosen["OPENAI_BASE_URL"] = base_url
        chosen["OPENAI_MODEL"] = model or os.environ.get("OPENAI_MODEL") or _first_model(base_url)
        # A model on a processor of one's own takes minutes for what a provider answers in seconds.
        patience = {
            "MODEL_TIMEOUT_SECONDS": "600",
            "INSIGHT_START_TIMEOUT": "3600",
            "INSIGHT_GENERATION_TIMEOUT": "3600",
        }
        for name, seconds in patience.items():
            chosen[name] = os.environ.get(name) or seconds
    return chosen


def _first_model(base_url: str) -> str:
    """Return the first model that a server lists. Raise MalformedSetting."""
    if not base_url.startswith(("http://", "https://")):
        raise MalformedSetting(f"{base_url} is no address: use one such as http://localhost:11434/v1")
    request = urllib.request.Request(f"{base_url.rstrip('/')}/models")  # noqa: S310 - HTTP only, as checked above
    if key := os.environ.get("OPENAI_API_KEY"):
        request.add_header("Authorization", f"Bearer {key}")
    # A proxy of the environment would hide a server on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as response:
            name = json.load(response)["data"][0]["id"]
    except (OSError, ValueError, LookupError, TypeError):
        raise MalformedSetting(f"{base_url} lists no models. Check the address, or name one: --model NAME") from None
    return str(name)


def _stack(directory: Path, port: int) -> Stack:
    """Return a stack with checked settings and a free port, after ending leftovers. Raise ProcessError."""
    _check_settings()

    def is_leftover(process: psutil.Process) -> bool:
        environment = process.environ()
        return MARK in environment and environment.get("RELIVCHATS_DATA") == str(directory)

    kill_leftovers(is_leftover, first=signal.SIGTERM)
    if not port_free(port):
        raise ProcessError(f"Port {port} is taken by another program. Choose another: --port {port + 1}")
    embedded.record_sandbox()
    # For remedies: on which port to start it again, and which process starts what died. In place: this file is locked.
    write_atomically(directory / "run" / "port", str(port))
    (directory / "run" / "up").write_text(str(os.getpid()))
    for past in (directory / "run" / "ended", *(directory / "run").glob("*.deaths")):
        past.unlink(missing_ok=True)
    return Stack(directory=directory, port=port)


def _check_settings() -> None:
    """Read the settings in a child process, with the environment of the servers.

    Raise MalformedSetting with the child's sentence, or ProcessError. This process does not import Django.
    """
    done = subprocess.run(
        [sys.executable, "-c", "import manage; manage.read_settings()"],
        cwd=REPOSITORY,
        env={**os.environ, **embedded.sandbox_setting()},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode == EXIT_MALFORMED_SETTING:
        raise MalformedSetting(done.stderr.strip())
    if done.returncode:
        raise ProcessError(f"RelivChats cannot be started:\n{done.stderr.strip()}")


def _run_while_watching(stack: Stack, command: list[str]) -> int:
    """Return the exit status of a command that runs while the stack is watched, or 0 if a stop is requested."""
    if stack.interrupts.stop:
        return 0
    with subprocess.Popen(command) as child:
        try:
            while child.poll() is None:
                if stack.watch():
                    return 0
            return child.returncode
        finally:
            child.terminate()


def _demo_command(address: str, arguments: Sequence[str]) -> list[str]:
    return [sys.executable, str(REPOSITORY / "manage.py"), "demo", *arguments, "--base-url", address]


def _child(
    directory: Path,
    name: str,
    module: list[str],
    *,
    patience_seconds: float,
    orphan_signal: signal.Signals = signal.SIGKILL,
    **environment: str,
) -> Child:
    return Child(
        name=name,
        command=[sys.executable, "-m", *module],
        run=directory / "run",
        log=directory / "logs" / f"{name}.log",
        environment={
            # Only migrations need the owner of the tables.
            **{variable: value for variable, value in os.environ.items() if variable != "DATABASE_OWNER_URL"},
            "RELIVCHATS_DATA": str(directory),
            MARK: name,
            **embedded.sandbox_setting(),
            **environment,
        },
        cwd=REPOSITORY,
        stop_signals=[(signal.SIGTERM, patience_seconds)],
        orphan_signal=orphan_signal,
    )


def running_elsewhere(directory: Path) -> Path | None:
    """Return the data directory of another `up` of this code, or None if there is none or one on `directory`."""
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            environment = process.environ()
            if MARK in environment and process.cwd() == str(REPOSITORY):
                found.add(Path(environment["RELIVCHATS_DATA"]))
    return None if directory in found else min(found, default=None)


def _read_text(path: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        return path.read_text()
    return ""


def _print(text: str) -> None:
    # A closed terminal is no reason to stop serving.
    with contextlib.suppress(OSError):
        print(text, flush=True)


def _print_error(text: str) -> None:
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def _port(text: str) -> int:
    if not (text.isdecimal() and 0 < int(text) < 65_536):
        raise argparse.ArgumentTypeError(f"{text} is no port: choose one from 1 to 65535")
    return int(text)


def main() -> int:
    """Run the command of `./dev` and return its exit status."""
    parser = argparse.ArgumentParser(prog="./dev")
    commands = parser.add_subparsers(dest="command", required=True)
    up_options = commands.add_parser("up", help="serve in the foreground")
    up_options.add_argument("--port", type=_port, default=PORT)
    demo_options = commands.add_parser("demo", help="upload an export and unlock insights")
    demo_options.add_argument("export", nargs="?", type=Path)
    demo_options.add_argument("--port", type=_port, default=PORT)
    demo_options.add_argument(
        "--once", action="store_true", help="stop everything after the report; exit with 1 if the chat fits no insight"
    )
    demo_options.add_argument("--full", action="store_true", help="show every quote")
    demo_options.add_argument("--category", help="what to unlock: romantic, friendship, family or workplace")
    demo_options.add_argument("--language", help="the language of the insights: en, hi, es, pt or de")
    demo_options.add_argument("--chat", metavar="ID", help="the chat to read, if the export has several")
    demo_options.add_argument("--engine", choices=["local", "gemini", "openai"], help="what writes the insights")
    demo_options.add_argument(
        "--base-url", metavar="URL", help="the server of --engine openai, such as http://localhost:11434/v1"
    )
    demo_options.add_argument("--model", metavar="NAME", help="its model; default: the first that it lists")
    commands.add_parser("env", help="print the addresses of the embedded servers")
    options = parser.parse_args()
    try:
        if options.command == "env":
            print(f"DATABASE_URL={embedded.database_url()}\nREDIS_URL={embedded.redis_url()}")
            return 0
        if options.command == "up":
            return up(port=options.port)
        if options.export and not options.export.exists():
            _print_error(f"There is no file {options.export}. Check its path.")
            return EXIT_UNREADABLE
        engine = demo_engine(engine=options.engine, base_url=options.base_url, model=options.model)
        flags = [f"--{name}" for name in ("once", "full") if getattr(options, name)]
        chat = [f"--{name}={value}" for name in ("chat", "category", "language") if (value := getattr(options, name))]
        export = [str(options.export.resolve())] if options.export else []
        return demo(port=options.port, once=options.once, arguments=[*export, *flags, *chat], engine=engine)
    except ProcessError as error:
        _print_error(embedded.describe(error))
        return EXIT_MALFORMED_SETTING if isinstance(error, MalformedSetting) else 1
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _print_error(embedded.DISK_IS_FULL.format(embedded.data_directory()))
        return 1
    except KeyboardInterrupt:
        # Only in the first moments, before Interrupts handles Ctrl-C.
        _print("Stopped.")
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
