"""One wallet's whole story for staff: transactions, held coins, orders, refunds and adjustments, newest first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from django.db.models import Model

from billing.models import Adjustment, CoinReservation, CreditTransaction, PaymentOrder, PaymentRefund, Wallet
from billing.payments import money
from billing.payments.models import WebhookEvent
from relivchats.staff.admin import link

#: Of each kind the newest so many are read, and the newest so many of all are shown.
MOST = 200


@dataclass(frozen=True)
class Happened:
    """`amount` changed the balance, `held` was only set aside or given back; `row` links to its page."""

    at: datetime
    what: str
    row: str
    amount: int | None = None
    held: int | None = None
    balance_after: int | None = None
    told: str = ""


def of(wallet: Wallet) -> list[Happened]:
    found = sorted(_all(wallet), key=lambda each: each.at, reverse=True)
    return list(islice(found, MOST))


def _all(wallet: Wallet) -> Iterator[Happened]:
    for line in wallet.transactions.order_by("-sequence")[:MOST]:
        yield _transaction(line)
    for reservation in wallet.reservations.order_by("-created_at")[:MOST]:
        yield from _reservation(reservation)
    for order in wallet.orders.select_related("package").order_by("-created_at")[:MOST]:
        told = f"{order.package.title}: {order.coins} coins for {money.format_amount(order.amount, order.currency)}"
        yield Happened(order.created_at, f"order, {order.status}", _to(order), told=told)
    for refund in PaymentRefund.objects.filter(order__wallet=wallet).order_by("-created_at")[:MOST]:
        yield Happened(refund.created_at, f"refund, {refund.status}", _to(refund), told=_refund(refund))
    for event in WebhookEvent.objects.filter(order__wallet=wallet).order_by("-received_at")[:MOST]:
        yield Happened(event.received_at, f"event {event.type}", _to(event), told=event.outcome or event.status)
    for adjustment in wallet.adjustments.order_by("-created_at")[:MOST]:
        what = f"adjustment of {adjustment.amount:+}, {adjustment.status}"
        yield Happened(adjustment.created_at, what, _to(adjustment), told=_adjustment(adjustment))


def _transaction(line: CreditTransaction) -> Happened:
    told = ": ".join(filter(None, (line.actor, line.reason)))
    return Happened(
        line.created_at, line.type, _to(line), amount=line.amount, balance_after=line.balance_after, told=told
    )


def _reservation(reservation: CoinReservation) -> Iterator[Happened]:
    to = _to(reservation)
    yield Happened(reservation.created_at, "coins held", to, held=reservation.coins, told=reservation.reason)
    if reservation.resolved_at:
        told = f"{reservation.captured_coins} captured" if reservation.captured_coins else reservation.release_reason
        yield Happened(reservation.resolved_at, reservation.status, to, held=-reservation.coins, told=told)


def _refund(refund: PaymentRefund) -> str:
    owed = f", {refund.owed_coins} owed" if refund.owed_coins else ""
    return f"{refund.taken_coins} of {refund.coins} coins taken back{owed}"


def _adjustment(adjustment: Adjustment) -> str:
    decided = f"; {adjustment.decided_by}: {adjustment.decision}" if adjustment.decided_by else ""
    return f"{adjustment.proposed_by}: {adjustment.reason}{decided}"


def _to(row: CreditTransaction | CoinReservation | PaymentOrder | PaymentRefund | WebhookEvent | Adjustment) -> str:
    model: type[Model] = type(row)
    return link(model, row.pk)
