from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from billing import adjustments, debts, ledger
from billing.models import Adjustment
from relivchats import installation
from relivchats.accounts.models import User
from relivchats.staff.commands import OpsCommand
from relivchats.staff.reports import Level, Report


class Command(OpsCommand):
    """Adjust a person's wallet."""

    help = (
        "Add coins to a person's wallet, or take some. Example: manage.py coins ann@example.org +400 --reason 'a gift'"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the address, the amount and --reason."""
        parser.add_argument("email")
        parser.add_argument("amount", help="coins to add (+400 or 400) or to take (-50)")
        parser.add_argument("--reason", required=True, help="why; it is stored in the ledger permanently")

    def report(self, *, email: str, amount: str, reason: str, **options: Any) -> Report:
        """Make or propose the adjustment and return the sentence to print. Raise CommandError or DomainError."""
        if not re.fullmatch(r"[+-]?[0-9]{1,99}", amount):
            raise CommandError(f"{amount} is not a number of coins. Write it like +400 or -50.")
        user = User.objects.filter(email=email.strip().lower()).first()
        if user is None:
            raise CommandError(f"There is no user with the address {email}. `manage.py token {email}` creates one.")
        wallet = ledger.open_wallet(user=user)
        try:
            made = adjustments.adjust(
                wallet=wallet, amount=int(amount), actor="command", reason=reason, idempotency_key=f"command {uuid4()}"
            )
        except ledger.WalletBroken:
            repair = installation.as_typed(f"manage.py ledger --repair {wallet.pk}")
            raise CommandError(
                f"The balance of wallet {wallet.pk} is not the sum of its transactions: {repair}",
                returncode=Level.CRITICAL.exit_status,
            ) from None
        data = {"wallet": wallet.pk, "balance": wallet.balance, "reserved": wallet.reserved, "owed": wallet.owed}
        if isinstance(made, Adjustment):
            return Report(
                f"No coins were moved yet: more than {settings.ADJUSTMENT_APPROVAL_COINS} coins in a day need a second"
                f" person. Adjustment {made.pk} waits for approval in the admin, under Adjustments.",
                data={**data, "adjustment": made.pk},
            )
        balance = f"Balance: {wallet.balance} coins, {wallet.reserved} of them held."
        paid = debts.describe_payment(made, wallet=wallet)
        return Report(f"{paid} {balance}" if paid else balance, data={**data, "adjustment": None})
