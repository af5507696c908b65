"""The processes as operators see them: alive, silent, frozen or gone; and how to replace one."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psutil
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.db.models import DateTimeField, F, Func, QuerySet
from django.db.models.functions import Least, Now
from redis.exceptions import RedisError

from ops import activity, database, queues, samples
from ops.models import Heartbeat, ScheduleEntry
from relivchats import clock, durations, installation
from relivchats.errors import Conflict, NotFound
from relivchats.sizes import format_bytes
from relivchats.staff.reports import Level, Line, Report, Table

#: A report names at most so many processes of one kind.
MAX_LISTED = 20
#: A process that is replaced has so long to end by itself before it is killed: a worker returns its leases.
STOP_SECONDS = 10
#: On a busy machine a start takes half a minute. A process without a heartbeat after this time hangs.
START_SECONDS = 120


@dataclass(frozen=True)
class Process:
    """A process with a heartbeat, or one that `./dev up` started and that has none yet.

    `state` is `alive`, or why it is not: `starting`, `frozen`, `hangs`, `killed` or `silent`. Of a process on another
    machine nothing but its silence is known. `silent_for` is the time since its heartbeat, or else since its start.
    """

    name: str
    kind: str
    state: str
    silent_for: timedelta
    is_marked: bool
    version: str = ""
    memory_bytes: int = 0
    threads: int = 0
    leases: int = 0
    activity: tuple[Mapping[str, str], ...] = ()
    started_at: datetime | None = None
    key_ids: tuple[str, ...] = ()

    def describe(self) -> str:
        """Return such as `worker@host:41 is frozen`."""
        silence = durations.format_short(self.silent_for)
        words = {
            "starting": f"is starting since {silence}",
            "hangs": f"hangs: no heartbeat for {silence}",
            "silent": f"is silent for {silence}, killed or frozen",
        }
        return f"{self.name} {words.get(self.state, f'is {self.state}')}"


def list_processes(kind: str) -> list[Process]:
    """Return the processes of a kind that are alive or starting, or were alive within the last hour.

    A killed process that `./dev up` replaced is not among them.
    """
    found = [from_row(row) for row in with_silence(Heartbeat.objects.filter(kind=kind)).order_by("silent_for")[:1000]]
    family = _supervised(kind)
    if not family:
        return found
    here = f"{kind}@{socket.gethostname()[:120]}:"
    # Of the newest: web serves with processes that it forks.
    running_for = timedelta(seconds=max(0.0, time.time() - max(process.create_time() for process in family)))
    found = [
        each
        for each in found
        if not (each.state == "killed" and each.name.startswith(here) and each.silent_for >= running_for)
    ]
    if any(each.name == f"{here}{process.pid}" for each in found for process in family):
        return found
    state = "starting" if running_for.total_seconds() < START_SECONDS else "hangs"
    if any(local_state(process.pid) == "frozen" for process in family):
        state = "frozen"
    return [Process(f"{here}{family[0].pid}", kind, state, running_for, is_marked=True), *found]


#: A crash of Postgres does not change it, but a restart does.
DATABASE_STARTED_AT = Func(function="pg_postmaster_start_time", output_field=DateTimeField())


def with_silence(rows: QuerySet[Any]) -> QuerySet[Any]:
    """Add what `from_row` needs: `silent_for`, the time since the heartbeat, and `missing_for`, by which it is late.

    While the database was away, nobody could write a heartbeat, so that time is not counted as missing. Both are by the
    database's clock, which also wrote beat_at: the clocks of hosts differ by seconds.
    """
    silent_for = Now() - F("beat_at")
    timed: QuerySet[Any] = rows.annotate(
        silent_for=silent_for, missing_for=Least(silent_for, Now() - DATABASE_STARTED_AT)
    )
    return timed


def from_row(row: Heartbeat) -> Process:
    """Return the process of a row of `with_silence`."""
    return Process(
        row.name,
        row.kind,
        state_of(row.name, vars(row)["missing_for"]),
        vars(row)["silent_for"],
        row.marked_as_worker,
        version=row.version,
        memory_bytes=row.memory_bytes,
        threads=row.threads,
        leases=row.leases,
        activity=tuple(row.activity),
        started_at=row.started_at,
        key_ids=tuple(row.key_ids),
    )


def _supervised(kind: str) -> list[psutil.Process]:
    """Return the process of this kind that `./dev up` runs here, of web followed by those that it started."""
    if installation.kind() is not installation.Kind.DEV or (pid := installation.pid_of(kind)) is None:
        return []
    try:
        process = psutil.Process(pid)
        # After a crash of `up` the file stays, and its pid is used again.
        if "relivchats" not in " ".join(process.cmdline()) or process.status() == psutil.STATUS_ZOMBIE:
            return []
        return [process, *(process.children(recursive=True) if kind == Heartbeat.Kind.WEB else ())]
    except psutil.Error:
        return []


def state_of(name: str, missing_for: timedelta) -> str:
    """Return the state of a process, by the name of its heartbeat and for how long one is missing."""
    is_late = missing_for.total_seconds() > settings.HEALTH_HEARTBEAT_SECONDS
    host, _, pid = name.partition("@")[2].rpartition(":")
    if host != socket.gethostname()[:120] or not pid.isdecimal():
        return "silent" if is_late else "alive"
    state = local_state(int(pid))
    if state == "alive" and is_late:
        return "hangs"
    return state


def local_state(pid: int) -> str:
    """Return whether a process of this machine is `alive`, `frozen` (stopped by a signal) or `killed`."""
    try:
        status = psutil.Process(pid).status()
    except psutil.NoSuchProcess:
        return "killed"
    except psutil.Error:
        return "alive"
    if status in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
        return "killed"
    return "frozen" if status in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP) else "alive"


def report() -> Report:
    """Return the processes with their state and their latest heartbeat."""
    lines: list[Line] = []
    rows: list[tuple[Any, ...]] = []
    now = clock.now()
    for kind in KINDS:
        found = list_processes(kind)
        rows += [_cells(each, now) for each in found]
        failing = [each for each in found if each.state != "alive"]
        if failing:
            text, remedy = describe(failing), remedy_of(failing, kind)
            lines.append(Line(kind, Level.WARNING, text, remedy))
        elif not found:
            lines.append(Line(kind, Level.CRITICAL, f"no {kind} is alive", installation.start(kind)))
    started = samples.count_starts(*KINDS)
    headline = "Started within 24 hours: " + ", ".join(f"{number} {kind}" for kind, number in started.items())
    return Report("Processes", tuple(lines), Table(_COLUMNS, tuple(rows)), {"started": started}, headline)


#: The kinds of heartbeats that are processes. The others are tasks.
KINDS = (Heartbeat.Kind.WEB, Heartbeat.Kind.WORKER, Heartbeat.Kind.BEAT)
_COLUMNS = ("process", "kind", "state", "last heartbeat", "runs for", "version", "memory", "busy", "leases", "does")


def _cells(process: Process, now: datetime) -> tuple[Any, ...]:
    does = []
    for row in process.activity:
        age = durations.format_short(now - datetime.fromisoformat(row["since"]))
        does.append(f"{row['task'].rpartition('.')[2]} {row['id']} for {age}")
    return (
        process.name,
        process.kind,
        process.state,
        durations.format_short(process.silent_for),
        durations.format_short(now - process.started_at) if process.started_at else None,
        process.version or None,
        format_bytes(process.memory_bytes) if process.memory_bytes else None,
        f"{len(process.activity)} of {process.threads}" if process.threads else None,
        process.leases,
        "; ".join(does) or None,
    )


def tasks_report() -> Report:
    """Return the tasks that the workers of this release know, and the schedule of those that beat sends."""
    entries = {entry.task: entry for entry in ScheduleEntry.objects.all()}
    rows = []
    for name in activity.registered_tasks():
        entry = entries.get(name)
        rows.append((name, *((entry.schedule, entry.last_run_at, entry.next_run_at) if entry else (None,) * 3)))
    return Report("Tasks", table=Table(("task", "schedule", "last run", "next run"), tuple(rows)))


def describe(processes: Iterable[Process]) -> str:
    """Return what is wrong with each of these processes."""
    return ", ".join(process.describe() for process in list(processes)[:MAX_LISTED])


def remedy_of(failing: Iterable[Process], kind: str) -> str:
    """Return the remedy for these processes of one kind. One that starts is left alone: a restart would end it."""
    states = {process.state for process in failing}
    if "starting" in states:
        return WAIT
    if states & {"frozen", "hangs"}:
        return installation.restart(kind)
    return installation.bring_back(kind) if "silent" in states else installation.start(kind)


#: The remedy for what is starting.
WAIT = "manage.py health  # it is starting: look again"


def restart(part: str, *, timeout_seconds: float = START_SECONDS) -> Report:
    """End the process of a part of `./dev up`, also a frozen one, and wait until the new one is alive.

    It needs neither the database nor the broker. Raise Conflict if `./dev` does not run this installation.
    """
    if installation.kind() is not installation.Kind.DEV:
        raise Conflict(f"These processes were not started by ./dev. Run: {installation.restart(part)}")
    found = installation.supervisors()
    if "up" not in found and part not in found:
        raise Conflict(f"Nothing runs here. Start everything: {installation.as_typed(installation.start_all())}")
    for supervisor in found.values():
        # One that is frozen would not start the new process.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(supervisor, signal.SIGCONT)
    started, pid, ended = time.monotonic(), installation.pid_of(part), "no process ran"
    if pid is not None and local_state(pid) != "killed":
        installation.announce_replacement(part)
        ended = _end(part, pid, rest=installation.PARTS.index(part) < 3)
    while installation.pid_of(part) in (None, pid) or not _answers(part):
        seconds = time.monotonic() - started
        # The server that the others need is away: only its own restart helps.
        is_in_vain = part in ("web", "worker", "beat") and database.find_fault() is not None
        if is_in_vain or seconds > timeout_seconds:
            why = "the database does not answer" if is_in_vain else f"{seconds:.0f} s have passed"
            text = f"{ended}; {why}, and the new one is not alive yet"
            return Report("Restarted", (Line(part, Level.WARNING, text, WAIT),))
        time.sleep(0.2)
    text = f"{ended}; the new one is alive after {time.monotonic() - started:.0f} s"
    return Report("Restarted", (Line(part, Level.FINE, text),))


def _answers(part: str) -> bool:
    """Return whether a part of `./dev up` is alive: a server answers, a process has a heartbeat."""
    if part == "valkey":
        try:
            with queues.client() as broker:
                return bool(broker.ping())
        except (RedisError, OSError):
            return False
    # A frozen database would not answer the query.
    if database.find_fault() is not None:
        return False
    try:
        connection.close()
        return part == "postgres" or any(process.state == "alive" for process in list_processes(part))
    except (OperationalError, InterfaceError):
        return False


def stop(name: str) -> Report:
    """End one process of this machine, by the name of its heartbeat. Raise NotFound."""
    host, _, pid = name.partition("@")[2].rpartition(":")
    if host != socket.gethostname()[:120] or not pid.isdecimal() or local_state(int(pid)) == "killed":
        raise NotFound(f"{name} does not run on this machine.")
    with contextlib.suppress(psutil.Error):
        # A pid is used again: never end a process of somebody else.
        if "relivchats" in " ".join(psutil.Process(int(pid)).cmdline()):
            return Report("Stopped", (Line(name, Level.FINE, _end(name, int(pid), rest=False)),))
    raise NotFound(f"{name} does not run on this machine.")


def _end(name: str, pid: int, *, rest: bool) -> str:
    """End a process: gently, then by force, and return how. With `rest`, the processes that it started end with it."""
    process = psutil.Process(pid)
    state = local_state(pid)
    family = [process, *(process.children(recursive=True) if rest else ())]
    # Postgres ends its connections on SIGINT, and waits for its clients on SIGTERM.
    gently = signal.SIGINT if name == "postgres" else signal.SIGTERM
    for each in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            # A stopped process receives no other signal until it continues.
            each.send_signal(gently)
            each.resume()
    _, alive = psutil.wait_procs([process], timeout=STOP_SECONDS)
    for each in [*alive, *(member for member in family[1:] if member.is_running())]:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    psutil.wait_procs(family, timeout=STOP_SECONDS)
    return f"process {pid}, which was {state}, {'was killed' if alive else 'has ended'}"
