from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from django.core.management.base import CommandError, CommandParser

from billing.payments import reports
from relivchats.staff.commands import OpsCommand
from relivchats.staff.reports import Report


class Command(OpsCommand):
    """List payments that need attention, reconcile them with their providers, or refund one."""

    help = (
        "List payments that need attention: paid without coins, to review, late, disputed, owed."
        " Example: manage.py payments --refund ORDER --reason 'bought twice'"
    )
    can_watch = True
    changes = ("reconcile", "refund")

    def add_arguments(self, parser: CommandParser) -> None:
        """Add --reconcile, --refund, --amount and --reason."""
        parser.add_argument(
            "--reconcile",
            nargs="?",
            const=True,
            type=UUID,
            metavar="ORDER",
            help="ask the providers about everything unfinished, or about one order, whatever its state",
        )
        parser.add_argument("--refund", type=UUID, metavar="ORDER", help="refund an order; needs --reason")
        parser.add_argument(
            "--amount", type=int, help="with --refund: the amount in minor units (39900 is ₹399); by default everything"
        )
        parser.add_argument("--reason", default="", help="why, for the ledger and the audit entry")

    def report(
        self,
        *,
        reconcile: UUID | Literal[True] | None,
        refund: UUID | None,
        amount: int | None,
        reason: str,
        **options: Any,
    ) -> Report:
        """Return the list, or the results of reconciling or refunding."""
        if refund is not None and reconcile is not None:
            raise CommandError("Use either --refund or --reconcile.")
        if amount is not None and refund is None:
            raise CommandError("--amount is the amount of a refund: name the order with --refund ORDER.")
        if refund is not None:
            if not reason.strip():
                raise CommandError("A refund needs a reason: --reason 'bought twice'")
            return reports.refund_report(order_id=refund, amount=amount, context=self.context(reason.strip()))
        if reconcile is not None:
            order_id = None if reconcile is True else reconcile
            return reports.reconcile_report(order_id=order_id, context=self.context(reason))
        return reports.payments_report()
