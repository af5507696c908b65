"""Checks of the machine that runs this process."""

from __future__ import annotations

import shlex

import psutil
from django.conf import settings

from ops.checks.registry import health_check
from relivchats import embedded
from relivchats.staff.reports import Level, Line

_MIB = 1024 * 1024
#: Postgres needs room for one file of its log of 16 MiB.
_FULL_BYTES = 16 * _MIB


@health_check("disk", needs=())
def disk() -> Line:
    """Return the use of the file system that holds the data directory."""
    # The directory does not exist if the servers are not embedded; then its file system is that of a parent.
    path = embedded.data_directory()
    while not path.exists():
        path = path.parent
    usage = psutil.disk_usage(str(path))
    text = f"{usage.percent:.0f} % used, {usage.free // _MIB} MiB free"
    data = {"used_percent": usage.percent, "free_bytes": usage.free}
    warning, critical = settings.HEALTH_DISK_WARNING_PERCENT, settings.HEALTH_DISK_CRITICAL_PERCENT
    level = Level.FINE
    if usage.percent >= warning:
        level = Level.CRITICAL if usage.percent >= critical else Level.WARNING
    return Line(
        "disk",
        level,
        text,
        "" if level is Level.FINE else f"du -xh --max-depth=3 {shlex.quote(str(path))} | sort -h | tail -n 20",
        data,
        value=usage.percent,
        threshold=f"{warning} % warns, {critical} % is critical",
        # Postgres and the broker stop when they cannot write any more, not before.
        is_cause=usage.free < _FULL_BYTES,
    )


@health_check("memory", needs=(), verbose=True)
def memory() -> Line:
    """Return the machine's use of memory and the five largest processes, by name and id only."""
    sizes = []
    for process in psutil.process_iter(["memory_info", "name", "pid"]):
        # None for a process of another user, which this one may not inspect.
        if process.info["memory_info"] is not None:
            sizes.append((process.info["memory_info"].rss, process.info["name"], process.info["pid"]))
    largest = sorted(sizes, reverse=True)[:5]
    total = psutil.virtual_memory()
    listed = ", ".join(f"{name} {pid}: {size // _MIB} MiB" for size, name, pid in largest)
    data = {"used_percent": total.percent, "largest": [{"name": n, "pid": p, "bytes": s} for s, n, p in largest]}
    return Line("memory", Level.FINE, f"{total.percent:.0f} % used; {listed}", data=data)


@health_check("processor", needs=(), verbose=True)
def processor() -> Line:
    """Return the load averages over 1, 5 and 15 minutes, and the number of cores."""
    one, five, fifteen = psutil.getloadavg()
    text = f"load {one:.1f}, {five:.1f}, {fifteen:.1f} on {psutil.cpu_count()} cores"
    return Line("processor", Level.FINE, text, data={"load": [one, five, fifteen], "cores": psutil.cpu_count()})
