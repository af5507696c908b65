"""`manage.py health`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from ops import health
from relivchats.staff.commands import OpsCommand
from relivchats.staff.reports import Report


class Command(OpsCommand):
    """Run the health checks."""

    help = (
        "Run the health checks, which take less than two seconds. Each line that is not fine ends with its remedy."
        " Example: manage.py health --watch 10"
    )
    can_watch = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Add `--verbose`."""
        parser.add_argument("--verbose", action="store_true", help="also show this machine's memory and load")

    def report(self, *, verbose: bool, **options: Any) -> Report:
        """Run the checks and return one line per check."""
        return health.report(verbose=verbose)
