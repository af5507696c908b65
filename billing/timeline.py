"""The history of one wallet for staff: transactions, reservations, orders, refunds, events and adjustments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from billing.models import (
    Adjustment,
    CoinReservation,
    CreditTransaction,
    PaymentOrder,
    PaymentRefund,
    Wallet,
    WebhookEvent,
)
from billing.payments import money
from relivchats.staff.markup import link

#: The newest so many rows of each kind are read, and the newest so many entries are shown.
MAX_ENTRIES = 200


@dataclass(frozen=True)
class Entry:
    """One entry. `amount` changed the balance, `held` changed only the reserved coins; `row` is a link."""

    at: datetime
    what: str
    row: str
    amount: int | None = None
    held: int | None = None
    balance_after: int | None = None
    details: str = ""

    @property
    def words(self) -> str:
        """Return what happened, without the underscores of a status."""
        return self.what.replace("_", " ")


def list_entries(wallet: Wallet) -> list[Entry]:
    """Return the newest MAX_ENTRIES entries of a wallet, newest first."""
    return sorted(_iterate_entries(wallet), key=lambda entry: entry.at, reverse=True)[:MAX_ENTRIES]


def _iterate_entries(wallet: Wallet) -> Iterator[Entry]:
    for row in wallet.transactions.order_by("-sequence")[:MAX_ENTRIES]:
        details = ": ".join(filter(None, (row.actor, row.reason)))
        to = link(CreditTransaction, row.pk)
        yield Entry(row.created_at, row.type, to, row.amount, balance_after=row.balance_after, details=details)
    for reservation in wallet.reservations.order_by("-created_at")[:MAX_ENTRIES]:
        to = link(CoinReservation, reservation.pk)
        coins, captured = reservation.coins, reservation.captured_coins
        yield Entry(reservation.created_at, "coins held", to, held=coins, details=reservation.reason)
        if reservation.resolved_at:
            details = f"{captured} captured" if captured else reservation.release_reason
            yield Entry(reservation.resolved_at, reservation.status, to, held=-coins, details=details)
    for order in wallet.orders.select_related("package").order_by("-created_at")[:MAX_ENTRIES]:
        price = money.format_amount(order.amount, order.currency)
        details = f"{order.package.title}: {order.coins} coins for {price}"
        yield Entry(order.created_at, f"order, {order.status}", link(PaymentOrder, order.pk), details=details)
    refunds = PaymentRefund.objects.filter(order__wallet=wallet).prefetch_related("debts").order_by("-created_at")
    for refund in refunds[:MAX_ENTRIES]:
        owed = f", {refund.owed_coins} owed" if refund.owed_coins else ""
        details = f"{refund.taken_coins} of {refund.coins} coins taken back at once{owed}"
        yield Entry(refund.created_at, f"refund, {refund.status}", link(PaymentRefund, refund.pk), details=details)
    for event in WebhookEvent.objects.filter(order__wallet=wallet).order_by("-received_at")[:MAX_ENTRIES]:
        details = event.outcome or event.status
        yield Entry(event.received_at, f"event {event.type}", link(WebhookEvent, event.pk), details=details)
    for adjustment in wallet.adjustments.order_by("-created_at")[:MAX_ENTRIES]:
        is_repair = adjustment.kind == Adjustment.Kind.REPAIR
        what = f"{'repair' if is_repair else f'adjustment of {adjustment.amount:+}'}, {adjustment.status}"
        decided = f"; {adjustment.decided_by}: {adjustment.decision}" if adjustment.decided_by else ""
        details = f"{adjustment.proposed_by}: {adjustment.reason}{decided}"
        yield Entry(adjustment.created_at, what, link(Adjustment, adjustment.pk), details=details)
