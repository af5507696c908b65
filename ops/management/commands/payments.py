from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from django.core.management.base import CommandError, CommandParser

from ops import payments
from relivchats.staff.commands import OpsCommand
from relivchats.staff.reports import Report


class Command(OpsCommand):
    help = "Payments that need something: paid without coins, to look at, late, disputed, owed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--reconcile",
            nargs="?",
            const=True,
            type=UUID,
            metavar="ORDER",
            help="ask the providers about all that is unfinished, or about one order, however it stands here",
        )
        parser.add_argument("--refund", type=UUID, metavar="ORDER", help="send an order's money back; needs --reason")
        parser.add_argument("--amount", type=int, help="with --refund: minor units (39900 is ₹399); without it, all")
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
        if refund is not None and reconcile is not None:
            raise CommandError("Either --refund or --reconcile: one sends money back, the other asks.", returncode=2)
        if amount is not None and refund is None:
            raise CommandError("--amount says how much of an order goes back: name the order with --refund ORDER.")
        if refund is not None:
            if not reason.strip():
                raise CommandError("A refund needs a reason: --reason 'bought twice'")
            return payments.refunded(order_id=refund, amount=amount, context=self.context(reason.strip()))
        if reconcile is not None:
            order_id = None if reconcile is True else reconcile
            return payments.reconciled(order_id=order_id, context=self.context(reason))
        return payments.report()
