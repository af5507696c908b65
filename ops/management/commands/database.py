"""`manage.py database`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from ops import retention as kept
from ops import sessions
from ops import tables as table_sizes
from relivchats.staff.commands import OpsCommand, number, seconds
from relivchats.staff.reports import Report


class Command(OpsCommand):
    """Show the connections of Postgres and what they do, or end them."""

    help = (
        "Show who is connected to Postgres, what runs, and who waits for whom; with --tables, sizes and indexes."
        " Example: manage.py database --cancel 4711 --reason 'it blocks uploads'"
    )
    can_watch = True
    changes = ("cancel", "kill", "close_idle")

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument(
            "--long",
            type=seconds,
            default=0,
            metavar="SECONDS",
            help="only statements and transactions that are so old",
        )
        parser.add_argument(
            "--tables",
            action="store_true",
            help="sizes and growth, unused and missing indexes, vacuum, transaction ids",
        )
        parser.add_argument("--retention", action="store_true", help="what is kept for how long, and what was deleted")
        parser.add_argument("--cancel", type=number(minimum=0), metavar="PID", help="cancel the statement of a session")
        parser.add_argument(
            "--kill", type=number(minimum=0), metavar="PID", help="close a session; its transaction is rolled back"
        )
        parser.add_argument("--close-idle", metavar="SOURCE", help="close the idle connections of a source")
        parser.add_argument("--reason", default="", help="why, for the audit entry")

    def report(
        self,
        *,
        cancel: int | None,
        kill: int | None,
        close_idle: str | None,
        reason: str,
        long: float,
        tables: bool,
        retention: bool,
        **options: Any,
    ) -> Report:
        """Return the connections and sessions, or what was ended."""
        context = self.context(reason)
        if cancel is not None:
            return sessions.cancel(cancel, context=context)
        if kill is not None:
            return sessions.close(kill, context=context)
        if close_idle is not None:
            return sessions.close_idle(close_idle, context=context)
        if retention:
            return kept.report()
        return table_sizes.report() if tables else sessions.report(min_seconds=long)
