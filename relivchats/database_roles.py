"""The two database roles. The owner changes tables; the application only reads and writes rows.

So anyone who runs SQL as the application can neither disable the triggers of the ledger nor change or delete its
history. `manage.py migrate` connects as the owner and then grants the application what it needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import environ
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import ProgrammingError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

#: What the application may do with a table, unless `restrict` says less.
_ROWS = "SELECT, INSERT, UPDATE, DELETE"
_CONNECTION_SETTINGS = ("USER", "PASSWORD", "HOST", "PORT", "OPTIONS")

_restricted = {"django_migrations": "SELECT"}


def restrict(*tables: str, to: str) -> None:
    """Allow the application only these privileges, such as `SELECT, INSERT`, on the tables."""
    _restricted.update(dict.fromkeys(tables, to))


@contextmanager
def as_owner(connection: BaseDatabaseWrapper) -> Iterator[bool]:
    """Connect as the owner for the block. Yield whether there is a separate owner to connect as.

    Without DATABASE_OWNER_URL, the application owns its tables. Inside a transaction the connection cannot be changed.
    """
    if not settings.DATABASE_OWNER or connection.in_atomic_block:
        yield False
        return
    before = {name: connection.settings_dict[name] for name in _CONNECTION_SETTINGS}
    connection.close()
    connection.settings_dict.update({name: settings.DATABASE_OWNER[name] for name in _CONNECTION_SETTINGS})
    try:
        yield True
    finally:
        connection.close()
        connection.settings_dict.update(before)


def grant(connection: BaseDatabaseWrapper) -> None:
    """Grant the role of DATABASE_URL what the application needs, as the owner. Create the role if it is missing.

    Raise ImproperlyConfigured if it is missing and the owner may not create roles.
    """
    application = environ.Env.db_url_config(settings.DATABASE_URL)
    role, quote = connection.ops.quote_name(application["USER"]), connection.ops.quote_name
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [application["USER"]])
        if not cursor.fetchone():
            _create(connection, application["USER"], application["PASSWORD"])
        cursor.execute(f"GRANT CONNECT ON DATABASE {quote(connection.settings_dict['NAME'])} TO {role}")
        cursor.execute(f"GRANT USAGE ON SCHEMA public TO {role}")
        cursor.execute(f"GRANT {_ROWS} ON ALL TABLES IN SCHEMA public TO {role}")
        cursor.execute(f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {role}")
        for table in set(_restricted) & set(connection.introspection.table_names(cursor)):
            # In the same transaction: nobody sees the wider privileges.
            cursor.execute(f"REVOKE ALL ON {quote(table)} FROM {role}")
            cursor.execute(f"GRANT {_restricted[table]} ON {quote(table)} TO {role}")
        # For tables that the owner creates in another way, such as by restoring a dump.
        cursor.execute(f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT {_ROWS} ON TABLES TO {role}")
        cursor.execute(f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO {role}")


def _create(connection: BaseDatabaseWrapper, role: str, password: str) -> None:
    # As a SCRAM secret, so that the password is in no statement and no log.
    secret = connection.connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    quoted = connection.ops.quote_name(role)
    try:
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            cursor.execute(f"CREATE ROLE {quoted} LOGIN PASSWORD '{secret}'")
    except ProgrammingError:
        raise ImproperlyConfigured(
            f"The role {role} of DATABASE_URL does not exist, and the role of DATABASE_OWNER_URL may not create it."
            " See docs/operations.md."
        ) from None
    with connection.cursor() as cursor:
        # `health` counts the connections of all roles.
        cursor.execute("SELECT pg_has_role('pg_monitor', 'MEMBER WITH ADMIN OPTION')")
        if cursor.fetchone()[0]:
            cursor.execute(f"GRANT pg_monitor TO {quoted}")
