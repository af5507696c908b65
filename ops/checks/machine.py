"""The machine under this process."""

from __future__ import annotations

import psutil
from django.conf import settings

from relivchats import embedded
from relivchats.staff.reports import Level, Line

_MIB = 1024 * 1024


def disk() -> Line:
    """The file system that holds the data directory."""
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


def memory() -> Line:
    """Memory of the machine, and the five processes that hold most, by name and id only."""
    total = psutil.virtual_memory()
    largest = sorted(_processes(), reverse=True)[:5]
    text = f"{total.percent:.0f} % used; " + ", ".join(
        f"{name} {pid}: {size // _MIB} MiB" for size, name, pid in largest
    )
    data = {"used_percent": total.percent, "largest": [{"name": n, "pid": p, "bytes": s} for s, n, p in largest]}
    return Line("memory", Level.FINE, text, data=data)


def _processes() -> list[tuple[int, str, int]]:
    found = []
    for process in psutil.process_iter(["memory_info", "name", "pid"]):
        if process.info["memory_info"] is not None:
            found.append((process.info["memory_info"].rss, process.info["name"], process.info["pid"]))
    return found


def processor() -> Line:
    one, five, fifteen = psutil.getloadavg()
    text = f"load {one:.1f}, {five:.1f}, {fifteen:.1f} on {psutil.cpu_count()} cores"
    return Line("processor", Level.FINE, text, data={"load": [one, five, fifteen], "cores": psutil.cpu_count()})
