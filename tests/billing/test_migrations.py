"""Migrations of coins keep the books in balance."""

from __future__ import annotations

from importlib import import_module

import pytest
from django.apps import apps
from django.db import connection

from billing import audit, ledger
from billing.models import CreditTransaction, PaymentOrder, PaymentRefund, Wallet
from relivchats import clock
from tests.billing.conftest import Hold, MakeOrder, MakeRefund, MakeWallet

pytestmark = pytest.mark.django_db


def adjust(wallet: Wallet, amount: int, *, reason: str) -> None:
    ledger.adjust(wallet=wallet, amount=amount, actor="user 7", reason=reason, idempotency_key=reason)


def record_refund(order: PaymentOrder, refund: PaymentRefund) -> None:
    """Refund an order in full as earlier versions did: what was not spendable is only recorded."""
    taken, wallet = min(order.coins, order.wallet.spendable), order.wallet
    if taken:
        wallet.balance -= taken
        wallet.save()
        wallet.transactions.create(
            sequence=wallet.transactions.count() + 1,
            type="refund",
            amount=-taken,
            balance_after=wallet.balance,
            payment_order=order,
            idempotency_key=f"refund {refund.pk}",
        )
    PaymentRefund.objects.filter(pk=refund.pk).update(coins=order.coins, taken_coins=taken, amount=order.amount)
    PaymentOrder.objects.filter(pk=order.pk).update(refunded_amount=order.amount, status="refunded")


def lines_of(wallet: Wallet, *, since: int) -> list[tuple[str, int]]:
    lines = wallet.transactions.filter(sequence__gt=since).order_by("sequence")
    return list(lines.values_list("type", "amount"))


@pytest.mark.owner
def test_recorded_debts_are_netted_and_settled_ones_are_not_taken_twice(
    make_wallet: MakeWallet, make_order: MakeOrder, make_refund: MakeRefund, hold: Hold
) -> None:
    orders = [
        make_order(make_wallet(coins=0), coins=400, status="completed", completed_at=clock.now()) for _ in range(3)
    ]
    refunds = [make_refund(order) for order in orders]
    buyer, settler, holder = (order.wallet for order in orders)
    for order in orders:
        ledger.grant(wallet=order.wallet, type="purchase", coins=400, idempotency_key="o", payment_order=order)
    adjust(buyer, -250, reason="spent")
    adjust(settler, -400, reason="spent")
    held = hold(holder, 400)
    for order, refund in zip(orders, refunds, strict=True):
        record_refund(order, refund)
    adjust(buyer, 400, reason="bought later")
    adjust(settler, 120, reason="a gift")
    adjust(settler, -100, reason=f"owed for refund {refunds[1].pk}")
    before = [wallet.transactions.count() for wallet in (buyer, settler, holder)]

    with connection.schema_editor() as editor:
        import_module("billing.migrations.0014_net_recorded_debts").net(apps, editor)

    assert lines_of(buyer, since=before[0]) == [("refund", -250)]
    assert lines_of(settler, since=before[1]) == [("admin_adjustment", 100), ("refund", -120)]
    assert lines_of(holder, since=before[2]) == []
    for wallet in (buyer, settler, holder):
        wallet.refresh_from_db()
    assert [(wallet.balance, wallet.owed) for wallet in (buyer, settler, holder)] == [(150, 0), (0, 280), (400, 400)]
    assert [refund.owed_coins for refund in refunds] == [0, 280, 400]
    assert CreditTransaction.objects.filter(debt__isnull=False).count() == 2
    assert audit.audit() == []
    ledger.release(reservation=held, reason="the chat was deleted")
    assert Wallet.objects.get(pk=holder.pk).balance == 0
