"""`manage.py ledger`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from ops import ledger
from relivchats.staff.commands import OpsCommand
from relivchats.staff.reports import Report


class Command(OpsCommand):
    """Audit the ledger, or list its latest transactions."""

    help = "Check every invariant of the ledger. The exit status is 2 if one is broken."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add `--recent`."""
        parser.add_argument("--recent", type=int, metavar="N", help="print the latest N transactions instead")

    def report(self, *, recent: int | None, **options: Any) -> Report:
        """Return the state of every invariant, or the latest transactions. Raise CommandError if N is out of range."""
        if recent is None:
            return ledger.audit_report()
        if not 0 < recent <= ledger.MAX_RECENT:
            raise CommandError(f"--recent prints from 1 to {ledger.MAX_RECENT} transactions.")
        return ledger.recent_transactions_report(recent)
