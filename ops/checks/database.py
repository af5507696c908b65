"""Checks of the database: connections, migrations, and encryption keys."""

from __future__ import annotations

import importlib.util
import os
import pkgutil
import shlex
from functools import cache

from django.apps import apps
from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from chats import data_keys
from chats import keys as chat_keys
from ops import database as operators_view
from ops import keyrings
from ops.checks.registry import health_check
from relivchats import embedded, installation
from relivchats.key_store import StoreUnavailable
from relivchats.staff.reports import Level, Line, count, format_count


@health_check("connections", page="/admin/ops/heartbeat/")
def connections() -> Line:
    """Return the connections of all clients of the server by source, and how many it allows to the application."""
    with connection.cursor() as cursor:
        found = operators_view.read_connections(cursor)
    percent = 100 * found.used // found.allowed
    by_source = {source.name: source.total for source in found.sources}
    data = {"used": found.used, "allowed": found.allowed, "by_source": by_source}
    warning, critical = settings.HEALTH_CONNECTIONS_WARNING_PERCENT, settings.HEALTH_CONNECTIONS_CRITICAL_PERCENT
    threshold = f"{warning} % of {found.allowed} warns, {critical} % is critical"
    if percent < warning:
        text = f"{found.used} of {found.allowed}"
        return Line("connections", Level.FINE, text, "", data, found.used, threshold)
    level = Level.CRITICAL if percent >= critical else Level.WARNING
    remedy = operators_view.limit_remedy(found.sources)
    return Line("connections", level, found.describe(), remedy, data, found.used, threshold)


@health_check("queries", page="/admin/ops/heartbeat/")
def queries() -> Line:
    """Return the session that others wait for, one that keeps a table locked, or one whose statement takes long."""
    with connection.cursor() as cursor:
        sessions = operators_view.read_sessions(cursor)
    lock_seconds, query_seconds = settings.HEALTH_LOCK_SECONDS, settings.HEALTH_QUERY_SECONDS
    threshold = f"a lock of {lock_seconds} s or a statement of {query_seconds} s warns"
    waiting = [session for session in sessions if session.wait_seconds >= lock_seconds]
    blockers = {pid for session in sessions for pid in session.blocked_by}
    # Not those that wait themselves: somebody at the end of the chain makes all of them wait.
    culprits = [
        session
        for session in sessions
        if not session.blocked_by
        and (session.transaction_seconds >= lock_seconds)
        and ((session.pid in blockers and waiting) or session.locks)
    ]
    if culprits:
        culprit = culprits[0]
        text = culprit.describe()
        if culprit.locks:
            text += f"; it keeps {', '.join(culprit.locks[:3])} locked"
        longest = max((session.wait_seconds for session in waiting), default=0.0)
        if waiting:
            text += f"; {len(waiting)} {'waits' if len(waiting) == 1 else 'wait'} for it, for up to {longest:.0f} s"
        level = Level.CRITICAL if max(longest, culprit.transaction_seconds) >= query_seconds else Level.WARNING
        data = {"pid": culprit.pid, "waiting": len(waiting), "seconds": round(culprit.transaction_seconds)}
        return Line("queries", level, text, culprit.remedy, data, data["seconds"], threshold, is_cause=True)
    long = [session for session in sessions if session.state == "active" and session.query_seconds >= query_seconds]
    if long:
        slowest = max(long, key=lambda session: session.query_seconds)
        more = f"; and {len(long) - 1} more" if len(long) > 1 else ""
        data = {"pid": slowest.pid, "seconds": round(slowest.query_seconds)}
        text = f"{slowest.describe()}{more}"
        return Line("queries", Level.WARNING, text, slowest.remedy, data, data["seconds"], threshold)
    longest_seconds = round(max((session.query_seconds for session in sessions), default=0))
    return Line("queries", Level.FINE, "none is long, none waits", "", {}, longest_seconds, threshold)


@health_check("migrations", remedy="manage.py migrate --plan")
def migrations() -> Line:
    """Return the migrations that are not applied yet."""
    # Building the graph imports every migration, which takes most of a second on a busy machine.
    if _migration_files() <= MigrationRecorder(connection).applied_migrations().keys():
        return Line("migrations", Level.FINE, "none pending", data={"pending": []})
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    pending = [f"{migration.app_label}.{migration.name}" for migration, _ in plan]
    if pending:
        text = f"{len(pending)} pending, first {pending[0]}"
        return Line("migrations", Level.WARNING, text, "manage.py migrate", {"pending": pending})
    return Line("migrations", Level.FINE, "none pending", data={"pending": []})


