"""Start refunds for staff and send them to the provider.

Refunds made in the provider's dashboard, and the coins of every refund, are handled by `refund_application`.
"""

from __future__ import annotations

import uuid
from datetime import timedelta

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from billing.models import PaymentOrder, PaymentRefund
from billing.payments import money, providers, webhooks
from billing.payments.providers.base import ProviderRefused, ProviderUnavailable
from billing.payments.refund_application import change_status, refundable_amount
from relivchats.errors import Conflict, DomainError

Status = PaymentRefund.Status

#: A request older than this has ended: each of its at most two calls to the provider has a timeout.
REQUEST_TIMEOUT = timedelta(minutes=1)


class RefundImpossible(Conflict):
    """The order has no money that could be refunded, or less than requested."""

    code, title = "ERR_3008", "This cannot be refunded"


class RefundFailed(DomainError):
    """The provider refused the refund for good. No coins were taken."""

    code, status, title = "ERR_3008", 502, "The provider refused the refund"


def start(
    *, order_id: uuid.UUID, amount: int | None, actor: str, reason: str, expected_refundable: int | None = None
) -> PaymentRefund:
    """Refund `amount` minor units of an order, or all that is refundable. Return the refund.

    `expected_refundable` is the refundable amount at the time of the decision. If it differs now, nothing is refunded.
    The row is committed before the provider is called, so a crash leaves a pending refund that reconciliation
    finishes. If the provider does not answer, the returned refund is pending for the same reason.

    Raise NotConfigured, RefundFailed or RefundImpossible.
    """
    refund = _create(order_id, amount, actor=actor, reason=reason, expected_refundable=expected_refundable)
    try:
        return push(refund)
    except ProviderUnavailable:
        refund.refresh_from_db()
        return refund


@transaction.atomic
def _create(
    order_id: uuid.UUID, amount: int | None, *, actor: str, reason: str, expected_refundable: int | None
) -> PaymentRefund:
    # The order's lock serializes refunds: two forms sent at once cannot both see the same refundable amount.
    order = PaymentOrder.objects.lock(order_id)
    if not order.is_paid:
        raise RefundImpossible(f"This order is {order.status}: nothing was paid that could be refunded.")
    # Raises NotConfigured before a row exists that nobody could send.
    providers.get(order.provider)
    refundable = refundable_amount(order)
    if expected_refundable not in (None, refundable):
        raise RefundImpossible("Something was refunded since you opened the form. Look at the order's refunds first.")
    amount = refundable if amount is None else amount
    if not 0 < amount <= refundable:
        raise RefundImpossible(
            f"At most {money.format_amount(refundable, order.currency)} of this order can be refunded."
            if refundable
            else "All of this order's money is refunded, or a refund of it is under way."
        )
    return order.refunds.create(source=PaymentRefund.Source.STAFF, amount=amount, actor=actor, reason=reason[:200])


def push(refund: PaymentRefund) -> PaymentRefund:
    """Send a pending refund to the provider, and apply the answer. Repeating it pays once.

    Do nothing if the refund is no longer pending or another request for it is under way. Raise NotConfigured,
    ProviderUnavailable or RefundFailed.
    """
    # Committed before the call: if this process dies now, another one may repeat the request after REQUEST_TIMEOUT.
    claimed, requested_before = _claim(refund)
    order = refund.order
    provider = providers.get(order.provider)
    if not claimed:
        return refund
    try:
        event = provider.refund(refund, requested_before=requested_before)
    except ProviderRefused as refusal:
        if _fail(refund, refusal.reason):
            raise RefundFailed(f"The provider refused: {refusal.reason}. No coins were taken.") from None
        return refund
    # The refund's webhook may have been faster. The answer then changes nothing.
    webhooks.apply_report(order.pk, event)
    refund.refresh_from_db()
    return refund


@transaction.atomic
def _claim(refund: PaymentRefund) -> tuple[bool, bool]:
    """Return whether the caller may send this request, and whether one was sent before.

    Both come from the row under the order's lock. The instance may be minutes old.
    """
    PaymentOrder.objects.lock(refund.order_id)
    refund.refresh_from_db()
    requested_before = refund.asked_at is not None
    no_request_under_way = Q(asked_at=None) | Q(asked_at__lt=Now() - REQUEST_TIMEOUT)
    claimed = PaymentRefund.objects.filter(no_request_under_way, pk=refund.pk, status=Status.PENDING).update(
        asked_at=Now()
    )
    return bool(claimed), requested_before


@transaction.atomic
def _fail(refund: PaymentRefund, reason: str) -> bool:
    """Mark a refused refund as failed. Return False if a webhook changed its status during the request."""
    order = PaymentOrder.objects.lock(refund.order_id)
    refund.refresh_from_db()
    # A webhook is newer than the refusal: the provider may have refused because the refund exists already.
    if refund.status != Status.PENDING:
        return False
    change_status(order, refund, Status.FAILED, failure=reason)
    return True
