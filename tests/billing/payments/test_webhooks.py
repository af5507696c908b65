"""A payment grants its coins once and only for the exact price, in any sequence and number of events."""

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


def stored_event() -> WebhookEvent:
    return WebhookEvent.objects.get()


def fresh(order: PaymentOrder) -> PaymentOrder:
    return PaymentOrder.objects.get(pk=order.pk)


def test_a_body_without_a_valid_signature_is_400_and_is_not_stored(shop: Shop) -> None:
    order = shop.place_order()
    body = shop.order_event(order, "paid")
    for headers in shop.fake.forged_headers(body).values():
        shop.send(body, status=400, headers=headers)
    shop.send(body[:-20], status=400, headers=shop.fake.sign(body))
    assert not WebhookEvent.objects.exists()
    assert (fresh(order).status, shop.balance) == ("pending", 50)
    shop.send(body)
    assert shop.balance == 450


def test_a_second_secret_is_accepted_while_secrets_are_rotated(stripe_shop: Shop) -> None:
    body = stripe_shop.order_event(stripe_shop.place_order(), "paid")
    stripe_shop.send(body, headers=stripe.signature(body, secret="whsec_the_next_secret", at=time.time() - 240))
    assert stripe_shop.balance == 450


def test_without_a_secret_every_signature_is_rejected(shop: Shop, settings: Any) -> None:
    body = shop.order_event(shop.place_order(), "paid")
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
    body = shop.order_event(shop.place_order(), "paid")
    answers = [shop.send(body, event_id="evt_1")["replay"] for _ in range(4)]
    assert answers == [False, True, True, True]
    assert (stored_event().replays, stored_event().status, shop.balance) == (3, "applied", 450)


def test_a_replay_is_recognized_by_its_signed_body_not_by_its_unsigned_id(
    razorpay_shop: Shop,
) -> None:
    order = razorpay_shop.place_order()
    failed, paid = razorpay_shop.order_event(order, "failed"), razorpay_shop.order_event(order, "paid")
    answers = [razorpay_shop.send(failed, event_id=f"evt_{number}")["replay"] for number in range(3)]
    assert answers == [False, True, True]
    assert razorpay_shop.send(paid, event_id="evt_1")["replay"] is False
    assert (WebhookEvent.objects.count(), razorpay_shop.balance) == (2, 450)


def test_two_events_of_one_payment_grant_its_coins_once(shop: Shop) -> None:
    order = shop.place_order()
    for number in range(2):
        for body in shop.fake.paid_events(order, {}):
            shop.send(body, event_id=f"evt_{number}")
    assert shop.balance == 450
    assert set(WebhookEvent.objects.values_list("status", flat=True)) == {"applied", "ignored"}


