"""Whatever a provider sends, in any sequence and repeatedly: the coins are granted once, for exactly the price."""

from __future__ import annotations

import itertools
import json
import time
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError

from billing import ledger
from billing.audit import audit
from billing.models import CreditTransaction, PaymentOrder, WebhookEvent
from billing.payments import event_application, reconciliation, webhooks
from relivchats import clock
from relivchats.errors import Conflict
from tests.billing.payments.conftest import Shop, changed
from tests.fakes import razorpay, stripe

pytestmark = pytest.mark.django_db


def event() -> WebhookEvent:
    return WebhookEvent.objects.get()


def fresh(order: PaymentOrder) -> PaymentOrder:
    return PaymentOrder.objects.get(pk=order.pk)


def test_a_body_without_a_valid_signature_is_400_and_is_not_stored(shop: Shop) -> None:
    order = shop.order()
    body = shop.event_of(order, "paid")
    for headers in shop.fake.forged_headers(body).values():
        shop.send(body, status=400, headers=headers)
    shop.send(body[:-20], status=400, headers=shop.fake.sign(body))
    assert not WebhookEvent.objects.exists()
    assert (fresh(order).status, shop.balance) == ("pending", 50)
    shop.send(body)
    assert shop.balance == 450


def test_a_second_secret_is_accepted_while_secrets_are_rotated(stripe_shop: Shop) -> None:
    body = stripe_shop.event_of(stripe_shop.order(), "paid")
    stripe_shop.send(body, headers=stripe.signature(body, secret="whsec_the_next_secret", at=time.time() - 240))
    assert stripe_shop.balance == 450


def test_without_a_secret_every_signature_is_rejected(shop: Shop, settings: Any) -> None:
    body = shop.event_of(shop.order(), "paid")
    for name in shop.fake.settings():
        if name.endswith("_WEBHOOK_SECRETS"):
            setattr(settings, name, [])
    shop.send(body, status=400, headers=stripe.signature(body, secret="") | razorpay.signature(body, secret=""))
    shop.send(body, status=400)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"id": 7}'])
def test_a_signed_body_that_is_not_an_event_is_400_and_is_not_stored(stripe_shop: Shop, body: bytes) -> None:
    stripe_shop.send(body, status=400)
    assert not WebhookEvent.objects.exists()


def test_an_oversized_body_is_rejected_before_it_is_read(shop: Shop) -> None:
    shop.send(b" " * (256 * 1024 + 1), status=413)


def test_a_replayed_event_grants_no_more_coins_and_is_counted(shop: Shop) -> None:
    body = shop.event_of(shop.order(), "paid")
    answers = [shop.send(body, event_id="evt_1")["replay"] for _ in range(4)]
    assert answers == [False, True, True, True]
    assert (event().replays, event().status, shop.balance) == (3, "applied", 450)


def test_a_replay_is_recognized_by_its_signed_body_not_by_its_unsigned_id(
    razorpay_shop: Shop,
) -> None:
    order = razorpay_shop.order()
    failed, paid = razorpay_shop.event_of(order, "failed"), razorpay_shop.event_of(order, "paid")
    answers = [razorpay_shop.send(failed, event_id=f"evt_{number}")["replay"] for number in range(3)]
    assert answers == [False, True, True]
    assert razorpay_shop.send(paid, event_id="evt_1")["replay"] is False
    assert (WebhookEvent.objects.count(), razorpay_shop.balance) == (2, 450)


def test_two_events_of_one_payment_grant_its_coins_once(shop: Shop) -> None:
    order = shop.order()
    for number in range(2):
        for body in shop.fake.paid_events(order, {}):
            shop.send(body, event_id=f"evt_{number}")
    assert shop.balance == 450
    assert set(WebhookEvent.objects.values_list("status", flat=True)) == {"applied", "ignored"}


