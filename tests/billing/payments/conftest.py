"""Both providers' stand-ins, spoken to by the real SDKs, and a shop that a person buys in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from django.conf import settings
from django.test import Client, override_settings

from billing.models import PaymentOrder, Wallet
from relivchats.accounts import tokens
from relivchats.accounts.models import User
from tests.api.conftest import check_problem
from tests.fakes import razorpay, stripe
from tests.fakes.provider import FakeProvider, serving
from tests.fakes.razorpay import FakeRazorpay
from tests.fakes.stripe import FakeStripe
from tests.processes import eventually


@pytest.fixture
def fake_stripe(settings: Any) -> Iterator[FakeStripe]:
    with serving(FakeStripe()) as fake:
        settings.STRIPE_SECRET_KEY = stripe.KEY
        settings.STRIPE_PUBLISHABLE_KEY = "pk_test_thetests"
        settings.STRIPE_WEBHOOK_SECRETS = [stripe.SECRET, "whsec_the_next_secret"]
        settings.STRIPE_API_BASE = fake.base_url
        yield fake


@pytest.fixture
def fake_razorpay(settings: Any) -> Iterator[FakeRazorpay]:
    with serving(FakeRazorpay()) as fake:
        settings.RAZORPAY_KEY_ID, settings.RAZORPAY_KEY_SECRET = razorpay.KEY_ID, razorpay.KEY_SECRET
        settings.RAZORPAY_WEBHOOK_SECRETS = [razorpay.SECRET]
        settings.RAZORPAY_API_BASE = fake.base_url
        yield fake


class Shop:
    """One person's way to coins at one provider: what they, their client and the provider do."""

    def __init__(self, provider: str, fake: Any, user: User) -> None:
        self.provider, self.fake, self.user = provider, fake, user
        self.client = Client(raise_request_exception=False)
        self.headers = {"Authorization": f"Bearer {tokens.issue(user)}"}

    def buy(self, package: str = "starter", *, status: int = 201, key: str = "") -> Any:
        response = self.client.post(
            "/api/payments/orders",
            {"package_id": package, "provider": self.provider},
            content_type="application/json",
            headers={**self.headers, **({"Idempotency-Key": key} if key else {})},
        )
        assert response.status_code == status, response.content
        if status >= 400:
            check_problem(response)
        return response.json()

    def order(self, package: str = "starter") -> PaymentOrder:
        """An order that is placed and not paid."""
        return PaymentOrder.objects.get(pk=self.buy(package)["order_id"])

    def paid(self, package: str = "starter") -> PaymentOrder:
        """An order whose coins are there."""
        order = self.order(package)
        self.send(self.event_of(order, "paid"))
        order.refresh_from_db()
        assert order.status == "completed"
        return order

    @contextmanager
    def trouble(self, trouble: str | int) -> Iterator[None]:
        """What befalls the one request that the block makes. Only one that hangs is given up soon."""
        self.fake.troubles.append(trouble)
        with override_settings(PAYMENT_TIMEOUT_SECONDS=0.2 if trouble == "hang" else settings.PAYMENT_TIMEOUT_SECONDS):
            yield
        eventually(lambda: not self.fake.troubles)

    @property
    def balance(self) -> int:
        return Wallet.objects.get(user=self.user).balance

    def send(
        self, body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None, event_id: str = ""
    ) -> Any:
        """What the provider posts to us, well signed unless told otherwise."""
        signed = stripe.signature(body) if self.provider == "stripe" else razorpay.signature(body, event_id=event_id)
        response = self.client.post(
            f"/api/payments/webhooks/{self.provider}",
            body,
            content_type="application/json",
            headers=signed if headers is None else headers,
        )
        assert response.status_code == status, response.content
        if status >= 400:
            check_problem(response)
        return response.json()

    def event_of(self, order: PaymentOrder, what: str, **change: Any) -> bytes:
        """The event that says so of the order: paid, failed, processing, refunded, disputed, lost, won."""
        change_payment = change.pop("payment", {})
        amount = change.pop("amount", order.amount)
        if self.provider == "stripe":
            return self._stripe_event(order, what, amount, change_payment)
        return self._razorpay_event(order, what, amount, change_payment)

    def payment(self, order: PaymentOrder) -> dict[str, Any]:
        """The order's payment at the provider, made when there is none."""
        pk = str(order.provider_order_id)
        if self.provider == "stripe":
            intent: dict[str, Any] = self.fake.intents[pk]
            return intent if intent["status"] == "succeeded" else self.fake.pay(pk)
        found = [one for one in self.fake.payments.values() if one["order_id"] == pk]
        return found[0] if found else self.fake.pay(pk)  # type: ignore[no-any-return]

    def _stripe_event(self, order: PaymentOrder, what: str, amount: int, change: dict[str, Any]) -> bytes:
        pk = str(order.provider_order_id)
        if what in ("paid", "failed", "processing"):
            type = {"paid": "succeeded", "failed": "payment_failed"}.get(what, what)
            intent = self.payment(order) if what == "paid" else self.fake.intents[pk]
            return self.fake.event(f"payment_intent.{type}", {**intent, **change})  # type: ignore[no-any-return]
        if what == "refunded":
            self.payment(order)
            return self.fake.event("refund.created", {**self.fake.refunded(pk, amount), **change})  # type: ignore[no-any-return]
        dispute = {"id": f"dp_{pk}", "object": "dispute", "payment_intent": pk, "amount": amount, "currency": "usd"}
        type, status = {"disputed": ("created", "needs_response")}.get(what, ("closed", what))
        return self.fake.event(f"charge.dispute.{type}", {**dispute, "status": status, **change})  # type: ignore[no-any-return]

    def _razorpay_event(self, order: PaymentOrder, what: str, amount: int, change: dict[str, Any]) -> bytes:
        pk = str(order.provider_order_id)
        if what in ("failed", "processing"):
            type = {"processing": "authorized"}.get(what, what)
            tried = {"id": self.fake.next_id("pay"), "order_id": pk, "amount": order.amount, "currency": "INR"}
            return self.fake.event(f"payment.{type}", payment={**tried, **change})  # type: ignore[no-any-return]
        payment = self.payment(order)
        if what == "paid":
            return self.fake.event("order.paid", payment={**payment, **change}, order=self.fake.orders[pk])  # type: ignore[no-any-return]
        if what == "refunded":
            refund = {**self.fake.refunded(payment["id"], amount), **change}
            return self.fake.event("refund.created", refund=refund, payment=payment)  # type: ignore[no-any-return]
        dispute = {"id": f"disp_{pk}", "payment_id": payment["id"], "amount": amount, "currency": "INR", **change}
        type = {"disputed": "created"}.get(what, what)
        return self.fake.event(f"payment.dispute.{type}", payment=payment, dispute=dispute)  # type: ignore[no-any-return]


@pytest.fixture
def user(db: None) -> User:
    return User.objects.create_user("ann.canary@example.org")


@pytest.fixture(params=["stripe", "razorpay"])
def shop(request: pytest.FixtureRequest, user: User) -> Shop:
    """Each test that asks for it runs at both providers."""
    fake: FakeProvider = request.getfixturevalue(f"fake_{request.param}")
    return Shop(request.param, fake, user)


@pytest.fixture
def stripe_shop(fake_stripe: FakeStripe, user: User) -> Shop:
    return Shop("stripe", fake_stripe, user)


@pytest.fixture
def razorpay_shop(fake_razorpay: FakeRazorpay, user: User) -> Shop:
    return Shop("razorpay", fake_razorpay, user)


def changed(body: bytes, **change: Any) -> bytes:
    return json.dumps({**json.loads(body), **change}).encode()
