"""Owed coins: they were spent or held when their money was refunded. The next spendable coins pay them."""

from __future__ import annotations

from django.db.models import Sum

from billing.models import CoinDebt, CreditTransaction, PaymentRefund, Wallet
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


def describe_payment(made: CreditTransaction, *, wallet: Wallet) -> str:
    """Return how many coins of a transaction paid debts at once, and how many are still owed, or an empty string.

    `wallet` is as it is now: a repeated request gets a transaction that was made before.
    """
    # Coins that become spendable later, such as released ones, pay debts as well, and their transaction is the next one
    # of the wallet. Only `xmin`, the database transaction that wrote the row, tells these payments from its own.
    own = wallet.transactions.filter(debt__isnull=False, sequence__gt=made.sequence).extra(
        where=["xmin = (SELECT made.xmin FROM credit_transactions made WHERE made.id = %s)"], params=[made.pk]
    )
    paid = -own.aggregate(paid=Sum("amount", default=0))["paid"]
    if not paid:
        return ""
    are = "coin is" if wallet.owed == 1 else "coins are"
    return f"{paid} paid a debt; {wallet.owed if wallet.owed else 'no'} {are} still owed."
