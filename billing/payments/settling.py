"""What a provider's report does to an order. One place, whether a webhook brought it or we asked.

Reports come late, doubled and in any order, so each is measured against what the
order knows already. The caller holds the order's row lock, in a transaction.
"""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from django.db.models.functions import Now

from billing import ledger
from billing.models import CreditTransaction, PaymentOrder, WebhookEvent
from billing.payments import money
from billing.payments.providers.base import Kind, Report

Status = WebhookEvent.Status


class Outcome(NamedTuple):
    """What became of a report. RECEIVED: it has to wait. HELD: a person has to look."""

    status: Status
    text: str


def lock(order_id: UUID) -> PaymentOrder:
    """The order, held until the transaction ends."""
    return PaymentOrder.objects.select_for_update(no_key=True).select_related(None).get(pk=order_id)


def settle(order: PaymentOrder, report: Report) -> Outcome:
    outcome = _settle(order, report)
    if outcome.status == Status.HELD:
        order.attention = outcome.text[:200]
        order.save(update_fields=["attention"])
    return outcome


def _settle(order: PaymentOrder, report: Report) -> Outcome:
    # Refunds use this module to learn of their order's state, and it hands them what is theirs.
    from billing.payments import refunds

    if _is_of_another(order, report):
        return Outcome(Status.HELD, "it names this order, but not the one that the provider made for it")
    if report.kind == Kind.PAID:
        return _paid(order, report)
    if report.kind == Kind.REFUND:
        return refunds.reported(order, report)
    if report.kind == Kind.DISPUTE:
        return refunds.disputed(order, report)
    if report.kind == Kind.REFUNDS_CHANGED:
        return Outcome(Status.RECEIVED, "waits for the provider to be asked what was refunded")
    if order.is_paid:
        return Outcome(Status.IGNORED, "came after the payment")
    if report.kind == Kind.FAILED:
        return _move(order, PaymentOrder.Status.FAILED, failure=report.state)
    if order.status == PaymentOrder.Status.FAILED and report.event_id:
        return Outcome(Status.IGNORED, "came after the failure")
    return _move(order, PaymentOrder.Status.PROCESSING, failure="")


def _is_of_another(order: PaymentOrder, report: Report) -> bool:
    return bool(
        order.provider_order_id and report.provider_order_id and order.provider_order_id != report.provider_order_id
    )


def _move(order: PaymentOrder, status: PaymentOrder.Status, *, failure: str) -> Outcome:
    order.status, order.failure = status, failure
    order.save(update_fields=["status", "failure"])
    return Outcome(Status.APPLIED, f"the order is {status}")


def _paid(order: PaymentOrder, report: Report) -> Outcome:
    """Give the coins, once: for exactly the money that was asked."""
    if (report.amount, report.currency) != (order.amount, order.currency):
        paid = f"paid {_shown(report)}, not {money.shown(order.amount, order.currency)}"
        given = order.is_paid and report.provider_payment_id and report.provider_payment_id == order.provider_payment_id
        return Outcome(Status.HELD, f"{paid}: it is the payment that the coins were given for" if given else paid)
    if order.is_paid:
        if order.provider_payment_id in ("", report.provider_payment_id) or not report.provider_payment_id:
            return Outcome(Status.IGNORED, "its coins were given before")
        if _told_before(order, report):
            return Outcome(Status.IGNORED, "another event told of this second payment before")
        return Outcome(Status.HELD, "paid a second time: send this payment back at the provider, then set it aside")
    ledger.grant(
        wallet=order.wallet,
        type=CreditTransaction.Type.PURCHASE,
        coins=order.coins,
        idempotency_key=f"order {order.pk}",
        actor="provider",
        payment_order=order,
    )
    order.status, order.failure = PaymentOrder.Status.COMPLETED, ""
    order.provider_order_id = order.provider_order_id or report.provider_order_id or None
    order.provider_payment_id = report.provider_payment_id
    PaymentOrder.objects.filter(pk=order.pk).update(
        status=order.status,
        failure="",
        provider_order_id=order.provider_order_id,
        provider_payment_id=order.provider_payment_id,
        completed_at=Now(),
    )
    order.refresh_from_db(fields=["completed_at"])
    _wake_what_waited(order)
    return Outcome(Status.APPLIED, f"{order.coins} coins given")


def _told_before(order: PaymentOrder, report: Report) -> bool:
    """Whether a person looks, or has looked, at another event of this second payment: Razorpay sends two of each."""
    told = order.events.filter(kind=Kind.PAID, provider_payment_id=report.provider_payment_id)
    others = told.exclude(event_id=report.event_id).filter(status__in=[Status.HELD, Status.SET_ASIDE])
    return bool(report.event_id) and others.exists()


def _wake_what_waited(order: PaymentOrder) -> None:
    """Refunds and disputes that came before their payment are due now, however long they waited; and so is all else
    that was held of the order, since the coins may answer it."""
    order.events.open().wake()


def _shown(report: Report) -> str:
    return "an unknown sum" if report.amount is None else money.shown(report.amount, report.currency)
