"""Asking the providers about what is late: a webhook may be lost, or we may have died between two steps.

Whoever asks about a row writes down when, before asking, if the row is still to be asked about. So rounds side by
side share the work, and one that hangs or dies keeps nothing from the next. No transaction is open meanwhile.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from itertools import chain, zip_longest

from django.db import Error
from django.db.models import DurationField, ExpressionWrapper, F, Q
from django.db.models.functions import Now

from billing.models import PaymentOrder, PaymentRefund, WebhookEvent
from billing.payments import orders, providers, refunds, webhooks
from billing.payments.models import OrderQuerySet, RefundQuerySet
from billing.payments.providers.base import Kind, ProviderRefused
from relivchats.errors import DomainError

logger = logging.getLogger(__name__)

#: Paying takes a while, so an order is first asked about after this; then after twice its age, again and again.
FIRST_ASKED_AFTER = timedelta(minutes=3)
ASKED_EVERY = timedelta(minutes=5)
#: Hardly anybody pays an order of yesterday: it is called failed. A payment that comes all the same is still credited.
GIVEN_UP_AFTER = timedelta(days=1)
ABANDONED = "abandoned"
#: And its provider is asked on, ever less often: a bank debit may take two weeks, and its webhook may be lost.
ASKED_ABOUT_FOR = timedelta(days=30)
BATCH = 100
#: A round asks nothing more after this, as beat starts the next soon; what it did not come to stays due.
ROUND_SECONDS = 100.0

_SINCE_ASKED = ExpressionWrapper(Now() - F("asked_at"), output_field=DurationField())
_AGE_WHEN_ASKED = ExpressionWrapper(F("asked_at") - F("created_at"), output_field=DurationField())
#: Twice as old as when it was last asked about.
_DOUBLED = {"since": _SINCE_ASKED, "then": _AGE_WHEN_ASKED}


def unpaid() -> OrderQuerySet:
    """Not paid as far as we know. A failed one may be paid at a second try, or after it was given up.

    One that is being placed at this moment is left to the request that places it.
    """
    failed = PaymentOrder.objects.filter(
        status=PaymentOrder.Status.FAILED,
        provider_order_id__isnull=False,
        created_at__gt=Now() - ASKED_ABOUT_FOR,
    )
    found = PaymentOrder.objects.open() | failed
    return found.exclude(provider_order_id=None, created_at__gt=Now() - timedelta(minutes=1))


def unfinished() -> OrderQuerySet:
    """Unpaid, and not given up."""
    return unpaid().exclude(failure=ABANDONED)


def due_orders() -> OrderQuerySet:
    """Unpaid, given up or not, and not asked about lately."""
    return (
        unpaid()
        .alias(**_DOUBLED)
        .filter(
            Q(asked_at=None, created_at__lt=Now() - FIRST_ASKED_AFTER)
            | Q(asked_at__lt=Now() - ASKED_EVERY, since__gt=F("then"))
        )
    )


def told_of_refunds() -> OrderQuerySet:
    """Their provider told that something of them was refunded, but not what: it has to be asked, however long it takes.

    An event that is held meanwhile is for a person to see, and still answered by asking.
    """
    events = WebhookEvent.objects.open().filter(kind=Kind.REFUNDS_CHANGED)
    return PaymentOrder.objects.filter(pk__in=events.values("order"))


def due_for_refunds() -> OrderQuerySet:
    """Those of them that were not asked about lately: their provider may be away for long."""
    return told_of_refunds().filter(Q(asked_at=None) | Q(asked_at__lt=Now() - ASKED_EVERY))


def open_refunds() -> RefundQuerySet:
    """Asked for and not known to the provider, or on their way."""
    return PaymentRefund.objects.filter(status__in=[PaymentRefund.Status.PENDING, PaymentRefund.Status.PROCESSING])


def due_refunds() -> RefundQuerySet:
    """Open for a while, and not asked about lately."""
    return (
        open_refunds()
        .alias(**_DOUBLED)
        .filter(
            Q(asked_at=None, created_at__lt=Now() - timedelta(minutes=1))
            | Q(status=PaymentRefund.Status.PENDING, asked_at__lt=Now() - ASKED_EVERY)
            | Q(asked_at__lt=Now() - ASKED_EVERY, since__gt=F("then"))
        )
    )


def round_of_asking() -> int:
    """Once every few minutes: ask about what is due. What fails is logged, and due again later."""
    until, done = time.monotonic() + ROUND_SECONDS, 0
    for row, step in _due():
        if time.monotonic() >= until:
            break
        done += _quietly(row, step)
    return done


def _due() -> Iterator[tuple[PaymentOrder | PaymentRefund, Callable[[], str]]]:
    """What is due, and the step that asks about it.

    One of each kind in turn, since a provider that hangs leaves time for a few only; of each kind those first that
    waited longest. So none is left out.
    """
    longest = F("asked_at").asc(nulls_first=True), "created_at"
    sent, told, late = due_refunds(), due_for_refunds(), due_orders()
    in_turn = zip_longest(
        [(row, partial(reconcile_refund, row, among=sent)) for row in sent.order_by(*longest)[:BATCH]],
        [(row, partial(reconcile, row, among=told)) for row in told.order_by(*longest)[:BATCH]],
        [(row, partial(reconcile, row, among=late)) for row in late.order_by(*longest)[:BATCH]],
    )
    return (due for due in chain.from_iterable(in_turn) if due is not None)


def _quietly(row: PaymentOrder | PaymentRefund, step: Callable[[], str]) -> bool:
    try:
        step()
    except (DomainError, Error) as error:
        logger.warning("not reconciled", extra={"row": str(row), "error": type(error).__name__})
        return False
    return True


def reconcile(order: PaymentOrder, *, among: OrderQuerySet | None = None) -> str:
    """Ask the provider how the order stands, and bring it there. Returns what became of it, in words.

    One that is no longer `among` those that were to be asked about is left alone.
    """
    if not _is_its_turn(order, PaymentOrder.objects.all() if among is None else among):
        return f"{order.status}: settled, or asked about, meanwhile"
    if not order.provider_order_id and not order.is_paid:
        return _placed_again(order)
    told = list(order.events.open().filter(kind=Kind.REFUNDS_CHANGED).values_list("pk", flat=True))
    for report in providers.to_ask(order.provider).ask(order):
        outcome = webhooks.hear(order.pk, report)
        if outcome.status == WebhookEvent.Status.HELD:
            logger.warning("an order needs a look", extra={"order": str(order.pk)})
    webhooks.were_answered(order.pk, told)
    for event_id in order.events.waiting().values_list("pk", flat=True):
        webhooks.apply(event_id)
    order.refresh_from_db()
    if order.attention:
        return f"needs a look: {order.attention}"
    return _given_up(order) or order.status


def _is_its_turn(order: PaymentOrder, rows: OrderQuerySet) -> bool:
    """Whether it is still one of these rows: they were read a while ago. The order is brought up to date.

    The update waits for whoever holds the row, and then looks at it anew.
    """
    still = bool(rows.filter(pk=order.pk).update(asked_at=Now()))
    order.refresh_from_db()
    return still


def reconcile_refund(refund: PaymentRefund, *, among: RefundQuerySet | None = None) -> str:
    """Ask the provider for a pending refund, or how one on its way stands. Returns its status.

    One that is no longer `among` those that were to be asked about is left alone.
    """
    rows = open_refunds() if among is None else among
    refund.refresh_from_db()
    if refund.status == PaymentRefund.Status.PENDING:
        if rows.filter(pk=refund.pk).exists():
            refunds.push(refund)
    elif rows.filter(pk=refund.pk).update(asked_at=Now()):
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
    waits = [PaymentOrder.Status.PENDING, PaymentOrder.Status.FAILED]
    late = PaymentOrder.objects.filter(pk=order.pk, status__in=waits, created_at__lt=Now() - GIVEN_UP_AFTER)
    return f"failed: {ABANDONED}" if late.update(status=PaymentOrder.Status.FAILED, failure=ABANDONED) else ""
