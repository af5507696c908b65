"""Two hands on one event or one order at the same time: the second waits, and then sees what the first did.

One is the test's own transaction, which ends when the other waits for it.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, transaction

from billing.models import PaymentOrder, PaymentRefund, WebhookEvent
from billing.payments import providers, reconciling, settling, webhooks
from tests.billing.conftest import wait_until_blocked
from tests.billing.payments.conftest import Shop
from tests.fakes import stripe
from tests.processes import PATIENCE_SECONDS

pytestmark = pytest.mark.django_db(transaction=True)


def while_waiting(*, first: Callable[[], object], then: Callable[[], Any]) -> Any:
    """What `then` answers on a connection of its own, that waits for the transaction of `first`."""

    def elsewhere() -> Any:
        try:
            return then()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            first()
            second = pool.submit(elsewhere)
            wait_until_blocked(1)
        return second.result(PATIENCE_SECONDS)


def of_nobody(shop: Shop) -> WebhookEvent:
    """An event that waits, of an order that is not ours."""
    shop.send(shop.fake.event("payment_intent.succeeded", {"id": "pi_of_nobody"}))
    WebhookEvent.objects.update(status="received", applied_at=None)
    return WebhookEvent.objects.get()


def test_two_events_of_one_payment_at_once_give_its_coins_once(stripe_shop: Shop) -> None:
    order = stripe_shop.order()
    one, two = (stripe_shop.event_of(order, "paid") for _ in range(2))
    new = while_waiting(
        first=lambda: stripe_shop.send(one),
        then=lambda: webhooks.receive(provider="stripe", body=two, headers=stripe.signature(two)),
    )
    assert (new, stripe_shop.balance) == (True, 450)
    assert sorted(WebhookEvent.objects.values_list("status", flat=True)) == ["applied", "ignored"]


def test_a_payment_told_by_its_event_while_the_provider_answers_gives_its_coins_once(stripe_shop: Shop) -> None:
    order = stripe_shop.order()
    paid = stripe_shop.event_of(order, "paid")
    (answer,) = providers.ALL["stripe"].ask(order)
    outcome = while_waiting(first=lambda: stripe_shop.send(paid), then=lambda: webhooks.hear(order.pk, answer))
    assert (outcome.status, stripe_shop.balance) == ("ignored", 450)


def test_an_event_that_a_person_set_aside_stays_aside_when_it_is_applied_at_once(stripe_shop: Shop) -> None:
    event = of_nobody(stripe_shop)

    def apply_and_set_aside() -> None:
        webhooks.apply(event.pk)
        webhooks.set_aside(event)

    while_waiting(first=apply_and_set_aside, then=lambda: webhooks.apply(event.pk))
    event.refresh_from_db()
    assert event.status == "set_aside"


def test_a_refund_told_by_two_events_at_once_is_taken_once(stripe_shop: Shop) -> None:
    order = stripe_shop.paid()
    refunded = stripe_shop.event_of(order, "refunded")
    stripe_shop.send(stripe_shop.fake.event("charge.refunded", {"payment_intent": order.provider_order_id}))
    outcome = while_waiting(first=lambda: stripe_shop.send(refunded), then=lambda: reconciling.reconcile(order))
    assert (outcome, PaymentRefund.objects.count(), stripe_shop.balance) == ("refunded", 1, 50)
    assert not WebhookEvent.objects.waiting().exists()


@pytest.mark.parametrize("by", ["set_aside", "set_order_aside", "try_again", "were_answered"])
def test_an_order_shows_what_came_to_be_held_while_the_rest_was_dealt_with(stripe_shop: Shop, by: str) -> None:
    order = stripe_shop.order()
    PaymentOrder.objects.filter(pk=order.pk).update(amount=999)
    stripe_shop.send(stripe_shop.event_of(order, "paid"))
    PaymentOrder.objects.filter(pk=order.pk).update(amount=499)
    held = WebhookEvent.objects.get()
    another = stripe_shop.event_of(order, "paid", payment={"currency": "eur"})
    deeds: dict[str, Callable[[], object]] = {
        "set_aside": lambda: webhooks.set_aside(held),
        "set_order_aside": lambda: webhooks.set_order_aside(order),
        "try_again": lambda: webhooks.try_again(held),
        "were_answered": lambda: webhooks.were_answered(order.pk, [held.pk]),
    }

    def another_is_held() -> None:
        settling.lock(order.pk)
        stripe_shop.send(another)

    while_waiting(first=another_is_held, then=deeds[by])
    order.refresh_from_db()
    assert bool(order.attention) == order.events.held().exists()
