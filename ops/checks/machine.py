"""Checks of the machine that runs this process."""

from __future__ import annotations

import psutil
from django.conf import settings

from ops.checks.registry import health_check
from relivchats import embedded
from relivchats.staff.reports import Level, Line

_MIB = 1024 * 1024


@health_check("disk")
def disk() -> Line:
    """Return the use of the file system that holds the data directory."""
    # The directory does not exist if the servers are not embedded; then its file system is that of a parent.
    path = embedded.data_directory()
    while not path.exists():
        path = path.parent
    usage = psutil.disk_usage(str(path))
    text = f"{usage.percent:.0f} % used, {usage.free // _MIB} MiB free"
    data = {"used_percent": usage.percent, "free_bytes": usage.free}
    remedy = "du -sh /var/lib/docker/containers/*; docker container prune -f; docker image prune -f"
    if usage.percent >= settings.HEALTH_DISK_CRITICAL_PERCENT:
        return Line("disk", Level.CRITICAL, text, remedy, data)
    if usage.percent >= settings.HEALTH_DISK_WARNING_PERCENT:
        return Line("disk", Level.WARNING, text, remedy, data)
    return Line("disk", Level.FINE, text, data=data)


@health_check("memory", verbose=True)
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


@health_check("processor", verbose=True)
def processor() -> Line:
    """Return the load averages over 1, 5 and 15 minutes, and the number of cores."""
    one, five, fifteen = psutil.getloadavg()
    text = f"load {one:.1f}, {five:.1f}, {fifteen:.1f} on {psutil.cpu_count()} cores"
    return Line("processor", Level.FINE, text, data={"load": [one, five, fifteen], "cores": psutil.cpu_count()})
