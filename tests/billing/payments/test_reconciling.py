"""Webhooks get lost: the providers are asked about what is late, and everybody who paid gets their coins."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import connection
from django.db.models.functions import Now

from billing.audit import audit
from billing.models import PaymentOrder, PaymentRefund, WebhookEvent
from billing.payments import reconciling, refunds, webhooks
from billing.payments.providers.base import Report
from billing.payments.providers.stripe import Stripe
from billing.tasks import reconcile_payments
from tests.billing.payments.conftest import Shop

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


def aged(order: PaymentOrder, age: timedelta, *, asked: timedelta | None = None) -> PaymentOrder:
    PaymentOrder.objects.filter(pk=order.pk).update(
        created_at=Now() - age, asked_at=None if asked is None else Now() - asked
    )
    order.refresh_from_db()
    return order


def test_a_payment_whose_webhook_was_lost_is_found_by_asking(shop: Shop) -> None:
    order = aged(shop.order(), HOUR)
    shop.payment(order)
    assert reconciling.round_of_asking() == 1
    order.refresh_from_db()
    assert (order.status, shop.balance) == ("completed", 450)
    assert not WebhookEvent.objects.exists(), "only what needs a look is kept of an answer"
    shop.send(shop.event_of(order, "paid"))
    assert shop.balance == 450
    assert audit() == []


def test_another_sum_that_asking_finds_is_as_grave_as_one_that_an_event_tells(shop: Shop) -> None:
    order = aged(shop.order(), HOUR)
    shop.payment(order)["amount_received" if shop.provider == "stripe" else "amount"] = 100
    assert reconciling.reconcile(order).startswith("needs a look: paid ")
    WebhookEvent.objects.update(received_at=Now() - HOUR)
    assert list(WebhookEvent.objects.uncredited().values_list("order", "status")) == [(order.pk, "held")]
    reconciling.reconcile(order)
    assert WebhookEvent.objects.count() == 1
    PaymentOrder.objects.filter(pk=order.pk).update(amount=100)
    assert reconciling.reconcile(order) == "completed"
    assert not WebhookEvent.objects.held().exists()
    assert not PaymentOrder.objects.needing_a_look().exists()


@pytest.mark.parametrize(
    ("told_by_an_event", "by"),
    [(True, webhooks.set_order_aside), (False, lambda order: webhooks.set_aside(order.events.get()))],
)
def test_what_a_person_set_aside_stays_aside_when_the_provider_is_asked_again(
    stripe_shop: Shop, told_by_an_event: bool, by: Callable[[PaymentOrder], None]
) -> None:
    order = aged(stripe_shop.order(), HOUR)
    stripe_shop.payment(order)["amount_received"] = 100
    if told_by_an_event:
        stripe_shop.send(stripe_shop.event_of(order, "paid"))
    else:
        reconciling.reconcile(order)
    by(order)
    assert reconciling.reconcile(order) == "pending"
    assert not WebhookEvent.objects.held().exists()


def test_refunds_whose_webhooks_were_lost_are_found_with_their_payment(shop: Shop) -> None:
    order = aged(shop.order(), HOUR)
    shop.event_of(order, "refunded", amount=order.amount // 2)
    reconciling.round_of_asking()
    order.refresh_from_db()
    assert (order.status, order.refunded_amount) == ("completed", order.amount // 2)
    assert audit() == []


def test_a_failed_order_that_was_paid_at_a_second_try_is_found_too(shop: Shop) -> None:
    order = shop.order()
    shop.send(shop.event_of(order, "failed"))
    shop.payment(aged(order, HOUR))
    reconciling.round_of_asking()
    assert shop.balance == 450


def test_a_provider_that_does_not_answer_stops_no_other_order(shop: Shop) -> None:
    first, second = aged(shop.order(), HOUR), aged(shop.order("pro"), HOUR)
    shop.payment(first)
    shop.payment(second)
    shop.fake.troubles.append(500)
    assert reconciling.round_of_asking() == 1
    assert shop.balance in (450, 1650)
    aged(first, HOUR), aged(second, HOUR)
    reconciling.round_of_asking()
    assert shop.balance == 2050


def test_rounds_side_by_side_share_the_work_and_ask_about_each_order_once(
    stripe_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, *late = stripe_shop.paid(), *(aged(stripe_shop.order(), HOUR) for _ in range(3))
    stripe_shop.send(stripe_shop.fake.event("charge.refunded", {"payment_intent": told.provider_order_id}))
    stripe_shop.fake.refund_status = "pending"
    sent = [stripe_shop.paid() for _ in range(2)]
    for order in sent:
        refunds.start(order_id=order.pk, amount=None, actor="user 7", reason="a try")
    PaymentRefund.objects.update(created_at=Now() - 3 * HOUR, asked_at=Now() - 2 * HOUR)
    asked: list[PaymentOrder] = []

    def ask(_: object, order: PaymentOrder) -> list[Report]:
        asked.append(order)
        reconcile_payments()
        return []

    monkeypatch.setattr(Stripe, "ask", ask)
    reconcile_payments()
    assert sorted(order.pk for order in asked) == sorted(order.pk for order in (told, *sent, *late))


def test_a_provider_that_hangs_starves_no_refund(stripe_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    paid, *_ = stripe_shop.paid(), *(aged(stripe_shop.order(), HOUR) for _ in range(3))
    with stripe_shop.trouble("hang"):
        refund = refunds.start(order_id=paid.pk, amount=None, actor="user 7", reason="a try")
    type(refund).objects.update(asked_at=Now() - HOUR)
    # Each look at the watch is 40 s after the one before: the round asks twice.
    monkeypatch.setattr(reconciling, "time", SimpleNamespace(monotonic=itertools.count(0, 40).__next__))
    assert reconciling.round_of_asking() == 2
    refund.refresh_from_db()
    assert (refund.status, PaymentOrder.objects.exclude(asked_at=None).count()) == ("completed", 1)


def test_what_is_asked_about_is_found_by_indexes_among_all_that_was_ever_paid(stripe_shop: Shop) -> None:
    order = stripe_shop.order()
    columns = {"wallet", "package", "provider", "coins", "amount", "currency", "created_at"}
    same = {name: getattr(order, name) for name in columns} | {"completed_at": order.created_at}
    PaymentOrder.objects.bulk_create(
        PaymentOrder(**same, status="completed", provider_order_id=f"pi_{n}", idempotency_key=f"{n}")
        for n in range(1000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE payment_orders")
    for orders in (reconciling.due_orders(), reconciling.unfinished(), reconciling.told_of_refunds()):
        plan = orders.order_by("created_at").explain()
        assert "Seq Scan on payment_orders" not in plan, plan
        assert "orders_newest" not in plan, plan
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    assert "refunds_by_provider_id" in PaymentRefund.objects.filter(provider_refund_id="re_1").explain()


def test_what_was_settled_since_the_round_began_is_not_asked_about(
    stripe_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        aged(stripe_shop.order(), HOUR)
    asked: list[PaymentOrder] = []

    def ask(_: object, order: PaymentOrder) -> list[Report]:
        asked.append(order)
        (other,) = PaymentOrder.objects.exclude(pk=order.pk)
        stripe_shop.send(stripe_shop.event_of(other, "paid"))
        return []

    monkeypatch.setattr(Stripe, "ask", ask)
    reconciling.round_of_asking()
    assert len(asked) == 1


def test_a_round_ends_in_time_and_leaves_the_rest_due(stripe_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    order = aged(stripe_shop.order(), HOUR)
    monkeypatch.setattr(reconciling, "ROUND_SECONDS", 0)
    assert reconciling.round_of_asking() == 0
    assert list(reconciling.due_orders()) == [order]


def test_an_order_is_asked_about_less_and_less_often(stripe_shop: Shop) -> None:
    def is_due(age: timedelta, asked: timedelta | None) -> bool:
        aged(order, age, asked=asked)
        return reconciling.due_orders().filter(pk=order.pk).exists()

    order, minute = stripe_shop.order(), timedelta(minutes=1)
    assert not is_due(2 * minute, None)
    assert is_due(4 * minute, None)
    assert not is_due(8 * minute, 4 * minute)
    assert is_due(13 * minute, 7 * minute)
    assert not is_due(20 * minute, 8 * minute)
    assert is_due(20 * minute, 11 * minute)


def test_an_order_that_nobody_pays_for_a_day_fails_and_a_later_payment_still_counts(shop: Shop) -> None:
    order = aged(shop.order(), timedelta(hours=25))
    reconciling.round_of_asking()
    order.refresh_from_db()
    assert (order.status, order.failure) == ("failed", "abandoned")
    assert not reconciling.unfinished().exists()
    shop.send(shop.event_of(order, "paid"))
    assert shop.balance == 450


def test_a_payment_of_an_abandoned_order_is_found_for_a_month_when_its_webhook_was_lost(shop: Shop) -> None:
    order, day = shop.order(), timedelta(days=1)
    PaymentOrder.objects.filter(pk=order.pk).update(status="failed", failure="abandoned")
    shop.payment(aged(order, 31 * day, asked=20 * day))
    assert reconciling.round_of_asking() == 0
    aged(order, 29 * day, asked=10 * day)
    assert reconciling.round_of_asking() == 0, "asked ever less often"
    aged(order, 29 * day, asked=15 * day)
    assert reconciling.round_of_asking() == 1
    order.refresh_from_db()
    assert (order.status, shop.balance) == ("completed", 450)


def test_a_payment_that_takes_days_is_waited_for(stripe_shop: Shop) -> None:
    order = stripe_shop.order()
    stripe_shop.send(stripe_shop.event_of(order, "processing"))
    aged(order, timedelta(hours=50))
    reconciling.round_of_asking()
    order.refresh_from_db()
    assert order.status == "processing"
    assert reconciling.unfinished().filter(pk=order.pk).exists()


def test_an_order_that_is_being_placed_is_left_alone(stripe_shop: Shop) -> None:
    stripe_shop.fake.troubles.append(500)
    stripe_shop.buy(status=503)
    assert not reconciling.unfinished().exists()


def test_an_order_whose_placing_was_not_answered_is_placed_again_unless_a_day_went_by(shop: Shop) -> None:
    for age, stands in ((timedelta(hours=25), ("failed", 0)), (HOUR, ("pending", 1))):
        shop.fake.troubles.append(500)
        shop.buy(status=503)
        order = aged(PaymentOrder.objects.get(status="pending"), age)
        reconciling.round_of_asking()
        order.refresh_from_db()
        made = shop.fake.intents if shop.provider == "stripe" else shop.fake.orders
        assert (order.status, len(made)) == stands
    assert list(made) == [order.provider_order_id]


def test_a_refund_of_which_nothing_was_heard_is_asked_for_again(shop: Shop) -> None:
    order = shop.paid()
    with shop.trouble("hang"):
        refund = refunds.start(order_id=order.pk, amount=None, actor="user 7", reason="a try")
    assert not reconciling.due_refunds().exists()
    type(refund).objects.update(asked_at=Now() - HOUR)
    assert reconciling.round_of_asking() == 1
    refund.refresh_from_db()
    assert (refund.status, shop.balance, len(shop.fake.refunds)) == ("completed", 50, 1)


def test_a_refund_on_its_way_is_followed_to_its_end(shop: Shop) -> None:
    order = shop.paid()
    shop.fake.refund_status = "pending"
    refund = refunds.start(order_id=order.pk, amount=None, actor="user 7", reason="a try")
    made = next(iter(shop.fake.refunds.values()))
    made["status"] = "succeeded" if shop.provider == "stripe" else "processed"
    assert reconciling.reconcile_refund(refund) == "completed"
    assert shop.balance == 50
