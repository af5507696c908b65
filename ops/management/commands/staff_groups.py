"""`manage.py staff_groups`."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.management.base import CommandParser

from ops import staff_groups
from relivchats.staff.commands import OpsCommand
from relivchats.staff.reports import Report


class Command(OpsCommand):
    """Create the groups of staff: viewer, support, operator, finance and catalogue editor."""

    help = (
        "Show the groups of staff and their permissions; with --yes, create what is missing. Repeating it is safe."
        " Example: manage.py staff_groups --yes"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add `--yes`."""
        parser.add_argument("--yes", action="store_true", help="create the groups and add what they lack")

    def report(self, *, yes: bool, **options: Any) -> Report:
        """Return the groups."""
        # The pages are registered by the modules that this imports; commands do not need them otherwise.
        admin.autodiscover()
        return staff_groups.report(context=self.context("set up by staff_groups") if yes else None)
