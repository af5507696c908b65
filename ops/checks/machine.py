"""Checks of the machine that runs this process."""

from __future__ import annotations

from pathlib import Path

import psutil
from django.conf import settings

from ops.checks.registry import health_check
from relivchats import embedded, installation
from relivchats.servers import MIN_FREE_BYTES
from relivchats.staff.reports import Level, Line

_MIB = 1024 * 1024


@health_check("disk", needs=())
def disk() -> Line:
    """Return the use of each file system that holds data, logs, the embedded Postgres or the key store."""
    data_directory = embedded.data_directory()
    directories = {"data": data_directory, "logs": data_directory / "logs"}
    if settings.EMBEDDED:
        directories["Postgres"] = data_directory / "postgres"
    if settings.KEY_STORE_DIR:
        directories["key store"] = Path(settings.KEY_STORE_DIR)
    # Directories of one file system share a measurement, by the number of its device.
    names: dict[int, list[str]] = {}
    paths: dict[int, Path] = {}
    for name, directory in directories.items():
        # One that does not exist yet will be made in the file system of its parent.
        path = next(each for each in (directory, *directory.parents) if each.exists())
        device = path.stat().st_dev
        names.setdefault(device, []).append(name)
        paths.setdefault(device, path)
    usages = {device: psutil.disk_usage(str(path)) for device, path in paths.items()}
    # The fullest first: its number decides the level.
    devices = sorted(usages, key=lambda device: usages[device].percent, reverse=True)
    text = "; ".join(
        f"{', '.join(names[device])}: {usages[device].percent:.0f} % used, {usages[device].free // _MIB} MiB free"
        for device in devices
    )
    fullest = usages[devices[0]]
    used_percent = {name: usages[device].percent for device in devices for name in names[device]}
    data = {"used_percent": fullest.percent, "free_bytes": fullest.free, "used_percent_by_directory": used_percent}
    warning, critical = settings.HEALTH_DISK_WARNING_PERCENT, settings.HEALTH_DISK_CRITICAL_PERCENT
    level = Level.FINE
    if fullest.percent >= warning:
        level = Level.CRITICAL if fullest.percent >= critical else Level.WARNING
    # Postgres and the broker stop when they cannot write any more, not before. A full key store stops only uploads.
    without_room = [
        device
        for device in devices
        if usages[device].free < MIN_FREE_BYTES and not {"data", "Postgres"}.isdisjoint(names[device])
    ]
    largest = installation.list_files_by_size(paths[(without_room or devices)[0]])
    return Line(
        "disk",
        level,
        text,
        "" if level is Level.FINE else largest,
        data,
        value=fullest.percent,
        threshold=f"{warning} % warns, {critical} % is critical",
        is_cause=bool(without_room) and level is not Level.FINE,
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
