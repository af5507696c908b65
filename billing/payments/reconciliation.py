"""Ask the providers about orders and refunds that are late: a webhook can be lost, and a process can die midway.

Before a row's provider is asked, the row's `asked_at` is set in one UPDATE that also checks that the row is still due.
So concurrent rounds share the work, and one that hangs or dies blocks no other. No transaction is open and no lock is
held while a provider is asked.
"""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from functools import partial
from itertools import chain, zip_longest

from django.db import Error
from django.db.models import DurationField, ExpressionWrapper, F, Q
from django.db.models.functions import Now

from billing.models import PaymentOrder, PaymentRefund, WebhookEvent
from billing.payments import orders, providers, refunds, webhooks
from billing.payments.models import OrderQuerySet, RefundQuerySet
from billing.payments.providers.base import EventKind, ProviderRefused
from relivchats.errors import DomainError

logger = logging.getLogger(__name__)

#: The first request waits, since paying takes a while. Each further one waits until the order's age has doubled.
FIRST_REQUEST_AFTER = timedelta(minutes=3)
MIN_REQUEST_INTERVAL = timedelta(minutes=5)
#: After this time an unpaid order is marked as failed. A later payment still completes it.
ABANDONED_AFTER = timedelta(days=1)
ABANDONED = "abandoned"
#: Abandoned orders are asked about for this long: a bank debit can take two weeks, and its webhook can be lost.
MAX_AGE = timedelta(days=30)
BATCH = 100
#: A round starts no further request after this time: beat starts the next round every two minutes.
ROUND_SECONDS = 100.0

#: The row's age has doubled since its provider was last asked: the time since then exceeds the age at that time.
_AGE_DOUBLED = {
    "since_asked": ExpressionWrapper(Now() - F("asked_at"), output_field=DurationField()),
    "age_when_asked": ExpressionWrapper(F("asked_at") - F("created_at"), output_field=DurationField()),
}


def unpaid_orders() -> OrderQuerySet:
    """Return orders without a payment, including failed ones: a second attempt can succeed, even after weeks.

    An order without a provider's id that is less than a minute old is left to the request that creates it.
    """
    failed = PaymentOrder.objects.filter(
        status=PaymentOrder.Status.FAILED,
        provider_order_id__isnull=False,
        created_at__gt=Now() - MAX_AGE,
    )
    unpaid = PaymentOrder.objects.open() | failed
    return unpaid.exclude(provider_order_id=None, created_at__gt=Now() - timedelta(minutes=1))


def unfinished_orders() -> OrderQuerySet:
    """Return unpaid orders that are not abandoned."""
    return unpaid_orders().exclude(failure=ABANDONED)


def due_orders() -> OrderQuerySet:
    """Return unpaid orders, abandoned or not, whose next request to the provider is due."""
    return (
        unpaid_orders()
        .alias(**_AGE_DOUBLED)
        .filter(
            Q(asked_at=None, created_at__lt=Now() - FIRST_REQUEST_AFTER)
            | Q(asked_at__lt=Now() - MIN_REQUEST_INTERVAL, since_asked__gt=F("age_when_asked"))
        )
    )


def orders_with_changed_refunds() -> OrderQuerySet:
    """Return orders whose provider reported changed refunds without saying which, until it was asked.

    An event that went to review in the meantime still counts, since the provider's answer resolves it.
    """
    events = WebhookEvent.objects.open().filter(kind=EventKind.REFUNDS_CHANGED)
    return PaymentOrder.objects.filter(pk__in=events.values("order"))


def due_orders_with_changed_refunds() -> OrderQuerySet:
    """Return orders with changed refunds whose provider was not asked within the last MIN_REQUEST_INTERVAL."""
    return orders_with_changed_refunds().filter(Q(asked_at=None) | Q(asked_at__lt=Now() - MIN_REQUEST_INTERVAL))


def due_refunds() -> RefundQuerySet:
    """Return open refunds whose next request to the provider is due."""
    return (
        PaymentRefund.objects.open()
        .alias(**_AGE_DOUBLED)
        .filter(
            Q(asked_at=None, created_at__lt=Now() - timedelta(minutes=1))
            | Q(status=PaymentRefund.Status.PENDING, asked_at__lt=Now() - MIN_REQUEST_INTERVAL)
            | Q(asked_at__lt=Now() - MIN_REQUEST_INTERVAL, since_asked__gt=F("age_when_asked"))
        )
    )


