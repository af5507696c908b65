"""Payments for operators and staff: problems are reported, and each can be resolved with a reason."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import CommandError
from django.db import OperationalError
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from billing.models import PaymentOrder, PaymentRefund, Wallet, WebhookEvent
from billing.payments import operations
from billing.payments.providers.base import ProviderEvent, ProviderUnavailable
from billing.payments.providers.stripe import Stripe
from ops.checks.payments import payments as payments_check
from relivchats import clock
from relivchats.accounts.models import User
from relivchats.staff.commands import EXIT_REFUSED
from relivchats.staff.models import AuditEntry
from relivchats.staff.reports import Level
from tests.admin import everything
from tests.admin.conftest import desk, staff
from tests.billing.payments.conftest import Shop, fake_stripe, stripe_shop, user
from tests.ops.test_commands import as_json, call

__all__ = ["desk", "fake_stripe", "staff", "stripe_shop", "user"]

pytestmark = pytest.mark.django_db


def order_under_review(shop: Shop) -> PaymentOrder:
    """Return an order that was paid with a wrong amount."""
    order = shop.place_order()
    shop.send(shop.order_event(order, "paid", payment={"amount_received": 1}))
    order.refresh_from_db()
    return order


def test_without_problems_the_report_is_fine() -> None:
    status, answer = as_json("payments")
    assert (status, answer["rows"], payments_check().level) == (0, [], Level.FINE)


def test_a_payment_without_coins_for_five_minutes_is_critical(stripe_shop: Shop) -> None:
    order = order_under_review(stripe_shop)
    assert (payments_check().level, call("payments")[0]) == (Level.WARNING, 1)
    WebhookEvent.objects.update(received_at=Now() - timedelta(minutes=6))
    line = payments_check()
    assert (line.level, line.remedy) == (Level.CRITICAL, "manage.py payments --reconcile")
    status, answer = as_json("payments")
    assert (status, answer["rows"][0]["what"]) == (2, "paid, no coins")
    assert answer["rows"][0]["order or event"] == str(order.pk)
    assert answer["rows"][0]["why"] == "paid $0.01, not $4.99"


def test_a_second_payment_is_critical_and_must_be_refunded(stripe_shop: Shop) -> None:
    order = stripe_shop.place_paid_order()
    stripe_shop.send(stripe_shop.order_event(order, "paid", payment={"latest_charge": "ch_again"}))
    WebhookEvent.objects.update(received_at=Now() - timedelta(minutes=6))
    line = payments_check()
    assert (line.level, line.text) == (Level.CRITICAL, "1 paid twice; the coins were granted once")
    assert line.remedy.startswith("refund that payment")
    status, answer = as_json("payments")
    first = answer["rows"][0]
    assert (status, first["what"], first["order or event"]) == (2, "paid a second time", str(order.pk))


def test_a_contradictory_event_of_the_first_payment_is_not_a_second_payment(stripe_shop: Shop) -> None:
    order = stripe_shop.place_order()
    for wrong in ({"amount_received": 1}, {"currency": "eur"}, {}):
        stripe_shop.send(stripe_shop.order_event(order, "paid", payment=wrong))
    assert (stripe_shop.balance, WebhookEvent.objects.duplicate_payments().count()) == (450, 0)
    assert (payments_check().level, payments_check().text) == (Level.WARNING, "2 held for review")
    outcomes = WebhookEvent.objects.needing_review().values_list("outcome", flat=True)
    assert all(outcome.endswith("the coins were granted for this same payment") for outcome in outcomes)
    stripe_shop.send(
        stripe_shop.order_event(order, "paid", payment={"latest_charge": "ch_again", "amount_received": 1})
    )
    assert (payments_check().level, WebhookEvent.objects.duplicate_payments().get().provider_payment_id) == (
        Level.CRITICAL,
        "ch_again",
    )


def test_an_unanswered_refund_is_reported_as_sent_and_becomes_a_warning_after_half_an_hour(
    stripe_shop: Shop,
) -> None:
    order = stripe_shop.place_paid_order()
    stripe_shop.fake.faults.append(500)
    status, printed = call("payments", "--refund", str(order.pk), "--reason", "bought twice")
    assert (status, "$4.99 requested" in printed, "retried every few minutes" in printed) == (1, True, True)
    assert (payments_check().level, call("payments")[0]) == (Level.FINE, 0)
    PaymentRefund.objects.update(created_at=Now() - timedelta(minutes=31), asked_at=Now())
    assert (payments_check().level, call("payments")[0]) == (Level.WARNING, 1)


def test_a_provider_that_is_no_longer_configured_is_reported_as_such(stripe_shop: Shop, settings: Any) -> None:
    order, paid = stripe_shop.place_order(), stripe_shop.place_paid_order()
    stripe_shop.fake.faults.append(500)
    call("payments", "--refund", str(paid.pk), "--amount=100", "--reason", "x")
    PaymentOrder.objects.update(created_at=Now() - timedelta(hours=1))
    settings.STRIPE_SECRET_KEY = ""
    for whom in ([str(order.pk)], []):
        status, answer = as_json("payments", "--reconcile", *whom)
        assert (status, answer["done"], answer["refused"]) == (1, 0, 1 if whom else 2)
        assert {row["outcome"][:31] for row in answer["rows"]} == {"Stripe is not configured here, "}
    _, printed = call("payments", "--refund", str(paid.pk), "--amount=100", "--reason", "x")
    assert ("Stripe is not configured here" in printed, PaymentRefund.objects.count()) == (True, 1)


def test_contradictory_options_are_rejected_and_nothing_is_refunded(stripe_shop: Shop) -> None:
    order = str(stripe_shop.place_paid_order().pk)
    with pytest.raises(CommandError, match="either --refund or --reconcile") as refusal:
        call("payments", "--refund", order, "--reconcile", "--reason", "x")
    assert refusal.value.returncode == EXIT_REFUSED
    for amount in ("0", "-5"):
        _, printed = call("payments", "--refund", order, f"--amount={amount}", "--reason", "x")
        assert "At most $4.99 of this order can be refunded." in printed
        assert f"{amount} minor units, which is " in printed
    assert not PaymentRefund.objects.exists()


def test_the_command_finds_a_payment_whose_webhook_was_lost(stripe_shop: Shop) -> None:
    order = stripe_shop.place_order()
    stripe_shop.pay_order(order)
    status, answer = as_json("payments", "--reconcile", "--reason", "a webhook was lost")
    assert (status, answer["done"], stripe_shop.balance) == (0, 1, 450)
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.outcome, entry.object_id) == ("reconcile order", "completed", str(order.pk))


def test_the_command_applies_a_payment_that_was_put_off_after_an_error(stripe_shop: Shop) -> None:
    order = stripe_shop.place_order()
    wallet = order.wallet
    Wallet.objects.filter(pk=wallet.pk).update(balance=wallet.balance + 1)
    stripe_shop.send(stripe_shop.order_event(order, "paid"))
    Wallet.objects.filter(pk=wallet.pk).update(balance=wallet.balance)
    event = WebhookEvent.objects.get()
    assert (event.status, event.order, event.next_attempt_at > clock.now()) == ("received", None, True)
    assert as_json("payments", "--reconcile")[0] == 0
    order.refresh_from_db()
    assert (order.status, stripe_shop.balance) == ("completed", 450)


def test_concurrent_commands_ask_about_each_order_once(stripe_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    orders, asked = [stripe_shop.place_order() for _ in range(3)], []

    def ask(_: object, order: PaymentOrder) -> list[ProviderEvent]:
        asked.append(order)
        if len(asked) == 1:
            call("payments", "--reconcile")
        return []

    monkeypatch.setattr(Stripe, "fetch_status", ask)
    call("payments", "--reconcile")
    assert asked == [orders[0], *orders], "the second asks about all, the first about none of them again"


def test_an_abandoned_order_can_be_reconciled_by_its_id(stripe_shop: Shop) -> None:
    order, other = stripe_shop.place_order(), stripe_shop.place_order()
    for each in (order, other):
        stripe_shop.pay_order(each)
    PaymentOrder.objects.update(status="failed", failure="abandoned", created_at="2020-01-01T00:00Z")
    status, answer = as_json("payments", "--reconcile", str(order.pk))
    assert (status, answer["done"], stripe_shop.balance) == (0, 1, 450)
    with pytest.raises(CommandError, match="name the order with --refund"):
        call("payments", "--amount", "250")
    for unknown in ("7c3f2a90-4d27-4b8e-9e0b-51a6f0d6c1b2", "00000000-0000-0000-0000-000000000000"):
        with pytest.raises(CommandError, match="no such order"):
            call("payments", "--reconcile", unknown)


def test_an_unanswered_request_is_reported(stripe_shop: Shop) -> None:
    stripe_shop.place_order()
    with stripe_shop.fault("hang"):
        status, answer = as_json("payments", "--reconcile")
    assert (status, answer["refused"]) == (1, 1)


def test_a_database_error_on_one_order_does_not_stop_others(stripe_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = stripe_shop.place_order(), stripe_shop.place_order()
    stripe_shop.pay_order(second)
    ask = Stripe.fetch_status

    def asked(self: Stripe, order: PaymentOrder) -> Any:
        if order == first:
            raise OperationalError("canceling statement due to lock timeout")
        return ask(self, order)

    monkeypatch.setattr(Stripe, "fetch_status", asked)
    status, answer = as_json("payments", "--reconcile")
    assert (status, answer["done"], answer["refused"], stripe_shop.balance) == (1, 1, 1, 450)
    assert "the database refused it (OperationalError)" in AuditEntry.objects.get(done=False).outcome


def test_health_warns_of_orders_that_are_never_reconciled(stripe_shop: Shop) -> None:
    stripe_shop.place_order()
    PaymentOrder.objects.update(created_at=Now() - timedelta(minutes=29))
    assert payments_check().level == Level.FINE
    PaymentOrder.objects.update(created_at=Now() - timedelta(minutes=31))
    assert (payments_check().level, payments_check().text[:28]) == (Level.WARNING, "1 not checked with their pro")
    assert call("payments")[0] == 1
    PaymentOrder.objects.update(asked_at=Now())
    assert payments_check().level == Level.FINE


def test_the_command_refunds_a_part_and_requires_a_reason(stripe_shop: Shop) -> None:
    order = stripe_shop.place_paid_order()
    with pytest.raises(CommandError, match="needs a reason"):
        call("payments", "--refund", str(order.pk))
    status, printed = call("payments", "--refund", str(order.pk), "--amount", "250", "--reason", "half of it")
    assert (status, "$2.50 refunded: 200 coins taken back" in printed) == (0, True)
    assert PaymentRefund.objects.get().reason == "half of it"
    with pytest.raises(CommandError, match="no such order"):
        call("payments", "--refund", "7c3f2a90-4d27-4b8e-9e0b-51a6f0d6c1b2", "--reason", "x")


def test_late_orders_and_owed_coins_are_listed(stripe_shop: Shop) -> None:
    late, paid = stripe_shop.place_order(), stripe_shop.place_paid_order()
    PaymentOrder.objects.filter(pk=late.pk).update(created_at=Now() - timedelta(hours=1), asked_at=Now())
    Wallet.objects.update(reserved=450)
    call("payments", "--refund", str(paid.pk), "--reason", "spent already")
    status, answer = as_json("payments")
    assert status == 0
    assert [(row["what"], row["why"]) for row in answer["rows"]] == [("late", None), ("coins owed", "400 coins owed")]


def choose(desk: Client, row: Any, name: str, **more: str) -> Any:
    chosen = {"action": name, "_selected_action": [str(row.pk)], **more}
    return desk.post(everything.list_address(type(row)), chosen, follow=True)


def test_staff_reconcile_and_dismiss_with_a_reason(desk: Client, staff: User, stripe_shop: Shop) -> None:
    lost, wrong = stripe_shop.place_order(), order_under_review(stripe_shop)
    stripe_shop.pay_order(lost)
    choose(desk, lost, "reconcile")
    assert stripe_shop.balance == 50, "without a reason nothing happens"
    choose(desk, lost, "reconcile", reason="the person wrote to us")
    assert stripe_shop.balance == 450
    choose(desk, wrong, "set_aside", reason="paid back at Stripe")
    wrong.refresh_from_db()
    assert (wrong.review_reason, WebhookEvent.objects.needing_review().count()) == ("", 0)
    assert AuditEntry.objects.filter(actor=f"user {staff.pk}").count() == 2


def test_staff_retry_an_event_under_review(desk: Client, stripe_shop: Shop) -> None:
    order = order_under_review(stripe_shop)
    PaymentOrder.objects.filter(pk=order.pk).update(amount=1)
    choose(desk, WebhookEvent.objects.get(), "apply", reason="the price was wrong")
    assert stripe_shop.balance == 450


def test_staff_reconcile_everything_unfinished_from_the_wallet_page(desk: Client, stripe_shop: Shop) -> None:
    wallet = stripe_shop.place_order().wallet
    stripe_shop.pay_order(wallet.orders.get())
    address = reverse("admin:billing_wallet_change", args=[wallet.pk])
    assert address.replace("/change/", "/reconcile/") in desk.get(address).content.decode()
    choose(desk, wallet, "reconcile", reason="the person wrote to us")
    assert stripe_shop.balance == 450
    choose(desk, wallet, "reconcile", reason="to be sure")
    outcomes = AuditEntry.objects.filter(action="reconcile wallet").order_by("pk").values_list("outcome", flat=True)
    assert list(outcomes) == ["1 completed", "nothing was unfinished"]


def test_a_failing_order_of_a_wallet_does_not_stop_others_and_each_has_an_audit_entry(
    desk: Client, stripe_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed, away, lost = stripe_shop.place_paid_order(), stripe_shop.place_order(), stripe_shop.place_order()
    stripe_shop.send(stripe_shop.fake.build_event("charge.refunded", {"payment_intent": changed.provider_order_id}))
    stripe_shop.pay_order(lost)
    for number, row in enumerate((lost, away, changed)):
        PaymentOrder.objects.filter(pk=row.pk).update(asked_at=Now() - timedelta(hours=3 - number))
    ask = Stripe.fetch_status

    def asked(self: Stripe, order: PaymentOrder) -> Any:
        if order == away:
            raise ProviderUnavailable
        return ask(self, order)

    monkeypatch.setattr(Stripe, "fetch_status", asked)
    choose(desk, lost.wallet, "reconcile", reason="the person wrote to us")
    entries = AuditEntry.objects.order_by("pk")
    away_said = "The payment provider did not answer. Try again in a minute."
    assert [(entry.object_id, entry.done, entry.outcome) for entry in entries] == [
        (str(lost.pk), True, "completed"),
        (str(away.pk), False, away_said),
        (str(changed.pk), True, "completed"),
        (str(lost.wallet_id), True, f"2 completed; 1 {away_said}"),
    ]
    monkeypatch.setattr(operations, "PAGE_SECONDS", 0)
    choose(desk, lost.wallet, "reconcile", reason="to be sure")
    latest = AuditEntry.objects.latest("pk")
    assert (latest.done, latest.outcome) == (False, "1 left for lack of time: repeat this")


def refund(desk: Client, order: PaymentOrder, **form: str) -> Any:
    address = f"/admin/billing/paymentorder/{order.pk}/refund/"
    return desk.post(
        address, {"amount": "4.99", "expected_refundable": "499", "reason": "a claim", **form}, follow=True
    )


def test_a_refund_form_sent_twice_refunds_once(desk: Client, staff: User, stripe_shop: Shop) -> None:
    order = stripe_shop.place_paid_order()
    shown = desk.get(f"/admin/billing/paymentorder/{order.pk}/refund/").content.decode()
    assert "$4.99 of this order" in shown
    assert "Amount in USD" in shown
    assert 'value="4.99"' in shown
    for wrong in ({"reason": " "}, {"amount": "4.999"}, {"amount": "0"}):
        assert not refund(desk, order, **wrong).redirect_chain
    refused = refund(desk, order, amount="499").content.decode()
    assert ("At most $4.99 of this order can be refunded." in refused, "minor units" in refused) == (True, False)
    refund(desk, order, amount="1")
    refund(desk, order, amount="1")
    made = PaymentRefund.objects.get()
    assert (made.amount, made.actor, made.reason) == (100, f"user {staff.pk}", "a claim")
    assert "can be refunded" in refund(desk, order, amount="4", expected_refundable="399").content.decode()
    assert "a claim" in LogEntry.objects.filter(object_id=str(order.pk))[0].change_message
    order.refresh_from_db()
    assert order.refunded_amount == 100


def test_an_order_is_found_by_its_owner_and_the_providers_ids(desk: Client, stripe_shop: Shop) -> None:
    order, owner = stripe_shop.place_paid_order(), stripe_shop.user
    other = Shop("stripe", stripe_shop.fake, User.objects.create_user("ben@example.org")).place_paid_order()
    for term in ("Ann.Canary@example.org", str(owner.pk), order.provider_order_id, order.provider_payment_id):
        found = desk.get(everything.list_address(PaymentOrder), {"q": str(term)}).context["cl"].result_list
        assert list(found) == [order], term
    assert other.pk != order.pk


def test_no_page_or_log_shows_a_key_a_secret_or_an_address(desk: Client, stripe_shop: Shop, logged: Any) -> None:
    order = stripe_shop.place_paid_order()
    for fault in (500, "garbage", "hang"):
        with stripe_shop.fault(fault):
            stripe_shop.buy(status=503)
    refund(desk, order)
    pages = [
        desk.get(address).content.decode()
        for row in (order, WebhookEvent.objects.all()[0], PaymentRefund.objects.all()[0])
        for address in (everything.list_address(type(row)), *everything.row_addresses(row))
    ]
    for text in (*pages, logged.getvalue()):
        for word in ("canarykeyofthetests", "_secret_canary", "whsec_the", "ann.canary@"):
            assert word not in text.lower()
