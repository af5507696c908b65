"""Django's `migrate`, as the owner of the tables."""

from __future__ import annotations

from typing import Any

from django.core.management.commands import migrate
from django.db import connections

from relivchats import database_roles
from relivchats.staff.commands import CommandWithExample


class Command(CommandWithExample, migrate.Command):
    """Apply migrations as the role of DATABASE_OWNER_URL, and grant the role of DATABASE_URL what it needs.

    With --plan or --check, change nothing.
    """

    help = (
        "Updates database schema, as the role of DATABASE_OWNER_URL. Grants the role of DATABASE_URL what the"
        " application needs."
        " Example: manage.py migrate --plan"
    )

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run Django's command, then grant."""
        connection: Any = connections[options["database"]]
        # Around the system checks as well: they connect, and the application's role may not exist yet.
        with database_roles.as_owner(connection) as separate:
            output: str | None = super().execute(*args, **options)
            if separate and not (options["plan"] or options["check_unapplied"]):
                database_roles.grant(connection)
        return output
