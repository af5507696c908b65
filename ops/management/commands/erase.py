"""`manage.py erase`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from ops import erasure
from relivchats.staff.commands import OpsCommand
from relivchats.staff.reports import Report


class Command(OpsCommand):
    """Erase a person who asked for it."""

    help = (
        "Show what the erasure of a person deletes and what the ledger keeps; with --reason and --yes, erase them, as"
        " DELETE /api/me does. Example: manage.py erase ann@example.org --reason 'asked by mail' --yes"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the person, `--reason` and `--yes`."""
        parser.add_argument("person", metavar="EMAIL|ID")
        parser.add_argument("--reason", default="", help="why, for the audit entry; without the address")
        parser.add_argument("--yes", action="store_true", help="erase the person; it cannot be undone")

    def report(self, *, person: str, reason: str, yes: bool, **options: Any) -> Report:
        """Return what is deleted, or was. Raise CommandError or DomainError."""
        if yes and not reason.strip():
            raise CommandError("Erasing needs a reason: --reason 'asked by mail'")
        return erasure.report(person, context=self.context(reason.strip()) if yes else None)
