"""Child processes that never outlive their parent: start, watch, stop, and sweep what a crash left. No Django."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import select
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
DEATHS_WINDOW_SECONDS = 60.0
BACKOFF_SECONDS = (0.1, 0.5, 1.0, 2.0)
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class ProcessError(Exception):
    """A process that cannot be started or kept, told in a sentence for the person at the terminal."""


@dataclass
class Child:
    """One process with its pid file and its log.

    `become` runs between fork and exec, to change the user. `orphan_signal` is what the kernel sends when the parent
    dies, however it dies (Linux only; elsewhere the next start sweeps).
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
        return self.run / f"{self.name}.pid"

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        _rotate(self.log)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(self.environment),
                cwd=self.cwd,
                start_new_session=True,
                preexec_fn=self._before_exec,  # noqa: PLW1509
            )
        if self.process.stdin:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.write(self.stdin)
                self.process.stdin.close()
        write_atomically(self.pid_file, f"{self.process.pid}\n")

    def _before_exec(self) -> None:
        if self.become:
            self.become()
        # After the change of user: the kernel forgets the setting when a process changes it.
        if _libc:
            _libc.prctl(_PR_SET_PDEATHSIG, int(self.orphan_signal), 0, 0, 0)

    def restart_delay_seconds(self) -> float | None:
        """Note a death. How long to wait before the next start, or None when it died too often."""
        now = time.monotonic()
        self.deaths.append(now)
        while self.deaths and self.deaths[0] < now - DEATHS_WINDOW_SECONDS:
            self.deaths.popleft()
        if len(self.deaths) >= DEATHS_ALLOWED:
            return None
        return BACKOFF_SECONDS[min(len(self.deaths), len(BACKOFF_SECONDS)) - 1]

    def stop(self) -> None:
        """Ask, wait, insist; then end whatever is left of its session."""
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
        """Kill what a dead or stubborn process leaves behind: servers fork workers of their own."""
        if self.process:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)


class Interrupts:
    """SIGTERM and SIGINT as a flag, and a wait that any signal (a child's death too) cuts short."""

    def __init__(self, *, ignore_ctrl_c: bool = False) -> None:
        self.stop = False
        self._reader, writer = os.pipe()
        for end in (self._reader, writer):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGINT, signal.SIG_IGN if ignore_ctrl_c else self._ask)
        signal.signal(signal.SIGHUP, self._ask)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.stop = True

    def wait(self, timeout_seconds: float) -> bool:
        """Until a signal or the time-out. True when asked to stop."""
        if not self.stop:
            select.select([self._reader], [], [], timeout_seconds)
            with contextlib.suppress(BlockingIOError):
                os.read(self._reader, 4096)
        return self.stop


def sweep(matches: Callable[[psutil.Process], bool], *, ask: signal.Signals = signal.SIGTERM) -> int:
    """End the processes that an earlier run left behind. Returns how many there were."""
    left = [process for process in psutil.process_iter() if process.pid != os.getpid() and _safely(matches, process)]
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.send_signal(ask)
            process.resume()
    _, stubborn = psutil.wait_procs(left, timeout=5)
    for process in stubborn:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(stubborn, timeout=5)
    return len(left)


def _safely(matches: Callable[[psutil.Process], bool], process: psutil.Process) -> bool:
    try:
        return matches(process)
    except (psutil.Error, OSError):
        return False


@contextlib.contextmanager
def locked(path: Path, *, shared: bool = False, wait: bool = True) -> Iterator[bool]:
    """Hold a lock file for the block; yields False when it is taken and we do not wait. A killed holder frees it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield lock(handle, shared=shared, wait=wait)
    finally:
        os.close(handle)


def lock(handle: int, *, shared: bool = False, wait: bool = True) -> bool:
    how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(handle, how if wait else how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_atomically(path: Path, text: str) -> None:
    """Replace a private file (0600) whole: no reader sees half of it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
    draft.replace(path)


def tail(log: Path, *, lines: int = 5) -> str:
    """The end of a log, for an error message."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 8192))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])


def _rotate(log: Path) -> None:
    if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
        log.replace(log.with_name(f"{log.name}.1"))
