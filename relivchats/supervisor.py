"""Child processes that never outlive their parent: start, watch and stop them, and kill leftovers. No Django."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import psutil

LOG_LIMIT_BYTES = 10 * 1024 * 1024
DEATHS_ALLOWED = 5
MAX_DEATHS_KEPT = 50
DEATHS_WINDOW_SECONDS = 60.0
BACKOFF_SECONDS = (0.1, 0.5, 1.0, 2.0)
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(number: signal.Signals = signal.SIGKILL) -> None:
    """Make the kernel send this process a signal when the parent dies in any way (Linux only)."""
    if _libc:
        _libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)


class ProcessError(Exception):
    """A process cannot be started or kept running. The message is a sentence for the terminal."""


@dataclass
class Child:
    """One process with its pid file and its log.

    `stop_signals` are sent in this order, each followed by a wait of so many seconds. `become` runs between fork and
    exec and changes the user. `orphan_signal` is sent by the kernel when the parent dies in any way (Linux only;
    elsewhere the next start kills leftovers).
    """

    name: str
    command: Sequence[str]
    run: Path
    log: Path
    environment: Mapping[str, str]
    cwd: Path
    stop_signals: Sequence[tuple[signal.Signals, float]]
    orphan_signal: signal.Signals = signal.SIGKILL
    become: Callable[[], None] | None = None
    stdin: bytes = b""
    deaths: deque[float] = field(default_factory=deque)
    process: subprocess.Popen[bytes] | None = None

    @property
    def pid_file(self) -> Path:
        """Return the path of the file that contains the pid while the process runs."""
        return self.run / f"{self.name}.pid"

    @property
    def alive(self) -> bool:
        """Return whether the process was started and still runs."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start the process in a session of its own, with its output appended to the log."""
        self.rotate_log()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(self.environment),
                cwd=self.cwd,
                # One session per child, so that `end_session` reaches its own children as well.
                start_new_session=True,
                preexec_fn=self._before_exec,  # noqa: PLW1509
            )
        if self.process.stdin:
            # The process may have died at once; its log says why.
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.write(self.stdin)
                self.process.stdin.close()
        self.write_pid()

    def write_pid(self) -> None:
        """Write the pid file unless it names this process. On a full disk there is none: call this again later."""
        if self.process is None:
            return
        line = f"{self.process.pid}\n"
        try:
            if not self.pid_file.exists() or self.pid_file.read_text() != line:
                write_atomically(self.pid_file, line)
        except OSError:
            # The file would still name the process before.
            with contextlib.suppress(OSError):
                self.pid_file.unlink(missing_ok=True)

    def rotate_log(self) -> None:
        """Move the lines of a log that is larger than LOG_LIMIT_BYTES to `<log>.1`, whose lines are dropped.

        The process has the file open and appends to it, so it is copied and emptied, not renamed.
        """
        if not self.log.exists() or self.log.stat().st_size <= LOG_LIMIT_BYTES:
            return
        draft = self.log.with_name(f".{self.log.name}.1")
        try:
            with self.log.open("rb") as lines, draft.open("wb") as copy:
                # To the end of the file, so also what is written meanwhile.
                shutil.copyfileobj(lines, copy)
                os.truncate(self.log, 0)
            draft.replace(self.log.with_name(f"{self.log.name}.1"))
        except OSError:
            # The disk is full: the old lines are worth less than the new ones.
            draft.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                os.truncate(self.log, 0)

    def _before_exec(self) -> None:
        if self.become:
            self.become()
        # After the change of user, because the kernel resets this setting when the user changes.
        die_with_parent(self.orphan_signal)

    def restart_delay_seconds(self) -> float | None:
        """Record a death. Return the seconds to wait before the next start, or None after too many deaths.

        If an operator replaced the process, it did not die: the next one starts at once.
        """
        if self.replaced.exists():
            self.replaced.unlink(missing_ok=True)
            return 0.0
        self._write_death()
        now = time.monotonic()
        self.deaths.append(now)
        while self.deaths and self.deaths[0] < now - DEATHS_WINDOW_SECONDS:
            self.deaths.popleft()
        if len(self.deaths) >= DEATHS_ALLOWED:
            return None
        return BACKOFF_SECONDS[min(len(self.deaths), len(BACKOFF_SECONDS)) - 1]

    @property
    def replaced(self) -> Path:
        """Return the path of the file that says that an operator ends this process, to replace it."""
        return self.run / f"{self.name}.replaced"

    def _write_death(self) -> None:
        """Add the time to the deaths that `health` reports when they are frequent."""
        path = self.run / f"{self.name}.deaths"
        # On a full disk, what matters is that the process is started again.
        with contextlib.suppress(OSError):
            earlier = path.read_text().splitlines() if path.exists() else []
            write_atomically(path, "\n".join([*earlier[-MAX_DEATHS_KEPT:], str(time.time())]))

    def stop(self) -> None:
        """Send the stop signals until the process ends, then kill the rest of its session."""
        if not self.process:
            return
        for number, patience_seconds in self.stop_signals:
            if self.process.poll() is not None:
                break
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(patience_seconds)
        self.end_session()
        self.process.wait()
        self.pid_file.unlink(missing_ok=True)

    def end_session(self) -> None:
        """Kill all processes of the session: servers fork workers, which outlive a killed server."""
        if self.process:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)


