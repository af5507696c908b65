"""The reports of the command `payments`: what needs attention, and what reconciling or refunding did."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from django.db.models import F, QuerySet
from django.db.models.functions import Now

from billing.models import PaymentOrder, PaymentRefund, WebhookEvent
from billing.payments import money, operations
from relivchats import durations
from relivchats.staff.bulk_actions import BATCH_SIZE, ActionContext, batch_report
from relivchats.staff.reports import Level, Line, Report, Table, count, format_count

COLUMNS = ("what", "order or event", "provider", "sum", "age", "status", "why")
#: Rows of each kind.
MAX_ROWS = 50
RECONCILE = "manage.py payments --reconcile"
REFUND_DUPLICATE = (
    "refund that payment at the provider, then dismiss its event: /admin/billing/webhookevent/?stuck=again"
)


def payments_report() -> Report:
    """Return what needs attention: counts with levels, and the oldest MAX_ROWS rows of each kind."""
    uncredited, duplicates = WebhookEvent.objects.uncredited(), WebhookEvent.objects.duplicate_payments()
    events, orders = WebhookEvent.objects.needing_review(), PaymentOrder.objects.needing_review()
    open_refunds, owing_refunds = PaymentRefund.objects.open(), PaymentRefund.objects.with_debt()
    late, disputed = PaymentOrder.objects.late(), PaymentOrder.objects.disputed()
    lines = (
        _line("paid, no coins", uncredited, Level.CRITICAL, f"{RECONCILE}; the rest: /admin/billing/webhookevent/"),
        _line("paid a second time", duplicates, Level.CRITICAL, REFUND_DUPLICATE),
        _line("events to review", events, Level.WARNING, "/admin/billing/webhookevent/?stuck=yes"),
        _line("orders to review", orders, Level.WARNING, "/admin/billing/paymentorder/?stuck=yes"),
        _line("unacknowledged refunds", PaymentRefund.objects.unacknowledged(), Level.WARNING, RECONCILE),
        _line("never reconciled", PaymentOrder.objects.unchecked(), Level.WARNING, RECONCILE),
        # Open refunds are normal: a bank takes days. So are late orders: most people just closed the page.
        _line("open refunds", open_refunds, Level.FINE, ""),
        _line("late", late, Level.FINE, ""),
        _line("disputed", disputed, Level.FINE, ""),
        _line("owed", owing_refunds, Level.FINE, ""),
    )
    # An event is listed once, under its most urgent problem.
    other_events = events.exclude(pk__in=uncredited.values("pk")).exclude(pk__in=duplicates.values("pk"))
    rows = [
        *_event_rows("paid, no coins", uncredited),
        *_event_rows("paid a second time", duplicates),
        *_event_rows("to review", other_events),
        *_order_rows("to review", orders),
        *_refund_rows("open refund", open_refunds),
        *_order_rows("late", late),
        *_order_rows("disputed", disputed),
        *_refund_rows("coins owed", owing_refunds),
    ]
    return Report("Payments", lines, Table(COLUMNS, tuple(rows)))


def reconcile_report(*, order_id: UUID | None, context: ActionContext) -> Report:
    """Reconcile one order, whatever its state, or everything unfinished. Raise NotFound."""
    if order_id is None:
        batch = operations.reconcile_unfinished(context=context)
    else:
        batch = operations.reconcile_orders(operations.select_order(order_id), context=context)
    return batch_report("Reconciled", batch, remedy="manage.py payments")


def refund_report(*, order_id: UUID, amount: int | None, context: ActionContext) -> Report:
    """Refund `amount` minor units of an order, or all that is refundable. Raise NotFound."""
    batch = operations.refund_orders(operations.select_order(order_id), context=context, amount=amount)
    report = batch_report("Refunded", batch, remedy="manage.py payments")
    if amount is not None:
        currency = PaymentOrder.objects.only("currency").get(pk=order_id).currency
        text = f"{amount} minor units, which is {money.format_amount(amount, currency)}"
        report = replace(report, lines=(*report.lines, Line("amount", Level.FINE, text)))
    if not PaymentRefund.objects.filter(order=order_id, status=PaymentRefund.Status.PENDING).exists():
        return report
    text = "the provider has not answered, and the refund is retried every few minutes"
    pending = Line("not refunded yet", Level.WARNING, text, f"{RECONCILE} {order_id}")
    return replace(report, lines=(*report.lines, pending))


def _line(name: str, rows: QuerySet[Any], level: Level, remedy: str) -> Line:
    number = count(rows, limit=BATCH_SIZE)
    text = format_count(number, limit=BATCH_SIZE)
    return Line(name, level if number else Level.FINE, text, remedy if number else "", {"number": number})


def _event_rows(what: str, events: QuerySet[WebhookEvent]) -> list[tuple[Any, ...]]:
    rows = events.annotate(age=Now() - F("received_at")).order_by("received_at")[:MAX_ROWS]
    return [
        (
            what,
            f"event {row.pk}" if row.order_id is None else row.order_id,
            row.provider,
            None if row.amount is None else money.format_amount(row.amount, row.currency),
            durations.format_short(vars(row)["age"]),
            row.status,
            row.outcome,
        )
        for row in rows
    ]


def _order_rows(what: str, orders: QuerySet[PaymentOrder]) -> list[tuple[Any, ...]]:
    rows = orders.annotate(age=Now() - F("created_at")).order_by("created_at")[:MAX_ROWS]
    return [
        (
            what,
            row.pk,
            row.provider,
            money.format_amount(row.amount, row.currency),
            durations.format_short(vars(row)["age"]),
            row.status,
            row.review_reason or None,
        )
        for row in rows
    ]


def _refund_rows(what: str, refunds: QuerySet[PaymentRefund]) -> list[tuple[Any, ...]]:
    rows = (
        refunds.select_related("order")
        .prefetch_related("debts")
        .annotate(age=Now() - F("created_at"))
        .order_by("created_at")[:MAX_ROWS]
    )
    return [
        (
            what,
            row.order_id,
            row.order.provider,
            money.format_amount(row.amount, row.order.currency),
            durations.format_short(vars(row)["age"]),
            row.status,
            f"{row.owed_coins} coins owed" if row.owed_coins else None,
        )
        for row in rows
    ]
