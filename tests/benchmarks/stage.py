"""What all benchmarks share: a temporary installation, a web process, and the measurement of time and memory."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import psutil

from tests.plugin import NO_RATE_LIMITS

T = TypeVar("T")

REPOSITORY = Path(__file__).resolve().parent.parent.parent


@contextlib.contextmanager
def installation(kept: Path | None = None) -> Iterator[Path]:
    """Run the embedded servers, migrate the database, and set up Django: in a temporary directory, or in `kept`."""
    directory = kept or Path(tempfile.mkdtemp(prefix="relivchats-benchmark-"))
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o711)
    os.environ.update(
        RELIVCHATS_DATA=str(directory),
        DJANGO_SETTINGS_MODULE="relivchats.settings",
        LOG_LEVEL="WARNING",
        **NO_RATE_LIMITS,
    )
    for name in ("DATABASE_URL", "REDIS_URL"):
        os.environ.pop(name, None)
    from relivchats import embedded

    try:
        with embedded.running():
            import django
            from django.core.management import call_command

            django.setup()
            call_command("migrate", verbosity=0)
            yield directory
    finally:
        if kept is None:
            shutil.rmtree(directory, ignore_errors=True)


class Web(NamedTuple):
    """A web process and its port."""

    port: int
    process: psutil.Process

    def peak_bytes(self) -> int:
        """Return the peak memory of the serving process since its start."""
        return max(map(peak_bytes, self._processes()))

    def cpu_seconds(self) -> float:
        """Return the CPU seconds of the web process and its children since their start."""
        times = [process.cpu_times() for process in self._processes()]
        return float(sum(spent.user + spent.system for spent in times))

    def _processes(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]


@contextlib.contextmanager
def web() -> Iterator[Web]:
    """Run one web process with the options of `./dev up`."""
    from relivchats import serve
    from relivchats.servers import connects, free_port
    from tests.processes import eventually

    port = free_port()
    command = [sys.executable, "-m", *serve.web(host="127.0.0.1", port=port)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL) as child:
        try:
            eventually(lambda: connects(port), because=lambda: "the web process did not start")
            yield Web(port, psutil.Process(child.pid))
        finally:
            child.terminate()


def peak_bytes(process: psutil.Process) -> int:
    """Return the largest resident set of the process since its start."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def machine() -> str:
    """Return a description of the machine for the first line of a benchmark."""
    memory = psutil.virtual_memory().total / 2**30
    return f"{os.cpu_count()} CPUs, {memory:.0f} GB, Python {platform.python_version()}, {platform.system()}"


class Spent(NamedTuple):
    """Elapsed seconds, and CPU seconds of this process. They differ if other processes use the machine."""

    clock: float
    work: float

    def __str__(self) -> str:
        return f"{self.clock:.2f} s ({self.work:.2f} s of CPU)"


def timed(do: Callable[[], T]) -> tuple[T, Spent]:
    """Call the function. Return its result and the time that it takes."""
    clock, work = time.perf_counter(), time.process_time()
    result = do()
    return result, Spent(time.perf_counter() - clock, time.process_time() - work)


def median(seconds: Sequence[float]) -> str:
    """Return the median for display, with the number of measurements."""
    return f"{statistics.median(seconds):.2f} s (median of {len(seconds)})"


def megabytes(size_bytes: int) -> str:
    """Return the size for display."""
    return f"{size_bytes / 1e6:.0f} MB"