@cache
def _migration_files() -> frozenset[tuple[str, str]]:
    """Return the app and the name of each migration of this release, without importing them."""
    found = set()
    for app in apps.get_app_configs():
        name, _ = MigrationLoader.migrations_module(app.label)
        if name and importlib.util.find_spec(name):
            path = importlib.import_module(name).__path__
            found |= {(app.label, module.name) for module in pkgutil.iter_modules(path) if module.name[0] not in "_~"}
    return frozenset(found)


@health_check("keys", page="/admin/chats/chat/")
def keys() -> Line:
    """Return whether the key store and the keyring, also of the other processes, open old, new and other chats."""
    is_dev = installation.kind() is installation.Kind.DEV
    if is_dev and not os.environ.get("ENCRYPTION_KEYS") and embedded.is_keyring_missing():
        text = f"{embedded.keyring_file()} is missing: what runs still has its keys, and nothing can start again"
        return Line("keys", Level.CRITICAL, text, installation.correct_keyring(parts=()))
    try:
        data_keys.open_store()
    except StoreUnavailable as error:
        if settings.KEY_STORE_DIR and is_dev:
            # The processes open the directory each time, so none has to start again.
            remedy = _restore_files()
        else:
            remedy = "manage.py keys  # then mount the directory that KEY_STORE_DIR names, and restart"
        return Line("keys", Level.CRITICAL, str(error), remedy)
    sample, overdue = chat_keys.sample(), count(data_keys.overdue())
    # First: the keyring of this process says nothing about those that serve.
    different = keyrings.compare(sample)
    if different and (different.level is Level.CRITICAL or not (sample.closed_file or sample.without_file)):
        return different
    data = {
        "sampled": sample.size,
        "unreadable": len(sample.unreadable),
        "without_file": len(sample.without_file),
        "closed_file": len(sample.closed_file),
        "overdue": overdue,
    }
    if sample.unreadable:
        text = f"ENCRYPTION_KEYS does not open {len(sample.unreadable)} of {sample.size} chats"
        remedy = installation.correct_keyring()
        return Line("keys", Level.CRITICAL, f"{text}, such as {sample.unreadable[0]}", remedy, data)
    if sample.closed_file:
        text = f"the files of {len(sample.closed_file)} of {sample.size} chats in the key store cannot be read"
        remedy = "manage.py keys  # then let the user of the processes read them: docs/operations.md, Backups"
        return Line("keys", Level.CRITICAL, f"{text}, such as {sample.closed_file[0]}", remedy, data)
    if sample.without_file:
        text = f"the key store has no file of {len(sample.without_file)} of {sample.size} chats"
        erase = "manage.py keys --erase-unreadable"
        if is_dev:
            remedy = f"{_restore_files()}; if no copy has them: {erase}"
        else:
            remedy = f"{erase}  # or restore the files: docs/operations.md, Backups"
        return Line("keys", Level.CRITICAL, f"{text}, such as {sample.without_file[0]}", remedy, data)
    if overdue:
        text = f"{format_count(overdue, 'key')} of deleted chats not destroyed yet"
        return Line(
            "keys",
            Level.WARNING,
            text,
            "manage.py errors",
            data,
        )
    text = f"the keyring opens all {sample.size} sampled chats" if sample.size else "no chat yet"
    if not settings.KEY_STORE_DIR:
        text += "; no key store: backups open with it until they expire"
    return Line("keys", Level.FINE, text, data=data)


def _restore_files() -> str:
    """Return the command that puts files of the key store back; only the operator knows where their copy is."""
    copy = "COPY has the files, moved by mistake or copied by manage.py backup: docs/operations.md, Backups"
    return f"cp -an COPY/. {shlex.quote(settings.KEY_STORE_DIR)}  # {copy}"


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
    remedy = "manage.py migrate  # after another role in DATABASE_URL, and DATABASE_OWNER_URL: docs/operations.md"
    return Line("role", Level.WARNING, f"{name} {what}", remedy, {"role": name})
