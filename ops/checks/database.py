"""Postgres: does it answer, has it room, does it have our schema, and do our keys open what it holds."""

from __future__ import annotations

import time

from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from chats.models import Chat
from relivchats.crypto import CannotOpen
from relivchats.staff.reports import Level, Line


def answers() -> Line:
    connection.ensure_connection()
    started = time.perf_counter()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    milliseconds = round((time.perf_counter() - started) * 1000, 1)
    data = {"milliseconds": milliseconds}
    if milliseconds > settings.HEALTH_DATABASE_WARNING_MS:
        return Line("database", Level.WARNING, f"slow: {milliseconds} ms", "manage.py health --verbose", data)
    return Line("database", Level.FINE, f"answers in {milliseconds} ms", data=data)


def connections() -> Line:
    used, allowed = count_connections()
    percent = 100 * used // allowed
    text, data = f"{used} of {allowed}", {"used": used, "allowed": allowed}
    if percent < settings.HEALTH_CONNECTIONS_WARNING_PERCENT:
        return Line("connections", Level.FINE, text, data=data)
    remedy = "docker-compose logs celery_worker | grep CELERY_WORKER; then docker-compose restart relivchats-api"
    level = Level.CRITICAL if percent >= settings.HEALTH_CONNECTIONS_CRITICAL_PERCENT else Level.WARNING
    return Line("connections", level, text, remedy, data)


def count_connections() -> tuple[int, int]:
    """Connections of clients to the whole server, and how many it allows to ordinary users."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
                   current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
            """
        )
        used, allowed = cursor.fetchone()
    return used, allowed


def migrations() -> Line:
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    pending = [f"{migration.app_label}.{migration.name}" for migration, _ in plan]
    if pending:
        text = f"{len(pending)} pending, first {pending[0]}"
        return Line("migrations", Level.WARNING, text, "manage.py migrate", {"pending": pending})
    return Line("migrations", Level.FINE, "none pending", data={"pending": []})


def keys() -> Line:
    """Can the keyring unwrap the key of the newest chat?"""
    newest = Chat.objects.only("id", "wrapped_key").order_by("-created_at").first()
    if newest is None:
        return Line("keys", Level.FINE, "no chat yet")
    try:
        newest.key  # noqa: B018
    except CannotOpen:
        remedy = "put the key that was there before back into ENCRYPTION_KEYS, then restart"
        return Line("keys", Level.CRITICAL, "ENCRYPTION_KEYS does not open the newest chat", remedy)
    return Line("keys", Level.FINE, "the keyring opens the newest chat")
