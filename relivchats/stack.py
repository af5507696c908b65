"""The whole of RelivChats in one terminal: `python -m relivchats.stack up|demo|env`. No Django."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from relivchats import embedded, serve
from relivchats.embedded import REPOSITORY
from relivchats.liveness import has_heartbeat, is_ready
from relivchats.servers import HOST, port_free
from relivchats.supervisor import Child, Interrupts, ProcessError, locked, sweep, tail, write_atomically

PORT = 8000
#: As the demo command says it of an export that cannot be read.
UNREADABLE = 2
#: As manage.py says it.
MALFORMED = 2
READY_TIMEOUT_SECONDS = 120.0
WATCH_SECONDS = 0.5
WATCH_WHILE_STARTING_SECONDS = 0.05
WARM_SHUTDOWN_SECONDS = 15.0
# Which installation and which part a process belongs to, for the sweep after a crash.
MARK = "RELIVCHATS_PROCESS"


class MalformedSetting(ProcessError):
    """A variable of the environment that cannot be used."""


class Stack:
    """Web, worker and beat over the servers that they need. The caller holds the directory's lock."""

    def __init__(self, *, directory: Path, port: int) -> None:
        self.directory = directory
        self.port = port
        self.interrupts = Interrupts()
        self.web, self.worker, self.beat = _web(directory, port), _worker(directory), _beat(directory)
        self._due_at: dict[str, float] = {}
        self._server_pids: dict[str, str] = {}

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.port}"

    @contextlib.contextmanager
    def started(self) -> Iterator[None]:
        """Ready for the block, or asked to stop before it was; stopped in order after it."""
        _say("Starting Postgres, the broker and RelivChats…")
        with embedded.running():
            self._server_pids = {server.name: _text(server.pid_file) for server in embedded.needed()}
            try:
                self._migrate()
                if not self.interrupts.stop:
                    for child in (self.web, self.worker, self.beat):
                        child.start()
                    self._await_ready()
                yield
            finally:
                self.address_file.unlink(missing_ok=True)
                for child in (self.web, self.beat, self.worker):
                    child.stop()

    @property
    def address_file(self) -> Path:
        return self.directory / "run" / "address"

    def watch(self, timeout_seconds: float = WATCH_SECONDS) -> bool:
        """Look after every process once. True when asked to stop. Raises ProcessError when one dies too often."""
        if self.interrupts.stop:
            return True
        for child in (self.web, self.worker, self.beat):
            self._look_after(child)
        self._look_after_servers()
        return self.interrupts.wait(timeout_seconds)

    def serve(self) -> None:
        while not self.watch():
            pass

    def _migrate(self) -> None:
        log = self.directory / "logs" / "migrate.log"
        with log.open("wb") as output:
            done = subprocess.run(
                [sys.executable, str(REPOSITORY / "manage.py"), "migrate", "--noinput"],
                # Ctrl-C does not reach it: what it began it ends.
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
        while not self._ready():
            if self.watch(WATCH_WHILE_STARTING_SECONDS):
                return
            if time.monotonic() > deadline:
                raise ProcessError(f"RelivChats is not ready after {READY_TIMEOUT_SECONDS:.0f} s: see {self._logs}.")
        write_atomically(self.address_file, self.address)

    def _ready(self) -> bool:
        url = os.environ.get("DATABASE_URL") or embedded.database_url()
        return is_ready(HOST, self.port) and all(
            child.process is not None and has_heartbeat(url, kind=child.name, pid=child.process.pid)
            for child in (self.worker, self.beat)
        )

    def _look_after(self, child: Child) -> None:
        if child.alive:
            return
        due_at = self._due_at.get(child.name)
        if due_at is None:
            child.end_session()
            delay_seconds = child.restart_delay_seconds()
            if delay_seconds is None:
                raise ProcessError(f"{child.name} died too often. The end of {child.log}:\n{tail(child.log)}")
            _say(f"{child.name} died and is started again; its log is {child.log}")
            self._due_at[child.name] = time.monotonic() + delay_seconds
        elif time.monotonic() >= due_at:
            del self._due_at[child.name]
            child.start()

    def _look_after_servers(self) -> None:
        """Their keepers restart the servers; here a killed keeper gets a successor."""
        for server in embedded.needed():
            if not server.kept():
                pid, _ = server.keeper_state()
                if not pid:
                    raise ProcessError(f"{server.name} died too often. The end of {server.log}:\n{tail(server.log)}")
                embedded.ensure([server])
            if (pid_now := _text(server.pid_file)) and pid_now != self._server_pids[server.name]:
                _say(f"{server.name} died and was started again; its log is {server.log}")
                self._server_pids[server.name] = pid_now

    @property
    def _logs(self) -> Path:
        return self.directory / "logs"


def up(*, port: int) -> int:
    """Serve in the foreground until asked to stop."""
    directory = embedded.prepare_directory()
    with locked(directory / "run" / "up", wait=False) as free:
        if not free:
            _complain(f"RelivChats already runs on {directory}{_at(directory)}.")
            return 1
        stack = _stack(directory, port)
        with stack.started():
            if not stack.interrupts.stop:
                _say(f"ready: {stack.address}    (Ctrl-C stops it)")
            stack.serve()
        _say("Stopped.")
    return 0


def demo(*, port: int, once: bool, arguments: Sequence[str]) -> int:
    """Start the stack, run the demo as its client, and keep serving unless told otherwise."""
    directory = embedded.prepare_directory()
    with locked(directory / "run" / "up", wait=False) as free:
        if not free:
            return subprocess.run(
                _demo_command(_text(directory / "run" / "address"), arguments), check=False
            ).returncode
        stack = _stack(directory, port)
        with stack.started():
            status = _run_beside(stack, _demo_command(stack.address, arguments))
            # If Ctrl-C ended the demo, everything is about to stop.
            if status == 0 and not once and not stack.interrupts.stop:
                _say(f"Serving at {stack.address}    (Ctrl-C stops it)")
                stack.serve()
    return status


def _stack(directory: Path, port: int) -> Stack:
    """A stack whose settings are sound and whose port is free, once nothing of an earlier run is left."""
    _read_settings()
    sweep(lambda process: _belongs_to(process, directory), ask=signal.SIGTERM)
    if not port_free(port):
        raise ProcessError(f"Port {port} is taken by another program. Choose another: --port {port + 1}")
    embedded.record_sandbox()
    return Stack(directory=directory, port=port)


def _read_settings() -> None:
    """As every process will read them. Raises MalformedSetting with the sentence that names it, or ProcessError."""
    done = subprocess.run(
        [sys.executable, "-c", "import manage; manage.read_settings()"],
        cwd=REPOSITORY,
        env={**os.environ, **embedded.sandbox_setting()},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode == MALFORMED:
        raise MalformedSetting(done.stderr.strip())
    if done.returncode:
        raise ProcessError(f"RelivChats cannot be started:\n{done.stderr.strip()}")


def _run_beside(stack: Stack, command: list[str]) -> int:
    """The status of a child that runs while the stack is looked after; 0 when asked to stop meanwhile."""
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


def _web(directory: Path, port: int) -> Child:
    return _child(
        directory,
        "web",
        serve.web(host=HOST, port=port, kill_timeout_seconds=5),
        patience_seconds=10,
        orphan_signal=signal.SIGTERM,
    )


def _worker(directory: Path) -> Child:
    return _child(directory, "worker", serve.worker(), patience_seconds=WARM_SHUTDOWN_SECONDS, CELERY_WORKER="true")


def _beat(directory: Path) -> Child:
    return _child(directory, "beat", serve.beat(schedule=str(directory / "run" / "beat.schedule")), patience_seconds=5)


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
            **os.environ,
            "RELIVCHATS_DATA": str(directory),
            MARK: name,
            **embedded.sandbox_setting(),
            **environment,
        },
        cwd=REPOSITORY,
        stop_signals=[(signal.SIGTERM, patience_seconds)],
        orphan_signal=orphan_signal,
    )