def test_the_events_of_an_order_give_the_same_result_in_every_sequence(shop: Shop, settings: Any) -> None:
    """Send failed, processing, paid and a refund of half in all 24 sequences."""
    settings.ORDERS_PER_MINUTE = 24
    for number, sequence in enumerate(itertools.permutations(["failed", "processing", "paid", "refunded"])):
        order = shop.place_order()
        before = shop.balance
        events = {kind: shop.order_event(order, kind) for kind in ["failed", "processing", "paid"]}
        events["refunded"] = shop.order_event(order, "refunded", amount=order.amount // 2)
        for kind in sequence:
            shop.send(events[kind], event_id=f"{number} {kind}")
        WebhookEvent.objects.update(next_attempt_at="2020-01-01T00:00Z")
        webhooks.apply_due()
        order = fresh(order)
        assert (order.status, order.refunded_amount) == ("completed", order.amount // 2), sequence
        assert shop.balance == before + 400 - order.coins_for(order.amount // 2), sequence
    assert not WebhookEvent.objects.waiting().exists()
    assert audit() == []


def test_a_failed_payment_can_succeed_at_a_second_attempt(shop: Shop) -> None:
    order = shop.place_order()
    shop.send(shop.order_event(order, "failed"))
    assert (fresh(order).status, shop.balance) == ("failed", 50)
    shop.send(shop.order_event(order, "processing"))
    assert fresh(order).status == "failed", "this event can be older than the failure"
    shop.send(shop.order_event(order, "paid"))
    assert (fresh(order).status, fresh(order).failure, shop.balance) == ("completed", "", 450)


@pytest.mark.parametrize(
    ("change", "reason"),
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
def test_a_wrong_amount_grants_no_coins_and_needs_review(shop: Shop, change: dict[str, Any], reason: str) -> None:
    order = shop.place_order()
    if "amount" in change:
        change = {shop.fake.paid_amount_field: change["amount"]}
    shop.send(shop.order_event(order, "paid", payment=change))
    assert (stored_event().status, shop.balance) == ("needs_review", 50)
    assert stored_event().outcome.startswith(reason)
    assert fresh(order).review_reason == stored_event().outcome
    assert list(PaymentOrder.objects.needing_review()) == [order]


def test_a_payment_of_another_order_at_the_provider_needs_review(stripe_shop: Shop) -> None:
    order = stripe_shop.place_order()
    stripe_shop.send(stripe_shop.order_event(order, "paid", payment={"id": "pi_of_another_order"}))
    assert (stored_event().status, stored_event().order, stripe_shop.balance) == ("needs_review", order, 50)


def test_a_second_payment_of_an_order_needs_review(shop: Shop) -> None:
    order = shop.place_paid_order()
    second_payment = shop.fake.second_payment
    shop.send(shop.order_event(order, "paid", payment=second_payment))
    assert fresh(order).review_reason.startswith("paid a second time")
    for number, body in enumerate(shop.fake.paid_events(order, second_payment)):
        shop.send(body, event_id=f"another {number}")
    assert webhooks.retry(WebhookEvent.objects.duplicate_payments().get()).status == "needs_review"
    webhooks.dismiss(WebhookEvent.objects.duplicate_payments().get())
    assert (fresh(order).review_reason, shop.balance) == ("", 450)


def test_a_second_payment_that_is_refunded_or_disputed_takes_no_coins(razorpay_shop: Shop) -> None:
    shop, order = razorpay_shop, razorpay_shop.place_paid_order()
    second_payment = shop.fake.pay(str(order.provider_order_id))
    refund = shop.fake.make_refund(second_payment["id"], order.amount, status="processed")
    shop.send(shop.fake.build_event("refund.processed", refund=refund, payment=second_payment))
    dispute = {"id": "disp_again", "payment_id": second_payment["id"], "amount": order.amount, "currency": "INR"}
    shop.send(shop.fake.build_event("payment.dispute.lost", payment=second_payment, dispute=dispute))
    reconciliation.reconcile(fresh(order))
    assert (fresh(order).status, fresh(order).dispute, shop.balance) == ("completed", "", 450)
    shop.send(shop.order_event(order, "refunded"))
    assert (fresh(order).status, shop.balance) == ("refunded", 50)


def test_an_event_of_an_unknown_order_needs_review(shop: Shop) -> None:
    order = shop.place_order()
    body = shop.order_event(order, "paid")
    PaymentOrder.objects.filter(pk=order.pk).update(provider_order_id="another", provider="sandbox")
    shop.send(body)
    assert (stored_event().status, stored_event().order, stored_event().outcome) == (
        "needs_review",
        None,
        "no order has these ids",
    )
    assert shop.balance == 50
    assert webhooks.retry(stored_event()).status == "needs_review"
    webhooks.dismiss(stored_event())
    assert stored_event().status == "dismissed"


def test_an_event_of_an_unknown_kind_is_stored_and_changes_nothing(shop: Shop) -> None:
    body = changed(shop.order_event(shop.place_order(), "paid"), type="invoice.paid", event="invoice.paid")
    shop.send(body)
    assert (stored_event().status, stored_event().kind, stored_event().type, shop.balance) == (
        "ignored",
        "unknown",
        "invoice.paid",
        50,
    )


def test_a_payment_is_matched_by_our_id_if_the_providers_id_was_never_stored(shop: Shop) -> None:
    order = shop.place_order()
    body = shop.order_event(order, "paid")
    PaymentOrder.objects.filter(pk=order.pk).update(provider_order_id=None)
    shop.send(body)
    assert (fresh(order).status, fresh(order).provider_order_id) == ("completed", order.provider_order_id)
    assert shop.balance == 450


@pytest.mark.parametrize("fault", [DatabaseError("gone"), ledger.InvalidMovement("no"), RuntimeError("a bug")])
def test_an_event_that_cannot_be_applied_is_stored_acknowledged_and_applied_later(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    order = shop.place_order()
    body = shop.order_event(order, "paid")

    def fail(**_: Any) -> Any:
        raise fault

    with monkeypatch.context() as patched:
        patched.setattr(ledger, "grant", fail)
        assert shop.send(body) == {"received": True, "replay": False}
        assert shop.send(body) == {"received": True, "replay": True}
    assert (stored_event().status, stored_event().attempts, fresh(order).status) == ("received", 2, "pending")
    assert webhooks.apply_due() == 0, "the event is not due yet"
    WebhookEvent.objects.update(next_attempt_at="2020-01-01T00:00Z")
    assert webhooks.apply_due() == 1
    assert (fresh(order).status, shop.balance) == ("completed", 450)


@pytest.mark.parametrize("failing_step", ["_postpone", "_apply_due_of_same_order"])
def test_a_database_failure_after_storing_an_event_is_no_error_for_the_provider(
    stripe_shop: Shop, monkeypatch: pytest.MonkeyPatch, failing_step: str
) -> None:
    def fail(*_: Any) -> Any:
        raise DatabaseError("gone")

    body = stripe_shop.order_event(stripe_shop.place_order(), "paid")
    with monkeypatch.context() as patched:
        patched.setattr(webhooks, failing_step, fail)
        patched.setattr(event_application, "apply_event", fail)
        assert stripe_shop.send(body) == {"received": True, "replay": False}
    webhooks.apply_due()
    assert stripe_shop.balance == (450 if failing_step == "_postpone" else 50), (
        "applied at once, or later when it is due"
    )


def test_an_applied_event_is_not_applied_again(shop: Shop) -> None:
    shop.place_paid_order()
    first = stored_event()
    assert webhooks.apply(first.pk) == ("applied", first.outcome)
    assert (stored_event().status, stored_event().attempts, stored_event().applied_at) == (
        "applied",
        1,
        first.applied_at,
    )


@pytest.mark.parametrize("reported_by", ["its event", "an answer"])
def test_an_event_that_waited_two_days_needs_review_and_is_applied_after_its_payment(
    stripe_shop: Shop, reported_by: str
) -> None:
    order = stripe_shop.place_order()
    paid, refunded = stripe_shop.order_event(order, "paid"), stripe_shop.order_event(order, "refunded")
    stripe_shop.send(refunded)
    for received_at, status in ((clock.now() - timedelta(days=1), "received"), ("2020-01-01T00:00Z", "needs_review")):
        WebhookEvent.objects.update(received_at=received_at, next_attempt_at="2020-01-01T00:00Z")
        webhooks.apply_due()
        assert stored_event().status == status
    assert stored_event().outcome.endswith("for more than two days")
    if reported_by == "an answer":
        stripe_shop.fake.refunds.clear()  # Only the event reports the refund.
        reconciliation.reconcile(order)
    else:
        stripe_shop.send(paid)
    assert (fresh(order).status, stripe_shop.balance) == ("refunded", 50)
    assert not WebhookEvent.objects.needing_review().exists()


def test_no_request_is_sent_to_the_provider_while_it_waits_for_our_answer(stripe_shop: Shop) -> None:
    order = stripe_shop.place_paid_order()
    stripe_shop.fake.requests.clear()
    stripe_shop.send(stripe_shop.fake.build_event("charge.refunded", {"payment_intent": order.provider_order_id}))
    assert stripe_shop.fake.requests == []
    webhooks.apply_due()
    assert stripe_shop.fake.requests == [], "the periodic task sends no request either"
    reconciliation.reconcile_due()
    assert len(stripe_shop.fake.requests) == 2


def test_a_replay_applies_an_event_that_failed_before(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    order = shop.place_order()
    body = shop.order_event(order, "paid")
    with monkeypatch.context() as patched:
        patched.setattr(event_application, "apply_event", lambda *_: 1 / 0)
        shop.send(body)
    shop.send(body)
    assert shop.balance == 450


def test_a_failing_event_does_not_stop_others(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    bad, good = shop.place_order(), shop.place_order()
    apply_event = event_application.apply_event

    def fail_for_one(order: PaymentOrder, report: Any) -> Any:
        if order.pk == bad.pk:
            raise RuntimeError
        return apply_event(order, report)

    monkeypatch.setattr(event_application, "apply_event", fail_for_one)
    for order in (bad, good):
        shop.send(shop.order_event(order, "paid"))
    WebhookEvent.objects.update(next_attempt_at="2020-01-01T00:00Z")
    webhooks.apply_due()
    assert (fresh(bad).status, fresh(good).status) == ("pending", "completed")


def test_an_event_under_review_can_be_dismissed_or_retried(stripe_shop: Shop) -> None:
    order = stripe_shop.place_order()
    PaymentOrder.objects.filter(pk=order.pk).update(amount=999)
    stripe_shop.send(stripe_shop.order_event(order, "paid"))
    webhooks.retry(stored_event())
    assert (stored_event().status, bool(fresh(order).review_reason)) == ("needs_review", True)
    PaymentOrder.objects.filter(pk=order.pk).update(amount=499)
    webhooks.retry(stored_event())
    assert (stored_event().status, fresh(order).review_reason, stripe_shop.balance) == ("applied", "", 450)
    stripe_shop.send(stripe_shop.order_event(stripe_shop.place_order(), "paid", payment={"currency": "eur"}))
    under_review = WebhookEvent.objects.needing_review().get()
    webhooks.dismiss(under_review)
    assert not WebhookEvent.objects.needing_review().exists()
    assert not PaymentOrder.objects.needing_review().exists()
    with pytest.raises(Conflict):
        webhooks.dismiss(under_review)


def test_nothing_about_the_payer_or_the_card_is_stored(razorpay_shop: Shop) -> None:
    razorpay_shop.send(razorpay_shop.order_event(razorpay_shop.place_order(), "paid"))
    stored = json.dumps(list(WebhookEvent.objects.values()) + list(PaymentOrder.objects.values()), default=str)
    for word in ("canary", "Canary", "4242", "9876543210"):
        assert word not in stored


def test_a_purchase_is_one_transaction_that_names_the_order(shop: Shop) -> None:
    order = shop.place_paid_order("pro")
    line = CreditTransaction.objects.get(payment_order=order)
    assert (line.type, line.amount) == ("purchase", 1600)
