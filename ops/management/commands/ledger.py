"""`manage.py ledger`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from ops import ledger
from relivchats.staff.commands import OpsCommand
from relivchats.staff.reports import Report


class Command(OpsCommand):
    """Audit the ledger, list its latest transactions, or repair a wallet."""

    help = (
        "Check every invariant of the ledger. The exit status is 2 if one is broken."
        " Example: manage.py ledger --repair 12 --reason 'changed by SQL' --yes"
    )
    can_watch = True
    changes = ("repair",)

    def add_arguments(self, parser: CommandParser) -> None:
        """Add `--recent`, `--repair`, `--reason` and `--yes`."""
        choice = parser.add_mutually_exclusive_group()
        choice.add_argument("--recent", type=int, metavar="N", help="print the latest N transactions instead")
        choice.add_argument(
            "--repair",
            type=int,
            metavar="WALLET",
            help="show what a wallet contains by its transactions, reservations and debts; with --yes, propose to set"
            " it to that, which a second person approves",
        )
        parser.add_argument("--reason", default="", help="why, for the ledger and the audit entry")
        parser.add_argument("--yes", action="store_true", help="propose the repair")

    def report(self, *, recent: int | None, repair: int | None, reason: str, yes: bool, **options: Any) -> Report:
        """Return the state of every invariant, the latest transactions or a repair. Raise CommandError."""
        if repair is not None:
            if yes and not reason.strip():
                raise CommandError("A repair needs a reason: --reason 'changed by SQL'")
            return ledger.repair_report(repair, context=self.context(reason.strip()) if yes else None)
        if recent is None:
            return ledger.audit_report()
        if not 0 < recent <= ledger.MAX_RECENT:
            raise CommandError(f"--recent prints from 1 to {ledger.MAX_RECENT} transactions.")
        return ledger.recent_transactions_report(recent)
