"""The data directory of an installation, and the embedded Postgres and Valkey that serve it. No Django.

`database_url` and `redis_url` only return addresses; `running` starts the servers. Each server has a keeper: a small
process that starts the server, restarts it after a crash, and stops it when nobody uses it any more. Users hold a
shared lock on run/<server>.users. The kernel frees the lock of a killed user, so no server is left running.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
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
DISK_IS_FULL = "The disk with {} is full. Free some space, then start again."


def data_directory() -> Path:
    """Return the directory that RELIVCHATS_DATA names, or var/ in the repository."""
    return Path(os.environ.get("RELIVCHATS_DATA") or REPOSITORY / "var").expanduser().resolve()


def database_url() -> str:
    """Return the address of the embedded Postgres for the application."""
    return postgres().url


def owner_url() -> str:
    """Return the address of the embedded Postgres for migrations: its role owns the tables."""
    return postgres().owner_url


def redis_url() -> str:
    """Return the address of the embedded Valkey."""
    return valkey().url


def is_embedded(url: str) -> bool:
    """Return whether this is the address of the embedded Postgres. Creates no files."""
    directory = data_directory()
    known = (
        directory / "run" / "postgres.port",
        directory / "keys" / "postgres.password",
        directory / "keys" / "postgres-application.password",
    )
    return all(path.exists() for path in known) and url in (database_url(), owner_url())


def secret(name: str, make: Callable[[], str]) -> str:
    """Return the secret in keys/<name>, which only its owner can read. The first call creates it with `make`."""
    return _read_or_create(data_directory() / "keys" / name, make)


def keyring(make: Callable[[], str]) -> str:
    """Return the text of keys/keyring. The first call creates it with `make`.

    Raise ProcessError if the file was there before and is missing: a new keyring would not open what is stored.
    """
    if is_keyring_missing():
        raise ProcessError(
            f"The encryption keys of this installation, {keyring_file()}, are missing. Restore the file from a backup:"
            f" without it, no chat can be opened. To start empty instead, name another directory: RELIVCHATS_DATA=…"
        )
    text = secret("keyring", make)
    if not _keyring_mark().exists():
        write_atomically(_keyring_mark(), "")
    return text


def keyring_file() -> Path:
    """Return the path of the keyring of this data."""
    return data_directory() / "keys" / "keyring"


def is_keyring_missing() -> bool:
    """Return whether the keyring was created before and its file is missing."""
    return _keyring_mark().exists() and not keyring_file().exists()


def _keyring_mark() -> Path:
    return data_directory() / "run" / "keyring"


def key_store() -> Path:
    """Return the directory of the key store. Creates nothing: the first import does."""
    return data_directory() / "chat-keys"


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
    """Return the servers whose address is not in the environment."""
    return [
        *([] if os.environ.get("DATABASE_URL") else [postgres()]),
        *([] if os.environ.get("REDIS_URL") else [valkey()]),
    ]


@contextlib.contextmanager
def running() -> Iterator[None]:
    """Use the embedded servers for the block. The first user starts them, the last one waits until they have stopped.

    Raise ProcessError if one cannot be started.
    """
    using = needed()
    with contextlib.ExitStack() as held:
        handles = [(server, os.open(server.users, os.O_RDWR | os.O_CREAT, 0o600)) for server in using]
        for server, handle in handles:
            held.callback(_leave, server, handle)
            lock(handle, shared=True)
        ensure(using)
        yield


def ensure(using: list[servers.Server]) -> None:
    """Start a keeper for each server that has none, and wait until the servers answer. Raise ProcessError.

    The caller holds the users' locks.
    """
    with contextlib.ExitStack() as held:
        for server in using:
            held.enter_context(locked(server.run / f"{server.name}.start"))
        keepers = [(server, _start_keeper(server)) for server in using]
        # Wait for all of them, even if one fails: a keeper cannot be stopped while it starts.
        failures = [failure for server, keeper in keepers if (failure := _wait_for(server, keeper))]
    if failures:
        raise failures[0]


def postgres() -> servers.Postgres:
    """Return the embedded Postgres of the data directory, running or not."""
    secret("postgres-application.password", lambda: secrets.token_urlsafe(24))
    return servers.Postgres(*_identity("postgres"))


def valkey() -> servers.Valkey:
    """Return the embedded Valkey of the data directory, running or not."""
    return servers.Valkey(*_identity("valkey"))


def _identity(name: str) -> tuple[Path, str]:
    directory = prepare_directory()
    _read_or_create(directory / "run" / f"{name}.port", lambda: str(servers.free_port()))
    return directory, secret(f"{name}.password", lambda: secrets.token_urlsafe(24))


def prepare_directory() -> Path:
    """Return the data directory, and create it if it is missing. Raise ProcessError if that fails."""
    directory = data_directory()
    try:
        # Postgres refuses to run as root, so another user must be able to pass through.
        directory.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        for name, mode in (("run", 0o711), ("keys", 0o700), ("logs", 0o700)):
            (directory / name).mkdir(mode=mode, exist_ok=True)
    except OSError as error:
        raise ProcessError(f"Cannot write to the data directory {directory}: {error.strerror}.") from None
    return directory


def describe(error: ProcessError) -> str:
    """Return the sentence of an error for the terminal, after that about a full disk if that explains it."""
    directory = data_directory()
    path = next(each for each in (directory, *directory.parents) if each.exists())
    if shutil.disk_usage(path).free >= servers.MIN_FREE_BYTES:
        return str(error)
    return f"{DISK_IS_FULL.format(directory)}\n{error}"


def _read_or_create(path: Path, make: Callable[[], str]) -> str:
    """Return the text of the file. Concurrent first callers get the same text, and after a crash the file is complete
    or missing."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_text()
    prepare_directory()
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(make())
        file.flush()
        # Without the keyring every chat is lost, so it must survive a power cut from the start.
        os.fsync(file.fileno())
    # link() fails if the file exists, where a rename would replace the text that another caller already uses.
    with contextlib.suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()
    return path.read_text()


