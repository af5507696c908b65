"""Reconciliation credits every payment whose webhook was lost."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now

from billing.audit import audit
from billing.models import PaymentOrder, PaymentRefund, WebhookEvent
from billing.payments import reconciliation, refunds, webhooks
from billing.payments.providers.base import ProviderEvent
from billing.payments.providers.stripe import Stripe
from billing.tasks import reconcile_payments
from tests.billing.payments.conftest import Shop

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


def aged(order: PaymentOrder, age: timedelta, *, asked: timedelta | None = None) -> PaymentOrder:
    """Return the order as if it was created and last asked about this long ago."""
    PaymentOrder.objects.filter(pk=order.pk).update(
        created_at=Now() - age, asked_at=None if asked is None else Now() - asked
    )
    order.refresh_from_db()
    return order


def test_a_payment_whose_webhook_was_lost_is_found_by_reconciliation(shop: Shop) -> None:
    order = aged(shop.place_order(), HOUR)
    shop.pay_order(order)
    assert reconciliation.reconcile_due() == 1
    order.refresh_from_db()
    assert (order.status, shop.balance) == ("completed", 450)
    assert not WebhookEvent.objects.exists(), "an answer is stored only if it needs review"
    shop.send(shop.order_event(order, "paid"))
    assert shop.balance == 450
    assert audit() == []


def test_a_wrong_amount_in_an_answer_needs_review_like_one_in_an_event(shop: Shop) -> None:
    order = aged(shop.place_order(), HOUR)
    shop.pay_order(order)[shop.fake.paid_amount_field] = 100
    assert reconciliation.reconcile(order).startswith("needs review: paid ")
    WebhookEvent.objects.update(received_at=Now() - HOUR)
    assert list(WebhookEvent.objects.uncredited().values_list("order", "status")) == [(order.pk, "needs_review")]
    reconciliation.reconcile(order)
    assert WebhookEvent.objects.count() == 1
    PaymentOrder.objects.filter(pk=order.pk).update(amount=100)
    assert reconciliation.reconcile(order) == "completed"
    assert not WebhookEvent.objects.needing_review().exists()
    assert not PaymentOrder.objects.needing_review().exists()


@pytest.mark.parametrize(
    ("by_event", "dismiss"),
    [(True, webhooks.dismiss_order), (False, lambda order: webhooks.dismiss(order.events.get()))],
)
def test_a_dismissed_problem_stays_dismissed_at_the_next_reconciliation(
    stripe_shop: Shop, by_event: bool, dismiss: Callable[[PaymentOrder], None]
) -> None:
    order = aged(stripe_shop.place_order(), HOUR)
    stripe_shop.pay_order(order)["amount_received"] = 100
    if by_event:
        stripe_shop.send(stripe_shop.order_event(order, "paid"))
    else:
        reconciliation.reconcile(order)
    dismiss(order)
    assert reconciliation.reconcile(order) == "pending"
    assert not WebhookEvent.objects.needing_review().exists()


def test_refunds_whose_webhooks_were_lost_are_found_with_their_payment(shop: Shop) -> None:
    order = aged(shop.place_order(), HOUR)
    shop.order_event(order, "refunded", amount=order.amount // 2)
    reconciliation.reconcile_due()
    order.refresh_from_db()
    assert (order.status, order.refunded_amount) == ("completed", order.amount // 2)
    assert audit() == []


def test_a_failed_order_that_was_paid_at_a_second_attempt_is_found(shop: Shop) -> None:
    order = shop.place_order()
    shop.send(shop.order_event(order, "failed"))
    shop.pay_order(aged(order, HOUR))
    reconciliation.reconcile_due()
    assert shop.balance == 450


def test_an_unanswered_request_does_not_stop_other_orders(shop: Shop) -> None:
    first, second = aged(shop.place_order(), HOUR), aged(shop.place_order("pro"), HOUR)
    shop.pay_order(first)
    shop.pay_order(second)
    shop.fake.faults.append(500)
    assert reconciliation.reconcile_due() == 1
    assert shop.balance in (450, 1650)
    aged(first, HOUR), aged(second, HOUR)
    reconciliation.reconcile_due()
    assert shop.balance == 2050


def test_a_bug_in_one_row_does_not_stop_other_orders(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        shop.pay_order(aged(shop.place_order(), HOUR))
    apply_report, calls = webhooks.apply_report, []

    def fail_once(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 1:
            raise TypeError("a bug")
        return apply_report(*args)

    monkeypatch.setattr(webhooks, "apply_report", fail_once)
    assert reconciliation.reconcile_due() == 1
    assert shop.balance == 450
    assert [record.exc_info is not None for record in caplog.records if record.message == "reconciliation failed"] == [
        True
    ]


def test_concurrent_rounds_fetch_the_status_of_each_order_once(
    stripe_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported, *unpaid = stripe_shop.place_paid_order(), *(aged(stripe_shop.place_order(), HOUR) for _ in range(3))
    stripe_shop.send(stripe_shop.fake.build_event("charge.refunded", {"payment_intent": reported.provider_order_id}))
    stripe_shop.fake.refund_status = "pending"
    refunded = [stripe_shop.place_paid_order() for _ in range(2)]
    for order in refunded:
        refunds.start(order_id=order.pk, amount=None, actor="user 7", reason="a test")
    PaymentRefund.objects.update(created_at=Now() - 3 * HOUR, asked_at=Now() - 2 * HOUR)
    fetched: list[PaymentOrder] = []

    def fetch_status(_: object, order: PaymentOrder) -> list[ProviderEvent]:
        fetched.append(order)
        reconcile_payments()
        return []

    monkeypatch.setattr(Stripe, "fetch_status", fetch_status)
    reconcile_payments()
    assert sorted(order.pk for order in fetched) == sorted(order.pk for order in (reported, *refunded, *unpaid))


def test_a_hanging_provider_does_not_starve_refunds(stripe_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    paid, *_ = stripe_shop.place_paid_order(), *(aged(stripe_shop.place_order(), HOUR) for _ in range(3))
    with stripe_shop.fault("hang"):
        refund = refunds.start(order_id=paid.pk, amount=None, actor="user 7", reason="a test")
    type(refund).objects.update(asked_at=Now() - HOUR)
    # Every reading of this clock is 40 s later, so that the round has time for two requests only.
    monkeypatch.setattr(reconciliation, "time", SimpleNamespace(monotonic=itertools.count(0, 40).__next__))
    assert reconciliation.reconcile_due() == 2
    refund.refresh_from_db()
    assert (refund.status, PaymentOrder.objects.exclude(asked_at=None).count()) == ("completed", 1)


@pytest.mark.owner
def test_due_orders_are_found_by_index_among_all_paid_orders(stripe_shop: Shop) -> None:
    order = stripe_shop.place_order()
    columns = {"wallet", "package", "provider", "coins", "amount", "currency", "created_at"}
    values = {name: getattr(order, name) for name in columns} | {"completed_at": order.created_at}
    PaymentOrder.objects.bulk_create(
        PaymentOrder(**values, status="completed", provider_order_id=f"pi_{n}", idempotency_key=f"{n}")
        for n in range(1000)
    )
    PaymentRefund.objects.bulk_create(
        PaymentRefund(
            order=order, source="provider", status="completed", amount=1, coins=1, provider_refund_id=f"re_{n}"
        )
        for n in range(1000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE payment_orders, payment_refunds")
    for orders in (
        reconciliation.due_orders(),
        reconciliation.unfinished_orders(),
        reconciliation.orders_with_changed_refunds(),
    ):
        plan = orders.order_by("created_at").explain()
        assert "Seq Scan on payment_orders" not in plan, plan
        assert "orders_newest" not in plan, plan
    assert "refunds_by_provider_id" in PaymentRefund.objects.filter(provider_refund_id="re_1").explain()


def test_an_order_paid_during_the_round_is_not_asked_about(stripe_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        aged(stripe_shop.place_order(), HOUR)
    fetched: list[PaymentOrder] = []

    def fetch_status(_: object, order: PaymentOrder) -> list[ProviderEvent]:
        fetched.append(order)
        (other,) = PaymentOrder.objects.exclude(pk=order.pk)
        stripe_shop.send(stripe_shop.order_event(other, "paid"))
        return []

    monkeypatch.setattr(Stripe, "fetch_status", fetch_status)
    reconciliation.reconcile_due()
    assert len(fetched) == 1


def test_a_round_stops_in_time_and_leaves_the_rest_due(stripe_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    order = aged(stripe_shop.place_order(), HOUR)
    monkeypatch.setattr(reconciliation, "ROUND_SECONDS", 0)
    assert reconciliation.reconcile_due() == 0
    assert list(reconciliation.due_orders()) == [order]


def test_an_order_is_asked_about_at_growing_intervals(stripe_shop: Shop) -> None:
    def is_due(age: timedelta, asked: timedelta | None) -> bool:
        aged(order, age, asked=asked)
        return reconciliation.due_orders().filter(pk=order.pk).exists()

    order, minute = stripe_shop.place_order(), timedelta(minutes=1)
    assert not is_due(2 * minute, None)
    assert is_due(4 * minute, None)
    assert not is_due(8 * minute, 4 * minute)
    assert is_due(13 * minute, 7 * minute)
    assert not is_due(20 * minute, 8 * minute)
    assert is_due(20 * minute, 11 * minute)


def test_an_order_unpaid_for_a_day_fails_and_a_later_payment_completes_it(shop: Shop) -> None:
    order = aged(shop.place_order(), timedelta(hours=25))
    reconciliation.reconcile_due()
    order.refresh_from_db()
    assert (order.status, order.failure) == ("failed", "abandoned")
    assert not reconciliation.unfinished_orders().exists()
    shop.send(shop.order_event(order, "paid"))
    assert shop.balance == 450


def test_a_lost_payment_of_an_abandoned_order_is_found_for_a_month(shop: Shop) -> None:
    order, day = shop.place_order(), timedelta(days=1)
    PaymentOrder.objects.filter(pk=order.pk).update(status="failed", failure="abandoned")
    shop.pay_order(aged(order, 31 * day, asked=20 * day))
    assert reconciliation.reconcile_due() == 0
    aged(order, 29 * day, asked=10 * day)
    assert reconciliation.reconcile_due() == 0, "the intervals grow"
    aged(order, 29 * day, asked=15 * day)
    assert reconciliation.reconcile_due() == 1
    order.refresh_from_db()
    assert (order.status, shop.balance) == ("completed", 450)


def test_a_payment_under_way_for_days_is_not_abandoned(stripe_shop: Shop) -> None:
    order = stripe_shop.place_order()
    stripe_shop.send(stripe_shop.order_event(order, "processing"))
    aged(order, timedelta(hours=50))
    reconciliation.reconcile_due()
    order.refresh_from_db()
    assert order.status == "processing"
    assert reconciliation.unfinished_orders().filter(pk=order.pk).exists()


def test_an_order_that_is_being_created_is_not_reconciled(stripe_shop: Shop) -> None:
    stripe_shop.fake.faults.append(500)
    stripe_shop.buy(status=503)
    assert not reconciliation.unfinished_orders().exists()


def test_an_order_without_an_answer_is_created_again_within_a_day(shop: Shop) -> None:
    for age, expected in ((timedelta(hours=25), ("failed", 0)), (HOUR, ("pending", 1))):
        shop.fake.faults.append(500)
        shop.buy(status=503)
        order = aged(PaymentOrder.objects.get(status="pending"), age)
        reconciliation.reconcile_due()
        order.refresh_from_db()
        assert (order.status, len(shop.fake.order_ids())) == expected
    assert shop.fake.order_ids() == [order.provider_order_id]


def test_an_unanswered_refund_is_sent_again(shop: Shop) -> None:
    order = shop.place_paid_order()
    with shop.fault("hang"):
        refund = refunds.start(order_id=order.pk, amount=None, actor="user 7", reason="a test")
    assert not reconciliation.due_refunds().exists()
    type(refund).objects.update(asked_at=Now() - HOUR)
    assert reconciliation.reconcile_due() == 1
    refund.refresh_from_db()
    assert (refund.status, shop.balance, len(shop.fake.refunds)) == ("completed", 50, 1)


def test_a_refund_under_way_is_followed_until_it_completes(shop: Shop) -> None:
    order = shop.place_paid_order()
    shop.fake.refund_status = "pending"
    refund = refunds.start(order_id=order.pk, amount=None, actor="user 7", reason="a test")
    refund_at_provider = next(iter(shop.fake.refunds.values()))
    refund_at_provider["status"] = shop.fake.refund_completed
    assert reconciliation.reconcile_refund(refund) == "completed"
    assert shop.balance == 50
