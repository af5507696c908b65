"""If a process crashes at any step, a payment is still credited once and a refund is paid once.

The step runs in a forked child with its own connection. The child exits by `os._exit`, without `finally` blocks or a
rollback, so that Postgres and the provider see a real crash.
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

CRASHED = 77


def crash_in(step: Callable[[], Any], module: Any, name: str, *, after: bool = False) -> None:
    """Run the step in a child process that exits when it calls the function, or after the function returned."""
    child = os.fork()
    if child == 0:
        # The child inherits the parent's socket. Closing it would end the parent's session too.
        connection.connection = None
        function = getattr(module, name)

        def exit_here(*args: Any, **kwargs: Any) -> None:
            if after:
                function(*args, **kwargs)
            os._exit(CRASHED)

        setattr(module, name, exit_here)
        try:
            step()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == CRASHED, "the function was not called"


WEBHOOK_STEPS = [
    (webhooks, "_try_apply", False, "stored but not applied"),
    (event_application, "apply_event", False, "locked"),
    (ledger, "grant", False, "before the coins"),
    (ledger, "grant", True, "after the coins, before the order"),
    (webhooks, "_clear_review_reason", False, "before the commit"),
    (webhooks, "apply", True, "applied but not answered"),
]
every_webhook_step = pytest.mark.parametrize(("module", "name", "after"), [step[:3] for step in WEBHOOK_STEPS])


@every_webhook_step
@pytest.mark.parametrize("recovered_by", ["a replay", "beat"])
def test_a_crash_between_webhook_and_coins_is_recovered(
    stripe_shop: Shop, module: Any, name: str, after: bool, recovered_by: str
) -> None:
    order = stripe_shop.place_order()
    body = stripe_shop.order_event(order, "paid")
    crash_in(lambda: stripe_shop.send(body), module, name, after=after)
    assert WebhookEvent.objects.count() == 1, "the event is stored before it is applied"
    assert audit() == []
    if recovered_by == "a replay":
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
    request: dict[str, Any] = {
        "user": shop.user,
        "package_id": "starter",
        "provider": shop.provider,
        "idempotency_key": "k",
    }
    crash_in(lambda: orders.create(**request), module, name, after=after)
    unfinished = PaymentOrder.objects.get()
    assert (unfinished.status, unfinished.provider_order_id) == ("pending", None)
    finished, checkout = orders.create(**request)
    assert (finished.pk, finished.provider_order_id) == (unfinished.pk, checkout.provider_order_id)
    assert shop.fake.order_ids() == [checkout.provider_order_id]


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
    order = shop.place_paid_order()
    request: dict[str, Any] = {"order_id": order.pk, "amount": None, "actor": "user 7", "reason": "a test"}
    crash_in(lambda: refunds.start(**request), module, name, after=after)
    PaymentRefund.objects.update(created_at="2020-01-01T00:00Z")
    PaymentRefund.objects.exclude(asked_at=None).update(asked_at="2020-01-01T00:01Z")
    assert audit() == []
    reconciliation.reconcile_due()
    refund = PaymentRefund.objects.get()
    assert (refund.status, refund.taken_coins, shop.balance) == ("completed", 400, 50)
    assert [refund["amount"] for refund in shop.fake.refunds.values()] == [order.amount]
    assert audit() == []