class Interrupts:
    """Turn SIGTERM, SIGINT and SIGHUP into the flag `stop`, and wait in a way that every signal interrupts.

    SIGCHLD interrupts the wait as well, so that the death of a child is noticed at once.
    """

    def __init__(self, *, ignore_ctrl_c: bool = False) -> None:
        self.stop = False
        self._reader, writer = os.pipe()
        for end in (self._reader, writer):
            os.set_blocking(end, False)
        # A signal between the check of `stop` and select() would be lost; a byte in this pipe is not.
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._request_stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN if ignore_ctrl_c else self._request_stop)
        signal.signal(signal.SIGHUP, self._request_stop)
        # A signal that is ignored does not wake the wait, so it needs a handler.
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def _request_stop(self, number: int, frame: FrameType | None) -> None:
        self.stop = True

    def wait(self, timeout_seconds: float) -> bool:
        """Wait for a signal or the timeout. Return whether a stop was requested."""
        if not self.stop:
            select.select([self._reader], [], [], timeout_seconds)
            with contextlib.suppress(BlockingIOError):
                os.read(self._reader, 4096)
        return self.stop


def kill_leftovers(matches: Callable[[psutil.Process], bool], *, first: signal.Signals = signal.SIGTERM) -> int:
    """End the processes of an earlier run that `matches`, first with this signal. Return their number."""
    leftovers = []
    for process in psutil.process_iter():
        # A process may end while we look at it, or belong to another user.
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and matches(process):
                leftovers.append(process)
    for process in leftovers:
        with contextlib.suppress(psutil.Error):
            process.send_signal(first)
            # A stopped process would not receive the signal.
            process.resume()
    _, alive = psutil.wait_procs(leftovers, timeout=5)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=5)
    return len(leftovers)


@contextlib.contextmanager
def locked(path: Path, *, shared: bool = False, wait: bool = True) -> Iterator[bool]:
    """Lock a file for the block. Yield False if it is taken and `wait` is false. A killed holder frees its lock."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield lock(handle, shared=shared, wait=wait)
    finally:
        os.close(handle)


def lock(handle: int, *, shared: bool = False, wait: bool = True) -> bool:
    """Lock an open file until it is closed. Return False if it is taken and `wait` is false."""
    how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(handle, how if wait else how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_atomically(path: Path, text: str) -> None:
    """Replace the text of a private file (0600) in one step, so that no reader sees half of it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def tail(log: Path, *, lines: int = 5) -> str:
    """Return the last lines of a log, for an error message."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 8192))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