def _start_keeper(server: servers.Server) -> subprocess.Popen[bytes] | None:
    if server.has_keeper():
        return None
    with server.log.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "relivchats.servers", server.name, str(server.directory)],
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Ctrl-C in the terminal must not reach it: other users of the server may go on.
            start_new_session=True,
        )


def _wait_for(server: servers.Server, keeper: subprocess.Popen[bytes] | None) -> ProcessError | None:
    """Wait until the server answers, and return None. Return the error for the terminal if it does not."""
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        pid, ready = server.keeper_state()
        # The file may still contain `ready` of a keeper that was killed.
        if ready and (keeper is None or pid == keeper.pid):
            return None
        stopped = keeper.poll() is not None if keeper else not server.has_keeper()
        if stopped:
            break
        time.sleep(0.01)
    return ProcessError(f"{server.title} did not start. The end of {server.log}:\n{tail(server.log)}")


def _leave(server: servers.Server, handle: int) -> None:
    """Stop using a server. If nobody else uses it, stop it and wait until it has stopped."""
    os.close(handle)
    deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        with locked(server.users, wait=False) as alone:
            if alone:
                pid = 0
                while server.has_keeper() and time.monotonic() < deadline:
                    current, _ = server.keeper_state()
                    # It writes its pid shortly after it takes the lock, and another one may have taken its place.
                    if current and current != pid:
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(current, signal.SIGTERM)
                            # A frozen one receives no other signal before it continues.
                            os.kill(current, signal.SIGCONT)
                        pid = current
                    time.sleep(0.01)
                if pid:
                    with contextlib.suppress(ChildProcessError):
                        os.waitpid(pid, 0)
                return
        with locked(server.users, shared=True, wait=False) as others:
            if others:
                return
        # Neither lock is free: the keeper holds it while it stops the server.
        time.sleep(0.01)
