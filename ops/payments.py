"""Payments: who has paid and has no coins, what needs a look, what is late, what is owed; and asking the providers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import takewhile
from typing import Any
from uuid import UUID

from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from billing.models import PaymentOrder, PaymentRefund, Wallet, WebhookEvent
from billing.payments import money, reconciliation, refunds, webhooks
from billing.payments.models import OrderQuerySet
from ops.checks.payments import SEND_BACK
from relivchats import clock, durations
from relivchats.errors import Conflict, NotFound
from relivchats.staff import bulk_actions
from relivchats.staff.bulk_actions import ActionContext, BatchResult, Row
from relivchats.staff.reports import Level, Line, Report, Table

COLUMNS = ("what", "order or event", "provider", "sum", "age", "status", "why")
SHOWN = 50
#: As long as somebody at a page waits; an asking under way then is still waited for.
PAGE_SECONDS = 20.0
_RECONCILE = "manage.py payments --reconcile"


def report() -> Report:
    uncredited, again = WebhookEvent.objects.uncredited(), WebhookEvent.objects.duplicate_payments()
    events = WebhookEvent.objects.needing_review()
    orders = PaymentOrder.objects.needing_review()
    late, owed = PaymentOrder.objects.late(), PaymentRefund.objects.with_debt()
    open_refunds, not_taken = PaymentRefund.objects.open(), PaymentRefund.objects.unacknowledged()
    lines = (
        _line("paid, no coins", uncredited, Level.CRITICAL, f"{_RECONCILE}; what stays: /admin/billing/webhookevent/"),
        _line("paid a second time", again, Level.CRITICAL, SEND_BACK),
        _line("to look at", events, Level.WARNING, "/admin/billing/webhookevent/?stuck=yes"),
        _line("orders to look at", orders, Level.WARNING, "/admin/billing/paymentorder/?stuck=yes"),
        _line("refunds without an answer", not_taken, Level.WARNING, _RECONCILE),
        _line("not asked about", PaymentOrder.objects.unchecked(), Level.WARNING, _RECONCILE),
        # A bank takes days.
        _line("refunds to finish", open_refunds, Level.FINE, ""),
        # Most are people who closed the page.
        _line("late", late, Level.FINE, ""),
        _line("disputed", PaymentOrder.objects.disputed(), Level.FINE, ""),
        _line("owed", owed, Level.FINE, ""),
    )
    rows = [
        *_events("paid, no coins", uncredited),
        *_events("paid a second time", again),
        *_events("to look at", events.exclude(pk__in=uncredited.values("pk")).exclude(pk__in=again.values("pk"))),
        *_orders("to look at", orders),
        *_refunds("refund to finish", open_refunds),
        *_orders("late", late),
        *_orders("disputed", PaymentOrder.objects.disputed()),
        *_refunds("coins owed", owed),
    ]
    return Report("Payments", lines, Table(COLUMNS, tuple(rows)))


def reconciled(*, order_id: UUID | None, context: ActionContext) -> Report:
    """Ask the providers about all that is unfinished, whenever they were last asked, and apply what waits.

    Or about one order, however it stands here: also one that was given up.
    """
    if order_id is not None:
        return bulk_actions.batch_report(
            "Reconciled", reconcile_some(_chosen(order_id), context=context), remedy="manage.py payments"
        )
    webhooks.apply_due()
    # Not what somebody else asks about meanwhile: two of these commands, or one and beat, share the work.
    not_since = Q(asked_at=None) | Q(asked_at__lt=clock.now())
    all_asked = BatchResult()
    for orders in (reconciliation.orders_with_changed_refunds(), reconciliation.unfinished_orders()):
        all_asked += reconcile_some(_each(orders), context=context, only_among=orders.filter(not_since))
    ask = partial(reconciliation.reconcile_refund, only_among=PaymentRefund.objects.open().filter(not_since))
    all_asked += bulk_actions.run_batch("reconcile refund", _each(PaymentRefund.objects.open()), ask, context=context)
    return bulk_actions.batch_report("Reconciled", all_asked, remedy="manage.py payments")


def refunded(*, order_id: UUID, amount: int | None, context: ActionContext) -> Report:
    made = refund_some(_chosen(order_id), context=context, amount=amount)
    told = bulk_actions.batch_report("Refunded", made, remedy="manage.py payments")
    if not PaymentRefund.objects.filter(order=order_id, status=PaymentRefund.Status.PENDING).exists():
        return told
    text = "it was asked for, the provider has not answered, and it is tried again every few minutes"
    asked = Line("not sent back yet", Level.WARNING, text, f"manage.py payments --reconcile {order_id}")
    return replace(told, lines=(*told.lines, asked))


def _chosen(order_id: UUID) -> OrderQuerySet:
    chosen = PaymentOrder.objects.filter(pk=order_id)
    if not chosen.exists():
        raise NotFound("There is no such order. manage.py payments, or the admin, show the ids.")
    return chosen


def _each(rows: QuerySet[Row]) -> Iterator[Row]:
    """By a list of their ids, which a partial index gives: walked by primary key, the whole table would be read."""
    ids = list(rows.order_by("created_at").values_list("pk", flat=True))
    for start in range(0, len(ids), bulk_actions.BATCH_SIZE):
        yield from rows.model._default_manager.filter(pk__in=ids[start : start + bulk_actions.BATCH_SIZE]).order_by(
            "created_at"
        )


def reconcile_some(
    orders: Iterable[PaymentOrder], *, context: ActionContext, only_among: OrderQuerySet | None = None
) -> BatchResult:
    return bulk_actions.run_batch(
        "reconcile order", orders, partial(reconciliation.reconcile, only_among=only_among), context=context
    )


def reconcile_wallets(wallets: QuerySet[Wallet], *, context: ActionContext) -> BatchResult:
    """Ask about these wallets' open refunds, and their orders that are unpaid (given up or not), need a look or
    had refunds.

    Each of these has an audit entry of its own, so one that fails bars no other; the wallet's sums them up. What
    there was no time for is left, and comes first the next time.
    """
    until = time.monotonic() + PAGE_SECONDS

    def ask(wallet: Wallet) -> str:
        unfinished = (
            reconciliation.unpaid_orders()
            | reconciliation.orders_with_changed_refunds()
            | PaymentOrder.objects.needing_review()
        ).filter(wallet=wallet)
        longest = F("asked_at").asc(nulls_first=True), "-created_at"
        sent = list(PaymentRefund.objects.open().filter(order__wallet=wallet).order_by(*longest))
        orders = list(unfinished.order_by(*longest))
        asked = bulk_actions.run_batch(
            "reconcile refund", _in_time(sent, until), reconciliation.reconcile_refund, context=context
        )
        asked += reconcile_some(_in_time(orders, until), context=context)
        return _summed_up(asked, left=len(sent) + len(orders) - asked.total)

    return bulk_actions.run_batch("reconcile wallet", wallets, ask, context=context)


def _in_time(rows: Iterable[Row], until: float) -> Iterator[Row]:
    return takewhile(lambda _: time.monotonic() < until, rows)


def _summed_up(asked: BatchResult, *, left: int) -> str:
    """Raises Conflict if nothing was brought on."""
    told = [f"{left} left, there was no time: ask again"] if left else []
    told += [f"{number} {outcome}" for outcome, number in Counter(deed.outcome for deed in asked.listed).items()]
    text = "; ".join(told) or "nothing was unfinished"
    if asked.done or not (asked.refused or left):
        return text
    raise Conflict(text)


def refund_some(
    orders: QuerySet[PaymentOrder],
    *,
    context: ActionContext,
    amount: int | None = None,
    expected_refundable: int | None = None,
) -> BatchResult:
    def refund(row: PaymentOrder) -> str:
        made = refunds.start(
            order_id=row.pk,
            amount=amount,
            actor=context.actor,
            reason=context.reason,
            expected_refundable=expected_refundable,
        )
        goes = "are asked for" if made.status == PaymentRefund.Status.PENDING else "go back"
        return f"{money.format_amount(made.amount, row.currency)} {goes}: {_coins_of(made)}"

    return bulk_actions.run_batch("refund order", orders, refund, context=context)


def set_orders_aside(orders: QuerySet[PaymentOrder], *, context: ActionContext) -> BatchResult:
    def set_aside(row: PaymentOrder) -> str:
        webhooks.dismiss_order(row)
        return "set aside"

    return bulk_actions.run_batch("set order aside", orders, set_aside, context=context)


def set_events_aside(events: QuerySet[WebhookEvent], *, context: ActionContext) -> BatchResult:
    def set_aside(row: WebhookEvent) -> str:
        webhooks.dismiss(row)
        return "set aside"

    return bulk_actions.run_batch("set event aside", events, set_aside, context=context)


def apply_some(events: QuerySet[WebhookEvent], *, context: ActionContext) -> BatchResult:
    return bulk_actions.run_batch("apply event", events, lambda row: webhooks.retry(row).text, context=context)


def _coins_of(refund: PaymentRefund) -> str:
    if refund.status == PaymentRefund.Status.PENDING:
        return "the provider did not answer yet, and is asked again every few minutes"
    owed = f", {refund.owed_coins} are owed" if refund.owed_coins else ""
    return f"{refund.taken_coins} coins taken back{owed}"


def _line(name: str, rows: QuerySet[Any], level: Level, remedy: str) -> Line:
    number = rows.order_by()[: bulk_actions.BATCH_SIZE + 1].count()
    text = f"more than {bulk_actions.BATCH_SIZE}" if number > bulk_actions.BATCH_SIZE else str(number)
    return Line(name, level if number else Level.FINE, text, remedy if number else "", {"number": number})


def _events(what: str, events: QuerySet[WebhookEvent]) -> list[tuple[Any, ...]]:
    rows = events.annotate(age=Now() - F("received_at")).order_by("received_at")[:SHOWN]
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


def _orders(what: str, orders: QuerySet[PaymentOrder]) -> list[tuple[Any, ...]]:
    rows = orders.annotate(age=Now() - F("created_at")).order_by("created_at")[:SHOWN]
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


def _refunds(what: str, found: QuerySet[PaymentRefund]) -> list[tuple[Any, ...]]:
    rows = found.select_related("order").annotate(age=Now() - F("created_at")).order_by("created_at")[:SHOWN]
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
