"""Stub servers of the providers, called by the real SDKs, and `Shop`: a person who buys from one of them."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from django.conf import settings
from django.test import Client, override_settings

from billing.models import PaymentOrder, Wallet
from billing.payments.providers import REGISTRY
from relivchats.accounts import tokens
from relivchats.accounts.models import User
from tests.api.conftest import check_problem
from tests.fakes.provider import FakeProvider, serving
from tests.processes import eventually

#: Providers with webhooks. Each has a stub server in tests/fakes.
PROVIDERS = [provider.name for provider in REGISTRY.values() if provider.signature_header]


@contextmanager
def serving_provider(name: str, settings: Any) -> Iterator[FakeProvider]:
    """Run the stub server of a provider, and configure the provider to use it."""
    fake: FakeProvider = importlib.import_module(f"tests.fakes.{name}").Fake()
    with serving(fake):
        for setting, value in fake.settings().items():
            setattr(settings, setting, value)
        yield fake


@pytest.fixture
def fake_stripe(settings: Any) -> Iterator[FakeProvider]:
    with serving_provider("stripe", settings) as fake:
        yield fake


class Shop:
    """A person with a client of the API, and the provider that they pay with."""

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

    def place_order(self, package: str = "starter") -> PaymentOrder:
        """Place an order, and return it unpaid."""
        return PaymentOrder.objects.get(pk=self.buy(package)["order_id"])

    def place_paid_order(self, package: str = "starter") -> PaymentOrder:
        """Place and pay an order, and return it."""
        order = self.place_order(package)
        self.send(self.order_event(order, "paid"))
        order.refresh_from_db()
        assert order.status == "completed"
        return order

    @contextmanager
    def fault(self, fault: str | int) -> Iterator[None]:
        """Make the only request of the block fail with this fault. A request that hangs times out after 0.2 s."""
        self.fake.faults.append(fault)
        with override_settings(PAYMENT_TIMEOUT_SECONDS=0.2 if fault == "hang" else settings.PAYMENT_TIMEOUT_SECONDS):
            yield
        eventually(lambda: not self.fake.faults)

    @property
    def balance(self) -> int:
        return Wallet.objects.get(user=self.user).balance

    def send(
        self, body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None, event_id: str = ""
    ) -> Any:
        """Post a webhook, with a valid signature unless `headers` are given. Return the body of the response."""
        response = self.client.post(
            f"/api/payments/webhooks/{self.provider}",
            body,
            content_type="application/json",
            headers=self.fake.sign(body, event_id=event_id) if headers is None else headers,
        )
        assert response.status_code == status, response.content
        if status >= 400:
            check_problem(response)
        return response.json()

    def order_event(self, order: PaymentOrder, kind: str, **change: Any) -> bytes:
        """Return an event of the order. Kinds: paid, failed, processing, refunded, disputed, lost, won."""
        payment_change = change.pop("payment", {})
        return bytes(
            self.fake.order_event(order, kind, amount=change.pop("amount", order.amount), change=payment_change)
        )

    def pay_order(self, order: PaymentOrder) -> dict[str, Any]:
        """Pay the order at the provider unless it is paid. Return its payment."""
        payment: dict[str, Any] = self.fake.pay_order(order)
        return payment


@pytest.fixture
def user(db: None) -> User:
    return User.objects.create_user("ann.canary@example.org")


@pytest.fixture(params=PROVIDERS)
def shop(request: pytest.FixtureRequest, user: User, settings: Any) -> Iterator[Shop]:
    """Run the test once with each provider."""
    with serving_provider(request.param, settings) as fake:
        yield Shop(request.param, fake, user)


@pytest.fixture
def stripe_shop(fake_stripe: FakeProvider, user: User) -> Shop:
    return Shop("stripe", fake_stripe, user)


@pytest.fixture
def razorpay_shop(user: User, settings: Any) -> Iterator[Shop]:
    with serving_provider("razorpay", settings) as fake:
        yield Shop("razorpay", fake, user)


def changed(body: bytes, **change: Any) -> bytes:
    """Return the JSON body with these values replaced."""
    return json.dumps({**json.loads(body), **change}).encode()