def _belongs_to(process: psutil.Process, directory: Path) -> bool:
    environment = process.environ()
    return MARK in environment and environment.get("RELIVCHATS_DATA") == str(directory)


def running_elsewhere(directory: Path) -> Path | None:
    """Return the data directory of another `up` of this code, or None if there is none or one on `directory`."""
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            environment = process.environ()
            if MARK in environment and process.cwd() == str(REPOSITORY):
                found.add(Path(environment["RELIVCHATS_DATA"]))
    return None if directory in found else min(found, default=None)


def _text(path: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        return path.read_text()
    return ""


def _at(directory: Path) -> str:
    address = _text(directory / "run" / "address")
    return f" at {address}" if address else ""


def _say(text: str) -> None:
    # Nobody reading any more is no reason to stop serving.
    with contextlib.suppress(OSError):
        print(text, flush=True)


def _complain(text: str) -> None:
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def _port(text: str) -> int:
    if not (text.isdecimal() and 0 < int(text) < 65_536):
        raise argparse.ArgumentTypeError(f"{text} is no port: choose one from 1 to 65535")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./dev")
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("up", help="the stack in the foreground")
    serve.add_argument("--port", type=_port, default=PORT)
    show = commands.add_parser("demo", help="an export in, insights out")
    show.add_argument("export", nargs="?", type=Path)
    show.add_argument("--port", type=_port, default=PORT)
    show.add_argument("--once", action="store_true", help="stop everything when the report is printed")
    show.add_argument("--full", action="store_true", help="every quote")
    show.add_argument("--chat", metavar="ID", help="which chat of an export that holds several")
    commands.add_parser("env", help="the addresses of the embedded servers")
    return parser


def main() -> int:
    options = _parser().parse_args()
    try:
        if options.command == "env":
            print(f"DATABASE_URL={embedded.database_url()}\nREDIS_URL={embedded.redis_url()}")
            return 0
        if options.command == "up":
            return up(port=options.port)
        if options.export and not options.export.exists():
            _complain(f"There is no file {options.export}. Check its path.")
            return UNREADABLE
        flags = [f"--{name}" for name in ("once", "full") if getattr(options, name)]
        chosen = [f"--chat={options.chat}"] if options.chat else []
        export = [str(options.export.resolve())] if options.export else []
        return demo(port=options.port, once=options.once, arguments=[*export, *flags, *chosen])
    except ProcessError as error:
        _complain(str(error))
        return MALFORMED if isinstance(error, MalformedSetting) else 1
    except KeyboardInterrupt:
        # In the first moments: later on Ctrl-C stops what runs.
        _say("Stopped.")
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
