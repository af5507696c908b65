"""Owed coins: they were spent or held when their money was refunded. They are shown, and never taken automatically."""

from __future__ import annotations

from billing.models import PaymentRefund, Wallet
from billing.payments import money


def list_refunds_with_debt(wallet: Wallet) -> list[PaymentRefund]:
    """Return the wallet's refunds whose coins could not all be taken, newest first; `owed_coins` says how many."""
    refunds = PaymentRefund.objects.with_debt().filter(order__wallet=wallet)
    return list(refunds.select_related("order__package").order_by("-created_at"))


def explain(refund: PaymentRefund) -> str:
    """Return a sentence for the person who owes the coins. Reads the refund's order and package."""
    went = "went back" if refund.status == PaymentRefund.Status.COMPLETED else "is going back"
    to = "in a dispute" if refund.source == PaymentRefund.Source.DISPUTE else "to you"
    price = money.format_amount(refund.amount, refund.order.currency)
    were = "was" if refund.owed_coins == 1 else "were"
    return (
        f"{price} for {refund.order.package.title} {went} {to}. It had bought {refund.coins} coins,"
        f" and {refund.owed_coins} of them {were} spent or held by then."
    )
