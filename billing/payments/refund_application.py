"""Apply refunds and disputes that a provider reports, and move the coins with them.

Once the provider has a refund, the coins that its money bought are taken back as far as they are spendable. The rest
becomes a debt, which the next spendable coins pay. A refund that finally fails returns its coins.

Every function here expects the caller to hold the order's row lock inside a transaction.
"""

from __future__ import annotations

import uuid

from django.db.models.functions import Now

from billing import ledger
from billing.models import PaymentOrder, PaymentRefund, WebhookEvent
from billing.payments.outcomes import Outcome
from billing.payments.providers.base import EventKind, ProviderEvent

Status = PaymentRefund.Status
EventStatus = WebhookEvent.Status
ACCEPTED = PaymentRefund.ACCEPTED


def refundable_amount(order: PaymentOrder) -> int:
    """Return the amount that can still be refunded, in minor units."""
    return max(0, order.amount - order.refunds.not_failed().total_amount())


def apply_refund(order: PaymentOrder, event: ProviderEvent) -> Outcome:
    """Apply a refund that staff started here or that was made in the provider's dashboard."""
    if not order.is_paid:
        return Outcome(EventStatus.RECEIVED, "waits for the payment that it refunds")
    if _is_for_another_payment(order, event):
        return Outcome(EventStatus.IGNORED, "it refunds another payment than the one that bought the coins")
    if not event.amount or event.amount < 0 or event.currency != order.currency or not event.provider_refund_id:
        return Outcome(EventStatus.NEEDS_REVIEW, "the refund's amount or currency does not match the order's")
    refund = _find_refund(order, event)
    if refund is None:
        # A failed refund gets a row too. Without it, an older event of the same refund that arrives later would look
        # like a new refund and take the coins.
        if event.state != Status.FAILED and event.amount > refundable_amount(order):
            return Outcome(EventStatus.NEEDS_REVIEW, "more is refunded than was paid")
        refund = order.refunds.create(source=PaymentRefund.Source.PROVIDER, amount=event.amount, actor="provider")
    if refund.amount != event.amount:
        return Outcome(EventStatus.NEEDS_REVIEW, "the refund has another amount than before")
    if (rejection := _reject_revival(order, refund, event)) is not None:
        return rejection
    return change_status(order, refund, Status(event.state), provider_id=event.provider_refund_id)


def apply_dispute(order: PaymentOrder, event: ProviderEvent) -> Outcome:
    """Apply an opened, won or lost dispute. A lost one takes coins like a refund of what was not yet refunded."""
    if not order.is_paid:
        return Outcome(EventStatus.RECEIVED, "waits for the payment that it disputes")
    if _is_for_another_payment(order, event):
        return Outcome(EventStatus.IGNORED, "it disputes another payment than the one that bought the coins")
    state = PaymentOrder.Dispute(event.state)
    if state == PaymentOrder.Dispute.OPEN and order.dispute:
        return Outcome(EventStatus.IGNORED, f"the dispute is already {order.dispute}")
    if state == PaymentOrder.Dispute.WON and order.dispute == PaymentOrder.Dispute.LOST:
        return Outcome(EventStatus.NEEDS_REVIEW, "a lost dispute was won later: return the coins by an adjustment")
    # Stored before the amount is checked: the dispute is a fact even if its amount needs review.
    order.dispute = state
    order.save(update_fields=["dispute"])
    if state != PaymentOrder.Dispute.LOST:
        return Outcome(EventStatus.APPLIED, f"the dispute is {state}")
    if not event.amount or event.amount < 0 or event.currency != order.currency:
        return Outcome(EventStatus.NEEDS_REVIEW, "the lost dispute's amount or currency does not match the order's")
    refund = _find_refund(order, event)
    if refund is None:
        # Pending refunds do not count here: providers usually refuse the refund of a disputed payment.
        lost = min(event.amount, order.amount - order.refunded_amount)
        if not lost:
            return Outcome(EventStatus.APPLIED, "the dispute is lost; everything was already refunded")
        refund = order.refunds.create(source=PaymentRefund.Source.DISPUTE, amount=lost, actor="provider")
    return change_status(order, refund, Status.COMPLETED, provider_id=event.provider_refund_id)


def _is_for_another_payment(order: PaymentOrder, event: ProviderEvent) -> bool:
    """Return whether the event concerns the second payment of an order. It bought no coins, so none are taken."""
    return bool(order.provider_payment_id and event.provider_payment_id not in ("", order.provider_payment_id))


