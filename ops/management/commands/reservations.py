from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from ops import reservations
from relivchats.staff.commands import OpsCommand
from relivchats.staff.reports import Report


class Command(OpsCommand):
    """List the reservations that hold coins, or release the overdue ones."""

    help = (
        "List the reservations that hold coins. Overdue ones are expected not to exist."
        " Example: manage.py reservations --stuck --release --reason 'after the outage'"
    )
    can_watch = True
    changes = ("release",)

    def add_arguments(self, parser: CommandParser) -> None:
        """Add --stuck, --release and --reason."""
        parser.add_argument("--stuck", action="store_true", help="list only overdue reservations")
        parser.add_argument("--release", action="store_true", help="release the coins of all overdue reservations")
        parser.add_argument("--reason", default="", help="why, for the audit entry")

    def report(self, *, stuck: bool, release: bool, reason: str, **options: Any) -> Report:
        """Return the list, or the results of the release."""
        if release:
            return reservations.release(context=self.context(reason))
        return reservations.report(stuck=stuck)
