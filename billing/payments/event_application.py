"""Apply a provider's event to its order, whether it came by webhook or as the answer to a status request.

Events arrive late, twice and in any order, so each one is checked against the order's current state. Every function
here expects the caller to hold the order's row lock inside a transaction.
"""

from __future__ import annotations

from django.db.models.functions import Now

from billing import ledger
from billing.models import CreditTransaction, PaymentOrder, WebhookEvent
from billing.payments import money, refund_application
from billing.payments.outcomes import Outcome
from billing.payments.providers.base import EventKind, ProviderEvent

Status = WebhookEvent.Status


def apply_event(order: PaymentOrder, event: ProviderEvent) -> Outcome:
    """Change the order as the event says. Store the reason on the order if a person has to review the event."""
    outcome = _apply(order, event)
    if outcome.status == Status.NEEDS_REVIEW:
        order.review_reason = outcome.text[:200]
        order.save(update_fields=["review_reason"])
    return outcome


def _apply(order: PaymentOrder, event: ProviderEvent) -> Outcome:
    if order.provider_order_id and event.provider_order_id and order.provider_order_id != event.provider_order_id:
        return Outcome(Status.NEEDS_REVIEW, "it names this order but has the provider's id of another order")
    if event.kind == EventKind.PAID:
        return _apply_payment(order, event)
    if event.kind == EventKind.REFUND:
        return refund_application.apply_refund(order, event)
    if event.kind == EventKind.DISPUTE:
        return refund_application.apply_dispute(order, event)
    if event.kind == EventKind.REFUNDS_CHANGED:
        return Outcome(Status.RECEIVED, "waits until reconciliation has fetched the refunds from the provider")
    # Events are not delivered in sequence: a failed attempt may be reported after the successful one.
    if order.is_paid:
        return Outcome(Status.IGNORED, "the order was already paid")
    if event.kind == EventKind.FAILED:
        return _change_status(order, PaymentOrder.Status.FAILED, failure=event.state)
    # A stored event can be older than the failure. An answer (no event id) is the current state.
    if order.status == PaymentOrder.Status.FAILED and event.event_id:
        return Outcome(Status.IGNORED, "the payment already failed")
    return _change_status(order, PaymentOrder.Status.PROCESSING, failure="")


def _change_status(order: PaymentOrder, status: PaymentOrder.Status, *, failure: str) -> Outcome:
    order.status, order.failure = status, failure
    order.save(update_fields=["status", "failure"])
    return Outcome(Status.APPLIED, f"the order is {status}")


def _apply_payment(order: PaymentOrder, event: ProviderEvent) -> Outcome:
    """Grant the order's coins once, if the amount and currency paid are exactly those of the order."""
    if (event.amount, event.currency) != (order.amount, order.currency):
        paid = "an unknown amount" if event.amount is None else money.format_amount(event.amount, event.currency)
        text = f"paid {paid}, not {money.format_amount(order.amount, order.currency)}"
        if order.is_paid and event.provider_payment_id and event.provider_payment_id == order.provider_payment_id:
            text += ": the coins were granted for this same payment"
        return Outcome(Status.NEEDS_REVIEW, text)
    if order.is_paid:
        # Without both ids, a second event of the same payment looks the same as a second payment.
        if order.provider_payment_id in ("", event.provider_payment_id) or not event.provider_payment_id:
            return Outcome(Status.IGNORED, "the coins were already granted")
        if _is_reported_duplicate(order, event):
            return Outcome(Status.IGNORED, "another event already reported this second payment")
        return Outcome(
            Status.NEEDS_REVIEW, "paid a second time: refund this payment at the provider, then dismiss the event"
        )
    # The key is the order's: whatever happens, its coins are granted once.
    ledger.grant(
        wallet=order.wallet,
        type=CreditTransaction.Type.PURCHASE,
        coins=order.coins,
        idempotency_key=f"order {order.pk}",
        actor="provider",
        payment_order=order,
    )
    order.status, order.failure = PaymentOrder.Status.COMPLETED, ""
    order.provider_order_id = order.provider_order_id or event.provider_order_id or None
    order.provider_payment_id = event.provider_payment_id
    # update(), not save(): completed_at comes from the database's clock.
    PaymentOrder.objects.filter(pk=order.pk).update(
        status=order.status,
        failure="",
        provider_order_id=order.provider_order_id,
        provider_payment_id=order.provider_payment_id,
        completed_at=Now(),
    )
    order.refresh_from_db(fields=["completed_at"])
    # Refunds and disputes that arrived before their payment can be applied now. So can every event under review,
    # since the granted coins may resolve it.
    order.events.open().make_due()
    return Outcome(Status.APPLIED, f"{order.coins} coins granted")


def _is_reported_duplicate(order: PaymentOrder, event: ProviderEvent) -> bool:
    """Return whether a person reviews, or dismissed, another event of this second payment.

    Razorpay sends two events for each payment: order.paid and payment.captured.
    """
    reported = order.events.filter(
        kind=EventKind.PAID,
        provider_payment_id=event.provider_payment_id,
        status__in=[Status.NEEDS_REVIEW, Status.DISMISSED],
    )
    return bool(event.event_id) and reported.exclude(event_id=event.event_id).exists()
