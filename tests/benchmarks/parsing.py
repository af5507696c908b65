"""Seconds and memory of reading and counting exports: python -m tests.benchmarks.parsing [MESSAGES ...]

Each row is measured in a separate process. Seconds are medians of five runs (of three for half a million messages or
more), and memory is the peak of the process. Compare `cpu` if other processes use the machine.
"""

from __future__ import annotations

import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from chats.exports import unpacking, whatsapp
from chats.statistics import StatisticsCounter
from tests import exports

ROWS = ((2, "android-24h"), (40, "android-24h"), (2, "ios-12h"), (40, "ios-24h"))
NO_LIMIT_BYTES = 2**40
MIB = 1024 * 1024


class Timing(NamedTuple):
    """Seconds of the stages of one run. `cpu` are CPU seconds of the whole run."""

    unpacking: float
    parsing: float
    counting: float
    total: float
    cpu: float


def main() -> None:
    """Print a row for each size, number of people and style."""
    sizes = [int(argument) for argument in sys.argv[1:]] or [100_000, 1_000_000]
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}")
    print("  messages people style            MB  unpack   parse   count   total     cpu     peak")
    with tempfile.TemporaryDirectory() as folder:
        for messages in sizes:
            for people, style in ROWS if messages < 500_000 else ROWS[:1]:
                path = exports.write(Path(folder) / "chat.txt", messages, people=people, style=style)
                runs = 5 if messages < 500_000 else 3
                command = [sys.executable, "-m", "tests.benchmarks.parsing", "--measure", str(path), str(runs)]
                figures = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                print(f"{messages:>10,} {people:>6} {style:12} {figures.strip()}", flush=True)


def measure(path: Path, runs: int) -> str:
    """Return a row: size, median seconds of each stage, and the peak memory."""
    upload = path.read_bytes()
    timings = [once(upload) for _ in range(runs)]
    median = Timing(*map(statistics.median, zip(*timings, strict=True)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = " ".join(f"{value:6.3f}s" for value in median)
    return f"{len(upload) / MIB:6.1f} {seconds} {peak:5.0f}MiB"


def once(upload: bytes) -> Timing:
    """Read and count an upload once."""
    cpu, start = time.process_time(), time.perf_counter()
    text = unpacking.unpack(upload, limit_bytes=NO_LIMIT_BYTES)[0].text()
    read = time.perf_counter()
    export, counter, counting = whatsapp.parse(text), StatisticsCounter(), 0.0
    for batch in export.batches:
        begun = time.perf_counter()
        counter.add(batch)
        counting += time.perf_counter() - begun
    begun = time.perf_counter()
    counter.result(export.participants)
    end = time.perf_counter()
    counting += end - begun
    return Timing(read - start, end - read - counting, counting, end - start, time.process_time() - cpu)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(measure(Path(sys.argv[2]), int(sys.argv[3])))
    else:
        main()
