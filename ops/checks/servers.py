"""Checks of the servers: Postgres and the broker respond."""

from __future__ import annotations

import time

from django.conf import settings
from django.db import connection
from redis.exceptions import RedisError

from ops import queues
from ops.checks.registry import health_check
from relivchats.staff.reports import Level, Line

_DATABASE_REMEDY = "docker-compose up -d postgres; then docker-compose logs --tail=50 postgres"
_BROKER_REMEDY = "docker-compose restart redis; unlocks wait in Postgres meanwhile and nothing is lost"


@health_check("database", on_timeout=Level.CRITICAL, remedy=_DATABASE_REMEDY)
def database() -> Line:
    """Return the latency of one query."""
    # First, so that the latency is that of a query and not of opening a connection, which takes several times longer.
    connection.ensure_connection()
    started = time.perf_counter()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    milliseconds = round((time.perf_counter() - started) * 1000, 1)
    data = {"milliseconds": milliseconds}
    if milliseconds > settings.HEALTH_DATABASE_WARNING_MS:
        return Line("database", Level.WARNING, f"slow: {milliseconds} ms", "manage.py health --verbose", data)
    return Line("database", Level.FINE, f"answers in {milliseconds} ms", data=data)


@health_check("broker", on_timeout=Level.CRITICAL, remedy=_BROKER_REMEDY)
def broker() -> Line:
    """Return the latency of one ping."""
    started = time.perf_counter()
    try:
        with queues.client() as redis:
            redis.ping()
    except (RedisError, OSError) as error:
        return Line("broker", Level.CRITICAL, f"does not answer ({type(error).__name__})", _BROKER_REMEDY)
    milliseconds = round((time.perf_counter() - started) * 1000, 1)
    return Line("broker", Level.FINE, f"answers in {milliseconds} ms", data={"milliseconds": milliseconds})
