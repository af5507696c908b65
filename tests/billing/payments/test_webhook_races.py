"""Of two concurrent transactions on one event or order, the second waits for the lock and sees the first's changes.

The first is the transaction of the test. It commits as soon as the second waits for it.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, transaction

from billing.models import PaymentOrder, PaymentRefund, WebhookEvent
from billing.payments import providers, reconciliation, webhooks
from tests.billing.conftest import wait_until_blocked
from tests.billing.payments.conftest import Shop
from tests.fakes import stripe
from tests.processes import PATIENCE_SECONDS

pytestmark = pytest.mark.django_db(transaction=True)


def run_while_waiting(*, first: Callable[[], object], then: Callable[[], Any]) -> Any:
    """Return the result of `then`, run on another connection that waits for the transaction of `first`."""

    def call_and_close() -> Any:
        try:
            return then()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            first()
            second = pool.submit(call_and_close)
            wait_until_blocked(1)
        return second.result(PATIENCE_SECONDS)


def receive_event_of_unknown_order(shop: Shop) -> WebhookEvent:
    """Send an event of an unknown order. Return it, as if it still waited to be applied."""
    shop.send(shop.fake.build_event("payment_intent.succeeded", {"id": "pi_of_no_order"}))
    WebhookEvent.objects.update(status="received", applied_at=None)
    return WebhookEvent.objects.get()


def test_two_concurrent_events_of_one_payment_grant_its_coins_once(stripe_shop: Shop) -> None:
    order = stripe_shop.place_order()
    first_event, second_event = (stripe_shop.order_event(order, "paid") for _ in range(2))
    new = run_while_waiting(
        first=lambda: stripe_shop.send(first_event),
        then=lambda: webhooks.receive(provider="stripe", body=second_event, headers=stripe.signature(second_event)),
    )
    assert (new, stripe_shop.balance) == (True, 450)
    assert sorted(WebhookEvent.objects.values_list("status", flat=True)) == ["applied", "ignored"]


def test_a_payment_reported_by_an_event_and_an_answer_at_once_grants_its_coins_once(stripe_shop: Shop) -> None:
    order = stripe_shop.place_order()
    paid = stripe_shop.order_event(order, "paid")
    (answer,) = providers.REGISTRY["stripe"].fetch_status(order)
    outcome = run_while_waiting(
        first=lambda: stripe_shop.send(paid), then=lambda: webhooks.apply_report(order.pk, answer)
    )
    assert (outcome.status, stripe_shop.balance) == ("ignored", 450)


def test_a_dismissed_event_stays_dismissed_when_it_is_applied_concurrently(stripe_shop: Shop) -> None:
    event = receive_event_of_unknown_order(stripe_shop)

    def apply_and_dismiss() -> None:
        webhooks.apply(event.pk)
        webhooks.dismiss(event)

    run_while_waiting(first=apply_and_dismiss, then=lambda: webhooks.apply(event.pk))
    event.refresh_from_db()
    assert event.status == "dismissed"


def test_a_refund_reported_by_two_concurrent_events_takes_its_coins_once(stripe_shop: Shop) -> None:
    order = stripe_shop.place_paid_order()
    refunded = stripe_shop.order_event(order, "refunded")
    stripe_shop.send(stripe_shop.fake.build_event("charge.refunded", {"payment_intent": order.provider_order_id}))
    outcome = run_while_waiting(first=lambda: stripe_shop.send(refunded), then=lambda: reconciliation.reconcile(order))
    assert (outcome, PaymentRefund.objects.count(), stripe_shop.balance) == ("refunded", 1, 50)
    assert not WebhookEvent.objects.waiting().exists()


@pytest.mark.parametrize("by", ["dismiss", "dismiss_order", "retry", "mark_answered"])
def test_an_order_keeps_the_reason_of_an_event_that_needed_review_meanwhile(stripe_shop: Shop, by: str) -> None:
    order = stripe_shop.place_order()
    PaymentOrder.objects.filter(pk=order.pk).update(amount=999)
    stripe_shop.send(stripe_shop.order_event(order, "paid"))
    PaymentOrder.objects.filter(pk=order.pk).update(amount=499)
    held = WebhookEvent.objects.get()
    wrong_currency = stripe_shop.order_event(order, "paid", payment={"currency": "eur"})
    actions: dict[str, Callable[[], object]] = {
        "dismiss": lambda: webhooks.dismiss(held),
        "dismiss_order": lambda: webhooks.dismiss_order(order),
        "retry": lambda: webhooks.retry(held),
        "mark_answered": lambda: webhooks.mark_answered(order.pk, [held.pk]),
    }

    def hold_a_second_event_for_review() -> None:
        PaymentOrder.objects.lock(order.pk)
        stripe_shop.send(wrong_currency)

    run_while_waiting(first=hold_a_second_event_for_review, then=actions[by])
    order.refresh_from_db()
    assert bool(order.review_reason) == order.events.needing_review().exists()