def test_the_events_of_an_order_give_the_same_result_in_every_sequence(shop: Shop, settings: Any) -> None:
    """All 24 sequences of failed, processing, paid and a refund of half."""
    settings.ORDERS_PER_MINUTE = 24
    for number, way in enumerate(itertools.permutations(["failed", "processing", "paid", "refunded"])):
        order = shop.order()
        before = shop.balance
        events = {what: shop.event_of(order, what) for what in ["failed", "processing", "paid"]}
        events["refunded"] = shop.event_of(order, "refunded", amount=order.amount // 2)
        for what in way:
            shop.send(events[what], event_id=f"{number} {what}")
        WebhookEvent.objects.update(next_attempt_at="2020-01-01T00:00Z")
        webhooks.apply_due()
        order = fresh(order)
        assert (order.status, order.refunded_amount) == ("completed", order.amount // 2), way
        assert shop.balance == before + 400 - order.coins_for(order.amount // 2), way
    assert not WebhookEvent.objects.waiting().exists()
    assert audit() == []


def test_a_failed_payment_can_succeed_at_a_second_attempt(shop: Shop) -> None:
    order = shop.order()
    shop.send(shop.event_of(order, "failed"))
    assert (fresh(order).status, shop.balance) == ("failed", 50)
    shop.send(shop.event_of(order, "processing"))
    assert fresh(order).status == "failed", "an event that was under way before it failed, or may have been"
    shop.send(shop.event_of(order, "paid"))
    assert (fresh(order).status, fresh(order).failure, shop.balance) == ("completed", "", 450)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"amount": 1}, "paid"),
        ({"amount": 10**9}, "paid"),
        ({"amount": None}, "paid an unknown amount"),
        ({"amount": "499"}, "paid an unknown amount"),
        ({"amount": True}, "paid an unknown amount"),
        ({"currency": "eur"}, "paid"),
        ({"currency": None}, "paid"),
        ({"currency": "usdc"}, "paid"),
        ({"currency": "INRT"}, "paid"),
    ],
)
def test_a_wrong_amount_grants_no_coins_and_needs_review(shop: Shop, change: dict[str, Any], why: str) -> None:
    order = shop.order()
    if "amount" in change:
        change = {shop.fake.paid_amount_field: change["amount"]}
    shop.send(shop.event_of(order, "paid", payment=change))
    assert (event().status, shop.balance) == ("needs_review", 50)
    assert event().outcome.startswith(why)
    assert fresh(order).review_reason == event().outcome
    assert list(PaymentOrder.objects.needing_review()) == [order]


def test_a_payment_of_another_order_at_the_provider_needs_review(stripe_shop: Shop) -> None:
    order = stripe_shop.order()
    stripe_shop.send(stripe_shop.event_of(order, "paid", payment={"id": "pi_of_somebody"}))
    assert (event().status, event().order, stripe_shop.balance) == ("needs_review", order, 50)


def test_a_second_payment_of_an_order_needs_review(shop: Shop) -> None:
    order = shop.paid()
    again = shop.fake.second_payment
    shop.send(shop.event_of(order, "paid", payment=again))
    assert fresh(order).review_reason.startswith("paid a second time")
    for number, body in enumerate(shop.fake.paid_events(order, again)):
        shop.send(body, event_id=f"another {number}")
    assert webhooks.retry(WebhookEvent.objects.duplicate_payments().get()).status == "needs_review"
    webhooks.dismiss(WebhookEvent.objects.duplicate_payments().get())
    assert (fresh(order).review_reason, shop.balance) == ("", 450)


def test_a_second_payment_that_is_refunded_or_disputed_takes_no_coins(razorpay_shop: Shop) -> None:
    shop, order = razorpay_shop, razorpay_shop.paid()
    again = shop.fake.pay(str(order.provider_order_id))
    back = shop.fake.refunded(again["id"], order.amount, status="processed")
    shop.send(shop.fake.event("refund.processed", refund=back, payment=again))
    lost = {"id": "disp_again", "payment_id": again["id"], "amount": order.amount, "currency": "INR"}
    shop.send(shop.fake.event("payment.dispute.lost", payment=again, dispute=lost))
    reconciliation.reconcile(fresh(order))
    assert (fresh(order).status, fresh(order).dispute, shop.balance) == ("completed", "", 450)
    shop.send(shop.event_of(order, "refunded"))
    assert (fresh(order).status, shop.balance) == ("refunded", 50)


