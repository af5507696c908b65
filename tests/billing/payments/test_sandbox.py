"""The sandbox replaces a provider by a page with two buttons."""

from __future__ import annotations

import re
import time
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.test import Client

from billing.audit import audit
from billing.models import PaymentOrder, WebhookEvent
from billing.payments import reconciliation, refunds, webhooks
from billing.payments.providers import sandbox
from billing.payments.providers.base import BadSignature
from relivchats.accounts.models import User
from tests.api.conftest import check_problem
from tests.billing.payments.conftest import Shop

pytestmark = pytest.mark.django_db


@pytest.fixture
def sandbox_shop(user: User, settings: Any) -> Shop:
    settings.PAYMENTS_SANDBOX = True
    return Shop("sandbox", None, user)


def choose(address: str, choice: str, *, with_token: bool = True) -> Any:
    """Load the page and press a button of its form, as a browser does."""
    browser = Client(enforce_csrf_checks=True)
    page = browser.get(address).content.decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="(.+?)"', page)
    form = {"choice": choice, **({"csrfmiddlewaretoken": token[1]} if token and with_token else {})}
    return browser.post(address, form)


def test_paying_on_the_page_grants_the_coins_by_a_signed_event(sandbox_shop: Shop) -> None:
    placed = sandbox_shop.buy("popular")
    address = urlsplit(placed["checkout_url"])
    assert (address.scheme, address.netloc) == ("http", "testserver")
    page = Client().get(address.path).content.decode()
    assert "$9.99" in page
    assert "850 coins" in page
    assert "Paid." in choose(address.path, "pay").content.decode()
    event = WebhookEvent.objects.get()
    assert (event.provider, event.kind, event.status, event.amount) == ("sandbox", "paid", "applied", 999)
    assert sandbox_shop.balance == 900
    choose(address.path, "pay")
    choose(address.path, "cancel")
    assert (sandbox_shop.balance, WebhookEvent.objects.count()) == (900, 1)
    assert audit() == []


def test_cancelling_fails_the_order(sandbox_shop: Shop) -> None:
    placed = sandbox_shop.buy()
    assert "Cancelled" in choose(urlsplit(placed["checkout_url"]).path, "cancel").content.decode()
    assert PaymentOrder.objects.get().status == "failed"
    assert sandbox_shop.balance == 50


def test_an_unknown_choice_is_rejected_and_changes_nothing(sandbox_shop: Shop) -> None:
    address = urlsplit(sandbox_shop.buy()["checkout_url"]).path
    for nonsense in ("", "maybe"):
        refused = choose(address, nonsense)
        assert (refused.status_code, "Press one of the two buttons" in refused.content.decode()) == (400, True)
    assert PaymentOrder.objects.get().status == "pending"
    assert "Paid." in choose(address, "pay").content.decode()
    late_choice = Client().post(address, {"choice": "maybe"}).content.decode()
    assert ("Paid." in late_choice, "Press one of the two buttons" in late_choice) == (True, False), (
        "a paid order has no buttons"
    )


def test_paid_and_cancelled_orders_look_different(sandbox_shop: Shop) -> None:
    pages = {}
    for choice in ("pay", "cancel"):
        page = choose(urlsplit(sandbox_shop.buy()["checkout_url"]).path, choice).content.decode()
        pages[choice] = (re.findall(r'class="result (\w+)"', page), "unpaid" in page.partition("<main>")[2])
    assert pages == {"pay": (["completed"], False), "cancel": (["failed"], True)}


def test_orders_are_limited_per_person_and_minute(
    sandbox_shop: Shop, make_wallet: Any, settings: Any, rate_clock: list[float]
) -> None:
    assert settings.ORDERS_PER_MINUTE == 10
    settings.ORDERS_PER_MINUTE = 2
    body = {"package_id": "starter", "provider": "sandbox"}
    place = partial(Client().post, "/api/payments/orders", body, content_type="application/json")
    remaining = [place(headers=sandbox_shop.headers).headers["X-RateLimit-Remaining"] for _ in range(2)]
    assert remaining == ["1", "0"]
    refused = place(headers=sandbox_shop.headers)
    check_problem(refused)
    assert (refused.status_code, refused.json()["error_code"], PaymentOrder.objects.count()) == (429, "ERR_1005", 2)
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    assert refused.headers["X-RateLimit-Remaining"] == "0"
    assert Shop("sandbox", None, make_wallet().user).buy()["status"] == "pending", "other people are not limited"


def test_a_sandbox_order_can_be_refunded(sandbox_shop: Shop) -> None:
    choose(urlsplit(sandbox_shop.buy()["checkout_url"]).path, "pay")
    refund = refunds.start(order_id=PaymentOrder.objects.get().pk, amount=None, actor="user 7", reason="a test")
    assert (refund.status, sandbox_shop.balance) == ("completed", 50)


def test_a_missing_csrf_token_or_a_forged_link_pays_nothing(sandbox_shop: Shop) -> None:
    address = urlsplit(sandbox_shop.buy()["checkout_url"]).path
    rejected = choose(address, "pay", with_token=False)
    assert (rejected.status_code, "load the page again" in rejected.content.decode()) == (403, True)
    forged = Client().get(address[:-3] + "abc")
    assert (forged.status_code, "POST /api/payments/orders" in forged.content.decode()) == (404, True)
    unknown = Client().get("/nowhere")
    assert (unknown.status_code, "/api/docs" in unknown.content.decode()) == (404, True)
    assert Client().get(f"/sandbox/{PaymentOrder.objects.get().pk}").status_code == 404
    assert sandbox_shop.balance == 50


def test_a_repeated_link_works_while_its_order_is_pending(sandbox_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox_shop.buy(key="one-purchase")
    later = time.time() + 23 * 3600
    monkeypatch.setattr(time, "time", lambda: later)
    address = urlsplit(sandbox_shop.buy(key="one-purchase")["checkout_url"]).path
    assert "Pay $4.99" in Client().get(address).content.decode()
    PaymentOrder.objects.update(created_at="2020-01-01T00:00Z")
    reconciliation.reconcile_due()
    assert "Nothing was paid within a day" in Client().get(address).content.decode()


def test_the_sandboxs_event_must_be_signed(sandbox_shop: Shop) -> None:
    sandbox_shop.buy()
    body, headers = sandbox.create_event(PaymentOrder.objects.get(), paid=True)
    with pytest.raises(BadSignature):
        webhooks.receive(provider="sandbox", body=body.replace(b"499", b"498"), headers=headers)
    assert not WebhookEvent.objects.exists()
    assert Client().post("/api/payments/webhooks/sandbox", body, content_type="application/json").status_code == 404


def test_a_disabled_sandbox_does_not_work(sandbox_shop: Shop, settings: Any) -> None:
    address = urlsplit(sandbox_shop.buy()["checkout_url"]).path
    settings.PAYMENTS_SANDBOX = False
    assert sandbox_shop.buy(status=422)["errors"][0]["code"] == "not_offered"
    assert Client().get(address).status_code == 404
    assert Client().post(address, {"choice": "pay"}).status_code == 404
    assert sandbox_shop.balance == 50
