"""Asking the providers about what is late: a webhook may be lost, or we may have died between two steps."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from django.db import Error, transaction
from django.db.models import DurationField, ExpressionWrapper, F, Q, QuerySet
from django.db.models.functions import Now

from billing.models import PaymentOrder, PaymentRefund, WebhookEvent
from billing.payments import orders, providers, refunds, settling, webhooks
from billing.payments.models import OrderQuerySet, RefundQuerySet
from billing.payments.providers.base import ProviderRefused
from relivchats import clock
from relivchats.errors import DomainError

logger = logging.getLogger(__name__)

#: Paying takes a while, so an order is first asked about after this; then after twice its age, again and again.
FIRST_ASKED_AFTER = timedelta(minutes=3)
ASKED_EVERY = timedelta(minutes=5)
#: Nobody pays an order of yesterday. A payment that comes all the same is still credited.
GIVEN_UP_AFTER = timedelta(days=1)
ABANDONED = "abandoned"
BATCH = 100

_SINCE_ASKED = ExpressionWrapper(Now() - F("asked_at"), output_field=DurationField())
_AGE_WHEN_ASKED = ExpressionWrapper(F("asked_at") - F("created_at"), output_field=DurationField())


def unpaid() -> OrderQuerySet:
    """Not paid as far as we know, and not given up. A failed one may be paid at a second try.

    One that is being placed at this moment is left to the request that places it.
    """
    failed = PaymentOrder.objects.filter(status=PaymentOrder.Status.FAILED, provider_order_id__isnull=False)
    found = PaymentOrder.objects.open() | failed.exclude(failure=ABANDONED)
    return found.exclude(provider_order_id=None, created_at__gt=Now() - timedelta(minutes=1))


def due_orders() -> OrderQuerySet:
    """Unpaid, and not asked about lately."""
    return unpaid().filter(
        Q(asked_at=None, created_at__lt=Now() - FIRST_ASKED_AFTER)
        | Q(asked_at__lt=Now() - ASKED_EVERY, pk__in=_doubled(PaymentOrder.objects.all()))
    )


def open_refunds() -> RefundQuerySet:
    """Asked for and not known to the provider, or on their way."""
    return PaymentRefund.objects.filter(status__in=[PaymentRefund.Status.PENDING, PaymentRefund.Status.PROCESSING])


def due_refunds() -> RefundQuerySet:
    """Open for a while, and not asked about lately."""
    return open_refunds().filter(
        Q(asked_at=None, created_at__lt=Now() - timedelta(minutes=1))
        | Q(status=PaymentRefund.Status.PENDING, asked_at__lt=Now() - ASKED_EVERY)
        | Q(asked_at__lt=Now() - ASKED_EVERY, pk__in=_doubled(PaymentRefund.objects.all()))
    )


def _doubled(rows: OrderQuerySet | RefundQuerySet) -> QuerySet[Any, Any]:
    """Twice as old as when they were last asked about."""
    return rows.annotate(since=_SINCE_ASKED, then=_AGE_WHEN_ASKED).filter(since__gt=F("then")).values("pk")


def round_of_asking() -> int:
    """Once every few minutes: ask about all that is due. What fails is logged and due again."""
    done = 0
    for order in due_orders().order_by("created_at")[:BATCH]:
        done += _quietly(order)
    for refund in due_refunds().order_by("created_at").select_related("order")[:BATCH]:
        done += _quietly(refund)
    return done


def _quietly(row: PaymentOrder | PaymentRefund) -> bool:
    try:
        reconcile(row) if isinstance(row, PaymentOrder) else reconcile_refund(row)
    except (DomainError, Error) as error:
        logger.warning("not reconciled", extra={"row": str(row), "error": type(error).__name__})
        return False
    return True


def reconcile(order: PaymentOrder) -> str:
    """Ask the provider how the order stands, and bring it there. Returns what became of it, in words."""
    PaymentOrder.objects.filter(pk=order.pk).update(asked_at=Now())
    if not order.provider_order_id and not order.is_paid:
        return _placed_again(order)
    for report in providers.ALL[order.provider].ask(order):
        outcome = webhooks.hear(order.pk, report)
        if outcome.status == WebhookEvent.Status.HELD:
            logger.warning("an order needs a look", extra={"order": str(order.pk)})
    for event_id in order.events.waiting().values_list("pk", flat=True):
        webhooks.apply(event_id)
    order.refresh_from_db()
    if order.attention:
        return f"needs a look: {order.attention}"
    return _given_up(order) or order.status


def reconcile_refund(refund: PaymentRefund) -> str:
    if refund.status == PaymentRefund.Status.PENDING:
        refunds.push(refund)
    else:
        PaymentRefund.objects.filter(pk=refund.pk).update(asked_at=Now())
        reconcile(refund.order)
    refund.refresh_from_db()
    return refund.status


def _placed_again(order: PaymentOrder) -> str:
    """We died, or heard nothing, between the row and the provider's answer. So nobody could pay it."""
    if given_up := _given_up(order):
        return given_up
    try:
        orders.at_provider(order)
    except ProviderRefused as refusal:
        return f"failed: {refusal.reason}"
    return f"{order.status}: the provider knows it now"


def _given_up(order: PaymentOrder) -> str:
    """An open order that nobody paid for a day is failed; else nothing is done.

    Not one whose payment is under way: a bank may take days.
    """
    if not _waits_for_a_payer(order) or order.created_at > clock.now() - GIVEN_UP_AFTER:
        return ""
    with transaction.atomic():
        locked = settling.lock(order.pk)
        if not _waits_for_a_payer(locked):
            return ""
        locked.status, locked.failure = PaymentOrder.Status.FAILED, ABANDONED
        locked.save(update_fields=["status", "failure"])
    return f"failed: {ABANDONED}"


def _waits_for_a_payer(order: PaymentOrder) -> bool:
    return not order.is_paid and order.status != PaymentOrder.Status.PROCESSING
