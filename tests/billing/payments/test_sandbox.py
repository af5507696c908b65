"""The sandbox: a page with two buttons in place of a provider, on the embedded stack only."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.test import Client

from billing.audit import audit
from billing.models import PaymentOrder, WebhookEvent
from billing.payments import refunds, webhooks
from billing.payments.providers import sandbox
from billing.payments.providers.base import BadSignature
from relivchats.accounts.models import User
from tests.billing.payments.conftest import Shop

pytestmark = pytest.mark.django_db


@pytest.fixture
def sandbox_shop(user: User, settings: Any) -> Shop:
    settings.PAYMENTS_SANDBOX = True
    return Shop("sandbox", None, user)


def choose(address: str, choice: str, *, checked: bool = True) -> Any:
    """What a browser does: read the page, then press a button of its form."""
    browser = Client(enforce_csrf_checks=True)
    page = browser.get(address).content.decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="(.+?)"', page)
    form = {"choice": choice, **({"csrfmiddlewaretoken": token[1]} if token and checked else {})}
    return browser.post(address, form)


def test_paying_on_the_page_gives_the_coins_by_a_signed_event(sandbox_shop: Shop) -> None:
    bought = sandbox_shop.buy("popular")
    address = urlsplit(bought["checkout_url"])
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
    bought = sandbox_shop.buy()
    assert "Cancelled" in choose(urlsplit(bought["checkout_url"]).path, "cancel").content.decode()
    assert PaymentOrder.objects.get().status == "failed"
    assert sandbox_shop.balance == 50


def test_a_sandbox_order_can_be_refunded(sandbox_shop: Shop) -> None:
    choose(urlsplit(sandbox_shop.buy()["checkout_url"]).path, "pay")
    refund = refunds.start(order_id=PaymentOrder.objects.get().pk, amount=None, actor="user 7", reason="a try")
    assert (refund.status, sandbox_shop.balance) == ("completed", 50)


def test_a_form_without_its_token_or_a_link_that_is_not_ours_pays_nothing(sandbox_shop: Shop) -> None:
    address = urlsplit(sandbox_shop.buy()["checkout_url"]).path
    assert choose(address, "pay", checked=False).status_code == 403
    assert Client().get(address[:-3] + "abc").status_code == 404
    assert Client().get(f"/sandbox/{PaymentOrder.objects.get().pk}").status_code == 404
    assert sandbox_shop.balance == 50


def test_a_link_works_for_an_hour(sandbox_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    address = urlsplit(sandbox_shop.buy()["checkout_url"]).path
    monkeypatch.setattr(sandbox, "_LINK_SECONDS", -1)
    assert Client().get(address).status_code == 404


def test_the_event_must_be_signed_here_too(sandbox_shop: Shop) -> None:
    sandbox_shop.buy()
    body, headers = sandbox.event(PaymentOrder.objects.get(), paid=True)
    with pytest.raises(BadSignature):
        webhooks.receive(provider="sandbox", body=body.replace(b"499", b"498"), headers=headers)
    assert not WebhookEvent.objects.exists()
    assert Client().post("/api/payments/webhooks/sandbox", body, content_type="application/json").status_code == 404


def test_where_it_is_not_offered_nothing_of_it_works(sandbox_shop: Shop, settings: Any) -> None:
    address = urlsplit(sandbox_shop.buy()["checkout_url"]).path
    settings.PAYMENTS_SANDBOX = False
    assert sandbox_shop.buy(status=422)["errors"][0]["code"] == "not_offered"
    assert Client().get(address).status_code == 404
    assert Client().post(address, {"choice": "pay"}).status_code == 404
    assert sandbox_shop.balance == 50