def reconcile_due() -> int:
    """Reconcile what is due, for up to ROUND_SECONDS. Return how many rows succeeded; errors are logged."""
    deadline, succeeded = time.monotonic() + ROUND_SECONDS, 0
    longest_ago = F("asked_at").asc(nulls_first=True), "created_at"
    sent, changed, unpaid = due_refunds(), due_orders_with_changed_refunds(), due_orders()
    # One row of each kind in turn: a provider that hangs leaves time for a few rows only, and no kind must starve.
    in_turn = zip_longest(
        [partial(reconcile_refund, row, only_among=sent) for row in sent.order_by(*longest_ago)[:BATCH]],
        [partial(reconcile, row, only_among=changed) for row in changed.order_by(*longest_ago)[:BATCH]],
        [partial(reconcile, row, only_among=unpaid) for row in unpaid.order_by(*longest_ago)[:BATCH]],
    )
    for step in (step for step in chain.from_iterable(in_turn) if step is not None):
        if time.monotonic() >= deadline:
            break
        try:
            step()
        except (DomainError, Error) as error:
            logger.warning("reconciliation failed", extra={"row": str(step.args[0]), "error": type(error).__name__})
        except Exception:
            # A bug in one row must not keep the rows after it from being reconciled.
            logger.exception("reconciliation failed", extra={"row": str(step.args[0])})
        else:
            succeeded += 1
    return succeeded


def reconcile(order: PaymentOrder, *, only_among: OrderQuerySet | None = None) -> str:
    """Ask the provider for the order's state and apply the answer. Return the order's new state as text.

    Do nothing if `only_among` is given and no longer contains the order. Raise ProviderUnavailable, NotConfigured.
    """
    rows = PaymentOrder.objects.all() if only_among is None else only_among
    # The UPDATE waits for any lock on the row and then evaluates its conditions again, so of two rounds only one asks.
    claimed = rows.filter(pk=order.pk).update(asked_at=Now())
    order.refresh_from_db()
    if not claimed:
        return f"{order.status}: reconciled by another process"
    if not order.provider_order_id and not order.is_paid:
        return _abandon_if_old(order) or _create_at_provider(order)
    # Only events stored before the request are answered by it.
    changed = list(order.events.open().filter(kind=EventKind.REFUNDS_CHANGED).values_list("pk", flat=True))
    for event in providers.get(order.provider).fetch_status(order):
        outcome = webhooks.apply_report(order.pk, event)
        if outcome.status == WebhookEvent.Status.NEEDS_REVIEW:
            logger.warning("payment order needs review", extra={"order": str(order.pk)})
    webhooks.mark_answered(order.pk, changed)
    # The answer may have completed the payment that refunds and disputes of this order were waiting for.
    for event_id in order.events.waiting().values_list("pk", flat=True):
        webhooks.apply(event_id)
    order.refresh_from_db()
    if order.review_reason:
        return f"needs review: {order.review_reason}"
    return _abandon_if_old(order) or order.status


def reconcile_refund(refund: PaymentRefund, *, only_among: RefundQuerySet | None = None) -> str:
    """Send a pending refund to the provider, or ask for the state of one under way. Return the refund's status.

    Do nothing if the refund is no longer among `only_among`, by default the open refunds. Raise like `refunds.push`.
    """
    rows = PaymentRefund.objects.open() if only_among is None else only_among
    refund.refresh_from_db()
    if refund.status == PaymentRefund.Status.PENDING:
        # refunds.push claims the refund itself, under the order's lock.
        if rows.filter(pk=refund.pk).exists():
            refunds.push(refund)
    elif rows.filter(pk=refund.pk).update(asked_at=Now()):
        reconcile(refund.order)
    refund.refresh_from_db()
    return refund.status


def _create_at_provider(order: PaymentOrder) -> str:
    """Create an order whose first request was lost: this process died, or the provider did not answer."""
    try:
        orders.create_at_provider(order)
    except ProviderRefused as refusal:
        return f"failed: {refusal.reason}"
    return f"{order.status}: created at the provider"


def _abandon_if_old(order: PaymentOrder) -> str:
    """Mark an order as failed if nobody paid it for a day. Return the new state, or "" if nothing changed.

    PROCESSING is excluded: a payment under way can take a bank days.
    """
    unpaid = [PaymentOrder.Status.PENDING, PaymentOrder.Status.FAILED]
    # The status is checked in the UPDATE: a webhook may complete the order at this moment.
    old = PaymentOrder.objects.filter(pk=order.pk, status__in=unpaid, created_at__lt=Now() - ABANDONED_AFTER)
    return f"failed: {ABANDONED}" if old.update(status=PaymentOrder.Status.FAILED, failure=ABANDONED) else ""