def test_an_event_of_an_unknown_order_needs_review(shop: Shop) -> None:
    order = shop.order()
    body = shop.event_of(order, "paid")
    PaymentOrder.objects.filter(pk=order.pk).update(provider_order_id="another", provider="sandbox")
    shop.send(body)
    assert (event().status, event().order, event().outcome) == ("needs_review", None, "no order here has these ids")
    assert shop.balance == 50
    assert webhooks.retry(event()).status == "needs_review"
    webhooks.dismiss(event())
    assert event().status == "dismissed"


def test_an_event_of_an_unknown_kind_is_stored_and_changes_nothing(shop: Shop) -> None:
    body = changed(shop.event_of(shop.order(), "paid"), type="invoice.paid", event="invoice.paid")
    shop.send(body)
    assert (event().status, event().kind, event().type, shop.balance) == ("ignored", "unknown", "invoice.paid", 50)


def test_a_payment_is_matched_by_our_id_if_the_providers_id_was_never_stored(shop: Shop) -> None:
    order = shop.order()
    body = shop.event_of(order, "paid")
    PaymentOrder.objects.filter(pk=order.pk).update(provider_order_id=None)
    shop.send(body)
    assert (fresh(order).status, fresh(order).provider_order_id) == ("completed", order.provider_order_id)
    assert shop.balance == 450


