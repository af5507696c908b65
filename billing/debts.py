"""Owed coins: they were spent or held when their money was refunded. The next spendable coins pay them."""

from __future__ import annotations

from billing.models import CoinDebt, PaymentRefund, Wallet
from billing.payments import money


def list_open_debts(wallet: Wallet) -> list[CoinDebt]:
    """Return the wallet's debts that are not paid in full, newest first, with what `explain` reads."""
    return list(wallet.debts.open().select_related("refund__order__package").order_by("-pk"))


def explain(debt: CoinDebt) -> str:
    """Return a sentence for the person who owes the coins. Reads the debt's refund, order and package."""
    refund = debt.refund
    went = "went back" if refund.status == PaymentRefund.Status.COMPLETED else "is going back"
    to = "in a dispute" if refund.source == PaymentRefund.Source.DISPUTE else "to you"
    price = money.format_amount(refund.amount, refund.order.currency)
    were = "was" if debt.coins == 1 else "were"
    paid = f" {debt.paid_coins} of these {'was' if debt.paid_coins == 1 else 'were'} taken since."
    return (
        f"{price} for {refund.order.package.title} {went} {to}. It had bought {refund.coins} coins,"
        f" and {debt.coins} of them {were} spent or held by then."
    ) + (paid if debt.paid_coins else "")
