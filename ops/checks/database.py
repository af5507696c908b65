"""Checks of the database: connections, migrations, and encryption keys."""

from __future__ import annotations

from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from chats import keys as chat_keys
from ops.checks.registry import health_check
from relivchats.staff.reports import Level, Line


@health_check("connections")
def connections() -> Line:
    """Return the connections of all clients of the server, and how many it allows to ordinary users."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
                   current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
            """
        )
        used, allowed = cursor.fetchone()
    percent = 100 * used // allowed
    text, data = f"{used} of {allowed}", {"used": used, "allowed": allowed}
    if percent < settings.HEALTH_CONNECTIONS_WARNING_PERCENT:
        return Line("connections", Level.FINE, text, data=data)
    # A worker without CELERY_WORKER=true opens a pool of its own: the most common cause.
    remedy = "docker-compose logs celery_worker | grep CELERY_WORKER; then docker-compose restart relivchats-api"
    level = Level.CRITICAL if percent >= settings.HEALTH_CONNECTIONS_CRITICAL_PERCENT else Level.WARNING
    return Line("connections", level, text, remedy, data)


@health_check("migrations", remedy="manage.py migrate --plan")
def migrations() -> Line:
    """Return the migrations that are not applied yet."""
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    pending = [f"{migration.app_label}.{migration.name}" for migration, _ in plan]
    if pending:
        text = f"{len(pending)} pending, first {pending[0]}"
        return Line("migrations", Level.WARNING, text, "manage.py migrate", {"pending": pending})
    return Line("migrations", Level.FINE, "none pending", data={"pending": []})


@health_check("keys")
def keys() -> Line:
    """Return whether the keyring unwraps the data keys of a sample of old, new and other chats."""
    unreadable, sampled = chat_keys.find_unreadable()
    if unreadable:
        text = f"ENCRYPTION_KEYS does not open {len(unreadable)} of {sampled} chats, such as {unreadable[0]}"
        remedy = "manage.py keys; restore the missing key in ENCRYPTION_KEYS, then restart"
        return Line("keys", Level.CRITICAL, text, remedy, {"sampled": sampled, "unreadable": len(unreadable)})
    text = f"the keyring opens all {sampled} sampled chats" if sampled else "no chat yet"
    return Line("keys", Level.FINE, text, data={"sampled": sampled, "unreadable": 0})


@health_check("role")
def role() -> Line:
    """Return whether the application connects as a role that cannot change the ledger's history or triggers."""
    with connection.cursor() as cursor:
        # session_user: a role can return to it with RESET ROLE, whatever its current role is.
        cursor.execute(
            """
            SELECT session_user, rolsuper, pg_has_role(session_user, relowner, 'MEMBER'),
                has_table_privilege(session_user, pg_class.oid, 'UPDATE, DELETE, TRUNCATE, TRIGGER')
            FROM pg_roles, pg_class WHERE rolname = session_user AND pg_class.oid = 'credit_transactions'::regclass
            """
        )
        name, is_superuser, is_owner, may_change = cursor.fetchone()
    if not (is_superuser or is_owner or may_change):
        return Line("role", Level.FINE, f"{name} owns no table", data={"role": name})
    what = "is a superuser" if is_superuser else "owns the tables" if is_owner else "may change old transactions"
    remedy = "use another role in DATABASE_URL, set DATABASE_OWNER_URL and run manage.py migrate: docs/operations.md"
    return Line("role", Level.WARNING, f"{name} {what}", remedy, {"role": name})
