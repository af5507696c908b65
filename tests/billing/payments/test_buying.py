"""Purchases with each provider, from the order to the coins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from billing.audit import audit
from billing.models import CreditPackage, CreditTransaction, PackagePrice, PaymentOrder, WebhookEvent
from billing.payments import orders, reconciliation, refunds
from billing.payments.providers import http
from relivchats.accounts.models import User
from tests.billing.payments.conftest import Shop
from tests.fakes.provider import FakeProvider

pytestmark = pytest.mark.django_db

PRICES = {"stripe": (499, "USD"), "razorpay": (39_900, "INR")}


def test_a_purchase_goes_from_package_to_coins(shop: Shop) -> None:
    placed = shop.buy("starter")
    assert (placed["amount"], placed["currency"]) == PRICES[shop.provider]
    assert (placed["coins"], placed["status"], placed["completed_at"]) == (400, "pending", None)
    order = PaymentOrder.objects.get(pk=placed["order_id"])
    assert order.provider_order_id == placed["provider_order_id"]
    assert shop.send(shop.order_event(order, "paid")) == {"received": True, "replay": False}
    answer = shop.client.get(f"/api/payments/orders/{order.pk}", headers=shop.headers).json()
    assert (answer["status"], shop.balance) == ("completed", 50 + 400)
    assert answer["completed_at"]
    line = CreditTransaction.objects.get(type="purchase")
    assert (line.amount, line.payment_order, line.wallet.user) == (400, order, shop.user)
    assert audit() == []


def test_an_order_returns_the_values_that_stripes_form_needs(stripe_shop: Shop) -> None:
    placed = stripe_shop.buy()
    assert placed["client_secret"].startswith(placed["provider_order_id"] + "_secret_")
    assert (placed["key_id"], placed["checkout_url"]) == ("pk_test_thetests", None)


def test_an_order_returns_the_values_that_razorpays_form_needs(razorpay_shop: Shop) -> None:
    response = razorpay_shop.buy()
    assert (response["key_id"], response["client_secret"]) == ("rzp_test_thetests", None)
    order = razorpay_shop.fake.orders[response["provider_order_id"]]
    assert (order["receipt"], order["payment_capture"]) == (response["order_id"], True)


def test_packages_are_public_and_name_the_providers_of_each_currency(fake_stripe: FakeProvider, settings: Any) -> None:
    settings.PAYMENTS_SANDBOX = False
    CreditPackage.objects.filter(pk="pro").update(active=False)
    answer = Client().get("/api/credits/packages").json()
    assert [package["id"] for package in answer["results"]] == ["starter", "popular"]
    prices = {price["currency"]: price for price in answer["results"][1]["prices"]}
    assert prices["USD"] == {"currency": "USD", "amount": 999, "shown": "$9.99", "providers": ["stripe"]}
    assert prices["INR"]["providers"] == []


def test_the_price_comes_from_the_package_and_any_other_is_rejected(stripe_shop: Shop) -> None:
    def place(**fields: Any) -> Any:
        return stripe_shop.client.post(
            "/api/payments/orders",
            {"package_id": "pro", "provider": "stripe", **fields},
            content_type="application/json",
            headers=stripe_shop.headers,
        ).json()

    answer = place()
    assert (answer["amount"], answer["currency"], answer["coins"]) == (1799, "USD", 1600)
    for wrong in ({"amount": 1}, {"coins": 99999}, {"currency": "INR"}, {"package_id": 5}):
        assert [error["pointer"] for error in place(**wrong)["errors"]] == [f"#/{name}" for name in wrong]
    assert PaymentOrder.objects.count() == 1


def test_a_later_price_change_does_not_affect_an_order(stripe_shop: Shop) -> None:
    order = stripe_shop.place_order()
    PackagePrice.objects.filter(package="starter").update(amount=1)
    CreditPackage.objects.filter(pk="starter").update(coins=1)
    stripe_shop.send(stripe_shop.order_event(order, "paid"))
    assert stripe_shop.balance == 450


def test_an_unknown_or_inactive_package_is_not_found(stripe_shop: Shop) -> None:
    CreditPackage.objects.filter(pk="pro").update(active=False)
    for package in ("pro", "nonsense"):
        assert stripe_shop.buy(package, status=404)["error_code"] == "ERR_1002"
    assert stripe_shop.fake.requests == []


def test_a_provider_that_is_not_configured_is_rejected_with_the_alternatives(stripe_shop: Shop, settings: Any) -> None:
    settings.PAYMENTS_SANDBOX = False
    stripe_shop.provider = "razorpay"
    problem = stripe_shop.buy(status=422)
    assert problem["errors"][0]["pointer"] == "#/provider"
    assert "Choose one of: stripe." in problem["detail"]
    settings.STRIPE_SECRET_KEY = ""
    assert "Nothing can be bought here yet." in stripe_shop.buy(status=422)["detail"]


@pytest.mark.django_db(transaction=True)
def test_the_row_is_committed_before_the_provider_is_called_outside_any_transaction(
    stripe_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    respond: Callable[..., Any] = stripe_shop.fake.answer
    request: Callable[..., Any] = http.Session.request
    orders_without_id: list[int] = []

    def request_outside_transaction(*args: Any, **kwargs: Any) -> Any:
        assert not connection.in_atomic_block
        return request(*args, **kwargs)

    def count_orders_and_respond(*args: Any) -> Any:
        orders_without_id.append(PaymentOrder.objects.filter(provider_order_id=None).count())
        connection.close()
        return respond(*args)

    monkeypatch.setattr(stripe_shop.fake, "answer", count_orders_and_respond)
    monkeypatch.setattr(http.Session, "request", request_outside_transaction)
    stripe_shop.buy(key="one-purchase")
    assert orders_without_id == [1]
    order = PaymentOrder.objects.get()
    stripe_shop.pay_order(order)
    assert reconciliation.reconcile(order) == "completed"
    refunds.start(order_id=order.pk, amount=100, actor="user 7", reason="a test")
    stripe_shop.send(stripe_shop.fake.build_event("charge.refunded", {"payment_intent": order.provider_order_id}))
    PaymentOrder.objects.update(asked_at=None)
    assert reconciliation.reconcile_due() == 1
    assert not WebhookEvent.objects.waiting().exists()


@pytest.mark.parametrize("fault", ["hang", 500, 503, 429, "garbage", "other JSON", "lose the answer"])
def test_after_a_lost_answer_the_same_request_finishes_the_order(shop: Shop, fault: Any) -> None:
    with shop.fault(fault):
        problem = shop.buy(status=503, key="one-purchase")
    assert "You were not charged" in problem["detail"]
    order = PaymentOrder.objects.get()
    assert (order.status, order.provider_order_id) == ("pending", None)
    repeated = shop.buy(key="one-purchase")
    assert repeated["order_id"] == str(order.pk)
    assert PaymentOrder.objects.count() == 1
    assert shop.fake.order_ids() == [repeated["provider_order_id"]]


def test_an_order_is_found_again_if_razorpays_second_answer_is_lost(razorpay_shop: Shop) -> None:
    razorpay_shop.fake.faults.extend([None, "lose the answer"])
    razorpay_shop.buy(status=503, key="k")
    assert len(razorpay_shop.fake.orders) == 1
    assert razorpay_shop.buy(key="k")["provider_order_id"] in razorpay_shop.fake.orders
    assert len(razorpay_shop.fake.orders) == 1


def test_reconciliation_finishes_an_order_whose_answer_was_lost(shop: Shop) -> None:
    shop.fake.faults.extend(["lose the answer"] * shop.fake.requests_per_order)
    shop.buy(status=503)
    order = PaymentOrder.objects.get()
    shop.fake.faults.clear()
    assert reconciliation.reconcile(order) == "pending: created at the provider"
    order.refresh_from_db()
    assert order.provider_order_id


def test_rejected_api_keys_leave_the_order_pending(shop: Shop, settings: Any, logged: Any) -> None:
    for name, value in shop.fake.wrong_key.items():
        setattr(settings, name, value)
    problem = shop.buy(status=503)
    assert "a wrong key" not in str(problem)
    assert PaymentOrder.objects.get().status == "pending"
    assert "rejected the API keys" in logged.getvalue()


def test_a_refusal_by_the_provider_fails_the_order(shop: Shop) -> None:
    shop.fake.faults.append(400)
    problem = shop.buy(status=502)
    assert problem["error_code"] == "ERR_3007"
    order = PaymentOrder.objects.get()
    assert (order.status, order.provider_order_id) == ("failed", None)


def test_the_same_key_returns_the_same_order(shop: Shop) -> None:
    first, second = shop.buy(key="a"), shop.buy(key="a")
    assert first == second
    assert shop.buy(key="b")["order_id"] != first["order_id"]
    assert PaymentOrder.objects.count() == 2


def test_the_key_can_be_sent_in_the_body(stripe_shop: Shop) -> None:
    def buy(package: str) -> Any:
        return stripe_shop.client.post(
            "/api/payments/orders",
            {"package_id": package, "provider": "stripe", "idempotency_key": "in the body"},
            content_type="application/json",
            headers=stripe_shop.headers,
        )

    first, second = buy("starter"), buy("starter")
    assert first.json()["order_id"] == second.json()["order_id"]
    assert second.json()["client_secret"] == first.json()["client_secret"]
    assert buy("pro").status_code == 422
    assert PaymentOrder.objects.count() == 1


def test_keys_of_two_people_are_independent(stripe_shop: Shop) -> None:
    other = Shop("stripe", stripe_shop.fake, User.objects.create_user("ben@example.org"))
    assert stripe_shop.buy(key="a")["order_id"] != other.buy(key="a")["order_id"]


def test_an_order_of_another_person_is_not_found(stripe_shop: Shop) -> None:
    order = stripe_shop.place_order()
    other = Shop("stripe", stripe_shop.fake, User.objects.create_user("ben@example.org"))
    answer = other.client.get(f"/api/payments/orders/{order.pk}", headers=other.headers)
    assert answer.status_code == 404


def test_an_order_keeps_the_first_id_of_the_provider(stripe_shop: Shop) -> None:
    order = stripe_shop.place_order()
    first = order.provider_order_id
    orders.create_at_provider(order)
    assert order.provider_order_id == first
