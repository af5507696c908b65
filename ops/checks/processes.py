"""Checks of the web tier, the workers and beat, and of the canary task that passes through beat and a worker."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import Min
from django.db.models.functions import Now

from ops.checks.registry import health_check
from ops.models import Heartbeat
from ops.workers import (
    MAX_LISTED,
    START_SECONDS,
    WAIT,
    Process,
    describe,
    list_processes,
    local_state,
    remedy_of,
    with_silence,
)
from relivchats import clock, durations, installation, roles
from relivchats.servers import connects
from relivchats.staff.reports import Level, Line

_PAGE = "/admin/now/processes"
_NEEDS = ("database", "broker")


def _threshold() -> str:
    return f"silent for {settings.HEALTH_HEARTBEAT_SECONDS} s counts as dead"


def _none_is_alive(name: str, text: str, failing: list[Process], data: Mapping[str, Any], *, kind: str) -> Line:
    """Return the line of a kind of which no process is alive: critical, unless one is starting."""
    remedy = remedy_of(failing, kind)
    level = Level.WARNING if remedy == WAIT else Level.CRITICAL
    norm = "one runs" if kind == "beat" else _threshold()
    return Line(name, level, text, remedy, data, 0, norm, is_cause=True)


def _split(kind: str) -> tuple[list[Process], list[Process]]:
    """Return the processes of a kind that are alive, and the others."""
    found = list_processes(kind)
    alive = [process for process in found if process.state == "alive"]
    return alive, [process for process in found if process.state != "alive"]


@health_check("supervisor", needs=("disk",), page=_PAGE)
def supervisor() -> Line:
    """Return whether what died is started again, and what died often. Containers are supervised by Docker."""
    if installation.kind() is not installation.Kind.DEV:
        return Line("supervisor", Level.FINE, "not used: the processes were not started by ./dev")
    found = installation.supervisors()
    data = {"pids": found}
    frozen = {name: pid for name, pid in found.items() if local_state(pid) == "frozen"}
    if frozen:
        who = ", ".join("`up`" if name == "up" else f"the keeper of {name}" for name in frozen)
        text = f"{who} {'is' if len(frozen) == 1 else 'are'} frozen: what dies is not started again"
        remedy = f"kill -CONT {' '.join(map(str, frozen.values()))}"
        return Line("supervisor", Level.WARNING, text, remedy, data, is_cause=True)
    minutes = DEATHS_WINDOW.seconds // 60
    deaths = {
        part: installation.deaths(part, within_seconds=DEATHS_WINDOW.total_seconds()) for part in installation.PARTS
    }
    threshold = f"{MIN_DEATHS} deaths of one within {minutes} minutes warn"
    part, ages = max(deaths.items(), key=lambda item: len(item[1]))
    if len(ages) >= MIN_DEATHS:
        text = f"{part} died {len(ages)} times within {minutes} minutes, and was started again; its log says why."
        left = DEATHS_WINDOW - timedelta(seconds=ages[MIN_DEATHS - 1])
        text += f" Fine again in {durations.format_short(left)} unless it dies again"
        return Line("supervisor", Level.WARNING, text, installation.logs(part), data, len(ages), threshold)
    text = "starts again what dies" if found else "`./dev up` does not run here"
    return Line("supervisor", Level.FINE, text, "", data, 0, threshold)


#: A part that dies so often within this time has a problem that a new start does not solve.
MIN_DEATHS = 3
DEATHS_WINDOW = timedelta(minutes=10)


@health_check("workers", needs=("disk", "supervisor", "database"), page=_PAGE, remedy=installation.restart("worker"))
def workers() -> Line:
    """Return the workers that are alive, frozen, killed, or run without CELERY_WORKER=true."""
    alive, failing = _split(Heartbeat.Kind.WORKER)
    unmarked = [process for process in alive if not process.is_marked]
    data = {
        "alive": len(alive),
        "silent": [process.name for process in failing[:MAX_LISTED]],
        "unmarked": [process.name for process in unmarked[:MAX_LISTED]],
    }
    if not alive:
        text = f"no worker is alive: {describe(failing)}" if failing else "no worker is alive"
        return _none_is_alive("workers", text, failing, data, kind="worker")
    if unmarked:
        text = f"without CELERY_WORKER=true: {', '.join(process.name for process in unmarked[:MAX_LISTED])}"
        remedy = f"set CELERY_WORKER=true for it, then {installation.restart('worker')}"
        return Line("workers", Level.WARNING, text, remedy, data, len(alive), _threshold())
    if failing:
        text = f"{describe(failing)}; {len(alive)} alive"
        # The row of a killed one goes when a worker starts on its host. What it left is stuck until then.
        remedy = WAIT if remedy_of(failing, "worker") == WAIT else installation.restart("worker")
        return Line("workers", Level.WARNING, text, remedy, data, len(alive), _threshold(), is_cause=True)
    return Line("workers", Level.FINE, f"{len(alive)} alive, marked as workers", "", data, len(alive), _threshold())


@health_check("beat", needs=("disk", "supervisor", "database"), page=_PAGE, remedy=installation.restart("beat"))
def beat() -> Line:
    """Return whether exactly one beat is alive."""
    alive, failing = _split(Heartbeat.Kind.BEAT)
    data = {"alive": [process.name for process in alive[:MAX_LISTED]]}
    if not alive:
        text = "no beat is alive: due work is not dispatched, and nothing is recovered"
        if failing:
            text = f"{describe(failing)}: due work is not dispatched, and nothing is recovered"
        return _none_is_alive("beat", text, failing, data, kind="beat")
    if len(alive) > 1:
        # Every due task is sent twice then. Leases make that harmless, but it doubles the load.
        text = f"{len(alive)} run, one is enough: {', '.join(process.name for process in alive[:MAX_LISTED])}"
        # The one that `./dev up` started stays, or else the oldest: it is that of the service.
        ours = installation.pid_of("beat") if installation.kind() is installation.Kind.DEV else None
        others = [process for process in alive if process.name.rpartition(":")[2] != str(ours)]
        newest = max(alive, key=lambda process: process.started_at or clock.now())
        remedy = installation.stop(others[0].name if len(others) < len(alive) else newest.name)
        return Line("beat", Level.WARNING, text, remedy, data, len(alive), "one runs")
    return Line("beat", Level.FINE, "alive", "", data, 1, "one runs")


@health_check("web", needs=("disk", "supervisor", "database"), page=_PAGE, remedy=installation.restart("web"))
def web() -> Line:
    """Return the web processes that are alive or frozen, and whether the web server of this machine answers."""
    alive, failing = _split(Heartbeat.Kind.WEB)
    data = {"alive": len(alive), "silent": [process.name for process in failing[:MAX_LISTED]]}
    here = [process for process in alive if process.name.partition("@")[2].rpartition(":")[0] == _hostname()]
    if not alive:
        text = f"no web process is alive: {describe(failing)}" if failing else "no web process is alive"
        return _none_is_alive("web", text, failing, data, kind="web")
    ports = Heartbeat.objects.filter(name__in=[each.name for each in here]).values_list("port", flat=True)
    port = next(filter(None, ports), None)
    # A web process that runs the checks answers: a request to itself would only wait for its own threads.
    if port and port != roles.port() and not answers(port):
        start = timedelta(seconds=START_SECONDS)
        if not connects(port) and any(each.started_at and clock.now() - each.started_at < start for each in here):
            # Its first heartbeat is earlier.
            text = f"is starting: it does not listen on port {port} yet"
            return Line("web", Level.WARNING, text, WAIT, data, 0, _threshold())
        text = f"does not answer on port {port}: its processes are frozen, or all threads are busy"
        return Line("web", Level.CRITICAL, text, installation.restart("web"), data, 0, _threshold())
    parent = installation.pid_of("web") if installation.kind() is installation.Kind.DEV else None
    if parent and (state := local_state(parent)) != "alive":
        # It serves nothing itself, so nothing else shows it.
        text = f"process {parent}, which replaces web processes that die, is {state}"
        return Line("web", Level.WARNING, text, installation.restart("web"), data, len(alive), _threshold())
    if failing:
        text = f"{describe(failing)}; {len(alive)} alive"
        return Line("web", Level.WARNING, text, installation.restart("web"), data, len(alive), _threshold())
    return Line("web", Level.FINE, f"{len(alive)} alive", "", data, len(alive), _threshold())


def answers(port: int) -> bool:
    """Return whether the web server on this port of this machine serves a request that needs nothing else."""
    server = http.client.HTTPConnection("127.0.0.1", port, timeout=WEB_TIMEOUT_SECONDS)
    try:
        server.request("GET", "/health/live", headers={"Host": "localhost"})
        return server.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        server.close()


#: /health/live takes a millisecond, and has threads of its own.
WEB_TIMEOUT_SECONDS = 0.7


def _hostname() -> str:
    return socket.gethostname()[:120]


@health_check("canary", needs=("database", "broker", "workers", "beat"), page=_PAGE, remedy="manage.py queue")
def canary() -> Line:
    """Return how long ago the latest canary task ran. Beat sends one every 10 s, the first 10 s after it started."""
    row = with_silence(Heartbeat.objects.filter(kind=Heartbeat.Kind.CANARY)).first()
    limit = settings.HEALTH_HEARTBEAT_SECONDS
    threshold = f"{limit} s is critical"
    seconds = None if row is None else round(vars(row)["silent_for"].total_seconds())
    missing_seconds = 0.0 if row is None else vars(row)["missing_for"].total_seconds()
    if row is not None and missing_seconds <= limit:
        return Line("canary", Level.FINE, f"a task ran {seconds} s ago", "", {"seconds": seconds}, seconds, threshold)
    running_for = _tasks_can_run_for()
    if running_for is not None and running_for.total_seconds() <= limit:
        text = f"waiting for the first task: beat and a worker started {durations.format_short(running_for)} ago"
        if missing_seconds > MAX_MISSED_LIMITS * limit:
            # A process that dies and is started again, over and over, has always just started.
            text = f"no task ran for {seconds} s; {text}"
            return Line("canary", Level.WARNING, text, "manage.py workers", {"seconds": seconds}, seconds, threshold)
        return Line("canary", Level.FINE, text, threshold=threshold)
    if row is None:
        text = "no task has run yet; beat sends one every 10 s"
        return Line("canary", Level.WARNING, text, "manage.py queue", threshold=threshold)
    remedy, data = installation.restart("worker"), {"seconds": seconds}
    return Line("canary", Level.CRITICAL, f"no task ran for {seconds} s", remedy, data, seconds, threshold)


#: Without a task for longer than so many times the limit, a start explains nothing: processes may end as they start.
MAX_MISSED_LIMITS = 3


def _tasks_can_run_for() -> timedelta | None:
    """Return for how long both a beat and a worker have been running; None if one of them is missing."""
    alive = Heartbeat.objects.filter(
        kind__in=(Heartbeat.Kind.BEAT, Heartbeat.Kind.WORKER),
        beat_at__gte=Now() - timedelta(seconds=settings.HEALTH_HEARTBEAT_SECONDS),
    )
    rows = alive.order_by().values_list("kind").annotate(running_for=Now() - Min("started_at"))
    ages = [age for _, age in rows]
    return min(ages) if len(ages) == 2 else None
