"""`manage.py insights`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from insights import operations
from relivchats.staff.commands import OpsCommand
from relivchats.staff.reports import Report


class Command(OpsCommand):
    """List or retry failed insights."""

    help = (
        "List failed insights that were not retried, with their causes."
        " Example: manage.py insights --failed --retry --reason 'the engine is back'"
    )
    can_watch = True
    changes = ("retry",)

    def add_arguments(self, parser: CommandParser) -> None:
        """Add `--failed`, `--retry` and `--reason`."""
        parser.add_argument("--failed", action="store_true", help="list the failed insights (the default)")
        parser.add_argument(
            "--retry", action="store_true", help="retry each one; its own price is reserved in its owner's wallet"
        )
        parser.add_argument("--reason", default="", help="why, for the audit entry")

    def report(self, *, failed: bool, retry: bool, reason: str, **options: Any) -> Report:
        """Return the failed insights; with `--retry`, retry them and return the results."""
        if retry:
            return operations.retry_failed_insights(context=self.context(reason))
        return operations.failed_insights_report()