def _find_refund(order: PaymentOrder, event: ProviderEvent) -> PaymentRefund | None:
    refund = order.refunds.filter(provider_refund_id=event.provider_refund_id).first()
    if refund is not None or event.kind == EventKind.DISPUTE:
        return refund
    # Our own refund whose response was lost: the provider returns our id in the refund's metadata.
    try:
        refund_id = uuid.UUID(event.refund_reference)
    except ValueError:
        return None
    return order.refunds.filter(pk=refund_id, provider_refund_id=None).first()


def _reject_revival(order: PaymentOrder, refund: PaymentRefund, event: ProviderEvent) -> Outcome | None:
    """Return why a failed refund must not become accepted by this event, or None if it may.

    A refund that the provider first refused and later made is accepted. One that failed at the provider is accepted
    again only if the provider's answer to a request says so: a stored event may be older than the failure.
    """
    if event.state not in ACCEPTED or refund.status in ACCEPTED:
        return None
    if refund.status == Status.FAILED and refund.provider_refund_id and event.event_id:
        if event.state == Status.PROCESSING or _failed_later(order, event):
            return Outcome(EventStatus.IGNORED, "the refund already failed")
        return Outcome(EventStatus.NEEDS_REVIEW, "a failed refund was paid later: reconcile its order")
    if refund.amount > order.amount - order.refunded_amount:
        return Outcome(EventStatus.NEEDS_REVIEW, "more is refunded than was paid")
    return None


def _failed_later(order: PaymentOrder, event: ProviderEvent) -> bool:
    """Return whether a stored event, newer by the provider's clock, reports that this refund failed."""
    failures = order.events.filter(
        kind=EventKind.REFUND, provider_refund_id=event.provider_refund_id, state=Status.FAILED
    )
    return failures.filter(occurred_at__gt=event.occurred_at).exists() if event.occurred_at else False


def change_status(
    order: PaymentOrder, refund: PaymentRefund, status: Status, *, provider_id: str = "", failure: str = ""
) -> Outcome:
    """Move a refund to a later status, and take or return its coins."""
    # The caller may have read the refund before it got the order's lock.
    refund.refresh_from_db()
    before = Status(refund.status)
    # Events are not delivered in sequence: one that says PROCESSING may arrive after the refund was completed.
    if before == status or (before, status) == (Status.COMPLETED, Status.PROCESSING):
        return Outcome(EventStatus.IGNORED, f"the refund was already {before}")
    refund.status, refund.failure = status, failure
    refund.provider_refund_id = refund.provider_refund_id or provider_id or None
    # A bank can reject a refund that the provider accepted. Its coins were taken on acceptance.
    if status == Status.FAILED and before in ACCEPTED:
        ledger.reverse_refund(refund=refund, reason="the provider could not send the money back")
        refund.coins = refund.taken_coins = 0
        _save_refunded_amount(order, order.refunded_amount - refund.amount)
    elif status in ACCEPTED and before not in ACCEPTED:
        _take_coins(order, refund)
    refund.save()
    # Set by UPDATE, because both times come from the database's clock.
    completed_at = Now() if status == Status.COMPLETED else refund.completed_at
    PaymentRefund.objects.filter(pk=refund.pk).update(moved_at=Now(), completed_at=completed_at)
    return Outcome(EventStatus.APPLIED, f"the refund is {status}: {refund.taken_coins} of {refund.coins} coins taken")


def _take_coins(order: PaymentOrder, refund: PaymentRefund) -> None:
    """Take the coins that the refunded money bought, now or as a debt.

    The coins are the total for all refunded money minus those of the other refunds. So the parts of an order add up to
    its coins, however each part is rounded.
    """
    refunded_amount = order.refunded_amount + refund.amount
    refund.coins = max(0, order.coins_for(refunded_amount) - order.refunds.accepted().total_coins())
    if refund.coins:
        refund.taken_coins = ledger.refund(
            refund=refund, coins=refund.coins, actor=refund.actor, reason=refund.reason or refund.source
        )
    _save_refunded_amount(order, refunded_amount)


def _save_refunded_amount(order: PaymentOrder, amount: int) -> None:
    order.refunded_amount = amount
    # In both directions: a refund that fails later makes a refunded order completed again.
    order.status = PaymentOrder.Status.REFUNDED if amount == order.amount else PaymentOrder.Status.COMPLETED
    order.save(update_fields=["refunded_amount", "status"])
