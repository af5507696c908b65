"""One installation's data directory, and the Postgres and Valkey that serve it from their wheels. No Django.

`database_url` and `redis_url` only name the servers; `running` starts them. Each server has a keeper, a small process
of its own that lives as long as anybody uses the server: users hold a shared lock on run/<server>.users, and the
keeper stops the server once nobody does. The kernel frees the lock of a killed user, so nothing is ever left running,
and the last one out, whoever that is, puts out the light.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from relivchats import servers
from relivchats.supervisor import ProcessError, lock, locked, tail, write_atomically

REPOSITORY = Path(__file__).resolve().parent.parent
START_TIMEOUT_SECONDS = 180.0
STOP_TIMEOUT_SECONDS = 30.0


def data_directory() -> Path:
    """RELIVCHATS_DATA, or var/ beside the code."""
    return Path(os.environ.get("RELIVCHATS_DATA") or REPOSITORY / "var").expanduser().resolve()


def database_url() -> str:
    return postgres().url


def redis_url() -> str:
    return valkey().url


def owns(url: str) -> bool:
    """Whether this is the address of the data directory's own Postgres. Makes nothing."""
    directory = data_directory()
    known = (directory / "run" / "postgres.port", directory / "keys" / "postgres.password")
    return all(path.exists() for path in known) and url == database_url()


def secret(name: str, make: Callable[[], str]) -> str:
    """A secret of this installation, made at the first call and kept in keys/<name>, readable by its owner alone."""
    return _kept(data_directory() / "keys" / name, make)


def sandbox_setting() -> dict[str, str]:
    """Return the environment that enables the sandbox, unless the operator chose a value or a database.

    With `auto`, the sandbox is enabled only if no payment provider is configured.
    """
    decided = any(os.environ.get(name) for name in ("PAYMENTS_SANDBOX", "DATABASE_URL"))
    return {} if decided else {"PAYMENTS_SANDBOX": "auto"}


def record_sandbox() -> None:
    """Record for `sandbox_of_up` whether this `up` offers the sandbox."""
    value = sandbox_setting().get("PAYMENTS_SANDBOX") or os.environ.get("PAYMENTS_SANDBOX", "")
    write_atomically(data_directory() / "run" / "sandbox", value)


def sandbox_of_up() -> dict[str, str]:
    """Return PAYMENTS_SANDBOX as the last `up` on this data had it, unless this environment decides it.

    Commands need it as well: an order that was paid in the sandbox can only be refunded there.
    """
    with contextlib.suppress(OSError):
        if sandbox_setting() and (value := (data_directory() / "run" / "sandbox").read_text()):
            return {"PAYMENTS_SANDBOX": value}
    return {}


def needed() -> list[servers.Server]:
    """The servers that the environment does not give an address for."""
    return [
        *([] if os.environ.get("DATABASE_URL") else [postgres()]),
        *([] if os.environ.get("REDIS_URL") else [valkey()]),
    ]


@contextlib.contextmanager
def running() -> Iterator[None]:
    """Use the embedded servers for the block: started if they are not up, stopped after by whoever leaves last.

    Raises ProcessError when one cannot be started.
    """
    using = needed()
    with contextlib.ExitStack() as held:
        handles = [(server, _handle(server.users)) for server in using]
        for server, handle in handles:
            held.callback(_leave, server, handle)
            lock(handle, shared=True)
        ensure(using)
        yield


def ensure(using: list[servers.Server]) -> None:
    """Wait until each server answers, starting keepers where there are none. The caller holds the users' locks."""
    with contextlib.ExitStack() as held:
        for server in using:
            held.enter_context(locked(server.run / f"{server.name}.start"))
        keepers = [(server, _start_keeper(server)) for server in using]
        # All of them, even when one fails: a keeper left while it starts would be hard to stop.
        failures = [failure for server, keeper in keepers if (failure := _failure(server, keeper))]
    if failures:
        raise failures[0]


def postgres() -> servers.Postgres:
    return servers.Postgres(*_identity("postgres"))


def valkey() -> servers.Valkey:
    return servers.Valkey(*_identity("valkey"))


def _identity(name: str) -> tuple[Path, str]:
    directory = prepare_directory()
    _kept(directory / "run" / f"{name}.port", lambda: str(servers.free_port()))
    return directory, secret(f"{name}.password", lambda: secrets.token_urlsafe(24))


def prepare_directory() -> Path:
    """The data directory, made where it was missing. Raises ProcessError when it cannot be."""
    directory = data_directory()
    try:
        # Postgres will not run as root, so another user must be able to pass through.
        directory.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        for name, mode in (("run", 0o711), ("keys", 0o700), ("logs", 0o700)):
            (directory / name).mkdir(mode=mode, exist_ok=True)
    except OSError as error:
        raise ProcessError(f"Cannot write to the data directory {directory}: {error.strerror}.") from None
    return directory


def _kept(path: Path, make: Callable[[], str]) -> str:
    """The file's text, made once: two first callers get the same one, and a crash leaves a whole file or none."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_text()
    prepare_directory()
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(make())
        file.flush()
        os.fsync(file.fileno())
    with contextlib.suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()
    return path.read_text()


def _handle(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def _start_keeper(server: servers.Server) -> subprocess.Popen[bytes] | None:
    if server.kept():
        return None
    with server.log.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "relivchats.servers", server.name, str(server.directory)],
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _failure(server: servers.Server, keeper: subprocess.Popen[bytes] | None) -> ProcessError | None:
    """Wait until the server answers. What to tell the person when it never does."""
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        pid, ready = server.keeper_state()
        if ready and (keeper is None or pid == keeper.pid):
            return None
        gone = keeper.poll() is not None if keeper else not server.kept()
        if gone:
            break
        time.sleep(0.01)
    return ProcessError(f"{server.title} did not start. The end of {server.log}:\n{tail(server.log)}")


def _leave(server: servers.Server, handle: int) -> None:
    """Stop using a server; when nobody else does, see it stopped before returning."""
    os.close(handle)
    deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        with locked(server.users, wait=False) as alone:
            if alone:
                _stop_keeper(server, deadline)
                return
        with locked(server.users, shared=True, wait=False) as others:
            if others:
                return
        # Neither: the keeper saw the last user go and is stopping the server.
        time.sleep(0.01)


def _stop_keeper(server: servers.Server, deadline: float) -> None:
    asked = 0
    while server.kept() and time.monotonic() < deadline:
        pid, _ = server.keeper_state()
        if pid and pid != asked:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            asked = pid
        time.sleep(0.01)
    if asked:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(asked, 0)
