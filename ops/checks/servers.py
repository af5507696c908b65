"""Checks of the servers: Postgres and the broker respond."""

from __future__ import annotations

import time

from django.conf import settings
from django.db import OperationalError, connection
from redis.exceptions import AuthenticationError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeout

from ops import database as postgres
from ops import queues
from ops.checks.registry import health_check
from ops.database import Fault
from relivchats import embedded, installation
from relivchats.sizes import format_bytes
from relivchats.staff.reports import Level, Line

FAULT_TEXTS = {
    Fault.DOWN: "is down: it refuses connections",
    Fault.FROZEN: "is frozen: it accepts connections and does not answer",
    Fault.STARTING: "is starting, stopping or recovering from a crash",
    Fault.FULL: "is at its connection limit",
    Fault.DISK: "is out of disk space",
    Fault.LOGIN: "refuses the login of DATABASE_URL",
    Fault.OTHER: "does not answer",
}
_MEMORY_FULL_PERCENT = 95


@health_check(
    "database",
    needs=("disk", "supervisor"),
    on_timeout=Level.CRITICAL,
    remedy=installation.restart("postgres"),
    page="/admin/",
)
def database() -> Line:
    """Return the latency of one query, or why there is no answer."""
    if fault := postgres.find_fault():
        return _describe_fault(fault)
    try:
        # First, so that the latency is that of a query and not of opening a connection, which takes longer.
        connection.ensure_connection()
        started = time.perf_counter()
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except OperationalError as error:
        return _describe_fault(postgres.fault_of(error))
    milliseconds = round((time.perf_counter() - started) * 1000, 1)
    data = {"milliseconds": milliseconds}
    threshold = f"over {settings.HEALTH_DATABASE_WARNING_MS} ms warns"
    if milliseconds > settings.HEALTH_DATABASE_WARNING_MS:
        text = f"slow: {milliseconds} ms"
        return Line("database", Level.WARNING, text, "manage.py database", data, milliseconds, threshold)
    return Line("database", Level.FINE, f"answers in {milliseconds} ms", "", data, milliseconds, threshold)


def _describe_fault(fault: Fault) -> Line:
    text = f"Postgres {FAULT_TEXTS[fault]}"
    data: dict[str, object] = {"fault": fault.name.lower()}
    match fault:
        case Fault.DOWN:
            remedy = installation.start("postgres")
        case Fault.STARTING:
            remedy = installation.logs("postgres")
        case Fault.LOGIN:
            remedy = "manage.py migrate  # as the owner, or correct DATABASE_URL: docs/operations.md, Database roles"
        case Fault.DISK:
            remedy = installation.list_files_by_size(embedded.data_directory())
        case Fault.FULL:
            return _describe_limit(text, data)
        case _:
            remedy = installation.restart("postgres")
    return Line("database", Level.CRITICAL, text, remedy, data, value=fault.value)


def _describe_limit(text: str, data: dict[str, object]) -> Line:
    # The application has no slot, so the owner of the tables looks, for whom some are reserved.
    try:
        with postgres.monitoring(seconds=1) as cursor:
            connections = postgres.read_connections(cursor)
    except OperationalError:
        remedy = postgres.limit_remedy(())
        return Line("database", Level.CRITICAL, text, remedy, data, value=Fault.FULL.value)
    data |= {"used": connections.used, "allowed": connections.allowed}
    text = f"{text} ({connections.describe()})"
    remedy = postgres.limit_remedy(connections.sources)
    return Line("database", Level.CRITICAL, text, remedy, data, connections.used, f"{connections.allowed} is the limit")


@health_check("broker", needs=("disk", "supervisor"), on_timeout=Level.CRITICAL, remedy=installation.restart("valkey"))
def broker() -> Line:
    """Return the latency of one ping and the use of memory, or why there is no answer. Nothing is lost meanwhile."""
    started = time.perf_counter()
    try:
        with queues.client() as redis:
            redis.ping()
            milliseconds = round((time.perf_counter() - started) * 1000, 1)
            memory = redis.info("memory")
    except RedisTimeout:
        text, remedy = "is frozen: it accepts connections and does not answer", installation.restart("valkey")
    except AuthenticationError:
        text, remedy = "refuses the password of REDIS_URL", "correct REDIS_URL, then restart web, workers and beat"
    except ResponseError as error:
        # The first word is a code, such as LOADING or MISCONF; the rest may quote the command.
        text, remedy = f"answers with an error ({str(error).split(' ')[0]})", installation.logs("valkey")
    except (RedisError, OSError) as error:
        text = f"is down: it does not accept connections ({type(error).__name__})"
        remedy = installation.start("valkey")
    else:
        limit, used = int(memory.get("maxmemory", 0)), int(memory["used_memory"])
        data = {"milliseconds": milliseconds, "used_bytes": used, "limit_bytes": limit}
        if limit and used * 100 >= limit * _MEMORY_FULL_PERCENT:
            text = f"is full: {format_bytes(used)} of {format_bytes(limit)}; it takes no more messages"
            threshold = f"{_MEMORY_FULL_PERCENT} % of {format_bytes(limit)} is critical"
            remedy = installation.give_broker_memory(2 * max(used, limit))
            return Line("broker", Level.CRITICAL, f"{text}; {_NOTHING_LOST}", remedy, data, used, threshold)
        return Line("broker", Level.FINE, f"answers in {milliseconds} ms", "", data, milliseconds)
    return Line("broker", Level.CRITICAL, f"{text}; {_NOTHING_LOST}", remedy)


_NOTHING_LOST = "work waits in Postgres and nothing is lost"
