"""Coins that are owed: spent or held when their money went back. Shown, and never taken by itself."""

from __future__ import annotations

from billing.models import PaymentRefund, Wallet
from billing.payments import money


def of(wallet: Wallet) -> list[PaymentRefund]:
    """The refunds that could not take all of their coins, newest first; each says how many in `owed_coins`."""
    owed = PaymentRefund.objects.owed().filter(order__wallet=wallet)
    return list(owed.select_related("order__package").order_by("-created_at"))


def why(refund: PaymentRefund) -> str:
    """For the person who owes them. `refund` comes with its order and package."""
    went = "went back" if refund.status == PaymentRefund.Status.COMPLETED else "is going back"
    to = "in a dispute" if refund.source == PaymentRefund.Source.DISPUTE else "to you"
    sent = f"{money.shown(refund.amount, refund.order.currency)} for {refund.order.package.title} {went} {to}."
    were = "was" if refund.owed_coins == 1 else "were"
    return f"{sent} It had bought {refund.coins} coins, and {refund.owed_coins} of them {were} spent or held by then."
