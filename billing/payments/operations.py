"""Bulk actions of operators and staff on payments: reconcile, refund, dismiss, retry."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import takewhile
from uuid import UUID

from django.db.models import F, Q, QuerySet

from billing.models import PaymentOrder, PaymentRefund, Wallet, WebhookEvent
from billing.payments import money, reconciliation, refunds, webhooks
from billing.payments.models import OrderQuerySet
from relivchats import clock
from relivchats.errors import Conflict, NotFound
from relivchats.staff.bulk_actions import BATCH_SIZE, ActionContext, BatchResult, Row, run_batch

#: No further request is started after this time, since a person waits for the page.
PAGE_SECONDS = 20.0


def select_order(order_id: UUID) -> OrderQuerySet:
    """Return the order as a queryset of one row. Raise NotFound."""
    orders = PaymentOrder.objects.filter(pk=order_id)
    if not orders.exists():
        raise NotFound("There is no such order. manage.py payments, or the admin, show the ids.")
    return orders


def reconcile_orders(
    orders: Iterable[PaymentOrder], *, context: ActionContext, only_among: OrderQuerySet | None = None
) -> BatchResult:
    """Ask the provider for the state of each order, and apply the answer."""
    step = partial(reconciliation.reconcile, only_among=only_among)
    return run_batch("reconcile order", orders, step, context=context)


def reconcile_unfinished(*, context: ActionContext) -> BatchResult:
    """Apply the events that wait, and ask the providers about every unfinished order and refund, due or not."""
    # First, since it needs no request: an event that waits may answer what the providers would be asked. Also one that
    # is tried again later by itself, after errors whose cause is gone: nothing else gives its payer the coins.
    WebhookEvent.objects.waiting().make_due()
    webhooks.apply_due()
    # Rows that another command or beat has asked about since the start are left out, so the two share the work.
    not_asked_since_start = Q(asked_at=None) | Q(asked_at__lt=clock.now())
    batch = BatchResult()
    for orders in (reconciliation.orders_with_changed_refunds(), reconciliation.unfinished_orders()):
        rest = orders.filter(not_asked_since_start)
        batch += reconcile_orders(_iterate_by_age(orders), context=context, only_among=rest)
    open_refunds = PaymentRefund.objects.open()
    step = partial(reconciliation.reconcile_refund, only_among=open_refunds.filter(not_asked_since_start))
    return batch + run_batch("reconcile refund", _iterate_by_age(open_refunds), step, context=context)


def _iterate_by_age(rows: QuerySet[Row]) -> Iterator[Row]:
    """Yield the rows, oldest first, in batches.

    The ids are read first, from a partial index. Batches by primary key, as `run_batch` reads a queryset, would scan
    the whole table.
    """
    ids = list(rows.order_by("created_at").values_list("pk", flat=True))
    for start in range(0, len(ids), BATCH_SIZE):
        batch = rows.model._default_manager.filter(pk__in=ids[start : start + BATCH_SIZE])
        yield from batch.order_by("created_at")


def reconcile_wallets(wallets: QuerySet[Wallet], *, context: ActionContext) -> BatchResult:
    """Ask about the open refunds of each wallet, and its orders that are unpaid, need review or had refunds.

    Each order and refund has its own audit entry, so one that fails stops no other. The wallet's entry sums them up.
    What is left after PAGE_SECONDS comes first the next time.
    """
    deadline = time.monotonic() + PAGE_SECONDS

    def in_time(rows: Iterable[Row]) -> Iterator[Row]:
        return takewhile(lambda _: time.monotonic() < deadline, rows)

    def reconcile(wallet: Wallet) -> str:
        longest_ago = F("asked_at").asc(nulls_first=True), "-created_at"
        open_refunds = PaymentRefund.objects.open().filter(order__wallet=wallet).order_by(*longest_ago)
        unfinished = (
            reconciliation.unpaid_orders()
            | reconciliation.orders_with_changed_refunds()
            | PaymentOrder.objects.needing_review()
        )
        refund_rows = list(open_refunds)
        order_rows = list(unfinished.filter(wallet=wallet).order_by(*longest_ago))
        batch = run_batch("reconcile refund", in_time(refund_rows), reconciliation.reconcile_refund, context=context)
        batch += reconcile_orders(in_time(order_rows), context=context)
        left = len(refund_rows) + len(order_rows) - batch.total
        text = _summarize(batch, left=left)
        if not batch.done and (batch.refused or left):
            # Marks the wallet's entry as refused, so that staff see that nothing was reconciled.
            raise Conflict(text)
        return text

    return run_batch("reconcile wallet", wallets, reconcile, context=context)


def _summarize(batch: BatchResult, *, left: int) -> str:
    """Return the number of rows with each outcome, as text."""
    parts = [f"{left} left for lack of time: repeat this"] if left else []
    parts += [f"{number} {outcome}" for outcome, number in Counter(result.outcome for result in batch.listed).items()]
    return "; ".join(parts) or "nothing was unfinished"


def refund_orders(
    orders: QuerySet[PaymentOrder],
    *,
    context: ActionContext,
    amount: int | None = None,
    expected_refundable: int | None = None,
) -> BatchResult:
    """Refund `amount` minor units of each order, or all that is refundable. See `refunds.start`."""

    def refund(order: PaymentOrder) -> str:
        row = refunds.start(
            order_id=order.pk,
            amount=amount,
            actor=context.actor,
            reason=context.reason,
            expected_refundable=expected_refundable,
        )
        price = money.format_amount(row.amount, order.currency)
        if row.status == PaymentRefund.Status.PENDING:
            return f"{price} requested: the provider did not answer yet, and the refund is retried every few minutes"
        owed = f", {row.owed_coins} are owed" if row.owed_coins else ""
        return f"{price} refunded: {row.taken_coins} coins taken back{owed}"

    return run_batch("refund order", orders, refund, context=context)


def dismiss_orders(orders: QuerySet[PaymentOrder], *, context: ActionContext) -> BatchResult:
    """Close every event under review of each order."""

    def dismiss(order: PaymentOrder) -> str:
        webhooks.dismiss_order(order)
        return "dismissed"

    return run_batch("dismiss order", orders, dismiss, context=context)


def dismiss_events(events: QuerySet[WebhookEvent], *, context: ActionContext) -> BatchResult:
    """Close each event that is under review."""

    def dismiss(event: WebhookEvent) -> str:
        webhooks.dismiss(event)
        return "dismissed"

    return run_batch("dismiss event", events, dismiss, context=context)


def retry_events(events: QuerySet[WebhookEvent], *, context: ActionContext) -> BatchResult:
    """Apply each event under review again."""
    return run_batch("retry event", events, lambda event: webhooks.retry(event).text, context=context)
