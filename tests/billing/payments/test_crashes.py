"""A process dies at a step, by `os._exit`: a payment is still credited once, and a refund paid once.

The step is done in a forked child on a connection of its own: to Postgres and the provider its death is a real one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from billing import ledger
from billing.audit import audit
from billing.models import PaymentOrder, PaymentRefund, WebhookEvent
from billing.payments import event_application, orders, reconciliation, refunds, webhooks
from tests.billing.payments.conftest import Shop

pytestmark = pytest.mark.django_db(transaction=True)

DIED = 77


def dies(step: Callable[[], Any], module: Any, name: str, *, after: bool = False) -> None:
    """Run the step in a child process that dies when it calls the function, or when that returns."""
    child = os.fork()
    if child == 0:
        # The child must not close the connection of its parent.
        connection.connection = None
        function = getattr(module, name)

        def last(*args: Any, **kwargs: Any) -> None:
            if after:
                function(*args, **kwargs)
            os._exit(DIED)

        setattr(module, name, last)
        try:
            step()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == DIED, "the step was never reached"


WEBHOOK_STEPS = [
    (webhooks, "_try_apply", False, "stored, not applied"),
    (event_application, "apply_event", False, "locked"),
    (ledger, "grant", False, "before the coins"),
    (ledger, "grant", True, "after the coins, before the order"),
    (webhooks, "_clear_review_reason", False, "before the commit"),
    (webhooks, "apply", True, "applied, not answered"),
]
every_webhook_step = pytest.mark.parametrize(("module", "name", "after"), [step[:3] for step in WEBHOOK_STEPS])


@every_webhook_step
@pytest.mark.parametrize("healed_by", ["a replay", "beat"])
def test_a_crash_between_webhook_and_coins_is_recovered(
    stripe_shop: Shop, module: Any, name: str, after: bool, healed_by: str
) -> None:
    order = stripe_shop.order()
    body = stripe_shop.event_of(order, "paid")
    dies(lambda: stripe_shop.send(body), module, name, after=after)
    assert WebhookEvent.objects.count() == 1, "stored first"
    assert audit() == []
    if healed_by == "a replay":
        assert stripe_shop.send(body)["replay"] is True
    else:
        webhooks.apply_due()
    order.refresh_from_db()
    assert (order.status, stripe_shop.balance) == ("completed", 450)
    assert audit() == []


@pytest.mark.parametrize(
    ("module", "name", "after"), [(orders, "create_at_provider", False), (orders, "_store_answer", False)]
)
def test_a_crash_while_an_order_is_created_leaves_one_order_to_finish(
    shop: Shop, module: Any, name: str, after: bool
) -> None:
    place: dict[str, Any] = {
        "user": shop.user,
        "package_id": "starter",
        "provider": shop.provider,
        "idempotency_key": "k",
    }
    dies(lambda: orders.create(**place), module, name, after=after)
    left = PaymentOrder.objects.get()
    assert (left.status, left.provider_order_id) == ("pending", None)
    again, placed = orders.create(**place)
    assert (again.pk, again.provider_order_id) == (left.pk, placed.provider_order_id)
    assert shop.fake.order_ids() == [placed.provider_order_id]


@pytest.mark.parametrize(
    ("module", "name", "after"),
    [
        (refunds, "push", False),
        (event_application, "apply_event", False),
        (ledger, "refund", True),
        (event_application, "apply_event", True),
        (refunds, "push", True),
    ],
)
def test_a_crash_during_a_refund_pays_it_once(shop: Shop, module: Any, name: str, after: bool) -> None:
    order = shop.paid()
    asked: dict[str, Any] = {"order_id": order.pk, "amount": None, "actor": "user 7", "reason": "a try"}
    dies(lambda: refunds.start(**asked), module, name, after=after)
    PaymentRefund.objects.update(created_at="2020-01-01T00:00Z")
    PaymentRefund.objects.exclude(asked_at=None).update(asked_at="2020-01-01T00:01Z")
    assert audit() == []
    reconciliation.reconcile_due()
    refund = PaymentRefund.objects.get()
    assert (refund.status, refund.taken_coins, shop.balance) == ("completed", 400, 50)
    assert [made["amount"] for made in shop.fake.refunds.values()] == [order.amount]
    assert audit() == []
