"""`manage.py person`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from ops import person
from relivchats.staff.commands import OpsCommand, number
from relivchats.staff.reports import Report


class Command(OpsCommand):
    """Show everything about one person."""

    help = (
        "Show everything about one person in one timeline: uploads, unlocks, insights, coins, payments, errors,"
        " and what staff did. It has no text of a chat. Example: manage.py person ann@example.org --limit 20"
    )
    can_watch = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the person and `--limit`."""
        parser.add_argument("person", metavar="EMAIL|ID")
        parser.add_argument("--limit", type=number(), default=50, help="entries at most (default 50, at most 200)")

    def report(self, *, limit: int, **options: Any) -> Report:
        """Return the timeline. Raise NotFound."""
        return person.report(options["person"], limit=limit)