@pytest.mark.parametrize("fault", [DatabaseError("gone"), ledger.InvalidMovement("no"), RuntimeError("a bug")])
def test_an_event_that_cannot_be_applied_is_stored_acknowledged_and_applied_later(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    order = shop.order()
    body = shop.event_of(order, "paid")

    def fail(**_: Any) -> Any:
        raise fault

    with monkeypatch.context() as broken:
        broken.setattr(ledger, "grant", fail)
        assert shop.send(body) == {"received": True, "replay": False}
        assert shop.send(body) == {"received": True, "replay": True}
    assert (event().status, event().attempts, fresh(order).status) == ("received", 2, "pending")
    assert webhooks.apply_due() == 0, "it is not due yet"
    WebhookEvent.objects.update(next_attempt_at="2020-01-01T00:00Z")
    assert webhooks.apply_due() == 1
    assert (fresh(order).status, shop.balance) == ("completed", 450)


@pytest.mark.parametrize("broken", ["_postpone", "_apply_due_of_same_order"])
def test_a_database_failure_after_storing_an_event_is_no_error_for_the_provider(
    stripe_shop: Shop, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def fail(*_: Any) -> Any:
        raise DatabaseError("gone")

    body = stripe_shop.event_of(stripe_shop.order(), "paid")
    with monkeypatch.context() as going:
        going.setattr(webhooks, broken, fail)
        going.setattr(event_application, "apply_event", fail)
        assert stripe_shop.send(body) == {"received": True, "replay": False}
    webhooks.apply_due()
    assert stripe_shop.balance == (450 if broken == "_postpone" else 50), "at once, or when it is due"


def test_an_applied_event_is_not_applied_again(shop: Shop) -> None:
    shop.paid()
    first = event()
    assert webhooks.apply(first.pk) == ("applied", first.outcome)
    assert (event().status, event().attempts, event().applied_at) == ("applied", 1, first.applied_at)


@pytest.mark.parametrize("reported_by", ["its event", "an answer"])
def test_an_event_that_waited_two_days_needs_review_and_is_applied_after_its_payment(
    stripe_shop: Shop, reported_by: str
) -> None:
    order = stripe_shop.order()
    paid, refunded = stripe_shop.event_of(order, "paid"), stripe_shop.event_of(order, "refunded")
    stripe_shop.send(refunded)
    for received_at, status in ((clock.now() - timedelta(days=1), "received"), ("2020-01-01T00:00Z", "needs_review")):
        WebhookEvent.objects.update(received_at=received_at, next_attempt_at="2020-01-01T00:00Z")
        webhooks.apply_due()
        assert event().status == status
    assert event().outcome.endswith("for more than two days")
    if reported_by == "an answer":
        stripe_shop.fake.refunds.clear()  # so that only the event reports it
        reconciliation.reconcile(order)
    else:
        stripe_shop.send(paid)
    assert (fresh(order).status, stripe_shop.balance) == ("refunded", 50)
    assert not WebhookEvent.objects.needing_review().exists()


def test_no_request_is_sent_to_the_provider_while_it_waits_for_our_answer(stripe_shop: Shop) -> None:
    order = stripe_shop.paid()
    stripe_shop.fake.requests.clear()
    stripe_shop.send(stripe_shop.fake.event("charge.refunded", {"payment_intent": order.provider_order_id}))
    assert stripe_shop.fake.requests == []
    webhooks.apply_due()
    assert stripe_shop.fake.requests == [], "nor while payments wait to be applied"
    reconciliation.reconcile_due()
    assert len(stripe_shop.fake.requests) == 2


def test_a_replay_applies_an_event_that_failed_before(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    order = shop.order()
    body = shop.event_of(order, "paid")
    with monkeypatch.context() as broken:
        broken.setattr(event_application, "apply_event", lambda *_: 1 / 0)
        shop.send(body)
    shop.send(body)
    assert shop.balance == 450


def test_a_failing_event_does_not_stop_others(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    bad, good = shop.order(), shop.order()
    settle = event_application.apply_event

    def fail_for_one(order: PaymentOrder, report: Any) -> Any:
        if order.pk == bad.pk:
            raise RuntimeError
        return settle(order, report)

    monkeypatch.setattr(event_application, "apply_event", fail_for_one)
    for order in (bad, good):
        shop.send(shop.event_of(order, "paid"))
    WebhookEvent.objects.update(next_attempt_at="2020-01-01T00:00Z")
    webhooks.apply_due()
    assert (fresh(bad).status, fresh(good).status) == ("pending", "completed")


def test_an_event_under_review_can_be_dismissed_or_retried(stripe_shop: Shop) -> None:
    order = stripe_shop.order()
    PaymentOrder.objects.filter(pk=order.pk).update(amount=999)
    stripe_shop.send(stripe_shop.event_of(order, "paid"))
    webhooks.retry(event())
    assert (event().status, bool(fresh(order).review_reason)) == ("needs_review", True)
    PaymentOrder.objects.filter(pk=order.pk).update(amount=499)
    webhooks.retry(event())
    assert (event().status, fresh(order).review_reason, stripe_shop.balance) == ("applied", "", 450)
    stripe_shop.send(stripe_shop.event_of(stripe_shop.order(), "paid", payment={"currency": "eur"}))
    held = WebhookEvent.objects.needing_review().get()
    webhooks.dismiss(held)
    assert not WebhookEvent.objects.needing_review().exists()
    assert not PaymentOrder.objects.needing_review().exists()
    with pytest.raises(Conflict):
        webhooks.dismiss(held)


def test_nothing_about_the_payer_or_the_card_is_stored(razorpay_shop: Shop) -> None:
    razorpay_shop.send(razorpay_shop.event_of(razorpay_shop.order(), "paid"))
    kept = json.dumps(list(WebhookEvent.objects.values()) + list(PaymentOrder.objects.values()), default=str)
    for word in ("canary", "Canary", "4242", "9876543210"):
        assert word not in kept


def test_a_purchase_is_one_transaction_that_names_the_order(shop: Shop) -> None:
    order = shop.paid("pro")
    line = CreditTransaction.objects.get(payment_order=order)
    assert (line.type, line.amount) == ("purchase", 1600)
