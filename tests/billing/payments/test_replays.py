"""Hundreds of deliveries in 20 threads, in random order and with failures, credit every payment once."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from billing import ledger
from billing.audit import audit
from billing.models import CreditTransaction, PaymentOrder, PaymentRefund, WebhookEvent
from billing.payments import refunds, webhooks
from tests.billing.conftest import wait_until_blocked
from tests.billing.payments.conftest import Shop
from tests.fakes import razorpay, stripe
from tests.processes import PATIENCE_SECONDS

pytestmark = pytest.mark.django_db(transaction=True)

THREADS, ORDERS = 20, 5


@pytest.mark.parametrize("deliveries", [100, pytest.param(500, marks=pytest.mark.slow)])
def test_replays_over_20_threads_grant_each_orders_coins_once(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, deliveries: int
) -> None:
    generator = random.Random(7)
    orders = [shop.place_order() for _ in range(ORDERS)]
    bodies = []
    for number, order in enumerate(orders):
        for kind in ("failed", "paid", "processing", *(["refunded"] if number < 2 else [])):
            body = shop.order_event(order, kind)
            headers = stripe.signature(body) | razorpay.signature(body, event_id=f"{number} {kind}")
            bodies.append((body, headers))
    shuffled = [bodies[number % len(bodies)] for number in range(deliveries)]
    generator.shuffle(shuffled)
    failures = iter([generator.random() < 0.3 for _ in range(10_000)])
    grant, lock = ledger.grant, threading.Lock()

    def unreliable_grant(**kwargs: Any) -> Any:
        with lock:
            fails = next(failures)
        if fails:
            raise DatabaseError("a temporary failure")
        return grant(**kwargs)

    def deliver(delivery: tuple[bytes, dict[str, str]]) -> bool:
        try:
            return webhooks.receive(provider=shop.provider, body=delivery[0], headers=delivery[1])
        finally:
            connection.close()

    monkeypatch.setattr(ledger, "grant", unreliable_grant)
    with ThreadPoolExecutor(THREADS) as pool:
        new = list(pool.map(deliver, shuffled))
    assert sum(new) == len(bodies) == WebhookEvent.objects.count()
    assert sum(WebhookEvent.objects.values_list("replays", flat=True)) == deliveries - len(bodies)
    monkeypatch.setattr(ledger, "grant", grant)
    while WebhookEvent.objects.waiting().exists():
        WebhookEvent.objects.update(next_attempt_at="2020-01-01T00:00Z")
        webhooks.apply_due()
    assert CreditTransaction.objects.filter(type="purchase").count() == ORDERS
    assert PaymentRefund.objects.count() == 2
    assert shop.balance == 50 + 400 * (ORDERS - 2)
    assert sorted(PaymentOrder.objects.values_list("status", flat=True)) == ["completed"] * 3 + ["refunded"] * 2
    assert audit() == []


def refund_twice_concurrently(order: PaymentOrder, **arguments: Any) -> set[object]:
    """Return the statuses or error types of two concurrent refunds. Both wait for the order's lock first."""

    def refund() -> object:
        try:
            return refunds.start(order_id=order.pk, actor="user 7", reason="a claim", **arguments).status
        except refunds.RefundImpossible as refusal:
            return type(refusal)
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        with transaction.atomic():
            PaymentOrder.objects.select_for_update().get(pk=order.pk)
            futures = [pool.submit(refund) for _ in range(2)]
            wait_until_blocked(2)
        return {future.result(PATIENCE_SECONDS) for future in futures}


def test_two_concurrent_refunds_of_an_order_pay_once(stripe_shop: Shop) -> None:
    outcomes = refund_twice_concurrently(stripe_shop.place_paid_order(), amount=None)
    assert outcomes == {"completed", refunds.RefundImpossible}
    assert (PaymentRefund.objects.count(), len(stripe_shop.fake.refunds), stripe_shop.balance) == (1, 1, 50)


def test_a_form_sent_twice_concurrently_refunds_once(stripe_shop: Shop) -> None:
    order = stripe_shop.place_paid_order()
    outcomes = refund_twice_concurrently(order, amount=100, expected_refundable=order.amount)
    assert outcomes == {"completed", refunds.RefundImpossible}
    assert [refund["amount"] for refund in stripe_shop.fake.refunds.values()] == [100]
